//===- PackSparse.cpp - Matrices with zeros as lists ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/PackSparse.h"

#include <algorithm>
#include <cstring>
#include <vector>

using namespace lathe;
using runtime::SparseLayout;
using runtime::SparseValues;

namespace {

/// Reads elements of the matrix.
class Reader {
public:
  Reader(const SparseLayout &layout, const cpu::SparseSource &source)
      : layout_(layout), source_(source), size_(layout.valueBytes()) {}

  const unsigned char *at(int64_t k, int64_t n) const {
    return static_cast<const unsigned char *>(source_.elements) +
           (k * source_.rowStride + n * source_.colStride) * size_;
  }
  /// Zeros of either sign are zeros.
  bool isZero(int64_t k, int64_t n) const {
    const unsigned char *element = at(k, n);
    unsigned bits = 0;
    for (int64_t i = 0; i < size_; ++i)
      bits |= i == size_ - 1 && layout_.values != SparseValues::i8 ? element[i] & 0x7fu : element[i];
    return bits == 0;
  }
  /// The rows of a block in which some of `height` columns are not zero.
  void list(int64_t block, int64_t column, int64_t height, std::vector<int64_t> &rows) const {
    rows.clear();
    int64_t end = std::min(layout_.k, (block + 1) * SparseLayout::kBlockRows),
            last = std::min(layout_.n, column + height);
    for (int64_t k = block * SparseLayout::kBlockRows; k < end; ++k)
      for (int64_t n = column; n < last; ++n)
        if (!isZero(k, n)) {
          rows.push_back(k);
          break;
        }
  }

private:
  const SparseLayout &layout_;
  const cpu::SparseSource &source_;
  int64_t size_;
};

int64_t foursOf(const std::vector<int64_t> &rows) {
  return (static_cast<int64_t>(rows.size()) + SparseLayout::kFour - 1) / SparseLayout::kFour;
}

} // namespace

void cpu::setLists(SparseLayout &layout, const SparseSource &source, int64_t height) {
  layout.height = height;
  layout.fours = 0;
  Reader reader(layout, source);
  std::vector<int64_t> rows;
  for (int64_t block = 0; block < layout.blocks(); ++block)
    for (int64_t column = 0; column < layout.n; column += height) {
      reader.list(block, column, height, rows);
      layout.fours += foursOf(rows);
    }
}

void cpu::packSparse(const SparseLayout &layout, const SparseSource &source, void *target) {
  auto *image = static_cast<unsigned char *>(target);
  memset(image, 0, static_cast<size_t>(layout.bytes()));
  Reader reader(layout, source);
  int64_t height = layout.height, lists = layout.panelLists(), size = layout.valueBytes(), fours = 0;
  struct List {
    int64_t strip;
    std::vector<int64_t> rows;
  };
  std::vector<List> panelLists(static_cast<size_t>(lists));
  for (int64_t block = 0; block < layout.blocks(); ++block)
    for (int64_t panel = 0; panel < layout.panels(); ++panel) {
      int64_t index = block * layout.panels() + panel, column = panel * SparseLayout::kPanelColumns;
      for (int64_t strip = 0; strip < lists; ++strip) {
        List &list = panelLists[static_cast<size_t>(strip)];
        list.strip = strip;
        reader.list(block, column + strip * height, height, list.rows);
      }
      // The loop over a list then ends, mostly, where the one before did, which is what processors predict.
      std::sort(panelLists.begin(), panelLists.end(), [](const List &a, const List &b) {
        int64_t x = foursOf(a.rows), y = foursOf(b.rows);
        return x != y ? x < y : a.strip < b.strip;
      });
      for (int64_t i = 0; i < lists; ++i) {
        const List &list = panelLists[static_cast<size_t>(i)];
        image[layout.orderOffset() + index * lists + i] = static_cast<unsigned char>(list.strip);
        image[layout.foursOffset() + index * lists + i] = static_cast<unsigned char>(foursOf(list.rows));
        for (size_t j = 0; j < list.rows.size(); ++j) {
          int64_t at = fours * SparseLayout::kFour + static_cast<int64_t>(j);
          image[layout.rowsOffset() + at] = static_cast<unsigned char>(list.rows[j] % SparseLayout::kBlockRows);
          for (int64_t h = 0; h < height; ++h)
            if (int64_t n = column + list.strip * height + h; n < layout.n)
              memcpy(image + layout.valuesOffset() + (at * height + h) * size, reader.at(list.rows[j], n),
                     static_cast<size_t>(size));
        }
        fours += foursOf(list.rows);
      }
      auto end = static_cast<uint32_t>(fours);
      memcpy(image + (index + 1) * 4, &end, sizeof end);
      int64_t scales = layout.blockScales();
      for (int64_t n = column; n < std::min(layout.n, column + SparseLayout::kPanelColumns); ++n)
        for (int64_t s = 0; s < scales; ++s) {
          int64_t row = block * SparseLayout::kBlockRows + s * layout.group;
          if (layout.group != layout.k && row >= layout.k)
            continue;
          int64_t group = layout.group == layout.k ? 0 : row / layout.group;
          memcpy(image + layout.scalesOffset() + ((index * SparseLayout::kPanelColumns + n - column) * scales + s) * 4,
                 source.scales + group * layout.n + n, sizeof(float));
        }
    }
}
