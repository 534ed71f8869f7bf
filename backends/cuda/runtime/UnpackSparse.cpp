//===- UnpackSparse.cpp - Matrices with zeros as devices read them -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/UnpackSparse.h"

#include <cstring>

using namespace lathe;
using namespace lathe::cuda;
using runtime::SparseLayout;
using runtime::SparseValues;

int64_t cuda::denseType(const SparseLayout &layout) {
  return layout.values == SparseValues::f16 ? LATHE_F16 : layout.values == SparseValues::bf16 ? LATHE_BF16 : LATHE_F32;
}

namespace {

/// One list: a strip of columns in a block of rows.
struct List {
  int64_t block, panel, strip, first, count; ///< numbers of its rows, from the first on
};

/// Puts what a list holds into the matrix. It is filled up with zeros, which change nothing.
template <typename Put>
void readList(const SparseLayout &layout, const unsigned char *image, const List &list, Put put) {
  for (int64_t i = list.first; i < list.first + list.count; ++i) {
    int64_t row = list.block * SparseLayout::kBlockRows + image[layout.rowsOffset() + i];
    for (int64_t h = 0; h < layout.height && row < layout.k; ++h) {
      int64_t column = list.panel * SparseLayout::kPanelColumns + list.strip * layout.height + h;
      if (column < layout.n)
        put(row, column, image + layout.valuesOffset() + (i * layout.height + h) * layout.valueBytes());
    }
  }
}

/// The scale of an integer.
float scaleOf(const SparseLayout &layout, const unsigned char *image, int64_t row, int64_t column) {
  int64_t panel = row / SparseLayout::kBlockRows * layout.panels() + column / SparseLayout::kPanelColumns;
  int64_t group = layout.group == layout.k ? 0 : row % SparseLayout::kBlockRows / layout.group;
  int64_t at = (panel * SparseLayout::kPanelColumns + column % SparseLayout::kPanelColumns) * layout.blockScales();
  float scale = 0;
  memcpy(&scale, image + layout.scalesOffset() + (at + group) * 4, sizeof(scale));
  return scale;
}

} // namespace

bool cuda::unpackSparse(const SparseLayout &layout, const unsigned char *image, void *out, std::string *why) {
  if (!layout.verify(image, why))
    return false;
  memset(out, 0, static_cast<size_t>(layout.k * layout.n * denseBytes(layout)));
  auto put = [&](int64_t row, int64_t column, const unsigned char *value) {
    int64_t at = row * layout.n + column;
    if (layout.values == SparseValues::i8) {
      if (auto code = static_cast<signed char>(*value))
        static_cast<float *>(out)[at] = static_cast<float>(code) * scaleOf(layout, image, row, column);
      return;
    }
    uint32_t bits = 0;
    memcpy(&bits, value, static_cast<size_t>(layout.valueBytes()));
    if (bits != 0)
      memcpy(static_cast<unsigned char *>(out) + at * layout.valueBytes(), value,
             static_cast<size_t>(layout.valueBytes()));
  };
  int64_t lists = layout.panelLists(), first = 0;
  for (int64_t block = 0; block < layout.blocks(); ++block)
    for (int64_t panel = 0; panel < layout.panels(); ++panel)
      for (int64_t i = 0; i < lists; ++i) {
        int64_t at = (block * layout.panels() + panel) * lists + i;
        int64_t count = image[layout.foursOffset() + at] * SparseLayout::kFour;
        readList(layout, image, {block, panel, image[layout.orderOffset() + at], first, count}, put);
        first += count;
      }
  return true;
}
