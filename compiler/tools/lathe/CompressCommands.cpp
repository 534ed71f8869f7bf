//===- CompressCommands.cpp - Subcommands that compress -------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/Budgets.h"
#include "compiler/tools/lathe/CompileCommands.h"
#include "compiler/tools/lathe/CompressionText.h"
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

using nlohmann::ordered_json;

namespace lathe::tool {
namespace {

struct QuantizeFlags {
  Flags compile;
  Budgets budgets;
  std::string mode = "weight-only", method = "rtn", format, scaleType, range;
  int64_t bits = 0, groupSize = -1, dimension = 0;
  bool asymmetric = false, rotate = false, equalize = false, biasCorrection = false, doubleQuantization = false, isMethodGiven = false;
  double smooth = -1, damping = 0, outliers = 0;
  std::vector<std::string> tensors;
};

/// The step that chooses among integers of the bits there are, which otherwise are as `step` says.
ordered_json chooseStep(ordered_json step, const QuantizeFlags &flags) {
  ordered_json choose = {{"step", "choose"}, {"from", ordered_json::array()}};
  for (const char *field : {"tensors", "exclude"})
    if (step.contains(field)) {
      choose[field] = step[field];
      step.erase(field);
    }
  // As where a recipe names no alternatives.
  for (auto [bits, group] : {std::pair(8, 0), {4, 32}, {4, 128}, {3, 32}, {3, 128}, {2, 32}, {2, 64}}) {
    step["bits"] = bits;
    if (flags.groupSize < 0)
      step["group_size"] = group;
    if (!flags.isMethodGiven)
      step["method"] = bits == 8 ? "rtn" : "gptq";
    if (std::find(choose["from"].begin(), choose["from"].end(), step) == choose["from"].end())
      choose["from"].push_back(step);
  }
  return choose;
}

/// The recipe of the flags; what is not said is the recipe's default.
std::string recipeOf(const QuantizeFlags &flags) {
  ordered_json step = {{"step", "quantize"}, {"method", flags.method}};
  // Two modes of the command line are formats of codes.
  bool isFormat = flags.mode == "log" || flags.mode == "codebook";
  step["mode"] = isFormat ? "weight-only" : flags.mode;
  if (isFormat)
    step["format"] = flags.mode == "log" ? "log2" : "codebook";
  if (!flags.format.empty())
    step["format"] = flags.format;
  if (flags.bits)
    step["bits"] = flags.bits;
  else if (isFormat)
    step["bits"] = 4;
  if (flags.groupSize >= 0)
    step["group_size"] = flags.groupSize;
  if (flags.asymmetric)
    step["symmetric"] = false;
  if (!flags.scaleType.empty())
    step["scale_type"] = flags.scaleType;
  if (!flags.range.empty())
    step["range"] = flags.range;
  if (flags.smooth >= 0)
    step["smooth"] = flags.smooth;
  if (flags.outliers > 0)
    step["outliers"] = flags.outliers;
  if (flags.doubleQuantization)
    step["double_quantization"] = true;
  if (flags.biasCorrection)
    step["bias_correction"] = true;
  if (flags.damping > 0)
    step["damping"] = flags.damping;
  if (flags.dimension)
    step["dimension"] = flags.dimension;
  if (!flags.tensors.empty())
    step["tensors"] = flags.tensors;
  if (!flags.compile.exclude.empty())
    step["exclude"] = flags.compile.exclude;
  ordered_json steps = ordered_json::array();
  if (flags.rotate)
    steps.push_back({{"step", "rotate"}});
  if (flags.equalize) {
    steps.push_back({{"step", "equalize"}});
    for (const char *field : {"tensors", "exclude"})
      if (step.contains(field))
        steps.back()[field] = step[field];
  }
  steps.push_back(flags.budgets.any() ? chooseStep(std::move(step), flags) : std::move(step));
  return ordered_json{{"version", 1}, {"steps", std::move(steps)}}.dump();
}

int quantize(QuantizeFlags flags, bool ofWeights) {
  if (flags.budgets.any()) {
    if (flags.bits)
      return usage("--bits and a budget, --target-size, --target-speedup or --max-drop, exclude each other: bits are what is chosen");
    if (flags.mode == "log" || flags.mode == "codebook" || (!flags.format.empty() && flags.format != "int"))
      return usage("budgets choose the bits of integers here: other formats go into a step 'choose' of a recipe, for 'lathe optimize'");
  } else if (!flags.budgets.timeBudget.empty()) {
    return usage("--time-budget goes with --target-size, --target-speedup or --max-drop");
  }
  if (ofWeights || flags.budgets.any())
    flags.compile.recipe = recipeOf(flags);
  if (std::string error = addBudgets(flags.budgets, flags.compile.recipe); !error.empty())
    return usage(error);
  return compress(std::move(flags.compile));
}

} // namespace

int compress(Flags flags) {
  const std::string &output = flags.output, ending = ".onnx";
  if (flags.emit == "artifact" && output.size() > ending.size() && output.compare(output.size() - ending.size(), ending.size(), ending) == 0)
    flags.emit = "onnx";
  return compile(flags);
}

std::string oneStepRecipe(const Flags &flags) {
  ordered_json step = {{"step", "quantize"}};
  if (flags.int8)
    step.update({{"mode", flags.calibration.empty() ? "dynamic" : "static"}, {"bits", 8}});
  else if (flags.int4)
    step.update({{"mode", "weight-only"}, {"bits", 4}, {"group_size", 32}, {"method", flags.calibration.empty() ? "rtn" : "gptq"}});
  else
    step.update({{"mode", "weight-only"}, {"format", "fp8-e4m3"}});
  if (!flags.exclude.empty())
    step["exclude"] = flags.exclude;
  return ordered_json{{"version", 1}, {"steps", {step}}}.dump();
}

std::string addPreferences(const Flags &flags, std::string &recipe) {
  if (flags.prefer.empty() && !flags.rows && !flags.requireKernel)
    return "";
  if (recipe.empty())
    return std::string(!flags.prefer.empty() ? "--prefer" : flags.rows ? "--rows" : "--require-kernel") + " goes with a recipe, or flags that say what is compressed";
  ordered_json json = ordered_json::parse(recipe, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object())
    return ""; // what is wrong with it is said where it is read
  for (auto [name, isGiven] : {std::pair("prefer", !flags.prefer.empty()), std::pair("rows", flags.rows != 0)})
    if (isGiven && json.contains(name))
      return "--" + std::string(name) + " and field '" + name + "' of the recipe exclude each other";
  if (!flags.prefer.empty())
    json["prefer"] = flags.prefer;
  if (flags.rows)
    json["rows"] = flags.rows;
  if (flags.requireKernel)
    json["require_kernel"] = true;
  recipe = json.dump();
  return "";
}

std::string addCacheStep(const std::string &kvCache, std::string &recipe) {
  ordered_json json = recipe.empty() ? ordered_json{{"version", 1}, {"steps", ordered_json::array()}}
                                     : ordered_json::parse(recipe, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("steps") || !json["steps"].is_array())
    return ""; // what is wrong with it is said where it is read
  for (const ordered_json &step : json["steps"])
    if (step.is_object() && step.contains("mode") && step["mode"] == "kv-cache")
      return "--kv-cache and a step of mode 'kv-cache' of the recipe exclude each other";
  json["steps"].push_back({{"step", "quantize"}, {"mode", "kv-cache"}, {"bits", kvCache == "int4" ? 4 : 8}});
  recipe = json.dump();
  return "";
}

std::string addAttentionStep(const Flags &flags, std::string &recipe) {
  ordered_json json = recipe.empty() ? ordered_json{{"version", 1}, {"steps", ordered_json::array()}}
                                     : ordered_json::parse(recipe, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("steps") || !json["steps"].is_array())
    return ""; // what is wrong with it is said where it is read
  for (const ordered_json &step : json["steps"])
    if (step.is_object() && step.contains("mode") && step["mode"] == "attention")
      return "--attention and a step of mode 'attention' of the recipe exclude each other";
  json["steps"].push_back({{"step", "quantize"}, {"mode", "attention"}, {"bits", 8}});
  recipe = json.dump();
  return "";
}

void addSparseStep(const Flags &flags, std::string &recipe) {
  ordered_json json = recipe.empty() ? ordered_json{{"version", 1}, {"steps", ordered_json::array()}}
                                     : ordered_json::parse(recipe, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("steps") || !json["steps"].is_array())
    return; // what is wrong with it is said where it is read
  ordered_json step = {{"step", "sparsify"}};
  if (!flags.exclude.empty())
    step["exclude"] = flags.exclude;
  json["steps"].push_back(std::move(step));
  recipe = json.dump();
}

namespace {

/// A line for each step that changes weights together, and why it left some.
void printTransforms(const CompressionReport &report) {
  std::vector<std::string> steps;
  for (const TransformedWeights &entry : report.transforms)
    if (std::find(steps.begin(), steps.end(), entry.step) == steps.end())
      steps.push_back(entry.step);
  for (const std::string &step : steps) {
    size_t done = 0, left = 0, weights = 0;
    const TransformedWeights *first = nullptr;
    for (const TransformedWeights &entry : report.transforms) {
      if (entry.step != step)
        continue;
      (entry.reason.empty() ? done : left) += 1;
      if (entry.reason.empty())
        weights += entry.weights.size();
      else if (!first)
        first = &entry;
    }
    const char *what = step == "rotate" ? "streams" : "pairs of layers";
    std::printf("%s: %zu of %zu %s, %zu weights\n", step.c_str(), done, done + left, what, weights);
    if (first)
      std::printf("  not at '%s': %s\n", first->node.c_str(), first->reason.c_str());
    if (left > 1)
      std::printf("  and %zu more (--report tells them all)\n", left - 1);
  }
}

/// What went, of what there was, and why some stayed.
void printShrunk(const std::vector<ShrunkPart> &parts) {
  std::map<std::string, std::vector<const ShrunkPart *>> patterns;
  for (const ShrunkPart &part : parts)
    patterns[part.pattern].push_back(&part);
  for (const auto &[pattern, own] : patterns) {
    int64_t before = 0, after = 0;
    uint64_t bytesBefore = 0, bytesAfter = 0;
    const ShrunkPart *first = nullptr;
    size_t left = 0, changed = 0;
    for (const ShrunkPart *part : own) {
      before += part->before;
      after += part->after;
      bytesBefore += part->bytesBefore;
      bytesAfter += part->bytesAfter;
      left += part->reason.empty() || part->pattern == "layers" ? 0 : 1;
      first = first || part->reason.empty() || part->pattern == "layers" ? first : part;
      changed = std::max(changed, part->interface.size());
    }
    std::printf("pruned: %lld of %lld %s went, at %zu places; %.1f of %.1f MB of their weights are left\n",
                static_cast<long long>(before - after), static_cast<long long>(before), pattern.c_str(), own.size(),
                static_cast<double>(bytesAfter) / 1e6, static_cast<double>(bytesBefore) / 1e6);
    if (changed)
      std::printf("  inputs and outputs of caches changed with them (--report tells which)\n");
    if (first)
      std::printf("  '%s' stays as it was: %s\n", first->node.c_str(), first->reason.c_str());
    if (left > 1)
      std::printf("  and %zu more (--report tells them all)\n", left - 1);
  }
}

void printPruned(const std::vector<PrunedLayer> &layers) {
  double zeros = 0, weights = 0;
  size_t done = 0, left = 0;
  const PrunedLayer *worst = nullptr, *first = nullptr;
  for (const PrunedLayer &layer : layers) {
    (layer.reason.empty() ? done : left) += 1;
    if (!layer.reason.empty()) {
      first = first ? first : &layer;
      continue;
    }
    double own = static_cast<double>(layer.inputs) * static_cast<double>(layer.outputs);
    zeros += layer.sparsity * own;
    weights += own;
    if (!worst || layer.snrDb < worst->snrDb)
      worst = &layer;
  }
  if (layers.empty())
    return;
  std::printf("pruned: %zu of %zu layers, %.1f %% of their weights are zero\n", done, done + left,
              weights > 0 ? 100 * zeros / weights : 0.0);
  if (worst)
    std::printf("  least exact: '%s', signal to noise %.1f dB of %s\n", worst->weight.c_str(), worst->snrDb,
                worst->onOutputs ? "its output" : "the weight");
  if (first)
    std::printf("  '%s' stays as it was: %s\n", first->weight.c_str(), first->reason.c_str());
  if (left > 1)
    std::printf("  and %zu more (--report tells them all)\n", left - 1);
}

/// What the products of layers take together, where they were timed.
void printTimes(const CompressionReport &report) {
  double before = 0, after = 0;
  size_t count = 0;
  std::set<int64_t> rows;
  for (const CompressedLayer &layer : report.layers) {
    if (layer.ways.empty())
      continue;
    before += layer.ways.front().microseconds;
    after += layer.ways[layer.way].microseconds;
    rows.insert(layer.rows);
    ++count;
  }
  if (count)
    std::printf("  %zu products of %s%lld row%s: %.0f us, before %.0f us\n", count, rows.size() > 1 ? "up to " : "",
                static_cast<long long>(*rows.rbegin()), *rows.rbegin() == 1 ? "" : "s", after, before);
  if (!report.whyNotTimed.empty())
    std::printf("  products were not timed: %s\n", report.whyNotTimed.c_str());
}

void printCaches(const std::vector<CompressedCache> &caches) {
  if (caches.empty())
    return;
  std::map<std::string, size_t> counts;
  uint64_t before = 0, after = 0;
  for (const CompressedCache &cache : caches) {
    ++counts[cache.format];
    before += cache.bytesBefore;
    after += cache.bytesAfter;
  }
  std::string text;
  for (const auto &[name, count] : counts)
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " in " + name;
  std::printf("caches: %s; %llu of %llu bytes a token\n", text.c_str(), static_cast<unsigned long long>(after),
              static_cast<unsigned long long>(before));
}

/// Takes what is of attentions out of the layers, and prints it.
void printAttentions(std::vector<CompressedLayer> &layers) {
  std::vector<CompressedLayer> attentions, others;
  for (CompressedLayer &layer : layers)
    (layer.kind == "attention" ? attentions : others).push_back(std::move(layer));
  layers = std::move(others);
  if (attentions.empty())
    return;
  size_t rounded = 0, timed = 0, left = 0;
  double before = 0, after = 0;
  const CompressedLayer *first = nullptr;
  for (const CompressedLayer &attention : attentions) {
    rounded += attention.format.empty() ? 0 : 1;
    left += attention.reason.empty() ? 0 : 1;
    first = first || attention.reason.empty() ? first : &attention;
    if (attention.ways.empty())
      continue;
    ++timed;
    before += attention.ways.front().microseconds;
    after += attention.ways[attention.way].microseconds;
  }
  std::printf("attention: %zu of %zu in int8\n", rounded, attentions.size());
  if (timed)
    std::printf("  %zu of %lld queries: %.0f us, before %.0f us\n", timed, static_cast<long long>(attentions.front().rows), after, before);
  if (first)
    std::printf("  '%s' stays as it was: %s\n", first->node.c_str(), first->reason.c_str());
  if (left > 1)
    std::printf("  and %zu more (--report tells them all)\n", left - 1);
}

void printSparse(const std::vector<SparseLayer> &layers) {
  if (layers.empty())
    return;
  std::map<std::string, size_t> counts;
  uint64_t before = 0, after = 0;
  const SparseLayer *first = nullptr;
  for (const SparseLayer &layer : layers) {
    ++counts[layer.format.empty() ? "dense" : layer.format];
    before += layer.bytesBefore;
    after += layer.bytesAfter;
    if (layer.format.empty() && !first)
      first = &layer;
  }
  std::string text;
  for (const auto &[name, count] : counts)
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + name;
  std::printf("sparse: %s; %.1f of %.1f MB\n", text.c_str(), static_cast<double>(after) / 1e6, static_cast<double>(before) / 1e6);
  if (first)
    std::printf("  '%s' stays dense: %s\n", first->weight.c_str(), first->reason.c_str());
  if (counts["dense"] > 1)
    std::printf("  and %zu more (--report tells them all)\n", counts["dense"] - 1);
}

/// What each alternative was chosen for, and what all layers that it was tried on would take with it.
void printAlternatives(const WeightChoice &choice) {
  struct Alternative {
    std::string format;
    size_t chosen = 0, layers = 0;
    uint64_t bytes = 0;
    double microseconds = 0;
  };
  std::vector<Alternative> all;
  for (const ChosenLayer &layer : choice.layers)
    for (size_t i = 1; i < layer.options.size(); ++i) { // the first is to leave it
      const ChosenLayer::Option &option = layer.options[i];
      auto it = std::find_if(all.begin(), all.end(), [&](const Alternative &own) { return own.format == option.format; });
      if (it == all.end())
        it = all.insert(all.end(), Alternative{option.format});
      it->chosen += layer.chosen == i;
      it->bytes += option.bytes;
      it->microseconds += option.way.microseconds;
      ++it->layers;
    }
  constexpr size_t kMost = 8; // ranks are different for each layer
  for (size_t i = 0; i < std::min(all.size(), kMost); ++i) {
    std::string time = all[i].microseconds > 0 ? " and " + std::to_string(std::llround(all[i].microseconds)) + " us" : "";
    std::printf("  %s: for %zu of %zu layers; all of them would take %.2f MB%s\n", all[i].format.c_str(), all[i].chosen,
                all[i].layers, static_cast<double>(all[i].bytes) / 1e6, time.c_str());
  }
  if (all.size() > kMost)
    std::printf("  and %zu more (--report tells them all, layer by layer)\n", all.size() - kMost);
}

void printChoices(const CompressionReport &report) {
  for (const WeightChoice &choice : report.choices) {
    std::map<std::string, size_t> counts;
    for (const ChosenLayer &layer : choice.layers)
      ++counts[layer.options[layer.chosen].format];
    std::string text;
    for (const auto &[name, count] : counts)
      text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + name;
    std::printf("chosen: %s; weights of %.2f of %.2f MB, by what layers cost on %zu samples%s\n",
                text.empty() ? "nothing, as there is no layer" : text.c_str(), static_cast<double>(choice.bytesAfter) / 1e6,
                static_cast<double>(choice.bytesBefore) / 1e6, choice.samples,
                choice.isComplete ? "" : " (time was up: --report tells which are estimates)");
    printAlternatives(choice);
    if (choice.microsecondsBefore > 0)
      std::printf("  their products take %.0f us, before %.0f us\n", choice.microsecondsAfter, choice.microsecondsBefore);
    if (choice.modelMicrosecondsAfter > 0)
      std::printf("  the whole model is %.2f times as fast on the calibration data: %.0f us, before %.0f us\n",
                  choice.modelMicrosecondsBefore / choice.modelMicrosecondsAfter, choice.modelMicrosecondsAfter,
                  choice.modelMicrosecondsBefore);
  }
  if (report.qualityMeasure == "perplexity")
    std::printf("perplexity on the calibration data: %.4f, %.4f before (%+.3f %%)\n", report.qualityAfter,
                report.qualityBefore, 100 * report.drop);
  else if (!report.qualityMeasure.empty())
    std::printf("relative error of the outputs on the calibration data: %.3g\n", report.drop);
}

} // namespace

void printCompression(const CompressionReport &whole) {
  CompressionReport report = whole;
  printTransforms(report);
  printPruned(report.pruned);
  printShrunk(report.shrunk);
  printCaches(report.caches);
  printAttentions(report.layers);
  printSparse(report.sparse);
  printChoices(report);
  if (report.layers.empty())
    return;
  std::map<std::string, size_t> counts;
  double worst = 1e9;
  const CompressedLayer *worstLayer = nullptr;
  for (const CompressedLayer &layer : report.layers) {
    if (layer.format.empty())
      continue;
    // Of ranks there are many.
    ++counts[(layer.rank ? "of low rank" : layer.format) + " by " + layer.method];
    if (layer.snrDb < worst) {
      worst = layer.snrDb;
      worstLayer = &layer;
    }
  }
  std::string text;
  for (const auto &[name, count] : counts)
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + name;
  std::printf("compressed: %s; %.1f of %.1f MB\n", text.empty() ? "none" : text.c_str(), static_cast<double>(report.bytesAfter) / 1e6,
              static_cast<double>(report.bytesBefore) / 1e6);
  printTimes(report);
  if (worstLayer)
    std::printf("  least exact: '%s', signal to noise %.1f dB of %s\n", worstLayer->weight.c_str(), worst,
                worstLayer->onOutputs ? "its output" : "the weight");
  constexpr size_t kMost = 10;
  size_t told = 0;
  for (const CompressedLayer &layer : report.layers)
    if (!layer.reason.empty() && ++told <= kMost)
      std::printf("  '%s' stays as it was: %s\n", layer.weight.c_str(), layer.reason.c_str());
  if (told > kMost)
    std::printf("  and %zu more (--report tells them all)\n", told - kMost);
}

void addQuantizeCommand(CLI::App &app, int &exitCode) {
  auto flags = std::make_shared<QuantizeFlags>();
  CLI::App *command = app.add_subcommand("quantize", "Store a model's weights, and compute its products, in fewer bits");
  command->add_option("-o,--output", flags->compile.output, "the .lathe or .onnx file")->required();
  addCompileOptions(*command, flags->compile);
  command->add_option("--mode", flags->mode, "weight-only, dynamic (activations per row), static (activations from --calib), log or codebook")
      ->check(CLI::IsMember({"weight-only", "dynamic", "static", "log", "codebook"}))
      ->capture_default_str();
  command->add_option("--method", flags->method, "how codes are found: rtn, mse, gptq, awq, hqq")->capture_default_str();
  command->add_option("--format", flags->format, "of codes: int, nf4, fp4, fp8-e4m3, fp8-e5m2, mxfp4, mxfp8, log2, apot, codebook");
  command->add_option("--bits", flags->bits, "of a code (8)");
  command->add_option("--group-size", flags->groupSize, "inputs that share a scale: 16, 32, 64, 128, 256, or 0 for all of an output (0)");
  command->add_flag("--asymmetric", flags->asymmetric, "with zero points");
  command->add_option("--scale-type", flags->scaleType, "f32, f16 or bf16 (f16)");
  command->add_option("--range", flags->range, "of static activations: minmax, moving-average, percentile, entropy, mse");
  command->add_flag("--rotate", flags->rotate, "first rotate what layers add up, so that outliers are shared out (QuaRot; the function stays)");
  command->add_flag(
      "--equalize", flags->equalize,
      "then make the ranges of channels between layers equal where the function stays (cross-layer equalization)");
  command->add_flag("--bias-correction", flags->biasCorrection,
                    "take back what codes change in the mean of a layer's outputs on --calib");
  command->add_flag("--double-quantization", flags->doubleQuantization,
                    "scales are codes of 8 bits themselves (QLoRA)");
  command->add_option("--smooth", flags->smooth, "SmoothQuant's alpha: moves outliers of activations into weights")->check(CLI::Range(0.0, 1.0));
  command->add_option("--outliers", flags->outliers, "inputs whose largest magnitude is so many times the median one are multiplied in f32");
  command->add_option("--damping", flags->damping, "of GPTQ, a share of the mean of the diagonal (0.01)");
  command->add_option("--dimension", flags->dimension, "weights that one code of a codebook stands for (4)");
  command->add_option("--tensors", flags->tensors, "weights to quantize: names of initializers or nodes, with * and ? (all)")->take_all();
  addCacheOption(*command, flags->compile);
  addBudgetOptions(*command, flags->budgets);
  addCalibrationOptions(*command, flags->compile);
  command->callback([=, &exitCode] {
    flags->isMethodGiven = command->count("--method") > 0;
    // With --kv-cache or --attention alone weights stay as they are.
    bool ofWeights = flags->compile.kvCache.empty() && flags->compile.attention.empty();
    for (const char *name : {"--mode", "--method", "--format", "--bits", "--group-size", "--asymmetric", "--scale-type", "--range", "--smooth",
                             "--outliers", "--damping", "--dimension", "--tensors", "--exclude", "--calib", "--rotate", "--equalize",
                             "--bias-correction", "--double-quantization"})
      ofWeights |= command->count(name) > 0;
    exitCode = quantize(*flags, ofWeights);
  });
}

} // namespace lathe::tool
