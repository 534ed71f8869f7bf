//===- PackedLayout.cpp - Blocked layout of a matrix ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/PackedLayout.h"

#include <cstring>

using namespace lathe::runtime;

bool PackedLayout::valid() const {
  if (blockCount < 0 || blockCount > kMaxBlocks)
    return false;
  int64_t inner = 1;
  for (int i = 0; i < blockCount; ++i) {
    if (blocks[i] < 1 || (blockDims[i] != 0 && blockDims[i] != 1) || __builtin_mul_overflow(inner, blocks[i], &inner))
      return false;
  }
  int64_t total = 0;
  int64_t last = inner - 1;
  for (int dim = 0; dim < 2; ++dim) {
    int64_t block = blockOf(dim);
    if (dims[dim] < 1 || paddedDims[dim] < dims[dim] || paddedDims[dim] % block != 0 || strides[dim] < 0)
      return false;
    int64_t span = 0;
    if (__builtin_mul_overflow(paddedDims[dim] / block - 1, strides[dim], &span) ||
        __builtin_add_overflow(last, span, &last))
      return false;
  }
  // A layout that covers its elements once needs no more room than they take.
  return !__builtin_mul_overflow(paddedDims[0], paddedDims[1], &total) && last < total;
}

bool PackedLayout::operator==(const PackedLayout &other) const {
  for (int dim = 0; dim < 2; ++dim)
    if (dims[dim] != other.dims[dim] || paddedDims[dim] != other.paddedDims[dim])
      return false;
  // The stride of a dimension that has one block does not matter.
  for (int dim = 0; dim < 2; ++dim)
    if (strides[dim] != other.strides[dim] && paddedDims[dim] != blockOf(dim))
      return false;
  if (blockCount != other.blockCount)
    return false;
  for (int i = 0; i < blockCount; ++i)
    if (blocks[i] != other.blocks[i] || blockDims[i] != other.blockDims[i])
      return false;
  return true;
}

int64_t PackedLayout::term(int dim, int64_t index) const {
  int64_t position = 0;
  int64_t stride = 1;
  for (int i = blockCount - 1; i >= 0; --i) {
    if (blockDims[i] == dim) {
      position += index % blocks[i] * stride;
      index /= blocks[i];
    }
    stride *= blocks[i];
  }
  return position + index * strides[dim];
}

std::vector<int64_t> PackedLayout::terms(int dim, int64_t count) const {
  std::vector<int64_t> result(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i)
    result[static_cast<size_t>(i)] = term(dim, i);
  return result;
}

namespace {
/// `source` may lie anywhere in a model's file, at no multiple of its elements' size.
template <typename T>
void packAs(const PackedLayout &layout, const void *source, int64_t rowStride, int64_t colStride, T *target) {
  auto *bytes = static_cast<const unsigned char *>(source);
  std::vector<int64_t> rows = layout.terms(0, layout.dims[0]);
  std::vector<int64_t> cols = layout.terms(1, layout.dims[1]);
  // Tiles keep both sides in cache whatever the order of the source.
  constexpr size_t kTile = 64;
  for (size_t k0 = 0; k0 < rows.size(); k0 += kTile)
    for (size_t n0 = 0; n0 < cols.size(); n0 += kTile)
      for (size_t k = k0; k < rows.size() && k < k0 + kTile; ++k)
        for (size_t n = n0; n < cols.size() && n < n0 + kTile; ++n)
          memcpy(&target[rows[k] + cols[n]],
                 bytes + (static_cast<int64_t>(k) * rowStride + static_cast<int64_t>(n) * colStride) * static_cast<int64_t>(sizeof(T)),
                 sizeof(T));
}

template <typename T> void unpackAs(const PackedLayout &layout, const T *source, T *target) {
  std::vector<int64_t> rows = layout.terms(0, layout.dims[0]);
  std::vector<int64_t> cols = layout.terms(1, layout.dims[1]);
  for (int64_t row : rows)
    for (int64_t col : cols)
      *target++ = source[row + col];
}
} // namespace

void lathe::runtime::pack(const PackedLayout &layout, size_t elementSize, const void *source, int64_t rowStride,
                          int64_t colStride, void *target) {
  if (layout.dims[0] != layout.paddedDims[0] || layout.dims[1] != layout.paddedDims[1])
    memset(target, 0, static_cast<size_t>(layout.elements()) * elementSize);
  switch (elementSize) {
  case 1:
    return packAs(layout, source, rowStride, colStride, static_cast<uint8_t *>(target));
  case 2:
    return packAs(layout, source, rowStride, colStride, static_cast<uint16_t *>(target));
  case 4:
    return packAs(layout, source, rowStride, colStride, static_cast<uint32_t *>(target));
  default:
    return packAs(layout, source, rowStride, colStride, static_cast<uint64_t *>(target));
  }
}

void lathe::runtime::unpack(const PackedLayout &layout, size_t elementSize, const void *source, void *target) {
  switch (elementSize) {
  case 1:
    return unpackAs(layout, static_cast<const uint8_t *>(source), static_cast<uint8_t *>(target));
  case 2:
    return unpackAs(layout, static_cast<const uint16_t *>(source), static_cast<uint16_t *>(target));
  case 4:
    return unpackAs(layout, static_cast<const uint32_t *>(source), static_cast<uint32_t *>(target));
  default:
    return unpackAs(layout, static_cast<const uint64_t *>(source), static_cast<uint64_t *>(target));
  }
}
