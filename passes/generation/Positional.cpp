//===- Positional.cpp - Values that depend on positions alone -------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/generation/Positional.h"
#include "passes/generation/Passes.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

namespace lathe::generation {
namespace {

bool isRow(Extent extent) { return extent == Extent::rows || extent == Extent::last; }

bool hasRows(const Extents &extents) { return llvm::any_of(extents, isRow); }

Type elementOf(Value value) { return cast<RankedTensorType>(value.getType()).getElementType(); }

int64_t rankOf(Value value) { return cast<RankedTensorType>(value.getType()).getRank(); }

} // namespace

std::optional<Positional::Made> Positional::refuse(Operation *op, const Twine &reason) {
  if (why.empty()) {
    why = reason.str();
    at = op;
  }
  return std::nullopt;
}

std::optional<SymExpr> Positional::dimension(const SymExpr &dim, Extent extent, bool keepsBatch) {
  llvm::StringMap<SymExpr> symbols;
  if (!keepsBatch)
    symbols[frame.batch] = SymExpr(1);
  if (extent == Extent::last)
    symbols[frame.sequence] = frame.count;
  else if (extent == Extent::all)
    symbols[frame.sequence] = SymExpr::symbol(kTotalSymbol);
  return substitute(dim, symbols, after);
}

std::optional<Extents> Positional::uniform(Value value, Extent kind) {
  FailureOr<SymShape> shape = before.shapeOf(value);
  if (failed(shape))
    return std::nullopt;
  Extents result;
  for (const SymExpr &dim : *shape) {
    SmallVector<std::string> names;
    dim.collectSymbols(names);
    result.push_back(llvm::is_contained(names, frame.sequence) ? kind : Extent::none);
  }
  return result;
}

Value Positional::shaped(Location loc, Value value, ArrayRef<SymExpr> dims) {
  SmallVector<Value> sizes;
  for (const SymExpr &dim : dims)
    sizes.push_back(host(loc, dim));
  return create<ReshapeOp>(loc, elementOf(value), value, sizes, /*zero_copies=*/false);
}

Value Positional::align(const Made &made, size_t rank, size_t axis) {
  if (!made.batched)
    return made.value;
  SymShape dims = *after.shapeOf(made.value);
  SymShape own(rank - (dims.size() - 1), SymExpr(1));
  own.append(dims.begin() + 1, dims.end());
  for (size_t i = 0; i <= axis; ++i)
    if (!own[i].isConstant(1))
      return {};
  own[axis] = dims[0];
  return shaped(made.value.getLoc(), made.value, own);
}

Value Positional::padded(Location loc, const Made &made, size_t rank) {
  SymShape dims = *after.shapeOf(made.value);
  if (!made.batched || dims.size() == rank + 1)
    return made.value;
  SymShape own{dims[0]};
  own.append(rank + 1 - dims.size(), SymExpr(1));
  own.append(dims.begin() + 1, dims.end());
  return shaped(loc, made.value, own);
}

Value Positional::rebuild(Operation *op, ArrayRef<Value> operands, Extent kind, bool keepsBatch) {
  Operation *copy = rebuildAll(op, operands, kind, keepsBatch);
  return copy ? copy->getResult(0) : Value();
}

Operation *Positional::rebuildAll(Operation *op, ArrayRef<Value> operands, Extent kind, bool keepsBatch) {
  SmallVector<Value> mapped;
  for (auto [old, value] : llvm::zip_equal(op->getOperands(), operands)) {
    if (value) {
      mapped.push_back(value);
      continue;
    }
    std::optional<SymExpr> index =
        old.getType().isIndex() ? dimension(before.indexValue(old), kind, keepsBatch) : std::nullopt;
    if (!index)
      return nullptr;
    mapped.push_back(host(op->getLoc(), *index));
  }
  Operation *copy = b.clone(*op);
  copy->setOperands(mapped);
  auto shaped = dyn_cast<SymbolicShapeOpInterface>(copy);
  FailureOr<SymShape> shape = shaped ? shaped.inferSymbolicShape(after) : FailureOr<SymShape>(failure());
  if (failed(shape)) {
    copy->erase();
    return nullptr;
  }
  for (Value result : copy->getResults()) { // of one shape where there are several
    result.setType(RankedTensorType::get(staticDims(*shape), elementOf(result)));
    after.setShape(result, *shape);
  }
  return copy;
}

std::optional<Positional::Made> Positional::make(Value value, const Extents &extents) {
  std::vector<uint8_t> key;
  for (Extent extent : extents)
    key.push_back(static_cast<uint8_t>(extent));
  auto place = std::pair(value.getAsOpaquePointer(), key);
  if (auto it = known.find(place); it != known.end())
    return it->second;
  std::optional<Made> result = compute(value, extents);
  if (result && !result->value)
    result = refuse(value.getDefiningOp(), "its shape for some positions is not known");
  if (result)
    known[place] = *result;
  return result;
}

std::optional<Positional::Made> Positional::compute(Value value, const Extents &extents) {
  Operation *op = value.getDefiningOp();
  if (!op || op->getNumRegions() > 0 || op->getNumResults() != 1)
    return refuse(op, "it depends on an input that is not the tokens, or on a branch or loop");
  if (isa<ConstantOp, WeightOp>(op)) {
    Operation *copy = b.clone(*op);
    return Made{copy->getResult(0), false};
  }
  if (!hasRows(extents)) {
    SmallVector<Value> operands;
    for (Value operand : op->getOperands()) {
      if (operand.getType().isIndex()) {
        operands.push_back({});
        continue;
      }
      std::optional<Extents> own = uniform(operand, Extent::all);
      std::optional<Made> made = own ? make(operand, *own) : std::nullopt;
      if (!made)
        return std::nullopt;
      operands.push_back(made->value);
    }
    return Made{rebuild(op, operands, Extent::all, /*keepsBatch=*/false), false};
  }
  if (auto range = dyn_cast<RangeOp>(op)) {
    std::optional<int64_t> start = before.indexValue(range.getStart()).constant(), step = before.indexValue(range.getStep()).constant();
    if (!start || !step)
      return refuse(op, "it counts from something that depends on positions");
    Location loc = op->getLoc();
    Value numbers = extents[0] == Extent::last ? frame.lastPositions : frame.positions;
    Type type = elementOf(value);
    if (elementOf(numbers) != type)
      numbers = create<CastOp>(loc, type, numbers, /*overflows=*/UnitAttr());
    auto number = [&](int64_t x) -> Value {
      auto scalar = RankedTensorType::get({}, type);
      return b.create<ConstantOp>(loc, scalar, DenseElementsAttr::get(scalar, b.getIntegerAttr(type, x)));
    };
    if (*step != 1 && numbers)
      numbers = create<MulOp>(loc, type, numbers, number(*step));
    if (*start != 0 && numbers)
      numbers = create<AddOp>(loc, type, numbers, number(*start));
    return Made{numbers, true};
  }
  if (op->hasTrait<OpTrait::BroadcastingElementwise>())
    return elementwise(op, extents);
  return TypeSwitch<Operation *, std::optional<Made>>(op)
      .Case([&](ReshapeOp o) { return reshape(o, extents); })
      .Case([&](BroadcastOp o) { return broadcast(o, extents); })
      .Case([&](TransposeOp o) { return transpose(o, extents); })
      .Case([&](ConcatOp o) { return concat(o, extents); })
      .Case([&](SliceOp o) { return slice(o, extents); })
      .Case([&](GatherOp o) { return gather(o, extents); })
      .Case([&](MatmulOp o) { return matmul(o, extents); })
      .Default([&](Operation *) { return pick(value, extents); });
}

std::optional<Positional::Made> Positional::elementwise(Operation *op, const Extents &extents) {
  size_t rank = extents.size();
  SmallVector<Made> operands;
  bool batched = false;
  for (Value operand : op->getOperands()) {
    std::optional<Extents> own = uniform(operand, Extent::all);
    if (!own)
      return refuse(op, "its shape is not known");
    for (size_t i = 0; i < own->size(); ++i)
      if ((*own)[i] != Extent::none)
        (*own)[i] = extents[rank - own->size() + i];
    std::optional<Made> made = make(operand, *own);
    if (!made)
      return std::nullopt;
    batched |= made->batched;
    operands.push_back(*made);
  }
  SmallVector<Value> values;
  for (const Made &made : operands) {
    values.push_back(padded(op->getLoc(), made, rank));
    if (!values.back())
      return std::nullopt;
  }
  return Made{rebuild(op, values, Extent::rows, false), batched};
}

std::optional<Positional::Made> Positional::reshape(ReshapeOp op, const Extents &extents) {
  std::optional<Extents> own = uniform(op.getInput(), Extent::all);
  if (!own)
    return refuse(op, "its shape is not known");
  SmallVector<Extent> along;
  for (Extent extent : extents)
    if (extent != Extent::none)
      along.push_back(extent);
  size_t next = 0;
  for (Extent &extent : *own)
    if (extent != Extent::none && next < along.size())
      extent = along[next++];
    else if (extent != Extent::none)
      return pick(op.getResult(), extents);
  if (next != along.size())
    return pick(op.getResult(), extents);
  std::optional<Made> made = make(op.getInput(), *own);
  if (!made)
    return std::nullopt;
  SymShape dims;
  if (made->batched)
    dims.push_back(batch());
  SymShape whole = *before.shapeOf(op.getResult());
  for (auto [dim, extent] : llvm::zip_equal(whole, extents)) {
    std::optional<SymExpr> size = dimension(dim, extent, false);
    if (!size)
      return refuse(op, "its shape depends on data");
    dims.push_back(*size);
  }
  return Made{shaped(op.getLoc(), made->value, dims), made->batched};
}

std::optional<Positional::Made> Positional::broadcast(BroadcastOp op, const Extents &extents) {
  std::optional<Extents> own = uniform(op.getInput(), Extent::all);
  if (!own)
    return refuse(op, "its shape is not known");
  size_t rank = extents.size(), skip = rank - own->size();
  for (size_t i = 0; i < own->size(); ++i)
    if ((*own)[i] != Extent::none)
      (*own)[i] = extents[skip + i];
  std::optional<Made> made = make(op.getInput(), *own);
  if (!made)
    return std::nullopt;
  SmallVector<Value> dims;
  if (made->batched)
    dims.push_back(host(op.getLoc(), batch()));
  SymShape whole = *before.shapeOf(op.getResult());
  for (auto [dim, extent] : llvm::zip_equal(whole, extents)) {
    std::optional<SymExpr> size = dimension(dim, extent, false);
    if (!size)
      return refuse(op, "its shape depends on data");
    dims.push_back(host(op.getLoc(), *size));
  }
  Value input = padded(op.getLoc(), *made, rank);
  return Made{input ? create<BroadcastOp>(op.getLoc(), elementOf(input), input, dims) : Value(), made->batched};
}

std::optional<Positional::Made> Positional::transpose(TransposeOp op, const Extents &extents) {
  Extents own(extents.size(), Extent::none);
  for (size_t axis = 0; axis < extents.size(); ++axis)
    own[op.getPermutation()[axis]] = extents[axis];
  std::optional<Made> made = make(op.getInput(), own);
  if (!made)
    return std::nullopt;
  SmallVector<int64_t> permutation;
  if (made->batched)
    permutation.push_back(0);
  for (int64_t axis : op.getPermutation())
    permutation.push_back(axis + made->batched);
  return Made{create<TransposeOp>(op.getLoc(), elementOf(made->value), made->value, permutation), made->batched};
}

std::optional<Positional::Made> Positional::concat(ConcatOp op, const Extents &extents) {
  if (extents[op.getAxis()] != Extent::none)
    return pick(op.getResult(), extents);
  SmallVector<Made> operands;
  bool batched = false;
  for (Value input : op.getInputs()) {
    std::optional<Made> made = make(input, extents);
    if (!made)
      return std::nullopt;
    batched |= made->batched;
    operands.push_back(*made);
  }
  SmallVector<Value> values;
  for (const Made &made : operands) {
    Value value = made.value;
    if (batched && !made.batched) {
      SmallVector<Value> dims{host(op.getLoc(), batch())};
      SymShape own = *after.shapeOf(value);
      for (const SymExpr &dim : own)
        dims.push_back(host(op.getLoc(), dim));
      value = create<BroadcastOp>(op.getLoc(), elementOf(value), value, dims);
    }
    if (!value)
      return std::nullopt;
    values.push_back(value);
  }
  return Made{create<ConcatOp>(op.getLoc(), elementOf(values[0]), values, static_cast<int64_t>(op.getAxis()) + batched), batched};
}

std::optional<Positional::Made> Positional::rowsOf(Value value, int64_t axis, Extent kind, const SymExpr &offset, Location loc) {
  Value rows = kind == Extent::last ? frame.lastPositions : frame.positions;
  if (offset != SymExpr(0)) {
    std::optional<int64_t> number = offset.constant();
    if (!number)
      return refuse(value.getDefiningOp(), "it starts at a place that depends on positions");
    auto scalar = RankedTensorType::get({}, b.getI64Type());
    rows = create<AddOp>(loc, b.getI64Type(), rows, b.create<ConstantOp>(loc, scalar, DenseElementsAttr::get(scalar, *number)));
  }
  Value taken = rows ? create<GatherOp>(loc, elementOf(value), value, rows, axis) : Value();
  if (!taken || axis == 0)
    return Made{taken, true};
  SmallVector<int64_t> permutation{axis};
  for (int64_t i = 0; i < rankOf(taken); ++i)
    if (i != axis)
      permutation.push_back(i);
  return Made{create<TransposeOp>(loc, elementOf(value), taken, permutation), true};
}

std::optional<Positional::Made> Positional::pick(Value value, const Extents &extents) {
  Extents all(extents);
  std::optional<int64_t> axis;
  for (size_t i = 0; i < all.size(); ++i)
    if (isRow(all[i])) {
      if (axis)
        return refuse(value.getDefiningOp(), "two of its axes are along the new tokens");
      axis = static_cast<int64_t>(i);
      all[i] = Extent::all;
    }
  std::optional<Made> made = make(value, all);
  if (!made)
    return std::nullopt;
  return rowsOf(made->value, *axis, extents[*axis], SymExpr(0), value.getLoc());
}

std::optional<Positional::Made> Positional::slice(SliceOp op, const Extents &extents) {
  std::optional<Extents> own = uniform(op.getInput(), Extent::all);
  if (!own)
    return refuse(op, "its shape is not known");
  // What is sliced along the sequence is a table: rows of it are looked up, and of all positions the first ones taken.
  std::optional<int64_t> rowAxis;
  SymExpr offset;
  SmallVector<int64_t> axes, steps;
  SmallVector<Value> starts, ends;
  for (auto [i, axis] : llvm::enumerate(op.getAxes())) {
    SymExpr start = before.indexValue(op.getStarts()[i]), end = before.indexValue(op.getEnds()[i]);
    if (extents[axis] != Extent::none && (*own)[axis] != Extent::none)
      return pick(op.getResult(), extents);
    if (isRow(extents[axis])) {
      if (rowAxis || op.getSteps()[i] != 1)
        return pick(op.getResult(), extents);
      rowAxis = axis;
      offset = start;
      continue;
    }
    std::optional<SymExpr> first = dimension(start, Extent::all, false), last = dimension(end, Extent::all, false);
    if (!first || !last)
      return refuse(op, "it is of places that depend on data");
    axes.push_back(axis);
    steps.push_back(op.getSteps()[i]);
    starts.push_back(host(op.getLoc(), *first));
    ends.push_back(host(op.getLoc(), *last));
  }
  for (size_t i = 0; i < own->size(); ++i)
    if ((*own)[i] != Extent::none)
      (*own)[i] = extents[i];
  std::optional<Made> made = make(op.getInput(), *own);
  if (!made)
    return std::nullopt;
  if (rowAxis && made->batched)
    return pick(op.getResult(), extents);
  Value value = made->value;
  if (!axes.empty()) {
    for (int64_t &axis : axes)
      axis += made->batched;
    value = create<SliceOp>(op.getLoc(), elementOf(value), value, starts, ends, axes, steps);
  }
  if (!rowAxis)
    return Made{value, made->batched};
  return value ? rowsOf(value, *rowAxis, extents[*rowAxis], offset, op.getLoc()) : std::nullopt;
}

std::optional<Positional::Made> Positional::gather(GatherOp op, const Extents &extents) {
  auto axis = static_cast<size_t>(op.getAxis()), inner = static_cast<size_t>(rankOf(op.getIndices()));
  Extents data(extents.begin(), extents.begin() + axis), indices(extents.begin() + axis, extents.begin() + axis + inner);
  data.push_back(Extent::none);
  data.append(extents.begin() + axis + inner, extents.end());
  if (std::optional<Extents> own = uniform(op.getInput(), Extent::all); !own || (*own)[axis] != Extent::none || hasRows(data))
    return pick(op.getResult(), extents);
  std::optional<Made> table = make(op.getInput(), data), rows = make(op.getIndices(), indices);
  if (!table || !rows)
    return std::nullopt;
  Value taken = create<GatherOp>(op.getLoc(), elementOf(table->value), table->value, rows->value, static_cast<int64_t>(axis));
  if (!taken || !rows->batched || axis == 0)
    return Made{taken, rows->batched};
  SmallVector<int64_t> permutation{static_cast<int64_t>(axis)};
  for (int64_t i = 0; i < rankOf(taken); ++i)
    if (i != static_cast<int64_t>(axis))
      permutation.push_back(i);
  return Made{create<TransposeOp>(op.getLoc(), elementOf(taken), taken, permutation), true};
}

std::optional<Positional::Made> Positional::matmul(MatmulOp op, const Extents &extents) {
  size_t rank = extents.size();
  Made sides[2];
  bool batched = false;
  for (unsigned side : {0u, 1u}) {
    Value operand = op->getOperand(side);
    std::optional<Extents> own = uniform(operand, Extent::all);
    if (!own || own->size() < 2)
      return pick(op.getResult(), extents);
    size_t size = own->size();
    bool transposed = side == 0 ? op.getTransposeLhs() : op.getTransposeRhs();
    size_t kept = size - (transposed == (side == 0) ? 1 : 2), summed = 2 * size - 3 - kept;
    if ((*own)[summed] != Extent::none)
      return pick(op.getResult(), extents);
    for (size_t i = 0; i + 2 < size; ++i)
      if ((*own)[i] != Extent::none)
        (*own)[i] = extents[rank - size + i];
    if ((*own)[kept] != Extent::none)
      (*own)[kept] = extents[rank - 2 + side];
    std::optional<Made> made = make(operand, *own);
    if (!made)
      return std::nullopt;
    batched |= made->batched;
    sides[side] = *made;
  }
  Value l = padded(op.getLoc(), sides[0], rank), r = padded(op.getLoc(), sides[1], rank);
  return l && r ? std::optional(Made{rebuild(op, {l, r}, Extent::rows, false), batched}) : std::nullopt;
}

} // namespace lathe::generation
