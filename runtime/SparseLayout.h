//===- SparseLayout.h - Lists of a matrix with zeros ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// How a [k, n] matrix most of whose elements are zero is stored. Columns are taken in strips of `height`, and rows in
// blocks of 256. A strip has a list in each block: the rows, within it, in which some column of the strip is not zero,
// and that row's `height` elements for each, filled up with zeros to a multiple of four rows. The lists of the strips
// of 64 columns in a block of rows, a panel, stand in an order of their own, by which equally long ones are neighbours.
// Blocks come one after another, each with its panels. The image is, each part from a multiple of 64 bytes on and in
// little endian order:
//
//   offsets   u32 [blocks * panels + 1]: of fours of rows before each panel's lists
//   order     u8 [blocks * panels * 64 / height]: which strip of its panel a list is of
//   fours     u8 [blocks * panels * 64 / height]: how many fours of rows a list has, 64 at most
//   scales    f32 [blocks * panels * 64 * scales of a block]; only of integers
//   rows      u8 [4 * fours]
//   values    [4 * fours, height], in their type
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_SPARSELAYOUT_H
#define LATHE_RUNTIME_SPARSELAYOUT_H

#include "runtime/include/lathe/lathe.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lathe::runtime {

/// How elements that are not zero are stored.
enum class SparseValues { f32, f16, bf16, i8 };

struct SparseLayout {
  static constexpr int64_t kBlockRows = 256;
  static constexpr int64_t kPanelColumns = 64;
  static constexpr int64_t kFour = 4;
  /// Bounds every product of extents below.
  static constexpr int64_t kMaxExtent = int64_t(1) << 30;
  static constexpr int64_t kMaxPanels = int64_t(1) << 28; ///< of all blocks
  static constexpr int64_t kMaxFours = int64_t(1) << 30;

  int64_t k = 0, n = 0;
  SparseValues values = SparseValues::f32;
  int64_t height = 1; ///< columns of a strip: 1 or 4
  int64_t group =
      0; ///< of integers: rows that share a scale, a power of two that divides 256, or k: all of them; else 0
  int64_t fours = 0; ///< of all lists

  /// Whether there can be such a matrix; says why not in *why. Everything below needs it.
  bool valid(std::string *why) const;

  int64_t valueBytes() const { return values == SparseValues::f32 ? 4 : values == SparseValues::i8 ? 1 : 2; }
  int64_t blocks() const { return divideUp(k, kBlockRows); }
  int64_t panels() const { return divideUp(n, kPanelColumns); }
  int64_t panelLists() const { return kPanelColumns / height; }
  /// Scales of a column in a block of rows.
  int64_t blockScales() const { return group == 0 ? 0 : group == k ? 1 : kBlockRows / group; }

  int64_t orderOffset() const { return lines((blocks() * panels() + 1) * 4); }
  int64_t foursOffset() const { return orderOffset() + lines(blocks() * panels() * panelLists()); }
  int64_t scalesOffset() const { return foursOffset() + lines(blocks() * panels() * panelLists()); }
  int64_t rowsOffset() const { return scalesOffset() + lines(blocks() * panels() * kPanelColumns * blockScales() * 4); }
  int64_t valuesOffset() const { return rowsOffset() + lines(fours * kFour); }
  int64_t bytes() const { return valuesOffset() + lines(fours * kFour * height * valueBytes()); }

  /// Whether what lies at `image`, bytes() of it, is within itself.
  bool verify(const unsigned char *image, std::string *why) const;

private:
  static int64_t divideUp(int64_t a, int64_t b) { return a / b + (a % b != 0); }
  static int64_t lines(int64_t bytes) { return divideUp(bytes, 64) * 64; }
};

/// Names as in the manifest.
const char *name(SparseValues values);
bool parse(std::string_view name, SparseValues *values);

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_SPARSELAYOUT_H
