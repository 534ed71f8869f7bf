//===- PruneStep.cpp - A recipe's step that prunes ------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/PruneStep.h"
#include "compiler/KeptLayers.h"
#include "compiler/WeightValues.h"
#include "passes/pruning/methods/Refit.h"
#include "passes/pruning/methods/SparseGpt.h"
#include "passes/quantization/methods/ErrorMetrics.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/ADT/SetVector.h"
#include <cmath>

using namespace mlir;

namespace lathe {
namespace {

using compression::Layer;
using pruning::Pattern;
using pruning::PatternKind;
using pruning::Scope;
using quantization::InputStatistics;
using quantization::Weight;
using runtime::Status;

pruning::SelectionOptions selectionOf(const Pruning &step) {
  pruning::SelectionOptions options;
  pruning::parsePattern(step.pattern, options.pattern); // which is right, as the recipe was read
  options.scope = step.scope == "output" ? Scope::Output : step.scope == "input" ? Scope::Input : Scope::Layer;
  options.sparsity = step.sparsity.value_or(0);
  options.threshold = step.threshold;
  options.norm = step.norm == "l1" ? pruning::BlockNorm::L1 : pruning::BlockNorm::L2;
  return options;
}

/// The root mean square of each input; empty without statistics.
std::vector<float> sizesOf(const InputStatistics *inputs) {
  std::vector<float> sizes = inputs ? inputs->meanSquare() : std::vector<float>();
  for (float &size : sizes)
    size = std::sqrt(size);
  return sizes;
}

/// Numbers in the type that a file has them in.
std::vector<char> bytesOf(const std::vector<float> &values, Type type) {
  std::vector<char> bytes(values.size() * type.getIntOrFloatBitWidth() / 8);
  if (type.isF32()) {
    memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    APFloat number(values[i]);
    bool isInexact = false;
    number.convert(cast<FloatType>(type).getFloatSemantics(), APFloat::rmNearestTiesToEven, &isInexact);
    auto bits = static_cast<uint16_t>(number.bitcastToAPInt().getZExtValue());
    memcpy(bytes.data() + i * sizeof bits, &bits, sizeof bits);
  }
  return bytes;
}

/// A layer on its way through the step.
struct Pruned {
  const Layer *layer = nullptr;
  const InputStatistics *inputs = nullptr; ///< null for none that a method can use
  double sparsity = 0;                     ///< what is asked of it
  std::vector<uint8_t> blocks;             ///< that become zero, where all layers were compared; else empty
};

/// One step over the layers of all programs.
struct Pruner {
  const Compression &compression;
  const RecipeStep &step;
  const LayerStatistics &statistics;
  runtime::ThreadPool &pool;
  CompressionReport &report;
  std::string &error;
  const Pruning &options = step.pruning;
  pruning::SelectionOptions selection = selectionOf(options);
  size_t done = 0;

  bool run(const std::vector<Layer> &layers);

private:
  bool readDense(const Layer &layer, std::vector<float> &dense);
  bool compareAll(std::vector<Pruned> &all);
  void countKept(const std::vector<SmallVector<Pruned *>> &groups, size_t count);
  bool pruneGroup(ArrayRef<Pruned *> group, size_t count);
  /// What method a layer is pruned by: without statistics there is only its magnitude.
  std::string methodOf(const Pruned &own) const { return own.inputs ? options.method : "magnitude"; }
  /// Whether a layer takes so long that what comes of it is kept.
  bool isSlow(const Pruned &own) const {
    return own.inputs && (options.method == "sparsegpt" || options.refinements > 0);
  }
  std::string keyOf(const Pruned &own, const std::vector<float> &dense) const;
  Status pruneLayer(const Pruned &own, const Weight &weight, const pruning::SparseGptInputs &inputs,
                    std::vector<float> &values);
  void measure(PrunedLayer &entry, const Weight &weight, const std::vector<float> &values,
               const InputStatistics *inputs);
  bool replace(const Layer &layer, const std::vector<float> &values);
  PrunedLayer &tell(const Layer &layer);
  pruning::SparseGptOptions sparseGptOptions(double sparsity) const;
};

PrunedLayer &Pruner::tell(const Layer &layer) {
  PrunedLayer &entry = report.pruned.emplace_back();
  entry.weight = layer.name;
  entry.node = layer.node;
  entry.inputs = layer.inputs;
  entry.outputs = layer.outputs;
  return entry;
}

pruning::SparseGptOptions Pruner::sparseGptOptions(double sparsity) const {
  pruning::SparseGptOptions own;
  own.selection = selection;
  own.selection.sparsity = sparsity;
  own.damping = step.damping;
  own.block = options.blockSize;
  own.order = options.actOrder ? pruning::InputOrder::Descending : pruning::InputOrder::Natural;
  own.clip = options.weightClip.value_or(1);
  return own;
}

bool Pruner::readDense(const Layer &layer, std::vector<float> &dense) {
  std::optional<std::vector<float>> numbers = numbersOf(layer.values.front(), *compression.files, error);
  if (!numbers)
    return false;
  dense = layer.transposed ? std::move(*numbers) : turned(*numbers, layer.inputs, layer.outputs);
  auto isFinite = [](float value) { return std::isfinite(value); };
  if (llvm::all_of(dense, isFinite))
    return true;
  error = "initializer '" + layer.name + "': expected finite numbers to prune, found one that is not";
  return false;
}

bool Pruner::run(const std::vector<Layer> &layers) {
  std::vector<Pruned> all;
  for (const Layer &layer : layers) {
    if (!layer.isMatmul()) {
      tell(layer).reason = "only lookups of rows read it, which zeros do not make faster";
      continue;
    }
    const InputStatistics *inputs = statistics.find(layer);
    bool fits = inputs && layer.readsRows() && inputs->k == layer.inputs && inputs->hasSecondMoment();
    all.push_back({&layer, fits ? inputs : nullptr, selection.sparsity, {}});
  }
  if (options.scope == "global" && !compareAll(all))
    return false;
  // What layers with the same inputs are pruned with is made once.
  std::vector<SmallVector<Pruned *>> groups;
  std::map<const InputStatistics *, size_t> byInput;
  for (Pruned &own : all) {
    auto [it, isNew] = own.inputs ? byInput.try_emplace(own.inputs, groups.size()) : std::pair(byInput.end(), true);
    if (isNew)
      groups.emplace_back();
    groups[isNew ? groups.size() - 1 : it->second].push_back(&own);
  }
  if (compression.resume->hasLeft())
    countKept(groups, all.size());
  return llvm::all_of(groups, [&](const auto &group) { return pruneGroup(group, all.size()); });
}

/// Compares the weights of all layers with each other.
bool Pruner::compareAll(std::vector<Pruned> &all) {
  std::vector<float> scores;
  std::vector<size_t> begins;
  for (const Pruned &own : all) {
    std::vector<float> dense;
    if (!readDense(*own.layer, dense))
      return false;
    int64_t n = own.layer->outputs, k = own.layer->inputs;
    std::vector<float> sizes = options.method == "magnitude" ? std::vector<float>() : sizesOf(own.inputs);
    std::vector<float> layer = pruning::scoresOf({dense.data(), n, k}, sizes, options.weightClip.value_or(1));
    // Outputs of layers are of different size: what counts is a weight's share of its layer's.
    double energy = 0;
    for (float score : layer)
      energy += score > 0 ? static_cast<double>(score) * score : 0;
    auto unit = static_cast<float>(options.method == "magnitude" || energy == 0 ? 1 : 1 / std::sqrt(energy));
    for (float &score : layer)
      score = score > 0 ? score * unit : score;
    begins.push_back(scores.size());
    llvm::append_range(scores, pruning::blockScores(layer, n, k, selection.pattern, selection.norm));
  }
  std::vector<uint8_t> dropped =
      pruning::dropLowest(scores, pruning::shareOf(selection.sparsity, static_cast<int64_t>(scores.size())));
  begins.push_back(scores.size());
  for (size_t i = 0; i < all.size(); ++i) {
    all[i].blocks.assign(dropped.begin() + begins[i], dropped.begin() + begins[i + 1]);
    int64_t zeros = llvm::count(all[i].blocks, 1);
    // Between two numbers of blocks, so that rounding gives this one.
    all[i].sparsity = std::min((zeros + 0.5) / static_cast<double>(all[i].blocks.size()), 1.0);
  }
  return true;
}

std::string Pruner::keyOf(const Pruned &own, const std::vector<float> &dense) const {
  RecipeStep alone = step;
  if (own.blocks.size()) { // what other layers are does not matter but for this
    alone.pruning.scope = "layer";
    alone.pruning.sparsity = own.sparsity;
  }
  return keyOfGroup(alone, {{dense.data(), own.layer->outputs, own.layer->inputs}}, own.inputs);
}

void Pruner::countKept(const std::vector<SmallVector<Pruned *>> &groups, size_t count) {
  size_t kept = 0, slow = 0;
  for (const auto &group : groups)
    for (const Pruned *own : group) {
      std::vector<float> dense;
      slow += isSlow(*own);
      if (isSlow(*own) && readDense(*own->layer, dense))
        kept += compression.resume->find(keyOf(*own, dense)).has_value();
    }
  error.clear(); // what can't be read is told where it is pruned
  if (slow)
    compression.resume->sayReused(std::to_string(kept) + " of " + std::to_string(count) + " layers");
}

Status Pruner::pruneLayer(const Pruned &own, const Weight &weight, const pruning::SparseGptInputs &inputs,
                          std::vector<float> &values) {
  if (methodOf(own) == "sparsegpt") {
    Status status = pruning::pruneSparseGpt(weight, inputs, sparseGptOptions(own.sparsity), &pool, values);
    if (status.failed())
      return status;
  } else {
    std::vector<float> sizes = methodOf(own) == "wanda" ? sizesOf(own.inputs) : std::vector<float>();
    std::vector<uint8_t> mask =
        own.blocks.size() ? pruning::maskOfBlocks(own.blocks, weight.n, weight.k, selection.pattern)
                          : pruning::selectWeights(pruning::scoresOf(weight, sizes, options.weightClip.value_or(1)),
                                                   weight.n, weight.k, selection);
    values.assign(weight.data, weight.data + weight.n * weight.k);
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = mask[i] ? 0.0f : values[i];
  }
  if (options.refinements == 0 || !own.inputs)
    return {};
  return pruning::refitKept(weight, *own.inputs, step.damping, static_cast<int>(options.refinements), &pool, values);
}

void Pruner::measure(PrunedLayer &entry, const Weight &weight, const std::vector<float> &values,
                     const InputStatistics *inputs) {
  quantization::ErrorMetrics metrics;
  entry.onOutputs = inputs && !quantization::compareOutputs(weight, values.data(), *inputs, &pool, metrics).failed();
  if (!entry.onOutputs)
    metrics = quantization::compare(weight.data, values.data(), weight.n * weight.k);
  entry.snrDb = metrics.snrDb();
  entry.cosine = metrics.cosine;
}

bool Pruner::pruneGroup(ArrayRef<Pruned *> group, size_t count) {
  pruning::SparseGptInputs inputs;
  bool isPrepared = false;
  for (const Pruned *own : group) {
    const Layer &layer = *own->layer;
    if (compression.progress)
      compression.progress("prune: " + std::to_string(++done) + " of " + std::to_string(count));
    std::vector<float> dense, values;
    if (!readDense(layer, dense))
      return false;
    Weight weight{dense.data(), layer.outputs, layer.inputs};
    PrunedLayer &entry = tell(layer);
    entry.pattern = options.pattern;
    entry.method = methodOf(*own) + (options.refinements && own->inputs ? " refined" : "");
    entry.sparsityBefore = entry.sparsity = pruning::sparsityOf(dense.data(), weight.n * weight.k);
    bool isKept = isSlow(*own) && !compression.resume->path().empty();
    std::string key = isKept ? keyOf(*own, dense) : "";
    if (!isKept || !findPruned(*compression.resume, key, weight, values)) {
      Status status;
      if (methodOf(*own) == "sparsegpt" && !isPrepared)
        status = pruning::prepareSparseGpt(*own->inputs, layer.inputs, sparseGptOptions(own->sparsity), inputs);
      isPrepared = true;
      if (!status.failed())
        status = pruneLayer(*own, weight, inputs, values);
      if (status.failed()) {
        entry.reason = status.message();
        continue;
      }
      if (isKept)
        keepPruned(*compression.resume, key, values);
    }
    entry.sparsity = pruning::sparsityOf(values.data(), weight.n * weight.k);
    if (values == dense) {
      entry.reason = "it has " + std::to_string(layer.outputs) + " x " + std::to_string(layer.inputs) +
                     " weights, of which the pattern '" + options.pattern + "' makes no more zero";
      continue;
    }
    measure(entry, weight, values, own->inputs);
    if (!replace(layer, values)) {
      error = "initializer '" + layer.name + "': " + error;
      return false;
    }
  }
  return true;
}

bool Pruner::replace(const Layer &layer, const std::vector<float> &values) {
  std::vector<char> bytes =
      bytesOf(layer.transposed ? values : turned(values, layer.outputs, layer.inputs), layer.stored);
  std::optional<uint64_t> offset = compression.files->append(bytes.data(), bytes.size(), error);
  if (!offset)
    return false;
  llvm::SetVector<Operation *> weights; // what is widened may be so several times
  for (Value own : layer.values) {
    auto widened = own.getDefiningOp<CastOp>();
    weights.insert((widened ? widened.getInput() : own).getDefiningOp());
  }
  for (Operation *old : weights) {
    OpBuilder b(old);
    Value made = b.create<WeightOp>(old->getLoc(), old->getResult(0).getType(), layer.name, kMadeFile, *offset);
    old->getResult(0).replaceAllUsesWith(made);
  }
  return true;
}

} // namespace

bool pruneLayers(const Compression &compression, const RecipeStep &step, const std::vector<Layer> &layers,
                 const LayerStatistics &statistics, runtime::ThreadPool &pool, CompressionReport &report,
                 std::string &error) {
  return Pruner{compression, step, statistics, pool, report, error}.run(layers);
}

} // namespace lathe
