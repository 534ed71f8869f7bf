//===- TuckerStep.h - A recipe's step for convolutions ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TUCKERSTEP_H
#define LATHE_COMPILER_TUCKERSTEP_H

#include "compiler/Compress.h"
#include "passes/quantization/Layers.h"

namespace lathe {

/// Whether a layer is a convolution with windows of more than one element, in all programs.
bool isConvolution(const compression::Layer &layer);

/// Replaces convolutions by three smaller ones, which later steps find as layers, and appends what became of each to
/// the report. False with `error` set.
bool factorizeConvolutions(const Compression &compression, const RecipeStep &step,
                           const std::vector<compression::Layer> &layers, CompressionReport &report,
                           std::string &error);

} // namespace lathe

#endif // LATHE_COMPILER_TUCKERSTEP_H
