//===- Recipe.cpp - What is to be compressed, and how ---------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/Recipe.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringRef.h"
#include <fnmatch.h>
#include <functional>
#include <nlohmann/json.hpp>

using llvm::StringRef;
using nlohmann::ordered_json;

namespace lathe {
namespace {

/// The valid name that the fewest changes make of what was given; empty where none is near.
std::string nearest(StringRef given, const std::vector<std::string> &valid) {
  std::string best;
  unsigned distance = std::max<unsigned>(2, given.size() / 2) + 1;
  for (const std::string &name : valid)
    if (unsigned own = given.edit_distance(name); own < distance) {
      distance = own;
      best = name;
    }
  return best;
}

std::string unknown(const std::string &what, const std::string &given, const std::vector<std::string> &valid) {
  std::string near = nearest(given, valid);
  return what + " '" + given + "' is not known: expected " + llvm::join(valid, ", ") + (near.empty() ? "" : "; did you mean '" + near + "'?");
}

/// A field of a step: how it is read from JSON and written to it.
struct Field {
  std::string name;
  std::function<std::string(const ordered_json &value, RecipeStep &step)> read; ///< returns what is wrong
  std::function<ordered_json(const RecipeStep &step)> write;
};

Field choice(const char *name, std::string RecipeStep::*member, std::vector<std::string> valid) {
  return {name,
          [=](const ordered_json &value, RecipeStep &step) -> std::string {
            if (!value.is_string())
              return std::string("expects one of ") + llvm::join(valid, ", ") + ", got " + value.dump();
            step.*member = value.get<std::string>();
            return llvm::is_contained(valid, step.*member) ? "" : unknown("value", step.*member, valid);
          },
          [=](const RecipeStep &step) { return ordered_json(step.*member); }};
}

Field integer(const char *name, int64_t RecipeStep::*member, std::vector<int64_t> valid) {
  std::vector<std::string> texts;
  for (int64_t number : valid)
    texts.push_back(std::to_string(number));
  return {name,
          [=](const ordered_json &value, RecipeStep &step) -> std::string {
            if (value.is_number_integer())
              step.*member = value.get<int64_t>();
            if (!value.is_number_integer() || !llvm::is_contained(valid, step.*member))
              return "expects one of " + llvm::join(texts, ", ") + ", got " + value.dump();
            return "";
          },
          [=](const RecipeStep &step) { return ordered_json(step.*member); }};
}

Field flag(const char *name, bool RecipeStep::*member) {
  return {name,
          [=](const ordered_json &value, RecipeStep &step) -> std::string {
            if (!value.is_boolean())
              return "expects true or false, got " + value.dump();
            step.*member = value.get<bool>();
            return "";
          },
          [=](const RecipeStep &step) { return ordered_json(step.*member); }};
}

std::string readNumber(const ordered_json &value, double low, double high, double &number) {
  if (value.is_number())
    number = value.get<double>();
  if (!value.is_number() || !(number >= low && number <= high))
    return "expects a number from " + ordered_json(low).dump() + " to " + ordered_json(high).dump() + ", got " + value.dump();
  return "";
}

/// A number, or null for none.
Field optionalNumber(const char *name, std::optional<double> RecipeStep::*member, double low, double high) {
  return {name,
          [=](const ordered_json &value, RecipeStep &step) -> std::string {
            (step.*member).reset();
            if (value.is_null())
              return "";
            double number = 0;
            std::string error = readNumber(value, low, high, number);
            step.*member = number;
            return error;
          },
          [=](const RecipeStep &step) { return step.*member ? ordered_json(*(step.*member)) : ordered_json(); }};
}

Field globs(const char *name, std::vector<std::string> RecipeStep::*member) {
  return {name,
          [=](const ordered_json &value, RecipeStep &step) -> std::string {
            auto isText = [](const ordered_json &entry) { return entry.is_string() && !entry.get_ref<const std::string &>().empty(); };
            if (!value.is_array() || !llvm::all_of(value, isText))
              return "expects a list of names or patterns, got " + value.dump();
            step.*member = value.get<std::vector<std::string>>();
            return "";
          },
          [=](const RecipeStep &step) { return ordered_json(step.*member); }};
}

const std::vector<Field> &fields() {
  using S = RecipeStep;
  static const std::vector<Field> all = {
      choice("step", &S::step, {"quantize"}),
      choice("mode", &S::mode, {"weight-only", "dynamic", "static", "kv-cache"}),
      choice("format", &S::format, {"int", "nf4", "fp4", "fp8-e4m3", "fp8-e5m2", "mxfp4", "mxfp8", "log2", "apot", "codebook"}),
      choice("method", &S::method, {"rtn", "mse", "gptq", "awq", "hqq"}),
      integer("bits", &S::bits, {2, 3, 4, 5, 6, 7, 8}),
      integer("group_size", &S::groupSize, {0, 16, 32, 64, 128, 256}),
      flag("symmetric", &S::symmetric),
      choice("scale_type", &S::scaleType, {"f32", "f16", "bf16"}),
      choice("activations", &S::activations, {"none", "token", "tensor"}),
      flag("symmetric_activations", &S::symmetricActivations),
      choice("range", &S::range, {"minmax", "moving-average", "percentile", "entropy", "mse"}),
      {"damping", [](const ordered_json &value, S &step) { return readNumber(value, 1e-6, 1, step.damping); },
       [](const S &step) { return ordered_json(step.damping); }},
      flag("act_order", &S::actOrder),
      flag("clip", &S::clip),
      optionalNumber("smooth", &S::smooth, 0, 1),
      optionalNumber("outliers", &S::outliers, 1, 1e6),
      integer("stages", &S::stages, {1, 2}),
      integer("dimension", &S::dimension, {1, 2, 4, 8}),
      globs("tensors", &S::tensors),
      globs("exclude", &S::exclude),
  };
  return all;
}

/// The fields of steps that round caches, which have few of those of weights.
const std::vector<Field> &cacheFields() {
  using S = RecipeStep;
  static const std::vector<Field> all = {
      choice("step", &S::step, {"quantize"}),   choice("mode", &S::mode, {"kv-cache"}),
      integer("bits", &S::bits, {4, 8}),        integer("group_size", &S::groupSize, {0, 16, 32, 64, 128, 256}),
      flag("symmetric", &S::symmetric),         flag("rotate", &S::rotate),
      globs("tensors", &S::tensors),            globs("exclude", &S::exclude),
  };
  return all;
}

bool isOfCaches(const ordered_json &entry) {
  auto mode = entry.find("mode");
  return mode != entry.end() && *mode == "kv-cache";
}

/// What was not said: with 4 bits, all of them for the range that there is, and smaller groups.
void setCacheDefaults(const ordered_json &entry, RecipeStep &step) {
  constexpr int64_t kGroup = 32;
  if (!entry.contains("group_size"))
    step.groupSize = step.bits == 4 ? kGroup : 0;
  if (!entry.contains("symmetric"))
    step.symmetric = step.bits == 8;
  if (!entry.contains("rotate"))
    step.rotate = true; // costs next to nothing, and keys of some models have columns that are far larger than others
}

/// What a mode rounds the left sides of products to.
std::string activationsOf(const std::string &mode) { return mode == "dynamic" ? "token" : mode == "static" ? "tensor" : "none"; }

/// What fields say together that no one of them is wrong for.
std::string verify(const RecipeStep &step) {
  if (step.activations != activationsOf(step.mode))
    return "field 'activations': mode '" + step.mode + "' has '" + activationsOf(step.mode) + "', got '" + step.activations + "'";
  if (step.format == "int" && step.bits > 4 && step.bits < 8)
    return "field 'bits': format 'int' has 2, 3, 4 or 8 bits, got " + std::to_string(step.bits);
  if ((step.format == "nf4" || step.format == "fp4") && step.bits != 4 && step.bits != 8)
    return "field 'bits': format '" + step.format + "' has 4 bits, got " + std::to_string(step.bits);
  if (step.method == "hqq" && step.format != "int")
    return "field 'method': hqq is for format 'int', got format '" + step.format + "'";
  return "";
}

} // namespace

bool matchesGlob(const std::string &pattern, const std::string &name) { return fnmatch(pattern.c_str(), name.c_str(), 0) == 0; }

bool needsCalibration(const RecipeStep &step) {
  return step.method == "gptq" || step.method == "awq" || step.activations == "tensor" || step.smooth.has_value() || step.outliers.has_value();
}

bool usesCalibration(const RecipeStep &step) { return needsCalibration(step) || step.format == "codebook" || step.method == "mse"; }

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
      return fail(unknown("field", name, {"version", "steps"}));
  if (json.value("version", ordered_json(1)) != 1)
    return fail("field 'version': expects 1, got " + json["version"].dump());
  if (!json.contains("steps") || !json["steps"].is_array())
    return fail("expects a field 'steps' with a list");
  Recipe recipe;
  for (const ordered_json &entry : json["steps"]) {
    std::string where = "step " + std::to_string(recipe.steps.size() + 1) + ": ";
    if (!entry.is_object())
      return fail(where + "expects an object, got " + entry.dump());
    RecipeStep step;
    const std::vector<Field> &own = isOfCaches(entry) ? cacheFields() : fields();
    std::vector<std::string> names;
    for (const Field &field : own)
      names.push_back(field.name);
    for (const auto &[name, value] : entry.items()) {
      auto it = llvm::find_if(own, [&](const Field &field) { return field.name == name; });
      if (it == own.end())
        return fail(where + unknown(isOfCaches(entry) ? "field of mode 'kv-cache'" : "field", name, names));
      if (std::string problem = it->read(value, step); !problem.empty())
        return fail(where + "field '" + name + "': " + problem);
    }
    if (isOfCaches(entry))
      setCacheDefaults(entry, step);
    if (!entry.contains("activations"))
      step.activations = activationsOf(step.mode);
    if (std::string problem = verify(step); !problem.empty())
      return fail(where + problem);
    recipe.steps.push_back(std::move(step));
  }
  return recipe;
}

std::string writeRecipe(const Recipe &recipe) {
  ordered_json json = {{"version", 1}, {"steps", ordered_json::array()}};
  for (const RecipeStep &step : recipe.steps) {
    ordered_json entry;
    for (const Field &field : step.mode == "kv-cache" ? cacheFields() : fields())
      entry[field.name] = field.write(step);
    json["steps"].push_back(std::move(entry));
  }
  return json.dump();
}

} // namespace lathe
