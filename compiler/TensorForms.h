//===- TensorForms.h - What a weight's numbers become -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TENSORFORMS_H
#define LATHE_COMPILER_TENSORFORMS_H

#include "compiler/Compress.h"
#include "passes/lowrank/Convolutions.h"
#include "passes/lowrank/methods/Circulant.h"
#include "passes/lowrank/methods/TensorTrain.h"
#include "passes/quantization/Layers.h"
#include "passes/quantization/methods/Statistics.h"
#include <variant>

namespace lathe {

/// Fewer numbers that a weight follows from, as a step of low rank finds them: all but products of two factors.
using TensorForm =
    std::variant<std::monostate, lowrank::TensorTrain, lowrank::Circulant, lowrank::TuckerFactors, lowrank::CpFactors>;

/// Whether a method makes one.
bool isTensorForm(const std::string &method);

/// The products of windows that read a layer, in all programs; empty for a layer that is no convolution with windows of
/// more than one element.
std::vector<lowrank::WindowProduct> convolutionsOf(const compression::Layer &layer);

/// Why a step's method is for none of these layers, or what it asks for saves at none of them, with the nearest that
/// does; empty where it is fine.
std::string whyNoForm(const RecipeStep &step, llvm::ArrayRef<compression::Layer> layers);

/// Why a layer can't have a form of the step's method; empty where it can.
std::string whyNotForm(const RecipeStep &step, const compression::Layer &layer);

/// Finds the form that the step asks for. A failure is why the layer stays as it is: there may be none that is smaller.
/// With statistics of the layer's inputs, null for none, what can be is fitted to its outputs, which `isRefitted`
/// tells.
runtime::Status fitForm(const LowRankFields &fields, const compression::Layer &layer, const std::vector<float> &dense,
                        const quantization::InputStatistics *inputs, TensorForm &form, bool &isRefitted);

/// The matrix that a form stands for, [outputs][inputs].
std::vector<float> denseOf(const TensorForm &form);
/// What is told of it: its numbers as they are stored, its rank, and what it keeps.
void describeForm(const compression::Layer &layer, const TensorForm &form, CompressedLayer &entry);

/// Bytes of a form, to be kept for the next run, and the form of bytes, which fits the layer; false where they are of
/// none.
std::string bytesOf(const TensorForm &form);
bool formOf(const std::string &bytes, const LowRankFields &fields, const compression::Layer &layer, TensorForm &form);

/// Puts a form in a weight's place, for all of its readers: as one value where `keepsExpressions`, else products by
/// parts where these take fewer multiplications. Trains are left to order-matrix-chains. False after a failure of
/// `make`.
bool replaceByForm(const compression::Layer &layer, const TensorForm &form, bool keepsExpressions,
                   const compression::MakeConstant &make);

} // namespace lathe

#endif // LATHE_COMPILER_TENSORFORMS_H
