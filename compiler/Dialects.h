//===- Dialects.h - What the compiler and its tools register ----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_DIALECTS_H
#define LATHE_COMPILER_DIALECTS_H

#include "mlir/IR/DialectRegistry.h"

namespace lathe {

/// The dialects of every phase.
void registerDialects(mlir::DialectRegistry &registry);
/// The project's passes and pipelines, and MLIR's transforms that their tests use, by name.
void registerPasses();

} // namespace lathe

#endif // LATHE_COMPILER_DIALECTS_H
