//===- Loops.cpp - Loops in what operators import as ----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Loops.h"

using namespace mlir;

namespace lathe::frontend {

/// Whether a dimension is a symbol that another one does not mention: the run tells whether they are equal. What begins
/// as nothing or as one element grows, and is no such extent.
static bool mayEqual(const SymExpr &symbol, const SymExpr &other) {
  std::optional<StringRef> name = symbol.symbolName();
  std::optional<int64_t> constant = other.constant();
  SmallVector<std::string> mentioned;
  other.collectSymbols(mentioned);
  return name && (!constant || *constant > 1) && !llvm::is_contained(mentioned, *name);
}

/// Different functions of dimensions: equal for some extents at most, while nothing is said of extents that depend on
/// data.
static bool isOtherDimension(const SymExpr &a, const SymExpr &b) {
  SymExpr difference = a - b;
  bool plain = llvm::all_of(difference.getTerms(), [](const auto &term) {
    return llvm::all_of(term.first.atoms, [](const SymAtomRef &atom) {
      return atom->op == SymOp::symbol && !SymExpr::isInputElement(atom->name);
    });
  });
  return plain && !difference.isConstant(0) && !mayEqual(a, b) && !mayEqual(b, a);
}

/// Records what is wrong with a state after an iteration.
static bool keepsType(Node &node, Value before, Value after, size_t number) {
  if (Node::element(before) != Node::element(after)) {
    (void)node.invalid("expects a state that keeps its type, got another one for state " + Twine(number));
    return false;
  }
  FailureOr<SymShape> a = node.context.shapeOf(before), b = node.context.shapeOf(after);
  if (failed(a) || failed(b))
    return false;
  bool same = a->size() == b->size();
  for (size_t i = 0; same && i < a->size(); ++i)
    same = !isOtherDimension((*b)[i], (*a)[i]);
  if (!same)
    (void)node.unsupported(
        "a state of a loop whose shape changes from one iteration to the next is not supported: state " +
            Twine(number) + " has " + str(*a) + " and then " + str(*b),
        "give the state its largest shape and write into it, or run the loop outside of the model");
  return same;
}

LogicalResult inferType(Node &node, Value result) {
  FailureOr<SymShape> shape = node.context.shapeOf(result);
  if (succeeded(shape))
    result.setType(RankedTensorType::get(staticDims(*shape), Node::element(result)));
  return shape;
}

std::optional<LoopResults> makeLoop(Node &node, Value limit, Value condition, ArrayRef<Value> init, LoopBody body) {
  OpBuilder &b = node.builder;
  if (!limit || !condition || llvm::is_contained(init, Value()))
    return std::nullopt;
  // The body goes into an operation without its results first, whose types follow from it.
  SmallVector<Type> types{b.getIndexType()};
  auto draft = b.create<LoopOp>(node.loc, TypeRange(types), limit, condition, init);
  for (Value value : init)
    types.push_back(value.getType());
  {
    OpBuilder::InsertionGuard guard(b);
    RegionScope scope(node.context, draft.getBody());
    Block *block = b.createBlock(&draft.getBody(), {}, types, SmallVector<Location>(types.size(), node.loc));
    SmallVector<Value> states(block->getArguments().drop_front());
    std::optional<LoopStep> step = body(block->getArgument(0), states);
    if (!step || !step->condition || llvm::is_contained(step->state, Value()) ||
        llvm::is_contained(step->scanned, Value()))
      return std::nullopt;
    for (auto [i, before, after] : llvm::enumerate(states, step->state))
      if (!keepsType(node, before, after, i))
        return std::nullopt;
    SmallVector<Value> yielded{step->condition};
    llvm::append_range(yielded, step->state);
    for (Value value : step->scanned) {
      yielded.push_back(value);
      SmallVector<int64_t> shape(Node::type(value).getShape());
      shape.insert(shape.begin(), ShapedType::kDynamic);
      types.push_back(RankedTensorType::get(shape, Node::element(value)));
    }
    b.create<YieldOp>(node.loc, yielded);
  }
  auto loop = b.create<LoopOp>(node.loc, TypeRange(types), limit, condition, init);
  loop.getBody().takeBody(draft.getBody());
  draft->erase();
  LoopResults results;
  for (auto [i, result] : llvm::enumerate(loop.getTensors())) {
    if (failed(inferType(node, result)))
      return std::nullopt;
    (i < init.size() ? results.state : results.scanned).push_back(result);
  }
  // Fewer iterations may have been run than there could be.
  if (!results.scanned.empty() &&
      (Node::constantIndex(condition) != 1 || Node::constantIndex(loop.getNextCondition()) != 1))
    for (Value &value : results.scanned)
      if (!(value = node.slice(value, 0, node.index(0), loop.getCount())))
        return std::nullopt;
  return results;
}

Value entryAt(Node &node, Value tensor, Value number, int64_t axis) {
  Compose c(node);
  if (!number || !Node::constantIndex(number))
    return number ? c.gather(tensor, c.fromIndex(number), axis) : Value();
  int64_t place = *Node::constantIndex(number);
  SmallVector<Value> dims = node.dims(tensor);
  dims.erase(dims.begin() + axis);
  return node.reshape(c.slice(tensor, axis, place, place + 1), dims);
}

bool isShortLoop(int64_t iterations, int64_t size) {
  constexpr int64_t kMostOperations = 512;
  return iterations <= kMostOperations / std::max<int64_t>(size, 1);
}

std::optional<LoopResults> forEach(Node &node, Value length, ArrayRef<Value> init, int64_t size, LoopBody body) {
  std::optional<int64_t> count = Node::constantIndex(length);
  // What is gathered of no iterations has a shape that only the body tells.
  if (!count || *count < 1 || !isShortLoop(*count, size))
    return makeLoop(node, length, node.index(1), init, body);
  LoopResults results;
  results.state.append(init.begin(), init.end());
  SmallVector<SmallVector<Value>> scanned;
  Compose c(node);
  for (int64_t i = 0; i < *count; ++i) {
    std::optional<LoopStep> step = body(node.index(i), results.state);
    if (!step || llvm::is_contained(step->state, Value()))
      return std::nullopt;
    results.state = step->state;
    scanned.resize(step->scanned.size());
    for (auto [values, value] : llvm::zip_equal(scanned, step->scanned))
      values.push_back(c.unsqueeze(value, {0}));
  }
  for (ArrayRef<Value> values : scanned) {
    results.scanned.push_back(c.concat(values, 0));
    if (!results.scanned.back())
      return std::nullopt;
  }
  return results;
}

} // namespace lathe::frontend
