//===- Circulant.h - A matrix of circulant blocks ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_LOWRANK_METHODS_CIRCULANT_H
#define LATHE_PASSES_LOWRANK_METHODS_CIRCULANT_H

#include "passes/quantization/methods/Quantized.h"
#include "runtime/Status.h"

#include <cstdint>
#include <vector>

namespace lathe::lowrank {

using quantization::Weight;
using runtime::Status;

/// w[i b + s][j b + t] = first[i][j][(s - t) mod b]: each block of b x b is told by its first column (Ding et al.
/// 2017).
struct Circulant {
  int64_t n = 0, k = 0, block = 0; ///< outputs and inputs, which block divides
  std::vector<float> first;        ///< [n / block][k / block][block]
  double energyKept = 1;           ///< share of the squares of the weight

  int64_t frequencies() const { return block / 2 + 1; }
  /// The matrix that it stands for, [n][k].
  std::vector<float> dense() const;
  /// The discrete Fourier transform of the blocks, real parts above imaginary ones:
  /// [frequencies][2][k / block][n / block]. Numbers of frequencies above these follow, as the blocks are real.
  std::vector<float> spectrum() const;
  /// What a product with it takes, multiplications for a row of inputs, by transforms that are products themselves.
  static double multiplications(int64_t n, int64_t k, int64_t block);
};

/// Numbers of the spectrum, which products read.
int64_t circulantNumbers(int64_t n, int64_t k, int64_t block);

/// [block][frequencies][2][2], of inputs: for each frequency Re, -Im and Im, Re of the transform.
std::vector<float> forwardTransform(int64_t block);
/// [frequencies][2][block], from Re and Im back.
std::vector<float> inverseTransform(int64_t block);

/// Blocks that divide both extents, smallest first; without 1.
std::vector<int64_t> circulantBlocks(int64_t n, int64_t k);

/// The nearest matrix of circulant blocks: of each block's wrapped diagonals the means. Fails where a number is not
/// finite, or the block does not divide the extents.
Status nearestCirculant(const Weight &w, int64_t block, Circulant &result);

} // namespace lathe::lowrank

#endif // LATHE_PASSES_LOWRANK_METHODS_CIRCULANT_H
