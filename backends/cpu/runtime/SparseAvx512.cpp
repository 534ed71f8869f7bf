//===- SparseAvx512.cpp - Products with matrices with zeros -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/VectorAvx512.h"

#include "backends/cpu/runtime/SparseKernels.inc"

const lathe::cpu::SparseKernels lathe::cpu::kSparseAvx512 = makeKernels();
