//===- Cache.cu.h - Rows of a cache as codes --------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// As runtime/CacheLayout.h and with its arithmetic, so that both devices keep the same bytes.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_KERNELS_CACHE_CU_H
#define LATHE_BACKENDS_CUDA_KERNELS_CACHE_CU_H

#include "backends/cuda/kernels/Elementwise.cu.h"

namespace lathe::cuda::device {

constexpr int kCacheThreads = 128;
constexpr int64_t kPageRows = 64;

/// The bf16 at row `row` of group `group`, of those that begin at `where`.
LATHE_DEVICE float stepAt(const unsigned char *head, int64_t where, int group, int64_t row) {
  return loadFloat<Bfloat>(head + where, group * kPageRows + row);
}

/// The number that a code stands for, in the domain that it was made in.
LATHE_DEVICE float codeValue(const CodesArgs &codes, const unsigned char *head, int64_t row, int column) {
  const unsigned char *bytes = head + row * codes.row_bytes;
  int group = column / int(codes.group_columns), code;
  if (codes.bits == 8) {
    code = load(bytes + column);
    code = codes.symmetric ? int(int8_t(code)) : code;
  } else {
    code = load(bytes + column / 32 * 16 + column % 16) >> (column % 32 < 16 ? 0 : 4) & 15;
    code = codes.symmetric ? code - 8 : code;
  }
  float value = stepAt(head, codes.scales_at, group, row) * float(code);
  return codes.symmetric ? value : stepAt(head, codes.lowest_at, group, row) + value;
}

/// x = x * H for a row in shared memory, by `rotation` columns.
LATHE_DEVICE void rotateShared(float *x, int columns, int rotation) {
  for (int half = 1; half < rotation; half *= 2) {
    LATHE_SYNC();
    for (int pair = threadIndex(); pair < columns / 2; pair += threadCount()) {
      int i = pair / half * 2 * half + pair % half;
      float a = loadShared(x + i), b = loadShared(x + i + half);
      storeShared(x + i, a + b);
      storeShared(x + i + half, a - b);
    }
  }
  LATHE_SYNC();
  if (rotation == 1)
    return;
  int log = 0;
  while (1 << log < rotation)
    ++log;
  // 1 / sqrt(rotation), of powers of two.
  float factor = (log % 2 ? 0.707106769f : 1.0f) / float(1 << log / 2);
  for (int i = threadIndex(); i < columns; i += threadCount())
    storeShared(x + i, loadShared(x + i) * factor);
  LATHE_SYNC();
}

LATHE_DEVICE void rotateRows(const RotateArgs &args) {
  auto *row = static_cast<float *>(sharedMemory());
  int64_t rows = args.batch[0] * args.batch[1] * args.batch[2] * args.rows;
  for (int64_t index = blockIndex(); index < rows; index += blockCount()) {
    int64_t batch = index / args.rows, at = index % args.rows;
    auto *from = static_cast<const float *>(args.from.data) + batchOffset(args.batch, args.from.batch, batch) +
                 at * args.from.row;
    auto *to = static_cast<float *>(args.to.data) + batchOffset(args.batch, args.to.batch, batch) + at * args.to.row;
    for (int i = threadIndex(); i < args.columns; i += threadCount())
      storeShared(row + i, load(from + i * args.from.col));
    rotateShared(row, int(args.columns), int(args.rotation));
    for (int i = threadIndex(); i < args.columns; i += threadCount())
      store(to + i * args.to.col, loadShared(row + i));
    LATHE_SYNC();
  }
}

/// bf16 not nearer to 0 than a number with these bits; and not above it.
LATHE_DEVICE uint32_t awayFromZero(uint32_t bits) { return (bits + 0xffff) >> 16; }
LATHE_DEVICE uint32_t downwards(uint32_t bits) { return bits >> 31 ? awayFromZero(bits) : bits >> 16; }
/// Integers in the order of the numbers whose bits they are made of, and back.
LATHE_DEVICE int32_t ordered(int32_t bits) { return bits ^ ((bits >> 31) & 0x7fffffff); }

/// bf16 of what codes count in and begin at.
struct Steps {
  uint32_t scale, lowest;
};

LATHE_DEVICE Steps stepsOf(int32_t least, int32_t most, float levels, bool symmetric) {
  if (most >= 0x7f800000 || least <= ordered(int32_t(0xff800000)))
    return {0x7fc0, 0};
  uint32_t lowest = 0;
  float scale = bitsToFloat(uint32_t(most)) / levels;
  if (!symmetric) {
    lowest = downwards(uint32_t(ordered(least)));
    scale = bitsToFloat(uint32_t(ordered(most))) / levels - bitsToFloat(lowest << 16) / levels;
  }
  int32_t bits = int32_t(floatBits(scale));
  if (bits >= 0x7f800000) // the lowest number is below what bf16 has
    return {0x7fc0, 0};
  return {bits >= 0x00800000 ? awayFromZero(uint32_t(bits)) : 0, lowest};
}

/// Scales and lowest values of a row in shared memory, a warp for each group; kept in `steps` too.
LATHE_DEVICE void makeSteps(const CodesArgs &codes, const float *row, int columns, unsigned char *head, int64_t at,
                            float levels, float *steps) {
  int lane = threadIndex() % 32, size = int(codes.group_columns), groups = (columns + size - 1) / size;
  for (int group = threadIndex() / 32; group < groups; group += kCacheThreads / 32) {
    int32_t least = 0x7fffffff, most = int32_t(0x80000000);
    for (int i = group * size + lane; i < columns && i < (group + 1) * size; i += 32) {
      auto bits = int32_t(floatBits(loadShared(row + i)));
      bits = codes.symmetric ? bits & 0x7fffffff : ordered(bits);
      least = bits < least ? bits : least;
      most = bits > most ? bits : most;
    }
    for (int mask = 16; mask; mask /= 2) {
      int32_t other = shuffleXorBits(least, mask);
      least = other < least ? other : least;
      other = shuffleXorBits(most, mask);
      most = other > most ? other : most;
    }
    if (lane)
      continue;
    Steps own = stepsOf(least, most, levels, codes.symmetric);
    storeShared(steps + 2 * group, own.scale < 0x7fc0 ? bitsToFloat(own.scale << 16) : 0.0f);
    storeShared(steps + 2 * group + 1, bitsToFloat(own.lowest << 16));
    store(reinterpret_cast<uint16_t *>(head + codes.scales_at) + group * kPageRows + at, uint16_t(own.scale));
    if (!codes.symmetric)
      store(reinterpret_cast<uint16_t *>(head + codes.lowest_at) + group * kPageRows + at, uint16_t(own.lowest));
  }
}

/// The code of one number; 0 behind the last and where a group has no steps.
LATHE_DEVICE uint32_t codeOf(const CodesArgs &codes, const float *row, int columns, int column, float high,
                             const float *steps) {
  int group = column / int(codes.group_columns);
  int32_t code = 0;
  float scale = column < columns ? loadShared(steps + 2 * group) : 0.0f;
  if (scale > 0) {
    float x = (loadShared(row + column) - loadShared(steps + 2 * group + 1)) / scale;
    x = smaller(larger(x, codes.symmetric ? -high : 0.0f), high);
    code = int32_t(nearest(x));
  }
  return uint32_t(code + (codes.symmetric && codes.bits == 4 ? 8 : 0));
}

/// Rows of a cache as codes: puts them behind those that it has, or reads the first ones, zeros behind its last. A
/// block for each row.
template <bool kRead> LATHE_DEVICE void cacheCodes(const CacheArgs &args) {
  auto *row = static_cast<float *>(sharedMemory());
  int columns = int(args.sizes[3]);
  float *steps = row + columns;
  const CodesArgs &codes = args.codes;
  auto high = float(codes.symmetric ? (1 << (codes.bits - 1)) - 1 : (1 << codes.bits) - 1);
  int64_t rows = args.sizes[0] * args.sizes[1] * args.sizes[2];
  for (int64_t index = blockIndex(); index < rows; index += blockCount()) {
    int64_t own = index % args.sizes[2], headIndex = index / args.sizes[2] % args.sizes[1];
    int64_t sequence = index / args.sizes[2] / args.sizes[1], has = load(args.counts + sequence),
            at = kRead ? own : has + own;
    float *data = static_cast<float *>(args.data) + sequence * args.strides[0] + headIndex * args.strides[1] +
                  own * args.strides[2];
    bool there = !kRead || at < has; // the same for all threads
    unsigned char *head = nullptr;
    if (there)
      head = static_cast<unsigned char *>(load(load(args.pages + sequence) + at / kPageRows)) + args.offset +
             headIndex * args.head_bytes;
    at %= kPageRows;
    for (int i = threadIndex(); i < columns; i += threadCount())
      storeShared(row + i, !there ? 0.0f : kRead ? codeValue(codes, head, at, i) : load(data + i * args.strides[3]));
    rotateShared(row, columns, int(args.rotation));
    if (kRead) {
      for (int i = threadIndex(); i < columns; i += threadCount())
        store(data + i * args.strides[3], loadShared(row + i));
    } else {
      makeSteps(codes, row, columns, head, at, high, steps);
      LATHE_SYNC();
      for (int i = threadIndex(); i < codes.row_bytes; i += threadCount()) {
        int column = codes.bits == 8 ? i : i / 16 * 32 + i % 16;
        uint32_t code = codeOf(codes, row, columns, column, high, steps);
        if (codes.bits == 4)
          code = (code & 15) | codeOf(codes, row, columns, column + 16, high, steps) << 4;
        store(head + at * codes.row_bytes + i, static_cast<unsigned char>(code));
      }
    }
    LATHE_SYNC();
  }
}

} // namespace lathe::cuda::device

#endif // LATHE_BACKENDS_CUDA_KERNELS_CACHE_CU_H
