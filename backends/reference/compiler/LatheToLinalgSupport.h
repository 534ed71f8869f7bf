//===- LatheToLinalgSupport.h - Shared by the lowerings ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_REFERENCE_COMPILER_LATHETOLINALGSUPPORT_H
#define LATHE_BACKENDS_REFERENCE_COMPILER_LATHETOLINALGSUPPORT_H

#include "dialects/lathe/Lathe.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/PatternMatch.h"

namespace lathe::reference {

/// Builds the scalar computation of a body. Arithmetic works on floats and signless integers alike, and on i1 as on
/// integers modulo 2 that are ordered false < true.
class ScalarBuilder {
public:
  ScalarBuilder(mlir::OpBuilder &builder, mlir::Location loc) : builder(builder), loc(loc) {}

  template <typename OpTy, typename... Args> mlir::Value op(Args &&...args) {
    return builder.create<OpTy>(loc, std::forward<Args>(args)...);
  }

  mlir::Value index(int64_t value) { return op<mlir::arith::ConstantIndexOp>(value); }
  /// Of a float or integer type.
  mlir::Value number(mlir::Type type, double value);
  mlir::Value integer(mlir::Type type, const llvm::APInt &value);

  /// Floats narrower than 32 bits as f32, other values as they are.
  mlir::Value widen(mlir::Value value);
  /// Undoes widen() for an element of `type`.
  mlir::Value narrow(mlir::Value value, mlir::Type type, bool overflows = false);

  mlir::Value add(mlir::Value a, mlir::Value b, bool inSum = false);
  mlir::Value sub(mlir::Value a, mlir::Value b);
  mlir::Value mul(mlir::Value a, mlir::Value b, bool inSum = false);
  mlir::Value div(mlir::Value a, mlir::Value b);
  mlir::Value max(mlir::Value a, mlir::Value b);
  mlir::Value min(mlir::Value a, mlir::Value b);
  mlir::Value abs(mlir::Value a);
  mlir::Value select(mlir::Value c, mlir::Value a, mlir::Value b) { return op<mlir::arith::SelectOp>(c, a, b); }
  mlir::Value compare(Comparison predicate, mlir::Value a, mlir::Value b);
  /// The conversion of lathe.cast; `toUnsigned` says what integers of `type` are.
  mlir::Value cast(mlir::Value value, mlir::Type type, bool toUnsigned = false, bool overflows = false);
  /// An element of an integer tensor as an index, sign-extended.
  mlir::Value toIndex(mlir::Value value);
  /// Index value as a float or integer.
  mlir::Value fromIndex(mlir::Value value, mlir::Type type);
  /// `value`, counted from the end where negative, asserted and clamped to be below `extent`.
  mlir::Value checkedIndex(mlir::Value value, mlir::Value extent);

  mlir::OpBuilder &builder;
  mlir::Location loc;
  /// What integer operands are.
  bool isUnsigned = false;

private:
  /// From an 8-bit float to f32, and back.
  mlir::Value decodeNarrow(mlir::Value value);
  mlir::Value encodeNarrow(mlir::Value value, mlir::Type type, bool overflows);
  mlir::Value saturatingCast(mlir::Value value, mlir::IntegerType type, bool toUnsigned);
};

/// Type that values of `type` are computed and accumulated in.
mlir::Type computeType(mlir::Type type);

/// Lowest and highest value; infinities for floats.
mlir::TypedAttr lowest(mlir::Type type, bool isUnsigned = false);
mlir::TypedAttr highest(mlir::Type type, bool isUnsigned = false);

/// Whether an operand, or the result, of an operation held unsigned integers before makeSignless().
bool isUnsigned(mlir::Operation *op, unsigned operand = 0);
bool hasUnsignedResult(mlir::Operation *op);

inline mlir::RankedTensorType tensorType(mlir::Value value) {
  return llvm::cast<mlir::RankedTensorType>(value.getType());
}

/// Extent of an axis: a constant where it is static.
mlir::Value extentOf(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value tensor, int64_t axis);

/// tensor.empty of `type`; `extent` is asked for dynamic axes.
mlir::Value createEmpty(mlir::OpBuilder &builder, mlir::Location loc, mlir::RankedTensorType type,
                        llvm::function_ref<mlir::Value(int64_t axis)> extent);
/// tensor.empty of the shape of `like` and another element type.
mlir::Value createEmptyLike(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value like, mlir::Type elementType);
mlir::Value createFilled(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value init, mlir::TypedAttr value);

/// Body of a generic: from the elements of inputs (and, last, of the output) to the element yielded.
using Body = llvm::function_ref<mlir::Value(ScalarBuilder &scalars, mlir::ValueRange args)>;

mlir::Value createGeneric(mlir::OpBuilder &builder, mlir::Location loc, mlir::ValueRange inputs,
                          llvm::ArrayRef<mlir::AffineMap> inputMaps, mlir::Value init, mlir::AffineMap initMap,
                          llvm::ArrayRef<mlir::utils::IteratorType> iterators, Body body);
/// A generic that computes each element of `init` on its own.
mlir::Value createParallel(mlir::OpBuilder &builder, mlir::Location loc, mlir::ValueRange inputs,
                           llvm::ArrayRef<mlir::AffineMap> inputMaps, mlir::Value init, Body body);

/// Map of an operand that broadcasts as numpy does to a result of type `result`.
mlir::AffineMap broadcastMap(mlir::RankedTensorType operand, mlir::RankedTensorType result);

/// The value of a constant all of whose elements are equal; null for other values.
mlir::TypedAttr splatConstant(mlir::Value value);

/// linalg.index of every loop from `first` up to `end`.
llvm::SmallVector<mlir::Value> loopIndices(ScalarBuilder &scalars, int64_t first, int64_t end);

/// A loop over 0 … count - 1 with one value that it changes: `step` gives it from the position and the value before.
mlir::Value reduceLoop(ScalarBuilder &scalars, mlir::Value count, mlir::Value init,
                       llvm::function_ref<mlir::Value(ScalarBuilder &, mlir::Value, mlir::Value)> step);
/// What `yes` gives where the condition holds, else `no`.
mlir::Value conditional(ScalarBuilder &scalars, mlir::Value condition, llvm::function_ref<mlir::Value(ScalarBuilder &)> yes,
                        mlir::Value no);

/// Signless integers, floats and index have arithmetic here; anything else is refused with a reason.
mlir::LogicalResult checkElementTypes(mlir::Operation *op, mlir::PatternRewriter &rewriter);

/// What a scatter makes of the element at a place and of one that it brings there.
mlir::Value combineScattered(ScalarBuilder &scalars, ScatterKind kind, mlir::Value old, mlir::Value update);

void populateElementwise(mlir::RewritePatternSet &patterns);
void populateQuantization(mlir::RewritePatternSet &patterns);
void populateReduction(mlir::RewritePatternSet &patterns);
void populateMovement(mlir::RewritePatternSet &patterns);
void populateWindows(mlir::RewritePatternSet &patterns);
void populateScatter(mlir::RewritePatternSet &patterns);
void populateSparse(mlir::RewritePatternSet &patterns);

/// A lowering by a function; checks element types first.
template <typename OpTy> struct FunctionPattern : mlir::OpRewritePattern<OpTy> {
  using Function = mlir::FailureOr<mlir::Value> (*)(OpTy, mlir::PatternRewriter &);
  FunctionPattern(mlir::MLIRContext *context, Function function)
      : mlir::OpRewritePattern<OpTy>(context), function(function) {}
  mlir::LogicalResult matchAndRewrite(OpTy op, mlir::PatternRewriter &rewriter) const override {
    if (mlir::failed(checkElementTypes(op, rewriter)))
      return mlir::failure();
    mlir::FailureOr<mlir::Value> value = function(op, rewriter);
    if (mlir::failed(value))
      return mlir::failure();
    rewriter.replaceOp(op, *value);
    return mlir::success();
  }
  Function function;
};

template <typename OpTy>
void addPattern(mlir::RewritePatternSet &patterns,
                mlir::FailureOr<mlir::Value> (*function)(OpTy, mlir::PatternRewriter &)) {
  patterns.add<FunctionPattern<OpTy>>(patterns.getContext(), function);
}

/// Turns branches and loops within `op` into those of scf, over tensors. Emits an error where one can't be.
mlir::LogicalResult lowerControlFlow(mlir::Operation *op);

} // namespace lathe::reference

#endif // LATHE_BACKENDS_REFERENCE_COMPILER_LATHETOLINALGSUPPORT_H
