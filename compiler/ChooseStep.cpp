//===- ChooseStep.cpp - A recipe's step that chooses ----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/ChooseStep.h"
#include "compiler/Allocation.h"
#include "compiler/LayerStatistics.h"
#include "compiler/Sizes.h"
#include "compiler/TrialRuns.h"
#include "dialects/lathe/Lathe.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>
#include <set>

using namespace mlir;

namespace lathe {
namespace {

using compression::Layer;
using compression::Place;
using Choice = TrialRuns::Choice;

/// Sizes that are measured for the curve of the report, beside the one that is chosen.
constexpr size_t kCurvePoints = 8;
/// Times that a choice gives way whose compiled model loses more than its weights told.
constexpr int kMostRetreats = 6;

std::string numberText(double number) {
  std::string text;
  llvm::raw_string_ostream(text) << llvm::format("%.3g", number);
  return text;
}

std::string megabytes(uint64_t bytes) {
  std::string text;
  llvm::raw_string_ostream(text) << llvm::format(bytes < 100000 ? "%.4f MB" : "%.2f MB",
                                                 static_cast<double>(bytes) / 1e6);
  return text;
}

/// Bytes of all weights of the programs, each counted once.
uint64_t weightBytes(ArrayRef<func::FuncOp> programs) {
  std::set<Place> known;
  uint64_t bytes = 0;
  for (func::FuncOp program : programs)
    program.walk([&](WeightOp weight) {
      auto type = cast<RankedTensorType>(weight.getType());
      if (!weight->use_empty() && known.insert({weight.getFile().str(), weight.getOffset()}).second)
        bytes += (static_cast<uint64_t>(type.getNumElements()) * type.getElementTypeBitWidth() + 7) / 8;
    });
  return bytes;
}

struct Chooser {
  const Compression &given;
  const RecipeStep &step;
  const std::vector<Layer> &layers;
  const CarryOut &carryOut;
  runtime::ThreadPool &pool;
  CompressionReport &report;
  bool &isUsage;
  std::string &error;

  Compression compression = given; ///< with what is known of the layers' inputs
  LayerStatistics statistics = LayerStatistics();
  std::unique_ptr<TrialProgram> program = nullptr;
  std::vector<std::vector<LayerVariant>> variants = {}; ///< by alternative and layer
  std::unique_ptr<TrialRuns> runs = nullptr;
  std::vector<std::vector<LayerOption>> options = {};  ///< by layer; 0 is to leave it
  std::vector<std::vector<size_t>> alternativeOf = {}; ///< of each option; 0 for none
  WeightChoice told = WeightChoice();
  std::unique_ptr<AllocationPath> path = nullptr;
  uint64_t fixedBytes = 0; ///< of weights that are no layers of the step

  bool run(Recipe &steps);

private:
  bool tryAlternatives();
  bool canReachTarget();
  bool measureLayers();
  void listOptions(ArrayRef<std::pair<size_t, size_t>> tried, const TrialRuns::Result &result);
  bool choose(Choice &chosen);
  bool chooseForTarget(Choice &chosen);
  bool measureDrop(const Choice &choice, double &drop);
  bool stepsWithin(double drop, size_t &steps);
  bool finish(Choice chosen, Recipe &steps);
  bool drawCurve(const Choice &chosen, const TrialRuns::Result &whole);
  double dropOf(const LossSums &sums, const LossSums &reference) const;
  Choice toAlternatives(const std::vector<size_t> &own) const;
  bool wrong(const std::string &what) {
    isUsage = true;
    error = what;
    return false;
  }
  std::string measureName() const { return runs->isLogits() ? "of the perplexity" : "relative error of the outputs"; }
};

double Chooser::dropOf(const LossSums &sums, const LossSums &reference) const {
  double drop = runs->isLogits() ? sums.perplexity() / reference.perplexity() - 1 : std::sqrt(sums.loss());
  return std::isfinite(drop) ? drop : INFINITY;
}

Choice Chooser::toAlternatives(const std::vector<size_t> &own) const {
  Choice choice;
  for (size_t i = 0; i < own.size(); ++i)
    choice.push_back(alternativeOf[i][own[i]]);
  return choice;
}

bool Chooser::tryAlternatives() {
  bool reads = llvm::any_of(step.from, [](const std::vector<RecipeStep> &steps) {
    return llvm::any_of(steps, [](const RecipeStep &own) { return usesCalibration(own); });
  });
  if (reads) {
    if (!statistics.gather(given, layers, pool, error))
      return false;
    compression.statistics = &statistics;
  }
  program = std::make_unique<TrialProgram>(compression, layers, carryOut);
  for (const std::vector<RecipeStep> &steps : step.from) {
    variants.emplace_back();
    if (!program->tryAlternative(steps, variants.back(), isUsage, error))
      return false;
  }
  runs = std::make_unique<TrialRuns>(compression, *program, layers, step.from, variants, pool);
  return runs->prepare(error);
}

/// Before what takes time.
bool Chooser::canReachTarget() {
  uint64_t least = fixedBytes;
  for (size_t i = 0; i < layers.size(); ++i) {
    uint64_t own = layers[i].elements() * (layers[i].stored.getIntOrFloatBitWidth() / 8);
    for (const std::vector<LayerVariant> &each : variants)
      if (each[i].reason.empty())
        own = std::min(own, each[i].bytes);
    least += own;
  }
  if (!told.targetBytes || *told.targetBytes >= least)
    return true;
  return wrong(
      "field 'target_size': " + megabytes(*told.targetBytes) + " can't be reached: the alternatives leave at least " +
      megabytes(least) + " of " + megabytes(told.bytesBefore) +
      (fixedBytes ? ", of which " + megabytes(fixedBytes) + " are weights that are no layers of the step" : ""));
}

bool Chooser::measureLayers() {
  std::vector<Choice> choices;
  std::vector<std::pair<size_t, size_t>> tried; // layer and alternative
  for (size_t i = 0; i < layers.size(); ++i)
    for (size_t a = 0; a < variants.size(); ++a) {
      uint64_t before = layers[i].elements() * (layers[i].stored.getIntOrFloatBitWidth() / 8);
      if (!variants[a][i].reason.empty() || variants[a][i].bytes >= before)
        continue;
      choices.emplace_back(layers.size(), 0);
      choices.back()[i] = a + 1;
      tried.push_back({i, a});
    }
  std::optional<TrialRuns::Clock::time_point> deadline;
  if (step.timeBudget)
    deadline = TrialRuns::Clock::now() +
               std::chrono::duration_cast<TrialRuns::Clock::duration>(std::chrono::duration<double>(*step.timeBudget));
  TrialRuns::Result result;
  if (!choices.empty() && !runs->measure(choices, static_cast<size_t>(step.sensitivitySamples), deadline, "sensitivity",
                                         result, isUsage, error))
    return false;
  told.measure = runs->isLogits() ? "kl_divergence" : "relative_squared_error";
  told.samples = result.samples;
  told.isComplete = result.isComplete;
  listOptions(tried, result);
  return true;
}

void Chooser::listOptions(ArrayRef<std::pair<size_t, size_t>> tried, const TrialRuns::Result &result) {
  options.resize(layers.size());
  alternativeOf.resize(layers.size());
  for (size_t i = 0; i < layers.size(); ++i) {
    uint64_t bytes = layers[i].elements() * (layers[i].stored.getIntOrFloatBitWidth() / 8);
    options[i].push_back({bytes, 0});
    alternativeOf[i].push_back(0);
    told.layers.push_back({layers[i].name, layers[i].node, {{"as it was", bytes, 0, false}}, 0});
  }
  // What there was no time for is as bad as its noise times what noise has cost elsewhere, by the median.
  std::vector<double> ratios;
  for (size_t j = 0; j < tried.size(); ++j)
    if (double noise = variants[tried[j].second][tried[j].first].noise; result.isMeasured[j] && noise > 0)
      ratios.push_back(result.sums[j].loss() / noise);
  std::sort(ratios.begin(), ratios.end());
  double ratio = ratios.empty() ? 1 : ratios[ratios.size() / 2];
  for (size_t j = 0; j < tried.size(); ++j) {
    auto [layer, alternative] = tried[j];
    const LayerVariant &variant = variants[alternative][layer];
    bool isMeasured = result.isMeasured[j];
    double loss = isMeasured ? result.sums[j].loss() : variant.noise * ratio;
    options[layer].push_back({variant.bytes, loss});
    alternativeOf[layer].push_back(alternative + 1);
    told.layers[layer].options.push_back({variant.format, variant.bytes, loss, !isMeasured});
  }
}

bool Chooser::measureDrop(const Choice &choice, double &drop) {
  TrialRuns::Result result;
  if (!runs->measure({choice}, compression.data->samples(), std::nullopt, "", result, isUsage, error))
    return false;
  drop = dropOf(result.sums.front(), result.reference);
  return true;
}

/// The most steps that lose at most `drop`, as far as sums of losses and what is measured go the same way.
bool Chooser::stepsWithin(double drop, size_t &steps) {
  size_t low = 0, high = path->length() + 1; // those of `low` are within, of `high` not
  while (high - low > 1) {
    size_t middle = low + (high - low) / 2;
    double own = 0;
    if (compression.progress)
      compression.progress("measuring what " + std::to_string(middle) + " of " + std::to_string(path->length()) +
                           " steps cost");
    if (!measureDrop(toAlternatives(path->choice(middle)), own))
      return false;
    (own <= drop ? low : high) = middle;
  }
  steps = low;
  return true;
}

bool Chooser::chooseForTarget(Choice &chosen) {
  uint64_t target = *told.targetBytes;
  uint64_t rest = target - fixedBytes; // enough for the smallest of each
  std::vector<size_t> own = path->filled(path->choice(path->stepsFor(rest)), rest);
  chosen = toAlternatives(own);
  if (!step.maxDrop)
    return true;
  double drop = 0;
  if (!measureDrop(chosen, drop))
    return false;
  if (drop <= *step.maxDrop)
    return true;
  size_t steps = 0;
  if (!stepsWithin(*step.maxDrop, steps))
    return false;
  return wrong("fields 'target_size' and 'max_drop' exclude each other: with " + megabytes(target) + " the drop is " +
               numberText(drop) + " (" + measureName() + "), and within " + numberText(*step.maxDrop) +
               " the smallest size is " + megabytes(fixedBytes + path->bytes(steps)));
}

bool Chooser::choose(Choice &chosen) {
  path = std::make_unique<AllocationPath>(options);
  if (told.targetBytes)
    return chooseForTarget(chosen);
  size_t steps = 0;
  if (!stepsWithin(*step.maxDrop, steps))
    return false;
  chosen = toAlternatives(path->choice(steps));
  return true;
}

bool Chooser::drawCurve(const Choice &chosen, const TrialRuns::Result &whole) {
  std::vector<Choice> choices;
  std::vector<uint64_t> bytes;
  uint64_t most = path->bytes(size_t(0)), least = path->bytes(path->length());
  for (size_t i = 0; i <= kCurvePoints; ++i) {
    std::vector<size_t> own = path->choice(path->stepsFor(most - (most - least) * i / kCurvePoints));
    if (!bytes.empty() && bytes.back() == path->bytes(own))
      continue;
    choices.push_back(toAlternatives(own));
    bytes.push_back(path->bytes(own));
  }
  TrialRuns::Result result;
  if (!runs->measure(choices, static_cast<size_t>(step.sensitivitySamples), std::nullopt, "size against quality",
                     result, isUsage, error))
    return false;
  for (size_t i = 0; i < choices.size(); ++i)
    told.curve.push_back(
        {fixedBytes + bytes[i], result.sums[i].loss(), dropOf(result.sums[i], result.reference), false});
  told.curve.push_back({told.bytesAfter, whole.sums.front().loss(), dropOf(whole.sums.front(), whole.reference), true});
  std::sort(told.curve.begin(), told.curve.end(), [](const auto &a, const auto &b) {
    return a.bytes != b.bytes ? a.bytes > b.bytes : a.isChosen < b.isChosen;
  });
  return true;
}

bool Chooser::finish(Choice chosen, Recipe &steps) {
  TrialRuns::Result whole;
  double limit = step.maxDrop.value_or(INFINITY);
  for (int retreat = 0;; ++retreat) {
    if (compression.progress)
      compression.progress("measuring what was chosen");
    if (!runs->measureCompiled(chosen, compression.data->samples(), whole, steps, isUsage, error))
      return false;
    double drop = dropOf(whole.sums.front(), whole.reference);
    if (!step.maxDrop || drop <= *step.maxDrop)
      break;
    size_t own = 0;
    // The compiled model computes a little differently than its weights do, and methods see layers before that are
    // changed.
    limit *= std::min(0.95, *step.maxDrop / drop);
    if (step.targetSize.empty() && retreat < kMostRetreats) {
      if (!stepsWithin(limit, own))
        return false;
      chosen = toAlternatives(path->choice(own));
      continue;
    }
    return wrong("field 'max_drop': the model that was chosen has a drop of " + numberText(drop) + " (" +
                 measureName() + "), expected at most " + numberText(*step.maxDrop) +
                 (step.targetSize.empty() ? "" : "; a larger 'target_size' leaves more"));
  }
  told.bytesAfter = fixedBytes;
  for (size_t i = 0; i < layers.size(); ++i) {
    auto it = llvm::find(alternativeOf[i], chosen[i]);
    told.layers[i].chosen = static_cast<size_t>(it - alternativeOf[i].begin());
    told.bytesAfter += options[i][told.layers[i].chosen].bytes;
  }
  if (!drawCurve(chosen, whole))
    return false;
  const LossSums &after = whole.sums.front();
  bool isLogits = runs->isLogits();
  report.qualityMeasure = isLogits ? "perplexity" : "relative_error";
  report.qualityBefore = isLogits ? whole.reference.perplexity() : 0;
  report.qualityAfter = isLogits ? after.perplexity() : std::sqrt(after.loss());
  report.drop = dropOf(after, whole.reference);
  report.choices.push_back(std::move(told));
  return true;
}

bool Chooser::run(Recipe &steps) {
  told.bytesBefore = fixedBytes = weightBytes(given.programs);
  for (const Layer &layer : layers)
    fixedBytes -= std::min(fixedBytes, layer.elements() * (layer.stored.getIntOrFloatBitWidth() / 8));
  if (!step.targetSize.empty())
    told.targetBytes = parseSizeOf(step.targetSize, told.bytesBefore);
  told.maxDrop = step.maxDrop;
  Choice chosen;
  return tryAlternatives() && canReachTarget() && measureLayers() && choose(chosen) && finish(std::move(chosen), steps);
}

} // namespace

bool chooseAlternatives(const Compression &compression, const RecipeStep &step, const std::vector<Layer> &layers,
                        const CarryOut &carryOut, runtime::ThreadPool &pool, CompressionReport &report, Recipe &steps,
                        bool &isUsage, std::string &error) {
  return Chooser{compression, step, layers, carryOut, pool, report, isUsage, error}.run(steps);
}

} // namespace lathe
