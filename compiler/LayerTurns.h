//===- LayerTurns.h - Layers, one after another -----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_LAYERTURNS_H
#define LATHE_COMPILER_LAYERTURNS_H

#include "passes/quantization/Layers.h"

namespace lathe {

/// Layers in the order in which a program comes to them: those of a turn read nothing that another layer of the same or
/// a later turn computes, but for those of one branch or loop. Products that share their left side are of one turn;
/// layers that the program has no product of are of the last one.
std::vector<std::vector<compression::Layer>> layersInTurns(const std::vector<compression::Layer> &layers,
                                                           mlir::func::FuncOp program);

} // namespace lathe

#endif // LATHE_COMPILER_LAYERTURNS_H
