//===- SparseCandidates.cpp - Weights of products alone -------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/SparsifyStep.h"
#include "passes/quantization/Layers.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;

namespace lathe {
namespace {

using compression::Place;

RankedTensorType tensorType(Value value) { return cast<RankedTensorType>(value.getType()); }

/// What a product reads, behind what is done to its elements.
struct Source {
  WeightOp weight;
  int64_t group = 0;
};

std::optional<Source> sourceOf(MatmulOp product) {
  Value dense = product.getRhs();
  int64_t kAxis = product.getTransposeRhs() ? 1 : 0;
  if (tensorType(dense).getRank() != 2 || !tensorType(dense).getElementType().isF32())
    return std::nullopt;
  Source source;
  if (auto widened = dense.getDefiningOp<CastOp>()) {
    source.weight = widened.getInput().getDefiningOp<WeightOp>();
    Type element = tensorType(widened.getInput()).getElementType();
    return source.weight && (element.isF16() || element.isBF16()) ? std::optional(source) : std::nullopt;
  }
  auto scaled = dense.getDefiningOp<DequantizeOp>();
  if (!scaled) {
    source.weight = dense.getDefiningOp<WeightOp>();
    return source.weight ? std::optional(source) : std::nullopt;
  }
  source.weight = scaled.getInput().getDefiningOp<WeightOp>();
  if (!source.weight || !tensorType(source.weight).getElementType().isSignlessInteger(8) || scaled.getZeroPoint())
    return std::nullopt;
  source.group = tensorType(dense).getDimSize(kAxis);
  if (scaled.getAxis() && static_cast<int64_t>(*scaled.getAxis()) == kAxis) {
    if (!scaled.getBlockSize())
      return std::nullopt;
    source.group = std::min<int64_t>(static_cast<int64_t>(*scaled.getBlockSize()), source.group);
  }
  return source;
}

/// Whether a product rounds its left side to integers.
bool roundsLeft(MatmulOp product) {
  auto back = product.getLhs().getDefiningOp<DequantizeOp>();
  return back && back.getInput().getDefiningOp<QuantizeOp>() &&
         isa<IntegerType>(getElementTypeOrSelf(back.getInput().getType()));
}

/// Whether everything that reads a weight is a product's right side, whose orientation is this one.
bool isReadBy(Value value, bool transposed, unsigned depth = 0) {
  return llvm::all_of(value.getUses(), [&](OpOperand &use) {
    if (auto product = dyn_cast<MatmulOp>(use.getOwner()))
      return use.getOperandNumber() == 1 && product.getTransposeRhs() == transposed;
    bool isStep = isa<CastOp, DequantizeOp>(use.getOwner()) && use.getOperandNumber() == 0 && depth == 0;
    return isStep && isReadBy(use.getOwner()->getResult(0), transposed, depth + 1);
  });
}

} // namespace

std::vector<SparseCandidate> findSparseCandidates(ArrayRef<func::FuncOp> programs) {
  llvm::MapVector<Place, SparseCandidate, std::map<Place, unsigned>> found;
  for (func::FuncOp program : programs)
    program.walk([&](MatmulOp product) {
      std::optional<Source> source = sourceOf(product);
      if (!source)
        return;
      auto weight = source->weight;
      auto type = tensorType(weight);
      if (type.getNumElements() == 0)
        return;
      auto [it, isNew] = found.insert({Place(weight.getFile().str(), weight.getOffset()), SparseCandidate()});
      SparseCandidate &own = it->second;
      bool transposed = product.getTransposeRhs();
      if (isNew) {
        StringRef name = weight.getName();
        name.consume_back(".codes");
        own.name = name.str();
        own.node = compression::nodeOf(product);
        own.transposed = transposed;
        own.group = source->group;
        own.inputs = type.getDimSize(transposed ? 1 : 0);
        own.outputs = type.getDimSize(transposed ? 0 : 1);
      }
      own.products.push_back(product);
      own.isInteger |= source->group && roundsLeft(product);
      if (!llvm::is_contained(own.weights, Value(weight)))
        own.weights.push_back(weight);
      auto first = tensorType(own.weights.front());
      if (type != first || own.transposed != transposed || own.group != source->group || !isReadBy(weight, transposed))
        own.reason = "something else than products, or products in another way, read it, too";
    });
  // Other operations may read the same bytes without any product.
  for (func::FuncOp program : programs)
    program.walk([&](WeightOp weight) {
      auto it = found.find(Place(weight.getFile().str(), weight.getOffset()));
      if (it != found.end() && !weight->use_empty() && !llvm::is_contained(it->second.weights, weight.getResult()))
        it->second.reason = "something else than products, or products in another way, read it, too";
    });
  std::vector<SparseCandidate> candidates;
  for (auto &entry : found)
    candidates.push_back(std::move(entry.second));
  return candidates;
}

} // namespace lathe
