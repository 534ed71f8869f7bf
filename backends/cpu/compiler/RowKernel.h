//===- RowKernel.h - Loops from a group of linalg operations ----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_COMPILER_ROWKERNEL_H
#define LATHE_BACKENDS_CPU_COMPILER_ROWKERNEL_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include <functional>

namespace lathe::cpu {

/// The buffer type of a tensor type: dense row-major; truth values, integers below 8 bits and 8-bit floats take a byte
/// each, and integers have no sign.
mlir::MemRefType bufferType(mlir::RankedTensorType type);

/// Bytes that an argument of this type takes among a kernel's arguments: an index, or a memref's descriptor.
int64_t argumentBytes(mlir::Type type);

/// Fills `kernel`, a function (frame, args, begin, end), with loops that compute the tensor that `group` returns.
///
/// `group` takes tensors and index values and returns a tensor, computed by linalg operations on tensors (and arith on
/// index values). The kernel's arguments are the group's, tensors as buffers, then the result's buffer. A work item
/// is one row: all but the last axis of the result, in row-major order. Every value is computed where it is needed, at
/// the outermost loop at which its indices are known, so that no intermediate is stored: a reduction along a row is
/// one loop before the loop that uses it. But an exponential or the like that both loops want, if it is of the result's
/// type, is kept in the result's row in between; so the result's buffer must not be one of the operands'.
///
/// A group that returns several tensors has a buffer for each, in their order. The others have the first one's shape,
/// or a last axis of 1 in it: what they are of a row is written with the row, by the first loop that comes to it, and
/// read there by those behind. `isUnsigned` says how the result's integers below 8 bits fill a byte. `addCheck` gives
/// the index of a run-time check.
///
/// Where `flat`, buffers of the result's type have one axis, of all elements, and a work item is an element.
mlir::LogicalResult emitRowKernel(mlir::func::FuncOp group, mlir::func::FuncOp kernel, bool isUnsigned, bool flat,
                                  std::function<int64_t(mlir::Location, llvm::StringRef)> addCheck);

/// Whether all that a group does is to compute each element of its result from the elements at the same place, of tensors
/// of the result's type, and from tensors of one element.
bool isFlat(mlir::func::FuncOp group);

/// The buffer type of a tensor type with one axis for all of its elements.
mlir::MemRefType flatBufferType(mlir::RankedTensorType type);

/// The kernel (frame, arguments: indices, updates, result) that changes a result which holds the input, in the order of
/// the updates; one call does all of it.
void emitScatterKernel(mlir::Operation *op, mlir::func::FuncOp kernel,
                       llvm::function_ref<int64_t(mlir::Location, llvm::StringRef)> addCheck);

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_COMPILER_ROWKERNEL_H
