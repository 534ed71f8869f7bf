//===- QuantInteger.cpp - Products of integers ------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/QuantInteger.h"

#include "backends/cpu/runtime/Tiles.h"
#include "runtime/CpuFeatures.h"

lathe::cpu::IntegerKernels lathe::cpu::integerKernels(std::string_view isa, int64_t bits, int64_t group, int64_t k) {
  if (isa == "amx" && (group >= k || group % kTileBytes == 0))
    return integerKernelsAmx(bits);
  if (runtime::codeIsa(isa) == "avx512" && runtime::hasVnni())
    return integerKernelsVnni(bits);
  return isa == "avx2" ? integerKernelsAvx2(bits) : integerKernelsAvx512(bits);
}
