//===- ModelPage.cpp - What is inside a model, as a page ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/ModelPage.h"
#include "compiler/tools/lathe/RunCommands/HtmlReport.h"
#include "compiler/tools/lathe/RunCommands/Support.h"
#include <cstdio>
#include <map>

using nlohmann::ordered_json;

namespace lathe::tool {

int writeModelPage(const std::string &path, const CompileResult &result, ordered_json inputs, ordered_json outputs,
                   const std::string &html) {
  static const std::map<std::string, std::string> notes = {
      {"import", "Operations as they were read from the file."},
      {"simplify", "Arithmetic on shapes is gone, and what exporters write without need."},
      {"fuse", "Norms, activations and attention are one operation each."},
      {"select", "Kernels of the processor, below the layers of the nodes that they compute."}};
  ordered_json page = {{"file", path}, {"inputs", std::move(inputs)}, {"outputs", std::move(outputs)}};
  char weights[32];
  std::snprintf(weights, sizeof weights, "%.2f MB", static_cast<double>(result.weightsBytes) / 1e6);
  ordered_json &totals = page["totals"] = ordered_json::array();
  totals.push_back({"model", result.info.name});
  totals.push_back({"operator set", std::to_string(result.info.opset)});
  totals.push_back({"weights", weights});
  if (result.code == lathe::ExitCode::ok)
    totals.push_back({"kernels", std::to_string(result.kernels + result.matmuls)});
  page["phases"] = ordered_json::array();
  for (const PhaseGraph &phase : result.phases) {
    auto note = notes.find(phase.name);
    page["phases"].push_back(
        {{"name", phase.name}, {"note", note == notes.end() ? "" : note->second}, {"nodes", ordered_json::array()}});
    for (const PhaseNode &node : phase.nodes) {
      ordered_json entry = {{"op", node.op}, {"node", node.node}, {"type", node.type}, {"shape", node.shape}};
      if (!node.weight.empty())
        entry.update({{"weight", node.weight}, {"bytes", node.bytes}});
      if (node.nodes.size() > 1)
        entry["nodes"] = node.nodes;
      if (!node.reads.empty())
        entry["reads"] = node.reads;
      page["phases"].back()["nodes"].push_back(std::move(entry));
    }
  }
  std::string json =
      ordered_json({{"model", std::move(page)}}).dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  return makePage(json, "of the model", html);
}

} // namespace lathe::tool
