//===- SelectKernels.cpp - Library calls and generated kernels ------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/CompressedWeight.h"
#include "backends/cpu/compiler/InPlace.h"
#include "backends/cpu/compiler/Passes.h"
#include "backends/cpu/compiler/RowKernel.h"
#include "backends/cpu/compiler/Selector.h"
#include "backends/reference/compiler/Passes.h"
#include "dialects/lathe/Sparse.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Pass/PassManager.h"
#include "runtime/Abi.h"
#include "llvm/ADT/SetVector.h"

namespace lathe::cpu {
#define GEN_PASS_DEF_CPUSELECTKERNELSPASS
#include "backends/cpu/compiler/Passes.h.inc"
} // namespace lathe::cpu

using namespace mlir;

namespace lathe::cpu {
/// Names of the model's nodes in a location.
void collectNames(Location loc, llvm::SetVector<StringAttr> &names) {
  loc->walk([&](Location inner) {
    if (auto name = dyn_cast<NameLoc>(inner))
      names.insert(name.getName());
    return WalkResult::advance();
  });
}

static bool isSplatConstant(Value value) {
  auto constant = value.getDefiningOp<ConstantOp>();
  auto dense = constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : DenseElementsAttr();
  return dense && dense.isSplat();
}

DictionaryAttr Selector::dictionary(std::initializer_list<std::pair<StringRef, Attribute>> entries) {
  NamedAttrList list;
  for (const auto &[name, value] : entries)
    list.set(name, value);
  return list.getDictionary(context);
}

/// Names of compressed weights that a kernel of these operations makes dense: all of it, not rows that are looked up.
static SmallVector<Attribute> denseWeights(Builder &b, ArrayRef<Operation *> ops) {
  llvm::SetVector<Attribute> names;
  auto whole = ops.empty() ? RankedTensorType() : dyn_cast<RankedTensorType>(ops.back()->getResult(0).getType());
  for (Operation *op : ops) {
    if (!isa<DequantizeOp, DequantizeLog2Op, CodebookLookupOp, SparseToDenseOp>(op) || !whole.hasStaticShape() ||
        whole.getNumElements() < cast<RankedTensorType>(op->getResult(0).getType()).getNumElements())
      continue;
    auto weight = op->getOperand(0).getDefiningOp<WeightOp>();
    if (!weight || (cast<RankedTensorType>(weight.getType()).getRank() < 2 && !isa<SparseToDenseOp>(op)))
      continue;
    StringRef name = weight.getName();
    name.consume_back(".values");
    name.consume_back(".codes");
    names.insert(b.getStringAttr(name));
  }
  return names.takeVector();
}

int64_t Selector::addKernel(StringRef name, StringRef kind, ArrayRef<Operation *> ops) {
  llvm::SetVector<StringAttr> names;
  for (Operation *op : ops)
    collectNames(op->getLoc(), names);
  SmallVector<Attribute> nodes(names.begin(), names.end());
  kernels.push_back(
      dictionary({{"name", b.getStringAttr(name)}, {"kind", b.getStringAttr(kind)}, {"nodes", b.getArrayAttr(nodes)}}));
  SmallVector<Attribute> dense = kind == "generated" ? denseWeights(b, ops) : SmallVector<Attribute>();
  if (!dense.empty()) {
    NamedAttrList entry(cast<DictionaryAttr>(kernels.back()));
    entry.set("dense", b.getArrayAttr(dense));
    kernels.back() = entry.getDictionary(context);
  }
  return kernels.size() - 1;
}

func::FuncOp Selector::addKernelFunc(Location loc, StringRef name) {
  auto pointer = LLVM::LLVMPointerType::get(context);
  Type index = b.getIndexType();
  auto kernelFunc =
      OpBuilder::atBlockEnd(module.getBody())
          .create<func::FuncOp>(loc, name, FunctionType::get(context, {pointer, pointer, index, index}, {}));
  kernelFunc.setPrivate();
  kernelFunc.addEntryBlock();
  return kernelFunc;
}

int64_t Selector::addCheck(Location loc, StringRef message) {
  llvm::SetVector<StringAttr> names;
  collectNames(loc, names);
  Attribute entry = dictionary(
      {{"node", names.empty() ? b.getStringAttr("") : names.front()}, {"message", b.getStringAttr(message)}});
  checks.push_back(entry);
  return checks.size() - 1;
}

Value Selector::host(const SymExpr &expr) {
  // Sizes that grow from one node to the next would each be written from their beginning.
  Operation *parent = b.getInsertionBlock()->getParentOp();
  auto func = dyn_cast<func::FuncOp>(parent);
  bool adds = func != nullptr;
  if (!func)
    func = parent->getParentOfType<func::FuncOp>();
  if (func != writtenIn) {
    written.clear();
    writtenIn = func;
  }
  return materialize(b, main.getLoc(), expr, written, adds);
}

SmallVector<Value> Selector::dynamicDims(Value tensor) {
  SmallVector<Value> dims;
  auto type = cast<RankedTensorType>(tensor.getType());
  for (auto [i, dim] : llvm::enumerate(shape(tensor)))
    if (type.isDynamicDim(i))
      dims.push_back(host(dim));
  return dims;
}

Value Selector::buffer(Value tensor) {
  if (Value known = buffers.lookup(tensor))
    return known;
  auto type = bufferType(cast<RankedTensorType>(tensor.getType()));
  // Constants are asked for where they are first used; nothing else is undefined then.
  Value result = b.create<kernel::ConstantOp>(tensor.getLoc(), type, frame, addConstant(tensor, false, false));
  return result;
}

Value Selector::destination(Value tensor) {
  auto type = bufferType(cast<RankedTensorType>(tensor.getType()));
  Value result;
  if (Value place = placed.lookup(tensor))
    result = place;
  else if (auto it = outputs.find(tensor); it != outputs.end())
    result = output(tensor.getLoc(), tensor, it->second);
  else
    result = b.create<kernel::AllocOp>(tensor.getLoc(), type, dynamicDims(tensor));
  buffers[tensor] = result;
  return result;
}

Value Selector::output(Location loc, Value tensor, int64_t number) {
  auto type = bufferType(cast<RankedTensorType>(tensor.getType()));
  if (llvm::any_of(shape(tensor), [&](const SymExpr &dim) { return isComputed(dim); }))
    return b.create<kernel::DynamicOutputOp>(loc, type, frame, number, dynamicDims(tensor));
  return b.create<kernel::OutputOp>(loc, type, frame, number, dynamicDims(tensor));
}

static bool isUnsigned(Value tensor) { return cast<RankedTensorType>(tensor.getType()).getElementType().isUnsignedInteger(); }

LogicalResult Selector::emitMatmul(MatmulOp op, const Epilogue &epilogue) {
  auto rounding = op->getAttrOfType<DictionaryAttr>(kernel::kLhsQuantizationAttr);
  bool roundsRows = rounding && rounding.getAs<IntegerAttr>("mode").getInt() == LATHE_QUANTIZE_ROWS;
  RoundedRows rows = roundsRows ? rounded.lookup(epilogue.lhs.tensor) : RoundedRows();
  Value lhs = rows.bytes ? rows.bytes : buffer(epilogue.lhs.tensor);
  Value bias = epilogue.bias ? buffer(epilogue.bias) : Value();
  Value multiplier = epilogue.multiplier ? buffer(epilogue.multiplier) : Value();
  Value residual = epilogue.residual ? buffer(epilogue.residual) : Value();
  Value rhs;
  int64_t weight = -1;
  SmallVector<int64_t> weightShape;
  auto rhsType = cast<RankedTensorType>(op.getRhs().getType());
  if (Value stored = rhsType.getRank() == 2 ? storedMatrix(op.getRhs()) : Value()) {
    bool transposed = op.getTransposeRhs();
    bool packed = packedAs(stored).has_value();
    weight = addConstant(stored, packed, packed && transposed);
    weightShape = {rhsType.getDimSize(transposed ? 1 : 0), rhsType.getDimSize(transposed ? 0 : 1)};
  } else {
    rhs = buffer(epilogue.rhs.tensor);
  }
  SmallVector<Operation *> ops(epilogue.before);
  ops.push_back(op);
  for (Operation *next = op; next != epilogue.last; ops.push_back(next))
    next = *next->getUsers().begin();
  Value out = destination(epilogue.last->getResult(0));
  auto axes = [&](const std::optional<SmallVector<int64_t>> &order) {
    return order ? b.getDenseI64ArrayAttr(*order) : DenseI64ArrayAttr();
  };
  int64_t id = addKernel("matmul_" + std::to_string(kernels.size()), "matmul", ops);
  describeResult(id, epilogue.last->getResult(0), ops);
  auto product = b.create<kernel::MatmulOp>(
      op.getLoc(), frame, lhs, rows.scales, rows.sums, rhs, bias, multiplier, residual, out, id, weight, weightShape,
      epilogue.activation, op.getTransposeLhs(), op.getTransposeRhs(), APFloat(epilogue.alpha), axes(epilogue.lhs.axes),
      axes(epilogue.rhs.axes), axes(epilogue.outAxes), /*lhs_quantization=*/0, APFloat(1.0), /*lhs_zero=*/0,
      /*lhs_unsigned=*/false, /*lhs_again=*/false, APFloat(1.0), /*out_zero=*/0, /*out_unsigned=*/false,
      op->getAttrOfType<TypeAttr>(kernel::kArithmeticAttr));
  if (rounding) {
    product.setLhsQuantizationAttr(rounding.getAs<IntegerAttr>("mode"));
    product.setLhsScaleAttr(rounding.getAs<FloatAttr>("scale"));
    product.setLhsZeroAttr(rounding.getAs<IntegerAttr>("zero"));
    product.setLhsUnsigned(isUnsigned(epilogue.lhs.tensor));
    // What one product has rounded the next ones may use.
    product.setLhsAgain(!readByProducts.insert({op->getBlock(), epilogue.lhs.tensor}).second);
  }
  // A device rounds left sides to the type of their weights, in memory that the next product may find.
  bool isNarrow = storedMatrix(op.getRhs()) != op.getRhs() || isSparse(op.getRhs()) || product.getArithmetic();
  if (device && weight >= 0 && !op->hasAttr(kernel::kLhsQuantizationAttr) && isNarrow)
    product.setLhsAgain(!readByProducts.insert({op->getBlock(), epilogue.lhs.tensor}).second);
  if (epilogue.rounding) {
    product.setOutScale(APFloat(epilogue.rounding->scale));
    product.setOutZero(epilogue.rounding->zero);
    product.setOutUnsigned(isUnsigned(epilogue.last->getResult(0)));
  }
  return success();
}

void Selector::emitLookup(GatherOp op) {
  int64_t weight = addConstant(op.getInput(), /*packed=*/true, /*transposed=*/true);
  Value indices = buffer(op.getIndices());
  int64_t check = addCheck(op.getLoc(), "index out of range: an index is not within the extent of its axis");
  int64_t id = addKernel("lookup_" + std::to_string(kernels.size()), "lookup", {op});
  describeResult(id, op.getResult(), {op});
  b.create<kernel::LookupOp>(op.getLoc(), frame, weight, indices, destination(op.getResult()), check, id);
}

Selector::Group Selector::outline(ArrayRef<Operation *> ops, Value root) {
  Group group;
  Location loc = ops.empty() ? root.getLoc() : ops.back()->getLoc();
  llvm::SmallPtrSet<Operation *, 16> inside(ops.begin(), ops.end());
  IRMapping map;
  OpBuilder moduleBuilder = OpBuilder::atBlockEnd(module.getBody());
  group.func = moduleBuilder.create<func::FuncOp>(loc, "group", FunctionType::get(context, {}, {root.getType()}));
  Block *block = group.func.addEntryBlock();
  OpBuilder body = OpBuilder::atBlockEnd(block);
  SymShape dims = shape(root);
  // Types alone do not tell that dynamic dimensions are the same.
  group.isFlat = fuse;
  auto sameShape = [&](Value tensor) {
    return cast<RankedTensorType>(tensor.getType()).hasStaticShape() || shape(tensor) == dims;
  };
  for (Operation *op : ops)
    for (Value result : op->getResults())
      group.isFlat = group.isFlat && (!isa<RankedTensorType>(result.getType()) || sameShape(result));
  auto import = [&](Value operand) {
    if (map.contains(operand) || inside.contains(operand.getDefiningOp()))
      return;
    if (operand.getType().isIndex()) {
      SymExpr value = shapes.indexValue(operand);
      if (auto constant = value.constant()) {
        map.map(operand, body.create<arith::ConstantIndexOp>(loc, *constant));
        return;
      }
      group.arguments.push_back(host(value));
      group.tensors.push_back({});
    } else if (isSplatConstant(operand)) {
      body.clone(*operand.getDefiningOp(), map);
      return;
    } else if (std::optional<bool> transposed = isStored(operand) ? packedAs(operand) : std::nullopt) {
      map.map(operand, readPanels(operand, *transposed, body, block, group.arguments));
      group.tensors.push_back({}); // its buffer is not the tensor's
      return;
    } else {
      group.arguments.push_back(buffer(operand));
      group.tensors.push_back(operand);
      group.isFlat = group.isFlat && sameShape(operand);
    }
    map.map(operand, block->addArgument(operand.getType(), loc));
  };
  for (Operation *op : ops)
    for (Value operand : op->getOperands())
      import(operand);
  if (ops.empty())
    import(root);
  for (Operation *op : ops)
    body.clone(*op, map);
  body.create<func::ReturnOp>(loc, map.lookup(root));
  group.func.setFunctionType(FunctionType::get(context, block->getArgumentTypes(), {root.getType()}));
  return group;
}

/// Lets the launch see buffers of the result's shape, and the result's, as of one axis; returns its extent.
SymExpr Selector::flatten(Group &group, Value root, Value target) {
  SymExpr count(1);
  for (const SymExpr &dim : shape(root))
    count = count * dim;
  auto rootType = cast<RankedTensorType>(root.getType());
  auto asOneAxis = [&](Value memref, Value tensor) -> Value {
    auto type = flatBufferType(cast<RankedTensorType>(tensor.getType()));
    if (memref.getType() == type)
      return memref;
    SmallVector<Value> extent(type.getNumDynamicDims(), type.hasStaticShape() ? Value() : host(count));
    return b.create<kernel::ViewOp>(group.func.getLoc(), type, memref, extent);
  };
  for (auto [argument, tensor] : llvm::zip(group.arguments, group.tensors))
    if (tensor && cast<RankedTensorType>(tensor.getType()).getShape() == rootType.getShape())
      argument = asOneAxis(argument, tensor);
  group.arguments.push_back(asOneAxis(target, root));
  return count;
}

LogicalResult Selector::emitGroup(ArrayRef<Operation *> ops, Value root, Value target) {
  Group group = outline(ops, root);
  Location loc = group.func.getLoc();
  makeSignless(group.func);
  if (failed(lowerToLinalg(group.func)))
    return failure();
  // Rows that products round leave the kernel rounded, and as numbers for whoever else reads them.
  auto rounding = rounded.find(root);
  bool rounds = rounding != rounded.end() && !ops.empty(), isStored = !rounds || rounding->second.isStored;
  if (rounds)
    roundRows(group.func, rounding->second);
  if (!target && isStored)
    target = destination(root);
  SmallVector<Value> targets;
  if (rounds)
    targets = allocRoundedRows(root, rounding->second);
  if (isStored)
    targets.push_back(target);
  std::string name = "kernel_" + std::to_string(kernels.size());
  int64_t id = addKernel(name, "generated", ops);
  func::FuncOp kernelFunc = addKernelFunc(loc, name);
  SmallVector<int64_t> inPlace = rounds ? SmallVector<int64_t>() : findInPlace(group.func);
  bool flat = group.isFlat && !rounds && lathe::cpu::isFlat(group.func);
  LogicalResult result = emitRowKernel(group.func, kernelFunc, isUnsigned(root), flat,
                                       [&](Location at, StringRef message) { return addCheck(at, message); });
  if (failed(result)) {
    group.func.erase();
    return failure();
  }

  // Chunks of a few thousand elements: less is not worth a hand-over to another thread.
  constexpr int64_t kChunk = 4096;
  SymShape dims = shape(root);
  SymExpr items(1), grain(kChunk);
  if (flat) {
    items = flatten(group, root, target);
  } else {
    for (size_t i = 0; i + 1 < dims.size(); ++i)
      items = items * dims[i];
    SymExpr columns = dims.empty() ? SymExpr(1) : dims.back();
    grain = shapes.max(shapes.floorDiv(kChunk, shapes.max(columns, 1)), 1);
    llvm::append_range(group.arguments, targets);
  }
  group.func.erase();
  Value chunk = host(grain), extent = host(items);
  auto launch = b.create<kernel::LaunchOp>(loc, frame, name, group.arguments, extent, chunk, id);
  describeResult(id, root, ops, ValueRange(group.arguments), isStored);
  if (!inPlace.empty())
    launch->setAttr(kernel::kInPlaceAttr, b.getDenseI64ArrayAttr(inPlace));
  if (device && !flat)
    describeComputation(id, ops, root, group.arguments, group.tensors);
  return success();
}

LogicalResult Selector::emitScatter(Operation *op) {
  Location loc = op->getLoc();
  Value indices = buffer(op->getOperand(1)), updates = buffer(op->getOperand(2));
  Value target = destination(op->getResult(0));
  if (failed(emitGroup({}, op->getOperand(0), target)))
    return failure();
  std::string name = "kernel_" + std::to_string(kernels.size());
  int64_t id = addKernel(name, "generated", {op});
  func::FuncOp kernelFunc = addKernelFunc(loc, name);
  emitScatterKernel(op, kernelFunc, [&](Location at, StringRef message) { return addCheck(at, message); });
  SmallVector<Value> arguments{indices, updates, target};
  b.create<kernel::LaunchOp>(loc, frame, name, arguments, host(1), host(1), id);
  describeResult(id, op->getResult(0), {op}, ValueRange(arguments));
  return success();
}

/// A tensor that a buffer can hold.
static bool isSupported(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && !tensor.getEncoding() &&
         (tensor.getElementType().isInteger(1) || kernel::isBuffer(bufferType(tensor)));
}

/// What the rest takes for granted. Operations of other dialects compute index values, no tensors.
LogicalResult Selector::verifyProgram() {
  for (BlockArgument argument : main.getArguments())
    if (!isSupported(argument.getType()))
      return main.emitError() << "expects inputs that are tensors of numbers, got " << argument.getType();
  return verifyBlock(main.getBody().front());
}

LogicalResult Selector::verifyBlock(Block &block) {
  for (Operation &op : block) {
    bool isReturn = isa<func::ReturnOp, YieldOp>(op), isControl = isa<RegionShapeOpInterface>(op);
    if (op.mightHaveTrait<OpTrait::IsTerminator>() && !isReturn)
      return op.emitError() << "expects a program that ends in func.return, got " << op.getName();
    if (op.getNumRegions() > 0 && !isControl)
      return op.emitError() << "expects no operations with regions but branches and loops, got " << op.getName();
    bool own = isa_and_nonnull<LatheDialect>(op.getDialect());
    for (Type type : op.getResultTypes())
      if (isa<SymbolicShapeOpInterface>(op) || (isControl && !type.isIndex()) ? !isSupported(type)
                                                                              : isa<ShapedType>(type))
        return op.emitError() << "a result of type " << type << " is not supported: " << op.getName();
    for (Type type : op.getOperandTypes())
      if (isReturn && !(isa<YieldOp>(op) && type.isIndex()) ? !isSupported(type) : !own && isa<ShapedType>(type))
        return op.emitError() << "an operand of type " << type << " is not supported: " << op.getName();
    for (Region &region : op.getRegions())
      if (failed(verifyBlock(region.front())))
        return failure();
  }
  return success();
}

LogicalResult Selector::analyze() {
  if (auto declared = module->getAttrOfType<DictionaryAttr>(LatheDialect::kSymbolsAttr))
    for (NamedAttribute entry : declared)
      if (auto range = dyn_cast<DenseI64ArrayAttr>(entry.getValue()); range && range.size() == 2)
        shapes.ranges[entry.getName()] = {range[0], range[1] < 0 ? std::nullopt : std::optional<int64_t>(range[1])};
  for (BlockArgument argument : main.getArguments())
    for (auto [axis, dim] : llvm::enumerate(shape(argument)))
      if (dim.dependsOnData())
        return main.emitError() << "expects names of dimensions ('" << LatheDialect::kDimsAttr
                                << "'), got none for dimension " << axis << " of argument " << argument.getArgNumber();
  findComputed(main.getBody().front());
  return analyze(main.getBody().front());
}

LogicalResult Selector::analyze(Block &block) {
  for (Operation &op : block) {
    if (isa<func::ReturnOp>(op))
      continue;
    if (isa<RequireOp>(op))
      guards[&op] = shapes.guard;
    for (Region &region : op.getRegions()) {
      RegionScope scope(shapes, region);
      if (failed(analyze(region.front())))
        return failure();
    }
    for (Value result : op.getResults()) {
      if (!isa<RankedTensorType>(result.getType()))
        continue;
      FailureOr<SymShape> shape = shapes.shapeOf(result);
      if (failed(shape))
        return failure();
      for (auto [axis, dim] : llvm::enumerate(*shape)) {
        if (dim.dependsOnData())
          return op.emitError() << "expects dimensions that are computed from symbols or index values, got "
                                << dim.str() << " for dimension " << axis << " of the result of " << op.getName();
        SmallVector<std::string> names;
        dim.collectSymbols(names);
        for (const std::string &name : names)
          if (Region *region = computed.lookup(name); region && op.isAncestor(region->getParentOp()))
            return op.emitError() << "expects results whose dimensions are known before the branch or loop, got "
                                  << describe(dim) << " for dimension " << axis << " of result "
                                  << cast<OpResult>(result).getResultNumber() << " of " << op.getName()
                                  << ", which follows from what it computes";
      }
    }
    for (Value operand : op.getOperands())
      if (operand.getType().isIndex() &&
          (isa<SymbolicShapeOpInterface, RegionShapeOpInterface, RequireOp, YieldOp>(op)) &&
          shapes.indexValue(operand).dependsOnData())
        return op.emitError() << "expects index values that are computed from symbols or data, got "
                              << shapes.indexValue(operand).str() << " as operand of " << op.getName();
  }
  return success();
}

LogicalResult Selector::emitRun() {
  Location loc = main.getLoc();
  auto pointer = LLVM::LLVMPointerType::get(context);
  b.setInsertionPointToEnd(module.getBody());
  auto runFunc = b.create<func::FuncOp>(loc, kernel::kRunName, FunctionType::get(context, {pointer}, {}));
  b.setInsertionPointToStart(runFunc.addEntryBlock());
  frame = runFunc.getArgument(0);
  for (BlockArgument argument : main.getArguments())
    buffers[argument] =
        b.create<kernel::InputOp>(argument.getLoc(), bufferType(cast<RankedTensorType>(argument.getType())), frame,
                                  argument.getArgNumber(), dynamicDims(argument));
  Operation *terminator = main.getBody().front().getTerminator();
  for (auto &entry : grouping.kernels)
    stored.insert(entry.first);
  for (auto &entry : grouping.matmuls)
    stored.insert(entry.second.last);
  for (auto &entry : grouping.attentions)
    stored.insert(entry.second.last);
  for (auto &entry : grouping.caches)
    stored.insert(entry.first);
  stored.insert(grouping.lookups.begin(), grouping.lookups.end());
  main.walk([&](RegionShapeOpInterface op) { stored.insert(op); });
  for (OpOperand &operand : terminator->getOpOperands())
    if (stored.contains(operand.get().getDefiningOp()))
      outputs.try_emplace(operand.get(), operand.getOperandNumber());

  if (failed(emitBlock(main.getBody().front())))
    return failure();
  for (OpOperand &operand : terminator->getOpOperands()) {
    int64_t number = operand.getOperandNumber();
    if (auto it = outputs.find(operand.get()); it != outputs.end() && it->second == number)
      continue;
    if (failed(emitGroup({}, operand.get(), output(loc, operand.get(), number))))
      return failure();
  }
  b.create<func::ReturnOp>(loc);
  return success();
}

LogicalResult Selector::emitBlock(Block &block) {
  for (Operation &op : block) {
    LogicalResult emitted = success();
    if (auto it = grouping.matmuls.find(&op); it != grouping.matmuls.end()) {
      emitted = emitMatmul(cast<MatmulOp>(op), it->second);
    } else if (auto it = grouping.attentions.find(&op); it != grouping.attentions.end()) {
      emitAttention(cast<AttentionOp>(op), it->second);
    } else if (auto it = grouping.caches.find(&op); it != grouping.caches.end()) {
      emitted = emitCache(cast<CacheOp>(op), it->second);
    } else if (grouping.lookups.contains(&op)) {
      emitLookup(cast<GatherOp>(op));
    } else if (auto it = grouping.kernels.find(&op); it != grouping.kernels.end()) {
      emitted = isScatter(&op) ? emitScatter(&op) : emitGroup(it->second, op.getResult(0), {});
    } else if (auto reshape = dyn_cast<ReshapeOp>(op); reshape && !grouping.absorbed.contains(&op)) {
      buffers[reshape.getResult()] =
          b.create<kernel::ViewOp>(op.getLoc(), bufferType(cast<RankedTensorType>(reshape.getType())),
                                   buffer(reshape.getInput()), dynamicDims(reshape.getResult()));
    } else if (auto toIndex = dyn_cast<ToIndexOp>(op)) {
      define(toIndex);
    } else if (auto branch = dyn_cast<IfOp>(op)) {
      emitted = emitIf(branch);
    } else if (auto loop = dyn_cast<LoopOp>(op)) {
      emitted = emitLoop(loop);
    }
    if (failed(emitted))
      return failure();
  }
  return success();
}

LogicalResult Selector::run() {
  takeConstants();
  if (failed(verifyProgram()) || failed(decomposeAttentions()) ||
      (device && failed(splitConcats(main.getBody().front(), shapes))) || failed(analyze()))
    return failure();
  collectConditions();
  padExtentsOfOne(main, shapes);
  findLookups();
  main.walk<WalkOrder::PreOrder>([&](Block *block) {
    Grouping found = formGroups(*block, shapes, fuse, library, device);
    for (auto &entry : found.kernels)
      grouping.kernels.insert(entry);
    grouping.matmuls.insert(found.matmuls.begin(), found.matmuls.end());
    grouping.attentions.insert(found.attentions.begin(), found.attentions.end());
    grouping.caches.insert(found.caches.begin(), found.caches.end());
    grouping.lookups.insert(found.lookups.begin(), found.lookups.end());
    grouping.absorbed.insert(found.absorbed.begin(), found.absorbed.end());
  });
  findRoundedRows();
  if (failed(emitRun()) || failed(emitPlan()))
    return failure();
  setConstants();
  module->setAttr(kernel::kKernelsAttr, b.getArrayAttr(kernels));
  module->setAttr(kernel::kChecksAttr, b.getArrayAttr(checks));
  if (!caches.empty())
    module->setAttr(kernel::kCachesAttr, b.getArrayAttr(caches));
  main.erase();
  return success();
}

namespace {
struct CpuSelectKernels : impl::CpuSelectKernelsPassBase<CpuSelectKernels> {
  using CpuSelectKernelsPassBase::CpuSelectKernelsPassBase;
  void runOnOperation() override {
    auto main = getOperation().lookupSymbol<func::FuncOp>("main");
    if (!main)
      return;
    if (!main.getBody().hasOneBlock()) {
      main.emitError() << "expects a program of one block";
      return signalPassFailure();
    }
    auto lowerToLinalg = [&](func::FuncOp group) {
      OpPassManager passes(func::FuncOp::getOperationName());
      passes.addPass(createLatheToLinalg());
      return runPipeline(passes, group);
    };
    if (failed(Selector(getOperation(), main, fuse, library, device, lowerToLinalg).run()))
      signalPassFailure();
  }
};
} // namespace

} // namespace lathe::cpu
