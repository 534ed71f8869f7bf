//===- PartTimes.h - What parts that go save in time ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_PARTTIMES_H
#define LATHE_COMPILER_PARTTIMES_H

#include "compiler/LayerTimes.h"

namespace lathe {

/// A layer of a place that loses parts, and what is left of it; both 0 where it goes as a whole.
struct PartLayer {
  const compression::Layer *layer = nullptr;
  int64_t inputs = 0, outputs = 0;
};

/// What the products of one place take together on this machine.
struct PartTime {
  double microsecondsBefore = 0, microsecondsAfter = 0; ///< 0 where nothing was timed
  int64_t rows = 0;                                     ///< of the first product
};

/// Times the products of places as they are and with what is left of their weights, side by side; those of layers that
/// only lookups read take none. False with `error` set.
bool timeParts(const Compression &compression, const std::vector<compression::Layer> &layers,
               llvm::ArrayRef<std::vector<PartLayer>> places, std::vector<PartTime> &times, std::string &error);

} // namespace lathe

#endif // LATHE_COMPILER_PARTTIMES_H
