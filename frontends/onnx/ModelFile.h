//===- ModelFile.h - A mapped ONNX file -------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_MODELFILE_H
#define LATHE_FRONTENDS_ONNX_MODELFILE_H

#include "onnx.pb.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/MemoryBuffer.h"
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace lathe::frontend {

/// The raw bytes of a tensor, and where they begin in its file.
struct RawData {
  llvm::StringRef bytes;
  int64_t offset = 0;
};

/// A model whose tensors' raw data were left in the mapped file: the field raw_data of a tensor of `proto` holds the
/// number of an entry of `rawData`, also after functions were inlined.
struct ModelFile {
  std::unique_ptr<llvm::MemoryBuffer> buffer;
  onnx::ModelProto proto;
  std::vector<RawData> rawData;
  std::string directory;                       ///< absolute, of the path as given
  std::string fileName;
  std::string sha256;

  /// Nothing for a tensor whose values are in fields of their types, or external.
  std::optional<RawData> raw(const onnx::TensorProto &tensor) const;
};

/// Returns what is wrong, or an empty string.
std::string readModelFile(const std::string &path, ModelFile &file);

/// Where external data lie, checked.
struct ExternalData {
  std::string file;
  int64_t offset = 0;
};

/// Finds the `expectedBytes` bytes of an external tensor of `owner`, as messages name it. Only files inside the model's folder, or inside the folder
/// that the model's own link resolves to, are accepted. Returns what is wrong, or an empty string.
std::string locateExternalData(const ModelFile &file, const onnx::TensorProto &tensor, llvm::StringRef owner,
                               int64_t expectedBytes, ExternalData &data);

} // namespace lathe::frontend

#endif // LATHE_FRONTENDS_ONNX_MODELFILE_H
