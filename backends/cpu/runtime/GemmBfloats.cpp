//===- GemmBfloats.cpp - Products of bf16 by vectors ----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/GemmPairs.inc"

#include <cstring>

namespace {

using lathe::cpu::TileBlock;

/// Rows of which each pair of rows of the right side is used at once: with four vectors of columns as many sums as
/// registers hold.
constexpr int64_t kRows = 6;

inline __m512bh bfloats(const void *p) { return reinterpret_cast<__m512bh>(_mm512_loadu_si512(p)); }

/// R rows times J vectors of columns.
template <int R, int J> void multiplyStrip(const TileBlock &block, const uint16_t *a, float *sums, int64_t column) {
  __m512 sum[R][J];
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < J; ++j)
      sum[r][j] = block.first ? _mm512_setzero_ps() : _mm512_loadu_ps(sums + r * block.width + 16 * j);
  const uint16_t *b = block.b + 2 * column;
  for (int64_t k = 0; k < block.depth; k += 2, b += 2 * block.width) {
    __m512bh right[J];
#pragma GCC unroll 8
    for (int j = 0; j < J; ++j)
      right[j] = bfloats(b + 32 * j);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      int pair;
      std::memcpy(&pair, a + r * block.aRow + k, sizeof pair);
      auto left = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
#pragma GCC unroll 8
      for (int j = 0; j < J; ++j)
        sum[r][j] = _mm512_dpbf16_ps(sum[r][j], left, right[j]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < J; ++j)
      _mm512_storeu_ps(sums + r * block.width + 16 * j, sum[r][j]);
}

template <int J> void multiplyColumns(const TileBlock &block, int64_t column) {
  const int64_t strips = (block.rows + kRows - 1) / kRows;
  for (int64_t i = 0, row = 0; i < strips; ++i) {
    const int64_t rows = (block.rows - row) / (strips - i); // as equal as can be
    const uint16_t *a = block.a + row * block.aRow;
    float *sums = block.sums + row * block.width + column;
    static_assert(kRows == 6);
    switch (rows) {
    case 1:
      multiplyStrip<1, J>(block, a, sums, column);
      break;
    case 2:
      multiplyStrip<2, J>(block, a, sums, column);
      break;
    case 3:
      multiplyStrip<3, J>(block, a, sums, column);
      break;
    case 4:
      multiplyStrip<4, J>(block, a, sums, column);
      break;
    case 5:
      multiplyStrip<5, J>(block, a, sums, column);
      break;
    default:
      multiplyStrip<6, J>(block, a, sums, column);
      break;
    }
    row += rows;
  }
}

void multiplyBlock(const TileBlock &block) {
  int64_t column = 0;
  for (; column + 64 <= block.width; column += 64)
    multiplyColumns<4>(block, column);
  for (; column < block.width; column += 16)
    multiplyColumns<1>(block, column);
}

/// As roundRow, by the processor's own instruction, which takes numbers too small to be normal for zeros, as products
/// do.
void roundFast(const float *source, int64_t stride, int64_t count, int64_t padded, uint16_t *target) {
  if (stride != 1)
    return roundRow(source, stride, count, padded, target);
  int64_t k = 0;
  for (; k + 32 <= count; k += 32) {
    __m512bh both = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(source + k + 16), _mm512_loadu_ps(source + k));
    _mm512_storeu_si512(target + k, reinterpret_cast<__m512i>(both));
  }
  if (k < padded)
    roundRow(source + k, 1, count - k, padded - k, target + k);
}

} // namespace

const lathe::cpu::TileKernels lathe::cpu::kTilesBfloats = {roundFast, pairRows, multiplyBlock};
