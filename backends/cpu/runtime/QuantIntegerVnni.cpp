//===- QuantIntegerVnni.cpp - Products of integers ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/QuantVnni.h"

#include "backends/cpu/runtime/QuantInteger.inc"

lathe::cpu::IntegerKernels lathe::cpu::integerKernelsVnni(int64_t bits) { return chooseKernels(bits); }
