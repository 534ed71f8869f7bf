//===- Kernel.h - The kernel dialect ----------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_DIALECTS_KERNEL_KERNEL_H
#define LATHE_DIALECTS_KERNEL_KERNEL_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace lathe::kernel {
/// A dense row-major memref whose elements' size is what their bits take.
bool isBuffer(mlir::Type type);
/// Bytes of arguments that a kernel of a device can have: with the others, 4 KiB of parameters.
inline constexpr int64_t kMaxDeviceArguments = 4064;
} // namespace lathe::kernel

#include "dialects/kernel/KernelDialect.h.inc"
#define GET_OP_CLASSES
#include "dialects/kernel/KernelOps.h.inc"

namespace lathe::kernel {
/// Names of module attributes; see the dialect's description.
inline constexpr llvm::StringLiteral kSymbolsAttr = "kernel.symbols";
inline constexpr llvm::StringLiteral kConstantsAttr = "kernel.constants";
inline constexpr llvm::StringLiteral kKernelsAttr = "kernel.kernels";
/// Of a program behind others: which of the constants it reads.
inline constexpr llvm::StringLiteral kReadsAttr = "kernel.reads";
inline constexpr llvm::StringLiteral kCachesAttr = "kernel.caches";
inline constexpr llvm::StringLiteral kChecksAttr = "kernel.checks";
inline constexpr llvm::StringLiteral kInputsAttr = "kernel.inputs";
inline constexpr llvm::StringLiteral kOutputsAttr = "kernel.outputs";
/// Of a launch: positions of arguments that the kernel reads only at the element of its last argument that it writes next.
inline constexpr llvm::StringLiteral kInPlaceAttr = "kernel.in_place";
/// Of a lathe.weight: the entry of the table of constants that it stands for, of a matrix that stays compressed.
inline constexpr llvm::StringLiteral kCompressedAttr = "kernel.compressed";
/// Of a lathe.matmul with such a weight: how its left side is rounded to integers ("mode", a lathe_quantization; "scale", "zero").
inline constexpr llvm::StringLiteral kLhsQuantizationAttr = "kernel.lhs_quantization";
/// Of such a product for a device: the type of 16 bits that its operands may be rounded to.
inline constexpr llvm::StringLiteral kArithmeticAttr = "kernel.arithmetic";
/// Names of the entry points.
inline constexpr llvm::StringLiteral kRunName = "run";
inline constexpr llvm::StringLiteral kPlanName = "plan";
} // namespace lathe::kernel

#endif // LATHE_DIALECTS_KERNEL_KERNEL_H
