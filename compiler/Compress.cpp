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
#include "compiler/LowRankStep.h"
#include "compiler/PruneStep.h"
#include "compiler/QuantizeStep.h"
#include "compiler/QuantizeTimes.h"
#include "compiler/RotateStep.h"
#include "compiler/SparsifyStep.h"
#include "compiler/StructuredStep.h"
#include "compiler/TensorFormStep.h"
#include "passes/quantization/Layers.h"
#include <set>

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
  RecipeStep resolved = step; ///< what repeats what was done, whatever times are elsewhere
  std::vector<RecipeStep> further = {}; ///< behind that
  bool isResolved = false;              ///< whether that differs from the step

  bool wrongRecipe(const std::string &what) {
    isUsage = true;
    error = where + what;
    return false;
  }
  bool chooseLayers(std::vector<Layer> &chosen);
  bool quantize();
  bool prune();
  bool rotate() { return rotateStreams(compression, step, pool, report, error); }
  bool equalize();
  bool choose();
  Recipe chosen = Recipe(); ///< by `choose`: what is to be carried out in its place
  bool lowRank();
  /// `later`: the steps behind.
  bool checkEarly(ArrayRef<RecipeStep> later);
  /// Whether the rank of a step saves something somewhere among what it applies to.
  bool checkRank(ArrayRef<Layer> chosen);
  bool pruneStructured();
  bool sparsify();
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
  QuantizeTimes times;
  if (!times.measure(compression, step, chosen, report, error))
    return false;
  isResolved = times.leaveSlower(compression, step, chosen, report, resolved);
  size_t first = report.layers.size();
  LayerStatistics statistics;
  if (compression.data && usesCalibration(step)) {
    if (!statistics.gather(compression, chosen, pool, error))
      return false;
    report.samples = compression.data->samples();
  }
  if (!quantizeLayers(compression, step, chosen, statistics, pool, report, error))
    return false;
  times.tell(report, first);
  return true;
}

bool StepRun::prune() {
  if (isStructuredStep(step))
    return pruneStructured();
  std::vector<Layer> chosen;
  if (!chooseLayers(chosen))
    return false;
  LayerStatistics statistics;
  // Without need for them, they tell the error of outputs.
  if (compression.data) {
    if (!statistics.gather(compression, chosen, pool, error))
      return false;
    report.samples = compression.data->samples();
  }
  return pruneLayers(compression, step, chosen, statistics, pool, report, error);
}

bool StepRun::equalize() {
  std::vector<Layer> chosen; // for what is said of patterns that fit nothing
  auto isCovered = [&](const std::string &weight, const std::string &node) {
    return covers(step.tensors, weight, node) && !covers(step.exclude, weight, node);
  };
  return chooseLayers(chosen) && equalizeLayers(compression, isCovered, report, error);
}

bool StepRun::pruneStructured() {
  std::vector<Layer> chosen; // for what is said of patterns that fit nothing
  if (!chooseLayers(chosen))
    return false;
  auto isCovered = [&](const std::string &weight, const std::string &node) {
    return covers(step.tensors, weight, node) && !covers(step.exclude, weight, node);
  };
  bool isDone = pruneParts(compression, step, isCovered, pool, report, isUsage, error);
  if (!isDone && isUsage)
    error = where + error;
  return isDone;
}

bool StepRun::choose() {
  std::vector<Layer> layers;
  if (!chooseLayers(layers))
    return false;
  CarryOut trial = [this](const Compression &changed, const RecipeStep &own, CompressionReport &ownReport,
                          bool &isWrong, std::string &problem) {
    StepRun run{changed, own, where + "field 'from': ", pool, ownReport, isWrong, problem};
    return carryOut(run);
  };
  bool isDone = chooseAlternatives(compression, step, layers, trial, pool, report, chosen, isUsage, error);
  if (!isDone && isUsage && error.rfind(where, 0) != 0)
    error = where + error;
  return isDone;
}

bool StepRun::checkRank(ArrayRef<Layer> chosen) {
  std::string problem = isTensorForm(step.lowRank.method) ? whyNoForm(step, chosen) : whyNoRank(step, chosen);
  return problem.empty() || wrongRecipe(problem);
}

bool StepRun::lowRank() {
  std::vector<Layer> chosen;
  if (!chooseLayers(chosen) || !checkRank(chosen))
    return false;
  LayerStatistics statistics;
  if (compression.data && usesCalibration(step)) {
    if (!statistics.gather(compression, chosen, pool, error))
      return false;
    report.samples = compression.data->samples();
  }
  if (isTensorForm(step.lowRank.method))
    return formLayers(compression, step, chosen, statistics, pool, report, resolved, isResolved, error);
  return factorizeLayers(compression, step, chosen, statistics, pool, report, resolved, isResolved, error);
}

bool StepRun::sparsify() {
  std::vector<SparseCandidate> all = findSparseCandidates(compression.programs);
  for (const std::string &pattern : step.tensors)
    if (pattern != "*" && llvm::none_of(all, [&](const SparseCandidate &own) { return covers({pattern}, own.name, own.node); }))
      return wrongRecipe("field 'tensors': no weight of a matrix product has a name like '" + pattern + "'");
  std::vector<SparseCandidate> chosen;
  for (SparseCandidate &own : all)
    if (covers(step.tensors, own.name, own.node) && !covers(step.exclude, own.name, own.node))
      chosen.push_back(std::move(own));
  std::vector<RecipeStep> decided;
  if (!sparsifyLayers(compression, step, chosen, report, decided, error))
    return false;
  isResolved = !decided.empty();
  if (isResolved) {
    resolved = decided.front();
    further.assign(decided.begin() + 1, decided.end());
  }
  return true;
}

/// Whether a step looks at data, if there are some.
bool readsData(const RecipeStep &step) {
  return step.step == "choose" || (step.step == "quantize" && !isCacheStep(step) && usesCalibration(step)) ||
         step.step == "prune" || (step.step == "lowrank" && usesCalibration(step));
}

/// What of a step that needs calibration data does.
std::string whatNeedsData(const RecipeStep &step) {
  if (step.step == "choose")
    return "to choose";
  if (step.step == "lowrank")
    return "method '" + step.lowRank.method + "'";
  if (isStructuredStep(step))
    return step.parts.refit ? "refitting" : "method '" + step.parts.method + "'";
  if (step.step == "prune")
    return step.pruning.method == "magnitude" ? "refining" : "method '" + step.pruning.method + "'";
  return step.smooth                    ? "smoothing"
         : step.outliers                ? "keeping outliers apart"
         : step.activations == "tensor" ? "mode 'static'"
         : step.biasCorrection          ? "correcting biases"
                                        : "method '" + step.method + "'";
}

/// What is wrong with a step whatever the steps before do, told before they take time. Those leave weights as large as
/// they are, or smaller.
bool StepRun::checkEarly(ArrayRef<RecipeStep> later) {
  if (needsCalibration(step) && !compression.data)
    return wrongRecipe(whatNeedsData(step) + " needs calibration data: give --calib");
  if (isStructuredStep(step) && step.parts.method == "taylor" && !compression.gradients)
    return wrongRecipe("method 'taylor' needs gradients of a loss by the weights: give --gradients");
  if (step.step != "lowrank")
    return true;
  auto keepsSize = [](const RecipeStep &other) {
    return other.step == "rotate" || other.step == "equalize" || other.step == "lowrank" ||
           other.step == "prune" || isCacheStep(other);
  };
  if (step.lowRank.residual && llvm::all_of(later, keepsSize))
    return wrongRecipe("field 'residual': what factors leave is as large as the weight was: expects a later step that "
                       "compresses it, such as 'quantize'");
  std::vector<Layer> chosen;
  for (Layer &layer : compression::findLayers(compression.programs))
    if (covers(step.tensors, layer) && !covers(step.exclude, layer))
      chosen.push_back(std::move(layer));
  // There may be some later: factors.
  return chosen.empty() || checkRank(chosen);
}

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

/// What carries out a kind of step; their fields are in Recipe.cpp.
bool carryOut(StepRun &run) {
  static const std::map<std::string, bool (StepRun::*)()> kinds = {
      {"quantize", &StepRun::quantize}, {"prune", &StepRun::prune},       {"lowrank", &StepRun::lowRank},
      {"rotate", &StepRun::rotate},     {"equalize", &StepRun::equalize}, {"sparsify", &StepRun::sparsify},
      {"choose", &StepRun::choose}};
  auto it = kinds.find(run.step.step);
  return it == kinds.end() ? run.wrongRecipe("step '" + run.step.step + "' is not known") : (run.*it->second)();
}

/// Whether weights are stored without the zeros that steps have made, though no step says so: other runtimes gain nothing
/// but bytes by it.
bool wantsSparse(const std::string &prefer, const std::vector<RecipeStep> &steps, bool isPortable) {
  auto isKind = [&](const char *kind) { return llvm::any_of(steps, [=](const RecipeStep &step) { return step.step == kind; }); };
  return isKind("prune") && !isKind("sparsify") && (!isPortable || prefer == "size");
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
  Recipe resolved = *compression.recipe;
  resolved.steps.clear();
  bool isResolved = false;
  auto runOf = [&](const RecipeStep &step, size_t index) {
    return StepRun{compression, step, "recipe: step " + std::to_string(index + 1) + ": ", pool, report, isUsage, error};
  };
  auto carryOutOne = [&](const RecipeStep &step, size_t index, Recipe &chosen) {
    StepRun run = runOf(step, index);
    if (!carryOut(run))
      return false;
    chosen = run.chosen;
    if (step.step != "choose")
      resolved.steps.push_back(run.resolved);
    resolved.steps.insert(resolved.steps.end(), run.further.begin(), run.further.end());
    isResolved |= run.isResolved || step.step == "choose";
    return true;
  };
  for (auto [index, step] : llvm::enumerate(compression.recipe->steps))
    if (StepRun run = runOf(step, index); !run.checkEarly(ArrayRef(compression.recipe->steps).drop_front(index + 1)))
      return false;
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
    StepRun run = runOf(step, compression.recipe->steps.size());
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
