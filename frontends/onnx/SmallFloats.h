//===- SmallFloats.h - Floats that MLIR has no type for ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// FLOAT4E2M1 (0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives; OCP Microscaling Formats 1.0, section 5.3.3) is stored in
// four bits, and computed with as f8E4M3, which has all of its values and which no ONNX type maps to. FLOAT8E8M0
// (powers of two from -127 to 127 and NaN, section 5.4.1) is stored in a byte, and computed with as f32. What reads the
// bits is an expression of the stored ones, so that weights stay as small as they are.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_SMALLFLOATS_H
#define LATHE_FRONTENDS_ONNX_SMALLFLOATS_H

#include "frontends/onnx/Compose.h"

namespace lathe::frontend {

/// The integers that such a type is stored as; null for every other type.
mlir::Type storageOfSmallFloat(mlir::MLIRContext *context, int32_t dataType);
/// The values of what is stored. Null after an error, or where that is null.
mlir::Value decodeSmallFloat(Node &node, mlir::Value stored, int32_t dataType);

/// Whether the element type stands for FLOAT4E2M1.
inline bool isFloat4(mlir::Type element) { return element.isFloat8E4M3(); }
/// Floats rounded to the nearest value of FLOAT4E2M1, ties to even; beyond 6 that is 6, and NaN is -0 (as ml_dtypes has
/// it).
mlir::Value roundToFloat4(Compose &c, mlir::Value x);
/// The four bits of such values, of type ui4.
mlir::Value encodeFloat4(Compose &c, mlir::Value x);

} // namespace lathe::frontend

#endif // LATHE_FRONTENDS_ONNX_SMALLFLOATS_H
