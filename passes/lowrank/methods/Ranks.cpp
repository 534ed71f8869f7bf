//===- Ranks.cpp - How large the factors of weights are -------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/lowrank/methods/Ranks.h"

#include "passes/lowrank/methods/Factors.h"

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace lathe;
using namespace lathe::lowrank;

namespace {

double sum(const std::vector<double> &values) { return std::accumulate(values.begin(), values.end(), 0.0); }

/// One weight at each price of a number.
class Choice {
public:
  explicit Choice(const Candidate &weight)
      : weight_(weight), total_(std::max(sum(weight.squares), 1e-300)),
        most_(std::min<int64_t>(largestSavingRank(weight.n, weight.k), static_cast<int64_t>(weight.squares.size()))) {
    double rest = 1;
    for (int64_t r = 0; r < most_; ++r)
      lost_.push_back(rest -= weight.squares[r] / total_);
  }
  /// 0: stays dense.
  int64_t rankAt(double price) const {
    if (most_ < 1)
      return 0;
    const double own = price * static_cast<double>(weight_.n + weight_.k);
    int64_t rank = 1;
    while (rank < most_ && gain(rank) > own)
      ++rank;
    const double dense = price * static_cast<double>(weight_.n * weight_.k);
    return std::max(lost_[rank - 1], 0.0) + own * static_cast<double>(rank) < dense ? rank : 0;
  }
  int64_t numbers(int64_t rank) const {
    return rank ? Factors::size(weight_.n, weight_.k, rank) : weight_.n * weight_.k;
  }
  /// What the next rank brings for each number, and whether there is one.
  bool canGrow(int64_t rank) const { return rank > 0 && rank < most_; }
  double worth(int64_t rank) const { return gain(rank) / static_cast<double>(weight_.n + weight_.k); }

private:
  double gain(int64_t rank) const { return weight_.squares[rank] / total_; }

  const Candidate &weight_;
  double total_;
  int64_t most_;
  std::vector<double> lost_; ///< share of energy, by rank - 1
};

} // namespace

double lowrank::energyKept(const std::vector<double> &squares, int64_t rank) {
  const double all = sum(squares);
  const double kept = std::accumulate(
      squares.begin(), squares.begin() + std::min<int64_t>(rank, static_cast<int64_t>(squares.size())), 0.0);
  return all > 0 ? std::min(kept / all, 1.0) : 1;
}

int64_t lowrank::rankOfEnergy(const std::vector<double> &squares, double energy) {
  const double wanted = energy * sum(squares);
  double kept = 0;
  int64_t rank = 0;
  while (rank < static_cast<int64_t>(squares.size()) && (rank < 1 || kept < wanted))
    kept += squares[rank++];
  return std::max<int64_t>(rank, 1);
}

int64_t lowrank::rankOfRatio(int64_t n, int64_t k, double ratio) {
  // A little is added for products of the ratio that are whole numbers but for rounding.
  const double most = (1 - ratio) * static_cast<double>(n) * static_cast<double>(k) / static_cast<double>(n + k);
  return std::max<int64_t>(1, static_cast<int64_t>(most + 1e-9));
}

std::vector<int64_t> lowrank::allocateRanks(const std::vector<Candidate> &weights, double ratio) {
  std::vector<Choice> choices(weights.begin(), weights.end());
  int64_t all = 0;
  for (const Candidate &weight : weights)
    all += weight.n * weight.k;
  const auto budget = static_cast<int64_t>((1 - ratio) * static_cast<double>(all) + 1e-6);
  std::vector<int64_t> ranks(weights.size());
  auto at = [&](double price) {
    int64_t numbers = 0;
    for (size_t i = 0; i < choices.size(); ++i) {
      ranks[i] = choices[i].rankAt(price);
      numbers += choices[i].numbers(ranks[i]);
    }
    return numbers;
  };
  // The least price, on a scale of logarithms, at which all fit; at the highest all have rank 1.
  double low = -120, high = 10;
  for (int step = 0; step < 100; ++step) {
    const double middle = (low + high) / 2;
    (at(std::exp(middle)) <= budget ? high : low) = middle;
  }
  int64_t numbers = at(std::exp(high));
  // What is left is too little for a weight that becomes dense, but not for a rank more here and there.
  for (;;) {
    size_t best = choices.size();
    for (size_t i = 0; i < choices.size(); ++i)
      if (choices[i].canGrow(ranks[i]) && numbers + weights[i].n + weights[i].k <= budget &&
          (best == choices.size() || choices[i].worth(ranks[i]) > choices[best].worth(ranks[best])))
        best = i;
    if (best == choices.size())
      return ranks;
    ++ranks[best];
    numbers += weights[best].n + weights[best].k;
  }
}
