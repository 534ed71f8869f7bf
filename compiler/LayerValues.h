//===- LayerValues.h - The numbers of layers ------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_LAYERVALUES_H
#define LATHE_COMPILER_LAYERVALUES_H

#include "compiler/WeightFiles.h"
#include "passes/quantization/Layers.h"
#include <string>
#include <vector>

namespace lathe {

/// The weight of a layer as [outputs][inputs]. False, with `error` set, where its file can't be read.
bool readDense(WeightFiles &files, const compression::Layer &layer, std::vector<float> &dense, std::string &error);

} // namespace lathe

#endif // LATHE_COMPILER_LAYERVALUES_H
