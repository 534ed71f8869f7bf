//===- Factors.h - A weight as a product of two thin ones -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_LOWRANK_METHODS_FACTORS_H
#define LATHE_PASSES_LOWRANK_METHODS_FACTORS_H

#include "passes/quantization/methods/Quantized.h"
#include "passes/quantization/methods/Statistics.h"

#include <cstdint>
#include <vector>

namespace lathe::lowrank {

using quantization::InputStatistics;
using quantization::Weight;
using runtime::Status;

/// What an error of a weight w[n outputs][k inputs] is measured by: the sum of squares of (w - w') S, where S S^T is
enum class Metric {
  Weights,    ///< the unit matrix: of the weights themselves (SVD; Eckart and Young 1936)
  Magnitudes, ///< diagonal, mean |x_i| to the power of 2 alpha (ASVD; Yuan et al. 2023)
  Outputs,    ///< the second moment of the inputs: of the layer's outputs (SVD-LLM; Wang et al. 2024)
};

struct Measure {
  Metric metric = Metric::Weights;
  double alpha = 0.5;                          ///< of magnitudes
  const InputStatistics *statistics = nullptr; ///< with a second moment for outputs; null for weights
};

/// w = left right: left[n][r] has orthonormal columns, in the order of what they contribute, right is [r][k].
struct Factors {
  int64_t n = 0, k = 0, r = 0;
  std::vector<float> left, right;
  /// Numbers of both, of a rank.
  static int64_t size(int64_t n, int64_t k, int64_t r) { return r * (n + k); }
  /// The product, [n][k].
  std::vector<float> dense() const;
};

/// The largest rank whose factors have fewer numbers than the weight; 0 where none has.
int64_t largestSavingRank(int64_t n, int64_t k);

/// Squares of the singular values of w S, largest first: the sum of those beyond a rank is the least error that factors
/// of that rank have. Fails where the weight or the statistics are not finite, or statistics do not fit.
Status spectrum(const Weight &w, const Measure &measure, std::vector<double> &squares);

/// The factors of `rank`, from 1 to min(n, k), of least error: w' = P P^T w, where P are the first left singular
/// vectors of w S. It needs no inverse of S, which need not have one. `squares` as in spectrum().
Status factorize(const Weight &w, const Measure &measure, int64_t rank, Factors &result, std::vector<double> &squares);

} // namespace lathe::lowrank

#endif // LATHE_PASSES_LOWRANK_METHODS_FACTORS_H
