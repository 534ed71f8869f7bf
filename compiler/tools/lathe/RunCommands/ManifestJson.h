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

/// The manifest, which the runtime has parsed before.
inline nlohmann::ordered_json manifestOf(const Module &module) { return nlohmann::ordered_json::parse(module.manifest()); }

/// A member, null where there is none.
inline nlohmann::ordered_json member(const nlohmann::ordered_json &object, const char *key) {
  auto it = object.is_object() ? object.find(key) : object.end();
  return it == object.end() ? nlohmann::ordered_json() : nlohmann::ordered_json(*it);
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
