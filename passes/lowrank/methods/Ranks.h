//===- Ranks.h - How large the factors of weights are -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_LOWRANK_METHODS_RANKS_H
#define LATHE_PASSES_LOWRANK_METHODS_RANKS_H

#include <cstdint>
#include <vector>

namespace lathe::lowrank {

/// The share of the sum of squares that a rank keeps; 1 where all are 0.
double energyKept(const std::vector<double> &squares, int64_t rank);

/// The least rank, 1 or more, that keeps a share of the sum of squares.
int64_t rankOfEnergy(const std::vector<double> &squares, double energy);

/// The largest rank, 1 or more, at which the factors of n x k have at most (1 - ratio) of its numbers.
int64_t rankOfRatio(int64_t n, int64_t k, double ratio);

/// A weight whose rank is to be chosen among others'.
struct Candidate {
  int64_t n = 0, k = 0;
  std::vector<double> squares; ///< of its singular values, largest first
};

/// Ranks for which all weights together have at most (1 - ratio) of their numbers, and the sum over weights of the
/// share of energy that each loses is least; 0 for a weight that stays dense. Rank by rank is bought where it costs
/// least for a number that is stored; that a dense weight loses nothing, though factors of about half its rank cost as
/// much, makes that a choice between the two at each price.
std::vector<int64_t> allocateRanks(const std::vector<Candidate> &weights, double ratio);

} // namespace lathe::lowrank

#endif // LATHE_PASSES_LOWRANK_METHODS_RANKS_H
