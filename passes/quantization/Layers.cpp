//===- Layers.cpp - The weights that compression works on -----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/Layers.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;

namespace lathe::compression {

std::string nodeOf(Operation *op) {
  std::string node;
  op->getLoc()->walk([&](Location inner) {
    if (auto name = dyn_cast<NameLoc>(inner); name && node.empty())
      node = name.getName().str();
    return WalkResult::advance();
  });
  return node;
}

namespace {

struct Uses {
  bool isLayer = true;
  std::vector<MatmulOp> products;
  std::vector<GatherOp> lookups;
  std::vector<Value> values;
  std::optional<bool> transposed; ///< none so far
};

void addUse(OpOperand &use, Uses &uses) {
  std::optional<bool> transposed;
  if (auto product = dyn_cast<MatmulOp>(use.getOwner()); product && use.getOperandNumber() == 1) {
    uses.products.push_back(product);
    transposed = product.getTransposeRhs();
  } else if (auto lookup = dyn_cast<GatherOp>(use.getOwner());
             lookup && use.getOperandNumber() == 0 && lookup.getAxis() == 0) {
    uses.lookups.push_back(lookup);
    transposed = true;
  }
  uses.isLayer &= transposed && (!uses.transposed || *uses.transposed == *transposed);
  uses.transposed = transposed;
}

} // namespace

std::vector<Layer> findLayers(ArrayRef<func::FuncOp> programs) {
  std::map<Place, Uses> uses;
  std::vector<WeightOp> order;
  for (func::FuncOp program : programs)
    program.walk([&](WeightOp weight) {
      auto type = cast<RankedTensorType>(weight.getType());
      Uses &own = uses[Place(weight.getFile().str(), weight.getOffset())];
      // One place is one matrix of one shape to all that read it.
      Type element = type.getElementType();
      own.isLayer &= type.getRank() == 2 && (element.isF32() || element.isF16() || element.isBF16()) && type.getNumElements() > 0;
      if (!weight->use_empty())
        order.push_back(weight);
      if (type.getElementType().isF32()) {
        own.values.push_back(weight);
        for (OpOperand &use : weight->getUses())
          addUse(use, own);
        return;
      }
      for (Operation *user : weight->getUsers()) {
        auto cast = dyn_cast<CastOp>(user);
        own.isLayer &= cast && llvm::cast<RankedTensorType>(cast.getType()).getElementType().isF32();
        if (!own.isLayer)
          return;
        own.values.push_back(cast.getResult());
        for (OpOperand &use : cast->getUses())
          addUse(use, own);
      }
    });
  std::vector<Layer> layers;
  std::map<Place, RankedTensorType> known;
  for (WeightOp weight : order) {
    Place place(weight.getFile().str(), weight.getOffset());
    Uses &own = uses[place];
    auto type = cast<RankedTensorType>(weight.getType());
    auto [it, isNew] = known.try_emplace(place, type);
    if (!own.isLayer || !isNew || !own.transposed)
      continue;
    Layer layer;
    layer.name = weight.getName().str();
    layer.place = place;
    layer.transposed = *own.transposed;
    layer.inputs = type.getDimSize(layer.transposed ? 1 : 0);
    layer.outputs = type.getDimSize(layer.transposed ? 0 : 1);
    layer.stored = type.getElementType();
    layer.values = std::move(own.values);
    layer.products = std::move(own.products);
    layer.lookups = std::move(own.lookups);
    layer.node = nodeOf(layer.isMatmul() ? layer.products.front().getOperation() : layer.lookups.front().getOperation());
    layers.push_back(std::move(layer));
  }
  return layers;
}

} // namespace lathe::compression
