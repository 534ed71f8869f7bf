//===- Quantization.h - Shared by importers of quantized operators -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_QUANTIZATION_H
#define LATHE_FRONTENDS_ONNX_QUANTIZATION_H

#include "frontends/onnx/Node.h"

namespace lathe::frontend {

// As Node's functions, these yield null after a failure.

/// Tensors of shape [1] as scalars, others as they are.
mlir::Value scalarLike(Node &node, mlir::Value value);

/// A scalar, or one value a row as a column beside the matrix.
mlir::Value alongRows(Node &node, mlir::Value parameter, mlir::Value matrix);

struct DynamicQuantization {
  mlir::Value value, scale, zeroPoint;
};
/// Floats as u8 in the range of what they are.
DynamicQuantization quantizeDynamically(Node &node, mlir::Value x);

/// The difference in `type`; `zeroPoint` may be null for none.
mlir::Value centered(Node &node, mlir::Value x, mlir::Value zeroPoint, mlir::Type type);

/// The matrix product of 8-bit integers less their zero points (null for none) in i32, where it is exact.
mlir::Value integerProduct(Node &node, mlir::Value a, mlir::Value aZero, mlir::Value b, mlir::Value bZero);

/// Floats quantized per tensor, to the type of the zero point.
mlir::Value requantize(Node &node, mlir::Value value, mlir::Value scale, mlir::Value zeroPoint);

/// Inputs `first` to `first + 2` are a tensor quantized per tensor, its scale and its zero point, which may be left out.
mlir::Value dequantizedInput(Node &node, size_t first);

mlir::LogicalResult importQuantizeLinear(Node &node);
mlir::LogicalResult importDequantizeLinear(Node &node);

} // namespace lathe::frontend

#endif // LATHE_FRONTENDS_ONNX_QUANTIZATION_H
