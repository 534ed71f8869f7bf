//===- ResidualStreams.cpp - What norms read and layers add to ------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/ResidualStreams.h"
#include "passes/quantization/Layers.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/SmallPtrSet.h"

using namespace mlir;

namespace lathe::compression {
namespace {

/// Whether a value is rows of so many f32.
bool isRows(Value value, int64_t channels) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && type.getRank() >= 1 && type.getElementType().isF32() && type.getShape().back() == channels;
}

/// Whether a row has one number of it.
bool isShared(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  return type.getRank() == 0 || type.getShape().back() == 1;
}

int64_t lastAxis(Value value) { return cast<RankedTensorType>(value.getType()).getRank() - 1; }

/// The operands that rows of the result are linear in, row by row, one number of a row for each channel. None where
/// there is anything else.
SmallVector<OpOperand *> rowOperands(Operation *op, int64_t channels) {
  if (op->getNumResults() != 1 || !isRows(op->getResult(0), channels))
    return {};
  if (OpOperand *moved = movedRows(op, channels))
    return {moved};
  SmallVector<OpOperand *> operands;
  if (isa<AddOp, SubOp, NegOp>(op) ||
      (isa<ConcatOp>(op) && static_cast<int64_t>(cast<ConcatOp>(op).getAxis()) != lastAxis(op->getResult(0)))) {
    for (OpOperand &operand : op->getOpOperands())
      operands.push_back(&operand);
  } else if (isa<MulOp, DivOp>(op) && isShared(op->getOperand(1))) {
    operands.push_back(&op->getOpOperand(0));
  } else if (isa<MulOp>(op) && isShared(op->getOperand(0))) {
    operands.push_back(&op->getOpOperand(1));
  } else if (isa<SelectOp>(op) && isShared(op->getOperand(0))) {
    operands = {&op->getOpOperand(1), &op->getOpOperand(2)};
  }
  if (llvm::any_of(operands, [&](OpOperand *operand) { return !isRows(operand->get(), channels); }))
    return {};
  return operands;
}

/// The norm that an operation is, along the last axis.
Operation *asNorm(Operation *op) {
  if (auto norm = dyn_cast<RmsNormOp>(op))
    return static_cast<int64_t>(norm.getAxis()) == lastAxis(norm.getInput()) ? op : nullptr;
  if (auto norm = dyn_cast<LayerNormOp>(op))
    return static_cast<int64_t>(norm.getAxis()) == lastAxis(norm.getInput()) ? op : nullptr;
  return nullptr;
}

bool isMatrix(Value value) { return isConstantF32(value) && cast<RankedTensorType>(value.getType()).getRank() == 2; }

/// What asks for no numbers.
bool isOfShapes(Operation *op) { return isa<ShapeOfOp, DimOp>(op); }

std::string describe(Operation *op) {
  std::string node = nodeOf(op);
  return "'" + op->getName().stripDialect().str() + "'" + (node.empty() ? "" : " of node '" + node + "'");
}

/// Follows one stream both ways.
struct Walk {
  ResidualStream &stream;
  llvm::SetVector<Value> rows = {}; ///< of the stream; also the list of what is to be looked at
  llvm::SmallPtrSet<Operation *, 16> norms = {}, writers = {};
  llvm::SmallPtrSet<Operation *, 16> linear = {}; ///< whose operands are followed already

  /// What nothing could be done about, and what products at run time could.
  void refuse(const Twine &why) {
    if (stream.reason.empty())
      stream.reason = why.str();
  }
  std::string firstProduct = {}; ///< why there has to be one
  void needProduct(const Twine &why) {
    if (firstProduct.empty())
      firstProduct = why.str();
  }
  void add(Value value) { rows.insert(value); }
  void addOperand(OpOperand &operand) {
    if (isConstantF32(operand.get()))
      stream.constants.push_back(&operand);
    else
      add(operand.get());
  }
  void run(Value first) {
    add(first);
    for (size_t i = 0; i < rows.size(); ++i) {
      followBack(rows[i]);
      followUses(rows[i]);
    }
  }
  void finish();
  llvm::MapVector<Value, std::vector<OpOperand *>> entries = llvm::MapVector<Value, std::vector<OpOperand *>>();
  void followBack(Value value);
  void addEntry(Value value, const Twine &why);
  void addExit(OpOperand &use, Operation *norm, const Twine &why);
  void followUses(Value value);
  void followNorm(Operation *norm);
  bool addReader(OpOperand &use, Operation *norm);
};

void Walk::addEntry(Value value, const Twine &why) {
  entries[value];
  needProduct(why);
}

void Walk::addExit(OpOperand &use, Operation *norm, const Twine &why) {
  if (lastAxis(use.get()) < 1)
    return refuse(why);
  stream.exits.push_back({&use, norm});
  if (!isa<func::ReturnOp>(use.getOwner()) || !norm)
    needProduct(why);
}

void Walk::followBack(Value value) {
  Operation *op = value.getDefiningOp();
  if (!op)
    return addEntry(value, "it begins with an input of the program or of a loop");
  if (auto product = dyn_cast<MatmulOp>(op)) {
    if (!isMatrix(product.getRhs()))
      return addEntry(value, "the right side of " + describe(op) + " is no constant matrix, or is compressed already");
    if (writers.insert(op).second)
      stream.writers.push_back(product);
    return;
  }
  if (asNorm(op))
    return addEntry(value, "the result of " + describe(op) + " is part of it, whose gains no product can take");
  SmallVector<OpOperand *> operands = rowOperands(op, stream.channels);
  if (operands.empty())
    return addEntry(value, describe(op) + " writes it, which is not linear in rows");
  if (linear.insert(op).second)
    for (OpOperand *operand : operands)
      addOperand(*operand);
}

void Walk::followUses(Value value) {
  auto entry = entries.find(value);
  for (OpOperand &use : value.getUses()) {
    Operation *op = use.getOwner();
    if (isOfShapes(op))
      continue;
    if (asNorm(op) && use.getOperandNumber() == 0) {
      if (norms.insert(op).second)
        followNorm(op);
    } else if (llvm::is_contained(rowOperands(op, stream.channels), &use)) {
      add(op->getResult(0));
    } else if (!addReader(use, nullptr)) {
      if (entry == entries.end()) // else it reads what it did
        addExit(use, nullptr, describe(op) + " reads it, which is no norm and no product with a constant matrix");
      continue;
    }
    if (entry != entries.end())
      entry->second.push_back(&use);
  }
}

/// What has to be done at run time may be little of what a model does: a norm stands for about six products of channels
/// x channels.
void Walk::finish() {
  constexpr size_t kNormsForProduct = 4;
  llvm::DenseSet<Value> changed;
  for (const ResidualStream::Exit &exit : stream.exits)
    if (!isa<func::ReturnOp>(exit.use->getOwner()) || !exit.norm)
      changed.insert(exit.use->get());
  for (auto &[value, uses] : entries)
    if (lastAxis(value) < 1)
      refuse(firstProduct);
    else
      stream.entries.push_back({value, uses});
  if ((entries.size() + changed.size()) * kNormsForProduct > stream.norms.size())
    refuse(firstProduct);
  bool readsMean = llvm::any_of(stream.readers, [](const StreamReader &reader) { return !reader.norm; }) ||
                   llvm::any_of(stream.exits, [](const ResidualStream::Exit &exit) { return !exit.norm; });
  if (stream.losesMean && readsMean)
    refuse("it is read without a norm, with the mean that layer norms take away");
}

bool Walk::addReader(OpOperand &use, Operation *norm) {
  auto product = dyn_cast<MatmulOp>(use.getOwner());
  if (!product || use.getOperandNumber() != 0 || product.getTransposeLhs() || !isMatrix(product.getRhs()))
    return false;
  stream.readers.push_back({product, norm});
  return true;
}

void Walk::followNorm(Operation *norm) {
  stream.norms.push_back(norm);
  stream.losesMean |= isa<LayerNormOp>(norm);
  llvm::SetVector<Value> moved;
  moved.insert(norm->getResult(0));
  for (size_t i = 0; i < moved.size(); ++i)
    for (OpOperand &use : moved[i].getUses()) {
      Operation *op = use.getOwner();
      if (isOfShapes(op) || addReader(use, norm))
        continue;
      // A factor goes with gains alone.
      bool isLinear =
          isa<RmsNormOp>(norm) && isa<MulOp, DivOp>(op) && llvm::is_contained(rowOperands(op, stream.channels), &use);
      if (isLinear || movedRows(op, stream.channels) == &use)
        moved.insert(op->getResult(0));
      else
        addExit(use, norm, describe(op) + " reads the result of " + describe(norm) + ", whose gains it can't take");
    }
}

} // namespace

bool isConstantF32(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  Operation *op = value.getDefiningOp();
  if (!type || !type.getElementType().isF32() || !type.hasStaticShape() || type.getNumElements() == 0 || !op)
    return false;
  if (auto constant = dyn_cast<ConstantOp>(op))
    return isa<DenseElementsAttr>(constant.getValue());
  if (auto widened = dyn_cast<CastOp>(op)) {
    auto weight = widened.getInput().getDefiningOp<WeightOp>();
    Type stored = weight ? cast<RankedTensorType>(weight.getType()).getElementType() : Type();
    return stored && (stored.isF16() || stored.isBF16());
  }
  return isa<WeightOp>(op);
}

OpOperand *movedRows(Operation *op, int64_t channels) {
  if (!isa<ReshapeOp, TransposeOp, SliceOp, GatherOp, BroadcastOp>(op))
    return nullptr;
  OpOperand &input = op->getOpOperand(0);
  if (!isRows(input.get(), channels) || !isRows(op->getResult(0), channels))
    return nullptr;
  int64_t last = lastAxis(input.get());
  bool movesRows = true; // reshapes and broadcasts whose last extents are equal do
  if (auto transpose = dyn_cast<TransposeOp>(op))
    movesRows = transpose.getPermutation().back() == last;
  else if (auto slice = dyn_cast<SliceOp>(op))
    movesRows = !llvm::is_contained(slice.getAxes(), last);
  else if (auto gather = dyn_cast<GatherOp>(op))
    movesRows = static_cast<int64_t>(gather.getAxis()) != last;
  return movesRows ? &input : nullptr;
}

std::vector<ResidualStream> findResidualStreams(func::FuncOp program) {
  std::vector<ResidualStream> streams;
  llvm::SmallPtrSet<Operation *, 16> known;
  program.walk([&](Operation *op) {
    if (!asNorm(op) || known.contains(op))
      return;
    auto type = cast<RankedTensorType>(op->getOperand(0).getType());
    if (!type.getElementType().isF32() || type.isDynamicDim(type.getRank() - 1))
      return;
    ResidualStream stream;
    stream.channels = type.getShape().back();
    Walk walk{stream};
    if (isConstantF32(op->getOperand(0)))
      return;
    walk.run(op->getOperand(0));
    known.insert(stream.norms.begin(), stream.norms.end());
    walk.finish();
    streams.push_back(std::move(stream));
  });
  return streams;
}

} // namespace lathe::compression
