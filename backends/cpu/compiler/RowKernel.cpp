//===- RowKernel.cpp - Loops from a group of linalg operations ------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/RowKernel.h"
#include "dialects/kernel/Kernel.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/SmallPtrSet.h"
#include <map>

using namespace mlir;

namespace lathe::cpu {

MemRefType bufferType(RankedTensorType type) {
  Type element = type.getElementType();
  if (isa<IntegerType>(element) && llvm::is_contained({1u, 2u, 4u}, element.getIntOrFloatBitWidth()))
    element = IntegerType::get(type.getContext(), 8);
  else if (isa<FloatType>(element) && element.getIntOrFloatBitWidth() == 8)
    element = IntegerType::get(type.getContext(), 8);
  else if (element.isUnsignedInteger())
    element = IntegerType::get(type.getContext(), element.getIntOrFloatBitWidth());
  return MemRefType::get(type.getShape(), element);
}

MemRefType flatBufferType(RankedTensorType type) {
  return MemRefType::get(type.hasStaticShape() ? type.getNumElements() : ShapedType::kDynamic,
                         bufferType(type).getElementType());
}

bool isFlat(func::FuncOp group) {
  Value root = group.getBody().front().getTerminator()->getOperand(0);
  ArrayRef<int64_t> shape = cast<RankedTensorType>(root.getType()).getShape();
  if (shape.empty())
    return false;
  auto isPlain = [&](Value value) {
    auto type = dyn_cast<RankedTensorType>(value.getType());
    return !type || type.getShape() == shape || (type.hasStaticShape() && type.getNumElements() == 1);
  };
  for (Operation &op : group.getBody().front().without_terminator()) {
    if (!llvm::all_of(op.getOperands(), isPlain) || !llvm::all_of(op.getResults(), isPlain))
      return false;
    if (isa<linalg::FillOp, tensor::EmptyOp, tensor::DimOp, arith::ConstantOp>(op))
      continue;
    // Bodies that ask where they are may read elsewhere.
    auto generic = dyn_cast<linalg::GenericOp>(op);
    if (!generic || generic.getNumParallelLoops() != generic.getNumLoops() ||
        generic
            .walk([](Operation *inner) {
              bool asks = isa<linalg::IndexOp, tensor::ExtractOp, tensor::DimOp>(inner);
              return asks ? WalkResult::interrupt() : WalkResult::advance();
            })
            .wasInterrupted())
      return false;
    for (OpOperand &operand : generic->getOpOperands()) {
      auto type = dyn_cast<RankedTensorType>(operand.get().getType());
      if (!type)
        continue;
      bool isWhole = type.getShape() == shape;
      for (auto [axis, expr] : llvm::enumerate(generic.getMatchingIndexingMap(&operand).getResults())) {
        // A permutation of axes of the same length is no such thing; and the index of a last axis of one element, which that
        // of a single number may follow, counts all elements here.
        auto dim = dyn_cast<AffineDimExpr>(expr);
        if (isWhole ? dim ? dim.getPosition() != axis : shape[axis] != 1 : dim != nullptr)
          return false;
      }
    }
  }
  return true;
}

int64_t argumentBytes(Type type) {
  auto memref = dyn_cast<MemRefType>(type);
  return memref ? 8 * (3 + 2 * memref.getRank()) : 8;
}

namespace {

class Emitter {
public:
  Emitter(func::FuncOp group, func::FuncOp kernel, bool isUnsigned, bool flat,
          std::function<int64_t(Location, StringRef)> addCheck)
      : group(group), kernel(kernel), isUnsigned(isUnsigned), flat(flat), addCheck(std::move(addCheck)), b(kernel.getContext()), loc(kernel.getLoc()) {}

  LogicalResult run();

private:
  /// A loop that is open at the insertion point, with the values known in its body.
  struct Scope {
    Operation *loop = nullptr; ///< in the block of the scope before
    Block *block = nullptr;
    std::map<std::pair<void *, std::vector<void *>>, Value> memo;
  };

  Value constant(int64_t value);
  Value zero(Type type) { return b.create<arith::ConstantOp>(loc, b.getZeroAttr(type)); }
  size_t depthOf(Value value) const;
  Value scalar(Value value);
  Value dim(Value tensor, int64_t axis);
  Value element(Value tensor, ArrayRef<Value> indices);
  Value compute(Value tensor, ArrayRef<Value> indices);
  Value generic(linalg::GenericOp op, unsigned result, ArrayRef<Value> indices);
  Value body(linalg::GenericOp op, unsigned result, ArrayRef<Value> iteration, Value accumulator);
  void cloneOp(Operation &op, IRMapping &map, ArrayRef<Value> iteration);
  Value load(Value buffer, Type element, ArrayRef<Value> indices);
  bool isInRow(ArrayRef<Value> indices) const;
  void keepElement(Value column);
  void storeResults(Value column);
  void store(Value value, ValueRange indices) { store(value, out, indices); }
  void store(Value value, Value buffer, ValueRange indices);
  void emitRow(ArrayRef<Value> indices);
  void takeArguments(Block *entry);
  void emitElements(Block *entry, Value root);
  void emitRows(Block *entry, Value root);
  SmallVector<Value> firstRow(ArrayRef<int64_t> counted, ArrayRef<Value> extents, Value row);
  void nextRow(ArrayRef<int64_t> counted, ArrayRef<Value> extents, ValueRange indices);
  Value fail(Operation *op, const Twine &message) {
    if (!failed)
      op->emitError() << message;
    failed = true;
    if (op->getNumResults() == 0)
      return constant(0);
    return zero(isa<ShapedType>(op->getResult(0).getType()) ? cast<ShapedType>(op->getResult(0).getType()).getElementType()
                                                            : op->getResult(0).getType());
  }

  func::FuncOp group, kernel;
  bool isUnsigned; ///< the result
  bool flat;       ///< an index into buffers of one axis stands as the last
  std::function<int64_t(Location, StringRef)> addCheck;
  OpBuilder b;
  Location loc;
  Value frame;
  DenseMap<Value, Value> buffers, scalars;
  std::map<int64_t, Value> constants; ///< any number, which a DenseMap would not take
  SmallVector<Scope> scopes;
  Value out;                 ///< of the result
  SmallVector<Value> row;    ///< indices of the result but the last
  SmallVector<std::pair<Value, Value>> results; ///< tensors with their buffers, where there are several
  llvm::SmallPtrSet<Value, 4> stored;           ///< those whose elements of the row stand in their buffers
  Value kept;                ///< tensor whose elements of the row stand in the result until that is computed
  int nested = 0; ///< depth of conditional regions: nothing computed there is known outside
  bool failed = false;
};

Value Emitter::constant(int64_t value) {
  Value &known = constants[value];
  if (!known) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(&kernel.getBody().front());
    known = b.create<arith::ConstantIndexOp>(loc, value);
  }
  return known;
}

size_t Emitter::depthOf(Value value) const {
  for (size_t i = scopes.size(); i-- > 0;)
    if (value.getParentBlock() == scopes[i].block)
      return i;
  return scopes.size() - 1;
}

Value Emitter::scalar(Value value) {
  if (auto it = scalars.find(value); it != scalars.end())
    return it->second;
  // Function-level scalars depend on extents alone: compute them once, before all loops.
  OpBuilder::InsertionGuard guard(b);
  if (scopes.size() > 1)
    b.setInsertionPoint(scopes[1].loop);
  Value result;
  Operation *op = value.getDefiningOp();
  APInt literal;
  if (matchPattern(value, m_ConstantInt(&literal)) && value.getType().isIndex()) {
    result = constant(literal.getSExtValue());
  } else if (auto dimOp = dyn_cast_or_null<tensor::DimOp>(op); dimOp && dimOp.getConstantIndex()) {
    result = dim(dimOp.getSource(), *dimOp.getConstantIndex());
  } else if (op && op->getNumRegions() == 0 && !isa<tensor::ExtractOp>(op)) {
    IRMapping map;
    for (Value operand : op->getOperands()) {
      if (isa<ShapedType>(operand.getType()))
        return fail(op, "expects scalars at the level of the function");
      map.map(operand, scalar(operand));
    }
    result = b.clone(*op, map)->getResult(cast<OpResult>(value).getResultNumber());
  } else if (auto extract = dyn_cast_or_null<tensor::ExtractOp>(op)) {
    SmallVector<Value> indices;
    for (Value index : extract.getIndices())
      indices.push_back(scalar(index));
    SmallVector<Scope> open(std::make_move_iterator(scopes.begin() + 1), std::make_move_iterator(scopes.end()));
    scopes.resize(1);
    result = compute(extract.getTensor(), indices);
    scopes.append(std::make_move_iterator(open.begin()), std::make_move_iterator(open.end()));
  } else {
    return fail(group, "unexpected scalar in a kernel's group");
  }
  scalars[value] = result;
  return result;
}

Value Emitter::dim(Value tensor, int64_t axis) {
  auto type = cast<RankedTensorType>(tensor.getType());
  if (!type.isDynamicDim(axis))
    return constant(type.getDimSize(axis));
  if (auto it = buffers.find(tensor); it != buffers.end()) {
    OpBuilder::InsertionGuard guard(b);
    if (scopes.size() > 1)
      b.setInsertionPoint(scopes[1].loop);
    return b.create<memref::DimOp>(loc, it->second, axis);
  }
  Operation *op = tensor.getDefiningOp();
  if (auto empty = dyn_cast_or_null<tensor::EmptyOp>(op))
    return scalar(empty.getDynamicSize(axis));
  if (auto linalgOp = dyn_cast_or_null<linalg::LinalgOp>(op))
    return dim(linalgOp.getDpsInits()[cast<OpResult>(tensor).getResultNumber()], axis);
  if (auto castOp = dyn_cast_or_null<tensor::CastOp>(op))
    return dim(castOp.getSource(), axis);
  return fail(op ? op : group.getOperation(), "unexpected source of a dimension in a kernel's group");
}

Value Emitter::load(Value buffer, Type element, ArrayRef<Value> indices) {
  if (flat && cast<MemRefType>(buffer.getType()).getRank() == 1)
    indices = indices.take_back();
  Value value = b.create<memref::LoadOp>(loc, buffer, indices);
  if (element.isInteger(1))
    return b.create<arith::CmpIOp>(loc, arith::CmpIPredicate::ne, value, zero(value.getType()));
  if (element == value.getType())
    return value;
  if (isa<FloatType>(element))
    return b.create<arith::BitcastOp>(loc, element, value);
  return b.create<arith::TruncIOp>(loc, element, value);
}

/// Whether the indices are those of an element of the result's row, in a loop over it.
bool Emitter::isInRow(ArrayRef<Value> indices) const {
  if (indices.size() != row.size() + 1 || indices.drop_back() != ArrayRef<Value>(row))
    return false;
  auto column = dyn_cast<BlockArgument>(indices.back());
  return column && scopes.size() > 2 && column.getOwner() == scopes[2].block && column.getArgNumber() == 0;
}

static bool isExpensive(Value tensor) {
  auto op = tensor.getDefiningOp<linalg::GenericOp>();
  return op && llvm::any_of(op.getRegion().front(), [](Operation &inner) {
           return isa<math::ExpOp, math::ErfOp, math::TanhOp, math::PowFOp, math::LogOp, math::SinOp, math::CosOp>(inner);
         });
}

/// At the end of a loop over the row: results that came up there go where they belong.
void Emitter::storeResults(Value column) {
  if (nested || scopes.size() != 3 || results.empty())
    return;
  // A loop over a part of the row that begins with it would leave the rest.
  Value root = results.front().first;
  if (cast<scf::ForOp>(scopes.back().loop).getUpperBound() !=
      dim(root, cast<RankedTensorType>(root.getType()).getRank() - 1))
    return;
  SmallVector<Value> indices(row);
  indices.push_back(column);
  for (auto [tensor, buffer] : results) {
    std::pair<void *, std::vector<void *>> key{tensor.getAsOpaquePointer(), {}};
    for (Value index : indices)
      key.second.push_back(index.getAsOpaquePointer());
    auto known = scopes.back().memo.find(key);
    if (known == scopes.back().memo.end() || stored.contains(tensor))
      continue;
    store(known->second, buffer, indices);
    stored.insert(tensor);
  }
}

/// At the end of a loop over the row: what was expensive there stays in the result's row, when later loops may want it.
void Emitter::keepElement(Value column) {
  if (kept || nested || scopes.size() != 3)
    return;
  Value candidate;
  for (const auto &[key, value] : scopes.back().memo) {
    Value tensor = Value::getFromOpaquePointer(key.first);
    SmallVector<Value> indices;
    for (void *index : key.second)
      indices.push_back(Value::getFromOpaquePointer(index));
    auto type = cast<RankedTensorType>(tensor.getType());
    if (!isExpensive(tensor) || tensor.hasOneUse() || !isInRow(indices) || indices.back() != column ||
        type.getElementType() != cast<MemRefType>(out.getType()).getElementType())
      continue;
    if (!candidate || candidate.getDefiningOp()->isBeforeInBlock(tensor.getDefiningOp()))
      candidate = tensor;
  }
  if (!candidate)
    return;
  SmallVector<Value> indices(row);
  indices.push_back(column);
  b.create<memref::StoreOp>(loc, element(candidate, indices), out, indices);
  kept = candidate;
}

Value Emitter::element(Value tensor, ArrayRef<Value> indices) {
  std::pair<void *, std::vector<void *>> key{tensor.getAsOpaquePointer(), {}};
  size_t depth = 0;
  for (Value index : indices) {
    key.second.push_back(index.getAsOpaquePointer());
    depth = std::max(depth, depthOf(index));
  }
  if (nested) // what is known outside is known here
    for (Scope &scope : scopes)
      if (auto it = scope.memo.find(key); it != scope.memo.end())
        return it->second;
  if (nested)
    depth = scopes.size() - 1;
  if (auto it = scopes[depth].memo.find(key); it != scopes[depth].memo.end())
    return it->second;
  OpBuilder::InsertionGuard guard(b);
  SmallVector<Scope> inner;
  if (depth + 1 < scopes.size()) {
    b.setInsertionPoint(scopes[depth + 1].loop);
    inner.append(std::make_move_iterator(scopes.begin() + depth + 1), std::make_move_iterator(scopes.end()));
    scopes.resize(depth + 1);
  }
  Value value = compute(tensor, indices);
  scopes[depth].memo[key] = value;
  scopes.append(std::make_move_iterator(inner.begin()), std::make_move_iterator(inner.end()));
  return value;
}

Value Emitter::compute(Value tensor, ArrayRef<Value> indices) {
  Type elementType = cast<RankedTensorType>(tensor.getType()).getElementType();
  if (tensor == kept && isInRow(indices))
    return load(out, elementType, indices);
  if (stored.contains(tensor) && isInRow(indices))
    return load(llvm::find_if(results, [&](auto &result) { return result.first == tensor; })->second, elementType,
                indices);
  if (auto it = buffers.find(tensor); it != buffers.end())
    return load(it->second, elementType, indices);
  Operation *op = tensor.getDefiningOp();
  if (auto genericOp = dyn_cast_or_null<linalg::GenericOp>(op))
    return generic(genericOp, cast<OpResult>(tensor).getResultNumber(), indices);
  if (auto fill = dyn_cast_or_null<linalg::FillOp>(op))
    return scalar(fill.getInputs()[0]);
  if (auto castOp = dyn_cast_or_null<tensor::CastOp>(op))
    return element(castOp.getSource(), indices);
  if (auto constantOp = dyn_cast_or_null<arith::ConstantOp>(op))
    if (auto dense = dyn_cast<DenseElementsAttr>(constantOp.getValue()); dense && dense.isSplat()) {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(&kernel.getBody().front());
      return b.create<arith::ConstantOp>(loc, cast<TypedAttr>(dense.getSplatValue<Attribute>()));
    }
  if (auto from = dyn_cast_or_null<tensor::FromElementsOp>(op)) {
    if (from.getElements().empty()) // the shape of a scalar: its loop runs never, but must be there
      return zero(elementType);
    Value result = scalar(from.getElements().back());
    for (int64_t i = from.getElements().size() - 2; i >= 0; --i) {
      Value here = b.create<arith::CmpIOp>(loc, arith::CmpIPredicate::eq, indices.back(), constant(i));
      result = b.create<arith::SelectOp>(loc, here, scalar(from.getElements()[i]), result);
    }
    return result;
  }
  return fail(op ? op : group.getOperation(), "unexpected operation in a kernel's group");
}

void Emitter::cloneOp(Operation &op, IRMapping &map, ArrayRef<Value> iteration) {
  auto lookup = [&](Value v) {
    // Values from outside the body are scalars of the function.
    if (Value known = map.lookupOrNull(v))
      return known;
    return scalar(v);
  };
  if (auto index = dyn_cast<linalg::IndexOp>(op)) {
    map.map(index.getResult(), iteration[index.getDim()]);
    return;
  }
  if (auto extract = dyn_cast<tensor::ExtractOp>(op)) {
    SmallVector<Value> indices;
    for (Value v : extract.getIndices())
      indices.push_back(lookup(v));
    map.map(extract.getResult(), element(extract.getTensor(), indices));
    return;
  }
  if (auto dimOp = dyn_cast<tensor::DimOp>(op); dimOp && dimOp.getConstantIndex()) {
    map.map(dimOp.getResult(), dim(dimOp.getSource(), *dimOp.getConstantIndex()));
    return;
  }
  if (auto assertOp = dyn_cast<cf::AssertOp>(op)) {
    b.create<kernel::CheckOp>(op.getLoc(), frame, lookup(assertOp.getArg()), addCheck(op.getLoc(), assertOp.getMsg()));
    return;
  }
  APInt literal;
  if (op.getNumResults() == 1 && op.getResult(0).getType().isIndex() &&
      matchPattern(op.getResult(0), m_ConstantInt(&literal))) {
    map.map(op.getResult(0), constant(literal.getSExtValue()));
    return;
  }
  for (Value operand : op.getOperands())
    if (!map.contains(operand))
      map.map(operand, lookup(operand));
  if (op.getNumRegions() == 0) {
    b.clone(op, map);
    return;
  }
  Operation *copy = op.cloneWithoutRegions(map);
  b.insert(copy);
  for (auto [from, to] : llvm::zip(op.getRegions(), copy->getRegions())) {
    if (from.empty())
      continue;
    OpBuilder::InsertionGuard guard(b);
    Block *block = b.createBlock(&to);
    for (BlockArgument argument : from.front().getArguments())
      map.map(argument, block->addArgument(argument.getType(), argument.getLoc()));
    auto saved = scopes.back().memo;
    ++nested;
    for (Operation &inner : from.front())
      cloneOp(inner, map, iteration);
    --nested;
    scopes.back().memo = std::move(saved);
  }
  for (auto [from, to] : llvm::zip(op.getResults(), copy->getResults()))
    map.map(from, to);
}

Value Emitter::body(linalg::GenericOp op, unsigned result, ArrayRef<Value> iteration, Value accumulator) {
  IRMapping map;
  Block &block = op.getRegion().front();
  struct Operand {
    BlockArgument argument;
    Value tensor;
    SmallVector<Value> indices;
  };
  // What is the same for a whole row comes first: loops over the row keep elements that the others then find.
  SmallVector<Operand> ofRows, ofElements;
  for (auto [i, operand] : llvm::enumerate(op->getOpOperands())) {
    BlockArgument argument = block.getArgument(i);
    if (argument.use_empty())
      continue;
    if (op.isDpsInit(&operand) && accumulator) {
      map.map(argument, accumulator);
      continue;
    }
    // A reduction over no axes at all combines each element with its destination once.
    Operand entry{argument, operand.get(), {}};
    for (AffineExpr expr : op.getMatchingIndexingMap(&operand).getResults()) {
      if (auto dimExpr = dyn_cast<AffineDimExpr>(expr))
        entry.indices.push_back(iteration[dimExpr.getPosition()]);
      else if (auto constantExpr = dyn_cast<AffineConstantExpr>(expr))
        entry.indices.push_back(constant(constantExpr.getValue()));
      else
        return fail(op, "unexpected indexing map in a kernel's group");
    }
    bool ofElement = llvm::any_of(entry.indices, [&](Value index) { return depthOf(index) + 1 == scopes.size(); });
    (ofElement ? ofElements : ofRows).push_back(std::move(entry));
  }
  for (ArrayRef<Operand> operands : {ArrayRef<Operand>(ofRows), ArrayRef<Operand>(ofElements)})
    for (const Operand &operand : operands)
      map.map(operand.argument, isa<ShapedType>(operand.tensor.getType()) ? element(operand.tensor, operand.indices)
                                                                         : scalar(operand.tensor));
  for (Operation &inner : block.without_terminator())
    cloneOp(inner, map, iteration);
  Value yielded = block.getTerminator()->getOperand(result);
  if (Value known = map.lookupOrNull(yielded))
    return known;
  return scalar(yielded);
}

Value Emitter::generic(linalg::GenericOp op, unsigned result, ArrayRef<Value> indices) {
  SmallVector<Value> iteration(op.getNumLoops());
  AffineMap map = op.getMatchingIndexingMap(op.getDpsInitOperand(result));
  for (auto [expr, index] : llvm::zip(map.getResults(), indices))
    if (auto dimExpr = dyn_cast<AffineDimExpr>(expr))
      iteration[dimExpr.getPosition()] = index;
  SmallVector<std::pair<unsigned, Value>> reductions;
  auto iterators = op.getIteratorTypesArray();
  for (unsigned i = 0; i < iteration.size(); ++i) {
    if (iteration[i])
      continue;
    Value bound;
    for (OpOperand &operand : op->getOpOperands())
      if (!bound)
        for (auto [axis, expr] : llvm::enumerate(op.getMatchingIndexingMap(&operand).getResults()))
          if (auto dimExpr = dyn_cast<AffineDimExpr>(expr); dimExpr && dimExpr.getPosition() == i && !bound)
            bound = dim(operand.get(), axis);
    if (iterators[i] != utils::IteratorType::reduction || !bound)
      return fail(op, "unexpected iteration in a kernel's group");
    reductions.push_back({i, bound});
  }
  if (reductions.empty())
    return body(op, result, iteration, {});

  Value accumulator = element(op.getDpsInits()[result], indices);
  OpBuilder::InsertionGuard guard(b);
  SmallVector<scf::ForOp> loops;
  for (auto [i, bound] : reductions) {
    auto loop = b.create<scf::ForOp>(loc, constant(0), bound, constant(1), ValueRange{accumulator});
    loops.push_back(loop);
    iteration[i] = loop.getInductionVar();
    accumulator = loop.getRegionIterArg(0);
    if (!nested)
      scopes.push_back({loop, loop.getBody(), {}});
    b.setInsertionPointToEnd(loop.getBody());
  }
  Value value = body(op, result, iteration, accumulator);
  for (size_t i = loops.size(); i-- > 0;) {
    b.setInsertionPointToEnd(loops[i].getBody());
    keepElement(loops[i].getInductionVar());
    storeResults(loops[i].getInductionVar());
    b.create<scf::YieldOp>(loc, value);
    value = loops[i].getResult(0);
    if (!nested)
      scopes.pop_back();
  }
  return value;
}

/// Indices of a row along the counted axes, which are given from the last to the first.
SmallVector<Value> Emitter::firstRow(ArrayRef<int64_t> counted, ArrayRef<Value> extents, Value row) {
  SmallVector<Value> result;
  for (int64_t axis : counted) {
    if (axis == counted.back()) {
      result.push_back(row);
      break;
    }
    // Without elements there is no row, but there is still the division.
    Value extent = b.create<arith::MaxUIOp>(loc, extents[axis], constant(1));
    result.push_back(b.create<arith::RemUIOp>(loc, row, extent));
    row = b.create<arith::DivUIOp>(loc, row, extent);
  }
  return result;
}

/// Yields the indices of the row behind.
void Emitter::nextRow(ArrayRef<int64_t> counted, ArrayRef<Value> extents, ValueRange indices) {
  SmallVector<Value> result;
  Value carry = constant(1);
  for (auto [axis, index] : llvm::zip(counted, indices)) {
    Value next = b.create<arith::AddIOp>(loc, index, carry);
    if (axis != counted.back()) {
      Value over = b.create<arith::CmpIOp>(loc, arith::CmpIPredicate::eq, next, extents[axis]);
      next = b.create<arith::SelectOp>(loc, over, constant(0), next);
      carry = b.create<arith::SelectOp>(loc, over, constant(1), constant(0));
    }
    result.push_back(next);
  }
  if (!result.empty()) // else the loop has its end already
    b.create<scf::YieldOp>(loc, result);
}

/// Writes an element of a result.
void Emitter::store(Value value, Value buffer, ValueRange indices) {
  Type type = cast<MemRefType>(buffer.getType()).getElementType();
  if (isa<FloatType>(value.getType()) && value.getType() != type)
    value = b.create<arith::BitcastOp>(loc, type, value);
  else if (value.getType() != type && (isUnsigned || value.getType().isInteger(1)))
    value = b.create<arith::ExtUIOp>(loc, type, value);
  else if (value.getType() != type)
    value = b.create<arith::ExtSIOp>(loc, type, value);
  b.create<memref::StoreOp>(loc, value, buffer, indices);
}

/// The row of several results: first what is one number for it, in the loops for which the others come up, then what is
/// left of these.
void Emitter::emitRow(ArrayRef<Value> indices) {
  int64_t last = static_cast<int64_t>(indices.size()) - 1;
  auto columnsOf = [&](Value tensor) { return cast<RankedTensorType>(tensor.getType()).getDimSize(last); };
  Value first = results.front().first;
  SmallVector<Value> at(indices);
  at.back() = constant(0);
  for (auto [tensor, buffer] : results)
    if (columnsOf(tensor) == 1 && columnsOf(first) != 1)
      store(element(tensor, at), buffer, at);
  bool isDone = llvm::all_of(results, [&](auto &result) {
    return stored.contains(result.first) || (columnsOf(result.first) == 1 && columnsOf(first) != 1);
  });
  if (isDone)
    return;
  OpBuilder::InsertionGuard guard(b);
  auto columns = b.create<scf::ForOp>(loc, constant(0), dim(first, last), constant(1));
  b.setInsertionPointToStart(columns.getBody());
  scopes.push_back({columns, columns.getBody(), {}});
  at.back() = columns.getInductionVar();
  for (auto [tensor, buffer] : results)
    if (!stored.contains(tensor) && (columnsOf(tensor) != 1 || columnsOf(first) == 1))
      store(element(tensor, at), buffer, at);
  scopes.pop_back();
}

/// Buffers and numbers of the group's arguments, and buffers of what it returns.
void Emitter::takeArguments(Block *entry) {
  int64_t offset = 0;
  auto argument = [&](Type type) {
    Value value = b.create<kernel::ArgOp>(loc, type, entry->getArgument(1), offset);
    offset += argumentBytes(type);
    return value;
  };
  OperandRange returned = group.getBody().front().getTerminator()->getOperands();
  auto type = cast<RankedTensorType>(returned.front().getType());
  for (BlockArgument value : group.getArguments()) {
    if (auto tensor = dyn_cast<RankedTensorType>(value.getType()))
      buffers[value] = argument(flat && tensor.getShape() == type.getShape() ? flatBufferType(tensor) : bufferType(tensor));
    else
      scalars[value] = argument(value.getType());
  }
  out = argument(flat ? flatBufferType(type) : bufferType(type));
  if (returned.size() == 1)
    return;
  results.push_back({returned.front(), out});
  for (Value further : returned.drop_front())
    results.push_back({further, argument(bufferType(cast<RankedTensorType>(further.getType())))});
}

/// A loop over elements, whatever row they are of.
void Emitter::emitElements(Block *entry, Value root) {
  auto elements = b.create<scf::ForOp>(loc, entry->getArgument(2), entry->getArgument(3), constant(1));
  b.setInsertionPointToStart(elements.getBody());
  scopes.push_back({elements, elements.getBody(), {}});
  SmallVector<Value> indices(cast<RankedTensorType>(root.getType()).getRank(), constant(0));
  indices.back() = elements.getInductionVar();
  store(element(root, indices), indices.back());
}

/// A loop over rows.
void Emitter::emitRows(Block *entry, Value root) {
  auto type = cast<RankedTensorType>(root.getType());
  int64_t rank = type.getRank();
  SmallVector<Value> extents;
  for (int64_t i = 0; i < rank; ++i)
    extents.push_back(type.isDynamicDim(i) ? b.create<memref::DimOp>(loc, out, i).getResult() : constant(type.getDimSize(i)));

  // Indices of the rows count up with a carry: rows may be as short as the windows of a convolution, and divisions for
  // each would cost more than what is computed.
  SmallVector<int64_t> counted;
  for (int64_t i = rank - 2; i >= 0; --i)
    if (type.getDimSize(i) != 1)
      counted.push_back(i);
  int64_t only = counted.size() == 1 ? counted.pop_back_val() : -1; // which the row itself is the index of
  auto rows = b.create<scf::ForOp>(loc, entry->getArgument(2), entry->getArgument(3), constant(1),
                                   firstRow(counted, extents, entry->getArgument(2)));
  b.setInsertionPointToStart(rows.getBody());
  scopes.push_back({rows, rows.getBody(), {}});
  SmallVector<Value> indices(rank, constant(0));
  if (only >= 0)
    indices[only] = rows.getInductionVar();
  for (auto [axis, index] : llvm::zip(counted, rows.getRegionIterArgs()))
    indices[axis] = index;
  if (rank > 0)
    row.assign(indices.begin(), indices.end() - 1);
  if (!results.empty()) {
    emitRow(indices);
  } else if (rank > 0) {
    auto columns = b.create<scf::ForOp>(loc, constant(0), extents.back(), constant(1));
    b.setInsertionPointToStart(columns.getBody());
    scopes.push_back({columns, columns.getBody(), {}});
    indices.back() = columns.getInductionVar();
  }
  if (results.empty())
    store(element(root, indices), indices);
  b.setInsertionPointToEnd(rows.getBody());
  nextRow(counted, extents, rows.getRegionIterArgs());
}

LogicalResult Emitter::run() {
  Block *entry = &kernel.getBody().front();
  b.setInsertionPointToStart(entry);
  frame = entry->getArgument(0);
  scopes.push_back({nullptr, entry, {}});
  takeArguments(entry);
  Value root = group.getBody().front().getTerminator()->getOperand(0);
  flat ? emitElements(entry, root) : emitRows(entry, root);
  b.setInsertionPointToEnd(entry);
  b.create<func::ReturnOp>(loc);
  return success(!failed);
}

} // namespace

LogicalResult emitRowKernel(func::FuncOp group, func::FuncOp kernel, bool isUnsigned, bool flat,
                            std::function<int64_t(Location, StringRef)> addCheck) {
  return Emitter(group, kernel, isUnsigned, flat, std::move(addCheck)).run();
}

} // namespace lathe::cpu
