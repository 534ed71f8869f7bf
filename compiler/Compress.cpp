//===- Compress.cpp - The compression of a model's weights ----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/Compress.h"
#include "compiler/CacheStep.h"
#include "compiler/EqualizeStep.h"
#include "compiler/LayerStatistics.h"
#include "compiler/QuantizeStep.h"
#include "compiler/RotateStep.h"
#include "compiler/SparsifyStep.h"
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
  bool sparsify();
};

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

bool StepRun::sparsify() {
  std::vector<SparseCandidate> all = findSparseCandidates(compression.programs);
  for (const std::string &pattern : step.tensors)
    if (pattern != "*" && llvm::none_of(all, [&](const SparseCandidate &own) { return covers({pattern}, own.name, own.node); }))
      return wrongRecipe("field 'tensors': no weight of a matrix product has a name like '" + pattern + "'");
  auto isCovered = [&](const std::string &weight, const std::string &node) {
    return covers(step.tensors, weight, node) && !covers(step.exclude, weight, node);
  };
  return sparsifyLayers(compression, step.sparsifying, isCovered, report, error);
}

/// Whether a step looks at data, if there are some.
bool readsData(const RecipeStep &step) { return step.step == "quantize" && !isCacheStep(step) && usesCalibration(step); }

/// What carries out a kind of step; their fields are in Recipe.cpp.
bool carryOut(StepRun &run) {
  static const std::map<std::string, bool (StepRun::*)()> kinds = {
      {"quantize", &StepRun::quantize}, {"rotate", &StepRun::rotate}, {"equalize", &StepRun::equalize}, {"sparsify", &StepRun::sparsify}};
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
  for (auto [index, step] : llvm::enumerate(compression.recipe->steps)) {
    StepRun run{compression, step, "recipe: step " + std::to_string(index + 1) + ": ", pool, report, isUsage, error};
    if (!carryOut(run))
      return false;
  }
  for (const CompressedLayer &layer : report.layers) {
    report.bytesBefore += layer.bytesBefore;
    report.bytesAfter += layer.bytesAfter;
  }
  return true;
}

} // namespace lathe
