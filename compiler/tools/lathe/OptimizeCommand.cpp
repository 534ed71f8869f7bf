//===- OptimizeCommand.cpp - lathe optimize -------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/Sizes.h"
#include "compiler/tools/lathe/Budgets.h"
#include "compiler/tools/lathe/CompileCommands.h"
#include "compiler/tools/lathe/CompressionText.h"
#include "compiler/tools/lathe/RunCommands/TensorFiles.h"
#include <CLI/CLI.hpp>
#include <cstdlib>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

using nlohmann::ordered_json;

namespace lathe::tool {
namespace {

/// A number with one of the units behind it; nothing where it is none, or below 0.
std::optional<double> parseWithUnit(const std::string &text, const std::map<std::string, double> &units) {
  size_t end = text.find_first_not_of("0123456789.");
  auto unit = units.find(end == std::string::npos ? "" : text.substr(end));
  std::string number = text.substr(0, end);
  char *rest = nullptr;
  double value = std::strtod(number.c_str(), &rest);
  if (number.empty() || *rest || unit == units.end())
    return std::nullopt;
  return value * unit->second;
}

} // namespace

void addBudgetOptions(CLI::App &command, Budgets &budgets) {
  command.option_defaults()->group("Budgets");
  command.add_option("--target-size", budgets.targetSize,
                     "bytes of all weights at most, such as 25MiB, or a part of them, such as 0.3: formats are chosen "
                     "for each layer by what they cost in quality on --calib");
  command.add_option("--target-speedup", budgets.targetSpeedup,
                     "how many times as fast products, and the model, are to be on this machine, such as 1.5: formats "
                     "are chosen for each layer by what they cost in quality for the time that they save");
  command.add_option("--max-drop", budgets.maxDrop,
                     "quality that may be lost at most, such as 0.01 or 1%: of the perplexity on the tokens of "
                     "--calib, or the relative error of outputs");
  command.add_option(
      "--time-budget", budgets.timeBudget,
      "time for trying layers at most, such as 90s or 10m; for what was not tried the error of its weight tells");
  command.option_defaults()->group("Options");
}

std::string addBudgets(const Budgets &budgets, std::string &recipe) {
  if (!budgets.any() && budgets.timeBudget.empty())
    return "";
  std::optional<double> drop, seconds, speedup;
  if (!budgets.targetSpeedup.empty() && !(speedup = parseWithUnit(budgets.targetSpeedup, {{"", 1}, {"x", 1}})))
    return "--target-speedup expects a factor such as 1.5, got '" + budgets.targetSpeedup + "'";
  if (!budgets.targetSize.empty() && !parseSizeOf(budgets.targetSize, 1 << 20))
    return "--target-size expects a size such as 25MiB or a part such as 0.3, got '" + budgets.targetSize + "'";
  if (!budgets.maxDrop.empty() && !(drop = parseWithUnit(budgets.maxDrop, {{"", 1}, {"%", 0.01}})))
    return "--max-drop expects a part such as 0.01 or 1%, got '" + budgets.maxDrop + "'";
  if (!budgets.timeBudget.empty() &&
      !(seconds = parseWithUnit(budgets.timeBudget, {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}})))
    return "--time-budget expects a time such as 90s or 10m, got '" + budgets.timeBudget + "'";
  ordered_json json = ordered_json::parse(recipe, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("steps") || !json["steps"].is_array())
    return "";
  bool isUsed = false;
  for (ordered_json &step : json["steps"]) {
    if (!step.is_object() || step.value("step", ordered_json()) != "choose")
      continue;
    isUsed = true;
    if (!budgets.targetSize.empty())
      step["target_size"] = budgets.targetSize;
    if (speedup)
      step["target_speedup"] = *speedup;
    if (drop)
      step["max_drop"] = *drop;
    if (seconds)
      step["time_budget"] = *seconds;
  }
  if (!isUsed)
    return "budgets are for steps 'choose' of a recipe, which this one has none of: leave --recipe out for one that "
           "chooses among int8, int4, int3 and int2";
  recipe = json.dump();
  return "";
}

namespace {

int optimize(Flags flags, const Budgets &budgets) {
  flags.recipe = R"({"version": 1, "steps": [{"step": "choose"}]})";
  if (flags.recipeFile.empty() && !flags.exclude.empty())
    flags.recipe = ordered_json{{"version", 1}, {"steps", {{{"step", "choose"}, {"exclude", flags.exclude}}}}}.dump();
  if (!flags.recipeFile.empty()) {
    try {
      std::vector<unsigned char> content = readWhole(flags.recipeFile);
      flags.recipe.assign(content.begin(), content.end());
    } catch (const FileError &error) {
      return usage(error.what());
    }
    flags.recipeFile.clear();
  } else if (!budgets.any()) {
    return usage("optimize expects a budget, --target-size, --target-speedup or --max-drop, or a recipe, --recipe");
  }
  if (std::string error = addBudgets(budgets, flags.recipe); !error.empty())
    return usage(error);
  return compress(std::move(flags));
}

} // namespace

void addOptimizeCommand(CLI::App &app, int &exitCode) {
  auto flags = std::make_shared<Flags>();
  auto budgets = std::make_shared<Budgets>();
  CLI::App *command =
      app.add_subcommand("optimize", "Compress a model within a budget: each layer gets what costs the least quality");
  command->add_option("-o,--output", flags->output, "the .lathe or .onnx file")->required();
  addCompileOptions(*command, *flags);
  command->add_option("--recipe", flags->recipeFile,
                      "steps to do, those of kind 'choose' within the budgets (JSON; docs/compression.md)");
  addBudgetOptions(*command, *budgets);
  addCacheOption(*command, *flags);
  addCalibrationOptions(*command, *flags);
  command->callback([=, &exitCode] { exitCode = optimize(*flags, *budgets); });
}

} // namespace lathe::tool
