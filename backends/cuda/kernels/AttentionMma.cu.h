//===- AttentionMma.cu.h - Attention by matrix instructions -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Dao 2023, "FlashAttention-2": each of four warps has 16 rows of queries in registers and goes over all keys, which
// the block copies to shared memory a tile ahead. Scores become weights where they are, in registers.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_KERNELS_ATTENTIONMMA_CU_H
#define LATHE_BACKENDS_CUDA_KERNELS_ATTENTIONMMA_CU_H

#include "backends/cuda/kernels/Attention.cu.h"

namespace lathe::cuda::device {

constexpr int kMmaRows = 64, kMmaKeys = 32;

template <int kColumns> struct AttentionMmaShared {
  static constexpr int kPitch = kColumns + 8; ///< rows begin in different banks
  alignas(16) uint16_t key[2][kMmaKeys][kPitch];
  alignas(16) uint16_t value[2][kMmaKeys][kPitch];
  int64_t first[kMmaRows], end[kMmaRows];
};

static_assert(sizeof(AttentionMmaShared<64>) == attentionMmaSharedBytes(64) &&
                  sizeof(AttentionMmaShared<128>) == attentionMmaSharedBytes(128),
              "launches ask for it");

/// A tile of keys or values, with zeros behind the last row and column.
template <typename T, int kColumns>
LATHE_DEVICE void copyTile(const RowsArgs &from, const AttentionPlace &place, int64_t key, int64_t columns,
                           uint16_t (*to)[kColumns + 8]) {
  const T *source;
  int64_t row = from.view.row, col = from.view.col;
  if (from.pages) {
    auto *page = static_cast<const unsigned char *>(load(load(from.pages + place.batch1) + key / kCachePageRows));
    source = reinterpret_cast<const T *>(page + from.offset + place.keyHead * from.head_bytes) +
             key % kCachePageRows * columns;
    row = columns;
    col = 1;
  } else {
    source = static_cast<const T *>(from.view.data) + place.batch0 * from.view.batch[0] +
             place.batch1 * from.view.batch[1] + place.keyHead * from.view.batch[2] + key * row;
  }
  constexpr int kChunks = kColumns / 8;
  int64_t left = place.keys - key;
  bool whole = col == 1 && columns % 8 == 0 && row % 8 == 0 && reinterpret_cast<uint64_t>(source) % 16 == 0;
  LATHE_NO_UNROLL for (int index = threadIndex(); index < kMmaKeys * kChunks; index += kAttentionThreads) {
    int k = index / kChunks, column = index % kChunks * 8;
    uint16_t *cells = &to[k][column];
    if (whole && k < left && column < columns) {
      copyLater(cells, source + k * row + column);
      continue;
    }
    LATHE_NO_UNROLL for (int i = 0; i < 8; ++i) {
      bool inside = k < left && column + i < columns;
      storeShared(cells + i, inside ? load(source + k * row + (column + i) * col).bits : uint16_t(0));
    }
  }
}

/// What a lane keeps of its rows g and g + 8.
template <int kColumns> struct MmaRows {
  uint32_t query[kColumns / 16][4];
  float out[kColumns / 8][4] = {};
  float maximum[2] = {-infinity(), -infinity()}, sum[2] = {0, 0};
};

template <typename T, int kColumns>
LATHE_DEVICE void loadQueryFragments(const AttentionArgs &args, const AttentionPlace &place, int64_t firstRow,
                                     uint32_t (&query)[kColumns / 16][4]) {
  int quad = threadIndex() % 4;
  LATHE_UNROLL for (int half = 0; half < 2; ++half) {
    int64_t row = firstRow + half * 8;
    bool inside = row < place.rows;
    int64_t base = inside ? rowOffset(args, args.query, place, row) : 0;
    auto *source = static_cast<const T *>(args.query.data) + base;
    LATHE_UNROLL for (int block = 0; block < kColumns / 16; ++block) LATHE_UNROLL for (int side = 0; side < 2; ++side) {
      int64_t column = block * 16 + side * 8 + quad * 2;
      uint32_t low = inside && column < args.d ? load(source + column * args.query.col).bits : 0;
      uint32_t high = inside && column + 1 < args.d ? load(source + (column + 1) * args.query.col).bits : 0;
      query[block][side * 2 + half] = low | high << 16;
    }
  }
}

/// Products of the lane's rows and a tile of keys.
template <typename T, int kColumns>
LATHE_DEVICE void multiplyKeys(const uint32_t (&query)[kColumns / 16][4], const uint16_t (*keys)[kColumns + 8],
                               float (&scores)[kMmaKeys / 8][4]) {
  int lane = threadIndex() % 32;
  LATHE_UNROLL for (int tile = 0; tile < kMmaKeys / 8; ++tile) {
    LATHE_UNROLL for (int i = 0; i < 4; ++i) scores[tile][i] = 0;
    LATHE_UNROLL for (int block = 0; block < kColumns / 32; ++block) {
      uint32_t b[4];
      loadMatrices(b, &keys[tile * 8 + lane % 8][block * 32 + lane / 8 * 8]);
      multiplyAdd(scores[tile], query[block * 2], b[0], b[1], T());
      multiplyAdd(scores[tile], query[block * 2 + 1], b[2], b[3], T());
    }
  }
}

/// Scales, adds biases, and hides keys that a row does not see.
template <typename T>
LATHE_DEVICE void finishScores(const AttentionArgs &args, const AttentionPlace &place, int64_t key, int64_t firstRow,
                               const int64_t *firsts, const int64_t *ends, float (&scores)[kMmaKeys / 8][4]) {
  int quad = threadIndex() % 4;
  auto scale = float(args.scale), cap = float(args.softcap);
  LATHE_UNROLL for (int half = 0; half < 2; ++half) {
    int64_t row = firstRow + half * 8, first = loadShared(firsts + row) - key, end = loadShared(ends + row) - key;
    LATHE_UNROLL for (int tile = 0; tile < kMmaKeys / 8; ++tile) LATHE_UNROLL for (int side = 0; side < 2; ++side) {
      float &score = scores[tile][half * 2 + side];
      score *= scale;
      if (cap != 0)
        score = cap * tanhFast(score / cap);
    }
    LATHE_NO_UNROLL for (int64_t b = 0; b < args.biases; ++b) {
      const ViewArgs &bias = b == 0 ? args.bias[0] : args.bias[1];
      const T *source = static_cast<const T *>(bias.data) + (row < place.rows ? rowOffset(args, bias, place, row) : 0);
      LATHE_UNROLL for (int tile = 0; tile < kMmaKeys / 8; ++tile) LATHE_UNROLL for (int side = 0; side < 2; ++side) {
        int at = tile * 8 + quad * 2 + side;
        if (at >= first && at < end)
          scores[tile][half * 2 + side] += toFloat(load(source + (key + at) * bias.col));
      }
    }
    LATHE_UNROLL for (int tile = 0; tile < kMmaKeys / 8; ++tile) LATHE_UNROLL for (int side = 0; side < 2; ++side) {
      int at = tile * 8 + quad * 2 + side;
      scores[tile][half * 2 + side] = at >= first && at < end ? scores[tile][half * 2 + side] : -infinity();
    }
  }
}

/// Scores become weights; what the rows have so far is scaled to them.
template <int kColumns> LATHE_DEVICE void weigh(float (&scores)[kMmaKeys / 8][4], MmaRows<kColumns> &rows) {
  LATHE_UNROLL for (int half = 0; half < 2; ++half) {
    float most = rows.maximum[half];
    LATHE_UNROLL for (int tile = 0; tile < kMmaKeys / 8; ++tile) most =
        larger(most, larger(scores[tile][half * 2], scores[tile][half * 2 + 1]));
    most = larger(most, shuffleXor(most, 1)); // the four lanes that share a row
    most = larger(most, shuffleXor(most, 2));
    float from = most == -infinity() ? 0.0f : most, factor = exponential(rows.maximum[half] - from), sum = 0;
    rows.maximum[half] = most;
    LATHE_UNROLL for (int tile = 0; tile < kMmaKeys / 8; ++tile) LATHE_UNROLL for (int side = 0; side < 2; ++side) {
      float &score = scores[tile][half * 2 + side];
      score = exponential(score - from);
      sum += score;
    }
    rows.sum[half] = rows.sum[half] * factor + sum; // of this lane's keys
    LATHE_UNROLL for (int tile = 0; tile < kColumns / 8; ++tile) {
      rows.out[tile][half * 2] *= factor;
      rows.out[tile][half * 2 + 1] *= factor;
    }
  }
}

template <typename T, int kColumns>
LATHE_DEVICE void multiplyValues(const float (&weights)[kMmaKeys / 8][4], const uint16_t (*values)[kColumns + 8],
                                 float (&out)[kColumns / 8][4]) {
  int lane = threadIndex() % 32;
  LATHE_UNROLL for (int block = 0; block < kMmaKeys / 16; ++block) {
    const float(&left)[4] = weights[block * 2], (&right)[4] = weights[block * 2 + 1];
    const uint32_t a[4] = {packPair(left[0], left[1], T()), packPair(left[2], left[3], T()),
                           packPair(right[0], right[1], T()), packPair(right[2], right[3], T())};
    LATHE_UNROLL for (int tile = 0; tile < kColumns / 16; ++tile) {
      uint32_t b[4];
      loadMatricesTransposed(b, &values[block * 16 + lane % 16][tile * 16 + lane / 16 * 8]);
      multiplyAdd(out[tile * 2], a, b[0], b[1], T());
      multiplyAdd(out[tile * 2 + 1], a, b[2], b[3], T());
    }
  }
}

template <typename T, int kColumns>
LATHE_DEVICE void writeRows(const AttentionArgs &args, const AttentionPlace &place, int64_t firstRow,
                            AttentionMmaShared<kColumns> &shared, const MmaRows<kColumns> &rows) {
  int quad = threadIndex() % 4;
  LATHE_UNROLL for (int half = 0; half < 2; ++half) {
    float sum = rows.sum[half];
    sum += shuffleXor(sum, 1);
    sum += shuffleXor(sum, 2);
    int64_t row = firstRow + half * 8;
    if (row >= place.rows)
      continue;
    int64_t base = rowOffset(args, args.out, place, row);
    float *part = args.parts == 1
                      ? nullptr
                      : args.scratch + ((blockIndex() * args.parts + blockIndexY()) * kMmaRows + row) * (args.e + 2);
    bool nothing = loadShared(&shared.end[row]) <= loadShared(&shared.first[row]);
    float other = nothing || args.zero_nan ? 0.0f : sum * (args.zero_masked ? 0.0f : infinity());
    LATHE_UNROLL for (int tile = 0; tile < kColumns / 8; ++tile) LATHE_UNROLL for (int side = 0; side < 2; ++side) {
      int64_t column = tile * 8 + quad * 2 + side;
      float out = rows.out[tile][half * 2 + side];
      if (column >= args.e)
        continue;
      if (args.parts > 1)
        store(part + column, out);
      else
        storeFloat<T>(args.out.data, base + column * args.out.col, sum > 0 ? out / sum : other);
    }
    if (args.parts > 1 && quad == 0) {
      store(part + args.e, rows.maximum[half]);
      store(part + args.e + 1, sum);
    }
  }
}

/// Of up to kColumns columns. Grid: blocks of rows of all keys' heads; parts of keys.
template <typename T, int kColumns> LATHE_DEVICE void attentionMma(const AttentionArgs &args) {
  auto &shared = *static_cast<AttentionMmaShared<kColumns> *>(sharedMemory());
  AttentionPlace place = placeOf<kMmaRows>(args, blockIndex());
  if (threadIndex() < kMmaRows) {
    KeyRange range = keysOf(args, place, threadIndex());
    storeShared(&shared.first[threadIndex()], range.first);
    storeShared(&shared.end[threadIndex()], range.end);
  }
  LATHE_SYNC();
  TileRange tiles = tilesOf<kMmaKeys>(args, place, shared.first, shared.end);
  int64_t firstRow = threadIndex() / 32 * 16 + threadIndex() % 32 / 4;
  MmaRows<kColumns> rows;
  loadQueryFragments<T, kColumns>(args, place, firstRow, rows.query);
  auto copyBoth = [&](int64_t key, int buffer) {
    copyTile<T, kColumns>(args.key, place, key, args.d, shared.key[buffer]);
    copyTile<T, kColumns>(args.value, place, key, args.e, shared.value[buffer]);
  };
  int buffer = 0;
  if (tiles.first < tiles.end)
    copyBoth(tiles.first, 0);
  LATHE_NO_UNROLL for (int64_t key = tiles.first; key < tiles.end; key += kMmaKeys, buffer ^= 1) {
    awaitCopies();
    LATHE_SYNC(); // what others copied is there, and nobody reads the other buffer any more
    if (key + kMmaKeys < tiles.end)
      copyBoth(key + kMmaKeys, buffer ^ 1);
    float scores[kMmaKeys / 8][4];
    multiplyKeys<T, kColumns>(rows.query, shared.key[buffer], scores);
    finishScores<T>(args, place, key, firstRow, shared.first, shared.end, scores);
    weigh<kColumns>(scores, rows);
    multiplyValues<T, kColumns>(scores, shared.value[buffer], rows.out);
  }
  writeRows<T, kColumns>(args, place, firstRow, shared, rows);
}

} // namespace lathe::cuda::device

#endif // LATHE_BACKENDS_CUDA_KERNELS_ATTENTIONMMA_CU_H
