//===- Tiles.h - Sixteen rows of 64 bytes in a register ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// Products by tiles (AMX: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18). The
// loops are written for any `Tiles` with the members of TilesAmx.h's, so that tests run them on processors without
// tiles, too.
//
// Roles of the eight registers: sums (row half i, column half j) are 2 i + j, left halves 4 and 5, right halves 6
// and 7.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_TILES_H
#define LATHE_BACKENDS_CPU_RUNTIME_TILES_H

#include <algorithm>
#include <cstdint>
#include <string_view>

namespace lathe::cpu {

/// Rows of a tile, bytes of each, and 32-bit columns.
constexpr int64_t kTileSide = 16, kTileBytes = 64;
/// Rows that two tiles have.
constexpr int64_t kTilePairRows = 2 * kTileSide;

/// What LDTILECFG reads.
struct alignas(64) TileConfig {
  uint8_t palette = 1, startRow = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};

  TileConfig() = default;
  /// For `count` rows, 1 to kTilePairRows, of the left side and of the sums.
  explicit TileConfig(int64_t count) {
    auto upper = static_cast<uint8_t>(count < kTileSide ? count : kTileSide);
    auto lower = static_cast<uint8_t>(count > kTileSide ? count - kTileSide : kTileSide);
    rows[0] = rows[1] = rows[4] = upper;
    rows[2] = rows[3] = rows[5] = lower;
  }
};
static_assert(sizeof(TileConfig) == 64, "as the processor reads it");

/// Up to kTilePairRows rows of bf16 times a block of a panel.
struct TileBlock {
  const uint16_t *a = nullptr; ///< element (i, k) lies at i * aRow + k; zeros from `depth` to a multiple of 32
  int64_t aRow = 0;
  int64_t rows = 0, depth = 0;
  const uint16_t *b = nullptr; ///< pairs of neighbouring rows, [depth / 2, width, 2]; zeros likewise
  int64_t width = 0;           ///< a multiple of 16
  int64_t columns = 0;         ///< that are wanted; sums of those behind may be left out
  float *sums = nullptr;       ///< [rows, width]
  bool first = true;           ///< they start at zero
  const char *next = nullptr;  ///< what is read after this block
  int64_t nextLines = 0;       ///< cache lines of it that may be fetched meanwhile
};

/// The loops of products of bf16 by tiles.
struct TileKernels {
  /// Writes `count` numbers, `stride` apart, as bf16, and zeros up to `padded`.
  void (*round)(const float *source, int64_t stride, int64_t count, int64_t padded, uint16_t *target);
  /// Writes a block [depth, width] of bf16 as pairs of rows; zeros up to a multiple of 32 rows.
  void (*pair)(const uint16_t *source, int64_t depth, int64_t width, uint16_t *target);
  void (*multiply)(const TileBlock &block);
};

/// By AMX, and by AVX-512 that multiplies pairs of bf16.
extern const TileKernels kTilesAmx, kTilesBfloats;

/// Those that an instruction set has for products; null for those that multiply f32.
inline const TileKernels *tileKernels(std::string_view isa) {
  return isa == "amx" ? &kTilesAmx : isa == "avx512_bf16" ? &kTilesBfloats : nullptr;
}

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_TILES_H
