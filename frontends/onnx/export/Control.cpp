//===- Control.cpp - Branches and loops as nodes --------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/export/Emitter.h"
#include "llvm/ADT/ScopeExit.h"

using namespace mlir;

namespace lathe::frontend {

/// Makes nodes go into the graph of an attribute for as long as it lives.
struct Regions {
  Regions(Emitter &emitter, onnx::GraphProto *inner)
      : e(emitter), graph(e.graph), unnamed(e.unnamed), known(e.known), base(e.base) {
    e.nameNodes();
    unnamed = e.unnamed;
    e.graph = inner;
    e.unnamed = 0;
  }
  ~Regions() {
    e.nameNodes();
    e.graph = graph;
    e.unnamed = unnamed;
    e.known = std::move(known);
    e.base = base;
  }
  /// A result of the graph, which must be one of its own nodes.
  void output(const Name &value, Type element) {
    onnx::ValueInfoProto &info = *e.graph->add_output();
    Name own = e.node("Identity", {value});
    e.describeType(info, own, element);
  }

  Emitter &e;
  onnx::GraphProto *graph;
  int unnamed;
  llvm::StringMap<Name> known;
  std::string base;
};

static onnx::GraphProto *addGraph(onnx::NodeProto &node, StringRef attribute, const std::string &name) {
  onnx::AttributeProto &proto = *node.add_attribute();
  proto.set_name(attribute.str());
  proto.set_type(onnx::AttributeProto::GRAPH);
  proto.mutable_g()->set_name(name);
  return proto.mutable_g();
}

LogicalResult Emitter::emitIf(IfOp op) {
  if (op.getNumResults() == 0)
    return success();
  Name condition = cast(index(op.getCondition()), builder().getI64Type(), builder().getI1Type());
  // Made apart: nodes of the graph may move while others are added.
  onnx::NodeProto branches;
  for (auto [attribute, region] : {std::pair{"then_branch", &op.getThenRegion()}, std::pair{"else_branch", &op.getElseRegion()}}) {
    Regions inside(*this, addGraph(branches, attribute, base + "/" + attribute));
    if (failed(emitBlock(region->front())))
      return failure();
    for (Value value : region->front().getTerminator()->getOperands())
      inside.output(of(value), element(value));
  }
  onnx::NodeProto &node = nodeOf("If", {condition}, op.getNumResults());
  node.mutable_attribute()->Swap(branches.mutable_attribute());
  for (auto [i, result] : llvm::enumerate(op.getResults()))
    define(result, node.output(static_cast<int>(i)));
  return success();
}

/// Gathered rows of the iterations that were run, with as many zeros behind them as could have been.
Name Emitter::padToLimit(LoopOp op, Value result, const Name &rows, const Name &count) {
  Name limit = binary("Max", index(op.getLimit()), ints({0}));
  Names pads{ints(Ints(rank(result), 0)), binary("Sub", limit, count)};
  if (rank(result) > 1)
    pads.push_back(ints(Ints(rank(result) - 1, 0)));
  return node("Pad", {rows, concat(pads, 0)});
}

LogicalResult Emitter::emitLoop(LoopOp op) {
  Type i64 = builder().getI64Type(), i1 = builder().getI1Type();
  Block &body = op.getBody().front();
  unsigned states = op.getNumStates(), scanned = op.getTensors().size() - states;
  bool allRun = constantIndex(op.getCondition()) == 1 && constantIndex(op.getNextCondition()) == 1;
  // Counted by a state of its own, since nodes don't tell. What is gathered has only the iterations that were run.
  bool counts = !op.getCount().use_empty() || (scanned > 0 && !allRun);
  Names inputs{scalarIndex(op.getLimit()), cast(scalarIndex(op.getCondition()), i64, i1)};
  for (Value value : op.getInit())
    inputs.push_back(of(value));
  if (counts)
    inputs.push_back(ints({0}));
  onnx::NodeProto loop;
  {
    Regions inside(*this, addGraph(loop, "body", base + "/body"));
    auto input = [&](Type type, std::optional<ArrayRef<int64_t>> shape) {
      Name name = uniqueValue(base + "/state");
      onnx::ValueInfoProto &info = *graph->add_input();
      describeType(info, name, type);
      if (shape)
        for (int64_t dim : (info.mutable_type()->mutable_tensor_type()->mutable_shape(), *shape))
          info.mutable_type()->mutable_tensor_type()->mutable_shape()->add_dim()->set_dim_value(dim);
      return name;
    };
    Name number = input(i64, ArrayRef<int64_t>());
    input(i1, ArrayRef<int64_t>());
    Name iteration = node("Reshape", {number, ints({1})});
    names[body.getArgument(0)] = iteration;
    for (unsigned i = 0; i < states; ++i)
      names[op.getState(i)] = input(element(op.getState(i)), std::nullopt);
    if (counts)
      input(i64, ArrayRef<int64_t>({1}));
    if (failed(emitBlock(body)))
      return failure();
    inside.output(cast(scalarIndex(op.getNextCondition()), i64, i1), i1);
    for (unsigned i = 0; i < states; ++i)
      inside.output(of(op.getYielded(i)), element(op.getYielded(i)));
    if (counts)
      inside.output(binary("Add", iteration, ints({1})), i64);
    for (unsigned i = states; i < states + scanned; ++i)
      inside.output(of(op.getYielded(i)), element(op.getYielded(i)));
  }
  onnx::NodeProto &node = nodeOf("Loop", inputs, states + counts + scanned);
  node.mutable_attribute()->Swap(loop.mutable_attribute());
  Names outputs(node.output().begin(), node.output().end());
  for (unsigned i = 0; i < states; ++i)
    define(op.getTensors()[i], outputs[i]);
  if (counts)
    define(op.getCount(), outputs[states]);
  for (unsigned i = 0; i < scanned; ++i) {
    Value result = op.getTensors()[states + i];
    Name value = outputs[states + counts + i];
    if (!allRun && !result.use_empty())
      value = padToLimit(op, result, value, outputs[states]);
    define(result, value);
  }
  return success();
}

} // namespace lathe::frontend
