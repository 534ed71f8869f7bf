//===- RowKernels.cpp - Passes over a row of logits -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/generation/RowKernels.inc"
#include "runtime/CpuFeatures.h"

namespace lathe::runtime {

extern const RowKernels kRowKernelsAvx2;
extern const RowKernels kRowKernelsAvx512;

const RowKernels *rowKernels(const char *isa) {
  const char *why = nullptr;
  std::string_view name = isa;
  if (name == "baseline")
    return &kKernels;
  if (!supportsIsa(name, &why))
    return nullptr;
  return name == "avx512" ? &kRowKernelsAvx512 : &kRowKernelsAvx2;
}

const RowKernels &rowKernels() {
  static const RowKernels *best = [] {
    for (const char *isa : {"avx512", "avx2"})
      if (const RowKernels *kernels = rowKernels(isa))
        return kernels;
    return &kKernels;
  }();
  return *best;
}

} // namespace lathe::runtime
