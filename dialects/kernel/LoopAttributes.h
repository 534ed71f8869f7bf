//===- LoopAttributes.h - Attributes of kernels' loops ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_DIALECTS_KERNEL_LOOPATTRIBUTES_H
#define LATHE_DIALECTS_KERNEL_LOOPATTRIBUTES_H

#include "llvm/ADT/StringRef.h"

namespace lathe::kernel {
/// A text on a loop: why its iterations are computed one by one.
inline constexpr llvm::StringLiteral kScalarAttr = "kernel.scalar";
} // namespace lathe::kernel

#endif // LATHE_DIALECTS_KERNEL_LOOPATTRIBUTES_H
