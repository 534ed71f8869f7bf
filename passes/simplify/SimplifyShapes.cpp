//===- SimplifyShapes.cpp - Shape arithmetic as index values --------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "dialects/lathe/Materialize.h"
#include "mlir/IR/IRMapping.h"
#include "passes/simplify/Passes.h"

namespace lathe::simplify {
#define GEN_PASS_DEF_SIMPLIFYSHAPESPASS
#include "passes/simplify/Passes.h.inc"
} // namespace lathe::simplify

using namespace mlir;

namespace lathe::simplify {
namespace {

struct SimplifyShapes : impl::SimplifyShapesPassBase<SimplifyShapes> {
  void runOnOperation() override {
    func::FuncOp func = getOperation();
    if (func.isExternal() || !func.getBody().hasOneBlock())
      return;
    ShapeContext shapes;
    if (auto declared = func->getParentOp()->getAttrOfType<DictionaryAttr>(LatheDialect::kSymbolsAttr))
      for (NamedAttribute entry : declared)
        if (auto range = dyn_cast<DenseI64ArrayAttr>(entry.getValue()); range && range.size() == 2)
          shapes.ranges[entry.getName()] = {range[0], range[1] < 0 ? std::nullopt : std::optional<int64_t>(range[1])};

    SmallVector<Operation *> dead;
    WrittenAtoms written;
    if (failed(simplify(func.getBody().front(), shapes, written, dead)))
      return signalPassFailure();
    for (Operation *op : dead)
      op->erase();
    Operation *terminator = func.getBody().front().getTerminator();
    if (isa<func::ReturnOp>(terminator))
      func.setFunctionType(FunctionType::get(&getContext(), func.getArgumentTypes(), terminator->getOperandTypes()));
  }

  /// `dead` are not erased yet: what is known of a result must not pass to a new one at its address.
  static LogicalResult simplify(Block &block, ShapeContext &shapes, WrittenAtoms &written,
                                SmallVectorImpl<Operation *> &dead) {
    SmallVector<Operation *> ops;
    for (Operation &op : block)
      ops.push_back(&op);
    for (Operation *op : ops) {
      if (isa<RegionShapeOpInterface>(op)) {
        if (failed(simplifyRegions(op, shapes, written, dead)))
          return failure();
        continue;
      }
      auto iface = dyn_cast<SymbolicShapeOpInterface>(op);
      if (!iface) {
        if (isa<DimOp, ToIndexOp>(op))
          replaceIndex(op->getResult(0), shapes, written);
        else if (isa<YieldOp>(op))
          simplifyIndices(op, shapes, written);
        continue;
      }
      FailureOr<SymShape> shape = shapes.shapeOf(op->getResult(0));
      if (failed(shape))
        return failure();
      refine(op->getResult(0), *shape);
      if (changesNothing(op, *shape, shapes)) {
        op->getResult(0).replaceAllUsesWith(op->getOperand(0));
        dead.push_back(op);
        continue;
      }
      if (auto permutation = transposeOfParts(op, *shape, shapes)) {
        OpBuilder b(op);
        Value whole = op->getOperand(0).getDefiningOp<TransposeOp>().getInput().getDefiningOp<ReshapeOp>().getInput();
        Value transposed = b.create<TransposeOp>(op->getLoc(), op->getResult(0).getType(), whole, *permutation);
        op->getResult(0).replaceAllUsesWith(transposed);
        dead.push_back(op);
        continue;
      }
      if (Value parts = sliceOfParts(op, *shape, shapes, written)) {
        op->getResult(0).replaceAllUsesWith(parts);
        dead.push_back(op);
        continue;
      }
      if (Value product = productOfRows(op, *shape, shapes, written)) {
        op->getResult(0).replaceAllUsesWith(product);
        dead.push_back(op); // what it read is dead then
        continue;
      }
      if (isa<ReshapeOp, BroadcastOp>(op) &&
          llvm::none_of(*shape, [](const SymExpr &dim) { return dim.dependsOnData(); })) {
        OpBuilder b(op);
        SmallVector<Value> dims;
        for (const SymExpr &dim : *shape)
          dims.push_back(write(b, op, dim, written));
        if (auto reshape = dyn_cast<ReshapeOp>(op)) {
          reshape.getDimsMutable().assign(dims);
          reshape.setZeroCopies(false);
        } else {
          cast<BroadcastOp>(op).getDimsMutable().assign(dims);
        }
        continue;
      }
      simplifyIndices(op, shapes, written);
    }
    return success();
  }

  /// Writes before `op`. Operations are visited in order, so what the function's own block computes is there from then
  /// on.
  static Value write(OpBuilder &b, Operation *op, const SymExpr &expr, WrittenAtoms &written) {
    return materialize(b, op->getLoc(), expr, written, /*adds=*/isa<func::FuncOp>(op->getParentOp()));
  }

  static void simplifyIndices(Operation *op, ShapeContext &shapes, WrittenAtoms &written) {
    for (OpOperand &operand : op->getOpOperands())
      if (operand.get().getType().isIndex()) {
        SymExpr value = shapes.indexValue(operand.get());
        if (value.dependsOnData())
          continue;
        OpBuilder b(op);
        operand.set(write(b, op, value, written));
      }
  }

  static LogicalResult simplifyRegions(Operation *op, ShapeContext &shapes, WrittenAtoms &written,
                                       SmallVectorImpl<Operation *> &dead) {
    simplifyIndices(op, shapes, written);
    for (Region &region : op->getRegions()) {
      RegionScope scope(shapes, region);
      for (Block &block : region) {
        for (BlockArgument argument : block.getArguments())
          if (isa<RankedTensorType>(argument.getType())) {
            FailureOr<SymShape> shape = shapes.shapeOf(argument);
            if (failed(shape))
              return failure();
            refine(argument, *shape);
          }
        if (failed(simplify(block, shapes, written, dead)))
          return failure();
      }
    }
    for (Value result : op->getResults())
      if (isa<RankedTensorType>(result.getType())) {
        FailureOr<SymShape> shape = shapes.shapeOf(result);
        if (failed(shape))
          return failure();
        refine(result, *shape);
      }
    return success();
  }

  static void replaceIndex(Value index, ShapeContext &shapes, WrittenAtoms &written) {
    SymExpr value = shapes.indexValue(index);
    if (value.dependsOnData())
      return;
    OpBuilder b(index.getDefiningOp());
    index.replaceAllUsesWith(write(b, index.getDefiningOp(), value, written));
  }

  static void refine(Value value, const SymShape &shape) {
    auto type = cast<RankedTensorType>(value.getType());
    value.setType(RankedTensorType::get(staticDims(shape), type.getElementType()));
  }

  /// Axes are merged, the merged ones are permuted, and they are taken apart again: a permutation of all axes, nullopt
  /// where that is not what a reshape of a transpose of a reshape does.
  static std::optional<SmallVector<int64_t>> transposeOfParts(Operation *op, const SymShape &shape, ShapeContext &shapes) {
    auto transpose = isa<ReshapeOp>(op) ? op->getOperand(0).getDefiningOp<TransposeOp>() : TransposeOp();
    auto merge = transpose ? transpose.getInput().getDefiningOp<ReshapeOp>() : ReshapeOp();
    if (!merge)
      return std::nullopt;
    FailureOr<SymShape> whole = shapes.shapeOf(merge.getInput()), merged = shapes.shapeOf(merge.getResult());
    if (failed(whole) || failed(merged))
      return std::nullopt;
    SmallVector<SmallVector<int64_t>> parts(merged->size());
    int64_t next = 0, rank = whole->size();
    for (auto [part, extent] : llvm::zip(parts, *merged)) {
      SymExpr product(1);
      while (next < rank && (part.empty() || product != extent || (*whole)[next].isConstant(1))) {
        product = product * (*whole)[next];
        part.push_back(next++);
      }
      if (product != extent)
        return std::nullopt;
    }
    SmallVector<int64_t> permutation;
    for (int64_t axis : transpose.getPermutation())
      permutation.append(parts[axis]);
    if (next != rank || shape.size() != permutation.size())
      return std::nullopt;
    for (auto [extent, axis] : llvm::zip(shape, permutation))
      if (extent != (*whole)[axis])
        return std::nullopt;
    return permutation;
  }

  /// Part of an axis is taken, then that axis is taken apart: where the part is a number of whole blocks, the whole axis is taken
  /// apart, and blocks are taken. A reshape of what is stored costs nothing, and the slice meets what comes behind it. Null where
  /// that is not what a reshape does.
  static Value sliceOfParts(Operation *op, const SymShape &shape, ShapeContext &shapes, WrittenAtoms &written) {
    auto slice = isa<ReshapeOp>(op) ? op->getOperand(0).getDefiningOp<SliceOp>() : SliceOp();
    if (!slice || slice->getBlock() != op->getBlock() || !slice->hasOneUse() || slice.getAxes().size() != 1 ||
        slice.getSteps()[0] != 1)
      return {};
    FailureOr<SymShape> whole = shapes.shapeOf(slice.getInput()), part = shapes.shapeOf(slice.getResult());
    if (failed(whole) || failed(part) || llvm::any_of(shape, [](const SymExpr &dim) { return dim.dependsOnData(); }))
      return {};
    auto axis = static_cast<size_t>(slice.getAxes()[0]);
    std::optional<int64_t> extent = (*whole)[axis].constant(), length = (*part)[axis].constant(),
                           start = shapes.clampedIndex(shapes.indexValue(slice.getStarts()[0]), (*whole)[axis], 0, 0).constant();
    if (!extent || !length || !start || *length == 0)
      return {};
    // The axes that it becomes: those behind others that come before it, until they are as many elements.
    auto product = [](ArrayRef<SymExpr> dims) {
      SymExpr result(1);
      for (const SymExpr &dim : dims)
        result = result * dim;
      return result;
    };
    ArrayRef<SymExpr> to(shape), from(*part);
    SymExpr before = product(from.take_front(axis));
    size_t first = 0;
    for (SymExpr found(1); first < to.size() && (found != before || to[first].isConstant(1)); ++first)
      found = found * to[first];
    size_t last = first;
    for (SymExpr found(1); last < to.size() && found != (*part)[axis]; ++last)
      found = found * to[last];
    if (last < first + 2 || product(to.take_front(first)) != before ||
        product(to.slice(first, last - first)) != (*part)[axis] ||
        product(to.drop_front(last)) != product(from.drop_front(axis + 1)))
      return {};
    std::optional<int64_t> blocks = to[first].constant();
    if (!blocks || *blocks == 0 || *length % *blocks != 0)
      return {};
    int64_t block = *length / *blocks;
    if (block == 1) // it stays whole
      return {};
    if (*start % block != 0 || *extent % block != 0)
      return {};
    OpBuilder b(op);
    SymShape apart(shape);
    apart[first] = SymExpr(*extent / block);
    SmallVector<Value> dims;
    for (const SymExpr &dim : apart)
      dims.push_back(write(b, op, dim, written));
    auto element = cast<RankedTensorType>(op->getResult(0).getType()).getElementType();
    Value parts = b.create<ReshapeOp>(op->getLoc(), RankedTensorType::get(staticDims(apart), element), slice.getInput(), dims);
    Value from0 = write(b, op, SymExpr(*start / block), written), to0 = write(b, op, SymExpr(*start / block + *blocks), written);
    auto own = static_cast<int64_t>(first);
    return b.create<SliceOp>(slice.getLoc(), op->getResult(0).getType(), parts, from0, to0, ArrayRef<int64_t>(own),
                             ArrayRef<int64_t>{1});
  }

  /// Operations of a product's result, element by element, that take beside it only scalars and one value a column.
  static bool isOfColumns(Operation *op, Value product) {
    return op->hasTrait<OpTrait::BroadcastingElementwise>() && op->getNumResults() == 1 &&
           llvm::all_of(op->getOperands(), [&](Value operand) {
             auto type = dyn_cast<RankedTensorType>(operand.getType());
             return operand == product || (type && type.getRank() <= 1);
           });
  }

  /// Leading axes are merged into rows for a product with a constant matrix, and taken apart again: the product does that
  /// itself, so that what comes before and behind it meet. Null where that is not what a reshape does.
  static Value productOfRows(Operation *op, const SymShape &shape, ShapeContext &shapes, WrittenAtoms &written) {
    auto apart = dyn_cast<ReshapeOp>(op);
    constexpr size_t kMaxRank = 5; // of the products that backends have
    if (!apart || shape.size() < 2 || shape.size() > kMaxRank)
      return {};
    SmallVector<Operation *> chain; // from the last one
    Operation *next = apart.getInput().getDefiningOp();
    auto product = [&]() -> MatmulOp {
      while (next && next->getBlock() == op->getBlock() && next->hasOneUse()) {
        if (auto matmul = dyn_cast<MatmulOp>(next))
          return matmul;
        Value input;
        for (Value operand : next->getOperands())
          if (auto type = dyn_cast<RankedTensorType>(operand.getType()); type && type.getRank() == 2)
            input = operand;
        if (!input || !isOfColumns(next, input))
          return {};
        chain.push_back(next);
        next = input.getDefiningOp();
      }
      return {};
    }();
    if (!product || product.getTransposeLhs() || cast<RankedTensorType>(product.getLhs().getType()).getRank() != 2 ||
        cast<RankedTensorType>(product.getRhs().getType()).getRank() != 2)
      return {};
    auto merged = product.getLhs().getDefiningOp<ReshapeOp>();
    FailureOr<SymShape> rows = shapes.shapeOf(product.getLhs()), result = shapes.shapeOf(product.getResult());
    if (!merged || failed(rows) || failed(result) || (*result)[1] != shape.back() ||
        llvm::any_of(shape, [](const SymExpr &dim) { return dim.dependsOnData(); }))
      return {};
    OpBuilder b(op);
    SymShape whole(shape);
    whole.back() = (*rows)[1];
    Value lhs = merged.getInput();
    if (FailureOr<SymShape> before = shapes.shapeOf(lhs); failed(before) || *before != whole) {
      SmallVector<Value> dims;
      for (const SymExpr &dim : whole)
        dims.push_back(write(b, op, dim, written));
      auto element = cast<RankedTensorType>(lhs.getType()).getElementType();
      lhs = b.create<ReshapeOp>(merged.getLoc(), RankedTensorType::get(staticDims(whole), element), lhs, dims);
    }
    auto typeOf = [&](Operation *from) {
      return RankedTensorType::get(staticDims(shape), cast<RankedTensorType>(from->getResult(0).getType()).getElementType());
    };
    Value value = b.create<MatmulOp>(product.getLoc(), typeOf(product), lhs, product.getRhs(), false,
                                     product.getTransposeRhs());
    Operation *previous = product;
    for (Operation *step : llvm::reverse(chain)) {
      IRMapping map;
      map.map(previous->getResult(0), value);
      Operation *copy = b.clone(*step, map);
      copy->getResult(0).setType(typeOf(step));
      value = copy->getResult(0);
      previous = step;
    }
    return value;
  }

  static bool changesNothing(Operation *op, const SymShape &shape, ShapeContext &shapes) {
    if (!isa<ReshapeOp, BroadcastOp, SliceOp>(op) || op->getOperand(0).getType() != op->getResult(0).getType())
      return false;
    auto input = shapes.shapeOf(op->getOperand(0));
    if (failed(input) || *input != shape)
      return false;
    auto slice = dyn_cast<SliceOp>(op);
    // As many elements as there are, in steps of one, are all of them.
    return !slice || llvm::all_of(slice.getSteps(), [](int64_t step) { return step == 1; });
  }
};

} // namespace
} // namespace lathe::simplify
