//===- Recipe.cpp - What is to be compressed, and how ---------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/Recipe.h"
#include "compiler/RecipeFields.h"
#include "compiler/Sizes.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include <fnmatch.h>

using nlohmann::ordered_json;

namespace lathe {
namespace recipe {
namespace {

/// The mode of `quantize` that is of caches, which have few of the fields of weights.
constexpr const char *kCacheMode = "kv-cache";

/// What a mode rounds the left sides of products to.
std::string activationsOf(const std::string &mode) {
  return mode == "dynamic" ? "token" : mode == "static" ? "tensor" : "none";
}

/// What fields say together that no one of them is wrong for.
std::string verify(const RecipeStep &step) {
  if (step.activations != activationsOf(step.mode))
    return "field 'activations': mode '" + step.mode + "' has '" + activationsOf(step.mode) + "', got '" +
           step.activations + "'";
  if (step.format == "int" && step.bits > 4 && step.bits < 8)
    return "field 'bits': format 'int' has 2, 3, 4 or 8 bits, got " + std::to_string(step.bits);
  if ((step.format == "nf4" || step.format == "fp4") && step.bits != 4 && step.bits != 8)
    return "field 'bits': format '" + step.format + "' has 4 bits, got " + std::to_string(step.bits);
  if (step.method == "hqq" && step.format != "int")
    return "field 'method': hqq is for format 'int', got format '" + step.format + "'";
  bool hasFloatScales = step.format != "mxfp4" && step.format != "mxfp8" && step.format != "codebook";
  if (step.doubleQuantization && !hasFloatScales)
    return "field 'double_quantization': is for formats that have scales of floats, got format '" + step.format + "'";
  if (step.doubleQuantization && step.method == "hqq")
    return "field 'double_quantization': is for methods without zero points of floats, got method 'hqq'";
  return "";
}

std::string finishQuantize(const ordered_json &entry, RecipeStep &step) {
  if (!entry.contains("activations"))
    step.activations = activationsOf(step.mode);
  return verify(step);
}

StepKind quantizeKind() {
  using S = RecipeStep;
  return {"quantize",
          {
              choice("mode", at(&S::mode), {"weight-only", "dynamic", "static", kCacheMode}),
              choice("format", at(&S::format),
                     {"int", "nf4", "fp4", "fp8-e4m3", "fp8-e5m2", "mxfp4", "mxfp8", "log2", "apot", "codebook"}),
              choice("method", at(&S::method), {"rtn", "mse", "gptq", "awq", "hqq"}),
              integer("bits", at(&S::bits), {2, 3, 4, 5, 6, 7, 8}),
              integer("group_size", at(&S::groupSize), {0, 16, 32, 64, 128, 256}),
              flag("symmetric", at(&S::symmetric)),
              choice("scale_type", at(&S::scaleType), {"f32", "f16", "bf16"}),
              choice("activations", at(&S::activations), {"none", "token", "tensor"}),
              flag("symmetric_activations", at(&S::symmetricActivations)),
              choice("range", at(&S::range), {"minmax", "moving-average", "percentile", "entropy", "mse"}),
              number("damping", at(&S::damping), 1e-6, 1),
              flag("act_order", at(&S::actOrder)),
              flag("clip", at(&S::clip)),
              optionalNumber("smooth", at(&S::smooth), 0, 1),
              optionalNumber("outliers", at(&S::outliers), 1, 1e6),
              flag("bias_correction", at(&S::biasCorrection)),
              flag("double_quantization", at(&S::doubleQuantization)),
              integer("stages", at(&S::stages), {1, 2}),
              integer("dimension", at(&S::dimension), {1, 2, 4, 8}),
              globs("tensors", at(&S::tensors)),
              globs("exclude", at(&S::exclude)),
          },
          finishQuantize};
}

/// What was not said: with 4 bits, all of them for the range that there is, and smaller groups.
std::string finishCaches(const ordered_json &entry, RecipeStep &step) {
  constexpr int64_t kGroup = 32;
  if (!entry.contains("group_size"))
    step.groupSize = step.bits == 4 ? kGroup : 0;
  if (!entry.contains("symmetric"))
    step.symmetric = step.bits == 8;
  if (!entry.contains("rotate"))
    step.rotate = true; // costs next to nothing, and keys of some models have columns that are far larger than others
  return "";
}

StepKind cachesKind() {
  using S = RecipeStep;
  return {"quantize",
          {
              choice("mode", at(&S::mode), {kCacheMode}),
              integer("bits", at(&S::bits), {4, 8}),
              integer("group_size", at(&S::groupSize), {0, 16, 32, 64, 128, 256}),
              flag("symmetric", at(&S::symmetric)),
              flag("rotate", at(&S::rotate)),
              globs("tensors", at(&S::tensors)),
              globs("exclude", at(&S::exclude)),
          },
          finishCaches,
          kCacheMode};
}

StepKind rotateKind() { return {"rotate", {wholeNumber("seed", at(&RecipeStep::seed), 0, int64_t(1) << 53)}, nullptr}; }

StepKind equalizeKind() {
  return {
      "equalize", {globs("tensors", at(&RecipeStep::tensors)), globs("exclude", at(&RecipeStep::exclude))}, nullptr};
}

std::string readStep(const ordered_json &entry, RecipeStep &step);
ordered_json writeStep(const RecipeStep &step, bool isAlternative = false);

/// What an alternative of one layer is no step for, or nothing.
std::string whyNoAlternative(const ordered_json &entry, const RecipeStep &step) {
  for (const char *field : {"tensors", "exclude"})
    if (entry.contains(field))
      return "field '" + std::string(field) + "': what layers get it is chosen: expects it beside 'from'";
  if (step.step == "choose" || step.step == "rotate" || step.step == "equalize")
    return "step '" + step.step + "' is not of single layers";
  return step.mode == kCacheMode ? "mode 'kv-cache' is not of layers" : "";
}

std::string readAlternatives(const ordered_json &value, RecipeStep &step) {
  if (!value.is_array() || value.empty())
    return "expects a list of steps, or of lists of steps, got " + value.dump();
  step.from.clear();
  for (const ordered_json &alternative : value) {
    std::string where = "alternative " + std::to_string(step.from.size() + 1) + ": ";
    ordered_json entries = alternative.is_array() ? alternative : ordered_json::array({alternative});
    if (entries.empty())
      return where + "expects a step, got an empty list";
    step.from.emplace_back();
    for (const ordered_json &entry : entries) {
      RecipeStep own;
      std::string problem = readStep(entry, own);
      if (problem.empty())
        problem = whyNoAlternative(entry, own);
      if (!problem.empty())
        return where + problem;
      step.from.back().push_back(std::move(own));
    }
  }
  return "";
}

ordered_json writeAlternatives(const RecipeStep &step) {
  ordered_json list = ordered_json::array();
  for (const std::vector<RecipeStep> &alternative : step.from) {
    ordered_json entries = ordered_json::array();
    for (const RecipeStep &own : alternative)
      entries.push_back(writeStep(own, /*isAlternative=*/true));
    list.push_back(entries.size() == 1 ? entries.front() : entries);
  }
  return list;
}

std::string readTargetSize(const ordered_json &value, RecipeStep &step) {
  step.targetSize = value.is_string() ? value.get<std::string>() : value.is_number() ? value.dump() : "";
  if (value.is_null() || parseSizeOf(step.targetSize, 1 << 20))
    return "";
  return "expects a size such as \"25MiB\" or a part of the weights such as 0.3, got " + value.dump();
}

/// What is tried where a recipe names nothing: integers, as small as they are of use.
std::string finishChoose(const ordered_json &entry, RecipeStep &step) {
  if (step.targetSize.empty() && !step.maxDrop)
    return "expects a budget: a field 'target_size' or 'max_drop'";
  if (entry.contains("from"))
    return "";
  constexpr int64_t kGroup = 32;
  for (int64_t bits : {8, 4, 3, 2}) {
    RecipeStep own;
    own.bits = bits;
    own.groupSize = bits == 8 ? 0 : kGroup;
    own.method = bits == 8 ? "rtn" : "gptq";
    step.from.push_back({own});
  }
  return "";
}

StepKind chooseKind() {
  using S = RecipeStep;
  return {"choose",
          {
              {"from", readAlternatives, writeAlternatives},
              {"target_size", readTargetSize,
               [](const S &step) { return step.targetSize.empty() ? ordered_json() : ordered_json(step.targetSize); }},
              optionalNumber("max_drop", at(&S::maxDrop), 0, 1e6),
              wholeNumber("samples", at(&S::sensitivitySamples), 1, int64_t(1) << 53),
              optionalNumber("time_budget", at(&S::timeBudget), 0, 1e9),
              globs("tensors", at(&S::tensors)),
              globs("exclude", at(&S::exclude)),
          },
          finishChoose};
}

const Field *findField(const std::vector<Field> &fields, const std::string &name) {
  auto it = llvm::find_if(fields, [&](const Field &field) { return field.name == name; });
  return it == fields.end() ? nullptr : &*it;
}

/// Why a step of `kind` has no field `name`.
std::string noField(const StepKind &kind, const std::string &name) {
  std::vector<std::string> own = {"step"}, others;
  for (const Field &field : kind.fields)
    own.push_back(field.name);
  for (const StepKind &other : stepKinds())
    if (findField(other.fields, name))
      others.push_back("'" + other.name + "'" + (other.mode.empty() ? "" : " of mode '" + other.mode + "'"));
  if (!kind.mode.empty())
    return unknown("field of mode '" + kind.mode + "'", name, own);
  if (others.empty())
    return unknown("field", name, own);
  return "field '" + name + "' is one of step " + llvm::join(others, " and ") + ": step '" + kind.name + "' has " +
         llvm::join(own, ", ");
}

/// The kind of a step by what its fields `step`, a valid one, and `mode` are.
const StepKind &kindOf(const std::string &name, const ordered_json &mode) {
  return *llvm::find_if(stepKinds(),
                        [&](const StepKind &kind) { return kind.name == name && (kind.mode.empty() || mode == kind.mode); });
}

/// Reads one step; returns what is wrong.
std::string readStep(const ordered_json &entry, RecipeStep &step) {
  if (!entry.is_object())
    return "expects an object, got " + entry.dump();
  std::vector<std::string> names;
  for (const StepKind &kind : stepKinds())
    if (!llvm::is_contained(names, kind.name))
      names.push_back(kind.name);
  if (entry.contains("step"))
    if (std::string problem = choice("step", at(&RecipeStep::step), names).read(entry["step"], step); !problem.empty())
      return "field 'step': " + problem;
  const StepKind &kind = kindOf(step.step, entry.value("mode", ordered_json()));
  for (const auto &[name, value] : entry.items()) {
    if (name == "step")
      continue;
    const Field *field = findField(kind.fields, name);
    if (!field)
      return noField(kind, name);
    if (std::string problem = field->read(value, step); !problem.empty())
      return "field '" + name + "': " + problem;
  }
  return kind.finish ? kind.finish(entry, step) : "";
}

ordered_json writeStep(const RecipeStep &step, bool isAlternative) {
  ordered_json entry = {{"step", step.step}};
  for (const Field &field : kindOf(step.step, step.mode).fields)
    if (!isAlternative || (field.name != "tensors" && field.name != "exclude"))
      entry[field.name] = field.write(step);
  return entry;
}

} // namespace

const std::vector<StepKind> &stepKinds() {
  static const std::vector<StepKind> all = {cachesKind(), quantizeKind(), rotateKind(), equalizeKind(), chooseKind()};
  return all;
}

ordered_json write(const RecipeStep &step) { return writeStep(step); }

} // namespace recipe

bool matchesGlob(const std::string &pattern, const std::string &name) {
  return fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
}

bool needsCalibration(const RecipeStep &step) {
  return step.step == "choose" || step.method == "gptq" || step.method == "awq" || step.activations == "tensor" || step.smooth.has_value() ||
         step.outliers.has_value() || step.biasCorrection;
}

bool usesCalibration(const RecipeStep &step) {
  return needsCalibration(step) || step.format == "codebook" || step.method == "mse";
}

std::optional<Recipe> parseRecipe(const std::string &text, std::string &error) {
  ordered_json json = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  auto fail = [&](const std::string &message) {
    error = "recipe: " + message;
    return std::nullopt;
  };
  if (json.is_discarded())
    return fail("expects JSON, found something else");
  if (!json.is_object())
    return fail("expects an object, got " + std::string(json.type_name()));
  for (const auto &[name, value] : json.items())
    if (name != "version" && name != "steps")
      return fail(recipe::unknown("field", name, {"version", "steps"}));
  if (json.value("version", ordered_json(1)) != 1)
    return fail("field 'version': expects 1, got " + json["version"].dump());
  if (!json.contains("steps") || !json["steps"].is_array())
    return fail("expects a field 'steps' with a list");
  Recipe result;
  for (const ordered_json &entry : json["steps"]) {
    RecipeStep step;
    if (std::string problem = recipe::readStep(entry, step); !problem.empty())
      return fail("step " + std::to_string(result.steps.size() + 1) + ": " + problem);
    result.steps.push_back(std::move(step));
  }
  return result;
}

std::string writeRecipe(const Recipe &whole) {
  ordered_json json = {{"version", 1}, {"steps", ordered_json::array()}};
  for (const RecipeStep &step : whole.steps)
    json["steps"].push_back(recipe::write(step));
  return json.dump();
}

} // namespace lathe
