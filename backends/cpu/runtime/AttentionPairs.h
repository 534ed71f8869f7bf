//===- AttentionPairs.h - Attention that multiplies pairs of bf16 -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// A part of AttentionKernel.h, where the vectors are defined. A word is two bf16 that are multiplied and summed at
// once: two numbers of a key and of a query, or values and weights of two keys. Behind an odd one is a zero.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_ATTENTIONPAIRS_H
#define LATHE_BACKENDS_CPU_RUNTIME_ATTENTIONPAIRS_H

/// A template so that there is none for vectors that can't.
template <typename W> struct Pairs {
  using T = typename W::T;

  static T fma(T a, T b, T sum) { return W::dot(a, b, sum); }

  /// Words of columns, as many as `count` numbers need, from c on; `factor` times the row.
  static T neighbours(const float *row, int64_t step, int64_t c, int64_t count, T factor) {
    int64_t left = least(count - c, 2 * kWidth);
    float some[2 * kWidth];
    const float *from = row + c;
    if (step != 1) {
      for (int64_t i = 0; i < left; ++i)
        some[i] = row[(c + i) * step];
      from = some;
    }
    T low = W::loadFirst(from, least(left, kWidth)),
      high = W::loadFirst(from + kWidth, left > kWidth ? left - kWidth : 0);
    return W::neighbours(W::mul(low, factor), W::mul(high, factor));
  }

  /// target[i][word] = the words of row i of keys.
  static void roundKeys(const Block::Rows &rows, int64_t key, int64_t count, int64_t columns, float *target) {
    const int64_t words = (columns + 1) / 2;
    if (rows.col == 1 && columns % (2 * kWidth) == 0) { // whole vectors: what masked stores leave is read late
      for (int64_t i = 0; i < count; ++i) {
        const float *row = rows.at(key + i);
        for (int64_t c = 0; c < columns; c += 2 * kWidth)
          W::store(target + i * words + c / 2, W::neighbours(W::load(row + c), W::load(row + c + kWidth)));
      }
      return;
    }
    for (int64_t i = 0; i < count; ++i)
      for (int64_t c = 0; c < columns; c += 2 * kWidth)
        W::storeFirst(target + i * words + c / 2, neighbours(rows.at(key + i), rows.col, c, columns, W::set(1)),
                      words - c / 2);
  }

  /// target[word][lane] = words of factor * rows[lane].
  static void packLanes(const float *const *rows, int64_t step, int64_t count, int64_t width, float factor,
                        float *target) {
    const int64_t words = (count + 1) / 2;
    for (int64_t lane = 0; lane < width; lane += kWidth)
      for (int64_t word = 0; word < words; word += kWidth) {
        T block[kWidth];
        for (int64_t i = 0; i < kWidth; ++i)
          block[i] = neighbours(rows[lane + i], step, 2 * word, count, W::set(factor));
        W::transpose(block);
        for (int64_t i = 0; i < least(words - word, kWidth); ++i)
          W::store(target + (word + i) * width + lane, block[i]);
      }
  }

  /// target[i / 2][c] = values i and i + 1.
  static void pairValues(const Block::Rows &rows, int64_t key, int64_t count, int64_t columns, float *target) {
    for (int64_t i = 0; i < count; i += 2, target += columns) {
      const bool isPair = i + 1 < count;
      const float *one = rows.at(key + i), *other = isPair ? rows.at(key + i + 1) : nullptr;
      for (int64_t c = 0; c < columns; c += kWidth) {
        int64_t left = least(columns - c, kWidth);
        T low = columnsFrom(one, rows.col, c, left), high = isPair ? columnsFrom(other, rows.col, c, left) : W::set(0);
        W::storeFirst(target + c, W::pair(low, high), left);
      }
    }
  }
  static T columnsFrom(const float *row, int64_t step, int64_t c, int64_t count) {
    if (step == 1)
      return W::loadFirst(row + c, count);
    float some[kWidth];
    for (int64_t i = 0; i < count; ++i)
      some[i] = row[(c + i) * step];
    return W::loadFirst(some, count);
  }

  /// e^x for x up to 0, within 1e-4 of it, a twentieth of what rounding to bf16 takes; 0 below the smallest normal
  /// number.
  static T weight(T x) {
    T n = W::round(W::mul(x, W::set(1.44269504f)));
    T r = W::fma(n, W::set(-0.693147181f), x);
    T p = W::fma(W::set(0.1651797593f), r, W::set(0.5041304231f));
    p = W::fma(p, r, W::set(1.000195861f));
    p = W::fma(p, r, W::set(1.0f));
    return W::selectLess(x, W::set(-87.3365402f), W::set(0), W::scale(p, n));
  }

  /// scores[i / 2][lane] = the words of weights of keys i and i + 1, which are e^(score - maximum[lane]); adds them to
  /// total[lane]. That is a sum of the rounded weights: so those of a row are 1 together.
  static void weigh(float *scores, int64_t count, int64_t width, const float *maximum, float *total) {
    const T ones = W::pair(W::set(1), W::set(1));
    for (int64_t at = 0; at < width; at += kWidth) {
      T most = finite(W::load(maximum + at)), sum = W::load(total + at);
      for (int64_t i = 0; i < count; i += 2) {
        T low = weight(W::sub(W::load(scores + i * width + at), most));
        T high = i + 1 < count ? weight(W::sub(W::load(scores + (i + 1) * width + at), most)) : W::set(0);
        T both = W::pair(low, high);
        W::store(scores + i / 2 * width + at, both);
        sum = W::dot(both, ones, sum);
      }
      W::store(total + at, sum);
    }
  }
};

#endif // LATHE_BACKENDS_CPU_RUNTIME_ATTENTIONPAIRS_H
