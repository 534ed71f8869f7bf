//===- QuantizedLaunch.cpp - Products by weights of few bits --------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/kernels/LaunchSupport.h"

namespace lathe::cuda {
namespace {

/// As many blocks, of 16 KiB on the way each, keep the memory of the largest devices busy.
constexpr int64_t kBlocksWanted = 256;

/// Rows of a weight up to which kernels count bytes of a panel, less than 128 for each, in 32 bits.
constexpr int64_t kMostMatrixRows = int64_t(1) << 23;

/// Rows of a weight that a warp multiplies at once (QuantizedMma.cu.h).
int64_t stepRows(int64_t bits) { return bits == 2 ? 64 : bits == 3 ? 128 : 32; }

/// Whether kernels multiply a weight's codes by matrix instructions, in steps that are each of one group.
bool hasMatrixKernel(const QuantizedMatmulArgs &args) {
  const QuantizedArgs &weight = args.weight;
  auto values = static_cast<runtime::CodeValues>(weight.values);
  bool isKnown = values == runtime::CodeValues::integer || values == runtime::CodeValues::e4m3 ||
                 (values == runtime::CodeValues::table && weight.bits == 4);
  return (args.arithmetic == LATHE_F16 || args.arithmetic == LATHE_BF16) && args.quantization == LATHE_QUANTIZE_NONE &&
         isKnown && weight.k <= kMostMatrixRows &&
         (weight.group >= weight.k || weight.group % stepRows(weight.bits) == 0);
}

/// Sets the launch of the kernel for so many rows by matrix instructions.
bool setMatrixLaunch(QuantizedGroupArgs args, const char *suffix, int64_t rows, KernelLaunch *launch,
                     std::string *why) {
  const char *arithmetic = nullptr;
  if (!suffixOf(args.first.arithmetic, &arithmetic, why))
    return false;
  args.columns = columnsOf(args, 64, 16, kBlocksWanted);
  int64_t own = rows <= 8 || args.norm.kind != 0 ? 8 : 32;
  if (!setGrid(blocksOf(args, args.columns) * divideUp(rows, own), launch, why))
    return false;
  launch->function =
      runtime::join("lathe_quantized_mma_", suffix, "_", arithmetic, "_", formatOf(args.first.weight), "_r", own);
  launch->block = 256;
  launch->shared_bytes = kQuantizedMmaSharedBytes;
  setArgs(args, launch);
  return true;
}

} // namespace

bool multipliesCodes(const lathe_matmul_call &call, const runtime::QuantizedLayout &layout) {
  return hasMatrixKernel(quantizedMatmulArgs(call, layout, nullptr));
}

QuantizedMatmulArgs quantizedMatmulArgs(const lathe_matmul_call &call, const runtime::QuantizedLayout &layout,
                                        const void *weight) {
  QuantizedMatmulArgs args = {};
  args.epilogue = epilogueArgs(call);
  args.weight = quantizedArgs(layout, weight);
  args.a = call.a;
  args.a_row = call.a_row;
  args.a_col = call.a_col;
  std::copy(call.a_batch, call.a_batch + 3, args.a_batch);
  args.arithmetic = call.a_quantization != LATHE_QUANTIZE_NONE ? int64_t(LATHE_F32)
                    : call.dtype != LATHE_F32                  ? call.dtype
                                                               : call.arithmetic;
  return args;
}

void setRounding(const lathe_matmul_call &call, QuantizedMatmulArgs *args) {
  args->quantization = call.a_quantization;
  args->scale = call.a_scale;
  args->zero = call.a_zero;
}

QuantizedPart quantizedPart(const QuantizedMatmulArgs &args) {
  QuantizedPart part = {};
  part.weight = args.weight.weight;
  part.panel = args.weight.panel;
  part.panel_bytes = args.weight.panel_bytes;
  part.group_bytes = args.weight.group_bytes;
  part.head_bytes = args.weight.head_bytes;
  part.unit_bytes = args.weight.unit_bytes;
  setResult(args.epilogue, &part);
  return part;
}

void setRounded(const RoundArgs &round, QuantizedMatmulArgs *args) {
  args->a = round.out;
  args->a_row = round.k;
  args->a_col = 1;
  args->a_batch[2] = round.m * round.k;
  args->a_batch[1] = round.batch[2] * args->a_batch[2];
  args->a_batch[0] = round.batch[1] * args->a_batch[1];
}

bool quantizedMatmulLaunch(const QuantizedMatmulArgs &args, int64_t dtype, KernelLaunch *launch, std::string *why) {
  QuantizedGroupArgs group = {};
  group.first = args;
  group.count = 1;
  return quantizedGroupLaunch(group, dtype, launch, why);
}

bool quantizedGroupLaunch(const QuantizedGroupArgs &args, int64_t dtype, KernelLaunch *launch, std::string *why) {
  *launch = KernelLaunch();
  const char *suffix = nullptr;
  if (!suffixOf(dtype, &suffix, why))
    return false;
  const QuantizedArgs &weight = args.first.weight;
  bool everyType = weight.values == 0 && (weight.bits == 8 || weight.bits == 4);
  if (dtype != LATHE_F32 && !everyType) {
    *why = runtime::join("the cuda backend has products of type ", suffix, " with weights of 8 and 4 bits only; found ",
                         formatOf(weight));
    return false;
  }
  if (dtype != LATHE_F32 && (args.norm.kind != 0 || args.first.quantization != LATHE_QUANTIZE_NONE)) {
    *why = runtime::join("the cuda backend normalizes and rounds left sides of type f32; found ", suffix);
    return false;
  }
  bool isFloat = weight.values == static_cast<int64_t>(runtime::CodeValues::e4m3) ||
                 weight.values == static_cast<int64_t>(runtime::CodeValues::e5m2);
  if (args.first.quantization == LATHE_QUANTIZE_ROWS_E4M3 && !isFloat) {
    *why = runtime::join("the cuda backend rounds left sides to e4m3 for weights of 8-bit floats only; found ",
                         formatOf(weight));
    return false;
  }
  if (!hasKnownCount(args, why))
    return false;
  const EpilogueArgs &end = args.first.epilogue;
  int64_t all = end.batch[0] * end.batch[1] * end.batch[2] * end.m, rows = all > 1 ? 8 : 1;
  int64_t blocks = blocksOf(args, 16);
  if (blocks == 0 || all == 0)
    return true;
  if (all > 1 && hasMatrixKernel(args.first))
    return setMatrixLaunch(args, suffix, all, launch, why);
  if (!setGrid(blocks * divideUp(all, rows), launch, why))
    return false;
  launch->function = runtime::join("lathe_quantized_", suffix, "_", formatOf(weight), "_r", rows);
  launch->block = 256;
  launch->shared_bytes = kQuantizedSharedBytes;
  setArgs(args, launch);
  return true;
}

} // namespace lathe::cuda
