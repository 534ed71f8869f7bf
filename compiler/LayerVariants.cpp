//===- LayerVariants.cpp - Layers as alternatives leave them --------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/LayerVariants.h"
#include "compiler/CalibrationProgram.h"
#include "compiler/SparsifyStep.h"
#include "dialects/lathe/Lathe.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/BitVector.h"
#include "llvm/ADT/StringSet.h"
#include <cmath>
#include <numeric>

using namespace mlir;

namespace lathe {

using compression::Layer;
using compression::Place;

bool takesParts(ArrayRef<RecipeStep> alternative) {
  return !alternative.empty() && !alternative.front().parts.pattern.empty();
}

namespace {

/// At operations that read a layer: its index.
constexpr StringLiteral kReads = "lathe.reads_layer";

/// Bytes of dense weights that are computed at once.
constexpr uint64_t kMostAtOnce = uint64_t(256) << 20;

func::FuncOp mainOf(ModuleOp module) { return module.lookupSymbol<func::FuncOp>("main"); }

/// The operand of what reads a layer that is the layer.
unsigned layerOperand(Operation *op) { return isa<MatmulOp>(op) ? 1 : 0; }

std::optional<size_t> layerOf(Operation *op) {
  auto index = op->getAttrOfType<IntegerAttr>(kReads);
  return index ? std::optional<size_t>(index.getInt()) : std::nullopt;
}

/// What computes each layer, by the first operation that reads it; null where none does.
std::vector<Value> valuesOf(func::FuncOp program, size_t count) {
  std::vector<Value> values(count);
  program.walk([&](Operation *op) {
    if (std::optional<size_t> layer = layerOf(op); layer && !values[*layer])
      values[*layer] = op->getOperand(layerOperand(op));
  });
  return values;
}

/// Whether two programs compute the same, but for the layers.
class SameButLayers {
public:
  bool operator()(func::FuncOp a, func::FuncOp b) {
    push(a.getBody().front().getTerminator(), b.getBody().front().getTerminator());
    while (!work.empty() && isSame) {
      auto [x, y] = work.pop_back_val();
      compare(x, y);
    }
    return isSame;
  }

private:
  void push(Operation *x, Operation *y) {
    auto [it, isNew] = pairs.try_emplace(x, y);
    isSame &= it->second == y;
    if (isNew)
      work.push_back({x, y});
  }
  void compare(Operation *x, Operation *y) {
    isSame = x->getName() == y->getName() && x->getAttrDictionary() == y->getAttrDictionary() &&
             x->getNumOperands() == y->getNumOperands() && x->getResultTypes() == y->getResultTypes() &&
             x->getNumRegions() == y->getNumRegions();
    if (!isSame)
      return;
    std::optional<size_t> layer = layerOf(x);
    for (unsigned i = 0; i < x->getNumOperands() && isSame; ++i)
      if (!layer || i != layerOperand(x))
        compareValues(x->getOperand(i), y->getOperand(i));
    for (unsigned i = 0; i < x->getNumRegions() && isSame; ++i)
      compareRegions(x->getRegion(i), y->getRegion(i));
  }
  void compareValues(Value x, Value y) {
    auto a = dyn_cast<OpResult>(x), b = dyn_cast<OpResult>(y);
    if (a && b && a.getResultNumber() == b.getResultNumber())
      return push(a.getOwner(), b.getOwner());
    auto c = dyn_cast<BlockArgument>(x), d = dyn_cast<BlockArgument>(y);
    isSame = c && d && c.getArgNumber() == d.getArgNumber() && c.getType() == d.getType();
  }
  void compareRegions(Region &x, Region &y) {
    SmallVector<Operation *> xs, ys;
    x.walk([&](Operation *op) { xs.push_back(op); });
    y.walk([&](Operation *op) { ys.push_back(op); });
    isSame = xs.size() == ys.size();
    for (size_t i = 0; i < xs.size() && isSame; ++i)
      push(xs[i], ys[i]);
  }

  bool isSame = true;
  llvm::DenseMap<Operation *, Operation *> pairs; ///< looked up only
  SmallVector<std::pair<Operation *, Operation *>> work;
};

/// Erases what nothing reads.
void eraseDead(func::FuncOp program) {
  Block &block = program.getBody().front();
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
    if (isOpTriviallyDead(&op))
      op.erase();
}

/// Names of layers after a step, of which the report has the entries from `first` on.
void follow(const CompressionReport &report, size_t first, Names &names) {
  Names next;
  for (const std::string &name : names) {
    auto entries = llvm::drop_begin(report.layers, first);
    auto it = llvm::find_if(
        entries, [&](const CompressedLayer &entry) { return entry.weight == name && !entry.factors.empty(); });
    if (it == entries.end())
      next.push_back(name);
    else
      llvm::append_range(next, it->factors);
  }
  names = std::move(next);
}

/// Leaves names of what `sparsify` is for: no tables.
void keepSparse(ArrayRef<func::FuncOp> programs, std::vector<Names> &names) {
  std::vector<SparseCandidate> candidates = findSparseCandidates(programs);
  for (Names &each : names)
    llvm::erase_if(each, [&](const std::string &name) {
      return llvm::none_of(candidates, [&](const SparseCandidate &own) { return own.name == name; });
    });
  llvm::erase_if(names, [](const Names &each) { return each.empty(); });
}

/// Tells which layers lose parts together, and which ones none.
void findPlaces(const CompressionReport &report, const std::vector<Layer> &layers,
                std::vector<LayerVariant> &variants) {
  std::vector<std::string> reasons(layers.size(), "no part that could go belongs to it");
  for (const ShrunkPart &part : report.shrunk) {
    std::vector<size_t> place;
    for (auto [i, layer] : llvm::enumerate(layers))
      if (llvm::is_contained(part.weights, layer.name))
        place.push_back(i);
    if (part.removed.empty()) {
      for (size_t i : place)
        reasons[i] = part.reason.empty() ? reasons[i] : part.reason;
      continue;
    }
    std::string reason;
    if (!part.interface.empty())
      reason = "inputs and outputs of the model would change with it, such as '" + part.interface.front() + "'";
    for (size_t i : place)
      if (!variants[i].place.empty())
        reason = "it belongs to several places that would lose parts";
    for (size_t i : place) {
      LayerVariant &own = variants[i];
      own.reason = reason;
      own.place = place;
      own.format = std::to_string(part.removed.size()) + " of " + std::to_string(part.before) + " " + part.pattern +
                   " gone by " + part.method;
      own.noise = part.cost;
    }
  }
  for (auto [own, reason] : llvm::zip(variants, reasons))
    if (own.place.empty())
      own.reason = reason;
}

/// What of each layer is left in a program, where later steps have not compressed it.
void measurePlaces(func::FuncOp program, const std::vector<Layer> &layers, std::vector<LayerVariant> &variants) {
  std::map<std::string, size_t> indices;
  for (auto [i, layer] : llvm::enumerate(layers))
    indices[layer.name] = i;
  for (const Layer &left : compression::findLayers(program)) {
    auto it = indices.find(left.name);
    if (it == indices.end() || variants[it->second].place.empty())
      continue;
    LayerVariant &own = variants[it->second];
    own.inputs = left.inputs;
    own.outputs = left.outputs;
    own.bytes = left.elements() * (left.stored.getIntOrFloatBitWidth() / 8);
  }
}

/// What the steps of an alternative have told of a layer.
void describe(const CompressionReport &report, const Layer &layer, LayerVariant &variant) {
  double signalToNoise = variant.noise > 0 ? -10 * std::log10(variant.noise) : INFINITY;
  llvm::StringSet<> names;
  names.insert(layer.name);
  auto add = [&](const std::string &what, double snrDb) {
    if (!StringRef(variant.format).ends_with(what))
      variant.format += (variant.format.empty() ? "" : ", ") + what;
    signalToNoise = std::min(signalToNoise, snrDb);
  };
  for (const PrunedLayer &entry : report.pruned) {
    if (!names.contains(entry.weight))
      continue;
    if (entry.reason.empty())
      add(std::to_string(std::lround(100 * entry.sparsity)) + " % zeros " + entry.pattern + " by " + entry.method,
          entry.snrDb);
    else
      variant.reason = entry.reason;
  }
  bool isFirst = true;
  for (const CompressedLayer &entry : report.layers) {
    if (!names.contains(entry.weight))
      continue;
    names.insert(entry.factors.begin(), entry.factors.end());
    // A weight that several steps have changed, or whose factors a later step has, counts once.
    variant.bytes = entry.bytesAfter + (isFirst ? 0 : variant.bytes - entry.bytesBefore);
    isFirst = false;
    if (!entry.format.empty())
      add(entry.format + " by " + entry.method +
              (entry.activations == "none" || entry.activations.empty() ? "" : ", activations by " + entry.activations),
          entry.snrDb);
    else
      variant.reason = entry.reason;
  }
  for (const SparseLayer &entry : report.sparse)
    if (names.contains(entry.weight) && !entry.format.empty()) {
      variant.format += (variant.format.empty() ? "" : ", ") + ("stored as " + entry.format);
      variant.bytes += entry.bytesAfter - entry.bytesBefore;
    }
  if (!variant.format.empty())
    variant.reason.clear();
  else if (variant.reason.empty())
    variant.reason = "no step changes it";
  variant.noise = std::pow(10, -signalToNoise / 10);
}

} // namespace

bool carryOutAlternative(const Compression &compression, ArrayRef<RecipeStep> steps, std::vector<Names> names,
                         bool keepsExpressions, const CarryOut &carryOut, Recipe &recipe, CompressionReport &report,
                         bool &isUsage, std::string &error) {
  Compression own = compression;
  for (size_t i = 0; i < steps.size() && !names.empty(); ++i) {
    RecipeStep step = steps[i];
    if (step.step == "sparsify")
      keepSparse(own.programs, names);
    if (names.empty())
      break;
    step.exclude.clear();
    step.tensors.clear();
    for (const Names &each : names)
      for (const std::string &name : each)
        step.tensors.push_back(escapeGlob(name));
    own.keepsExpressions = keepsExpressions && i + 1 == steps.size();
    size_t first = report.layers.size();
    if (!carryOut(own, step, report, isUsage, error))
      return false;
    for (Names &each : names)
      follow(report, first, each);
    recipe.steps.push_back(std::move(step));
  }
  return true;
}

TrialProgram::TrialProgram(const Compression &compression, const std::vector<Layer> &layers, const CarryOut &carryOut,
                           bool isTimed)
    : compression(compression), layers(layers), carryOut(carryOut), base(calibratedModule(compression).clone()),
      isRead(layers.size()), isTimed(isTimed) {
  std::map<Place, size_t> indices;
  for (size_t i = 0; i < layers.size(); ++i)
    indices[layers[i].place] = i;
  Builder b(base->getContext());
  for (const Layer &own : compression::findLayers(mainOf(*base))) {
    auto it = indices.find(own.place);
    if (it == indices.end())
      continue;
    isRead[it->second] = true;
    for (MatmulOp product : own.products)
      product->setAttr(kReads, b.getI64IntegerAttr(static_cast<int64_t>(it->second)));
    for (GatherOp lookup : own.lookups)
      lookup->setAttr(kReads, b.getI64IntegerAttr(static_cast<int64_t>(it->second)));
  }
}

OwningOpRef<ModuleOp> TrialProgram::changed(const std::vector<std::vector<RecipeStep>> &alternatives,
                                            const std::vector<size_t> &choice, Manner manner, Recipe &recipe,
                                            CompressionReport &report, bool &isUsage, std::string &error) const {
  OwningOpRef<ModuleOp> module = base.get().clone();
  Compression own = compression;
  own.programs = {mainOf(*module)};
  own.main = own.calibrated = *module;
  own.timeAll = false;
  if (manner == Manner::as_meant)
    own.statistics = nullptr;
  // Parts go from dense weights.
  std::vector<size_t> order(alternatives.size());
  std::iota(order.begin(), order.end(), 0);
  llvm::sort(order, [&](size_t a, size_t b) {
    return std::pair(!takesParts(alternatives[a]), a) < std::pair(!takesParts(alternatives[b]), b);
  });
  for (size_t alternative : order) {
    std::vector<Names> names;
    for (size_t i = 0; i < layers.size(); ++i)
      if (choice[i] == alternative + 1)
        names.push_back({layers[i].name});
    std::vector<RecipeStep> steps = alternatives[alternative];
    for (RecipeStep &step : steps)
      if (manner != Manner::all || isTimed)
        step.prefer = "size"; // what is slower is no choice
    if (!carryOutAlternative(own, steps, std::move(names), manner == Manner::all, carryOut, recipe, report, isUsage,
                             error))
      return nullptr;
  }
  return module;
}

bool TrialProgram::tryAlternative(const std::vector<RecipeStep> &steps, std::vector<LayerVariant> &variants,
                                  bool &isUsage, std::string &error) const {
  variants.assign(layers.size(), {});
  std::vector<size_t> all(isRead.begin(), isRead.end());
  CompressionReport report;
  Recipe recipe;
  OwningOpRef<ModuleOp> module = changed({steps}, all, Manner::all, recipe, report, isUsage, error);
  if (!module)
    return false;
  bool isParts = takesParts(steps);
  if (isParts) {
    findPlaces(report, layers, variants);
    // Without the steps behind it.
    CompressionReport none;
    OwningOpRef<ModuleOp> cut = changed({{steps.front()}}, all, Manner::all, recipe, none, isUsage, error);
    if (!cut)
      return false;
    measurePlaces(mainOf(*cut), layers, variants);
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    if (!isParts)
      variants[i].bytes = layers[i].elements() * (layers[i].stored.getIntOrFloatBitWidth() / 8);
    if (!isRead[i])
      variants[i].reason = "what runs on the calibration data does not read it";
    else if (variants[i].reason.empty())
      describe(report, layers[i], variants[i]);
  }
  // All of a place, or none of it.
  for (const LayerVariant &own : variants)
    for (size_t other : own.place)
      if (!own.reason.empty() && variants[other].reason.empty())
        variants[other].reason = own.reason;
  if (isParts)
    return true; // each place is tried by itself
  if (!SameButLayers()(mainOf(*base), mainOf(*module)))
    return true; // whoever asks tries them one by one
  return evaluate(*module, variants, error);
}

bool TrialProgram::evaluate(ModuleOp module, std::vector<LayerVariant> &variants, std::string &error) const {
  std::vector<Value> dense = valuesOf(mainOf(*base), layers.size());
  for (size_t begin = 0; begin < layers.size();) {
    OwningOpRef<ModuleOp> part = module.clone();
    func::FuncOp program = mainOf(*part);
    std::vector<Value> values = valuesOf(program, layers.size());
    SmallVector<Value> taps;
    std::vector<size_t> indices;
    size_t end = begin;
    for (uint64_t bytes = 0; end < layers.size() && (bytes == 0 || bytes < kMostAtOnce); ++end) {
      if (!values[end] || !variants[end].reason.empty() || values[end].getType() != dense[end].getType())
        continue;
      taps.push_back(values[end]);
      indices.push_back(end);
      bytes += layers[end].elements() * sizeof(float);
    }
    begin = end;
    if (taps.empty())
      continue;
    returnOnly(program, taps);
    eraseDead(program);
    llvm::BitVector arguments(program.getNumArguments(), true);
    if (llvm::any_of(program.getArguments(), [](BlockArgument argument) { return !argument.use_empty(); }))
      return true; // the values are no constants
    program.eraseArguments(arguments);
    TemporaryArtifact file;
    if (!compileTemporary(compression, *part, file, error))
      return false;
    std::string problem;
    error = compression.data->evaluate(file.path(), [&](const std::vector<Observed> &outputs) {
      for (auto [index, output] : llvm::zip(indices, outputs)) {
        std::optional<uint64_t> offset =
            compression.files->append(output.data, layers[index].elements() * sizeof(float), problem);
        if (!offset)
          return false;
        variants[index].values = *offset;
        variants[index].isWeight = true;
      }
      return true;
    });
    if (error.empty())
      error = problem;
    if (!error.empty())
      return false;
  }
  return true;
}

void TrialProgram::keepOutputs(ModuleOp module) {
  func::FuncOp program = mainOf(module);
  Operation *terminator = program.getBody().front().getTerminator();
  OpBuilder b(terminator);
  SmallVector<Value> outputs;
  for (Value output : terminator->getOperands()) {
    auto type = cast<RankedTensorType>(output.getType());
    if (!isa<FloatType>(type.getElementType()))
      continue;
    if (!type.getElementType().isF32())
      output = b.create<CastOp>(output.getLoc(), type.clone(b.getF32Type()), output);
    outputs.push_back(output);
  }
  returnOnly(program, outputs);
}

OwningOpRef<ModuleOp> TrialProgram::withInputs() const {
  OwningOpRef<ModuleOp> module = base.get().clone();
  keepOutputs(*module);
  func::FuncOp program = mainOf(*module);
  Builder b(module->getContext());
  std::vector<Value> values = valuesOf(program, layers.size());
  std::vector<BlockArgument> arguments(layers.size());
  program.walk([&](Operation *op) {
    std::optional<size_t> layer = layerOf(op);
    if (!layer)
      return;
    BlockArgument &argument = arguments[*layer];
    if (!argument) {
      unsigned index = program.getNumArguments();
      auto name = b.getDictionaryAttr(
          b.getNamedAttr(LatheDialect::kNameAttr, b.getStringAttr("weight." + std::to_string(*layer))));
      program.insertArgument(index, values[*layer].getType(), name, op->getLoc());
      argument = program.getArgument(index);
    }
    op->setOperand(layerOperand(op), argument);
  });
  eraseDead(program);
  return module;
}

} // namespace lathe
