//===- BuiltinBackends.cpp - The backends of this build ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// The one file of the runtime that knows which backends exist: lower layers do not look up. Others come in libraries of their own
// (BackendLibrary.h).
//
//===----------------------------------------------------------------------===//
#include "runtime/Backend.h"

#ifdef LATHE_HAS_CPU_BACKEND
#include "backends/cpu/runtime/CpuBackend.h"
#endif

#include <mutex>

void lathe::runtime::registerBuiltinBackends() {
  static std::once_flag once;
  std::call_once(once, [] {
#ifdef LATHE_HAS_CPU_BACKEND
    registerBackend(cpu::cpuBackend());
#endif
  });
}
