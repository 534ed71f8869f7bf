//===- Formats.cpp - Matrices with zeros, as they are stored --------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/sparsity/Formats.h"
#include <algorithm>
#include <cstring>

namespace lathe::sparsity {
namespace {

int64_t ceilDiv(int64_t a, int64_t b) { return a / b + (a % b != 0); }

/// Bits of the smallest type for places below `extent`.
int64_t bitsFor(int64_t extent) { return extent <= 256 ? 8 : extent <= 65536 ? 16 : 32; }

void append(std::vector<char> &indices, int64_t index, int64_t bits) {
  auto value = static_cast<uint32_t>(index);
  const char *bytes = reinterpret_cast<const char *>(&value); // little-endian, as all that runs this is
  indices.insert(indices.end(), bytes, bytes + bits / 8);
}

int64_t read(const std::vector<char> &indices, int64_t position, int64_t bits) {
  uint32_t value = 0;
  memcpy(&value, indices.data() + position * (bits / 8), bits / 8);
  return value;
}

Stored empty(SparseFormat format, const Matrix &matrix) {
  Stored stored;
  stored.format = format;
  stored.rows = matrix.rows;
  stored.columns = matrix.columns;
  return stored;
}

/// One byte an element: whether it is no zero.
std::vector<uint8_t> maskOf(const Matrix &matrix) {
  std::vector<uint8_t> mask(matrix.rows * matrix.columns);
  for (int64_t i = 0; i < matrix.rows; ++i)
    for (int64_t j = 0; j < matrix.columns; ++j)
      mask[i * matrix.columns + j] = !matrix.isZero(i, j);
  return mask;
}

/// Blocks that are not all zeros.
int64_t countBlocks(const std::vector<uint8_t> &mask, int64_t rows, int64_t columns, int64_t height, int64_t width) {
  int64_t count = 0, across = ceilDiv(columns, width);
  std::vector<uint8_t> any(across);
  for (int64_t i = 0; i < rows; ++i) {
    if (i % height == 0)
      std::fill(any.begin(), any.end(), 0);
    for (int64_t j = 0; j < columns; ++j)
      any[j / width] |= mask[i * columns + j];
    if (i % height == height - 1 || i == rows - 1)
      count += std::count(any.begin(), any.end(), 1);
  }
  return count;
}

/// The most elements of a group of m along an axis that are not zero.
int64_t mostOfGroup(const std::vector<uint8_t> &mask, int64_t rows, int64_t columns, int64_t m, int64_t axis) {
  int64_t most = 0, lines = axis == 0 ? columns : rows, extent = axis == 0 ? rows : columns;
  int64_t step = axis == 0 ? columns : 1, lineStep = axis == 0 ? 1 : columns;
  for (int64_t line = 0; line < lines; ++line)
    for (int64_t begin = 0; begin < extent; begin += m) {
      int64_t count = 0;
      for (int64_t i = begin; i < std::min(extent, begin + m); ++i)
        count += mask[line * lineStep + i * step];
      most = std::max(most, count);
    }
  return most;
}

} // namespace

bool Matrix::isZero(int64_t row, int64_t column) const {
  const char *element = at(row, column);
  if (elementBytes == 1)
    return *element == 0;
  if (elementBytes == 2) {
    uint16_t bits;
    memcpy(&bits, element, sizeof bits);
    return (bits & 0x7fff) == 0;
  }
  uint32_t bits;
  memcpy(&bits, element, sizeof bits);
  return (bits & 0x7fffffff) == 0;
}

Stored storeRows(const Matrix &matrix) {
  Stored stored = empty(SparseFormat::csr, matrix);
  stored.indexBits = bitsFor(matrix.columns);
  stored.pointers.push_back(0);
  int64_t count = 0;
  for (int64_t i = 0; i < matrix.rows; ++i) {
    for (int64_t j = 0; j < matrix.columns; ++j)
      if (!matrix.isZero(i, j)) {
        stored.values.insert(stored.values.end(), matrix.at(i, j), matrix.at(i, j) + matrix.elementBytes);
        append(stored.indices, j, stored.indexBits);
        ++count;
      }
    stored.pointers.push_back(static_cast<int32_t>(count));
  }
  stored.valueShape = stored.indexShape = {count};
  return stored;
}

Stored storeBlocks(const Matrix &matrix, int64_t height, int64_t width) {
  Stored stored = empty(SparseFormat::bsr, matrix);
  stored.block[0] = height;
  stored.block[1] = width;
  int64_t across = ceilDiv(matrix.columns, width), count = 0;
  stored.indexBits = bitsFor(across);
  stored.pointers.push_back(0);
  std::vector<char> block(height * width * matrix.elementBytes);
  for (int64_t top = 0; top < matrix.rows; top += height) {
    for (int64_t left = 0; left < matrix.columns; left += width) {
      bool isStored = false;
      std::fill(block.begin(), block.end(), 0);
      for (int64_t i = top; i < std::min(matrix.rows, top + height); ++i)
        for (int64_t j = left; j < std::min(matrix.columns, left + width); ++j) {
          isStored |= !matrix.isZero(i, j);
          memcpy(block.data() + ((i - top) * width + j - left) * matrix.elementBytes, matrix.at(i, j),
                 matrix.elementBytes);
        }
      if (!isStored)
        continue;
      stored.values.insert(stored.values.end(), block.begin(), block.end());
      append(stored.indices, left / width, stored.indexBits);
      ++count;
    }
    stored.pointers.push_back(static_cast<int32_t>(count));
  }
  stored.valueShape = {count, height, width};
  stored.indexShape = {count};
  return stored;
}

Stored storeBitmap(const Matrix &matrix) {
  Stored stored = empty(SparseFormat::bitmap, matrix);
  int64_t bytes = ceilDiv(matrix.columns, 8), count = 0;
  stored.indices.assign(matrix.rows * bytes, 0);
  stored.pointers.push_back(0);
  for (int64_t i = 0; i < matrix.rows; ++i) {
    for (int64_t j = 0; j < matrix.columns; ++j)
      if (!matrix.isZero(i, j)) {
        stored.values.insert(stored.values.end(), matrix.at(i, j), matrix.at(i, j) + matrix.elementBytes);
        stored.indices[i * bytes + j / 8] |= static_cast<char>(1 << j % 8);
        ++count;
      }
    stored.pointers.push_back(static_cast<int32_t>(count));
  }
  stored.valueShape = {count};
  stored.indexShape = {matrix.rows, bytes};
  return stored;
}

std::optional<Stored> storeGroups(const Matrix &matrix, int64_t n, int64_t m, int64_t axis) {
  Stored stored = empty(SparseFormat::n_of_m, matrix);
  stored.m = m;
  stored.axis = axis;
  int64_t extent = axis == 0 ? matrix.rows : matrix.columns, lines = axis == 0 ? matrix.columns : matrix.rows;
  int64_t groups = ceilDiv(extent, m), length = groups * n;
  stored.valueShape = {matrix.rows, matrix.columns};
  stored.valueShape[axis] = length;
  stored.indexShape = stored.valueShape;
  stored.values.assign(length * lines * matrix.elementBytes, 0);
  stored.indices.assign(length * lines, 0);
  for (int64_t line = 0; line < lines; ++line)
    for (int64_t group = 0; group < groups; ++group) {
      std::vector<int64_t> places, free;
      for (int64_t i = 0; i < m; ++i) {
        int64_t along = group * m + i;
        bool isStored = along < extent && !(axis == 0 ? matrix.isZero(along, line) : matrix.isZero(line, along));
        (isStored ? places : free).push_back(i);
      }
      if (static_cast<int64_t>(places.size()) > n)
        return std::nullopt;
      // Places of zeros fill up what a group has less, in the order of places.
      places.insert(places.end(), free.begin(), free.begin() + (n - static_cast<int64_t>(places.size())));
      std::sort(places.begin(), places.end());
      for (int64_t i = 0; i < n; ++i) {
        int64_t along = group * m + places[i], to = group * n + i;
        int64_t position = axis == 0 ? to * lines + line : line * length + to;
        stored.indices[position] = static_cast<char>(places[i]);
        if (along < extent)
          memcpy(stored.values.data() + position * matrix.elementBytes,
                 axis == 0 ? matrix.at(along, line) : matrix.at(line, along), matrix.elementBytes);
      }
    }
  return stored;
}

int64_t listHeight(SparseFormat format, const int64_t (&block)[2], bool transposed) {
  return format == SparseFormat::bsr && block[transposed ? 0 : 1] % 4 == 0 ? 4 : 1;
}

std::vector<char> toDense(const Stored &stored, int64_t elementBytes) {
  std::vector<char> dense(stored.rows * stored.columns * elementBytes);
  auto put = [&](int64_t row, int64_t column, int64_t position) {
    if (row < stored.rows && column < stored.columns &&
        (position + 1) * elementBytes <= static_cast<int64_t>(stored.values.size()))
      memcpy(dense.data() + (row * stored.columns + column) * elementBytes,
             stored.values.data() + position * elementBytes, elementBytes);
  };
  if (stored.format == SparseFormat::n_of_m) {
    int64_t extent = stored.axis == 0 ? stored.rows : stored.columns, groups = ceilDiv(extent, stored.m);
    int64_t n = groups > 0 ? stored.valueShape[stored.axis] / groups : 1, across = stored.valueShape[1];
    for (int64_t i = 0; i < stored.valueShape[0]; ++i)
      for (int64_t j = 0; j < across; ++j) {
        int64_t place = static_cast<uint8_t>(stored.indices[i * across + j]);
        if (place < stored.m)
          put(stored.axis == 0 ? i / n * stored.m + place : i, stored.axis == 1 ? j / n * stored.m + place : j,
              i * across + j);
      }
    return dense;
  }
  int64_t all = stored.valueShape.empty() ? 0 : stored.valueShape[0];
  for (int64_t i = 0; i + 1 < static_cast<int64_t>(stored.pointers.size()); ++i) {
    int64_t begin = static_cast<uint32_t>(stored.pointers[i]),
            end = std::min<int64_t>(static_cast<uint32_t>(stored.pointers[i + 1]), all);
    if (stored.format == SparseFormat::bitmap) {
      int64_t bytes = ceilDiv(stored.columns, 8);
      for (int64_t j = 0; j < stored.columns && begin < end; ++j)
        if (stored.indices[i * bytes + j / 8] >> j % 8 & 1)
          put(i, j, begin++);
      continue;
    }
    for (int64_t p = begin; p < end; ++p) {
      int64_t column = read(stored.indices, p, stored.indexBits), area = stored.block[0] * stored.block[1];
      if (stored.format == SparseFormat::csr)
        put(i, column, p);
      else
        for (int64_t e = 0; e < area; ++e)
          put(i * stored.block[0] + e / stored.block[1], column * stored.block[1] + e % stored.block[1], p * area + e);
    }
  }
  return dense;
}

Zeros findZeros(const Matrix &matrix, int64_t axis) {
  Zeros zeros;
  std::vector<uint8_t> mask = maskOf(matrix);
  zeros.nonzeros = std::count(mask.begin(), mask.end(), 1);
  zeros.axis = axis;
  if (zeros.nonzeros == 0)
    return zeros;
  for (int64_t m : {4, 8, 16}) {
    int64_t n = std::max<int64_t>(mostOfGroup(mask, matrix.rows, matrix.columns, m, axis), 1);
    // Not by chance, as among many zeros without an order some groups have few.
    int64_t extent = axis == 0 ? matrix.rows : matrix.columns, lines = axis == 0 ? matrix.columns : matrix.rows;
    bool areFull = 10 * zeros.nonzeros >= 9 * n * ceilDiv(extent, m) * lines;
    if (!areFull || 2 * n > m || (zeros.m > 0 && 5 * n * zeros.m > 4 * zeros.n * m)) // larger groups are to be worth it
      continue;
    zeros.n = n;
    zeros.m = m;
  }
  // Halves of blocks that are full are as full at least, so that blocks whose halves are not need not be looked at.
  constexpr int kSizes = 7; // 1, 2, 4 up to 64
  bool isFull[kSizes][kSizes] = {};
  zeros.blocks = zeros.nonzeros;
  isFull[0][0] = zeros.nonzeros > 0;
  for (int i = 0; i < kSizes; ++i)
    for (int j = i == 0 ? 1 : 0; j < kSizes; ++j) {
      int64_t height = int64_t(1) << i, width = int64_t(1) << j;
      bool areHalvesFull = (i == 0 || isFull[i - 1][j]) && (j == 0 || isFull[i][j - 1]);
      if (!areHalvesFull || height > matrix.rows || width > matrix.columns)
        continue;
      int64_t blocks = countBlocks(mask, matrix.rows, matrix.columns, height, width);
      isFull[i][j] = 10 * zeros.nonzeros >= 9 * blocks * height * width;
      if (!isFull[i][j] || height * width <= zeros.block[0] * zeros.block[1])
        continue;
      zeros.block[0] = height;
      zeros.block[1] = width;
      zeros.blocks = blocks;
    }
  return zeros;
}

std::optional<int64_t> bytesOf(SparseFormat format, const Matrix &matrix, const Zeros &zeros) {
  int64_t pointer = sizeof(int32_t), down = ceilDiv(matrix.rows, zeros.block[0]),
          across = ceilDiv(matrix.columns, zeros.block[1]);
  int64_t area = zeros.block[0] * zeros.block[1], extent = zeros.axis == 0 ? matrix.rows : matrix.columns;
  switch (format) {
  case SparseFormat::csr:
    return zeros.nonzeros * (matrix.elementBytes + bitsFor(matrix.columns) / 8) + (matrix.rows + 1) * pointer;
  case SparseFormat::bitmap:
    return zeros.nonzeros * matrix.elementBytes + matrix.rows * ceilDiv(matrix.columns, 8) +
           (matrix.rows + 1) * pointer;
  case SparseFormat::bsr:
    return area == 1 ? std::nullopt
                     : std::optional(zeros.blocks * (area * matrix.elementBytes + bitsFor(across) / 8) +
                                     (down + 1) * pointer);
  case SparseFormat::n_of_m:
    return zeros.m == 0 ? std::nullopt
                        : std::optional(ceilDiv(extent, zeros.m) * zeros.n * (matrix.rows * matrix.columns / extent) *
                                        (matrix.elementBytes + 1));
  }
  return std::nullopt;
}

std::optional<Stored> store(SparseFormat format, const Matrix &matrix, const Zeros &zeros) {
  if (!bytesOf(format, matrix, zeros))
    return std::nullopt;
  switch (format) {
  case SparseFormat::csr:
    return storeRows(matrix);
  case SparseFormat::bitmap:
    return storeBitmap(matrix);
  case SparseFormat::bsr:
    return storeBlocks(matrix, zeros.block[0], zeros.block[1]);
  case SparseFormat::n_of_m:
    return storeGroups(matrix, zeros.n, zeros.m, zeros.axis);
  }
  return std::nullopt;
}

} // namespace lathe::sparsity
