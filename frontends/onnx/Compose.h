//===- Compose.h - Operators made of several operations ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_COMPOSE_H
#define LATHE_FRONTENDS_ONNX_COMPOSE_H

#include "frontends/onnx/Node.h"

namespace lathe::frontend {

/// Short names for the operations that composed operators are made of. As in Node, null operands give null results.
class Compose {
public:
  using Value = mlir::Value;
  using Values = llvm::SmallVector<mlir::Value>;
  using Ints = llvm::SmallVector<int64_t>;

  explicit Compose(Node &node) : node(node) {}

  /// A null value after a failure that was recorded.
  static Value none(mlir::LogicalResult) { return {}; }

  template <typename OpTy, typename... Args> Value unary(Value x, Args &&...args) {
    return x ? node.make<OpTy>(Node::element(x), x, std::forward<Args>(args)...) : Value();
  }
  template <typename OpTy> Value binary(Value a, Value b) {
    return a && b ? node.make<OpTy>(Node::element(a), a, b) : Value();
  }
  Value add(Value a, Value b) { return binary<AddOp>(a, b); }
  Value sub(Value a, Value b) { return binary<SubOp>(a, b); }
  Value mul(Value a, Value b) { return binary<MulOp>(a, b); }
  Value div(Value a, Value b) { return binary<DivOp>(a, b); }
  Value min(Value a, Value b) { return binary<MinOp>(a, b); }
  Value max(Value a, Value b) { return binary<MaxOp>(a, b); }
  Value logicalAnd(Value a, Value b) { return binary<AndOp>(a, b); }
  Value logicalNot(Value a) { return unary<NotOp>(a); }
  /// The second operand is a scalar of the first one's type.
  Value add(Value a, double b) { return a ? add(a, node.scalar(Node::element(a), b)) : Value(); }
  Value mul(Value a, double b) { return a && b != 1 ? mul(a, node.scalar(Node::element(a), b)) : a; }
  Value div(Value a, double b) { return a ? div(a, node.scalar(Node::element(a), b)) : Value(); }
  Value compare(Comparison predicate, Value a, Value b);
  Value compare(Comparison predicate, Value a, double b) {
    return a ? compare(predicate, a, node.scalar(Node::element(a), b)) : Value();
  }
  Value select(Value condition, Value yes, Value no) {
    return condition && yes && no ? node.make<SelectOp>(Node::element(yes), condition, yes, no) : Value();
  }
  /// Minus infinity, or the lowest integer.
  Value lowest(mlir::Type element);

  Value matmul(Value a, Value b, bool transposeA = false, bool transposeB = false) {
    return a && b ? node.make<MatmulOp>(Node::element(a), a, b, transposeA, transposeB) : Value();
  }
  Value transpose(Value x, llvm::ArrayRef<int64_t> permutation);
  Value swapLastTwo(Value x);
  Value concat(llvm::ArrayRef<Value> parts, int64_t axis);
  Value reduce(Reduction kind, Value x, llvm::ArrayRef<int64_t> axes, bool keepDims);
  Value softmax(Value x) { return x ? unary<SoftmaxOp>(x, Node::rank(x) - 1) : x; }
  Value gather(Value x, Value indices, int64_t axis) {
    return x && indices ? node.make<GatherOp>(Node::element(x), x, indices, axis) : Value();
  }
  Value slice(Value x, int64_t axis, int64_t start, int64_t end, int64_t step = 1);
  /// Adds axes of extent 1, at these places of the result.
  Value unsqueeze(Value x, llvm::ArrayRef<int64_t> axes);
  /// 0, 1, … below an index value, of 64 bits, along `axis` of a tensor of `rank`, whose other extents are 1.
  Value iota(Value count, int64_t axis = 0, int64_t rank = 1);
  /// A scalar of 64 bits.
  Value integer(int64_t value);
  /// An index value as a scalar tensor.
  Value fromIndex(Value index);
  Value addIndex(Value a, Value b);
  Value subIndex(Value a, Value b);
  /// An index value divided by a constant of at least 1.
  Value divideIndex(Value a, int64_t divisor);

  /// Extents that must be equal where both are static. Records what is wrong.
  bool sameExtent(Value a, int64_t axisA, Value b, int64_t axisB, llvm::StringRef what);
  /// Records what is wrong where the rank is another one.
  bool hasRank(Value x, llvm::ArrayRef<int64_t> ranks, llvm::StringRef what);
  /// The element types are equal and floats.
  bool areFloats(llvm::ArrayRef<Value> values);

  Node &node;
};

/// `x` rotated: its last axis in pairs of halves, or of neighbours where interleaved, of which the first `dim` elements
/// take part (0: all). `cos` and `sin` broadcast to half of `dim` along the last axis.
mlir::Value rotate(Compose &c, mlir::Value x, mlir::Value cos, mlir::Value sin, int64_t dim, bool interleaved);

/// [batch, sequence, heads * size] as [batch, heads, sequence, size].
mlir::Value splitHeads(Compose &c, mlir::Value x, int64_t heads);
/// Back from there.
mlir::Value mergeHeads(Compose &c, mlir::Value x);

/// The query times the attribute 'scale', or divided by the root of the head size where that is not given, or is 0 and
/// `zeroIsDefault`.
mlir::Value scaledQuery(Compose &c, mlir::Value q, bool zeroIsDefault = false);
/// Scores of grouped heads, [batch, heads, sequence, total]: `q` is [batch, heads, sequence, size], `k` is
/// [batch, key/value heads, total, size].
mlir::Value attentionScores(Compose &c, mlir::Value q, mlir::Value k);
/// Probabilities times values, [batch, heads, sequence, value size].
mlir::Value attentionValues(Compose &c, mlir::Value probabilities, mlir::Value v);
/// Position of the query minus that of the key, [sequence, total] or, after an offset of [batch], [batch, 1, sequence,
/// total]: a key is in the past where it is at least 0.
mlir::Value queryMinusKey(Compose &c, mlir::Value sequence, mlir::Value total, mlir::Value offset);

/// Positions of the true elements of a vector, [count]: the run counts them.
mlir::Value positionsOfTrue(Compose &c, mlir::Value truth);

/// [n, s…, c] as [n, c, s…], or `back`.
mlir::Value turnChannels(Compose &c, mlir::Value x, bool back);
/// An activation by the name of its operator, or none; `alpha` and `beta` are its first parameters.
mlir::Value fusedActivation(Compose &c, mlir::Value x, llvm::StringRef name, double alpha, double beta);

/// A matrix product of one or two vectors, too: a row on the left, a column on the right, which the result lacks.
mlir::Value productOfAny(Compose &c, mlir::Value a, mlir::Value b, bool transposeA = false, bool transposeB = false);
/// The matrix product that Gemm's inputs and attributes say.
mlir::Value generalProduct(Compose &c);

} // namespace lathe::frontend

#endif // LATHE_FRONTENDS_ONNX_COMPOSE_H
