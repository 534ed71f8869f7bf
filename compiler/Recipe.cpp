//===- Recipe.cpp - What is to be compressed, and how ---------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/Recipe.h"
#include "compiler/AttentionStep.h"
#include "compiler/CacheStep.h"
#include "compiler/StepKinds.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include <fnmatch.h>
#include <set>

using nlohmann::ordered_json;

namespace lathe {
namespace recipe {
namespace {

const Field *findField(const std::vector<Field> &fields, const std::string &name) {
  auto it = llvm::find_if(fields, [&](const Field &field) { return field.name == name; });
  return it == fields.end() ? nullptr : &*it;
}

/// Why a step of `kind` has no field `name`.
std::string noField(const StepKind &kind, const std::string &name) {
  std::vector<std::string> own = {"step"}, others;
  std::set<std::string> names;
  for (const Field &field : kind.fields)
    own.push_back(field.name);
  for (const StepKind &other : stepKinds())
    if (findField(other.fields, name)) {
      names.insert(other.name);
      others.push_back("'" + other.name + "'" + (other.mode.empty() ? "" : " of mode '" + other.mode + "'") +
                       (other.patterns.empty() ? "" : " of patterns " + llvm::join(other.patterns, ", ")));
    }
  if (!kind.mode.empty())
    return unknown("field of mode '" + kind.mode + "'", name, own);
  if (!kind.patterns.empty())
    return unknown("field of patterns " + llvm::join(kind.patterns, ", "), name, own);
  if (others.empty())
    return unknown("field", name, own);
  return "field '" + name + "' is one of step" + (names.size() > 1 ? "s " : " ") + llvm::join(others, " and ") +
         ": step '" + kind.name + "' has " + llvm::join(own, ", ");
}

/// Reads one step; returns what is wrong.
std::string readStep(const ordered_json &entry, RecipeStep &step) {
  if (!entry.is_object())
    return "expects an object, got " + shown(entry);
  std::vector<std::string> names;
  for (const StepKind &kind : stepKinds())
    if (!llvm::is_contained(names, kind.name))
      names.push_back(kind.name);
  if (entry.contains("step"))
    if (std::string problem = choice("step", at(&RecipeStep::step), names).read(entry["step"], step); !problem.empty())
      return "field 'step': " + problem;
  const StepKind &kind = kindOf(step.step, entry.value("mode", ordered_json()), entry.value("pattern", ordered_json()));
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

} // namespace

std::string read(const ordered_json &entry, RecipeStep &step) { return readStep(entry, step); }

ordered_json write(const RecipeStep &step) {
  ordered_json entry = {{"step", step.step}};
  for (const Field &field : kindOf(step).fields)
    entry[field.name] = field.write(step);
  return entry;
}

/// Reads the recipe's own fields, those beside its steps; returns what is wrong.
static std::string readWhole(const ordered_json &json, Recipe &whole) {
  // They are read as a step's are, but lie elsewhere.
  const Field fields[] = {
      choice("prefer", [&](RecipeStep &) -> std::string & { return whole.prefer; }, {"auto", "speed", "size"}),
      wholeNumber(
          "rows", [&](RecipeStep &) -> int64_t & { return whole.rows; }, 0, 1 << 20),
      flag("require_kernel", [&](RecipeStep &) -> bool & { return whole.requireKernel; })};
  RecipeStep none;
  for (const Field &field : fields)
    if (json.contains(field.name))
      if (std::string problem = field.read(json[field.name], none); !problem.empty())
        return "field '" + field.name + "': " + problem;
  return "";
}

} // namespace recipe

bool matchesGlob(const std::string &pattern, const std::string &name) {
  return fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
}

std::string escapeGlob(const std::string &name) {
  std::string pattern;
  for (char c : name) {
    if (c == '*' || c == '?' || c == '[' || c == '\\')
      pattern += '\\';
    pattern += c;
  }
  return pattern;
}

std::optional<Recipe> parseRecipe(const std::string &text, std::string &error) {
  // Deeper than any recipe; what handles values calls itself for those inside, and takes the stack for each.
  constexpr int kMaxDepth = 64;
  bool tooDeep = false;
  auto look = [&](int depth, ordered_json::parse_event_t, ordered_json &) {
    tooDeep = tooDeep || depth > kMaxDepth;
    return !tooDeep;
  };
  ordered_json json = ordered_json::parse(text, look, /*allow_exceptions=*/false);
  auto fail = [&](const std::string &message) {
    error = "recipe: " + message;
    return std::nullopt;
  };
  if (tooDeep)
    return fail("expects values at most " + std::to_string(kMaxDepth) + " deep in each other");
  if (json.is_discarded())
    return fail("expects JSON, found something else");
  if (!json.is_object())
    return fail("expects an object, got " + std::string(json.type_name()));
  for (const auto &[name, value] : json.items())
    if (!llvm::is_contained({"version", "steps", "prefer", "rows", "require_kernel"}, name))
      return fail(recipe::unknown("field", name, {"version", "steps", "prefer", "rows", "require_kernel"}));
  if (json.value("version", ordered_json(1)) != 1)
    return fail("field 'version': expects 1, got " + recipe::shown(json["version"]));
  if (!json.contains("steps") || !json["steps"].is_array())
    return fail("expects a field 'steps' with a list");
  Recipe result;
  if (std::string problem = recipe::readWhole(json, result); !problem.empty())
    return fail(problem);
  for (const ordered_json &entry : json["steps"]) {
    RecipeStep step;
    if (std::string problem = recipe::readStep(entry, step); !problem.empty())
      return fail("step " + std::to_string(result.steps.size() + 1) + ": " + problem);
    result.steps.push_back(std::move(step));
  }
  return result;
}

std::string writeRecipe(const Recipe &whole) {
  ordered_json json = {{"version", 1}};
  if (whole.prefer != "auto")
    json["prefer"] = whole.prefer;
  if (whole.rows)
    json["rows"] = whole.rows;
  if (whole.requireKernel)
    json["require_kernel"] = true;
  json["steps"] = ordered_json::array();
  for (const RecipeStep &step : whole.steps)
    json["steps"].push_back(recipe::write(step));
  return json.dump();
}

std::string whyNotOnnx(const Recipe &recipe) {
  for (auto [index, step] : llvm::enumerate(recipe.steps)) {
    std::string where = "recipe: step " + std::to_string(index + 1);
    if (isCacheStep(step))
      return where + ": mode 'kv-cache' is of artifacts, which generate text: expects a .lathe file to write, got ONNX";
    if (isAttentionStep(step))
      return where + ": mode 'attention' is of artifacts, as ONNX has no attention that rounds: expects a .lathe file "
                     "to write, got ONNX";
  }
  return "";
}

} // namespace lathe
