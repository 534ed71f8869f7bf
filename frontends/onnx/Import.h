//===- Import.h - From an ONNX file to the lathe dialect --------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_IMPORT_H
#define LATHE_FRONTENDS_ONNX_IMPORT_H

#include "frontends/onnx/ImportOptions.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

namespace lathe {

struct ImportResult {
  mlir::OwningOpRef<mlir::ModuleOp> module; ///< null on failure
  ModelInfo info;
  std::vector<Unsupported> unsupported; ///< every one, in the order of the graph
  std::string error;                    ///< nonempty on failure; one line for each thing that is wrong
  std::string otherErrors;              ///< those lines of `error` that `unsupported` does not say
  AttachedWeights attached;
  bool badOptions = false;              ///< the error is of the options, not of the model
};

/// Reads the model at `path` and its external data's sizes; weights stay in their files. Never crashes on what a file
/// holds. Loads the dialects it needs into `context`, which must not be in use by another thread. `moreOutputs` are values
/// of the graph, functions inlined, that are given out behind its outputs, which they may repeat.
ImportResult importOnnx(mlir::MLIRContext &context, const std::string &path, const ImportOptions &options,
                        const std::vector<std::string> &moreOutputs = {});

} // namespace lathe

#endif // LATHE_FRONTENDS_ONNX_IMPORT_H
