//===- Numbers.cu.h - Products of few rows by numbers -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Weights of f32, f16 and bf16, which are read once, 16 bytes a thread. Where rows of a weight are dense a thread has
// neighbouring columns, and every so many rows; where its columns are, a warp has a few columns, and its threads
// neighbouring rows. What is left of a column's sum in threads and warps is added up at the end.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_KERNELS_NUMBERS_CU_H
#define LATHE_BACKENDS_CUDA_KERNELS_NUMBERS_CU_H

#include "backends/cuda/kernels/Quantized.cu.h"

namespace lathe::cuda::device {

constexpr int kNumbersWarps = kQuantizedWarps, kNumbersMostColumns = 64;
/// Columns of a warp, where they are dense.
template <int kRows> constexpr int warpColumns() { return kRows == 1 ? 4 : 2; }

template <int kRows> constexpr int numbersChunk() { return 4096 / kRows; }

template <int kRows> struct NumbersShared {
  union {
    alignas(16) float left[kRows][numbersChunk<kRows>()];
    float sums[kNumbersWarps * kRows * kNumbersMostColumns]; ///< afterwards
    float parts[kRows][kNumbersWarps];                       ///< before
  };
  float mean[kRows], factor[kRows]; ///< of rows that are normalized
  int64_t offset[kRows];            ///< of rows of a; these need many registers to be found
  int64_t rows;                     ///< that there are
};

static_assert(sizeof(NumbersShared<8>) <= kNumbersSharedBytes && sizeof(NumbersShared<1>) <= kNumbersSharedBytes,
              "launches ask for it");

/// Numbers of a weight that a thread loads at once: 16 bytes, or, where sums of 8 rows take its registers, 8 bytes of
/// 16 bits each.
template <typename W, int kRows, bool kTransposed> constexpr int numbersOfLoad() {
  return sizeof(W) == 2 && kRows == 1 ? 8 : sizeof(W) == 2 && kTransposed ? 8 : 4;
}

typedef uint32_t TwoWords __attribute__((vector_size(8)));
typedef uint32_t FourWords __attribute__((vector_size(16)));
/// What kCount numbers are loaded as.
template <typename W, int kCount> struct Loaded {
  uint32_t at[kCount * int(sizeof(W)) / 4];
};

LATHE_DEVICE uint32_t bitsOf(float value) { return floatBits(value); }
LATHE_DEVICE uint32_t bitsOf(Half value) { return value.bits; }
LATHE_DEVICE uint32_t bitsOf(Bfloat value) { return value.bits; }

/// The numbers from `from` on.
template <typename W, int kCount> LATHE_DEVICE Loaded<W, kCount> loadAll(const W *from) {
  constexpr int kWords = kCount * int(sizeof(W)) / 4;
  Loaded<W, kCount> words;
  if constexpr (kWords == 4) {
    FourWords all = load(reinterpret_cast<const FourWords *>(from));
    LATHE_UNROLL for (int i = 0; i < kWords; ++i) words.at[i] = all[i];
  } else {
    TwoWords all = load(reinterpret_cast<const TwoWords *>(from));
    LATHE_UNROLL for (int i = 0; i < kWords; ++i) words.at[i] = all[i];
  }
  return words;
}

/// The same one by one, from any address on; zeros behind the first `count`.
template <typename W, int kCount> LATHE_DEVICE Loaded<W, kCount> loadEach(const W *from, int count) {
  constexpr int kWords = kCount * int(sizeof(W)) / 4, kBits = 8 * int(sizeof(W));
  Loaded<W, kCount> words = {};
  // From the last on, each of which moves up those behind it: registers have no addresses.
  LATHE_NO_UNROLL for (int j = kCount - 1; j >= 0; --j) {
    uint32_t bits = j < count ? bitsOf(load(from + j)) : 0;
    LATHE_UNROLL for (int i = kWords - 1; i > 0; --i) words.at[i] =
        kBits == 32 ? words.at[i - 1] : words.at[i] << 16 | words.at[i - 1] >> 16;
    words.at[0] = kBits == 32 ? bits : words.at[0] << 16 | bits;
  }
  return words;
}

template <int kCount> LATHE_DEVICE float numberAt(const Loaded<float, kCount> &words, int j) {
  return bitsToFloat(words.at[j]);
}
template <int kCount> LATHE_DEVICE float numberAt(const Loaded<Half, kCount> &words, int j) {
  return halfToFloat(uint16_t(words.at[j / 2] >> 16 * (j % 2)));
}
template <int kCount> LATHE_DEVICE float numberAt(const Loaded<Bfloat, kCount> &words, int j) {
  return bitsToFloat(j % 2 ? words.at[j / 2] & 0xffff0000u : words.at[j / 2] << 16);
}

LATHE_DEVICE float clipped(float value, float) { return value; }
/// A number as one of the weight's type, within its bounds.
template <typename W> LATHE_DEVICE float roundedTo(float value) {
  if constexpr (isFloat<W>())
    return value;
  else
    return toFloat(narrowed<W>(value));
}

/// Columns [first, first + count) of rows of a as they are multiplied, and zeros up to a multiple of 8. `writes`: as of
/// loadLeft.
template <typename W, int kRows>
LATHE_DEVICE void loadNumbers(const NumbersGroupArgs &group, int64_t row, int first, int count, bool writes,
                              NumbersShared<kRows> &shared) {
  const NumbersMatmulArgs &args = group.first;
  const NormArgs &norm = group.norm;
  LATHE_NO_UNROLL for (int m = 0; m < kRows; ++m) {
    bool leaves = writes && norm.kind != 0 && row + m < loadShared(&shared.rows);
    int64_t offset = loadShared(&shared.offset[m]);
    LATHE_NO_UNROLL for (int k = threadIndex(); k < (count + 7) / 8 * 8; k += kQuantizedThreads) {
      int at = first + k;
      float value = 0;
      if (k < count) {
        value = args.narrow_left ? loadFloat<W>(args.a, offset + at * args.a_col)
                                 : loadFloat<float>(args.a, offset + at * args.a_col);
        if (norm.kind != 0)
          value = normalized(norm, value, loadShared(&shared.mean[m]), loadShared(&shared.factor[m]), at);
        int64_t place = (row + m) * args.weight.k + at;
        if (norm.narrow)
          value = clipped(value, W());
        if (leaves && !norm.narrow)
          store(static_cast<float *>(norm.out) + place, value);
        value = roundedTo<W>(value);
        if (leaves && norm.narrow)
          storeFloat<W>(norm.out, place, value);
      }
      storeShared(&shared.left[m][k], value);
    }
  }
}

/// Of rows of the weight that are dense: adds to the sums of a thread's columns, of which `there` are of the weight,
/// the products of rows slice, slice + slices and so on of the chunk.
template <typename W, int kRows>
LATHE_DEVICE void addRowsOf(const W *from, int64_t step, bool isWide, int there, int count, int slice, int slices,
                            const NumbersShared<kRows> &shared,
                            float (&sums)[kRows][numbersOfLoad<W, kRows, false>()]) {
  constexpr int kCount = numbersOfLoad<W, kRows, false>();
  constexpr int kRun = kRows == 1 ? 8 : 4; // on their way before the first is needed
  auto add = [&](const Loaded<W, kCount> &words, int k) {
    float x[kRows];
    LATHE_UNROLL for (int m = 0; m < kRows; ++m) x[m] = loadShared(&shared.left[m][k]);
    LATHE_UNROLL for (int j = 0; j < kCount; ++j) {
      float number = numberAt(words, j);
      LATHE_UNROLL for (int m = 0; m < kRows; ++m) sums[m][j] = fused(x[m], number, sums[m][j]);
    }
  };
  int k = slice;
  from += k * step;
  step *= slices;
  if (isWide && there >= kCount) {
    LATHE_NO_UNROLL for (; k + (kRun - 1) * slices < count; k += kRun * slices) {
      Loaded<W, kCount> words[kRun];
      LATHE_UNROLL for (int i = 0; i < kRun; ++i) {
        words[i] = loadAll<W, kCount>(from);
        from += step;
      }
      LATHE_UNROLL for (int i = 0; i < kRun; ++i) add(words[i], k + i * slices);
    }
  }
  LATHE_NO_UNROLL for (; k < count; k += slices) {
    add(loadEach<W, kCount>(from, there), k);
    from += step;
  }
}

/// Of columns of the weight that are dense: adds to the sums of a warp's columns the products of rows that a thread
/// has of the chunk. Columns behind the last are the last.
template <typename W, int kRows>
LATHE_DEVICE void addColumnsOf(const NumbersArgs &weight, int first, int column, int count, int slice, int slices,
                               const NumbersShared<kRows> &shared, float (&sums)[kRows][warpColumns<kRows>()]) {
  constexpr int kNumbers = numbersOfLoad<W, kRows, true>(), kColumns = warpColumns<kRows>();
  const W *from[kColumns];
  int k = (slice * 32 + threadIndex() % 32) * kNumbers, step = slices * 32 * kNumbers;
  LATHE_UNROLL for (int c = 0; c < kColumns; ++c) {
    int64_t own = column + c < int(weight.n) ? column + c : int(weight.n) - 1;
    from[c] = static_cast<const W *>(weight.weight) + own * weight.step + first + k;
  }
  auto add = [&](const Loaded<W, kNumbers>(&words)[kColumns]) {
    LATHE_UNROLL for (int j = 0; j < kNumbers; j += 4) {
      float numbers[kColumns][4];
      LATHE_UNROLL for (int c = 0; c < kColumns; ++c) LATHE_UNROLL for (int i = 0; i < 4; ++i) numbers[c][i] =
          numberAt(words[c], j + i);
      LATHE_UNROLL for (int m = 0; m < kRows; ++m) {
        Four x = loadShared(reinterpret_cast<const Four *>(&shared.left[m][k + j]));
        LATHE_UNROLL for (int c = 0; c < kColumns; ++c) LATHE_UNROLL for (int i = 0; i < 4; ++i) sums[m][c] =
            fused(x.at[i], numbers[c][i], sums[m][c]);
      }
    }
  };
  Loaded<W, kNumbers> words[kColumns];
  if (weight.wide != 0) {
    LATHE_NO_UNROLL for (; k + kNumbers <= count; k += step) {
      LATHE_UNROLL for (int c = 0; c < kColumns; ++c) {
        words[c] = loadAll<W, kNumbers>(from[c]);
        from[c] += step;
      }
      add(words);
    }
  }
  LATHE_NO_UNROLL for (; k < count; k += step) {
    LATHE_UNROLL for (int c = 0; c < kColumns; ++c) {
      words[c] = loadEach<W, kNumbers>(from[c], count - k);
      from[c] += step;
    }
    add(words);
  }
}

LATHE_DEVICE NumbersArgs weightOf(const NumbersGroupArgs &group, int part) {
  NumbersArgs weight = group.first.weight;
  const NumbersPart &second = group.others[0], &third = group.others[1];
  weight.weight = pick(part, weight.weight, second.weight, third.weight);
  weight.n = pick(part, weight.n, second.n, third.n);
  weight.step = pick(part, weight.step, second.step, third.step);
  weight.wide = pick(part, weight.wide, second.wide, third.wide);
  return weight;
}

/// Sums of `columns` columns from `column` on of the block's rows: shared.sums[(part * kRows + m) * columns + c] of
/// so many parts, which is returned.
template <typename W, bool kTransposed, int kRows>
LATHE_DEVICE int multiplyNumbers(const NumbersGroupArgs &group, const NumbersArgs &weight, int64_t row, int column,
                                 int columns, bool writes, NumbersShared<kRows> &shared) {
  constexpr int kOwn = kTransposed ? warpColumns<kRows>() : numbersOfLoad<W, kRows, false>();
  int across = columns / kOwn; // threads, or warps, side by side
  int index = kTransposed ? threadIndex() / 32 : threadIndex();
  int slice = index / across, slices = (kTransposed ? kNumbersWarps : kQuantizedThreads) / across;
  int own = index % across * kOwn;
  float sums[kRows][kOwn] = {};
  LATHE_NO_UNROLL for (int first = 0; first < int(weight.k); first += numbersChunk<kRows>()) {
    int left = int(weight.k) - first;
    int count = left < numbersChunk<kRows>() ? left : numbersChunk<kRows>();
    LATHE_SYNC();
    loadNumbers<W, kRows>(group, row, first, count, writes, shared);
    LATHE_SYNC();
    int there = int(weight.n) - column - own;
    if (there <= 0)
      continue;
    if constexpr (kTransposed)
      addColumnsOf<W, kRows>(weight, first, column + own, count, slice, slices, shared, sums);
    else
      addRowsOf<W, kRows>(static_cast<const W *>(weight.weight) + int64_t(first) * weight.step + column + own,
                          weight.step, weight.wide != 0, there, count, slice, slices, shared, sums);
  }
  LATHE_SYNC();
  int lane = threadIndex() % 32, part = kTransposed ? slice : threadIndex() / 32;
  LATHE_UNROLL for (int m = 0; m < kRows; ++m) LATHE_UNROLL for (int j = 0; j < kOwn; ++j) {
    float sum = sums[m][j];
    LATHE_NO_UNROLL for (int mask = kTransposed ? 1 : across; mask < 32; mask *= 2) sum += shuffleXor(sum, mask);
    if (lane < (kTransposed ? 1 : across))
      storeShared(&shared.sums[(part * kRows + m) * columns + own + j], sum);
  }
  LATHE_SYNC();
  return kTransposed ? slices : kNumbersWarps;
}

/// As finish, with sides of the weight's type or of f32.
template <typename W>
LATHE_DEVICE float finishNumber(const EpilogueArgs &end, float sum, int64_t index, int64_t column, bool isNarrow) {
  auto side = [&](const void *base, int64_t at) {
    return isNarrow ? loadFloat<W>(base, at) : loadFloat<float>(base, at);
  };
  float value = float(end.alpha) * sum;
  if (end.bias)
    value += side(end.bias, column);
  value = activate(int(end.activation), value);
  if (end.multiplier)
    value *= side(end.multiplier, index);
  return end.residual ? value + side(end.residual, index) : value;
}

template <typename W> LATHE_DEVICE void storeNumber(const EpilogueArgs &end, int64_t index, float value, int64_t kind) {
  if (kind == kOutF32)
    return storeFloat<float>(end.out, index, value);
  storeFloat<W>(end.out, index, kind == kOutBounded ? clipped(value, W()) : value);
}

/// What of a group a block computes: `columns` from `column` on of products [part, last), of rows from `row` on.
struct BlockPlace {
  int64_t row;
  int part, last, column;
  bool isFirst; ///< of all blocks of these rows
};

/// A block for each group.columns columns of a product, of each `rows` rows of all batches, the last outermost; of
/// chained products one for all of them.
template <typename Group> LATHE_DEVICE BlockPlace placeOfBlock(const Group &group, int rows) {
  int columns = int(group.columns);
  auto blocksOf = [&](int part, int64_t n) {
    return part < group.count && (part == 0 || !group.isChained) ? (int(n) + columns - 1) / columns : 0;
  };
  int first = blocksOf(0, group.first.epilogue.n), second = first + blocksOf(1, group.others[0].n),
      all = second + blocksOf(2, group.others[1].n), block = int(blockIndex()) % all;
  int part = block < first ? 0 : block < second ? 1 : 2;
  return {int64_t(int(blockIndex()) / all) * rows, part, group.isChained ? int(group.count) : part + 1,
          (block - pick(part, 0, first, second)) * columns, block == 0};
}

/// A block for each args.columns columns of a product, of each kRows rows of all batches, the last outermost; of
/// chained products one for all of them.
template <typename W, bool kTransposed, int kRows> LATHE_DEVICE void numbersMatmul(const NumbersGroupArgs &group) {
  auto &shared = *static_cast<NumbersShared<kRows> *>(sharedMemory());
  BlockPlace place = placeOfBlock(group, kRows);
  int columns = int(group.columns), part = place.part, column = place.column;
  int64_t row = place.row;
  if (threadIndex() < kRows) {
    const float *own = leftRow<float>(group.first, row + threadIndex()); // counted in elements of any size
    storeShared(&shared.offset[threadIndex()], int64_t(own - static_cast<const float *>(group.first.a)));
  }
  if (threadIndex() == 0)
    storeShared(&shared.rows, rowCount(group.first.epilogue));
  if (group.norm.kind != 0) {
    float mean[kRows], factor[kRows];
    findNorm<float, kRows>(group.first, group.norm, row, shared, mean, factor);
    if (threadIndex() == 0) {
      LATHE_UNROLL for (int m = 0; m < kRows; ++m) {
        storeShared(&shared.mean[m], mean[m]);
        storeShared(&shared.factor[m], factor[m]);
      }
    }
  }
  LATHE_NO_UNROLL for (; part < place.last; ++part) {
    NumbersArgs weight = weightOf(group, part);
    int parts =
        multiplyNumbers<W, kTransposed, kRows>(group, weight, row, column, columns, place.isFirst && part == 0, shared);
    EpilogueArgs end = epilogueOf(group, part);
    int64_t kind = pick(part, group.first.store, group.others[0].store, group.others[1].store);
    LATHE_NO_UNROLL for (int i = threadIndex(); i < kRows * columns; i += kQuantizedThreads) {
      int64_t own = row + i / columns;
      int at = column + i % columns;
      if (own >= loadShared(&shared.rows) || at >= end.n)
        continue;
      float sum = 0;
      LATHE_NO_UNROLL for (int p = 0; p < parts; ++p) sum += loadShared(&shared.sums[p * kRows * columns + i]);
      int64_t index = batchOffset(end.batch, end.out_batch, own / end.m) + own % end.m * end.out_row + at;
      float value = finishNumber<W>(end, sum, index, at, group.first.narrow_sides != 0);
      storeNumber<W>(end, index, value, kind);
    }
  }
}

} // namespace lathe::cuda::device

#endif // LATHE_BACKENDS_CUDA_KERNELS_NUMBERS_CU_H
