//===- InspectCommand.cpp - lathe inspect, for .lathe files -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/Commands.h"
#include "compiler/tools/lathe/RunCommands/Documents.h"
#include "compiler/tools/lathe/RunCommands/HtmlReport.h"
#include "compiler/tools/lathe/RunCommands/InspectPage.h"
#include "compiler/tools/lathe/RunCommands/Inputs.h"
#include "compiler/tools/lathe/RunCommands/ManifestJson.h"
#include "compiler/tools/lathe/RunCommands/Support.h"

#include "runtime/CacheLayout.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>

using namespace lathe;
using namespace lathe::tool;
using nlohmann::ordered_json;

namespace {

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

/// What callers of a program have to know.
ordered_json interface(const Module &module, size_t program) {
  ordered_json report;
  report["inputs"] = tensors(module.inputs(program));
  report["outputs"] = tensors(module.outputs(program));
  report["symbols"] = ordered_json::array();
  for (const SymbolInfo &symbol : module.symbols(program))
    report["symbols"].push_back({{"name", symbol.name},
                                 {"min", symbol.min},
                                 {"max", symbol.max == INT64_MAX ? ordered_json() : ordered_json(symbol.max)}});
  return report;
}

/// Of the constants that a program beside the model reads.
uint64_t bytesOfReads(const ordered_json &manifest, const ordered_json &program) {
  ordered_json constants = member(manifest, "constants");
  uint64_t sum = 0;
  for (const ordered_json &read : member(program, "reads")) {
    ordered_json index = member(read, "constant");
    if (index.is_number_unsigned() && index.get<size_t>() < constants.size())
      sum += member(constants[index.get<size_t>()], "size").get<uint64_t>();
  }
  return sum;
}

/// What a program keeps between runs: each cache, and the bytes that a token more takes in all of them, and one that the encoder reads.
void describeCaches(const ordered_json &program, ordered_json &report) {
  int64_t appended = 0, fixed = 0;
  for (const ordered_json &entry : member(program, "caches")) {
    runtime::CacheLayout layout;
    layout.heads = entry["heads"].get<int64_t>();
    layout.size = entry["size"].get<int64_t>();
    layout.setType(entry["type"].get<std::string>());
    if (layout.hasCodes())
      layout.group = entry["group"].get<int64_t>();
    (entry["appended"].get<bool>() ? appended : fixed) += layout.bytes() / runtime::CacheLayout::kPageRows;
    report["caches"].push_back(entry);
  }
  if (!report.contains("caches"))
    return;
  report["cache_token_bytes"] = appended;
  report["cache_source_token_bytes"] = fixed;
}

ordered_json describe(const Module &module, const ordered_json &manifest) {
  lathe_module_info info = module.info();
  ordered_json report = interface(module, 0);
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
  report["programs"] = ordered_json::array(); // beside the model, on the device that is the artifact's first
  for (const ordered_json &program : member(manifest, "programs")) {
    if (member(program, "device") != member(manifest, "device"))
      continue;
    size_t number = report["programs"].size() + 1;
    ordered_json entry = {{"name", member(program, "name")}};
    entry.update(interface(module, number));
    entry["kernels"] = module.programInfo(number).kernel_count;
    entry["weights_bytes"] = bytesOfReads(manifest, program);
    entry["work"] = member(program, "work");
    describeCaches(program, entry);
    report["programs"].push_back(std::move(entry));
  }
  report["tokenizer"] = nullptr;
  report["generation_config"] = nullptr;
  if (std::optional<Document> document = module.document(kTokenizerDocument))
    report["tokenizer"] = {{"format", document->format}, {"bytes", document->data.size()}};
  if (std::optional<Document> document = module.document(kGenerationConfigDocument))
    report["generation_config"] = parseGenerationConfig(document->data, "the generation config", kInvalidModel);
  report["producer"] = member(manifest, "producer");
  report["model"] = member(manifest, "model");
  report["options"] = member(manifest, "options");
  report["recipe"] = member(manifest, "recipe");
  return report;
}

/// What this program will have resident at most when it runs the model: from the sizes of buffers, and from what it
/// takes to prepare the run.
ordered_json forecast(const Module &module, const ordered_json &manifest, const InspectOptions &options) {
  constexpr uint64_t kMappedAround = 2 << 20; // what the system maps at most where one byte is read
  auto [inputs, dims] = chooseInputs(module, {options.dims, ""});
  SessionOptions sessionOptions;
  sessionOptions.threads = options.threads;
  Session session(module, sessionOptions);
  bindInputs(module, session, inputs);
  session.prepare();
  lathe_memory_info held = session.memoryInfo();
  uint64_t inputBytes = 0, copies = module.info().private_bytes;
  for (const Tensor &input : inputs)
    inputBytes += input.bytes.size();
  // Inputs and copies are there by now, the latter with the constants that they are of.
  uint64_t resident = processStatus("VmRSS"), known = inputBytes + 2 * copies;
  uint64_t program = resident > known ? resident - known : 0, constants = bytesRead(module, dims, kMappedAround);
  ordered_json report;
  report["dims"] = dims;
  report["threads"] = session.threads();
  report["weights_bytes"] = constants;
  report["copies_bytes"] = copies;
  report["arena_bytes"] = held.arena_bytes;
  report["input_bytes"] = inputBytes;
  report["output_bytes"] = held.output_bytes;
  report["scratch_bytes"] = held.scratch_bytes;
  report["program_bytes"] = program;
  report["peak_bytes"] =
      constants + copies + held.arena_bytes + inputBytes + held.output_bytes + held.scratch_bytes + program;
  bool isComplete = true; // what depends on data adds to it
  for (const ordered_json &symbol : member(manifest, "symbols"))
    isComplete &= member(symbol, "computed").is_null();
  report["complete"] = isComplete;
  return report;
}

void printForecast(const ordered_json &memory) {
  std::string at;
  for (const auto &[name, value] : memory["dims"].items())
    at += (at.empty() ? "" : ", ") + name + " = " + value.dump();
  printf("memory         %s%s%s threads\n", at.c_str(), at.empty() ? "" : ", ", memory["threads"].dump().c_str());
  for (auto [key, what] : {std::pair("weights_bytes", "weights"), std::pair("copies_bytes", "their copies"),
                           std::pair("arena_bytes", "arena"), std::pair("input_bytes", "inputs"),
                           std::pair("output_bytes", "outputs"), std::pair("scratch_bytes", "scratch"),
                           std::pair("program_bytes", "program"), std::pair("peak_bytes", "at most")})
    printf("  %-12s %.2f MiB\n", what, memory[key].get<double>() / (1 << 20));
  if (!memory["complete"].get<bool>())
    printf("  and buffers whose sizes the run computes\n");
}

void printTensors(const std::string &title, const std::vector<TensorInfo> &infos) {
  size_t width = 4;
  for (const TensorInfo &info : infos)
    width = std::max(width, info.name.size());
  printf("%s\n", title.c_str());
  for (const TensorInfo &info : infos)
    printf("  %-*s  %-4s  %s\n", static_cast<int>(width), info.name.c_str(), lathe_dtype_name(info.dtype),
           shapeText(info.dimTexts).c_str());
}

void printSymbols(const std::string &title, const std::vector<SymbolInfo> &symbols) {
  if (!symbols.empty())
    printf("%s\n", title.c_str());
  for (const SymbolInfo &symbol : symbols) {
    printf("  %s: %lld to ", symbol.name.c_str(), static_cast<long long>(symbol.min));
    if (symbol.max == INT64_MAX)
      printf("any\n");
    else
      printf("%lld\n", static_cast<long long>(symbol.max));
  }
}

/// What caches are kept in, each once, in their order.
std::string cacheTypes(const ordered_json &caches) {
  std::vector<std::string> types;
  for (const ordered_json &cache : caches)
    if (std::string type = cache["type"].get<std::string>(); std::find(types.begin(), types.end(), type) == types.end())
      types.push_back(type);
  std::string text;
  for (const std::string &type : types)
    text += (text.empty() ? "" : ", ") + type;
  return text;
}

void printTable(const Module &module, const ordered_json &report) {
  auto text = [](const ordered_json &value) {
    return value.is_string() ? value.get<std::string>()
                             : value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  };
  auto mib = [](const ordered_json &value) { return value.get<double>() / (1 << 20); };
  std::vector<std::string> programs = module.programs();
  for (size_t program = 0; program < programs.size(); ++program) {
    std::string of = program == 0 ? "" : " of program " + programs[program];
    printTensors("inputs" + of, module.inputs(program));
    printTensors("outputs" + of, module.outputs(program));
    printSymbols("dimensions" + of, module.symbols(program));
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
  for (const ordered_json &program : report["programs"])
    if (program.contains("caches"))
      printf("cache          %s bytes a token in %zu caches of %s\n", text(program["cache_token_bytes"]).c_str(), program["caches"].size(),
             cacheTypes(program["caches"]).c_str());
  printf("kernels        %s\n", text(report["kernels"]).c_str());
  if (!report["tokenizer"].is_null())
    printf("tokenizer      %s, %.2f MiB\n", text(report["tokenizer"]["format"]).c_str(),
           mib(report["tokenizer"]["bytes"]));
  if (!report["generation_config"].is_null())
    printf("generation     %s\n", text(report["generation_config"]).c_str());
  printf("producer       %s\n", text(report["producer"]).c_str());
  printf("model          %s\n", text(report["model"]).c_str());
  printf("options        %s\n", text(report["options"]).c_str());
  printf("recipe         %s\n", report["recipe"].is_null() ? "none" : text(report["recipe"]).c_str());
}

} // namespace

void tool::addInspectOptions(CLI::App &command, InspectOptions &options) {
  command.add_flag("--json", options.json, "Print one JSON object");
  command.add_option("--html", options.html, "Write a page with all operations by phase and layer (.html)");
  command.add_flag("--verify", options.verify, "Check the hashes of every byte of an artifact");
  command
      .add_option(
          "--dim", options.dims,
          "Of an artifact: forecast the peak memory of a run; value of a symbolic dimension: name=number (repeatable; "
          "others: 1)")
      ->take_all();
  command.add_option("--threads", options.threads, "Threads of that run (default: every processor)")
      ->check(CLI::Range(0, 1024));
}

int tool::inspectArtifact(const InspectOptions &options) {
  return guarded([&] {
    checkHtml(options.html);
    LoadOptions load;
    load.verify = options.verify;
    Module module = [&] {
      try {
        return Module(options.file, load);
      } catch (const Error &error) {
        // What is inside can be told of a device that is not here, what a run takes can not.
        if (error.status() != LATHE_UNSUPPORTED_DEVICE || !options.dims.empty())
          throw;
      }
      load.device = "none";
      return Module(options.file, load);
    }();
    ordered_json manifest = manifestOf(module), report = describe(module, manifest);
    // A model without symbols needs no values to say what it takes.
    if (load.device != "none" && (!options.dims.empty() || module.symbols().empty()))
      report["memory"] = forecast(module, manifest, options);
    if (!options.html.empty())
      writeHtmlReport(artifactPage(options.file, report, manifest), "of the artifact", options.html);
    if (options.json)
      printf("%s\n", report.dump(2, ' ', false, ordered_json::error_handler_t::replace).c_str());
    else
      printTable(module, report);
    if (!options.json && report.contains("memory"))
      printForecast(report["memory"]);
    return static_cast<int>(kOk);
  });
}

void tool::addInspectCommand(CLI::App &app, int &exitCode) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App *command = app.add_subcommand("inspect", "Show what is inside a compiled model");
  command->add_option("artifact", options->file, "Compiled model (.lathe)")->required();
  addInspectOptions(*command, *options);
  command->callback([options, &exitCode] { exitCode = inspectArtifact(*options); });
}
