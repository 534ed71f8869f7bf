//===- Refit.h - The best values of what stays ------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_PRUNING_METHODS_REFIT_H
#define LATHE_PASSES_PRUNING_METHODS_REFIT_H

#include "passes/quantization/methods/Quantized.h"
#include "passes/quantization/methods/Statistics.h"

namespace lathe::pruning {

/// Changes the numbers of `values` [n][k] that are not zero so that the error of the output against `w` over the
/// statistics' rows falls: `steps` of conjugate gradients on each output's least squares, preconditioned by the
/// diagonal. `damping`, a share of the mean of the second moment's diagonal, holds values near to those of `w`. Zeros
/// stay. The damped error never grows. Takes 2 n k^2 operations a step. The same for any number of threads.
quantization::Status refitKept(const quantization::Weight &w, const quantization::InputStatistics &statistics,
                               double damping, int steps, quantization::ThreadPool *pool, std::vector<float> &values);

} // namespace lathe::pruning

#endif // LATHE_PASSES_PRUNING_METHODS_REFIT_H
