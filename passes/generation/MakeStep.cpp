//===- MakeStep.cpp - A decoder's step from what it does for sequences ----===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/generation/Causal.h"
#include "passes/generation/Function.h"
#include "passes/generation/Passes.h"
#include "passes/generation/Positional.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/TypeSwitch.h"

namespace lathe::generation {
#define GEN_PASS_DEF_MAKESTEPPASS
#include "passes/generation/Passes.h.inc"
} // namespace lathe::generation

using namespace mlir;

namespace lathe::generation {
namespace {

/// What of a value of the old program is needed: of the new tokens all, of those whose logits are wanted.
enum Need : uint8_t { kNone = 0, kNew = 1, kLast = 2 };

class StepMaker {
public:
  StepMaker(ModuleOp module, func::FuncOp main) : module(module), main(main), b(module.getContext()) {}

  LogicalResult run() {
    if (failed(findTokens()) || failed(readAttentions()))
      return failure();
    classify();
    if (failed(findNeeds()))
      return failure();
    beginStep();
    for (Operation &op : main.getBody().front().without_terminator())
      if (failed(emit(op)))
        return failure();
    return finish();
  }

private:
  LogicalResult refuse(Operation *op, const Twine &reason) {
    return (op ? op : main.getOperation())->emitError() << "cannot generate with a cache: " << reason;
  }

  LogicalResult findTokens() {
    for (BlockArgument argument : main.getArguments())
      if (auto role = main.getArgAttrOfType<StringAttr>(argument.getArgNumber(), kRoleAttr); role && role.getValue() == "tokens")
        tokens = argument;
    if (!tokens)
      return refuse(nullptr, "expects an input with the role 'tokens', found none");
    SymShape dims = *before.shapeOf(tokens);
    if (dims.size() != 2 || !dims[0].symbolName() || !dims[1].symbolName())
      return refuse(nullptr, "expects tokens [batch, sequence] of symbolic dimensions, got " + str(dims));
    frame.batch = dims[0].symbolName()->str();
    frame.sequence = dims[1].symbolName()->str();
    assumeSome(frame.sequence); // there is a last token
    return success();
  }

  /// The symbol is 1 at least.
  void assumeSome(StringRef symbol) {
    after.ranges[symbol] = {1, std::nullopt};
    NamedAttrList symbols(module->getAttrOfType<DictionaryAttr>(LatheDialect::kSymbolsAttr));
    symbols.set(symbol, b.getDenseI64ArrayAttr({1, -1}));
    module->setAttr(LatheDialect::kSymbolsAttr, symbols.getDictionary(b.getContext()));
  }

  bool ofSequence(const SymExpr &dim) {
    SmallVector<std::string> names;
    dim.collectSymbols(names);
    return llvm::is_contained(names, frame.sequence);
  }
  bool ofTokens(Value value) { return changing.contains(value); }
  bool ofSource(Value value) { return given.contains(value); }

  void classify() {
    changing.clear();
    given.clear();
    changing.insert(tokens);
    for (BlockArgument argument : main.getArguments())
      if (argument != tokens)
        given.insert(argument);
    for (Operation &op : main.getBody().front())
      for (Value result : op.getResults()) {
        if (op.getNumRegions() > 0) { // what it captures is not looked for
          changing.insert(result);
          continue;
        }
        if (isa<DimOp, ShapeOfOp>(op))
          continue;
        if (llvm::any_of(op.getOperands(), [&](Value operand) { return ofTokens(operand); }))
          changing.insert(result);
        else if (llvm::any_of(op.getOperands(), [&](Value operand) { return ofSource(operand); }))
          given.insert(result);
      }
  }

  LogicalResult readAttentions() {
    classify();
    SmallVector<AttentionOp> ops;
    for (auto op : main.getBody().front().getOps<AttentionOp>())
      if (ofTokens(op.getQuery()))
        ops.push_back(op);
    for (AttentionOp op : ops) {
      Visibility seen = readMasks(op, before);
      if (op.getPositions() || cast<RankedTensorType>(op.getType()).getRank() != 4)
        return refuse(op, "expects attention over [batch, heads, sequence, size], got " +
                              Twine(cast<RankedTensorType>(op.getType()).getRank()) + " axes");
      if (ofTokens(op.getKey()) != ofTokens(op.getValue()))
        return refuse(op, "keys depend on the tokens and values do not, or the other way round");
      if (ofTokens(op.getKey()) && !seen.isCausal)
        return refuse(op, "a token may see later ones: no mask that compares its place with theirs was found");
      visible[op] = seen;
    }
    return success();
  }

  /// Why what the operation computes for a token depends on the tokens at other places; empty where it does not.
  std::string mixing(Operation *op) {
    SymShape result = *before.shapeOf(op->getResult(0));
    auto shape = [&](unsigned operand) { return *before.shapeOf(op->getOperand(operand)); };
    auto along = [&](ArrayRef<SymExpr> dims) { return llvm::any_of(dims, [&](const SymExpr &dim) { return ofSequence(dim); }); };
    const char *reduces = "it reduces along the sequence";
    if (op->hasTrait<OpTrait::BroadcastingElementwise>() || isa<TransposeOp, BroadcastOp>(op))
      return "";
    if (isa<LayerNormOp, RmsNormOp>(op)) {
      auto axis = op->getAttrOfType<IntegerAttr>("axis").getInt();
      return along(ArrayRef(result).drop_front(axis)) ? reduces : "";
    }
    if (auto softmax = dyn_cast<SoftmaxOp>(op))
      return ofSequence(result[softmax.getAxis()]) ? "it is a softmax along the sequence that is not part of an attention" : "";
    if (auto reduce = dyn_cast<ReduceOp>(op))
      return llvm::any_of(reduce.getAxes(), [&](int64_t axis) { return ofSequence(shape(0)[axis]); }) ? reduces : "";
    if (auto matmul = dyn_cast<MatmulOp>(op)) {
      SymShape l = shape(0);
      return l.size() < 2 || ofSequence(l[l.size() - (matmul.getTransposeLhs() ? 2 : 1)])
                 ? "it is a product along the sequence that is not part of an attention"
                 : "";
    }
    if (isa<ReshapeOp>(op)) {
      auto count = [&](const SymShape &dims) { return llvm::count_if(dims, [&](const SymExpr &dim) { return ofSequence(dim); }); };
      return count(shape(0)) != count(result) ? "it takes the sequence apart" : "";
    }
    if (auto concat = dyn_cast<ConcatOp>(op))
      return ofSequence(result[concat.getAxis()]) ? "it puts something before or behind the sequence" : "";
    if (auto slice = dyn_cast<SliceOp>(op))
      return slicesSequence(op) && !takesLast(slice)
                 ? "it takes a part of the sequence that is not its end"
                 : "";
    if (auto gather = dyn_cast<GatherOp>(op))
      return ofTokens(gather.getInput()) && ofSequence(shape(0)[gather.getAxis()]) ? "it looks up other places of the sequence" : "";
    if (isa<GatherElementsOp, ScatterElementsOp>(op))
      return ofSequence(shape(0)[op->getAttrOfType<IntegerAttr>("axis").getInt()]) ? "it reads or writes other places of the sequence"
                                                                                  : "";
    if (auto best = dyn_cast<TopKOp>(op))
      return ofSequence(shape(0)[best.getAxis()]) ? reduces : "";
    return ("'" + op->getName().getStringRef() + "' is not known to keep places of the sequence apart").str();
  }

  /// Whether it is a slice along the sequence.
  bool slicesSequence(Operation *op) {
    auto slice = dyn_cast<SliceOp>(op);
    if (!slice)
      return false;
    SymShape dims = *before.shapeOf(slice.getInput());
    return llvm::any_of(slice.getAxes(), [&](int64_t axis) { return ofSequence(dims[axis]); });
  }

  /// Whether it takes the last token alone.
  bool takesLast(SliceOp slice) {
    SymShape dims = *before.shapeOf(slice.getInput());
    for (auto [i, axis] : llvm::enumerate(slice.getAxes())) {
      if (!ofSequence(dims[axis]))
        continue;
      SymExpr start = before.indexValue(slice.getStarts()[i]), result = (*before.shapeOf(slice.getResult()))[axis];
      bool fromEnd = start == dims[axis] - 1 || start.isConstant(-1);
      if (!fromEnd || slice.getSteps()[i] != 1)
        return false;
    }
    return true;
  }

  /// What is needed of the results of an operation that depends on tokens.
  uint8_t needOf(Operation &op) {
    uint8_t need = kNone;
    for (Value result : op.getResults())
      need |= ofTokens(result) ? needs.lookup(result) : uint8_t(kNone);
    return need;
  }

  LogicalResult findNeeds() {
    Block &block = main.getBody().front();
    Value logits = block.getTerminator()->getOperand(0);
    if (!ofTokens(logits))
      return refuse(nullptr, "the logits do not depend on the tokens");
    needs[logits] = kLast;
    for (Operation &op : llvm::reverse(block.without_terminator())) {
      uint8_t need = needOf(op);
      if (!need)
        continue;
      if (op.getNumRegions() > 0)
        return refuse(&op, "branches and loops are not followed");
      if (auto attention = dyn_cast<AttentionOp>(op)) {
        if (!ofTokens(attention.getQuery()))
          return refuse(&op, "its queries do not depend on the tokens");
        needs[attention.getQuery()] |= need;
        if (ofTokens(attention.getKey())) {
          needs[attention.getKey()] |= kNew;
          needs[attention.getValue()] |= kNew;
        }
        for (Value bias : visible[&op].biases)
          if (ofTokens(bias))
            return refuse(&op, "what is added to its scores depends on the tokens");
        continue;
      }
      if (op.getResult(0).getType().isIndex())
        return refuse(&op, "shapes depend on the tokens");
      if (std::string reason = mixing(&op); !reason.empty())
        return refuse(&op, reason);
      bool ends = slicesSequence(&op);
      takesLastAlone |= ends;
      for (Value operand : op.getOperands()) {
        if (ofSource(operand))
          return refuse(&op, "it mixes tokens with what the source inputs give outside of an attention");
        if (ofTokens(operand))
          needs[operand] |= ends ? uint8_t(kLast) : need;
      }
    }
    return success();
  }

  BlockArgument addArgument(StringRef name, Type type, ArrayRef<StringRef> dims) {
    SmallVector<Attribute> texts;
    for (StringRef dim : dims)
      texts.push_back(b.getStringAttr(dim));
    argumentAttrs.push_back(b.getDictionaryAttr({b.getNamedAttr(LatheDialect::kDimsAttr, b.getArrayAttr(texts)),
                                                 b.getNamedAttr(LatheDialect::kNameAttr, b.getStringAttr(name))}));
    return step.getBody().front().addArgument(type, main.getLoc());
  }

  void beginStep() {
    b.setInsertionPointToEnd(module.getBody());
    step = b.create<func::FuncOp>(main.getLoc(), "step", b.getFunctionType({}, {}));
    step.addEntryBlock();
    Type i64 = b.getI64Type();
    int64_t dynamic = ShapedType::kDynamic;
    auto name = main.getArgAttrOfType<StringAttr>(tokens.getArgNumber(), LatheDialect::kNameAttr);
    values[{tokens, kNew}] = addArgument(name ? name.getValue() : "tokens", tokens.getType(), {frame.batch, frame.sequence});
    frame.positions = addArgument(kPositionsName, RankedTensorType::get({dynamic, dynamic}, i64), {frame.batch, frame.sequence});
    addArgument(kKeyPositionsName, RankedTensorType::get({dynamic}, i64), {kTotalSymbol});
    bool hasSource = llvm::any_of(visible, [&](auto &entry) { return !ofTokens(cast<AttentionOp>(entry.first).getKey()); });
    if (hasSource) {
      addArgument(kSourcePositionsName, RankedTensorType::get({dynamic}, i64), {kSourceSymbol});
      sourceLast = addArgument(kSourceLastName, RankedTensorType::get({dynamic, 1}, i64), {frame.batch, "1"});
    }
    if (!takesLastAlone) {
      wanted = addArgument(kWantedName, RankedTensorType::get({dynamic}, i64), {kWantedName});
      frame.count = SymExpr::symbol(kWantedName);
      assumeSome(kWantedName);
    }
    step.setFunctionType(b.getFunctionType(step.getBody().front().getArgumentTypes(), {}));
    step.setAllArgAttrs(argumentAttrs);
    b.setInsertionPointToStart(&step.getBody().front());
    frame.lastPositions = lastOf(tokens, frame.positions, main.getLoc());
    if (needs.lookup(tokens) & kLast)
      values[{tokens, kLast}] = lastOf(tokens, values[{tokens, kNew}], main.getLoc());
  }

  Value host(const SymExpr &expr) { return materialize(b, main.getLoc(), expr); }

  /// What the wanted tokens have of `made`, which is `value` for the new ones; null where the sequence is mixed with other axes.
  Value lastOf(Value value, Value made, Location loc) {
    SmallVector<int64_t> axes, steps;
    SmallVector<Value> starts, ends;
    SymExpr count = SymExpr::symbol(frame.sequence);
    SymShape dims = *before.shapeOf(value);
    for (auto [axis, dim] : llvm::enumerate(dims)) {
      if (!ofSequence(dim))
        continue;
      if (dim != count)
        return {};
      axes.push_back(axis);
      steps.push_back(1);
      starts.push_back(host(count - 1));
      ends.push_back(host(count));
    }
    Type element = cast<RankedTensorType>(made.getType()).getElementType();
    if (!wanted) {
      auto slice = createInferred<SliceOp>(b, loc, after, element, made, starts, ends, axes, steps);
      return succeeded(slice) ? slice->getResult() : Value();
    }
    for (int64_t axis : axes) {
      auto taken = createInferred<GatherOp>(b, loc, after, element, made, wanted, axis);
      if (failed(taken))
        return {};
      made = taken->getResult();
    }
    return made;
  }

  /// A value that does not depend on tokens, as an operand of an operation that does.
  FailureOr<Value> still(Operation *op, Value operand, Extent kind, std::optional<std::pair<size_t, size_t>> rankAndAxis) {
    std::optional<Extents> extents = positional.uniform(operand, kind);
    std::optional<Positional::Made> made = extents ? positional.make(operand, *extents) : std::nullopt;
    if (!made)
      return refuse(positional.at ? positional.at : op, positional.why.empty() ? "a shape is not known" : positional.why);
    Value value = made->value;
    if (made->batched)
      value = rankAndAxis ? positional.align(*made, rankAndAxis->first, rankAndAxis->second) : Value();
    if (!value)
      return refuse(op, "what it has for positions does not broadcast to sequences of different lengths");
    return value;
  }

  std::optional<size_t> batchAxis(const SymShape &dims) {
    for (size_t axis = 0; axis < dims.size(); ++axis)
      if (dims[axis] == SymExpr::symbol(frame.batch))
        return axis;
    return std::nullopt;
  }

  LogicalResult emit(Operation &op) {
    uint8_t need = needOf(op);
    if (!need)
      return success();
    Need first = need & kNew ? kNew : kLast;
    if (failed(emit(op, first)))
      return failure();
    if (need != (kNew | kLast))
      return success();
    for (Value result : op.getResults()) {
      Value last = lastOf(result, values.lookup({result, kNew}), op.getLoc());
      if (!last) // the sequence and other axes are one: what it takes is known of the last token, too
        return emit(op, kLast);
      values[{result, kLast}] = last;
    }
    return success();
  }

  LogicalResult emit(Operation &op, Need need) {
    if (auto attention = dyn_cast<AttentionOp>(op)) {
      FailureOr<Value> made = emitAttention(attention, need);
      if (succeeded(made))
        values[{op.getResult(0), need}] = *made;
      return success(succeeded(made));
    }
    FailureOr<Operation *> made = emitRows(&op, need);
    if (failed(made))
      return failure();
    for (auto [old, result] : llvm::zip_equal(op.getResults(), (*made)->getResults()))
      values[{old, need}] = result;
    return success();
  }

  FailureOr<Operation *> emitRows(Operation *op, Need need) {
    SymShape dims = *before.shapeOf(op->getResult(0));
    Extent kind = need == kNew ? Extent::rows : Extent::last;
    std::optional<std::pair<size_t, size_t>> place;
    if (std::optional<size_t> axis = batchAxis(dims); axis && op->hasTrait<OpTrait::BroadcastingElementwise>())
      place = std::pair(dims.size(), *axis);
    bool ends = slicesSequence(op);
    Need operandNeed = ends ? kLast : need;
    SmallVector<Value> operands;
    for (Value operand : op->getOperands()) {
      if (operand.getType().isIndex()) {
        operands.push_back({});
      } else if (ofTokens(operand)) {
        operands.push_back(values.lookup({operand, operandNeed}));
        if (!operands.back())
          return refuse(op, "what it takes is not computed for the new tokens");
      } else {
        FailureOr<Value> made = still(op, operand, kind, place);
        if (failed(made))
          return failure();
        operands.push_back(*made);
      }
    }
    // Of the last token alone, the end is all there is.
    Operation *made = positional.rebuildAll(op, operands, ends ? Extent::last : kind, /*keepsBatch=*/true);
    if (!made)
      return refuse(op, "its shape for new tokens is not known");
    return made;
  }

  /// Keys or values as the cache has them.
  FailureOr<Value> emitCache(AttentionOp op, Value rows, StringRef what) {
    if (Value known = caches.lookup(rows))
      return known;
    bool grows = ofTokens(rows);
    SymShape dims = *before.shapeOf(rows);
    if (dims[0] != SymExpr::symbol(frame.batch) || !dims[1].constant() || !dims[3].constant())
      return refuse(op, "expects " + what + " [batch, heads, sequence, size] with numbers of heads and columns, got " + str(dims));
    if (grows && dims[2] != SymExpr::symbol(frame.sequence))
      return refuse(op, "expects as many " + what + " as tokens, got " + dims[2].str());
    dims[2] = SymExpr::symbol(grows ? kTotalSymbol : kSourceSymbol);
    SmallVector<Value> sizes;
    for (const SymExpr &dim : dims)
      sizes.push_back(host(dim));
    std::string name = (what + (grows ? "." : ".source.") + Twine(caches.size() / 2)).str();
    Value fresh = grows ? values.lookup({rows, kNew}) : Value();
    auto cache = createInferred<CacheOp>(b, op.getLoc(), after, cast<RankedTensorType>(rows.getType()).getElementType(),
                                         b.getStringAttr(name), fresh, sizes, /*codes=*/TypeAttr());
    if (failed(cache))
      return failure();
    if (!grows)
      fixed.push_back({rows, name});
    caches[rows] = cache->getResult();
    return cache->getResult();
  }

  FailureOr<Value> emitAttention(AttentionOp op, Need need) {
    const Visibility &seen = visible[op];
    bool grows = ofTokens(op.getKey());
    FailureOr<Value> key = emitCache(op, op.getKey(), "keys"), value = emitCache(op, op.getValue(), "values");
    if (failed(key) || failed(value))
      return failure();
    SmallVector<Value> biases;
    for (Value bias : seen.biases) {
      FailureOr<Value> made = emitBias(op, bias, need);
      if (failed(made))
        return failure();
      biases.push_back(*made);
    }
    Value positions = !grows ? Value(sourceLast) : need == kNew ? frame.positions : frame.lastPositions;
    IntegerAttr window = seen.window ? b.getI64IntegerAttr(*seen.window) : IntegerAttr();
    auto made = createInferred<AttentionOp>(b, op.getLoc(), after, cast<RankedTensorType>(op.getType()).getElementType(),
                                            values.lookup({op.getQuery(), need}), *key, *value, biases, op.getScaleAttr(),
                                            op.getSoftcapAttr(), positions, op.getZeroMaskedAttr(), op.getZeroNanAttr(), window,
                                            op.getArithmeticAttr());
    if (failed(made))
      return failure();
    return made->getResult();
  }

  /// [.., new tokens, all keys].
  FailureOr<Value> emitBias(AttentionOp op, Value bias, Need need) {
    SymShape dims = *before.shapeOf(bias);
    Extents extents(dims.size(), Extent::none);
    bool grows = ofTokens(op.getKey());
    if (ofSource(bias) || !grows)
      return refuse(op, "what is added to its scores depends on source inputs");
    for (size_t axis = 0; axis < dims.size(); ++axis)
      if (ofSequence(dims[axis]))
        extents[axis] = axis + 1 == dims.size() ? Extent::all : need == kNew ? Extent::rows : Extent::last;
    std::optional<Positional::Made> made = positional.make(bias, extents);
    if (!made)
      return refuse(positional.at ? positional.at : op, positional.why.empty() ? "a shape is not known" : positional.why);
    Value value = positional.align(*made, made->batched ? 4 : 0, 0);
    if (!value)
      return refuse(op, "what is added to its scores does not broadcast to sequences of different lengths");
    return value;
  }

  LogicalResult finish() {
    Value logits = main.getBody().front().getTerminator()->getOperand(0);
    Value made = values.lookup({logits, kLast});
    b.create<func::ReturnOp>(main.getLoc(), made);
    step.setFunctionType(b.getFunctionType(step.getBody().front().getArgumentTypes(), made.getType()));
    step.setAllResultAttrs(ArrayRef<DictionaryAttr>(main.getResultAttrDict(0)));
    if (fixed.empty())
      main.erase();
    else
      makeEncode();
    step.setName("main");
    return success();
  }

  /// Leaves of the old program what fills the caches that do not grow.
  void makeEncode() {
    SmallVector<Value> results;
    SmallVector<DictionaryAttr> resultAttrs;
    for (auto &[value, name] : fixed) {
      results.push_back(value);
      resultAttrs.push_back(b.getDictionaryAttr(b.getNamedAttr(LatheDialect::kNameAttr, b.getStringAttr(name))));
    }
    reduceTo(main, results, resultAttrs, [](BlockArgument argument) { return argument.use_empty(); });
    main.setName(kEncodeName);
  }

  ModuleOp module;
  func::FuncOp main, step;
  OpBuilder b;
  ShapeContext before, after;
  StepFrame frame;
  Positional positional{b, frame, before, after};
  BlockArgument tokens, sourceLast, wanted; ///< the last null where a program takes the last token by itself
  bool takesLastAlone = false;
  DenseSet<Value> changing, given; ///< what depends on tokens; what depends on source inputs and not on tokens
  DenseMap<Operation *, Visibility> visible;
  DenseMap<Value, uint8_t> needs;
  DenseMap<std::pair<Value, int>, Value> values;
  DenseMap<Value, Value> caches; ///< by keys or values of the old program
  SmallVector<std::pair<Value, std::string>> fixed;
  SmallVector<DictionaryAttr> argumentAttrs;
};

struct MakeStep : impl::MakeStepPassBase<MakeStep> {
  void runOnOperation() override {
    auto main = getOperation().lookupSymbol<func::FuncOp>("main");
    if (!main || !main.getBody().hasOneBlock() || main.getNumResults() != 1) {
      getOperation().emitError() << "expects a program @main of one block that returns the logits";
      return signalPassFailure();
    }
    if (failed(StepMaker(getOperation(), main).run()))
      signalPassFailure();
  }
};

} // namespace
} // namespace lathe::generation
