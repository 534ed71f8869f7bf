//===- RowKernelsAvx512.cpp - Passes over a row, AVX-512 --------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/generation/RowKernels.inc"

namespace lathe::runtime {
extern const RowKernels kRowKernelsAvx512;
const RowKernels kRowKernelsAvx512 = kKernels;
} // namespace lathe::runtime
