//===- ImportOptions.h - What an import is told and tells -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_IMPORTOPTIONS_H
#define LATHE_FRONTENDS_ONNX_IMPORTOPTIONS_H

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
  std::string hint; ///< what the user can do about it
};

} // namespace lathe

#endif // LATHE_FRONTENDS_ONNX_IMPORTOPTIONS_H
