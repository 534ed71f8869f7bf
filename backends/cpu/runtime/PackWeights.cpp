//===- PackWeights.cpp - Weights in panels --------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/PackWeights.h"

#include "backends/cpu/runtime/GemmKernels.h"
#include "runtime/DataType.h"
#include "runtime/SmallFloats.h"

#include <algorithm>
#include <cstring>
#include <immintrin.h>

using namespace lathe;

namespace {
size_t elementBytes(lathe_dtype dtype) {
  const runtime::DataType *type = runtime::dataType(dtype);
  return type ? type->size : 0;
}

std::string typeName(lathe_dtype dtype) {
  const runtime::DataType *type = runtime::dataType(dtype);
  return type ? type->name : "unknown";
}
} // namespace

int64_t cpu::panelWidth(int64_t n) { return std::min(kPanelColumns, (n + kPanelStep - 1) / kPanelStep * kPanelStep); }

bool cpu::preferredWeightLayout(int64_t k, int64_t n, lathe_dtype dtype, WeightLayout *layout, std::string *error) {
  *layout = {};
  if ((dtype != LATHE_F32 && dtype != LATHE_BF16 && dtype != LATHE_F16) || k < 1 || n < 1) {
    *error = "cannot pack a [" + std::to_string(k) + ", " + std::to_string(n) + "] matrix of type " + typeName(dtype) +
             ": expected f32, bf16 or f16 and no empty dimension";
    return false;
  }
  int64_t width = panelWidth(n);
  runtime::PackedLayout &panels = layout->layout;
  panels.dims[0] = panels.paddedDims[0] = k;
  panels.dims[1] = n;
  panels.paddedDims[1] = (n + width - 1) / width * width;
  panels.strides[0] = width;
  panels.strides[1] = k * width;
  panels.blockCount = 1;
  panels.blocks[0] = width;
  panels.blockDims[0] = 1;
  layout->plain = n == width;
  layout->bytes = panels.elements() * static_cast<int64_t>(elementBytes(dtype));
  return true;
}

void cpu::packWeights(const WeightLayout &layout, lathe_dtype dtype, const void *source, int64_t rowStride,
                      int64_t colStride, void *target) {
  runtime::pack(layout.layout, elementBytes(dtype), source, rowStride, colStride, target);
}

namespace {
/// Of what may lie at no multiple of four.
float numberAt(const void *source, int64_t index) {
  float value;
  memcpy(&value, static_cast<const unsigned char *>(source) + index * static_cast<int64_t>(sizeof value), sizeof value);
  return value;
}

__attribute__((target("avx,f16c"))) void toF16(const void *source, int64_t count, uint16_t *target) {
  for (int64_t i = 0; i < count; ++i)
    target[i] = static_cast<uint16_t>(_mm_cvtsi128_si32(
        _mm_cvtps_ph(_mm_set_ss(numberAt(source, i)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)));
}
} // namespace

void cpu::roundWeights(lathe_dtype dtype, const void *source, int64_t count, uint16_t *target) {
  if (dtype == LATHE_F16)
    return toF16(source, count, target);
  for (int64_t i = 0; i < count; ++i)
    target[i] = runtime::toBfloat(numberAt(source, i));
}
