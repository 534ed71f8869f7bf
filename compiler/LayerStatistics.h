//===- LayerStatistics.h - What layers get as inputs ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_LAYERSTATISTICS_H
#define LATHE_COMPILER_LAYERSTATISTICS_H

#include "compiler/Compress.h"
#include "passes/quantization/Layers.h"
#include "passes/quantization/methods/ActivationRange.h"
#include "passes/quantization/methods/Statistics.h"
#include "runtime/ThreadPool.h"
#include <map>
#include <memory>
#include <set>

namespace lathe {

/// Statistics of the left sides of products, by the weight that they are multiplied with; products that share a left side share
/// them.
class LayerStatistics {
public:
  /// Runs the model on the calibration data. Layers that it does not run, or whose left sides are transposed, have none afterwards.
  bool gather(const Compression &compression, const std::vector<compression::Layer> &layers, runtime::ThreadPool &pool,
              std::string &error);
  /// Takes what other statistics have, without running anything, where they were gathered for these layers; false otherwise. A layer is known by its
  /// weight, or by the node that reads it where a step before has changed the weight.
  bool take(const LayerStatistics &known, const std::vector<compression::Layer> &layers);
  /// Null where there are none.
  const quantization::InputStatistics *find(const compression::Layer &layer) const;
  /// The range of all numbers of the left side; null where there is none.
  const quantization::RangeObserver *findRange(const compression::Layer &layer) const;

private:
  std::vector<std::shared_ptr<quantization::InputStatistics>> all;
  std::vector<quantization::RangeObserver> ranges;
  std::map<compression::Place, size_t> byWeight;
  std::map<std::string, size_t> byNode;
  std::set<std::string> asked; ///< nodes, with statistics or without
};

} // namespace lathe

#endif // LATHE_COMPILER_LAYERSTATISTICS_H
