//===- ProductSupport.h - What tests of products share ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_TEST_UNIT_RUNTIME_PRODUCTSUPPORT_H
#define LATHE_TEST_UNIT_RUNTIME_PRODUCTSUPPORT_H

#include "runtime/Abi.h"
#include "runtime/CpuFeatures.h"

#include <cmath>
#include <random>
#include <string>
#include <vector>

namespace lathe::test {

/// Those of products whose loops differ, as far as this machine has them. With emulated tiles (EmulatedTiles.cpp) only
/// "amx", which takes no more than AVX-512 and VNNI then.
inline std::vector<std::string> instructionSets() {
  std::vector<std::string> result;
#ifdef LATHE_EMULATED_TILES
  if (runtime::hasVnni())
    result.push_back("amx");
#else
  const char *why = nullptr;
  for (const char *isa : {"avx2", "avx512", "avx512_bf16", "amx"})
    if (runtime::supportsIsa(isa, &why))
      result.push_back(isa);
#endif
  return result;
}

/// Numbers from -1 to 1.
inline std::vector<float> randomValues(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (float &value : values)
    value = static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 1000;
  return values;
}

/// What steps of products give, in twice the precision.
inline double activated(int64_t activation, double x) {
  switch (activation) {
  case LATHE_ACT_RELU:
    return x > 0 ? x : 0;
  case LATHE_ACT_GELU_ERF:
    return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
  case LATHE_ACT_GELU_TANH:
    return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  case LATHE_ACT_TANH:
    return std::tanh(x);
  case LATHE_ACT_SILU:
    return x / (1 + std::exp(-x));
  case LATHE_ACT_SIGMOID:
    return 1 / (1 + std::exp(-x));
  default:
    return x;
  }
}

} // namespace lathe::test

#endif // LATHE_TEST_UNIT_RUNTIME_PRODUCTSUPPORT_H
