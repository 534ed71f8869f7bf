//===- ResidualBlocks.cpp - What layers add to a stream -------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/pruning/structured/ResidualBlocks.h"
#include "dialects/lathe/Attention.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "passes/quantization/ResidualStreams.h"
#include "llvm/ADT/BitVector.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;

namespace lathe::pruning {
namespace {

using compression::nodeOf;
using compression::Place;

bool isNorm(Operation *op) { return isa_and_nonnull<LayerNormOp, RmsNormOp>(op); }

bool isShape(Operation *op) { return isa<ShapeOfOp, DimOp>(op); }

/// The only operation that reads a value, but for its shape; null for several.
Operation *onlyReader(Value value) {
  Operation *reader = nullptr;
  for (Operation *user : value.getUsers()) {
    if (isShape(user))
      continue;
    if (reader)
      return nullptr;
    reader = user;
  }
  return reader;
}

std::string outputName(func::FuncOp program, unsigned number) {
  auto name = program.getResultAttrOfType<StringAttr>(number, LatheDialect::kNameAttr);
  return name ? name.str() : std::to_string(number);
}

/// Where rows come from that were only moved, such as those of the last token that were picked.
Value movedFrom(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    OpOperand *moved = compression::movedRows(op, cast<RankedTensorType>(value.getType()).getShape().back());
    if (!moved)
      break;
    value = moved->get();
  }
  return value;
}

/// Finds the blocks of one program.
struct BlockFinder {
  func::FuncOp program;
  llvm::DenseMap<Value, Value> before = llvm::DenseMap<Value, Value>(); ///< the input of the block that has an output

  /// Whether `stream`, or what it was before blocks that are known, is part of what a branch is computed of; collects
  /// the branch up to there.
  bool collect(Value branch, Value stream, llvm::SetVector<Value> &values) {
    llvm::DenseSet<Value> streams;
    for (Value value = stream; value && streams.insert(value).second;) {
      value = movedFrom(value);
      streams.insert(value);
      value = before.lookup(value);
    }
    bool isFound = false;
    values.insert(branch);
    for (size_t i = 0; i < values.size(); ++i) {
      Operation *op = values[i].getDefiningOp();
      if (!op)
        continue;
      for (Value operand : op->getOperands()) {
        if (streams.contains(operand))
          isFound = true;
        else
          values.insert(operand);
      }
    }
    return isFound;
  }

  void describe(ResidualBlock &block, const llvm::DenseSet<Value> &own, const llvm::SetVector<Value> &values);
  std::optional<ResidualBlock> match(AddOp add);
};

/// What of a branch nothing else reads, but the program's results.
llvm::DenseSet<Value> exclusive(Value branch, const llvm::SetVector<Value> &values) {
  llvm::DenseSet<Value> own;
  own.insert(branch);
  for (bool changed = true; changed;) {
    changed = false;
    for (Value value : values) {
      if (!value.getDefiningOp() || own.contains(value))
        continue;
      bool isOwn = llvm::all_of(value.getUsers(), [&](Operation *user) {
        return isa<func::ReturnOp>(user) || (user->getNumResults() == 1 && own.contains(user->getResult(0)));
      });
      if (isOwn)
        changed |= own.insert(value).second;
    }
  }
  return own;
}

void BlockFinder::describe(ResidualBlock &block, const llvm::DenseSet<Value> &own,
                           const llvm::SetVector<Value> &values) {
  for (Value value : values) {
    Operation *op = value.getDefiningOp();
    if (!op || !own.contains(value))
      continue;
    block.hasAttention |= isa<AttentionOp, SoftmaxOp>(op);
    if (auto product = dyn_cast<MatmulOp>(op)) {
      Operation *stored = product.getRhs().getDefiningOp();
      if (auto widened = dyn_cast_or_null<CastOp>(stored))
        stored = widened.getInput().getDefiningOp();
      if (auto weight = dyn_cast_or_null<WeightOp>(stored))
        if (block.weights.insert(Place(weight.getFile().str(), weight.getOffset())).second)
          block.names.push_back(weight.getName().str());
    }
  }
}

std::optional<ResidualBlock> BlockFinder::match(AddOp add) {
  if (add.getType().getRank() == 0 || add.getLhs().getType() != add.getType() ||
      add.getRhs().getType() != add.getType())
    return std::nullopt;
  for (unsigned side : {0u, 1u}) {
    Value branch = add->getOperand(side), stream = add->getOperand(1 - side);
    llvm::SetVector<Value> values;
    if (onlyReader(branch) != add || isNorm(branch.getDefiningOp()) || !collect(branch, stream, values))
      continue;
    ResidualBlock block;
    block.input = stream;
    block.output = add.getResult();
    block.node = nodeOf(add);
    // The norm behind the sum belongs to it where the stream is of norms' results.
    if (Operation *norm = onlyReader(block.output); isNorm(norm) && isNorm(movedFrom(stream).getDefiningOp()))
      block.output = norm->getResult(0);
    llvm::DenseSet<Value> own = exclusive(branch, values);
    describe(block, own, values);
    if (block.weights.empty())
      continue;
    for (OpOperand &use : program.getBody().front().getTerminator()->getOpOperands()) {
      if (!own.contains(use.get()))
        continue;
      bool isCache = llvm::any_of(use.get().getDefiningOp()->getOperands(),
                                  [](Value operand) { return isa<BlockArgument>(operand); });
      if (!isCache && block.reason.empty())
        block.reason =
            "output '" + outputName(program, use.getOperandNumber()) + "' is computed in it, and is no cache";
      block.outputs.push_back(use.getOperandNumber());
    }
    return block;
  }
  return std::nullopt;
}

} // namespace

std::set<Place> ResidualLayer::weights() const {
  std::set<Place> all;
  for (const ResidualBlock &block : blocks)
    all.insert(block.weights.begin(), block.weights.end());
  return all;
}

std::string ResidualLayer::reason() const {
  for (const ResidualBlock &block : blocks)
    if (!block.reason.empty())
      return block.reason;
  return "";
}

std::vector<ResidualLayer> findResidualLayers(func::FuncOp program) {
  BlockFinder finder{program};
  std::vector<ResidualLayer> layers;
  std::vector<std::vector<ResidualBlock>> open; // layers that no block without attention has ended
  program.walk([&](AddOp add) {
    std::optional<ResidualBlock> block = finder.match(add);
    if (!block)
      return;
    finder.before[block->output] = block->input;
    auto behind = llvm::find_if(open, [&](const std::vector<ResidualBlock> &blocks) {
      return blocks.back().output == movedFrom(block->input);
    });
    bool ends = !block->hasAttention;
    if (behind == open.end()) {
      open.emplace_back();
      behind = std::prev(open.end());
    }
    behind->push_back(std::move(*block));
    if (ends) {
      layers.push_back({std::move(*behind)});
      open.erase(behind);
    }
  });
  for (std::vector<ResidualBlock> &blocks : open)
    layers.push_back({std::move(blocks)});
  return layers;
}

void eraseDead(func::FuncOp program) {
  SmallVector<Operation *> ops;
  program.walk<WalkOrder::PostOrder>([&](Operation *op) { ops.push_back(op); });
  for (Operation *op : llvm::reverse(ops))
    if (isOpTriviallyDead(op))
      op->erase();
}

void dropLayers(func::FuncOp program, ArrayRef<const ResidualLayer *> layers, std::vector<std::string> &interface) {
  Operation *terminator = program.getBody().front().getTerminator();
  llvm::BitVector goneResults(terminator->getNumOperands()), goneArguments(program.getNumArguments());
  for (const ResidualLayer *layer : layers)
    for (const ResidualBlock &block : layer->blocks)
      for (unsigned output : block.outputs) {
        goneResults.set(output);
        for (Value operand : terminator->getOperand(output).getDefiningOp()->getOperands())
          if (auto argument = dyn_cast<BlockArgument>(operand))
            goneArguments.set(argument.getArgNumber());
      }
  // Later ones first: the input of one is the output of the one before.
  for (const ResidualLayer *layer : llvm::reverse(layers))
    for (const ResidualBlock &block : llvm::reverse(layer->blocks)) {
      Value output = block.output;
      output.replaceAllUsesWith(block.input);
    }
  for (unsigned i : goneResults.set_bits())
    interface.push_back(outputName(program, i));
  terminator->eraseOperands(goneResults);
  program.eraseResults(goneResults);
  eraseDead(program);
  for (unsigned i : goneArguments.set_bits()) {
    if (!program.getArgument(i).use_empty()) {
      goneArguments.reset(i); // its shape is read elsewhere
      continue;
    }
    auto name = program.getArgAttrOfType<StringAttr>(i, LatheDialect::kNameAttr);
    interface.push_back(name ? name.str() : std::to_string(i));
  }
  program.eraseArguments(goneArguments);
}

} // namespace lathe::pruning
