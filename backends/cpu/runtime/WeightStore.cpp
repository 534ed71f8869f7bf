//===- WeightStore.cpp - Weights of a module in panels ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/WeightStore.h"

using namespace lathe;
using namespace lathe::cpu;
using runtime::Constant;
using runtime::failure;
using runtime::PackedLayout;
using runtime::Status;
using runtime::success;

Status WeightStore::fill(const Constant &constant, const void *stored, Copy &copy) {
  size_t elementSize = constant.type->size;
  auto bytes = static_cast<size_t>(copy.layout.elements()) * elementSize;
  if (!services_.chargePrivate(bytes))
    return failure(LATHE_OVER_BUDGET, "weight '", constant.name, "' must be copied into another layout, and its ",
                   bytes, " bytes would pass the module's memory budget; compile the model on a machine like this");
  // Kept until the copy exists: a packed source is unpacked first.
  runtime::Buffer plain;
  int64_t rowStride = copy.rowStride;
  int64_t colStride = copy.colStride;
  if (constant.packed) {
    if (!plain.reserve(constant.size))
      return failure(LATHE_OUT_OF_MEMORY, "cannot allocate ", constant.size, " bytes for '", constant.name, "'");
    runtime::unpack(*constant.packed, elementSize, stored, plain.data());
    stored = plain.data();
    rowStride = constant.packed->dims[1];
    colStride = 1;
  }
  if (!copy.buffer.reserve(bytes))
    return failure(LATHE_OUT_OF_MEMORY, "cannot allocate ", bytes, " bytes for '", constant.name, "'");
  runtime::pack(copy.layout, elementSize, stored, rowStride, colStride, copy.buffer.data());
  return success();
}

const Constant *WeightStore::quantized(int64_t index) const {
  const std::vector<Constant> &constants = services_.manifest().constants;
  bool known = index >= 0 && static_cast<size_t>(index) < constants.size();
  return known && constants[static_cast<size_t>(index)].quantized ? &constants[static_cast<size_t>(index)] : nullptr;
}

const Constant *WeightStore::sparse(int64_t index) const {
  const std::vector<Constant> &constants = services_.manifest().constants;
  bool known = index >= 0 && static_cast<size_t>(index) < constants.size();
  return known && constants[static_cast<size_t>(index)].sparse ? &constants[static_cast<size_t>(index)] : nullptr;
}

const unsigned char *WeightStore::stored(int64_t index) const {
  return static_cast<const unsigned char *>(services_.constant(static_cast<size_t>(index)));
}

Status WeightStore::type(int64_t index, lathe_dtype *type) const {
  const std::vector<Constant> &constants = services_.manifest().constants;
  if (index < 0 || static_cast<size_t>(index) >= constants.size())
    return failure(LATHE_INTERNAL, "weight ", index, " does not exist");
  *type = constants[static_cast<size_t>(index)].type->dtype;
  return success();
}

Status WeightStore::find(int64_t index, const PackedLayout &layout, int64_t rowStride, int64_t colStride,
                         const unsigned char **data) {
  *data = nullptr;
  const std::vector<Constant> &constants = services_.manifest().constants;
  if (index < 0 || static_cast<size_t>(index) >= constants.size())
    return failure(LATHE_INTERNAL, "weight ", index, " does not exist");
  const Constant &constant = constants[static_cast<size_t>(index)];
  int64_t k = layout.dims[0], n = layout.dims[1];
  auto *stored = static_cast<const unsigned char *>(services_.constant(static_cast<size_t>(index)));
  if (constant.quantized || constant.sparse)
    return failure(LATHE_INTERNAL, "weight '", constant.name, "' is ", constant.sparse ? "sparse" : "quantized",
                   " and cannot be read as numbers");
  if (constant.packed) {
    if (constant.packed->dims[0] != k || constant.packed->dims[1] != n)
      return failure(LATHE_INTERNAL, "weight '", constant.name, "' is used as a [", k, ", ", n, "] matrix");
    if (*constant.packed == layout) {
      *data = stored;
      return success();
    }
    rowStride = colStride = 0;
  } else {
    int64_t row = 0, col = 0, last = 0;
    if (rowStride < 0 || colStride < 0 || __builtin_mul_overflow(k - 1, rowStride, &row) ||
        __builtin_mul_overflow(n - 1, colStride, &col) || __builtin_add_overflow(row, col, &last) ||
        static_cast<uint64_t>(last) >= constant.size / constant.type->size)
      return failure(LATHE_INTERNAL, "weight '", constant.name, "' is smaller than a [", k, ", ", n, "] matrix");
  }
  // Held while copying, so that two sessions that start together make one copy.
  std::lock_guard<std::mutex> lock(mutex_);
  for (const Copy &copy : copies_)
    if (copy.index == index && copy.rowStride == rowStride && copy.colStride == colStride && copy.layout == layout) {
      *data = copy.buffer.data();
      return success();
    }
  Copy copy;
  copy.index = index;
  copy.rowStride = rowStride;
  copy.colStride = colStride;
  copy.layout = layout;
  if (Status status = fill(constant, stored, copy); status.failed())
    return status;
  copies_.push_back(std::move(copy));
  *data = copies_.back().buffer.data();
  return success();
}
