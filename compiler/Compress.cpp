//===- Compress.cpp - The compression of a model's weights ----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/Compress.h"
#include "compiler/StepKinds.h"
#include "compiler/StepRun.h"
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

/// Whether weights are stored without the zeros that steps have made, though no step says so: other runtimes gain nothing
/// but bytes by it.
bool wantsSparse(const std::string &prefer, const std::vector<RecipeStep> &steps, bool isPortable) {
  auto makesZeros = [](const RecipeStep &step) { return recipe::kindOf(step).makesZeros; };
  auto storesNone = [](const RecipeStep &step) { return step.step == "sparsify"; };
  return llvm::any_of(steps, makesZeros) && llvm::none_of(steps, storesNone) && (!isPortable || prefer == "size");
}

} // namespace

bool compress(const Compression &given, CompressionReport &report, bool &isUsage, std::string &error) {
  isUsage = false;
  runtime::ThreadPool pool;
  if (runtime::Status status = pool.start(static_cast<int>(given.threads), nullptr); status.failed()) {
    error = status.message();
    return false;
  }
  auto runOf = [&](const Compression &compression, const RecipeStep &step, size_t index) {
    return StepRun{compression, step, "recipe: step " + std::to_string(index + 1) + ": ", pool, report, isUsage, error};
  };
  for (auto [index, step] : llvm::enumerate(given.recipe->steps))
    if (StepRun run = runOf(given, step, index); !checkEarly(run, ArrayRef(given.recipe->steps).drop_front(index + 1)))
      return false;
  // What decoders are calibrated by is changed as the others are, so that a step sees what the steps before it have
  // left.
  Compression compression = given;
  OwningOpRef<ModuleOp> tokens;
  if (given.data && given.data->hasTokens() && llvm::any_of(given.recipe->steps, usesCalibration)) {
    tokens = given.tokenProgram(error);
    if (!tokens)
      return false;
    compression.calibrated = *tokens;
    compression.programs.push_back(tokens->lookupSymbol<func::FuncOp>("main"));
  }
  Recipe resolved = *compression.recipe;
  resolved.steps.clear();
  bool isResolved = false;
  auto carryOutOne = [&](const RecipeStep &step, size_t index, Recipe &chosen) {
    StepRun run = runOf(compression, step, index);
    if (!carryOut(run))
      return false;
    chosen = run.chosen;
    if (step.step != "choose")
      resolved.steps.push_back(run.resolved);
    resolved.steps.insert(resolved.steps.end(), run.further.begin(), run.further.end());
    isResolved |= run.isResolved || step.step == "choose";
    return true;
  };
  for (auto [index, step] : llvm::enumerate(compression.recipe->steps)) {
    Recipe chosen, none;
    if (!carryOutOne(step, index, chosen))
      return false;
    for (const RecipeStep &own : chosen.steps)
      if (!carryOutOne(own, index, none))
        return false;
  }
  if (wantsSparse(compression.recipe->prefer, resolved.steps, compression.isPortable)) {
    RecipeStep step;
    step.step = "sparsify";
    StepRun run = runOf(compression, step, compression.recipe->steps.size());
    if (!carryOut(run))
      return false;
    if (run.isResolved) {
      resolved.steps.push_back(run.resolved);
      resolved.steps.insert(resolved.steps.end(), run.further.begin(), run.further.end());
      isResolved = true;
    }
    // Nobody asked for those that no step has made zeros in.
    constexpr double kFewest = 0.1;
    llvm::erase_if(report.sparse, [=](const SparseLayer &layer) { return layer.zeros < kFewest; });
  }
  if (isResolved)
    report.recipe = writeRecipe(resolved);
  addUp(report);
  return true;
}

} // namespace lathe
