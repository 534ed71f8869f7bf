//===- Hadamard.h - Rotations that spread outliers --------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_METHODS_HADAMARD_H
#define LATHE_PASSES_QUANTIZATION_METHODS_HADAMARD_H

#include "runtime/Status.h"

#include <cstdint>
#include <vector>

namespace lathe::quantization {

using runtime::Status;

/// An orthogonal matrix R[size][size] = diag(signs) H / sqrt(size), where H is a Hadamard matrix: x R has the length of
/// x, and each of its numbers is a sum of all of x with weights of one size, so that outliers are shared out (Ashkboos
/// et al. 2024, "QuaRot", section 3). A layer's output stays as it is when its input becomes x R and its weight W R.
///
/// Sizes: a power of two times 1, q + 1 for a prime q of the form 4 m + 3, or 2 (q + 1) for a prime q of the form
/// 4 m + 1 (Sylvester's and both of Paley's constructions): 12, 20, 28, 36, 44, 60, 76 and their doubles among them.
class Hadamard {
public:
  Hadamard() = default;

  /// Signs are drawn by `seed`, the same on every machine; seed 0: all are positive. Fails where no matrix of that size
  /// is known here.
  static Status create(int64_t size, uint64_t seed, Hadamard &result);
  static bool exists(int64_t size);

  int64_t size() const { return size_; }
  /// x[rows][size] becomes x R, in place; size * (log2 of the power of two + the other factor) additions a row.
  void apply(float *x, int64_t rows) const;
  /// x R^T, which undoes apply.
  void applyInverse(float *x, int64_t rows) const;
  /// R, row by row.
  std::vector<float> matrix() const;

private:
  void product(float *x, bool transposed) const;

  int64_t size_ = 0;
  int64_t base_ = 1;         ///< size of the matrix that is no power of two
  std::vector<int8_t> core_; ///< [base][base], 1 and -1
  std::vector<int8_t> signs_;
};

} // namespace lathe::quantization

#endif // LATHE_PASSES_QUANTIZATION_METHODS_HADAMARD_H
