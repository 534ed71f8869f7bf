//===- QuantizedProducts.cpp - Products by weights of few bits --*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Few rows, in 16 bits up to 64: a kernel reads the codes as they are stored. Many rows: the library multiplies
// integers where both sides are, 8-bit floats likewise (FloatProducts.cpp), and numbers that codes were expanded to
// elsewhere.
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/Products.h"

#include <algorithm>
#include <cstring>

using namespace lathe;
using namespace lathe::cuda;
using runtime::failure;
using runtime::join;
using runtime::Status;
using runtime::success;

namespace {

/// From as many rows on weights are expanded first. By what devices of compute capability 9.0 are specified for: to
/// write a weight as f32 and read it back is 8 bytes, 2 ps at 4 TB/s, and the library then adds 0.04 ps a row; the
/// kernel's loops, at a third of the same peak, take 0.1 ps a row.
constexpr int64_t kExpandRows = 32;
/// Likewise where they are multiplied in 16 bits, by kernels without matrix instructions: 4 bytes, 1 ps, and a
/// hundredth of a picosecond a row.
constexpr int64_t kExpandNarrowRows = 12;
/// Of an expanded weight as many columns at once as take this memory.
constexpr int64_t kExpandBytes = int64_t(64) << 20;

/// Rows of codes by a weight.
BlasProblem problemOf(const ByteWeight &weight, int64_t rows, int64_t alignment) {
  BlasProblem problem;
  problem.m = weight.rows, problem.n = rows, problem.k = weight.codesRow;
  problem.transA = 1; // the library multiplies integers so alone
  problem.lda = problem.ldb = weight.codesRow;
  problem.ldc = weight.rows;
  problem.alignA = problem.alignC = problem.alignD = 256;
  problem.alignB = alignment;
  problem.operands = kBlasS8;
  problem.result = kBlasS32;
  problem.compute = kBlasComputeS32;
  return problem;
}

/// LATHE_U8 where the left side is bytes.
int64_t leftType(const lathe_matmul_call &call) {
  return call.a_bytes == LATHE_BYTES_NONE ? call.dtype : int64_t(LATHE_U8);
}

/// What results that the call wants as bytes become.
BytesArgs bytesOfResult(const lathe_matmul_call &call) {
  if (call.out_bytes == LATHE_BYTES_NONE)
    return {};
  return {call.out_scale, call.out_zero, call.out_bytes == LATHE_BYTES_UNSIGNED ? 128 : 0};
}

/// BlasType that operands may be rounded to.
int64_t arithmeticOf(const lathe_matmul_call &call) {
  if (call.a_quantization != LATHE_QUANTIZE_NONE)
    return kBlasF32;
  int64_t type = call.dtype != LATHE_F32 ? call.dtype : call.arithmetic;
  return type == LATHE_F16 ? kBlasF16 : type == LATHE_BF16 ? kBlasBf16 : kBlasF32;
}

/// From as many rows on the weight is expanded.
int64_t expandRows(const lathe_matmul_call &call, const runtime::QuantizedLayout &layout) {
  return arithmeticOf(call) == kBlasF32  ? kExpandRows
         : multipliesCodes(call, layout) ? kMatrixRows + 1
                                         : kExpandNarrowRows;
}

/// Elements from the first to behind the last of a result.
int64_t spanOf(const lathe_matmul_call &call) {
  int64_t span = (call.m - 1) * call.out_row + call.n;
  for (int axis = 0; axis < 3; ++axis)
    span += (call.batch[axis] - 1) * call.out_batch[axis];
  return span;
}

/// Whether the library reads the rounded bytes of a left side where they lie: [rows, k] without gaps.
bool isReadInPlace(const lathe_matmul_call &call, const ByteWeight &weight) {
  if (call.a_bytes != LATHE_BYTES_SIGNED || weight.hasZeros || call.k != weight.codesRow || call.a_col != 1 ||
      reinterpret_cast<uintptr_t>(call.a) % 16 != 0)
    return false;
  int64_t stride = call.k;
  auto follows = [&](int64_t extent, int64_t own) {
    bool does = extent == 1 || own == stride;
    stride *= extent;
    return does;
  };
  return follows(call.m, call.a_row) && follows(call.batch[2], call.a_batch[2]) &&
         follows(call.batch[1], call.a_batch[1]) && follows(call.batch[0], call.a_batch[0]);
}

} // namespace

Status Products::runQuantized(const lathe_matmul_call &call, const runtime::Constant &weight, bool prepareOnly) {
  if (weight.dims[0] != call.k || weight.dims[1] != call.n)
    return failure(LATHE_INTERNAL, "constant '", weight.name, "' is no right side of [", call.k, ", ", call.n, "]");
  bool readsBytes = call.a_bytes != LATHE_BYTES_NONE, writesBytes = call.out_bytes != LATHE_BYTES_NONE;
  if (call.a_bytes > LATHE_BYTES_UNSIGNED || call.out_bytes > LATHE_BYTES_UNSIGNED ||
      ((readsBytes || writesBytes) && call.dtype != LATHE_F32) ||
      (readsBytes && call.a_quantization != LATHE_QUANTIZE_STATIC) || (writesBytes && !(call.out_scale > 0)))
    return failure(LATHE_INTERNAL, "the device has no product of codes whose sides are of these types");
  bool isOfFloats =
      weight.quantized->values == runtime::CodeValues::e4m3 || weight.quantized->values == runtime::CodeValues::e5m2;
  if (call.a_quantization == LATHE_QUANTIZE_ROWS_E4M3 && !isOfFloats)
    return failure(LATHE_INTERNAL, "a product of 8-bit floats needs a weight of such, found values ",
                   name(weight.quantized->values));
  int64_t rows = call.batch[0] * call.batch[1] * call.batch[2] * call.m;
  bool isRounded = call.a_quantization != LATHE_QUANTIZE_NONE;
  if (isRounded && rows > kFewRows && call.dtype == LATHE_F32 && hasIntegers(*weight.quantized)) {
    const ByteWeight *integers = nullptr;
    if (Status status = module_.byteWeight(call.weight, stream_, &integers); status.failed())
      return status;
    if (integers)
      return runIntegers(call, *integers, prepareOnly);
  }
  return writesBytes ? runToBytes(call, weight, prepareOnly) : runScaled(call, weight, prepareOnly);
}

/// By 8-bit floats where the library has that for many rows, else by numbers.
Status Products::runScaled(const lathe_matmul_call &call, const runtime::Constant &weight, bool prepareOnly) {
  int64_t rows = call.batch[0] * call.batch[1] * call.batch[2] * call.m;
  if (call.a_quantization == LATHE_QUANTIZE_ROWS_E4M3 && rows > kFewRows && call.dtype == LATHE_F32) {
    FloatsPlan plan;
    if (Status status = findFloats(call, weight, &plan); status.failed())
      return status;
    const ByteWeight *floats = nullptr;
    if (plan.plan)
      if (Status status = module_.byteWeight(call.weight, stream_, &floats); status.failed())
        return status;
    if (floats)
      return runFloats(call, *floats, plan, prepareOnly);
  }
  return runNumbers(call, weight, prepareOnly);
}

/// By numbers in memory of their own, that become bytes where the result is to be.
Status Products::runToBytes(const lathe_matmul_call &call, const runtime::Constant &weight, bool prepareOnly) {
  if (Status status = beforeBytes_.reserve(static_cast<uint64_t>(spanOf(call) * 4), "results before they are bytes");
      status.failed())
    return status;
  lathe_matmul_call numbers = call;
  numbers.out = reinterpret_cast<void *>(beforeBytes_.address());
  numbers.out_bytes = LATHE_BYTES_NONE;
  if (Status status = runScaled(numbers, weight, prepareOnly); status.failed() || prepareOnly)
    return status;
  ToBytesArgs args = {epilogueArgs(call), reinterpret_cast<const float *>(beforeBytes_.address()), bytesOfResult(call)};
  KernelLaunch launch;
  std::string why;
  bool isPossible = toBytesLaunch(args, &launch, &why);
  return start(isPossible, launch, why);
}

/// By numbers: a left side that is rounded is what its integers stand for.
Status Products::runNumbers(const lathe_matmul_call &call, const runtime::Constant &weight, bool prepareOnly) {
  int64_t rows = call.batch[0] * call.batch[1] * call.batch[2] * call.m;
  lathe_matmul_call plain = call;
  KernelLaunch launch;
  std::string why;
  bool isExpanded = rows >= expandRows(call, *weight.quantized) && call.k > 0;
  if (call.a_quantization != LATHE_QUANTIZE_NONE && (isExpanded || leftType(call) != LATHE_F32)) {
    auto bytes = static_cast<uint64_t>(rows * call.k * 4);
    if (Status status = stagedA_.reserve(bytes, "a rounded operand"); status.failed())
      return status;
    staged_ = {};
    RoundArgs round = roundArgs(call, reinterpret_cast<float *>(stagedA_.address()));
    if (Status status = prepareOnly ? success() : start(roundLaunch(round, leftType(call), &launch, &why), launch, why);
        status.failed())
      return status;
    plain.a = round.out;
    plain.a_row = call.k;
    plain.a_col = 1;
    plain.a_batch[2] = call.m * call.k;
    plain.a_batch[1] = call.batch[2] * plain.a_batch[2];
    plain.a_batch[0] = call.batch[1] * plain.a_batch[1];
    plain.a_quantization = LATHE_QUANTIZE_NONE;
    plain.arithmetic = LATHE_F32;
    plain.a_bytes = LATHE_BYTES_NONE;
    plain.a_again = 0;
  }
  QuantizedMatmulArgs args = quantizedMatmulArgs(plain, *weight.quantized, module_.constants()[call.weight]);
  if (isExpanded)
    return runExpanded(plain, args.weight, prepareOnly);
  setRounding(plain, &args);
  return prepareOnly ? success() : start(quantizedMatmulLaunch(args, call.dtype, &launch, &why), launch, why);
}

/// Each of whose products is one that runQuantized leaves to the kernel, or all are of numbers.
Status Products::execute(const ProductGroup &group) {
  beginLeft(group.calls[0]);
  const std::vector<runtime::Constant> &constants = module_.services().manifest().constants;
  const runtime::Constant &weight = constants[static_cast<size_t>(group.calls[0].weight)];
  if (std::optional<NumbersWeight> form = numbersWeight(group.calls[0], weight))
    return runFewRows(group.calls, group.count, *form, &group);
  QuantizedGroupArgs args = {};
  args.count = group.count;
  args.isChained = group.isChained;
  args.norm = group.norm;
  for (int64_t i = 0; i < group.count; ++i) {
    const lathe_matmul_call &call = group.calls[i];
    QuantizedMatmulArgs own = quantizedMatmulArgs(call, *constants[static_cast<size_t>(call.weight)].quantized,
                                                  module_.constants()[call.weight]);
    setRounding(call, &own);
    if (group.norm.kind != 0)
      own.a = group.x;
    if (i == 0)
      args.first = own;
    else
      args.others[i - 1] = quantizedPart(own);
  }
  KernelLaunch launch;
  std::string why;
  return start(quantizedGroupLaunch(args, LATHE_F32, &launch, &why), launch, why);
}

/// By numbers that the codes stand for, which are there for the time of the product alone.
Status Products::runExpanded(const lathe_matmul_call &call, const QuantizedArgs &weight, bool prepareOnly) {
  int64_t type = arithmeticOf(call), dtype = type == kBlasF16    ? int64_t(LATHE_F16)
                                             : type == kBlasBf16 ? int64_t(LATHE_BF16)
                                                                 : int64_t(LATHE_F32);
  // Rows of 16 bits begin where matrix instructions like them to.
  int64_t row = type == kBlasF32 ? call.k : (call.k + 7) / 8 * 8, rowBytes = row * bytesOf(type);
  int64_t most = std::min(call.n, std::max<int64_t>(kExpandBytes / rowBytes / 64 * 64, 64));
  for (int64_t first = 0; first < call.n; first += most) {
    int64_t count = std::min(most, call.n - first);
    if (Status status = stagedB_.reserve(static_cast<uint64_t>(most * rowBytes), "an expanded weight"); status.failed())
      return status;
    KernelLaunch launch;
    std::string why;
    auto *numbers = reinterpret_cast<void *>(stagedB_.address());
    if (!prepareOnly)
      if (Status status = start(expandLaunch(weight, first, count, numbers, dtype, row, &launch, &why), launch, why);
          status.failed())
        return status;
    lathe_matmul_call part = call;
    part.n = count;
    int64_t bytes = first * (call.dtype == LATHE_F32 ? 4 : 2);
    auto behind = [&](const void *address) { return address ? static_cast<const char *>(address) + bytes : nullptr; };
    part.bias = behind(call.bias);
    part.multiplier = behind(call.multiplier);
    part.residual = behind(call.residual);
    part.out = static_cast<char *>(call.out) + bytes;
    part.a_again = first > 0;
    MatrixView right = {stagedB_.address(), 1, row, {}, type};
    if (Status status = runDense(part, right, prepareOnly); status.failed())
      return status;
  }
  return success();
}

Status Products::stageCodes(const lathe_matmul_call &call, int64_t codesRow, int64_t type, bool writes,
                            bool prepareOnly, RoundBytesArgs *round) {
  int64_t rows = call.batch[0] * call.batch[1] * call.batch[2] * call.m, codesBytes = rows * codesRow;
  if (Status status = stagedA_.reserve(static_cast<uint64_t>(codesBytes + rows * 8), "a left side of bytes");
      status.failed())
    return status;
  *round = {};
  round->round = roundArgs(call, nullptr);
  round->codes = reinterpret_cast<int8_t *>(stagedA_.address());
  round->codes_row = codesRow;
  round->scales = reinterpret_cast<float *>(round->codes + codesBytes);
  if (type == kBlasS8)
    round->sums = reinterpret_cast<int32_t *>(round->scales + rows);
  Staged wanted = {Product(call).a,
                   {call.batch[0], call.batch[1], call.batch[2]},
                   call.m,
                   call.k,
                   type,
                   call.a_quantization,
                   call.a_zero,
                   call.a_scale};
  if (!writes || isStaged(wanted, call.a_again != 0, prepareOnly) || prepareOnly)
    return success();
  KernelLaunch launch;
  std::string why;
  return start(roundBytesLaunch(*round, leftType(call), &launch, &why), launch, why);
}

/// Codes by codes, with sums in i32 that a kernel makes numbers.
Status Products::runIntegers(const lathe_matmul_call &call, const ByteWeight &weight, bool prepareOnly) {
  int64_t rows = call.batch[0] * call.batch[1] * call.batch[2] * call.m;
  if (Status status = stagedOut_.reserve(static_cast<uint64_t>(rows * weight.rows * 4), "a product's sums");
      status.failed())
    return status;
  bool isInPlace = isReadInPlace(call, weight);
  RoundBytesArgs round = {};
  if (Status status = stageCodes(call, weight.codesRow, kBlasS8, !isInPlace, prepareOnly, &round); status.failed())
    return status;

  BlasPlan *plan = nullptr;
  // Of memory of their own, or as the arena has them.
  int64_t alignment = 256;
  while (isInPlace && reinterpret_cast<uintptr_t>(call.a) % static_cast<uintptr_t>(alignment) != 0)
    alignment /= 2;
  if (Status status = plans_.find(problemOf(weight, rows, alignment), &plan); status.failed() || prepareOnly)
    return status;
  int32_t alpha = 1, beta = 0;
  BlasOperands addresses;
  addresses.a = weight.codes;
  addresses.b = isInPlace ? call.a : round.codes;
  addresses.c = addresses.d = reinterpret_cast<void *>(stagedOut_.address());
  addresses.alpha = &alpha;
  addresses.beta = &beta;
  std::string what = join("product of integers [", rows, ", ", call.k, "] and [", call.k, ", ", call.n, "]");
  if (Status status = plans_.multiply(*plan, addresses, what); status.failed())
    return status;

  IntegerFinishArgs finish = {};
  finish.epilogue = epilogueArgs(call);
  finish.products = reinterpret_cast<const int32_t *>(stagedOut_.address());
  finish.products_row = weight.rows;
  finish.k = call.k;
  finish.row_scales = call.a_quantization == LATHE_QUANTIZE_ROWS ? round.scales : nullptr;
  finish.row_sums = weight.hasZeros ? round.sums : nullptr;
  finish.row_scale = call.a_scale;
  finish.row_zero = call.a_quantization == LATHE_QUANTIZE_ROWS ? 0 : call.a_zero;
  finish.bytes = bytesOfResult(call);
  finish.scales = weight.scales;
  finish.zeros = weight.zeros;
  finish.sums = weight.sums;
  KernelLaunch launch;
  std::string why;
  return start(finishIntegersLaunch(finish, &launch, &why), launch, why);
}
