//===- ResidualBlocks.h - What layers add to a stream -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_PRUNING_STRUCTURED_RESIDUALBLOCKS_H
#define LATHE_PASSES_PRUNING_STRUCTURED_RESIDUALBLOCKS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/quantization/Layers.h"
#include <set>
#include <string>
#include <vector>

namespace lathe::pruning {

/// What is computed of a stream and added to it again: x + f(x), or norm(x + f(x)) where x is a norm's result, too.
/// Without f the stream is what it was: `output` can be `input`.
struct ResidualBlock {
  mlir::Value input, output;
  std::set<compression::Place> weights; ///< matrices of f
  std::vector<std::string> names;       ///< of these
  bool hasAttention = false;
  std::string node;              ///< of the model, that adds
  std::vector<unsigned> outputs; ///< of the program, that f gives: caches, which go with it
  std::string reason;            ///< why it has to stay
};

/// A layer: blocks one behind the other in one stream, up to one without attention.
struct ResidualLayer {
  std::vector<ResidualBlock> blocks;
  mlir::Value input() const { return blocks.front().input; }
  mlir::Value output() const { return blocks.back().output; }
  std::set<compression::Place> weights() const;
  std::string reason() const;
};

/// The layers of a program, in its order.
std::vector<ResidualLayer> findResidualLayers(mlir::func::FuncOp program);

/// Takes layers out of the program that they were found in, with the inputs and outputs that are their caches. Names of
/// inputs and outputs that went are added to `interface`.
void dropLayers(mlir::func::FuncOp program, llvm::ArrayRef<const ResidualLayer *> layers,
                std::vector<std::string> &interface);

/// Erases what nothing reads.
void eraseDead(mlir::func::FuncOp program);

} // namespace lathe::pruning

#endif // LATHE_PASSES_PRUNING_STRUCTURED_RESIDUALBLOCKS_H
