//===- Products.cpp - Products, reductions and norms as nodes -------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/export/Compute.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

namespace lathe::frontend {

Name Emitter::reduce(Reduction kind, const Name &value, ArrayRef<int64_t> axes, bool keepDims) {
  static constexpr llvm::StringLiteral names[] = {"ReduceSum",  "ReduceMean", "ReduceMax", "ReduceMin",
                                                  "ReduceProd", "ReduceL1",   "ReduceL2",  "ReduceSumSquare"};
  if (axes.empty()) // which nodes take for all of them
    return kind == Reduction::sum_square                        ? binary("Mul", value, value)
           : kind == Reduction::l1 || kind == Reduction::l2 ? node("Abs", {value})
                                                                : value;
  return node(names[static_cast<unsigned>(kind)], {value, ints(axes)}, {{"keepdims", int64_t(keepDims)}});
}

namespace {

LogicalResult emitMatmul(Emitter &e, MatmulOp op) {
  Type type = Emitter::element(op.getResult()), wide = computedType(type, /*wraps=*/true);
  auto side = [&](Value value, bool transposed) {
    Name name = e.of(value);
    if (transposed)
      name = e.swapLast(name, Emitter::rank(value));
    return e.cast(name, type, wide);
  };
  Name product = e.node("MatMul", {side(op.getLhs(), op.getTransposeLhs()), side(op.getRhs(), op.getTransposeRhs())});
  e.define(op.getResult(), e.cast(product, wide, type));
  return success();
}

LogicalResult emitReduce(Emitter &e, ReduceOp op) {
  Type type = Emitter::element(op.getResult());
  bool isOrder = op.getKind() == Reduction::max || op.getKind() == Reduction::min;
  Type wide = computedType(type, /*wraps=*/!isOrder);
  Name value = e.cast(e.of(op.getInput()), type, wide);
  e.define(op.getResult(), e.cast(e.reduce(op.getKind(), value, op.getAxes(), op.getKeepDims()), wide, type));
  return success();
}

/// The type that norms are computed in.
Type normType(Type type) { return type.getIntOrFloatBitWidth() < 32 ? Type(Float32Type::get(type.getContext())) : type; }

Ints lastAxes(int64_t first, int64_t rank) { return llvm::to_vector(llvm::seq<int64_t>(first, rank)); }

/// Whether the value has just the axes that a norm is over.
bool hasNormShape(Emitter &e, Value value, Value input, int64_t axis) {
  std::optional<SymShape> own = e.shapeOf(value), whole = e.shapeOf(input);
  return own && whole && ArrayRef(*own) == ArrayRef(*whole).drop_front(axis);
}

LogicalResult emitLayerNorm(Emitter &e, LayerNormOp op) {
  Type type = Emitter::element(op.getResult());
  auto axis = static_cast<int64_t>(op.getAxis());
  double epsilon = op.getEpsilon().convertToDouble();
  if (hasNormShape(e, op.getScale(), op.getInput(), axis) && (!op.getBias() || hasNormShape(e, op.getBias(), op.getInput(), axis)) &&
      !type.isBF16()) {
    Names inputs{e.of(op.getInput()), e.of(op.getScale())};
    if (op.getBias())
      inputs.push_back(e.of(op.getBias()));
    e.define(op.getResult(), e.node("LayerNormalization", inputs, {{"axis", axis}, {"epsilon", epsilon}}));
    return success();
  }
  Type wide = normType(type);
  auto in = [&](Value value) { return e.cast(e.of(value), type, wide); };
  Ints axes = lastAxes(axis, Emitter::rank(op.getInput()));
  Name x = in(op.getInput()), centered = e.binary("Sub", x, e.reduce(Reduction::mean, x, axes, true));
  Name variance = e.reduce(Reduction::mean, e.binary("Mul", centered, centered), axes, true);
  Name deviation = e.node("Sqrt", {e.binary("Add", variance, e.number(wide, epsilon))});
  Name result = e.binary("Mul", e.binary("Div", centered, deviation), in(op.getScale()));
  if (op.getBias())
    result = e.binary("Add", result, in(op.getBias()));
  e.define(op.getResult(), e.cast(result, wide, type));
  return success();
}

/// Written out: few runtimes have the operator, and those that don't know the form.
LogicalResult emitRmsNorm(Emitter &e, RmsNormOp op) {
  Type type = Emitter::element(op.getResult()), wide = normType(type);
  Name x = e.cast(e.of(op.getInput()), type, wide);
  Ints axes = lastAxes(static_cast<int64_t>(op.getAxis()), Emitter::rank(op.getInput()));
  Name mean = e.reduce(Reduction::mean, e.binary("Mul", x, x), axes, true);
  Name root = e.node("Sqrt", {e.binary("Add", mean, e.number(wide, op.getEpsilon().convertToDouble()))});
  Name result = e.binary("Mul", e.binary("Div", x, root), e.cast(e.of(op.getScale()), type, wide));
  e.define(op.getResult(), e.cast(result, wide, type));
  return success();
}

LogicalResult emitTopK(Emitter &e, TopKOp op) {
  Type type = Emitter::element(op.getInput()), wide = computedType(type, /*wraps=*/false);
  Name x = e.cast(e.of(op.getInput()), type, wide);
  onnx::NodeProto &node = e.nodeOf("TopK", {x, e.index(op.getK())}, 2,
                                   {{"axis", static_cast<int64_t>(op.getAxis())}, {"largest", int64_t(!op.getSmallest())}});
  Name places = node.output(1);
  e.define(op.getResult(), e.cast(places, e.builder().getI64Type(), Emitter::element(op.getResult())));
  return success();
}

} // namespace

LogicalResult Emitter::emitProduct(Operation *op) {
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](MatmulOp matmul) { return emitConvolution(matmul) ? success() : emitMatmul(*this, matmul); })
      .Case([&](ReduceOp reduce) { return emitPool(reduce) ? success() : emitReduce(*this, reduce); })
      .Case([&](LayerNormOp norm) { return emitLayerNorm(*this, norm); })
      .Case([&](RmsNormOp norm) { return emitRmsNorm(*this, norm); })
      .Case([&](TopKOp topK) { return emitTopK(*this, topK); })
      .Case([&](SoftmaxOp softmax) {
        Type type = element(softmax.getResult()), wide = computedType(type, true);
        Name result = node("Softmax", {cast(of(softmax.getInput()), type, wide)}, {{"axis", static_cast<int64_t>(softmax.getAxis())}});
        define(softmax.getResult(), cast(result, wide, type));
        return success();
      })
      .Case([&](CumSumOp sum) {
        Type type = element(sum.getResult()), wide = computedType(type, true);
        Name result = node("CumSum", {cast(of(sum.getInput()), type, wide), integer(static_cast<int64_t>(sum.getAxis()))},
                           {{"exclusive", int64_t(sum.getExclusive())}, {"reverse", int64_t(sum.getReverse())}});
        define(sum.getResult(), cast(result, wide, type));
        return success();
      })
      .Default([&](Operation *) { return failure(); });
}

} // namespace lathe::frontend
