//===- ShapeContextTest.cpp - Arithmetic, bounds and conditions of shapes -===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "SymbolicTestSupport.h"
#include "dialects/lathe/Lathe.h"
#include <cmath>

using namespace lathe;
using namespace lathe::test;

namespace {

SymExpr sym(llvm::StringRef name) { return SymExpr::symbol(name); }

class ShapeContextTest : public ::testing::Test {
protected:
  void SetUp() override {
    addRanges(context);
    mlirContext.loadDialect<mlir::arith::ArithDialect>();
    module = mlir::ModuleOp::create(mlir::UnknownLoc::get(&mlirContext));
  }

  /// An operation to record checks at.
  mlir::Operation *at() { return *module; }

  ShapeContext context;
  mlir::MLIRContext mlirContext;
  mlir::OwningOpRef<mlir::ModuleOp> module;
};

//===----------------------------------------------------------------------===//
// Arithmetic
//===----------------------------------------------------------------------===//

TEST_F(ShapeContextTest, FormulasHaveTheirValue) {
  Random random(11);
  int compared = 0, folded = 0;
  for (int i = 0; i < 20000; ++i) {
    Formula formula = Formula::random(random, 1 + i % 4);
    SymExpr expr = formula.build(context);
    folded += expr.constant().has_value();
    for (int k = 0; k < 12; ++k) {
      Values values = randomValues(random);
      std::optional<int64_t> expected = formula.value(values);
      if (!expected)
        continue;
      ASSERT_EQ(evaluate(expr, values), expected) << expr.str() << "\nwith " << describe(values);
      ++compared;
    }
  }
  // Else the test would prove little: formulas that divide by zero, or that are constants.
  EXPECT_GT(compared, 100000);
  EXPECT_LT(folded, 10000);
}

/// Without ranges, the same formulas fold less, never to something else.
TEST_F(ShapeContextTest, FormulasHaveTheirValueWithoutRanges) {
  Random random(12);
  ShapeContext plain;
  int stronger = 0;
  for (int i = 0; i < 5000; ++i) {
    Formula formula = Formula::random(random, 1 + i % 4);
    SymExpr expr = formula.build(plain);
    stronger += formula.build(context).size() < expr.size();
    for (int k = 0; k < 6; ++k) {
      Values values = randomValues(random);
      if (std::optional<int64_t> expected = formula.value(values))
        ASSERT_EQ(evaluate(expr, values), expected) << expr.str() << "\nwith " << describe(values);
    }
  }
  EXPECT_GT(stronger, 50);
}

TEST_F(ShapeContextTest, ConstantsFold) {
  for (int64_t a = -12; a <= 12; ++a)
    for (int64_t b = -12; b <= 12; ++b) {
      EXPECT_EQ(context.min(a, b), SymExpr(std::min(a, b)));
      EXPECT_EQ(context.max(a, b), SymExpr(std::max(a, b)));
      EXPECT_EQ(context.eq(a, b), SymExpr(a == b));
      EXPECT_EQ(context.lt(a, b), SymExpr(a < b));
      EXPECT_EQ(context.select(a, b, 99), SymExpr(a ? b : 99));
      if (b == 0 || b == -1)
        continue; // left to the run, or to materialize
      int64_t floor = static_cast<int64_t>(std::floor(static_cast<double>(a) / static_cast<double>(b)));
      EXPECT_EQ(context.floorDiv(a, b), SymExpr(floor)) << a << " " << b;
      EXPECT_EQ(context.ceilDiv(a, b),
                SymExpr(static_cast<int64_t>(std::ceil(static_cast<double>(a) / static_cast<double>(b)))));
      EXPECT_EQ(context.mod(a, b), SymExpr(a - floor * b)) << a << " " << b;
    }
}

/// Slices "to the end" bring the ends of int64 into shape arithmetic: differences must not wrap.
TEST_F(ShapeContextTest, ExtremeConstants) {
  constexpr int64_t kNumbers[] = {INT64_MIN, INT64_MIN + 1, -(int64_t(1) << 62), INT32_MIN,     -5,       -1, 0, 1,
                                  3,         INT32_MAX,     INT64_C(1) << 62,    INT64_MAX - 1, INT64_MAX};
  for (int64_t a : kNumbers)
    for (int64_t b : kNumbers) {
      EXPECT_EQ(context.min(a, b), SymExpr(std::min(a, b))) << a << " " << b;
      EXPECT_EQ(context.max(a, b), SymExpr(std::max(a, b))) << a << " " << b;
      EXPECT_EQ(context.eq(a, b), SymExpr(a == b)) << a << " " << b;
      EXPECT_EQ(context.lt(a, b), SymExpr(a < b)) << a << " " << b;
      EXPECT_EQ(succeeded(context.requireEqual(a, b, at(), "")), a == b) << a << " " << b;
      if (b == 0 || b == -1)
        continue;
      EXPECT_EQ(context.floorDiv(a, b), SymExpr(*plainFloorDiv(a, b))) << a << " " << b;
      auto rest = static_cast<int64_t>(a - static_cast<__int128>(*plainFloorDiv(a, b)) * b);
      EXPECT_EQ(context.mod(a, b), SymExpr(rest)) << a << " " << b;
    }
  EXPECT_EQ(evaluate(context.floorDiv(INT64_MIN + 1, -1), {}), INT64_MAX);
  EXPECT_TRUE(context.checks.empty());
}

/// As above, beside symbols small enough that the operands themselves don't overflow.
TEST_F(ShapeContextTest, ExtremeConstantsBesideSymbols) {
  constexpr int64_t kNumbers[] = {INT64_MIN + 50,   -(int64_t(3) << 61), -(int64_t(1) << 62), -3, 0, 3,
                                  int64_t(1) << 62, int64_t(3) << 61,    INT64_MAX - 50};
  Random random(13);
  for (int64_t c : kNumbers)
    for (int64_t d : kNumbers)
      for (int64_t p : {-1, 0, 1})
        for (int64_t q : {-1, 0, 1}) {
          SymExpr a = sym("n") * p + c, b = sym("s") * q + d;
          SymExpr min = context.min(a, b), max = context.max(a, b), eq = context.eq(a, b), lt = context.lt(a, b);
          for (int k = 0; k < 3; ++k) {
            Values values = randomValues(random);
            int64_t x = *evaluate(a, values), y = *evaluate(b, values);
            ASSERT_EQ(evaluate(min, values), std::min(x, y)) << a.str() << "; " << b.str();
            ASSERT_EQ(evaluate(max, values), std::max(x, y)) << a.str() << "; " << b.str();
            ASSERT_EQ(evaluate(eq, values), x == y) << a.str() << "; " << b.str();
            ASSERT_EQ(evaluate(lt, values), x < y) << a.str() << "; " << b.str();
          }
        }
}

TEST_F(ShapeContextTest, ExactDivision) {
  SymExpr n = sym("n"), m = sym("m"), s = sym("s");
  EXPECT_EQ(context.floorDiv(n * 4, 4), n);
  EXPECT_EQ(context.floorDiv(n * m * 6, m * 3), n * 2);
  EXPECT_EQ(context.floorDiv(n * m + n, m + 1), n);
  EXPECT_EQ(context.floorDiv(n * n - 1, n + 1), n - 1);
  EXPECT_EQ(context.floorDiv((n + m) * (n + s + 2), n + m), n + s + 2);
  EXPECT_EQ(context.floorDiv(0, n + 1), SymExpr(0));
  EXPECT_EQ(context.floorDiv(s, s), SymExpr(1));
  EXPECT_EQ(context.ceilDiv(n * 4, 4), n);
  EXPECT_EQ(context.floorDiv(n, 1), n);
  SymExpr half = context.floorDiv(n, 2);
  EXPECT_EQ(context.floorDiv(half * m, m), half);
  // What is not a multiple for all values stays.
  for (auto [a, b] : {std::pair(n * 4 + 2, SymExpr(4)), {n * 3, SymExpr(2)}, {n * m, s}, {n * m + 1, m}, {n, n * 2}}) {
    SymExpr kept = context.floorDiv(a, b);
    ASSERT_EQ(kept.getTerms().size(), 1u) << a.str() << "; " << b.str();
    EXPECT_EQ(kept.getTerms().begin()->first.atoms.front()->op, SymOp::floor_div) << a.str() << "; " << b.str();
  }
}

TEST_F(ShapeContextTest, ExactDivisionOfRandomPolynomials) {
  Random random(14);
  int kept = 0;
  for (int i = 0; i < 3000; ++i) {
    SymExpr p = randomPolynomial(random), q = randomPolynomial(random, 3, 2, i % 2 ? 1 : -6);
    if (q == SymExpr(0))
      continue;
    SymExpr quotient = context.floorDiv(p * q, q);
    // A divisor with positive coefficients is always seen; another at least is not divided wrongly.
    if (i % 2)
      ASSERT_EQ(quotient, p) << p.str() << "; " << q.str();
    kept += quotient != p;
    SymExpr near = context.floorDiv(p * q + sym("m"), q);
    for (int k = 0; k < 4; ++k) {
      Values values = randomValues(random);
      int64_t x = *evaluate(p, values), y = *evaluate(q, values);
      if (y == 0)
        continue;
      ASSERT_EQ(evaluate(quotient, values), x) << p.str() << "; " << q.str();
      ASSERT_EQ(evaluate(near, values), plainFloorDiv(x * y + values["m"], y)) << p.str() << "; " << q.str();
    }
  }
  EXPECT_GT(kept, 100);
}

/// An error of the run: compiling must neither stop nor decide for a value.
TEST_F(ShapeContextTest, DivisionByZero) {
  EXPECT_EQ(context.floorDiv(7, 0).constant(), std::nullopt);
  EXPECT_EQ(context.floorDiv(sym("n"), 0).constant(), std::nullopt);
  EXPECT_EQ(context.ceilDiv(0, 0).constant(), std::nullopt);
  EXPECT_EQ(context.mod(7, 0).constant(), std::nullopt);
  EXPECT_EQ(context.floorDiv(INT64_MIN, -1).constant(), std::nullopt);
  EXPECT_EQ(context.mod(INT64_MIN, -1).constant().value_or(0), 0);
}

TEST_F(ShapeContextTest, FoldsWithRanges) {
  SymExpr n = sym("n"), b = sym("b"), k = sym("k"), four = sym("upTo4"), ids = sym("ids[0]");
  EXPECT_EQ(context.min(b, k + 4), b);
  EXPECT_EQ(context.max(b, k + 4), k + 4);
  EXPECT_EQ(context.min(four, 4), four);
  EXPECT_EQ(context.max(four, 4), SymExpr(4));
  EXPECT_EQ(context.lt(four, k), SymExpr(1));
  EXPECT_EQ(context.lt(k, four), SymExpr(0));
  EXPECT_EQ(context.eq(four, k), SymExpr(0));
  EXPECT_EQ(context.eq(n, -1), SymExpr(0));
  EXPECT_EQ(context.eq(n + 1, n + 1), SymExpr(1));
  EXPECT_EQ(context.eq(n + 1, n + 2), SymExpr(0));
  EXPECT_EQ(context.max(n, 0), n);
  EXPECT_EQ(context.select(context.lt(four, k), n, b), n);
  EXPECT_EQ(context.select(context.eq(n, b), k, k), k);
  // Just not provable.
  EXPECT_EQ(context.min(b, k).constant(), std::nullopt);
  EXPECT_EQ(context.lt(b, 8).constant(), std::nullopt);
  EXPECT_EQ(context.lt(four, 4).constant(), std::nullopt);
  EXPECT_EQ(context.eq(ids, -1).constant(), std::nullopt);
  EXPECT_NE(context.max(ids, 0), ids);
}

TEST_F(ShapeContextTest, ClampedIndex) {
  SymExpr n = sym("n"), k = sym("k"), ids = sym("ids[0]");
  EXPECT_EQ(context.clampedIndex(0, n), SymExpr(0));
  EXPECT_EQ(context.clampedIndex(n, n), n);
  EXPECT_EQ(context.clampedIndex(3, k), SymExpr(3));
  EXPECT_EQ(context.clampedIndex(-1, k), k - 1);
  EXPECT_EQ(context.clampedIndex(-1, n + 1), n);
  EXPECT_EQ(context.clampedIndex(n, n + k), n);
  // "To the end", and "from the start", as exporters write them.
  for (int64_t huge : {int64_t(INT32_MAX), INT64_MAX - 1, INT64_MAX}) {
    EXPECT_EQ(context.clampedIndex(huge, n), n);
    EXPECT_EQ(context.clampedIndex(huge, n, -1, -1), n - 1);
    EXPECT_EQ(context.clampedIndex(huge, 7), SymExpr(7));
    EXPECT_EQ(context.clampedIndex(-huge - 1, n), SymExpr(0));
    EXPECT_EQ(context.clampedIndex(-huge - 1, n, -1, -1), SymExpr(-1));
    EXPECT_EQ(context.clampedIndex(-huge - 1, 7), SymExpr(0));
  }
  Random random(15);
  for (auto [low, high] : Formula::kClamps) {
    SymExpr any = context.clampedIndex(ids, n, low, high), constant = context.clampedIndex(-3, n, low, high);
    for (int i = 0; i < 200; ++i) {
      Values values = randomValues(random);
      EXPECT_EQ(evaluate(any, values), plainClampedIndex(values["ids[0]"], values["n"], low, high)) << describe(values);
      EXPECT_EQ(evaluate(constant, values), plainClampedIndex(-3, values["n"], low, high)) << describe(values);
    }
  }
}

//===----------------------------------------------------------------------===//
// Bounds
//===----------------------------------------------------------------------===//

TEST_F(ShapeContextTest, BoundsHoldForEveryValue) {
  Random random(16);
  int lower = 0, upper = 0;
  for (int i = 0; i < 10000; ++i) {
    Formula formula = Formula::random(random, 1 + i % 4);
    SymExpr expr = formula.build(context);
    std::optional<int64_t> smallest, largest;
    for (int k = 0; k < 20; ++k)
      if (auto value = formula.value(randomValues(random))) {
        smallest = std::min(smallest.value_or(*value), *value);
        largest = std::max(largest.value_or(*value), *value);
      }
    if (!smallest)
      continue;
    ASSERT_FALSE(context.atLeast(expr, *smallest + 1)) << expr.str() << " is " << *smallest << " for some values";
    ASSERT_FALSE(context.atMost(expr, *largest - 1)) << expr.str() << " is " << *largest << " for some values";
    lower += context.atLeast(expr, -100000);
    upper += context.atMost(expr, 100000);
  }
  // It does know something.
  EXPECT_GT(lower, 2000);
  EXPECT_GT(upper, 2000);
}

TEST_F(ShapeContextTest, Bounds) {
  SymExpr n = sym("n"), b = sym("b"), s = sym("s"), k = sym("k"), ids = sym("ids[0]");
  // The bound itself is provable, the next number is not; none: no bound known.
  auto expectBounds = [&](const SymExpr &expr, std::optional<int64_t> low, std::optional<int64_t> high) {
    EXPECT_EQ(context.atLeast(expr, low.value_or(INT64_MIN)), low.has_value()) << expr.str();
    EXPECT_EQ(context.atMost(expr, high.value_or(INT64_MAX)), high.has_value()) << expr.str();
    if (low)
      EXPECT_FALSE(context.atLeast(expr, *low + 1)) << expr.str();
    if (high)
      EXPECT_FALSE(context.atMost(expr, *high - 1)) << expr.str();
  };
  expectBounds(5, 5, 5);
  expectBounds(n, 0, std::nullopt);
  expectBounds(b, 1, 8);
  expectBounds(ids, std::nullopt, std::nullopt);
  expectBounds(n * 2 + 3, 3, std::nullopt);
  expectBounds(SymExpr(3) - n, std::nullopt, 3);
  expectBounds(b * s, 2, 240);
  expectBounds(b * s - k * 2, -16, 230);
  expectBounds(n * b, 0, std::nullopt);
  expectBounds(ids * b, std::nullopt, std::nullopt);
  expectBounds(ids * 0 + 1, 1, 1);
  expectBounds(context.min(ids, 4), std::nullopt, 4);
  expectBounds(context.max(ids, 0), 0, std::nullopt);
  expectBounds(context.min(n, b), 0, 8);
  expectBounds(context.max(n, b), 1, std::nullopt);
  expectBounds(context.min(b * 2, k), 2, 9);
  expectBounds(context.min(k, b * 2), 2, 9);
  expectBounds(context.max(b * 2, k), 5, 16);
  expectBounds(context.max(k, b * 2), 5, 16);
  expectBounds(context.eq(ids, 3) * 2, 0, 2);
  expectBounds(context.lt(ids, n), 0, 1);
  expectBounds(context.select(context.lt(ids, n), b, k), 1, 9);
  expectBounds(context.select(ids, n, k), 0, std::nullopt);
  expectBounds(context.floorDiv(s + 1, 7), 0, 4);
  expectBounds(context.floorDiv(ids, 7), std::nullopt, std::nullopt);
  EXPECT_TRUE(context.atLeast(context.mod(ids, 7), 0));
  EXPECT_FALSE(context.atLeast(context.mod(ids, -7), 0));
}

TEST_F(ShapeContextTest, BoundsWithoutRanges) {
  ShapeContext plain;
  EXPECT_TRUE(plain.atLeast(sym("b"), 0));
  EXPECT_FALSE(plain.atLeast(sym("b"), 1));
  EXPECT_FALSE(plain.atMost(sym("b"), INT64_MAX));
  plain.ranges["b"] = {3, std::nullopt};
  EXPECT_TRUE(plain.atLeast(sym("b"), 3));
  EXPECT_FALSE(plain.atMost(sym("b"), INT64_MAX));
  plain.ranges["b"].max = 3;
  EXPECT_TRUE(plain.atMost(sym("b") * -1, -3));
}

/// Products of large ranges go past 64 bits, where nothing may be claimed.
TEST_F(ShapeContextTest, BoundsDoNotOverflow) {
  context.ranges["h"] = {0, INT64_MAX};
  context.ranges["g"] = {INT64_MAX, INT64_MAX};
  SymExpr h = sym("h"), g = sym("g");
  for (const SymExpr &expr : {h * h, h * h * h * h, h * INT64_MAX, g * g, g * g * g * INT64_MAX, h * h - g * g, g + g,
                              context.max(h, g) * g}) {
    EXPECT_FALSE(context.atMost(expr, 1000)) << expr.str();
    EXPECT_FALSE(context.atLeast(expr, 1)) << expr.str();
  }
  EXPECT_TRUE(context.atLeast(h * h * h * h, 0));
  // Sums that would come out as 0 modulo 2^64.
  context.ranges["e"] = {0, int64_t(1) << 62};
  EXPECT_FALSE(context.atMost(sym("e") * 4, 1000));
  EXPECT_FALSE(context.atLeast(sym("e") * -4, -1000));
}

//===----------------------------------------------------------------------===//
// Conditions
//===----------------------------------------------------------------------===//

TEST_F(ShapeContextTest, RequireEqual) {
  SymExpr n = sym("n"), m = sym("m"), b = sym("b"), k = sym("k"), four = sym("upTo4");
  EXPECT_TRUE(succeeded(context.requireEqual(n * 2 + 1, n + n + 1, at(), "equal")));
  EXPECT_TRUE(failed(context.requireEqual(n, n + 1, at(), "different")));
  EXPECT_TRUE(failed(context.requireEqual(3, 4, at(), "different")));
  EXPECT_TRUE(failed(context.requireEqual(four, k, at(), "different by range")));
  EXPECT_TRUE(failed(context.requireEqual(k, four, at(), "different by range")));
  EXPECT_TRUE(context.checks.empty());

  EXPECT_TRUE(succeeded(context.requireEqual(n, m, at(), "sides must agree")));
  ASSERT_EQ(context.checks.size(), 1u);
  EXPECT_EQ(context.checks[0].kind, ShapeCheck::equal);
  EXPECT_EQ(context.checks[0].lhs, n);
  EXPECT_EQ(context.checks[0].rhs, m);
  EXPECT_EQ(context.checks[0].loc, at()->getLoc());
  EXPECT_EQ(context.checks[0].message, "sides must agree");
  // The same condition is checked once.
  EXPECT_TRUE(succeeded(context.requireEqual(n, m, at(), "again")));
  EXPECT_EQ(context.checks.size(), 1u);
  EXPECT_TRUE(succeeded(context.requireEqual(b, k, at(), "ranges overlap")));
  EXPECT_EQ(context.checks.size(), 2u);
  EXPECT_TRUE(succeeded(context.requireEqual(n, k, at(), "another side")));
  EXPECT_EQ(context.checks.size(), 3u);

  ShapeContext types(/*typesOnly=*/true);
  EXPECT_TRUE(succeeded(types.requireEqual(n, m, at(), "")));
  EXPECT_TRUE(failed(types.requireEqual(n, n + 1, at(), "")));
  EXPECT_TRUE(types.checks.empty());
}

TEST_F(ShapeContextTest, Broadcast) {
  SymExpr n = sym("n"), m = sym("m"), k = sym("k"), b = sym("b"), four = sym("upTo4");
  auto expect = [&](const SymExpr &x, const SymExpr &y, const SymExpr &result) {
    auto forth = context.broadcast(x, y, at()), back = context.broadcast(y, x, at());
    ASSERT_TRUE(succeeded(forth) && succeeded(back)) << x.str() << "; " << y.str();
    EXPECT_EQ(*forth, result);
    EXPECT_EQ(*back, result);
  };
  auto expectMisfit = [&](const SymExpr &x, const SymExpr &y) {
    EXPECT_TRUE(failed(context.broadcast(x, y, at()))) << x.str() << "; " << y.str();
    EXPECT_TRUE(failed(context.broadcast(y, x, at()))) << x.str() << "; " << y.str();
  };
  expect(1, 1, 1);
  expect(1, 5, 5);
  expect(1, 0, 0);
  expect(1, n, n);
  expect(n + m, m + n, n + m);
  expectMisfit(2, 3);
  expectMisfit(0, 3);
  expectMisfit(k, 3);     // 5 to 9
  expectMisfit(k, 10);    // both sides of the range
  expectMisfit(k, 0);     // 0 is not 1 either
  expectMisfit(k, k + 1); // whatever k
  expectMisfit(n + 2, n + 3);
  EXPECT_TRUE(context.checks.empty());

  expect(n, 4, 4); // a constant decides, and the run checks
  EXPECT_EQ(context.checks.size(), 2u);
  expect(four, 0, 0);
  EXPECT_EQ(context.checks.size(), 4u);
  EXPECT_TRUE(succeeded(context.broadcast(n, n + 1, at()))) << "0 or 1 may be broadcast";
  EXPECT_TRUE(succeeded(context.broadcast(b, k, at())));
  EXPECT_EQ(context.checks.back().lhs, b);
  EXPECT_EQ(context.checks.back().rhs, k);
  EXPECT_EQ(context.checks.back().kind, ShapeCheck::equal);
}

/// A table of positions cut to the sequence's length bounds the sequence.
TEST_F(ShapeContextTest, BroadcastWithALimit) {
  SymExpr n = sym("n");
  for (bool swapped : {false, true}) {
    ShapeContext fresh;
    SymExpr limited = fresh.min(n, 512);
    auto result = swapped ? fresh.broadcast(n, limited, at()) : fresh.broadcast(limited, n, at());
    ASSERT_TRUE(succeeded(result));
    EXPECT_EQ(*result, n);
    ASSERT_EQ(fresh.checks.size(), 1u);
    EXPECT_EQ(fresh.checks[0].kind, ShapeCheck::at_most);
    EXPECT_EQ(fresh.checks[0].lhs, n);
    EXPECT_EQ(fresh.checks[0].rhs, SymExpr(512));
    EXPECT_TRUE(fresh.atMost(n, 512));
    // A wider table later does not widen the range; to be equal is another condition than to be at most.
    SymExpr wider = context.min(n, 1024);
    ASSERT_TRUE(succeeded(fresh.broadcast(n, wider, at())));
    EXPECT_TRUE(fresh.atMost(n, 512));
    EXPECT_FALSE(fresh.atMost(n, 511));
    ASSERT_TRUE(succeeded(fresh.requireEqual(n, 512, at(), "")));
    EXPECT_EQ(fresh.checks.size(), 3u);
  }
}

/// What a branch asks for matters where it is taken, and says nothing of symbols elsewhere.
TEST_F(ShapeContextTest, Branches) {
  mlirContext.loadDialect<LatheDialect>();
  mlir::OpBuilder builder = mlir::OpBuilder::atBlockEnd(module->getBody());
  mlir::Location loc = mlir::UnknownLoc::get(&mlirContext);
  mlir::Value condition = builder.create<SymbolOp>(loc, builder.getIndexType(), "n");
  auto branch = builder.create<IfOp>(loc, mlir::TypeRange(), condition);
  SymExpr n = sym("n"), limited = context.min(sym("q"), 512);
  {
    RegionScope scope(context, branch.getElseRegion());
    EXPECT_EQ(context.guard, context.eq(n, 0));
    ASSERT_TRUE(succeeded(context.requireEqual(n, sym("m"), at(), "")));
    ASSERT_TRUE(succeeded(context.broadcast(sym("q"), limited, at())));
    EXPECT_FALSE(context.atMost(sym("q"), 512));
  }
  EXPECT_TRUE(context.guard.isConstant(1));
  ASSERT_EQ(context.checks.size(), 2u);
  EXPECT_EQ(context.checks[0].guard, context.eq(n, 0));
  // The same condition without the branch is another one, and within the branch it then is none.
  ASSERT_TRUE(succeeded(context.requireEqual(n, sym("m"), at(), "")));
  ASSERT_EQ(context.checks.size(), 3u);
  EXPECT_TRUE(context.checks[2].guard.isConstant(1));
  RegionScope scope(context, branch.getThenRegion());
  EXPECT_EQ(context.guard, SymExpr(1) - context.eq(n, 0));
  ASSERT_TRUE(succeeded(context.requireEqual(n, sym("m"), at(), "")));
  EXPECT_EQ(context.checks.size(), 3u);
}

/// Where the recorded checks hold, numpy agrees; where broadcasting fails, numpy fails for all values.
TEST_F(ShapeContextTest, BroadcastAsNumpy) {
  Random random(17);
  auto dimension = [&](ShapeContext &c) -> SymExpr {
    SymExpr symbol = sym(kSymbols[random() % (std::size(kSymbols) - 2)].name); // not the elements of ids
    switch (random() % 5) {
    case 0:
      return pick(random, 0, 5);
    case 1:
      return symbol + pick(random, 0, 3);
    case 2:
      return c.min(symbol, pick(random, 1, 12));
    case 3:
      return symbol * pick(random, 1, 3);
    }
    return symbol;
  };
  int failures = 0, checked = 0, compared = 0;
  for (int i = 0; i < 5000; ++i) {
    ShapeContext fresh;
    addRanges(fresh);
    SymExpr a = dimension(fresh), b = dimension(fresh);
    auto result = fresh.broadcast(a, b, at());
    failures += failed(result);
    checked += !fresh.checks.empty();
    for (int k = 0; k < 10; ++k) {
      Values values = randomValues(random);
      int64_t x = *evaluate(a, values), y = *evaluate(b, values);
      bool fits = x == y || x == 1 || y == 1;
      if (failed(result)) {
        ASSERT_FALSE(fits) << a.str() << "; " << b.str() << "\nwith " << describe(values);
        continue;
      }
      bool holds = llvm::all_of(fresh.checks, [&](const ShapeCheck &check) {
        int64_t l = *evaluate(check.lhs, values), r = *evaluate(check.rhs, values);
        return check.kind == ShapeCheck::equal ? l == r : l <= r;
      });
      if (!holds)
        continue;
      ASSERT_TRUE(fits) << a.str() << "; " << b.str() << "\nwith " << describe(values);
      ASSERT_EQ(evaluate(*result, values), x == 1 ? y : x) << a.str() << "; " << b.str();
      ++compared;
    }
  }
  EXPECT_GT(failures, 200);
  EXPECT_GT(checked, 1000);
  EXPECT_GT(compared, 5000);
}

} // namespace
