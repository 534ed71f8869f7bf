//===- Refit.h - Forms fitted to a layer's outputs --------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_LOWRANK_METHODS_REFIT_H
#define LATHE_PASSES_LOWRANK_METHODS_REFIT_H

#include "passes/lowrank/methods/Circulant.h"
#include "passes/lowrank/methods/TensorTrain.h"
#include "passes/quantization/methods/Statistics.h"

namespace lathe::lowrank {

using quantization::InputStatistics;

/// Fits a form of a weight to the layer's outputs, by the second moment of its inputs: least squares of (w - w') S,
/// where S S^T is that moment, for what a form is linear in. Directions that inputs hardly have stay as they were
/// found. `energyKept` becomes 1 less the share of the weight's squares that is lost, at least 0.
///
/// Of circulant blocks all numbers are found together. Fails where statistics do not fit.
Status refit(const Weight &w, const InputStatistics &inputs, Circulant &circulant);
/// Of a train its last core; of two cores each in turn, `rounds` times. `isDone` is false, and the train as it was,
/// where the equations are too large for some seconds.
Status refit(const Weight &w, const InputStatistics &inputs, int rounds, TensorTrain &train, bool &isDone);

/// Whether that is done to trains of a shape with these ranks.
bool canRefit(const TrainShape &shape, const std::vector<int64_t> &ranks);

} // namespace lathe::lowrank

#endif // LATHE_PASSES_LOWRANK_METHODS_REFIT_H
