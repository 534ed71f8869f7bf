//===- NumbersLaunch.cpp - Products of few rows by numbers ----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/kernels/LaunchSupport.h"

#include <algorithm>

namespace lathe::cuda {
namespace {

/// As many blocks keep the memory of the largest devices busy, one for each multiprocessor: each has 32 KiB on the way.
constexpr int64_t kBlocksWanted = 128;

/// Blocks of a group, each for so many columns.
int64_t blocksOf(const NumbersGroupArgs &args, int64_t columns) {
  int64_t blocks = divideUp(args.first.epilogue.n, columns);
  for (int64_t i = 1; i < args.count && !args.isChained; ++i)
    blocks += divideUp(args.others[i - 1].n, columns);
  return blocks;
}

} // namespace

NumbersMatmulArgs numbersMatmulArgs(const lathe_matmul_call &call, const NumbersWeight &form, const void *weight) {
  NumbersMatmulArgs args = {};
  int64_t bytes = form.dtype == LATHE_F32 ? 4 : 2;
  args.epilogue = epilogueArgs(call);
  args.weight = {weight, call.k, call.n, form.step, 0};
  args.weight.wide = reinterpret_cast<uintptr_t>(weight) % 16 == 0 && form.step * bytes % 16 == 0;
  args.a = call.a;
  args.a_row = call.a_row;
  args.a_col = call.a_col;
  std::copy(call.a_batch, call.a_batch + 3, args.a_batch);
  bool isNarrow = call.dtype != LATHE_F32;
  args.narrow_left = isNarrow || call.a_bytes != LATHE_BYTES_NONE;
  args.narrow_sides = isNarrow;
  args.store = isNarrow ? kOutNarrow : call.out_bytes != LATHE_BYTES_NONE ? kOutBounded : kOutF32;
  return args;
}

NumbersPart numbersPart(const NumbersMatmulArgs &args) {
  const EpilogueArgs &end = args.epilogue;
  NumbersPart part = {};
  part.weight = args.weight.weight;
  part.out = end.out;
  part.bias = end.bias;
  part.multiplier = end.multiplier;
  part.residual = end.residual;
  part.n = end.n;
  part.out_row = end.out_row;
  std::copy(end.out_batch, end.out_batch + 3, part.out_batch);
  part.activation = end.activation;
  part.alpha = end.alpha;
  part.step = args.weight.step;
  part.wide = args.weight.wide;
  part.store = args.store;
  return part;
}

bool numbersGroupLaunch(NumbersGroupArgs args, const NumbersWeight &form, KernelLaunch *launch, std::string *why) {
  *launch = KernelLaunch();
  const char *suffix = nullptr;
  if (!suffixOf(form.dtype, &suffix, why))
    return false;
  if (args.count < 1 || args.count > kMostQuantizedParts) {
    *why = runtime::join("expected from 1 to ", kMostQuantizedParts, " products of one left side, got ", args.count);
    return false;
  }
  const EpilogueArgs &end = args.first.epilogue;
  int64_t all = end.batch[0] * end.batch[1] * end.batch[2] * end.m, rows = all > 1 ? 8 : 1;
  if (blocksOf(args, 1) == 0 || all == 0)
    return true;
  // Threads side by side read whole lines of memory, as long as there are blocks enough.
  args.columns = form.transposed ? 32 : form.dtype == LATHE_F32 ? 32 : 64;
  int64_t least = form.transposed ? (rows == 1 ? 4 : 2) : args.columns / 4;
  while (args.columns > least && blocksOf(args, args.columns) < kBlocksWanted)
    args.columns /= 2;
  if (!setGrid(blocksOf(args, args.columns) * divideUp(all, rows), launch, why))
    return false;
  launch->function = runtime::join("lathe_numbers_", suffix, form.transposed ? "_transposed" : "", "_r", rows);
  launch->block = 256;
  launch->shared_bytes = kNumbersSharedBytes;
  setArgs(args, launch);
  return true;
}

} // namespace lathe::cuda
