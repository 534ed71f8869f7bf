//===- CacheLayout.cpp - Rows of keys or values in a page -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/CacheLayout.h"

#include "runtime/SmallFloats.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

using namespace lathe::runtime;

namespace {

constexpr int64_t kBlock = CacheLayout::kBlockColumns, kHalf = kBlock / 2;
constexpr int32_t kInfinity = 0x7f800000, kSmallestNormal = 0x00800000, kMagnitude = 0x7fffffff;
constexpr auto kMinusInfinity = static_cast<int32_t>(0xff800000);
constexpr uint16_t kNan = 0x7fc0;

int32_t bitsOf(float x) {
  int32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

float fromBits(int32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

/// bf16 not nearer to 0 than x.
uint16_t awayFromZero(float x) { return static_cast<uint16_t>((static_cast<uint32_t>(bitsOf(x)) + 0xffff) >> 16); }

/// bf16 not above x.
uint16_t downwards(float x) { return bitsOf(x) < 0 ? awayFromZero(x) : static_cast<uint16_t>(bitsOf(x) >> 16); }

/// Integers in the order of the numbers whose bits they are made of, and back. What is not a number is beyond infinity.
int32_t ordered(int32_t bits) { return bits ^ ((bits >> 31) & kMagnitude); }

/// The nearest integer, of two the even one: adding 1.5 * 2^23 leaves it in the low bits.
int32_t rounded(float x, float low, float high) {
  constexpr float kShift = 12582912.0f;
  x = std::min(std::max(x, low), high);
  return bitsOf(x + kShift) - bitsOf(kShift);
}

/// What a group's codes count in.
struct Steps {
  uint16_t scale = 0, lowest = 0;
};

template <typename Number> Steps stepsOf(Number at, int64_t count, float levels, bool symmetric) {
  int32_t least = INT32_MAX, most = INT32_MIN;
  for (int64_t c = 0; c < count; ++c) {
    int32_t bits = bitsOf(at(c)), own = symmetric ? bits & kMagnitude : ordered(bits);
    least = std::min(least, own);
    most = std::max(most, own);
  }
  if (most >= kInfinity || least <= ordered(kMinusInfinity))
    return {kNan, 0};
  Steps result;
  float scale = fromBits(most) / levels;
  if (!symmetric) {
    result.lowest = downwards(fromBits(ordered(least)));
    scale = fromBits(ordered(most)) / levels - bfloatValue(result.lowest) / levels;
  }
  if (bitsOf(scale) >= kInfinity) // the lowest number is below what bf16 has
    return {kNan, 0};
  // Nothing is divided by what processors may take for 0.
  if (bitsOf(scale) >= kSmallestNormal)
    result.scale = awayFromZero(scale);
  return result;
}

/// Puts the codes of up to 16 columns, the first a multiple of 16, into a row.
void putUnit(unsigned char *row, int64_t bits, int64_t column, int64_t count, const int32_t *codes) {
  if (bits == 8) {
    for (int64_t c = 0; c < count; ++c)
      row[column + c] = static_cast<unsigned char>(codes[c]);
    return;
  }
  unsigned char *bytes = row + column / kBlock * kHalf;
  bool isHigh = column % kBlock != 0;
  for (int64_t c = 0; c < count; ++c)
    bytes[c] = static_cast<unsigned char>(isHigh ? (bytes[c] & 0x0f) | codes[c] << 4 : (bytes[c] & 0xf0) | codes[c]);
}

/// One group of a row, whose numbers `at` gives.
template <typename Number>
void storeGroup(const CacheLayout &layout, unsigned char *head, int64_t row, int64_t index, Number at) {
  int64_t first = index * layout.groupColumns(), count = std::min(layout.groupColumns(), layout.size - first);
  bool symmetric = layout.symmetric;
  auto high = static_cast<float>(symmetric ? (1 << (layout.bits - 1)) - 1 : (1 << layout.bits) - 1);
  auto own = [&](int64_t c) { return at(first + c); };
  Steps steps = stepsOf(own, count, high, symmetric);
  auto put = [&](int64_t where, uint16_t value) {
    std::memcpy(head + where + (index * CacheLayout::kPageRows + row) * 2, &value, sizeof value);
  };
  put(layout.scalesAt(), steps.scale);
  if (!symmetric)
    put(layout.lowestAt(), steps.lowest);
  // Of a group without steps all codes are 0.
  bool hasSteps = steps.scale > 0 && steps.scale < kNan;
  float scale = hasSteps ? bfloatValue(steps.scale) : 1, lowest = bfloatValue(steps.lowest), low = symmetric ? -high : 0;
  int32_t added = symmetric && layout.bits == 4 ? 8 : 0;
  for (int64_t unit = 0; unit < count; unit += kHalf) {
    int64_t some = std::min(kHalf, count - unit);
    int32_t codes[kHalf];
    for (int64_t c = 0; c < some; ++c)
      codes[c] = (hasSteps ? rounded((own(unit + c) - lowest) / scale, low, high) : 0) + added;
    putUnit(head + row * layout.rowBytes(), layout.bits, first + unit, some, codes);
  }
}

template <typename Number> void storeRow(const CacheLayout &layout, unsigned char *head, int64_t row, Number at) {
  for (int64_t index = 0; index < layout.groups(); ++index)
    storeGroup(layout, head, row, index, at);
  if (layout.hasCodes())
    return;
  auto *kept = reinterpret_cast<float *>(head) + row * layout.size;
  for (int64_t c = 0; c < layout.size; ++c)
    kept[c] = at(c);
}

using Four = float __attribute__((vector_size(16)));

Four loadFour(const float *p) {
  Four x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
void storeFour(float *p, Four x) { std::memcpy(p, &x, sizeof x); }

/// x = x * H, by blocks of `columns` of it: sums and differences of pairs 1, 2, 4 .. apart. Compilers see vectors in
/// none of them.
void rotate(float *x, int64_t count, int64_t columns) {
  auto factor = static_cast<float>(1 / std::sqrt(static_cast<double>(columns)));
  if (columns == 2)
    for (int64_t i = 0; i < count; i += 2) {
      float a = x[i], b = x[i + 1];
      x[i] = (a + b) * factor;
      x[i + 1] = (a - b) * factor;
    }
  if (columns == 2)
    return;
  for (int64_t i = 0; i < count; i += 4) {
    Four y = loadFour(x + i);
    y = __builtin_shufflevector(y, y, 1, 0, 3, 2) + y * Four{1, -1, 1, -1};
    storeFour(x + i, __builtin_shufflevector(y, y, 2, 3, 0, 1) + y * Four{1, 1, -1, -1});
  }
  for (int64_t half = 4; half < columns; half *= 2)
    for (int64_t first = 0; first < count; first += 2 * half)
      for (int64_t i = first; i < first + half; i += 4) {
        Four a = loadFour(x + i), b = loadFour(x + i + half);
        storeFour(x + i, a + b);
        storeFour(x + i + half, a - b);
      }
  for (int64_t i = 0; i < count; i += 4)
    storeFour(x + i, loadFour(x + i) * factor);
}

/// A row on its way; of the thread, as rows are many.
std::vector<float> &rowOf(int64_t size) {
  static thread_local std::vector<float> row;
  row.resize(static_cast<size_t>(size));
  return row;
}

} // namespace

bool CacheLayout::setType(std::string_view name) {
  if (name != "f32" && name != "i8" && name != "u8" && name != "i4" && name != "u4")
    return false;
  bits = name == "f32" ? 32 : name[1] - '0';
  symmetric = name[0] != 'u';
  return true;
}

void CacheLayout::store(unsigned char *head, int64_t row, const float *x, int64_t step) const {
  if (rotation() > 1) {
    std::vector<float> &own = rowOf(size);
    for (int64_t c = 0; c < size; ++c)
      own[static_cast<size_t>(c)] = x[c * step];
    rotate(own.data(), size, rotation());
    return storeRow(*this, head, row, [x = own.data()](int64_t c) { return x[c]; });
  }
  if (step == 1) // side by side
    storeRow(*this, head, row, [x](int64_t c) { return x[c]; });
  else
    storeRow(*this, head, row, [x, step](int64_t c) { return x[c * step]; });
}

void CacheLayout::load(const unsigned char *head, int64_t row, float *x, int64_t step) const {
  if (rotation() > 1) {
    std::vector<float> &own = rowOf(size);
    CacheLayout plain = *this;
    plain.rotated = false;
    plain.load(head, row, own.data(), 1);
    rotate(own.data(), size, rotation());
    for (int64_t c = 0; c < size; ++c)
      x[c * step] = own[static_cast<size_t>(c)];
    return;
  }
  if (!hasCodes()) {
    const auto *kept = reinterpret_cast<const float *>(head) + row * size;
    for (int64_t c = 0; c < size; ++c)
      x[c * step] = kept[c];
    return;
  }
  const unsigned char *codes = head + row * rowBytes();
  for (int64_t index = 0; index < groups(); ++index) {
    auto get = [&](int64_t where) {
      uint16_t value;
      std::memcpy(&value, head + where + (index * kPageRows + row) * 2, sizeof value);
      return bfloatValue(value);
    };
    float scale = get(scalesAt()), lowest = symmetric ? 0 : get(lowestAt());
    int64_t first = index * groupColumns();
    for (int64_t c = first; c < std::min(first + groupColumns(), size); ++c) {
      int code = bits == 8 ? codes[c] : codes[c / kBlock * kHalf + c % kHalf] >> (c % kBlock < kHalf ? 0 : 4) & 15;
      if (symmetric)
        code = bits == 8 ? static_cast<int8_t>(code) : code - 8;
      // A product of two numbers of 8 bits is exact, so that it does not matter how it is added.
      float value = scale * static_cast<float>(code);
      x[c * step] = symmetric ? value : lowest + value;
    }
  }
}
