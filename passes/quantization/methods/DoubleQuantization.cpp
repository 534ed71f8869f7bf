//===- DoubleQuantization.cpp - Scales as codes themselves ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/DoubleQuantization.h"

#include "passes/quantization/methods/RoundToNearest.h"

#include <algorithm>
#include <cmath>

using namespace lathe;
using namespace lathe::quantization;

int64_t DoubleQuantized::bytes() const {
  const int64_t stored = static_cast<int64_t>(scaleCodes.size() + scaleScales.size() * sizeof(float));
  return weight.bytes() - static_cast<int64_t>(weight.scales.size() * sizeof(float)) + stored;
}

namespace {

/// The least number of three significant bits that is not below `value`.
float roundUp(float value) {
  int exponent = 0;
  const float mantissa = std::frexp(value, &exponent); // from 0.5 to 1
  return std::ldexp(std::ceil(mantissa * 8), exponent - 3);
}

Status checkFormat(const Format &format, int64_t block) {
  const bool wide = format.kind == CodeKind::Integer && format.zeroPoint == ZeroPoint::None && !format.narrow;
  if (wide || format.scaleType == ScaleType::E8M0)
    return runtime::failure(LATHE_INVALID_ARGUMENT,
                            "quantized scales need a format whose scales are positive floats, got '", format.name(),
                            wide ? "' with signed ones" : "'");
  if (block < 1)
    return runtime::failure(LATHE_INVALID_ARGUMENT, "a block must have at least 1 output, got ", block);
  return {};
}

} // namespace

Status quantization::quantizeScales(const Weight &w, Quantized quantized, bool recode, int64_t block, ThreadPool *pool,
                                    DoubleQuantized &result) {
  result = {};
  const Format format = quantized.format;
  if (Status status = checkFormat(format, block); status.failed())
    return status;
  Quantized &weight = result.weight = std::move(quantized);
  const int64_t groups = weight.groups(), blocks = (w.n + block - 1) / block, size = format.groupSize(w.k);
  result.block = block;
  weight.format.scaleType = ScaleType::F32; // what products of the codes and their scales are
  result.scaleCodes.resize(static_cast<size_t>(groups * w.n));
  result.scaleScales.resize(static_cast<size_t>(groups * blocks));
  for (int64_t group = 0; group < groups; ++group) {
    for (int64_t begin = 0; begin < w.n; begin += block) {
      const int64_t end = std::min(w.n, begin + block);
      float largest = 0;
      for (int64_t row = begin; row < end; ++row)
        largest = std::max(largest, weight.scales[row * groups + group]);
      const float step = largest > 0 ? std::max(roundUp(largest / 255), std::numeric_limits<float>::min()) : 0.0f;
      result.scaleScales[group * blocks + begin / block] = step;
      for (int64_t row = begin; row < end; ++row) {
        float &scale = weight.scales[row * groups + group];
        // A scale of 0 would lose the group.
        const float code = scale > 0 ? std::clamp(std::nearbyint(scale / step), 1.0f, 255.0f) : 0.0f;
        result.scaleCodes[group * w.n + row] = static_cast<uint8_t>(code);
        scale = step * code;
      }
    }
  }
  if (!recode)
    return {};
  const GroupCoder coder(format);
  parallelFor(pool, w.n, [&](int64_t row) {
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t begin = group * size;
      coder.encode(w.data + row * w.k + begin, std::min(size, w.k - begin),
                   {weight.scales[row * groups + group], weight.zeroOf(row, group)},
                   weight.codes.data() + row * w.k + begin, nullptr);
    }
  });
  return {};
}
