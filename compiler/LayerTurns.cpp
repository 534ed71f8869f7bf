//===- LayerTurns.cpp - Layers, one after another -------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/LayerTurns.h"
#include <map>
#include <set>

using namespace mlir;

namespace lathe {

using compression::Layer;
using compression::Place;

std::vector<std::vector<Layer>> layersInTurns(const std::vector<Layer> &layers, func::FuncOp program) {
  std::set<Place> wanted;
  for (const Layer &layer : layers)
    wanted.insert(layer.place);
  llvm::DenseMap<Operation *, Place> placeOf;
  for (const Layer &own : compression::findLayers(program))
    if (wanted.count(own.place))
      for (MatmulOp product : own.products)
        placeOf[product] = own.place;
  // How many layers lie one behind the other before a value.
  llvm::DenseMap<Value, size_t> before;
  std::map<Place, size_t> turnOf;
  size_t count = 0;
  for (Operation &op : program.getBody().front()) {
    size_t depth = 0;
    bool isLayer = false;
    // Branches and loops read what is outside of them; their layers are of one turn.
    op.walk([&](Operation *inner) {
      for (Value operand : inner->getOperands())
        depth = std::max(depth, before.lookup(operand));
    });
    op.walk([&](Operation *inner) {
      auto it = placeOf.find(inner);
      if (it == placeOf.end())
        return;
      turnOf.try_emplace(it->second, depth); // by the first of a layer's products
      isLayer = true;
    });
    if (isLayer)
      count = std::max(count, ++depth);
    for (Value result : op.getResults())
      before[result] = depth;
  }
  std::vector<std::vector<Layer>> turns(std::max<size_t>(count, 1));
  for (const Layer &layer : layers) {
    auto it = turnOf.find(layer.place);
    turns[it == turnOf.end() ? turns.size() - 1 : it->second].push_back(layer);
  }
  llvm::erase_if(turns, [](const std::vector<Layer> &turn) { return turn.empty(); });
  return turns;
}

} // namespace lathe
