//===- MatMul.cpp - Importers of matrix products --------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Compose.h"

using namespace mlir;

namespace lathe::frontend {

Value productOfAny(Compose &c, Value a, Value b, bool transposeA, bool transposeB) {
  Node &node = c.node;
  if (!a || !b)
    return {};
  int64_t ra = Node::rank(a), rb = Node::rank(b);
  if (ra == 0 || rb == 0)
    return Compose::none(
        node.invalid("expects operands of rank 1 or more, got ranks " + Twine(ra) + " and " + Twine(rb)));
  if (ra == 1)
    a = node.reshape(a, {node.index(1), node.dim(a, 0)});
  if (rb == 1)
    b = node.reshape(b, {node.dim(b, 0), node.index(1)});
  Value product = c.matmul(a, b, transposeA && ra > 1, transposeB && rb > 1);
  if (!product || (ra > 1 && rb > 1))
    return product;
  SmallVector<Value> dims;
  int64_t rank = Node::rank(product);
  for (int64_t i = 0; i < rank; ++i)
    if (!(ra == 1 && i == rank - 2) && !(rb == 1 && i == rank - 1))
      dims.push_back(node.dim(product, i));
  return node.reshape(product, dims);
}

Value matrixProduct(Node &node, Value a, Value b) {
  Compose c(node);
  return productOfAny(c, a, b);
}

static LogicalResult importMatMul(Node &node) {
  Compose c(node);
  return node.result(productOfAny(c, node.input(0), node.input(1)));
}

Value generalProduct(Compose &c) {
  Node &node = c.node;
  Value a = node.input(0), b = node.input(1), addend = node.input(2);
  Type type = Node::element(a);
  if (Node::rank(a) != 2 || Node::rank(b) != 2)
    return Compose::none(
        node.invalid("expects matrices, got ranks " + Twine(Node::rank(a)) + " and " + Twine(Node::rank(b))));
  if (addend && Node::rank(addend) > 2)
    return Compose::none(node.invalid("expects an addend of rank 2 at most, got rank " + Twine(Node::rank(addend))));
  double alpha = node.floatAttr("alpha", 1), beta = node.floatAttr("beta", 1);
  if (!isa<FloatType>(type) && (alpha != 1 || beta != 1))
    return Compose::none(node.unsupported("alpha and beta other than 1 on integers are not supported"));
  Value product = c.mul(c.matmul(a, b, node.intAttr("transA", 0), node.intAttr("transB", 0)), alpha);
  if (!product || !addend || beta == 0)
    return product;
  Value sum = c.add(product, c.mul(addend, beta));
  if (sum && Node::type(sum) != Node::type(product))
    return Compose::none(node.invalid("expects an addend that broadcasts to the product"));
  return sum;
}

static LogicalResult importGemm(Node &node) {
  Compose c(node);
  return node.result(generalProduct(c));
}

ArrayRef<Operator> matmulOperators() {
  static constexpr Operator table[] = {
      {"MatMul", 13, 2, 2, 1, "", importMatMul},
      {"Gemm", 13, 2, 3, 1, "alpha:f beta:f transA:i transB:i", importGemm},
  };
  return table;
}

} // namespace lathe::frontend
