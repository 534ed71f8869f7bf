//===- Recipe.cpp - What is to be compressed, and how ---------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/Recipe.h"
#include "compiler/ChooseFields.h"
#include "compiler/PruneFields.h"
#include "compiler/RecipeFields.h"
#include "compiler/StructuredFields.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include <fnmatch.h>
#include <map>

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
              choice("prefer", at(&S::prefer), {"auto", "speed", "size"}),
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

/// Fields that methods do not have.
std::string verifyMethod(const LowRankFields &own) {
  const std::string &method = own.method;
  const std::pair<const char *, bool> given[] = {{"rank", own.rank.has_value()},     {"energy", own.energy.has_value()},
                                                 {"block", own.block.has_value()},   {"cores", own.cores.has_value()},
                                                 {"seed", own.seed.has_value()},     {"residual", own.residual},
                                                 {"allocation", own.allocation == "auto"}};
  // Where all methods but some have a field, these are told, with the reason.
  auto has = [&](const std::string &field) {
    bool isOfFactors = method == "svd" || method == "asvd" || method == "svd-llm";
    return field == "rank"     ? method != "circulant"
           : field == "energy" ? method != "cp"
           : field == "block"  ? method == "circulant" || method == "kronecker"
           : field == "cores"  ? method == "tensor-train"
           : field == "seed"   ? method == "cp"
                               : isOfFactors;
  };
  const std::map<std::string, std::string> methods = {{"rank", "all methods but 'circulant', which has 'block'"},
                                                      {"energy", "all methods but 'cp', of which no rank is known to keep a share"},
                                                      {"block", "methods 'circulant' and 'kronecker'"},
                                                      {"cores", "method 'tensor-train'"},
                                                      {"seed", "method 'cp'"},
                                                      {"residual", "methods 'svd', 'asvd' and 'svd-llm'"},
                                                      {"allocation", "methods 'svd', 'asvd' and 'svd-llm'"}};
  for (const auto &[field, isGiven] : given)
    if (isGiven && !has(field))
      return "field '" + std::string(field) + "': " + (std::string(field) == "allocation" ? "'auto' " : "") + "is for " +
             methods.at(field) + ", got '" + method + "'";
  return "";
}

/// One of the fields that say how large factors are.
std::string finishLowRank(const ordered_json &, RecipeStep &step) {
  const LowRankFields &own = step.lowRank;
  if (std::string problem = verifyMethod(own); !problem.empty())
    return problem;
  bool isByBlock = own.method == "circulant";
  int given = (isByBlock ? own.block.has_value() : own.rank.has_value()) + own.ratio.has_value() + own.energy.has_value();
  if (given != 1)
    return "expects one of the fields " +
           std::string(isByBlock ? "'block', 'ratio' and 'energy'" : own.method == "cp" ? "'rank' and 'ratio'" : "'rank', 'ratio' and 'energy'") +
           ", got " + std::string(given ? "several" : "none");
  if (own.allocation == "auto" && !own.ratio)
    return "field 'allocation': 'auto' shares out what field 'ratio' leaves, which is not given";
  if (own.residual && own.ratio)
    return "field 'ratio': with 'residual' it is later steps that remove bytes: expects 'rank' or 'energy'";
  return "";
}

StepKind lowRankKind() {
  using S = RecipeStep;
  using L = LowRankFields;
  return {"lowrank",
          {
              choice("method", at(&S::lowRank, &L::method), {"svd", "asvd", "svd-llm", "kronecker", "tensor-train", "circulant", "tucker", "cp"}),
              optionalWholeNumber("rank", at(&S::lowRank, &L::rank), 1, int64_t(1) << 31),
              optionalShare("ratio", at(&S::lowRank, &L::ratio)),
              optionalShare("energy", at(&S::lowRank, &L::energy)),
              choice("allocation", at(&S::lowRank, &L::allocation), {"uniform", "auto"}),
              number("alpha", at(&S::lowRank, &L::alpha), 0, 2),
              flag("residual", at(&S::lowRank, &L::residual)),
              optionalWholeNumber("block", at(&S::lowRank, &L::block), 2, int64_t(1) << 31),
              optionalWholeNumber("cores", at(&S::lowRank, &L::cores), 2, 8),
              optionalWholeNumber("seed", at(&S::lowRank, &L::seed), 0, int64_t(1) << 53),
              choice("prefer", at(&S::prefer), {"auto", "speed", "size"}),
              globs("tensors", at(&S::tensors)),
              globs("exclude", at(&S::exclude)),
          },
          finishLowRank};
}

StepKind sparsifyKind() {
  using S = RecipeStep;
  return {"sparsify",
          {
              choice("format", at(&S::sparsifying, &Sparsifying::format), {"auto", "csr", "bsr", "bitmap", "n_of_m"}),
              choice("prefer", at(&S::prefer), {"auto", "speed", "size"}),
              globs("tensors", at(&S::tensors)),
              globs("exclude", at(&S::exclude)),
          },
          nullptr};
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
      others.push_back("'" + other.name + "'" + (other.mode.empty() ? "" : " of mode '" + other.mode + "'") +
                       (other.patterns.empty() ? "" : " of patterns " + llvm::join(other.patterns, ", ")));
  if (!kind.mode.empty())
    return unknown("field of mode '" + kind.mode + "'", name, own);
  if (!kind.patterns.empty())
    return unknown("field of patterns " + llvm::join(kind.patterns, ", "), name, own);
  if (others.empty())
    return unknown("field", name, own);
  return "field '" + name + "' is one of step " + llvm::join(others, " and ") + ": step '" + kind.name + "' has " +
         llvm::join(own, ", ");
}

/// The kind of a step by what its fields `step`, a valid one, `mode` and `pattern` are.
const StepKind &kindOf(const std::string &name, const ordered_json &mode, const ordered_json &pattern) {
  return *llvm::find_if(stepKinds(), [&](const StepKind &kind) {
    return kind.name == name && (kind.mode.empty() || mode == kind.mode) &&
           (kind.patterns.empty() ||
            llvm::any_of(kind.patterns, [&](const std::string &own) { return pattern == own; }));
  });
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
  for (const Field &field : kindOf(step.step, step.mode, step.parts.pattern).fields)
    entry[field.name] = field.write(step);
  return entry;
}

/// Reads the recipe's own fields, those beside its steps; returns what is wrong.
static std::string readWhole(const ordered_json &json, Recipe &whole) {
  // They are read as a step's are, but lie elsewhere.
  const Field fields[] = {choice("prefer", [&](RecipeStep &) -> std::string & { return whole.prefer; }, {"auto", "speed", "size"}),
                          wholeNumber("rows", [&](RecipeStep &) -> int64_t & { return whole.rows; }, 0, 1 << 20)};
  RecipeStep none;
  for (const Field &field : fields)
    if (json.contains(field.name))
      if (std::string problem = field.read(json[field.name], none); !problem.empty())
        return "field '" + field.name + "': " + problem;
  return "";
}

const std::vector<StepKind> &stepKinds() {
  static const std::vector<StepKind> all = {cachesKind(), quantizeKind(), structuredKind(), pruneKind(), lowRankKind(),
                                            rotateKind(), equalizeKind(), sparsifyKind(), chooseKind()};
  return all;
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

bool prefersSpeed(const Recipe &recipe, const RecipeStep &step, bool isPortable) {
  const std::string &prefer = step.prefer != "auto" ? step.prefer : recipe.prefer;
  return prefer == "speed" || (prefer == "auto" && step.activations != "none" && !isPortable);
}

bool needsCalibration(const RecipeStep &step) {
  if (!step.parts.pattern.empty())
    return (step.parts.method != "magnitude" && step.parts.method != "taylor") || step.parts.refit;
  if (step.step == "prune")
    return step.pruning.method != "magnitude" || step.pruning.refinements > 0;
  if (step.step == "lowrank")
    return step.lowRank.method == "asvd" || step.lowRank.method == "svd-llm";
  if (step.step == "sparsify")
    return false;
  return step.step == "choose" || step.method == "gptq" || step.method == "awq" || step.activations == "tensor" || step.smooth.has_value() ||
         step.outliers.has_value() || step.biasCorrection;
}

bool usesCalibration(const RecipeStep &step) {
  if (step.step == "lowrank")
    return needsCalibration(step) || step.lowRank.method == "kronecker" || step.lowRank.method == "tensor-train" ||
           step.lowRank.method == "circulant";
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
    if (name != "version" && name != "steps" && name != "prefer" && name != "rows")
      return fail(recipe::unknown("field", name, {"version", "steps", "prefer", "rows"}));
  if (json.value("version", ordered_json(1)) != 1)
    return fail("field 'version': expects 1, got " + json["version"].dump());
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
  json["steps"] = ordered_json::array();
  for (const RecipeStep &step : whole.steps)
    json["steps"].push_back(recipe::write(step));
  return json.dump();
}

} // namespace lathe
