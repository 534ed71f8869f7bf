//===- Rounding.h - Quotients and sizes that are rounded up -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_ROUNDING_H
#define LATHE_BACKENDS_CPU_RUNTIME_ROUNDING_H

#include <cstddef>
#include <cstdint>

namespace lathe::cpu {

/// a / b rounded up, for a from 0 and b above 0; never overflows.
inline int64_t ceilDiv(int64_t a, int64_t b) { return a / b + (a % b != 0); }

/// Bytes in whole cache lines.
inline size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_ROUNDING_H
