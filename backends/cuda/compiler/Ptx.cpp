//===- Ptx.cpp - PTX of kernels -------------------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/compiler/DeviceCode.h"
#include "backends/cuda/compiler/DeviceIr.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include <mutex>

extern "C" {
void LLVMInitializeNVPTXTargetInfo();
void LLVMInitializeNVPTXTarget();
void LLVMInitializeNVPTXTargetMC();
void LLVMInitializeNVPTXAsmPrinter();
}

namespace lathe::cuda {
namespace {

constexpr const char *kTriple = "nvptx64-nvidia-cuda";
/// The least version of PTX that has what kernels use: the one that sm_80 came with.
constexpr const char *kFeatures = "+ptx70";

/// Kernels as those that a driver launches, with their arguments by value.
void makeEntries(llvm::Module &module, const ArgumentBytes &bytes) {
  llvm::LLVMContext &context = module.getContext();
  auto *i64 = llvm::Type::getInt64Ty(context);
  llvm::NamedMDNode *annotations = module.getOrInsertNamedMetadata("nvvm.annotations");
  auto *one = llvm::ConstantAsMetadata::get(llvm::ConstantInt::get(llvm::Type::getInt32Ty(context), 1));
  for (llvm::Function &function : module) {
    if (function.isDeclaration())
      continue;
    llvm::Argument *args = function.getArg(1);
    auto *type = llvm::ArrayType::get(i64, bytes.lookup(function.getName()) / 8);
    args->addAttr(llvm::Attribute::getWithByValType(context, type));
    args->addAttr(llvm::Attribute::getWithAlignment(context, llvm::Align(8)));
    function.setLinkage(llvm::GlobalValue::ExternalLinkage);
    function.addFnAttr(llvm::Attribute::NoUnwind);
    function.addFnAttr("no-builtins");
    annotations->addOperand(llvm::MDNode::get(
        context, {llvm::ValueAsMetadata::get(&function), llvm::MDString::get(context, "kernel"), one}));
  }
}

void optimize(llvm::Module &module, llvm::TargetMachine &machine, unsigned level) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager cgscc;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder(&machine);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(cgscc);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, cgscc, modules);
  auto optimization = level == 1   ? llvm::OptimizationLevel::O1
                      : level == 2 ? llvm::OptimizationLevel::O2
                                   : llvm::OptimizationLevel::O3;
  (level == 0 ? builder.buildO0DefaultPipeline(llvm::OptimizationLevel::O0)
              : builder.buildPerModuleDefaultPipeline(optimization))
      .run(module, modules);
}

} // namespace

std::string emitPtx(mlir::ModuleOp kernels, unsigned level, std::string &error) {
  static std::once_flag initialized;
  std::call_once(initialized, [] {
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
  });
  llvm::LLVMContext context;
  ArgumentBytes bytes;
  std::unique_ptr<llvm::Module> module = translate(kernels, context, bytes, error);
  const llvm::Target *target = module ? llvm::TargetRegistry::lookupTarget(kTriple, error) : nullptr;
  if (!target)
    return "";
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Fast; // as on the processor
  std::unique_ptr<llvm::TargetMachine> machine(
      target->createTargetMachine(kTriple, architectures().front(), kFeatures, options, std::nullopt, std::nullopt,
                                  level == 0 ? llvm::CodeGenOptLevel::None : llvm::CodeGenOptLevel::Aggressive));
  module->setTargetTriple(kTriple);
  module->setDataLayout(machine->createDataLayout());
  makeEntries(*module, bytes);
  optimize(*module, *machine, level);
  llvm::SmallVector<char, 0> text;
  llvm::raw_svector_ostream stream(text);
  llvm::legacy::PassManager emit;
  if (machine->addPassesToEmitFile(emit, stream, nullptr, llvm::CodeGenFileType::AssemblyFile)) {
    error = "this LLVM can't emit PTX";
    return "";
  }
  emit.run(*module);
  return std::string(text.data(), text.size());
}

} // namespace lathe::cuda
