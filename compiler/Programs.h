//===- Programs.h - The programs of one artifact ----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_PROGRAMS_H
#define LATHE_COMPILER_PROGRAMS_H

#include "dialects/lathe/SymbolicShape.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include <map>
#include <string>
#include <vector>

namespace lathe {

/// What CompileOptions::programs adds to an artifact: a program in a module of its own, as import makes it, with a
/// function
/// `@main`. Its weights are of the model's files, and are stored once for all programs.
struct NewProgram {
  std::string name; ///< of 1 to 16 letters, digits, '_' and '-'; what sessions ask for
  mlir::OwningOpRef<mlir::ModuleOp> module;
};

/// A program on its way through the phases.
struct Program {
  std::string name;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::map<std::string, SymExpr> work = {};
  int phases = 0;       ///< that were dumped
  size_t constants = 0; ///< of it and of the programs before it
  bool isCuda = false;  ///< runs on such a device
  bool isMain() const { return name == "main"; }
  /// What begins, as users are told.
  std::string labelOf(const std::string &phase) const { return (isMain() ? phase : phase + " of " + name) + (isCuda ? " for cuda" : ""); }
};

/// Puts what was added behind what is there. Returns what is wrong with it, or an empty text; what a verifier finds
/// wrong goes to the context's diagnostics as well.
std::string addPrograms(std::vector<NewProgram> &added, std::vector<Program> &programs);

} // namespace lathe

#endif // LATHE_COMPILER_PROGRAMS_H
