//===- Stacks.cpp - Matrices that are stored together ---------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/Stacks.h"
#include "dialects/lathe/SymbolicShape.h"
#include "dialects/lathe/ValueNames.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "passes/quantization/Layers.h"
#include "llvm/ADT/Sequence.h"
#include "llvm/ADT/StringExtras.h"
#include <map>
#include <memory>

using namespace mlir;

namespace lathe::compression {

std::string matrixName(StringRef stack, int64_t number) {
  return (stack + "[" + Twine(number) + ":" + Twine(number + 1) + "]").str();
}

std::string stackName(StringRef matrix) {
  auto [stack, range] = matrix.rsplit('[');
  if (!range.consume_back("]"))
    return "";
  auto [from, to] = range.split(':');
  return !from.empty() && !to.empty() && llvm::all_of(from, llvm::isDigit) && llvm::all_of(to, llvm::isDigit)
             ? stack.str()
             : "";
}

namespace {

/// Fewer numbers than this are multiplied faster with all others of the stack than by a product of their own.
constexpr int64_t kSmallestMatrix = 1024;
constexpr int64_t kMostMatrices = 1024;

RankedTensorType tensorType(Value value) { return cast<RankedTensorType>(value.getType()); }

/// The weight that the first operands of an expression lead to; null for none.
WeightOp storedOf(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (auto weight = dyn_cast<WeightOp>(op))
      return weight;
    if (!isa<CastOp, DequantizeOp, DequantizeLog2Op, CodebookLookupOp>(op))
      break;
    value = op->getOperand(0);
  }
  return {};
}

bool isPlain(Value value) {
  if (auto widened = value.getDefiningOp<CastOp>())
    value = widened.getInput();
  return static_cast<bool>(value.getDefiningOp<WeightOp>());
}

/// Whether numbers are stored in a type that layers have.
bool isFloat(WeightOp weight) {
  Type element = tensorType(weight).getElementType();
  return element.isF32() || element.isF16() || element.isBF16();
}

/// Whether scales of this axis and block belong to one matrix each, or are one for all matrices.
template <typename OpTy> bool areScalesOfMatrices(OpTy op) {
  std::optional<int64_t> axis;
  if (op.getAxis())
    axis = static_cast<int64_t>(*op.getAxis());
  return !axis || *axis > 0;
}

/// Whether the matrices of a constant stack, [e, …], can be taken apart without computing anything.
bool isStack(Value value, int64_t matrices) {
  auto type = tensorType(value);
  Operation *op = value.getDefiningOp();
  if (!op || !type.hasStaticShape() || type.getRank() != 3 || type.getDimSize(0) != matrices)
    return false;
  if (isa<WeightOp>(op))
    return true;
  if (auto constant = dyn_cast<ConstantOp>(op)) {
    auto dense = dyn_cast<DenseElementsAttr>(constant.getValue());
    return dense && (dense.isSplat() || type.getElementTypeBitWidth() % 8 == 0);
  }
  if (auto widened = dyn_cast<CastOp>(op))
    return isStack(widened.getInput(), matrices);
  if (auto lookup = dyn_cast<CodebookLookupOp>(op))
    return (!lookup.getAxis() || *lookup.getAxis() > 0) && isStack(lookup.getCodes(), matrices);
  auto isParameter = [&](Value parameter, bool ofBlocks) {
    return !parameter || (ofBlocks ? isStack(parameter, matrices) : tensorType(parameter).getRank() <= 1);
  };
  if (auto dequantize = dyn_cast<DequantizeOp>(op)) {
    bool ofBlocks = dequantize.getBlockSize().has_value();
    return areScalesOfMatrices(dequantize) && isStack(dequantize.getInput(), matrices) &&
           isParameter(dequantize.getScale(), ofBlocks) && isParameter(dequantize.getZeroPoint(), ofBlocks);
  }
  if (auto dequantize = dyn_cast<DequantizeLog2Op>(op))
    return areScalesOfMatrices(dequantize) && isStack(dequantize.getInput(), matrices) &&
           isParameter(dequantize.getScale(), dequantize.getBlockSize().has_value());
  return false;
}

IntegerAttr lessOne(IntegerAttr axis) {
  return axis ? IntegerAttr::get(axis.getType(), axis.getInt() - 1) : IntegerAttr();
}

/// Takes apart what one program has of stacks, and the products with them.
class Splitter {
public:
  explicit Splitter(func::FuncOp program) : b(program.getContext()) {}

  /// Whether a product with a stack can be split, by what is known of its other side.
  bool canSplit(MatmulOp product);
  void split(MatmulOp product);

private:
  Value matrix(Value stack, int64_t number);
  Value constantMatrix(ConstantOp constant, int64_t number);
  Value left(MatmulOp product, int64_t number);
  Value reshape(Location loc, Value value, const SymShape &to);
  std::optional<int64_t> leftAxis(MatmulOp product);

  OpBuilder b;
  ShapeContext shapes;
  std::map<std::pair<void *, int64_t>, Value> matrices, lefts; ///< that are there, by the whole and the number
};

/// The axis of the left side that goes with the stack's matrices; none where it has the same rows for all of them.
std::optional<int64_t> Splitter::leftAxis(MatmulOp product) {
  int64_t axis = tensorType(product.getLhs()).getRank() - 3;
  return axis < 0 ? std::nullopt : std::optional<int64_t>(axis);
}

bool Splitter::canSplit(MatmulOp product) {
  auto stack = tensorType(product.getRhs());
  int64_t matrices = stack.getRank() == 3 ? stack.getDimSize(0) : 0;
  if (!stack.getElementType().isF32() || matrices < 1 || matrices > kMostMatrices ||
      !isStack(product.getRhs(), matrices) || stack.getNumElements() < matrices * kSmallestMatrix)
    return false;
  FailureOr<SymShape> lhs = shapes.shapeOf(product.getLhs()), result = shapes.shapeOf(product.getResult());
  auto isKnown = [](const SymExpr &dim) { return !dim.dependsOnData(); };
  if (failed(lhs) || failed(result) || !llvm::all_of(*lhs, isKnown) || !llvm::all_of(*result, isKnown))
    return false;
  std::optional<int64_t> axis = leftAxis(product);
  std::optional<int64_t> extent = axis ? (*lhs)[*axis].constant() : std::optional<int64_t>(1);
  return extent && (*extent == 1 || *extent == matrices);
}

Value Splitter::reshape(Location loc, Value value, const SymShape &to) {
  SmallVector<Value> dims;
  for (const SymExpr &dim : to)
    dims.push_back(dim.constant() ? b.create<arith::ConstantIndexOp>(loc, *dim.constant()).getResult()
                                  : materialize(b, loc, dim));
  auto op = createInferred<ReshapeOp>(b, loc, shapes, tensorType(value).getElementType(), value, dims,
                                      /*zero_copies=*/false);
  return succeeded(op) ? op->getResult() : Value();
}

Value Splitter::constantMatrix(ConstantOp constant, int64_t number) {
  auto dense = cast<DenseElementsAttr>(constant.getValue());
  auto type = tensorType(constant.getResult());
  auto own = RankedTensorType::get(type.getShape().drop_front(), type.getElementType());
  DenseElementsAttr part;
  if (dense.isSplat()) {
    part = dense.resizeSplat(own);
  } else {
    ArrayRef<char> raw = dense.getRawData();
    size_t bytes = raw.size() / static_cast<size_t>(type.getDimSize(0));
    part = DenseElementsAttr::getFromRawBuffer(own, raw.slice(static_cast<size_t>(number) * bytes, bytes));
  }
  return b.create<ConstantOp>(constant.getLoc(), own, part);
}

Value Splitter::matrix(Value stack, int64_t number) {
  if (!stack || tensorType(stack).getRank() < 3)
    return stack; // one for all
  Value &known = matrices[{stack.getAsOpaquePointer(), number}];
  if (known)
    return known;
  Operation *op = stack.getDefiningOp();
  Location loc = op->getLoc();
  auto whole = tensorType(stack);
  auto type = RankedTensorType::get(whole.getShape().drop_front(), whole.getElementType());
  SmallVector<Value> operands;
  for (Value operand : op->getOperands())
    operands.push_back(isa<CodebookLookupOp>(op) && !operands.empty() ? operand : matrix(operand, number));
  OpBuilder::InsertionGuard guard(b);
  // In the order of their numbers; parts of operands stand behind these, which is before.
  auto before = matrices.find({stack.getAsOpaquePointer(), number - 1});
  b.setInsertionPointAfter(before == matrices.end() ? op : before->second.getDefiningOp());
  Value made;
  if (auto weight = dyn_cast<WeightOp>(op)) {
    int64_t bytes = type.getNumElements() * static_cast<int64_t>(llvm::divideCeil(whole.getElementTypeBitWidth(), 8));
    made = b.create<WeightOp>(loc, type, matrixName(weight.getName(), number), weight.getFile(),
                              static_cast<int64_t>(weight.getOffset()) + number * bytes);
  } else if (auto constant = dyn_cast<ConstantOp>(op)) {
    made = constantMatrix(constant, number);
  } else if (isa<CastOp>(op)) {
    made = b.create<CastOp>(loc, type, operands[0]);
  } else if (auto lookup = dyn_cast<CodebookLookupOp>(op)) {
    made = b.create<CodebookLookupOp>(loc, type, operands[0], operands[1], lessOne(lookup.getAxisAttr()));
  } else if (auto dequantize = dyn_cast<DequantizeOp>(op)) {
    made = b.create<DequantizeOp>(loc, type, operands[0], operands[1], operands.size() > 2 ? operands[2] : Value(),
                                  lessOne(dequantize.getAxisAttr()), dequantize.getBlockSizeAttr());
  } else {
    auto log2 = cast<DequantizeLog2Op>(op);
    made = b.create<DequantizeLog2Op>(loc, type, operands[0], operands[1], lessOne(log2.getAxisAttr()),
                                      log2.getBlockSizeAttr());
  }
  return known = made;
}

/// The rows that are multiplied with one matrix, without the axis of these.
Value Splitter::left(MatmulOp product, int64_t number) {
  Value lhs = product.getLhs();
  std::optional<int64_t> axis = leftAxis(product);
  if (!axis)
    return lhs;
  SymShape shape = *shapes.shapeOf(lhs);
  bool isShared = shape[*axis].isConstant(1);
  Value &known = lefts[{lhs.getAsOpaquePointer(), isShared ? 0 : number}];
  if (known)
    return known;
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointAfterValue(lhs);
  Location loc = withoutValue(lhs.getLoc());
  Value part = lhs;
  if (!isShared) {
    Value from = b.create<arith::ConstantIndexOp>(loc, number), to = b.create<arith::ConstantIndexOp>(loc, number + 1);
    auto slice = createInferred<SliceOp>(b, loc, shapes, tensorType(lhs).getElementType(), lhs, ValueRange{from},
                                         ValueRange{to}, ArrayRef<int64_t>{*axis}, ArrayRef<int64_t>{1});
    if (failed(slice))
      return {};
    part = slice->getResult();
  }
  shape.erase(shape.begin() + *axis);
  return known = reshape(loc, part, shape);
}

void Splitter::split(MatmulOp product) {
  int64_t count = tensorType(product.getRhs()).getDimSize(0);
  SmallVector<Value> sides, results;
  for (int64_t number = 0; number < count; ++number) {
    sides.push_back(left(product, number));
    if (!sides.back())
      return;
  }
  b.setInsertionPoint(product);
  Location loc = withoutValue(product.getLoc());
  Type element = tensorType(product.getResult()).getElementType();
  SymShape shape = *shapes.shapeOf(product.getResult());
  auto axis = static_cast<int64_t>(shape.size()) - 3;
  shape[axis] = SymExpr(1);
  for (auto [number, side] : llvm::enumerate(sides)) {
    auto own =
        createInferred<MatmulOp>(b, loc, shapes, element, side, matrix(product.getRhs(), static_cast<int64_t>(number)),
                                 product.getTransposeLhsAttr(), product.getTransposeRhsAttr());
    if (failed(own))
      return;
    b.setInsertionPointAfter(*own);
    results.push_back(reshape(loc, own->getResult(), shape));
    b.setInsertionPoint(product);
    if (!results.back())
      return;
  }
  Value whole = results.front();
  if (count > 1) {
    auto concat = createInferred<ConcatOp>(b, product.getLoc(), shapes, element, results, b.getI64IntegerAttr(axis));
    if (failed(concat))
      return;
    whole = concat->getResult();
  }
  whole.setType(product.getType());
  product.getResult().replaceAllUsesWith(whole);
  product.erase();
}

/// A product with a stack, and the place of the bytes of that.
struct Found {
  MatmulOp product;
  Place place;
};

void eraseDeadConstants(func::FuncOp program) {
  SmallVector<Operation *> ops;
  program.walk([&](Operation *op) {
    if (isa<WeightOp, ConstantOp, CastOp, DequantizeOp, DequantizeLog2Op, CodebookLookupOp>(op))
      ops.push_back(op);
  });
  for (Operation *op : llvm::reverse(ops))
    if (op->use_empty())
      op->erase();
}

/// What reads plain stacks, in all programs: in all, and by products that can be split.
struct Readers {
  int64_t all = 0, products = 0;
};

void countReaders(func::FuncOp program, std::map<Place, Readers> &readers) {
  program.walk([&](WeightOp weight) {
    if (tensorType(weight).getRank() != 3)
      return;
    Readers &own = readers[Place(weight.getFile().str(), weight.getOffset())];
    for (Operation *user : weight->getUsers())
      own.all += isa<CastOp>(user) ? std::distance(user->user_begin(), user->user_end()) : 1;
  });
}

bool isAnyMeant(WeightOp stored, MatmulOp product, IsMeant isMeant) {
  std::string node = nodeOf(product);
  return llvm::any_of(llvm::seq<int64_t>(0, tensorType(product.getRhs()).getDimSize(0)),
                      [&](int64_t number) { return isMeant(matrixName(stored.getName(), number), node); });
}

void splitMeant(ArrayRef<func::FuncOp> programs, bool expressionsOnly, IsMeant isMeant) {
  std::vector<std::pair<std::unique_ptr<Splitter>, std::vector<Found>>> all;
  std::map<Place, Readers> readers;
  for (func::FuncOp program : programs) {
    all.emplace_back(std::make_unique<Splitter>(program), std::vector<Found>());
    auto &[splitter, found] = all.back();
    countReaders(program, readers);
    SmallVector<MatmulOp> products;
    program.walk([&](MatmulOp product) { products.push_back(product); });
    for (MatmulOp product : products) {
      WeightOp stored = product.getLhs() == product.getRhs() ? WeightOp() : storedOf(product.getRhs());
      bool isOne = stored && isPlain(product.getRhs());
      if (!stored || (isOne && (expressionsOnly || !isFloat(stored))) || !splitter->canSplit(product) ||
          !isAnyMeant(stored, product, isMeant))
        continue;
      Place place(stored.getFile().str(), stored.getOffset());
      if (isOne)
        ++readers[place].products;
      found.push_back({product, place});
    }
  }
  for (size_t i = 0; i < all.size(); ++i) {
    for (Found &own : all[i].second) {
      const Readers &count = readers[own.place];
      if (!isPlain(own.product.getRhs()) || count.all == count.products)
        all[i].first->split(own.product);
    }
    if (!all[i].second.empty())
      eraseDeadConstants(programs[i]);
  }
}

} // namespace

void splitStacks(ArrayRef<func::FuncOp> programs, IsMeant isMeant) {
  splitMeant(programs, /*expressionsOnly=*/false, isMeant);
}

void splitStackExpressions(ArrayRef<func::FuncOp> programs) {
  splitMeant(programs, /*expressionsOnly=*/true, [](StringRef, StringRef) { return true; });
}

} // namespace lathe::compression
