//===- BiasCorrection.cpp - The mean error of a layer -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/BiasCorrection.h"

using namespace lathe;
using namespace lathe::quantization;

Status quantization::biasCorrection(const Weight &w, const float *approximation, const InputStatistics &statistics,
                                    std::vector<float> &correction) {
  correction.clear();
  if (Status status = validate(statistics, w.k, /*needsSecondMoment=*/false); status.failed())
    return status;
  for (int64_t row = 0; row < w.n; ++row) {
    double sum = 0;
    for (int64_t i = 0; i < w.k; ++i)
      sum += (static_cast<double>(w.data[row * w.k + i]) - approximation[row * w.k + i]) * statistics.mean[i];
    correction.push_back(static_cast<float>(sum));
  }
  return {};
}
