//===- KeptLayers.h - Results of methods, kept for the next run -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_KEPTLAYERS_H
#define LATHE_COMPILER_KEPTLAYERS_H

#include "compiler/CompressionReport.h"
#include "compiler/Recipe.h"
#include "compiler/Resume.h"
#include "passes/quantization/methods/ActivationRange.h"
#include "passes/quantization/methods/Codebook.h"
#include "passes/quantization/methods/Quantized.h"
#include "passes/quantization/methods/Statistics.h"

namespace lathe {

/// What the codes of weights that share an input depend on: the step, without what it applies to, the weights, and the
/// statistics.
std::string keyOfGroup(const RecipeStep &step, const std::vector<quantization::Weight> &weights,
                       const quantization::InputStatistics *inputs);

/// A layer's codes with what the report tells of their error. False where there is none, or none of that size.
bool findLayer(Resume &resume, const std::string &key, const quantization::Weight &weight,
               quantization::Quantized &quantized, CompressedLayer &entry);
bool findLayer(Resume &resume, const std::string &key, const quantization::Weight &weight,
               quantization::CodebookQuantized &quantized, CompressedLayer &entry);
void keepLayer(Resume &resume, const std::string &key, const quantization::Quantized &quantized,
               const CompressedLayer &entry);
void keepLayer(Resume &resume, const std::string &key, const quantization::CodebookQuantized &quantized,
               const CompressedLayer &entry);

/// A pruned weight's numbers, [outputs][inputs].
bool findPruned(Resume &resume, const std::string &key, const quantization::Weight &weight, std::vector<float> &values);
void keepPruned(Resume &resume, const std::string &key, const std::vector<float> &values);

/// Factors of inputs.
bool findFactors(Resume &resume, const std::string &key, std::vector<float> &factors);
void keepFactors(Resume &resume, const std::string &key, const std::vector<float> &factors);

/// Statistics of inputs with their ranges. Both have as many entries as the run has left sides.
bool findStatistics(Resume &resume, const std::string &key,
                    std::vector<std::shared_ptr<quantization::InputStatistics>> &all,
                    std::vector<quantization::RangeObserver> &ranges);
void keepStatistics(Resume &resume, const std::string &key,
                    const std::vector<std::shared_ptr<quantization::InputStatistics>> &all,
                    const std::vector<quantization::RangeObserver> &ranges);

} // namespace lathe

#endif // LATHE_COMPILER_KEPTLAYERS_H
