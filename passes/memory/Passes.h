//===- Passes.h - Passes that plan memory -----------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_MEMORY_PASSES_H
#define LATHE_PASSES_MEMORY_PASSES_H

#include "dialects/kernel/Kernel.h"
#include "dialects/lathe/Lathe.h"
#include "mlir/Pass/Pass.h"

namespace lathe::memory {
#define GEN_PASS_DECL
#include "passes/memory/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "passes/memory/Passes.h.inc"
} // namespace lathe::memory

#endif // LATHE_PASSES_MEMORY_PASSES_H
