//===- ImportOptions.h - What an import is told and tells -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_IMPORTOPTIONS_H
#define LATHE_FRONTENDS_ONNX_IMPORTOPTIONS_H

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace lathe {

struct ImportOptions {
  /// Declared ranges by symbol, [min, max]; no max: unbounded. A dimension with min == max becomes static.
  std::map<std::string, std::pair<int64_t, std::optional<int64_t>>> dims;
  /// A checkpoint in safetensors (file, index or folder) whose parameters take the place of the model's; none, if empty.
  std::string weights = {};
  /// Patterns of parameters of the checkpoint that are left out.
  std::vector<std::string> skippedWeights = {};
  /// Parameters of the checkpoint that belong to nothing are left out, as where the model is a part of what it is of.
  bool partialWeights = false;
  /// Where bytes lie that were kept.
  struct Kept {
    std::string file;
    uint64_t offset = 0;
  };
  /// Keeps the codes of quantized weights, which are taken apart; what is wrong where it can't.
  std::function<std::optional<Kept>(const void *data, uint64_t size, std::string &error)> keep = {};
};

/// Initializers that a checkpoint replaced, by quantized weights and by numbers as they are; and weights of products that it did not.
struct AttachedWeights {
  size_t quantized = 0, dense = 0, kept = 0;
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
  std::string hint; ///< what the user can do about it
};

} // namespace lathe

#endif // LATHE_FRONTENDS_ONNX_IMPORTOPTIONS_H
