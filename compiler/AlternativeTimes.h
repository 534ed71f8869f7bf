//===- AlternativeTimes.h - What alternatives save in time ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_ALTERNATIVETIMES_H
#define LATHE_COMPILER_ALTERNATIVETIMES_H

#include "compiler/LayerTimes.h"
#include "compiler/LayerVariants.h"

namespace lathe {

/// What products of layers take on this machine, with each alternative's weights in place of their own.
class AlternativeTimes {
public:
  /// Carries each alternative's steps out on a program of the layers' products alone, without data, as codes and zeros
  /// of any values take the same time, and times all of them in turns. `variants`, by alternative and layer, are what
  /// alternatives make of layers. Layers that only lookups read have no times. False with `error` set.
  bool measure(const Compression &compression, const std::vector<compression::Layer> &layers,
               const std::vector<std::vector<RecipeStep>> &alternatives,
               const std::vector<std::vector<LayerVariant>> &variants, const CarryOut &carryOut, std::string &error);
  /// Of a layer by an alternative, from 1; 0: as it is. Null where it was not timed.
  const TimedWay *find(size_t layer, size_t alternative) const;
  /// Of the left side of its product.
  int64_t rows(size_t layer) const { return layer < rowsOf.size() ? rowsOf[layer] : 0; }
  /// What an alternative makes slower, of products of these layers together that are so large that times are to be told
  /// apart; empty where it does not.
  std::string whySlower(llvm::ArrayRef<size_t> layers, size_t alternative) const;

private:
  std::vector<std::vector<TimedWay>> ways; ///< by layer; empty where it was not timed
  std::vector<int64_t> rowsOf;
  std::vector<bool> isLarge;
};

/// Runs artifacts that take the same samples in turns on the first samples of the calibration data, and gives the least
/// time of each. False with `error` set.
bool timeModels(const Compression &compression, const std::vector<std::string> &paths,
                std::vector<double> &microseconds, std::string &error);

} // namespace lathe

#endif // LATHE_COMPILER_ALTERNATIVETIMES_H
