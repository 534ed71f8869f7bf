//===- Export.h - From the lathe dialect to an ONNX file --------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_EXPORT_EXPORT_H
#define LATHE_FRONTENDS_ONNX_EXPORT_EXPORT_H

#include "dialects/lathe/Lathe.h"
#include <functional>
#include <string>

namespace onnx {
class ModelProto;
}

namespace lathe {

struct ExportOptions {
  /// The bytes of a weight, row-major and little-endian, as many as its type takes; valid until the export ends. Null, with `error` set,
  /// where they can't be had.
  std::function<const char *(WeightOp weight, uint64_t size, std::string &error)> weightBytes;
  /// Bytes of constants that the model holds itself. Where there are more, those of a kilobyte and above go to a file beside it, of
  /// the model's name and `.data`.
  uint64_t embedded = uint64_t(64) << 20;
};

/// Writes the function `main` of a module of the lathe dialect, between the phases import and fuse, as plain ONNX operators. Names of
/// inputs, outputs, symbolic dimensions and nodes (from locations) are kept; conditions that a run must satisfy (`lathe.require`) are
/// left out. The same module gives the same bytes. On failure, which names the node that has no form in ONNX, nothing is written;
/// `isUnwritable` is set where that is the fault of the file, not of the module.
mlir::LogicalResult exportOnnx(mlir::ModuleOp module, const std::string &path, const ExportOptions &options,
                               std::string &error, bool *isUnwritable = nullptr);

/// The same into memory, with all constants inside.
mlir::LogicalResult exportOnnx(mlir::ModuleOp module, onnx::ModelProto &model, const ExportOptions &options,
                               std::string &error);

} // namespace lathe

#endif // LATHE_FRONTENDS_ONNX_EXPORT_EXPORT_H
