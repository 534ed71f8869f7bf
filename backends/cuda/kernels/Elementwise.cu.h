//===- Elementwise.cu.h - Epilogues, copies, caches -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_KERNELS_ELEMENTWISE_CU_H
#define LATHE_BACKENDS_CUDA_KERNELS_ELEMENTWISE_CU_H

#include "backends/cuda/kernels/Math.cu.h"

namespace lathe::cuda::device {

/// Elements of a grid: each thread takes every so many.
LATHE_DEVICE int64_t firstElement() { return blockIndex() * threadCount() + threadIndex(); }
LATHE_DEVICE int64_t elementStep() { return blockCount() * threadCount(); }

/// Where row `row` of all batches begins in out.
LATHE_DEVICE int64_t batchOffset(const int64_t (&extents)[3], const int64_t (&strides)[3], int64_t index) {
  int64_t inner = index % extents[2], rest = index / extents[2];
  return rest / extents[1] * strides[0] + rest % extents[1] * strides[1] + inner * strides[2];
}

/// What cuBLASLt's epilogues do not do, in place.
template <typename T> LATHE_DEVICE void epilogue(const EpilogueArgs &args) {
  int64_t count = args.batch[0] * args.batch[1] * args.batch[2] * args.m * args.n;
  LATHE_NO_UNROLL for (int64_t i = firstElement(); i < count; i += elementStep()) {
    int64_t column = i % args.n, row = i / args.n;
    int64_t index = batchOffset(args.batch, args.out_batch, row / args.m) + row % args.m * args.out_row + column;
    float value = finish<T>(args, loadFloat<T>(args.out, index), index, column);
    storeFloat<T>(args.out, index, value);
  }
}

template <typename T> LATHE_DEVICE void copy(const CopyArgs &args) {
  int64_t count = 1;
  LATHE_UNROLL for (int axis = 0; axis < 5; ++axis) count *= args.sizes[axis];
  LATHE_NO_UNROLL for (int64_t i = firstElement(); i < count; i += elementStep()) {
    int64_t rest = i, from = 0, to = 0;
    LATHE_UNROLL for (int axis = 4; axis >= 0; --axis) {
      int64_t at = rest % args.sizes[axis];
      rest /= args.sizes[axis];
      from += at * args.from_strides[axis];
      to += at * args.to_strides[axis];
    }
    store(static_cast<T *>(args.to) + to, load(static_cast<const T *>(args.from) + from));
  }
}

LATHE_DEVICE float bounded(float value, Bfloat) { return value; }
/// Infinities and NaN stay what they are.
LATHE_DEVICE float bounded(float value, Half) {
  constexpr float kMost = 65504.0f;
  return magnitude(value) < infinity() ? smaller(larger(value, -kMost), kMost) : value;
}

template <typename T> LATHE_DEVICE T narrowed(float value) {
  T result;
  fromFloat(bounded(value, T()), &result);
  return result;
}

template <typename T> LATHE_DEVICE void narrow(const NarrowArgs &args) {
  const CopyArgs &copy = args.copy;
  int64_t count = 1;
  LATHE_UNROLL for (int axis = 0; axis < 5; ++axis) count *= copy.sizes[axis];
  if (args.dense) {
    auto *from = static_cast<const float *>(copy.from);
    auto *to = static_cast<T *>(copy.to);
    LATHE_NO_UNROLL for (int64_t i = firstElement(); i < count / 2; i += elementStep()) {
      uint64_t two = load(reinterpret_cast<const uint64_t *>(from) + i);
      float low = bounded(bitsToFloat(uint32_t(two)), T()), high = bounded(bitsToFloat(uint32_t(two >> 32)), T());
      store(reinterpret_cast<uint32_t *>(to) + i, packPair(low, high, T()));
    }
    if (count % 2 != 0 && firstElement() == 0)
      store(to + count - 1, narrowed<T>(load(from + count - 1)));
    return;
  }
  LATHE_NO_UNROLL for (int64_t i = firstElement(); i < count; i += elementStep()) {
    int64_t rest = i, from = 0, to = 0;
    LATHE_UNROLL for (int axis = 4; axis >= 0; --axis) {
      int64_t at = rest % copy.sizes[axis];
      rest /= copy.sizes[axis];
      from += at * copy.from_strides[axis];
      to += at * copy.to_strides[axis];
    }
    store(static_cast<T *>(copy.to) + to, narrowed<T>(load(static_cast<const float *>(copy.from) + from)));
  }
}

template <typename T> LATHE_DEVICE void convertPair(const float *from, T *to) {
  uint64_t two = load(reinterpret_cast<const uint64_t *>(from));
  float low = bounded(bitsToFloat(uint32_t(two)), T()), high = bounded(bitsToFloat(uint32_t(two >> 32)), T());
  store(reinterpret_cast<uint32_t *>(to), packPair(low, high, T()));
}
template <typename T> LATHE_DEVICE void convertPair(const T *from, float *to) {
  uint32_t two = load(reinterpret_cast<const uint32_t *>(from));
  T low, high;
  low.bits = uint16_t(two), high.bits = uint16_t(two >> 16);
  store(reinterpret_cast<uint64_t *>(to), floatBits(toFloat(low)) | uint64_t(floatBits(toFloat(high))) << 32);
}
template <typename T> LATHE_DEVICE void convertOne(const float *from, T *to) { store(to, narrowed<T>(load(from))); }
template <typename T> LATHE_DEVICE void convertOne(const T *from, float *to) { store(to, toFloat(load(from))); }

/// A row to a warp, so that indices are divided once for many numbers.
template <typename From, typename To> LATHE_DEVICE void convertRows(const ConvertRowsArgs &args) {
  int lane = threadIndex() % 32;
  LATHE_NO_UNROLL for (int64_t i = 0; i < args.count; ++i) {
    const CopyArgs &copy = args.tensors[i];
    int64_t rows = copy.sizes[0] * copy.sizes[1] * copy.sizes[2] * copy.sizes[3], columns = copy.sizes[4];
    LATHE_NO_UNROLL for (int64_t row = firstElement() / 32; row < rows; row += elementStep() / 32) {
      int64_t rest = row;
      auto *from = static_cast<const From *>(copy.from);
      auto *to = static_cast<To *>(copy.to);
      LATHE_UNROLL for (int axis = 3; axis >= 0; --axis) {
        int64_t at = rest % copy.sizes[axis];
        rest /= copy.sizes[axis];
        from += at * copy.from_strides[axis];
        to += at * copy.to_strides[axis];
      }
      if (args.pairs[i]) {
        LATHE_NO_UNROLL for (int64_t column = lane * 2; column < columns; column += 64)
            convertPair(from + column, to + column);
        continue;
      }
      LATHE_NO_UNROLL for (int64_t column = lane; column < columns; column += 32)
          convertOne(from + column * copy.from_strides[4], to + column * copy.to_strides[4]);
    }
  }
}

/// Numbers that are below all others in a softmax: those that minus infinity stands behind are below those as well that
/// only are too large, as sums of the least finite number are.
LATHE_DEVICE float finiteBias(float value) {
  constexpr float kLeast = -1e30f, kMasked = -3e30f;
  return value == -infinity() ? kMasked : value < kLeast ? kLeast : value;
}

/// A row to a warp.
template <typename T> LATHE_DEVICE void biasRows(const BiasRowsArgs &args) {
  int lane = threadIndex() % 32;
  int64_t rows = args.sizes[0] * args.sizes[1] * args.sizes[2] * args.sizes[3], columns = args.sizes[4];
  LATHE_NO_UNROLL for (int64_t row = firstElement() / 32; row < rows; row += elementStep() / 32) {
    int64_t rest = row, first = 0, second = 0;
    LATHE_UNROLL for (int axis = 3; axis >= 0; --axis) {
      int64_t at = rest % args.sizes[axis];
      rest /= args.sizes[axis];
      first += at * args.strides[0][axis];
      second += at * args.strides[1][axis];
    }
    float isOpen = 0;
    LATHE_NO_UNROLL for (int64_t column = lane; column < columns; column += 32) {
      float value = loadFloat<T>(args.from[0], first + column * args.strides[0][4]);
      if (args.count > 1)
        value += loadFloat<T>(args.from[1], second + column * args.strides[1][4]);
      isOpen = value == -infinity() ? isOpen : 1.0f;
      store(args.to + row * args.to_row + column, finiteBias(value));
    }
    isOpen = warpMax(isOpen);
    if (lane == 0)
      store(args.masked + row, 1.0f - isOpen);
  }
}

/// A row to a warp; most are left as they are.
template <typename T> LATHE_DEVICE void finishAttention(const FinishAttentionArgs &args) {
  int lane = threadIndex() % 32;
  int64_t rows = args.sizes[0] * args.sizes[1] * args.sizes[2] * args.sizes[3], columns = args.sizes[4];
  LATHE_NO_UNROLL for (int64_t row = firstElement() / 32; row < rows; row += elementStep() / 32) {
    int64_t query = row % args.sizes[3], sequenceHead = row / args.sizes[3];
    int64_t head = sequenceHead % args.sizes[2], sequence = sequenceHead / args.sizes[2];
    bool isMasked =
        args.masked && load(args.masked + sequence * args.masked_sequence + head * args.masked_head + query) != 0;
    bool isZero = args.zero_nan && !(magnitude(load(args.statistics + row)) < infinity());
    if (!isMasked && !isZero)
      continue;
    bool zeros = isZero || args.zero_masked || args.zero_nan;
    int64_t out = sequence / args.sizes[1] * args.strides[0] + sequence % args.sizes[1] * args.strides[1] +
                  head * args.strides[2] + query * args.strides[3];
    LATHE_NO_UNROLL for (int64_t column = lane; column < columns; column += 32)
        storeFloat<T>(args.out, out + column * args.strides[4], zeros ? 0.0f : bitsToFloat(0x7fc00000u));
  }
}

/// An epilogue of what is elsewhere, in f32; `write` gets a number and its place in out.
template <typename T, typename Write> LATHE_DEVICE void finishEach(const FinishArgs &args, const Write &write) {
  const EpilogueArgs &end = args.epilogue;
  int64_t count = end.batch[0] * end.batch[1] * end.batch[2] * end.m * end.n;
  LATHE_NO_UNROLL for (int64_t i = firstElement(); i < count; i += elementStep()) {
    int64_t column = i % end.n, row = i / end.n;
    int64_t index = batchOffset(end.batch, end.out_batch, row / end.m) + row % end.m * end.out_row + column;
    write(finish<T>(end, load(args.x + i), index, column), index);
  }
}

template <typename T> LATHE_DEVICE void finishRows(const FinishArgs &args) {
  finishEach<T>(args, [&](float value, int64_t index) { storeFloat<T>(args.epilogue.out, index, value); });
}

LATHE_DEVICE float clipped(float value, Bfloat) { return value; }
/// As bounded, infinities as well.
LATHE_DEVICE float clipped(float value, Half) {
  return value == value ? smaller(larger(value, -65504.0f), 65504.0f) : value;
}

/// The same of f32, of which the results alone have 16 bits.
template <typename T> LATHE_DEVICE void finishNarrow(const FinishArgs &args) {
  finishEach<float>(args, [&](float value, int64_t index) {
    store(static_cast<T *>(args.epilogue.out) + index, narrowed<T>(clipped(value, T())));
  });
}

/// The same of sums that were rounded to 16 bits.
template <typename T> LATHE_DEVICE void finishHalf(const FinishHalfArgs &args) {
  const EpilogueArgs &end = args.epilogue;
  int64_t count = end.batch[0] * end.batch[1] * end.batch[2] * end.m * end.n;
  LATHE_NO_UNROLL for (int64_t i = firstElement(); i < count; i += elementStep()) {
    int64_t column = i % end.n, row = i / end.n;
    int64_t index = batchOffset(end.batch, end.out_batch, row / end.m) + row % end.m * end.out_row + column;
    float value = clipped(loadFloat<T>(args.x, i), T());
    value = args.wide_operands ? finish<float>(end, value, index, column) : finish<T>(end, value, index, column);
    if (args.wide_result)
      store(static_cast<float *>(end.out) + index, value);
    else
      store(static_cast<T *>(end.out) + index, narrowed<T>(clipped(value, T())));
  }
}

/// Puts rows behind those that a cache has, or reads its first ones, zeros behind its last. T: elements as integers.
template <typename T, bool kRead> LATHE_DEVICE void cacheRows(const CacheArgs &args) {
  constexpr int64_t kPageRows = 64;
  int64_t count = args.sizes[0] * args.sizes[1] * args.sizes[2] * args.sizes[3];
  LATHE_NO_UNROLL for (int64_t i = firstElement(); i < count; i += elementStep()) {
    int64_t column = i % args.sizes[3], rest = i / args.sizes[3];
    int64_t row = rest % args.sizes[2];
    rest /= args.sizes[2];
    int64_t head = rest % args.sizes[1], sequence = rest / args.sizes[1];
    T *data = static_cast<T *>(args.data) + sequence * args.strides[0] + head * args.strides[1] +
              row * args.strides[2] + column * args.strides[3];
    int64_t has = load(args.counts + sequence), at = kRead ? row : has + row;
    if (kRead && at >= has) {
      store(data, T(0));
      continue;
    }
    auto *page = static_cast<unsigned char *>(load(load(args.pages + sequence) + at / kPageRows));
    T *cell =
        reinterpret_cast<T *>(page + args.offset + head * args.head_bytes) + at % kPageRows * args.sizes[3] + column;
    if (kRead)
      store(data, load(static_cast<const T *>(cell)));
    else
      store(cell, load(static_cast<const T *>(data)));
  }
}

/// One row of a part, by a warp.
LATHE_DEVICE void stepRow(const StepRowsPart &part, int64_t index) {
  constexpr int64_t kPageRows = 64;
  int64_t row = index % part.sizes[2], rest = index / part.sizes[2], columns = part.sizes[3], half = columns / 2;
  int64_t head = rest % part.sizes[1], sequence = rest / part.sizes[1];
  const float *from = part.from + sequence * part.strides[0] + head * part.strides[1] + row * part.strides[2];
  int64_t angle = sequence * part.angle_strides[0] + head * part.angle_strides[1] + row * part.angle_strides[2];
  float *cells = nullptr;
  if (part.pages) {
    int64_t at = load(part.counts + sequence) + row;
    auto *page = static_cast<unsigned char *>(load(load(part.pages + sequence) + at / kPageRows));
    cells = reinterpret_cast<float *>(page + part.offset + head * part.head_bytes) + at % kPageRows * columns;
  }
  LATHE_NO_UNROLL for (int64_t column = threadIndex() % 32; column < columns; column += 32) {
    float value = load(from + column * part.strides[3]);
    if (part.cosine) {
      int64_t other = column < half ? column + half : column - half;
      float turned = load(from + other * part.strides[3]);
      value = value * load(part.cosine + angle + column) +
              (column < half ? -turned : turned) * load(part.sine + angle + column);
    }
    if (part.out)
      store(part.out + index * columns + column, value);
    if (cells)
      store(cells + column, value);
  }
}

/// A warp for each row of all parts.
LATHE_DEVICE void stepRows(const StepRowsArgs &args) {
  auto rowsOf = [&](int part) {
    const int64_t(&sizes)[4] = args.parts[part].sizes;
    return part < args.count ? sizes[0] * sizes[1] * sizes[2] : 0;
  };
  int64_t first = rowsOf(0), second = first + rowsOf(1), all = second + rowsOf(2), warps = threadCount() / 32;
  for (int64_t row = blockIndex() * warps + threadIndex() / 32; row < all; row += blockCount() * warps) {
    if (row < first)
      stepRow(args.parts[0], row);
    else if (row < second)
      stepRow(args.parts[1], row - first);
    else
      stepRow(args.parts[2], row - second);
  }
}

/// The first rows of a cache in 16 bits, zeros behind its last; a row to a warp.
template <typename T> LATHE_DEVICE void narrowCacheRows(const CacheArgs &args) {
  constexpr int64_t kPageRows = 64;
  int lane = threadIndex() % 32;
  int64_t rows = args.sizes[0] * args.sizes[1] * args.sizes[2], columns = args.sizes[3];
  LATHE_NO_UNROLL for (int64_t i = firstElement() / 32; i < rows; i += elementStep() / 32) {
    int64_t at = i % args.sizes[2], rest = i / args.sizes[2];
    int64_t head = rest % args.sizes[1], sequence = rest / args.sizes[1];
    T *to = static_cast<T *>(args.data) + sequence * args.strides[0] + head * args.strides[1] + at * args.strides[2];
    if (at >= load(args.counts + sequence)) {
      LATHE_NO_UNROLL for (int64_t column = lane; column < columns; column += 32)
          store(to + column * args.strides[3], narrowed<T>(0.0f));
      continue;
    }
    auto *page = static_cast<const unsigned char *>(load(load(args.pages + sequence) + at / kPageRows));
    auto *from =
        reinterpret_cast<const float *>(page + args.offset + head * args.head_bytes) + at % kPageRows * columns;
    LATHE_NO_UNROLL for (int64_t column = lane; column < columns; column += 32)
        convertOne(from + column, to + column * args.strides[3]);
  }
}

} // namespace lathe::cuda::device

#endif // LATHE_BACKENDS_CUDA_KERNELS_ELEMENTWISE_CU_H
