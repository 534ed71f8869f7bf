//===- DeviceCode.h - Code of kernels for devices ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_COMPILER_DEVICECODE_H
#define LATHE_BACKENDS_CUDA_COMPILER_DEVICECODE_H

#include "backends/cpu/compiler/CodeImage.h"
#include "mlir/IR/OwningOpRef.h"
#include "llvm/ADT/StringMap.h"

namespace lathe::cuda {

/// Where a block's shared memory begins.
inline constexpr llvm::StringLiteral kSharedSymbol = "lathe_shared";
/// Architectures that cubins are made for; the first is that of the PTX, which runs on all behind it.
llvm::ArrayRef<llvm::StringRef> architectures();

/// The kernels of all programs, of which equal ones are one function.
class DeviceModule {
public:
  explicit DeviceModule(mlir::MLIRContext &context);

  /// Takes the kernels of a program after `cuda-thread-loops`; returns the functions that they became by their names
  /// there.
  llvm::StringMap<std::string> take(mlir::ModuleOp program, llvm::StringRef name);
  /// To the LLVM dialect.
  void addLoweringPasses(mlir::OpPassManager &passes) const;
  mlir::ModuleOp module() const { return *kernels; }
  bool isEmpty() const { return byText.empty(); }

private:
  mlir::OwningOpRef<mlir::ModuleOp> kernels;
  llvm::StringMap<std::string> byText;
};

/// What a kernel takes of a multiprocessor.
struct KernelResources {
  std::string function;
  int64_t registers = 0, sharedBytes = 0, stackBytes = 0, spillBytes = 0;
};

struct Cubin {
  std::string arch;
  std::vector<char> bytes;
  std::vector<KernelResources> kernels; ///< by name
};

/// PTX of a lowered module, for architectures from the first on. Empty on failure, with the reason in `error`.
std::string emitPtx(mlir::ModuleOp module, unsigned level, std::string &error);

/// The same kernels for the emulator (backends/cuda/emulator/Emulation.h), and where in the code they begin.
std::optional<cpu::FlatCode> emitEmulation(mlir::ModuleOp module, const cpu::InstructionSet &isa, unsigned level,
                                           std::string &error);

/// Compiles PTX for an architecture by nvJitLink of the CUDA toolkit. Null on failure; `isMissing` tells that there is
/// no toolkit, or one that does not know the architecture.
std::optional<Cubin> linkCubin(llvm::StringRef ptx, llvm::StringRef arch, bool &isMissing, std::string &error);

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_COMPILER_DEVICECODE_H
