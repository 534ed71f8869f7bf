//===- FewRows.cpp - Products of few rows by numbers ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/FewRows.h"

#include "backends/cuda/runtime/Products.h"

using namespace lathe;
using namespace lathe::cuda;
using runtime::Status;
using runtime::success;

namespace {

/// lathe_dtype of a side of a call; -1 for bytes.
int64_t sideType(int64_t bytes, int64_t dtype) {
  return bytes == LATHE_BYTES_NONE   ? dtype
         : bytes == LATHE_BYTES_F16  ? int64_t(LATHE_F16)
         : bytes == LATHE_BYTES_BF16 ? int64_t(LATHE_BF16)
                                     : -1;
}

} // namespace

std::optional<NumbersWeight> cuda::numbersWeight(const lathe_matmul_call &call, const runtime::Constant &weight) {
  if (weight.quantized || weight.sparse || call.a_quantization != LATHE_QUANTIZE_NONE || rowsOf(call) > kFewRows)
    return std::nullopt;
  constexpr int64_t kMostExtent = int64_t(1) << 30; // of rows and columns, which the kernels count in 32 bits
  if (call.n > kMostExtent || call.k > kMostExtent)
    return std::nullopt;
  for (int i = 0; i < 3; ++i)
    if (call.batch[i] > 1 && call.b_batch[i] != 0)
      return std::nullopt;
  NumbersWeight form;
  form.dtype = weight.type->dtype;
  if (form.dtype != LATHE_F32 && form.dtype != LATHE_F16 && form.dtype != LATHE_BF16)
    return std::nullopt;
  auto isKnown = [&](int64_t type) { return type == LATHE_F32 || type == form.dtype; };
  int64_t left = sideType(call.a_bytes, call.dtype), out = sideType(call.out_bytes, call.dtype);
  if (!isKnown(left) || !isKnown(out) || !isKnown(call.dtype) ||
      (call.dtype != LATHE_F32 && (left != call.dtype || out != call.dtype)))
    return std::nullopt;
  int64_t row = weight.packed ? call.n : call.b_row, column = weight.packed ? 1 : call.b_col;
  bool hasRows = column == 1 || call.n == 1, hasColumns = row == 1 || call.k == 1;
  if (!hasRows && !hasColumns)
    return std::nullopt;
  form.transposed = !hasRows || (call.n == 1 && row == 1);
  form.step = form.transposed ? column : row;
  return form;
}

/// Each by a weight of the form of the first.
Status Products::runFewRows(const lathe_matmul_call *calls, int64_t count, const NumbersWeight &form,
                            const ProductGroup *group) {
  const std::vector<runtime::Constant> &constants = module_.services().manifest().constants;
  NumbersGroupArgs args = {};
  args.count = count;
  if (group) {
    args.isChained = group->isChained;
    args.norm = group->norm;
  }
  for (int64_t i = 0; i < count; ++i) {
    std::optional<NumbersWeight> own = numbersWeight(calls[i], constants[static_cast<size_t>(calls[i].weight)]);
    NumbersMatmulArgs made = numbersMatmulArgs(calls[i], own.value_or(form), module_.constants()[calls[i].weight]);
    if (args.norm.kind != 0) { // of f32, which are normalized before they are rounded
      made.a = group->x;
      made.narrow_left = 0;
    }
    if (i == 0)
      args.first = made;
    else
      args.others[i - 1] = numbersPart(made);
  }
  KernelLaunch launch;
  std::string why;
  return start(numbersGroupLaunch(args, form, &launch, &why), launch, why);
}
