//===- Checkpoint.h - The weights of a model in safetensors -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_SAFETENSORS_CHECKPOINT_H
#define LATHE_FRONTENDS_SAFETENSORS_CHECKPOINT_H

#include "frontends/safetensors/PackedWeight.h"
#include "frontends/safetensors/QuantizationConfig.h"
#include "frontends/safetensors/Safetensors.h"
#include <map>
#include <string>
#include <vector>

namespace lathe::safetensors {

/// A parameter of a model by its name: a tensor, or the codes of a quantized layer, which stand for its 'weight'.
struct Parameter {
  const Tensor *dense = nullptr;
  const PackedWeight *packed = nullptr;
  std::string stored; ///< the name of the tensor, or of the codes
};

/// One file, or the files of a folder. Their bytes are mapped; nothing is read before it is asked for.
class Checkpoint {
public:
  /// `path` is a file of tensors, an index of several (*.safetensors.index.json), or a folder with an index or with
  /// files. Returns what is wrong, or an empty string.
  std::string open(const std::string &path);

  /// All parameters by name.
  const std::map<std::string, Parameter> &parameters() const { return byName; }
  const File &fileOf(const Tensor &tensor) const { return files[tensor.file]; }
  llvm::StringRef bytes(const Tensor &tensor) const { return fileOf(tensor).bytes(tensor); }
  /// The path as it was given.
  const std::string &name() const { return path; }

private:
  std::string findFiles(std::string &folder, std::vector<std::string> &names,
                        std::map<std::string, std::string> &index) const;
  std::string readIndex(const std::string &file, std::vector<std::string> &names,
                        std::map<std::string, std::string> &index) const;
  std::string openFile(const std::string &folder, const std::string &name);
  std::string findLayers(const std::string &folder);

  std::string path;
  std::vector<File> files;
  Tensors tensors;
  std::map<std::string, PackedWeight> layers; ///< by the layer's name
  std::map<std::string, Parameter> byName;
};

} // namespace lathe::safetensors

#endif // LATHE_FRONTENDS_SAFETENSORS_CHECKPOINT_H
