//===- LowRankTimes.h - Whether thin factors pay ----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_LOWRANKTIMES_H
#define LATHE_COMPILER_LOWRANKTIMES_H

#include "compiler/LayerTimes.h"

namespace lathe {

/// A layer and the rank of the factors that are to take its place.
struct RankedLayer {
  const compression::Layer *layer;
  int64_t rank;
  // What was measured: as it is, then as factors; empty where it was not.
  std::vector<TimedWay> ways;
  int64_t rows = 0;
};

/// Times products with weights as they are, and by factors of numbers that are made up, where something depends on it:
/// the step prefers speed, or times are wanted. False with `error` set.
bool timeFactors(const Compression &compression, const RecipeStep &step, std::vector<RankedLayer> &layers,
                 CompressionReport &report, std::string &error);

} // namespace lathe

#endif // LATHE_COMPILER_LOWRANKTIMES_H
