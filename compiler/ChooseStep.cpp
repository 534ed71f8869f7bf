//===- ChooseStep.cpp - A recipe's step that chooses ----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/ChooseStep.h"
#include "compiler/Allocation.h"
#include "compiler/AlternativeTimes.h"
#include "compiler/LayerStatistics.h"
#include "compiler/Sizes.h"
#include "compiler/TrialRuns.h"
#include "dialects/lathe/Lathe.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>
#include <map>
#include <numeric>
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
/// What times of a model are taken to be off by, at most.
constexpr double kTimeNoise = 0.03;

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

/// What layers that are chosen for together may get.
struct Option {
  uint64_t bytes = 0;
  double loss = 0, microseconds = 0;
  Choice alternatives = Choice(); ///< of each of these layers, from 1; 0: to leave it
};

struct Item {
  std::vector<size_t> layers;
  std::vector<Option> options; ///< the first is to leave them
};

/// What all layers together may be at most.
struct Limits {
  std::optional<uint64_t> bytes;
  std::optional<double> microseconds;
};

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
  AlternativeTimes times = AlternativeTimes();
  bool isTimed = false;
  std::vector<Item> items = {};
  std::vector<Choice> toldAlternatives = {}; ///< of each option that is told of a layer
  WeightChoice told = WeightChoice();
  std::unique_ptr<AllocationPath> path = nullptr;
  uint64_t fixedBytes = 0; ///< of weights that are no layers of the step

  bool run(Recipe &steps);

private:
  bool tryAlternatives();
  bool canReachTarget();
  bool timeAlternatives();
  bool wantsSpeed(const std::vector<RecipeStep> &steps) const;
  bool isLeft(size_t layer, size_t alternative) const;
  bool measureLayers();
  void listOptions(ArrayRef<std::pair<size_t, size_t>> tried, const TrialRuns::Result &result);
  void joinPlaces(const std::map<std::vector<size_t>, std::vector<Option>> &joint);
  bool choose(Choice &chosen);
  bool chooseWithin(const Limits &limits, Choice &chosen);
  bool chooseForSpeed(Limits limits, Choice &chosen);
  std::vector<std::vector<LayerOption>> costs(double shareOfTime) const;
  std::optional<std::vector<size_t>> findChoice(const Limits &limits) const;
  double microsecondsOf(const std::vector<size_t> &own) const;
  double fewestMicroseconds() const;
  bool measureDrop(const Choice &choice, double &drop);
  bool stepsWithin(double drop, size_t &steps);
  void tellChosen(const Choice &chosen);
  bool finish(Choice chosen, Recipe &steps);
  bool drawCurve(const Choice &chosen, const TrialRuns::Result &whole);
  double dropOf(const LossSums &sums, const LossSums &reference) const;
  Choice toAlternatives(const std::vector<size_t> &own) const;
  uint64_t bytesOf(const std::vector<size_t> &own) const;
  uint64_t denseBytes(size_t layer) const {
    return layers[layer].elements() * (layers[layer].stored.getIntOrFloatBitWidth() / 8);
  }
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
  Choice choice(layers.size());
  for (auto [item, option] : llvm::zip(items, own))
    for (auto [layer, alternative] : llvm::zip(item.layers, item.options[option].alternatives))
      choice[layer] = alternative;
  return choice;
}

uint64_t Chooser::bytesOf(const std::vector<size_t> &own) const {
  uint64_t sum = 0;
  for (auto [item, option] : llvm::zip(items, own))
    sum += item.options[option].bytes;
  return sum;
}

double Chooser::microsecondsOf(const std::vector<size_t> &own) const {
  double sum = 0;
  for (auto [item, option] : llvm::zip(items, own))
    sum += item.options[option].microseconds;
  return sum;
}

double Chooser::fewestMicroseconds() const {
  double sum = 0;
  for (const Item &item : items)
    sum += std::min_element(item.options.begin(), item.options.end(), [](const Option &a, const Option &b) {
             return a.microseconds < b.microseconds;
           })->microseconds;
  return sum;
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
  auto isForSpeed = [&](const std::vector<RecipeStep> &steps) { return wantsSpeed(steps); };
  isTimed = step.targetSpeedup ||
            (whyNotTimed(given).empty() && (given.timeAll || prefersSpeed(*given.recipe, step, given.isPortable) ||
                                            llvm::any_of(step.from, isForSpeed)));
  program = std::make_unique<TrialProgram>(compression, layers, carryOut, isTimed);
  for (const std::vector<RecipeStep> &steps : step.from) {
    variants.emplace_back();
    if (!program->tryAlternative(steps, variants.back(), isUsage, error))
      return false;
  }
  runs = std::make_unique<TrialRuns>(compression, *program, layers, step.from, variants, pool);
  return runs->prepare(error);
}

/// Whether layers are to stay where any of the steps makes them slower.
bool Chooser::wantsSpeed(const std::vector<RecipeStep> &steps) const {
  return llvm::any_of(steps, [&](const RecipeStep &own) { return prefersSpeed(*given.recipe, own, given.isPortable); });
}

bool Chooser::timeAlternatives() {
  if (isTimed && !times.measure(compression, layers, step.from, variants, carryOut, error))
    return false;
  for (size_t a = 0; a < variants.size() && isTimed; ++a)
    for (size_t i = 0; i < layers.size() && wantsSpeed(step.from[a]); ++i) {
      const std::vector<size_t> place = variants[a][i].place.empty() ? std::vector<size_t>{i} : variants[a][i].place;
      if (!variants[a][i].reason.empty() || place.front() != i)
        continue;
      if (std::string why = times.whySlower(place, a + 1); !why.empty())
        for (size_t own : place)
          variants[a][own].reason = why;
    }
  return true;
}

/// Whether an alternative is none for a layer: it can't be carried out there, or saves nothing.
bool Chooser::isLeft(size_t layer, size_t alternative) const {
  const LayerVariant &variant = variants[alternative][layer];
  if (!variant.place.empty())
    return !variant.reason.empty(); // what is left is smaller
  const TimedWay *before = times.find(layer, 0), *after = times.find(layer, alternative + 1);
  bool isFaster = step.targetSpeedup && before && after && after->microseconds < before->microseconds;
  return !variant.reason.empty() || (variant.bytes >= denseBytes(layer) && !isFaster);
}

/// Before what takes time.
bool Chooser::canReachTarget() {
  uint64_t least = fixedBytes;
  double fewest = 0;
  for (size_t i = 0; i < layers.size(); ++i) {
    uint64_t own = denseBytes(i);
    const TimedWay *way = times.find(i, 0);
    double microseconds = way ? way->microseconds : 0;
    told.microsecondsBefore += microseconds;
    for (size_t a = 0; a < variants.size(); ++a)
      if (variants[a][i].reason.empty()) {
        own = std::min(own, variants[a][i].bytes);
        if (const TimedWay *other = times.find(i, a + 1))
          microseconds = std::min(microseconds, other->microseconds);
      }
    least += own;
    fewest += microseconds;
  }
  if (step.targetSpeedup && told.microsecondsBefore < *step.targetSpeedup * fewest)
    return wrong("field 'target_speedup': " + numberText(*step.targetSpeedup) +
                 " can't be reached: the alternatives make the products at most " +
                 numberText(told.microsecondsBefore / fewest) + " times as fast (" +
                 numberText(told.microsecondsBefore) + " us as they are, " + numberText(fewest) + " us)");
  if (step.targetSpeedup && fewest == 0)
    return wrong("field 'target_speedup': no product of the step's layers can be timed");
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
      const std::vector<size_t> &place = variants[a][i].place;
      // A place that loses parts is tried once.
      if (isLeft(i, a) || (!place.empty() && place.front() != i))
        continue;
      choices.emplace_back(layers.size(), 0);
      choices.back()[i] = a + 1;
      for (size_t other : place)
        choices.back()[other] = a + 1;
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
  compression.resume->saySum(); // what follows has parts of its own
  told.measure = runs->isLogits() ? "kl_divergence" : "relative_squared_error";
  told.samples = result.samples;
  told.isComplete = result.isComplete;
  listOptions(tried, result);
  return true;
}

void Chooser::listOptions(ArrayRef<std::pair<size_t, size_t>> tried, const TrialRuns::Result &result) {
  auto timeOf = [&](size_t layer, size_t alternative) {
    const TimedWay *way = times.find(layer, alternative);
    return way ? *way : TimedWay();
  };
  for (size_t i = 0; i < layers.size(); ++i) {
    TimedWay way = timeOf(i, 0);
    toldAlternatives.push_back({0});
    items.push_back({{i}, {{denseBytes(i), 0, way.microseconds, {0}}}});
    told.layers.push_back(
        {layers[i].name, layers[i].node, {{"as it was", denseBytes(i), 0, false, way}}, 0, times.rows(i)});
  }
  // What there was no time for is as bad as its noise times what noise has cost elsewhere, by the median.
  std::vector<double> ratios;
  for (size_t j = 0; j < tried.size(); ++j)
    if (double noise = variants[tried[j].second][tried[j].first].noise; result.isMeasured[j] && noise > 0)
      ratios.push_back(result.sums[j].loss() / noise);
  std::sort(ratios.begin(), ratios.end());
  double ratio = ratios.empty() ? 1 : ratios[ratios.size() / 2];
  std::map<std::vector<size_t>, std::vector<Option>> joint; // by place
  std::vector<size_t> order(tried.size());
  std::iota(order.begin(), order.end(), 0);
  llvm::sort(order, [&](size_t a, size_t b) { return std::pair(tried[a].second, a) < std::pair(tried[b].second, b); });
  for (size_t j : order) {
    auto [layer, alternative] = tried[j];
    const LayerVariant &variant = variants[alternative][layer];
    bool isMeasured = result.isMeasured[j];
    double loss = isMeasured ? result.sums[j].loss() : variant.noise * ratio;
    std::vector<size_t> place = variant.place.empty() ? std::vector<size_t>{layer} : variant.place;
    Option option{0, loss, 0, Choice(place.size(), alternative + 1)};
    for (size_t own : place) {
      const LayerVariant &each = variants[alternative][own];
      TimedWay way = timeOf(own, alternative + 1);
      option.bytes += each.bytes;
      option.microseconds += way.microseconds;
      toldAlternatives[own].push_back(alternative + 1);
      told.layers[own].options.push_back({each.format, each.bytes, loss, !isMeasured, way});
    }
    if (variant.place.empty())
      items[layer].options.push_back(std::move(option));
    else
      joint[place].push_back(std::move(option));
  }
  joinPlaces(joint);
}

/// Layers of places that may lose parts are chosen for together: each gets what the best ways down give it alone, by
/// bytes and by time, or all lose parts.
void Chooser::joinPlaces(const std::map<std::vector<size_t>, std::vector<Option>> &joint) {
  std::vector<bool> isJoined(layers.size());
  std::vector<Item> joined;
  for (const auto &[place, parts] : joint) {
    if (llvm::any_of(place, [&](size_t layer) { return isJoined[layer]; }))
      continue; // heads and neurons have no layer in common
    std::vector<Item> own;
    for (size_t layer : place) {
      own.push_back(items[layer]);
      isJoined[layer] = true;
    }
    Item item{place, {}};
    std::swap(items, own); // costs() are of what is at hand
    for (double shareOfTime : {0.0, 1.0}) {
      AllocationPath ways(costs(shareOfTime));
      std::vector<std::vector<size_t>> points = {std::vector<size_t>(place.size())};
      for (size_t steps = 0; steps <= ways.length(); ++steps)
        points.push_back(ways.choice(steps));
      for (const std::vector<size_t> &point : points) {
        Option option{0, 0, 0, {}};
        for (auto [each, index] : llvm::zip(items, point)) {
          const Option &one = each.options[index];
          option.bytes += one.bytes;
          option.loss += one.loss;
          option.microseconds += one.microseconds;
          option.alternatives.push_back(one.alternatives.front());
        }
        item.options.push_back(std::move(option));
      }
    }
    std::swap(items, own);
    llvm::append_range(item.options, parts);
    joined.push_back(std::move(item));
  }
  for (Item &item : items)
    if (!isJoined[item.layers.front()])
      joined.push_back(std::move(item));
  items = std::move(joined);
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

/// Costs as shares of what the items cost as they are: of time, and of bytes for the rest.
std::vector<std::vector<LayerOption>> Chooser::costs(double shareOfTime) const {
  constexpr double kUnits = 1e12; // a share of a millionth of a millionth is told
  double bytes = 0, microseconds = 0;
  for (const Item &item : items) {
    bytes += static_cast<double>(item.options.front().bytes);
    microseconds += item.options.front().microseconds;
  }
  std::vector<std::vector<LayerOption>> result;
  for (const Item &item : items) {
    result.emplace_back();
    for (const Option &option : item.options) {
      double cost = (shareOfTime < 1 && bytes > 0 ? (1 - shareOfTime) * static_cast<double>(option.bytes) / bytes : 0) +
                    (microseconds > 0 ? shareOfTime * option.microseconds / microseconds : 0);
      // Bytes alone are what they are, so that limits are met to the last one.
      result.back().push_back(
          {shareOfTime == 0 ? option.bytes : static_cast<uint64_t>(std::llround(kUnits * cost)), option.loss});
    }
  }
  return result;
}

/// The choice within the limits that loses least, as far as paths of several mixtures of both costs find it.
std::optional<std::vector<size_t>> Chooser::findChoice(const Limits &limits) const {
  auto isWithin = [&](const std::vector<size_t> &own) {
    return (!limits.bytes || bytesOf(own) <= *limits.bytes) &&
           (!limits.microseconds || microsecondsOf(own) <= *limits.microseconds);
  };
  constexpr int kMixtures = 8;
  std::optional<std::vector<size_t>> best;
  double least = INFINITY;
  for (int mixture = 0; mixture <= kMixtures; ++mixture) {
    if ((!limits.bytes && mixture < kMixtures) || (!limits.microseconds && mixture > 0))
      continue;
    AllocationPath own(costs(static_cast<double>(mixture) / kMixtures));
    for (size_t steps = 0; steps <= own.length(); ++steps) {
      std::vector<size_t> choice = own.choice(steps);
      if (!isWithin(choice))
        continue;
      if (!limits.microseconds)
        choice = own.filled(choice, *limits.bytes);
      if (double loss = own.loss(choice); !best || loss < least) {
        least = loss;
        best = std::move(choice);
      }
      break;
    }
  }
  return best;
}

bool Chooser::chooseWithin(const Limits &limits, Choice &chosen) {
  std::optional<std::vector<size_t>> own = findChoice(limits);
  if (!own) {
    std::optional<std::vector<size_t>> fast = findChoice({std::nullopt, limits.microseconds});
    return wrong("fields 'target_size' and 'target_speedup' exclude each other: at that speed the smallest size that "
                 "is found is " +
                 megabytes(fixedBytes + (fast ? bytesOf(*fast) : 0)));
  }
  chosen = toAlternatives(*own);
  told.microsecondsAfter = microsecondsOf(*own);
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
  std::vector<size_t> most = path->choice(steps);
  bool isSpeed = step.targetSpeedup.has_value();
  return wrong(
      "fields '" + std::string(isSpeed ? "target_speedup" : "target_size") +
      "' and 'max_drop' exclude each other: with " +
      (isSpeed ? numberText(told.microsecondsBefore / told.microsecondsAfter) + " times the speed"
               : megabytes(*told.targetBytes)) +
      " the drop is " + numberText(drop) + " (" + measureName() + "), and within " + numberText(*step.maxDrop) +
      (isSpeed
           ? " products are at most " + numberText(told.microsecondsBefore / microsecondsOf(most)) + " times as fast"
           : " the smallest size is " + megabytes(fixedBytes + bytesOf(most))));
}

/// Products are made faster until the whole model is.
bool Chooser::chooseForSpeed(Limits limits, Choice &chosen) {
  double fewest = fewestMicroseconds(), fastest = 0;
  for (int tries = 0;; ++tries) {
    if (!chooseWithin(limits, chosen))
      return false;
    if (compression.progress)
      compression.progress("timing what was chosen");
    if (!runs->timeCompiled(chosen, told.modelMicrosecondsBefore, told.modelMicrosecondsAfter, isUsage, error))
      return false;
    double speedup = told.modelMicrosecondsBefore / told.modelMicrosecondsAfter;
    fastest = std::max(fastest, speedup);
    if (speedup >= (1 - kTimeNoise) * *step.targetSpeedup)
      return true;
    if (*limits.microseconds <= fewest || tries == kMostRetreats)
      return wrong("field 'target_speedup': " + numberText(*step.targetSpeedup) + " can't be reached: products are " +
                   numberText(told.microsecondsBefore / told.microsecondsAfter) +
                   " times as fast at what was tried last, and the whole model on the calibration data " +
                   numberText(fastest) + " times at best");
    double wanted = speedup / *step.targetSpeedup; // what is no product stays
    limits.microseconds = std::max(fewest, *limits.microseconds * std::min(0.97, wanted * wanted));
  }
}

bool Chooser::choose(Choice &chosen) {
  bool isSpeed =
      step.targetSpeedup || (step.targetSize.empty() && isTimed && prefersSpeed(*given.recipe, step, given.isPortable));
  path = std::make_unique<AllocationPath>(costs(isSpeed ? 1 : 0));
  Limits limits;
  if (told.targetBytes)
    limits.bytes = *told.targetBytes - fixedBytes; // enough for the smallest of each
  if (step.targetSpeedup)
    limits.microseconds = told.microsecondsBefore / *step.targetSpeedup;
  if (step.targetSpeedup)
    return chooseForSpeed(limits, chosen);
  if (told.targetBytes)
    return chooseWithin(limits, chosen);
  size_t steps = 0;
  if (!stepsWithin(*step.maxDrop, steps))
    return false;
  chosen = toAlternatives(path->choice(steps));
  return true;
}

bool Chooser::drawCurve(const Choice &chosen, const TrialRuns::Result &whole) {
  std::vector<Choice> choices;
  std::vector<std::vector<size_t>> known;
  uint64_t most = path->cost(size_t(0)), least = path->cost(path->length());
  for (size_t i = 0; i <= kCurvePoints; ++i) {
    std::vector<size_t> own = path->choice(path->stepsFor(most - (most - least) / kCurvePoints * i));
    if (!known.empty() && known.back() == own)
      continue;
    choices.push_back(toAlternatives(own));
    known.push_back(std::move(own));
  }
  TrialRuns::Result result;
  if (!runs->measure(choices, static_cast<size_t>(step.sensitivitySamples), std::nullopt, "size against quality",
                     result, isUsage, error))
    return false;
  for (size_t i = 0; i < choices.size(); ++i)
    told.curve.push_back(
        {fixedBytes + bytesOf(known[i]), result.sums[i].loss(), dropOf(result.sums[i], result.reference), false});
  told.curve.push_back({told.bytesAfter, whole.sums.front().loss(), dropOf(whole.sums.front(), whole.reference), true});
  std::sort(told.curve.begin(), told.curve.end(), [](const auto &a, const auto &b) {
    return a.bytes != b.bytes ? a.bytes > b.bytes : a.isChosen < b.isChosen;
  });
  return true;
}

void Chooser::tellChosen(const Choice &chosen) {
  told.bytesAfter = fixedBytes;
  told.microsecondsAfter = 0;
  for (size_t i = 0; i < layers.size(); ++i) {
    ChosenLayer &layer = told.layers[i];
    layer.chosen = static_cast<size_t>(llvm::find(toldAlternatives[i], chosen[i]) - toldAlternatives[i].begin());
    told.bytesAfter += layer.options[layer.chosen].bytes;
    told.microsecondsAfter += layer.options[layer.chosen].way.microseconds;
  }
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
    if (step.targetSize.empty() && !step.targetSpeedup && retreat < kMostRetreats) {
      if (!stepsWithin(limit, own))
        return false;
      chosen = toAlternatives(path->choice(own));
      continue;
    }
    return wrong("field 'max_drop': the model that was chosen has a drop of " + numberText(drop) + " (" +
                 measureName() + "), expected at most " + numberText(*step.maxDrop) +
                 (step.targetSpeedup        ? "; a smaller 'target_speedup' leaves more"
                  : step.targetSize.empty() ? ""
                                            : "; a larger 'target_size' leaves more"));
  }
  tellChosen(chosen);
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
  told.targetSpeedup = step.targetSpeedup;
  if (!step.targetSize.empty())
    told.targetBytes = parseSizeOf(step.targetSize, told.bytesBefore);
  told.maxDrop = step.maxDrop;
  Choice chosen;
  return tryAlternatives() && timeAlternatives() && canReachTarget() && measureLayers() && choose(chosen) &&
         finish(std::move(chosen), steps);
}

} // namespace

bool chooseAlternatives(const Compression &compression, const RecipeStep &step, const std::vector<Layer> &layers,
                        const CarryOut &carryOut, runtime::ThreadPool &pool, CompressionReport &report, Recipe &steps,
                        bool &isUsage, std::string &error) {
  return Chooser{compression, step, layers, carryOut, pool, report, isUsage, error}.run(steps);
}

} // namespace lathe
