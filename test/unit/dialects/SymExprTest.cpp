//===- SymExprTest.cpp - Polynomials over atoms ---------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "SymbolicTestSupport.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"

using namespace lathe;
using namespace lathe::test;

namespace {

SymExpr sym(llvm::StringRef name) { return SymExpr::symbol(name); }

/// A sum of symbols that are `size` written out.
SymExpr sumOfSymbols(llvm::StringRef prefix, int64_t size) {
  SymExpr sum;
  for (int64_t i = 0; i < size / 2; ++i)
    sum = sum + sym((prefix + std::to_string(i)).str());
  return sum;
}

//===----------------------------------------------------------------------===//
// Arithmetic of polynomials
//===----------------------------------------------------------------------===//

TEST(SymExpr, Constants) {
  EXPECT_EQ(SymExpr().constant(), 0);
  EXPECT_EQ(SymExpr(0), SymExpr());
  EXPECT_EQ(SymExpr(-7).constant(), -7);
  EXPECT_EQ(SymExpr(INT64_MIN).constant(), INT64_MIN);
  EXPECT_TRUE(SymExpr(3).isConstant(3));
  EXPECT_FALSE(SymExpr(3).isConstant(4));
  EXPECT_FALSE(sym("n").isConstant(0));
  EXPECT_EQ(sym("n").constant(), std::nullopt);
  EXPECT_EQ((sym("n") + 1).constant(), std::nullopt);
  EXPECT_EQ((SymExpr(6) * 7 - 2 + 1).constant(), 41);
  EXPECT_EQ((sym("n") * 0).constant(), 0);
  EXPECT_EQ((sym("n") + 5 - sym("n")).constant(), 5);
}

TEST(SymExpr, Laws) {
  Random random(1);
  for (int i = 0; i < 2000; ++i) {
    SymExpr a = randomPolynomial(random), b = randomPolynomial(random), c = randomPolynomial(random);
    ASSERT_EQ(a + b, b + a);
    ASSERT_EQ((a + b) + c, a + (b + c));
    ASSERT_EQ(a * b, b * a);
    ASSERT_EQ((a * b) * c, a * (b * c)) << a.str() << "; " << b.str() << "; " << c.str();
    ASSERT_EQ(a * (b + c), a * b + a * c);
    ASSERT_EQ(a - b, a + SymExpr(-1) * b);
    ASSERT_EQ(a - a, SymExpr(0));
    ASSERT_EQ(a + 0, a);
    ASSERT_EQ(a * 1, a);
    ASSERT_EQ((a + b) * (a - b), a * a - b * b);
  }
}

TEST(SymExpr, ValuesOfSumsAndProducts) {
  Random random(2);
  for (int i = 0; i < 2000; ++i) {
    SymExpr a = randomPolynomial(random), b = randomPolynomial(random);
    Values values = randomValues(random);
    int64_t x = *evaluate(a, values), y = *evaluate(b, values);
    ASSERT_EQ(evaluate(a + b, values), x + y) << a.str() << "; " << b.str();
    ASSERT_EQ(evaluate(a - b, values), x - y) << a.str() << "; " << b.str();
    ASSERT_EQ(evaluate(a * b, values), x * y) << a.str() << "; " << b.str();
  }
}

TEST(SymExpr, EqualOnlyIfOfEqualValue) {
  Random random(3);
  int different = 0;
  for (int i = 0; i < 2000; ++i) {
    // Few small terms, so that some pairs are equal by chance.
    SymExpr a = randomPolynomial(random, 1, 1, 0), b = randomPolynomial(random, 1, 1, 0);
    bool same = true;
    for (int k = 0; k < 8; ++k) {
      Values values = randomValues(random);
      same &= evaluate(a, values) == evaluate(b, values);
    }
    if (a == b)
      ASSERT_TRUE(same) << a.str() << "; " << b.str();
    ASSERT_EQ(a == b, a.str() == b.str()) << a.str() << "; " << b.str();
    ASSERT_EQ(a == b, (a - b).isConstant(0));
    ASSERT_NE(a == b, a != b);
    different += !same;
  }
  EXPECT_GT(different, 100);
  EXPECT_LT(different, 1990);
}

/// Hostile models reach the ends of int64: the result wraps, without being undefined.
TEST(SymExpr, CoefficientsWrap) {
  EXPECT_EQ((SymExpr(INT64_MAX) + 1).constant(), INT64_MIN);
  EXPECT_EQ((SymExpr(INT64_MIN) - 1).constant(), INT64_MAX);
  EXPECT_EQ((SymExpr(0) - INT64_MIN).constant(), INT64_MIN);
  EXPECT_EQ((SymExpr(INT64_MAX) * 2).constant(), -2);
  EXPECT_EQ((sym("n") * INT64_MIN * 2).constant(), 0);
  EXPECT_EQ((sym("n") * INT64_MIN).str(), "-9223372036854775808*n");
}

//===----------------------------------------------------------------------===//
// Symbols
//===----------------------------------------------------------------------===//

TEST(SymExpr, SymbolName) {
  EXPECT_EQ(sym("batch").symbolName(), llvm::StringRef("batch"));
  EXPECT_EQ((sym("a") + sym("b") - sym("b")).symbolName(), llvm::StringRef("a"));
  ShapeContext context;
  for (const SymExpr &expr : {SymExpr(0), SymExpr(1), sym("a") + 1, sym("a") * 2, sym("a") * sym("a"),
                              sym("a") + sym("b"), context.min(sym("a"), sym("b"))})
    EXPECT_EQ(expr.symbolName(), std::nullopt) << expr.str();
}

TEST(SymExpr, CollectSymbols) {
  ShapeContext context;
  SymExpr inner = context.floorDiv(sym("c") + sym("a"), sym("d"));
  llvm::SmallVector<std::string> names{"first"};
  (sym("b") * sym("a") + context.select(context.eq(inner, 3), sym("e"), inner) + 1).collectSymbols(names);
  EXPECT_EQ(names.front(), "first");
  llvm::sort(names);
  EXPECT_EQ(llvm::join(names, " "), "a b c d e first");
}

TEST(SymExpr, InputElements) {
  EXPECT_TRUE(SymExpr::isInputElement("ids[0]"));
  EXPECT_TRUE(SymExpr::isInputElement("past.key[12]"));
  EXPECT_FALSE(SymExpr::isInputElement("ids"));
  EXPECT_FALSE(SymExpr::isInputElement("ids[0].x"));
  EXPECT_FALSE(SymExpr::isInputElement(""));
}

//===----------------------------------------------------------------------===//
// Text
//===----------------------------------------------------------------------===//

TEST(SymExpr, Str) {
  SymExpr a = sym("a"), b = sym("b");
  EXPECT_EQ(SymExpr(0).str(), "0");
  EXPECT_EQ(SymExpr(-3).str(), "-3");
  EXPECT_EQ((b * a + 2).str(), "a*b + 2");
  EXPECT_EQ((SymExpr(2) - b * 3 + a).str(), "a - 3*b + 2");
  EXPECT_EQ((SymExpr(5) - a).str(), "-a + 5");
  EXPECT_EQ((a * a * -1 - 1).str(), "-a*a - 1");
  ShapeContext context;
  EXPECT_EQ(context.floorDiv(a + 1, 2).str(), "floordiv(a + 1, 2)");
  EXPECT_EQ((context.min(b, a) * 2).str(), "2*min(b, a)");
  EXPECT_EQ(lathe::str(SymShape{a, 3, b + 1}), "[a, 3, b + 1]");
  EXPECT_EQ(lathe::str(SymShape{}), "[]");
}

TEST(SymExpr, ParseWhatStrPrints) {
  const char *names[] = {"batch", "past_sequence", "x.1", "a/2", "ns::dim", "_", "B"};
  Random random(4);
  for (int i = 0; i < 2000; ++i) {
    SymExpr expr;
    for (int64_t t = pick(random, 0, 4); t > 0; --t) {
      SymExpr product(pick(random, -9, 9));
      for (int64_t d = pick(random, 0, 3); d > 0; --d)
        product = product * sym(names[random() % std::size(names)]);
      expr = expr + product;
    }
    std::optional<SymExpr> parsed = SymExpr::parse(expr.str());
    ASSERT_TRUE(parsed) << expr.str();
    ASSERT_EQ(*parsed, expr);
  }
}

TEST(SymExpr, Parse) {
  SymExpr a = sym("a"), b = sym("b");
  EXPECT_EQ(SymExpr::parse("42"), SymExpr(42));
  EXPECT_EQ(SymExpr::parse("  a "), a);
  EXPECT_EQ(SymExpr::parse("a+b*2"), a + b * 2);
  EXPECT_EQ(SymExpr::parse("(a+b)*2"), a * 2 + b * 2);
  EXPECT_EQ(SymExpr::parse("10 - a - 3"), SymExpr(7) - a);
  EXPECT_EQ(SymExpr::parse("10 - (a - 3)"), SymExpr(13) - a);
  EXPECT_EQ(SymExpr::parse("-a*b + 2"), SymExpr(2) - a * b);
  EXPECT_EQ(SymExpr::parse("b*(-a - 1)"), SymExpr(0) - a * b - b);
  EXPECT_EQ(SymExpr::parse("a * (b - b)"), SymExpr(0));
  EXPECT_EQ(SymExpr::parse("4611686018427387904"), SymExpr(int64_t(1) << 62));
}

TEST(SymExpr, ParseRefuses) {
  for (const char *text : {"",
                           " ",
                           "a +",
                           "+ a",
                           "a b",
                           "a 2",
                           "2a",
                           "(a",
                           "a)",
                           "()",
                           "a ** b",
                           "a * -b",
                           "--a",
                           "-",
                           "a % 2",
                           "ids[0]",
                           "a, b",
                           "min(a)",
                           "é",
                           "a\n+\x01b",
                           "4611686018427387905",
                           "a + ?",
                           "a - ",
                           "99999999999999999999999",
                           "floor(a / 2)"})
    EXPECT_EQ(SymExpr::parse(text), std::nullopt) << text;
}

/// The text is of a file: its depth and length must not reach the end of the stack, nor take forever.
TEST(SymExpr, ParseIsBounded) {
  auto nested = [](int depth) { return std::string(depth, '(') + "a" + std::string(depth, ')'); };
  EXPECT_EQ(SymExpr::parse(nested(60)), sym("a"));
  EXPECT_EQ(SymExpr::parse(nested(100)), std::nullopt);
  EXPECT_EQ(SymExpr::parse(std::string(256, 'a')), sym(std::string(256, 'a')));
  EXPECT_EQ(SymExpr::parse(std::string(257, 'a')), std::nullopt);
  std::string powers = "(a+b)";
  while (powers.size() < 250)
    powers += "*(a+b)";
  std::optional<SymExpr> parsed = SymExpr::parse(powers);
  ASSERT_TRUE(parsed);
  EXPECT_LT(parsed->size(), 4 * SymExpr::kTooLarge);
}

//===----------------------------------------------------------------------===//
// Size
//===----------------------------------------------------------------------===//

TEST(SymExpr, Size) {
  EXPECT_EQ(SymExpr(0).size(), 0u);
  EXPECT_EQ(SymExpr(5).size(), 1u);
  EXPECT_EQ(sym("a").size(), 2u);
  EXPECT_EQ((sym("a") * sym("b") * 3 + 1).size(), 4u);
  ShapeContext context;
  EXPECT_EQ(context.min(sym("a"), sym("b")).size(), 6u); // term, operation, and the arguments
  EXPECT_EQ(sumOfSymbols("a", 100).size(), 100u);
}

TEST(SymExpr, LargeProductsAreNotMultipliedOut) {
  SymExpr a = sumOfSymbols("a", 32), b = sumOfSymbols("b", 30), c = sumOfSymbols("c", 32);
  EXPECT_EQ((a * b).getTerms().size(), 16u * 15u);
  SymExpr product = a * c; // 32 * 32 is kTooLarge
  ASSERT_EQ(product.getTerms().size(), 1u);
  ASSERT_EQ(product.getTerms().begin()->first.atoms.size(), 1u);
  EXPECT_EQ(product.getTerms().begin()->first.atoms.front()->op, SymOp::product);
  EXPECT_EQ(product - a * c, SymExpr(0));
  // A constant never makes more terms.
  SymExpr wide = sumOfSymbols("w", 2 * SymExpr::kTooLarge);
  EXPECT_EQ((wide * 3).getTerms().size(), SymExpr::kTooLarge);
  EXPECT_EQ(SymExpr(3) * wide, wide * 3);

  Values values;
  Random random(5);
  llvm::SmallVector<std::string> names;
  product.collectSymbols(names);
  EXPECT_EQ(names.size(), 32u);
  for (const std::string &name : names)
    values[name] = pick(random, -5, 5);
  EXPECT_EQ(evaluate(product, values), *evaluate(a, values) * *evaluate(c, values));
}

/// Squared a thousand times, an expression stays small, and counts as data from some size on.
TEST(SymExpr, RepeatedSquaringEnds) {
  ShapeContext context;
  SymExpr expr = sym("a") + sym("b") + 1;
  EXPECT_FALSE(expr.dependsOnData());
  for (int i = 0; i < 1000; ++i)
    expr = expr * expr + context.floorDiv(expr, 3);
  EXPECT_TRUE(expr.dependsOnData());
  EXPECT_LT(expr.size(), 4 * SymExpr::kTooLarge);
  EXPECT_LT(expr.str().size(), 64u * 1024u);
  for (const auto &[monomial, coefficient] : expr.getTerms())
    for (const SymAtomRef &atom : monomial.atoms)
      EXPECT_LE(atom->size, SymExpr::kTooLarge);
  // Nothing is claimed of what was not followed.
  EXPECT_FALSE(context.atLeast(expr, 0));
  EXPECT_FALSE(context.atMost(expr, INT64_MAX));
}

/// What mentions a large part many times mentions it by a digest: it does not grow, and is no data.
TEST(SymExpr, LargeAtomsAreShared) {
  ShapeContext context;
  SymExpr expr = sym("a"), b = sym("b");
  for (int i = 0; i < 12; ++i)
    expr = context.select(context.lt(expr, b * i), expr + b, context.max(expr, b + i) - 1);
  EXPECT_FALSE(expr.dependsOnData());
  EXPECT_LT(expr.size(), SymExpr::kShared + 10);
  EXPECT_LT(expr.str().size(), 500u);
  EXPECT_EQ((expr * expr - expr * expr), SymExpr(0));
  llvm::SmallVector<std::string> names;
  expr.collectSymbols(names);
  EXPECT_EQ(names.size(), 2u);
  for (auto [a, c] : {std::pair<int64_t, int64_t>(3, 4), {0, 9}, {100, 1}}) {
    int64_t expected = a;
    for (int i = 0; i < 12; ++i)
      expected = expected < c * i ? expected + c : std::max(expected, c + i) - 1;
    EXPECT_EQ(evaluate(expr, {{"a", a}, {"b", c}}), expected);
  }
}

/// Atoms whose text is long are told apart by its digest.
TEST(SymExpr, LongAtoms) {
  ShapeContext context;
  SymExpr a = sumOfSymbols("a", 900), b = a + sym("b");
  SymExpr x = context.floorDiv(a, 7), y = context.floorDiv(b, 7);
  EXPECT_LT(x.str().size(), 4200u);
  EXPECT_EQ(x, context.floorDiv(sumOfSymbols("a", 900), 7));
  EXPECT_NE(x, y);
  EXPECT_NE(context.floorDiv(a * 4, 7), x);
  EXPECT_NE(context.mod(a, 7), x);
}

} // namespace
