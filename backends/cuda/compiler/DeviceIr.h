//===- DeviceIr.h - LLVM IR of kernels for devices --------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_COMPILER_DEVICEIR_H
#define LATHE_BACKENDS_CUDA_COMPILER_DEVICEIR_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"
#include <memory>

namespace lathe::cuda {

/// Bytes of the arguments that each kernel reads, at least 8.
using ArgumentBytes = llvm::StringMap<uint64_t>;

/// The functions (failures, arguments, count) of a module of the LLVM and NVVM dialects.
std::unique_ptr<llvm::Module> translate(mlir::ModuleOp module, llvm::LLVMContext &context, ArgumentBytes &bytes,
                                        std::string &error);

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_COMPILER_DEVICEIR_H
