//===- AttentionPattern.h - What makes up an attention ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_FUSION_ATTENTIONPATTERN_H
#define LATHE_PASSES_FUSION_ATTENTIONPATTERN_H

#include "dialects/lathe/Attention.h"

namespace lathe::fusion {

/// An attention as it is written in a program. Its leading axes may be merged and split between the operations: `frame`
/// of something is the leading axes' extents, at the place in the program where it is.
struct AttentionPattern {
  struct Bias {
    mlir::Value value;   ///< of a mask, its condition
    double factor = 1;   ///< of the value
    bool isMask = false; ///< 0 where the condition holds (or, negated, does not), else `factor`
    bool isNegated = false;
    /// Of a mask, more conditions that must hold, or, where the second is true, must not.
    llvm::SmallVector<std::pair<mlir::Value, bool>, 0> others;
    SymShape frame;
  };

  MatmulOp product; ///< of queries and keys
  SymShape productFrame;
  double scale = 1;
  std::optional<double> softcap;
  llvm::SmallVector<Bias> biases; ///< in the order in which they are added
  SoftmaxOp softmax;
  bool zeroMasked = false, zeroNan = false;
  MatmulOp result; ///< of weights and values
  SymShape resultFrame;
  llvm::SmallVector<mlir::Operation *> covered; ///< all operations of it, in the order of the match
};

/// Finds the attention around a softmax. Where there is none, or it is not one that lathe.attention says, `why` tells
/// so, at the operation `at`.
class AttentionMatcher {
public:
  AttentionMatcher(SoftmaxOp softmax, ShapeContext &shapes) : softmax(softmax), shapes(shapes) {}

  mlir::LogicalResult match(AttentionPattern &pattern);
  /// Whether the softmax may be one of attention: its scores come from a product of computed tensors.
  bool resembles() { return leadsToProduct(softmax.getInput()); }

  std::string why;
  mlir::Operation *at = nullptr;

private:
  mlir::LogicalResult refuse(mlir::Operation *op, const llvm::Twine &reason);
  mlir::LogicalResult matchScores(AttentionPattern &pattern);
  mlir::LogicalResult matchStep(mlir::Operation *op, AttentionPattern &pattern);
  mlir::LogicalResult matchSum(mlir::Operation *op, AttentionPattern &pattern);
  mlir::LogicalResult matchMask(SelectOp op, AttentionPattern &pattern);
  mlir::LogicalResult settleMasks(AttentionPattern &pattern);
  mlir::LogicalResult matchWeights(AttentionPattern &pattern);
  mlir::Value guarded(mlir::Value weights, AttentionPattern &pattern);
  mlir::LogicalResult enterReshape(mlir::Value from, mlir::Value to, SymShape &frame);
  bool leadsToProduct(mlir::Value value, int depth = 12);
  SymShape frameOf(mlir::Value value);

  SoftmaxOp softmax;
  ShapeContext &shapes;
  mlir::Value scores;    ///< what is looked at next
  SymShape frame;        ///< of it
  double factor = 1;     ///< by which it is multiplied later
  bool isCapped = false; ///< it is within a tanh
};

/// Whether two extents are equal, as far as what was asked for shows or requires.
bool isSame(const SymExpr &a, const SymExpr &b, ShapeContext &shapes);

/// The number that all elements of a float constant are, broadcast or not.
std::optional<double> splatNumber(mlir::Value value);

/// The operand of a product or quotient by a constant, of the result's type, and the factor.
std::optional<std::pair<mlir::Value, double>> constantFactor(mlir::Operation *op);

} // namespace lathe::fusion

#endif // LATHE_PASSES_FUSION_ATTENTIONPATTERN_H
