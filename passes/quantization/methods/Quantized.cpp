//===- Quantized.cpp - A weight as codes and scales -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/Quantized.h"

#include "passes/quantization/methods/GroupCoder.h"

#include <algorithm>
#include <cmath>

using namespace lathe;
using namespace lathe::quantization;

void Quantized::dequantize(float *w) const {
  const std::vector<float> values = valuesOf(format);
  const int64_t size = format.groupSize(k), count = groups();
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t group = 0; group < count; ++group) {
      const float scale = scales[static_cast<size_t>(row * count + group)], zero = zeroOf(row, group);
      for (int64_t i = group * size, end = std::min(k, i + size); i < end; ++i)
        w[row * k + i] = scale * (values[codes[static_cast<size_t>(row * k + i)]] - zero);
    }
  }
}

int64_t Quantized::bytes() const {
  const int64_t scaleBytes = bytesOf(format.scaleType), count = n * groups();
  int64_t total = (n * k * format.bits + 7) / 8 + count * scaleBytes;
  if (!zeros.empty())
    total += count * (format.zeroPoint == ZeroPoint::Float ? scaleBytes : 1);
  if (format.kind == CodeKind::Table)
    total += format.levels() * static_cast<int64_t>(sizeof(float));
  return total;
}

Status quantization::checkWeight(const Weight &w, const Format &format) {
  if (Status status = validate(format); status.failed())
    return status;
  if (w.n < 0 || w.k < 0 || (!w.data && w.n * w.k > 0))
    return runtime::failure(LATHE_INVALID_ARGUMENT, "a weight must be a matrix of outputs and inputs, got ", w.n, "x",
                            w.k, w.data ? "" : " without data");
  float largest = 0;
  for (int64_t row = 0; row < w.n; ++row) {
    const float *values = w.data + row * w.k;
    bool finite = true;
    for (int64_t i = 0; i < w.k; ++i) {
      const float magnitude = std::abs(values[i]);
      finite &= magnitude <= std::numeric_limits<float>::max();
      largest = std::max(largest, magnitude);
    }
    if (finite)
      continue;
    const int64_t at = std::find_if(values, values + w.k, [](float value) { return !std::isfinite(value); }) - values;
    return runtime::failure(LATHE_INVALID_ARGUMENT, "a weight must have finite numbers, got ", values[at],
                            " for output ", row, ", input ", at);
  }
  const float scale = largest / GroupCoder(format).reach();
  if (scale > largestOf(format.scaleType))
    return runtime::failure(LATHE_INVALID_ARGUMENT, "weights up to ", largest, " need scales up to ", scale,
                            " in the format '", format.name(), "', whose scales reach ", largestOf(format.scaleType));
  return {};
}
