//===- SpecializeDecoder.cpp - Decoders without a past --------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/generation/Function.h"
#include "passes/generation/Passes.h"
#include "passes/generation/Uniform.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

namespace lathe::generation {
#define GEN_PASS_DEF_SPECIALIZEDECODERPASS
#include "passes/generation/Passes.h.inc"
} // namespace lathe::generation

using namespace mlir;

namespace lathe::generation {
namespace {

/// The value and what is made of it by operations that `follows` takes.
llvm::SetVector<Value> closure(Value value, llvm::function_ref<bool(OpOperand &)> follows) {
  llvm::SetVector<Value> found;
  found.insert(value);
  for (size_t i = 0; i < found.size(); ++i)
    for (OpOperand &use : found[i].getUses())
      if (follows(use))
        found.insert(use.getOwner()->getResult(0));
  return found;
}

/// Values that hold what `value` holds, in another shape or type of number.
llvm::SetVector<Value> sameContent(Value value) {
  return closure(value, [](OpOperand &use) {
    return isa<CastOp, ReshapeOp, BroadcastOp, TransposeOp>(use.getOwner()) && use.getOperandNumber() == 0;
  });
}

/// Rows of the static tables that the value looks up.
llvm::SetVector<int64_t> tablesOf(Value value) {
  llvm::SetVector<int64_t> rows;
  for (Value same : sameContent(value))
    for (OpOperand &use : same.getUses())
      if (auto gather = dyn_cast<GatherOp>(use.getOwner()); gather && use.getOperandNumber() == 1)
        if (auto type = cast<RankedTensorType>(gather.getInput().getType()); type.getRank() == 2 && !type.isDynamicDim(gather.getAxis()))
          rows.insert(type.getDimSize(gather.getAxis()));
  return rows;
}

/// Whether the numbers, or they and a few others, say which elements of something are read.
bool isIndex(Value value) {
  auto follows = [](OpOperand &use) {
    Operation *user = use.getOwner();
    return isa<CastOp, ReshapeOp, BroadcastOp, TransposeOp, SliceOp, ConcatOp, AddOp, SubOp, MinOp, MaxOp>(user) &&
           cast<RankedTensorType>(user->getResult(0).getType()).getElementType().isIntOrIndex();
  };
  return llvm::any_of(closure(value, follows), [](Value other) {
    return llvm::any_of(other.getUses(), [](OpOperand &use) {
      return isa<GatherOp, GatherElementsOp, GatherNDOp>(use.getOwner()) && use.getOperandNumber() == 1;
    });
  });
}

/// Whether the numbers count something: they are multiplied as such, as in rotary embeddings.
bool isMultiplied(Value value) {
  for (Value same : sameContent(value))
    for (Operation *user : same.getUsers())
      if (isa<MulOp, MatmulOp>(user) && isa<FloatType>(cast<RankedTensorType>(same.getType()).getElementType()))
        return true;
  return false;
}

struct Decoder {
  BlockArgument tokens;
  unsigned logits = 0;
};

std::optional<Decoder> findDecoder(func::FuncOp main) {
  if (!main.getBody().hasOneBlock())
    return std::nullopt;
  ShapeContext shapes;
  for (OpOperand &result : main.getBody().front().getTerminator()->getOpOperands()) {
    auto type = dyn_cast<RankedTensorType>(result.get().getType());
    if (!type || type.getRank() != 3 || type.isDynamicDim(2) || !isa<FloatType>(type.getElementType()))
      continue;
    for (BlockArgument argument : main.getArguments()) {
      auto own = dyn_cast<RankedTensorType>(argument.getType());
      if (!own || own.getRank() != 2 || !own.getElementType().isIntOrIndex() ||
          !tablesOf(argument).contains(type.getDimSize(2)))
        continue; // before the shapes of a whole program are asked for
      FailureOr<SymShape> logits = shapes.shapeOf(result.get()), dims = shapes.shapeOf(argument);
      if (succeeded(logits) && succeeded(dims) && (*dims)[0] == (*logits)[0] && (*dims)[1] == (*logits)[1] &&
          (*dims)[1].symbolName())
        return Decoder{argument, result.getOperandNumber()};
    }
  }
  return std::nullopt;
}

class Specializer {
public:
  Specializer(func::FuncOp main, Decoder decoder) : main(main), decoder(decoder), b(main.getContext()) {}

  LogicalResult run() {
    Block &block = main.getBody().front();
    dropCopies();
    b.setInsertionPointToStart(&block);
    SymShape tokens = *shapes.shapeOf(decoder.tokens);
    batch = tokens[0];
    sequence = tokens[1];
    main.setArgAttr(decoder.tokens.getArgNumber(), kRoleAttr, b.getStringAttr("tokens"));
    for (BlockArgument argument : main.getArguments())
      if (argument != decoder.tokens && failed(decide(argument)))
        return failure();
    for (auto [argument, kind] : kinds) {
      Value value = replacement(argument, kind);
      if (!value)
        return failure();
      argument.replaceAllUsesWith(value);
    }
    SmallVector<SymbolOp> symbols;
    main.walk([&](SymbolOp op) { symbols.push_back(op); });
    for (SymbolOp op : symbols)
      if (auto it = replaced.find(op.getName()); it != replaced.end()) {
        b.setInsertionPoint(op);
        op.getResult().replaceAllUsesWith(materialize(b, op.getLoc(), it->second));
        op.erase();
      }
    Value logits = block.getTerminator()->getOperand(decoder.logits);
    // Tokens are chosen by f32, which a model of 16 bits rounds.
    if (auto rounded = logits.getDefiningOp<CastOp>();
        rounded && cast<RankedTensorType>(rounded.getInput().getType()).getElementType().isF32())
      logits = rounded.getInput();
    reduceTo(main, logits, main.getResultAttrDict(decoder.logits), [&](BlockArgument argument) { return kinds.count(argument) > 0; });
    if (failed(refine(block)))
      return failure();
    replaceUniform(block);
    return success();
  }

private:
  StringRef nameOf(BlockArgument argument) {
    auto name = main.getArgAttrOfType<StringAttr>(argument.getArgNumber(), LatheDialect::kNameAttr);
    return name ? name.getValue() : StringRef();
  }

  /// Copies, as exporters write them where they put one thing behind nothing.
  void dropCopies() {
    SmallVector<ConcatOp> copies;
    main.walk([&](ConcatOp op) {
      if (op.getInputs().size() == 1 && op.getInputs()[0].getType() == op.getType())
        copies.push_back(op);
    });
    for (ConcatOp op : copies) {
      op.getResult().replaceAllUsesWith(op.getInputs()[0]);
      op.erase();
    }
  }

  /// The axis along which a cache grows: what the program computes of the new tokens is put behind it, and returned.
  std::optional<int64_t> pastAxis(Value past) {
    std::optional<int64_t> axis;
    for (Operation *user : past.getUsers()) {
      if (isa<DimOp, ShapeOfOp>(user))
        continue;
      std::optional<int64_t> own;
      if (auto widened = dyn_cast<CastOp>(user)) {
        own = pastAxis(widened.getResult());
      } else if (auto concat = dyn_cast<ConcatOp>(user);
                 concat && concat.getInputs().size() == 2 && concat.getInputs()[0] == past && isReturned(concat)) {
        own = concat.getAxis();
      }
      if (!own || (axis && *axis != *own))
        return std::nullopt;
      axis = own;
    }
    return axis;
  }

  /// As it is, or rounded.
  static bool isReturned(Value value) {
    return llvm::any_of(value.getUsers(), [](Operation *op) {
      return isa<func::ReturnOp>(op) || (isa<CastOp>(op) && isReturned(op->getResult(0)));
    });
  }

  LogicalResult decide(BlockArgument argument) {
    auto type = cast<RankedTensorType>(argument.getType());
    SymShape dims = *shapes.shapeOf(argument);
    if (std::optional<int64_t> axis = pastAxis(argument)) {
      std::optional<StringRef> name = dims[*axis].symbolName();
      if (!name || *name == batch.symbolName() || *name == sequence.symbolName())
        return main.emitError() << "expects a cache whose length has a name of its own, got " << dims[*axis].str() << " for input '"
                                << nameOf(argument) << "'";
      replaced[*name] = SymExpr(0);
      kinds[argument] = Kind::zeros;
      return success();
    }
    bool isInteger = type.getElementType().isIntOrIndex();
    bool isTable = isIndex(argument);
    // Tokens of another length, and a signal, are what an encoder reads.
    SymShape logits = *shapes.shapeOf(main.getBody().front().getTerminator()->getOperand(decoder.logits));
    bool isRead = logits.back().constant() && tablesOf(argument).contains(*logits.back().constant());
    if (!dims.empty() && dims.back() != sequence && (isRead || (!isInteger && !hasPast()))) {
      main.setArgAttr(argument.getArgNumber(), kRoleAttr, b.getStringAttr("source"));
      return success();
    }
    // A length that only this input has, and no dimension of another kind, is the length of the past and the new tokens together.
    bool ofTokens = type.getRank() >= 1 && (dims.back() == sequence || isTotal(argument, dims.back()));
    if (isInteger && ofTokens && type.getRank() <= 2 && (isTable || isMultiplied(argument) || type.getRank() == 1 || nameOf(argument).contains("position"))) {
      kinds[argument] = nameOf(argument).contains("type") ? Kind::zeros : Kind::positions;
      return success();
    }
    if (ofTokens || (isInteger && !isTable && type.getRank() == 2)) {
      if (ofTokens && dims.back() != sequence)
        replaced[*dims.back().symbolName()] = sequence;
      kinds[argument] = Kind::ones;
      return success();
    }
    main.setArgAttr(argument.getArgNumber(), kRoleAttr, b.getStringAttr("source"));
    return success();
  }

  bool hasPast() {
    return llvm::any_of(main.getArguments(), [&](BlockArgument argument) { return pastAxis(argument).has_value(); });
  }

  bool isTotal(BlockArgument argument, const SymExpr &dim) {
    std::optional<StringRef> name = dim.symbolName();
    SymShape own = *shapes.shapeOf(argument);
    if (!name || own.size() != 2 || own[0] != batch)
      return false;
    for (BlockArgument other : main.getArguments())
      if (other != argument) {
        SymShape dims = *shapes.shapeOf(other);
        for (const SymExpr &axis : dims) {
          SmallVector<std::string> names;
          axis.collectSymbols(names);
          if (llvm::is_contained(names, *name))
            return false;
        }
      }
    // Of an encoder's mask the encoder's tokens have the length, too.
    return true;
  }

  enum class Kind { ones, zeros, positions };

  /// What stands for an input that has gone; null after an error.
  Value replacement(BlockArgument argument, Kind kind) {
    Location loc = argument.getLoc();
    auto type = cast<RankedTensorType>(argument.getType());
    ShapeContext context;
    SmallVector<Value> dims;
    SymShape before = *shapes.shapeOf(argument);
    for (const SymExpr &dim : before) {
      std::optional<SymExpr> known = substitute(dim, replaced, context);
      if (!known) {
        main.emitError() << "expects dimensions of symbols, got " << dim.str() << " for input '" << nameOf(argument) << "'";
        return {};
      }
      dims.push_back(materialize(b, loc, *known));
    }
    Value value;
    if (kind == Kind::positions) {
      Value zero = b.create<arith::ConstantIndexOp>(loc, 0), one = b.create<arith::ConstantIndexOp>(loc, 1);
      auto range = createInferred<RangeOp>(b, loc, context, b.getI64Type(), zero, materialize(b, loc, sequence), one);
      auto cast = succeeded(range) ? createInferred<CastOp>(b, loc, context, type.getElementType(), range->getResult(),
                                                            /*overflows=*/UnitAttr())
                                   : FailureOr<CastOp>();
      value = succeeded(cast) ? Value(cast->getResult()) : Value();
    } else {
      auto scalar = RankedTensorType::get({}, type.getElementType());
      double number = kind == Kind::ones;
      Attribute attribute = isa<FloatType>(type.getElementType()) ? Attribute(b.getFloatAttr(type.getElementType(), number))
                                                                  : b.getIntegerAttr(type.getElementType(), number);
      value = b.create<ConstantOp>(loc, scalar, DenseElementsAttr::get(scalar, attribute));
    }
    if (!value)
      return {};
    auto whole = createInferred<BroadcastOp>(b, loc, context, type.getElementType(), value, dims);
    return succeeded(whole) ? whole->getResult() : Value();
  }

  /// What shapes say, such as the length of a past that there is none of, becomes a constant.
  void replaceKnown(Operation &op, RankedTensorType type, ShapeContext &context) {
    constexpr int64_t kMost = 8;
    if (!type.getElementType().isInteger(64) || !type.hasStaticShape() || type.getNumElements() > kMost || type.getNumElements() == 0)
      return;
    SmallVector<int64_t> numbers;
    for (int64_t i = 0; i < type.getNumElements(); ++i) {
      std::optional<SymExpr> element = context.element(op.getResult(0), i);
      std::optional<int64_t> number = element ? element->constant() : std::nullopt;
      if (!number)
        return;
      numbers.push_back(*number);
    }
    b.setInsertionPointAfter(&op);
    op.getResult(0).replaceAllUsesWith(
        b.create<ConstantOp>(op.getLoc(), type, DenseElementsAttr::get(type, ArrayRef(numbers))).getResult());
  }

  /// Types with what is known now, and without what is put behind nothing.
  LogicalResult refine(Block &block) {
    ShapeContext context;
    for (Operation &op : llvm::make_early_inc_range(block)) {
      if (auto concat = dyn_cast<ConcatOp>(op)) {
        SmallVector<Value> kept;
        auto axis = static_cast<int64_t>(concat.getAxis());
        for (Value input : concat.getInputs())
          if (cast<RankedTensorType>(input.getType()).getDimSize(axis) != 0)
            kept.push_back(input);
        if (kept.size() == 1) {
          concat.getResult().replaceAllUsesWith(kept[0]);
          concat.erase();
          continue;
        }
        if (!kept.empty())
          concat->setOperands(kept);
      }
      if (auto lookup = dyn_cast<GatherNDOp>(op); lookup && lookup.getBatchDims() == 0) {
        // Of indices of one number each it is rows.
        SymShape dims = *context.shapeOf(lookup.getIndices());
        if (!dims.empty() && dims.back().isConstant(1) && llvm::none_of(dims, [](const SymExpr &dim) { return dim.dependsOnData(); })) {
          b.setInsertionPoint(lookup);
          SmallVector<Value> sizes;
          for (const SymExpr &dim : ArrayRef(dims).drop_back())
            sizes.push_back(materialize(b, lookup.getLoc(), dim));
          auto type = [](Value value) { return cast<RankedTensorType>(value.getType()).getElementType(); };
          auto indices = createInferred<ReshapeOp>(b, lookup.getLoc(), context, type(lookup.getIndices()), lookup.getIndices(), sizes,
                                                   /*zero_copies=*/false);
          auto rows = succeeded(indices) ? createInferred<GatherOp>(b, lookup.getLoc(), context, type(lookup.getInput()),
                                                                    lookup.getInput(), indices->getResult(), int64_t(0))
                                         : FailureOr<GatherOp>();
          if (failed(rows))
            return failure();
          lookup.getResult().replaceAllUsesWith(rows->getResult());
          lookup.erase();
          continue;
        }
      }
      auto shaped = dyn_cast<SymbolicShapeOpInterface>(op);
      if (!shaped || op.getNumResults() != 1 || op.getNumRegions() > 0 || isa<ConstantOp, WeightOp>(op))
        continue;
      FailureOr<SymShape> shape = shaped.inferSymbolicShape(context);
      if (failed(shape))
        return failure();
      Type type = cast<RankedTensorType>(op.getResult(0).getType()).getElementType();
      auto refined = RankedTensorType::get(staticDims(*shape), type);
      op.getResult(0).setType(refined);
      context.setShape(op.getResult(0), *shape);
      replaceKnown(op, refined, context);
    }
    Value logits = block.getTerminator()->getOperand(0);
    main.setFunctionType(b.getFunctionType(block.getArgumentTypes(), logits.getType()));
    return success();
  }

  func::FuncOp main;
  Decoder decoder;
  OpBuilder b;
  ShapeContext shapes;
  SymExpr batch, sequence;
  llvm::StringMap<SymExpr> replaced; ///< symbols that have gone
  llvm::MapVector<BlockArgument, Kind> kinds;
};

struct SpecializeDecoder : impl::SpecializeDecoderPassBase<SpecializeDecoder> {
  void runOnOperation() override {
    auto main = getOperation().lookupSymbol<func::FuncOp>("main");
    std::optional<Decoder> decoder = main ? findDecoder(main) : std::nullopt;
    if (!decoder) {
      getOperation().emitError() << "expects a decoder: tokens [batch, sequence] that look up a table, and logits [batch, sequence, "
                                    "rows of the table]";
      return signalPassFailure();
    }
    if (failed(Specializer(main, *decoder).run()))
      signalPassFailure();
  }
};

} // namespace

bool resemblesDecoder(func::FuncOp main) { return findDecoder(main).has_value(); }

} // namespace lathe::generation
