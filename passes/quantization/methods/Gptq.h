//===- Gptq.h - Rounding that makes up for its errors -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_METHODS_GPTQ_H
#define LATHE_PASSES_QUANTIZATION_METHODS_GPTQ_H

#include "passes/quantization/methods/GroupCoder.h"
#include "passes/quantization/methods/Quantized.h"
#include "passes/quantization/methods/Statistics.h"

namespace lathe::quantization {

/// The order in which GPTQ takes a weight's inputs. The storage is the same for all: groups are neighbouring inputs.
enum class InputOrder {
  Natural, ///< first to last; a group's scale is chosen when its first input comes, from the weights as they are then
  /// Falling mean square, over all inputs (the paper's "act-order"): scales are chosen before, from the original
  /// weights, since a group's inputs do not come together.
  Descending,
  /// Groups by their falling mean mean square, and inputs so within their group: both the order and scales that are
  /// chosen as groups come.
  DescendingGroups,
};

struct GptqOptions {
  InputOrder order = InputOrder::DescendingGroups;
  /// Added to the diagonal of the second moment, as a share of the diagonal's mean. Where the matrix is still not
  /// positive definite, ten times as much, and so on.
  double damping = 0.01;
  int64_t block = 128; ///< inputs whose errors are handed on together
  FitOptions fit;      ///< searches weigh by the mean square of the inputs, where `weighted`
  bool weighted = false;
  int refinements = 0; ///< passes of refineScales at the end
  /// Weights that are zero get the code of 0, whatever errors are handed on to them: what was pruned stays so. Of
  /// formats in which a code stands for 0.
  bool keepZeros = false;
};

/// Rounds input by input, and after each changes the inputs that are still to come so that the error of the output
/// over the statistics' rows is least (Frantar et al. 2022, "GPTQ", section 3, algorithm 1), for any format. Without
/// correlations between inputs (a second moment that is a multiple of the identity) the result is that of
/// quantizeRounded with the same `fit`, bit for bit, as long as scales are not refined. Inputs that were 0 throughout
/// calibration are rounded to nearest. Memory beside the result: k * k doubles and floats. Fails where checkWeight or
/// the statistics' validate does, or where options are out of range.
Status quantizeGptq(const Weight &w, const InputStatistics &statistics, const Format &format,
                    const GptqOptions &options, ThreadPool *pool, Quantized &result);

/// The second moment of statistics, made ready for feeding errors back: inputs in the order `order` (order[position] =
/// input), damped, inverted and factorized: `factor` is upper triangular [k][k] with factor^T factor the inverse.
/// Inputs without any signal have zeros beside the diagonal.
Status feedbackFactor(const InputStatistics &statistics, const std::vector<int64_t> &order, double damping,
                      std::vector<float> &factor);

/// The inputs in the order that `order` describes, groups being of `groupSize` inputs.
std::vector<int64_t> inputOrder(const InputStatistics &statistics, InputOrder order, int64_t groupSize);

} // namespace lathe::quantization

#endif // LATHE_PASSES_QUANTIZATION_METHODS_GPTQ_H
