//===- Matmul.cu.h - Products of any strides --------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_KERNELS_MATMUL_CU_H
#define LATHE_BACKENDS_CUDA_KERNELS_MATMUL_CU_H

#include "backends/cuda/kernels/Elementwise.cu.h"

namespace lathe::cuda::device {

constexpr int kMatmulTile = 64, kMatmulDepth = 16, kMatmulThreads = 256;

union MatmulShared {
  struct {
    float a[kMatmulDepth][kMatmulTile + 1], b[kMatmulDepth][kMatmulTile + 1];
  };
  float sums[kMatmulTile][kMatmulTile + 1]; ///< afterwards, so that rows are written side by side
};

static_assert(sizeof(MatmulShared) == kMatmulSharedBytes, "launches ask for it");

/// A tile of [64, 16] or [16, 64]: threads go along the axis that is denser in memory.
template <typename T>
LATHE_DEVICE void loadTile(const void *from, int64_t outer, int64_t depth, int64_t outerEnd, int64_t depthEnd,
                           int64_t outerStride, int64_t depthStride, float (*to)[kMatmulTile + 1]) {
  LATHE_UNROLL for (int i = 0; i < kMatmulTile * kMatmulDepth / kMatmulThreads; ++i) {
    int index = threadIndex() + i * kMatmulThreads;
    bool deep = depthStride == 1;
    int x = deep ? index / kMatmulDepth : index % kMatmulTile, k = deep ? index % kMatmulDepth : index / kMatmulTile;
    float value = 0;
    if (outer + x < outerEnd && depth + k < depthEnd)
      value = loadFloat<T>(from, (outer + x) * outerStride + (depth + k) * depthStride);
    storeShared(&to[k][x], value);
  }
}

/// For operands that no library takes. A block for each tile of columns, of rows, of each batch, the last outermost.
template <typename T> LATHE_DEVICE void matmul(const MatmulArgs &args) {
  auto &shared = *static_cast<MatmulShared *>(sharedMemory());
  const EpilogueArgs &end = args.epilogue;
  int64_t tiles = (end.n + kMatmulTile - 1) / kMatmulTile, rowTiles = (end.m + kMatmulTile - 1) / kMatmulTile;
  int64_t column = blockIndex() % tiles * kMatmulTile, row = blockIndex() / tiles % rowTiles * kMatmulTile;
  int64_t batch = blockIndex() / tiles / rowTiles;
  const T *a = static_cast<const T *>(args.a) + batchOffset(end.batch, args.a_batch, batch);
  const T *b = static_cast<const T *>(args.b) + batchOffset(end.batch, args.b_batch, batch);
  int across = threadIndex() % 16, down = threadIndex() / 16;
  float sums[4][4] = {};
  LATHE_NO_UNROLL for (int64_t depth = 0; depth < args.k; depth += kMatmulDepth) {
    loadTile<T>(a, row, depth, end.m, args.k, args.a_row, args.a_col, shared.a);
    loadTile<T>(b, column, depth, end.n, args.k, args.b_col, args.b_row, shared.b);
    LATHE_SYNC();
    LATHE_UNROLL_4 for (int k = 0; k < kMatmulDepth; ++k) {
      float left[4], right[4];
      LATHE_UNROLL for (int i = 0; i < 4; ++i) left[i] = loadShared(&shared.a[k][down + i * 16]);
      LATHE_UNROLL for (int j = 0; j < 4; ++j) right[j] = loadShared(&shared.b[k][across + j * 16]);
      LATHE_UNROLL for (int i = 0; i < 4; ++i) LATHE_UNROLL for (int j = 0; j < 4; ++j) sums[i][j] =
          fused(left[i], right[j], sums[i][j]);
    }
    LATHE_SYNC();
  }
  LATHE_UNROLL for (int i = 0; i < 4; ++i) LATHE_UNROLL for (int j = 0; j < 4; ++j)
      storeShared(&shared.sums[down + i * 16][across + j * 16], sums[i][j]);
  LATHE_SYNC();
  int64_t base = batchOffset(end.batch, end.out_batch, batch);
  LATHE_NO_UNROLL for (int i = threadIndex(); i < kMatmulTile * kMatmulTile; i += kMatmulThreads) {
    int64_t m = row + i / kMatmulTile, n = column + i % kMatmulTile;
    if (m >= end.m || n >= end.n)
      continue;
    int64_t index = base + m * end.out_row + n;
    float sum = loadShared(&shared.sums[i / kMatmulTile][i % kMatmulTile]);
    storeFloat<T>(end.out, index, finish<T>(end, sum, index, n));
  }
}

} // namespace lathe::cuda::device

#endif // LATHE_BACKENDS_CUDA_KERNELS_MATMUL_CU_H
