//===- Compress.cpp - The compression of a model's weights ----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/Compress.h"
#include "compiler/CacheStep.h"
#include "compiler/ChooseStep.h"
#include "compiler/EqualizeStep.h"
#include "compiler/LayerStatistics.h"
#include "compiler/QuantizeStep.h"
#include "compiler/RotateStep.h"
#include "passes/quantization/Layers.h"

using namespace mlir;

namespace lathe {

using compression::Layer;

static bool covers(const std::vector<std::string> &patterns, const std::string &weight, const std::string &node) {
  return llvm::any_of(
      patterns, [&](const std::string &pattern) { return matchesGlob(pattern, weight) || matchesGlob(pattern, node); });
}

static bool covers(const std::vector<std::string> &patterns, const Layer &layer) {
  return covers(patterns, layer.name, layer.node);
}

namespace {

/// One step of a recipe, as it is carried out. What fails sets `error`; `isUsage` where the recipe or the data are
/// wrong.
struct StepRun {
  const Compression &compression;
  const RecipeStep &step;
  std::string where; ///< "recipe: step 2: "
  runtime::ThreadPool &pool;
  CompressionReport &report;
  bool &isUsage;
  std::string &error;

  bool wrongRecipe(const std::string &what) {
    isUsage = true;
    error = where + what;
    return false;
  }
  bool chooseLayers(std::vector<Layer> &chosen);
  bool quantize();
  bool rotate() { return rotateStreams(compression, step, pool, report, error); }
  bool equalize();
  bool choose();
  Recipe chosen = Recipe(); ///< by `choose`: what is to be carried out in its place
};

bool carryOut(StepRun &run);

bool StepRun::chooseLayers(std::vector<Layer> &chosen) {
  std::vector<Layer> layers = compression::findLayers(compression.programs);
  for (const std::string &pattern : step.tensors)
    if (pattern != "*" && llvm::none_of(layers, [&](const Layer &layer) { return covers({pattern}, layer); }))
      return wrongRecipe("field 'tensors': no weight of a matrix product or lookup has a name like '" + pattern + "'");
  for (Layer &layer : layers)
    if (covers(step.tensors, layer) && !covers(step.exclude, layer))
      chosen.push_back(std::move(layer));
  return true;
}

bool StepRun::quantize() {
  if (isCacheStep(step)) {
    quantizeCaches(step, compression.programs, report);
    return true;
  }
  std::vector<Layer> chosen;
  if (!chooseLayers(chosen))
    return false;
  if (needsCalibration(step) && !compression.data) {
    std::string what = step.smooth                    ? "smoothing"
                       : step.outliers                ? "keeping outliers apart"
                       : step.activations == "tensor" ? "mode 'static'"
                       : step.biasCorrection          ? "correcting biases"
                                                      : "method '" + step.method + "'";
    return wrongRecipe(what + " needs calibration data: give --calib");
  }
  LayerStatistics statistics;
  if (compression.data && usesCalibration(step)) {
    if (!statistics.gather(compression, chosen, pool, error))
      return false;
    report.samples = compression.data->samples();
  }
  return quantizeLayers(compression, step, chosen, statistics, pool, report, error);
}

bool StepRun::equalize() {
  std::vector<Layer> chosen; // for what is said of patterns that fit nothing
  auto isCovered = [&](const std::string &weight, const std::string &node) {
    return covers(step.tensors, weight, node) && !covers(step.exclude, weight, node);
  };
  return chooseLayers(chosen) && equalizeLayers(compression, isCovered, report, error);
}

bool StepRun::choose() {
  std::vector<Layer> layers;
  if (!chooseLayers(layers))
    return false;
  if (!compression.data)
    return wrongRecipe("to choose needs calibration data: give --calib");
  CarryOut trial = [this](const Compression &changed, const RecipeStep &own, CompressionReport &ownReport, bool &isWrong,
                          std::string &problem) {
    StepRun run{changed, own, where + "field 'from': ", pool, ownReport, isWrong, problem};
    return carryOut(run);
  };
  bool isDone = chooseAlternatives(compression, step, layers, trial, pool, report, chosen, isUsage, error);
  if (!isDone && isUsage && error.rfind(where, 0) != 0)
    error = where + error;
  return isDone;
}

/// Whether a step looks at data, if there are some.
bool readsData(const RecipeStep &step) {
  return step.step == "choose" || (step.step == "quantize" && !isCacheStep(step) && usesCalibration(step));
}

/// What carries out a kind of step; their fields are in Recipe.cpp.
bool carryOut(StepRun &run) {
  static const std::map<std::string, bool (StepRun::*)()> kinds = {
      {"quantize", &StepRun::quantize}, {"rotate", &StepRun::rotate}, {"equalize", &StepRun::equalize}, {"choose", &StepRun::choose}};
  auto it = kinds.find(run.step.step);
  return it == kinds.end() ? run.wrongRecipe("step '" + run.step.step + "' is not known") : (run.*it->second)();
}

} // namespace

bool compress(const Compression &given, CompressionReport &report, bool &isUsage, std::string &error) {
  isUsage = false;
  runtime::ThreadPool pool;
  if (runtime::Status status = pool.start(static_cast<int>(given.threads), nullptr); status.failed()) {
    error = status.message();
    return false;
  }
  error = checkCacheSteps(*given.recipe, given.programs, given.whyNoCache);
  if (!error.empty()) {
    isUsage = true;
    return false;
  }
  // What decoders are calibrated by is changed as the others are, so that a step sees what the steps before it have
  // left.
  Compression compression = given;
  OwningOpRef<ModuleOp> tokens;
  if (given.data && given.data->hasTokens() && llvm::any_of(given.recipe->steps, readsData)) {
    tokens = given.tokenProgram(error);
    if (!tokens)
      return false;
    compression.calibrated = *tokens;
    compression.programs.push_back(tokens->lookupSymbol<func::FuncOp>("main"));
  }
  Recipe resolved; // with what was chosen, so that it can be repeated
  for (auto [index, step] : llvm::enumerate(compression.recipe->steps)) {
    std::string where = "recipe: step " + std::to_string(index + 1) + ": ";
    StepRun run{compression, step, where, pool, report, isUsage, error};
    if (!carryOut(run))
      return false;
    if (step.step != "choose") {
      resolved.steps.push_back(step);
      continue;
    }
    for (const RecipeStep &chosen : run.chosen.steps) {
      StepRun own{compression, chosen, where, pool, report, isUsage, error};
      if (!carryOut(own))
        return false;
      resolved.steps.push_back(chosen);
    }
  }
  if (!report.choices.empty())
    report.recipe = writeRecipe(resolved);
  for (const CompressedLayer &layer : report.layers) {
    report.bytesBefore += layer.bytesBefore;
    report.bytesAfter += layer.bytesAfter;
  }
  return true;
}

} // namespace lathe
