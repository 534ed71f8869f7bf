//===- EmulatedTiles.cpp - Products by tiles, without a processor's -------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// Defines what QuantIntegerAmx.cpp and GemmAmx.cpp do, so that the linker takes these: the same loops over emulated
// tiles.
//
//===----------------------------------------------------------------------===//
#include "TilesEmulated.h"
#include "backends/cpu/runtime/QuantVnni.h"

#include "backends/cpu/runtime/GemmTiles.inc"
#include "backends/cpu/runtime/QuantTiles.inc"

const lathe::cpu::TileKernels lathe::cpu::kTilesAmx = kKernels;

lathe::cpu::IntegerKernels lathe::cpu::integerKernelsAmx(int64_t bits) { return chooseTileKernels(bits); }
