//===- Attention.cu.h - Attention that never writes its scores --*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Dao et al. 2022, "FlashAttention": a block has some rows of queries and goes over keys in tiles, with a running
// largest score and sum. Rows are those of all heads that share a key's head, so that few queries of many heads fill a
// block. Keys can be split into parts for blocks of their own (Dao et al. 2023, "Flash-Decoding"), which another kernel
// combines.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_KERNELS_ATTENTION_CU_H
#define LATHE_BACKENDS_CUDA_KERNELS_ATTENTION_CU_H

#include "backends/cuda/kernels/Cache.cu.h"

namespace lathe::cuda::device {

constexpr int kAttentionThreads = 128, kAttentionKeys = 32, kSlice = 64;
constexpr int64_t kCachePageRows = 64;

template <int kRows> struct AttentionShared {
  float query[kRows][kSlice + 1];
  float key[kAttentionKeys][kSlice + 1]; ///< or values
  float scores[kRows][kAttentionKeys + 1];
  float maximum[kRows], sum[kRows], factor[kRows];
  int64_t first[kRows], end[kRows]; ///< keys that a row sees
};

static_assert(sizeof(AttentionShared<8>) == attentionSharedBytes(8) &&
                  sizeof(AttentionShared<32>) == attentionSharedBytes(32),
              "launches ask for it");

/// Which rows, head and keys a block has.
struct AttentionPlace {
  int64_t batch0, batch1, keyHead;
  int64_t firstRow, rows, perHead; ///< rows of this block; and queries' heads that share a key's head
  int64_t keys;                    ///< of the sequence
};

template <int kRows> LATHE_DEVICE AttentionPlace placeOf(const AttentionArgs &args, int64_t block) {
  AttentionPlace place;
  int64_t head = block / args.row_blocks;
  place.firstRow = block % args.row_blocks * kRows;
  place.perHead = args.batch[2] / args.key_heads;
  int64_t rows = place.perHead * args.s - place.firstRow;
  place.rows = rows < kRows ? rows : kRows;
  place.keyHead = head % args.key_heads;
  head /= args.key_heads;
  place.batch1 = head % args.batch[1];
  place.batch0 = head / args.batch[1];
  place.keys = args.counts ? load(args.counts + place.batch1) : args.t;
  return place;
}

/// Where row `row` of the block, of its query's head, begins in a view.
LATHE_DEVICE int64_t rowOffset(const AttentionArgs &args, const ViewArgs &view, const AttentionPlace &place,
                               int64_t row) {
  int64_t index = place.firstRow + row, head = place.keyHead * place.perHead + index / args.s;
  return place.batch0 * view.batch[0] + place.batch1 * view.batch[1] + head * view.batch[2] + index % args.s * view.row;
}

/// Keys from `first` on, before `end`.
struct KeyRange {
  int64_t first, end;
};

/// What a row sees.
LATHE_DEVICE KeyRange keysOf(const AttentionArgs &args, const AttentionPlace &place, int64_t row) {
  int64_t end = row < place.rows ? place.keys : 0, first = 0;
  if (args.positions && row < place.rows) {
    int64_t query = (place.firstRow + row) % args.s;
    int64_t position = load(args.positions + place.batch1 * args.position_batch + query * args.position_row);
    position = position < -1 ? -1 : position;
    end = position + 1 < end ? position + 1 : end;
    first = args.window > 0 && position + 1 > args.window ? position + 1 - args.window : 0;
  }
  return {first, end};
}

/// As loadKeys, of a cache of codes.
LATHE_DEVICE void loadCodedKeys(const RowsArgs &from, const AttentionPlace &place, int64_t key, int64_t column,
                                int64_t columns, float (*to)[kSlice + 1]) {
  auto *head = static_cast<const unsigned char *>(load(load(from.pages + place.batch1) + key / kCachePageRows)) +
               from.offset + place.keyHead * from.head_bytes;
  LATHE_NO_UNROLL for (int index = threadIndex(); index < kAttentionKeys * kSlice; index += kAttentionThreads) {
    int row = index / kSlice, at = index % kSlice;
    bool there = key + row < place.keys && column + at < columns;
    float value = there ? codeValue(from.codes, head, key % kCachePageRows + row, int(column) + at) : 0.0f;
    storeShared(&to[row][at], value);
  }
}

/// Columns [column, column + 64) of up to 32 keys or values, from a multiple of 32 on, into shared memory, zeros behind
/// the last.
template <typename T>
LATHE_DEVICE void loadKeys(const RowsArgs &from, const AttentionPlace &place, int64_t key, int64_t column,
                           int64_t columns, float (*to)[kSlice + 1]) {
  constexpr int kStep = kAttentionThreads / kSlice;
  if (from.pages && hasCodes(from.codes))
    return loadCodedKeys(from, place, key, column, columns, to);
  const T *source;
  int64_t row = from.view.row, col = from.view.col;
  if (from.pages) { // of which none ends within a tile
    auto *page = static_cast<const unsigned char *>(load(load(from.pages + place.batch1) + key / kCachePageRows));
    source = reinterpret_cast<const T *>(page + from.offset + place.keyHead * from.head_bytes) +
             key % kCachePageRows * columns;
    row = columns;
    col = 1;
  } else {
    source = static_cast<const T *>(from.view.data) + place.batch0 * from.view.batch[0] +
             place.batch1 * from.view.batch[1] + place.keyHead * from.view.batch[2] + key * row;
  }
  int first = threadIndex() / kSlice, at = threadIndex() % kSlice;
  int64_t left = place.keys - key;
  int rows = column + at >= columns ? 0 : left < kAttentionKeys ? int(left) : kAttentionKeys;
  source += (column + at) * col + first * row;
  LATHE_UNROLL_4 for (int i = 0; i < kAttentionKeys / kStep; ++i) {
    float value = first + i * kStep < rows ? toFloat(load(source)) : 0.0f;
    source += kStep * row;
    storeShared(&to[first + i * kStep][at], value);
  }
}

template <typename T, int kRows>
LATHE_DEVICE void loadQueries(const AttentionArgs &args, const AttentionPlace &place, int64_t column,
                              AttentionShared<kRows> &shared) {
  LATHE_NO_UNROLL for (int index = threadIndex(); index < kRows * kSlice; index += kAttentionThreads) {
    int row = index / kSlice, at = index % kSlice;
    float value = 0;
    if (row < place.rows && column + at < args.d)
      value = loadFloat<T>(args.query.data, rowOffset(args, args.query, place, row) + (column + at) * args.query.col);
    storeShared(&shared.query[row][at], value);
  }
}

/// Products of queries and a tile of keys, into shared memory.
template <typename T, int kRows>
LATHE_DEVICE void computeProducts(const AttentionArgs &args, const AttentionPlace &place, int64_t key, bool fresh,
                                  AttentionShared<kRows> &shared) {
  constexpr int kRowThreads = kRows < 16 ? kRows : 16, kKeyThreads = kAttentionThreads / kRowThreads;
  constexpr int kOwnRows = kRows / kRowThreads, kOwnKeys = kAttentionKeys / kKeyThreads;
  int down = threadIndex() / kKeyThreads, across = threadIndex() % kKeyThreads;
  float sums[kOwnRows][kOwnKeys] = {};
  LATHE_NO_UNROLL for (int64_t column = 0; column < args.d; column += kSlice) {
    LATHE_SYNC();
    if (fresh || args.d > kSlice)
      loadQueries<T, kRows>(args, place, column, shared);
    loadKeys<T>(args.key, place, key, column, args.d, shared.key);
    LATHE_SYNC();
    LATHE_UNROLL_4 for (int k = 0; k < kSlice; ++k) {
      float own[kOwnKeys];
      LATHE_UNROLL for (int j = 0; j < kOwnKeys; ++j) own[j] = loadShared(&shared.key[across + j * kKeyThreads][k]);
      LATHE_UNROLL for (int i = 0; i < kOwnRows; ++i) {
        float query = loadShared(&shared.query[down * kOwnRows + i][k]);
        LATHE_UNROLL for (int j = 0; j < kOwnKeys; ++j) sums[i][j] = fused(query, own[j], sums[i][j]);
      }
    }
  }
  if (args.d <= 0)
    LATHE_SYNC(); // weights of the tile before are read until here
  LATHE_UNROLL for (int i = 0; i < kOwnRows; ++i) LATHE_UNROLL for (int j = 0; j < kOwnKeys; ++j)
      storeShared(&shared.scores[down * kOwnRows + i][across + j * kKeyThreads], sums[i][j]);
}

/// A product of a query and a key with all that is added to it.
template <typename T>
LATHE_DEVICE float scoreOf(const AttentionArgs &args, const AttentionPlace &place, int64_t row, int64_t key,
                           float product) {
  float score = product * float(args.scale);
  if (args.softcap != 0)
    score = float(args.softcap) * tanhOf(score / float(args.softcap));
  if (args.biases > 0)
    score += loadFloat<T>(args.bias[0].data, rowOffset(args, args.bias[0], place, row) + key * args.bias[0].col);
  if (args.biases > 1)
    score += loadFloat<T>(args.bias[1].data, rowOffset(args, args.bias[1], place, row) + key * args.bias[1].col);
  return score;
}

/// Products become weights, a warp for each row and a lane for each key; sums and largest scores move on.
template <typename T, int kRows>
LATHE_DEVICE void computeWeights(const AttentionArgs &args, const AttentionPlace &place, int64_t firstKey,
                                 AttentionShared<kRows> &shared) {
  int warp = threadIndex() / 32, lane = threadIndex() % 32;
  int64_t key = firstKey + lane;
  LATHE_NO_UNROLL for (int row = warp; row < kRows; row += kAttentionThreads / 32) {
    float score = -infinity(), before = loadShared(&shared.maximum[row]);
    if (key >= loadShared(&shared.first[row]) && key < loadShared(&shared.end[row]))
      score = scoreOf<T>(args, place, row, key, loadShared(&shared.scores[row][lane]));
    float most = larger(warpMax(score), before), from = most == -infinity() ? 0.0f : most;
    float weight = exponential(score - from), total = warpSum(weight), factor = exponential(before - from);
    storeShared(&shared.scores[row][lane], weight);
    LATHE_SYNC_WARP(); // all have read what the first changes
    if (lane == 0) {
      storeShared(&shared.maximum[row], most);
      storeShared(&shared.factor[row], factor);
      storeShared(&shared.sum[row], loadShared(&shared.sum[row]) * factor + total);
    }
  }
}

template <typename T, int kRows, int kSlices>
LATHE_DEVICE void finishRows(const AttentionArgs &args, const AttentionPlace &place, int64_t firstColumn,
                             const float (&out)[kSlices][kRows / 8][4], AttentionShared<kRows> &shared) {
  int down = threadIndex() / 16, across = threadIndex() % 16;
  LATHE_UNROLL for (int i = 0; i < kRows / 8; ++i) {
    int row = down * (kRows / 8) + i;
    if (row >= place.rows)
      continue;
    float sum = loadShared(&shared.sum[row]);
    int64_t base = rowOffset(args, args.out, place, row);
    float *part = args.parts == 1
                      ? nullptr
                      : args.scratch + ((blockIndex() * args.parts + blockIndexY()) * kRows + row) * (args.e + 2);
    // Of no keys the result is a sum of nothing. Else the sum is positive, or all keys are masked, where it is 0, or it
    // is NaN.
    bool nothing = loadShared(&shared.end[row]) <= loadShared(&shared.first[row]);
    float other = nothing || args.zero_nan ? 0.0f : sum * (args.zero_masked ? 0.0f : infinity());
    LATHE_UNROLL for (int slice = 0; slice < kSlices; ++slice) LATHE_UNROLL for (int j = 0; j < 4; ++j) {
      int64_t column = firstColumn + slice * kSlice + across + j * 16;
      if (column >= args.e)
        continue;
      if (args.parts > 1)
        store(part + column, out[slice][i][j]);
      else
        storeFloat<T>(args.out.data, base + column * args.out.col, sum > 0 ? out[slice][i][j] / sum : other);
    }
    if (args.parts > 1 && blockIndexZ() == 0 && across == 0) {
      store(part + args.e, loadShared(&shared.maximum[row]));
      store(part + args.e + 1, sum);
    }
  }
}

/// Keys that a block goes over: from a multiple of a tile on, before `end`.
struct TileRange {
  int64_t first, end;
};

/// The block's part of all keys that some of its rows see, whose ranges are in shared memory, in tiles of kKeys.
template <int kKeys = kAttentionKeys>
LATHE_DEVICE TileRange tilesOf(const AttentionArgs &args, const AttentionPlace &place, const int64_t *firsts,
                               const int64_t *ends) {
  int64_t first = place.keys, end = 0;
  LATHE_NO_UNROLL for (int row = 0; row < place.rows; ++row) {
    int64_t rowFirst = loadShared(firsts + row), rowEnd = loadShared(ends + row);
    first = rowFirst < first ? rowFirst : first;
    end = rowEnd > end ? rowEnd : end;
  }
  first = first / kKeys * kKeys;
  int64_t tiles = end > first ? (end - first + kKeys - 1) / kKeys : 0;
  int64_t last = first + (blockIndexY() + 1) * tiles / args.parts * kKeys;
  return {first + blockIndexY() * tiles / args.parts * kKeys, last < end ? last : end};
}

/// Grid: blocks of rows of all keys' heads; parts of keys; 64 * kSlices columns of values.
template <typename T, int kRows, int kSlices> LATHE_DEVICE void attention(const AttentionArgs &args) {
  auto &shared = *static_cast<AttentionShared<kRows> *>(sharedMemory());
  AttentionPlace place = placeOf<kRows>(args, blockIndex());
  if (threadIndex() < kRows) {
    int row = threadIndex();
    storeShared(&shared.maximum[row], -infinity());
    storeShared(&shared.sum[row], 0.0f);
    KeyRange range = keysOf(args, place, row);
    storeShared(&shared.first[row], range.first);
    storeShared(&shared.end[row], range.end);
  }
  LATHE_SYNC();
  TileRange tiles = tilesOf(args, place, shared.first, shared.end);
  int down = threadIndex() / 16, across = threadIndex() % 16;
  int64_t firstColumn = blockIndexZ() * (kSlice * kSlices);
  float out[kSlices][kRows / 8][4] = {};
  bool fresh = true;
  for (int64_t key = tiles.first; key < tiles.end; key += kAttentionKeys, fresh = false) {
    computeProducts<T, kRows>(args, place, key, fresh, shared);
    LATHE_SYNC();
    computeWeights<T, kRows>(args, place, key, shared);
    LATHE_UNROLL for (int slice = 0; slice < kSlices; ++slice) {
      LATHE_SYNC();
      loadKeys<T>(args.value, place, key, firstColumn + slice * kSlice, args.e, shared.key);
      LATHE_SYNC();
      LATHE_UNROLL for (int i = 0; i < kRows / 8; ++i) {
        float factor = loadShared(&shared.factor[down * (kRows / 8) + i]);
        LATHE_UNROLL for (int j = 0; j < 4; ++j) out[slice][i][j] *= factor;
      }
      LATHE_UNROLL_4 for (int k = 0; k < kAttentionKeys; ++k) {
        float values[4];
        LATHE_UNROLL for (int j = 0; j < 4; ++j) values[j] = loadShared(&shared.key[k][across + j * 16]);
        LATHE_UNROLL for (int i = 0; i < kRows / 8; ++i) {
          float weight = loadShared(&shared.scores[down * (kRows / 8) + i][k]);
          LATHE_UNROLL for (int j = 0; j < 4; ++j) out[slice][i][j] = fused(weight, values[j], out[slice][i][j]);
        }
      }
    }
  }
  LATHE_SYNC();
  finishRows<T, kRows, kSlices>(args, place, firstColumn, out, shared);
}

/// One block for each block of rows: adds up what the parts of keys gave.
template <typename T, int kRows> LATHE_DEVICE void combineAttention(const AttentionArgs &args) {
  AttentionPlace place = placeOf<kRows>(args, blockIndex());
  int64_t step = kRows * (args.e + 2);
  for (int64_t index = threadIndex(); index < place.rows * args.e; index += threadCount()) {
    int64_t row = index / args.e, column = index % args.e;
    const float *parts = args.scratch + blockIndex() * args.parts * step + row * (args.e + 2);
    float most = -infinity();
    LATHE_NO_UNROLL for (int64_t part = 0; part < args.parts; ++part) most =
        larger(most, load(parts + part * step + args.e));
    float from = most == -infinity() ? 0.0f : most, sum = 0, out = 0;
    LATHE_NO_UNROLL for (int64_t part = 0; part < args.parts; ++part) {
      float factor = exponential(load(parts + part * step + args.e) - from);
      sum += load(parts + part * step + args.e + 1) * factor;
      out += load(parts + part * step + column) * factor;
    }
    KeyRange range = keysOf(args, place, row);
    float other = range.end <= range.first || args.zero_nan ? 0.0f : sum * (args.zero_masked ? 0.0f : infinity());
    storeFloat<T>(args.out.data, rowOffset(args, args.out, place, row) + column * args.out.col,
                  sum > 0 ? out / sum : other);
  }
}

} // namespace lathe::cuda::device

#endif // LATHE_BACKENDS_CUDA_KERNELS_ATTENTION_CU_H
