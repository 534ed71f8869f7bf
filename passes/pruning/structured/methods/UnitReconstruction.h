//===- UnitReconstruction.h - Inputs taken away, made good ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_PRUNING_STRUCTURED_METHODS_UNITRECONSTRUCTION_H
#define LATHE_PASSES_PRUNING_STRUCTURED_METHODS_UNITRECONSTRUCTION_H

#include "passes/quantization/methods/Quantized.h"
#include "passes/quantization/methods/Statistics.h"
#include <cstdint>
#include <vector>

namespace lathe::pruning {

using quantization::InputStatistics;
using quantization::Weight;
using runtime::Status;

/// Mean over calibration data of |W_u x_u|^2, what the inputs x_u of each of `count` units add to a product's outputs
/// by themselves. units[k]: the unit of an input; -1: none. Needs the second moment.
std::vector<double> outputEnergies(const Weight &weight, const InputStatistics &statistics,
                                   const std::vector<int> &units, int count);

/// The sum of squares of what belongs to each unit. units[n] of outputs, or [k] of inputs where `ofInputs`.
void addSquares(const Weight &weight, const std::vector<int> &units, bool ofInputs, std::vector<double> &sums);

/// A product y = W x that loses inputs, unit by unit, and whose other weights become those with the least mean of
/// |y - W' x'|^2 over calibration data each time. What a unit costs is known beforehand: with H the mean of x x^T and
/// F its inverse, tr(W_u inverse(F_uu) W_u^T), and W' = W - W_u inverse(F_uu) F_u (Hassibi and Stork 1993, "Second
/// order derivatives for network pruning: Optimal Brain Surgeon"; Kurtic et al. 2023, "ZipLM", section 3, for units).
class UnitReconstruction {
public:
  /// `damping`: a share of the mean of H's diagonal that is added to it. With `constant` there is an input that is
  /// always 1 and stays: a bias that takes up the means. Fails where sizes do not fit, or H can't be inverted.
  Status start(const Weight &weight, const InputStatistics &statistics, const std::vector<int> &units, int count,
               double damping, bool constant);
  /// Mean of |y - y'|^2 that is added where a unit goes next; of each unit, infinity for those that went.
  std::vector<double> costs() const;
  /// Takes units away, together.
  Status remove(const std::vector<int> &units);
  /// Mean of |y|^2 of the weight that was given.
  double energy() const { return energy_; }
  /// The weights of now, [n][k], with zeros for what went.
  std::vector<float> weight() const;
  /// What is added to the outputs, [n]; empty without `constant`.
  std::vector<float> bias() const;

private:
  int64_t n = 0, k = 0, size = 0;           ///< outputs, inputs, and with the constant one
  std::vector<double> w, inverse;           ///< [n][size], [size][size]
  std::vector<std::vector<int64_t>> inputs; ///< of each unit; empty where it went
  double energy_ = 0;
};

} // namespace lathe::pruning

#endif // LATHE_PASSES_PRUNING_STRUCTURED_METHODS_UNITRECONSTRUCTION_H
