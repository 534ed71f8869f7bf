//===- BisectCommand.cpp - lathe bisect -----------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/Bisection.h"
#include "compiler/tools/lathe/CompileCommands.h"
#include "compiler/tools/lathe/Progress.h"
#include "compiler/tools/lathe/Reproducer.h"
#include "compiler/tools/lathe/RunCommands/Support.h"
#include "compiler/tools/lathe/RunCommands/Terminal.h"
#include "compiler/tools/lathe/TemporaryFolder.h"
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

using nlohmann::ordered_json;

namespace lathe::tool {
namespace {

ordered_json deviationJson(const Deviation &deviation) {
  auto finite = [](double value) { return std::isfinite(value) ? ordered_json(value) : ordered_json(); };
  return {{"output", deviation.output},
          {"max_abs_error", finite(deviation.error)},
          {"allowed", deviation.allowed},
          {"relative_error", finite(deviation.relative)},
          {"within", deviation.within()}};
}

ordered_json toJson(const Culprit &found, const Reproducer *reproducer) {
  ordered_json json = {{"wrong", found.isWrong}, {"whole", deviationJson(found.whole)},
                       {"runs", found.runs},     {"changes", found.changes},
                       {"passes", found.passes}, {"places", found.places}};
  if (!found.isWrong)
    return json;
  json["phase"] = found.change.phase;
  json["pass"] = found.change.what;
  json["where"] = found.change.where;
  json["nodes"] = found.nodes;
  json["code"] = found.isCode;
  json["first_changes"] = found.number;
  json["without"] = deviationJson(found.before);
  json["with"] = deviationJson(found.after);
  if (reproducer)
    json["reproducer"] = {{"model", reproducer->model},
                          {"inputs", reproducer->inputs},
                          {"recipe", reproducer->recipe.empty() ? ordered_json() : ordered_json(reproducer->recipe)},
                          {"weights", reproducer->weights.empty() ? ordered_json() : ordered_json(reproducer->weights)},
                          {"nodes", reproducer->nodes},
                          {"shown", reproducer->isShown()},
                          {"deviation", deviationJson(reproducer->deviation)}};
  return json;
}

std::string describe(const Deviation &deviation) {
  char text[96];
  snprintf(text, sizeof text, "%.3g of the largest value, %.3g in all, %.3g allowed", deviation.relative,
           deviation.error, deviation.allowed);
  return text;
}

/// Names from the one at `begin`, in quotes, at most eight of them.
std::string quoted(const std::vector<std::string> &names, size_t begin) {
  constexpr size_t kMost = 8;
  std::string text;
  for (size_t i = begin; i < names.size() && i < begin + kMost; ++i)
    text += (i == begin ? "'" : ", '") + names[i] + "'";
  if (names.size() > begin + kMost)
    text += " and " + std::to_string(names.size() - begin - kMost) + " more";
  return text;
}

void print(const BisectOptions &options, const Culprit &found) {
  if (!found.isWrong) {
    printf("all outputs are within the tolerance: nothing to look for\n");
    printf("output '%s': %s\n", found.whole.output.c_str(), describe(found.whole).c_str());
    return;
  }
  const std::string &where = found.change.where;
  printf("%s '%s'%s of phase %s is where the result leaves the tolerance\n",
         found.change.phase == "compress" ? "recipe" : "pass", found.change.what.c_str(),
         where.empty() ? "" : (" at '" + where + "'").c_str(), found.change.phase.c_str());
  if (found.nodes.size() > 1)
    printf("one kernel computes it with %s: it may be any of them\n", quoted(found.nodes, 1).c_str());
  if (found.isCode)
    printf("with every pass left out that may be, the error is %s\n", describe(found.after).c_str());
  else
    printf("output '%s': without it the error is %s; with it %s\n", found.after.output.c_str(),
           describe(found.before).c_str(), describe(found.after).c_str());
  printf("%u runs for %llu changes of %zu passes and steps at %zu nodes and weights\n", found.runs,
         static_cast<unsigned long long>(found.changes), found.passes, found.places);
  if (!found.isCode)
    printf("compile with --first-changes %llu makes it the last change\n",
           static_cast<unsigned long long>(found.number));
  if (options.output.empty())
    printf("-o FILE.onnx writes a few nodes that go wrong by themselves\n");
}

void print(const Reproducer &reproducer) {
  printf("wrote %s: %zu node%s (%s), with the values that reach %s in %s%s\n", reproducer.model.c_str(),
         reproducer.nodes.size(), reproducer.nodes.size() == 1 ? "" : "s", quoted(reproducer.nodes, 0).c_str(),
         reproducer.nodes.size() == 1 ? "it" : "them", reproducer.inputs.c_str(),
         reproducer.recipe.empty() ? "" : (" and the recipe in " + reproducer.recipe).c_str());
  if (!reproducer.weights.empty())
    printf("compile it with --weights %s --partial-weights\n", reproducer.weights.c_str());
  printf(reproducer.isShown()
             ? "it goes wrong by itself: the error is %s\n"
             : "by itself it stays within the tolerance (the error is %s): what is wrong adds up over layers\n",
         describe(reproducer.deviation).c_str());
}

int run(const BisectOptions &options) {
  return guarded([&] {
    const std::string ending = ".onnx";
    if (!options.output.empty() &&
        (options.output.size() <= ending.size() ||
         options.output.compare(options.output.size() - ending.size(), ending.size(), ending)))
      throw CommandError(kUsage, "-o expects a name that ends in .onnx, found '" + options.output + "'");
    TemporaryFolder folder("bisect");
    if (folder.path().empty())
      throw CommandError(kInternal, "can't make a temporary folder");
    std::vector<Tensor> inputs = readNpz(options.inputs);
    Progress progress(options.json);
    Culprit found =
        bisect(options, folder.path().string(), inputs, [&](const std::string &what) { progress.show({what, 0, 0}); });
    std::unique_ptr<Reproducer> reproducer;
    if (found.isWrong && !options.output.empty() && !found.change.where.empty() && !found.isCache) {
      progress.show({"reproducer", 0, 0});
      reproducer = std::make_unique<Reproducer>(writeReproducer(options, found, folder.path().string(), inputs));
    }
    progress.stop();
    if (options.json)
      printf("%s\n",
             toJson(found, reproducer.get()).dump(2, ' ', false, ordered_json::error_handler_t::replace).c_str());
    else
      print(options, found);
    if (reproducer && !options.json)
      print(*reproducer);
    if (!reproducer && found.isWrong && !options.output.empty())
      printWarning(found.isCache ? "what a cache rounds is seen in what is generated alone, so no reproducer is written"
                                 : "no node is known to part, so no reproducer is written");
    return kOk;
  });
}

} // namespace

void addBisectCommand(CLI::App &app, int &exitCode) {
  auto options = std::make_shared<BisectOptions>();
  CLI::App *command = app.add_subcommand(
      "bisect", "Find the pass or recipe step, and the node, that make a model's result go out of tolerance");
  Flags &flags = options->flags;
  addCompileOptions(*command, flags);
  command->add_option("--recipe", flags.recipeFile, "what to compress and how (JSON; docs/compression.md)");
  command->add_flag("--int8", flags.int8, "as of compile");
  command->add_flag("--int4", flags.int4, "as of compile");
  command->add_flag("--fp8", flags.fp8, "as of compile");
  command->add_flag("--sparse", flags.sparse, "as of compile");
  addCacheOption(*command, flags);
  // What makes no other result, or another file.
  for (const char *name :
       {"--emit", "--report", "--dump-ir", "--generate", "--tokenizer", "--generation-config", "--first-changes"})
    command->remove_option(command->get_option(name));
  addCalibrationOptions(*command, flags);
  command->add_option("--inputs", options->inputs, "inputs by name (.npz)")->required();
  command->add_option("-o,--output", options->output,
                      "a model of at most 20 nodes that goes wrong by itself, to write (.onnx)");
  command
      ->add_option("--rtol", options->rtol, "allowed error of outputs as a share of the largest value of the reference")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--atol", options->atol, "allowed absolute error, which adds to that")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--device", options->device, "device to run on, where the target has several");
  command->add_option("--threads", options->threads, "threads of a run (default: every processor)")
      ->check(CLI::Range(0, 1024));
  command->add_flag("--json", options->json, "print one JSON object");
  command->callback([=, &exitCode] { exitCode = run(*options); });
}

} // namespace lathe::tool
