//===- DeviceIr.cpp - LLVM IR of kernels for devices ----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/compiler/DeviceIr.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/NVVM/NVVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/Instructions.h"
#include "llvm/IR/Operator.h"

using namespace mlir;

namespace lathe::cuda {

/// What is read of the arguments, which are only ever read at known places.
static uint64_t argumentBytes(llvm::Function &function) {
  uint64_t bytes = 8;
  const llvm::DataLayout &layout = function.getParent()->getDataLayout();
  for (llvm::Instruction &instruction : llvm::instructions(function)) {
    auto *load = llvm::dyn_cast<llvm::LoadInst>(&instruction);
    if (!load)
      continue;
    llvm::APInt offset(64, 0);
    const llvm::Value *base =
        load->getPointerOperand()->stripAndAccumulateConstantOffsets(layout, offset, /*AllowNonInbounds=*/true);
    if (base == function.getArg(1))
      bytes =
          std::max<uint64_t>(bytes, llvm::alignTo(offset.getZExtValue() + layout.getTypeStoreSize(load->getType()), 8));
  }
  return bytes;
}

std::unique_ptr<llvm::Module> translate(ModuleOp module, llvm::LLVMContext &context, ArgumentBytes &bytes,
                                        std::string &error) {
  DialectRegistry registry;
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  registerNVVMDialectTranslation(registry);
  module.getContext()->appendDialectRegistry(registry);
  std::unique_ptr<llvm::Module> result = translateModuleToLLVMIR(module, context, "lathe");
  if (!result) {
    error = "translation of kernels to LLVM IR failed";
    return nullptr;
  }
  for (llvm::Function &function : *result)
    if (!function.isDeclaration())
      bytes[function.getName()] = argumentBytes(function);
  return result;
}

} // namespace lathe::cuda
