//===- Hadamard.cpp - Rotations that spread outliers ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/Hadamard.h"

#include "passes/quantization/methods/Random.h"

#include <cmath>

using namespace lathe;
using namespace lathe::quantization;

namespace {

/// The largest matrix that is kept as a table, and multiplied by number by number.
constexpr int64_t kLargestBase = 1024;

bool isPrime(int64_t q) {
  if (q < 2)
    return false;
  for (int64_t divisor = 2; divisor * divisor <= q; ++divisor)
    if (q % divisor == 0)
      return false;
  return true;
}

enum class Construction { None, One, PaleyOne, PaleyTwo };

Construction constructionOf(int64_t base) {
  if (base == 1)
    return Construction::One;
  if (base % 4 != 0 || base > kLargestBase)
    return Construction::None;
  if ((base - 1) % 4 == 3 && isPrime(base - 1))
    return Construction::PaleyOne;
  if ((base / 2 - 1) % 4 == 1 && isPrime(base / 2 - 1))
    return Construction::PaleyTwo;
  return Construction::None;
}

/// The smallest factor with a matrix of its own whose cofactor is a power of two; 0 where there is none.
int64_t baseOf(int64_t size) {
  if (size < 1)
    return 0;
  int64_t base = size;
  while (base % 2 == 0)
    base /= 2;
  for (; base <= size && base <= kLargestBase; base *= 2)
    if (constructionOf(base) != Construction::None)
      return base;
  return 0;
}

/// 1 for squares modulo the prime q, -1 for others, 0 for 0.
std::vector<int8_t> quadraticCharacter(int64_t q) {
  std::vector<int8_t> character(static_cast<size_t>(q), -1);
  character[0] = 0;
  for (int64_t i = 1; i < q; ++i)
    character[i * i % q] = 1;
  return character;
}

std::vector<int8_t> coreOf(int64_t base) {
  std::vector<int8_t> core(static_cast<size_t>(base * base), 1);
  const Construction construction = constructionOf(base);
  if (construction == Construction::One)
    return core;
  const int64_t order = construction == Construction::PaleyOne ? base : base / 2, q = order - 1;
  const std::vector<int8_t> character = quadraticCharacter(q);
  // The conference matrix C: borders of 1, inside the characters of differences. Skew where q is 4 m + 3.
  const auto conference = [&](int64_t i, int64_t j) -> int {
    if (i == j)
      return 0;
    if (i == 0)
      return 1;
    if (j == 0)
      return construction == Construction::PaleyOne ? -1 : 1;
    return character[((i - j) % q + q) % q];
  };
  for (int64_t i = 0; i < order; ++i) {
    for (int64_t j = 0; j < order; ++j) {
      const int c = conference(i, j);
      if (construction == Construction::PaleyOne) {
        core[i * base + j] = static_cast<int8_t>(c + (i == j)); // I + C
        continue;
      }
      // C (x) [1 1; 1 -1] + I (x) [1 -1; -1 -1]
      const int same = i == j;
      core[2 * i * base + 2 * j] = static_cast<int8_t>(c + same);
      core[2 * i * base + 2 * j + 1] = static_cast<int8_t>(c - same);
      core[(2 * i + 1) * base + 2 * j] = static_cast<int8_t>(c - same);
      core[(2 * i + 1) * base + 2 * j + 1] = static_cast<int8_t>(-c - same);
    }
  }
  return core;
}

} // namespace

bool Hadamard::exists(int64_t size) { return baseOf(size) != 0; }

Status Hadamard::create(int64_t size, uint64_t seed, Hadamard &result) {
  result = {};
  const int64_t base = baseOf(size);
  if (base == 0)
    return runtime::failure(LATHE_INVALID_ARGUMENT, "a rotation needs a size with a known Hadamard matrix, such as a ",
                            "power of two times 1, 12, 20 or 28, got ", size);
  result.size_ = size;
  result.base_ = base;
  result.core_ = coreOf(base);
  result.signs_.assign(static_cast<size_t>(size), 1);
  Random random(seed);
  for (int8_t &sign : result.signs_)
    if (seed != 0 && random.next() >> 63)
      sign = -1;
  return {};
}

/// x becomes x (S (x) core), S being Sylvester's matrix of the power of two, which is symmetric.
void Hadamard::product(float *x, bool transposed) const {
  for (int64_t half = base_; half < size_; half *= 2)
    for (int64_t begin = 0; begin < size_; begin += 2 * half)
      for (int64_t i = begin; i < begin + half; ++i) {
        const float a = x[i], b = x[i + half];
        x[i] = a + b;
        x[i + half] = a - b;
      }
  if (base_ == 1)
    return;
  std::vector<float> part(static_cast<size_t>(base_));
  for (float *block = x; block < x + size_; block += base_) {
    for (int64_t j = 0; j < base_; ++j) {
      float sum = 0;
      for (int64_t i = 0; i < base_; ++i)
        sum += block[i] * static_cast<float>(transposed ? core_[j * base_ + i] : core_[i * base_ + j]);
      part[j] = sum;
    }
    std::copy(part.begin(), part.end(), block);
  }
}

void Hadamard::apply(float *x, int64_t rows) const {
  const float factor = static_cast<float>(1 / std::sqrt(static_cast<double>(size_)));
  for (int64_t row = 0; row < rows; ++row, x += size_) {
    for (int64_t i = 0; i < size_; ++i)
      x[i] *= signs_[i] < 0 ? -factor : factor;
    product(x, /*transposed=*/false);
  }
}

void Hadamard::applyInverse(float *x, int64_t rows) const {
  const float factor = static_cast<float>(1 / std::sqrt(static_cast<double>(size_)));
  for (int64_t row = 0; row < rows; ++row, x += size_) {
    product(x, /*transposed=*/true);
    for (int64_t i = 0; i < size_; ++i)
      x[i] *= signs_[i] < 0 ? -factor : factor;
  }
}

std::vector<float> Hadamard::matrix() const {
  std::vector<float> result(static_cast<size_t>(size_ * size_));
  for (int64_t i = 0; i < size_; ++i)
    result[i * size_ + i] = 1;
  apply(result.data(), size_);
  return result;
}
