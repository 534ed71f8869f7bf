//===- PackedLayout.h - Blocked layout of a matrix --------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// The layouts of matrices that libraries want for the right side of a product, in the terms of oneDNN's blocked
// layouts.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_PACKEDLAYOUT_H
#define LATHE_RUNTIME_PACKEDLAYOUT_H

#include <cstddef>
#include <cstdint>
#include <vector>

namespace lathe::runtime {

/// Layout of a [k, n] matrix as blocks. Where element (k, n) lies is the sum of a term in k and a term in n.
struct PackedLayout {
  static constexpr int kMaxBlocks = 8;

  int64_t dims[2] = {0, 0};       ///< logical k, n
  int64_t paddedDims[2] = {0, 0}; ///< multiples of the blocks
  int64_t strides[2] = {0, 0};    ///< of the outer blocks, in elements
  int blockCount = 0;             ///< of the inner blocks, outermost first
  int64_t blocks[kMaxBlocks] = {};
  int blockDims[kMaxBlocks] = {}; ///< 0 or 1: which dimension a block divides

  /// Product of the inner blocks of a dimension.
  int64_t blockOf(int dim) const {
    int64_t size = 1;
    for (int i = 0; i < blockCount; ++i)
      if (blockDims[i] == dim)
        size *= blocks[i];
    return size;
  }

  /// Elements, padding included. Only for valid layouts.
  int64_t elements() const { return paddedDims[0] * paddedDims[1]; }

  /// Checks everything that reading through the layout relies on: every element lies inside [0, elements()).
  bool valid() const;

  bool operator==(const PackedLayout &other) const;

  /// Term of `index` along `dim` in the position of an element.
  int64_t term(int dim, int64_t index) const;

  /// The terms of the first `count` indices along `dim`.
  std::vector<int64_t> terms(int dim, int64_t count) const;
};

/// Copies a strided [k, n] matrix into `layout` and fills the padding with zeros.
void pack(const PackedLayout &layout, size_t elementSize, const void *source, int64_t rowStride, int64_t colStride,
          void *target);

/// Copies a packed matrix into a dense row-major one.
void unpack(const PackedLayout &layout, size_t elementSize, const void *source, void *target);

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_PACKEDLAYOUT_H
