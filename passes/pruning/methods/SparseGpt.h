//===- SparseGpt.h - Zeros that what stays makes up for ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_PRUNING_METHODS_SPARSEGPT_H
#define LATHE_PASSES_PRUNING_METHODS_SPARSEGPT_H

#include "passes/pruning/methods/Selection.h"
#include "passes/quantization/methods/Gptq.h"

namespace lathe::pruning {

using quantization::InputOrder;
using quantization::InputStatistics;
using quantization::Status;
using quantization::ThreadPool;

struct SparseGptOptions {
  SelectionOptions selection;
  double damping = 0.01; ///< as for GPTQ
  int64_t block = 128;   ///< inputs whose zeros are chosen, and whose errors are handed on, together
  /// Of N:M and blocks the inputs that belong together stay so: `Descending` is `DescendingGroups` then.
  InputOrder order = InputOrder::Natural;
  double clip = 1; ///< as for scoresOf
};

/// What weights with the same inputs share.
struct SparseGptInputs {
  std::vector<int64_t> order; ///< position -> input
  std::vector<float> factor;  ///< [k][k], of quantization::feedbackFactor
  std::vector<uint8_t> quiet; ///< [k], inputs that were 0 throughout calibration
};
/// Fails where the statistics do not validate, or options are out of range.
Status prepareSparseGpt(const InputStatistics &statistics, int64_t k, const SparseGptOptions &options,
                        SparseGptInputs &inputs);

/// Goes through the inputs, a block of them at a time, makes those weights zero whose loss changes the output the
/// least, and after each input changes the ones that are still to come so that the error of the output over the
/// statistics' rows is least (Frantar and Alistarh 2023, "SparseGPT", algorithm 1). `result` is [n][k]. With scope
/// Layer the share of zeros is reached in each block of inputs, over all outputs. What is zero stays so. Without
/// correlations between inputs of equal size, and with all inputs in one block, it is magnitude pruning.
/// The same for any number of threads.
Status pruneSparseGpt(const Weight &w, const SparseGptInputs &inputs, const SparseGptOptions &options, ThreadPool *pool,
                      std::vector<float> &result);

} // namespace lathe::pruning

#endif // LATHE_PASSES_PRUNING_METHODS_SPARSEGPT_H
