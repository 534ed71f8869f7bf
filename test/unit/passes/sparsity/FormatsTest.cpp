//===- FormatsTest.cpp - Matrices with zeros, as they are stored ----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/sparsity/Formats.h"
#include <cstring>
#include <gtest/gtest.h>
#include <random>

using namespace lathe;
using namespace lathe::sparsity;

namespace {

/// Random bytes, elements of which are zero with a probability.
struct Random {
  std::vector<char> bytes;
  Matrix matrix;

  Random(int64_t rows, int64_t columns, int64_t elementBytes, double zeros) : bytes(rows * columns * elementBytes) {
    std::mt19937 engine(static_cast<unsigned>(rows * 31 + columns + elementBytes));
    std::bernoulli_distribution isZero(zeros);
    std::uniform_int_distribution<int> byte(1, 100);
    for (int64_t i = 0; i < rows * columns; ++i)
      if (!isZero(engine))
        for (int64_t j = 0; j < elementBytes; ++j)
          bytes[i * elementBytes + j] = static_cast<char>(byte(engine));
    matrix = {bytes.data(), rows, columns, elementBytes};
  }
  void clear(int64_t row, int64_t column) {
    memset(bytes.data() + (row * matrix.columns + column) * matrix.elementBytes, 0, matrix.elementBytes);
  }
};

TEST(SparseFormats, EveryFormatGivesTheMatrixBack) {
  for (int64_t bytes : {1, 2, 4})
    for (auto [rows, columns] :
         {std::pair(1, 1), std::pair(7, 13), std::pair(16, 32), std::pair(5, 300), std::pair(0, 4), std::pair(4, 0)})
      for (double zeros : {0.0, 0.5, 0.95, 1.0}) {
        Random random(rows, columns, bytes, zeros);
        EXPECT_EQ(toDense(storeRows(random.matrix), bytes), random.bytes) << rows << " " << columns << " " << zeros;
        EXPECT_EQ(toDense(storeBitmap(random.matrix), bytes), random.bytes) << rows << " " << columns << " " << zeros;
        EXPECT_EQ(toDense(storeBlocks(random.matrix, 4, 3), bytes), random.bytes)
            << rows << " " << columns << " " << zeros;
        for (int64_t axis : {0, 1}) {
          std::optional<Stored> all = storeGroups(random.matrix, 4, 4, axis);
          ASSERT_TRUE(all);
          EXPECT_EQ(toDense(*all, bytes), random.bytes) << rows << " " << columns << " " << zeros;
        }
      }
}

TEST(SparseFormats, BytesAreTold) {
  for (auto [rows, columns] : {std::pair(7, 13), std::pair(48, 320)}) {
    Random random(rows, columns, 2, 0.0);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j)
        if (i % 4 > 1)
          random.clear(i, j);
    Zeros zeros = findZeros(random.matrix, 0);
    for (SparseFormat format : {SparseFormat::csr, SparseFormat::bsr, SparseFormat::bitmap, SparseFormat::n_of_m}) {
      std::optional<Stored> stored = store(format, random.matrix, zeros);
      ASSERT_EQ(stored.has_value(), bytesOf(format, random.matrix, zeros).has_value());
      if (stored)
        EXPECT_EQ(stored->bytes(), *bytesOf(format, random.matrix, zeros)) << static_cast<int>(format);
    }
    EXPECT_TRUE(store(SparseFormat::n_of_m, random.matrix, zeros));
    EXPECT_TRUE(store(SparseFormat::bsr, random.matrix, zeros));
  }
}

TEST(SparseFormats, GroupsOfTwo) {
  for (int64_t axis : {0, 1}) {
    Random random(34, 38, 4, 0.0);
    for (int64_t i = 0; i < 34; ++i)
      for (int64_t j = 0; j < 38; ++j)
        if ((axis == 0 ? i : j) % 4 == 1 || (axis == 0 ? i : j) % 4 == 2)
          random.clear(i, j);
    std::optional<Stored> stored = storeGroups(random.matrix, 2, 4, axis);
    ASSERT_TRUE(stored);
    EXPECT_EQ(stored->valueShape, axis == 0 ? (std::vector<int64_t>{18, 38}) : (std::vector<int64_t>{34, 20}));
    EXPECT_EQ(toDense(*stored, 4), random.bytes);
    EXPECT_FALSE(storeGroups(random.matrix, 1, 4, axis));
    Zeros zeros = findZeros(random.matrix, axis);
    EXPECT_EQ(zeros.n, 2);
    EXPECT_EQ(zeros.m, 4);
  }
}

TEST(SparseFormats, NegativeZerosAreZeros) {
  float values[] = {-0.0f, 1.0f, 0.0f, -2.0f};
  Matrix matrix{reinterpret_cast<const char *>(values), 2, 2, 4};
  EXPECT_EQ(findZeros(matrix, 1).nonzeros, 2);
  EXPECT_EQ(storeRows(matrix).valueShape[0], 2);
}

TEST(SparseFormats, BlocksAreFound) {
  Random random(64, 96, 4, 0.0);
  for (int64_t i = 0; i < 64; ++i)
    for (int64_t j = 0; j < 96; ++j)
      if ((i / 4 + j / 16) % 3 != 0)
        random.clear(i, j);
  Zeros zeros = findZeros(random.matrix, 1);
  EXPECT_EQ(zeros.block[0], 4);
  EXPECT_EQ(zeros.block[1], 16);
  EXPECT_EQ(zeros.blocks * 64, zeros.nonzeros);
  Stored stored = storeBlocks(random.matrix, zeros.block[0], zeros.block[1]);
  EXPECT_LT(stored.bytes(), storeRows(random.matrix).bytes());
}

TEST(SparseFormats, ZerosWithoutAPatternHaveNone) {
  for (double share : {0.5, 0.9, 0.95}) {
    Random random(64, 96, 4, share);
    Zeros zeros = findZeros(random.matrix, 1);
    EXPECT_EQ(zeros.m, 0) << share;
    EXPECT_EQ(zeros.block[0] * zeros.block[1], 1) << share;
  }
}

} // namespace
