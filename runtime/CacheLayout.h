//===- CacheLayout.h - Rows of keys or values in a page ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// How a page keeps 64 rows of all heads of a cache. Of f32 a head is its rows, one behind the other. Of codes, columns
// in groups share a scale and, where they are not symmetric, a lowest value:
//   symmetric: value = scale * code, codes of 8 bits from -127 to 127, of 4 bits from -7 to 7
//   otherwise: value = lowest + scale * code, codes from 0 to 2^bits - 1
// Where rows are rotated, these are the values of x * H, with H the orthonormal Hadamard matrix of as many columns as
// the largest power of two that divides a row's, 128 at most, along the diagonal; H is its own inverse. So a few large
// columns are spread over all. A head is then the codes of its rows, one row behind the other; the scales [group][row];
// the lowest values likewise. These are bf16, rounded outwards, so that no value is clipped. A code of 8 bits is a
// byte. Of 4 bits, sixteen bytes hold 32 columns: byte j column j in its low half, column j + 16 in the high one,
// symmetric codes plus 8; the last of them may be padded.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_CACHELAYOUT_H
#define LATHE_RUNTIME_CACHELAYOUT_H

#include <cstdint>
#include <string_view>

namespace lathe::runtime {

struct CacheLayout {
  static constexpr int64_t kPageRows = 64;
  static constexpr int64_t kBlockColumns = 32; ///< of 4 bits, whose codes stand together
  static constexpr int64_t kGroupUnit = 16;    ///< groups are multiples of it

  int64_t heads = 0;
  int64_t size = 0;      ///< columns of a row
  int64_t bits = 32;     ///< of a code: 8 or 4; 32: numbers are f32
  int64_t group = 0;     ///< columns that share a scale; 0: all
  bool symmetric = true; ///< else with lowest values
  bool rotated = false;  ///< of codes: what is rounded are products with Hadamard matrices

  static constexpr int64_t kMostRotated = 128;
  /// Columns that are rotated together; 1 for none.
  int64_t rotation() const {
    int64_t columns = rotated && hasCodes() ? size & -size : 1;
    return columns < kMostRotated ? columns : kMostRotated;
  }

  /// Sets what numbers are kept as by its name in the manifest: f32, i8, u8, i4 or u4. False for another name.
  bool setType(std::string_view name);

  bool hasCodes() const { return bits < 32; }
  /// Columns of a group, of which the last may have fewer.
  int64_t groupColumns() const { return group > 0 && group < size ? group : size; }
  int64_t groups() const { return hasCodes() ? (size + groupColumns() - 1) / groupColumns() : 0; }
  int64_t rowBytes() const {
    return bits == 4 ? (size + kBlockColumns - 1) / kBlockColumns * (kBlockColumns / 2) : size * (bits / 8);
  }
  /// From the first row of a head to the scales, and to the lowest values.
  int64_t scalesAt() const { return kPageRows * rowBytes(); }
  int64_t lowestAt() const { return scalesAt() + kPageRows * groups() * 2; }
  int64_t headBytes() const { return lowestAt() + (symmetric ? 0 : kPageRows * groups() * 2); }
  /// Of a page.
  int64_t bytes() const { return heads * headBytes(); }

  /// Puts numbers x[0], x[step] .. into row `row`, below kPageRows, of the head that begins at `head`. A group with
  /// something that is not finite becomes NaN.
  void store(unsigned char *head, int64_t row, const float *x, int64_t step) const;
  /// The numbers that the row stands for, to x[0], x[step] ..
  void load(const unsigned char *head, int64_t row, float *x, int64_t step) const;
};

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_CACHELAYOUT_H
