//===- TilesAmx.h - The processor's tiles -----------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// Included only by sources that are compiled for AMX; what they call there asks runtime::hasTiles() before.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_TILESAMX_H
#define LATHE_BACKENDS_CPU_RUNTIME_TILESAMX_H

#include "backends/cpu/runtime/Tiles.h"

#include <immintrin.h>

namespace {

/// The compiler does not see that tiles are read from memory.
inline void written() { __asm__ volatile("" ::: "memory"); }

struct Tiles {
  static void configure(const lathe::cpu::TileConfig &config) { _tile_loadconfig(&config); }
  static void release() { _tile_release(); }
  static void zeroSums() {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  template <int I> static void loadSum(const void *from, int64_t stride) {
    if constexpr (I == 0)
      _tile_loadd(0, from, stride);
    if constexpr (I == 1)
      _tile_loadd(1, from, stride);
    if constexpr (I == 2)
      _tile_loadd(2, from, stride);
    if constexpr (I == 3)
      _tile_loadd(3, from, stride);
  }
  template <int I> static void storeSum(void *to, int64_t stride) {
    if constexpr (I == 0)
      _tile_stored(0, to, stride);
    if constexpr (I == 1)
      _tile_stored(1, to, stride);
    if constexpr (I == 2)
      _tile_stored(2, to, stride);
    if constexpr (I == 3)
      _tile_stored(3, to, stride);
  }
  template <int I> static void left(const void *from, int64_t stride) {
    if constexpr (I == 0)
      _tile_loadd(4, from, stride);
    else
      _tile_loadd(5, from, stride);
  }
  template <int J> static void right(const void *from, int64_t stride) {
    if constexpr (J == 0)
      _tile_loadd(6, from, stride);
    else
      _tile_loadd(7, from, stride);
  }
  /// Signed bytes on the left, unsigned ones on the right.
  template <int I, int J> static void addBytes() {
    if constexpr (I == 0 && J == 0)
      _tile_dpbsud(0, 4, 6);
    if constexpr (I == 0 && J == 1)
      _tile_dpbsud(1, 4, 7);
    if constexpr (I == 1 && J == 0)
      _tile_dpbsud(2, 5, 6);
    if constexpr (I == 1 && J == 1)
      _tile_dpbsud(3, 5, 7);
  }
  template <int I, int J> static void addBfloats() {
    if constexpr (I == 0 && J == 0)
      _tile_dpbf16ps(0, 4, 6);
    if constexpr (I == 0 && J == 1)
      _tile_dpbf16ps(1, 4, 7);
    if constexpr (I == 1 && J == 0)
      _tile_dpbf16ps(2, 5, 6);
    if constexpr (I == 1 && J == 1)
      _tile_dpbf16ps(3, 5, 7);
  }
};

} // namespace

#endif // LATHE_BACKENDS_CPU_RUNTIME_TILESAMX_H
