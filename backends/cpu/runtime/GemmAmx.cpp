//===- GemmAmx.cpp - Products of bf16 -------------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/TilesAmx.h"

#include "backends/cpu/runtime/GemmTiles.inc"

const lathe::cpu::TileKernels lathe::cpu::kTilesAmx = kKernels;
