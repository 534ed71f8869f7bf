//===- AttentionBytes.h - Attention by sums of products of bytes -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Included behind AttentionKernel.h by a source that is compiled for AVX-512 with VNNI.
//
// A block's queries and keys are rounded by their own largest magnitudes, values by that of their column over the keys
// of a page, weights of a page by the largest of a query: only integers are rounded to, so the rest of the softmax, and
// what pages add up to, is as in the kernel of floats. Before they are rounded the mean of some keys is taken off all
// of them, which adds the same to all scores of a query, so that no softmax sees it (Zhang et al. 2025,
// "SageAttention", section 4.2).
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_ATTENTIONBYTES_H
#define LATHE_BACKENDS_CPU_RUNTIME_ATTENTIONBYTES_H

namespace {

using Words = __m512i;
using Bytes = lathe::cpu::AttentionBytes;

constexpr float kMostByte = 127, kMostWeight = 255;
/// Of rows whose largest magnitude is beyond these the products of scales may not be normal numbers.
constexpr float kLeastLargest = 1e-15f, kMostLargest = 1e15f;

inline Words loadWords(const void *p) { return _mm512_loadu_si512(p); }
inline Words bitsOf(V::T x) { return _mm512_castps_si512(V::abs(x)); }
/// Of magnitudes, as bits: NaN is larger than all others.
inline float largestOf(Words most) { return __builtin_bit_cast(float, _mm512_reduce_max_epi32(most)); }
inline bool isPlain(float largest) { return largest == 0 || (largest >= kLeastLargest && largest <= kMostLargest); }
inline float inverseOf(float largest) { return largest > 0 ? kMostByte / largest : 0; }
inline Words rounded(V::T x) { return _mm512_cvtps_epi32(x); }
/// Up to a vector of numbers of a row from c on, and zeros.
inline V::T loadOf(const float *x, int64_t c, int64_t count) {
  return count - c >= kWidth ? V::load(x + c) : c < count ? V::loadFirst(x + c, count - c) : V::set(0);
}
inline Words fourBytes(const void *p) {
  int four;
  __builtin_memcpy(&four, p, sizeof four);
  return _mm512_set1_epi32(four);
}

/// Bytes of four vectors, in words: those of the first are the lowest. Above the lowest byte of each is its sign.
inline Words joined(const Words (&x)[4]) {
  Words byte = _mm512_set1_epi32(255);
  Words low = _mm512_or_si512(_mm512_and_si512(x[0], byte), _mm512_slli_epi32(_mm512_and_si512(x[1], byte), 8));
  Words high = _mm512_or_si512(_mm512_slli_epi32(_mm512_and_si512(x[2], byte), 16), _mm512_slli_epi32(x[3], 24));
  return _mm512_or_si512(low, high);
}

/// 255 * 2^x for x of at most 0: what is left of it as an integer is off by less than 0.03.
inline Words weightOf(V::T x) {
  constexpr float kLog2 = 7.99435344f; // of 255
  V::T y = V::max(V::add(x, V::set(kLog2)), V::set(-20));
  V::T n = V::round(y), r = V::sub(y, n);
  V::T p = V::fma(V::set(5.5171668e-2f), r, V::set(2.4261112e-1f)); // the largest relative error is least, 7.5e-5
  p = V::fma(p, r, V::set(6.9326099e-1f));
  p = V::fma(p, r, V::set(9.9992807e-1f));
  return rounded(V::scale(p, n));
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

/// Scores of some keys with the queries of some vectors: bytes of keys to which 128 was added, which `sums` take off
/// again, times bytes of queries with signs.
template <int columns>
void scoreTile(const unsigned char *keys, int64_t stride, int64_t steps, const unsigned char *queries, int64_t width,
               const unsigned char *sums, const float *keyScales, const float *queryScales, float *out) {
  constexpr int kRows = 4;
  Words sum[kRows][columns];
  LATHE_UNROLL for (int j = 0; j < columns; ++j) LATHE_UNROLL for (int i = 0; i < kRows; ++i) sum[i][j] =
      loadWords(sums + j * 64);
  for (int64_t k = 0; k < steps; ++k, keys += 4, queries += 4 * width) {
    Words right[columns];
    LATHE_UNROLL for (int j = 0; j < columns; ++j) right[j] = loadWords(queries + j * 64);
    LATHE_UNROLL for (int i = 0; i < kRows; ++i) {
      Words left = fourBytes(keys + i * stride);
      LATHE_UNROLL for (int j = 0; j < columns; ++j) sum[i][j] = _mm512_dpbusd_epi32(sum[i][j], left, right[j]);
    }
  }
  LATHE_UNROLL for (int j = 0; j < columns; ++j) {
    V::T scale = V::load(queryScales + j * kWidth);
    LATHE_UNROLL for (int i = 0; i < kRows; ++i) V::store(
        out + i * width + j * kWidth, V::mul(V::mul(_mm512_cvtepi32_ps(sum[i][j]), V::set(keyScales[i])), scale));
  }
}

/// Adds weights times values of a page to sums of what is before it, which are multiplied by `old`.
template <int rows, int columns>
void valueTile(const int *values, int64_t stride, int64_t steps, const unsigned char *weights, int64_t width,
               const float *valueScales, const float *old, const float *own, float *out) {
  Words sum[rows][columns];
  LATHE_UNROLL for (int i = 0; i < rows; ++i) LATHE_UNROLL for (int j = 0; j < columns; ++j) sum[i][j] =
      _mm512_setzero_si512();
  for (int64_t k = 0; k < steps; ++k, values += stride, weights += 4 * width) {
    Words right[columns];
    LATHE_UNROLL for (int j = 0; j < columns; ++j) right[j] = loadWords(weights + j * 64);
    LATHE_UNROLL for (int i = 0; i < rows; ++i) {
      Words left = _mm512_set1_epi32(values[i]);
      LATHE_UNROLL for (int j = 0; j < columns; ++j) sum[i][j] = _mm512_dpbusd_epi32(sum[i][j], right[j], left);
    }
  }
  LATHE_UNROLL for (int j = 0; j < columns; ++j) {
    V::T before = V::load(old + j * kWidth), now = V::load(own + j * kWidth);
    LATHE_UNROLL for (int i = 0; i < rows; ++i) {
      float *at = out + i * width + j * kWidth;
      V::T x = V::mul(V::mul(_mm512_cvtepi32_ps(sum[i][j]), V::set(valueScales[i])), now);
      V::store(at, V::fma(V::load(at), before, x));
    }
  }
}

template <int count> struct Count {
  static constexpr int value = count;
};

/// Calls `body` with the number of vectors that these lanes are, a Count of up to 4.
template <typename Body> void withVectors(int64_t width, Body body) {
  static_assert(Block::kLanes == 4 * kWidth, "lanes of a block are up to four vectors");
  switch (width / kWidth) {
  case 1:
    return body(Count<1>());
  case 2:
    return body(Count<2>());
  case 3:
    return body(Count<3>());
  default:
    return body(Count<4>());
  }
}

//===----------------------------------------------------------------------===//
// A block
//===----------------------------------------------------------------------===//

class ByteRun : public BlockRun {
public:
  ByteRun(const Block &block, Bytes &bytes)
      : BlockRun(block), bytes(bytes), at(Bytes::layout(bytes.keys - bytes.first, bytes.d, bytes.e)),
        centre(floatsAt(at.centre)), row(floatsAt(at.row)), queryScales(floatsAt(at.queryScales)),
        most(floatsAt(at.most)), old(floatsAt(at.old)), now(floatsAt(at.now)), queryBytes(bytes.memory + at.queries),
        querySums(bytes.memory + at.querySums), weights(bytes.memory + at.weights) {}

  /// False where a number is not plain, with nothing written to the result.
  bool run() {
    if (!bytes.started)
      start();
    if (!packQueries())
      return false;
    fill(maximum, 1, -kInfinity);
    fill(total, 1, 0);
    fill(sums, block.e, 0);
    for (int64_t first = block.first; first < block.keys; first += Block::kKeys)
      if (!runPage(first, least(Block::kKeys, block.keys - first)))
        return false;
    spreadNan();
    finish();
    return true;
  }

private:
  enum State : unsigned char { kNone, kPlain, kOther };

  float *floatsAt(int64_t offset) const { return reinterpret_cast<float *>(bytes.memory + offset); }

  /// Numbers of a row, one behind the other; they stay until the next row is read, where they did not lie so.
  const float *dense(const float *from, int64_t col, int64_t count) {
    if (col == 1)
      return from;
    for (int64_t c = 0; c < count; ++c)
      row[c] = from[c * col];
    return row;
  }

  /// A vector of a row, from column c on, and zeros.
  V::T part(const float *from, int64_t col, int64_t c, int64_t count) {
    int64_t left = count - c;
    return loadOf(dense(from + c * col, col, least(left, kWidth)), 0, left);
  }

  void start() {
    bytes.started = true;
    for (int64_t page = 0; page < at.pages; ++page)
      bytes.memory[page * at.page] = kNone;
    for (int64_t c = 0; c < at.keyRow; ++c)
      centre[c] = 0;
    int64_t count = bytes.keys - bytes.first;
    if (block.softcap > 0 || count <= 0) // which what is added to all scores would change
      return;
    // Of some keys that lie far from each other: the mean of all is about the same.
    constexpr int64_t kSome = 64;
    int64_t step = (count + kSome - 1) / kSome, some = (count + step - 1) / step;
    for (int64_t c = 0; c < block.d; c += kWidth) {
      V::T sum = V::set(0);
      for (int64_t key = bytes.first; key < bytes.keys; key += step)
        sum = V::add(sum, part(block.key.at(key), block.key.col, c, block.d));
      V::store(centre + c, V::mul(sum, V::set(1 / static_cast<float>(some))));
    }
  }

  /// Words of four bytes of a query, of all lanes side by side; what is behind the last number is nothing in keys.
  bool packQueries() {
    unsigned char *rows = queryBytes + at.keyRow * Block::kLanes;
    float magnitude = block.scale < 0 ? -block.scale : block.scale;
    for (int64_t lane = 0; lane < width; ++lane) {
      const float *x = dense(queries[lane], block.queryCol, block.d);
      Words largest = _mm512_setzero_si512();
      for (int64_t c = 0; c < block.d; c += kWidth)
        largest = _mm512_max_epi32(largest, bitsOf(loadOf(x, c, block.d)));
      float bound = largestOf(largest), scaled = bound * magnitude;
      if (!isPlain(bound) || !isPlain(scaled))
        return false;
      queryScales[lane] = scaled / kMostByte;
      V::T inverse = V::set(block.scale < 0 ? -inverseOf(bound) : inverseOf(bound));
      for (int64_t c = 0; c < at.keyRow; c += kWidth) {
        Words words = rounded(V::mul(loadOf(x, c, block.d), inverse));
        _mm_storeu_si128(reinterpret_cast<__m128i *>(rows + lane * at.keyRow + c), _mm512_cvtsepi32_epi8(words));
      }
    }
    const Words offset = _mm512_set1_epi8(-128);
    for (int64_t lane = 0; lane < width; lane += kWidth) {
      Words sum = _mm512_setzero_si512();
      for (int64_t c = 0; c < at.keyRow; c += 64) {
        V::T square[kWidth];
        LATHE_UNROLL for (int64_t i = 0; i < kWidth; ++i) square[i] =
            V::load(reinterpret_cast<const float *>(rows + (lane + i) * at.keyRow + c));
        V::transpose(square);
        LATHE_UNROLL for (int64_t i = 0; i < kWidth; ++i) {
          Words words = _mm512_castps_si512(square[i]);
          _mm512_storeu_si512(queryBytes + ((c / 4 + i) * width + lane) * 4, words);
          sum = _mm512_dpbusd_epi32(sum, offset, words);
        }
      }
      _mm512_storeu_si512(querySums + lane * 4, _mm512_sub_epi32(_mm512_setzero_si512(), sum));
    }
    return true;
  }

  bool packKeys(unsigned char *page, int64_t first, int64_t count) {
    unsigned char *to = page + at.keys;
    float *scales = reinterpret_cast<float *>(page + at.keyScales);
    for (int64_t i = 0; i < Block::kKeys; ++i, to += at.keyRow) {
      scales[i] = 0;
      if (i >= count) {
        for (int64_t c = 0; c < at.keyRow; ++c)
          to[c] = 0;
        continue;
      }
      const float *x = dense(block.key.at(first + i), block.key.col, block.d);
      auto load = [&](int64_t c) { return V::sub(loadOf(x, c, block.d), V::load(centre + c)); };
      Words largest = _mm512_setzero_si512();
      for (int64_t c = 0; c < block.d; c += kWidth)
        largest = _mm512_max_epi32(largest, bitsOf(load(c)));
      float bound = largestOf(largest);
      if (!isPlain(bound))
        return false;
      V::T inverse = V::set(inverseOf(bound));
      for (int64_t c = 0; c < at.keyRow; c += kWidth) {
        Words words = rounded(V::mul(load(c), inverse));
        __m128i packed = _mm_xor_si128(_mm512_cvtsepi32_epi8(words), _mm_set1_epi8(-128));
        _mm_storeu_si128(reinterpret_cast<__m128i *>(to + c), packed);
      }
      scales[i] = bound / kMostByte;
    }
    return true;
  }

  /// Words of four keys' bytes, those of all columns side by side.
  bool packValues(unsigned char *page, int64_t first, int64_t count) {
    int *to = reinterpret_cast<int *>(page + at.values);
    float *scales = reinterpret_cast<float *>(page + at.valueScales);
    const float *from[Block::kKeys];
    for (int64_t i = 0; i < count; ++i)
      from[i] = block.value.at(first + i);
    for (int64_t c = 0; c < block.e; c += kWidth) {
      auto load = [&](int64_t i) { return i >= count ? V::set(0) : part(from[i], block.value.col, c, block.e); };
      Words largest = _mm512_setzero_si512();
      for (int64_t i = 0; i < count; ++i)
        largest = _mm512_max_epi32(largest, bitsOf(load(i)));
      // A column of zeros is plain, others are as rows are.
      V::T bound = _mm512_castsi512_ps(largest);
      __mmask16 isZero = _mm512_cmp_ps_mask(bound, V::set(0), _CMP_EQ_OQ);
      __mmask16 isGood = _mm512_cmp_ps_mask(bound, V::set(kLeastLargest), _CMP_GE_OQ) &
                         _mm512_cmp_ps_mask(bound, V::set(kMostLargest), _CMP_LE_OQ);
      if (static_cast<__mmask16>(isZero | isGood) != 0xffff)
        return false;
      V::store(scales + c, V::mul(bound, V::set(1 / kMostByte)));
      V::T inverse = _mm512_maskz_div_ps(isGood, V::set(kMostByte), bound);
      for (int64_t i = 0; i < Block::kKeys; i += 4) {
        Words x[4];
        LATHE_UNROLL for (int64_t j = 0; j < 4; ++j) x[j] = rounded(V::mul(load(i + j), inverse));
        _mm512_storeu_si512(to + i / 4 * at.valueRow + c, joined(x));
      }
    }
    return true;
  }

  /// The page of keys from `first` on, as bytes; null where a number is not plain.
  unsigned char *pageOf(int64_t first) {
    unsigned char *page = bytes.memory + (first - bytes.first) / Block::kKeys * at.page;
    if (*page == kNone) {
      int64_t count = least(Block::kKeys, bytes.keys - first);
      *page = packKeys(page, first, count) && packValues(page, first, count) ? kPlain : kOther;
    }
    return *page == kPlain ? page : nullptr;
  }

  /// Scores of a group of keys.
  void score(const unsigned char *page, int64_t key) {
    const unsigned char *keys = page + at.keys + key * at.keyRow;
    const float *scales = reinterpret_cast<const float *>(page + at.keyScales) + key;
    float *out = scores + key * width;
    int64_t steps = (block.d + 3) / 4;
    withVectors(width, [&](auto vectors) {
      for (int64_t i = 0; i < kGroup; i += 4)
        scoreTile<decltype(vectors)::value>(keys + i * at.keyRow, at.keyRow, steps, queryBytes, width, querySums,
                                            scales + i, queryScales, out + i * width);
    });
  }

  /// As addScores, with the largest of this page besides.
  void addToScores(float *own, int64_t count, bool biased) {
    V::T cap = V::set(block.softcap), inverse = V::set(block.softcap > 0 ? 1 / block.softcap : 0);
    forLanes([&](int64_t lane) {
      V::T largest = V::load(most + lane);
      for (int64_t i = 0; i < count; ++i) {
        V::T x = finishScore(own + i * width + lane, i, lane, biased, cap, inverse);
        if (biased)
          nan[lane / kWidth] |= _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
        largest = V::max(x, largest);
      }
      V::store(most + lane, largest);
      V::store(maximum + lane, V::max(largest, V::load(maximum + lane)));
    });
  }

  /// Weights of a page from its scores, and their sums. `count` is a multiple of 4.
  void weigh(int64_t count) {
    const Words one = _mm512_set1_epi8(1);
    constexpr float kLog2e = 1.44269504f;
    forLanes([&](int64_t lane) {
      V::T largest = finite(V::load(most + lane));
      Words sum = _mm512_setzero_si512();
      for (int64_t i = 0; i < count; i += 4) {
        Words x[4];
        LATHE_UNROLL for (int64_t j = 0; j < 4; ++j) x[j] =
            weightOf(V::mul(V::sub(V::load(scores + (i + j) * width + lane), largest), V::set(kLog2e)));
        Words four = joined(x);
        _mm512_storeu_si512(weights + (i / 4 * width + lane) * 4, four);
        sum = _mm512_dpbusd_epi32(sum, four, one);
      }
      V::T after = finite(V::load(maximum + lane));
      V::T was = exponential(V::sub(V::load(before + lane), after));
      V::T is = exponential(V::sub(V::load(most + lane), after));
      V::store(old + lane, was);
      V::store(now + lane, is);
      V::store(total + lane, V::fma(V::load(total + lane), was, V::mul(_mm512_cvtepi32_ps(sum), is)));
    });
  }

  void addValuesOf(const unsigned char *page, int64_t count) {
    const int *values = reinterpret_cast<const int *>(page + at.values);
    const float *scales = reinterpret_cast<const float *>(page + at.valueScales);
    withVectors(width, [&](auto vectors) {
      constexpr int kVectors = decltype(vectors)::value;
      int64_t c = 0;
      for (; c + 4 <= block.e; c += 4)
        valueTile<4, kVectors>(values + c, at.valueRow, count / 4, weights, width, scales + c, old, now,
                               sums + c * width);
      for (; c < block.e; ++c)
        valueTile<1, kVectors>(values + c, at.valueRow, count / 4, weights, width, scales + c, old, now,
                               sums + c * width);
    });
  }

  bool runPage(int64_t first, int64_t count) {
    forLanes([&](int64_t lane) {
      V::store(before + lane, V::load(maximum + lane));
      V::store(most + lane, V::set(-kInfinity));
    });
    const unsigned char *page = nullptr;
    auto hide = [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i)
        fill(scores + i * width, 1, -kInfinity);
    };
    for (int64_t key = 0; key < count; key += kGroup) {
      int64_t some = least(kGroup, count - key);
      bool biased = block.biases > 0 || hidesSome(first + key, some);
      if (biased && readBiases(first + key, some)) {
        hide(key, key + some);
        continue;
      }
      if (!page)
        page = pageOf(first);
      if (!page)
        return false;
      score(page, key);
      addToScores(scores + key * width, some, biased);
    }
    if (!page)
      return true; // all of it is masked
    int64_t whole = (count + 3) / 4 * 4;
    hide(count, whole);
    weigh(whole);
    addValuesOf(page, whole);
    return true;
  }

  /// A NaN among the scores makes the row NaN; as a weight it would count for nothing.
  void spreadNan() {
    forLanes([&](int64_t lane) {
      V::T x = V::load(total + lane);
      V::store(total + lane, _mm512_mask_mov_ps(x, nan[lane / kWidth], V::set(__builtin_nanf(""))));
    });
  }

  Bytes &bytes;
  const Bytes::Layout at;
  float *centre, *row, *queryScales, *most, *old, *now;
  unsigned char *queryBytes, *querySums, *weights;
  __mmask16 nan[Block::kLanes / kWidth] = {};
};

} // namespace

#endif // LATHE_BACKENDS_CPU_RUNTIME_ATTENTIONBYTES_H
