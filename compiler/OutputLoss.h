//===- OutputLoss.h - How far outputs are from those of a model -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_OUTPUTLOSS_H
#define LATHE_COMPILER_OUTPUTLOSS_H

#include "compiler/Calibration.h"
#include "runtime/ThreadPool.h"
#include <cstdint>
#include <vector>

namespace lathe {

/// What is summed up over samples.
struct LossSums {
  double divergence = 0;      ///< of distributions over tokens, in nats
  double nll = 0;             ///< of the tokens that follow, in nats
  uint64_t rows = 0;          ///< distributions
  uint64_t predictions = 0;   ///< tokens that follow
  std::vector<double> error;  ///< of each output: squares of differences
  std::vector<double> energy; ///< of each output: squares of the model's own

  void add(const LossSums &other);
  /// The mean Kullback-Leibler divergence of a distribution, or the mean over the outputs of their relative squared
  /// error. What is not finite is infinite.
  double loss() const;
  /// exp of the mean nll; 0 without predictions.
  double perplexity() const;
};

/// The outputs of the model as it is, for some samples, which those of changed models are compared with.
class ReferenceOutputs {
public:
  /// `isLogits`: there is one output [windows, tokens, vocabulary]; else each is as good as any other.
  explicit ReferenceOutputs(bool isLogits) : isLogits(isLogits) {}

  /// Takes a copy. `tokens` are those of the windows, one behind the other; empty where samples are none.
  void set(const std::vector<Observed> &outputs, const std::vector<int64_t> &tokens, runtime::ThreadPool *pool);
  /// Adds what changed outputs lose to `sums`. Those of another shape are infinitely far.
  void compare(const std::vector<Observed> &outputs, runtime::ThreadPool *pool, LossSums &sums) const;
  /// What the outputs themselves have: the nll, and no loss.
  const LossSums &own() const { return sums; }

private:
  void compareLogits(const float *logits, int64_t vocabulary, runtime::ThreadPool *pool, LossSums &sums) const;
  /// The token that follows row `row`, or -1.
  int64_t nextToken(int64_t row) const;

  bool isLogits;
  std::vector<std::vector<float>> values; ///< of logits: logarithms of probabilities
  std::vector<std::vector<int64_t>> dims;
  std::vector<int64_t> tokens;
  LossSums sums;
};

} // namespace lathe

#endif // LATHE_COMPILER_OUTPUTLOSS_H
