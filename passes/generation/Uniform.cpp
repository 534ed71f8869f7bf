//===- Uniform.cpp - Values all of whose elements are one number ----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/generation/Uniform.h"
#include "llvm/ADT/DenseMap.h"

using namespace mlir;

namespace lathe::generation {
namespace {

class Uniform {
public:
  explicit Uniform(Block &block) : b(block.getParentOp()->getContext()) {}

  /// A tensor of rank 0 of the number that all elements of the result are; null where they differ or nothing says so.
  Value of(Operation &op) {
    if (op.getNumResults() != 1 || op.getNumRegions() > 0 || !isa<RankedTensorType>(op.getResult(0).getType()))
      return {};
    if (auto constant = dyn_cast<ConstantOp>(op)) {
      auto dense = dyn_cast<DenseElementsAttr>(constant.getValue());
      auto type = cast<RankedTensorType>(op.getResult(0).getType());
      if (!dense || !dense.isSplat() || type.getNumElements() == 0)
        return {};
      if (type.getRank() == 0)
        return constant.getResult();
      auto scalar = RankedTensorType::get({}, type.getElementType());
      b.setInsertionPointAfter(&op);
      return b.create<ConstantOp>(op.getLoc(), scalar, dense.resizeSplat(scalar));
    }
    // What is looked up exists: a run checks the indices where they are used otherwise.
    if (isa<BroadcastOp, ReshapeOp, TransposeOp, SliceOp, GatherOp, GatherElementsOp, GatherNDOp>(op))
      return numbers.lookup(op.getOperand(0));
    if (isa<ConcatOp>(op)) {
      Value first = numbers.lookup(op.getOperand(0));
      return first && llvm::all_of(op.getOperands(), [&](Value input) { return isSame(numbers.lookup(input), first); }) ? first
                                                                                                                       : Value();
    }
    if (!op.hasTrait<OpTrait::BroadcastingElementwise>())
      return {};
    SmallVector<Value> operands;
    for (Value operand : op.getOperands()) {
      operands.push_back(numbers.lookup(operand));
      if (!operands.back())
        return {};
    }
    b.setInsertionPointAfter(&op);
    Operation *scalar = b.clone(op);
    scalar->setOperands(operands);
    scalar->getResult(0).setType(RankedTensorType::get({}, cast<RankedTensorType>(op.getResult(0).getType()).getElementType()));
    return scalar->getResult(0);
  }

  void visit(Operation &op) {
    Value number = of(op);
    if (!number)
      return;
    numbers[op.getResult(0)] = number;
    if (isa<ConstantOp, BroadcastOp>(op) || number == op.getResult(0))
      return;
    b.setInsertionPointAfter(number.getDefiningOp()->getBlock() == op.getBlock() && op.isBeforeInBlock(number.getDefiningOp())
                                 ? number.getDefiningOp()
                                 : &op);
    FailureOr<SymShape> shape = shapes.shapeOf(op.getResult(0));
    if (failed(shape) || llvm::any_of(*shape, [](const SymExpr &dim) { return dim.dependsOnData(); }))
      return;
    SmallVector<Value> dims;
    for (const SymExpr &dim : *shape)
      dims.push_back(materialize(b, op.getLoc(), dim));
    auto type = cast<RankedTensorType>(op.getResult(0).getType());
    if (type.getRank() == 0) {
      op.getResult(0).replaceAllUsesWith(number);
      return;
    }
    auto whole = createInferred<BroadcastOp>(b, op.getLoc(), shapes, type.getElementType(), number, dims);
    if (failed(whole) || whole->getType() != type)
      return;
    numbers[whole->getResult()] = number;
    op.getResult(0).replaceAllUsesWith(whole->getResult());
  }

private:
  static bool isSame(Value a, Value b) {
    if (a == b)
      return true;
    auto first = a ? a.getDefiningOp<ConstantOp>() : ConstantOp(), second = b ? b.getDefiningOp<ConstantOp>() : ConstantOp();
    return first && second && first.getValue() == second.getValue();
  }

  OpBuilder b;
  ShapeContext shapes;
  DenseMap<Value, Value> numbers;
};

std::optional<SymExpr> substituteAtom(const SymAtom &atom, const llvm::StringMap<SymExpr> &symbols, ShapeContext &context) {
  if (atom.op == SymOp::symbol) {
    auto it = symbols.find(atom.name);
    return it != symbols.end() ? it->second : SymExpr::symbol(atom.name);
  }
  if (atom.op == SymOp::value)
    return std::nullopt;
  SmallVector<SymExpr> args;
  for (const SymExpr &arg : atom.args) {
    std::optional<SymExpr> known = substitute(arg, symbols, context);
    if (!known)
      return std::nullopt;
    args.push_back(*known);
  }
  switch (atom.op) {
  case SymOp::product: {
    SymExpr result(1);
    for (const SymExpr &arg : args)
      result = result * arg;
    return result;
  }
  case SymOp::floor_div:
    return context.floorDiv(args[0], args[1]);
  case SymOp::mod:
    return context.mod(args[0], args[1]);
  case SymOp::min:
    return context.min(args[0], args[1]);
  case SymOp::max:
    return context.max(args[0], args[1]);
  case SymOp::wrap:
    return context.select(context.lt(args[0], 0), args[0] + args[1], args[0]);
  case SymOp::broadcast:
    return context.select(context.eq(args[0], 1), args[1], args[0]);
  case SymOp::eq:
    return context.eq(args[0], args[1]);
  case SymOp::lt:
    return context.lt(args[0], args[1]);
  case SymOp::select:
    return context.select(args[0], args[1], args[2]);
  case SymOp::symbol:
  case SymOp::value:
    break;
  }
  return std::nullopt;
}

} // namespace

void replaceUniform(Block &block) {
  Uniform uniform(block);
  SmallVector<Operation *> ops;
  for (Operation &op : block)
    ops.push_back(&op);
  for (Operation *op : ops)
    uniform.visit(*op);
}

std::optional<SymExpr> substitute(const SymExpr &expr, const llvm::StringMap<SymExpr> &symbols, ShapeContext &context) {
  SymExpr result;
  for (const auto &[monomial, factor] : expr.getTerms()) {
    SymExpr product(factor);
    for (const SymAtomRef &atom : monomial.atoms) {
      std::optional<SymExpr> known = substituteAtom(*atom, symbols, context);
      if (!known)
        return std::nullopt;
      product = product * *known;
    }
    result = result + product;
  }
  return result;
}

} // namespace lathe::generation
