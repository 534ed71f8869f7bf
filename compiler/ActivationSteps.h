//===- ActivationSteps.h - What products read, in fewer bits ----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_ACTIVATIONSTEPS_H
#define LATHE_COMPILER_ACTIVATIONSTEPS_H

#include "passes/quantization/Expressions.h"
#include "passes/quantization/methods/ActivationRange.h"
#include "passes/quantization/methods/Formats.h"

namespace lathe {

/// Tensors by what became of them, so that products that share a left side share it still.
using Replaced = llvm::DenseMap<mlir::Value, mlir::Value>;

/// What left sides are rounded to by rows, where weights have codes of a format: 8-bit floats, E4M3 whatever theirs, beside such
/// (Micikevicius et al. 2022, FP8 Formats for Deep Learning, section 3), else integers.
bool roundsToFloats(const quantization::Format &format);

/// Rounds the left sides of a layer's products to 8 bits and back: by a scale of each row that the run finds, where `range` is null, to
/// integers or, with `floats`, to E4M3; else to integers by the range's.
void roundActivations(const compression::Layer &layer, const quantization::ActivationRange *range, bool symmetric, bool floats,
                      Replaced &rounded);

/// What is 0 in the left sides of products that read some inputs apart.
struct OutlierPath {
  std::vector<int64_t> inputs;
  Replaced masked, gathered; ///< by left side
};

/// Adds to each of a layer's products what its left side's columns `path.inputs` give with `dense`, [outputs][inputs] of f32, and lets
/// the product itself see 0 there (Dettmers et al. 2022, LLM.int8(), section 3.2). The layer readsRows(). False after a failure of `make`.
bool addOutlierPath(const compression::Layer &layer, const std::vector<float> &dense, const compression::MakeConstant &make,
                    OutlierPath &path);

} // namespace lathe

#endif // LATHE_COMPILER_ACTIVATIONSTEPS_H
