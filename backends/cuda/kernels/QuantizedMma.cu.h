//===- QuantizedMma.cu.h - Products by few bits, by matrix instructions -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Of 2 to 32 rows, or so many at a time, whose numbers are rounded to 16 bits. The weight's columns are the rows of
// mma.m16n8k16's first operand, so that few rows of the left side fill its second one. Sums do not depend on the order
// of k: lane 4 g + t, which the instruction gives numbers 2 t, 2 t + 1, 2 t + 8 and 2 t + 9 of columns g and g + 8, has
// four numbers of its own words there, and the same four of row g of the left side, which lie side by side. What codes
// stand for, less its zero point, is rounded to 16 bits, which integers do not need; scales multiply sums of a group.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_KERNELS_QUANTIZEDMMA_CU_H
#define LATHE_BACKENDS_CUDA_KERNELS_QUANTIZEDMMA_CU_H

#include "backends/cuda/kernels/Numbers.cu.h"

namespace lathe::cuda::device {

/// Units of a column that a lane has in a step, so that these are 8 codes or more.
template <int kBits> constexpr int laneUnits() { return unitCodes<kBits>() < 8 ? 2 : 1; }
template <int kBits> constexpr int laneCodes() { return laneUnits<kBits>() * unitCodes<kBits>(); }

/// Rows of the left side come in tiles of 8.
template <int kTiles> constexpr int mmaRows() { return 8 * kTiles; }
/// Rows of a weight that a block looks at together: multiples of all steps.
template <int kTiles> constexpr int mmaChunk() { return 2048 / kTiles; }
/// From a row to the next: eight lanes that load 16 bytes each read all banks.
template <int kTiles> constexpr int mmaPitch() { return mmaChunk<kTiles>() + 32; }
/// Likewise of sums.
constexpr int kMmaSumsPadding = 4;

/// Blocks of one tile may normalize their rows; sums of more take the registers.
template <typename V, int kTiles> constexpr bool mmaNormalizes() { return kTiles == 1 && isFloat<V>(); }

template <int kTiles> struct QuantizedMmaShared {
  static constexpr int kRows = mmaRows<kTiles>();
  union {
    alignas(16) uint16_t left[kRows][mmaPitch<kTiles>()];
    float sums[kQuantizedWarps * kRows * (kQuantizedColumns + kMmaSumsPadding)]; ///< afterwards
    float parts[8][kQuantizedWarps];                                             ///< before
  };
  float mean[8], factor[8]; ///< of rows that are normalized
  int64_t offset[kRows];    ///< of rows of a; these need many registers to be found
};

static_assert(sizeof(QuantizedMmaShared<1>) <= kQuantizedMmaSharedBytes &&
                  sizeof(QuantizedMmaShared<4>) <= kQuantizedMmaSharedBytes,
              "launches ask for it");

/// A number of a left side, within T's bounds where it is not of that type already.
template <typename V, typename T> LATHE_DEVICE float bounded(float value) {
  return isFloat<V>() ? clipped(value, T()) : value;
}

/// Where rows begin, and what they are normalized by.
template <typename V, int kTiles>
LATHE_DEVICE void prepareMmaRows(const QuantizedGroupArgs &group, int64_t row, QuantizedMmaShared<kTiles> &shared) {
  if (threadIndex() < mmaRows<kTiles>()) {
    const V *own = leftRow<V>(group.first, row + threadIndex());
    storeShared(&shared.offset[threadIndex()], int64_t(own - static_cast<const V *>(group.first.a)));
  }
  if constexpr (mmaNormalizes<V, kTiles>()) {
    if (group.norm.kind == 0)
      return;
    float mean[8], factor[8];
    findNorm<V, 8>(group.first, group.norm, row, shared, mean, factor);
    if (threadIndex() == 0) {
      LATHE_UNROLL for (int m = 0; m < 8; ++m) {
        storeShared(&shared.mean[m], mean[m]);
        storeShared(&shared.factor[m], factor[m]);
      }
    }
  }
}

/// Columns [first, first + mmaChunk) of rows of a, as T, with zeros behind the last row, and behind the last column up
/// to a multiple of 128, which all steps divide; a warp for each row. `rows`: that there are in this block; `writes`:
/// as of loadLeft.
template <typename V, typename T, int kTiles>
LATHE_DEVICE void loadMmaLeft(const QuantizedGroupArgs &group, int64_t row, int rows, int first, bool writes,
                              QuantizedMmaShared<kTiles> &shared) {
  const QuantizedMatmulArgs &args = group.first;
  int behind = int(args.weight.k) - first, left = behind < mmaChunk<kTiles>() ? behind : mmaChunk<kTiles>();
  int count = (left + 127) / 128 * 128;
  LATHE_NO_UNROLL for (int m = threadIndex() / 32; m < (rows + 7) / 8 * 8; m += kQuantizedWarps) {
    const V *source = static_cast<const V *>(args.a) + loadShared(&shared.offset[m]) + first * args.a_col;
    int there = m < rows ? left : 0;
    bool isNormalized = mmaNormalizes<V, kTiles>() && group.norm.kind != 0;
    bool isWide = !isNormalized && args.a_col == 1 && reinterpret_cast<uint64_t>(source) % (4 * sizeof(V)) == 0;
    int whole = isWide ? there / 4 * 4 : 0;
    LATHE_NO_UNROLL for (int k = threadIndex() % 32 * 4; k < whole; k += 128) {
      Loaded<V, 4> words = loadAll<V, 4>(source + k);
      float x[4];
      LATHE_UNROLL for (int j = 0; j < 4; ++j) x[j] = bounded<V, T>(numberAt(words, j));
      TwoWords pairs = {packPair(x[0], x[1], T()), packPair(x[2], x[3], T())};
      storeShared(reinterpret_cast<TwoWords *>(&shared.left[m][k]), pairs);
    }
    LATHE_NO_UNROLL for (int k = whole + threadIndex() % 32; k < count; k += 32) {
      float x = k < there ? toFloat(load(source + k * args.a_col)) : 0.0f;
      if (isNormalized && k < there) {
        x = normalized(group.norm, x, loadShared(&shared.mean[m]), loadShared(&shared.factor[m]), first + k);
        if (writes)
          store(static_cast<float *>(group.norm.out) + (row + m) * args.weight.k + first + k, x);
      }
      storeShared(&shared.left[m][k], narrowed<T>(bounded<V, T>(x)).bits);
    }
  }
}

/// Where the codes of 16 columns lie, in bytes that 32 bits count from the panel on.
struct MmaPanel {
  const unsigned char *data;
  int inside; ///< the first column's place in the panel
  int panel, groupBytes, headBytes, unitBytes;
  int units, unitsOfGroup; ///< unitsOfGroup >= units: there is one group
};

template <int kBits> LATHE_DEVICE MmaPanel mmaPanel(const QuantizedArgs &weight, int column) {
  int panel = int(weight.panel), index = column / panel;
  auto *data = static_cast<const unsigned char *>(weight.weight) + weight.table_bytes + index * weight.panel_bytes;
  return {data,
          column - index * panel,
          panel,
          int(weight.group_bytes),
          int(weight.head_bytes),
          int(weight.unit_bytes),
          int((weight.k + unitCodes<kBits>() - 1) / unitCodes<kBits>()),
          int((weight.group + unitCodes<kBits>() - 1) / unitCodes<kBits>())};
}

LATHE_DEVICE int groupOf(const MmaPanel &panel, int unit) {
  return panel.unitsOfGroup >= panel.units ? 0 : unit / panel.unitsOfGroup;
}
LATHE_DEVICE const unsigned char *blockAt(const MmaPanel &panel, int group, int unit, int blockBytes) {
  return panel.data +
         (group * panel.groupBytes + panel.headBytes + (unit - group * panel.unitsOfGroup) * panel.unitBytes +
          panel.inside / kQuantizedColumns * blockBytes);
}

/// Words of a lane's columns g and g + 8 in a step, which is of one group.
template <int kBits> struct MmaWords {
  uint32_t at[2][laneUnits<kBits>()][3];
  float zero[2], scale[2];
  int group = -1;
};

/// Those of step `step`; zeros behind the last unit.
template <int kBits, int kValues>
LATHE_DEVICE void loadMmaWords(const QuantizedArgs &weight, const MmaPanel &panel, int step, MmaWords<kBits> &words) {
  constexpr int kStepUnits = 4 * laneUnits<kBits>();
  int lane = threadIndex() % 32, unit = step * kStepUnits + lane % 4 * laneUnits<kBits>();
  int group = groupOf(panel, step * kStepUnits);
  if (group != words.group) {
    const unsigned char *head = panel.data + group * panel.groupBytes;
    const unsigned char *zeros = head + panel.panel * int(scaleBytes(int(weight.scale)));
    LATHE_UNROLL for (int c = 0; c < 2; ++c) {
      int at = panel.inside + lane / 4 + 8 * c;
      words.scale[c] = scaleAt(head, int(weight.scale), at);
      words.zero[c] = weight.zeros == kZeroConstant ? float(weight.zero)
                      : weight.zeros == kZeroU8     ? float(load(zeros + at))
                                                    : scaleAt(zeros, int(weight.scale), at);
    }
    words.group = group;
  }
  Unit own = {blockAt(panel, group, unit, kBits == 3 ? 192 : 64), lane / 4, 0, 0};
  LATHE_UNROLL for (int u = 0; u < laneUnits<kBits>(); ++u) {
    LATHE_UNROLL for (int c = 0; c < 2; ++c) {
      LATHE_UNROLL for (int i = 0; i < 3; ++i) words.at[c][u][i] = 0;
      own.column = lane / 4 + 8 * c;
      if (unit + u < panel.units)
        loadCodes<kBits, kValues>(own, words.at[c][u]);
    }
    own.block += panel.unitBytes;
  }
}

/// Asks for what a warp reads of rows [first, end) of its columns, of which its slice is one of `slices`.
template <int kBits> LATHE_DEVICE void askForUnits(const MmaPanel &panel, int first, int end, int slice, int slices) {
  constexpr int kBlockBytes = kBits == 3 ? 192 : 64;
  int last = end / unitCodes<kBits>();
  LATHE_NO_UNROLL for (int unit = first / unitCodes<kBits>() + slice * 32 + threadIndex() % 32;
                       unit < last && unit < panel.units; unit += 32 * slices) {
    int group = groupOf(panel, unit);
    const unsigned char *block = blockAt(panel, group, unit, kBlockBytes);
    askFor(block);
    if (kBits == 3)
      askFor(block + kBlockBytes - 1);
    if (unit == group * panel.unitsOfGroup)
      askFor(panel.data + group * panel.groupBytes);
  }
}

/// Numbers [first, first + 4) of a lane's codes as T, those of the second column behind those of the first: halves of
/// a fragment.
template <typename T, int kBits, int kValues>
LATHE_DEVICE void fragmentOf(const QuantizedArgs &weight, const MmaWords<kBits> &words, int first,
                             uint32_t (&fragment)[4]) {
  constexpr int kCodes = unitCodes<kBits>();
  LATHE_UNROLL for (int c = 0; c < 2; ++c) {
    float x[4];
    LATHE_UNROLL for (int j = 0; j < 4; ++j) x[j] =
        valueAt<kBits, kValues>(weight, words.at[c][(first + j) / kCodes], (first + j) % kCodes, 0) - words.zero[c];
    fragment[c] = packPair(x[0], x[1], T());
    fragment[2 + c] = packPair(x[2], x[3], T());
  }
}

/// Adds to partial sums of a lane's columns and rows what a step's words give; `k`: where its numbers are in shared
/// memory.
template <typename T, int kBits, int kValues, int kTiles>
LATHE_DEVICE void addMmaStep(const QuantizedArgs &weight, const MmaWords<kBits> &words, int k, int tiles,
                             const QuantizedMmaShared<kTiles> &shared, float (&sums)[kTiles][4]) {
  int row = threadIndex() % 32 / 4;
  LATHE_UNROLL for (int piece = 0; piece < laneCodes<kBits>(); piece += 8) {
    uint32_t low[4], high[4];
    fragmentOf<T, kBits, kValues>(weight, words, piece, low);
    fragmentOf<T, kBits, kValues>(weight, words, piece + 4, high);
    LATHE_UNROLL for (int tile = 0; tile < kTiles; ++tile) {
      if (kTiles > 1 && tile >= tiles)
        continue;
      FourWords left = loadShared(reinterpret_cast<const FourWords *>(&shared.left[8 * tile + row][k + piece]));
      multiplyAdd(sums[tile], low, left[0], left[1], T());
      multiplyAdd(sums[tile], high, left[2], left[3], T());
    }
  }
}

/// Sums of 16 columns from `column` on of a block's rows, by this warp's slice of `slices` of the weight's rows, in
/// the layout of the instruction's results: of column g, or in the last two g + 8, rows 2 t and 2 t + 1 of each tile.
template <typename V, typename T, int kBits, int kValues, int kTiles>
LATHE_DEVICE void multiplyMma(const QuantizedGroupArgs &group, const QuantizedArgs &weight, int64_t row, int rows,
                              int column, bool isThere, int slice, int slices, bool writes,
                              QuantizedMmaShared<kTiles> &shared, float (&sums)[kTiles][4]) {
  constexpr int kStepRows = 4 * laneCodes<kBits>(), kChunk = mmaChunk<kTiles>();
  int tiles = (rows + 7) / 8, step = slice, steps = isThere ? int((weight.k + kStepRows - 1) / kStepRows) : 0;
  MmaPanel panel = mmaPanel<kBits>(weight, column);
  constexpr bool kAhead = kTiles == 1; // else sums take the registers, and there is more to do while words come
  MmaWords<kBits> words, coming;
  float partial[kTiles][4] = {};
  auto scaleSums = [&](const float(&scale)[2]) {
    LATHE_UNROLL for (int tile = 0; tile < kTiles; ++tile) LATHE_UNROLL for (int j = 0; j < 4; ++j) {
      sums[tile][j] = fused(scale[j / 2], partial[tile][j], sums[tile][j]);
      partial[tile][j] = 0;
    }
  };
  if (isThere)
    askForUnits<kBits>(panel, 0, kChunk, slice, slices);
  if (kAhead && step < steps)
    loadMmaWords<kBits, kValues>(weight, panel, step, coming);
  LATHE_NO_UNROLL for (int first = 0; first < int(weight.k); first += kChunk) {
    LATHE_SYNC();
    loadMmaLeft<V, T, kTiles>(group, row, rows, first, writes, shared);
    if (isThere)
      askForUnits<kBits>(panel, first + kChunk, first + 2 * kChunk, slice, slices);
    LATHE_SYNC();
    LATHE_NO_UNROLL while (step < steps && step * kStepRows < first + kChunk) {
      if (kAhead)
        words = coming;
      else
        loadMmaWords<kBits, kValues>(weight, panel, step, words);
      int at = step * kStepRows - first + threadIndex() % 4 * laneCodes<kBits>();
      step += slices;
      if (kAhead && step < steps)
        loadMmaWords<kBits, kValues>(weight, panel, step, coming);
      addMmaStep<T, kBits, kValues, kTiles>(weight, words, at, tiles, shared, partial);
      if (step >= steps || groupOf(panel, step * 4 * laneUnits<kBits>()) != words.group)
        scaleSums(words.scale);
    }
  }
}

/// A block for each group.columns columns of a product, of each 8 * kTiles rows of all batches, the last outermost; of
/// chained products one for all of them. V: the type of sides and result; T: what they are rounded to.
template <typename V, typename T, int kBits, int kValues, int kTiles>
LATHE_DEVICE void quantizedMma(const QuantizedGroupArgs &group) {
  constexpr int kRows = mmaRows<kTiles>();
  auto &shared = *static_cast<QuantizedMmaShared<kTiles> *>(sharedMemory());
  int columns = int(group.columns), across = columns / kQuantizedColumns, warp = threadIndex() / 32;
  int slice = warp / across, slices = kQuantizedWarps / across, own = warp % across * kQuantizedColumns;
  BlockPlace place = placeOfBlock(group, kRows);
  int64_t row = place.row;
  int part = place.part, column = place.column;
  int64_t behind = rowCount(group.first.epilogue) - row;
  int rows = behind < kRows ? int(behind) : kRows;
  prepareMmaRows<V, kTiles>(group, row, shared);
  LATHE_NO_UNROLL for (; part < place.last; ++part) {
    QuantizedArgs weight = weightOf(group, part);
    bool isThere = column + own < pick(part, group.first.epilogue.n, group.others[0].n, group.others[1].n);
    float sums[kTiles][4] = {};
    multiplyMma<V, T, kBits, kValues, kTiles>(group, weight, row, rows, column + own, isThere, slice, slices,
                                              place.isFirst && part == 0, shared, sums);
    LATHE_SYNC();
    int pitch = columns + kMmaSumsPadding, lane = threadIndex() % 32;
    LATHE_UNROLL for (int tile = 0; tile < kTiles; ++tile) LATHE_UNROLL for (int j = 0; j < 4; ++j) storeShared(
        &shared.sums[(slice * kRows + 8 * tile + lane % 4 * 2 + j % 2) * pitch + own + lane / 4 + j / 2 * 8],
        sums[tile][j]);
    LATHE_SYNC();
    EpilogueArgs end = epilogueOf(group, part);
    LATHE_NO_UNROLL for (int i = threadIndex(); i < rows * columns; i += kQuantizedThreads) {
      int64_t ownRow = row + i / columns;
      int at = column + i % columns;
      if (at >= end.n)
        continue;
      float sum = 0;
      LATHE_NO_UNROLL for (int s = 0; s < slices; ++s) sum +=
          loadShared(&shared.sums[(s * kRows + i / columns) * pitch + i % columns]);
      int64_t index = batchOffset(end.batch, end.out_batch, ownRow / end.m) + ownRow % end.m * end.out_row + at;
      storeFloat<V>(end.out, index, finish<V>(end, sum, index, at));
    }
  }
}

} // namespace lathe::cuda::device

#endif // LATHE_BACKENDS_CUDA_KERNELS_QUANTIZEDMMA_CU_H
