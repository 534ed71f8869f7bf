//===- InspectCommand.cpp - lathe inspect, for .lathe files -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/Commands.h"
#include "compiler/tools/lathe/RunCommands/ManifestJson.h"
#include "compiler/tools/lathe/RunCommands/Support.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>

using namespace lathe;
using namespace lathe::tool;
using nlohmann::ordered_json;

namespace {

struct InspectOptions {
  std::string artifact;
  bool json = false, verify = false;
};

ordered_json tensors(const std::vector<TensorInfo> &infos) {
  ordered_json list = ordered_json::array();
  for (const TensorInfo &info : infos) {
    ordered_json shape = ordered_json::array();
    for (size_t d = 0; d < info.dims.size(); ++d)
      shape.push_back(info.dims[d] < 0 ? ordered_json(info.dimTexts[d]) : ordered_json(info.dims[d]));
    list.push_back({{"name", info.name}, {"type", lathe_dtype_name(info.dtype)}, {"shape", shape}});
  }
  return list;
}

ordered_json describe(const Module &module, const ordered_json &manifest) {
  lathe_module_info info = module.info();
  ordered_json report;
  report["inputs"] = tensors(module.inputs());
  report["outputs"] = tensors(module.outputs());
  report["symbols"] = ordered_json::array();
  for (const SymbolInfo &symbol : module.symbols())
    report["symbols"].push_back({{"name", symbol.name},
                                 {"min", symbol.min},
                                 {"max", symbol.max == INT64_MAX ? ordered_json() : ordered_json(symbol.max)}});
  report["devices"] = module.devices();
  report["isa"] = info.isa;
  report["instruction_sets"] = ordered_json::array();
  for (const ordered_json &code : member(manifest, "code"))
    report["instruction_sets"].push_back(member(code, "isa"));
  report["weights_bytes"] = weightsBytes(manifest, info);
  report["constants_bytes"] = info.constants_bytes;
  report["file_bytes"] = info.file_bytes;
  report["kernels"] = info.kernel_count;
  report["work"] = member(manifest, "work");
  report["producer"] = member(manifest, "producer");
  report["model"] = member(manifest, "model");
  report["options"] = member(manifest, "options");
  report["recipe"] = member(manifest, "recipe");
  return report;
}

void printTensors(const char *title, const std::vector<TensorInfo> &infos) {
  size_t width = 4;
  for (const TensorInfo &info : infos)
    width = std::max(width, info.name.size());
  printf("%s\n", title);
  for (const TensorInfo &info : infos)
    printf("  %-*s  %-4s  %s\n", static_cast<int>(width), info.name.c_str(), lathe_dtype_name(info.dtype),
           shapeText(info.dimTexts).c_str());
}

void printTable(const Module &module, const ordered_json &report) {
  auto text = [](const ordered_json &value) {
    return value.is_string() ? value.get<std::string>()
                             : value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  };
  auto mib = [](const ordered_json &value) { return value.get<double>() / (1 << 20); };
  printTensors("inputs", module.inputs());
  printTensors("outputs", module.outputs());
  if (!module.symbols().empty())
    printf("dimensions\n");
  for (const SymbolInfo &symbol : module.symbols()) {
    printf("  %s: %lld to ", symbol.name.c_str(), static_cast<long long>(symbol.min));
    if (symbol.max == INT64_MAX)
      printf("any\n");
    else
      printf("%lld\n", static_cast<long long>(symbol.max));
  }
  printf("devices       ");
  for (const std::string &device : module.devices())
    printf(" %s", device.c_str());
  printf("\ncode          ");
  for (const ordered_json &isa : report["instruction_sets"])
    printf(" %s", text(isa).c_str());
  printf(" (here: %s)\n", text(report["isa"]).c_str());
  printf("weights        %.2f MiB\n", mib(report["weights_bytes"]));
  printf("file           %.2f MiB\n", mib(report["file_bytes"]));
  printf("kernels        %s\n", text(report["kernels"]).c_str());
  printf("producer       %s\n", text(report["producer"]).c_str());
  printf("model          %s\n", text(report["model"]).c_str());
  printf("options        %s\n", text(report["options"]).c_str());
  printf("recipe         %s\n", report["recipe"].is_null() ? "none" : text(report["recipe"]).c_str());
}

} // namespace

int tool::inspectArtifact(const std::string &path, bool json, bool verify) {
  return guarded([&] {
    LoadOptions load;
    load.verify = verify;
    Module module(path, load);
    ordered_json report = describe(module, manifestOf(module));
    if (json)
      printf("%s\n", report.dump(2, ' ', false, ordered_json::error_handler_t::replace).c_str());
    else
      printTable(module, report);
    return static_cast<int>(kOk);
  });
}

void tool::addInspectCommand(CLI::App &app, int &exitCode) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App *command = app.add_subcommand("inspect", "Show what is inside a compiled model");
  command->add_option("artifact", options->artifact, "Compiled model (.lathe)")->required();
  command->add_flag("--json", options->json, "Print one JSON object");
  command->add_flag("--verify", options->verify, "Check every byte of the artifact");
  command->callback(
      [options, &exitCode] { exitCode = inspectArtifact(options->artifact, options->json, options->verify); });
}
