//===- LaunchSupport.h - What launches are put together by ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_KERNELS_LAUNCHSUPPORT_H
#define LATHE_BACKENDS_CUDA_KERNELS_LAUNCHSUPPORT_H

#include "backends/cuda/kernels/Kernels.h"
#include "runtime/DataType.h"
#include "runtime/Status.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace lathe::cuda {

constexpr int64_t kMostBlocks = 2147483647;

inline int64_t divideUp(int64_t a, int64_t b) { return a / b + (a % b != 0); }

template <typename Args> void setArgs(const Args &args, KernelLaunch *launch) {
  static_assert(sizeof(Args) <= sizeof launch->args && alignof(Args) <= 8, "arguments have a bound");
  static_assert(std::is_trivially_copyable_v<Args>, "arguments are copied");
  launch->args_bytes = sizeof args;
  std::memcpy(launch->args, &args, sizeof args);
}

/// The part of a kernel's name that tells its type.
inline bool suffixOf(int64_t dtype, const char **suffix, std::string *why) {
  switch (dtype) {
  case LATHE_F32:
    *suffix = "f32";
    return true;
  case LATHE_F16:
    *suffix = "f16";
    return true;
  case LATHE_BF16:
    *suffix = "bf16";
    return true;
  default: {
    const runtime::DataType *type = runtime::dataType(static_cast<lathe_dtype>(dtype));
    *why = runtime::join("the cuda backend has no such kernel for type ", type ? type->name : "?",
                         "; expected f32, f16 or bf16");
    return false;
  }
  }
}

inline bool setGrid(int64_t blocks, KernelLaunch *launch, std::string *why) {
  if (blocks > kMostBlocks) {
    *why = runtime::join("expected at most ", kMostBlocks, " blocks, got ", blocks);
    return false;
  }
  launch->grid = static_cast<uint32_t>(blocks);
  return true;
}

inline std::string formatOf(const QuantizedArgs &args) {
  return runtime::join(name(static_cast<runtime::CodeValues>(args.values)), args.bits);
}

/// What a product has in a group, as a part of it: of both kinds of weights.
template <typename Part> void setResult(const EpilogueArgs &end, Part *part) {
  part->out = end.out;
  part->bias = end.bias;
  part->multiplier = end.multiplier;
  part->residual = end.residual;
  part->n = end.n;
  part->out_row = end.out_row;
  std::copy(end.out_batch, end.out_batch + 3, part->out_batch);
  part->activation = end.activation;
  part->alpha = end.alpha;
}

/// Blocks of a group, each for so many columns.
template <typename Group> int64_t blocksOf(const Group &args, int64_t columns) {
  int64_t blocks = divideUp(args.first.epilogue.n, columns);
  for (int64_t i = 1; i < args.count && !args.isChained; ++i)
    blocks += divideUp(args.others[i - 1].n, columns);
  return blocks;
}

/// Whether a group has as many products as kernels know; else why not.
template <typename Group> bool hasKnownCount(const Group &args, std::string *why) {
  if (args.count >= 1 && args.count <= kMostQuantizedParts)
    return true;
  *why = runtime::join("expected from 1 to ", kMostQuantizedParts, " products of one left side, got ", args.count);
  return false;
}

/// Columns of a block: `most`, or as few as `least` of them where there were not `wanted` blocks for each rows.
template <typename Group> int64_t columnsOf(const Group &args, int64_t most, int64_t least, int64_t wanted) {
  while (most > least && blocksOf(args, most) < wanted)
    most /= 2;
  return most;
}

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_KERNELS_LAUNCHSUPPORT_H
