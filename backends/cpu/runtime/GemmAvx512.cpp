//===- GemmAvx512.cpp - Products with packed weights -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/VectorAvx512.h"

#include "backends/cpu/runtime/GemmKernels.inc"

const lathe::cpu::GemmKernels lathe::cpu::kGemmAvx512 = {multiplyBlock<F32>, multiplyBlock<Bf16>, multiplyBlock<F16>,
                                                     widen<Bf16>, widen<F16>, finishRows};
