//===- DeviceModule.cpp - The kernels of all programs ---------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/Passes.h"
#include "backends/cuda/compiler/DeviceCode.h"
#include "backends/cuda/compiler/Passes.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;

namespace lathe::cuda {

ArrayRef<StringRef> architectures() {
  static const StringRef names[] = {"sm_80", "sm_89", "sm_90", "sm_100"};
  return names;
}

DeviceModule::DeviceModule(MLIRContext &context) : kernels(ModuleOp::create(UnknownLoc::get(&context))) {}

llvm::StringMap<std::string> DeviceModule::take(ModuleOp program, StringRef name) {
  // What PTX calls an identifier has no '-', and programs' names have no '$'.
  std::string prefix = name.str() + "_";
  std::replace(prefix.begin(), prefix.end(), '-', '$');
  llvm::StringMap<std::string> functions;
  for (auto kernel : llvm::make_early_inc_range(program.getOps<func::FuncOp>())) {
    if (!kernel.isPrivate() || kernel.isExternal())
      continue;
    std::string own = kernel.getSymName().str(), text;
    kernel.setSymName("kernel");
    llvm::raw_string_ostream stream(text);
    kernel->print(stream, OpPrintingFlags().useLocalScope());
    auto [it, isNew] = byText.try_emplace(stream.str(), prefix + own);
    functions[own] = it->second;
    if (isNew) {
      kernel.setSymName(it->second);
      kernel->moveBefore(kernels->getBody(), kernels->getBody()->end());
    } else {
      kernel.erase();
    }
  }
  program.walk([&](kernel::DeviceLaunchOp launch) {
    if (auto it = functions.find(launch.getFunction()); it != functions.end())
      launch.setFunction(it->second);
  });
  return functions;
}

void DeviceModule::addLoweringPasses(OpPassManager &passes) const {
  passes.addPass(createCanonicalizerPass());
  passes.addPass(createCSEPass());
  passes.addPass(cpu::createKernelToLLVMPass());
  passes.addPass(createCudaToNvvmPass());
  cpu::addMathPasses(passes);
  cpu::addLLVMPasses(passes);
}

} // namespace lathe::cuda
