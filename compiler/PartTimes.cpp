//===- PartTimes.cpp - What parts that go save in time --------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/PartTimes.h"
#include "compiler/ProductRows.h"

using namespace mlir;

namespace lathe {

using compression::Layer;

bool timeParts(const Compression &compression, const std::vector<Layer> &layers,
               ArrayRef<std::vector<PartLayer>> places, std::vector<PartTime> &times, std::string &error) {
  times.assign(places.size(), {});
  ProductRows rows(compression.programs, layers, compression.rows);
  struct Timed {
    size_t place;
    bool isAfter;
  };
  std::vector<Timed> timed;
  std::vector<TimedProduct> products;
  for (auto [index, place] : llvm::enumerate(places))
    for (const PartLayer &part : place) {
      const Layer &layer = *part.layer;
      if (!layer.isMatmul() || !layer.readsRows())
        continue;
      int64_t count = rows.of(layer);
      times[index].rows = times[index].rows ? times[index].rows : count;
      products.push_back(timedProduct(layer, count));
      timed.push_back({index, false});
      if (part.inputs == 0 || part.outputs == 0)
        continue;
      Layer left = layer; // of the first of its numbers
      left.inputs = part.inputs;
      left.outputs = part.outputs;
      products.push_back(timedProduct(left, count));
      timed.push_back({index, true});
    }
  ProductWay way{compression.floats, nullptr};
  std::vector<std::vector<TimedWay>> measured;
  if (!timeProducts(compression, products, way, "parts", measured, error))
    return false;
  for (auto [own, ways] : llvm::zip(timed, measured))
    (own.isAfter ? times[own.place].microsecondsAfter : times[own.place].microsecondsBefore) +=
        ways.front().microseconds;
  return true;
}

} // namespace lathe
