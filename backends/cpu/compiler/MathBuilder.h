//===- MathBuilder.h - Arithmetic on floats and their bits ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_COMPILER_MATHBUILDER_H
#define LATHE_BACKENDS_CPU_COMPILER_MATHBUILDER_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

namespace lathe::cpu {

/// Arithmetic on f32 or f64, or on vectors of them, and on integers of as many bits.
struct MathBuilder {
  mlir::OpBuilder &b;
  mlir::Location loc;
  mlir::Type type; ///< of the floats

  using Value = mlir::Value;
  template <typename OpTy, typename... Args> Value op(Args &&...args) {
    return b.create<OpTy>(loc, std::forward<Args>(args)...);
  }
  mlir::Type like(mlir::Type element) const {
    auto vector = mlir::dyn_cast<mlir::VectorType>(type);
    return vector ? mlir::Type(vector.clone(element)) : element;
  }
  unsigned width() const { return mlir::getElementTypeOrSelf(type).getIntOrFloatBitWidth(); }
  mlir::Type bitsType() const { return like(b.getIntegerType(width())); }
  Value constant(mlir::TypedAttr value) {
    if (auto vector = mlir::dyn_cast<mlir::VectorType>(type))
      value = mlir::DenseElementsAttr::get(vector.clone(value.getType()), mlir::Attribute(value));
    return op<mlir::arith::ConstantOp>(value);
  }
  Value number(double x) { return constant(b.getFloatAttr(mlir::getElementTypeOrSelf(type), x)); }
  Value integer(int64_t x) { return constant(b.getIntegerAttr(b.getIntegerType(width()), x)); }
  Value truth(bool x) { return constant(b.getBoolAttr(x)); }
  Value add(Value x, Value y) { return op<mlir::arith::AddFOp>(x, y); }
  Value sub(Value x, Value y) { return op<mlir::arith::SubFOp>(x, y); }
  Value mul(Value x, Value y) { return op<mlir::arith::MulFOp>(x, y); }
  Value div(Value x, Value y) { return op<mlir::arith::DivFOp>(x, y); }
  Value fma(Value x, Value y, Value z) { return op<mlir::math::FmaOp>(x, y, z); }
  Value neg(Value x) { return op<mlir::arith::NegFOp>(x); }
  Value abs(Value x) { return op<mlir::math::AbsFOp>(x); }
  Value select(Value c, Value x, Value y) { return op<mlir::arith::SelectOp>(c, x, y); }
  /// False where either is NaN.
  Value less(Value x, Value y) { return op<mlir::arith::CmpFOp>(mlir::arith::CmpFPredicate::OLT, x, y); }
  Value equal(Value x, Value y) { return op<mlir::arith::CmpFOp>(mlir::arith::CmpFPredicate::OEQ, x, y); }
  Value isNan(Value x) { return op<mlir::arith::CmpFOp>(mlir::arith::CmpFPredicate::UNO, x, x); }
  Value both(Value x, Value y) { return op<mlir::arith::AndIOp>(x, y); }
  /// At most `limit`; NaN stays.
  Value atMost(Value x, Value limit) { return select(less(limit, x), limit, x); }
  Value toFloat(Value x) { return op<mlir::arith::SIToFPOp>(type, x); }
  Value bits(Value x) { return op<mlir::arith::BitcastOp>(bitsType(), x); }
  Value fromBits(Value x) { return op<mlir::arith::BitcastOp>(type, x); }
  Value plus(Value x, Value y) { return op<mlir::arith::AddIOp>(x, y); }
  Value minus(Value x, Value y) { return op<mlir::arith::SubIOp>(x, y); }
  Value shiftLeft(Value x, int64_t count) { return op<mlir::arith::ShLIOp>(x, integer(count)); }

  /// c[0] + c[1] x + ...
  Value polynomial(mlir::ArrayRef<double> c, Value x) {
    Value sum = number(c.back());
    for (double term : llvm::reverse(c.drop_back()))
      sum = fma(sum, x, number(term));
    return sum;
  }
};

/// Functions of f32, with the largest errors that were seen (in units in the last place; all 2^32 arguments, or where
/// it is said so a part). Infinities, NaN and signed zeros give what C's functions give.
mlir::Value expSingle(MathBuilder &s, mlir::Value x);
mlir::Value logSingle(MathBuilder &s, mlir::Value x);
mlir::Value tanhSingle(MathBuilder &s, mlir::Value x);
mlir::Value erfSingle(MathBuilder &s, mlir::Value x);

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_COMPILER_MATHBUILDER_H
