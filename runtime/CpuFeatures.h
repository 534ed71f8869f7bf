//===- CpuFeatures.h - What this processor can execute ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_CPUFEATURES_H
#define LATHE_RUNTIME_CPUFEATURES_H

#include <string_view>

namespace lathe::runtime {

/// Whether this processor and its operating system can execute code for `isa` ("avx2", "avx512"), or
/// besides "avx512" products by tiles ("amx"), which it asks the system for, or of pairs of bf16 ("avx512_bf16"). On refusal, `*why`
/// says what is missing (a static string).
bool supportsIsa(std::string_view isa, const char **why);

/// Whether it has AVX-512 and products of bytes, VNNI, besides.
bool hasVnni();

/// The best one that this processor can execute code for; "avx2" where it can for none.
const char *bestIsa();

/// Those that products alone are computed by, besides the code's.
constexpr std::string_view kProductIsas[] = {"avx512_bf16", "amx"};

/// Whether one of them is there and makes products faster than the code's instruction set.
bool paysForProducts(std::string_view isa);

/// The instruction set of the code that runs where products are computed by `isa`.
inline std::string_view codeIsa(std::string_view isa) {
  for (std::string_view own : kProductIsas)
    if (isa == own)
      return "avx512";
  return isa;
}

/// Orders instruction sets by preference: higher is better, negative is unknown.
int isaRank(std::string_view isa);

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_CPUFEATURES_H
