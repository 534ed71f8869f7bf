//===- QuantizationConfig.cpp - What a checkpoint says of itself ----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/safetensors/QuantizationConfig.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include <nlohmann/json.hpp>

using llvm::StringRef;
using nlohmann::json;

namespace lathe::safetensors {
namespace {

/// Reads fields of one object; what is wrong goes to `problem`, once.
struct Fields {
  const json &object;
  std::string problem;

  const json *find(std::initializer_list<const char *> names) const {
    for (const char *name : names)
      if (auto it = object.find(name); it != object.end() && !it->is_null())
        return &*it;
    return nullptr;
  }
  std::string text(std::initializer_list<const char *> names) {
    const json *value = find(names);
    if (value && !value->is_string() && problem.empty())
      problem = std::string("field '") + *names.begin() + "' expects a text";
    return value && value->is_string() ? StringRef(value->get_ref<const std::string &>()).lower() : "";
  }
  std::optional<int64_t> integer(std::initializer_list<const char *> names) {
    const json *value = find(names);
    if (value && !value->is_number_integer() && problem.empty())
      problem = std::string("field '") + *names.begin() + "' expects an integer";
    return value && value->is_number_integer() ? std::optional(value->get<int64_t>()) : std::nullopt;
  }
  /// Two numbers of at least 1.
  void block(const json &of, const char *name, QuantizationConfig &config) {
    auto it = of.find(name);
    if (it == of.end() || it->is_null())
      return;
    auto isExtent = [](const json &value) { return value.is_number_integer() && value.get<int64_t>() >= 1; };
    if (!it->is_array() || it->size() != 2 || !isExtent((*it)[0]) || !isExtent((*it)[1])) {
      if (problem.empty())
        problem = std::string("field '") + name + "' expects two integers of at least 1";
      return;
    }
    config.blockRows = (*it)[0].get<int64_t>();
    config.blockColumns = (*it)[1].get<int64_t>();
  }
};

/// compressed-tensors describes groups of layers, each with its weights. Where they differ, shapes have to tell.
void readWeightGroups(Fields &fields, QuantizationConfig &config) {
  const json *groups = fields.find({"config_groups"});
  if (!groups || !groups->is_object() || groups->size() != 1)
    return;
  const json &only = groups->begin().value();
  if (!only.is_object() || !only.contains("weights") || !only["weights"].is_object())
    return;
  const json &weights = only["weights"];
  fields.block(weights, "block_structure", config);
  if (weights.contains("group_size") && weights["group_size"].is_number_integer())
    config.groupSize = weights["group_size"].get<int64_t>();
}

} // namespace

std::string readQuantizationConfig(StringRef folder, QuantizationConfig &config) {
  // AutoGPTQ and GPTQModel; AutoAWQ; all of them when transformers saves a model.
  for (const char *name : {"quantize_config.json", "quant_config.json", "config.json"}) {
    llvm::SmallString<256> path(folder);
    llvm::sys::path::append(path, name);
    if (!llvm::sys::fs::exists(path))
      continue;
    auto text = llvm::MemoryBuffer::getFile(path);
    if (!text)
      return std::string("cannot read '") + name + "': " + text.getError().message();
    json document = json::parse((*text)->getBuffer().begin(), (*text)->getBuffer().end(), nullptr,
                                /*allow_exceptions=*/false);
    if (document.is_discarded() || !document.is_object())
      return std::string("'") + name + "' is not a JSON object";
    if (StringRef(name) == "config.json") {
      auto it = document.find("quantization_config");
      if (it == document.end() || it->is_null())
        continue;
      if (!it->is_object())
        return "'config.json': field 'quantization_config' expects an object";
      document = json(*it);
    }
    Fields fields{document, ""};
    config.source = name;
    config.method = fields.text({"quant_method"});
    config.bits = fields.integer({"bits", "w_bit"});
    config.groupSize = fields.integer({"group_size", "q_group_size"});
    config.format = fields.text({"checkpoint_format", "format", "version"});
    fields.block(document, "weight_block_size", config); // 'fp8' of transformers
    readWeightGroups(fields, config);
    config.variesByLayer = fields.find({"dynamic"}) != nullptr;
    return fields.problem.empty() ? "" : std::string("'") + name + "': " + fields.problem;
  }
  return "";
}

} // namespace lathe::safetensors
