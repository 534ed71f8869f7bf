//===- ManifestJson.h - What an artifact's manifest says --------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_MANIFESTJSON_H
#define LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_MANIFESTJSON_H

#include "lathe/lathe.hpp"
#include <nlohmann/json.hpp>

namespace lathe::tool {

/// A member, null where there is none.
inline nlohmann::ordered_json member(const nlohmann::ordered_json &object, const char *key) {
  auto it = object.is_object() ? object.find(key) : object.end();
  return it == object.end() ? nlohmann::ordered_json() : nlohmann::ordered_json(*it);
}

/// The manifest, which the runtime has parsed before, as if the artifact were for the module's device alone: `main` of that device is what
/// the manifest itself describes, and `programs` are the others of the device.
inline nlohmann::ordered_json manifestOf(const Module &module) {
  using nlohmann::ordered_json;
  ordered_json manifest = ordered_json::parse(module.manifest()), others = ordered_json::array();
  if (!manifest.contains("programs"))
    return manifest;
  const std::string chosen = module.info().device;
  auto deviceOf = [](const ordered_json &program) { return program.value("device", "cpu"); };
  auto isChosen = [&](const std::string &device) { return device == chosen || device + "-emulator" == chosen; };
  const ordered_json *main = nullptr;
  for (const ordered_json &program : manifest["programs"]) {
    if (!isChosen(deviceOf(program)))
      continue;
    if (!isChosen(deviceOf(manifest)) && !main)
      main = &program; // the first of a device
    else
      others.push_back(program);
  }
  if (main) {
    ordered_json members = *main;
    members.erase("name");
    for (const char *key : {"caches", "work", "reads"}) // which not all programs have
      manifest.erase(key);
    manifest.update(members);
  }
  manifest["programs"] = std::move(others);
  return manifest;
}

/// Names of the nodes of the model that each kernel computes; several where they were fused.
inline std::vector<std::vector<std::string>> nodesOfKernels(const Module &module) {
  using nlohmann::ordered_json;
  ordered_json kernels = member(manifestOf(module), "kernels");
  std::vector<std::vector<std::string>> result(module.info().kernel_count);
  for (size_t i = 0; i < result.size() && i < kernels.size(); ++i)
    for (const ordered_json &node : member(kernels[i], "nodes"))
      if (node.is_string())
        result[i].push_back(node.get<std::string>());
  return result;
}

inline uint64_t weightsBytes(const nlohmann::ordered_json &manifest, const lathe_module_info &info) {
  nlohmann::ordered_json bytes = member(manifest, "weights_bytes");
  return bytes.is_number_unsigned() ? bytes.get<uint64_t>() : info.constants_bytes;
}

/// Whether a program beside the model keeps keys and values as codes, so that it computes something else than the model itself.
inline bool roundsCaches(const nlohmann::ordered_json &manifest) {
  for (const nlohmann::ordered_json &program : member(manifest, "programs"))
    for (const nlohmann::ordered_json &cache : member(program, "caches"))
      if (!member(cache, "group").is_null())
        return true;
  return false;
}

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_MANIFESTJSON_H
