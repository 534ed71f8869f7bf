//===- Bisection.cpp - Which change makes a result wrong ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/Bisection.h"
#include "compiler/tools/lathe/CachedLogits.h"
#include "compiler/tools/lathe/RunCommands/CompareCommand.h"
#include "compiler/tools/lathe/RunCommands/ManifestJson.h"
#include "compiler/tools/lathe/RunCommands/Support.h"
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <set>

using nlohmann::ordered_json;

namespace lathe::tool {

bool goesThroughCaches(const Flags &flags) {
  if (!flags.kvCache.empty())
    return true;
  if (flags.recipeFile.empty())
    return false;
  std::vector<unsigned char> text = readWhole(flags.recipeFile);
  ordered_json recipe = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  ordered_json steps = member(recipe, "steps");
  return std::any_of(steps.begin(), steps.end(),
                     [](const ordered_json &step) { return member(step, "mode") == "kv-cache"; });
}

Flags referenceFlags(const Flags &flags) {
  Flags reference;
  reference.model = flags.model;
  reference.weights = flags.weights;
  reference.skippedWeights = flags.skippedWeights;
  reference.partialWeights = flags.partialWeights;
  reference.dims = flags.dims;
  reference.maxMemory = flags.maxMemory;
  reference.jobs = flags.jobs;
  reference.target = "reference";
  reference.level = 0;
  reference.generate = "off";
  reference.quiet = true;
  reference.firstChanges = 0;
  return reference;
}

static void compileOnly(const Flags &flags) {
  if (int code = compile(flags))
    throw CommandError(code, "'" + flags.model + "' can't be compiled with these flags");
}

std::vector<Tensor> compileAndRun(const Flags &flags, const BisectOptions &options, const std::vector<Tensor> &inputs) {
  compileOnly(flags);
  LoadOptions load;
  if (flags.target != "reference")
    load.device = options.device;
  Module module(flags.output, load);
  SessionOptions sessionOptions;
  sessionOptions.threads = options.threads;
  Session session(module, sessionOptions);
  bindInputs(module, session, inputs);
  session.run();
  std::vector<Tensor> outputs;
  std::vector<TensorInfo> infos = module.outputs();
  for (size_t i = 0; i < infos.size(); ++i) {
    Output output = session.output(i);
    auto *bytes = static_cast<const unsigned char *>(output.data);
    outputs.push_back({infos[i].name, output.dtype, output.dims, {bytes, bytes + output.size}});
  }
  return outputs;
}

Deviation deviationOf(const std::vector<Tensor> &outputs, const std::vector<Tensor> &reference, double rtol,
                      double atol) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  auto share = [](const Deviation &own) {
    return own.error == 0 ? 0 : own.allowed > 0 ? own.error / own.allowed : kInfinity;
  };
  Deviation worst;
  for (const Tensor &expected : reference) {
    auto found =
        std::find_if(outputs.begin(), outputs.end(), [&](const Tensor &own) { return own.name == expected.name; });
    Deviation own;
    own.output = expected.name;
    double magnitude = 0;
    bool sameShape = found != outputs.end() && found->dims == expected.dims;
    for (int64_t i = 0, count = expected.elements(); sameShape && i < count; ++i) {
      double a = element(*found, i), b = element(expected, i);
      if (std::isfinite(b))
        magnitude = std::max(magnitude, std::abs(b));
      if (a == b || (std::isnan(a) && std::isnan(b)))
        continue;
      double difference = std::abs(a - b);
      own.error = std::isfinite(difference) ? std::max(own.error, difference) : kInfinity;
    }
    if (!sameShape)
      own.error = kInfinity;
    own.allowed = atol + rtol * magnitude;
    own.relative = own.error == 0 ? 0 : magnitude > 0 ? own.error / magnitude : kInfinity;
    if (worst.output.empty() || share(own) > share(worst))
      worst = own;
  }
  return worst;
}

namespace {

/// A compilation with the first changes alone.
struct Attempt {
  uint64_t limit = 0;
  std::string artifact;
  Deviation deviation;
  std::vector<Change> changes; ///< that were come to
};

class Search {
public:
  Search(const BisectOptions &options, const std::string &folder, const std::vector<Tensor> &inputs,
         const std::function<void(const std::string &)> &note)
      : options_(options), folder_(folder), inputs_(inputs), note_(note) {}

  Culprit run() {
    Flags reference = referenceFlags(options_.flags);
    reference.output = referencePath_ = folder_ + "/reference.lathe";
    note_("reference");
    reference_ = compileAndRun(reference, options_, inputs_);
    if (options_.flags.generate == "on") {
      ofTokens_ = tokenLogits(inputs_, reference_);
      reference_ = {ofTokens_->logits};
    }
    ++result_.runs;
    Attempt bad = attempt(UINT64_MAX);
    if (takeRecipe(bad))
      bad = attempt(UINT64_MAX);
    result_.whole = bad.deviation;
    result_.changes = bad.changes.size();
    std::set<std::pair<std::string, std::string>> passes;
    std::set<std::string> places;
    for (const Change &change : bad.changes) {
      passes.insert({change.phase, change.what});
      if (!change.where.empty())
        places.insert(change.where);
    }
    result_.passes = passes.size();
    result_.places = places.size();
    result_.isWrong = !bad.deviation.within();
    if (result_.isWrong)
      narrow(bad);
    return result_;
  }

private:
  Attempt attempt(uint64_t limit, bool mute = false) {
    ChangeLimit changes(limit);
    Attempt made;
    made.limit = limit;
    made.artifact = folder_ + "/" + (limit == UINT64_MAX ? "all" : std::to_string(limit)) + ".lathe";
    Flags flags = options_.flags;
    flags.output = made.artifact;
    flags.changes = &changes;
    flags.mute = mute;
    ++result_.runs;
    std::string what = limit == UINT64_MAX ? "all changes" : "the first " + std::to_string(limit) + " changes";
    note_("run " + std::to_string(result_.runs) + ", " + what);
    made.deviation = deviationOf(outputsOf(flags), reference_, options_.rtol, options_.atol);
    made.changes = changes.changes();
    return made;
  }

  std::vector<Tensor> outputsOf(const Flags &flags) {
    if (!ofTokens_)
      return compileAndRun(flags, options_, inputs_);
    compileOnly(flags);
    return {cachedLogits(flags.output, options_.device, *ofTokens_, options_.threads)};
  }

  /// What was chosen by times or sensitivity is not to be chosen anew in each run. Whether that is another recipe than
  /// the given one.
  bool takeRecipe(const Attempt &all) {
    Module module(all.artifact);
    ordered_json recipe = member(manifestOf(module), "recipe");
    if (recipe.is_null())
      return false;
    Flags &flags = options_.flags;
    bool isGiven = false;
    if (!flags.recipeFile.empty()) {
      std::vector<unsigned char> text = readWhole(flags.recipeFile);
      isGiven = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false) == recipe;
    }
    result_.recipe = flags.recipe = recipe.dump();
    flags.recipeFile.clear();
    flags.prefer.clear();
    flags.kvCache.clear();
    flags.attention.clear();
    flags.rows = 0;
    flags.int8 = flags.int4 = flags.fp8 = flags.sparse = flags.requireKernel = false;
    return !isGiven;
  }

  /// The attempt with a limit between two, near the middle, that can be compiled: where passes depend on each other,
  /// not every number of them can.
  Attempt between(uint64_t low, uint64_t high) {
    constexpr uint64_t kTries = 4;
    uint64_t middle = low + (high - low) / 2;
    for (uint64_t distance = 0; distance < kTries; ++distance)
      for (uint64_t limit : {middle - distance, middle + distance})
        if (limit > low && limit < high && (distance > 0 || limit == middle)) {
          try {
            return attempt(limit, /*mute=*/true);
          } catch (const std::exception &) {
          }
          if (distance == 0)
            break;
        }
    throw CommandError(kInternal,
                       "the model can't be compiled with about " + std::to_string(middle) +
                           " of its changes, so that what goes wrong can't be told nearer than between changes " +
                           std::to_string(low) + " and " + std::to_string(high));
  }

  void narrow(Attempt bad) {
    std::optional<Attempt> good;
    uint64_t low = 0, high = bad.changes.size();
    std::vector<Change> changes = bad.changes;
    auto drop = [](const Attempt &old) {
      std::error_code code;
      std::filesystem::remove(old.artifact, code);
    };
    while (high - low > 1) {
      Attempt middle = between(low, high);
      bool within = middle.deviation.within();
      if (within) {
        if (good)
          drop(*good);
        low = middle.limit;
        good = std::move(middle);
        continue;
      }
      drop(bad);
      high = middle.limit;
      bad = std::move(middle);
      changes = bad.changes;
    }
    if (!good)
      good = attempt(0);
    result_.before = good->deviation;
    result_.after = bad.deviation;
    if (!good->deviation.within()) {
      result_.isCode = true;
      result_.after = good->deviation;
      result_.before = {};
      result_.change = {"select", "cpu-select-kernels", ""};
      findNode(referencePath_, good->artifact);
      return;
    }
    result_.number = high;
    result_.change = changes[high - 1];
    result_.isCache = isCache(bad.artifact, result_.change);
    if (result_.change.where.empty()) // of a pass that is not cut by nodes
      findNode(good->artifact, bad.artifact);
    else
      result_.nodes = {result_.change.where};
  }

  static bool isCache(const std::string &artifact, const Change &change) {
    if (change.phase != "compress")
      return false;
    Module module(artifact);
    for (const ordered_json &program : member(manifestOf(module), "programs"))
      for (const ordered_json &cache : member(program, "caches"))
        if (member(cache, "name") == change.where)
          return true;
    return false;
  }

  void findNode(const std::string &good, const std::string &bad) {
    // A tenth of what is wrong in the end, which later layers may have made more or less of.
    double share = std::min(result_.after.relative, 1.0);
    result_.nodes = firstParting(good, bad, inputs_, std::max(share / 10, 1e-6), options_.threads);
    result_.change.where = result_.nodes.empty() ? "" : result_.nodes.front();
  }

  BisectOptions options_;
  std::string folder_, referencePath_;
  const std::vector<Tensor> &inputs_;
  std::function<void(const std::string &)> note_;
  std::vector<Tensor> reference_;
  std::optional<TokenLogits> ofTokens_; ///< where runs go through caches
  Culprit result_;
};

} // namespace

Culprit bisect(BisectOptions options, const std::string &folder, const std::vector<Tensor> &inputs,
               const std::function<void(const std::string &)> &note) {
  options.flags.generate = goesThroughCaches(options.flags) ? "on" : "off";
  options.flags.quiet = true;
  return Search(options, folder, inputs, note).run();
}

} // namespace lathe::tool
