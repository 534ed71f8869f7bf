//===- PassPlugins.h - Passes that users bring ------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_PASSPLUGINS_H
#define LATHE_COMPILER_PASSPLUGINS_H

#include "compiler/Compile.h"

namespace mlir {
class PassManager;
}

namespace lathe {

/// Loads the plug-ins of the options, whose passes are then known by their names, and looks at the pipelines. Returns
/// what is wrong; empty where nothing is. A plug-in is code of this process from there on.
std::string preparePasses(const CompileOptions &options);

/// Appends the pipelines that run behind a phase, which preparePasses() found right.
void addPipelines(const CompileOptions &options, const std::string &phase, mlir::PassManager &manager);

} // namespace lathe

#endif // LATHE_COMPILER_PASSPLUGINS_H
