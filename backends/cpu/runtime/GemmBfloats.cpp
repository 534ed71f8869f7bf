//===- GemmBfloats.cpp - Products of bf16 by vectors ----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/GemmKernels.h"
#include "backends/cpu/runtime/GemmPairs.inc"

#include <cstring>

namespace {

using lathe::cpu::TileBlock;

/// Rows of which each pair of rows of the right side is used at once: with four vectors of columns as many sums as
/// registers hold.
constexpr int64_t kRows = 6;

inline __m512bh bfloats(const void *p) { return reinterpret_cast<__m512bh>(_mm512_loadu_si512(p)); }

constexpr int64_t kLineBytes = 64;

/// Lines that are fetched while a strip is computed, evenly: as many as can be under way at once are few.
struct Fetch {
  const char *next = nullptr;
  int64_t lines = 0;
};

/// R rows times J vectors of columns.
template <int R, int J>
void multiplyStrip(const TileBlock &block, const uint16_t *a, float *sums, int64_t column, Fetch fetch) {
  __m512 sum[R][J];
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < J; ++j)
      sum[r][j] = block.first ? _mm512_setzero_ps() : _mm512_loadu_ps(sums + r * block.width + 16 * j);
  const uint16_t *b = block.b + 2 * column;
  const int64_t every = fetch.lines > 0 && block.depth / fetch.lines > 2 ? block.depth / fetch.lines : 2;
  int64_t fetched = fetch.lines > 0 ? 0 : block.depth;
  for (int64_t k = 0; k < block.depth; k += 2, b += 2 * block.width) {
    if (k >= fetched) {
      _mm_prefetch(fetch.next, _MM_HINT_T1);
      fetch.next += kLineBytes;
      fetched += every;
    }
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
  const int64_t lines = block.nextLines * J * 16 / block.width;
  const char *next = block.next ? block.next + block.nextLines * column / block.width * kLineBytes : nullptr;
  for (int64_t i = 0, row = 0; i < strips; ++i) {
    const int64_t rows = (block.rows - row) / (strips - i); // as equal as can be
    const uint16_t *a = block.a + row * block.aRow;
    float *sums = block.sums + row * block.width + column;
    Fetch fetch{next + lines * i / strips * kLineBytes, lines * (i + 1) / strips - lines * i / strips};
    static_assert(kRows == 6);
    switch (rows) {
    case 1:
      multiplyStrip<1, J>(block, a, sums, column, fetch);
      break;
    case 2:
      multiplyStrip<2, J>(block, a, sums, column, fetch);
      break;
    case 3:
      multiplyStrip<3, J>(block, a, sums, column, fetch);
      break;
    case 4:
      multiplyStrip<4, J>(block, a, sums, column, fetch);
      break;
    case 5:
      multiplyStrip<5, J>(block, a, sums, column, fetch);
      break;
    default:
      multiplyStrip<6, J>(block, a, sums, column, fetch);
      break;
    }
    row += rows;
  }
}

/// Columns of padding are left out, as far as whole vectors of them.
void multiplyBlock(const TileBlock &block) {
  static_assert(lathe::cpu::kPanelColumns == 64);
  switch ((block.columns + 15) / 16) {
  case 1:
    return multiplyColumns<1>(block, 0);
  case 2:
    return multiplyColumns<2>(block, 0);
  case 3:
    return multiplyColumns<3>(block, 0);
  default:
    return multiplyColumns<4>(block, 0);
  }
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
