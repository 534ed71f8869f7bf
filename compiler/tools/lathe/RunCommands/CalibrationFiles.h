//===- CalibrationFiles.h - Samples in files --------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_CALIBRATIONFILES_H
#define LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_CALIBRATIONFILES_H

#include "compiler/Calibration.h"

#include <memory>

namespace lathe::tool {

struct CalibrationOptions {
  std::string path;      ///< a .npz file, a folder of .npz files, or a one-dimensional .npy file of tokens
  int64_t context = 256; ///< tokens of a window
  size_t samples = 0;    ///< that are used, from the first; 0: all
  int threads = 0;
};

/// Opens what `path` names. Throws FileError for what is not there or no sample is in.
std::unique_ptr<CalibrationData> openCalibration(const CalibrationOptions &options);

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_CALIBRATIONFILES_H
