//===- ProductRows.cpp - How many rows products have ----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/ProductRows.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace lathe {

using compression::Layer;

/// The value of an operation of two or three numbers.
static std::optional<int64_t> evaluate(SymOp op, ArrayRef<int64_t> x) {
  switch (op) {
  case SymOp::product:
    return x[0] * x[1];
  case SymOp::floor_div:
    return x[1] == 0 ? std::nullopt : std::optional(llvm::divideFloorSigned(x[0], x[1]));
  case SymOp::mod:
    return x[1] == 0 ? std::nullopt : std::optional(x[0] - x[1] * llvm::divideFloorSigned(x[0], x[1]));
  case SymOp::min:
    return std::min(x[0], x[1]);
  case SymOp::max:
    return std::max(x[0], x[1]);
  case SymOp::wrap:
    return x[0] < 0 ? x[0] + x[1] : x[0];
  case SymOp::broadcast:
    return x[0] == 1 ? x[1] : x[0];
  case SymOp::eq:
    return x[0] == x[1];
  case SymOp::lt:
    return x[0] < x[1];
  case SymOp::select:
    return x[0] != 0 ? x[1] : x[2];
  case SymOp::symbol:
  case SymOp::value:
    break;
  }
  return std::nullopt;
}

std::optional<int64_t> evaluate(const SymExpr &expression, llvm::function_ref<int64_t(StringRef symbol)> valueOf) {
  int64_t sum = 0;
  for (const auto &[monomial, coefficient] : expression.getTerms()) {
    int64_t term = coefficient;
    for (const SymAtomRef &atom : monomial.atoms) {
      std::optional<int64_t> value;
      if (atom->op == SymOp::symbol) {
        value = valueOf(atom->name);
      } else if (atom->op != SymOp::value) {
        SmallVector<int64_t> arguments;
        for (const SymExpr &argument : atom->args)
          if (std::optional<int64_t> own = evaluate(argument, valueOf))
            arguments.push_back(*own);
        if (arguments.size() == atom->args.size())
          value = evaluate(atom->op, arguments);
      }
      if (!value || llvm::MulOverflow(term, *value, term))
        return std::nullopt;
    }
    if (llvm::AddOverflow(sum, term, sum))
      return std::nullopt;
  }
  return sum;
}

std::set<std::string> batchSymbols(ArrayRef<func::FuncOp> programs, ShapeContext &shapes) {
  std::set<std::string> names;
  for (func::FuncOp program : programs)
    for (BlockArgument argument : program.getArguments())
      if (auto type = dyn_cast<RankedTensorType>(argument.getType()); type && type.getRank() > 1)
        if (FailureOr<SymShape> shape = shapes.shapeOf(argument); succeeded(shape))
          if (std::optional<StringRef> name = shape->front().symbolName())
            names.insert(name->str());
  return names;
}

ProductRows::ProductRows(ArrayRef<func::FuncOp> programs, ArrayRef<Layer> layers, int64_t open)
    : batches(batchSymbols(programs, shapes)), open(open) {
  bool isMore = llvm::any_of(layers, [&](const Layer &layer) { return layer.isMatmul() && count(layer) > 1; });
  if (!isMore)
    batch = open;
}

int64_t ProductRows::of(const Layer &layer) { return std::max<int64_t>(count(layer), 1); }

int64_t ProductRows::count(const Layer &layer) {
  MatmulOp product = layer.products.front();
  FailureOr<SymShape> shape = shapes.shapeOf(product->getOperand(0));
  if (failed(shape))
    return open;
  SymExpr rows = 1;
  for (const SymExpr &dim : ArrayRef<SymExpr>(*shape).drop_back())
    rows = rows * dim;
  std::optional<int64_t> value =
      evaluate(rows, [&](StringRef name) { return batches.count(name.str()) ? batch : open; });
  return value ? *value : open;
}

} // namespace lathe
