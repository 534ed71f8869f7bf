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

constexpr int64_t kBlock = 32; ///< columns whose codes of 4 bits stand in 16 bytes

/// Codes of one kind.
template <int bits, bool isSymmetric> struct Codes {
  static constexpr bool kSymmetric = isSymmetric;

  /// Codes of a row from a multiple of kBlock on, and a vector of these.
  static const unsigned char *block(const unsigned char *row, int64_t c) { return row + c * bits / 8; }
  static V::T in(const unsigned char *block, int64_t c) {
    if constexpr (bits == 8)
      return isSymmetric ? V::fromSigned(block + c) : V::fromUnsigned(block + c);
    return V::fromHalves<isSymmetric>(block + c % 16, c & 16);
  }
  /// A vector of a row's codes, from column c on, a multiple of the vector's width.
  static V::T load(const unsigned char *row, int64_t c) { return in(block(row, c / kBlock * kBlock), c % kBlock); }
};

/// Multiplies blocks of rows x[row][lane] with a Hadamard matrix: as much as to multiply keys or values with it.
inline void rotateRows(const Block::Rows &rows, float *x, int64_t width) {
  for (int64_t half = 1; half < rows.rotation; half *= 2)
    for (int64_t first = 0; first < rows.size; first += 2 * half)
      for (int64_t at = first * width; at < (first + half) * width; at += kWidth) {
        V::T a = V::load(x + at), b = V::load(x + at + half * width);
        V::store(x + at, V::add(a, b));
        V::store(x + at + half * width, V::sub(a, b));
      }
  V::T factor = V::set(rows.rotationFactor);
  for (int64_t at = 0; at < rows.size * width; at += kWidth)
    V::store(x + at, V::mul(V::load(x + at), factor));
}

/// The same of one row.
inline void rotateRow(const Block::Rows &rows, float *x) {
  for (int64_t half = 1; half < rows.rotation; half *= 2)
    for (int64_t first = 0; first < rows.size; first += 2 * half)
      for (int64_t i = first; i < first + half; ++i) {
        float a = x[i], b = x[i + half];
        x[i] = a + b;
        x[i + half] = a - b;
      }
  for (int64_t i = 0; i < rows.size; ++i)
    x[i] *= rows.rotationFactor;
}

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

/// Asks for the codes of a page, which are too few for processors to find out themselves what comes next.
inline void prefetchPage(const Block::Rows &rows, int64_t key) {
  if (!rows.bits)
    return;
  const unsigned char *head = rows.head(key);
  for (int64_t at = 0; at < rows.bytes; at += 64)
    __builtin_prefetch(head + at);
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

/// Products of a query, behind which are zeros, with codes of columns from `first` to below `end`.
template <typename C> V::T multiplyCodes(const float *query, const unsigned char *row, int64_t first, int64_t end) {
  V::T sum = V::set(0);
  int64_t c = first;
  if (first % kBlock == 0)
    for (; c + kBlock <= end; c += kBlock) {
      const unsigned char *block = C::block(row, c);
      LATHE_UNROLL for (int64_t i = 0; i < kBlock; i += kWidth) sum = V::fma(V::load(query + c + i), C::in(block, i), sum);
    }
  for (; c < end; c += kWidth)
    sum = V::fma(V::load(query + c), C::load(row, c), sum);
  return sum;
}

/// Scores of a query, whose sums over groups are given, with a vector's width of keys of one page; those of keys that there are not are
/// any numbers.
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
    for (int64_t i = 0; i < kWidth; ++i) {
      V::T part = multiplyCodes<C>(query, head + (local + i) * rows.row, first, end);
      sum[i] = V::fma(V::set(scales[i]), part, sum[i]);
    }
  }
  V::transpose(sum);
  for (int64_t step = kWidth / 2; step > 0; step /= 2)
    for (int64_t i = 0; i < step; ++i)
      sum[i] = V::add(sum[i], sum[i + step]);
  return C::kSymmetric ? sum[0] : V::add(sum[0], others);
}

/// target += sum over i of weights[i] * row i, for a block of columns.
template <typename C>
void addBlock(const unsigned char *codes, int64_t stride, int64_t count, const float *weights, V::T added, float *target, bool started) {
  constexpr int kVectors = kBlock / kWidth;
  V::T even[kVectors], odd[kVectors];
  LATHE_UNROLL for (int j = 0; j < kVectors; ++j) {
    even[j] = added;
    odd[j] = started ? V::load(target + j * kWidth) : V::set(0);
  }
  int64_t i = 0;
  for (; i + 2 <= count; i += 2, codes += 2 * stride)
    LATHE_UNROLL for (int j = 0; j < kVectors; ++j) {
      even[j] = V::fma(V::set(weights[i]), C::in(codes, j * kWidth), even[j]);
      odd[j] = V::fma(V::set(weights[i + 1]), C::in(codes + stride, j * kWidth), odd[j]);
    }
  if (i < count)
    LATHE_UNROLL for (int j = 0; j < kVectors; ++j) even[j] = V::fma(V::set(weights[i]), C::in(codes, j * kWidth), even[j]);
  LATHE_UNROLL for (int j = 0; j < kVectors; ++j) V::store(target + j * kWidth, V::add(even[j], odd[j]));
}

/// Adds values with weights, `count` of one page from row `key` on, to sums that lie one behind the other, and which are 0 unless
/// `started`. Weights are a whole number of vectors.
template <typename C>
void addCodes(const Block::Rows &rows, int64_t key, int64_t count, const float *weights, float *target, bool started) {
  int64_t local = key % Block::kKeys;
  const unsigned char *head = rows.head(key), *codes = head + local * rows.row;
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
    int64_t end = least(first + rows.group, rows.size), c = first;
    if (first % kBlock == 0)
      for (; c + kBlock <= end; c += kBlock)
        addBlock<C>(C::block(codes, c), rows.row, count, scaled, V::set(added), target + c, started);
    for (; c < end; c += kWidth) {
      V::T sum = V::set(added);
      if (started)
        sum = V::add(sum, V::loadFirst(target + c, rows.size - c));
      for (int64_t i = 0; i < count; ++i)
        sum = V::fma(V::set(scaled[i]), C::load(codes + i * rows.row, c), sum);
      V::storeFirst(target + c, sum, rows.size - c);
    }
  }
}

#endif // LATHE_BACKENDS_CPU_RUNTIME_ATTENTIONCODES_H
