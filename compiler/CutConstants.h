//===- CutConstants.h - Parts of constants ----------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_CUTCONSTANTS_H
#define LATHE_COMPILER_CUTCONSTANTS_H

#include "compiler/WeightFiles.h"
#include "passes/pruning/structured/RemoveChannels.h"
#include <map>

namespace lathe {

/// Makes parts of stored constants, in the types that they are stored in. The same part of the same bytes is stored
/// once.
class CutConstants {
public:
  CutConstants(WeightFiles &files, std::string &error) : files(files), error(error) {}

  /// As pruning::CutConstant; with a factor that is not 1 the result is of f32.
  mlir::Value cut(mlir::Value constant, const pruning::KeptElements &kept, double factor);

private:
  mlir::Value cutWeight(WeightOp weight, const pruning::KeptElements &kept);
  mlir::Value cutSmall(ConstantOp constant, const pruning::KeptElements &kept);
  mlir::Value scaled(mlir::Value constant, double factor);

  WeightFiles &files;
  std::string &error;
  std::map<std::string, uint64_t> made;                         ///< offsets, by what was cut how
  std::map<std::pair<void *, std::string>, mlir::Value> values; ///< looked up only
};

} // namespace lathe

#endif // LATHE_COMPILER_CUTCONSTANTS_H
