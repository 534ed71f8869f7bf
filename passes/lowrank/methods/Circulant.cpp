//===- Circulant.cpp - A matrix of circulant blocks -----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/lowrank/methods/Circulant.h"

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace lathe;
using namespace lathe::lowrank;

namespace {

/// Cosines and sines of whole parts of a turn, each exact where it is 0, 1 or -1.
struct Turn {
  int64_t parts;
  double cosine(int64_t at) const { return std::cos(angle(at)); }
  double sine(int64_t at) const { return std::sin(angle(at)); }

private:
  double angle(int64_t at) const { return 2 * M_PI * static_cast<double>(at % parts) / static_cast<double>(parts); }
};

} // namespace

std::vector<float> Circulant::dense() const {
  std::vector<float> w(static_cast<size_t>(n * k));
  const int64_t across = k / block;
  for (int64_t row = 0; row < n; ++row)
    for (int64_t column = 0; column < k; ++column)
      w[row * k + column] =
          first[(row / block * across + column / block) * block + (row % block - column % block + block) % block];
  return w;
}

std::vector<float> Circulant::spectrum() const {
  const int64_t p = n / block, q = k / block;
  const Turn turn{block};
  std::vector<float> result(static_cast<size_t>(frequencies() * 2 * q * p));
  for (int64_t f = 0; f < frequencies(); ++f)
    for (int64_t i = 0; i < p; ++i)
      for (int64_t j = 0; j < q; ++j) {
        double re = 0, im = 0;
        const float *own = first.data() + (i * q + j) * block;
        for (int64_t t = 0; t < block; ++t) {
          re += own[t] * turn.cosine(f * t);
          im -= own[t] * turn.sine(f * t);
        }
        result[((f * 2) * q + j) * p + i] = static_cast<float>(re);
        result[((f * 2 + 1) * q + j) * p + i] = static_cast<float>(im);
      }
  return result;
}

double Circulant::multiplications(int64_t n, int64_t k, int64_t block) {
  const auto f = static_cast<double>(block / 2 + 1), b = static_cast<double>(block);
  const auto outputs = static_cast<double>(n), inputs = static_cast<double>(k);
  return 4 * f * inputs + 4 * f * (inputs / b) * (outputs / b) + 2 * f * outputs;
}

int64_t lowrank::circulantNumbers(int64_t n, int64_t k, int64_t block) {
  return (block / 2 + 1) * 2 * (n / block) * (k / block);
}

std::vector<float> lowrank::forwardTransform(int64_t block) {
  const int64_t frequencies = block / 2 + 1;
  const Turn turn{block};
  std::vector<float> result;
  for (int64_t t = 0; t < block; ++t)
    for (int64_t f = 0; f < frequencies; ++f) {
      const auto re = static_cast<float>(turn.cosine(f * t)), im = static_cast<float>(-turn.sine(f * t));
      result.insert(result.end(), {re, -im, im, re});
    }
  return result;
}

std::vector<float> lowrank::inverseTransform(int64_t block) {
  const int64_t frequencies = block / 2 + 1;
  const Turn turn{block};
  std::vector<float> result(static_cast<size_t>(frequencies * 2 * block));
  for (int64_t f = 0; f < frequencies; ++f)
    for (int64_t t = 0; t < block; ++t) {
      // Those above the half are conjugates of those below; the first, and the middle of an even number, stand alone.
      const double share = (f == 0 || 2 * f == block ? 1.0 : 2.0) / static_cast<double>(block);
      result[(f * 2) * block + t] = static_cast<float>(share * turn.cosine(f * t));
      result[(f * 2 + 1) * block + t] = static_cast<float>(-share * turn.sine(f * t));
    }
  return result;
}

std::vector<int64_t> lowrank::circulantBlocks(int64_t n, int64_t k) {
  const int64_t common = std::gcd(n, k);
  std::vector<int64_t> blocks;
  for (int64_t i = 1; i * i <= common; ++i)
    if (common % i == 0) {
      blocks.push_back(i);
      if (i * i != common)
        blocks.push_back(common / i);
    }
  std::sort(blocks.begin(), blocks.end());
  blocks.erase(blocks.begin(), blocks.begin() + !blocks.empty());
  return blocks;
}

Status lowrank::nearestCirculant(const Weight &w, int64_t block, Circulant &result) {
  result = {};
  if (block < 1 || w.n % block != 0 || w.k % block != 0)
    return runtime::failure(LATHE_INVALID_ARGUMENT, "a block must divide both extents of ", w.k, " x ", w.n, ", got ",
                            block);
  const int64_t across = w.k / block;
  std::vector<double> sums(static_cast<size_t>(w.n / block * w.k));
  double all = 0;
  for (int64_t row = 0; row < w.n; ++row)
    for (int64_t column = 0; column < w.k; ++column) {
      const float value = w.data[row * w.k + column];
      if (!std::isfinite(value))
        return runtime::failure(LATHE_INVALID_ARGUMENT, "weights must be finite, got ", value, " for output ", row,
                                " and input ", column);
      sums[(row / block * across + column / block) * block + (row % block - column % block + block) % block] += value;
      all += static_cast<double>(value) * value;
    }
  result.n = w.n;
  result.k = w.k;
  result.block = block;
  double kept = 0;
  for (double sum : sums) {
    const double mean = sum / static_cast<double>(block);
    kept += mean * sum;
    result.first.push_back(static_cast<float>(mean));
  }
  result.energyKept = all > 0 ? std::min(1.0, kept / all) : 1;
  return {};
}
