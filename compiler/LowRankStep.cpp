//===- LowRankStep.cpp - A recipe's step that factorizes ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/LowRankStep.h"
#include "compiler/KeptLayers.h"
#include "compiler/LayerValues.h"
#include "compiler/LowRankTimes.h"
#include "compiler/QuantizeStep.h"
#include "passes/lowrank/Expressions.h"
#include "passes/lowrank/Passes.h"
#include "passes/lowrank/methods/Ranks.h"
#include "passes/quantization/methods/ErrorMetrics.h"

using namespace mlir;

namespace lathe {
namespace {

using compression::Layer;
using lowrank::Factors;
using lowrank::Measure;
using lowrank::Metric;
using runtime::Status;

/// A layer on its way to factors.
struct Task {
  const Layer *layer = nullptr;
  Measure measure;
  CompressedLayer entry;
  std::string key;             ///< of what is kept of it
  int64_t rank = 0;            ///< 0: stays as it is
  std::vector<double> squares; ///< of singular values
  // While it is worked on:
  std::vector<float> dense;
  Factors factors;
  bool isKept = false;
  Status status;
};

/// One step over the layers of all programs.
class Factorizer {
public:
  Factorizer(const Compression &compression, const RecipeStep &step, runtime::ThreadPool &pool,
             CompressionReport &report, std::string &error)
      : compression(compression), step(step), pool(pool), report(report), error(error) {}

  bool run(const std::vector<Layer> &layers, const LayerStatistics &statistics, RecipeStep &resolved, bool &isResolved);

private:
  Task begin(const Layer &layer, const LayerStatistics &statistics);
  /// Calls `work` for tasks, some at a time, with their weights read, and `after` for each, in their order.
  bool forEach(StringRef what, llvm::function_ref<bool(Task &)> isWanted, llvm::function_ref<void(Task &)> work,
               llvm::function_ref<bool(Task &)> after);
  bool chooseRanks();
  /// Singular values of layers that may get factors.
  bool findSpectra();
  /// Ranks of all such layers that share what a ratio leaves.
  void allocate();
  /// Leaves layers as they are that factors would make slower, where the step prefers speed.
  bool leaveSlower(RecipeStep &resolved, bool &isResolved);
  void factorize(Task &task);
  bool replace(Task &task);
  bool findKept(const std::string &key, Task &task, bool withFactors);
  void keep(const std::string &key, const Task &task);

  const Compression &compression;
  const RecipeStep &step;
  runtime::ThreadPool &pool;
  CompressionReport &report;
  std::string &error;
  std::vector<Task> tasks;
};

bool mayChange(const Task &task) { return task.entry.reason.empty(); }

uint64_t bytesOf(const Layer &layer, uint64_t numbers) { return numbers * (layer.stored.getIntOrFloatBitWidth() / 8); }

/// Why a layer's readers can't read factors; empty where they can.
std::string whyNotFactors(const Layer &layer) {
  for (Value value : layer.values)
    for (OpOperand &use : value.getUses())
      if (std::string reason = lowrank::whyNotFactors(use); !reason.empty())
        return reason;
  return "";
}

Task Factorizer::begin(const Layer &layer, const LayerStatistics &statistics) {
  const LowRankFields &fields = step.lowRank;
  Task task;
  task.layer = &layer;
  CompressedLayer &entry = task.entry = describe(layer);
  entry.activations = "none";
  task.measure.alpha = fields.alpha;
  task.measure.statistics = statistics.find(layer);
  bool hasData = task.measure.statistics && fields.method != "svd";
  task.measure.metric = !hasData ? Metric::Weights : fields.method == "asvd" ? Metric::Magnitudes : Metric::Outputs;
  entry.method = hasData ? fields.method : "svd";
  entry.reason = whyNotFactors(layer);
  if (entry.reason.empty() && lowrank::largestSavingRank(layer.outputs, layer.inputs) < 1)
    entry.reason = "a matrix of " + std::to_string(layer.inputs) + " x " + std::to_string(layer.outputs) +
                   " has no factors that are smaller";
  return task;
}

bool Factorizer::forEach(StringRef what, llvm::function_ref<bool(Task &)> isWanted,
                         llvm::function_ref<void(Task &)> work, llvm::function_ref<bool(Task &)> after) {
  std::vector<Task *> wanted;
  for (Task &task : tasks)
    if (isWanted(task))
      wanted.push_back(&task);
  // Each is the work of one thread; some more than those keep all at work while large ones end.
  const size_t together = 2 * std::max<size_t>(1, compression.threads);
  for (size_t begin = 0; begin < wanted.size(); begin += together) {
    MutableArrayRef<Task *> batch(wanted.data() + begin, std::min(together, wanted.size() - begin));
    if (compression.progress)
      compression.progress(
          ("lowrank: " + what + " of " + Twine(begin + batch.size()) + " of " + Twine(wanted.size())).str());
    for (Task *task : batch) {
      if (!readDense(*compression.files, *task->layer, task->dense, error))
        return false;
      if (task->key.empty() && !compression.resume->path().empty())
        task->key = keyOfGroup(step, {{task->dense.data(), task->layer->outputs, task->layer->inputs}},
                               task->measure.metric == Metric::Weights ? nullptr : task->measure.statistics);
      task->isKept = findKept(task->key, *task, what == "factors");
    }
    quantization::parallelFor(&pool, static_cast<int64_t>(batch.size()), [&](int64_t i) {
      if (!batch[i]->isKept)
        work(*batch[i]);
    });
    for (Task *task : batch) {
      if (!after(*task))
        return false;
      task->dense = {};
      task->factors = {};
    }
  }
  return true;
}

bool Factorizer::findKept(const std::string &key, Task &task, bool withFactors) {
  if (key.empty())
    return false;
  std::optional<std::string> bytes =
      compression.resume->find(key + (withFactors ? "-" + std::to_string(task.rank) : "-spectrum"));
  if (!bytes)
    return false;
  ResumeReader reader(*bytes);
  std::vector<double> squares;
  CompressedLayer entry = task.entry;
  Factors factors;
  reader.get(squares);
  if (withFactors) {
    reader.get(entry.snrDb);
    reader.get(entry.cosine);
    reader.get(entry.onOutputs);
    reader.get(factors.r);
    reader.get(factors.left);
    reader.get(factors.right);
    factors.n = task.layer->outputs;
    factors.k = task.layer->inputs;
    if (factors.r < 1 || factors.r > std::min(factors.n, factors.k) ||
        factors.left.size() != static_cast<size_t>(factors.n * factors.r) ||
        factors.right.size() != static_cast<size_t>(factors.r * factors.k))
      return false;
  }
  if (!reader.isDone())
    return false;
  task.squares = std::move(squares);
  task.entry = std::move(entry);
  task.factors = std::move(factors);
  return true;
}

void Factorizer::keep(const std::string &key, const Task &task) {
  if (key.empty() || task.isKept)
    return;
  ResumeWriter writer;
  writer.put(task.squares);
  if (task.factors.r > 0) {
    writer.put(task.entry.snrDb);
    writer.put(task.entry.cosine);
    writer.put(task.entry.onOutputs);
    writer.put(task.factors.r);
    writer.put(task.factors.left);
    writer.put(task.factors.right);
  }
  compression.resume->keep(key + (task.factors.r > 0 ? "-" + std::to_string(task.rank) : "-spectrum"), writer.bytes);
}

bool Factorizer::findSpectra() {
  return forEach(
      "singular values", mayChange,
      [](Task &task) {
        task.status =
            lowrank::spectrum({task.dense.data(), task.layer->outputs, task.layer->inputs}, task.measure, task.squares);
      },
      [&](Task &task) {
        task.entry.reason = task.status.failed() ? task.status.message() : "";
        if (!task.status.failed())
          keep(task.key, task);
        return true;
      });
}

void Factorizer::allocate() {
  std::vector<lowrank::Candidate> candidates;
  std::vector<Task *> own;
  for (Task &task : tasks)
    if (mayChange(task)) {
      candidates.push_back({task.layer->outputs, task.layer->inputs, task.squares});
      own.push_back(&task);
    }
  std::vector<int64_t> ranks = lowrank::allocateRanks(candidates, *step.lowRank.ratio);
  for (auto [task, rank] : llvm::zip(own, ranks))
    task->rank = rank;
}

bool Factorizer::chooseRanks() {
  const LowRankFields &fields = step.lowRank;
  bool isAutomatic = fields.allocation == "auto";
  if ((isAutomatic || fields.energy) && !findSpectra())
    return false;
  if (isAutomatic) {
    allocate();
    return true;
  }
  for (Task &task : tasks) {
    if (!mayChange(task))
      continue;
    int64_t n = task.layer->outputs, k = task.layer->inputs, most = lowrank::largestSavingRank(n, k);
    task.rank = fields.rank    ? *fields.rank
                : fields.ratio ? lowrank::rankOfRatio(n, k, *fields.ratio)
                               : lowrank::rankOfEnergy(task.squares, *fields.energy);
    if (task.rank <= most)
      continue;
    std::string rank = std::to_string(task.rank), largest = std::to_string(most);
    task.entry.reason = fields.energy ? "the energy that is to be kept needs rank " + rank +
                                            "; the largest rank that saves bytes, " + largest + ", keeps " +
                                            std::to_string(lowrank::energyKept(task.squares, most))
                                      : "factors of rank " + rank + " would take " +
                                            std::to_string(bytesOf(*task.layer, Factors::size(n, k, task.rank))) +
                                            " bytes; the largest rank that saves some is " + largest;
  }
  return true;
}

bool Factorizer::leaveSlower(RecipeStep &resolved, bool &isResolved) {
  if (step.lowRank.residual) // what a product costs then, later steps say
    return true;
  std::vector<RankedLayer> ranked;
  std::vector<Task *> own;
  for (Task &task : tasks)
    if (mayChange(task) && task.rank > 0) {
      ranked.push_back({task.layer, task.rank, {}, 0});
      own.push_back(&task);
    }
  if (!timeFactors(compression, step, ranked, report, error))
    return false;
  bool decides = prefersSpeed(*compression.recipe, step, compression.isPortable) && report.whyNotTimed.empty();
  isResolved = decides;
  if (decides)
    resolved.prefer = "size";
  bool isLeft = false;
  for (auto [task, measured] : llvm::zip(own, ranked)) {
    CompressedLayer &entry = task->entry;
    entry.ways = measured.ways;
    entry.rows = measured.rows;
    entry.way = entry.ways.empty() ? 0 : 1;
    if (!decides || !measured.decides || !isSlower(entry.ways[1], entry.ways[0]))
      continue;
    isLeft = true;
    entry.way = 0;
    resolved.exclude.push_back(escapeGlob(entry.weight));
    entry.reason = whyNotTaken(entry.rows, entry.ways[1], entry.ways[0], " of rank " + std::to_string(task->rank));
  }
  // The others share the bytes anew, as they would without those that are left.
  if (isLeft && step.lowRank.allocation == "auto") {
    allocate();
    for (Task &task : tasks)
      if (mayChange(task)) {
        task.entry.ways.clear(); // they were of other ranks
        task.entry.way = 0;
      }
  }
  return true;
}

void Factorizer::factorize(Task &task) {
  quantization::Weight weight{task.dense.data(), task.layer->outputs, task.layer->inputs};
  task.status = lowrank::factorize(weight, task.measure, task.rank, task.factors, task.squares);
  if (task.status.failed())
    return;
  std::vector<float> approximation = task.factors.dense();
  quantization::ErrorMetrics metrics;
  CompressedLayer &entry = task.entry;
  const quantization::InputStatistics *inputs = task.measure.statistics;
  entry.onOutputs = inputs && inputs->hasSecondMoment() &&
                    !quantization::compareOutputs(weight, approximation.data(), *inputs, nullptr, metrics).failed();
  if (!entry.onOutputs)
    metrics = quantization::compare(weight.data, approximation.data(), weight.n * weight.k);
  entry.snrDb = metrics.snrDb();
  entry.cosine = metrics.cosine;
}

bool Factorizer::replace(Task &task) {
  CompressedLayer &entry = task.entry;
  const Layer &layer = *task.layer;
  if (task.status.failed()) {
    entry.reason = task.status.message();
    return true;
  }
  keep(task.key, task);
  std::vector<float> rest;
  if (step.lowRank.residual) {
    rest = task.factors.dense();
    for (size_t i = 0; i < rest.size(); ++i)
      rest[i] = task.dense[i] - rest[i];
  }
  WeightMaker maker(*compression.files, error);
  compression::MakeConstant make = std::ref(maker);
  for (Value value : layer.values)
    if (!lowrank::replaceByFactors(value, layer.name, layer.transposed, layer.stored, task.factors, rest, make)) {
      error = "initializer '" + layer.name + "': " + error;
      return false;
    }
  entry.rank = task.factors.r;
  entry.energyKept = lowrank::energyKept(task.squares, entry.rank);
  entry.format = "rank " + std::to_string(entry.rank);
  entry.factors = {lowrank::inputFactorName(layer.name), lowrank::outputFactorName(layer.name)};
  entry.bytesAfter = bytesOf(layer, Factors::size(layer.outputs, layer.inputs, entry.rank));
  if (!rest.empty()) {
    entry.format += ", and what is left";
    entry.factors.push_back(lowrank::restName(layer.name));
    entry.bytesAfter += entry.bytesBefore;
  }
  return true;
}

bool Factorizer::run(const std::vector<Layer> &layers, const LayerStatistics &statistics, RecipeStep &resolved,
                     bool &isResolved) {
  for (const Layer &layer : layers)
    tasks.push_back(begin(layer, statistics));
  if (!chooseRanks() || !leaveSlower(resolved, isResolved))
    return false;
  for (Task &task : tasks)
    if (mayChange(task) && task.rank == 0)
      task.entry.reason = "the bytes that it would save are saved at other weights at less loss";
  size_t reused = 0;
  bool isDone = forEach(
      "factors", mayChange, [&](Task &task) { factorize(task); },
      [&](Task &task) {
        reused += task.isKept;
        return replace(task);
      });
  if (!isDone)
    return false;
  if (compression.resume->hasLeft())
    compression.resume->sayReused(std::to_string(reused) + " of " + std::to_string(layers.size()) + " layers");
  for (Task &task : tasks)
    report.layers.push_back(std::move(task.entry));
  if (!compression.keepsExpressions)
    for (func::FuncOp program : compression.programs)
      lowrank::orderMatrixChains(program);
  return true;
}

} // namespace

std::string whyNoRank(const RecipeStep &step, ArrayRef<Layer> layers) {
  if (!step.lowRank.rank || layers.empty())
    return "";
  const Layer *best = nullptr;
  auto most = [](const Layer &layer) { return lowrank::largestSavingRank(layer.outputs, layer.inputs); };
  for (const Layer &layer : layers)
    if (!best || most(layer) > most(*best))
      best = &layer;
  if (*step.lowRank.rank <= most(*best))
    return "";
  std::string text = "field 'rank': factors of rank " + std::to_string(*step.lowRank.rank) +
                     " are not smaller than any weight that they are for";
  return most(*best) < 1
             ? text
             : text + "; the largest rank that saves bytes is " + std::to_string(most(*best)) + ", of '" + best->name +
                   "', " + std::to_string(best->inputs) + " x " + std::to_string(best->outputs);
}

bool factorizeLayers(const Compression &compression, const RecipeStep &step, const std::vector<Layer> &layers,
                     const LayerStatistics &statistics, runtime::ThreadPool &pool, CompressionReport &report,
                     RecipeStep &resolved, bool &isResolved, std::string &error) {
  return Factorizer(compression, step, pool, report, error).run(layers, statistics, resolved, isResolved);
}

} // namespace lathe
