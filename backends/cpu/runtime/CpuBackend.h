//===- CpuBackend.h - The device 'cpu' --------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_CPUBACKEND_H
#define LATHE_BACKENDS_CPU_RUNTIME_CPUBACKEND_H

#include "runtime/Backend.h"

namespace lathe::cpu {

/// The backend of this processor; lives as long as the process. DNNL_MAX_CPU_ISA bounds what oneDNN uses of it.
runtime::Backend &cpuBackend();

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_CPUBACKEND_H
