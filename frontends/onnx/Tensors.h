//===- Tensors.h - Types and values of ONNX tensors -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_TENSORS_H
#define LATHE_FRONTENDS_ONNX_TENSORS_H

#include "dialects/lathe/Lathe.h"
#include "frontends/onnx/ModelFile.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include <string>

namespace lathe::frontend {

/// Tensors of more axes are refused: no model has them, and shapes must stay cheap.
inline constexpr int64_t kMaxRank = 32;

/// The type that a value of the data type has in operations; null where the dialect has none.
mlir::Type elementType(mlir::MLIRContext *context, int32_t dataType);
/// "FLOAT8E5M2", or the number.
std::string dataTypeName(int32_t dataType);

/// Either a type, that of what is stored (storageOfSmallFloat() of the data type, where there is one), or what is
/// wrong; `isUnsupported` says whether the file is at fault or the importer.
struct TensorType {
  mlir::RankedTensorType type;
  int64_t bytes = 0; ///< of the raw data
  bool isUnsupported = false;
  std::string error;
};
TensorType tensorType(mlir::MLIRContext *context, const onnx::TensorProto &tensor);

/// Number of elements, nullopt where it is not below 2^60 or a dimension is negative.
std::optional<int64_t> elementCount(llvm::ArrayRef<int64_t> dims);

/// The values of a tensor that is not external. Sets `error` on failure.
mlir::DenseElementsAttr denseTensor(mlir::RankedTensorType type, const onnx::TensorProto &tensor,
                                    const std::optional<RawData> &raw, std::string &error);

/// Values of `element`, an integer below 8 bits, out of the bytes along the last axis of `bytes` (u8, static), the first
/// of a byte in its lowest bits. Null after an error at `loc`.
mlir::Value unpackBits(mlir::OpBuilder &builder, mlir::Location loc, ShapeContext &context, mlir::Value bytes,
                       mlir::IntegerType element);

/// The same for a tensor whose bytes are packed from end to end.
mlir::Value unpackTensor(mlir::OpBuilder &builder, mlir::Location loc, ShapeContext &context, mlir::Value bytes,
                         mlir::RankedTensorType type);

/// Whether a byte holds several elements.
inline bool isPacked(mlir::Type element) {
  return llvm::isa<mlir::IntegerType>(element) && element.getIntOrFloatBitWidth() > 1 &&
         element.getIntOrFloatBitWidth() < 8;
}

/// Whether folding should see the values.
bool isSmall(mlir::RankedTensorType type);

} // namespace lathe::frontend

#endif // LATHE_FRONTENDS_ONNX_TENSORS_H
