//===- AttentionKernel.h - Attention over vectors of any width ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Included, after it defined Vector, by one source for each instruction set. All of it is local to that source and it
// uses no templates of the standard library: their code would be shared with sources for other processors.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_ATTENTIONKERNEL_H
#define LATHE_BACKENDS_CPU_RUNTIME_ATTENTIONKERNEL_H

#include "backends/cpu/runtime/AttentionKernels.h"

namespace {

using Block = lathe::cpu::AttentionBlock;
using V = Vector;

constexpr int64_t kWidth = V::kWidth;
constexpr int64_t kGroup = Block::kGroupKeys; ///< keys that are looked at together: lanes and tiles of biases are multiples of it
constexpr float kInfinity = __builtin_huge_valf();
/// What adds this to a score is a mask: what is left of the score is nothing, and of a row with another maximum,
/// neither.
constexpr float kMasked = -1e30f, kNotMasked = -1e29f;

int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

//===----------------------------------------------------------------------===//
// Functions
//===----------------------------------------------------------------------===//

/// 2^n * p(r), where x = n * ln(2) + r; the coefficients make the largest relative error of p smallest (4e-9). What is
/// below the smallest normal number is 0: arithmetic with others is slow.
inline V::T exponential(V::T number) {
  V::T x = V::min(V::set(89.0f), V::max(V::set(-88.0f), number)); // NaN stays
  V::T n = V::round(V::mul(x, V::set(1.44269504f)));
  V::T r = V::fma(n, V::set(-0.693145752f), x); // a few bits of ln(2), so that the product is exact
  r = V::fma(n, V::set(-1.42860682e-6f), r);
  V::T q = V::set(1.38145976e-3f);
  q = V::fma(q, r, V::set(8.36871658e-3f));
  q = V::fma(q, r, V::set(4.16683890e-2f));
  q = V::fma(q, r, V::set(1.66665211e-1f));
  q = V::fma(q, r, V::set(4.99999940e-1f));
  V::T p = V::add(V::fma(q, V::mul(r, r), r), V::set(1.0f));
  return V::selectLess(number, V::set(-87.3365402f), V::set(0), V::scale(p, n));
}

/// 1 - 2 / (exp(2x) + 1), and a series near 0, where that cancels.
inline V::T hyperbolicTangent(V::T x) {
  V::T e = exponential(V::add(x, x));
  V::T far = V::sub(V::set(1.0f), V::div(V::set(2.0f), V::add(e, V::set(1.0f))));
  V::T s = V::mul(x, x);
  V::T q = V::set(-929569.0f / 638512875.0f);
  q = V::fma(q, s, V::set(21844.0f / 6081075.0f));
  q = V::fma(q, s, V::set(-1382.0f / 155925.0f));
  q = V::fma(q, s, V::set(62.0f / 2835.0f));
  q = V::fma(q, s, V::set(-17.0f / 315.0f));
  q = V::fma(q, s, V::set(2.0f / 15.0f));
  q = V::fma(q, s, V::set(-1.0f / 3.0f));
  V::T near = V::fma(V::mul(q, s), x, x);
  return V::selectLess(V::abs(x), V::set(0.55f), near, far);
}

/// What is subtracted from scores whose maximum this is.
inline V::T finite(V::T x) { return V::selectLess(V::set(-kInfinity), x, x, V::set(0)); }

template <V::T (*function)(V::T)> void apply(const float *x, float *y, int64_t count) {
  for (int64_t i = 0; i < count; i += kWidth)
    V::storeFirst(y + i, function(V::loadFirst(x + i, count - i)), count - i);
}
[[maybe_unused]] void exponentials(const float *x, float *y, int64_t count) { apply<exponential>(x, y, count); }
[[maybe_unused]] void hyperbolicTangents(const float *x, float *y, int64_t count) { apply<hyperbolicTangent>(x, y, count); }

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

/// One side of a product, read a number at a time.
struct Scalars {
  const float *data;
  int64_t row, step;
};

/// Products of numbers; Pairs<V> has those of words of two.
struct Singles {
  static V::T fma(V::T a, V::T b, V::T sum) { return V::fma(a, b, sum); }
};

/// out[i][lane] = sum over k of a[i][k] * b[k][lane], plus what is in `out` where `adds`; rows of b and out are of
/// `width` lanes.
template <typename Arithmetic, int rows, int columns>
void tile(Scalars a, int64_t depth, const float *b, int64_t width, float *out, bool adds) {
  V::T sum[rows][columns];
  LATHE_UNROLL for (int i = 0; i < rows; ++i) LATHE_UNROLL for (int j = 0; j < columns; ++j) sum[i][j] =
      adds ? V::load(out + i * width + j * kWidth) : V::set(0);
  const float *row[rows];
  LATHE_UNROLL for (int i = 0; i < rows; ++i) row[i] = a.data + i * a.row;
  for (int64_t k = 0, at = 0; k < depth; ++k, at += a.step, b += width) {
    V::T right[columns];
    LATHE_UNROLL for (int j = 0; j < columns; ++j) right[j] = V::load(b + j * kWidth);
    LATHE_UNROLL for (int i = 0; i < rows; ++i) {
      V::T left = V::set(row[i][at]);
      LATHE_UNROLL for (int j = 0; j < columns; ++j) sum[i][j] = Arithmetic::fma(left, right[j], sum[i][j]);
    }
  }
  LATHE_UNROLL for (int i = 0; i < rows; ++i) LATHE_UNROLL for (int j = 0; j < columns; ++j)
      V::store(out + i * width + j * kWidth, sum[i][j]);
}

/// As many rows as the registers hold, then fewer.
template <typename Arithmetic, int columns>
void panel(Scalars a, int64_t rows, int64_t depth, const float *b, int64_t width, float *out, bool adds) {
  constexpr int kRows = V::kColumns == 2 || columns == 4 ? 6 : 8;
  auto advance = [&](int64_t count) {
    a.data += count * a.row;
    out += count * width;
    rows -= count;
  };
  while (rows >= kRows) {
    tile<Arithmetic, kRows, columns>(a, depth, b, width, out, adds);
    advance(kRows);
  }
  if (rows >= 4) {
    tile<Arithmetic, 4, columns>(a, depth, b, width, out, adds);
    advance(4);
  }
  if (rows >= 2) {
    tile<Arithmetic, 2, columns>(a, depth, b, width, out, adds);
    advance(2);
  }
  if (rows >= 1)
    tile<Arithmetic, 1, columns>(a, depth, b, width, out, adds);
}

template <typename Arithmetic = Singles>
void multiply(Scalars a, int64_t rows, int64_t depth, const float *b, int64_t width, float *out, bool adds) {
  for (int64_t lane = 0; lane < width;) {
    int64_t columns = least((width - lane) / kWidth, V::kColumns);
    if constexpr (V::kColumns == 4) {
      if (columns == 4)
        panel<Arithmetic, 4>(a, rows, depth, b + lane, width, out + lane, adds);
      else if (columns == 3)
        panel<Arithmetic, 3>(a, rows, depth, b + lane, width, out + lane, adds);
    }
    if (columns == 2)
      panel<Arithmetic, 2>(a, rows, depth, b + lane, width, out + lane, adds);
    else if (columns == 1)
      panel<Arithmetic, 1>(a, rows, depth, b + lane, width, out + lane, adds);
    lane += columns * kWidth;
  }
}

//===----------------------------------------------------------------------===//
// Packing
//===----------------------------------------------------------------------===//

/// target[c][lane] = factor * rows[lane][c * step + first], for c below `count`; where `adds`, it is added to what is
/// there.
void packLanes(const float *const *rows, int64_t first, int64_t step, int64_t count, int64_t width, float factor,
               float *target, bool adds) {
  V::T by = V::set(factor);
  auto put = [&](float *at, V::T x) { V::store(at, adds ? V::add(V::load(at), x) : V::mul(x, by)); };
  if (step != 1) {
    float numbers[kWidth];
    for (int64_t c = 0; c < count; ++c)
      for (int64_t lane = 0; lane < width; lane += kWidth) {
        for (int64_t i = 0; i < kWidth; ++i)
          numbers[i] = rows[lane + i][first + c * step];
        put(target + c * width + lane, V::load(numbers));
      }
    return;
  }
  for (int64_t lane = 0; lane < width; lane += kWidth)
    for (int64_t c = 0; c < count; c += kWidth) {
      int64_t some = least(count - c, kWidth);
      V::T block[kWidth];
      LATHE_UNROLL for (int64_t i = 0; i < kWidth; ++i) block[i] = V::loadFirst(rows[lane + i] + first + c, some);
      V::transpose(block);
      for (int64_t i = 0; i < some; ++i)
        put(target + (c + i) * width + lane, block[i]);
    }
}

/// The reverse, for the first `lanes`: rows[lane][c * step] = source[c][lane].
void unpackLanes(const float *source, int64_t count, int64_t width, int64_t lanes, int64_t step, float *const *rows) {
  if (step != 1) {
    for (int64_t c = 0; c < count; ++c)
      for (int64_t lane = 0; lane < lanes; ++lane)
        rows[lane][c * step] = source[c * width + lane];
    return;
  }
  for (int64_t lane = 0; lane < lanes; lane += kWidth)
    for (int64_t c = 0; c < count; c += kWidth) {
      int64_t some = least(count - c, kWidth);
      V::T block[kWidth];
      LATHE_UNROLL for (int64_t i = 0; i < kWidth; ++i) block[i] =
          V::load(source + (c + (i < some ? i : 0)) * width + lane);
      V::transpose(block);
      for (int64_t i = 0; i < kWidth && lane + i < lanes; ++i)
        V::storeFirst(rows[lane + i] + c, block[i], some);
    }
}

#include "backends/cpu/runtime/AttentionCodes.h"
#include "backends/cpu/runtime/AttentionPairs.h"

//===----------------------------------------------------------------------===//
// A block
//===----------------------------------------------------------------------===//

class BlockRun {
public:
  explicit BlockRun(const Block &block) : block(block), width((block.lanes + kGroup - 1) / kGroup * kGroup) {
    float *next = block.scratch;
    auto take = [&](int64_t rows) {
      float *result = next;
      next += rows * width;
      return result;
    };
    query = take(block.d);
    sums = take(block.e);
    scores = take(Block::kKeys);
    tile = take(kGroup);
    maximum = take(1);
    total = take(1);
    before = take(1);
    shared = next;
    values = next + kGroup;
    keyRows = values + Block::kKeys * block.e;
    groupSums = keyRows + kGroup * block.d;
    // Lanes beyond the last one repeat the first, so that they hold numbers like any other.
    for (int64_t lane = 0; lane < width; ++lane) {
      int64_t own = lane < block.lanes ? lane : 0;
      queries[lane] = block.query[own];
      for (int i = 0; i < block.biases; ++i)
        biases[i][lane] = block.bias[i][own];
    }
    for (int i = 0; i < block.biases; ++i)
      hasOwnBiases |= !block.sameBias[i];
    if (block.hasLimits) {
      for (int64_t lane = 0; lane < width; ++lane)
        limits[lane] = block.limit[lane < block.lanes ? lane : 0];
      leastLimit = mostLimit = limits[0];
      for (int64_t lane = 1; lane < block.lanes; ++lane) {
        leastLimit = limits[lane] < leastLimit ? limits[lane] : leastLimit;
        mostLimit = limits[lane] > mostLimit ? limits[lane] : mostLimit;
      }
    }
    single = block.lanes == 1 && block.key.col == 1 && block.value.col == 1;
    narrow = V::kHasPairs && !single && !block.key.bits && !block.value.bits;
  }

  void run() {
    if (single)
      for (int64_t c = 0; c < block.d; ++c)
        query[c] = block.scale * block.query[0][c * block.queryCol];
    if (single && block.key.bits) {
      for (int64_t c = block.d; c % kWidth != 0; ++c) // there is room: it has lanes for more queries
        query[c] = 0;
      if (block.key.rotation > 1)
        rotateRow(block.key, query);
      sumGroups(block.key, query, groupSums);
    }
    if constexpr (V::kHasPairs)
      if (narrow)
        Pairs<V>::packLanes(queries, block.queryCol, block.d, width, block.scale, query);
    if (!single && !narrow) {
      packLanes(queries, 0, block.queryCol, block.d, width, block.scale, query, false);
      if (block.key.rotation > 1)
        rotateRows(block.key, query, width);
    }
    fill(maximum, 1, -kInfinity);
    fill(total, 1, 0);
    fill(sums, block.e, 0);
    for (int64_t first = block.first; first < block.keys; first += Block::kKeys) {
      if (int64_t next = first + Block::kKeys; next < block.keys) {
        prefetchPage(block.key, next);
        prefetchPage(block.value, next);
      }
      if (single)
        runKeysOfOne(first, least(Block::kKeys, block.keys - first));
      else
        runKeys(first, least(Block::kKeys, block.keys - first));
    }
    if (single && started) {
      for (int64_t c = 0; c < block.e; ++c)
        forLanes([&](int64_t at) { V::store(sums + c * width + at, V::set(values[c])); });
      forLanes([&](int64_t at) {
        V::store(maximum + at, V::set(singleMaximum));
        V::store(total + at, V::set(singleTotal));
      });
    }
    if (block.part)
      leavePart();
    else
      finish();
  }

  /// What the parts of the keys left.
  void combine(const float *parts, int64_t count) {
    int64_t size = Block::partFloats(block.e);
    fill(maximum, 1, -kInfinity);
    for (int64_t part = 0; part < count; ++part)
      forLanes([&](int64_t at) {
        V::store(maximum + at, V::max(V::load(parts + part * size + at), V::load(maximum + at)));
      });
    fill(total, 1, 0);
    fill(sums, block.e, 0);
    for (int64_t part = 0; part < count; ++part) {
      const float *own = parts + part * size;
      forLanes([&](int64_t at) {
        V::T factor = exponential(V::sub(V::load(own + at), finite(V::load(maximum + at))));
        V::store(total + at, V::fma(V::load(own + width + at), factor, V::load(total + at)));
        for (int64_t i = 0; i < block.e; ++i) {
          float *sum = sums + i * width + at;
          V::store(sum, V::fma(V::load(own + (i + 2) * width + at), factor, V::load(sum)));
        }
      });
    }
    finish();
  }

protected:
  template <typename Body> void forLanes(Body body) {
    for (int64_t at = 0; at < width; at += kWidth)
      body(at);
  }
  void fill(float *target, int64_t rows, float value) {
    for (int64_t at = 0; at < rows * width; at += kWidth)
      V::store(target + at, V::set(value));
  }
  /// Whether a lane does not see all of a group of keys.
  bool hidesSome(int64_t key, int64_t count) const {
    return block.hasLimits && (static_cast<float>(key + count - 1) > leastLimit ||
                               (block.window > 0 && static_cast<float>(key) <= mostLimit - block.window));
  }

  /// Minus infinity in `tile` where a lane does not see a key.
  void hideKeys(int64_t key, int64_t count, bool adds) {
    hasTile = true;
    forLanes([&](int64_t at) {
      V::T last = V::load(limits + at), hidden = V::set(-kInfinity);
      V::T first = V::set(block.window > 0 ? 1 - block.window : -kInfinity);
      first = V::add(last, first);
      for (int64_t i = 0; i < count; ++i) {
        V::T x = adds ? V::load(tile + i * width + at) : V::set(0), own = V::set(static_cast<float>(key + i));
        V::store(tile + i * width + at, V::selectLess(last, own, hidden, V::selectLess(own, first, hidden, x)));
      }
    });
  }

  /// The biases of a group of keys: those of all lanes in `shared`, the others in `tile`. Returns whether the keys are
  /// masked for all lanes, so that they add nothing to any row.
  bool readBiases(int64_t key, int64_t count) {
    for (int64_t i = 0; i < kGroup; ++i)
      shared[i] = 0;
    bool adds = false;
    hasTile = hasOwnBiases;
    for (int b = 0; b < block.biases; ++b) {
      if (block.sameBias[b]) {
        for (int64_t i = 0; i < count; ++i)
          shared[i] += block.bias[b][0][(key + i) * block.biasCol[b]];
      } else {
        packLanes(biases[b], key * block.biasCol[b], block.biasCol[b], count, width, 1, tile, adds);
        adds = true;
      }
    }
    if (hidesSome(key, count))
      hideKeys(key, count, adds);
    bool masked = true, infinite = true;
    for (int64_t i = 0; i < count && masked; ++i) {
      if (!hasTile) {
        masked = shared[i] <= kMasked;
        infinite &= shared[i] == -kInfinity;
        continue;
      }
      for (int64_t at = 0; at < width && masked; at += kWidth) {
        V::T x = V::add(V::load(tile + i * width + at), V::set(shared[i]));
        masked = V::allAtMost(x, V::set(kMasked));
        infinite = infinite && V::allEqual(x, V::set(-kInfinity));
      }
    }
    if (!masked || infinite)
      return masked;
    // A large negative number masks only where there is something else: else the row is a softmax over what it masks.
    bool others = true;
    forLanes([&](int64_t at) { others = others && V::allAtMost(V::set(kNotMasked), V::load(maximum + at)); });
    return others;
  }

  /// Gives the score of key i for some lanes its cap and its biases, where it has them, and returns it.
  __attribute__((always_inline)) V::T finishScore(float *score, int64_t i, int64_t lane, bool biased, V::T cap,
                                                  V::T inverse) const {
    V::T x = V::load(score);
    if (block.softcap > 0)
      x = V::mul(cap, hyperbolicTangent(V::mul(x, inverse)));
    if (biased) {
      x = V::add(x, V::set(shared[i]));
      if (hasTile)
        x = V::add(x, V::load(tile + i * width + lane));
    }
    if (block.softcap > 0 || biased)
      V::store(score, x);
    return x;
  }

  void addScores(float *own, int64_t count, bool biased) {
    V::T cap = V::set(block.softcap), inverse = V::set(block.softcap > 0 ? 1 / block.softcap : 0);
    forLanes([&](int64_t at) {
      V::T most = V::load(maximum + at);
      for (int64_t i = 0; i < count; ++i)
        most = V::max(finishScore(own + i * width + at, i, at, biased, cap, inverse), most); // NaN is found in the sum
      V::store(maximum + at, most);
    });
  }

  void runKeys(int64_t first, int64_t count) {
    forLanes([&](int64_t at) { V::store(before + at, V::load(maximum + at)); });
    // Scores and values of the keys that count lie one behind the other.
    int64_t kept = 0;
    for (int64_t key = first; key < first + count; key += kGroup) {
      int64_t some = least(kGroup, first + count - key);
      prefetchRows(key + kGroup, block.keys);
      bool biased = block.biases > 0 || hidesSome(key, some);
      if (biased && readBiases(key, some))
        continue;
      float *own = scores + kept * width;
      multiplyKeys(key, some, own);
      addScores(own, some, biased);
      copyValues(key, some, values + (narrow ? kept / 2 : kept) * block.e); // all but the last are a whole, even, group
      kept += some;
    }
    if (kept == 0)
      return;
    if (started)
      rescale();
    addWeightedValues(kept);
    started = true;
  }

  static void prefetchRow(const Block::Rows &rows, int64_t columns, int64_t i) {
    if (!rows.bits && rows.col == 1)
      for (int64_t c = 0; c < columns; c += 16)
        __builtin_prefetch(rows.at(i) + c);
  }

  /// Asks for the rows of f32 of the group of keys from `key` on, if it begins below `end`: they lie far apart where
  /// other heads are between them.
  void prefetchRows(int64_t key, int64_t end) const {
    if (key >= end)
      return;
    const int64_t last = least(key + kGroup, end);
    for (int64_t i = key; i < last; ++i) {
      prefetchRow(block.key, block.d, i);
      prefetchRow(block.value, block.e, i);
    }
  }

  /// scores[key][lane], for some keys, to `own`.
  void multiplyKeys(int64_t key, int64_t some, float *own) {
    if constexpr (V::kHasPairs)
      if (narrow) {
        const int64_t words = (block.d + 1) / 2;
        Pairs<V>::roundKeys(block.key, key, some, block.d, keyRows);
        return multiply<Pairs<V>>({keyRows, words, 1}, some, words, query, width, own, false);
      }
    if (block.key.bits) {
      withCodes(block.key, [&](auto codes) { readRows<decltype(codes)>(block.key, key, some, keyRows); });
      return multiply({keyRows, block.d, 1}, some, block.d, query, width, own, false);
    }
    multiply({block.key.at(key), block.key.row, block.key.col}, some, block.d, query, width, own, false);
  }

  /// From the scores of `kept` keys, whose values lie in `values`.
  void addWeightedValues(int64_t kept) {
    if constexpr (V::kHasPairs)
      if (narrow) {
        Pairs<V>::weigh(scores, kept, width, maximum, total);
        return multiply<Pairs<V>>({values, 1, block.e}, block.e, (kept + 1) / 2, scores, width, sums, started);
      }
    forLanes([&](int64_t at) {
      V::T most = finite(V::load(maximum + at)), sum = V::load(total + at);
      for (int64_t i = 0; i < kept; ++i) {
        V::T x = exponential(V::sub(V::load(scores + i * width + at), most));
        V::store(scores + i * width + at, x);
        sum = V::add(sum, x);
      }
      V::store(total + at, sum);
    });
    multiply({values, 1, block.e}, block.e, kept, scores, width, sums, started);
  }

  /// As runKeys, of a single query: what is side by side is the numbers of a key, and then its scores.
  void runKeysOfOne(int64_t first, int64_t count) {
    float *own = scores;
    float most = singleMaximum;
    for (int64_t key = 0; key < count; key += kWidth) {
      int64_t some = least(count - key, kWidth);
      V::T x = scoresOfOne(first + key, some);
      if (block.softcap > 0)
        x = V::mul(V::set(block.softcap), hyperbolicTangent(V::mul(x, V::set(1 / block.softcap))));
      V::store(own + key, x);
      for (int64_t i = 0; i < some; ++i) {
        int64_t at = first + key + i;
        for (int b = 0; b < block.biases; ++b)
          own[key + i] += block.bias[b][0][at * block.biasCol[b]];
        if (block.hasLimits && !sees(at))
          own[key + i] = -kInfinity;
        most = own[key + i] > most ? own[key + i] : most; // NaN is found in the sum
      }
      for (int64_t i = some; i < kWidth; ++i)
        own[key + i] = -kInfinity;
    }
    float finiteMost = most == -kInfinity ? 0 : most;
    if (started && most > singleMaximum) {
      float old[kWidth];
      V::store(old, exponential(V::set(singleMaximum - finiteMost)));
      singleTotal *= old[0];
      for (int64_t c = 0; c < block.e; c += kWidth)
        V::storeFirst(values + c, V::mul(V::loadFirst(values + c, block.e - c), V::set(old[0])), block.e - c);
    }
    singleMaximum = most;
    V::T sum = V::set(0);
    for (int64_t key = 0; key < count; key += kWidth) {
      V::T x = exponential(V::sub(V::load(own + key), V::set(finiteMost)));
      V::store(own + key, x);
      sum = V::add(sum, x);
    }
    float sums[kWidth];
    V::store(sums, sum);
    for (float part : sums)
      singleTotal += part;
    addValues(first, count);
    started = true;
  }

  /// Whether the single query sees a key.
  bool sees(int64_t key) const {
    auto at = static_cast<float>(key);
    return at <= block.limit[0] && (block.window == 0 || at > block.limit[0] - block.window);
  }

  /// Products of a single query with up to a vector's width of keys.
  V::T scoresOfOne(int64_t key, int64_t count) {
    if (block.key.bits) {
      V::T result;
      withCodes(block.key, [&](auto codes) { result = scoreCodes<decltype(codes)>(block.key, key, query, groupSums); });
      return result;
    }
    V::T sum[kWidth];
    const float *row[kWidth];
    for (int64_t i = 0; i < kWidth; ++i) {
      row[i] = block.key.at(key + (i < count ? i : 0));
      sum[i] = V::set(0);
    }
    for (int64_t c = 0; c < block.d; c += kWidth) {
      int64_t left = block.d - c;
      V::T q = V::loadFirst(query + c, left);
      LATHE_UNROLL for (int64_t i = 0; i < kWidth; ++i) sum[i] = V::fma(q, V::loadFirst(row[i] + c, left), sum[i]);
    }
    V::transpose(sum);
    for (int64_t step = kWidth / 2; step > 0; step /= 2)
      for (int64_t i = 0; i < step; ++i)
        sum[i] = V::add(sum[i], sum[i + step]);
    return sum[0];
  }

  /// Adds the weighted values of a single query to its sums, which lie one behind the other in `values`.
  void addValues(int64_t key, int64_t count) {
    if (block.value.bits)
      return withCodes(block.value, [&](auto codes) { addCodes<decltype(codes)>(block.value, key, count, scores, values, started); });
    const float *rows[Block::kKeys];
    for (int64_t i = 0; i < count; ++i)
      rows[i] = block.value.at(key + i);
    for (int64_t c = 0; c < block.e; c += kWidth) {
      int64_t left = block.e - c;
      V::T even = started ? V::loadFirst(values + c, left) : V::set(0), odd = V::set(0);
      int64_t i = 0;
      for (; i + 2 <= count; i += 2) {
        even = V::fma(V::set(scores[i]), V::loadFirst(rows[i] + c, left), even);
        odd = V::fma(V::set(scores[i + 1]), V::loadFirst(rows[i + 1] + c, left), odd);
      }
      if (i < count)
        even = V::fma(V::set(scores[i]), V::loadFirst(rows[i] + c, left), even);
      V::storeFirst(values + c, V::add(even, odd), left);
    }
  }

  /// Each is read for every few lanes' sums, and rows far apart would push each other out of the cache.
  void copyValues(int64_t key, int64_t count, float *target) {
    if constexpr (V::kHasPairs)
      if (narrow)
        return Pairs<V>::pairValues(block.value, key, count, block.e, target);
    if (block.value.bits)
      return withCodes(block.value, [&](auto codes) { readRows<decltype(codes)>(block.value, key, count, target); });
    for (int64_t i = 0; i < count; ++i) {
      const float *row = block.value.at(key + i);
      float *to = target + i * block.e;
      if (block.value.col != 1)
        for (int64_t c = 0; c < block.e; ++c)
          to[c] = row[c * block.value.col];
      else
        for (int64_t c = 0; c < block.e; c += kWidth)
          V::storeFirst(to + c, V::loadFirst(row + c, block.e - c), block.e - c);
    }
  }

  /// To a larger maximum.
  void rescale() {
    forLanes([&](int64_t at) {
      V::T old = V::load(before + at), most = V::load(maximum + at);
      if (V::allEqual(old, most))
        return;
      V::T factor = exponential(V::sub(old, finite(most)));
      V::store(total + at, V::mul(V::load(total + at), factor));
      for (int64_t i = 0; i < block.e; ++i)
        V::store(sums + i * width + at, V::mul(V::load(sums + i * width + at), factor));
    });
  }

  void leavePart() {
    float *target = block.part;
    forLanes([&](int64_t at) {
      V::store(target + at, V::load(maximum + at));
      V::store(target + width + at, V::load(total + at));
      for (int64_t i = 0; i < block.e; ++i)
        V::store(target + (i + 2) * width + at, V::load(sums + i * width + at));
    });
  }

  void finish() {
    forLanes([&](int64_t at) {
      V::T sum = V::load(total + at);
      // Of no keys the result is a sum of nothing. The sum is positive; else all keys are masked, where it is 0, or it
      // is NaN.
      V::T factor = block.keys <= block.first ? V::set(0) : V::div(V::set(1.0f), sum);
      V::T other = block.keys <= block.first || block.zeroNan ? V::set(0) : V::mul(sum, V::set(block.zeroMasked ? 0 : kInfinity));
      for (int64_t i = 0; i < block.e; ++i) {
        V::T x = V::selectLess(V::set(0), sum, V::mul(V::load(sums + i * width + at), factor), other);
        V::store(sums + i * width + at, x);
      }
    });
    if (block.value.rotation > 1)
      rotateRows(block.value, sums, width);
    unpackLanes(sums, block.e, width, block.lanes, block.outCol, block.out);
  }

  const Block &block;
  int64_t width; ///< lanes, in whole groups
  float *query, *sums, *scores, *tile, *maximum, *total, *before, *shared, *values, *keyRows, *groupSums;
  const float *queries[Block::kLanes], *biases[2][Block::kLanes];
  float limits[Block::kLanes], leastLimit = 0, mostLimit = 0;
  bool hasOwnBiases = false; ///< a bias differs between lanes
  bool hasTile = false;      ///< what is added to the scores of this group of keys does
  bool started = false; ///< sums hold something
  bool narrow = false;  ///< queries, keys, weights and values are words of two bf16
  /// One query, whose lanes are all the same, of keys and values whose numbers lie one behind the other: these are
  /// computed side by side instead of queries.
  bool single = false;
  float singleMaximum = -kInfinity, singleTotal = 0; ///< where single
};

[[maybe_unused]] void runBlock(const Block &block) { BlockRun(block).run(); }
[[maybe_unused]] void combineParts(const Block &block, const float *parts, int64_t count) { BlockRun(block).combine(parts, count); }

} // namespace

#endif // LATHE_BACKENDS_CPU_RUNTIME_ATTENTIONKERNEL_H
