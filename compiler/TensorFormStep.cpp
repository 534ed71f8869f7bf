//===- TensorFormStep.cpp - A recipe's step for tensor forms --------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/TensorFormStep.h"
#include "compiler/KeptLayers.h"
#include "compiler/LayerTimes.h"
#include "compiler/LayerValues.h"
#include "compiler/ProductRows.h"
#include "compiler/QuantizeStep.h"
#include "passes/lowrank/Passes.h"
#include "passes/quantization/methods/ErrorMetrics.h"
#include <cmath>

using namespace mlir;

namespace lathe {
namespace {

using compression::Layer;
using lowrank::WindowProduct;

/// A layer on its way to a form.
struct Task {
  const Layer *layer = nullptr;
  CompressedLayer entry;
  TensorForm form;
  const quantization::InputStatistics *inputs = nullptr; ///< null for none
  std::string key;                                       ///< of what is kept of it
  bool isKept = false;
  // While it is worked on:
  std::vector<float> dense;
  runtime::Status status;

  bool mayChange() const { return entry.reason.empty(); }
};

class Former {
public:
  Former(const Compression &compression, const RecipeStep &step, runtime::ThreadPool &pool, CompressionReport &report,
         std::string &error)
      : compression(compression), step(step), pool(pool), report(report), error(error) {}

  bool run(const std::vector<Layer> &layers, const LayerStatistics &statistics, RecipeStep &resolved, bool &isResolved);

private:
  void begin(const Layer &layer, const LayerStatistics &statistics);
  /// Finds forms, some at a time.
  bool fit();
  void fitOne(Task &task);
  bool findKept(Task &task);
  void keep(const Task &task);
  /// Times layers as they are and as they would be, where something depends on it.
  std::vector<Task *> chooseTimed(std::vector<TimedProduct> &products);
  bool time();
  /// Leaves layers that would be slower as they are, where the step prefers speed.
  void leaveSlower(RecipeStep &resolved, bool &isResolved);
  bool replace();

  const Compression &compression;
  const RecipeStep &step;
  runtime::ThreadPool &pool;
  CompressionReport &report;
  std::string &error;
  std::vector<Task> tasks;
};

void Former::begin(const Layer &layer, const LayerStatistics &statistics) {
  Task task;
  task.layer = &layer;
  task.inputs = statistics.find(layer);
  task.entry = describe(layer);
  task.entry.activations = "none";
  task.entry.method = step.lowRank.method;
  task.entry.reason = whyNotForm(step, layer);
  tasks.push_back(std::move(task));
}

void Former::fitOne(Task &task) {
  const Layer &layer = *task.layer;
  bool isRefitted = false;
  task.status = fitForm(step.lowRank, layer, task.dense, task.inputs, task.form, isRefitted);
  if (task.status.failed())
    return;
  CompressedLayer &entry = task.entry;
  entry.method += isRefitted ? ", refitted" : "";
  std::vector<float> approximation = denseOf(task.form);
  quantization::ErrorMetrics metrics;
  quantization::Weight weight{task.dense.data(), layer.outputs, layer.inputs};
  entry.onOutputs =
      task.inputs && task.inputs->hasSecondMoment() &&
      !quantization::compareOutputs(weight, approximation.data(), *task.inputs, nullptr, metrics).failed();
  if (!entry.onOutputs)
    metrics = quantization::compare(weight.data, approximation.data(), static_cast<int64_t>(approximation.size()));
  entry.snrDb = metrics.snrDb();
  entry.cosine = metrics.cosine;
}

bool Former::findKept(Task &task) {
  std::optional<std::string> bytes = task.key.empty() ? std::nullopt : compression.resume->find(task.key);
  if (!bytes)
    return false;
  ResumeReader reader(*bytes);
  CompressedLayer entry = task.entry;
  std::string form;
  reader.get(entry.method);
  reader.get(entry.snrDb);
  reader.get(entry.cosine);
  reader.get(entry.onOutputs);
  reader.get(form);
  if (!reader.isDone() || !formOf(form, step.lowRank, *task.layer, task.form))
    return false;
  task.entry = std::move(entry);
  return true;
}

void Former::keep(const Task &task) {
  if (task.key.empty() || task.isKept)
    return;
  ResumeWriter writer;
  writer.put(task.entry.method);
  writer.put(task.entry.snrDb);
  writer.put(task.entry.cosine);
  writer.put(task.entry.onOutputs);
  writer.put(bytesOf(task.form));
  compression.resume->keep(task.key, writer.bytes);
}

bool Former::fit() {
  std::vector<Task *> wanted;
  for (Task &task : tasks)
    if (task.mayChange())
      wanted.push_back(&task);
  // Each is the work of one thread; some more than those keep all at work while large ones end.
  const size_t together = 2 * std::max<size_t>(1, compression.threads);
  for (size_t begin = 0; begin < wanted.size(); begin += together) {
    MutableArrayRef<Task *> batch(wanted.data() + begin, std::min(together, wanted.size() - begin));
    if (compression.progress)
      compression.progress("lowrank: " + std::to_string(begin + batch.size()) + " of " + std::to_string(wanted.size()));
    for (Task *task : batch) {
      if (!readDense(*compression.files, *task->layer, task->dense, error))
        return false;
      if (!compression.resume->path().empty())
        task->key = keyOfGroup(step, {{task->dense.data(), task->layer->outputs, task->layer->inputs}}, task->inputs);
      task->isKept = findKept(*task);
    }
    quantization::parallelFor(&pool, static_cast<int64_t>(batch.size()), [&](int64_t i) {
      if (!batch[i]->isKept)
        fitOne(*batch[i]);
    });
    for (Task *task : batch) {
      task->dense = {};
      if (task->status.failed())
        task->entry.reason = task->status.message();
      else
        keep(*task);
    }
  }
  return true;
}

/// The product of a layer, or the convolution that it is, of about as many rows.
TimedProduct timedLayer(const Layer &layer, int64_t rows) {
  std::vector<WindowProduct> convolutions = convolutionsOf(layer);
  TimedProduct product = timedProduct(layer, rows);
  if (convolutions.empty())
    return product;
  auto windows = cast<RankedTensorType>(convolutions.front().windows.getType());
  const int64_t axes = windows.getRank() / 2 - 1;
  product.kernel.assign(windows.getShape().end() - axes, windows.getShape().end());
  const auto extent = static_cast<int64_t>(std::pow(static_cast<double>(rows), 1 / static_cast<double>(axes)) + 1e-6);
  product.positions.assign(axes, std::max<int64_t>(extent, 1));
  product.rows = 1;
  for (int64_t own : product.positions)
    product.rows *= own;
  for (int64_t own : product.kernel)
    product.kind += " window " + std::to_string(own);
  return product;
}

/// The layers whose products are timed, each with its product.
std::vector<Task *> Former::chooseTimed(std::vector<TimedProduct> &products) {
  std::vector<Layer> all;
  std::vector<Task *> may, chosen;
  for (Task &task : tasks)
    if (task.mayChange() && task.layer->isMatmul() && task.layer->readsRows()) {
      all.push_back(*task.layer);
      may.push_back(&task);
    }
  ProductRows rows(compression.programs, all, compression.rows);
  for (Task *task : may) {
    TimedProduct product = timedLayer(*task->layer, rows.of(*task->layer));
    if (!compression.timeAll && isSmall(product))
      continue;
    CompressedLayer told;
    describeForm(*task->layer, task->form, told);
    product.kind += " " + step.lowRank.method + " " + told.format;
    products.push_back(std::move(product));
    chosen.push_back(task);
  }
  return chosen;
}

bool Former::time() {
  if (!prefersSpeed(*compression.recipe, step, compression.isPortable) && !compression.timeAll)
    return true;
  std::vector<TimedProduct> products;
  std::vector<Task *> own = chooseTimed(products);
  if (products.empty())
    return true;
  report.whyNotTimed = whyNotTimed(compression);
  if (!report.whyNotTimed.empty())
    return true;
  auto change = [&](ArrayRef<TimedMatmul> matmuls, std::string &problem) {
    for (TimedMatmul product : matmuls) {
      // The same layer, as this program has it.
      Layer layer = *own[product.index]->layer;
      layer.products = {product.op};
      layer.lookups.clear();
      layer.values = {product.op.getRhs()};
      WeightMaker make(*compression.files, problem, /*isShared=*/false);
      if (!replaceByForm(layer, own[product.index]->form, /*keepsExpressions=*/false, std::ref(make)))
        return false;
    }
    return true;
  };
  auto changeAndOrder = [&](ArrayRef<TimedMatmul> matmuls, std::string &problem) {
    if (matmuls.empty())
      return true;
    MatmulOp first = matmuls.front().op;
    auto program = first->getParentOfType<func::FuncOp>();
    if (!change(matmuls, problem))
      return false;
    lowrank::orderMatrixChains(program);
    return true;
  };
  ProductWay ways[] = {{compression.floats, nullptr}, {step.lowRank.method, changeAndOrder}};
  std::vector<std::vector<TimedWay>> times;
  if (!timeProducts(compression, products, ways, step.lowRank.method, times, error))
    return false;
  for (auto [task, product, measured] : llvm::zip(own, products, times)) {
    task->entry.ways = measured;
    task->entry.rows = product.rows;
    task->entry.way = 1;
  }
  return true;
}

void Former::leaveSlower(RecipeStep &resolved, bool &isResolved) {
  isResolved = prefersSpeed(*compression.recipe, step, compression.isPortable) && report.whyNotTimed.empty();
  if (!isResolved)
    return;
  resolved.prefer = "size";
  for (Task &task : tasks) {
    CompressedLayer &entry = task.entry;
    if (!task.mayChange() || entry.ways.empty() || !isSlower(entry.ways[1], entry.ways[0]) ||
        isSmall(timedLayer(*task.layer, entry.rows)))
      continue;
    entry.way = 0;
    resolved.exclude.push_back(escapeGlob(entry.weight));
    entry.reason = whyNotTaken(entry.rows, entry.ways[1], entry.ways[0]);
  }
}

bool Former::replace() {
  for (Task &task : tasks) {
    if (!task.mayChange())
      continue;
    describeForm(*task.layer, task.form, task.entry);
    WeightMaker maker(*compression.files, error);
    if (!replaceByForm(*task.layer, task.form, compression.keepsExpressions, std::ref(maker))) {
      error = "initializer '" + task.layer->name + "': " + error;
      return false;
    }
  }
  if (!compression.keepsExpressions)
    for (func::FuncOp program : compression.programs)
      lowrank::orderMatrixChains(program);
  return true;
}

bool Former::run(const std::vector<Layer> &layers, const LayerStatistics &statistics, RecipeStep &resolved,
                 bool &isResolved) {
  for (const Layer &layer : layers)
    begin(layer, statistics);
  if (!fit() || !time())
    return false;
  leaveSlower(resolved, isResolved);
  if (!replace())
    return false;
  if (compression.resume->hasLeft())
    compression.resume->say(
        "reusing " + std::to_string(llvm::count_if(tasks, [](const Task &task) { return task.isKept; })) + " of " +
        std::to_string(layers.size()) + " layers of an interrupted run (" + compression.resume->path() + ")");
  for (Task &task : tasks)
    report.layers.push_back(std::move(task.entry));
  return true;
}

} // namespace

bool formLayers(const Compression &compression, const RecipeStep &step, const std::vector<Layer> &layers,
                const LayerStatistics &statistics, runtime::ThreadPool &pool, CompressionReport &report,
                RecipeStep &resolved, bool &isResolved, std::string &error) {
  return Former(compression, step, pool, report, error).run(layers, statistics, resolved, isResolved);
}

} // namespace lathe
