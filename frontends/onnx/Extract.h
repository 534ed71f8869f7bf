//===- Extract.h - A part of an ONNX model as a model -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_EXTRACT_H
#define LATHE_FRONTENDS_ONNX_EXTRACT_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace lathe {

/// Nodes of a model's graph, and what goes in and out of them. Constants, which are not counted, go with their readers.
struct ModelPart {
  std::vector<std::string> nodes; ///< names, in the order of the graph; those without one are called by type and number
  std::vector<std::string> inputs;    ///< values of the graph that they read
  std::vector<std::string> outputs;   ///< values of theirs that others read, or that the graph gives out
  std::vector<std::string> constants; ///< initializers that they read
};

/// The type of a value, for the graph of a part.
struct PartValue {
  std::string name;
  int type = 0;                   ///< of onnx::TensorProto::DataType
  std::vector<std::string> shape; ///< a number or the name of a dimension each
};

/// At most `count` nodes around that which is called `node`, or has it within a graph or function of its own, or is the
/// first that reads an initializer of that name: the nearest, producers before consumers. False, with `error` set,
/// where there is no such node or no such model.
bool findPart(const std::string &model, const std::string &node, size_t count, ModelPart &part, std::string &error);

/// Writes these nodes as a model of their own, with the constants that they read, names kept. `types` are those of the
/// part's inputs and outputs.
bool writePart(const std::string &model, const ModelPart &part, const std::vector<PartValue> &types,
               const std::string &output, std::string &error);

} // namespace lathe

#endif // LATHE_FRONTENDS_ONNX_EXTRACT_H
