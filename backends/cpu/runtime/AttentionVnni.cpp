//===- AttentionVnni.cpp - Attention with AVX-512 and VNNI ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/AttentionVectorAvx512.h"

#include "backends/cpu/runtime/AttentionKernel.h"

#include "backends/cpu/runtime/AttentionBytes.h"

bool lathe::cpu::runAttentionVnni(const AttentionBlock &block, AttentionBytes &bytes) {
  return ByteRun(block, bytes).run();
}
