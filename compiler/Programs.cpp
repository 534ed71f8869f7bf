//===- Programs.cpp - The programs of one artifact ------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/Programs.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Verifier.h"
#include "runtime/ArtifactFormat.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;

namespace lathe {

/// So that sections of code, "code.NAME.ISA", have names that their table holds.
static constexpr size_t kMaxName = 16;

static bool isName(StringRef name) {
  return !name.empty() && name.size() <= kMaxName &&
         llvm::all_of(name, [](char c) { return llvm::isAlnum(c) || c == '_' || c == '-'; });
}

std::string addPrograms(std::vector<NewProgram> &added, std::vector<Program> &programs) {
  if (programs.size() + added.size() > artifact::kMaxPrograms)
    return "an artifact has at most " + std::to_string(artifact::kMaxPrograms) + " programs, got " +
           std::to_string(programs.size() + added.size());
  for (NewProgram &program : added) {
    std::string who = "program '" + program.name + "': ";
    if (!isName(program.name))
      return who + "expects a name of 1 to " + std::to_string(kMaxName) + " letters, digits, '_' and '-'";
    if (llvm::any_of(programs, [&](const Program &other) { return other.name == program.name; }))
      return who + "expects a name that no other program has";
    auto main = program.module ? program.module->lookupSymbol<func::FuncOp>("main") : func::FuncOp();
    if (!main || main.isExternal())
      return who + "expects a module with a function @main that has a body";
    if (failed(verify(*program.module)))
      return who + "its module is not valid";
    programs.push_back({program.name, std::move(program.module)});
  }
  return "";
}

} // namespace lathe
