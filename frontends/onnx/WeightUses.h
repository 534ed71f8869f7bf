//===- WeightUses.h - What initializers are to a model ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_WEIGHTUSES_H
#define LATHE_FRONTENDS_ONNX_WEIGHTUSES_H

#include "onnx.pb.h"
#include <optional>
#include <string>
#include <vector>

namespace lathe::frontend {

/// An initializer of a graph or of a graph of its nodes, and what its readers tell of it.
struct WeightUses {
  const onnx::TensorProto *tensor = nullptr;
  /// Names that the parameter may have in the program that the model was exported from: that of the module which a
  /// reading node belongs to, and 'weight' or 'bias'.
  std::vector<std::string> parameters;
  /// Of a matrix that products read: whether what they sum over is its last axis. None where nothing tells, or readers
  /// differ.
  std::optional<bool> sumsOverRows;
  bool differs = false; ///< readers do
  bool isLayer = false; ///< products read it, or rows of it are looked up
};

/// The initializers in the order of the file. Exporters of PyTorch name nodes after their modules
/// ('/model/layers.0/mlp/up_proj/MatMul'), or say the modules beside the node (its metadata).
std::vector<WeightUses> findWeightUses(const onnx::GraphProto &graph);

/// The module that a node belongs to, such as "model.layers.0.mlp.up_proj"; empty where nothing tells.
std::string moduleOf(const onnx::NodeProto &node);

} // namespace lathe::frontend

#endif // LATHE_FRONTENDS_ONNX_WEIGHTUSES_H
