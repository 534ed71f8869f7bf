//===- TensorTrain.h - A matrix as a train of small tensors -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_LOWRANK_METHODS_TENSORTRAIN_H
#define LATHE_PASSES_LOWRANK_METHODS_TENSORTRAIN_H

#include "passes/quantization/methods/Quantized.h"
#include "runtime/Status.h"

#include <cstdint>
#include <vector>

namespace lathe::lowrank {

using quantization::Weight;
using runtime::Status;

/// How a matrix w[outputs][inputs] is split: outputs are the product of n, inputs that of k, and core j of a train has
/// the j-th part of both. The first parts count most, as digits of a number do. Two or more of them.
struct TrainShape {
  std::vector<int64_t> n, k;

  size_t cores() const { return n.size(); }
  int64_t outputs() const;
  int64_t inputs() const;
  /// Numbers of a core without its ranks.
  int64_t part(size_t core) const { return n[core] * k[core]; }
};

/// w[n1 n2 …][k1 k2 …] = the sum over r1, r2, … of core1[n1][k1][r1] core2[n2][r1][k2][r2] … (tensor train of a matrix;
/// Oseledets 2011, Novikov et al. 2015). With two cores that is a sum of r1 Kronecker products (Van Loan and Pitsianis
/// 1993).
struct TensorTrain {
  TrainShape shape;
  std::vector<int64_t> ranks;            ///< between cores, one fewer than these
  std::vector<std::vector<float>> cores; ///< [n][rank before][k][rank behind], row-major
  double energyKept = 1;                 ///< share of the squares of the weight

  int64_t before(size_t core) const { return core ? ranks[core - 1] : 1; }
  int64_t behind(size_t core) const { return core < ranks.size() ? ranks[core] : 1; }
  int64_t numbers() const;
  /// The matrix that they stand for, [outputs][inputs].
  std::vector<float> dense() const;
};

/// Numbers of all cores, with these ranks between them.
int64_t trainNumbers(const TrainShape &shape, const std::vector<int64_t> &ranks);
/// Multiplications that a row of inputs takes, core after core from the last.
double trainMultiplications(const TrainShape &shape, const std::vector<int64_t> &ranks);
/// Ranks of at most `rank`, and no larger than any matrix of that shape has.
std::vector<int64_t> trainRanks(const TrainShape &shape, int64_t rank);
/// The largest rank, for all places alike, whose cores have no more than `numbers`; 0 where there is none.
int64_t trainRankWithin(const TrainShape &shape, int64_t numbers);

/// Both extents in as many parts as there are cores, which get about equal shares. Cores of one element are left out.
TrainShape balancedShape(int64_t outputs, int64_t inputs, int64_t cores);
/// Two cores, the second of [rows][columns], which divide the extents.
TrainShape kroneckerShape(int64_t outputs, int64_t inputs, int64_t rows, int64_t columns);
/// Shapes of two cores of about equal numbers that differ in how outputs and inputs are shared, at most `most`; at
/// least one.
std::vector<TrainShape> kroneckerShapes(int64_t outputs, int64_t inputs, size_t most);

/// Singular values, squared, of the weight as a matrix [core 1][all others]: of two cores the sum beyond a rank is the
/// least error of a sum of so many Kronecker products. Fails where a number is not finite.
Status trainSpectrum(const Weight &w, const TrainShape &shape, std::vector<double> &squares);

/// The train whose ranks are at most `rank` and the least that keep a share `energy` of the squares: each place may
/// lose the same (TT-SVD). Cores but the last have orthonormal columns. Fails where a number is not finite or the shape
/// is not that of the weight.
Status factorizeTrain(const Weight &w, const TrainShape &shape, int64_t rank, double energy, TensorTrain &result);

} // namespace lathe::lowrank

#endif // LATHE_PASSES_LOWRANK_METHODS_TENSORTRAIN_H
