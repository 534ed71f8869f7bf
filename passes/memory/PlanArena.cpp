//===- PlanArena.cpp - Places of intermediate buffers in one arena --------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/memory/Passes.h"
#include "dialects/lathe/Materialize.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/MathExtras.h"
#include <map>
#include <numeric>

namespace lathe::memory {
#define GEN_PASS_DEF_PLANARENAPASS
#include "passes/memory/Passes.h.inc"
} // namespace lathe::memory

using namespace mlir;

namespace lathe::memory {
namespace {

/// Intermediate values that lie at one place one after the other: each but the first is computed in place of the one
/// before.
struct Tenant {
  SmallVector<kernel::AllocOp, 1> allocs;
  SymExpr bytes;
  size_t begin, end; ///< first and last position in the program at which one of them is needed
  size_t family = 0;
  uint64_t offset = 0; ///< in units of the family

  size_t length() const { return end - begin; }
  bool overlaps(const Tenant &other) const { return begin <= other.end && other.begin <= end; }
};

/// A part of the arena that only tenants of comparable sizes share: multiples of one expression, of which none may be
/// negative.
struct Family {
  SymExpr unit;
  SmallVector<size_t> tenants;
  uint64_t units = 0; ///< of all
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

/// Position of the last use of a buffer, through views; `*by` is what uses it.
size_t lastUse(kernel::AllocOp alloc, const Order &order, Operation **by = nullptr) {
  size_t last = order.begin.lookup(alloc);
  llvm::SmallSetVector<Value, 4> names;
  names.insert(alloc.getResult());
  for (size_t i = 0; i < names.size(); ++i)
    for (Operation *user : names[i].getUsers()) {
      // What uses it in a region, which may be a loop's, needs it until that ends.
      Operation *inBlock = alloc->getBlock()->findAncestorOpInBlock(*user);
      if (size_t end = order.end.lookup(inBlock); end > last) {
        last = end;
        if (by)
          *by = inBlock;
      }
      for (Value result : user->getResults())
        if (isa<MemRefType>(result.getType()))
          names.insert(result);
    }
  return last;
}

/// The buffer that a value is another shape of.
Value withoutViews(Value buffer) {
  while (auto view = buffer.getDefiningOp<kernel::ViewOp>())
    buffer = view.getSource();
  return buffer;
}

/// Whether the value lies within the buffer.
bool isWithin(Value value, Value buffer) {
  while (value != buffer)
    if (auto row = value.getDefiningOp<kernel::RowOp>())
      value = row.getSource();
    else if (auto view = value.getDefiningOp<kernel::ViewOp>())
      value = view.getSource();
    else
      return false;
  return true;
}

/// Operands, by their numbers, that the operation reads only at the element of its result that it writes next.
SmallVector<unsigned> inPlaceOperands(Operation *op, bool kernels) {
  SmallVector<unsigned> numbers;
  if (auto matmul = dyn_cast<kernel::MatmulOp>(op)) {
    for (MutableOperandRange range : {matmul.getResidualMutable(), matmul.getMultiplierMutable()})
      for (OpOperand &operand : range)
        if (operand.get().getType() == matmul.getOut().getType()) // bytes lie elsewhere than what they are made of
          numbers.push_back(operand.getOperandNumber());
  } else if (auto launch = dyn_cast<kernel::LaunchOp>(op)) {
    if (auto listed = op->getAttrOfType<DenseI64ArrayAttr>(kernel::kInPlaceAttr); listed && kernels)
      for (int64_t position : listed.asArrayRef())
        numbers.push_back(launch.getArgsMutable()[position].getOperandNumber());
  }
  return numbers;
}

/// The operation that gives the buffer its first content, if that is all of it.
Operation *writerOf(kernel::AllocOp alloc, const Order &order) {
  Operation *first = nullptr;
  SmallVector<Value> names{alloc.getResult()};
  for (size_t i = 0; i < names.size(); ++i)
    for (Operation *user : names[i].getUsers())
      if (auto view = dyn_cast<kernel::ViewOp>(user))
        names.push_back(view.getResult());
      else if (!first || order.begin.lookup(user) < order.begin.lookup(first))
        first = user;
  if (!first || first->getBlock() != alloc->getBlock() ||
      llvm::count_if(first->getOperands(), [&](Value operand) { return isWithin(operand, alloc.getResult()); }) != 1)
    return nullptr;
  auto writes = [&](Value result) { return withoutViews(result) == alloc.getResult(); };
  if (auto matmul = dyn_cast<kernel::MatmulOp>(first))
    return writes(matmul.getOut()) ? first : nullptr;
  auto launch = dyn_cast<kernel::LaunchOp>(first);
  return launch && writes(launch.getArgs().back()) ? first : nullptr;
}

/// Whether `writer` may write its result where `buffer` lies: nothing else is needed of that from then on.
bool mayTakePlaceOf(kernel::AllocOp buffer, Operation *writer, ArrayRef<unsigned> inPlace, const Order &order) {
  if (buffer->getBlock() != writer->getBlock() || lastUse(buffer, order) != order.end.lookup(writer))
    return false;
  bool found = false;
  for (OpOperand &operand : writer->getOpOperands()) {
    if (!isWithin(operand.get(), buffer))
      continue;
    // Under another shape, or as a part, it might be read elsewhere.
    if (withoutViews(operand.get()) != buffer.getResult() || !llvm::is_contained(inPlace, operand.getOperandNumber()))
      return false;
    found = true;
  }
  return found;
}

/// A size as so many times a unit: the factor of all coefficients, rounded up to 64 bytes, so that all multiples are
/// aligned, if that wastes little. Else the rounded size is the unit.
std::pair<uint64_t, SymExpr> splitSize(const SymExpr &bytes, ShapeContext &shapes) {
  constexpr uint64_t kAlignment = 64, kLeast = 8 * kAlignment;
  uint64_t factor = 0;
  for (const auto &[monomial, coefficient] : bytes.getTerms())
    factor = std::gcd(factor, static_cast<uint64_t>(coefficient < 0 ? -coefficient : coefficient));
  if (factor == 0)
    return {0, SymExpr(1)};
  bool isAligned = factor % kAlignment == 0;
  if (!isAligned && factor < kLeast && !bytes.constant())
    return {kAlignment, shapes.floorDiv(bytes + SymExpr(kAlignment - 1), kAlignment)};
  SymExpr unit;
  for (const auto &[monomial, coefficient] : bytes.getTerms()) {
    SymExpr term(coefficient / static_cast<int64_t>(factor));
    for (const SymAtomRef &atom : monomial.atoms)
      term = term * SymExpr::atom(atom);
    unit = unit + term;
  }
  return {llvm::alignTo(factor, kAlignment), unit};
}

/// Gives each tenant of a family, in this order, the place that wastes least among those that were given places before
/// it.
uint64_t place(ArrayRef<size_t> order, MutableArrayRef<Tenant> tenants, ArrayRef<uint64_t> sizes) {
  uint64_t units = 0;
  SmallVector<size_t> done;
  for (size_t tenant : order) {
    Tenant &here = tenants[tenant];
    SmallVector<size_t> neighbours;
    for (size_t other : done)
      if (here.overlaps(tenants[other]))
        neighbours.push_back(other);
    llvm::sort(neighbours,
               [&](size_t a, size_t b) { return std::pair(tenants[a].offset, a) < std::pair(tenants[b].offset, b); });
    std::optional<uint64_t> gap;
    uint64_t free = 0; // from here on, as far as seen
    for (size_t other : neighbours) {
      uint64_t begin = tenants[other].offset;
      if (begin > free && begin - free >= sizes[tenant] && (!gap || begin - free < *gap)) {
        gap = begin - free;
        here.offset = free;
      }
      free = std::max(free, begin + sizes[other]);
    }
    if (!gap)
      here.offset = free;
    units = std::max(units, here.offset + sizes[tenant]);
    done.push_back(tenant);
  }
  return units;
}

/// Places a family: from the largest tenant on, from the one that is needed longest, or as the program comes to them,
/// whichever takes least; of equals, the one that leaves most to the other families where these need something.
void pack(size_t number, MutableArrayRef<Family> families, MutableArrayRef<Tenant> tenants, ArrayRef<uint64_t> sizes) {
  Family &family = families[number];
  llvm::DenseSet<size_t> shared; // tenants that are needed together with those of families that come above
  for (size_t own : family.tenants)
    for (auto [other, tenant] : llvm::enumerate(tenants))
      if (tenant.family > number && tenant.overlaps(tenants[own])) {
        shared.insert(own);
        break;
      }
  SmallVector<size_t> orders[3] = {family.tenants, family.tenants, family.tenants};
  llvm::sort(orders[0], [&](size_t a, size_t b) { return std::pair(sizes[b], a) < std::pair(sizes[a], b); });
  llvm::sort(orders[1],
             [&](size_t a, size_t b) { return std::pair(tenants[b].length(), a) < std::pair(tenants[a].length(), b); });
  std::optional<std::pair<uint64_t, uint64_t>> best;
  SmallVector<uint64_t> offsets;
  for (ArrayRef<size_t> order : orders) {
    uint64_t units = place(order, tenants, sizes), top = 0;
    for (size_t tenant : shared)
      top = std::max(top, tenants[tenant].offset + sizes[tenant]);
    if (best && *best <= std::pair(units, top))
      continue;
    best = {units, top};
    offsets.clear();
    for (size_t tenant : family.tenants)
      offsets.push_back(tenants[tenant].offset);
  }
  for (auto [tenant, offset] : llvm::zip_equal(family.tenants, offsets))
    tenants[tenant].offset = offset;
  family.units = best->first;
}

/// Where the families lie, as code. A family begins where those tenants of the families before it end that are needed
/// together with one of its own.
class Layout {
public:
  Layout(ArrayRef<Family> families, ArrayRef<Tenant> tenants, ArrayRef<uint64_t> sizes, OpBuilder &b, Location loc)
      : b(b), loc(loc) {
    end = b.create<arith::ConstantIndexOp>(loc, 0);
    for (const Family &family : families) {
      Value start = b.create<arith::ConstantIndexOp>(loc, 0);
      for (size_t before = 0; before < starts.size(); ++before) {
        uint64_t top = 0;
        for (size_t other : families[before].tenants)
          if (llvm::any_of(family.tenants, [&](size_t own) { return tenants[own].overlaps(tenants[other]); }))
            top = std::max(top, tenants[other].offset + sizes[other]);
        if (top > 0)
          start = b.create<arith::MaxSIOp>(loc, start, at(before, top));
      }
      starts.push_back(start);
      units.push_back(family.unit.isConstant(1) ? Value() : materialize(b, loc, family.unit, written, /*adds=*/true));
      if (family.units > 0)
        end = b.create<arith::MaxSIOp>(loc, end, at(starts.size() - 1, family.units));
    }
  }

  /// So many units behind the start of a family.
  Value at(size_t family, uint64_t offset) {
    if (offset == 0)
      return starts[family];
    Value value = b.create<arith::ConstantIndexOp>(loc, static_cast<int64_t>(offset));
    if (units[family])
      value = b.create<arith::MulIOp>(loc, units[family], value);
    return b.create<arith::AddIOp>(loc, starts[family], value);
  }
  Value total() const { return end; }

private:
  OpBuilder &b;
  Location loc;
  WrittenAtoms written;
  SmallVector<Value> starts, units;
  Value end;
};

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

/// Plans the arena of one program, step by step.
class Planner {
public:
  Planner(ModuleOp module, func::FuncOp run, bool inPlace) : module(module), run(run), inPlace(inPlace), order(run) {
    if (auto symbols = module->getAttrOfType<ArrayAttr>(kernel::kSymbolsAttr))
      for (auto entry : symbols.getAsRange<DictionaryAttr>()) {
        int64_t max = cast<IntegerAttr>(entry.get("max")).getInt();
        shapes.ranges[cast<StringAttr>(entry.get("name")).getValue()] = {
            cast<IntegerAttr>(entry.get("min")).getInt(), max < 0 ? std::nullopt : std::optional<int64_t>(max)};
        if (entry.get("computed"))
          computed.insert(cast<StringAttr>(entry.get("name")).getValue());
      }
    if (auto kernels = module->getAttrOfType<ArrayAttr>(kernel::kKernelsAttr))
      for (auto [number, entry] : llvm::enumerate(kernels.getAsRange<DictionaryAttr>())) {
        auto computes = entry.getAs<DictionaryAttr>("computes");
        auto operation = computes ? computes.getAs<StringAttr>("operation") : StringAttr();
        if (operation && operation.getValue() == "rotate_half")
          rotations.insert(static_cast<int64_t>(number));
      }
  }

  LogicalResult findTenants();
  void makeFamilies();
  /// Puts the places into the run, and the arena's size into @plan.
  void write(func::FuncOp plan);

private:
  SymExpr sizeOf(kernel::AllocOp alloc);
  bool isStepRows(Operation *op) const;
  size_t neededUntil(kernel::AllocOp alloc) const;
  bool isComputed(const SymExpr &bytes) const;
  void addTenant(kernel::AllocOp alloc, const SymExpr &bytes);

  ModuleOp module;
  func::FuncOp run;
  bool inPlace;
  Order order;
  ShapeContext shapes;
  llvm::StringSet<> computed;        ///< symbols that the run gives a value
  llvm::DenseSet<int64_t> rotations; ///< kernels that a program for a device says to rotate rows
  SmallVector<Tenant> tenants;
  SmallVector<Family> families;
  SmallVector<uint64_t> sizes; ///< of tenants, in units
};

/// In bytes.
SymExpr Planner::sizeOf(kernel::AllocOp alloc) {
  auto type = cast<MemRefType>(alloc.getType());
  SymExpr bytes((type.getElementTypeBitWidth() + 7) / 8);
  size_t next = 0;
  for (int64_t extent : type.getShape())
    bytes = bytes * (ShapedType::isDynamic(extent) ? shapes.indexValue(alloc.getDims()[next++]) : SymExpr(extent));
  return bytes;
}

/// Whether a device may run it as one with its neighbours of the kind: rotations, and rows that go into caches.
bool Planner::isStepRows(Operation *op) const {
  if (isa<kernel::CacheAppendOp>(op))
    return true;
  auto launch = dyn_cast<kernel::LaunchOp>(op);
  return launch && rotations.contains(static_cast<int64_t>(launch.getKernel()));
}

/// Position of the last use, or, where the program tells which kernels rotate rows, of the last neighbour that may run
/// together with it: what that writes lies elsewhere. Programs for the processor tell nothing of the kind.
size_t Planner::neededUntil(kernel::AllocOp alloc) const {
  Operation *user = nullptr;
  size_t last = lastUse(alloc, order, &user);
  if (rotations.empty() || !user || !isStepRows(user))
    return last;
  for (Operation *next = user->getNextNode(); next; next = next->getNextNode())
    if (isStepRows(next))
      last = order.end.lookup(next);
    else if (!isa<kernel::AllocOp>(next) && !isPure(next))
      break;
  return last;
}

bool Planner::isComputed(const SymExpr &bytes) const {
  SmallVector<std::string> names;
  bytes.collectSymbols(names);
  return llvm::any_of(names, [&](const std::string &name) { return computed.contains(name); });
}

void Planner::addTenant(kernel::AllocOp alloc, const SymExpr &bytes) {
  size_t begin = order.begin[alloc], end = neededUntil(alloc);
  // What is computed element by element from a buffer that nothing needs afterwards takes its place.
  Operation *writer = writerOf(alloc, order);
  SmallVector<unsigned> operands = writer ? inPlaceOperands(writer, inPlace) : SmallVector<unsigned>();
  auto before = llvm::find_if(llvm::reverse(tenants), [&](Tenant &tenant) {
    return !operands.empty() && tenant.bytes == bytes && tenant.end == order.end.lookup(writer) &&
           mayTakePlaceOf(tenant.allocs.back(), writer, operands, order);
  });
  if (before != tenants.rend()) {
    before->allocs.push_back(alloc);
    before->end = end;
  } else {
    tenants.push_back({{alloc}, bytes, begin, end});
  }
}

LogicalResult Planner::findTenants() {
  auto misplaced = module.walk([&](kernel::AllocOp alloc) {
    if (run->isProperAncestor(alloc))
      return WalkResult::advance();
    alloc.emitOpError() << "expects to stand in @" << kernel::kRunName;
    return WalkResult::interrupt();
  });
  if (misplaced.wasInterrupted())
    return failure();
  SmallVector<kernel::AllocOp> allocs;
  run.walk<WalkOrder::PreOrder>([&](kernel::AllocOp alloc) { allocs.push_back(alloc); });
  int64_t dynamicSlots = 0;
  for (kernel::AllocOp alloc : allocs) {
    SymExpr bytes = sizeOf(alloc);
    if (bytes.dependsOnData())
      return alloc.emitOpError() << "expects a size that follows from symbolic dimensions, got " << bytes.str()
                                 << " bytes";
    if (!isComputed(bytes)) {
      addTenant(alloc, bytes);
      continue;
    }
    // What @plan can't know the run asks for when it gets there.
    OpBuilder b(alloc);
    Value place = b.create<kernel::DynamicAllocOp>(alloc.getLoc(), alloc.getType(), run.getArgument(0), dynamicSlots++,
                                                   alloc.getDims());
    alloc.replaceAllUsesWith(place);
    alloc.erase();
  }
  return success();
}

void Planner::makeFamilies() {
  for (auto [i, tenant] : llvm::enumerate(tenants)) {
    auto [size, unit] = splitSize(tenant.bytes, shapes);
    auto family = llvm::find_if(families, [&](const Family &family) { return family.unit == unit; });
    if (family == families.end())
      family = families.insert(families.end(), {unit, {}});
    family->tenants.push_back(i);
    sizes.push_back(size);
  }
  // What is needed long, such as masks, lies below: above others it would keep those away that are needed only at
  // times.
  auto longest = [&](const Family &family) {
    size_t length = 0;
    for (size_t tenant : family.tenants)
      length = std::max(length, tenants[tenant].length());
    return length;
  };
  llvm::sort(families, [&](const Family &a, const Family &b) {
    return std::pair(longest(b), a.tenants.front()) < std::pair(longest(a), b.tenants.front());
  });
  for (auto [number, family] : llvm::enumerate(families))
    for (size_t tenant : family.tenants)
      tenants[tenant].family = number;
  for (size_t family = 0; family < families.size(); ++family)
    pack(family, families, tenants, sizes);
}

void Planner::write(func::FuncOp plan) {
  // Each unit is written once, where the run begins: written at every buffer, the sums of a model of many sizes that
  // nothing relates, such as those of an image's stages, are millions of operations.
  OpBuilder entry = OpBuilder::atBlockBegin(&run.getBody().front());
  Layout inRun(families, tenants, sizes, entry, run.getLoc());
  std::map<std::pair<size_t, uint64_t>, Value> places;
  for (Tenant &tenant : tenants) {
    Value &place = places[{tenant.family, tenant.offset}];
    if (!place)
      place = inRun.at(tenant.family, tenant.offset);
    for (kernel::AllocOp alloc : tenant.allocs) {
      OpBuilder b(alloc);
      Value buffer =
          b.create<kernel::ArenaOp>(alloc.getLoc(), alloc.getType(), run.getArgument(0), place, alloc.getDims());
      alloc.replaceAllUsesWith(buffer);
      alloc.erase();
    }
  }
  OpBuilder b(plan.getBody().front().getTerminator());
  Value total = Layout(families, tenants, sizes, b, plan.getLoc()).total();
  Value bytes = b.create<arith::IndexCastOp>(plan.getLoc(), b.getI64Type(), total);
  b.create<LLVM::StoreOp>(plan.getLoc(), bytes, plan.getArgument(2));
}

struct PlanArena : impl::PlanArenaPassBase<PlanArena> {
  using PlanArenaPassBase::PlanArenaPassBase;
  void runOnOperation() override {
    auto run = getOperation().lookupSymbol<func::FuncOp>(kernel::kRunName);
    auto plan = getOperation().lookupSymbol<func::FuncOp>(kernel::kPlanName);
    if (!run || !plan)
      return;
    if (failed(verifyEntry(run, 1)) || failed(verifyEntry(plan, 3)))
      return signalPassFailure();
    Planner planner(getOperation(), run, inPlace);
    if (failed(planner.findTenants()))
      return signalPassFailure();
    planner.makeFamilies();
    planner.write(plan);
  }
};

} // namespace
} // namespace lathe::memory
