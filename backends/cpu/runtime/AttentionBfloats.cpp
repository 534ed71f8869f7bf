//===- AttentionBfloats.cpp - Attention with AVX-512 BF16 -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/AttentionVectorAvx512.h"

#include "backends/cpu/runtime/AttentionKernel.h"

const lathe::cpu::AttentionKernels lathe::cpu::kAttentionBfloats = {"avx512_bf16", runBlock, combineParts, exponentials,
                                                                    hyperbolicTangents};
