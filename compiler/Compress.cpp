//===- Compress.cpp - The compression of a model's weights ----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/Compress.h"
#include "compiler/RequiredKernels.h"
#include "compiler/StepKinds.h"
#include "compiler/StepRun.h"
#include "passes/quantization/Stacks.h"
#include <map>
#include <set>

using namespace mlir;

namespace lathe {

namespace {

/// What is wrong with a step whatever the steps before do, told before they take time.
bool checkEarly(StepRun &run, ArrayRef<RecipeStep> later) {
  if (std::string what = whatNeedsCalibration(run.step); !what.empty() && !run.compression.data)
    return run.wrongRecipe(what + " needs calibration data: give --calib");
  const recipe::StepKind &kind = recipe::kindOf(run.step);
  return !kind.check || kind.check(run, later);
}

/// Whether kernels read what a step and those before it make of weights.
bool checkKernels(StepRun &run, ArrayRef<RecipeStep> steps) {
  std::vector<compression::Layer> layers = run.coveredLayers();
  CarryOut carryOut = [&run](const Compression &compression, const RecipeStep &step, CompressionReport &report,
                             bool &isUsage, std::string &error) {
    StepRun own{compression, step, run.where, run.pool, report, isUsage, error};
    return recipe::kindOf(step).carryOut(own);
  };
  auto check = [&](ArrayRef<RecipeStep> tried, const std::string &where) {
    std::string why;
    if (!findMissingKernel(run.compression, tried, layers, carryOut, why, run.error))
      return false;
    return why.empty() || run.wrongRecipe(where + why);
  };
  std::vector<RecipeStep> before;
  for (const RecipeStep &step : steps)
    if (recipe::kindOf(step).storesWeights)
      before.push_back(step);
  if (recipe::kindOf(run.step).storesWeights)
    return check(before, "");
  for (auto [index, alternative] : llvm::enumerate(run.step.from)) {
    std::vector<RecipeStep> all = before;
    for (const RecipeStep &step : alternative)
      if (recipe::kindOf(step).storesWeights) {
        all.push_back(step);
        if (!check(all, "field 'from': alternative " + std::to_string(index + 1) + ": "))
          return false;
      }
  }
  return true;
}

/// Matrices of a stack, such as experts, are weights of their own to steps that change weights.
void splitNamedStacks(ArrayRef<func::FuncOp> programs, ArrayRef<StepRun> runs) {
  compression::splitStacks(programs, [&](StringRef matrix, StringRef node) {
    return llvm::any_of(runs, [&](const StepRun &run) {
      const RecipeStep &step = run.step;
      bool changesWeights = recipe::kindOf(step).storesWeights || step.step == "lowrank" || step.step == "choose";
      return changesWeights && run.isNamed(matrix.str(), node.str());
    });
  });
}

bool carryOut(StepRun &run) { return recipe::kindOf(run.step).carryOut(run); }

/// Bytes of all layers. A weight that several steps have changed, or whose factors a later step has, counts once.
void addUp(CompressionReport &report) {
  std::set<std::string> known;
  for (const CompressedLayer &layer : report.layers) {
    bool isPart = known.count(layer.weight) > 0;
    report.bytesBefore += isPart ? 0 : layer.bytesBefore;
    report.bytesAfter += layer.bytesAfter - (isPart ? layer.bytesBefore : 0);
    known.insert(layer.weight);
    known.insert(layer.factors.begin(), layer.factors.end());
  }
}

/// Tells times of what was chosen where the layers are told, from these entries on.
void tellTimes(const WeightChoice &choice, CompressionReport &report, size_t first, size_t firstSparse,
               size_t firstShrunk) {
  std::map<std::string, const ChosenLayer *> chosen;
  for (const ChosenLayer &layer : choice.layers)
    if (layer.options.front().way.microseconds > 0)
      chosen[layer.weight] = &layer;
  auto tell = [&](auto &entry) {
    auto it = chosen.find(entry.weight);
    if (it == chosen.end() || it->second->chosen == 0 || !entry.ways.empty())
      return;
    entry.ways = {it->second->options.front().way, it->second->options[it->second->chosen].way};
    entry.way = 1;
    entry.rows = it->second->rows;
  };
  for (CompressedLayer &entry : llvm::drop_begin(report.layers, first))
    tell(entry);
  for (SparseLayer &entry : llvm::drop_begin(report.sparse, firstSparse))
    tell(entry);
  for (ShrunkPart &part : llvm::drop_begin(report.shrunk, firstShrunk))
    for (const std::string &name : part.weights) {
      auto it = chosen.find(name);
      if (it == chosen.end() || part.removed.empty())
        continue;
      const ChosenLayer &layer = *it->second;
      part.rows = part.rows ? part.rows : layer.rows;
      part.microsecondsBefore += layer.options.front().way.microseconds;
      part.microsecondsAfter += layer.options[layer.chosen].way.microseconds;
    }
}

/// Whether weights are stored without the zeros that steps have made, though no step says so: other runtimes gain
/// nothing but bytes by it.
bool wantsSparse(const std::string &prefer, const std::vector<RecipeStep> &steps, bool isPortable) {
  auto makesZeros = [](const RecipeStep &step) { return recipe::kindOf(step).makesZeros; };
  auto storesNone = [](const RecipeStep &step) { return step.step == "sparsify"; };
  return llvm::any_of(steps, makesZeros) && llvm::none_of(steps, storesNone) && (!isPortable || prefer == "size");
}

/// The steps of one compression.
class Steps {
public:
  Steps(const Compression &given, runtime::ThreadPool &pool, CompressionReport &report, bool &isUsage,
        std::string &error)
      : given(given), compression(given), pool(pool), report(report), isUsage(isUsage), error(error),
        resolved(*given.recipe) {
    resolved.steps.clear();
  }

  bool run();

private:
  StepRun runOf(const Compression &of, const RecipeStep &step, size_t index) {
    return {of, step, "recipe: step " + std::to_string(index + 1) + ": ", pool, report, isUsage, error};
  }
  bool check();
  bool addTokenProgram();
  bool carryOutOne(const RecipeStep &step, size_t index, Recipe &chosen);
  bool carryOutWithChosen(const RecipeStep &step, size_t index);
  bool sparsify();
  void keepResolved(const StepRun &run) {
    if (run.step.step != "choose") // the steps that it has chosen stand in its place
      resolved.steps.push_back(run.resolved);
    resolved.steps.insert(resolved.steps.end(), run.further.begin(), run.further.end());
  }

  const Compression &given;
  Compression compression; ///< with what decoders are calibrated by
  runtime::ThreadPool &pool;
  CompressionReport &report;
  bool &isUsage;
  std::string &error;
  OwningOpRef<ModuleOp> tokens;
  Recipe resolved; ///< the recipe with all that the steps have chosen
  bool isResolved = false;
};

/// What is wrong with the steps, told before any takes time.
bool Steps::check() {
  ArrayRef<RecipeStep> steps = given.recipe->steps;
  for (auto [index, step] : llvm::enumerate(steps))
    if (StepRun run = runOf(given, step, index); !checkEarly(run, steps.drop_front(index + 1)))
      return false;
  for (auto [index, step] : llvm::enumerate(steps))
    if (StepRun run = runOf(given, step, index);
        given.recipe->requireKernel && !checkKernels(run, steps.take_front(index + 1)))
      return false;
  return true;
}

/// What decoders are calibrated by is changed as the others are, so that a step sees what the steps before it have
/// left.
bool Steps::addTokenProgram() {
  if (!given.data || !given.data->hasTokens() || llvm::none_of(given.recipe->steps, usesCalibration))
    return true;
  tokens = given.tokenProgram(error);
  if (!tokens)
    return false;
  compression.calibrated = *tokens;
  compression.programs.push_back(tokens->lookupSymbol<func::FuncOp>("main"));
  return true;
}

bool Steps::carryOutOne(const RecipeStep &step, size_t index, Recipe &chosen) {
  StepRun run = runOf(compression, step, index);
  if (!carryOut(run))
    return false;
  chosen = run.chosen;
  keepResolved(run);
  isResolved |= run.isResolved || step.step == "choose";
  return true;
}

/// A step, and those that it chooses.
bool Steps::carryOutWithChosen(const RecipeStep &step, size_t index) {
  Recipe chosen, none;
  compression.resume->sumUp(step.step == "choose"); // which does many steps, some of them again and again
  if (!carryOutOne(step, index, chosen))
    return false;
  // What was chosen was timed, if times were wanted.
  size_t first = report.layers.size(), firstSparse = report.sparse.size(), firstShrunk = report.shrunk.size();
  bool wasTimed = step.step == "choose" && report.choices.back().microsecondsBefore > 0, timeAll = compression.timeAll;
  compression.timeAll &= !wasTimed;
  for (const RecipeStep &own : chosen.steps)
    if (!carryOutOne(own, index, none))
      return false;
  compression.timeAll = timeAll;
  if (wasTimed)
    tellTimes(report.choices.back(), report, first, firstSparse, firstShrunk);
  return true;
}

/// Stores weights without the zeros that steps have made.
bool Steps::sparsify() {
  RecipeStep step;
  step.step = "sparsify";
  StepRun run = runOf(compression, step, compression.recipe->steps.size());
  if (!carryOut(run))
    return false;
  if (run.isResolved) {
    keepResolved(run);
    isResolved = true;
  }
  // Nobody asked for those that no step has made zeros in.
  constexpr double kFewest = 0.1;
  llvm::erase_if(report.sparse, [=](const SparseLayer &layer) { return layer.zeros < kFewest; });
  return true;
}

bool Steps::run() {
  std::vector<StepRun> named;
  for (auto [index, step] : llvm::enumerate(given.recipe->steps))
    named.push_back(runOf(given, step, index));
  splitNamedStacks(given.programs, named);
  if (!check() || !addTokenProgram())
    return false;
  if (tokens)
    splitNamedStacks(compression.programs, named);
  for (auto [index, step] : llvm::enumerate(compression.recipe->steps))
    if (!carryOutWithChosen(step, index))
      return false;
  if (wantsSparse(compression.recipe->prefer, resolved.steps, compression.isPortable) && !sparsify())
    return false;
  if (isResolved)
    report.recipe = writeRecipe(resolved);
  addUp(report);
  return true;
}

} // namespace

bool compress(const Compression &given, CompressionReport &report, bool &isUsage, std::string &error) {
  isUsage = false;
  runtime::ThreadPool pool;
  if (runtime::Status status = pool.start(static_cast<int>(given.threads), nullptr); status.failed()) {
    error = status.message();
    return false;
  }
  return Steps(given, pool, report, isUsage, error).run();
}

} // namespace lathe
