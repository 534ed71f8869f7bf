//===- Compress.h - The compression of a model's weights --------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_COMPRESS_H
#define LATHE_COMPILER_COMPRESS_H

#include "compiler/Calibration.h"
#include "compiler/CompressionReport.h"
#include "compiler/Gradients.h"
#include "compiler/Recipe.h"
#include "compiler/Resume.h"
#include "compiler/Stopwatch.h"
#include "compiler/WeightFiles.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include <functional>
#include <string>
#include <vector>

namespace lathe {

class LayerStatistics;

struct Compression {
  llvm::SmallVector<mlir::func::FuncOp> programs; ///< simplified and fused; they share weights
  mlir::ModuleOp main;                            ///< the module of the first
  mlir::ModuleOp calibrated;                      ///< what runs on calibration data; null for `main`
  /// Makes the program of the tokens alone, simplified and fused: what decoders are calibrated by.
  std::function<mlir::OwningOpRef<mlir::ModuleOp>(std::string &error)> tokenProgram;
  WeightFiles *files = nullptr;
  const Recipe *recipe = nullptr;
  CalibrationData *data = nullptr; ///< null for none
  const Gradients *gradients = nullptr; ///< of a loss; null for none
  Resume *resume = nullptr;        ///< what finished parts are kept in; not null
  std::string whyNoCache;          ///< where no program has one
  /// What is known already of what layers get, so that trials need not run the model for it; null for nothing.
  const LayerStatistics *statistics = nullptr;
  bool keepsExpressions = false; ///< what is changed is not run as it is: what a weight becomes stays one value, however slow
  unsigned threads = 1;
  /// Compiles a fused program for this machine.
  std::function<bool(mlir::ModuleOp module, const std::string &path, std::string &error)> compile;
  std::function<void(const std::string &)> progress;
  /// Selects kernels for a fused program and names the weights that kernels make dense at each run.
  std::function<bool(mlir::ModuleOp module, std::vector<std::string> &dense, std::string &error)> findDense;
  std::string target = "cpu"; ///< as users call it
  Stopwatch *stopwatch = nullptr; ///< null where nothing can be timed; see whyNotTimed() of LayerTimes.h
  std::string whyNotTimed;        ///< where times of this machine say nothing
  /// As `compile`, in the precision that the model will have.
  std::function<bool(mlir::ModuleOp module, const std::string &path, std::string &error)> compileTimed;
  std::string floats = "f32"; ///< what weights that are not compressed are stored in
  int64_t rows = 1;           ///< of products that are timed, where the model does not say; see ProductRows.h
  bool timeAll = false;       ///< times are wanted even where nothing depends on them
  bool isPortable = false;    ///< what is written is for other runtimes, so that the times of ours decide nothing
};

/// Compresses the weights of programs, step by step. False with `error` set; `isUsage` where the recipe or the data are
/// wrong.
bool compress(const Compression &compression, CompressionReport &report, bool &isUsage, std::string &error);

} // namespace lathe

#endif // LATHE_COMPILER_COMPRESS_H
