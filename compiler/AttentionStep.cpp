//===- AttentionStep.cpp - A recipe's step of attentions of integers ------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/AttentionStep.h"
#include "compiler/LayerTimes.h"
#include "compiler/ProductRows.h"
#include "compiler/TemporaryArtifact.h"
#include "dialects/lathe/Attention.h"
#include <set>

using namespace mlir;

namespace lathe {
namespace {

/// An attention of the model, in all programs that have it.
struct Attention {
  std::string node;               ///< that it is told by
  std::vector<std::string> names; ///< of all nodes that became it
  std::vector<AttentionOp> ops;

  bool isCovered(ArrayRef<std::string> patterns) const {
    return llvm::any_of(patterns, [&](const std::string &pattern) {
      return llvm::any_of(names, [&](const std::string &name) { return matchesGlob(pattern, name); });
    });
  }
};

std::vector<std::string> namesOf(Operation *op) {
  std::vector<std::string> names;
  op->getLoc()->walk([&](Location location) {
    if (auto name = dyn_cast<NameLoc>(location);
        name && !name.getName().empty() && !llvm::is_contained(names, name.getName().str()))
      names.push_back(name.getName().str());
    return WalkResult::advance();
  });
  return names;
}

/// Attentions in the order of the first program that has them. Those of equal names, in one program or several, are
/// one.
std::vector<Attention> findAttentions(ArrayRef<func::FuncOp> programs) {
  std::vector<Attention> all;
  for (func::FuncOp program : programs)
    program.walk([&](AttentionOp op) {
      std::string node = compression::nodeOf(op);
      auto it = llvm::find_if(all, [&](const Attention &own) { return own.node == node; });
      if (it == all.end())
        it = all.insert(all.end(), {node, namesOf(op), {}});
      it->ops.push_back(op);
    });
  return all;
}

/// Extents that a kernel's time depends on, such as where an attention is timed.
struct TimedAttention {
  SmallVector<RankedTensorType> operands; ///< query, key, value and biases
  RankedTensorType result;
  double scale = 1, softcap = 0;
  bool operator==(const TimedAttention &other) const {
    return operands == other.operands && (softcap > 0) == (other.softcap > 0);
  }
  /// [.., rows, columns] of an operand.
  int64_t rows(size_t operand) const { return operands[operand].getDimSize(operands[operand].getRank() - 2); }
  int64_t heads(size_t operand) const { return operands[operand].getDimSize(operands[operand].getRank() - 3); }
  int64_t columns(size_t operand) const { return operands[operand].getShape().back(); }
};

/// What attentions are of where the model leaves it open: a query of one token is not what integers are for.
constexpr int64_t kFewestRows = 128;

/// Extents of one sequence: batches, the first of several dimensions of inputs, are of one, and all else that inputs
/// bring is `open`.
class OneSequence {
public:
  OneSequence(ArrayRef<func::FuncOp> programs, int64_t open) : batches(batchSymbols(programs, shapes)), open(open) {}

  RankedTensorType typeOf(Value tensor) {
    auto type = cast<RankedTensorType>(tensor.getType());
    SmallVector<int64_t> dims(type.getShape());
    FailureOr<SymShape> shape = shapes.shapeOf(tensor);
    for (auto [axis, extent] : llvm::enumerate(dims)) {
      if (!ShapedType::isDynamic(extent))
        continue;
      std::optional<int64_t> value;
      if (succeeded(shape))
        value = evaluate((*shape)[axis], [&](StringRef name) { return batches.count(name.str()) ? 1 : open; });
      extent = value && *value > 0 ? *value : open;
    }
    return type.clone(dims);
  }

private:
  ShapeContext shapes;
  std::set<std::string> batches;
  int64_t open;
};

TimedAttention timedAs(AttentionOp op, OneSequence &sequence) {
  TimedAttention timed;
  auto typeOf = [&](Value tensor) { return sequence.typeOf(tensor); };
  for (Value tensor : {op.getQuery(), op.getKey(), op.getValue()})
    timed.operands.push_back(typeOf(tensor));
  for (Value tensor : op.getBiases())
    timed.operands.push_back(typeOf(tensor));
  timed.result = typeOf(op.getResult());
  timed.scale = op.getScale().convertToDouble();
  timed.softcap = op.getSoftcap() ? op.getSoftcap()->convertToDouble() : 0;
  return timed;
}

/// Why an attention stays one of floats whatever its time is; empty where that is not said.
std::string whyFloats(const Compression &compression, AttentionOp op) {
  constexpr size_t kMostBiases = 2;
  Type element = cast<RankedTensorType>(op.getType()).getElementType();
  if (!StringRef(compression.target).starts_with("cpu"))
    return "the target '" + compression.target + "' has no attention of integers";
  if (!element.isF32()) {
    std::string name;
    llvm::raw_string_ostream(name) << element;
    return "attention of integers is of f32, and this one of " + name;
  }
  if (op.getBiases().size() > kMostBiases)
    return "attention of integers has at most " + std::to_string(kMostBiases) + " biases, and this one " +
           std::to_string(op.getBiases().size());
  return "";
}

std::string nodeOf(size_t index) { return "attention " + std::to_string(index); }

/// A program of attentions alone, whose operands are its arguments.
OwningOpRef<ModuleOp> programOf(ModuleOp model, ArrayRef<TimedAttention> attentions, bool ofIntegers) {
  OpBuilder b(model.getContext());
  Location unknown = b.getUnknownLoc();
  OwningOpRef<ModuleOp> module = ModuleOp::create(unknown);
  SmallVector<Type> inputs, outputs;
  for (const TimedAttention &timed : attentions) {
    inputs.append(timed.operands.begin(), timed.operands.end());
    outputs.push_back(timed.result);
  }
  b.setInsertionPointToStart(module->getBody());
  auto main = b.create<func::FuncOp>(unknown, "main", b.getFunctionType(inputs, outputs));
  b.setInsertionPointToStart(main.addEntryBlock());
  for (BlockArgument argument : main.getArguments()) {
    auto name = b.getStringAttr("x" + std::to_string(argument.getArgNumber()));
    main.setArgAttr(argument.getArgNumber(), LatheDialect::kNameAttr, name);
    argument.setLoc(NameLoc::get(name));
  }
  SmallVector<Value> results;
  size_t argument = 0;
  for (auto [index, timed] : llvm::enumerate(attentions)) {
    auto operands = main.getArguments().slice(argument, timed.operands.size());
    argument += timed.operands.size();
    auto op =
        b.create<AttentionOp>(NameLoc::get(b.getStringAttr(nodeOf(index))), timed.result, operands[0], operands[1],
                              operands[2], ValueRange(operands.drop_front(3)), b.getF64FloatAttr(timed.scale),
                              timed.softcap > 0 ? b.getF64FloatAttr(timed.softcap) : FloatAttr(), Value(), UnitAttr(),
                              UnitAttr(), IntegerAttr(), ofIntegers ? TypeAttr::get(b.getI8Type()) : TypeAttr());
    results.push_back(op);
    main.setResultAttr(index, LatheDialect::kNameAttr, b.getStringAttr("y" + std::to_string(index)));
  }
  b.create<func::ReturnOp>(unknown, results);
  return module;
}

/// Times attentions of floats and of integers, side by side: `times[attention][way]`.
bool timeAttentions(const Compression &compression, ArrayRef<TimedAttention> attentions,
                    std::vector<std::vector<TimedWay>> &times, std::string &error) {
  if (compression.progress)
    compression.progress("timing attention");
  times.assign(attentions.size(), {});
  TemporaryArtifact files[2];
  const std::string names[2] = {compression.floats, "int8"};
  std::vector<std::string> paths;
  for (auto [way, file] : llvm::enumerate(files)) {
    OwningOpRef<ModuleOp> program = programOf(compression.main, attentions, way == 1);
    auto write = [&](const std::string &path, std::string &problem) {
      return compression.compileTimed(*program, path, problem);
    };
    if (!file.make(write, error))
      return false;
    paths.push_back(file.path());
  }
  std::vector<std::map<std::string, NodeTime>> measured;
  error = compression.stopwatch->time(paths, /*isWarm=*/true, measured);
  if (!error.empty()) {
    error = "timing attention: " + error;
    return false;
  }
  for (size_t index = 0; index < attentions.size(); ++index)
    for (auto [name, nodes] : llvm::zip(names, measured)) {
      const NodeTime &time = nodes[nodeOf(index)];
      times[index].push_back({name, time.kernel, time.microseconds});
    }
  return true;
}

} // namespace

/// What is wrong with a step of attentions for these programs; empty where nothing is.
static std::string check(const RecipeStep &step, ArrayRef<func::FuncOp> programs) {
  std::vector<Attention> all = findAttentions(programs);
  if (all.empty())
    return "mode 'attention': no part of the model was recognised as attention ('lathe explain --fusions' says why "
           "not)";
  for (const std::string &pattern : step.tensors)
    if (llvm::none_of(all, [&](const Attention &own) { return own.isCovered(pattern); }))
      return "field 'tensors': no attention has a node with a name like '" + pattern + "'; the first one is '" +
             all.front().node + "'";
  return "";
}

bool isAttentionStep(const RecipeStep &step) { return step.step == "quantize" && step.mode == "attention"; }

/// What the report says of an attention before anything is decided.
static CompressedLayer describe(const Compression &compression, Attention &attention, const TimedAttention &timed) {
  CompressedLayer entry;
  entry.weight = entry.node = attention.node;
  entry.kind = "attention";
  entry.method = "rtn";
  entry.activations = "token";
  entry.inputs = timed.columns(0);
  entry.outputs = timed.rows(1);
  entry.rows = timed.rows(0);
  entry.reason = whyFloats(compression, attention.ops.front());
  return entry;
}

/// Gives the attentions that the step covers an arithmetic of i8, in all programs, unless they can't have it or are not
/// faster by it here. False with the run's error set.
static bool roundAttentions(StepRun &run) {
  const Compression &compression = run.compression;
  bool prefersTime = prefersSpeed(*compression.recipe, run.step, compression.isPortable);
  std::vector<Attention> all = findAttentions(compression.programs);
  llvm::erase_if(all, [&](const Attention &own) {
    return !own.isCovered(run.step.tensors) || own.isCovered(run.step.exclude) || !run.mayChange(own.node);
  });
  OneSequence sequence(compression.programs, compression.rows > 1 ? compression.rows : kFewestRows);
  std::vector<TimedAttention> classes;
  std::vector<size_t> classOf;
  std::vector<CompressedLayer> entries;
  for (Attention &own : all) {
    TimedAttention timed = timedAs(own.ops.front(), sequence);
    entries.push_back(describe(compression, own, timed));
    size_t index = llvm::find(classes, timed) - classes.begin();
    classOf.push_back(index);
    if (entries.back().reason.empty() && index == classes.size())
      classes.push_back(std::move(timed));
  }
  std::vector<std::vector<TimedWay>> times;
  if (!classes.empty() && (prefersTime || compression.timeAll)) {
    run.report.whyNotTimed = whyNotTimed(compression);
    if (run.report.whyNotTimed.empty() && !timeAttentions(compression, classes, times, run.error))
      return false;
  }
  for (auto [own, entry, index] : llvm::zip(all, entries, classOf)) {
    if (entry.reason.empty() && !times.empty()) {
      entry.ways = times[index];
      if (prefersTime && !isSlower(entry.ways.front(), entry.ways.back()))
        entry.reason = "attention of integers " + whyNotTaken(entry.ways.back(), entry.ways.front());
    }
    if (!entry.reason.empty()) {
      run.resolved.exclude.push_back(escapeGlob(own.node));
      continue;
    }
    entry.format = "int8";
    entry.way = entry.ways.empty() ? 0 : 1;
    for (AttentionOp op : own.ops)
      op.setArithmeticAttr(TypeAttr::get(IntegerType::get(op.getContext(), 8)));
  }
  llvm::append_range(run.report.layers, entries);
  if (prefersTime && !times.empty()) {
    run.resolved.prefer = "size";
    run.isResolved = true;
  }
  return true;
}

recipe::StepKind recipe::attentionsKind() {
  using S = RecipeStep;
  StepKind kind{"quantize",
                {
                    choice("mode", at(&S::mode), {"attention"}),
                    integer("bits", at(&S::bits), {8}),
                    choice("prefer", at(&S::prefer), {"auto", "speed", "size"}),
                    globs("tensors", at(&S::tensors)),
                    globs("exclude", at(&S::exclude)),
                },
                nullptr,
                "attention"};
  kind.carryOut = roundAttentions;
  kind.check = [](StepRun &run, llvm::ArrayRef<RecipeStep>) {
    std::string problem = check(run.step, run.compression.programs);
    return problem.empty() || run.wrongRecipe(problem);
  };
  kind.whyNoAlternative = [](const RecipeStep &) { return "mode 'attention' is not of layers"; };
  kind.isForSpeed = [](const RecipeStep &) { return true; };
  kind.keepsSize = true;
  return kind;
}

} // namespace lathe
