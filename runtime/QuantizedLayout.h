//===- QuantizedLayout.h - Panels of a quantized matrix ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// How a [k, n] matrix of few bits is stored: w[k][n] = scale[k / group][n] * (value(code[k][n]) - zero[k / group][n]).
//
// First the table, if there is one, as f32, padded to a cache line: component c of entry e of a codebook lies at
// c * 2^bits + e. Behind it panels of columns, one after another, each with as many bytes. A panel is a sequence of groups;
// a group is the scales of the panel's columns, their zero points, padding to a cache line, and codes. Codes come in
// units: rows that fill the words of a column. A unit is a sequence of blocks of 16 columns of a word of 32 bits each,
// in little endian order, where the j-th code of a column lies in
//   8 bits: byte j;
//   4 bits: byte j % 4, from bit j / 4 * 4 on (j < 8);
//   2 bits: byte j % 4, from bit j % 8 / 4 * 4 + j / 8 * 2 on (j < 16);
//   3 bits: two words of 2 bits each for 16 codes (j < 32), the low bits, then a word with the high ones: byte j % 4,
//           bit j % 8 / 4 * 4 + j / 8; all columns' first words, then all second ones, then all third ones;
//   8-bit floats: byte j / 2 * 32 + 2 * column + j % 2 of the block of 64 bytes.
// So any four codes that are neighbours become the bytes of a word by one shift and one mask. What is padding, columns
// and rows beyond the matrix, is zero.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_QUANTIZEDLAYOUT_H
#define LATHE_RUNTIME_QUANTIZEDLAYOUT_H

#include "runtime/include/lathe/lathe.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lathe::runtime {

/// What a code stands for.
enum class CodeValues {
  integer,  ///< itself, without a sign
  table,    ///< table[code]
  e4m3,     ///< an 8-bit float without infinities; its NaN must not occur
  e5m2,     ///< an 8-bit float
  codebook, ///< table[code][j] for `dimension` consecutive rows j
};

/// How scales are stored.
enum class ScaleType { f32, f16, bf16, e8m0 };

/// How zero points are stored.
enum class ZeroType {
  constant, ///< not at all: `zero` is that of the whole matrix
  u8,
  scale, ///< in the type of the scales
};

struct QuantizedLayout {
  static constexpr int64_t kBlockColumns = 16;
  static constexpr int64_t kMaxPanel = 64;
  /// Bounds every product of extents below.
  static constexpr int64_t kMaxExtent = int64_t(1) << 30;

  int64_t k = 0, n = 0;
  int64_t bits = 8; ///< of a code: 8, 4, 3 or 2
  CodeValues values = CodeValues::integer;
  int64_t dimension = 1; ///< rows that a code of a codebook stands for: 2, 4 or 8; else 1
  int64_t group = 0;     ///< rows that share a scale, a multiple of unitRows(); or k: all of them
  int64_t panel = 64;    ///< columns of a panel: a multiple of kBlockColumns, at most kMaxPanel
  ScaleType scale = ScaleType::f32;
  ZeroType zeros = ZeroType::constant;
  float zero = 0; ///< where `zeros` is constant

  /// Whether there can be such a matrix; says why not in *why. Everything below needs it.
  bool valid(std::string *why) const;

  bool hasTable() const { return values == CodeValues::table || values == CodeValues::codebook; }
  int64_t entries() const { return int64_t(1) << bits; }
  int64_t unitCodes() const { return bits == 8 ? 4 : bits == 4 ? 8 : bits == 3 ? 32 : 16; }
  int64_t unitRows() const { return unitCodes() * dimension; }
  int64_t blockBytes() const { return bits == 3 ? 192 : 64; } ///< of 16 columns of a unit
  int64_t unitBytes() const { return panel / kBlockColumns * blockBytes(); }
  int64_t scaleBytes() const { return scale == ScaleType::f32 ? 4 : scale == ScaleType::e8m0 ? 1 : 2; }
  int64_t zeroBytes() const { return zeros == ZeroType::constant ? 0 : zeros == ZeroType::u8 ? 1 : scaleBytes(); }
  int64_t headBytes() const { return lines(panel * (scaleBytes() + zeroBytes())); }
  int64_t groups() const { return divideUp(k, group); }
  /// Units of group `index`, all of which but the last have as many.
  int64_t units(int64_t index) const {
    int64_t rows = k - index * group;
    return divideUp(rows < group ? rows : group, unitRows());
  }
  int64_t groupBytes(int64_t index) const { return headBytes() + units(index) * unitBytes(); }
  int64_t panels() const { return divideUp(n, panel); }
  int64_t panelBytes() const { return (groups() - 1) * groupBytes(0) + groupBytes(groups() - 1); }
  int64_t tableBytes() const { return hasTable() ? lines(entries() * dimension * 4) : 0; }
  int64_t bytes() const { return tableBytes() + panels() * panelBytes(); }

private:
  static int64_t divideUp(int64_t a, int64_t b) { return a / b + (a % b != 0); }
  static int64_t lines(int64_t bytes) { return divideUp(bytes, 64) * 64; }
};

/// Names as in the manifest.
const char *name(CodeValues values);
const char *name(ScaleType type);
bool parse(std::string_view name, CodeValues *values);
bool parse(std::string_view name, ScaleType *type);

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_QUANTIZEDLAYOUT_H
