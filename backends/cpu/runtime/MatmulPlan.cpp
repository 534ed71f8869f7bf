//===- MatmulPlan.cpp - How a matmul is cut into pieces ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/MatmulPlan.h"

#include "backends/cpu/runtime/Rounding.h"
#include "runtime/DataType.h"

#include <algorithm>

using namespace lathe;
using namespace lathe::cpu;
using runtime::Status;
using runtime::success;

namespace {

int64_t roundUp(int64_t a, int64_t b) { return ceilDiv(a, b) * b; }

/// What a product costs one thread, roughly: the rate of its arithmetic and of calling oneDNN.
constexpr double kFlopsPerMicrosecond = 1e5;
constexpr double kMicrosecondsPerCall = 2;
/// Below this, waking threads costs more than they save.
constexpr double kMinParallelMicroseconds = 5;
constexpr int64_t kPiecesPerThread = 3;
/// Fewer rows than this leave the reuse of the right side in registers unused.
constexpr int64_t kMinRows = 32;
/// With as many, a piece of whole rows is as fast as one of columns, and its result needs no staging.
constexpr int64_t kManyRows = 128;
constexpr int64_t kColumnStep = 64;
/// Bounds the scratch memory of staged pieces.
constexpr int64_t kMaxRows = 512;

void copyRows(unsigned char *target, int64_t targetRow, const unsigned char *source, int64_t sourceRow, int64_t rows,
              size_t rowBytes) {
  for (int64_t i = 0; i < rows; ++i)
    memcpy(target + i * targetRow, source + i * sourceRow, rowBytes);
}

/// Copies a strided matrix of floats into a dense one.
void gather(float *target, const float *source, int64_t rows, int64_t cols, int64_t rowStride, int64_t colStride) {
  if (colStride == 1) {
    copyRows(reinterpret_cast<unsigned char *>(target), cols * 4, reinterpret_cast<const unsigned char *>(source),
             rowStride * 4, rows, static_cast<size_t>(cols) * 4);
    return;
  }
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < cols; ++j)
      target[i * cols + j] = source[i * rowStride + j * colStride];
}

bool rowMajor(int64_t rows, int64_t cols, int64_t rowStride, int64_t colStride) {
  return colStride == 1 && (rowStride >= cols || rows == 1);
}

/// Whether oneDNN reads such a matrix without falling to its reference implementation.
bool readable(int64_t rows, int64_t cols, int64_t rowStride, int64_t colStride) {
  return rowMajor(rows, cols, rowStride, colStride) || rowMajor(cols, rows, colStride, rowStride);
}

} // namespace

Tiling cpu::chooseTiling(int64_t m, int64_t n, int64_t k, int64_t items, int threads) {
  Tiling tiling;
  int64_t rowTiles = ceilDiv(m, kMaxRows);
  int64_t colTiles = 1;
  double flops = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  double cost = static_cast<double>(items) * (flops / kFlopsPerMicrosecond + kMicrosecondsPerCall);
  tiling.parallel = threads > 1 && cost >= kMinParallelMicroseconds;
  int64_t wanted = tiling.parallel ? ceilDiv(threads * kPiecesPerThread, items) : 1;
  if (wanted > 1 && m / kManyRows >= wanted) {
    rowTiles = std::max(rowTiles, wanted);
  } else if (wanted > 1) {
    // Columns first: each thread then reads its share of the right side once, which is what most products wait for.
    colTiles = std::clamp<int64_t>(ceilDiv(wanted, rowTiles), 1, std::max<int64_t>(n / kColumnStep, 1));
    rowTiles = std::max(rowTiles, std::min(ceilDiv(wanted, colTiles), m / kMinRows));
  }
  rowTiles = std::max<int64_t>(rowTiles, 1);
  tiling.mTile = ceilDiv(m, rowTiles);
  tiling.nTile = colTiles == 1 ? n : std::min(n, roundUp(ceilDiv(n, colTiles), kColumnStep));
  return tiling;
}

void MatmulPlan::setTiling(Tiling tiling) {
  tiling_ = tiling;
  mTiles_ = ceilDiv(key_.m, tiling.mTile);
  nTiles_ = ceilDiv(key_.n, tiling.nTile);
  mLast_ = key_.m - (mTiles_ - 1) * tiling.mTile;
  nLast_ = key_.n - (nTiles_ - 1) * tiling.nTile;
}

PrimitiveKey MatmulPlan::primitiveKey(int64_t m, int64_t n) const {
  PrimitiveKey key;
  key.dtype = key_.dtype;
  key.m = m;
  key.n = n;
  key.k = key_.k;
  key.aRow = stageA_ || m == 1 ? key_.k : key_.aRow;
  key.aCol = stageA_ ? 1 : key_.aCol;
  if (m == 1 && !stageA_ && key_.aCol != 1)
    key.aRow = key_.aRow;
  key.bRow = stageB_ ? n : key_.bRow;
  key.bCol = stageB_ ? 1 : key_.bCol;
  key.outRow = stageOut_ || m == 1 ? n : key_.outRow;
  key.activation = key_.activation;
  key.hasBias = key_.hasBias;
  // The residual of a staged result is added while it is copied out.
  key.residual = stageOut_ ? Residual::none : key_.residual;
  key.alpha = key_.alpha;
  return key;
}

Status MatmulPlan::findVariants(PrimitiveCache &primitives) {
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 2; ++j) {
      // The only tile is the last one.
      if ((i == 0 && mTiles_ == 1) || (j == 0 && nTiles_ == 1))
        continue;
      Variant &variant = variants_[i][j];
      variant = {};
      if (Status status = primitives.find(primitiveKey(tileRows(i), tileCols(j)), &variant.primitive);
          status.failed())
        return status;
    }
  return success();
}

/// Strided operands: as they are if some fast implementation takes them, else staged until one does.
Status MatmulPlan::planStrided(PrimitiveCache &primitives) {
  bool needA = !readable(tiling_.mTile, key_.k, key_.aRow, key_.aCol);
  bool needB = !readable(key_.k, tiling_.nTile, key_.bRow, key_.bCol);
  const bool attempts[][3] = {{needA, needB, false}, {needA, needB, true}, {true, needB, true}, {true, true, true}};
  for (const auto &attempt : attempts) {
    stageA_ = attempt[0];
    stageB_ = attempt[1];
    stageOut_ = attempt[2];
    // A failure to create one form does not mean that the next one fails too.
    Status status = findVariants(primitives);
    bool last = stageA_ && stageB_ && stageOut_;
    if (status.failed()) {
      if (last)
        return status;
      continue;
    }
    bool reference = false;
    for (const auto &row : variants_)
      for (const Variant &variant : row)
        reference |= variant.primitive && variant.primitive->isReference();
    if (!reference || last)
      break;
  }
  return finish();
}

Status MatmulPlan::finish() {
  size_t scratch = 0;
  for (auto &row : variants_)
    for (Variant &variant : row) {
      if (!variant.primitive)
        continue;
      scratch = std::max(scratch, variant.primitive->scratchBytes());
      variant.arguments.resize(static_cast<size_t>(threads_));
      for (Primitive::Arguments &arguments : variant.arguments)
        if (!variant.primitive->makeArguments(&arguments))
          return runtime::failure(LATHE_OUT_OF_MEMORY, "oneDNN cannot describe memory");
    }
  auto bytes = [&](bool staged, int64_t rows, int64_t cols) {
    return staged ? aligned(static_cast<size_t>(rows * cols) * elementSize_) : 0;
  };
  aBytes_ = bytes(stageA_, tiling_.mTile, key_.k);
  bBytes_ = bytes(stageB_, key_.k, tiling_.nTile);
  outBytes_ = bytes(stageOut_, tiling_.mTile, tiling_.nTile);
  scratchBytes_ = aBytes_ + bBytes_ + outBytes_ + aligned(scratch);
  return success();
}

Status MatmulPlan::create(const PlanKey &key, int threads, PrimitiveCache &primitives,
                          std::unique_ptr<Plan> *plan) {
  if (key.dtype != LATHE_F32) {
    const runtime::DataType *type = runtime::dataType(static_cast<lathe_dtype>(key.dtype));
    return runtime::failure(LATHE_INTERNAL, "the cpu backend has no matmul for type ", type ? type->name : "unknown",
                            "; expected f32");
  }
  std::unique_ptr<MatmulPlan> result(new MatmulPlan(key, threads));
  result->setTiling(chooseTiling(key.m, key.n, key.k, key.items(), threads));
  Status status = result->planStrided(primitives);
  if (!status.failed())
    *plan = std::move(result);
  return status;
}

bool MatmulPlan::execute(const lathe_matmul_call &call, int64_t piece, int64_t, int thread, dnnl_stream_t stream,
                         unsigned char *scratch, const unsigned char *) {
  // Rows change fastest: neighbouring pieces share the right side.
  int64_t mIndex = piece % mTiles_;
  int64_t rest = piece / mTiles_;
  int64_t nIndex = rest % nTiles_;
  int64_t item = rest / nTiles_;
  int64_t aOffset = 0, bOffset = 0, outOffset = 0;
  for (int i = 2; i >= 0; --i) {
    int64_t index = item % key_.batch[i];
    item /= key_.batch[i];
    aOffset += index * key_.aBatch[i];
    bOffset += index * key_.bBatch[i];
    outOffset += index * key_.outBatch[i];
  }
  int64_t m0 = mIndex * tiling_.mTile, n0 = nIndex * tiling_.nTile;
  bool mLast = mIndex == mTiles_ - 1, nLast = nIndex == nTiles_ - 1;
  int64_t rows = tileRows(mLast), cols = tileCols(nLast);
  aOffset += m0 * key_.aRow;
  outOffset += m0 * key_.outRow + n0;

  auto *a = static_cast<const float *>(call.a) + aOffset;
  auto *out = static_cast<float *>(call.out) + outOffset;
  const float *residual = call.residual ? static_cast<const float *>(call.residual) + outOffset : nullptr;
  auto *b = static_cast<const float *>(call.b) + bOffset + n0 * key_.bCol;

  const void *data[Primitive::kArgumentCount] = {};
  data[Primitive::kBias] = call.bias ? static_cast<const float *>(call.bias) + n0 : nullptr;
  data[Primitive::kResidual] = residual;
  data[Primitive::kA] = a;
  data[Primitive::kB] = b;
  data[Primitive::kOut] = out;
  auto *next = scratch;
  if (stageA_) {
    gather(reinterpret_cast<float *>(next), a, rows, key_.k, key_.aRow, key_.aCol);
    data[Primitive::kA] = next;
    next += aBytes_;
  }
  if (stageB_) {
    gather(reinterpret_cast<float *>(next), b, key_.k, cols, key_.bRow, key_.bCol);
    data[Primitive::kB] = next;
    next += bBytes_;
  }
  auto *staged = reinterpret_cast<const float *>(next);
  if (stageOut_) {
    data[Primitive::kOut] = next;
    next += outBytes_;
  }
  data[Primitive::kScratch] = next;
  Variant &variant = variants_[mLast][nLast];
  if (!variant.primitive->execute(stream, variant.arguments[static_cast<size_t>(thread)], data))
    return false;
  for (int64_t i = 0; stageOut_ && i < rows; ++i) {
    float *outRow = out + i * key_.outRow;
    const float *stagedRow = staged + i * cols;
    if (!residual) {
      memcpy(outRow, stagedRow, static_cast<size_t>(cols) * sizeof(float));
      continue;
    }
    const float *residualRow = residual + i * key_.outRow;
    for (int64_t j = 0; j < cols; ++j)
      outRow[j] = stagedRow[j] + residualRow[j];
  }
  return true;
}
