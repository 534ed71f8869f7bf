//===- TilesEmulated.h - Tiles of any processor -----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// What the instructions on tiles do, as their pseudocode says (Intel 64 and IA-32 Architectures Software Developer's
// Manual, volume 2: LDTILECFG, TILELOADD, TILESTORED, TDPBSUD, TDPBF16PS), and the faults of tiles that are not as
// configured.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_TEST_UNIT_RUNTIME_TILESEMULATED_H
#define LATHE_TEST_UNIT_RUNTIME_TILESEMULATED_H

#include "backends/cpu/runtime/Tiles.h"

#include <cstdlib>
#include <cstring>

namespace {

inline void written() {}

struct Tiles {
  struct Tile {
    int rows = 0, bytes = 0; ///< zero where tiles are not configured
    alignas(64) unsigned char data[16][64];
  };
  static Tile &tile(int index) {
    static thread_local Tile all[8];
    return all[index];
  }
  static Tile &used(int index) {
    Tile &t = tile(index);
    if (t.rows == 0 || t.bytes == 0)
      abort(); // an undefined instruction
    return t;
  }

  static void configure(const lathe::cpu::TileConfig &config) {
    if (config.palette != 1 || config.startRow != 0)
      abort();
    for (int i = 0; i < 16; ++i)
      if (config.rows[i] > 16 || config.bytes[i] > 64)
        abort();
    for (int i = 0; i < 8; ++i) {
      tile(i).rows = config.rows[i], tile(i).bytes = config.bytes[i];
      std::memset(tile(i).data, 0, sizeof tile(i).data);
    }
  }
  static void release() {
    for (int i = 0; i < 8; ++i)
      tile(i).rows = tile(i).bytes = 0;
  }
  static void zeroSums() {
    for (int i = 0; i < 4; ++i)
      std::memset(used(i).data, 0, sizeof used(i).data);
  }
  static void load(int index, const void *from, int64_t stride) {
    Tile &t = used(index);
    std::memset(t.data, 0, sizeof t.data);
    for (int r = 0; r < t.rows; ++r)
      std::memcpy(t.data[r], static_cast<const unsigned char *>(from) + r * stride, static_cast<size_t>(t.bytes));
  }
  template <int I> static void loadSum(const void *from, int64_t stride) { load(I, from, stride); }
  template <int I> static void storeSum(void *to, int64_t stride) {
    Tile &t = used(I);
    for (int r = 0; r < t.rows; ++r)
      std::memcpy(static_cast<unsigned char *>(to) + r * stride, t.data[r], static_cast<size_t>(t.bytes));
  }
  template <int I> static void left(const void *from, int64_t stride) { load(4 + I, from, stride); }
  template <int J> static void right(const void *from, int64_t stride) { load(6 + J, from, stride); }

  /// add(sum, row of the left side, k, row of the right side, n) for all elements, k being a word of 32 bits.
  template <typename Sum, typename Add> static void multiply(int sum, int left, int right, Add add) {
    Tile &c = used(sum), &a = used(left), &b = used(right);
    if (a.rows != c.rows || b.bytes != c.bytes || a.bytes / 4 != b.rows)
      abort(); // an undefined instruction
    for (int m = 0; m < c.rows; ++m)
      for (int k = 0; k < a.bytes / 4; ++k)
        for (int n = 0; n < c.bytes / 4; ++n) {
          Sum value;
          std::memcpy(&value, &c.data[m][4 * n], 4);
          value = add(value, &a.data[m][4 * k], &b.data[k][4 * n]);
          std::memcpy(&c.data[m][4 * n], &value, 4);
        }
  }
  template <int I, int J> static void addBytes() {
    multiply<int32_t>(2 * I + J, 4 + I, 6 + J, [](int32_t sum, const unsigned char *a, const unsigned char *b) {
      for (int i = 0; i < 4; ++i)
        sum += static_cast<int8_t>(a[i]) * static_cast<int32_t>(b[i]);
      return sum;
    });
  }
  template <int I, int J> static void addBfloats() {
    multiply<float>(2 * I + J, 4 + I, 6 + J, [](float sum, const unsigned char *a, const unsigned char *b) {
      for (int i = 0; i < 2; ++i) {
        uint32_t x = 0, y = 0;
        std::memcpy(reinterpret_cast<unsigned char *>(&x) + 2, a + 2 * i, 2);
        std::memcpy(reinterpret_cast<unsigned char *>(&y) + 2, b + 2 * i, 2);
        float p, q;
        std::memcpy(&p, &x, 4);
        std::memcpy(&q, &y, 4);
        sum += p * q;
      }
      return sum;
    });
  }
};

} // namespace

#endif // LATHE_TEST_UNIT_RUNTIME_TILESEMULATED_H
