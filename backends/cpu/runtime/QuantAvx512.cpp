//===- QuantAvx512.cpp - Loops over quantized weights ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/QuantWordsAvx512.h"

#include "backends/cpu/runtime/QuantKernels.inc"

lathe::cpu::QuantKernels lathe::cpu::quantKernelsAvx512(const QuantFormat &format) { return chooseKernels(format); }
