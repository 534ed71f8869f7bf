//===- QuantizationConfig.h - What a checkpoint says of itself --*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_SAFETENSORS_QUANTIZATIONCONFIG_H
#define LATHE_FRONTENDS_SAFETENSORS_QUANTIZATIONCONFIG_H

#include "llvm/ADT/StringRef.h"
#include <cstdint>
#include <optional>
#include <string>

namespace lathe::safetensors {

/// The fields that matter for reading a checkpoint that AutoGPTQ, GPTQModel, AutoAWQ, llm-awq, compressed-tensors or
/// transformers wrote.
struct QuantizationConfig {
  std::string source; ///< the file that says so; empty for none
  std::string method; ///< "gptq", "awq", or another; empty where it is not said
  std::optional<int64_t> bits;
  std::optional<int64_t> groupSize;               ///< -1: all inputs of an output
  std::string format;                             ///< such as "gptq_v2", "gemm"; empty where it is not said
  std::optional<int64_t> blockRows, blockColumns; ///< outputs and inputs that share a scale, of codes of a byte
  bool variesByLayer = false;                     ///< layers may have other bits and groups
};

/// Reads the files of these names in `folder`, where they are: quantize_config.json, quant_config.json, and the object
/// quantization_config of config.json. Returns what is wrong, or an empty string.
std::string readQuantizationConfig(llvm::StringRef folder, QuantizationConfig &config);

} // namespace lathe::safetensors

#endif // LATHE_FRONTENDS_SAFETENSORS_QUANTIZATIONCONFIG_H
