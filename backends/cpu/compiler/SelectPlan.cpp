//===- SelectPlan.cpp - Shapes, symbols and checks of a selected program --===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/Selector.h"
#include "dialects/kernel/Kernel.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;

namespace lathe::cpu {

/// An expression as a user reads it: of a long one, what it depends on.
std::string describe(const SymExpr &expr) {
  std::string text = expr.str();
  if (text.size() < 100 && !StringRef(text).contains('#'))
    return text;
  SmallVector<std::string> names;
  expr.collectSymbols(names);
  llvm::sort(names);
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return "a function of " + llvm::join(names, ", ");
}

Attribute Selector::valueTable(Value value, Attribute name, const Twine &otherwise) {
  if (!isa_and_nonnull<StringAttr>(name))
    name = b.getStringAttr(otherwise);
  SmallVector<Attribute> dims;
  for (const SymExpr &dim : shape(value)) {
    if (auto constant = dim.constant())
      dims.push_back(b.getI64IntegerAttr(*constant));
    else
      dims.push_back(b.getStringAttr(dim.str()));
  }
  auto element = cast<RankedTensorType>(value.getType()).getElementType();
  return dictionary({{"name", name}, {"type", TypeAttr::get(element)}, {"shape", b.getArrayAttr(dims)}});
}

/// Adds the elements of inputs that the program reads as symbols, and of what it computes.
LogicalResult Selector::addElements(SmallVectorImpl<Attribute> &symbolTable) {
  llvm::SmallSetVector<StringAttr, 8> names;
  module.walk([&](SymbolOp op) {
    if (SymExpr::isInputElement(op.getName()))
      names.insert(op.getNameAttr());
  });
  module.walk([&](kernel::DefineOp op) { names.insert(op.getNameAttr()); });
  for (StringAttr name : names) {
    if (computed.count(name)) {
      symbolTable.push_back(dictionary({{"name", name},
                                        {"min", b.getI64IntegerAttr(INT64_MIN)},
                                        {"max", b.getI64IntegerAttr(-1)},
                                        {"computed", b.getUnitAttr()}}));
      continue;
    }
    auto [input, position] = name.getValue().rsplit('[');
    int64_t element;
    bool found =
        !position.drop_back().getAsInteger(10, element) &&
        llvm::any_of(main.getArguments(), [&](BlockArgument argument) {
          return main.getArgAttr(argument.getArgNumber(), LatheDialect::kNameAttr) == StringAttr::get(context, input);
        });
    if (!found ||
        llvm::any_of(symbolTable, [&](Attribute entry) { return cast<DictionaryAttr>(entry).get("name") == name; }))
      return main.emitError() << "the symbolic dimension " << name
                              << " reads like an element of an input: give it another name";
    symbolTable.push_back(dictionary({{"name", name},
                                      {"min", b.getI64IntegerAttr(INT64_MIN)},
                                      {"max", b.getI64IntegerAttr(-1)},
                                      {"input", b.getStringAttr(input)},
                                      {"element", b.getI64IntegerAttr(element)}}));
  }
  return success();
}

/// The value that indices of a table are the elements of, moved by a number, and what they must be below for `rows` rows.
static std::pair<Value, int64_t> lookedUp(Value indices, int64_t rows) {
  auto number = [](Value value) -> std::optional<int64_t> {
    auto constant = value.getDefiningOp<ConstantOp>();
    auto elements = constant ? dyn_cast<DenseIntElementsAttr>(constant.getValue()) : DenseIntElementsAttr();
    if (!elements || elements.empty() || !elements.isSplat() || elements.getElementType().getIntOrFloatBitWidth() == 1)
      return std::nullopt;
    return elements.getSplatValue<APInt>().getSExtValue();
  };
  while (Operation *op = indices.getDefiningOp()) {
    if (isa<ReshapeOp, CastOp, BroadcastOp, TransposeOp, SliceOp>(op)) {
      indices = op->getOperand(0);
      continue;
    }
    // Some tables of positions begin with rows for what is no position.
    auto add = dyn_cast<AddOp>(op);
    std::optional<int64_t> left = add ? number(add.getLhs()) : std::nullopt, right = add ? number(add.getRhs()) : std::nullopt;
    if (!left && !right)
      break;
    rows -= right.value_or(left.value_or(0));
    indices = right ? add.getLhs() : add.getRhs();
  }
  return {indices, rows};
}

void Selector::findLookups() {
  llvm::SmallPtrSet<Value, 8> readOtherwise;
  main.walk([&](Operation *op) {
    auto gather = dyn_cast<GatherOp>(op);
    for (OpOperand &operand : op->getOpOperands()) {
      Value table = operand.get();
      if (!isa_and_nonnull<WeightOp, ConstantOp>(table.getDefiningOp()))
        continue;
      auto type = cast<RankedTensorType>(table.getType());
      if (!gather || operand.getOperandNumber() != 0 || gather.getAxis() != 0 || type.getNumElements() == 0) {
        readOtherwise.insert(table);
        continue;
      }
      SymExpr rows(1);
      for (const SymExpr &dim : shape(gather.getIndices()))
        rows = rows * dim;
      // A loop may look up other rows each time.
      if (isComputed(rows) || op->getParentOfType<LoopOp>())
        readOtherwise.insert(table);
      else
        rowsRead[table] = rowsRead.lookup(table) + rows;
      auto [indices, last] = lookedUp(gather.getIndices(), type.getDimSize(0));
      if (last > 0 && isa<BlockArgument>(indices) && indices.getParentBlock() == &main.getBody().front()) {
        int64_t &most = below.try_emplace(indices, last).first->second;
        most = std::min(most, last);
      }
    }
  });
  rowsRead.remove_if([&](const auto &entry) { return readOtherwise.contains(entry.first); });
}

/// Symbols are bound by inputs that have them as a dimension by themselves; all that are mentioned must be. Beside them
/// stand what @plan and the run read and define, so they are there.
LogicalResult Selector::setSymbols(const llvm::SetVector<StringRef> &alone, ArrayRef<std::string> mentioned) {
  for (const std::string &name : mentioned)
    if (!alone.contains(name) && !SymExpr::isInputElement(name))
      return main.emitError() << "the symbolic dimension '" << name
                              << "' has no value: expected an input with a dimension of that name alone; name the "
                                 "dimensions of the inputs";
  SmallVector<Attribute> symbolTable;
  for (StringRef name : alone) {
    ShapeContext::Range range = shapes.ranges.lookup(name);
    symbolTable.push_back(dictionary({{"name", b.getStringAttr(name)},
                                      {"min", b.getI64IntegerAttr(range.min)},
                                      {"max", b.getI64IntegerAttr(range.max.value_or(-1))}}));
  }
  if (failed(addElements(symbolTable)))
    return failure();
  module->setAttr(kernel::kSymbolsAttr, b.getArrayAttr(symbolTable));
  return success();
}

Attribute Selector::inputEntry(BlockArgument argument) {
  Attribute entry = valueTable(argument, main.getArgAttr(argument.getArgNumber(), LatheDialect::kNameAttr),
                               "input_" + Twine(argument.getArgNumber()));
  int64_t rows = below.lookup(argument);
  if (!rows)
    return entry;
  NamedAttrList extended(cast<DictionaryAttr>(entry));
  extended.set("below", b.getI64IntegerAttr(rows));
  return extended.getDictionary(context);
}

LogicalResult Selector::emitPlan() {
  Location loc = main.getLoc();
  Operation *terminator = main.getBody().front().getTerminator();
  auto pointer = LLVM::LLVMPointerType::get(context);
  Type i64 = b.getI64Type();
  b.setInsertionPointToEnd(module.getBody());
  auto plan =
      b.create<func::FuncOp>(loc, kernel::kPlanName, FunctionType::get(context, {pointer, pointer, pointer}, {i64}));
  b.setInsertionPointToStart(plan.addEntryBlock());
  int64_t position = 0;
  auto store = [&](const SymExpr &dim) {
    Value value = isComputed(dim) ? b.create<arith::ConstantIntOp>(loc, -1, 64).getResult()
                                  : b.create<arith::IndexCastOp>(loc, i64, host(dim)).getResult();
    Value at = b.create<LLVM::GEPOp>(loc, pointer, i64, plan.getArgument(1),
                                     ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(position++)});
    b.create<LLVM::StoreOp>(loc, value, at);
  };
  SmallVector<Attribute> inputTable, outputTable;
  llvm::SetVector<StringRef> alone;
  SmallVector<std::string> mentioned;
  for (BlockArgument argument : main.getArguments()) {
    for (const SymExpr &dim : shape(argument)) {
      store(dim);
      if (auto name = dim.symbolName())
        alone.insert(*name);
      dim.collectSymbols(mentioned);
    }
    inputTable.push_back(inputEntry(argument));
  }
  for (OpOperand &operand : terminator->getOpOperands()) {
    for (const SymExpr &dim : shape(operand.get())) {
      store(dim);
      dim.collectSymbols(mentioned);
    }
    outputTable.push_back(valueTable(operand.get(),
                                     main.getResultAttr(operand.getOperandNumber(), LatheDialect::kNameAttr),
                                     "output_" + Twine(operand.getOperandNumber())));
  }
  Value code = b.create<arith::ConstantIntOp>(loc, 0, 64);
  // The first that fails is reported: later ones tend to follow from earlier ones.
  for (const Condition &condition : llvm::reverse(conditions))
    if (condition.awaited.empty())
      code = b.create<arith::SelectOp>(loc, condition.violated(),
                                       b.create<arith::ConstantIntOp>(loc, condition.check + 1, 64), code);
  b.create<func::ReturnOp>(loc, code);
  if (failed(setSymbols(alone, mentioned)))
    return failure();
  module->setAttr(kernel::kInputsAttr, b.getArrayAttr(inputTable));
  module->setAttr(kernel::kOutputsAttr, b.getArrayAttr(outputTable));
  return success();
}

//===----------------------------------------------------------------------===//
// Computed symbols
//===----------------------------------------------------------------------===//

void Selector::addComputed(Value index, std::string base, int64_t position, Region *region) {
  auto taken = [&](StringRef base) {
    return llvm::any_of(main.getArguments(), [&](BlockArgument argument) {
      return main.getArgAttr(argument.getArgNumber(), LatheDialect::kNameAttr) == StringAttr::get(context, base);
    });
  };
  std::string name;
  do {
    name = base + "[" + std::to_string(position) + "]";
    base += "_";
  } while (computed.count(name) || taken(StringRef(base).drop_back()));
  computed[name] = region;
  shapes.setIndexValue(index, SymExpr::symbol(name));
}

/// Index values that are read from what the run computes, and numbers of iterations, become symbols. Shapes are asked for in
/// the order of the program: what is far away from what is known is taken to be data.
void Selector::findComputed(Block &block) {
  auto baseOf = [](Location loc) {
    llvm::SetVector<StringAttr> names;
    collectNames(loc, names);
    return names.empty() ? std::string("value") : names.front().str();
  };
  for (Operation &op : block) {
    if (auto loop = dyn_cast<LoopOp>(op)) {
      std::string base = baseOf(op.getLoc());
      addComputed(loop.getBody().getArgument(0), base + ".iteration", 0, &loop.getBody());
      addComputed(loop.getCount(), base + ".count", 0, op.getParentRegion());
      for (Value number : {Value(loop.getBody().getArgument(0)), Value(loop.getCount())})
        shapes.ranges[*shapes.indexValue(number).symbolName()] = {0, std::nullopt};
    }
    for (Region &region : op.getRegions()) {
      RegionScope scope(shapes, region);
      findComputed(region.front());
    }
    if (isa<SymbolicShapeOpInterface>(op))
      (void)shapes.shapeOf(op.getResult(0));
    auto toIndex = dyn_cast<ToIndexOp>(op);
    if (!toIndex || !shapes.indexValue(toIndex).dependsOnData())
      continue;
    // The same element has been read where this stands, or around it.
    SmallVector<ToIndexOp> &others = reads[{toIndex.getInput(), toIndex.getPosition()}];
    auto other = llvm::find_if(
        others, [&](ToIndexOp other) { return other->getParentRegion()->isAncestor(op.getParentRegion()); });
    if (other != others.end()) {
      shapes.setIndexValue(toIndex, shapes.indexValue(*other));
      continue;
    }
    others.push_back(toIndex);
    Operation *producer = toIndex.getInput().getDefiningOp();
    addComputed(toIndex, baseOf(producer ? producer->getLoc() : op.getLoc()),
                static_cast<int64_t>(toIndex.getPosition()), op.getParentRegion());
  }
}

bool Selector::isComputed(const SymExpr &expr) {
  SmallVector<std::string> names;
  expr.collectSymbols(names);
  return llvm::any_of(names, [&](const std::string &name) { return computed.count(name); });
}

/// Reads a computed symbol.
void Selector::define(ToIndexOp op) {
  std::optional<StringRef> name = shapes.indexValue(op).symbolName();
  if (!name || !computed.count(*name) || defined.contains(*name))
    return;
  Location loc = op.getLoc();
  auto type = cast<RankedTensorType>(op.getInput().getType());
  auto position = static_cast<int64_t>(op.getPosition());
  SmallVector<Value> indices(type.getRank());
  for (int64_t i = type.getRank() - 1; i >= 0; --i) {
    indices[i] = b.create<arith::ConstantIndexOp>(loc, position % type.getDimSize(i));
    position /= type.getDimSize(i);
  }
  Value element = b.create<memref::LoadOp>(loc, buffer(op.getInput()), indices), value;
  if (type.getElementType().isInteger(1) || type.getElementType().isUnsignedInteger())
    value = b.create<arith::IndexCastUIOp>(loc, b.getIndexType(), element);
  else
    value = b.create<arith::IndexCastOp>(loc, b.getIndexType(), element);
  define(op, value);
}

void Selector::define(Value index, Value value) {
  Location loc = index.getLoc();
  std::string name = shapes.indexValue(index).symbolName()->str();
  defined.insert(name);
  b.create<kernel::DefineOp>(loc, frame, name, value);
  for (const Condition &condition : conditions) {
    if (!llvm::is_contained(condition.awaited, name) ||
        !llvm::all_of(condition.awaited, [&](const std::string &other) { return defined.contains(other); }))
      continue;
    Value good = b.create<arith::XOrIOp>(loc, condition.violated(), b.create<arith::ConstantIntOp>(loc, 1, 1));
    b.create<kernel::RequireOp>(loc, frame, good, condition.check);
  }
}

//===----------------------------------------------------------------------===//
// Conditions
//===----------------------------------------------------------------------===//

void Selector::addCondition(Location at, const Twine &message, ArrayRef<SymExpr> mentioned,
                            std::function<Value()> violated) {
  SmallVector<std::string> names;
  for (const SymExpr &expr : mentioned)
    expr.collectSymbols(names);
  llvm::erase_if(names, [&](const std::string &name) { return !computed.count(name); });
  conditions.push_back({addCheck(at, message.str()), std::move(names), std::move(violated)});
}

/// What a branch requires does not matter where the other one is taken.
Value Selector::guarded(Value violated, const SymExpr &guard) {
  if (guard.isConstant(1))
    return violated;
  Location loc = main.getLoc();
  Value taken = b.create<arith::CmpIOp>(loc, arith::CmpIPredicate::ne, host(guard), host(0));
  return b.create<arith::AndIOp>(loc, violated, taken);
}

/// What the model requires of shapes, and what buffers and loops do: elsewhere sizes are computed modulo 2^64.
void Selector::collectConditions() {
  main.walk([&](RequireOp op) { addRequired(op); });
  llvm::StringSet<> sizes, extents;
  auto forShapes = [&](auto add) {
    main.walk([&](Operation *op) {
      for (Value result : op->getResults())
        if (isa<RankedTensorType>(result.getType()))
          add(op->getLoc(), shape(result));
    });
  };
  forShapes([&](Location at, const SymShape &dims) {
    for (const SymExpr &dim : dims) // those that follow from elements of tensors may be anything
      if (!shapes.atLeast(dim, 0) && extents.insert(dim.str()).second)
        addCondition(at, "a dimension must not be negative: got " + describe(dim), dim, [=, this] {
          return b.create<arith::CmpIOp>(main.getLoc(), arith::CmpIPredicate::slt, host(dim), host(0)).getResult();
        });
  });
  for (const ShapeCheck &check : shapes.checks)
    addChecked(check);
  forShapes([&](Location at, const SymShape &dims) {
    std::string key;
    for (const SymExpr &dim : dims)
      key += dim.str() + ",";
    if (llvm::any_of(dims, [](const SymExpr &dim) { return !dim.constant(); }) && sizes.insert(key).second)
      addBounded(at, dims);
  });
}

void Selector::addRequired(RequireOp op) {
  SymExpr guard = guards.at(op);
  SymExpr condition = shapes.indexValue(op.getCondition());
  std::string got;
  for (Value value : op.getValues())
    got += (got.empty() ? ": got " : ", ") + describe(shapes.indexValue(value));
  addCondition(op.getLoc(), op.getMessage() + got, {condition, guard}, [=, this] {
    Value violated = b.create<arith::CmpIOp>(main.getLoc(), arith::CmpIPredicate::eq, host(condition), host(0));
    return guarded(violated, guard);
  });
}

void Selector::addChecked(const ShapeCheck &check) {
  bool atMost = check.kind == ShapeCheck::at_most;
  // Of a symbol alone it became the range, which the runtime tests when it binds the inputs.
  bool always = check.guard.isConstant(1);
  if (auto name = check.lhs.symbolName(); atMost && always && name && !SymExpr::isInputElement(*name))
    return;
  addCondition(
      check.loc, check.message + ": got " + describe(check.lhs) + (atMost ? "" : " and " + describe(check.rhs)),
      {check.lhs, check.rhs, check.guard}, [=, this] {
        using P = arith::CmpIPredicate;
        Location loc = main.getLoc();
        Value lhs = host(check.lhs), rhs = host(check.rhs);
        Value result = b.create<arith::CmpIOp>(loc, atMost ? P::sgt : P::ne, lhs, rhs);
        if (check.kind == ShapeCheck::broadcastable)
          for (Value extent : {lhs, rhs})
            result = b.create<arith::AndIOp>(loc, result, b.create<arith::CmpIOp>(loc, P::ne, extent, host(1)));
        return guarded(result, check.guard);
      });
}

/// Of a shape with dimensions that are not known.
void Selector::addBounded(Location at, const SymShape &dims) {
  // Far above any memory, and far below where sums of buffers in bytes would overflow. Zeros count as ones, since
  // loops run around an empty one.
  constexpr double kMaxElements = 0x1p46;
  double known = 1;
  std::string text;
  SmallVector<SymExpr> unknown;
  for (const SymExpr &dim : dims) {
    text += (text.empty() ? "[" : ", ") + describe(dim);
    if (std::optional<int64_t> constant = dim.constant())
      known *= static_cast<double>(std::max<int64_t>(*constant, 1));
    else
      unknown.push_back(dim);
  }
  addCondition(at, "expected at most 2^46 elements: got shape " + text + "]", unknown, [=, this] {
    Location loc = main.getLoc();
    Value count = b.create<arith::ConstantFloatOp>(loc, APFloat(known), b.getF64Type());
    for (const SymExpr &dim : unknown) {
      Value extent = b.create<arith::IndexCastOp>(loc, b.getI64Type(), host(dim));
      extent = b.create<arith::MaxUIOp>(loc, extent, b.create<arith::ConstantIntOp>(loc, 1, 64));
      count = b.create<arith::MulFOp>(loc, count, b.create<arith::UIToFPOp>(loc, b.getF64Type(), extent));
    }
    Value most = b.create<arith::ConstantFloatOp>(loc, APFloat(kMaxElements), b.getF64Type());
    return b.create<arith::CmpFOp>(loc, arith::CmpFPredicate::OGT, count, most).getResult();
  });
}

} // namespace lathe::cpu
