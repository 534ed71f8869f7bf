//===- VectorizeLoops.cpp - Iterations of kernels' loops side by side -----===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/Combiners.h"
#include "backends/cpu/compiler/Passes.h"
#include "backends/cpu/compiler/VectorPlan.h"
#include "dialects/kernel/LoopAttributes.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/TypeSwitch.h"

namespace lathe::cpu {
#define GEN_PASS_DEF_CPUVECTORIZELOOPSPASS
#include "backends/cpu/compiler/Passes.h.inc"
} // namespace lathe::cpu

using namespace mlir;

namespace lathe::cpu {
namespace {

/// Operations of a loop's body beyond which states are not kept several times.
constexpr int64_t kLargeBody = 80;
/// Sums, maxima, … that a loop keeps side by side, for each waits for the one before.
constexpr int64_t kAccumulators = 4;

/// Writes a loop as one over vectors.
class Writer {
public:
  Writer(scf::ForOp loop, VectorPlan &plan) : loop(loop), plan(plan), b(loop), loc(loop.getLoc()) {}
  void run();

private:
  VectorType vectorOf(Type element) { return VectorType::get({plan.lanes}, element); }
  Value index(int64_t value) { return b.create<arith::ConstantIndexOp>(loc, value); }
  Value splat(TypedAttr value) {
    return b.create<arith::ConstantOp>(loc, DenseElementsAttr::get(vectorOf(value.getType()), Attribute(value)));
  }
  Value steps(Type element);
  Value scalar(Value value) { return scalars.lookupOrDefault(value); }
  SmallVector<Value> scalarsOf(ValueRange values) {
    return llvm::map_to_vector(values, [&](Value value) { return scalar(value); });
  }
  Value vector(Value value);
  Value both(Value first, Value second) {
    return first && second ? b.create<arith::AndIOp>(loc, first, second).getResult() : first ? first : second;
  }
  Value combine(Operation *combiner, Value first, Value second) { return cpu::combine(b, loc, combiner, first, second); }
  Value reduce(Operation *combiner, Value lanes);
  SmallVector<Value> body(Value first, ValueRange states, Value tail);
  scf::ForOp run(Value from, Value to, int64_t copies, bool masked, ValueRange states);

  void write(Block &block);
  void write(memref::LoadOp op);
  void write(memref::StoreOp op);
  void write(scf::IfOp op);
  void write(scf::ForOp op);
  void write(kernel::CheckOp op);
  void writeElementwise(Operation &op);

  scf::ForOp loop;
  VectorPlan &plan;
  OpBuilder b;
  Location loc;
  IRMapping scalars; ///< uniform values, and of linear ones those of the first lane
  DenseMap<Value, Value> vectors;
  Value mask;            ///< of the lanes that there are; none for all
  bool inBranch = false; ///< the mask may be empty
};

/// 0, 1, 2, …
Value Writer::steps(Type element) {
  SmallVector<Attribute> values;
  for (int64_t i = 0; i < plan.lanes; ++i)
    values.push_back(b.getIntegerAttr(element, i));
  return b.create<arith::ConstantOp>(loc, DenseElementsAttr::get(vectorOf(element), values));
}

Value Writer::vector(Value value) {
  LaneKind kind = plan.kindOf(value);
  if (kind == LaneKind::vector)
    return vectors.lookup(value);
  Attribute constant;
  if (kind == LaneKind::uniform && matchPattern(value, m_Constant(&constant)))
    return splat(cast<TypedAttr>(constant));
  Value first = b.create<vector::BroadcastOp>(loc, vectorOf(value.getType()), scalar(value));
  return kind == LaneKind::uniform ? first : b.create<arith::AddIOp>(loc, first, steps(value.getType()));
}

/// Halves that are combined until one element is left.
Value Writer::reduce(Operation *combiner, Value lanes) {
  for (int64_t count = plan.lanes / 2; count > 0; count /= 2) {
    auto half = [&](int64_t from) {
      return b.create<vector::ShuffleOp>(loc, lanes, lanes, llvm::to_vector(llvm::seq(from, from + count)));
    };
    lanes = combine(combiner, half(0), half(count));
  }
  return b.create<vector::ExtractOp>(loc, lanes, 0);
}

void Writer::write(memref::LoadOp op) {
  Type element = op.getType();
  if (plan.kindOf(op) == LaneKind::uniform) {
    if (!plan.guarded.contains(op) || !inBranch) {
      scalars.map(op.getResult(), b.clone(*op, scalars)->getResult(0));
      return;
    }
    Value any = b.create<vector::ReductionOp>(loc, vector::CombiningKind::OR, mask);
    auto branch = b.create<scf::IfOp>(loc, TypeRange{element}, any, /*withElseRegion=*/true);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(branch.thenBlock());
    b.create<scf::YieldOp>(loc, b.clone(*op, scalars)->getResult(0));
    b.setInsertionPointToStart(branch.elseBlock());
    b.create<scf::YieldOp>(loc, b.create<arith::ConstantOp>(loc, b.getZeroAttr(element)).getResult());
    scalars.map(op.getResult(), branch.getResult(0));
    return;
  }
  VectorType type = vectorOf(element);
  OperandRange indices = op.getIndices();
  bool contiguous = plan.kindOf(indices.back()) == LaneKind::linear &&
                    llvm::all_of(indices.drop_back(), [&](Value i) { return plan.kindOf(i) == LaneKind::uniform; });
  Value buffer = op.getMemRef();
  if (contiguous && !mask) {
    vectors[op] = b.create<vector::LoadOp>(loc, type, buffer, scalarsOf(indices));
    return;
  }
  Value nothing = splat(b.getZeroAttr(element));
  if (contiguous) {
    vectors[op] = b.create<vector::MaskedLoadOp>(loc, type, buffer, scalarsOf(indices), mask, nothing);
    return;
  }
  // Places counted from the buffer's beginning.
  Value place;
  for (auto [axis, index] : llvm::enumerate(indices)) {
    Value here = vector(index);
    if (place) {
      Value extent = b.create<memref::DimOp>(loc, buffer, axis);
      Value extents = b.create<vector::BroadcastOp>(loc, vectorOf(b.getIndexType()), extent);
      here = b.create<arith::AddIOp>(loc, b.create<arith::MulIOp>(loc, place, extents), here);
    }
    place = here;
  }
  SmallVector<Value> origin(indices.size(), index(0));
  Value all = mask ? mask : splat(b.getBoolAttr(true));
  vectors[op] = b.create<vector::GatherOp>(loc, type, buffer, origin, place, all, nothing);
}

void Writer::write(memref::StoreOp op) {
  Value value = vector(op.getValue());
  SmallVector<Value> indices = scalarsOf(op.getIndices());
  if (mask)
    b.create<vector::MaskedStoreOp>(loc, op.getMemRef(), indices, mask, value);
  else
    b.create<vector::StoreOp>(loc, value, op.getMemRef(), indices);
}

void Writer::write(scf::IfOp op) {
  Value condition = op.getCondition();
  if (plan.kindOf(condition) == LaneKind::uniform) {
    SmallVector<Type> types;
    for (Value result : op.getResults())
      types.push_back(plan.kindOf(result) == LaneKind::uniform ? result.getType() : vectorOf(result.getType()));
    auto branch = b.create<scf::IfOp>(loc, types, scalar(condition), /*withElseRegion=*/true);
    for (auto [from, to] : llvm::zip(op->getRegions(), branch->getRegions())) {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(&to.front());
      write(from.front());
      SmallVector<Value> yielded;
      for (auto [result, value] : llvm::zip(op.getResults(), from.front().getTerminator()->getOperands()))
        yielded.push_back(plan.kindOf(result) == LaneKind::uniform ? scalar(value) : vector(value));
      b.create<scf::YieldOp>(loc, yielded);
    }
    for (auto [from, to] : llvm::zip(op.getResults(), branch.getResults())) {
      if (plan.kindOf(from) == LaneKind::uniform)
        scalars.map(from, to);
      else
        vectors[from] = to;
    }
    return;
  }
  // Both branches, each for its lanes.
  Value truth = vector(condition), outside = mask;
  bool wasInBranch = std::exchange(inBranch, true);
  mask = both(outside, truth);
  write(*op.thenBlock());
  mask = both(outside, b.create<arith::XOrIOp>(loc, truth, splat(b.getBoolAttr(true))));
  write(*op.elseBlock());
  mask = outside;
  inBranch = wasInBranch;
  for (auto [result, first, second] :
       llvm::zip(op.getResults(), op.thenYield().getResults(), op.elseYield().getResults()))
    vectors[result] = b.create<arith::SelectOp>(loc, truth, vector(first), vector(second));
}

void Writer::write(scf::ForOp op) {
  auto states = llvm::map_to_vector(op.getInitArgs(), [&](Value value) { return vector(value); });
  auto inner =
      b.create<scf::ForOp>(loc, scalar(op.getLowerBound()), scalar(op.getUpperBound()), scalar(op.getStep()), states);
  scalars.map(op.getInductionVar(), inner.getInductionVar());
  for (auto [from, to] : llvm::zip(op.getRegionIterArgs(), inner.getRegionIterArgs()))
    vectors[from] = to;
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(inner.getBody());
  write(*op.getBody());
  if (!states.empty())
    b.create<scf::YieldOp>(loc, llvm::map_to_vector(op.getYieldedValues(), [&](Value value) { return vector(value); }));
  for (auto [from, to] : llvm::zip(op.getResults(), inner.getResults()))
    vectors[from] = to;
}

void Writer::write(kernel::CheckOp op) {
  IRMapping map(scalars);
  if (inBranch || plan.kindOf(op.getCondition()) != LaneKind::uniform) {
    Value holds = vector(op.getCondition());
    if (mask)
      holds = b.create<arith::SelectOp>(loc, mask, holds, splat(b.getBoolAttr(true)));
    map.map(op.getCondition(), b.create<vector::ReductionOp>(loc, vector::CombiningKind::AND, holds).getResult());
  }
  b.clone(*op, map);
}

void Writer::writeElementwise(Operation &op) {
  if (op.getNumResults() == 0)
    return;
  Value result = op.getResult(0);
  if (plan.kindOf(result) != LaneKind::vector) { // of a linear one, the first lane's
    b.clone(op, scalars);
    return;
  }
  if (auto it = plan.stateOperand.find(&op); it != plan.stateOperand.end()) {
    vectors[result] = combine(&op, vector(op.getOperand(it->second)), vector(op.getOperand(1 - it->second)));
    return;
  }
  SmallVector<Value> operands;
  for (auto [i, operand] : llvm::enumerate(op.getOperands())) {
    bool choice = isa<arith::SelectOp>(op) && i == 0 && plan.kindOf(operand) == LaneKind::uniform;
    operands.push_back(choice ? scalar(operand) : vector(operand));
  }
  OperationState state(loc, op.getName(), operands, {vectorOf(result.getType())}, op.getAttrs());
  vectors[result] = b.create(state)->getResult(0);
}

void Writer::write(Block &block) {
  for (Operation &op : block.without_terminator())
    TypeSwitch<Operation *>(&op)
        .Case<memref::LoadOp, memref::StoreOp, scf::IfOp, scf::ForOp, kernel::CheckOp>([&](auto o) { write(o); })
        .Default([&](Operation *o) { writeElementwise(*o); });
}

/// The iterations from `first` on, as many as there are lanes.
SmallVector<Value> Writer::body(Value first, ValueRange states, Value tail) {
  scalars.clear();
  vectors.clear();
  mask = tail;
  scalars.map(loop.getInductionVar(), first);
  for (auto [from, to] : llvm::zip(loop.getRegionIterArgs(), states))
    vectors[from] = to;
  write(*loop.getBody());
  SmallVector<Value> result;
  for (auto [yielded, state] : llvm::zip(loop.getYieldedValues(), states)) {
    Value value = vector(yielded);
    result.push_back(tail ? b.create<arith::SelectOp>(loc, tail, value, state).getResult() : value);
  }
  return result;
}

/// A loop with `copies` of the body, each with states of its own.
scf::ForOp Writer::run(Value from, Value to, int64_t copies, bool masked, ValueRange states) {
  auto vectorLoop = b.create<scf::ForOp>(loc, from, to, index(copies * plan.lanes), states);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(vectorLoop.getBody());
  Value first = vectorLoop.getInductionVar(), tail;
  if (masked) {
    Value left = b.create<arith::IndexCastOp>(loc, b.getI32Type(), b.create<arith::SubIOp>(loc, to, first));
    left = b.create<vector::BroadcastOp>(loc, vectorOf(b.getI32Type()), left);
    tail = b.create<arith::CmpIOp>(loc, arith::CmpIPredicate::slt, steps(b.getI32Type()), left);
  }
  unsigned each = loop.getNumRegionIterArgs();
  SmallVector<Value> yielded;
  for (int64_t i = 0; i < copies; ++i) {
    Value here = i == 0 ? first : b.create<arith::AddIOp>(loc, first, index(i * plan.lanes));
    llvm::append_range(yielded, body(here, vectorLoop.getRegionIterArgs().slice(i * each, each), tail));
  }
  if (!yielded.empty())
    b.create<scf::YieldOp>(loc, yielded);
  return vectorLoop;
}

void Writer::run() {
  unsigned each = loop.getNumRegionIterArgs();
  int64_t copies = each > 0 && plan.operations <= kLargeBody ? kAccumulators : 1;
  if (plan.trips)
    copies = std::clamp<int64_t>(*plan.trips / plan.lanes, 1, copies);
  int64_t step = copies * plan.lanes;
  SmallVector<Value> states;
  for (auto [combiner, state] : llvm::zip(plan.combiners, loop.getRegionIterArgs()))
    states.push_back(splat(neutralOf(combiner, state.getType())));
  SmallVector<Value> all;
  for (int64_t i = 0; i < copies; ++i)
    llvm::append_range(all, states);

  Value from = loop.getLowerBound(), to = loop.getUpperBound();
  Value count = b.create<arith::MaxSIOp>(loc, b.create<arith::SubIOp>(loc, to, from), index(0));
  Value whole = b.create<arith::SubIOp>(loc, count, b.create<arith::RemUIOp>(loc, count, index(step)));
  Value middle = b.create<arith::AddIOp>(loc, from, whole);
  if (!plan.trips || *plan.trips >= step) {
    auto main = run(from, middle, copies, /*masked=*/false, all);
    for (unsigned i = 0; i < each; ++i) {
      SmallVector<Value> parts;
      for (int64_t copy = 0; copy < copies; ++copy)
        parts.push_back(main.getResult(copy * each + i));
      // As a tree.
      for (; parts.size() > 1; parts.resize((parts.size() + 1) / 2))
        for (size_t k = 0; 2 * k < parts.size(); ++k)
          parts[k] =
              2 * k + 1 < parts.size() ? combine(plan.combiners[i], parts[2 * k], parts[2 * k + 1]) : parts[2 * k];
      states[i] = parts[0];
    }
  }
  if (!plan.trips || *plan.trips % step != 0) {
    auto rest = run(middle, to, 1, /*masked=*/!plan.trips || *plan.trips % plan.lanes != 0, states);
    llvm::copy(rest.getResults(), states.begin());
  }
  for (unsigned i = 0; i < each; ++i)
    loop.getResult(i).replaceAllUsesWith(
        combine(plan.combiners[i], loop.getInitArgs()[i], reduce(plan.combiners[i], states[i])));
  loop.erase();
}

struct CpuVectorizeLoops : impl::CpuVectorizeLoopsPassBase<CpuVectorizeLoops> {
  void runOnOperation() override {
    if (getOperation().isPrivate() && !getOperation().isExternal())
      visit(getOperation().getBody().front());
  }

  /// Outer loops first: their iterations read what follows in memory where the inner ones stride.
  void visit(Block &block) {
    for (Operation &op : llvm::make_early_inc_range(block)) {
      auto loop = dyn_cast<scf::ForOp>(op);
      if (!loop) {
        for (Region &region : op.getRegions())
          for (Block &inner : region)
            visit(inner);
        continue;
      }
      std::string reason;
      if (std::optional<VectorPlan> plan = planVectors(loop, reason)) {
        Writer(loop, *plan).run();
        continue;
      }
      if (!loop.getBody()->getOps<scf::ForOp>().empty())
        visit(*loop.getBody());
      else
        loop->setAttr(kernel::kScalarAttr, StringAttr::get(&getContext(), reason));
    }
  }
};

} // namespace
} // namespace lathe::cpu
