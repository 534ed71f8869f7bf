//===- PassPlugins.h - Passes that users bring ------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_PASSPLUGINS_H
#define LATHE_COMPILER_PASSPLUGINS_H

#include "compiler/Compile.h"

namespace lathe {

/// Loads the plug-ins of the options, whose passes are then known by their names, and looks at the pipelines. Returns
/// what is wrong; empty where nothing is. A plug-in is code of this process from there on.
std::string preparePasses(const CompileOptions &options);

/// Runs the pipelines that are to be run behind a phase, which preparePasses() found right. Returns the text of the one
/// that fails, whose passes have said why to the context, or that leaves a module that is not valid; null where none does.
const std::string *runPipelines(const CompileOptions &options, const std::string &phase, mlir::ModuleOp module);

} // namespace lathe

#endif // LATHE_COMPILER_PASSPLUGINS_H
