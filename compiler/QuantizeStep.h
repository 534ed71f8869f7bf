//===- QuantizeStep.h - A recipe's step that quantizes ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_QUANTIZESTEP_H
#define LATHE_COMPILER_QUANTIZESTEP_H

#include "compiler/LayerStatistics.h"
#include "passes/quantization/methods/Codebook.h"

namespace lathe {

/// How a step's codes are stored, but for codebooks.
quantization::Format formatOf(const RecipeStep &step);
/// The same for codebooks.
quantization::CodebookOptions codebookOf(const RecipeStep &step);
/// What users call it, such as "int4 g32 f16 scales".
std::string formatName(const RecipeStep &step);

/// What the report tells of a layer that stays as it is.
CompressedLayer describe(const compression::Layer &layer);

/// Replaces layers by the expressions of quantized ones and appends what became of each to the report. False with `error` set.
bool quantizeLayers(const Compression &compression, const RecipeStep &step, const std::vector<compression::Layer> &layers,
                    const LayerStatistics &statistics, runtime::ThreadPool &pool, CompressionReport &report, std::string &error);

} // namespace lathe

#endif // LATHE_COMPILER_QUANTIZESTEP_H
