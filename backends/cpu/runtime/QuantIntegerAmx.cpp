//===- QuantIntegerAmx.cpp - Products of integers -------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/QuantVnni.h"
#include "backends/cpu/runtime/TilesAmx.h"

#include "backends/cpu/runtime/QuantTiles.inc"

lathe::cpu::IntegerKernels lathe::cpu::integerKernelsAmx(int64_t bits) { return chooseTileKernels(bits); }
