//===- Graph.cpp - The graph of a program ---------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "dialects/lathe/Sparse.h"
#include "frontends/onnx/export/Emitter.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

namespace lathe::frontend {

/// The name of the innermost thing that a location names.
static std::string locationName(Location location) {
  std::string name;
  location->walk([&](Location inner) {
    if (auto named = dyn_cast<NameLoc>(inner); named && name.empty())
      name = named.getName().str();
    return WalkResult::advance();
  });
  return name;
}

//===----------------------------------------------------------------------===//
// Operations
//===----------------------------------------------------------------------===//

LogicalResult Emitter::emit(Operation *op) {
  for (Type type : op->getResultTypes())
    if (auto tensor = dyn_cast<RankedTensorType>(type)) {
      if (onnxDataType(tensor.getElementType()) == onnx::TensorProto::UNDEFINED)
        return fail(op, "there is no such data type");
      need(opsetOf(tensor.getElementType()));
    }
  if (emitPackedConstant(op))
    return success();
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](WeightOp weight) { return emitWeight(weight); })
      .Case([&](ConstantOp constantOp) {
        auto value = dyn_cast<DenseElementsAttr>(constantOp.getValue());
        if (!value)
          return fail(op, "expects its elements");
        names[constantOp.getResult()] = constant(value, base);
        return success();
      })
      .Case([&](RequireOp) { return success(); }) // what a valid run satisfies
      .Case([&](IfOp branches) { return emitIf(branches); })
      .Case([&](LoopOp loop) { return emitLoop(loop); })
      .Case<MatmulOp, ReduceOp, SoftmaxOp, LayerNormOp, RmsNormOp, CumSumOp, TopKOp>([&](Operation *) { return emitProduct(op); })
      .Case<TransposeOp, ReshapeOp, BroadcastOp, ConcatOp, SliceOp, GatherOp, GatherElementsOp, GatherNDOp, PadOp, WindowsOp,
            ScatterElementsOp, ScatterNDOp, RangeOp>([&](Operation *) { return emitMovement(op); })
      .Case<QuantizeOp, DequantizeOp, CodebookLookupOp, DequantizeLog2Op>([&](Operation *) { return emitQuantization(op); })
      .Case([&](SparseToDenseOp) { return emitSparse(op); })
      .Case<SymbolOp, DimOp, ShapeOfOp, FromIndexOp, ToIndexOp>([&](Operation *) { return emitIndex(op); })
      .Case([&](AttentionOp attention) { return emitAttention(attention); })
      .Case([&](CacheOp) { return fail(op, "what is kept between runs"); })
      .Default([&](Operation *) {
        if (isa_and_nonnull<arith::ArithDialect>(op->getDialect()))
          return emitIndex(op);
        if (op->hasTrait<OpTrait::BroadcastingElementwise>())
          return emitElementwise(op);
        return fail(op, "expects an operation of the dialect lathe");
      });
}

LogicalResult Emitter::emitBlock(Block &block) {
  std::string outer = base;
  for (Operation &op : block.without_terminator()) {
    std::string named = locationName(op.getLoc());
    base = named.empty() ? outer : named;
    if (failed(emit(&op)))
      return failure();
    nameNodes();
  }
  base = outer;
  return success();
}

//===----------------------------------------------------------------------===//
// Inputs and outputs
//===----------------------------------------------------------------------===//

void Emitter::describeType(onnx::ValueInfoProto &info, StringRef name, Type element) {
  info.set_name(name.str());
  info.mutable_type()->mutable_tensor_type()->set_elem_type(onnxDataType(element));
}

void Emitter::emitInputs() {
  for (BlockArgument argument : main.getArguments()) {
    unsigned i = argument.getArgNumber();
    auto name = main.getArgAttrOfType<StringAttr>(i, LatheDialect::kNameAttr);
    auto dims = main.getArgAttrOfType<ArrayAttr>(i, LatheDialect::kDimsAttr);
    auto type = cast<RankedTensorType>(argument.getType());
    names[argument] = uniqueValue(name ? name.getValue() : StringRef("input"));
    onnx::ValueInfoProto &info = *graph->add_input();
    describeType(info, names[argument], type.getElementType());
    need(opsetOf(type.getElementType()));
    auto &shape = *info.mutable_type()->mutable_tensor_type()->mutable_shape();
    for (auto [axis, extent] : llvm::enumerate(type.getShape())) {
      auto &dim = *shape.add_dim();
      if (!ShapedType::isDynamic(extent))
        dim.set_dim_value(extent);
      else if (auto text = dims && axis < dims.size() ? dyn_cast<StringAttr>(dims[axis]) : StringAttr())
        dim.set_dim_param(text.str());
    }
  }
}

/// Gives each node's inputs and outputs their new names, also in graphs of nodes.
static void rename(onnx::GraphProto &graph, const llvm::StringMap<Name> &renamed) {
  auto change = [&](std::string &name) {
    if (auto it = renamed.find(name); it != renamed.end())
      name = it->second;
  };
  for (onnx::NodeProto &node : *graph.mutable_node()) {
    for (std::string &name : *node.mutable_input())
      change(name);
    for (std::string &name : *node.mutable_output())
      change(name);
    for (onnx::AttributeProto &attribute : *node.mutable_attribute())
      if (attribute.has_g())
        rename(*attribute.mutable_g(), renamed);
  }
}

LogicalResult Emitter::emitOutputs() {
  Operation *terminator = main.getBody().front().getTerminator();
  llvm::StringSet<> computed;
  for (const onnx::NodeProto &node : graph->node())
    for (const std::string &name : node.output())
      computed.insert(name);
  llvm::StringMap<Name> renamed;
  base = "output";
  for (auto [i, value] : llvm::enumerate(terminator->getOperands())) {
    auto attribute = main.getResultAttrOfType<StringAttr>(static_cast<unsigned>(i), LatheDialect::kNameAttr);
    Name wanted = attribute ? attribute.str() : uniqueValue("output"), own = of(value);
    if (computed.contains(own) && !renamed.contains(own)) {
      renamed[own] = wanted;
    } else {
      onnx::NodeProto &copy = nodeOf("Identity", {own}, 0);
      copy.add_output(wanted);
    }
    onnx::ValueInfoProto &info = *graph->add_output();
    describeType(info, wanted, element(value));
    std::optional<SymShape> shape = shapeOf(value);
    auto type = cast<RankedTensorType>(value.getType());
    auto &dims = *info.mutable_type()->mutable_tensor_type()->mutable_shape();
    for (int64_t axis = 0; axis < type.getRank(); ++axis) {
      constexpr size_t kLongest = 8; // what is longer says nothing to a reader
      auto &dim = *dims.add_dim();
      SymExpr expr = shape ? (*shape)[axis] : SymExpr();
      if (!type.isDynamicDim(axis))
        dim.set_dim_value(type.getDimSize(axis));
      else if (shape && expr.constant())
        dim.set_dim_value(*expr.constant());
      else if (shape && !expr.dependsOnData() && expr.size() <= kLongest && SymExpr::parse(expr.str()))
        dim.set_dim_param(expr.str());
    }
  }
  rename(*graph, renamed);
  nameNodes();
  return success();
}

//===----------------------------------------------------------------------===//
// What nothing reads
//===----------------------------------------------------------------------===//

static void collectTaken(const onnx::NodeProto &node, llvm::StringSet<> &taken) {
  for (const std::string &name : node.input())
    taken.insert(name);
  for (const onnx::AttributeProto &attribute : node.attribute())
    if (attribute.has_g())
      for (const onnx::NodeProto &inner : attribute.g().node())
        collectTaken(inner, taken);
}

/// Drops nodes from the last to the first, so that what only they read goes, too.
static void removeUnusedNodes(onnx::GraphProto &graph) {
  llvm::StringSet<> taken;
  for (const onnx::ValueInfoProto &output : graph.output())
    taken.insert(output.name());
  std::vector<bool> kept(graph.node_size());
  for (int i = graph.node_size(); i-- > 0;) {
    onnx::NodeProto &node = *graph.mutable_node(i);
    kept[i] = llvm::any_of(node.output(), [&](const std::string &name) { return taken.contains(name); });
    if (!kept[i])
      continue;
    for (onnx::AttributeProto &attribute : *node.mutable_attribute())
      if (attribute.has_g())
        removeUnusedNodes(*attribute.mutable_g());
    collectTaken(node, taken);
  }
  int to = 0;
  for (int i = 0; i < graph.node_size(); ++i)
    if (kept[i])
      graph.mutable_node()->SwapElements(to++, i);
  graph.mutable_node()->DeleteSubrange(to, graph.node_size() - to);
}

void Emitter::removeUnused() {
  removeUnusedNodes(*graph);
  llvm::StringSet<> taken;
  for (const onnx::NodeProto &node : graph->node())
    collectTaken(node, taken);
  std::vector<Initializer> kept;
  int to = 0;
  for (int i = 0; i < graph->initializer_size(); ++i)
    if (taken.contains(graph->initializer(i).name())) {
      kept.push_back(initializers[i]);
      graph->mutable_initializer()->SwapElements(to++, i);
    }
  graph->mutable_initializer()->DeleteSubrange(to, graph->initializer_size() - to);
  initializers = std::move(kept);
  for (const auto *values : {&graph->input(), &graph->output()})
    for (const onnx::ValueInfoProto &value : *values)
      taken.insert(value.name());
  llvm::StringMap<Name> renamed;
  for (const auto &[name, wanted] : wantedNames)
    if (taken.contains(name) && !taken.contains(wanted) && taken.insert(wanted).second)
      renamed[name] = wanted;
  rename(*graph, renamed);
  for (Initializer &initializer : initializers)
    if (auto it = renamed.find(initializer.tensor->name()); it != renamed.end())
      initializer.tensor->set_name(it->second);
}

LogicalResult Emitter::run() {
  main = module.lookupSymbol<func::FuncOp>("main");
  if (!main || !main.getBody().hasOneBlock()) {
    error = "expects a function 'main' of one block";
    return failure();
  }
  std::string name = locationName(module.getLoc());
  graph->set_name(name.empty() ? "main" : name);
  for (unsigned i = 0; i < main.getNumResults(); ++i)
    if (auto attribute = main.getResultAttrOfType<StringAttr>(i, LatheDialect::kNameAttr))
      usedValues.insert(attribute.getValue());
  emitInputs();
  if (failed(emitBlock(main.getBody().front())) || failed(emitOutputs()))
    return failure();
  removeUnused();
  onnx::OperatorSetIdProto &opset = *model.add_opset_import();
  opset.set_domain("");
  opset.set_version(needed);
  // The format's versions came with operator sets.
  model.set_ir_version(needed >= 25 ? 13 : needed == 24 ? 12 : needed == 23 ? 11 : needed >= 21 ? 10 : needed >= 19 ? 9 : 8);
  model.set_producer_name("lathe");
  return success();
}

} // namespace lathe::frontend
