//===- RowKernelsAvx2.cpp - Passes over a row, AVX2 -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/generation/RowKernels.inc"

namespace lathe::runtime {
extern const RowKernels kRowKernelsAvx2;
const RowKernels kRowKernelsAvx2 = kKernels;
} // namespace lathe::runtime
