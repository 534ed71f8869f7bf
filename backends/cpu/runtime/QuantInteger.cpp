//===- QuantInteger.cpp - Products of integers ------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/QuantInteger.h"

#include "runtime/CpuFeatures.h"

lathe::cpu::IntegerKernels lathe::cpu::integerKernels(std::string_view isa, int64_t bits) {
  if (isa == "avx512" && runtime::hasVnni())
    return integerKernelsVnni(bits);
  return isa == "avx512" || isa == "avx512bw" ? integerKernelsAvx512(bits) : integerKernelsAvx2(bits);
}
