//===- CalibrationProgram.h - Programs that run on samples ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_CALIBRATIONPROGRAM_H
#define LATHE_COMPILER_CALIBRATIONPROGRAM_H

#include "compiler/Compress.h"
#include "compiler/TemporaryArtifact.h"

namespace lathe {

/// Makes `values` of a program the only results that it has, called tap.0 and so on.
void returnOnly(mlir::func::FuncOp program, llvm::ArrayRef<mlir::Value> values);

/// Compiles a fused program into a file that has no name any more. False with `error` set.
bool compileTemporary(const Compression &compression, mlir::ModuleOp module, TemporaryArtifact &artifact,
                      std::string &error);

/// What compression runs on calibration data, as it is now: that of the tokens, or the model itself.
mlir::ModuleOp calibratedModule(const Compression &compression);

} // namespace lathe

#endif // LATHE_COMPILER_CALIBRATIONPROGRAM_H
