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
  NumbersPart part = {};
  part.weight = args.weight.weight;
  setResult(args.epilogue, &part);
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
  if (!hasKnownCount(args, why))
    return false;
  const EpilogueArgs &end = args.first.epilogue;
  int64_t all = end.batch[0] * end.batch[1] * end.batch[2] * end.m, rows = all > 1 ? 8 : 1;
  if (blocksOf(args, 1) == 0 || all == 0)
    return true;
  // Threads side by side read whole lines of memory, as long as there are blocks enough. Where columns are dense all
  // eight warps may lie side by side, with so many columns each.
  int64_t ofWarp = rows == 1 ? 4 : 2, most = form.transposed ? 8 * ofWarp : form.dtype == LATHE_F32 ? 32 : 64;
  args.columns = columnsOf(args, most, form.transposed ? ofWarp : most / 4, kBlocksWanted);
  if (!setGrid(blocksOf(args, args.columns) * divideUp(all, rows), launch, why))
    return false;
  launch->function = runtime::join("lathe_numbers_", suffix, form.transposed ? "_transposed" : "", "_r", rows);
  launch->block = 256;
  launch->shared_bytes = kNumbersSharedBytes;
  setArgs(args, launch);
  return true;
}

} // namespace lathe::cuda
