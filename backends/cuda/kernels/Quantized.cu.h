//===- Quantized.cu.h - Products with weights of few bits -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Weights lie as runtime/QuantizedLayout.h says: 16 columns side by side, a word of each with neighbouring rows. So a
// block has 16 columns and as many slices of rows, half a warp reads 64 bytes, and slices are added up at the end.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_KERNELS_QUANTIZED_CU_H
#define LATHE_BACKENDS_CUDA_KERNELS_QUANTIZED_CU_H

#include "backends/cuda/kernels/Elementwise.cu.h"

namespace lathe::cuda::device {

constexpr int kQuantizedThreads = 256, kQuantizedColumns = 16, kQuantizedSlices = 16;

// Numbers of runtime::CodeValues, ScaleType and ZeroType.
constexpr int kInteger = 0, kTable = 1, kE4m3 = 2, kE5m2 = 3, kCodebook = 4;
constexpr bool isOf8BitFloats(int values) { return values == kE4m3 || values == kE5m2; }
constexpr int kScaleF32 = 0, kScaleF16 = 1, kScaleBf16 = 2, kScaleE8m0 = 3;
constexpr int kZeroConstant = 0, kZeroU8 = 1, kZeroScale = 2;

// Numbers of lathe_dtype.
constexpr int kF16 = 1, kBf16 = 2;

LATHE_DEVICE float scaleAt(const unsigned char *base, int type, int64_t index) {
  switch (type) {
  case kScaleF32:
    return loadFloat<float>(base, index);
  case kScaleF16:
    return loadFloat<Half>(base, index);
  case kScaleBf16:
    return loadFloat<Bfloat>(base, index);
  default: { // a power of two, of which the lowest is subnormal
    uint32_t exponent = load(base + index);
    return exponent == 255 ? bitsToFloat(0x7fc00000) : bitsToFloat(exponent ? exponent << 23 : 0x00400000);
  }
  }
}

LATHE_DEVICE int64_t scaleBytes(int type) { return type == kScaleF32 ? 4 : type == kScaleE8m0 ? 1 : 2; }

/// A column's word of a unit, and what its codes stand for.
struct Unit {
  const unsigned char *block; ///< of 16 columns of the unit
  int column;                 ///< in the block
  float scale, zero;
};

/// Unit `unit` of all groups, of column `column` of the matrix.
LATHE_DEVICE Unit unitAt(const QuantizedArgs &args, int unitsOfGroup, int unit, int64_t column) {
  Unit result;
  int panel = int(column) / int(args.panel), inside = int(column) % int(args.panel);
  int group = unit < unitsOfGroup ? 0 : unit / unitsOfGroup;
  auto *head = static_cast<const unsigned char *>(args.weight) + args.table_bytes + panel * args.panel_bytes +
               group * args.group_bytes;
  result.scale = scaleAt(head, int(args.scale), inside);
  const unsigned char *zeros = head + args.panel * scaleBytes(int(args.scale));
  result.zero = args.zeros == kZeroConstant ? float(args.zero)
                : args.zeros == kZeroU8     ? float(load(zeros + inside))
                                            : scaleAt(zeros, int(args.scale), inside);
  int blockBytes = args.bits == 3 ? 192 : 64;
  result.block = head + args.head_bytes + (unit - group * unitsOfGroup) * args.unit_bytes +
                 inside / kQuantizedColumns * blockBytes;
  result.column = inside % kQuantizedColumns;
  return result;
}

LATHE_DEVICE uint32_t wordAt(const Unit &unit, int index) {
  return load(reinterpret_cast<const uint32_t *>(unit.block) + index * kQuantizedColumns + unit.column);
}

/// The bits of code `j` of words w[0 .. 2].
template <int kBits> LATHE_DEVICE uint32_t codeAt(const uint32_t (&w)[3], int j) {
  if constexpr (kBits == 8)
    return w[0] >> 8 * j & 255;
  else if constexpr (kBits == 4)
    return w[0] >> (8 * (j % 4) + j / 4 * 4) & 15;
  else if constexpr (kBits == 2)
    return w[0] >> (8 * (j % 4) + j % 8 / 4 * 4 + j / 8 * 2) & 3;
  else {
    int i = j % 16; // two words of low bits, then one of high bits
    uint32_t low = (j < 16 ? w[0] : w[1]) >> (8 * (i % 4) + i % 8 / 4 * 4 + i / 8 * 2) & 3;
    return low | (w[2] >> (8 * (j % 4) + j % 8 / 4 * 4 + j / 8) & 1) << 2;
  }
}

LATHE_DEVICE float e4m3Value(uint32_t code) {
  return halfToFloat(uint16_t((code & 0x80) << 8 | (code & 0x7f) << 7)) * 256;
}
/// The E4M3 number nearest to x, of two the even one; beyond the largest it is that, and NaN stays.
LATHE_DEVICE uint32_t e4m3Code(float x) {
  float size = magnitude(x);
  uint32_t bits = floatBits(size), sign = floatBits(x) >> 24 & 0x80;
  // Half of what is cut off, less one where the digit above is even. Below 2^-6: a multiple of 2^-9.
  uint32_t normal = ((bits + 0x7ffff + (bits >> 20 & 1)) >> 20) - (120 << 3);
  uint32_t code = size < 0.015625f ? uint32_t(int(nearest(size * 512))) : size > 448 ? 0x7e : normal;
  return sign | (size == size ? code : 0x7f);
}
LATHE_DEVICE float toE4m3(float x) {
  uint32_t code = e4m3Code(x);
  return (code & 0x7f) == 0x7f ? x : e4m3Value(code);
}
LATHE_DEVICE float e5m2Value(uint32_t code) { return halfToFloat(uint16_t(code << 8)); }

template <int kBits> constexpr int unitCodes() { return kBits == 8 ? 4 : kBits == 4 ? 8 : kBits == 3 ? 32 : 16; }

template <int kBits, int kValues> LATHE_DEVICE void loadCodes(const Unit &unit, uint32_t (&w)[3]) {
  if constexpr (kValues == kE4m3 || kValues == kE5m2) {
    uint32_t packed = 0;
    LATHE_UNROLL for (int j = 0; j < 4; ++j) packed |= uint32_t(load(unit.block + j / 2 * 32 + 2 * unit.column + j % 2))
                                                       << 8 * j;
    w[0] = packed;
  } else {
    w[0] = wordAt(unit, 0);
    if constexpr (kBits == 3) {
      w[1] = wordAt(unit, 1);
      w[2] = wordAt(unit, 2);
    }
  }
}

/// What code `j` stands for; of a codebook its component.
template <int kBits, int kValues>
LATHE_DEVICE float valueAt(const QuantizedArgs &args, const uint32_t (&w)[3], int j, int component) {
  uint32_t code = codeAt<kBits>(w, j);
  if constexpr (kValues == kInteger)
    return bitsToFloat(0x4b000000u | code) - 8388608.0f; // cheaper than a conversion
  else if constexpr (kValues == kE4m3)
    return e4m3Value(code);
  else if constexpr (kValues == kE5m2)
    return e5m2Value(code);
  else
    return loadFloat<float>(args.weight, (int64_t(component) << kBits) + code);
}

/// Rows of a weight that a block looks at together: multiples of all units.
template <int kRows> constexpr int quantizedChunk() { return kRows == 1 ? 2048 : 512; }

constexpr int kQuantizedWarps = kQuantizedThreads / 32;

template <int kRows> struct QuantizedShared {
  union {
    alignas(16) float left[kRows][quantizedChunk<kRows>()];
    float sums[kRows][kQuantizedSlices][kQuantizedColumns + 1]; ///< afterwards
    float parts[kRows][kQuantizedWarps];                        ///< before
  };
  float mean[kRows], factor[kRows], scale[kRows]; ///< of rows that are normalized and rounded
};

static_assert(sizeof(QuantizedShared<8>) == kQuantizedSharedBytes &&
                  sizeof(QuantizedShared<1>) <= kQuantizedSharedBytes,
              "launches ask for it");

struct alignas(16) Four {
  float at[4];
};

template <typename T> constexpr bool isFloat() { return false; }
template <> constexpr bool isFloat<float>() { return true; }

LATHE_DEVICE int64_t rowCount(const EpilogueArgs &end) { return end.batch[0] * end.batch[1] * end.batch[2] * end.m; }

/// Row `row` of a, or, behind the last, any.
template <typename T, typename Args> LATHE_DEVICE const T *leftRow(const Args &args, int64_t row) {
  const EpilogueArgs &end = args.epilogue;
  row = row < rowCount(end) ? row : 0;
  return static_cast<const T *>(args.a) + batchOffset(end.batch, args.a_batch, row / end.m) + row % end.m * args.a_row;
}

/// What a number of a left side is after it was normalized.
LATHE_DEVICE float normalized(const NormArgs &norm, float x, float mean, float factor, int64_t k) {
  if (norm.kind == 0)
    return x;
  x = (x - mean) * factor;
  if (norm.gain)
    x *= load(norm.gain + k);
  return norm.bias ? x + load(norm.bias + k) : x;
}

/// Of what `element` gives for each number of kRows rows the sum, or the largest; all threads get it.
template <typename T, int kRows, bool kLargest, typename Args, typename Shared, typename Element>
LATHE_DEVICE void reduceRows(const Args &args, int64_t row, Shared &shared, Element element, float (&result)[kRows]) {
  const T *rows[kRows];
  LATHE_UNROLL for (int m = 0; m < kRows; ++m) {
    rows[m] = leftRow<T>(args, row + m);
    result[m] = 0;
  }
  LATHE_NO_UNROLL for (int64_t k = threadIndex(); k < args.weight.k; k += kQuantizedThreads) {
    LATHE_UNROLL for (int m = 0; m < kRows; ++m) {
      float value = element(m, k, toFloat(load(rows[m] + k * args.a_col)));
      result[m] = kLargest ? larger(result[m], value) : result[m] + value;
    }
  }
  LATHE_UNROLL for (int m = 0; m < kRows; ++m) {
    float all = kLargest ? warpMax(result[m]) : warpSum(result[m]);
    if (threadIndex() % 32 == 0)
      storeShared(&shared.parts[m][threadIndex() / 32], all);
  }
  LATHE_SYNC();
  LATHE_UNROLL for (int m = 0; m < kRows; ++m) {
    result[m] = 0;
    LATHE_UNROLL for (int warp = 0; warp < kQuantizedWarps; ++warp) {
      float part = loadShared(&shared.parts[m][warp]);
      result[m] = kLargest ? larger(result[m], part) : result[m] + part;
    }
  }
  LATHE_SYNC();
}

// Numbers of lathe_quantization.
constexpr int kRoundRows = 1, kRoundStatic = 2, kRoundRowsE4m3 = 3;

/// `kFloats`: rows may be rounded to 8-bit floats.
template <bool kFloats = true> LATHE_DEVICE bool isByRows(int64_t quantization) {
  return quantization == kRoundRows || (kFloats && quantization == kRoundRowsE4m3);
}

/// The scale of a row by its largest magnitude.
template <bool kFloats = true> LATHE_DEVICE float rowScale(int64_t quantization, float largest) {
  if (kFloats && quantization == kRoundRowsE4m3)
    return larger(largest, 1e-30f) / 448.0f;
  return largest > 0 ? largest / 127.0f : 1.0f;
}

/// What rows are normalized by, of any kind of products.
template <typename T, int kRows, typename Args, typename Shared>
LATHE_DEVICE void findNorm(const Args &args, const NormArgs &norm, int64_t row, Shared &shared, float (&mean)[kRows],
                           float (&factor)[kRows]) {
  LATHE_UNROLL for (int m = 0; m < kRows; ++m) mean[m] = 0, factor[m] = 1;
  if (norm.kind == 2) {
    reduceRows<T, kRows, false>(args, row, shared, [](int, int64_t, float x) { return x; }, mean);
    LATHE_UNROLL for (int m = 0; m < kRows; ++m) mean[m] /= float(args.weight.k);
  }
  if (norm.kind != 0) {
    auto square = [&](int m, int64_t, float x) { return (x - mean[m]) * (x - mean[m]); };
    reduceRows<T, kRows, false>(args, row, shared, square, factor);
    LATHE_UNROLL for (int m = 0; m < kRows; ++m) factor[m] =
        1 / squareRoot(factor[m] / float(args.weight.k) + float(norm.epsilon));
  }
}

/// What rows are normalized and rounded by.
template <typename T, int kRows, bool kFloats>
LATHE_DEVICE void prepareLeft(const QuantizedGroupArgs &group, int64_t row, QuantizedShared<kRows> &shared) {
  const QuantizedMatmulArgs &args = group.first;
  const NormArgs &norm = group.norm;
  float mean[kRows], factor[kRows], scale[kRows];
  LATHE_UNROLL for (int m = 0; m < kRows; ++m) scale[m] = float(args.scale);
  findNorm<T, kRows>(args, norm, row, shared, mean, factor);
  if (isByRows<kFloats>(args.quantization)) {
    auto size = [&](int m, int64_t k, float x) { return magnitude(normalized(norm, x, mean[m], factor[m], k)); };
    reduceRows<T, kRows, true>(args, row, shared, size, scale);
    LATHE_UNROLL for (int m = 0; m < kRows; ++m) scale[m] = rowScale<kFloats>(args.quantization, scale[m]);
  }
  if (threadIndex() == 0) {
    LATHE_UNROLL for (int m = 0; m < kRows; ++m) {
      storeShared(&shared.mean[m], mean[m]);
      storeShared(&shared.factor[m], factor[m]);
      storeShared(&shared.scale[m], scale[m]);
    }
  }
}

/// An integer from -128 to 127, as it is stored.
LATHE_DEVICE float codeOf(float value, float scale, float zero) {
  return smaller(larger(nearest(value * (1.0f / scale)) + zero, -128.0f), 127.0f);
}

/// Columns [first, first + chunk) of rows of a, zeros behind the last, as they are multiplied. `writes`: the block is
/// the one that leaves normalized rows. `kFloats`: the weight is of 8-bit floats, with which rows may be rounded to
/// such.
template <typename T, int kRows, bool kFloats>
LATHE_DEVICE void loadLeft(const QuantizedGroupArgs &group, int64_t row, int64_t first, int count, bool writes,
                           QuantizedShared<kRows> &shared) {
  const QuantizedMatmulArgs &args = group.first;
  float zero = args.quantization == kRoundStatic ? float(args.zero) : 0.0f;
  LATHE_NO_UNROLL for (int m = 0; m < kRows; ++m) {
    const T *source = leftRow<T>(args, row + m);
    bool isThere = row + m < rowCount(args.epilogue);
    for (int k = threadIndex(); k < count; k += kQuantizedThreads) {
      float value = first + k < args.weight.k ? toFloat(load(source + (first + k) * args.a_col)) : 0.0f;
      if constexpr (isFloat<T>()) {
        if (first + k < args.weight.k && group.norm.kind != 0) {
          value = normalized(group.norm, value, loadShared(&shared.mean[m]), loadShared(&shared.factor[m]), first + k);
          if (writes && isThere)
            store(static_cast<float *>(group.norm.out) + (row + m) * args.weight.k + first + k, value);
        }
        if (args.quantization != 0) {
          float scale = loadShared(&shared.scale[m]);
          bool isInside = first + k < args.weight.k;
          if (kFloats && args.quantization == kRoundRowsE4m3)
            value = isInside ? toE4m3(value * (1.0f / scale)) * scale : 0.0f;
          else
            value = isInside ? (codeOf(value, scale, zero) - zero) * scale : 0.0f;
        }
      }
      storeShared(&shared.left[m][k], value);
    }
  }
}

/// Adds the products of a unit of one column, whose rows begin at `k` of what is in shared memory.
template <int kBits, int kValues, int kRows>
LATHE_DEVICE void addUnit(const QuantizedArgs &weight, const Unit &unit, const uint32_t (&w)[3], int dimension, int k,
                          const QuantizedShared<kRows> &shared, float (&sums)[kRows]) {
  float products[kRows] = {};
  auto addFour = [&](int i) {
    float values[4];
    LATHE_UNROLL for (int j = 0; j < 4; ++j) {
      int code = kValues == kCodebook ? (i + j) / dimension : i + j;
      values[j] = valueAt<kBits, kValues>(weight, w, code, i + j - code * dimension) - unit.zero;
    }
    LATHE_UNROLL for (int m = 0; m < kRows; ++m) {
      Four x = loadShared(reinterpret_cast<const Four *>(&shared.left[m][k + i]));
      LATHE_UNROLL for (int j = 0; j < 4; ++j) products[m] = fused(x.at[j], values[j], products[m]);
    }
  };
  if constexpr (kValues == kCodebook || unitCodes<kBits>() * kRows > 128) {
    LATHE_NO_UNROLL for (int i = 0; i < unitCodes<kBits>() * dimension; i += 4) addFour(i);
  } else {
    LATHE_UNROLL for (int i = 0; i < unitCodes<kBits>(); i += 4) addFour(i);
  }
  LATHE_UNROLL for (int m = 0; m < kRows; ++m) sums[m] = fused(unit.scale, products[m], sums[m]);
}

/// One of three by its number, all of which are read: an address that follows from the number would cost a copy of all
/// arguments.
template <typename V> LATHE_DEVICE V pick(int index, V first, V second, V third) {
  return index == 0 ? first : index == 1 ? second : third;
}

template <typename Group> LATHE_DEVICE EpilogueArgs epilogueOf(const Group &group, int part) {
  EpilogueArgs end = group.first.epilogue;
  const auto &second = group.others[0], &third = group.others[1];
  end.out = pick(part, end.out, second.out, third.out);
  end.bias = pick(part, end.bias, second.bias, third.bias);
  end.multiplier = pick(part, end.multiplier, second.multiplier, third.multiplier);
  end.residual = pick(part, end.residual, second.residual, third.residual);
  end.n = pick(part, end.n, second.n, third.n);
  end.out_row = pick(part, end.out_row, second.out_row, third.out_row);
  LATHE_UNROLL for (int i = 0; i < 3; ++i) end.out_batch[i] =
      pick(part, end.out_batch[i], second.out_batch[i], third.out_batch[i]);
  end.activation = pick(part, end.activation, second.activation, third.activation);
  end.alpha = pick(part, end.alpha, second.alpha, third.alpha);
  return end;
}

LATHE_DEVICE QuantizedArgs weightOf(const QuantizedGroupArgs &group, int part) {
  QuantizedArgs weight = group.first.weight;
  const QuantizedPart &second = group.others[0], &third = group.others[1];
  weight.weight = pick(part, weight.weight, second.weight, third.weight);
  weight.panel = pick(part, weight.panel, second.panel, third.panel);
  weight.panel_bytes = pick(part, weight.panel_bytes, second.panel_bytes, third.panel_bytes);
  weight.group_bytes = pick(part, weight.group_bytes, second.group_bytes, third.group_bytes);
  weight.head_bytes = pick(part, weight.head_bytes, second.head_bytes, third.head_bytes);
  weight.unit_bytes = pick(part, weight.unit_bytes, second.unit_bytes, third.unit_bytes);
  return weight;
}

/// Sums of column `column` of a block's rows, by this thread's slice of the weight's rows.
template <typename T, int kBits, int kValues, int kRows>
LATHE_DEVICE void multiplyColumn(const QuantizedGroupArgs &group, const QuantizedArgs &weight, bool isThere,
                                 int64_t row, int64_t column, bool writes, QuantizedShared<kRows> &shared,
                                 float (&sums)[kRows]) {
  constexpr int kChunk = quantizedChunk<kRows>();
  constexpr int kRun = kBits == 2 && kValues == kTable ? 2 : 4; // the table takes registers, too
  int slice = threadIndex() / kQuantizedColumns;
  int dimension = kValues == kCodebook ? int(weight.dimension) : 1, unitRows = unitCodes<kBits>() * dimension;
  int unitsOfGroup = int((weight.group + unitRows - 1) / unitRows);
  bool sameGroup = unitsOfGroup % kRun == 0; // all units of a run are of one group
  LATHE_NO_UNROLL for (int64_t first = 0; first < weight.k; first += kChunk) {
    int64_t left = weight.k - first;
    int units = left < kChunk ? (int(left) + unitRows - 1) / unitRows : kChunk / unitRows;
    LATHE_SYNC();
    loadLeft<T, kRows, isOf8BitFloats(kValues)>(group, row, first, units * unitRows, writes, shared);
    LATHE_SYNC();
    if (!isThere)
      continue;
    int before = int(first / unitRows);
    LATHE_NO_UNROLL for (int run = slice * kRun; run < units; run += kQuantizedSlices * kRun) {
      Unit unit = unitAt(weight, unitsOfGroup, before + run, column);
      if (kRows == 1 && kBits != 3 && kValues != kCodebook && sameGroup && run + kRun <= units) {
        uint32_t w[kRun][3] = {}; // all on their way before the first is needed
        Unit next = unit;
        LATHE_UNROLL for (int i = 0; i < kRun; ++i) {
          loadCodes<kBits, kValues>(next, w[i]);
          next.block += weight.unit_bytes;
        }
        LATHE_UNROLL for (int i = 0; i < kRun; ++i)
            addUnit<kBits, kValues, kRows>(weight, unit, w[i], dimension, (run + i) * unitRows, shared, sums);
        continue;
      }
      LATHE_NO_UNROLL for (int i = run; i < run + kRun && i < units; ++i) {
        uint32_t w[3] = {};
        loadCodes<kBits, kValues>(unit, w);
        addUnit<kBits, kValues, kRows>(weight, unit, w, dimension, i * unitRows, shared, sums);
        unit.block += weight.unit_bytes;
        if (!sameGroup && i + 1 < run + kRun && i + 1 < units)
          unit = unitAt(weight, unitsOfGroup, before + i + 1, column);
      }
    }
  }
}

/// A block for each 16 columns of a product, of each kRows rows of all batches, the last outermost; of chained products
/// one for all of them.
template <typename T, int kBits, int kValues, int kRows>
LATHE_DEVICE void quantizedMatmul(const QuantizedGroupArgs &group) {
  auto &shared = *static_cast<QuantizedShared<kRows> *>(sharedMemory());
  int slice = threadIndex() / kQuantizedColumns, across = threadIndex() % kQuantizedColumns;
  auto blocksOf = [&](int part, int64_t n) {
    return part < group.count && (part == 0 || !group.isChained) ? (n + kQuantizedColumns - 1) / kQuantizedColumns : 0;
  };
  int64_t first = blocksOf(0, group.first.epilogue.n), second = first + blocksOf(1, group.others[0].n),
          all = second + blocksOf(2, group.others[1].n);
  int64_t block = blockIndex() % all, row = blockIndex() / all * kRows;
  int part = block < first ? 0 : block < second ? 1 : 2, last = group.isChained ? int(group.count) : part + 1;
  int64_t column = (block - pick<int64_t>(part, 0, first, second)) * kQuantizedColumns + across;
  if constexpr (isFloat<T>())
    if (group.norm.kind != 0 || group.first.quantization != 0)
      prepareLeft<T, kRows, isOf8BitFloats(kValues)>(group, row, shared);
  LATHE_NO_UNROLL for (; part < last; ++part) {
    QuantizedArgs weight = weightOf(group, part);
    bool isThere = column < pick(part, group.first.epilogue.n, group.others[0].n, group.others[1].n);
    float sums[kRows] = {};
    multiplyColumn<T, kBits, kValues, kRows>(group, weight, isThere, row, column, block == 0 && part == 0, shared,
                                             sums);
    EpilogueArgs end = epilogueOf(group, part); // after the sums, whose registers it would take
    LATHE_SYNC();
    LATHE_UNROLL for (int m = 0; m < kRows; ++m) storeShared(&shared.sums[m][slice][across], sums[m]);
    LATHE_SYNC();
    int64_t own = row + slice;
    if (slice < kRows && isThere && own < rowCount(end)) {
      float sum = 0;
      LATHE_UNROLL for (int i = 0; i < kQuantizedSlices; ++i) sum += loadShared(&shared.sums[slice][i][across]);
      int64_t index = batchOffset(end.batch, end.out_batch, own / end.m) + own % end.m * end.out_row + column;
      storeFloat<T>(end.out, index, finish<T>(end, sum, index, column));
    }
  }
}

LATHE_DEVICE float numberOf(float value) { return value; }
LATHE_DEVICE float numberOf(uint8_t byte) { return float(byte); }

/// The scale of a row: by its largest magnitude, or that of all rows.
template <typename T> LATHE_DEVICE float scaleOfRow(const RoundArgs &args, const T *a) {
  if (!isByRows(args.quantization) || sizeof(T) == 1)
    return float(args.scale);
  auto *most = static_cast<float *>(sharedMemory()); // of each warp
  int warp = threadIndex() / 32, warps = threadCount() / 32;
  float own = 0;
  for (int64_t k = threadIndex(); k < args.k; k += threadCount())
    own = larger(own, magnitude(numberOf(load(a + k * args.a_col))));
  own = warpMax(own);
  if (threadIndex() % 32 == 0)
    storeShared(most + warp, own);
  LATHE_SYNC();
  for (int i = 0; i < warps; ++i)
    own = larger(own, loadShared(most + i));
  LATHE_SYNC();
  return rowScale(args.quantization, own);
}

/// The code of a number, or of what is a code already.
LATHE_DEVICE float codeOf(const RoundArgs &, float value, float scale, float zero) {
  return codeOf(value, scale, zero);
}
LATHE_DEVICE float codeOf(const RoundArgs &args, uint8_t byte, float, float) { return float(int8_t(byte ^ args.flip)); }

LATHE_DEVICE void storeByte(void *out, int64_t index, float value, const BytesArgs &bytes) {
  auto code = int(codeOf(value, float(bytes.scale), float(bytes.zero)));
  store(static_cast<uint8_t *>(out) + index, uint8_t(code ^ int(bytes.flip)));
}

template <typename T> LATHE_DEVICE const T *rowOf(const RoundArgs &args, int64_t row) {
  return static_cast<const T *>(args.a) + batchOffset(args.batch, args.a_batch, row / args.m) +
         row % args.m * args.a_row;
}

/// A block for each row.
template <typename T> LATHE_DEVICE void roundRows(const RoundArgs &args) {
  int64_t rows = args.batch[0] * args.batch[1] * args.batch[2] * args.m;
  auto zero = isByRows(args.quantization) ? 0.0f : float(args.zero);
  for (int64_t row = blockIndex(); row < rows; row += blockCount()) {
    const T *a = rowOf<T>(args, row);
    float scale = scaleOfRow(args, a);
    for (int64_t k = threadIndex(); k < args.k; k += threadCount()) {
      T number = load(a + k * args.a_col);
      float value = args.quantization == kRoundRowsE4m3 ? toE4m3(numberOf(number) * (1.0f / scale))
                                                        : codeOf(args, number, scale, zero) - zero;
      store(args.out + row * args.k + k, value * scale);
    }
  }
}

/// The sum of what the threads of a block have: of whole numbers that f32 holds exactly. In the first thread.
LATHE_DEVICE float blockSum(float own) {
  auto *sums = static_cast<float *>(sharedMemory());
  own = warpSum(own);
  if (threadIndex() % 32 == 0)
    storeShared(sums + threadIndex() / 32, own);
  LATHE_SYNC();
  float sum = 0;
  for (int i = 0; i < threadCount() / 32; ++i)
    sum += loadShared(sums + i);
  LATHE_SYNC();
  return sum;
}

/// A block for each row, four codes a thread.
template <typename T> LATHE_DEVICE void roundBytes(const RoundBytesArgs &args) {
  const RoundArgs &round = args.round;
  int64_t rows = round.batch[0] * round.batch[1] * round.batch[2] * round.m;
  auto zero = isByRows(round.quantization) ? 0.0f : float(round.zero);
  for (int64_t row = blockIndex(); row < rows; row += blockCount()) {
    const T *a = rowOf<T>(round, row);
    float scale = scaleOfRow(round, a), sum = 0;
    for (int64_t k = 4 * threadIndex(); k < args.codes_row; k += 4 * threadCount()) {
      uint32_t word = 0;
      LATHE_UNROLL for (int j = 0; j < 4; ++j) {
        if (k + j >= round.k)
          continue;
        T number = load(a + (k + j) * round.a_col);
        if (round.quantization == kRoundRowsE4m3) {
          word |= e4m3Code(numberOf(number) * (1.0f / scale)) << 8 * j;
          continue;
        }
        float code = codeOf(round, number, scale, zero);
        word |= uint32_t(uint8_t(int(code))) << 8 * j;
        sum += code;
      }
      store(reinterpret_cast<uint32_t *>(args.codes + row * args.codes_row + k), word);
    }
    if (args.sums)
      sum = blockSum(sum);
    if (threadIndex() == 0 && args.sums)
      store(args.sums + row, int32_t(sum));
    if (threadIndex() == 0 && isByRows(round.quantization))
      store(args.scales + row, scale);
  }
}

/// A block for each column of the weight, and for what is beyond the last.
LATHE_DEVICE void expandBytes(const ExpandBytesArgs &args) {
  const QuantizedArgs &weight = args.weight;
  int units = int((weight.k + 3) / 4);
  for (int64_t column = blockIndex(); column < args.rows; column += blockCount()) {
    bool isThere = column < weight.n;
    float sum = 0;
    for (int64_t k = 4 * threadIndex(); k < args.codes_row; k += 4 * threadCount()) {
      uint32_t codes = 0;
      if (isThere && k < weight.k) {
        codes = wordAt(unitAt(weight, units, int(k / 4), column), 0) ^ 0x80808080u;
        int64_t left = weight.k - k;
        if (left < 4)
          codes &= (1u << 8 * int(left)) - 1;
        LATHE_UNROLL for (int j = 0; j < 4; ++j) sum += float(int8_t(codes >> 8 * j & 255));
      }
      store(reinterpret_cast<uint32_t *>(args.codes + column * args.codes_row + k), codes);
    }
    sum = blockSum(sum);
    if (threadIndex() != 0)
      continue;
    Unit unit = {};
    if (isThere)
      unit = unitAt(weight, units, 0, column);
    store(args.scales + column, isThere ? unit.scale : 0.0f);
    store(args.zeros + column, isThere ? int32_t(unit.zero) - 128 : 0);
    store(args.sums + column, int32_t(sum));
  }
}

/// The same of 8-bit floats, without zero points and sums.
LATHE_DEVICE void expandFloats(const ExpandBytesArgs &args) {
  const QuantizedArgs &weight = args.weight;
  int units = int((weight.k + 3) / 4);
  for (int64_t column = blockIndex(); column < args.rows; column += blockCount()) {
    bool isThere = column < weight.n;
    for (int64_t k = 4 * threadIndex(); k < args.codes_row; k += 4 * threadCount()) {
      uint32_t codes[3] = {};
      if (isThere && k < weight.k) {
        loadCodes<8, kE4m3>(unitAt(weight, units, int(k / 4), column), codes);
        int64_t left = weight.k - k;
        if (left < 4)
          codes[0] &= (1u << 8 * int(left)) - 1;
      }
      store(reinterpret_cast<uint32_t *>(args.codes + column * args.codes_row + k), codes[0]);
    }
    if (threadIndex() == 0)
      store(args.scales + column, isThere ? unitAt(weight, units, 0, column).scale : 0.0f);
  }
}

LATHE_DEVICE void finishScaled(const ScaledFinishArgs &args) {
  const EpilogueArgs &end = args.epilogue;
  int64_t count = end.batch[0] * end.batch[1] * end.batch[2] * end.m * end.n;
  LATHE_NO_UNROLL for (int64_t i = firstElement(); i < count; i += elementStep()) {
    int64_t column = i % end.n, row = i / end.n;
    int64_t index = batchOffset(end.batch, end.out_batch, row / end.m) + row % end.m * end.out_row + column;
    float sum = load(args.products + row * args.products_row + column);
    if (args.row_scales)
      sum = sum * load(args.row_scales + row) * load(args.scales + column);
    storeFloat<float>(end.out, index, finish<float>(end, sum, index, column));
  }
}

/// (a - za) * (b - zb) summed up is a * b - zb * sum(a) - za * sum(b) + k * za * zb, here in integers.
LATHE_DEVICE void finishIntegers(const IntegerFinishArgs &args) {
  const EpilogueArgs &end = args.epilogue;
  int64_t count = end.batch[0] * end.batch[1] * end.batch[2] * end.m * end.n;
  LATHE_NO_UNROLL for (int64_t i = firstElement(); i < count; i += elementStep()) {
    int64_t column = i % end.n, row = i / end.n;
    int64_t index = batchOffset(end.batch, end.out_batch, row / end.m) + row % end.m * end.out_row + column;
    int64_t zero = load(args.zeros + column), sum = load(args.products + row * args.products_row + column);
    if (args.row_sums)
      sum -= zero * load(args.row_sums + row);
    sum += args.row_zero * (args.k * zero - load(args.sums + column));
    float scale = args.row_scales ? load(args.row_scales + row) : float(args.row_scale);
    float product = float(sum) * (scale * load(args.scales + column));
    float value = finish<float>(end, product, index, column);
    if (args.bytes.scale != 0)
      storeByte(end.out, index, value, args.bytes);
    else
      storeFloat<float>(end.out, index, value);
  }
}

LATHE_DEVICE void toBytes(const ToBytesArgs &args) {
  const EpilogueArgs &shape = args.shape;
  int64_t count = shape.batch[0] * shape.batch[1] * shape.batch[2] * shape.m * shape.n;
  LATHE_NO_UNROLL for (int64_t i = firstElement(); i < count; i += elementStep()) {
    int64_t column = i % shape.n, row = i / shape.n;
    int64_t index = batchOffset(shape.batch, shape.out_batch, row / shape.m) + row % shape.m * shape.out_row + column;
    storeByte(shape.out, index, load(args.x + index), args.bytes);
  }
}

template <int kBits, int kValues>
LATHE_DEVICE void decodeColumn(const QuantizedRowsArgs &args, int64_t row, int64_t column) {
  const QuantizedArgs &weight = args.weight;
  int dimension = kValues == kCodebook ? int(weight.dimension) : 1;
  int unitRows = unitCodes<kBits>() * dimension, unitsOfGroup = int((weight.group + unitRows - 1) / unitRows);
  LATHE_NO_UNROLL for (int64_t k = threadIndex(); k < weight.k; k += threadCount()) {
    float value = 0;
    if (column >= 0) {
      Unit unit = unitAt(weight, unitsOfGroup, int(k / unitRows), column);
      uint32_t w[3] = {};
      loadCodes<kBits, kValues>(unit, w);
      int inside = int(k % unitRows);
      value = unit.scale * (valueAt<kBits, kValues>(weight, w, inside / dimension, inside % dimension) - unit.zero);
    }
    int64_t index = row * args.out_row + k;
    if (args.dtype == kF16)
      store(static_cast<Half *>(args.out) + index, narrowed<Half>(value));
    else if (args.dtype == kBf16)
      store(static_cast<Bfloat *>(args.out) + index, narrowed<Bfloat>(value));
    else
      store(static_cast<float *>(args.out) + index, value);
  }
}

/// A block for each index; zeros where it is out of range.
template <int kBits, int kValues> LATHE_DEVICE void quantizedRows(const QuantizedRowsArgs &args) {
  for (int64_t row = blockIndex(); row < args.count; row += blockCount()) {
    int64_t index = !args.indices ? args.first + row
                    : args.index_bytes == 8
                        ? load(static_cast<const int64_t *>(args.indices) + row * args.index_stride)
                        : load(static_cast<const int32_t *>(args.indices) + row * args.index_stride);
    bool fits = index >= -args.weight.n && index < args.weight.n;
    if (!fits && threadIndex() == 0)
      compareAndSet(args.failures, 0, 1 + args.check);
    decodeColumn<kBits, kValues>(args, row, fits ? index < 0 ? index + args.weight.n : index : -1);
  }
}

} // namespace lathe::cuda::device

#endif // LATHE_BACKENDS_CUDA_KERNELS_QUANTIZED_CU_H
