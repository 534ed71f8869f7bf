//===- Formats.h - Matrices with zeros, as they are stored ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// The formats of lathe.sparse_to_dense, made from a dense matrix.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_SPARSITY_FORMATS_H
#define LATHE_PASSES_SPARSITY_FORMATS_H

#include "dialects/lathe/Sparse.h"
#include <optional>
#include <utility>
#include <vector>

namespace lathe::sparsity {

/// A row-major matrix of elements of 1 byte (integers), 2 or 4 (floats). Zeros of either sign are zeros.
struct Matrix {
  const char *data = nullptr;
  int64_t rows = 0, columns = 0;
  int64_t elementBytes = 4;

  const char *at(int64_t row, int64_t column) const { return data + (row * columns + column) * elementBytes; }
  bool isZero(int64_t row, int64_t column) const;
};

/// What a format keeps of a matrix.
struct Stored {
  SparseFormat format = SparseFormat::csr;
  int64_t rows = 0, columns = 0;
  int64_t block[2] = {0, 0}; ///< of bsr
  int64_t m = 0, axis = 0;   ///< of n_of_m
  std::vector<char> values;
  std::vector<int64_t> valueShape;
  std::vector<char> indices; ///< unsigned, little-endian
  int64_t indexBits = 8;     ///< 8, 16 or 32
  std::vector<int64_t> indexShape;
  std::vector<int32_t> pointers; ///< empty for n_of_m

  int64_t bytes() const {
    return static_cast<int64_t>(values.size() + indices.size() + pointers.size() * sizeof(int32_t));
  }
};

Stored storeRows(const Matrix &matrix);
Stored storeBlocks(const Matrix &matrix, int64_t height, int64_t width);
Stored storeBitmap(const Matrix &matrix);
/// n of each m elements along an axis; nullopt where some group has more that are not zero.
std::optional<Stored> storeGroups(const Matrix &matrix, int64_t n, int64_t m, int64_t axis);

/// Columns of a product that share a list of rows in artifacts (runtime/SparseLayout.h): 4 where blocks are as wide
/// along its outputs, else 1.
int64_t listHeight(SparseFormat format, const int64_t (&block)[2], bool transposed);

/// The dense matrix that is stored, as the operation defines it.
std::vector<char> toDense(const Stored &stored, int64_t elementBytes);

/// What the zeros of a matrix look like.
struct Zeros {
  int64_t nonzeros = 0;
  /// Where n of m = 4, 8 or 16 elements along an axis are enough for every group, all but a tenth of these are no
  /// zeros, and that is at most half of the elements, the smallest such m, or a larger one with fewer than 4 / 5 of its
  /// elements; m is 0 where there is none.
  int64_t n = 0, m = 0, axis = 0;
  /// The largest block of which those that are not all zeros are full, but for a tenth; [1, 1] where no larger one is.
  int64_t block[2] = {1, 1};
  int64_t blocks = 0; ///< that are not all zeros
};

/// Counts zeros; groups are looked for along `axis`, the one that products sum over.
Zeros findZeros(const Matrix &matrix, int64_t axis);

/// Bytes of a format, or nullopt where the zeros have no pattern for it: blocks and groups are those of `zeros`.
std::optional<int64_t> bytesOf(SparseFormat format, const Matrix &matrix, const Zeros &zeros);
/// The matrix in that format; nullopt likewise.
std::optional<Stored> store(SparseFormat format, const Matrix &matrix, const Zeros &zeros);

} // namespace lathe::sparsity

#endif // LATHE_PASSES_SPARSITY_FORMATS_H
