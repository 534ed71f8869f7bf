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
/// besides "avx512" products by tiles ("amx"), which it asks the system for. On refusal, `*why`
/// says what is missing (a static string).
bool supportsIsa(std::string_view isa, const char **why);

/// Whether it has AVX-512 and products of bytes, VNNI, besides.
bool hasVnni();

/// The best one that this processor can execute code for; "avx2" where it can for none.
const char *bestIsa();

/// The instruction set of the code that runs where products are computed by `isa`: "avx512" for "amx".
inline std::string_view codeIsa(std::string_view isa) { return isa == "amx" ? "avx512" : isa; }

/// Orders instruction sets by preference: higher is better, negative is unknown.
int isaRank(std::string_view isa);

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_CPUFEATURES_H
