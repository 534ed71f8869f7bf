//===- InspectPage.cpp - What is inside, as a page ------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/InspectPage.h"
#include "compiler/tools/lathe/RunCommands/ManifestJson.h"
#include <cstdio>

using nlohmann::ordered_json;

namespace lathe::tool {
namespace {

std::string text(const ordered_json &value) {
  return value.is_string() ? value.get<std::string>()
                           : value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

std::string megabytes(const ordered_json &bytes) {
  char buffer[32];
  snprintf(buffer, sizeof buffer, "%.2f MB", bytes.is_number() ? bytes.get<double>() / 1e6 : 0.0);
  return buffer;
}

/// "int4 g32" of codes, "bf16" of others, with a note on zeros that are not stored.
std::string storedAs(const ordered_json &constant) {
  if (ordered_json quantized = member(constant, "quantized"); quantized.is_object()) {
    std::string group = text(member(quantized, "group"));
    return text(member(quantized, "values")) + " " + text(member(quantized, "bits")) + " bits" +
           (group == "0" ? "" : ", groups of " + group);
  }
  if (constant.contains("sparse"))
    return "sparse " + text(member(constant, "type"));
  return text(member(constant, "type")) + (constant.contains("packed") ? ", packed" : "");
}

ordered_json nodesOf(const ordered_json &kernels, const ordered_json &constants, const std::string &device) {
  ordered_json list = ordered_json::array();
  for (const ordered_json &kernel : kernels) {
    ordered_json nodes = member(kernel, "nodes"), result = member(kernel, "result");
    std::string node = result.is_object() ? text(member(result, "node")) : "";
    if (node.empty() && nodes.is_array() && !nodes.empty())
      node = text(nodes.back());
    ordered_json entry = {
        {"op", text(member(kernel, "kind")) + ": " + text(member(kernel, "name"))}, {"node", node}, {"device", device}};
    if (nodes.is_array() && nodes.size() > 1)
      entry["nodes"] = nodes;
    if (result.is_object()) {
      entry["type"] = text(member(result, "type"));
      entry["shape"] = member(result, "shape");
    }
    ordered_json weight = member(kernel, "weight");
    if (weight.is_number_unsigned() && weight.get<size_t>() < constants.size()) {
      const ordered_json &constant = constants[weight.get<size_t>()];
      ordered_json size = member(constant, "size");
      entry["bytes"] = size.is_number_unsigned() ? size : ordered_json(0);
      entry["weight"] = text(member(constant, "name")) + " (" + storedAs(constant) + ")";
    }
    ordered_json reads = ordered_json::array();
    for (const ordered_json &read : member(kernel, "reads"))
      if (read.is_number_unsigned() && read.get<size_t>() < kernels.size())
        reads.push_back(read);
    if (!reads.empty())
      entry["reads"] = std::move(reads);
    list.push_back(std::move(entry));
  }
  return list;
}

} // namespace

std::string artifactPage(const std::string &file, const ordered_json &report, const ordered_json &manifest) {
  ordered_json page = {{"file", file}, {"inputs", report["inputs"]}, {"outputs", report["outputs"]}};
  ordered_json &totals = page["totals"] = ordered_json::array();
  totals.push_back({"weights", megabytes(report["weights_bytes"])});
  totals.push_back({"file", megabytes(report["file_bytes"])});
  totals.push_back({"kernels", text(report["kernels"])});
  std::string devices, sets;
  for (const ordered_json &device : report["devices"])
    devices += (devices.empty() ? "" : ", ") + text(device);
  for (const ordered_json &set : report["instruction_sets"])
    sets += (sets.empty() ? "" : ", ") + text(set);
  totals.push_back({"devices", devices});
  totals.push_back({"code for", sets});
  ordered_json model = member(report, "model"), options = member(report, "options");
  totals.push_back({"model", text(member(model, "name"))});
  totals.push_back({"precision", text(member(options, "precision"))});
  if (ordered_json recipe = member(report, "recipe"); recipe.is_object())
    totals.push_back({"steps of its recipe", std::to_string(member(recipe, "steps").size())});
  ordered_json constants = member(manifest, "constants"), device = member(manifest, "device");
  std::string usual = device.is_string()          ? device.get<std::string>()
                      : report["devices"].empty() ? ""
                                                  : text(report["devices"][0]);
  auto add = [&](const std::string &name, const ordered_json &program) {
    ordered_json own = member(program, "device");
    page["phases"].push_back(
        {{"name", name},
         {"note", "Kernels in the order of a run, below the layers of the nodes that they compute."},
         {"nodes", nodesOf(member(program, "kernels"), constants, own.is_string() ? text(own) : usual)}});
  };
  page["phases"] = ordered_json::array();
  for (const ordered_json &program : member(manifest, "programs"))
    add("program " + text(member(program, "name")), program);
  add("kernels", manifest);
  return ordered_json({{"model", std::move(page)}}).dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

} // namespace lathe::tool
