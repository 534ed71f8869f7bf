//===- TensorView.cpp - Tensors read through strides ----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/TensorView.h"

using namespace mlir;

namespace lathe::cpu {

SmallVector<SymExpr, 5> denseStrides(ArrayRef<SymExpr> shape) {
  SmallVector<SymExpr, 5> strides(shape.size(), SymExpr(1));
  for (size_t axis = shape.size(); axis-- > 1;)
    strides[axis - 1] = strides[axis] * shape[axis];
  return strides;
}

namespace {

/// A number that is linear in an operand's indices.
struct Linear {
  explicit Linear(size_t rank) : factors(rank, SymExpr(0)) {}

  Linear operator*(const SymExpr &by) const {
    Linear result(factors.size());
    result.constant = constant * by;
    for (auto [to, from] : llvm::zip(result.factors, factors))
      to = from * by;
    return result;
  }
  Linear operator+(const Linear &other) const {
    Linear result(*this);
    result.constant = constant + other.constant;
    for (auto [to, from] : llvm::zip(result.factors, other.factors))
      to = to + from;
    return result;
  }

  SymExpr constant = 0;
  SmallVector<SymExpr, 5> factors;
};

/// One index a tensor's axis.
using Position = SmallVector<Linear, 5>;

/// The position in an operation's operand of what stands at a position in its result; none where that is not linear.
class Step {
public:
  Step(Operation *op, const SymShape &from, const SymShape &to, const Position &position, ShapeContext &shapes)
      : op(op), from(from), to(to), position(position), shapes(shapes) {}

  std::optional<Position> take() {
    if (auto transpose = dyn_cast<TransposeOp>(op)) {
      Position result(position);
      for (auto [axis, source] : llvm::enumerate(transpose.getPermutation()))
        result[source] = position[axis];
      return result;
    }
    if (auto slice = dyn_cast<SliceOp>(op))
      return through(slice);
    if (isa<BroadcastOp>(op))
      return throughBroadcast();
    return isa<ReshapeOp>(op) ? throughReshape() : std::nullopt;
  }

private:
  Linear zero() const { return Linear(position.empty() ? 0 : position.front().factors.size()); }

  std::optional<Position> through(SliceOp slice) {
    Position result(position);
    for (auto [i, axis] : llvm::enumerate(slice.getAxes())) {
      int64_t step = slice.getSteps()[i];
      SymExpr start = shapes.clampedIndex(shapes.indexValue(slice.getStarts()[i]), from[axis], 0, step < 0 ? -1 : 0);
      if (start.dependsOnData())
        return std::nullopt;
      result[axis] = position[axis] * SymExpr(step);
      result[axis].constant = result[axis].constant + start;
    }
    return result;
  }

  std::optional<Position> throughBroadcast() {
    Position result;
    for (size_t axis = 0; axis < from.size(); ++axis) {
      size_t own = axis + to.size() - from.size();
      if (from[axis] == to[own])
        result.push_back(position[own]);
      else if (from[axis].isConstant(1))
        result.push_back(zero());
      else
        return std::nullopt; // it is known when the model runs alone
    }
    return result;
  }

  /// Each axis of the operand is some axes of the result.
  std::optional<Position> throughReshape() {
    Position result;
    size_t next = 0;
    for (const SymExpr &extent : from) {
      Linear index = zero();
      SymExpr product(1);
      while (product != extent && next < to.size()) {
        index = index * to[next] + position[next];
        product = product * to[next++];
      }
      if (product != extent)
        return std::nullopt;
      result.push_back(index);
    }
    while (next < to.size() && to[next].isConstant(1))
      ++next;
    return next == to.size() ? std::optional(result) : std::nullopt;
  }

  Operation *op;
  const SymShape &from, &to;
  const Position &position;
  ShapeContext &shapes;
};

} // namespace

TensorView viewOperand(Value operand, Block &block, ShapeContext &shapes,
                       llvm::function_ref<bool(Operation *)> mayTake) {
  auto rank = static_cast<size_t>(cast<RankedTensorType>(operand.getType()).getRank());
  Position position(rank, Linear(rank));
  for (size_t axis = 0; axis < rank; ++axis)
    position[axis].factors[axis] = 1;
  TensorView view;
  view.tensor = operand;
  Position found = position;
  SmallVector<Operation *> passed;
  for (Value tensor = operand;;) {
    Operation *op = tensor.getDefiningOp();
    if (!op || op->getBlock() != &block || !tensor.hasOneUse() || op->getNumOperands() == 0 ||
        !isa<TransposeOp, SliceOp, BroadcastOp, ReshapeOp>(op) || !mayTake(op))
      break;
    FailureOr<SymShape> from = shapes.shapeOf(op->getOperand(0)), to = shapes.shapeOf(tensor);
    if (failed(from) || failed(to))
      break;
    std::optional<Position> next = Step(op, *from, *to, position, shapes).take();
    if (!next)
      break;
    position = std::move(*next);
    tensor = op->getOperand(0);
    passed.push_back(op);
    // A reshape costs nothing by itself.
    if (!isa<ReshapeOp>(op)) {
      view.ops.append(passed);
      passed.clear();
      view.tensor = tensor;
      found = position;
    }
  }
  FailureOr<SymShape> shape = shapes.shapeOf(view.tensor);
  SmallVector<SymExpr, 5> dense = denseStrides(succeeded(shape) ? *shape : SymShape(found.size(), SymExpr(1)));
  Linear address(rank);
  for (auto [index, stride] : llvm::zip(found, dense))
    address = address + index * stride;
  view.offset = address.constant;
  view.strides = address.factors;
  return view;
}

} // namespace lathe::cpu
