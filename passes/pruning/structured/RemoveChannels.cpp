//===- RemoveChannels.cpp - A program without some of its channels --------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/pruning/structured/RemoveChannels.h"
#include "dialects/lathe/Attention.h"
#include "dialects/lathe/ValueNames.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"
#include <cmath>
#include <map>

using namespace mlir;

namespace lathe::pruning {
namespace {

/// The elements of an axis that stay.
std::vector<int64_t> keptOf(const std::vector<int> &units, const std::vector<bool> &removed) {
  std::vector<int64_t> kept;
  for (auto [index, unit] : llvm::enumerate(units))
    if (unit < 0 || !removed[unit])
      kept.push_back(static_cast<int64_t>(index));
  return kept;
}

struct Remover {
  const ChannelGroup &group;
  const std::vector<bool> &removed;
  const CutConstant &cut;
  struct Change {
    Tensor tensor;
    KeptElements kept;
  };
  llvm::MapVector<void *, Change> changes = llvm::MapVector<void *, Change>();

  const Change *find(Value value) const {
    auto it = changes.find(value.getAsOpaquePointer());
    return it == changes.end() ? nullptr : &it->second;
  }
  const std::vector<int64_t> *find(Value value, int64_t axis) const {
    const Change *change = find(value);
    return change && change->kept[axis] ? &*change->kept[axis] : nullptr;
  }

  bool run();
  void collect();
  bool cutConstants();
  bool changeNorm(Operation *norm);
  bool changeRmsNorm(RmsNormOp norm, int64_t before, int64_t after);
  void writeOutLayerNorm(LayerNormOp norm, int64_t before, int64_t after);
  void changeExtents(Operation *op);
  void changeBounds(SliceOp slice);
  void changeTypes();
};

void Remover::collect() {
  for (const GroupAxis &own : group.axes) {
    std::vector<int64_t> kept = keptOf(own.units, removed);
    if (kept.size() == own.units.size())
      continue;
    Change &change = changes[own.tensor.key()];
    change.tensor = own.tensor;
    change.kept.resize(tensorType(own.tensor.value).getRank());
    change.kept[own.axis] = std::move(kept);
  }
}

/// Whether an operation widens one of the values that stand for a weight to another one.
bool isWidening(Operation *op, ArrayRef<Value> values) {
  return isa<CastOp>(op) && llvm::is_contained(values, op->getResult(0));
}

bool Remover::cutConstants() {
  for (auto &[key, change] : changes) {
    if (change.tensor.use) {
      Value made = cut(change.tensor.use->get(), change.kept, 1);
      if (!made)
        return false;
      change.tensor.use->set(made);
    } else if (change.tensor.weight) {
      // What reads it now reads the part, which other groups may cut along other axes.
      std::vector<Value> &values = change.tensor.weight->values;
      std::vector<Value> parts;
      for (Value value : values) {
        bool isRead = llvm::any_of(value.getUsers(), [&](Operation *user) { return !isWidening(user, values); });
        if (!isRead)
          continue;
        Value made = cut(value, change.kept, 1);
        if (!made)
          return false;
        value.replaceUsesWithIf(made, [&](OpOperand &use) {
          return !isWidening(use.getOwner(), values) && use.getOwner() != made.getDefiningOp();
        });
        if (Operation *op = made.getDefiningOp(); isa<CastOp>(op))
          parts.push_back(op->getOperand(0));
        parts.push_back(made);
      }
      values = std::move(parts);
    }
  }
  return true;
}

/// Of n channels k stay, and the others are zero: mean(x^2) over n is k / n of that over k.
bool Remover::changeRmsNorm(RmsNormOp norm, int64_t before, int64_t after) {
  double share = static_cast<double>(before) / static_cast<double>(after);
  Value gain = cut(norm.getScale(), KeptElements(tensorType(norm.getScale()).getRank()), std::sqrt(share));
  if (!gain)
    return false;
  norm.getScaleMutable().assign(gain);
  norm.setEpsilonAttr(FloatAttr::get(norm.getEpsilonAttr().getType(), norm.getEpsilon().convertToDouble() * share));
  return true;
}

/// A mean and a variance over more channels than there are: those that went are zero, so that they take the mean away
/// from the one and add its square to the other.
void Remover::writeOutLayerNorm(LayerNormOp norm, int64_t before, int64_t after) {
  OpBuilder b(norm);
  Location loc = withoutValue(norm.getLoc());
  Value x = norm.getInput();
  auto rows = SmallVector<int64_t>(tensorType(x).getShape());
  auto last = static_cast<int64_t>(rows.size()) - 1;
  Type element = b.getF32Type();
  rows[last] = after;
  auto rowType = RankedTensorType::get(rows, element);
  rows[last] = 1;
  auto oneType = RankedTensorType::get(rows, element);
  auto number = [&](double value) -> Value {
    auto type = RankedTensorType::get({}, element);
    return b.create<ConstantOp>(loc, type, DenseElementsAttr::get(type, b.getFloatAttr(element, value).getValue()));
  };
  auto sum = [&](Reduction kind, Value of) -> Value {
    return b.create<ReduceOp>(loc, oneType, kind, of, ArrayRef<int64_t>{last}, /*keep_dims=*/true);
  };
  double share = 1.0 / static_cast<double>(before);
  Value mean = b.create<MulOp>(loc, oneType, sum(Reduction::sum, x), number(share));
  Value centered = b.create<SubOp>(loc, rowType, x, mean);
  Value squares = b.create<MulOp>(loc, oneType, sum(Reduction::sum_square, centered), number(share));
  Value square = b.create<MulOp>(loc, oneType, mean, mean);
  Value gone = b.create<MulOp>(loc, oneType, square, number(static_cast<double>(before - after) * share));
  Value variance = b.create<AddOp>(loc, oneType, squares, gone);
  Value safe = b.create<AddOp>(loc, oneType, variance, number(norm.getEpsilon().convertToDouble()));
  Value scale = b.create<ReciprocalOp>(loc, oneType, b.create<SqrtOp>(loc, oneType, safe).getResult());
  Value normed = b.create<MulOp>(loc, rowType, centered, scale);
  Value result = b.create<MulOp>(loc, rowType, normed, norm.getScale());
  if (norm.getBias())
    result = b.create<AddOp>(loc, rowType, result, norm.getBias());
  norm.getResult().replaceAllUsesWith(result);
  norm.erase();
}

bool Remover::changeNorm(Operation *norm) {
  int64_t last = tensorType(norm->getOperand(0)).getRank() - 1;
  const Change *change = find(norm->getOperand(0));
  if (!change || !change->kept[last])
    return true;
  int64_t after = extentOf(norm->getOperand(0), last);
  auto own = llvm::find_if(group.axes, [&](const GroupAxis &axis) {
    return axis.axis == last && axis.tensor.key() == norm->getOperand(0).getAsOpaquePointer();
  });
  auto before = static_cast<int64_t>(own->units.size());
  if (auto rms = dyn_cast<RmsNormOp>(norm))
    return changeRmsNorm(rms, before, after);
  writeOutLayerNorm(cast<LayerNormOp>(norm), before, after);
  return true;
}

/// Operands that say the extents of a result.
void Remover::changeExtents(Operation *op) {
  const Change *change = find(op->getResult(0));
  if (!change)
    return;
  OpBuilder b(op);
  auto set = [&](MutableOperandRange dims, bool leavesOnes) {
    for (auto [axis, kept] : llvm::enumerate(change->kept))
      if (kept && !(leavesOnes && constantOf(dims[axis].get()) == 1))
        dims[axis].set(b.create<arith::ConstantIndexOp>(op->getLoc(), static_cast<int64_t>(kept->size())));
  };
  if (auto reshape = dyn_cast<ReshapeOp>(op))
    set(reshape.getDimsMutable(), /*leavesOnes=*/false);
  else if (auto broadcast = dyn_cast<BroadcastOp>(op))
    set(broadcast.getDimsMutable(), /*leavesOnes=*/true);
  else if (auto cache = dyn_cast<CacheOp>(op))
    set(cache.getDimsMutable(), /*leavesOnes=*/false);
  else if (auto pad = dyn_cast<PadOp>(op))
    set(pad.getExtentsMutable(), /*leavesOnes=*/false);
}

void Remover::changeBounds(SliceOp slice) {
  for (auto [i, axis] : llvm::enumerate(slice.getAxes()))
    if (const std::vector<int64_t> *kept = find(slice.getInput(), axis)) {
      std::pair<int64_t, int64_t> range = *rangeOf(slice, i);
      OpBuilder b(slice);
      auto count = [&](int64_t below) -> Value {
        int64_t stay = llvm::lower_bound(*kept, below) - kept->begin();
        return b.create<arith::ConstantIndexOp>(slice.getLoc(), stay);
      };
      slice.getStartsMutable()[i].set(count(range.first));
      slice.getEndsMutable()[i].set(count(range.second));
    }
}

void Remover::changeTypes() {
  llvm::SetVector<Operation *> programs;
  for (auto &[key, change] : changes) {
    if (change.tensor.isConstant())
      continue;
    Value value = change.tensor.value;
    SmallVector<int64_t> shape(tensorType(value).getShape());
    for (auto [axis, kept] : llvm::enumerate(change.kept))
      if (kept)
        shape[axis] = static_cast<int64_t>(kept->size());
    value.setType(RankedTensorType::get(shape, tensorType(value).getElementType()));
    for (OpOperand &use : value.getUses())
      if (isa<func::ReturnOp>(use.getOwner()))
        programs.insert(use.getOwner()->getParentOp());
    if (Operation *op = value.getDefiningOp()) {
      op->setLoc(withoutValue(op->getLoc()));
      continue;
    }
    auto argument = cast<BlockArgument>(value);
    auto program = cast<func::FuncOp>(argument.getOwner()->getParentOp());
    programs.insert(program);
    // Dimensions as text, where the input has them.
    auto dims = dyn_cast_or_null<ArrayAttr>(program.getArgAttr(argument.getArgNumber(), LatheDialect::kDimsAttr));
    if (!dims)
      continue;
    SmallVector<Attribute> texts(dims.begin(), dims.end());
    for (auto [axis, kept] : llvm::enumerate(change.kept))
      if (kept && axis < texts.size())
        texts[axis] = StringAttr::get(value.getContext(), std::to_string(kept->size()));
    program.setArgAttr(argument.getArgNumber(), LatheDialect::kDimsAttr, ArrayAttr::get(value.getContext(), texts));
  }
  for (Operation *op : programs) {
    auto program = cast<func::FuncOp>(op);
    Block &body = program.getBody().front();
    program.setFunctionType(
        FunctionType::get(program.getContext(), body.getArgumentTypes(), body.getTerminator()->getOperandTypes()));
  }
}

bool Remover::run() {
  collect();
  llvm::SetVector<Operation *> ops;
  for (auto &[key, change] : changes) {
    if (change.tensor.isConstant())
      continue;
    if (Operation *op = change.tensor.value.getDefiningOp())
      ops.insert(op);
    ops.insert(change.tensor.value.user_begin(), change.tensor.value.user_end());
  }
  if (!cutConstants())
    return false;
  for (Operation *op : ops) {
    if (auto slice = dyn_cast<SliceOp>(op))
      changeBounds(slice);
    if (op->getNumResults() == 1)
      changeExtents(op);
  }
  changeTypes();
  return llvm::all_of(group.norms, [&](Operation *norm) { return changeNorm(norm); });
}

} // namespace

bool canRemove(const ChannelGroup &group, const std::vector<bool> &removed) {
  for (const GroupAxis &own : group.axes)
    if (!own.units.empty() && keptOf(own.units, removed).empty())
      return false;
  for (const auto &sets : group.balanced) {
    auto stay = [&](const std::vector<int> &set) {
      return llvm::count_if(set, [&](int unit) { return unit < 0 || !removed[unit]; });
    };
    if (llvm::any_of(sets, [&](const std::vector<int> &set) { return stay(set) != stay(sets.front()); }))
      return false;
  }
  for (auto [unit, isRemoved] : llvm::enumerate(removed))
    if (isRemoved && !group.locked[unit].empty())
      return false;
  return true;
}

bool removeUnits(const ChannelGroup &group, const std::vector<bool> &removed, const CutConstant &cut) {
  return Remover{group, removed, cut}.run();
}

} // namespace lathe::pruning
