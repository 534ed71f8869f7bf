//===- CpuFeatures.cpp - What this processor can execute --------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/CpuFeatures.h"

#include <cpuid.h>
#include <cstdint>
#include <sys/syscall.h>
#include <unistd.h>

using namespace lathe::runtime;

namespace {

struct Features {
  bool avx2 = false;
  bool avx512 = false;
  bool vnni = false;
  bool amx = false; ///< tiles with products of bf16 and of bytes
  bool bfloats = false;     ///< products of pairs of bf16
  bool fastBfloats = false; ///< which take no longer than those of as many f32
};

uint64_t readXcr0() {
  uint32_t low = 0;
  uint32_t high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

/// Linux lends the tiles to a process that asks for them, before or after its threads start.
bool lendTiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

Features detect() {
  Features features;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d))
    return features;
  bool osxsave = c & bit_OSXSAVE;
  bool base = (c & bit_AVX) && (c & bit_FMA) && (c & bit_F16C);
  if (!osxsave || !base || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
    return features;
  // The operating system must save the wide registers, or their content is lost at a switch of threads.
  uint64_t xcr0 = readXcr0();
  bool ymm = (xcr0 & 0x6) == 0x6;
  bool zmm = (xcr0 & 0xe6) == 0xe6;
  features.avx2 = ymm && (b & bit_AVX2) && (b & bit_BMI2);
  features.avx512 = features.avx2 && zmm && (b & bit_AVX512F) && (b & bit_AVX512BW) && (b & bit_AVX512DQ) &&
                    (b & bit_AVX512VL) && (b & bit_AVX512CD);
  features.vnni = features.avx512 && (c & bit_AVX512VNNI);
  constexpr unsigned kAmd = 0x68747541; // "Auth"
  unsigned leaves = 0, vendor = 0, unused = 0, a1 = 0;
  if (features.vnni && a >= 1 && __get_cpuid_count(7, 1, &a1, &unused, &unused, &unused))
    features.bfloats = a1 & 1u << 5;
  // AMD's begin two in the time of two of f32; Intel's one, so that nothing is won.
  features.fastBfloats = features.bfloats && __get_cpuid(0, &leaves, &vendor, &unused, &unused) && vendor == kAmd;
  constexpr uint32_t kAmx = 1u << 22 | 1u << 24 | 1u << 25; // bf16, tiles, bytes
  constexpr uint64_t kTileState = 3u << 17;
  features.amx = features.vnni && (d & kAmx) == kAmx && (xcr0 & kTileState) == kTileState && lendTiles();
  return features;
}

} // namespace

static const Features &features() {
  static const Features features = detect();
  return features;
}

bool lathe::runtime::hasVnni() { return features().vnni; }

bool lathe::runtime::supportsIsa(std::string_view isa, const char **why) {
  *why = "this runtime does not know it";
  if (isa == "avx2") {
    *why = "the processor lacks AVX2, FMA, BMI2 or F16C";
    return features().avx2;
  }
  if (isa == "avx512") {
    *why = "the processor lacks AVX-512 F, BW, DQ, VL or CD";
    return features().avx512;
  }
  if (isa == "amx") {
    *why = "the processor lacks AMX for bf16 and int8, or the system does not lend it";
    return features().amx;
  }
  if (isa == "avx512_bf16") {
    *why = "the processor lacks AVX-512 VNNI or BF16";
    return features().bfloats;
  }
  return false;
}

bool lathe::runtime::paysForProducts(std::string_view isa) {
  return isa == "amx" ? features().amx : isa == "avx512_bf16" && features().fastBfloats;
}

const char *lathe::runtime::bestIsa() { return features().avx512 ? "avx512" : "avx2"; }

int lathe::runtime::isaRank(std::string_view isa) {
  return isa == "amx" ? 4 : isa == "avx512_bf16" ? 3 : isa == "avx512" ? 2 : isa == "avx2" ? 1 : -1;
}
