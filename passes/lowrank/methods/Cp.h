//===- Cp.h - A convolution's weight as a sum of products -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_LOWRANK_METHODS_CP_H
#define LATHE_PASSES_LOWRANK_METHODS_CP_H

#include "passes/lowrank/methods/Tucker.h"

namespace lathe::lowrank {

/// w[o][c][e] = the sum over r of left[o][r] window[r][e] right[r][c]: a convolution of one element that makes `rank`
/// of the channels, one that slides a window of its own over each of them, and one of one element that makes the
/// outputs (canonical polyadic decomposition; Lebedev et al. 2015). Rows of `window` and `right` have length 1.
struct CpFactors {
  ConvolutionShape shape;
  int64_t rank = 0;
  std::vector<float> left, window, right;
  double energyKept = 1; ///< 1 less the share of the weight's squares that is lost
  int64_t rounds = 0;    ///< of alternating least squares

  static int64_t size(const ConvolutionShape &shape, int64_t rank) {
    return rank * (shape.outputs + shape.channels + shape.window);
  }
  /// The weight that they stand for, [outputs][channels][window].
  std::vector<float> dense() const;
};

/// Factors of `rank` by alternating least squares, from the first singular vectors of the unfoldings, and numbers drawn
/// by `seed` where there are not as many: until a round gains less than 1e-6 of the weight's squares, or `most` rounds
/// are done. Fails where a number is not finite, or where terms become so large that they only cancel, as a sum of
/// that rank that is nearest need not exist (de Silva and Lim 2008).
Status factorizeCp(const std::vector<float> &w, const ConvolutionShape &shape, int64_t rank, uint64_t seed,
                   int64_t most, CpFactors &result);

} // namespace lathe::lowrank

#endif // LATHE_PASSES_LOWRANK_METHODS_CP_H
