//===- SymbolicArithmetic.cpp - Arithmetic with what is known of symbols --===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "dialects/lathe/Lathe.h"
#include "dialects/lathe/SymExprDetail.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace lathe {

//===----------------------------------------------------------------------===//
// ShapeContext: facts
//===----------------------------------------------------------------------===//

/// The number of an iteration, or of all of them.
static bool isIteration(Value value) {
  auto argument = dyn_cast<BlockArgument>(value);
  return isa_and_nonnull<LoopOp>(argument ? argument.getOwner()->getParentOp() : value.getDefiningOp());
}

using Bounds = std::pair<std::optional<int64_t>, std::optional<int64_t>>;

/// Lower and upper bound by interval arithmetic; nullopt: none known.
Bounds ShapeContext::bounds(const SymAtom &atom) {
  if (atom.size >= SymExpr::kTooLarge)
    return {};
  switch (atom.op) {
  case SymOp::symbol: {
    auto it = ranges.find(atom.name);
    if (it == ranges.end() && SymExpr::isInputElement(atom.name))
      return {};
    return it == ranges.end() ? Bounds{0, std::nullopt} : Bounds{it->second.min, it->second.max};
  }
  case SymOp::value:
    // Extents of tensors and numbers of iterations are not negative; other index values may be.
    if (isa<RankedTensorType>(atom.value.getType()) || isIteration(atom.value))
      return {0, std::nullopt};
    return {};
  case SymOp::min: {
    Bounds x = bounds(atom.args[0]), y = bounds(atom.args[1]);
    std::optional<int64_t> h = x.second;
    if (y.second && (!h || *y.second < *h))
      h = y.second;
    return {x.first && y.first ? std::optional<int64_t>(std::min(*x.first, *y.first)) : std::nullopt, h};
  }
  case SymOp::max: {
    Bounds x = bounds(atom.args[0]), y = bounds(atom.args[1]);
    std::optional<int64_t> l = x.first;
    if (y.first && (!l || *y.first > *l))
      l = y.first;
    return {l, x.second && y.second ? std::optional<int64_t>(std::max(*x.second, *y.second)) : std::nullopt};
  }
  case SymOp::floor_div: {
    Bounds x = bounds(atom.args[0]), y = bounds(atom.args[1]);
    if (std::optional<int64_t> c = atom.args[1].constant(); c && *c > 0)
      return {x.first ? std::optional<int64_t>(llvm::divideFloorSigned(*x.first, *c)) : std::nullopt,
              x.second ? std::optional<int64_t>(llvm::divideFloorSigned(*x.second, *c)) : std::nullopt};
    if (x.first && *x.first >= 0 && y.first && *y.first >= 0)
      return {0, x.second};
    return {};
  }
  case SymOp::eq:
  case SymOp::lt:
    return {0, 1};
  case SymOp::select:
  case SymOp::broadcast: {
    Bounds x = bounds(atom.args[atom.op == SymOp::select ? 1 : 0]);
    Bounds y = bounds(atom.args[atom.op == SymOp::select ? 2 : 1]);
    return {x.first && y.first ? std::optional<int64_t>(std::min(*x.first, *y.first)) : std::nullopt,
            x.second && y.second ? std::optional<int64_t>(std::max(*x.second, *y.second)) : std::nullopt};
  }
  case SymOp::mod: {
    Bounds y = bounds(atom.args[1]);
    if (!y.first || *y.first < 1)
      return {};
    return {0, y.second ? std::optional<int64_t>(*y.second - 1) : std::nullopt};
  }
  case SymOp::wrap:
  case SymOp::product:
    return {};
  }
  return {};
}

Bounds ShapeContext::bounds(const SymExpr &a) {
  constexpr __int128 kBig = __int128(1) << 62;
  std::optional<__int128> low = 0, high = 0;
  auto atomBounds = [&](const SymAtom &atom) {
    if (!atom.shared)
      return bounds(atom);
    if (auto it = sharedBounds.find(atom.key); it != sharedBounds.end())
      return it->second;
    Bounds result = bounds(atom);
    sharedBounds[atom.key] = result;
    return result;
  };
  for (const auto &[monomial, coefficient] : a.getTerms()) {
    std::optional<__int128> l = 1, h = 1; // bounds of the product of atoms, kept only while all are non-negative
    for (const SymAtomRef &atom : monomial.atoms) {
      Bounds b = atomBounds(*atom);
      bool single = monomial.atoms.size() == 1;
      if (b.first && (*b.first >= 0 || single))
        l = l ? std::optional<__int128>(*l * *b.first) : std::nullopt;
      else
        l = std::nullopt;
      h = h && b.second && (*b.second >= 0 || single) ? std::optional<__int128>(*h * *b.second) : std::nullopt;
      if (!single && !(b.first && *b.first >= 0))
        l = h = std::nullopt;
      if ((l && (*l > kBig || *l < -kBig)))
        l = std::nullopt;
      if ((h && (*h > kBig || *h < -kBig)))
        h = std::nullopt;
    }
    std::optional<__int128> tl = coefficient >= 0 ? l : h, th = coefficient >= 0 ? h : l;
    low = low && tl ? std::optional<__int128>(*low + *tl * coefficient) : std::nullopt;
    high = high && th ? std::optional<__int128>(*high + *th * coefficient) : std::nullopt;
    if (low && (*low > kBig || *low < -kBig))
      low = std::nullopt;
    if (high && (*high > kBig || *high < -kBig))
      high = std::nullopt;
  }
  auto narrow = [](std::optional<__int128> x) {
    return x ? std::optional<int64_t>(static_cast<int64_t>(*x)) : std::nullopt;
  };
  return {narrow(low), narrow(high)};
}

bool ShapeContext::atLeast(const SymExpr &a, int64_t bound) {
  if (auto c = a.constant())
    return *c >= bound;
  auto low = bounds(a).first;
  return low && *low >= bound;
}

bool ShapeContext::atMost(const SymExpr &a, int64_t bound) {
  if (auto c = a.constant())
    return *c <= bound;
  auto high = bounds(a).second;
  return high && *high <= bound;
}

/// Whether a - b has a coefficient that wraps, so that its sign says nothing of the order of a and b.
static bool differenceWraps(const SymExpr &a, const SymExpr &b) {
  return llvm::any_of(b.getTerms(), [&](const auto &term) {
    auto it = a.getTerms().find(term.first);
    int64_t difference;
    return llvm::SubOverflow(it == a.getTerms().end() ? int64_t(0) : it->second, term.second, difference);
  });
}

bool ShapeContext::isBelow(const SymExpr &a, const SymExpr &b, int64_t gap) {
  if (auto ca = a.constant(), cb = b.constant(); ca && cb)
    return static_cast<__int128>(*ca) + gap <= *cb;
  return !differenceWraps(a, b) && atMost(a - b, -gap);
}

//===----------------------------------------------------------------------===//
// ShapeContext: arithmetic
//===----------------------------------------------------------------------===//

SymExpr ShapeContext::op2(SymOp op, const SymExpr &a, const SymExpr &b) { return detail::makeAtom(op, {a, b}); }

SymExpr ShapeContext::floorDiv(const SymExpr &a, const SymExpr &b) {
  if (b.isConstant(1))
    return a;
  if (a == b && atLeast(b, 1))
    return 1;
  auto ca = a.constant(), cb = b.constant();
  if (cb && *cb == 0)
    return op2(SymOp::floor_div, a, b); // an error of the run, not ours
  if (ca && cb && !(*ca == INT64_MIN && *cb == -1))
    return llvm::divideFloorSigned(*ca, *cb);
  if (auto quotient = detail::divideExactly(a, b))
    return *quotient;
  return op2(SymOp::floor_div, a, b);
}

SymExpr ShapeContext::truncatedDiv(const SymExpr &a, const SymExpr &b) {
  if (atLeast(a, 0))
    return floorDiv(a, b);
  SymExpr negated = SymExpr(0) - floorDiv(SymExpr(0) - a, b);
  return atMost(a, 0) ? negated : select(lt(a, 0), negated, floorDiv(a, b));
}

SymExpr ShapeContext::mod(const SymExpr &a, const SymExpr &b) {
  auto ca = a.constant(), cb = b.constant();
  if (ca && cb && *cb != 0 && *cb != -1) {
    int64_t rest = *ca % *cb; // with the sign of a; quotient * b could overflow
    return rest != 0 && (rest < 0) != (*cb < 0) ? rest + *cb : rest;
  }
  return op2(SymOp::mod, a, b);
}

SymExpr ShapeContext::min(const SymExpr &a, const SymExpr &b) {
  if (a == b || isBelow(a, b, 0))
    return a;
  if (isBelow(b, a, 0))
    return b;
  return op2(SymOp::min, a, b);
}

SymExpr ShapeContext::max(const SymExpr &a, const SymExpr &b) {
  if (a == b || isBelow(b, a, 0))
    return a;
  if (isBelow(a, b, 0))
    return b;
  return op2(SymOp::max, a, b);
}

SymExpr ShapeContext::eq(const SymExpr &a, const SymExpr &b) {
  if (auto c = (a - b).constant())
    return *c == 0 ? 1 : 0;
  if (isBelow(a, b, 1) || isBelow(b, a, 1))
    return 0;
  if ((b.isConstant(0) || b.isConstant(1)) && isBoolean(a))
    return b.isConstant(1) ? a : SymExpr(1) - a;
  return op2(SymOp::eq, a, b);
}

SymExpr ShapeContext::lt(const SymExpr &a, const SymExpr &b) {
  if (isBelow(a, b, 1))
    return 1;
  if (isBelow(b, a, 0))
    return 0;
  return op2(SymOp::lt, a, b);
}

SymExpr ShapeContext::select(const SymExpr &c, const SymExpr &a, const SymExpr &b) {
  if (auto value = c.constant())
    return *value ? a : b;
  if (a == b)
    return a;
  // Written back and read again, an expression stays what it was.
  if (isBoolean(c)) {
    if (a.isConstant(1) && b.isConstant(0))
      return c;
    if (SymExpr negated = SymExpr(1) - c; negated.getTerms().size() < c.getTerms().size())
      return select(negated, b, a);
  }
  return detail::makeAtom(SymOp::select, {c, a, b});
}

SymExpr ShapeContext::clampedIndex(const SymExpr &x, const SymExpr &d, int64_t low, int64_t high) {
  SymExpr wrapped = x;
  if (atLeast(x, 0)) {
    // Exporters write "to the end" as a huge number.
    if (auto c = x.constant(); c && *c >= (int64_t(1) << 31) - 1)
      return d + SymExpr(high);
  } else if (atMost(x, -1)) {
    if (auto c = x.constant(); c && *c <= -(int64_t(1) << 31))
      return low;
    wrapped = x + d;
  } else {
    wrapped = op2(SymOp::wrap, x, d);
  }
  return max(min(wrapped, d + SymExpr(high)), low);
}

} // namespace lathe
