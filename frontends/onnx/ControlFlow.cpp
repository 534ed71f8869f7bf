//===- ControlFlow.cpp - Importers of branches and loops ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// A branch whose condition is known is chosen when it is imported, and a short loop is written out.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Loops.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

using Values = SmallVector<Value>;

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

/// A boolean of one element as an index value.
Value truthIndex(Node &node, Value value) {
  std::optional<SmallVector<Value>> index = node.indices(node.reshape(value, {}), "conditions");
  return index ? index->front() : Value();
}

bool isCondition(Node &node, Value value) {
  RankedTensorType type = Node::type(value);
  if (type.getElementType().isInteger(1) && type.hasStaticShape() && type.getNumElements() == 1)
    return true;
  (void)node.invalid("expects a condition of one boolean");
  return false;
}

/// Imports a branch into a region.
LogicalResult importBranch(Node &node, const onnx::GraphProto &graph, Region &region) {
  OpBuilder::InsertionGuard guard(node.builder);
  RegionScope scope(node.context, region);
  node.builder.createBlock(&region);
  std::optional<Values> results = node.importGraph(graph, {});
  if (results)
    node.builder.create<YieldOp>(node.loc, *results);
  return success(results.has_value());
}

/// The branch whose results have the ranks that the model declares, where those of the branches differ; nullopt where
/// none differs. 1 is that of a condition that holds.
FailureOr<std::optional<int>> branchOfDeclaredRanks(Node &node, IfOp draft) {
  std::optional<int> choice;
  for (auto [i, yes, no] : llvm::enumerate(draft.getThenRegion().front().getTerminator()->getOperands(),
                                           draft.getElseRegion().front().getTerminator()->getOperands())) {
    if (Node::rank(yes) == Node::rank(no))
      continue;
    std::optional<int64_t> declared = node.declaredRank(i);
    int own = declared == Node::rank(yes) ? 1 : 0;
    if ((declared != Node::rank(yes) && declared != Node::rank(no)) || (choice && *choice != own))
      return node.unsupported(
          "branches whose results have different ranks are supported where the condition is known when the "
          "model is compiled, or the model declares a rank; result " +
              Twine(i) + " has " + Twine(Node::rank(yes)) + " and " + Twine(Node::rank(no)),
          "export with a condition that is known, such as one fixed length, or reshape the results of both branches to "
          "one rank");
    choice = own;
  }
  return choice;
}

/// Takes one branch of an operation without results, whose condition the run tests, out of it. What is left is never
/// run, and goes away where known conditions are followed.
LogicalResult takeBranch(Node &node, IfOp draft, int choice) {
  Region &taken = choice ? draft.getThenRegion() : draft.getElseRegion();
  Region &left = choice ? draft.getElseRegion() : draft.getThenRegion();
  SymExpr isFalse = node.context.eq(node.context.indexValue(draft.getCondition()), 0);
  Values results(taken.front().getTerminator()->getOperands());
  OpBuilder::InsertionGuard guard(node.builder);
  node.builder.setInsertionPoint(draft);
  if (failed(node.require(
          choice ? SymExpr(1) - isFalse : isFalse,
          "the result of the other branch has another rank than the model declares, and can't be chosen", {})))
    return failure();
  for (Operation &op : llvm::make_early_inc_range(taken.front().without_terminator()))
    op.moveBefore(draft);
  for (Region *region : {&taken, &left})
    region->front().getTerminator()->setOperands({});
  draft.getConditionMutable().assign(node.index(choice));
  for (auto [i, result] : llvm::enumerate(results))
    if (failed(node.result(result, i)))
      return failure();
  return success();
}

LogicalResult importIf(Node &node) {
  const onnx::GraphProto *branches[2] = {graphAttribute(node, "else_branch"), graphAttribute(node, "then_branch")};
  Value condition = node.input(0);
  if (!branches[0] || !branches[1])
    return failure();
  if (!isCondition(node, condition))
    return failure();
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
  Value truth = truthIndex(node, condition);
  if (!truth)
    return failure();
  // The branches go into an operation without its results first, whose types follow from them.
  auto draft = node.builder.create<IfOp>(node.loc, TypeRange(), truth);
  std::vector<ShapeCheck> &checks = node.context.checks;
  size_t before = checks.size();
  if (failed(importBranch(node, *branches[1], draft.getThenRegion())))
    return failure();
  size_t between = checks.size();
  if (failed(importBranch(node, *branches[0], draft.getElseRegion())))
    return failure();
  FailureOr<std::optional<int>> choice = branchOfDeclaredRanks(node, draft);
  if (failed(choice))
    return failure();
  if (*choice) {
    // What is never run needs nothing.
    checks.erase(checks.begin() + (**choice ? between : before), **choice ? checks.end() : checks.begin() + between);
    return takeBranch(node, draft, **choice);
  }
  SmallVector<Type> types;
  for (auto [i, yes, no] : llvm::enumerate(draft.getThenRegion().front().getTerminator()->getOperands(),
                                           draft.getElseRegion().front().getTerminator()->getOperands())) {
    if (Node::element(yes) != Node::element(no))
      return node.unsupported("branches whose results have different types are not supported, as result " + Twine(i) +
                                  " has",
                              "cast the results of both branches to one type");
    types.push_back(
        RankedTensorType::get(SmallVector<int64_t>(Node::rank(yes), ShapedType::kDynamic), Node::element(yes)));
  }
  auto branch = node.builder.create<IfOp>(node.loc, TypeRange(types), truth);
  branch.getThenRegion().takeBody(draft.getThenRegion());
  branch.getElseRegion().takeBody(draft.getElseRegion());
  draft->erase();
  for (auto [i, result] : llvm::enumerate(branch.getResults())) {
    if (failed(inferType(node, result)) || failed(node.result(result, i)))
      return failure();
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Loops
//===----------------------------------------------------------------------===//

/// Outputs of a body: those of the states, and then at least none that are scanned.
bool checkCounts(Node &node, const onnx::GraphProto &body, size_t skip, size_t states) {
  auto outputs = static_cast<size_t>(body.output_size()), results = static_cast<size_t>(node.proto.output_size());
  if (outputs >= skip + states && outputs - skip == results)
    return true;
  (void)node.invalid("expects a body of " + Twine(skip + states) + " outputs or more, as many as the node and " +
                     Twine(skip) + ", got " + Twine(outputs) + " for " + Twine(results));
  return false;
}

/// Hands the results to the node; `scanned` one by one to `change` before.
LogicalResult loopResults(Node &node, const LoopResults &loop, llvm::function_ref<Value(size_t, Value)> change) {
  for (auto [i, value] : llvm::enumerate(loop.state))
    if (failed(node.result(value, i)))
      return failure();
  for (auto [i, value] : llvm::enumerate(loop.scanned))
    if (failed(node.result(change(i, value), loop.state.size() + i)))
      return failure();
  return success();
}

/// Imports an iteration of a body whose first output is the condition.
std::optional<LoopStep> importIteration(Node &node, const onnx::GraphProto &body, Value number, ArrayRef<Value> state) {
  Compose c(node);
  Values arguments{c.fromIndex(number), node.scalar(node.builder.getI1Type(), 1)};
  llvm::append_range(arguments, state);
  std::optional<Values> results = node.importGraph(body, arguments);
  if (!results || !isCondition(node, results->front()))
    return std::nullopt;
  LoopStep step;
  step.condition = truthIndex(node, results->front());
  step.state.assign(results->begin() + 1, results->begin() + 1 + state.size());
  step.scanned.assign(results->begin() + 1 + state.size(), results->end());
  return step;
}

LogicalResult importLoop(Node &node) {
  const onnx::GraphProto *body = graphAttribute(node, "body");
  Values init;
  for (size_t i = 2; i < node.numInputs(); ++i) {
    if (!node.input(i))
      return node.invalid("expects input " + Twine(i) + ", got none");
    init.push_back(node.input(i));
  }
  if (!body || !checkCounts(node, *body, 1, init.size()))
    return failure();
  bool scans = static_cast<size_t>(body->output_size()) > 1 + init.size();
  constexpr int64_t kUnbounded = int64_t(1) << 31;
  Value limit = node.index(INT64_MAX), condition = node.index(1);
  if (Value trips = node.input(0)) {
    std::optional<Values> elements = node.indices(trips, "numbers of iterations");
    if (!elements)
      return failure();
    if (elements->size() != 1)
      return node.invalid("expects one number of iterations, got " + Twine(elements->size()));
    limit = elements->front();
  }
  if (Value given = node.input(1))
    if (!isCondition(node, given) || !(condition = truthIndex(node, given)))
      return failure();
  std::optional<int64_t> trips = Node::constantIndex(limit);
  auto iteration = [&](Value number, ArrayRef<Value> state) { return importIteration(node, *body, number, state); };
  auto same = [](size_t, Value value) { return value; };

  // Written out, iterations may change the shapes of states, and each is folded with what is known of it.
  if (trips && (*trips >= kUnbounded || isShortLoop(*trips, body->node_size()))) {
    LoopResults loop{init, {}};
    SmallVector<Values> scanned(body->output_size() - 1 - init.size());
    std::optional<int64_t> running = Node::constantIndex(condition);
    Compose c(node);
    int64_t number = 0;
    for (; running.value_or(0) && number < *trips && isShortLoop(number + 1, body->node_size()); ++number) {
      std::optional<LoopStep> step = iteration(node.index(number), loop.state);
      if (!step)
        return failure();
      running = Node::constantIndex(step->condition);
      loop.state = step->state;
      for (auto [values, value] : llvm::zip_equal(scanned, step->scanned))
        values.push_back(c.unsqueeze(value, {0}));
    }
    // Else what was imported is not used.
    if ((running == 0 || number == *trips) && (number > 0 || !scans)) {
      for (ArrayRef<Value> values : scanned)
        loop.scanned.push_back(c.concat(values, 0));
      return loopResults(node, loop, same);
    }
  }
  if (scans && trips && *trips >= kUnbounded)
    return node.unsupported("outputs of all iterations are supported of loops whose number of iterations is given",
                            "give the loop its largest number of iterations");
  std::optional<LoopResults> loop = makeLoop(node, limit, condition, init, iteration);
  return loop ? loopResults(node, *loop, same) : failure();
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
  ArrayRef<Value> init = ArrayRef(node.inputs).drop_back(count), scanInputs = ArrayRef(node.inputs).take_back(count);
  if (llvm::is_contained(node.inputs, Value()))
    return node.invalid("expects every input to be given");
  if (!checkCounts(node, *body, 0, init.size()))
    return failure();
  SmallVector<int64_t> axes;
  for (auto [i, input] : llvm::enumerate(scanInputs)) {
    std::optional<int64_t> axis = node.axis(entryOf(node, "scan_input_axes", i), Node::rank(input));
    if (!axis)
      return failure();
    axes.push_back(*axis);
    int64_t first = Node::type(scanInputs[0]).getDimSize(axes[0]), extent = Node::type(input).getDimSize(*axis);
    if (!ShapedType::isDynamic(first) && !ShapedType::isDynamic(extent) && first != extent)
      return node.invalid("expects scanned inputs of one length, got " + Twine(first) + " and " + Twine(extent));
  }
  Compose c(node);
  Value length = node.dim(scanInputs[0], axes[0]);
  auto iteration = [&](Value number, ArrayRef<Value> state) -> std::optional<LoopStep> {
    Values arguments(state);
    for (auto [i, input] : llvm::enumerate(scanInputs)) {
      bool backwards = entryOf(node, "scan_input_directions", i) != 0;
      Value place = backwards ? c.subIndex(c.subIndex(length, node.index(1)), number) : number;
      arguments.push_back(entryAt(node, input, place, axes[i]));
    }
    if (llvm::is_contained(arguments, Value()))
      return std::nullopt;
    std::optional<Values> results = node.importGraph(*body, arguments);
    if (!results)
      return std::nullopt;
    return LoopStep{node.index(1), Values(ArrayRef(*results).take_front(state.size())),
                    Values(ArrayRef(*results).drop_front(state.size()))};
  };
  std::optional<LoopResults> loop = forEach(node, length, init, body->node_size(), iteration);
  if (!loop)
    return failure();
  return loopResults(node, *loop, [&](size_t i, Value value) -> Value {
    if (value && entryOf(node, "scan_output_directions", i))
      value = c.slice(value, 0, -1, INT64_MIN, -1);
    std::optional<int64_t> axis =
        value ? node.axis(entryOf(node, "scan_output_axes", i), Node::rank(value)) : std::nullopt;
    if (!axis)
      return {};
    SmallVector<int64_t> order;
    for (int64_t from = 1; from < Node::rank(value); ++from)
      order.push_back(from);
    order.insert(order.begin() + *axis, 0);
    return c.transpose(value, order);
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
