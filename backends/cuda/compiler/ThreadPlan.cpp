//===- ThreadPlan.cpp - Which threads compute a kernel's rows -------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/compiler/ThreadPlan.h"
#include "backends/cpu/compiler/Combiners.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;

namespace lathe::cuda {
namespace {

/// Iterations below which a warp would mostly idle.
constexpr int64_t kShort = 32;

std::optional<int64_t> constantOf(Value value) {
  APInt number;
  return matchPattern(value, m_ConstantInt(&number)) ? std::optional(number.getSExtValue()) : std::nullopt;
}

/// The one operation that a loop's state goes through on its way to the next iteration, through inner loops as well;
/// null where there are others, or something else reads the state.
Operation *combinerOf(scf::ForOp loop, Value state, Value yielded, Operation *combiner) {
  Value value = state;
  while (value != yielded) {
    if (!value.hasOneUse())
      return nullptr;
    OpOperand &use = *value.use_begin();
    Operation *user = use.getOwner();
    if (user->getBlock() != loop.getBody())
      return nullptr;
    if (auto inner = dyn_cast<scf::ForOp>(user)) {
      BlockArgument argument = inner.getTiedLoopRegionIterArg(&use);
      combiner =
          argument ? combinerOf(inner, argument, inner.getTiedLoopYieldedValue(argument)->get(), combiner) : nullptr;
      if (!combiner)
        return nullptr;
      value = inner.getTiedLoopResult(&use);
      continue;
    }
    if (!cpu::isCombiner(user) || (combiner && user->getName() != combiner->getName()))
      return nullptr;
    combiner = user;
    value = user->getResult(0);
  }
  return value != state && value.hasOneUse() ? combiner : nullptr;
}

std::optional<SmallVector<Operation *>> combinersOf(scf::ForOp loop) {
  SmallVector<Operation *> result;
  for (auto [state, yielded] : llvm::zip(loop.getRegionIterArgs(), loop.getYieldedValues())) {
    Operation *combiner = combinerOf(loop, state, yielded, nullptr);
    if (!combiner)
      return std::nullopt;
    result.push_back(combiner);
  }
  return result;
}

class Planner {
public:
  explicit Planner(func::FuncOp kernel) : kernel(kernel) {}

  ThreadPlan run() {
    ThreadPlan plan;
    plan.rows = rowLoop();
    if (!plan.rows)
      return plan;
    // Threads without work would read what the one that has it changes in its place.
    if (isOneElement(plan.rows)) {
      plan.rows = {};
      return plan;
    }
    plan.mapping = Mapping::rows;
    Block &body = *plan.rows.getBody();
    auto loops = body.getOps<scf::ForOp>();
    if (loops.empty() || !mayShare(plan.rows))
      return plan;
    bool isShort = true, isAlone = llvm::hasSingleElement(loops);
    for (scf::ForOp loop : loops) {
      auto combiners = combinersOf(loop);
      if (!combiners || constantOf(loop.getStep()) != 1) {
        if (stores.contains(loop))
          return plan;
        isAlone = false;
        continue; // each thread runs it
      }
      plan.shared[loop] = *combiners;
      std::optional<int64_t> first = constantOf(loop.getLowerBound()), last = constantOf(loop.getUpperBound());
      isShort &= first && last && *last - *first < kShort;
    }
    auto columns = isAlone ? *loops.begin() : scf::ForOp();
    bool areElements = columns && columns.getNumResults() == 0 && stores.contains(columns) &&
                       constantOf(columns.getLowerBound()) == 0 &&
                       !plan.rows->isAncestor(columns.getUpperBound().getParentBlock()->getParentOp()) && !storesAlone;
    // Of a result of one axis there is but one row.
    bool isOneRow = areElements &&
                    llvm::all_of(stores[columns], [](memref::StoreOp store) { return store.getIndices().size() == 1; });
    if (areElements && (isShort || isOneRow))
      plan.mapping = Mapping::elements;
    else if (!plan.shared.empty() && !isShort)
      plan.mapping = Mapping::columns;
    else
      plan.shared.clear();
    return plan;
  }

private:
  /// The loop over [begin, end), after which nothing happens.
  scf::ForOp rowLoop() {
    Block &entry = kernel.getBody().front();
    scf::ForOp found;
    for (auto loop : entry.getOps<scf::ForOp>())
      if (loop.getLowerBound() == entry.getArgument(2) && loop.getUpperBound() == entry.getArgument(3) &&
          constantOf(loop.getStep()) == 1)
        found = loop;
    bool isLast = found && isa<func::ReturnOp>(found->getNextNode());
    // Its states are the row's indices, and follow from its number: a result is of use to nobody.
    return isLast && found->use_empty() ? found : scf::ForOp();
  }

  /// Whether there is no more than one element to compute, without loops.
  static bool isOneElement(scf::ForOp rows) {
    bool result = true;
    rows.getBody()->walk([&](Operation *op) {
      auto store = dyn_cast<memref::StoreOp>(op);
      result &= !isa<scf::ForOp>(op) && !(store && (!store.getMemRefType().hasStaticShape() || store.getMemRefType().getNumElements() != 1));
    });
    return result;
  }

  /// Whether threads may share the loops in rows: what is written is read by the thread that wrote it, or not at all.
  bool mayShare(scf::ForOp rows) {
    SmallVector<memref::StoreOp> all;
    SmallVector<memref::LoadOp> loads;
    bool good = true;
    rows.getBody()->walk([&](Operation *op) {
      if (auto load = dyn_cast<memref::LoadOp>(op))
        loads.push_back(load);
      auto store = dyn_cast<memref::StoreOp>(op);
      if (!store)
        return;
      all.push_back(store);
      if (store->getParentOp() == rows) {
        storesAlone = true;
        return;
      }
      auto loop = dyn_cast<scf::ForOp>(store->getParentOp());
      bool isColumn = loop && loop->getParentOp() == rows && !store.getIndices().empty() &&
                      store.getIndices().back() == loop.getInductionVar();
      good &= isColumn;
      if (isColumn)
        stores[loop].push_back(store);
    });
    for (memref::StoreOp store : all)
      for (memref::LoadOp load : loads)
        good &= load.getMemRef() != store.getMemRef() || isSamePlace(store, load);
    for (memref::StoreOp store : all)
      for (memref::StoreOp other : all)
        good &= store == other || store.getMemRef() != other.getMemRef() || isSamePlace(store, other);
    return good;
  }

  /// Whether both are of one thread: the same row, and the same column in loops of the same bounds.
  template <typename OpTy> static bool isSamePlace(memref::StoreOp store, OpTy other) {
    if (store.getIndices().size() != other.getIndices().size() || store.getIndices().empty() ||
        store.getIndices().drop_back() != other.getIndices().drop_back())
      return false;
    Value mine = store.getIndices().back(), theirs = other.getIndices().back();
    auto loop = [](Value column) {
      auto argument = dyn_cast<BlockArgument>(column);
      auto owner = argument ? dyn_cast<scf::ForOp>(argument.getOwner()->getParentOp()) : scf::ForOp();
      return owner && owner.getInductionVar() == column ? owner : scf::ForOp();
    };
    scf::ForOp first = loop(mine), second = loop(theirs);
    return first && second && first->getBlock() == second->getBlock() &&
           first.getLowerBound() == second.getLowerBound() && first.getUpperBound() == second.getUpperBound() &&
           first.getStep() == second.getStep();
  }

  func::FuncOp kernel;
  llvm::DenseMap<Operation *, SmallVector<memref::StoreOp>> stores; ///< by the loops over columns that they are in
  bool storesAlone = false;                                         ///< there are some in no such loop
};

} // namespace

ThreadPlan planThreads(func::FuncOp kernel) { return Planner(kernel).run(); }

} // namespace lathe::cuda
