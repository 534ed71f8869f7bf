//===- RotateStep.h - A recipe's step that rotates --------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_ROTATESTEP_H
#define LATHE_COMPILER_ROTATESTEP_H

#include "compiler/Compress.h"
#include "runtime/ThreadPool.h"

namespace lathe {

/// Multiplies what is written to residual streams by a random Hadamard matrix and what reads them by its inverse, gains
/// of norms and means of layer norms being folded into both before (Ashkboos et al. 2024, "QuaRot", section 4.1;
/// Ashkboos et al. 2024, "SliceGPT", section 3, for layer norms): programs compute what they did. Tells what was
/// rotated, and why other streams were not. False with `error` set.
bool rotateStreams(const Compression &compression, const RecipeStep &step, runtime::ThreadPool &pool,
                   CompressionReport &report, std::string &error);

} // namespace lathe

#endif // LATHE_COMPILER_ROTATESTEP_H
