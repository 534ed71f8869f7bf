//===- Reproducer.cpp - A few nodes that still go wrong -------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/Reproducer.h"
#include "compiler/CompilerLibrary.h"
#include "compiler/tools/lathe/RunCommands/ManifestJson.h"
#include "compiler/tools/lathe/RunCommands/Support.h"
#include <algorithm>
#include <filesystem>
#include <fnmatch.h>
#include <map>
#include <set>

using nlohmann::ordered_json;

namespace lathe::tool {
namespace {

constexpr size_t kSizes[] = {1, 2, 4, 8, 12, 16, 20}; ///< of parts that are tried, in nodes

/// onnx::TensorProto::DataType, in the order of lathe_dtype.
constexpr int kOnnxTypes[] = {1, 10, 16, 11, 3, 5, 6, 7, 2, 4, 12, 13, 9, 17, 18, 19, 20, 22, 21, 26, 25, 17};

/// A value of the model, as it is in this run.
struct Captured {
  Tensor tensor;
  std::vector<std::string> shape;
};

bool isName(const std::string &text) {
  return !text.empty() && !std::isdigit(static_cast<unsigned char>(text[0])) &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isalnum(c) || c == '_'; });
}

/// Keeps of a dimension its name, where it has one, so that the part is compiled for as many shapes as the model.
Captured capture(Tensor tensor, const TensorInfo &info) {
  Captured result;
  for (size_t d = 0; d < tensor.dims.size(); ++d) {
    bool isOpen = d < info.dims.size() && info.dims[d] < 0 && isName(info.dimTexts[d]);
    result.shape.push_back(isOpen ? info.dimTexts[d] : std::to_string(tensor.dims[d]));
  }
  result.tensor = std::move(tensor);
  return result;
}

class Writer {
public:
  Writer(const BisectOptions &options, const Culprit &culprit, const std::string &folder,
         const std::vector<Tensor> &inputs)
      : options_(options), culprit_(culprit), folder_(folder), inputs_(inputs), library_(loadCompiler()) {
    if (!library_)
      throw CommandError(kInternal, "the compiler can't be loaded");
  }

  Reproducer run() {
    std::vector<ModelPart> parts = findParts();
    captureValues(parts);
    std::optional<Reproducer> best;
    const ModelPart *chosen = nullptr;
    for (const ModelPart &part : parts) {
      std::optional<Reproducer> own = attempt(part);
      if (own && (!best || own->isShown() || own->deviation.relative > best->deviation.relative)) {
        best = own;
        chosen = &part;
      }
      if (best && best->isShown())
        break;
    }
    if (!best)
      throw CommandError(kInternal, "no reproducer is written: no part around node '" + culprit_.change.where +
                                        "' can be compiled by itself");
    put(*chosen, *best);
    return *best;
  }

private:
  /// Each node that may be it by itself, and more and more nodes around the most probable one.
  std::vector<ModelPart> findParts() const {
    std::vector<ModelPart> parts;
    for (size_t size : kSizes)
      for (const std::string &node : size == 1 ? culprit_.nodes : std::vector<std::string>{culprit_.change.where}) {
        ModelPart part;
        std::string error;
        if (library_->findPart(options_.flags.model, node, size, part, error)) {
          if (parts.empty() || parts.back().nodes != part.nodes)
            parts.push_back(std::move(part));
        } else if (node == culprit_.change.where) { // others may be parts of nodes
          throw CommandError(kInternal, "no reproducer is written: " + error);
        }
      }
    return parts;
  }

  /// Runs the reference with all values that go in and out of any part.
  void captureValues(const std::vector<ModelPart> &parts) {
    Flags flags = referenceFlags(options_.flags);
    flags.output = folder_ + "/values.lathe";
    std::set<std::string> names;
    for (const ModelPart &part : parts)
      for (const auto *list : {&part.inputs, &part.outputs})
        names.insert(list->begin(), list->end());
    for (const Tensor &tensor : inputs_)
      names.erase(tensor.name);
    flags.moreOutputs.assign(names.begin(), names.end());
    std::vector<Tensor> values = compileAndRun(flags, options_, inputs_);
    Module module(flags.output);
    std::map<std::string, TensorInfo> infos;
    for (const TensorInfo &info : module.outputs())
      infos[info.name] = info;
    for (const TensorInfo &info : module.inputs())
      infos[info.name] = info;
    for (Tensor &value : values)
      captured_[value.name] = capture(value, infos[value.name]);
    for (const Tensor &input : inputs_)
      captured_[input.name] = capture(input, infos[input.name]);
  }

  std::vector<PartValue> typesOf(const ModelPart &part) const {
    std::vector<PartValue> types;
    std::set<std::string> done;
    for (const auto *list : {&part.inputs, &part.outputs})
      for (const std::string &name : *list)
        if (auto it = captured_.find(name); it != captured_.end() && done.insert(name).second)
          types.push_back({name, kOnnxTypes[it->second.tensor.dtype], it->second.shape});
    return types;
  }

  std::vector<Tensor> inputsOf(const ModelPart &part) const {
    std::vector<Tensor> tensors;
    for (const std::string &name : part.inputs)
      if (auto it = captured_.find(name); it != captured_.end())
        tensors.push_back(it->second.tensor);
    return tensors;
  }

  /// Steps of the recipe that apply to anything of the part; empty where none does.
  std::string recipeOf(const ModelPart &part) const {
    if (culprit_.recipe.empty())
      return "";
    ordered_json recipe = ordered_json::parse(culprit_.recipe), steps = ordered_json::array();
    auto isThere = [&](const ordered_json &pattern) {
      auto matches = [&](const std::string &name) {
        return fnmatch(pattern.get<std::string>().c_str(), name.c_str(), 0) == 0;
      };
      return !pattern.is_string() || std::any_of(part.nodes.begin(), part.nodes.end(), matches) ||
             std::any_of(part.constants.begin(), part.constants.end(), matches);
    };
    for (ordered_json step : recipe["steps"]) {
      if (member(step, "mode") == "kv-cache") // a part generates nothing
        continue;
      ordered_json kept = ordered_json::array();
      for (const ordered_json &pattern : member(step, "tensors"))
        if (isThere(pattern))
          kept.push_back(pattern);
      if (step.contains("tensors") && kept.empty())
        continue;
      if (step.contains("tensors"))
        step["tensors"] = kept;
      steps.push_back(step);
    }
    recipe["steps"] = steps;
    return steps.empty() ? "" : recipe.dump(2);
  }

  /// Ranges of dimensions that the part has.
  std::vector<std::string> dimsOf(const ModelPart &part) const {
    std::set<std::string> names;
    for (const std::string &input : part.inputs)
      if (auto it = captured_.find(input); it != captured_.end())
        names.insert(it->second.shape.begin(), it->second.shape.end());
    std::vector<std::string> dims;
    for (const std::string &dim : options_.flags.dims)
      if (names.count(dim.substr(0, dim.find('='))))
        dims.push_back(dim);
    return dims;
  }

  std::optional<Reproducer> attempt(const ModelPart &part) {
    Reproducer own;
    own.nodes = part.nodes;
    own.weights = options_.flags.weights;
    Flags flags = options_.flags;
    flags.model = folder_ + "/part.onnx";
    flags.output = folder_ + "/part.lathe";
    flags.generate = "off";
    flags.quiet = flags.mute = true;
    flags.recipeFile = flags.kvCache = flags.attention = flags.prefer = "";
    flags.rows = 0;
    flags.partialWeights = !flags.weights.empty();
    flags.int8 = flags.int4 = flags.fp8 = flags.sparse = flags.requireKernel = false;
    flags.recipe = recipeOf(part);
    flags.dims = dimsOf(part);
    std::string error;
    if (!library_->writePart(options_.flags.model, part, typesOf(part), flags.model, error))
      throw CommandError(kInternal, error);
    std::vector<Tensor> values = inputsOf(part);
    if (!flags.calibration.empty()) {
      flags.calibration = flags.recipe.empty() ? "" : folder_ + "/part.npz";
      writeNpz(folder_ + "/part.npz", values);
    }
    try {
      Flags reference = referenceFlags(flags);
      reference.output = folder_ + "/part-reference.lathe";
      reference.mute = true;
      std::vector<Tensor> expected = compileAndRun(reference, options_, values);
      own.deviation = deviationOf(compileAndRun(flags, options_, values), expected, options_.rtol, options_.atol);
    } catch (const std::exception &) {
      return std::nullopt; // such as a part that ends within what only goes as a whole
    }
    return own;
  }

  void put(const ModelPart &part, Reproducer &own) {
    std::filesystem::path path(options_.output);
    own.inputs = std::filesystem::path(path).replace_extension(".npz").string();
    std::string error, recipe = recipeOf(part);
    writeNpz(own.inputs, inputsOf(part));
    if (!recipe.empty())
      writeText(own.recipe = std::filesystem::path(path).replace_extension(".recipe.json").string(), recipe + "\n");
    own.model = options_.output;
    if (!library_->writePart(options_.flags.model, part, typesOf(part), own.model, error))
      throw CommandError(kInternal, error);
  }

  const BisectOptions &options_;
  const Culprit &culprit_;
  std::string folder_;
  const std::vector<Tensor> &inputs_;
  const CompilerLibrary *library_;
  std::map<std::string, Captured> captured_;
};

} // namespace

Reproducer writeReproducer(const BisectOptions &options, const Culprit &culprit, const std::string &folder,
                           const std::vector<Tensor> &inputs) {
  return Writer(options, culprit, folder, inputs).run();
}

} // namespace lathe::tool
