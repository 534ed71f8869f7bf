//===- StructuredStep.cpp - A recipe's step that takes parts away ---------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/StructuredStep.h"
#include "compiler/CutConstants.h"
#include "compiler/DropLayers.h"
#include "compiler/PartTimes.h"
#include "compiler/UnitPlans.h"
#include "compiler/WeightValues.h"
#include "mlir/IR/Verifier.h"
#include "passes/pruning/structured/ResidualBlocks.h"
#include "passes/quantization/Layers.h"
#include "llvm/ADT/DenseSet.h"

using namespace mlir;

namespace lathe {

namespace {

using compression::Layer;
using compression::nodeOf;
using pruning::ChannelGroup;
using pruning::ChannelGroups;
using pruning::GroupAxis;

struct Pruner {
  const Compression &compression;
  const RecipeStep &step;
  const std::function<bool(const std::string &, const std::string &)> &covers;
  runtime::ThreadPool &pool;
  CompressionReport &report;
  RecipeStep &resolved;
  bool &isResolved;
  bool &isUsage;
  std::string &error;
  const StructuredPruning &own = step.parts;
  WeightFiles &files = *compression.files;
  std::vector<UnitPlan> plans = {};
  std::vector<Layer> layers = {};
  LayerStatistics statistics = {};
  CutConstants constants{files, error};
  NewConstants fitted{files, error};
  std::vector<PartTime> times = {}; ///< of plans; empty where nothing was timed

  bool run();

private:
  bool refuse(const std::string &why) {
    isUsage = true;
    error = why;
    return false;
  }
  bool find(ChannelGroups &all);
  bool isCovered(const ChannelGroup &group) const;
  bool gather();
  bool order();
  std::vector<bool> removedUnits(const UnitPlan &plan) const;
  std::vector<PartLayer> partsOf(const UnitPlan &plan) const;
  bool timePlaces();
  bool remove(UnitPlan &plan, size_t index);
  static bool isReadBy(const ChannelGroup &group, pruning::SharedWeight *weight);
  bool fit(UnitPlan &plan, size_t index);
  void tell(const UnitPlan &plan, const std::vector<bool> &removed, uint64_t before, uint64_t after);
  bool finish();
};

/// A group is meant where each of its matrices is.
bool Pruner::isCovered(const ChannelGroup &group) const {
  return llvm::all_of(group.axes, [&](const GroupAxis &axis) {
    if (!axis.tensor.weight)
      return true;
    std::string node;
    for (Value value : axis.tensor.weight->values)
      for (Operation *user : value.getUsers())
        if (node.empty() && !isa<CastOp>(user))
          node = nodeOf(user);
    return covers(axis.tensor.weight->name, node);
  });
}

bool Pruner::find(ChannelGroups &all) {
  std::vector<ChannelGroup> found =
      own.pattern == "heads" ? all.findHeads(own.groupedQueries == "together") : all.findSummed();
  for (ChannelGroup &group : found) {
    if (kindName(group.kind) != own.pattern)
      continue;
    UnitPlan plan(std::move(group));
    if (!isCovered(plan.group))
      plan.reason = "it is not among 'tensors', or among 'exclude'";
    measureRemovals(plan, own.multiple);
    plans.push_back(std::move(plan));
  }
  if (plans.empty())
    return refuse("field 'pattern': the model has no " + own.pattern + " that could go");
  if (own.scope == "layer")
    for (UnitPlan &plan : plans)
      chooseShare(plan, own.sparsity);
  if (llvm::none_of(plans, [](const UnitPlan &plan) { return plan.reason.empty(); }))
    return refuse("no " + own.pattern + " can go: at '" + plans.front().group.node + "': " + plans.front().reason);
  return true;
}

bool Pruner::gather() {
  bool reads = own.method == "activation" || own.method == "reconstruction" || own.refit;
  layers = compression::findLayers(compression.programs);
  if (!reads)
    return true;
  std::vector<Layer> wanted;
  for (const Layer &layer : layers)
    if (llvm::any_of(plans, [&](const UnitPlan &plan) {
          return plan.reason.empty() && llvm::any_of(plan.group.readers, [&](const pruning::GroupReader &reader) {
                   return reader.weight && reader.weight->place == layer.place;
                 });
        }))
      wanted.push_back(layer);
  if (!statistics.gather(compression, wanted, pool, error))
    return false;
  report.samples = compression.data->samples();
  for (UnitPlan &plan : plans)
    if (plan.reason.empty() && !readReaders(plan, layers, statistics, files, error))
      return false;
  return true;
}

bool Pruner::order() {
  const UnitPlan *scored = nullptr;
  for (UnitPlan &plan : plans) {
    if (!plan.reason.empty())
      continue;
    scored = scored ? scored : &plan;
    if (compression.progress)
      compression.progress("prune: '" + plan.group.node + "'");
    // Of all units of a model any layer may lose all but the last ones.
    size_t count = own.scope == "layer" ? plan.chosen : plan.sizes.size();
    if (!orderRemovals(plan, count, step, compression.gradients, files, error))
      return false;
    if (own.scope != "layer" && own.method == "magnitude" && plan.total > 0)
      for (Removal &removal : plan.removals) // layers have weights of different size
        removal.cost *= plan.group.units / plan.total;
  }
  if (own.method == "taylor" && scored && llvm::none_of(plans, [](const UnitPlan &plan) { return plan.reason.empty(); }))
    return refuse("no " + own.pattern + " can go: at '" + scored->group.node + "': " + scored->reason);
  if (own.scope != "layer")
    chooseAmongAll(plans, own.sparsity);
  return true;
}

/// Whether products that sum over a group's units are all that reads a weight.
bool Pruner::isReadBy(const ChannelGroup &group, pruning::SharedWeight *weight) {
  return weight && llvm::all_of(weight->values, [&](Value value) {
           return llvm::all_of(value.getUses(), [&](OpOperand &use) {
             return llvm::is_contained(weight->values, use.getOwner()->getResult(0)) || // widened
                    (use.getOperandNumber() == 1 &&
                     llvm::any_of(group.readers, [&](const pruning::GroupReader &reader) {
                       return reader.product == use.getOwner();
                     }));
           });
         });
}

/// Weights of the readers become those with which what stays gives their outputs best; of what goes they are zero.
bool Pruner::fit(UnitPlan &plan, size_t index) {
  std::vector<int> gone;
  for (size_t i = 0; i < plan.chosen; ++i)
    gone.insert(gone.end(), plan.removals[i].units.begin(), plan.removals[i].units.end());
  for (auto [number, reader] : llvm::enumerate(plan.readers)) {
    pruning::SharedWeight *weight = reader.reader->weight;
    if (!isReadBy(plan.group, weight))
      continue; // others would read other weights
    pruning::UnitReconstruction rest;
    quantization::Status status =
        rest.start({reader.numbers.data(), reader.outputs, reader.inputs}, *reader.statistics,
                   plan.group.axes[reader.reader->axis].units, plan.group.units, step.damping, reader.hasBias);
    if (!status.failed())
      status = rest.remove(gone);
    if (status.failed()) {
      error = "node '" + plan.group.node + "': " + status.message();
      return false;
    }
    std::vector<float> numbers = rest.weight(), bias = rest.bias();
    std::string key = "fit" + std::to_string(index) + "," + std::to_string(number);
    std::vector<Value> values;
    for (const pruning::GroupReader &other : plan.group.readers) {
      MatmulOp product = other.product;
      if (other.weight != weight)
        continue;
      Value made = fitted.make(product.getRhs(), pruning::tensorType(product.getRhs()), weight->name, key, [&] {
        return product.getTransposeRhs() ? numbers : turned(numbers, reader.outputs, reader.inputs);
      });
      if (!made)
        return false;
      product.getRhsMutable().assign(made);
      if (!llvm::is_contained(values, made))
        values.push_back(made);
      if (!bias.empty() && !addToProduct(product, bias, "bias", key + "bias", fitted, files, error))
        return false;
    }
    weight->values = std::move(values);
  }
  return true;
}

void Pruner::tell(const UnitPlan &plan, const std::vector<bool> &removed, uint64_t before, uint64_t after) {
  ShrunkPart told;
  told.pattern = own.pattern;
  told.method = own.method;
  told.node = plan.group.node;
  told.before = plan.group.units;
  told.after = plan.group.units;
  told.reason = plan.reason;
  told.interface = plan.group.interface;
  double cost = 0;
  for (size_t i = 0; i < plan.chosen && i < plan.removals.size(); ++i)
    cost += plan.removals[i].cost;
  told.cost = plan.total > 0 ? cost / plan.total : 0;
  for (size_t unit = 0; unit < removed.size(); ++unit)
    if (removed[unit])
      told.removed.push_back(static_cast<int64_t>(unit));
  told.after -= static_cast<int64_t>(told.removed.size());
  llvm::DenseSet<void *> known;
  for (const GroupAxis &axis : plan.group.axes)
    if (axis.tensor.weight && known.insert(axis.tensor.weight).second)
      told.weights.push_back(axis.tensor.weight->name);
  for (const pruning::GroupReader &reader : plan.group.readers)
    if (std::string node = nodeOf(reader.product); !llvm::is_contained(told.readers, node))
      told.readers.push_back(node);
  told.bytesBefore = before;
  told.bytesAfter = after;
  report.shrunk.push_back(std::move(told));
}

/// Bytes of the constants that belong to a group, with what of them is left.
std::pair<uint64_t, uint64_t> bytesOf(const ChannelGroup &group, const std::vector<bool> &removed) {
  std::map<void *, std::pair<Value, double>> shares; // summed up only
  for (const GroupAxis &axis : group.axes) {
    if (!axis.tensor.isConstant())
      continue;
    auto it = shares.try_emplace(axis.tensor.key(), axis.tensor.value, 1.0).first;
    auto stay = llvm::count_if(axis.units, [&](int unit) { return unit < 0 || removed.empty() || !removed[unit]; });
    if (!axis.units.empty())
      it->second.second *= static_cast<double>(stay) / static_cast<double>(axis.units.size());
  }
  double before = 0, after = 0;
  for (const auto &[key, entry] : shares) {
    Value stored = entry.first;
    if (auto widened = stored.getDefiningOp<CastOp>())
      stored = widened.getInput();
    auto type = pruning::tensorType(stored);
    double bytes = static_cast<double>(type.getNumElements()) * std::max(type.getElementTypeBitWidth() / 8, 1u);
    before += bytes;
    after += bytes * entry.second;
  }
  return {static_cast<uint64_t>(std::llround(before)), static_cast<uint64_t>(std::llround(after))};
}

std::vector<bool> Pruner::removedUnits(const UnitPlan &plan) const {
  std::vector<bool> removed(plan.group.units);
  for (size_t i = 0; i < plan.chosen && plan.reason.empty(); ++i)
    for (int unit : plan.removals[i].units)
      removed[unit] = true;
  return removed;
}

/// The layers of a place with what will be left of them.
std::vector<PartLayer> Pruner::partsOf(const UnitPlan &plan) const {
  std::vector<bool> removed = removedUnits(plan);
  std::vector<PartLayer> parts;
  for (const Layer &layer : layers) {
    PartLayer part{&layer, layer.inputs, layer.outputs};
    bool isPart = false;
    for (const GroupAxis &axis : plan.group.axes) {
      if (!axis.tensor.weight || axis.tensor.weight->place != layer.place)
        continue;
      isPart = true;
      int64_t gone = llvm::count_if(axis.units, [&](int unit) { return unit >= 0 && removed[unit]; });
      (axis.axis == (layer.transposed ? 1 : 0) ? part.inputs : part.outputs) -= gone;
    }
    if (isPart && part.inputs > 0 && part.outputs > 0)
      parts.push_back(part);
  }
  return parts;
}

/// Times places as they are and as they will be; those that would be slower stay where the step prefers speed.
bool Pruner::timePlaces() {
  bool decides = prefersSpeed(*compression.recipe, step, compression.isPortable);
  if (!decides && !compression.timeAll)
    return true;
  report.whyNotTimed = whyNotTimed(compression);
  if (!report.whyNotTimed.empty())
    return true;
  std::vector<std::vector<PartLayer>> places;
  for (const UnitPlan &plan : plans)
    places.push_back(plan.reason.empty() && plan.chosen > 0 ? partsOf(plan) : std::vector<PartLayer>());
  if (!timeParts(compression, layers, places, times, error))
    return false;
  if (!decides)
    return true;
  isResolved = true;
  resolved.prefer = "size";
  for (auto [plan, time] : llvm::zip(plans, times)) {
    TimedWay before{"it is", "", time.microsecondsBefore}, after{"it would be", "", time.microsecondsAfter};
    if (time.microsecondsBefore == 0 || !isSlower(after, before))
      continue;
    plan.reason = "its products of " + std::to_string(time.rows) + (time.rows == 1 ? " row " : " rows ") +
                  whyNotTaken(after, before);
    for (const GroupAxis &axis : plan.group.axes)
      if (axis.tensor.weight)
        resolved.exclude.push_back(escapeGlob(axis.tensor.weight->name));
  }
  return true;
}

bool Pruner::remove(UnitPlan &plan, size_t index) {
  std::vector<bool> removed = removedUnits(plan);
  if (plan.reason.empty() && !pruning::canRemove(plan.group, removed)) {
    plan.reason = "what is to go would leave a tensor without elements, or unequal numbers of queries";
    removed.assign(plan.group.units, false);
  }
  std::pair<uint64_t, uint64_t> bytes = bytesOf(plan.group, removed);
  tell(plan, removed, bytes.first, bytes.second);
  if (!times.empty()) {
    ShrunkPart &told = report.shrunk.back();
    told.rows = times[index].rows;
    told.microsecondsBefore = times[index].microsecondsBefore;
    told.microsecondsAfter = plan.reason.empty() ? times[index].microsecondsAfter : told.microsecondsBefore;
  }
  if (!plan.reason.empty() || llvm::none_of(removed, [](bool gone) { return gone; }))
    return true;
  auto cut = [this](Value constant, const pruning::KeptElements &kept, double factor) {
    return constants.cut(constant, kept, factor);
  };
  if ((own.refit || own.method == "reconstruction") && !fit(plan, index))
    return false;
  return pruning::removeUnits(plan.group, removed, cut);
}

bool Pruner::finish() {
  for (func::FuncOp program : compression.programs) {
    pruning::eraseDead(program); // constants that were cut
    if (failed(verify(program))) {
      error = "the program is not valid without " + own.pattern + " that went";
      return false;
    }
  }
  return true;
}

bool Pruner::run() {
  if (compression.progress)
    compression.progress("prune " + own.pattern);
  ChannelGroups all(compression.programs); // has the weights that groups share
  if (!find(all) || !gather() || !order() || !timePlaces())
    return false;
  for (size_t index = 0; index < plans.size(); ++index)
    if (!remove(plans[index], index))
      return false;
  return finish();
}

} // namespace

bool pruneParts(const Compression &compression, const RecipeStep &step,
                const std::function<bool(const std::string &, const std::string &)> &covers, runtime::ThreadPool &pool,
                CompressionReport &report, RecipeStep &resolved, bool &isResolved, bool &isUsage, std::string &error) {
  if (step.parts.pattern == "layers")
    return pruneResidualLayers(compression, step, covers, report, isUsage, error);
  return Pruner{compression, step, covers, pool, report, resolved, isResolved, isUsage, error}.run();
}

} // namespace lathe
