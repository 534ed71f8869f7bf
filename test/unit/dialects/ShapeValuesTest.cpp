//===- ShapeValuesTest.cpp - From IR to expressions and back --------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "SymbolicTestSupport.h"
#include "dialects/lathe/Lathe.h"

using namespace lathe;
using namespace lathe::test;
using mlir::Value;

namespace {

SymExpr sym(llvm::StringRef name) { return SymExpr::symbol(name); }

/// Operations are built into the body of a function; its arguments are what `argument` added.
class ShapeValuesTest : public ::testing::Test {
protected:
  ShapeValuesTest() : builder(&mlirContext) {}
  void SetUp() override {
    addRanges(context);
    mlirContext.loadDialect<LatheDialect>();
    module = mlir::ModuleOp::create(loc());
    builder.setInsertionPointToEnd(module->getBody());
    func = builder.create<mlir::func::FuncOp>(loc(), "main", builder.getFunctionType({}, {}));
    builder.setInsertionPointToEnd(func.addEntryBlock());
  }
  mlir::Location loc() { return mlir::UnknownLoc::get(&mlirContext); }
  mlir::Type i(unsigned width) { return builder.getIntegerType(width); }
  mlir::RankedTensorType tensor(llvm::ArrayRef<int64_t> shape, mlir::Type type) {
    return mlir::RankedTensorType::get(shape, type);
  }
  Value argument(mlir::Type type, llvm::StringRef name, llvm::ArrayRef<llvm::StringRef> dims = {}) {
    unsigned index = func.getNumArguments();
    func.insertArgument(index, type, mlir::DictionaryAttr::get(&mlirContext), loc());
    if (!name.empty())
      func.setArgAttr(index, LatheDialect::kNameAttr, builder.getStringAttr(name));
    if (!dims.empty())
      func.setArgAttr(index, LatheDialect::kDimsAttr, builder.getStrArrayAttr(dims));
    return func.getArgument(index);
  }
  Value index(int64_t value) { return builder.create<mlir::arith::ConstantIndexOp>(loc(), value); }
  Value symbol(llvm::StringRef name) { return builder.create<SymbolOp>(loc(), builder.getIndexType(), name); }
  template <typename Op> Value arith(Value a, Value b) { return builder.create<Op>(loc(), a, b); }
  Value cmp(mlir::arith::CmpIPredicate predicate, Value a, Value b) {
    return builder.create<mlir::arith::CmpIOp>(loc(), predicate, a, b);
  }
  Value select(Value c, Value a, Value b) { return builder.create<mlir::arith::SelectOp>(loc(), c, a, b); }
  /// A lathe operation with a result of integers; a shape of one number and no length is a scalar's.
  template <typename Op, typename... Args> Value make(llvm::ArrayRef<int64_t> shape, mlir::Type type, Args &&...args) {
    return builder.create<Op>(loc(), tensor(shape, type), std::forward<Args>(args)...);
  }
  Value constant(llvm::ArrayRef<int64_t> numbers, mlir::Type type) {
    llvm::SmallVector<llvm::APInt> bits;
    for (int64_t number : numbers)
      bits.push_back(llvm::APInt(type.getIntOrFloatBitWidth(), static_cast<uint64_t>(number), true));
    auto shape = tensor({static_cast<int64_t>(numbers.size())}, type);
    return builder.create<ConstantOp>(loc(), shape, mlir::DenseElementsAttr::get(shape, bits));
  }
  Value constant(llvm::ArrayRef<int64_t> numbers) { return constant(numbers, i(64)); }
  Value fromIndex(mlir::ValueRange values) {
    return make<FromIndexOp>({static_cast<int64_t>(values.size())}, i(64), values);
  }
  /// Its elements as text, `-` where they are data; asks for one more than there are, which must be refused.
  std::string elements(Value tensor) {
    std::string text;
    int64_t count = mlir::cast<mlir::RankedTensorType>(tensor.getType()).getNumElements();
    for (int64_t k = 0; k < count; ++k) {
      auto element = context.element(tensor, k);
      text += (k ? ", " : "") + (element ? element->str() : "-");
    }
    EXPECT_EQ(context.element(tensor, count), std::nullopt);
    EXPECT_EQ(context.element(tensor, -1), std::nullopt);
    return text;
  }
  std::string shape(Value tensor) {
    auto dims = context.shapeOf(tensor);
    return succeeded(dims) ? str(*dims) : "failure";
  }

  /// Value of an index, all operations of the function folded one after the other with symbols replaced.
  std::optional<int64_t> fold(Value wanted, const Values &values) {
    llvm::DenseMap<Value, mlir::Attribute> known;
    for (mlir::Operation &op : func.getBody().front()) {
      if (auto symbol = mlir::dyn_cast<SymbolOp>(op)) {
        known[symbol] = builder.getIndexAttr(values.at(symbol.getName().str()));
        continue;
      }
      llvm::SmallVector<mlir::Attribute> operands;
      for (Value operand : op.getOperands())
        operands.push_back(known.lookup(operand));
      llvm::SmallVector<mlir::OpFoldResult> results;
      if (failed(op.fold(operands, results)) || results.size() != 1)
        return std::nullopt;
      auto same = mlir::dyn_cast<Value>(results[0]);
      known[op.getResult(0)] = same ? known.lookup(same) : mlir::cast<mlir::Attribute>(results[0]);
    }
    auto result = mlir::dyn_cast_or_null<mlir::IntegerAttr>(known.lookup(wanted));
    return result ? std::optional(result.getInt()) : std::nullopt;
  }
  void clear() {
    mlir::Block &block = func.getBody().front();
    while (!block.empty())
      block.back().erase();
  }

  ShapeContext context;
  mlir::MLIRContext mlirContext;
  mlir::OpBuilder builder;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  mlir::func::FuncOp func;
};

constexpr int64_t kAny = mlir::ShapedType::kDynamic;

//===----------------------------------------------------------------------===//
// Materialization
//===----------------------------------------------------------------------===//

TEST_F(ShapeValuesTest, MaterializedFormulasHaveTheirValue) {
  Random random(21);
  int compared = 0;
  for (int k = 0; k < 1500; ++k) {
    clear();
    ShapeContext fresh; // a context must not outlive the values it is asked about
    if (k % 2)
      addRanges(fresh);
    Formula formula = Formula::random(random, 1 + k % 3);
    SymExpr expr = formula.build(fresh);
    Value value = materialize(builder, loc(), expr);
    ASSERT_TRUE(value.getType().isIndex());
    // What was written reads back as an expression of the same value.
    ShapeContext reader;
    addRanges(reader);
    SymExpr read = reader.indexValue(value);
    ASSERT_FALSE(read.dependsOnData()) << expr.str();
    for (int j = 0; j < 5; ++j) {
      Values values = randomValues(random);
      std::optional<int64_t> folded = fold(value, values);
      ASSERT_TRUE(folded) << "must not trap: " << expr.str() << "\nwith " << describe(values);
      std::optional<int64_t> expected = formula.value(values);
      if (!expected)
        continue;
      ASSERT_EQ(folded, expected) << expr.str() << "\nwith " << describe(values);
      ASSERT_EQ(evaluate(read, values), expected)
          << expr.str() << "\nread as " << read.str() << "\nwith " << describe(values);
      ++compared;
    }
  }
  EXPECT_GT(compared, 4000);
}

TEST_F(ShapeValuesTest, MaterializeConstants) {
  for (int64_t number : {INT64_MIN, int64_t(-1), int64_t(0), int64_t(1), INT64_MAX})
    EXPECT_EQ(fold(materialize(builder, loc(), number), {}), number);
  EXPECT_EQ(context.indexValue(materialize(builder, loc(), 7)), SymExpr(7));
}

TEST_F(ShapeValuesTest, MaterializeLargeProducts) {
  SymExpr a, b;
  Values values;
  for (int64_t k = 0; k < 40; ++k) {
    a = a + sym("a" + std::to_string(k));
    b = b + sym("b" + std::to_string(k));
    values["a" + std::to_string(k)] = k;
    values["b" + std::to_string(k)] = 2 * k - 5;
  }
  SymExpr product = a * b;
  ASSERT_EQ(product.getTerms().size(), 1u);
  EXPECT_EQ(fold(materialize(builder, loc(), product), values), (39 * 40 / 2) * (39 * 40 - 40 * 5));
}

/// A divisor of zero comes only with shapes that a check rejects, but the code before the check must not trap.
TEST_F(ShapeValuesTest, MaterializedDivisionByZero) {
  SymExpr n = sym("n"), m = sym("m");
  Values values{{"n", 7}, {"m", 0}};
  for (const SymExpr &expr : {context.floorDiv(n, m), context.ceilDiv(n + 1, m * 2)}) {
    Value value = materialize(builder, loc(), expr);
    EXPECT_TRUE(fold(value, values)) << expr.str();
    EXPECT_EQ(context.indexValue(value), expr) << "the guard is seen through";
  }
  EXPECT_TRUE(fold(materialize(builder, loc(), context.mod(n, m)), values));
}

TEST_F(ShapeValuesTest, MaterializeValues) {
  Value x = argument(tensor({kAny, 4}, i(64)), "");
  Value data = argument(builder.getIndexType(), "");
  SymExpr dim = (*context.shapeOf(x))[0], number = context.indexValue(data);
  auto dimOp = materialize(builder, loc(), dim).getDefiningOp<DimOp>();
  ASSERT_TRUE(dimOp);
  EXPECT_EQ(dimOp.getInput(), x);
  EXPECT_EQ(dimOp.getAxis(), 0u);
  EXPECT_EQ(materialize(builder, loc(), number), data);
  EXPECT_EQ(context.indexValue(materialize(builder, loc(), dim * 2 + number)), dim * 2 + number);
}

//===----------------------------------------------------------------------===//
// Shapes
//===----------------------------------------------------------------------===//

TEST_F(ShapeValuesTest, ShapesOfArguments) {
  Value named = argument(tensor({kAny, kAny, 4}, i(64)), "x", {"batch", "past + seq", "4"});
  EXPECT_EQ(shape(named), "[batch, past + seq, 4]");
  EXPECT_EQ((*context.shapeOf(named))[1], sym("past") + sym("seq"));
  EXPECT_EQ((staticDims(*context.shapeOf(named))), (llvm::SmallVector<int64_t, 4>{kAny, kAny, 4}));
  // The type is right where the attribute says otherwise; what is no expression is a symbol.
  EXPECT_EQ(shape(argument(tensor({2, kAny}, i(64)), "y", {"batch", "floor(a/2)"})), "[2, floor(a/2)]");
  // An attribute of another rank says nothing.
  Value bare = argument(tensor({kAny, 3}, i(64)), "z", {"batch"});
  SymShape dims = *context.shapeOf(bare);
  EXPECT_TRUE(dims[0].dependsOnData());
  EXPECT_EQ(dims[1], SymExpr(3));
  EXPECT_TRUE(context.atLeast(dims[0], 0));
  EXPECT_FALSE(context.atMost(dims[0], INT64_MAX));
  EXPECT_EQ((*context.shapeOf(bare))[0], dims[0]) << "the same unknown each time";
  Value other = argument(tensor({kAny, kAny}, i(64)), "");
  SymShape unknown = *context.shapeOf(other);
  EXPECT_NE(unknown[0], unknown[1]);
  EXPECT_NE(unknown[0], dims[0]);
  EXPECT_EQ(shape(argument(tensor({}, i(64)), "")), "[]");
  EXPECT_TRUE(failed(context.shapeOf(index(1))));
  EXPECT_TRUE(failed(context.shapeOf(argument(mlir::UnrankedTensorType::get(i(64)), ""))));
}

TEST_F(ShapeValuesTest, SetAndForget) {
  Value x = argument(tensor({kAny}, i(64)), "x", {"n"});
  EXPECT_EQ(shape(x), "[n]");
  context.setShape(x, {SymExpr(5)});
  EXPECT_EQ(shape(x), "[5]");
  context.forget(x);
  EXPECT_EQ(shape(x), "[n]");
}

TEST_F(ShapeValuesTest, TypesOnly) {
  ShapeContext types(/*typesOnly=*/true);
  Value x = argument(tensor({kAny, 4}, i(64)), "x", {"n", "4"});
  Value y = make<AddOp>({kAny, 4}, i(64), x, x);
  for (Value value : {x, y}) {
    SymShape dims = *types.shapeOf(value);
    EXPECT_TRUE(dims[0].dependsOnData());
    EXPECT_EQ(dims[1], SymExpr(4));
  }
  EXPECT_EQ(shape(y), "[n, 4]");
  EXPECT_TRUE(types.indexValue(arith<mlir::arith::AddIOp>(symbol("n"), index(1))).dependsOnData());
  EXPECT_EQ(types.indexValue(symbol("n")), sym("n"));
}

//===----------------------------------------------------------------------===//
// Index values
//===----------------------------------------------------------------------===//

TEST_F(ShapeValuesTest, IndexArithmetic) {
  using namespace mlir::arith;
  Value n = symbol("n"), m = symbol("m"), three = index(3);
  EXPECT_EQ(context.indexValue(three), SymExpr(3));
  EXPECT_EQ(context.indexValue(index(-3)), SymExpr(-3));
  EXPECT_EQ(context.indexValue(n), sym("n"));
  EXPECT_EQ(context.indexValue(arith<AddIOp>(n, three)), sym("n") + 3);
  EXPECT_EQ(context.indexValue(arith<SubIOp>(three, n)), SymExpr(3) - sym("n"));
  EXPECT_EQ(context.indexValue(arith<MulIOp>(n, m)), sym("n") * sym("m"));
  EXPECT_EQ(context.indexValue(arith<FloorDivSIOp>(arith<MulIOp>(n, three), three)), sym("n"));
  EXPECT_EQ(context.indexValue(arith<FloorDivSIOp>(n, m)), context.floorDiv(sym("n"), sym("m")));
  EXPECT_EQ(context.indexValue(arith<MinSIOp>(n, m)), context.min(sym("n"), sym("m")));
  EXPECT_EQ(context.indexValue(arith<MaxSIOp>(n, index(-1))), sym("n"));

  // Operations not understood are unknowns, the same each time and apart from one another.
  Value rest = arith<RemSIOp>(n, three), divided = arith<DivSIOp>(n, three);
  SymExpr unknown = context.indexValue(rest);
  EXPECT_TRUE(unknown.dependsOnData());
  EXPECT_EQ(context.indexValue(rest), unknown);
  EXPECT_NE(context.indexValue(divided), unknown);
  EXPECT_FALSE(context.atLeast(unknown, 0));
  EXPECT_EQ(context.indexValue(arith<SubIOp>(rest, rest)), SymExpr(0));
}

TEST_F(ShapeValuesTest, IndexSelect) {
  using P = mlir::arith::CmpIPredicate;
  Value a = symbol("ids[0]"), b = symbol("ids[1]"), n = symbol("n"), m = symbol("m");
  auto holds = [](P predicate, int64_t x, int64_t y) {
    switch (predicate) {
    case P::eq:
      return x == y;
    case P::ne:
      return x != y;
    case P::slt:
      return x < y;
    case P::sle:
      return x <= y;
    case P::sgt:
      return x > y;
    default:
      return x >= y;
    }
  };
  for (P predicate : {P::eq, P::ne, P::slt, P::sle, P::sgt, P::sge}) {
    SymExpr chosen = context.indexValue(select(cmp(predicate, a, b), n, m));
    ASSERT_FALSE(chosen.dependsOnData());
    for (int64_t x : {-1, 0, 1, 2})
      for (int64_t y : {-1, 0, 1, 2})
        EXPECT_EQ(evaluate(chosen, {{"ids[0]", x}, {"ids[1]", y}, {"n", 10}, {"m", 20}}),
                  holds(predicate, x, y) ? 10 : 20)
            << chosen.str() << " with " << x << " and " << y;
  }
  EXPECT_TRUE(context.indexValue(select(cmp(P::ult, a, b), n, m)).dependsOnData());
  EXPECT_TRUE(context.indexValue(select(argument(i(1), ""), n, m)).dependsOnData());
}

/// What was built out of an expression is read as the same expression, however often.
TEST_F(ShapeValuesTest, MaterializedIsReadAgain) {
  SymExpr n = sym("n"), m = sym("m");
  SymExpr padded = n + context.mod(context.mod(n, 8) * -1 + 8, 8);
  SymExpr truth = context.eq(n, m + 5);
  for (SymExpr expr : {padded, truth, context.select(truth, n, 7), SymExpr(1) - truth, context.floorDiv(n, m),
                       context.select(context.lt(n, m), context.select(truth, 3, n), m)}) {
    SymExpr again = expr;
    for (int round = 0; round < 4; ++round) {
      again = context.indexValue(materialize(builder, loc(), again));
      EXPECT_EQ(again.str(), expr.str());
    }
  }
  // A remainder is not negative, and so a length that is padded isn't either.
  EXPECT_TRUE(context.atLeast(context.indexValue(materialize(builder, loc(), padded)), 0));
}

/// Halves of halves of sums with themselves: a tree of 2^64 atoms that is 64 atoms.
TEST_F(ShapeValuesTest, SharedAtomsAreDealtWithOnce) {
  SymExpr n = sym("n");
  for (int k = 0; k < 64; ++k)
    n = context.max(context.floorDiv(n + 1, 2) * n, n);
  EXPECT_FALSE(n.dependsOnData());
  EXPECT_TRUE(context.atLeast(n, 0));
  llvm::SmallVector<std::string> names;
  n.collectSymbols(names);
  EXPECT_EQ(names.size(), 1u);
  size_t before = builder.getInsertionBlock()->getOperations().size();
  EXPECT_TRUE(materialize(builder, loc(), n));
  EXPECT_LT(builder.getInsertionBlock()->getOperations().size() - before, 64u * 128); // written out they would be 2^64
}

TEST_F(ShapeValuesTest, IndicesOfTensors) {
  Value x = argument(tensor({kAny, 4}, i(64)), "x", {"n", "4"});
  EXPECT_EQ(context.indexValue(builder.create<DimOp>(loc(), builder.getIndexType(), x, 0)), sym("n"));
  EXPECT_EQ(context.indexValue(builder.create<DimOp>(loc(), builder.getIndexType(), x, 1)), SymExpr(4));
  Value ids = argument(tensor({2}, i(64)), "ids");
  EXPECT_EQ(context.indexValue(builder.create<ToIndexOp>(loc(), builder.getIndexType(), ids, 1)), sym("ids[1]"));
  Value floats = argument(tensor({2}, builder.getF32Type()), "floats");
  Value unnamed = argument(tensor({2}, i(64)), "");
  EXPECT_EQ(elements(floats), "-, -");
  EXPECT_EQ(elements(unnamed), "-, -");
  EXPECT_TRUE(context.indexValue(builder.create<ToIndexOp>(loc(), builder.getIndexType(), unnamed, 0)).dependsOnData());
}

//===----------------------------------------------------------------------===//
// Limits
//===----------------------------------------------------------------------===//

/// Chains longer than any model's are data rather than the end of the stack.
TEST_F(ShapeValuesTest, LongChains) {
  Value sum = symbol("n"), rows = argument(tensor({2}, i(64)), "ids");
  for (int k = 0; k < 50000; ++k) {
    sum = arith<mlir::arith::AddIOp>(sum, index(1));
    rows = make<NegOp>({2}, i(64), rows);
    if (k == 99) {
      EXPECT_EQ(context.indexValue(sum), sym("n") + 100);
      EXPECT_EQ(context.element(rows, 1), sym("ids[1]"));
    }
  }
  EXPECT_EQ(context.indexValue(sum), sym("n") + 50000);
  EXPECT_EQ(context.element(rows, 1), std::nullopt);
  Value x = argument(tensor({kAny}, i(64)), "x", {"m"});
  for (int k = 0; k < 50000; ++k)
    x = k % 2 ? make<NegOp>({kAny}, i(64), x) : make<AddOp>({kAny}, i(64), x, x);
  EXPECT_EQ(str(*context.shapeOf(x)), "[m]");
}

/// Code that is never reached may use what comes after it.
TEST_F(ShapeValuesTest, Circles) {
  Value a = index(1), b = arith<mlir::arith::AddIOp>(a, a), c = arith<mlir::arith::AddIOp>(b, b);
  b.getDefiningOp()->setOperands({c, c});
  EXPECT_TRUE(context.indexValue(c).dependsOnData());
  Value x = argument(tensor({kAny}, i(64)), "x", {"n"});
  Value y = make<AddOp>({kAny}, i(64), x, x), z = make<AddOp>({kAny}, i(64), y, y);
  y.getDefiningOp()->setOperands({z, z});
  EXPECT_EQ(context.shapeOf(z)->size(), 1u);
  Value s = make<AddOp>({2}, i(64), constant({1, 2}), constant({1, 2})), t = make<AddOp>({2}, i(64), s, s);
  s.getDefiningOp()->setOperands({t, t});
  EXPECT_EQ(context.element(t, 0), std::nullopt);
}

/// What is too large is data: an unknown of its own, of which nothing is known but that it is the same each time.
TEST_F(ShapeValuesTest, TooLarge) {
  llvm::SmallVector<Value> parts;
  Value sum = index(0);
  for (size_t k = 0; k < SymExpr::kTooLarge / 2; ++k) {
    std::string name = "d" + std::to_string(k);
    parts.push_back(argument(tensor({kAny}, i(64)), "x" + name, {name}));
    sum = arith<mlir::arith::AddIOp>(sum, symbol(name));
    if (k == 99)
      EXPECT_EQ(context.indexValue(sum).size(), 200u);
  }
  SymExpr large = context.indexValue(sum);
  EXPECT_TRUE(large.dependsOnData());
  EXPECT_LT(large.size(), 4u);
  EXPECT_EQ(context.indexValue(sum), large);

  Value joined = make<ConcatOp>({kAny}, i(64), parts, 0);
  SymShape dims = *context.shapeOf(joined);
  EXPECT_TRUE(dims[0].dependsOnData());
  EXPECT_LT(dims[0].size(), 4u);
  EXPECT_EQ(elements(make<ShapeOfOp>({1}, i(64), joined)), dims[0].str());
  Value fewer = make<ConcatOp>({kAny}, i(64), mlir::ValueRange(parts).drop_back(), 0);
  EXPECT_FALSE((*context.shapeOf(fewer))[0].dependsOnData());

  // A sum of elements just below the limit each.
  Value length = make<ShapeOfOp>({1}, i(64), fewer);
  Value wider =
      make<AddOp>({1}, i(64), length, make<ShapeOfOp>({1}, i(64), argument(tensor({kAny}, i(64)), "", {"e"})));
  EXPECT_EQ(elements(wider), "-");
}

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

TEST_F(ShapeValuesTest, ElementsOfSources) {
  EXPECT_EQ(elements(constant({4, -1, 0})), "4, -1, 0");
  EXPECT_EQ(elements(constant({})), "");
  EXPECT_EQ(elements(constant({1, 0}, i(1))), "1, 0");
  EXPECT_EQ(elements(constant({-1, 127}, i(8))), "-1, 127");
  EXPECT_EQ(elements(constant({-1, 127}, builder.getIntegerType(8, false))), "255, 127");
  auto splat = mlir::DenseElementsAttr::get(tensor({3}, i(32)), int32_t(7));
  EXPECT_EQ(elements(builder.create<ConstantOp>(loc(), splat.getType(), splat)), "7, 7, 7");
  auto square = mlir::DenseElementsAttr::get(tensor({2, 2}, i(64)), llvm::ArrayRef<int64_t>{1, 2, 3, 4});
  EXPECT_EQ(elements(builder.create<ConstantOp>(loc(), square.getType(), square)), "1, 2, 3, 4");

  EXPECT_EQ(elements(argument(tensor({2}, i(32)), "lengths")), "lengths[0], lengths[1]");
  EXPECT_EQ(elements(argument(tensor({}, i(64)), "k")), "k[0]");
  EXPECT_EQ(elements(argument(tensor({2}, i(8)), "bytes")), "-, -");
  EXPECT_EQ(context.element(argument(tensor({65}, i(64)), "many"), 0), std::nullopt);
  EXPECT_EQ(context.element(argument(tensor({kAny}, i(64)), "some"), 0), std::nullopt);

  Value x = argument(tensor({kAny, 4, kAny}, builder.getF32Type()), "x", {"n", "4", "n + 1"});
  EXPECT_EQ(elements(make<ShapeOfOp>({3}, i(64), x)), "n, 4, n + 1");
  EXPECT_EQ(elements(fromIndex({symbol("n"), index(-1)})), "n, -1");
  EXPECT_EQ(elements(make<RangeOp>({3}, i(64), symbol("n"), symbol("m"), index(-2))), "n, n - 2, n - 4");
}

TEST_F(ShapeValuesTest, ElementsOfMovement) {
  Value x = fromIndex({symbol("a"), symbol("b"), symbol("c"), index(9)});
  auto slice = [&](int64_t count, int64_t start, int64_t end, int64_t step) {
    return elements(make<SliceOp>({count}, i(64), x, mlir::ValueRange{index(start)}, mlir::ValueRange{index(end)},
                                  llvm::ArrayRef<int64_t>{0}, llvm::ArrayRef<int64_t>{step}));
  };
  EXPECT_EQ(slice(2, 1, 3, 1), "b, c");
  EXPECT_EQ(slice(2, -2, INT64_MAX, 1), "c, 9");
  EXPECT_EQ(slice(2, 0, 4, 2), "a, c");
  EXPECT_EQ(slice(4, -1, INT64_MIN, -1), "9, c, b, a");
  EXPECT_EQ(slice(2, INT64_MAX, 0, -2), "9, b");
  EXPECT_EQ(slice(2, -100, 2, 1), "a, b");
  EXPECT_EQ(slice(0, 4, 4, 1), "");
  Value moved = make<SliceOp>({1}, i(64), x, mlir::ValueRange{symbol("n")}, mlir::ValueRange{index(9)},
                              llvm::ArrayRef<int64_t>{0}, llvm::ArrayRef<int64_t>{1});
  EXPECT_EQ(elements(moved), "-") << "where it begins depends on a symbol";

  EXPECT_EQ(elements(make<GatherOp>({3}, i(64), x, constant({2, -1, 0}), 0)), "c, 9, a");
  EXPECT_EQ(elements(make<GatherOp>({2}, i(64), x, constant({4, -5}), 0)), "-, -") << "an error of the run";
  EXPECT_EQ(elements(make<GatherOp>({1}, i(64), x, fromIndex({symbol("n")}), 0)), "-");
  EXPECT_EQ(elements(make<ConcatOp>({6}, i(64), mlir::ValueRange{constant({7}), x, constant({8})}, 0)),
            "7, a, b, c, 9, 8");
  EXPECT_EQ(elements(make<ReshapeOp>({2, 2}, i(64), x, mlir::ValueRange{index(2), index(2)})), "a, b, c, 9");
  Value one = make<ReshapeOp>({}, i(64), fromIndex({symbol("n")}), mlir::ValueRange{});
  EXPECT_EQ(elements(one), "n");
  EXPECT_EQ(elements(make<BroadcastOp>({3}, i(64), one, mlir::ValueRange{index(3)})), "n, n, n");
  EXPECT_EQ(elements(make<BroadcastOp>({4}, i(64), x, mlir::ValueRange{index(1)})), "a, b, c, 9");
}

TEST_F(ShapeValuesTest, ElementsOfReductions) {
  Value x = fromIndex({symbol("n"), index(2), symbol("n")});
  auto reduce = [&](Reduction kind, Value of) {
    return elements(make<ReduceOp>({}, i(64), kind, of, llvm::ArrayRef<int64_t>{0}));
  };
  EXPECT_EQ(reduce(Reduction::sum, x), "2*n + 2");
  EXPECT_EQ(reduce(Reduction::prod, x), "2*n*n");
  EXPECT_EQ(reduce(Reduction::max, constant({3, -7, 5})), "5");
  EXPECT_EQ(reduce(Reduction::min, constant({3, -7, 5})), "-7");
  EXPECT_EQ(reduce(Reduction::mean, x), "-");
  EXPECT_EQ(reduce(Reduction::prod, argument(tensor({2}, i(64)), "")), "-");
}

TEST_F(ShapeValuesTest, ElementsOfArithmetic) {
  constexpr int64_t kNumbers[] = {-7, -2, -1, 0, 1, 2, 3, 7};
  llvm::SmallVector<int64_t> as, bs;
  for (int64_t a : kNumbers)
    for (int64_t b : kNumbers) {
      as.push_back(a);
      bs.push_back(b);
    }
  Value a = constant(as), b = constant(bs);
  auto expect = [&](Value result, auto plain, bool all = true) {
    for (auto [k, x] : llvm::enumerate(as)) {
      auto element = context.element(result, static_cast<int64_t>(k));
      if (element || all)
        EXPECT_EQ(element, SymExpr(plain(x, bs[k]))) << x << " and " << bs[k];
    }
  };
  auto binary = [&]<typename Op>(Op) { return make<Op>({64}, i(64), a, b); };
  expect(binary(AddOp()), [](int64_t x, int64_t y) { return x + y; });
  expect(binary(SubOp()), [](int64_t x, int64_t y) { return x - y; });
  expect(binary(MulOp()), [](int64_t x, int64_t y) { return x * y; });
  expect(binary(MinOp()), [](int64_t x, int64_t y) { return std::min(x, y); });
  expect(binary(MaxOp()), [](int64_t x, int64_t y) { return std::max(x, y); });
  // Rounded towards zero; an integer divided by zero gives 0. Negative numbers may be left to the run.
  expect(binary(DivOp()), [](int64_t x, int64_t y) { return y == 0 ? 0 : x / y; }, false);
  expect(binary(ModOp()), [](int64_t x, int64_t y) { return y == 0 ? 0 : x - *plainFloorDiv(x, y) * y; }, false);
  expect(make<ModOp>({64}, i(64), a, b, true), [](int64_t x, int64_t y) { return y == 0 ? 0 : x % y; }, false);
  EXPECT_EQ(elements(make<DivOp>({1}, i(64), constant({7}), constant({2}))), "3");
  EXPECT_EQ(elements(make<ModOp>({1}, i(64), constant({7}), constant({2}))), "1");
  expect(make<NegOp>({64}, i(64), a), [](int64_t x, int64_t) { return -x; });
  auto compare = [&](Comparison predicate) { return make<CompareOp>({64}, i(1), predicate, a, b); };
  expect(compare(Comparison::eq), [](int64_t x, int64_t y) { return x == y; });
  expect(compare(Comparison::ne), [](int64_t x, int64_t y) { return x != y; });
  expect(compare(Comparison::lt), [](int64_t x, int64_t y) { return x < y; });
  expect(compare(Comparison::le), [](int64_t x, int64_t y) { return x <= y; });
  expect(compare(Comparison::gt), [](int64_t x, int64_t y) { return x > y; });
  expect(compare(Comparison::ge), [](int64_t x, int64_t y) { return x >= y; });
  Value less = compare(Comparison::lt), equal = compare(Comparison::eq);
  expect(make<OrOp>({64}, i(1), less, equal), [](int64_t x, int64_t y) { return x <= y; });
  expect(make<OrOp>({64}, i(1), less, compare(Comparison::le)), [](int64_t x, int64_t y) { return x <= y; });
  expect(make<AndOp>({64}, i(1), less, equal), [](int64_t, int64_t) { return 0; });
  expect(make<SelectOp>({64}, i(64), less, a, b), [](int64_t x, int64_t y) { return std::min(x, y); });
  expect(make<CastOp>({64}, i(1), a), [](int64_t x, int64_t) { return x != 0; });
  expect(make<CastOp>({64}, i(64), less), [](int64_t x, int64_t y) { return x < y; });
  expect(make<XorOp>({64}, i(1), less, equal), [](int64_t x, int64_t y) { return x <= y; });
}

TEST_F(ShapeValuesTest, ElementsBroadcastAndKeepSymbols) {
  Value scalar = make<ReshapeOp>({}, i(64), constant({2}), mlir::ValueRange{});
  Value x = fromIndex({symbol("n"), symbol("ids[0]")});
  EXPECT_EQ(elements(make<MulOp>({2}, i(64), scalar, x)), "2*n, 2*ids[0]");
  EXPECT_EQ(elements(make<AddOp>({2}, i(64), x, constant({1}))), "n + 1, ids[0] + 1");
  // Floor division is the division that rounds towards zero only where nothing is negative.
  EXPECT_EQ(elements(make<DivOp>({2}, i(64), x, scalar)),
            "floordiv(n, 2), select(lt(ids[0], 0), -floordiv(-ids[0], 2), floordiv(ids[0], 2))");
  Value negative = make<CompareOp>({2}, i(1), Comparison::lt, x, constant({0}));
  EXPECT_EQ(elements(negative), "0, lt(ids[0], 0)");
  EXPECT_EQ(elements(make<SelectOp>({2}, i(64), negative, scalar, x)), "n, select(lt(ids[0], 0), 2, ids[0])");
}

/// "To the end" cast to 32 bits is -1.
TEST_F(ShapeValuesTest, ElementsWrap) {
  Value wide = constant({INT64_MAX, (int64_t(1) << 32) + 5, INT64_MIN, -3});
  EXPECT_EQ(elements(make<CastOp>({4}, i(32), wide)), "-1, 5, 0, -3");
  EXPECT_EQ(elements(make<CastOp>({4}, builder.getIntegerType(8, false), wide)), "255, 5, 0, 253");
  EXPECT_EQ(elements(make<CastOp>({4}, i(1), wide)), "1, 1, 1, 1");
  Value narrow = constant({INT32_MAX, INT32_MIN}, i(32));
  EXPECT_EQ(elements(make<AddOp>({2}, i(32), narrow, constant({1}, i(32)))), "-2147483648, -2147483647");
  EXPECT_EQ(elements(make<NegOp>({2}, i(32), narrow)), "-2147483647, -2147483648");
  EXPECT_EQ(elements(make<CastOp>({2}, i(32), fromIndex({symbol("n"), index(1)}))), "n, 1");
}

} // namespace
