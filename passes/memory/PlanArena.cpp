//===- PlanArena.cpp - Places of intermediate buffers in one arena --------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/memory/Passes.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringSet.h"

namespace lathe::memory {
#define GEN_PASS_DEF_PLANARENAPASS
#include "passes/memory/Passes.h.inc"
} // namespace lathe::memory

using namespace mlir;

namespace lathe::memory {
namespace {

struct Slot {
  SymExpr size;
  size_t freeFrom = 0; ///< position in the program from which it may be used again
};

/// Positions in the program of operations, and of the last one within them.
struct Order {
  explicit Order(func::FuncOp func) {
    size_t next = 0;
    number(func.getBody().front(), next);
  }
  void number(Block &block, size_t &next) {
    for (Operation &op : block) {
      begin[&op] = next++;
      for (Region &region : op.getRegions())
        for (Block &inner : region)
          number(inner, next);
      end[&op] = next - 1;
    }
  }
  DenseMap<Operation *, size_t> begin, end;
};

/// Position of the last use of a buffer, through views.
size_t lastUse(kernel::AllocOp alloc, const Order &order) {
  size_t last = order.begin.lookup(alloc);
  llvm::SmallSetVector<Value, 4> names;
  names.insert(alloc.getResult());
  for (size_t i = 0; i < names.size(); ++i)
    for (Operation *user : names[i].getUsers()) {
      // What uses it in a region, which may be a loop's, needs it until that ends.
      last = std::max(last, order.end.lookup(alloc->getBlock()->findAncestorOpInBlock(*user)));
      for (Value result : user->getResults())
        if (isa<MemRefType>(result.getType()))
          names.insert(result);
    }
  return last;
}

/// One block, over this many pointers.
LogicalResult verifyEntry(func::FuncOp func, unsigned pointers) {
  if (!func.getBody().hasOneBlock())
    return func.emitError() << "expects a program of one block";
  if (func.getNumArguments() != pointers ||
      !llvm::all_of(func.getArgumentTypes(), llvm::IsaPred<LLVM::LLVMPointerType>))
    return func.emitError() << "expects @" << func.getName() << " to take " << pointers << " pointers, got "
                            << func.getFunctionType();
  return success();
}

struct PlanArena : impl::PlanArenaPassBase<PlanArena> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    auto run = module.lookupSymbol<func::FuncOp>(kernel::kRunName);
    auto plan = module.lookupSymbol<func::FuncOp>(kernel::kPlanName);
    if (!run || !plan)
      return;
    if (failed(verifyEntry(run, 1)) || failed(verifyEntry(plan, 3)))
      return signalPassFailure();
    ShapeContext shapes;
    llvm::StringSet<> computed;
    if (auto symbols = module->getAttrOfType<ArrayAttr>(kernel::kSymbolsAttr))
      for (auto entry : symbols.getAsRange<DictionaryAttr>()) {
        int64_t max = cast<IntegerAttr>(entry.get("max")).getInt();
        shapes.ranges[cast<StringAttr>(entry.get("name")).getValue()] = {
            cast<IntegerAttr>(entry.get("min")).getInt(), max < 0 ? std::nullopt : std::optional<int64_t>(max)};
        if (entry.get("computed"))
          computed.insert(cast<StringAttr>(entry.get("name")).getValue());
      }
    auto misplaced = module.walk([&](kernel::AllocOp alloc) {
      if (run->isProperAncestor(alloc))
        return WalkResult::advance();
      alloc.emitOpError() << "expects to stand in @" << kernel::kRunName;
      return WalkResult::interrupt();
    });
    if (misplaced.wasInterrupted())
      return signalPassFailure();
    Order order(run);
    SmallVector<kernel::AllocOp> allocs;
    run.walk<WalkOrder::PreOrder>([&](kernel::AllocOp alloc) { allocs.push_back(alloc); });

    SmallVector<Slot> slots;
    SmallVector<std::pair<kernel::AllocOp, size_t>> placed; ///< in which slot
    int64_t dynamicSlots = 0;
    for (kernel::AllocOp alloc : allocs) {
      auto type = cast<MemRefType>(alloc.getType());
      SymExpr bytes((type.getElementTypeBitWidth() + 7) / 8);
      size_t next = 0;
      for (int64_t extent : type.getShape())
        bytes = bytes * (ShapedType::isDynamic(extent) ? shapes.indexValue(alloc.getDims()[next++]) : SymExpr(extent));
      if (bytes.dependsOnData()) {
        alloc.emitOpError() << "expects a size that follows from symbolic dimensions, got " << bytes.str() << " bytes";
        return signalPassFailure();
      }
      // What @plan can't know the run asks for when it gets there.
      SmallVector<std::string> names;
      bytes.collectSymbols(names);
      if (llvm::any_of(names, [&](const std::string &name) { return computed.contains(name); })) {
        OpBuilder b(alloc);
        Value place = b.create<kernel::DynamicAllocOp>(alloc.getLoc(), alloc.getType(), run.getArgument(0),
                                                       dynamicSlots++, alloc.getDims());
        alloc.replaceAllUsesWith(place);
        alloc.erase();
        continue;
      }
      // A size that is a multiple of 64 whatever the symbols needs no rounding.
      if (!llvm::all_of(bytes.getTerms(), [](const auto &term) { return term.second % 64 == 0; }))
        bytes = shapes.floorDiv(bytes + SymExpr(63), 64) * SymExpr(64);
      size_t begin = order.begin[alloc], end = lastUse(alloc, order);
      std::optional<size_t> chosen;
      for (auto [i, slot] : llvm::enumerate(slots)) {
        if (slot.freeFrom > begin)
          continue;
        if (slot.size == bytes) {
          chosen = i;
          break;
        }
        if (!chosen && shapes.atLeast(slot.size - bytes, 0))
          chosen = i;
      }
      // A slot that provably is the smaller of the two grows.
      for (size_t i = 0; !chosen && i < slots.size(); ++i)
        if (slots[i].freeFrom <= begin && shapes.atLeast(bytes - slots[i].size, 0)) {
          slots[i].size = bytes;
          chosen = i;
        }
      if (!chosen) {
        chosen = slots.size();
        slots.push_back({bytes, 0});
      }
      slots[*chosen].freeFrom = end + 1;
      placed.push_back({alloc, *chosen});
    }

    // Each size is written once, where the run begins: written at every buffer, the sums of a model of many sizes that
    // nothing relates, such as those of an image's stages, are millions of operations.
    SymExpr total;
    SmallVector<Value> offsets;
    OpBuilder entry = OpBuilder::atBlockBegin(&run.getBody().front());
    Location loc = run.getLoc();
    Value offset; // of what does not add up to a constant
    int64_t constant = 0;
    for (const Slot &slot : slots) {
      Value place = offset;
      if (!offset || constant != 0) {
        Value known = entry.create<arith::ConstantIndexOp>(loc, constant);
        place = offset ? entry.create<arith::AddIOp>(loc, offset, known).getResult() : known;
      }
      offsets.push_back(place);
      total = total + slot.size;
      if (std::optional<int64_t> size = slot.size.constant()) {
        constant =
            static_cast<int64_t>(static_cast<uint64_t>(constant) + static_cast<uint64_t>(*size)); // as total does
        continue;
      }
      Value size = materialize(entry, loc, slot.size);
      offset = offset ? entry.create<arith::AddIOp>(loc, offset, size).getResult() : size;
    }
    for (auto [alloc, slot] : placed) {
      OpBuilder b(alloc);
      Value place = b.create<kernel::ArenaOp>(alloc.getLoc(), alloc.getType(), run.getArgument(0), offsets[slot],
                                              alloc.getDims());
      alloc.replaceAllUsesWith(place);
      alloc.erase();
    }
    Operation *end = plan.getBody().front().getTerminator();
    OpBuilder b(end);
    Value bytes = b.create<arith::IndexCastOp>(plan.getLoc(), b.getI64Type(), materialize(b, plan.getLoc(), total));
    b.create<LLVM::StoreOp>(plan.getLoc(), bytes, plan.getArgument(2));
  }
};

} // namespace
} // namespace lathe::memory
