//===- LayerValues.h - The numbers of layers ------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_LAYERVALUES_H
#define LATHE_COMPILER_LAYERVALUES_H

#include "compiler/WeightFiles.h"
#include "passes/quantization/Layers.h"
#include <map>
#include <string>
#include <vector>

namespace lathe {

/// The weight of a layer as [outputs][inputs]. False, with `error` set, where its file can't be read.
bool readDense(WeightFiles &files, const compression::Layer &layer, std::vector<float> &dense, std::string &error);

/// Makes weights of bytes. What programs make by one name is stored once; where `isShared` is not, nothing is.
class WeightMaker {
public:
  WeightMaker(WeightFiles &files, std::string &error, bool isShared = true)
      : files(files), error(error), isShared(isShared) {}
  /// As compression::MakeConstant: null after a failure, with `error` set.
  mlir::Value operator()(mlir::OpBuilder &builder, mlir::Location loc, mlir::RankedTensorType type,
                         llvm::StringRef name, llvm::ArrayRef<char> bytes);
  /// Names may come again, of other bytes.
  void forget() { made.clear(); }

private:
  WeightFiles &files;
  std::string &error;
  bool isShared;
  std::map<std::string, uint64_t> made;
};

} // namespace lathe

#endif // LATHE_COMPILER_LAYERVALUES_H
