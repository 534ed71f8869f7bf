//===- Plan.cpp - What a matrix product depends on --------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/Plan.h"

using namespace lathe::cpu;

PlanKey::PlanKey(const lathe_matmul_call &call) {
  dtype = call.dtype;
  weight = call.weight >= 0 && !call.b ? call.weight : -1;
  activation = call.activation;
  hasBias = call.bias != nullptr;
  residual = !call.residual ? Residual::none : call.residual == call.out ? Residual::inPlace : Residual::binary;
  alpha = call.alpha;
  m = call.m;
  n = call.n;
  k = call.k;
  aRow = call.a_row;
  aCol = call.a_col;
  bRow = call.b_row;
  bCol = call.b_col;
  outRow = call.out_row;
  aQuantization = call.a_quantization;
  if (aQuantization == LATHE_QUANTIZE_STATIC) {
    aScale = call.a_scale;
    aZero = call.a_zero;
  }
  aBytes = call.a_bytes;
  outBytes = call.out_bytes;
  hasRowSums = call.a_scales && call.a_sums;
  if (outBytes != LATHE_BYTES_NONE) {
    outScale = call.out_scale;
    outZero = call.out_zero;
  }
  // Innermost extents first; extents of one fall away, and neighbours that one stride describes become one.
  int used = 0;
  for (int i = 2; i >= 0; --i) {
    int64_t extent = call.batch[i];
    if (extent == 1)
      continue;
    if (used == 0 && call.b_batch[i] == 0 && m == 1) {
      m = extent;
      aRow = call.a_batch[i];
      outRow = call.out_batch[i];
      continue;
    }
    if (used == 0 && call.b_batch[i] == 0 && call.a_batch[i] == m * aRow && call.out_batch[i] == m * outRow) {
      m *= extent;
      continue;
    }
    int at = 3 - used;
    if (used > 0 && call.a_batch[i] == aBatch[at] * batch[at] && call.b_batch[i] == bBatch[at] * batch[at] &&
        call.out_batch[i] == outBatch[at] * batch[at]) {
      batch[at] *= extent;
      continue;
    }
    --at;
    ++used;
    batch[at] = extent;
    aBatch[at] = call.a_batch[i];
    bBatch[at] = call.b_batch[i];
    outBatch[at] = call.out_batch[i];
  }
  // One stride of an extent of one is as good as another; choose what dense matrices have.
  if (k == 1)
    aCol = 1;
  if (m == 1) {
    aRow = aCol == 1 ? k : 1;
    outRow = n;
  }
  if (n == 1)
    bCol = 1;
  if (k == 1)
    bRow = bCol == 1 ? n : 1;
}
