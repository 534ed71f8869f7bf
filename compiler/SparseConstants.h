//===- SparseConstants.h - Matrices with zeros in artifacts -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_SPARSECONSTANTS_H
#define LATHE_COMPILER_SPARSECONSTANTS_H

#include "compiler/ArtifactWriter.h"
#include "compiler/WeightFiles.h"
#include "mlir/IR/BuiltinAttributes.h"
#include <nlohmann/json.hpp>

namespace lathe {

/// Fills the manifest's entry of a weight that stays sparse, and says where its bytes come from. False with `error`
/// set.
bool describeSparse(mlir::DictionaryAttr entry, WeightFiles &files, nlohmann::ordered_json &json,
                    artifact::ConstantSource &source, std::string &error);

/// The dense matrix that such an entry stands for, row-major as its type has it, in the type of its values, without
/// scales. False with `error` set.
bool readDense(mlir::DictionaryAttr entry, WeightFiles &files, std::vector<char> &dense, std::string &error);

} // namespace lathe

#endif // LATHE_COMPILER_SPARSECONSTANTS_H
