//===- PhaseGraph.cpp - A program as users look at it ---------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/PhaseGraph.h"
#include "compiler/Manifest.h"
#include "dialects/kernel/Kernel.h"
#include "dialects/lathe/Lathe.h"
#include "dialects/lathe/SymbolicShape.h"
#include "dialects/lathe/ValueNames.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/SetVector.h"
#include <set>

using namespace mlir;

namespace lathe {

static llvm::SetVector<StringRef> nodesOf(Location loc) {
  llvm::SetVector<StringRef> names;
  loc->walk([&](Location inner) {
    if (auto name = dyn_cast<NameLoc>(inner))
      names.insert(name.getName().getValue());
    return WalkResult::advance();
  });
  return names;
}

static uint64_t bytesOf(RankedTensorType type) {
  return (static_cast<uint64_t>(type.getNumElements()) * type.getElementTypeBitWidth() + 7) / 8;
}

/// Of an entry of the table of constants, as it is in the model: of codes these, and what belongs to them.
static uint64_t bytesOf(DictionaryAttr constant) {
  uint64_t parts = 0;
  for (NamedAttribute part : constant)
    if (auto own = dyn_cast<DictionaryAttr>(part.getValue()); own && own.getAs<TypeAttr>("type"))
      parts += bytesOf(own);
  auto type = constant.getAs<TypeAttr>(constant.get("source") ? "source" : "type");
  return parts ? parts : bytesOf(cast<RankedTensorType>(type.getValue()));
}

/// Tells which constants kernels read: products and lookups name theirs, others have them as operands.
static void addConstants(ModuleOp module, std::vector<PhaseNode> &nodes) {
  auto table = module->getAttrOfType<ArrayAttr>(kernel::kConstantsAttr);
  if (!table)
    return;
  std::set<std::pair<int64_t, int64_t>> known;
  auto add = [&](int64_t kernel, int64_t index) {
    if (!known.insert({kernel, index}).second)
      return;
    auto constant = cast<DictionaryAttr>(table[index]);
    PhaseNode &node = nodes[kernel];
    node.weight += (node.weight.empty() ? "" : ", ") + constant.getAs<StringAttr>("name").str();
    node.bytes += bytesOf(constant);
  };
  module.walk([&](Operation *op) {
    auto kernel = op->getAttrOfType<IntegerAttr>("kernel"), weight = op->getAttrOfType<IntegerAttr>("weight");
    if (!kernel)
      return;
    if (weight && weight.getInt() >= 0)
      add(kernel.getInt(), weight.getInt());
    for (Value operand : op->getOperands())
      if (auto constant = operand.getDefiningOp<kernel::ConstantOp>())
        add(kernel.getInt(), constant.getIndex());
  });
}

static std::vector<PhaseNode> kernelsOf(ModuleOp module, ArrayAttr table) {
  auto text = [](DictionaryAttr entry, StringRef key) {
    auto own = entry.getAs<StringAttr>(key);
    return own ? own.str() : std::string();
  };
  std::vector<PhaseNode> nodes;
  for (auto entry : table.getAsRange<DictionaryAttr>()) {
    PhaseNode &node = nodes.emplace_back();
    node.op = text(entry, "kind") + ": " + text(entry, "name");
    for (auto name : entry.getAs<ArrayAttr>("nodes").getAsRange<StringAttr>())
      node.nodes.push_back(name.str());
    if (auto result = entry.getAs<DictionaryAttr>("result")) {
      node.node = text(result, "node");
      node.type = typeName(cast<TypeAttr>(result.get("type")).getValue());
      for (Attribute dim : result.getAs<ArrayAttr>("shape")) {
        auto name = dyn_cast<StringAttr>(dim);
        node.shape.push_back(name ? name.str() : std::to_string(cast<IntegerAttr>(dim).getInt()));
      }
    }
    if (node.node.empty() && !node.nodes.empty())
      node.node = node.nodes.back();
    if (auto reads = entry.getAs<DenseI64ArrayAttr>("reads"))
      for (int64_t read : reads.asArrayRef())
        if (read >= 0 && static_cast<size_t>(read) < table.size())
          node.reads.push_back(static_cast<size_t>(read));
  }
  addConstants(module, nodes);
  return nodes;
}

static void addWeight(WeightOp weight, PhaseNode &node) {
  node.weight += (node.weight.empty() ? "" : ", ") + weight.getName().str();
  node.bytes += bytesOf(cast<RankedTensorType>(weight.getType()));
}

PhaseGraph phaseGraphOf(ModuleOp module, const std::string &name) {
  PhaseGraph graph{name, {}};
  if (auto table = module->getAttrOfType<ArrayAttr>(kernel::kKernelsAttr)) {
    graph.nodes = kernelsOf(module, table);
    return graph;
  }
  auto main = module.lookupSymbol<func::FuncOp>("main");
  if (!main)
    return graph;
  ShapeContext shapes;
  llvm::DenseMap<Operation *, size_t> indices;
  main.walk<WalkOrder::PreOrder>([&](Operation *op) {
    if (!isa<LatheDialect>(op->getDialect()) || isa<ConstantOp, WeightOp, SymbolOp>(op) || op->getNumResults() == 0)
      return;
    auto type = dyn_cast<RankedTensorType>(op->getResult(0).getType());
    if (!type)
      return;
    PhaseNode node;
    node.op = op->getName().stripDialect().str();
    llvm::SetVector<StringRef> names = nodesOf(op->getLoc());
    std::optional<ModelValue> value = modelValue(op->getLoc());
    node.node = value ? value->node.str() : names.empty() ? "" : names.back().str();
    if (names.size() > 1)
      for (StringRef own : names)
        node.nodes.push_back(own.str());
    node.type = typeName(type.getElementType());
    if (FailureOr<SymShape> shape = shapes.shapeOf(op->getResult(0)); succeeded(shape))
      for (const SymExpr &dim : *shape)
        node.shape.push_back(dim.str());
    for (Value operand : op->getOperands()) {
      Operation *producer = operand.getDefiningOp();
      if (auto weight = llvm::dyn_cast_if_present<WeightOp>(producer))
        addWeight(weight, node);
      else if (auto it = indices.find(producer); it != indices.end())
        node.reads.push_back(it->second);
    }
    indices[op] = graph.nodes.size();
    graph.nodes.push_back(std::move(node));
  });
  return graph;
}

} // namespace lathe
