//===- QuantizeTimes.h - Whether quantized layers pay -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_QUANTIZETIMES_H
#define LATHE_COMPILER_QUANTIZETIMES_H

#include "compiler/LayerTimes.h"
#include <map>

namespace lathe {

/// Weights as a step stores them and left sides as it rounds them, with numbers that are made up: what kernels take
/// depends on formats and sizes alone, so that layers are timed before anything is calibrated and factors are folded
/// into norms. Outliers that are kept apart are not in it.
ProductWay quantizedWay(const Compression &compression, const RecipeStep &step);

/// The times of a step's layers, before and as the step would make them.
class QuantizeTimes {
public:
  /// Times products of layers where something depends on it: the step prefers speed, or times are wanted. False with
  /// `error` set.
  bool measure(const Compression &compression, const RecipeStep &step, const std::vector<compression::Layer> &layers,
               CompressionReport &report, std::string &error);
  /// Takes layers that would be slower out of `layers`, where the step prefers speed, and tells them in the report.
  /// What the step becomes, so that it does the same anywhere, is `resolved`; true where that differs from it.
  bool leaveSlower(const Compression &compression, const RecipeStep &step, std::vector<compression::Layer> &layers,
                   CompressionReport &report, RecipeStep &resolved) const;
  /// Adds times to what the report has of this step's layers: entries from `first` on.
  void tell(CompressionReport &report, size_t first) const;

private:
  struct Timed {
    std::vector<TimedWay> ways;
    int64_t rows = 0;
    bool decides = false; ///< it is large enough, whether or not times are wanted
  };
  std::map<std::pair<std::string, std::string>, Timed> byName; ///< of weight and node
};

} // namespace lathe

#endif // LATHE_COMPILER_QUANTIZETIMES_H
