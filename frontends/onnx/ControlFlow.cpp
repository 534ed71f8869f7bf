//===- ControlFlow.cpp - Importers of branches and loops ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// A program is one block: a branch is chosen when it is imported or both are computed, and loops are unrolled.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Compose.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

using Values = SmallVector<Value>;

/// Iterations that are unrolled; the importer bounds the nodes that they make, too.
constexpr int64_t kMostIterations = 4096;
/// Of a loop, whose first inputs may be left out, as those of an operator with any number of inputs may not.
constexpr int kMostInputs = 1 << 20;

/// A graph that an attribute must have; null after a failure.
const onnx::GraphProto *graphAttribute(Node &node, StringRef name) {
  const onnx::AttributeProto *attribute = node.attribute(name);
  if (!attribute)
    (void)node.invalid("expects an attribute '" + name + "'");
  return attribute ? &attribute->g() : nullptr;
}

/// A boolean of one element that is known; nullopt where it depends on data or symbols.
std::optional<bool> constantTruth(Node &node, Value value) {
  RankedTensorType type = Node::type(value);
  if (!isa<IntegerType>(type.getElementType()) || !type.hasStaticShape() || type.getNumElements() != 1)
    return std::nullopt;
  std::optional<SymExpr> element = node.context.element(value, 0);
  std::optional<int64_t> constant = element ? element->constant() : std::nullopt;
  return constant ? std::optional(*constant != 0) : std::nullopt;
}

//===----------------------------------------------------------------------===//
// If
//===----------------------------------------------------------------------===//

/// Reads elements at places that must be in range, which holds only where the branch is taken.
bool mayFail(Operation &op) {
  if (!isa<GatherOp, GatherElementsOp, GatherNDOp, ScatterElementsOp, ScatterNDOp>(op))
    return false;
  return !isa_and_nonnull<ConstantOp>(op.getOperand(1).getDefiningOp());
}

/// Imports a branch that is computed whether it is taken or not.
std::optional<Values> importSpeculatively(Node &node, const onnx::GraphProto &graph) {
  Block *block = node.builder.getInsertionBlock();
  Operation *before = block->empty() ? nullptr : &block->back();
  size_t checks = node.context.checks.size();
  std::optional<Values> results = node.importGraph(graph, {});
  if (!results)
    return std::nullopt;
  Operation *op = before ? before->getNextNode() : block->empty() ? nullptr : &block->front();
  bool fails = node.context.checks.size() != checks;
  for (; op; op = op->getNextNode())
    fails |= mayFail(*op);
  if (!fails)
    return results;
  (void)node.unsupported("a condition that is not a constant is supported where no branch can fail: these look elements up by "
                         "index, or ask for dimensions that fit");
  return std::nullopt;
}

LogicalResult importIf(Node &node) {
  const onnx::GraphProto *branches[2] = {graphAttribute(node, "else_branch"), graphAttribute(node, "then_branch")};
  Value condition = node.input(0);
  if (!branches[0] || !branches[1])
    return failure();
  if (!Node::element(condition).isInteger(1) || Node::type(condition).getNumDynamicDims() ||
      Node::type(condition).getNumElements() != 1)
    return node.invalid("expects a condition of one boolean");
  for (const onnx::GraphProto *branch : branches)
    if (branch->output_size() != node.proto.output_size())
      return node.invalid("expects branches of " + Twine(node.proto.output_size()) + " outputs, got " +
                          Twine(branch->output_size()));
  if (std::optional<bool> truth = constantTruth(node, condition)) {
    std::optional<Values> results = node.importGraph(*branches[*truth], {});
    if (results)
      llvm::copy(*results, node.results.begin());
    return success(results.has_value());
  }
  std::optional<Values> no = importSpeculatively(node, *branches[0]);
  std::optional<Values> yes = no ? importSpeculatively(node, *branches[1]) : std::nullopt;
  if (!yes)
    return failure();
  Compose c(node);
  condition = node.reshape(condition, {});
  for (size_t i = 0; i < yes->size(); ++i) {
    Value a = (*yes)[i], b = (*no)[i];
    if (Node::element(a) != Node::element(b))
      return node.unsupported("branches whose results have different types are not supported");
    FailureOr<SymShape> shapeA = node.context.shapeOf(a), shapeB = node.context.shapeOf(b);
    if (failed(shapeA) || failed(shapeB) || *shapeA != *shapeB)
      return node.unsupported("branches whose results have different shapes are supported where the condition is a constant; "
                              "result " +
                              Twine(i) + " has " + (succeeded(shapeA) ? str(*shapeA) : "an unknown shape") + " and " +
                              (succeeded(shapeB) ? str(*shapeB) : "an unknown shape"));
    if (failed(node.result(c.select(condition, a, b), i)))
      return failure();
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Loops
//===----------------------------------------------------------------------===//

/// The values of all iterations along a new axis. `like` gives type and shape where there are none.
Value stacked(Compose &c, ArrayRef<Value> values, Value like, int64_t axis) {
  Node &node = c.node;
  if (values.empty()) {
    Values dims = node.dims(like);
    dims.insert(dims.begin() + axis, node.index(0));
    return node.broadcast(node.scalar(Node::element(like), 0), dims);
  }
  Values parts;
  for (Value value : values)
    parts.push_back(c.unsqueeze(value, {axis}));
  return c.concat(parts, axis);
}

/// State of a loop that is unrolled.
struct Unrolled {
  Values state;
  SmallVector<Values> scanned; ///< by output
  Values like;                 ///< one of each, for their shapes
};

LogicalResult loopResults(Node &node, const Unrolled &loop, function_ref<std::optional<int64_t>(size_t)> axisOf) {
  Compose c(node);
  for (auto [i, value] : llvm::enumerate(loop.state))
    if (failed(node.result(value, i)))
      return failure();
  for (auto [i, values] : llvm::enumerate(loop.scanned)) {
    std::optional<int64_t> axis = axisOf(i);
    if (!axis || failed(node.result(stacked(c, values, loop.like[i], *axis), loop.state.size() + i)))
      return failure();
  }
  return success();
}

/// One iteration: all of the body's results, of which the first `skip` are neither state nor scanned.
std::optional<Values> iterate(Node &node, const onnx::GraphProto &body, ArrayRef<Value> arguments, Unrolled &loop,
                              size_t skip) {
  std::optional<Values> results = node.importGraph(body, arguments);
  if (!results)
    return std::nullopt;
  size_t states = loop.state.size();
  for (size_t i = 0; i < states; ++i)
    if (Node::element((*results)[skip + i]) != Node::element(loop.state[i])) {
      (void)node.invalid("expects a state that keeps its type, got another one for state " + Twine(i));
      return std::nullopt;
    }
  loop.like.assign(results->begin() + skip + states, results->end());
  return results;
}

void take(Unrolled &loop, ArrayRef<Value> results, size_t skip) {
  size_t states = loop.state.size();
  loop.state.assign(results.begin() + skip, results.begin() + skip + states);
  for (auto [i, values] : llvm::enumerate(loop.scanned))
    values.push_back(results[skip + states + i]);
}

/// Outputs of a body: those of the states, and then at least none that are scanned.
bool checkCounts(Node &node, const onnx::GraphProto &body, size_t skip, size_t states) {
  auto outputs = static_cast<size_t>(body.output_size()), results = static_cast<size_t>(node.proto.output_size());
  if (outputs >= skip + states && outputs - skip == results)
    return true;
  (void)node.invalid("expects a body of " + Twine(skip + states) + " outputs or more, as many as the node and " + Twine(skip) +
                     ", got " + Twine(outputs) + " for " + Twine(results));
  return false;
}

LogicalResult importLoop(Node &node) {
  const onnx::GraphProto *body = graphAttribute(node, "body");
  Unrolled loop;
  for (size_t i = 2; i < node.numInputs(); ++i) {
    if (!node.input(i))
      return node.invalid("expects input " + Twine(i) + ", got none");
    loop.state.push_back(node.input(i));
  }
  if (!body || !checkCounts(node, *body, 1, loop.state.size()))
    return failure();
  loop.scanned.resize(body->output_size() - 1 - loop.state.size());
  std::optional<int64_t> limit;
  if (Value trips = node.input(0)) {
    limit = node.constantInt(trips, "numbers of iterations");
    if (!limit)
      return failure();
  }
  std::optional<bool> running = true;
  if (Value condition = node.input(1))
    running = constantTruth(node, condition);
  Compose c(node);
  Type boolean = node.builder.getI1Type();
  auto once = [&](int64_t number) {
    Values arguments{c.integer(number), node.scalar(boolean, 1)};
    arguments.append(loop.state);
    return iterate(node, *body, arguments, loop, 1);
  };
  int64_t number = 0;
  for (; running.value_or(false) && (!limit || number < *limit); ++number) {
    if (number == kMostIterations)
      return node.unsupported("loops of more than " + Twine(kMostIterations) + " iterations are not supported");
    std::optional<Values> results = once(number);
    if (!results)
      return failure();
    take(loop, *results, 1);
    running = constantTruth(node, results->front());
  }
  // What is not known does not matter after the last iteration.
  if (!running && (!limit || number < *limit))
    return node.unsupported("loops are supported whose number of iterations does not depend on data");
  // Without iterations, the shapes of what would be scanned are those of a first one.
  if (number == 0 && !loop.scanned.empty() && !once(0))
    return failure();
  return loopResults(node, loop, [](size_t) { return std::optional<int64_t>(0); });
}

/// Entry `i` of an attribute that has one for each input or output, or is left out.
int64_t entryOf(Node &node, StringRef name, size_t i) {
  std::optional<SmallVector<int64_t>> entries = node.intsAttr(name);
  return entries && i < entries->size() ? (*entries)[i] : 0;
}

LogicalResult importScan(Node &node) {
  const onnx::GraphProto *body = graphAttribute(node, "body");
  int64_t given = static_cast<int64_t>(node.numInputs()), count = node.intAttr("num_scan_inputs", 0);
  if (!body)
    return failure();
  if (count < 1 || count > given)
    return node.invalid("expects num_scan_inputs from 1 to " + Twine(given) + ", got " + Twine(count));
  Unrolled loop;
  ArrayRef<Value> scanInputs = ArrayRef(node.inputs).drop_front(given - count);
  loop.state.append(node.inputs.begin(), node.inputs.begin() + (given - count));
  if (!checkCounts(node, *body, 0, loop.state.size()))
    return failure();
  loop.scanned.resize(body->output_size() - loop.state.size());
  SmallVector<int64_t> axes;
  int64_t length = 0;
  for (auto [i, input] : llvm::enumerate(scanInputs)) {
    std::optional<int64_t> axis = node.axis(entryOf(node, "scan_input_axes", i), Node::rank(input));
    if (!axis)
      return failure();
    int64_t extent = Node::type(input).getDimSize(*axis);
    if (ShapedType::isDynamic(extent))
      return node.unsupported("a scan over an axis that is not static is not supported");
    if (i > 0 && extent != length)
      return node.invalid("expects scanned inputs of one length, got " + Twine(length) + " and " + Twine(extent));
    length = extent;
    axes.push_back(*axis);
  }
  if (length > kMostIterations)
    return node.unsupported("scans of more than " + Twine(kMostIterations) + " iterations are not supported");
  Compose c(node);
  auto once = [&](int64_t number, bool isEmpty) {
    Values arguments(loop.state);
    for (auto [i, input] : llvm::enumerate(scanInputs)) {
      int64_t place = entryOf(node, "scan_input_directions", i) ? length - 1 - number : number;
      Values dims = node.dims(input);
      dims.erase(dims.begin() + axes[i]);
      arguments.push_back(isEmpty ? node.broadcast(node.scalar(Node::element(input), 0), dims)
                                  : node.reshape(c.slice(input, axes[i], place, place + 1), dims));
    }
    return llvm::is_contained(arguments, Value()) ? std::nullopt : iterate(node, *body, arguments, loop, 0);
  };
  for (int64_t number = 0; number < length; ++number) {
    std::optional<Values> results = once(number, false);
    if (!results)
      return failure();
    take(loop, *results, 0);
  }
  if (length == 0 && !loop.scanned.empty() && !once(0, /*isEmpty=*/true))
    return failure();
  for (auto [i, values] : llvm::enumerate(loop.scanned))
    if (entryOf(node, "scan_output_directions", i))
      std::reverse(values.begin(), values.end());
  return loopResults(node, loop, [&](size_t i) {
    return node.axis(entryOf(node, "scan_output_axes", i), Node::rank(loop.like[i]) + 1);
  });
}

} // namespace

ArrayRef<Operator> controlFlowOperators() {
  static constexpr Operator table[] = {
      {"If", 13, 1, 1, -1, "else_branch:g then_branch:g", importIf},
      {"Loop", 13, 0, kMostInputs, -1, "body:g", importLoop},
      {"Scan", 13, 1, -1, -1,
       "body:g num_scan_inputs:i scan_input_axes:I scan_input_directions:I scan_output_axes:I scan_output_directions:I",
       importScan},
  };
  return table;
}

} // namespace lathe::frontend
