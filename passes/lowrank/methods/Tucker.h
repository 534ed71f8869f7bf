//===- Tucker.h - A convolution's weight as three smaller ones --*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_LOWRANK_METHODS_TUCKER_H
#define LATHE_PASSES_LOWRANK_METHODS_TUCKER_H

#include "runtime/Status.h"

#include <cstdint>
#include <vector>

namespace lathe::lowrank {

using runtime::Status;

/// The extents of a convolution's weight w[outputs][channels][window], the elements of a window in one axis.
struct ConvolutionShape {
  int64_t outputs = 0, channels = 0, window = 0;
  int64_t numbers() const { return outputs * channels * window; }
};

/// w[o][c][e] = sum over p and q of left[o][p] core[p][q][e] right[q][c]: a convolution of one element that makes
/// inputChannels of the channels, one with windows between few channels, and one of one element that makes the outputs
/// (Tucker-2; Kim et al. 2016). Columns of `left` and rows of `right` are orthonormal.
struct TuckerFactors {
  ConvolutionShape shape;
  int64_t outputRank = 0, inputRank = 0;
  std::vector<float> left, core, right;
  double energyKept = 1; ///< share of the squares of the weight

  static int64_t size(const ConvolutionShape &shape, int64_t outputRank, int64_t inputRank) {
    return shape.outputs * outputRank + outputRank * inputRank * shape.window + inputRank * shape.channels;
  }
  /// The weight that they stand for, [outputs][channels][window].
  std::vector<float> dense() const;
};

/// Ranks with as much of the weight's numbers as (1 - ratio) leaves, both the same share of their extents; 1 or more.
void tuckerRanks(const ConvolutionShape &shape, double ratio, int64_t &outputRank, int64_t &inputRank);

/// The least ranks for which factors keep at least a share of the weight's squares, by the bound that is the sum of
/// what the unfoldings lose. Fails as factorizeTucker does.
Status tuckerRanksOfEnergy(const std::vector<float> &w, const ConvolutionShape &shape, double energy,
                           int64_t &outputRank, int64_t &inputRank);

/// Factors of given ranks, from 1 to the extents: the first singular vectors of the unfoldings, then `sweeps` rounds of
/// each for the other (higher-order orthogonal iteration), which lose no more. Fails where a number is not finite.
Status factorizeTucker(const std::vector<float> &w, const ConvolutionShape &shape, int64_t outputRank,
                       int64_t inputRank, int sweeps, TuckerFactors &result);

} // namespace lathe::lowrank

#endif // LATHE_PASSES_LOWRANK_METHODS_TUCKER_H
