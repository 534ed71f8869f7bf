//===- VectorPlan.cpp - How a loop's iterations become lanes --------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/VectorPlan.h"
#include "backends/cpu/compiler/Combiners.h"
#include "dialects/kernel/Kernel.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

namespace lathe::cpu {
namespace {

/// Functions of which a lane costs enough for reads at scattered places not to matter.
bool isExpensive(Operation *op) {
  return isa<math::ExpOp, math::ErfOp, math::TanhOp, math::PowFOp, math::LogOp, math::SinOp, math::CosOp, math::AtanOp>(
      op);
}

/// Operations on each element alone, of which the lowering takes vectors.
bool isElementwise(Operation *op) {
  if (isExpensive(op) || isa<math::AbsFOp, math::AbsIOp, math::SqrtOp, math::FloorOp, math::CeilOp, math::RoundEvenOp,
                             math::TruncOp, math::CopySignOp, math::FmaOp>(op))
    return true;
  return isa<arith::ArithDialect>(op->getDialect()) && op->getNumResults() == 1 &&
         OpTrait::hasElementwiseMappableTraits(op) && !isa<arith::RemFOp>(op);
}

class Planner {
public:
  Planner(scf::ForOp loop, std::string &reason) : loop(loop), reason(reason) {}

  std::optional<VectorPlan> run();

private:
  bool refuse(const Twine &why) {
    if (reason.empty())
      reason = why.str();
    return false;
  }
  LaneKind kindOf(Value value) const { return plan.kindOf(value); }
  void set(Value value, LaneKind kind) {
    plan.kinds[value] = kind;
    if (kind == LaneKind::vector)
      note(value.getType());
  }
  void note(Type type) {
    if (!type.isInteger(1) && !type.isIndex())
      widths |= type.getIntOrFloatBitWidth();
  }
  bool isUniform(ValueRange values) const {
    return llvm::all_of(values, [&](Value value) { return kindOf(value) == LaneKind::uniform; });
  }
  bool isInside(Value value) const { return loop->isAncestor(value.getParentBlock()->getParentOp()); }
  /// Elements that follow one another, for the lanes.
  bool isContiguous(ValueRange indices) const {
    return !indices.empty() && kindOf(indices.back()) == LaneKind::linear && isUniform(indices.drop_back());
  }
  bool visit(Block &block, bool nested, bool masked);
  bool visit(memref::LoadOp op, bool nested, bool masked);
  bool visit(memref::StoreOp op, bool nested, bool masked);
  bool visit(scf::IfOp op, bool nested, bool masked);
  bool visit(scf::ForOp op, bool masked);
  bool visitElementwise(Operation &op, bool masked);
  bool findCombiners();
  bool checkMemory();
  bool chooseLanes();

  scf::ForOp loop;
  std::string &reason;
  VectorPlan plan;
  SmallVector<memref::LoadOp> loads;
  SmallVector<memref::StoreOp> stores;
  unsigned widths = 0; ///< all that the lanes are of, as a set
  int64_t contiguous = 0, scattered = 0;
  bool scatteredInside = false, expensive = false, hasInnerLoop = false;
};

bool Planner::visit(memref::LoadOp op, bool nested, bool masked) {
  if (isInside(op.getMemRef()) || !op.getMemRefType().getLayout().isIdentity())
    return refuse("reads a buffer that the loop makes");
  loads.push_back(op);
  if (isUniform(op.getIndices())) {
    set(op, LaneKind::uniform);
    if (masked)
      plan.guarded.insert(op);
    return true;
  }
  set(op, LaneKind::vector);
  if (isContiguous(op.getIndices())) {
    ++contiguous;
    return true;
  }
  ++scattered;
  scatteredInside |= nested;
  return true;
}

bool Planner::visit(memref::StoreOp op, bool nested, bool masked) {
  if (masked || nested)
    return refuse("writes where a condition holds or in an inner loop");
  if (isInside(op.getMemRef()) || !isContiguous(op.getIndices()))
    return refuse("writes elements that do not follow one another");
  note(op.getMemRefType().getElementType());
  stores.push_back(op);
  ++contiguous;
  return true;
}

bool Planner::visit(scf::IfOp op, bool nested, bool masked) {
  if (op->getNumResults() == 0)
    return refuse("has a branch for its effects");
  bool uniform = kindOf(op.getCondition()) == LaneKind::uniform;
  for (Region *region : {&op.getThenRegion(), &op.getElseRegion()})
    if (!visit(region->front(), nested, masked || !uniform))
      return false;
  for (auto [result, first, second] :
       llvm::zip(op.getResults(), op.thenYield().getResults(), op.elseYield().getResults()))
    set(result, uniform && kindOf(first) == LaneKind::uniform && kindOf(second) == LaneKind::uniform
                    ? LaneKind::uniform
                    : LaneKind::vector);
  return true;
}

bool Planner::visit(scf::ForOp op, bool masked) {
  if (!isUniform({op.getLowerBound(), op.getUpperBound(), op.getStep()}))
    return refuse("has an inner loop whose length differs from element to element");
  hasInnerLoop = true;
  for (Value state : op.getRegionIterArgs())
    set(state, LaneKind::vector);
  for (Value result : op.getResults())
    set(result, LaneKind::vector);
  return visit(*op.getBody(), /*nested=*/true, masked);
}

bool Planner::visitElementwise(Operation &op, bool masked) {
  if (!isElementwise(&op))
    return refuse("has the operation " + op.getName().getStringRef());
  Type type = op.getResult(0).getType();
  expensive |= isExpensive(&op);
  bool uniform = isUniform(op.getOperands());
  if (!isSpeculatable(&op) && (masked || !uniform))
    return refuse("divides by a number that is not known");
  if (uniform) {
    set(op.getResult(0), LaneKind::uniform);
    return true;
  }
  auto isLinear = [&](unsigned i) { return kindOf(op.getOperand(i)) == LaneKind::linear; };
  auto isSame = [&](unsigned i) { return kindOf(op.getOperand(i)) == LaneKind::uniform; };
  bool linear = false;
  if (type.isIndex() || type.isInteger(64)) {
    if (isa<arith::AddIOp>(op))
      linear = (isLinear(0) && isSame(1)) || (isSame(0) && isLinear(1));
    else if (isa<arith::SubIOp>(op))
      linear = isLinear(0) && isSame(1);
    else if (isa<arith::IndexCastOp>(op))
      linear = isLinear(0) && (op.getOperand(0).getType().isIndex() || op.getOperand(0).getType().isInteger(64));
  }
  set(op.getResult(0), linear ? LaneKind::linear : LaneKind::vector);
  return true;
}

bool Planner::visit(Block &block, bool nested, bool masked) {
  for (Operation &op : block) {
    ++plan.operations;
    bool taken = TypeSwitch<Operation *, bool>(&op)
                     .Case<scf::YieldOp, arith::ConstantOp, memref::DimOp, kernel::CheckOp>([](auto) { return true; })
                     .Case<memref::LoadOp, memref::StoreOp, scf::IfOp>([&](auto o) { return visit(o, nested, masked); })
                     .Case<scf::ForOp>([&](auto o) { return visit(o, masked); })
                     .Default([&](Operation *o) { return visitElementwise(*o, masked); });
    if (!taken)
      return false;
  }
  return true;
}

/// Each state is to be combined with something in each iteration, by one operation again and again, and read for
/// nothing else.
bool Planner::findCombiners() {
  for (auto [state, yielded] : llvm::zip(loop.getRegionIterArgs(), loop.getYieldedValues())) {
    Value value = state;
    Operation *combiner = nullptr;
    while (value != yielded) {
      if (!value.hasOneUse())
        return refuse("reads its state");
      Operation *user = *value.getUsers().begin();
      if (user->getBlock() != loop.getBody() || !isCombiner(user) ||
          (combiner && user->getName() != combiner->getName()))
        return refuse("combines its state in an order that matters");
      combiner = user;
      plan.stateOperand[user] = value.getUses().begin()->getOperandNumber();
      value = user->getResult(0);
    }
    if (!combiner || !value.hasOneUse())
      return refuse("reads its state");
    plan.combiners.push_back(combiner);
    set(state, LaneKind::vector);
  }
  return true;
}

/// What is written is read at the same place or not at all.
bool Planner::checkMemory() {
  for (memref::StoreOp store : stores) {
    for (memref::LoadOp load : loads)
      if (load.getMemRef() == store.getMemRef() && load.getIndices() != store.getIndices())
        return refuse("reads what other iterations write");
    for (memref::StoreOp other : stores)
      if (other != store && other.getMemRef() == store.getMemRef() && other.getIndices() != store.getIndices())
        return refuse("writes one buffer at several places");
  }
  return true;
}

bool Planner::chooseLanes() {
  // 512 bits of what there is, and of f32 where types are mixed.
  plan.lanes = widths & 32 ? 16 : widths & 64 ? 8 : widths & 16 ? 32 : widths & 8 ? 64 : 16;
  APInt first, last;
  if (matchPattern(loop.getLowerBound(), m_ConstantInt(&first)) &&
      matchPattern(loop.getUpperBound(), m_ConstantInt(&last)))
    plan.trips = std::max<int64_t>(0, last.getSExtValue() - first.getSExtValue());
  while (plan.trips && plan.lanes / 2 >= *plan.trips && plan.lanes > 1)
    plan.lanes /= 2;
  if (plan.lanes < 4)
    return refuse("has at most two iterations");
  return true;
}

std::optional<VectorPlan> Planner::run() {
  APInt step;
  if (!matchPattern(loop.getStep(), m_ConstantInt(&step)) || step != 1) {
    refuse("has another step than one");
    return std::nullopt;
  }
  set(loop.getInductionVar(), LaneKind::linear);
  if (!findCombiners() || !visit(*loop.getBody(), /*nested=*/false, /*masked=*/false) || !checkMemory())
    return std::nullopt;
  if (contiguous == 0 && !expensive) {
    refuse("reads and writes no elements that follow one another");
    return std::nullopt;
  }
  // Reads at scattered places cost as much as those of single elements.
  if (scattered && (scatteredInside || hasInnerLoop || !expensive)) {
    refuse("reads elements that do not follow one another");
    return std::nullopt;
  }
  if (!chooseLanes())
    return std::nullopt;
  return std::move(plan);
}

} // namespace

std::optional<VectorPlan> planVectors(scf::ForOp loop, std::string &reason) { return Planner(loop, reason).run(); }

} // namespace lathe::cpu
