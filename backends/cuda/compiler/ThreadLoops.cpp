//===- ThreadLoops.cpp - Iterations of kernels' loops as threads ----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/Combiners.h"
#include "backends/cpu/compiler/RowKernel.h"
#include "backends/cuda/compiler/Passes.h"
#include "backends/cuda/compiler/ThreadPlan.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Matchers.h"

namespace lathe::cuda {
#define GEN_PASS_DEF_CUDATHREADLOOPSPASS
#include "backends/cuda/compiler/Passes.h.inc"
} // namespace lathe::cuda

using namespace mlir;

namespace lathe::cuda {
namespace {

constexpr int64_t kWarp = 32;
/// Threads of a block: of one that shares rows at most, and of others.
constexpr int64_t kMostThreads = 512, kThreads = 128;
/// Blocks of a grid, which take more than one turn where there is more.
constexpr int64_t kMostBlocks = 65536;
constexpr int64_t kWordBytes = 8;

/// Writes a kernel for threads.
class Writer {
public:
  explicit Writer(func::FuncOp kernel, ThreadPlan &plan)
      : kernel(kernel), plan(plan), b(kernel.getContext()), loc(kernel.getLoc()) {}

  /// Returns how many bytes the threads of a block share.
  int64_t run();

private:
  Value index(int64_t value) { return b.create<arith::ConstantIndexOp>(loc, value); }
  Value word(Value value, Type type);
  Value number(Value word, Type type);
  Value exchange(Value word, int64_t distance);
  Value acrossWarp(Operation *combiner, Value value, int64_t lanes);
  Value acrossBlock(Operation *combiner, Value value);
  void share(scf::ForOp loop, ArrayRef<Operation *> combiners);
  void writeRows();
  void rowIndices(Value row, IRMapping &map);
  Value ofRow(Value value, Value row, IRMapping &map);

  func::FuncOp kernel;
  ThreadPlan &plan;
  OpBuilder b;
  Location loc;
  Value thread, threads, begin, count;
  int64_t shared = 0;
};

/// The bits of a number as an integer of 32 or 64, as shuffles and shared memory take them.
Value Writer::word(Value value, Type type) {
  if (type.isIndex())
    return b.create<arith::IndexCastOp>(loc, b.getI64Type(), value);
  unsigned width = type.getIntOrFloatBitWidth();
  if (isa<FloatType>(type))
    value = b.create<arith::BitcastOp>(loc, b.getIntegerType(width), value);
  return width < 32 ? b.create<arith::ExtUIOp>(loc, b.getI32Type(), value).getResult() : value;
}

Value Writer::number(Value word, Type type) {
  if (type.isIndex())
    return b.create<arith::IndexCastOp>(loc, type, word);
  unsigned width = type.getIntOrFloatBitWidth();
  if (width < 32)
    word = b.create<arith::TruncIOp>(loc, b.getIntegerType(width), word);
  return isa<FloatType>(type) ? b.create<arith::BitcastOp>(loc, type, word).getResult() : word;
}

/// What the lane has whose number differs in the bit `distance`.
Value Writer::exchange(Value word, int64_t distance) {
  auto half = [&](Value part) {
    return b.create<gpu::ShuffleOp>(loc, part, distance, kWarp, gpu::ShuffleMode::XOR).getShuffleResult();
  };
  if (word.getType().isInteger(32))
    return half(word);
  Type i32 = b.getI32Type(), i64 = b.getI64Type();
  Value shift = b.create<arith::ConstantIntOp>(loc, 32, i64);
  Value low = half(b.create<arith::TruncIOp>(loc, i32, word));
  Value high = half(b.create<arith::TruncIOp>(loc, i32, b.create<arith::ShRUIOp>(loc, word, shift)));
  high = b.create<arith::ShLIOp>(loc, b.create<arith::ExtUIOp>(loc, i64, high), shift);
  return b.create<arith::OrIOp>(loc, high, b.create<arith::ExtUIOp>(loc, i64, low));
}

/// All lanes get the same, as both of a pair combine the same two values.
Value Writer::acrossWarp(Operation *combiner, Value value, int64_t lanes) {
  Type type = value.getType();
  for (int64_t distance = lanes / 2; distance > 0; distance /= 2)
    value = cpu::combine(b, loc, combiner, value, number(exchange(word(value, type), distance), type));
  return value;
}

Value Writer::acrossBlock(Operation *combiner, Value value) {
  value = acrossWarp(combiner, value, kWarp);
  Type type = value.getType(), bits = word(value, type).getType();
  // A place of its own for each state: the next may be written while others still read.
  auto space = gpu::AddressSpaceAttr::get(b.getContext(), gpu::AddressSpace::Workgroup);
  Value all = b.create<gpu::DynamicSharedMemoryOp>(
      loc, MemRefType::get({ShapedType::kDynamic}, b.getI8Type(), MemRefLayoutAttrInterface(), space));
  auto placeType = MemRefType::get({kWarp}, bits, MemRefLayoutAttrInterface(), space);
  Value place = b.create<memref::ViewOp>(loc, placeType, all, index(shared), ValueRange{});
  shared += kWarp * kWordBytes;
  Value isMore = b.create<arith::CmpIOp>(loc, arith::CmpIPredicate::ugt, threads, index(kWarp));
  auto branch = b.create<scf::IfOp>(loc, TypeRange{type}, isMore, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(branch.elseBlock());
  b.create<scf::YieldOp>(loc, value);
  b.setInsertionPointToStart(branch.thenBlock());
  Value warp = b.create<arith::DivUIOp>(loc, thread, index(kWarp)),
        lane = b.create<arith::RemUIOp>(loc, thread, index(kWarp));
  Value isFirst = b.create<arith::CmpIOp>(loc, arith::CmpIPredicate::eq, lane, index(0));
  auto first = b.create<scf::IfOp>(loc, isFirst, /*withElseRegion=*/false);
  b.setInsertionPointToStart(first.thenBlock());
  b.create<memref::StoreOp>(loc, word(value, type), place, warp);
  b.setInsertionPointAfter(first);
  b.create<gpu::BarrierOp>(loc);
  Value warps = b.create<arith::DivUIOp>(loc, threads, index(kWarp));
  Value isThere = b.create<arith::CmpIOp>(loc, arith::CmpIPredicate::ult, lane, warps);
  auto part = b.create<scf::IfOp>(loc, TypeRange{bits}, isThere, /*withElseRegion=*/true);
  b.setInsertionPointToStart(part.thenBlock());
  b.create<scf::YieldOp>(loc, b.create<memref::LoadOp>(loc, place, lane).getResult());
  b.setInsertionPointToStart(part.elseBlock());
  b.create<scf::YieldOp>(loc, word(b.create<arith::ConstantOp>(loc, cpu::neutralOf(combiner, type)), type));
  b.setInsertionPointAfter(part);
  // Of blocks of at most 16 warps the upper lanes have nothing.
  b.create<scf::YieldOp>(loc, acrossWarp(combiner, number(part.getResult(0), type), kWarp));
  return branch.getResult(0);
}

/// Each thread takes every so many-th iteration.
void Writer::share(scf::ForOp loop, ArrayRef<Operation *> combiners) {
  b.setInsertionPoint(loop);
  loop.setLowerBound(b.create<arith::AddIOp>(loc, loop.getLowerBound(), thread));
  loop.setStep(threads);
  SmallVector<Value> starts(loop.getInitArgs());
  for (auto [i, combiner] : llvm::enumerate(combiners))
    loop.getInitArgsMutable()[i].set(b.create<arith::ConstantOp>(loc, cpu::neutralOf(combiner, starts[i].getType())));
  b.setInsertionPointAfter(loop);
  for (auto [i, combiner] : llvm::enumerate(combiners)) {
    Value part = loop.getResult(i);
    SmallVector<OpOperand *> uses(llvm::make_pointer_range(part.getUses()));
    Value total = cpu::combine(b, loc, combiner, starts[i], acrossBlock(combiner, part));
    for (OpOperand *use : uses)
      use->set(total);
    b.setInsertionPointAfterValue(total);
  }
}

/// What the entry computed from the first row's number, of another row.
Value Writer::ofRow(Value value, Value row, IRMapping &map) {
  if (value == begin)
    return row;
  if (Value known = map.lookupOrNull(value))
    return known;
  Operation *op = value.getDefiningOp();
  if (!op || op->getBlock() != &kernel.getBody().front())
    return value;
  bool follows = false;
  IRMapping operands;
  for (Value operand : op->getOperands()) {
    Value own = ofRow(operand, row, map);
    follows |= own != operand;
    operands.map(operand, own);
  }
  Value result = value;
  if (follows)
    result = b.clone(*op, operands)->getResult(cast<OpResult>(value).getResultNumber());
  map.map(value, result);
  return result;
}

/// The loop over the rows, or elements, of a thread or block.
void Writer::writeRows() {
  scf::ForOp rows = plan.rows;
  b.setInsertionPoint(rows);
  Value first, step, total = count, columns;
  if (plan.mapping == Mapping::columns) {
    first = b.create<gpu::BlockIdOp>(loc, gpu::Dimension::x);
    step = b.create<gpu::GridDimOp>(loc, gpu::Dimension::x);
  } else {
    Value block = b.create<gpu::BlockIdOp>(loc, gpu::Dimension::x),
          blocks = b.create<gpu::GridDimOp>(loc, gpu::Dimension::x);
    first = b.create<arith::AddIOp>(loc, b.create<arith::MulIOp>(loc, block, threads), thread);
    step = b.create<arith::MulIOp>(loc, blocks, threads);
  }
  scf::ForOp elements = plan.mapping == Mapping::elements ? plan.shared.begin()->first : scf::ForOp();
  if (elements) {
    columns = elements.getUpperBound();
    total = b.create<arith::MulIOp>(loc, count, columns);
  }
  auto loop = b.create<scf::ForOp>(loc, first, total, step);
  b.setInsertionPointToStart(loop.getBody());
  Value row = loop.getInductionVar(), column;
  if (elements) {
    column = b.create<arith::RemUIOp>(loc, row, columns);
    row = b.create<arith::DivUIOp>(loc, row, columns);
  }
  IRMapping map;
  for (auto [init, state] : llvm::zip(rows.getInitArgs(), rows.getRegionIterArgs()))
    state.replaceAllUsesWith(ofRow(init, row, map));
  rows.getInductionVar().replaceAllUsesWith(row);
  rows.getBody()->getTerminator()->erase();
  Operation *end = loop.getBody()->getTerminator();
  loop.getBody()->getOperations().splice(end->getIterator(), rows.getBody()->getOperations());
  rows.erase();
  if (elements) {
    elements.getInductionVar().replaceAllUsesWith(column);
    elements.getBody()->getTerminator()->erase();
    loop.getBody()->getOperations().splice(elements->getIterator(), elements.getBody()->getOperations());
    elements.erase();
  }
  plan.rows = loop;
}

int64_t Writer::run() {
  Block &entry = kernel.getBody().front();
  begin = entry.getArgument(2);
  count = entry.addArgument(b.getIndexType(), loc);
  b.setInsertionPointToStart(&entry);
  if (plan.mapping != Mapping::kernel) {
    thread = b.create<gpu::ThreadIdOp>(loc, gpu::Dimension::x);
    threads = b.create<gpu::BlockDimOp>(loc, gpu::Dimension::x);
    writeRows();
  }
  if (plan.mapping == Mapping::columns) {
    for (Operation &op : llvm::make_early_inc_range(*plan.rows.getBody()))
      if (isa<memref::StoreOp>(op)) {
        b.setInsertionPoint(&op);
        auto isFirst = b.create<arith::CmpIOp>(loc, arith::CmpIPredicate::eq, thread, index(0));
        auto branch = b.create<scf::IfOp>(loc, isFirst, /*withElseRegion=*/false);
        op.moveBefore(branch.thenBlock()->getTerminator());
      }
    for (auto &[loop, combiners] : plan.shared)
      share(loop, combiners);
    if (shared > 0) { // the next row is not to be written where this one is read
      b.setInsertionPoint(plan.rows.getBody()->getTerminator());
      b.create<gpu::BarrierOp>(loc);
    }
  }
  // What is left of the first and the last row is read by nothing.
  b.setInsertionPointToStart(&entry);
  begin.replaceAllUsesWith(index(0));
  entry.getArgument(3).replaceAllUsesWith(count);
  entry.eraseArgument(3);
  entry.eraseArgument(2);
  kernel.setFunctionType(FunctionType::get(b.getContext(), entry.getArgumentTypes(), {}));
  return shared;
}

/// A number of a kernel as its launch has it: a constant, an argument, or a dimension of one; null for others.
Value atLaunch(OpBuilder &b, kernel::LaunchOp launch, Value value) {
  APInt number;
  if (matchPattern(value, m_ConstantInt(&number)))
    return b.create<arith::ConstantIndexOp>(launch.getLoc(), number.getSExtValue());
  auto dim = value.getDefiningOp<memref::DimOp>();
  std::optional<int64_t> axis = dim ? dim.getConstantIndex() : std::nullopt;
  auto argument = (dim ? dim.getSource() : value).getDefiningOp<kernel::ArgOp>();
  if (!argument || (dim && !axis))
    return {};
  int64_t offset = 0;
  for (Value given : launch.getArgs()) {
    if (offset == static_cast<int64_t>(argument.getOffset()) && given.getType() == argument.getType())
      return dim ? b.create<memref::DimOp>(launch.getLoc(), given, *axis).getResult() : given;
    offset += cpu::argumentBytes(given.getType());
  }
  return {};
}

/// Launches of one kernel.
class Launcher {
public:
  Launcher(kernel::LaunchOp launch, const ThreadPlan &plan)
      : launch(launch), mapping(plan.mapping), b(launch), loc(launch.getLoc()) {
    for (auto [loop, combiners] : plan.shared)
      extents.push_back(atLaunch(b, launch, loop.getUpperBound()));
  }

  void run(int64_t shared) {
    Value count = launch.getCount(), grid = index(1), block = index(1);
    if (mapping == Mapping::columns) {
      Value longest = index(kWarp);
      for (Value extent : extents)
        longest = b.create<arith::MaxSIOp>(loc, longest, extent ? extent : index(kMostThreads / 2));
      block = atMost(wholeWarps(longest), kMostThreads);
      grid = blocksOf(count);
    } else if (mapping != Mapping::kernel) {
      Value all =
          mapping == Mapping::elements ? b.create<arith::MulIOp>(loc, count, extents.front()).getResult() : count;
      block = b.create<arith::MaxSIOp>(loc, atMost(wholeWarps(all), kThreads), index(kWarp));
      Value blocks =
          b.create<arith::DivUIOp>(loc, b.create<arith::AddIOp>(loc, all, index(kThreads - 1)), index(kThreads));
      grid = blocksOf(blocks);
    }
    b.create<kernel::DeviceLaunchOp>(loc, launch.getFrame(), launch.getCallee(), launch.getArgs(), count, grid, block,
                                     launch.getKernel(), shared);
    launch.erase();
  }

  bool knowsExtents() const {
    return llvm::all_of(extents, [](Value extent) { return extent != nullptr; });
  }

private:
  Value index(int64_t value) { return b.create<arith::ConstantIndexOp>(loc, value); }
  Value atMost(Value value, int64_t most) { return b.create<arith::MinSIOp>(loc, value, index(most)); }
  /// At least one: rows may have no columns.
  Value blocksOf(Value number) { return b.create<arith::MaxSIOp>(loc, atMost(number, kMostBlocks), index(1)); }
  Value wholeWarps(Value number) {
    Value warps = b.create<arith::DivUIOp>(loc, b.create<arith::AddIOp>(loc, number, index(kWarp - 1)), index(kWarp));
    return b.create<arith::MulIOp>(loc, warps, index(kWarp));
  }

  kernel::LaunchOp launch;
  Mapping mapping;
  OpBuilder b;
  Location loc;
  SmallVector<Value> extents;
};

struct CudaThreadLoops : impl::CudaThreadLoopsPassBase<CudaThreadLoops> {
  void runOnOperation() override {
    llvm::MapVector<StringAttr, SmallVector<kernel::LaunchOp>> launches;
    getOperation().walk([&](kernel::LaunchOp launch) { launches[launch.getCalleeAttr().getAttr()].push_back(launch); });
    for (auto kernel : getOperation().getOps<func::FuncOp>()) {
      if (!kernel.isPrivate() || kernel.isExternal() || kernel.getNumArguments() != 4)
        continue;
      ThreadPlan plan = planThreads(kernel);
      SmallVector<Launcher> launchers;
      for (kernel::LaunchOp launch : launches[kernel.getSymNameAttr()])
        launchers.emplace_back(launch, plan);
      // A grid is made of the number of elements.
      if (plan.mapping == Mapping::elements &&
          !llvm::all_of(launchers, [](const Launcher &l) { return l.knowsExtents(); })) {
        plan.mapping = Mapping::columns;
        launchers.clear();
        for (kernel::LaunchOp launch : launches[kernel.getSymNameAttr()])
          launchers.emplace_back(launch, plan);
      }
      int64_t shared = Writer(kernel, plan).run();
      // With more registers for each than so many threads can have, the largest blocks would not start.
      int32_t most = plan.mapping == Mapping::columns ? kMostThreads : plan.mapping == Mapping::kernel ? 1 : kThreads;
      kernel->setAttr(NVVM::NVVMDialect::getMaxntidAttrName(), DenseI32ArrayAttr::get(&getContext(), {most}));
      for (Launcher &launcher : launchers)
        launcher.run(shared);
    }
    if (auto run = getOperation().lookupSymbol<func::FuncOp>(kernel::kRunName))
      run.walk([&](memref::LoadOp load) {
        OpBuilder b(load);
        load.replaceAllUsesWith(b.create<kernel::ReadOp>(load.getLoc(), load.getType(), run.getArgument(0),
                                                         load.getMemRef(), load.getIndices())
                                    .getResult());
        load.erase();
      });
  }
};

} // namespace
} // namespace lathe::cuda
