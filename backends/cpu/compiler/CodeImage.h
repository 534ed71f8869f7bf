//===- CodeImage.h - Flat machine code from an LLVM dialect module -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_COMPILER_CODEIMAGE_H
#define LATHE_BACKENDS_CPU_COMPILER_CODEIMAGE_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/PassManager.h"
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace llvm {
class Module;
}

namespace lathe::cpu {

/// Instruction sets that code is made for, weakest first: names of the manifest, and LLVM's names of what they need.
struct InstructionSet {
  const char *name, *cpu, *features;
};
llvm::ArrayRef<InstructionSet> instructionSets();

/// Passes from the kernel dialect with a planned arena to the LLVM dialect. `vectorize`: by our own loops over vectors.
void addLoweringPasses(mlir::OpPassManager &passes, bool vectorize);

/// Parts of these that other backends share: functions as arithmetic and loops as branches, and the end of it.
void addMathPasses(mlir::OpPassManager &passes);
void addLLVMPasses(mlir::OpPassManager &passes);

/// Machine code as runtime/Abi.h asks for it: one block, position-independent, without relocations.
struct CodeImage {
  std::vector<char> bytes;
  uint64_t plan = 0, run = 0; ///< offsets of the entry points
};

/// What `compileImage` makes for one instruction set.
struct CompiledCode {
  std::optional<CodeImage> image;
  std::string error; ///< why there is no image
  std::string llvmIr;
  std::vector<char> object;
};

/// What is made beside the image.
enum class CodeText { none, llvmIr, object };

/// Machine code with the offsets of its entry points.
struct FlatCode {
  std::vector<char> bytes;
  std::map<std::string, uint64_t> entries;
};

/// The optimized code of a module of its own, which no other thread uses: functions but `entries` become internal. The error, the text
/// and the object file that were asked for are left in `result`.
std::optional<FlatCode> compileFlat(llvm::Module &module, const InstructionSet &isa, unsigned level, llvm::ArrayRef<std::string> entries,
                                    CodeText text, CompiledCode &result);

/// Translates modules of the LLVM dialect, which are of one context, and compiles them for each of the instruction sets, on `jobs`
/// threads at most; what comes out does not depend on their number. `level` is 0 to 3. The results are those of the first module, then
/// those of the next.
std::vector<CompiledCode> compileImages(llvm::ArrayRef<mlir::ModuleOp> modules, llvm::ArrayRef<InstructionSet> isas, unsigned level,
                                        unsigned jobs, CodeText text = CodeText::none);

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_COMPILER_CODEIMAGE_H
