//===- EmptyMatmul.h - Products over nothing --------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_EMPTYMATMUL_H
#define LATHE_BACKENDS_CPU_RUNTIME_EMPTYMATMUL_H

#include "runtime/Abi.h"
#include "runtime/Status.h"

namespace lathe::cpu {

/// A product whose inner dimension is 0: out = activation(bias) + residual. Rare, so plain loops.
runtime::Status emptyMatmul(const lathe_matmul_call &call);

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_EMPTYMATMUL_H
