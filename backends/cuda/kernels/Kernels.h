//===- Kernels.h - Launches of the hand-written kernels ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// The kernels exist twice: as PTX, which a driver loads once, and as functions for the emulator (HostKernels.h). What
// is launched is the same for both: a function by its name, a grid, and arguments that are its one parameter, by value.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_KERNELS_KERNELS_H
#define LATHE_BACKENDS_CUDA_KERNELS_KERNELS_H

#include "backends/cuda/kernels/Arguments.h"
#include "runtime/Abi.h"
#include "runtime/CacheLayout.h"
#include "runtime/QuantizedLayout.h"
#include "runtime/include/lathe/lathe.h"

#include <cstddef>
#include <string>
#include <string_view>

namespace lathe::cuda {

/// The kernels as text for PTX 7.0 and sm_80 or newer; empty where the build had no clang for it.
std::string_view kernelsPtx();

/// What to launch: cuLaunchKernel's kernelParams are { args }.
struct KernelLaunch {
  std::string function; ///< empty: there is nothing to do
  uint32_t grid = 1, grid_y = 1, grid_z = 1;
  uint32_t block = 1;
  int64_t shared_bytes = 0; ///< dynamic; above 48 KiB the function's limit has to be raised
  int64_t args_bytes = 0;
  alignas(8) unsigned char args[768] = {};
};

/// How many rows and keys an attention takes together.
struct AttentionLaunches {
  KernelLaunch attention, combine; ///< `combine` follows, where it has a function
  int64_t scratch_bytes = 0;       ///< device memory that both use
  /// Tells where that is, before the launches.
  void setScratch(void *scratch);
};

/// Arguments from calls of generated code, without caches: these the caller fills in (RowsArgs::pages,
/// AttentionArgs::counts).
AttentionArgs attentionArgs(const lathe_attention_call &call);
EpilogueArgs epilogueArgs(const lathe_matmul_call &call);
/// `a` and `b` are the device's.
MatmulArgs matmulArgs(const lathe_matmul_call &call);
QuantizedMatmulArgs quantizedMatmulArgs(const lathe_matmul_call &call, const runtime::QuantizedLayout &layout,
                                        const void *weight);
/// `out`: f32, as many as `a` has; what the product then reads, with the strides of setRounded.
RoundArgs roundArgs(const lathe_matmul_call &call, float *out);
/// Makes the product read what roundArgs' launch wrote.
void setRounded(const RoundArgs &round, QuantizedMatmulArgs *args);
/// Makes the product round what it reads, which has to be f32, as the call says.
void setRounding(const lathe_matmul_call &call, QuantizedMatmulArgs *args);
/// What of a product is its own in a group.
QuantizedPart quantizedPart(const QuantizedMatmulArgs &args);
QuantizedArgs quantizedArgs(const runtime::QuantizedLayout &layout, const void *weight);

/// How a weight of numbers lies.
struct NumbersWeight {
  int64_t dtype = LATHE_F32; ///< f32, f16 or bf16
  bool transposed = false;   ///< columns are dense, not rows
  int64_t step = 0;          ///< from one to the next
};
/// Of a call whose sides have types that the kernels know: f32 or the weight's; and all the same where the call's is.
NumbersMatmulArgs numbersMatmulArgs(const lathe_matmul_call &call, const NumbersWeight &form, const void *weight);
NumbersPart numbersPart(const NumbersMatmulArgs &args);

/// How rows of a cache are kept, for RowsArgs::codes and CacheArgs::codes (with CacheArgs::rotation =
/// layout.rotation()). Of rotated rows attention reads what was rotated: queries have to be rotated before it (keys),
/// its result afterwards (values); see rotateLaunch.
CodesArgs codesArgs(const runtime::CacheLayout &layout);

/// Each false, with *why, where there is no kernel for these types.
/// Attention: dtype f32, f16 or bf16, computed in f32. `mostKeys` is the largest of the sequences' counts, or t;
/// `multiprocessors` those of the device, for which keys are split where there are few queries.
bool attentionLaunches(const AttentionArgs &args, int64_t dtype, int64_t mostKeys, int64_t multiprocessors,
                       AttentionLaunches *launches, std::string *why);
/// Bias, activation, multiplier and residual on what `out` holds.
bool epilogueLaunch(const EpilogueArgs &args, int64_t dtype, KernelLaunch *launch, std::string *why);
/// The same of f32 that lie elsewhere; `dtype` is that of all else.
bool finishLaunch(const FinishArgs &args, int64_t dtype, KernelLaunch *launch, std::string *why);
/// The same where `out` alone is of `dtype`, f16 or bf16, and all else f32.
bool finishNarrowLaunch(const FinishArgs &args, int64_t dtype, KernelLaunch *launch, std::string *why);
/// The same of sums of `dtype`, f16 or bf16.
bool finishHalfLaunch(const FinishHalfArgs &args, int64_t dtype, KernelLaunch *launch, std::string *why);
/// f32 to f16 or bf16.
bool narrowLaunch(const CopyArgs &args, int64_t dtype, KernelLaunch *launch, std::string *why);
/// Rows, which the last axis is, of up to three tensors: from f32 to `dtype`, f16 or bf16 (numbers beyond those of f16
/// become its largest), or, `widen`, from it to f32.
bool convertRowsLaunch(const CopyArgs *tensors, int64_t count, int64_t dtype, bool widen, KernelLaunch *launch,
                       std::string *why);
/// Biases of `dtype`, f32, f16 or bf16, as cuDNN reads them.
bool biasRowsLaunch(const BiasRowsArgs &args, int64_t dtype, KernelLaunch *launch, std::string *why);
/// Results of `dtype`.
bool finishAttentionLaunch(const FinishAttentionArgs &args, int64_t dtype, KernelLaunch *launch, std::string *why);
/// A product of operands of any strides, with sums in f32.
bool matmulLaunch(const MatmulArgs &args, int64_t dtype, KernelLaunch *launch, std::string *why);
/// Elements of 1, 2, 4 or 8 bytes.
bool copyLaunch(const CopyArgs &args, int64_t elementBytes, KernelLaunch *launch, std::string *why);
/// Elements of 2 or 4 bytes; where args.codes are set (codesArgs), f32 rows that become codes.
bool cacheLaunch(const CacheArgs &args, int64_t elementBytes, bool read, KernelLaunch *launch, std::string *why);
/// First rows of a cache of f32 as numbers of `dtype`, f16 or bf16.
bool cacheNarrowLaunch(const CacheArgs &args, int64_t dtype, KernelLaunch *launch, std::string *why);
/// Rows of f32; `to` may be `from`.
bool rotateLaunch(const RotateArgs &args, KernelLaunch *launch, std::string *why);
/// Whether quantizedMatmulLaunch multiplies two rows and more by matrix instructions: in 16 bits, f16 or bf16, where
/// the call's types or its arithmetic are that and the weight's groups fill instructions.
bool multipliesCodes(const lathe_matmul_call &call, const runtime::QuantizedLayout &layout);
/// out, a: f32; also f16 and bf16 with integers of 8 or 4 bits. Left sides of f32 are rounded on the way where
/// setRounding said so, or by roundLaunch before.
bool quantizedMatmulLaunch(const QuantizedMatmulArgs &args, int64_t dtype, KernelLaunch *launch, std::string *why);
/// Several such products of one left side, which may be normalized, too (f32).
bool quantizedGroupLaunch(const QuantizedGroupArgs &args, int64_t dtype, KernelLaunch *launch, std::string *why);
/// The same by weights of numbers, all of which have the form of the first but for their steps.
bool numbersGroupLaunch(NumbersGroupArgs args, const NumbersWeight &form, KernelLaunch *launch, std::string *why);
/// Rows of f32 that are rotated by their positions, and put into caches.
bool stepRowsLaunch(const StepRowsArgs &args, KernelLaunch *launch, std::string *why);
/// Of a in f32, or in bytes (u8), which have been rounded.
bool roundLaunch(const RoundArgs &args, int64_t dtype, KernelLaunch *launch, std::string *why);
/// Columns [first, first + count) of the weight as numbers, transposed, for products of many rows by other kernels: out
/// [count, k] of f32, f16 or bf16, with `row` numbers from row to row.
bool expandLaunch(const QuantizedArgs &weight, int64_t first, int64_t count, void *out, int64_t dtype, int64_t row,
                  KernelLaunch *launch, std::string *why);
/// Products of codes: what they read and what becomes of them, all in f32.
bool roundBytesLaunch(const RoundBytesArgs &args, int64_t dtype, KernelLaunch *launch, std::string *why);
bool expandBytesLaunch(const ExpandBytesArgs &args, KernelLaunch *launch, std::string *why);
bool finishIntegersLaunch(const IntegerFinishArgs &args, KernelLaunch *launch, std::string *why);
/// What becomes of products of 8-bit floats; what they read is of roundBytesLaunch and expandBytesLaunch.
bool finishScaledLaunch(const ScaledFinishArgs &args, KernelLaunch *launch, std::string *why);
/// f32 to bytes.
bool toBytesLaunch(const ToBytesArgs &args, KernelLaunch *launch, std::string *why);
bool quantizedRowsLaunch(const QuantizedRowsArgs &args, KernelLaunch *launch, std::string *why);

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_KERNELS_KERNELS_H
