//===- AttentionCodes.h - Keys and values that codes stand for ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// A part of AttentionKernel.h, where the vectors are defined: rows of runtime/CacheLayout.h as kernels read them.
// Vectors of codes may reach beyond a row, where there are others, or scales, of the same head.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_ATTENTIONCODES_H
#define LATHE_BACKENDS_CPU_RUNTIME_ATTENTIONCODES_H

/// Codes of one kind.
template <int bits, bool isSymmetric> struct Codes {
  static constexpr bool kSymmetric = isSymmetric;

  /// A vector of a row's codes, from column c on, a multiple of the vector's width.
  static V::T load(const unsigned char *row, int64_t c) {
    if constexpr (bits == 8)
      return isSymmetric ? V::fromSigned(row + c) : V::fromUnsigned(row + c);
    return V::fromHalves<isSymmetric>(row + c / 32 * 16 + c % 16, c & 16);
  }
};

/// Calls `body` with the kind of the rows' codes.
template <typename Body> void withCodes(const Block::Rows &rows, Body body) {
  if (rows.bits == 8 && rows.symmetric)
    body(Codes<8, true>());
  else if (rows.bits == 8)
    body(Codes<8, false>());
  else if (rows.symmetric)
    body(Codes<4, true>());
  else
    body(Codes<4, false>());
}

/// Scales, or lowest values, of a group of columns, from row `row` of a page on.
inline V::T stepsAt(const unsigned char *head, int64_t at, int64_t group, int64_t row) {
  return V::fromBfloat(head + at + (group * Block::kKeys + row) * 2);
}

/// target[i][c] = what the codes of row key + i stand for; `count` rows of one page, from a multiple of kGroup on.
template <typename C> void readRows(const Block::Rows &rows, int64_t key, int64_t count, float *target) {
  const unsigned char *head = rows.head(key);
  int64_t local = key % Block::kKeys;
  for (int64_t first = 0, group = 0; first < rows.size; first += rows.group, ++group) {
    int64_t end = least(first + rows.group, rows.size);
    float scales[kGroup], lowest[kGroup];
    for (int64_t i = 0; i < kGroup; i += kWidth) {
      V::store(scales + i, stepsAt(head, rows.scales, group, local + i));
      if (!C::kSymmetric)
        V::store(lowest + i, stepsAt(head, rows.lowest, group, local + i));
    }
    for (int64_t c = first; c < end; c += kWidth)
      for (int64_t i = 0; i < count; ++i) {
        V::T x = V::mul(V::set(scales[i]), C::load(head + (local + i) * rows.row, c));
        V::storeFirst(target + i * rows.size + c, C::kSymmetric ? x : V::add(x, V::set(lowest[i])), rows.size - c);
      }
  }
}

/// Sums over each group of columns.
inline void sumGroups(const Block::Rows &rows, const float *query, float *sums) {
  for (int64_t first = 0, group = 0; first < rows.size; first += rows.group, ++group) {
    sums[group] = 0;
    for (int64_t c = first; c < least(first + rows.group, rows.size); ++c)
      sums[group] += query[c];
  }
}

/// Products of a query, behind which are zeros and whose sums over groups are given, with a vector's width of keys of
/// one page; those of keys that there are not are any numbers.
template <typename C> V::T scoreCodes(const Block::Rows &rows, int64_t key, const float *query, const float *sums) {
  const unsigned char *head = rows.head(key);
  int64_t local = key % Block::kKeys;
  V::T sum[kWidth], others = V::set(0);
  for (int64_t i = 0; i < kWidth; ++i)
    sum[i] = V::set(0);
  for (int64_t first = 0, group = 0; first < rows.size; first += rows.group, ++group) {
    int64_t end = least(first + rows.group, rows.size);
    float scales[kWidth];
    V::store(scales, stepsAt(head, rows.scales, group, local));
    if (!C::kSymmetric)
      others = V::fma(stepsAt(head, rows.lowest, group, local), V::set(sums[group]), others);
    LATHE_UNROLL for (int64_t i = 0; i < kWidth; ++i) {
      const unsigned char *row = head + (local + i) * rows.row;
      V::T part = V::set(0);
      for (int64_t c = first; c < end; c += kWidth)
        part = V::fma(V::load(query + c), C::load(row, c), part);
      sum[i] = V::fma(V::set(scales[i]), part, sum[i]);
    }
  }
  V::transpose(sum);
  for (int64_t step = kWidth / 2; step > 0; step /= 2)
    for (int64_t i = 0; i < step; ++i)
      sum[i] = V::add(sum[i], sum[i + step]);
  return C::kSymmetric ? sum[0] : V::add(sum[0], others);
}

/// Adds values with weights, `count` of one page from its row `local` on, to sums that lie one behind the other, and
/// which are 0 unless `started`. Weights are a whole number of vectors.
template <typename C>
void addCodes(const Block::Rows &rows, int64_t key, int64_t count, const float *weights, float *target, bool started) {
  const unsigned char *head = rows.head(key), *codes = head + key % Block::kKeys * rows.row;
  int64_t local = key % Block::kKeys;
  for (int64_t first = 0, group = 0; first < rows.size; first += rows.group, ++group) {
    float scaled[Block::kKeys], lowest[Block::kKeys], added = 0;
    for (int64_t i = 0; i < count; i += kWidth) {
      V::T weight = V::load(weights + i);
      V::store(scaled + i, V::mul(weight, stepsAt(head, rows.scales, group, local + i)));
      if (!C::kSymmetric)
        V::store(lowest + i, V::mul(weight, stepsAt(head, rows.lowest, group, local + i)));
    }
    if (!C::kSymmetric)
      for (int64_t i = 0; i < count; ++i)
        added += lowest[i];
    int64_t end = least(first + rows.group, rows.size);
    for (int64_t c = first; c < end; c += kWidth) {
      V::T even = V::set(added), odd = started ? V::loadFirst(target + c, rows.size - c) : V::set(0);
      const unsigned char *row = codes;
      int64_t i = 0;
      for (; i + 2 <= count; i += 2, row += 2 * rows.row) {
        even = V::fma(V::set(scaled[i]), C::load(row, c), even);
        odd = V::fma(V::set(scaled[i + 1]), C::load(row + rows.row, c), odd);
      }
      if (i < count)
        even = V::fma(V::set(scaled[i]), C::load(row, c), even);
      V::storeFirst(target + c, V::add(even, odd), rows.size - c);
    }
  }
}

#endif // LATHE_BACKENDS_CPU_RUNTIME_ATTENTIONCODES_H
