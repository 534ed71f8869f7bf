//===- SparsifyStep.h - Weights with zeros, stored without them -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_SPARSIFYSTEP_H
#define LATHE_COMPILER_SPARSIFYSTEP_H

#include "compiler/Compress.h"
#include "dialects/lathe/Lathe.h"

namespace lathe {

/// What products read as their right side, alone and in one orientation: a weight of f32, one of 16 bits that is
/// widened, or codes of 8 bits without zero points.
struct SparseCandidate {
  std::string name, node;           ///< of the initializer, and of the first product
  std::vector<mlir::Value> weights; ///< as it is stored, in each program
  std::vector<MatmulOp> products;
  bool transposed = false; ///< it lies as [outputs, inputs]
  int64_t inputs = 0, outputs = 0;
  int64_t group = 0;      ///< of codes: inputs that share a scale; 0: floats
  bool isInteger = false; ///< products round their left sides to integers, too
  std::string reason;     ///< why it can't be stored so; empty where it can
};

/// The weights of products in programs, those with reasons too, in the order of the first program that has them.
std::vector<SparseCandidate> findSparseCandidates(llvm::ArrayRef<mlir::func::FuncOp> programs);

/// Stores the zeros of weights that `covers` by the names of initializer and node no more, where that pays, and tells
/// what became of each. False with `error` set.
bool sparsifyLayers(const Compression &compression, const Sparsifying &options,
                    const std::function<bool(const std::string &weight, const std::string &node)> &covers,
                    CompressionReport &report, std::string &error);

} // namespace lathe

#endif // LATHE_COMPILER_SPARSIFYSTEP_H
