//===- Import.h - From an ONNX file to the lathe dialect --------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_IMPORT_H
#define LATHE_FRONTENDS_ONNX_IMPORT_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace lathe {

struct ImportOptions {
  /// Declared ranges by symbol, [min, max]; no max: unbounded. A dimension with min == max becomes static.
  std::map<std::string, std::pair<int64_t, std::optional<int64_t>>> dims;
};

struct ModelInfo {
  std::string name;   ///< of the graph
  std::string sha256; ///< of the .onnx file, in hexadecimal; external data are not covered
  int64_t opset = 0;  ///< of the domain ai.onnx
};

/// A node that the importer has no translation for. For a type of an input or initializer, `opType` is "Input" or
/// "Initializer" and `node` the name of the value.
struct Unsupported {
  std::string opType, domain, node, reason;
};

struct ImportResult {
  mlir::OwningOpRef<mlir::ModuleOp> module; ///< null on failure
  ModelInfo info;
  std::vector<Unsupported> unsupported; ///< every one, in the order of the graph
  std::string error;                    ///< nonempty on failure; one line for each thing that is wrong
};

/// Reads the model at `path` and its external data's sizes; weights stay in their files. Never crashes on what a file
/// holds. Loads the dialects it needs into `context`, which must not be in use by another thread.
ImportResult importOnnx(mlir::MLIRContext &context, const std::string &path, const ImportOptions &options);

} // namespace lathe

#endif // LATHE_FRONTENDS_ONNX_IMPORT_H
