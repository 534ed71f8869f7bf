//===- PackQuantized.cpp - Quantized weights in panels ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/PackQuantized.h"

#include "backends/cpu/runtime/PackWeights.h"
#include "runtime/SmallFloats.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace lathe;
using runtime::CodeValues;
using runtime::QuantizedLayout;
using runtime::ScaleType;
using runtime::ZeroType;

namespace {

constexpr int64_t kBlock = QuantizedLayout::kBlockColumns;

bool isFloat8(const QuantizedLayout &layout) {
  return layout.values == CodeValues::e4m3 || layout.values == CodeValues::e5m2;
}

/// Where a code lies in its block of a unit: one or, with three bits, two places.
struct Place {
  int64_t byte = 0, shift = 0;
  int64_t highByte = 0, highShift = 0; ///< of the third bit
};

Place placeOf(const QuantizedLayout &layout, int64_t j, int64_t column) {
  int64_t word = column * 4, part = j % 8 / 4 * 4;
  switch (layout.bits) {
  case 8:
    return {isFloat8(layout) ? j / 2 * 32 + 2 * column + j % 2 : word + j, 0, 0, 0};
  case 4:
    return {word + j % 4, part, 0, 0};
  case 2:
    return {word + j % 4, part + j / 8 * 2, 0, 0};
  default:
    return {j / 16 * 64 + word + j % 4, part + j / 8 % 2 * 2, 128 + word + j % 4, part + j / 8};
  }
}

uint8_t readCode(const QuantizedLayout &layout, const unsigned char *block, const Place &place) {
  if (layout.bits == 3)
    return static_cast<uint8_t>((block[place.byte] >> place.shift & 3) | (block[place.highByte] >> place.highShift & 1) << 2);
  return static_cast<uint8_t>(block[place.byte] >> place.shift & ((1 << layout.bits) - 1));
}

void writeCode(const QuantizedLayout &layout, unsigned char *block, const Place &place, uint8_t code) {
  auto put = [&](int64_t byte, int value) { block[byte] = static_cast<unsigned char>(block[byte] | value); };
  if (layout.bits == 3) {
    put(place.byte, (code & 3) << place.shift);
    put(place.highByte, (code >> 2 & 1) << place.highShift);
    return;
  }
  put(place.byte, (code & ((1 << layout.bits) - 1)) << place.shift);
}

void writeNumber(ScaleType type, float value, unsigned char *target) {
  uint16_t half = 0;
  switch (type) {
  case ScaleType::f32:
    memcpy(target, &value, 4);
    return;
  case ScaleType::e8m0: {
    // The exponent of the nearest power of two.
    int exponent = 0;
    float part = std::frexp(value, &exponent); // in [0.5, 1)
    bool up = part > 0.70710678f;
    *target = static_cast<unsigned char>(std::clamp(exponent - 1 + up + 127, 0, 254));
    return;
  }
  default:
    half = type == ScaleType::f16 ? runtime::toHalf(value) : runtime::toBfloat(value);
    memcpy(target, &half, 2);
  }
}

float readNumber(ScaleType type, const unsigned char *source) {
  float value = 0;
  uint16_t half = 0;
  switch (type) {
  case ScaleType::f32:
    memcpy(&value, source, 4);
    return value;
  case ScaleType::e8m0:
    return std::ldexp(1.0f, *source - 127);
  case ScaleType::f16:
    memcpy(&half, source, 2);
    return runtime::halfValue(half);
  case ScaleType::bf16:
    memcpy(&half, source, 2);
    return runtime::bfloatValue(half);
  }
  return value;
}

/// A group of a panel, by the address of its head.
struct Group {
  const QuantizedLayout &layout;
  unsigned char *head;

  unsigned char *scale(int64_t column) const { return head + column * layout.scaleBytes(); }
  unsigned char *zero(int64_t column) const { return head + layout.panel * layout.scaleBytes() + column * layout.zeroBytes(); }
  unsigned char *block(int64_t unit, int64_t column) const {
    return head + layout.headBytes() + unit * layout.unitBytes() + column / kBlock * layout.blockBytes();
  }
};

Group groupOf(const QuantizedLayout &layout, const void *packed, int64_t panel, int64_t group) {
  auto *base = const_cast<unsigned char *>(static_cast<const unsigned char *>(packed));
  return {layout, base + layout.tableBytes() + panel * layout.panelBytes() + group * layout.groupBytes(0)};
}

float zeroOf(const QuantizedLayout &layout, const Group &group, int64_t column) {
  switch (layout.zeros) {
  case ZeroType::constant:
    return layout.zero;
  case ZeroType::u8:
    return *group.zero(column);
  case ZeroType::scale:
    return readNumber(layout.scale, group.zero(column));
  }
  return 0;
}

/// Calls visit(code row of the matrix, unit, code in the unit) for the rows of group `index`.
template <typename Fn> void eachCode(const QuantizedLayout &layout, int64_t index, Fn visit) {
  int64_t first = index * layout.group / layout.dimension;
  int64_t rows = std::min(layout.group, layout.k - index * layout.group);
  int64_t count = (rows + layout.dimension - 1) / layout.dimension, codes = layout.unitCodes();
  for (int64_t i = 0; i < count; ++i)
    visit(first + i, i / codes, i % codes);
}

} // namespace

void cpu::setPanel(QuantizedLayout &layout) { layout.panel = panelWidth(layout.n); }

void cpu::packQuantized(const QuantizedLayout &layout, const QuantizedSource &source, void *target) {
  memset(target, 0, static_cast<size_t>(layout.bytes()));
  if (layout.hasTable())
    for (int64_t e = 0; e < layout.entries(); ++e)
      for (int64_t c = 0; c < layout.dimension; ++c)
        memcpy(static_cast<unsigned char *>(target) + (c * layout.entries() + e) * 4, source.table + e * layout.dimension + c, 4);
  // A block of columns at a time: neighbours in both.
  for (int64_t n0 = 0; n0 < layout.n; n0 += kBlock)
    for (int64_t g = 0; g < layout.groups(); ++g) {
      Group group = groupOf(layout, target, n0 / layout.panel, g);
      int64_t column0 = n0 % layout.panel, columns = std::min(kBlock, layout.n - n0);
      for (int64_t j = 0; j < columns; ++j) {
        int64_t at = g * layout.n + n0 + j;
        writeNumber(layout.scale, source.scales[at], group.scale(column0 + j));
        if (layout.zeros == ZeroType::scale)
          writeNumber(layout.scale, source.zeros[at], group.zero(column0 + j));
        if (layout.zeros == ZeroType::u8)
          *group.zero(column0 + j) = static_cast<unsigned char>(std::clamp<long>(std::lrint(source.zeros[at]), 0, 255));
      }
      eachCode(layout, g, [&](int64_t row, int64_t unit, int64_t i) {
        unsigned char *block = group.block(unit, column0);
        const uint8_t *codes = source.codes + row * source.codeRow + n0 * source.codeColumn;
        for (int64_t j = 0; j < columns; ++j)
          writeCode(layout, block, placeOf(layout, i, j), codes[j * source.codeColumn]);
      });
    }
}

void cpu::unpackQuantized(const QuantizedLayout &layout, const void *packed, uint8_t *codes, float *scales, float *zeros,
                          float *table) {
  if (layout.hasTable() && table)
    for (int64_t e = 0; e < layout.entries(); ++e)
      for (int64_t c = 0; c < layout.dimension; ++c)
        memcpy(table + e * layout.dimension + c, static_cast<const unsigned char *>(packed) + (c * layout.entries() + e) * 4, 4);
  for (int64_t n = 0; n < layout.n; ++n)
    for (int64_t g = 0; g < layout.groups(); ++g) {
      Group group = groupOf(layout, packed, n / layout.panel, g);
      int64_t column = n % layout.panel;
      if (scales)
        scales[g * layout.n + n] = readNumber(layout.scale, group.scale(column));
      if (zeros)
        zeros[g * layout.n + n] = zeroOf(layout, group, column);
      if (codes)
        eachCode(layout, g, [&](int64_t row, int64_t unit, int64_t i) {
          codes[row * layout.n + n] = readCode(layout, group.block(unit, column), placeOf(layout, i, column % kBlock));
        });
    }
}

namespace {

/// Column n of a matrix whose codes stand for one row each; `value` gives what a code stands for.
template <typename Value> void readColumn(const QuantizedLayout &layout, const void *packed, int64_t n, float *out, Value value) {
  constexpr int64_t kMostCodes = 32; // of a unit
  Place places[kMostCodes];
  const int64_t codes = layout.unitCodes(), column = n % layout.panel;
  for (int64_t i = 0; i < codes; ++i)
    places[i] = placeOf(layout, i, column % kBlock);
  for (int64_t g = 0; g < layout.groups(); ++g) {
    Group group = groupOf(layout, packed, n / layout.panel, g);
    float scale = readNumber(layout.scale, group.scale(column)), zero = zeroOf(layout, group, column);
    int64_t end = std::min(layout.k, (g + 1) * layout.group);
    const unsigned char *block = group.block(0, column);
    for (int64_t row = g * layout.group; row < end; row += codes, block += layout.unitBytes())
      for (int64_t i = 0; i < std::min(codes, end - row); ++i)
        out[row + i] = scale * (value(readCode(layout, block, places[i])) - zero);
  }
}

} // namespace

void cpu::dequantizeColumn(const QuantizedLayout &layout, const void *packed, int64_t n, float *out) {
  auto *table = static_cast<const unsigned char *>(packed);
  auto entry = [&](int64_t index) {
    float value;
    memcpy(&value, table + index * 4, 4);
    return value;
  };
  switch (layout.values) {
  case CodeValues::integer:
    return readColumn(layout, packed, n, out, [](uint8_t code) { return static_cast<float>(code); });
  case CodeValues::table:
    return readColumn(layout, packed, n, out, entry);
  case CodeValues::e4m3:
    return readColumn(layout, packed, n, out, runtime::e4m3Value);
  case CodeValues::e5m2:
    return readColumn(layout, packed, n, out, runtime::e5m2Value);
  case CodeValues::codebook:
    break;
  }
  for (int64_t g = 0; g < layout.groups(); ++g) {
    Group group = groupOf(layout, packed, n / layout.panel, g);
    int64_t column = n % layout.panel;
    float scale = readNumber(layout.scale, group.scale(column)), zero = zeroOf(layout, group, column);
    eachCode(layout, g, [&](int64_t row, int64_t unit, int64_t i) {
      uint8_t code = readCode(layout, group.block(unit, column), placeOf(layout, i, column % kBlock));
      for (int64_t c = 0; c < layout.dimension && row * layout.dimension + c < layout.k; ++c)
        out[row * layout.dimension + c] = scale * (entry(c * layout.entries() + code) - zero);
    });
  }
}
