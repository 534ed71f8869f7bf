//===- EqualizeStep.h - A recipe's step that equalizes ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_EQUALIZESTEP_H
#define LATHE_COMPILER_EQUALIZESTEP_H

#include "compiler/Compress.h"

namespace lathe {

/// Divides outputs of layers by factors and multiplies the inputs of those that read them, so that the ranges of both
/// are equal (Nagel et al. 2019, "Data-Free Quantization", section 4.1): programs compute what they did. Pairs are
/// those all of whose weights `covers` by the names of initializer and node. Tells what was equalized, and why other
/// layers' inputs were not. False with `error` set.
bool equalizeLayers(const Compression &compression,
                    const std::function<bool(const std::string &weight, const std::string &node)> &covers,
                    CompressionReport &report, std::string &error);

} // namespace lathe

#endif // LATHE_COMPILER_EQUALIZESTEP_H
