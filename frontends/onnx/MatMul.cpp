//===- MatMul.cpp - Importers of matrix products --------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Node.h"

using namespace mlir;

namespace lathe::frontend {

Value matrixProduct(Node &node, Value a, Value b) {
  if (!a || !b)
    return {};
  int64_t ra = Node::rank(a), rb = Node::rank(b);
  if (ra == 0 || rb == 0) {
    (void)node.invalid("expects operands of rank 1 or more, got ranks " + Twine(ra) + " and " + Twine(rb));
    return {};
  }
  // A vector is a row on the left and a column on the right, and its axis is not part of the result.
  if (ra == 1)
    a = node.reshape(a, {node.index(1), node.dim(a, 0)});
  if (rb == 1)
    b = node.reshape(b, {node.dim(b, 0), node.index(1)});
  if (!a || !b)
    return {};
  Value product = node.make<MatmulOp>(Node::element(a), a, b);
  if (!product || (ra > 1 && rb > 1))
    return product;
  SmallVector<Value> dims;
  int64_t rank = Node::rank(product);
  for (int64_t i = 0; i < rank; ++i)
    if (!(ra == 1 && i == rank - 2) && !(rb == 1 && i == rank - 1))
      dims.push_back(node.dim(product, i));
  return node.reshape(product, dims);
}

static LogicalResult importMatMul(Node &node) {
  return node.result(matrixProduct(node, node.input(0), node.input(1)));
}

static LogicalResult importGemm(Node &node) {
  Value a = node.input(0), b = node.input(1), c = node.input(2);
  Type type = Node::element(a);
  if (Node::rank(a) != 2 || Node::rank(b) != 2)
    return node.invalid("expects matrices, got ranks " + Twine(Node::rank(a)) + " and " + Twine(Node::rank(b)));
  if (c && Node::rank(c) > 2)
    return node.invalid("expects an addend of rank 2 at most, got rank " + Twine(Node::rank(c)));
  double alpha = node.floatAttr("alpha", 1), beta = node.floatAttr("beta", 1);
  if (!isa<FloatType>(type) && (alpha != 1 || beta != 1))
    return node.unsupported("alpha and beta other than 1 on integers are not supported");
  auto scaled = [&](Value value, double factor) {
    return factor == 1 ? value : node.make<MulOp>(type, value, node.scalar(type, factor));
  };
  bool transA = node.intAttr("transA", 0), transB = node.intAttr("transB", 0);
  Value product = scaled(node.make<MatmulOp>(type, a, b, transA, transB), alpha);
  if (!product || !c || beta == 0)
    return node.result(product);
  Value sum = node.make<AddOp>(type, product, scaled(c, beta));
  if (sum && Node::type(sum) != Node::type(product))
    return node.invalid("expects an addend that broadcasts to the product");
  return node.result(sum);
}

ArrayRef<Operator> matmulOperators() {
  static constexpr Operator table[] = {
      {"MatMul", 13, 2, 2, 1, "", importMatMul},
      {"Gemm", 13, 2, 3, 1, "alpha:f beta:f transA:i transB:i", importGemm},
  };
  return table;
}

} // namespace lathe::frontend
