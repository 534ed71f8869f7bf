//===- SymExpr.cpp - Polynomials over atoms -------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "dialects/lathe/SymExprDetail.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/SHA256.h"

using namespace llvm;

namespace lathe {

//===----------------------------------------------------------------------===//
// Atoms
//===----------------------------------------------------------------------===//

static StringRef opName(SymOp op) {
  switch (op) {
  case SymOp::product:
    return "product";
  case SymOp::floor_div:
    return "floordiv";
  case SymOp::mod:
    return "mod";
  case SymOp::min:
    return "min";
  case SymOp::max:
    return "max";
  case SymOp::wrap:
    return "wrap";
  case SymOp::broadcast:
    return "broadcast";
  case SymOp::eq:
    return "eq";
  case SymOp::lt:
    return "lt";
  case SymOp::select:
    return "select";
  case SymOp::symbol:
  case SymOp::value:
    break;
  }
  return "";
}

SymExpr detail::makeAtom(SymOp op, std::vector<SymExpr> args) {
  auto atom = std::make_shared<SymAtom>();
  atom->op = op;
  atom->key = opName(op).str() + "(";
  for (auto [i, arg] : llvm::enumerate(args)) {
    atom->key += (i ? ", " : "") + arg.str();
    atom->size = std::min(atom->size + arg.size(), SymExpr::kTooLarge);
    for (const auto &[monomial, coefficient] : arg.getTerms())
      for (const SymAtomRef &inner : monomial.atoms)
        atom->depth = std::max(atom->depth, inner->depth + 1);
    atom->ofData |= arg.dependsOnData();
  }
  atom->key += ")";
  if (atom->depth > SymExpr::kDeepest)
    atom->size = SymExpr::kTooLarge;
  atom->shared = atom->size > SymExpr::kShared && atom->size < SymExpr::kTooLarge;
  if (atom->shared)
    atom->size = 1;
  atom->ofData |= atom->size >= SymExpr::kTooLarge;
  constexpr size_t kLongestKey = 4096; // of nested keys each holds the ones within it
  if (atom->shared || atom->key.size() > kLongestKey)
    atom->key = opName(op).str() + "#" + llvm::toHex(llvm::SHA256::hash(llvm::arrayRefFromStringRef(atom->key)));
  atom->args = std::move(args);
  return SymExpr::atom(std::move(atom));
}

//===----------------------------------------------------------------------===//
// Polynomials
//===----------------------------------------------------------------------===//

bool SymExpr::AtomLess::operator()(const SymAtomRef &a, const SymAtomRef &b) const { return a->key < b->key; }

bool SymExpr::Monomial::operator<(const Monomial &other) const {
  return std::lexicographical_compare(atoms.begin(), atoms.end(), other.atoms.begin(), other.atoms.end(), AtomLess());
}

bool SymExpr::Monomial::operator==(const Monomial &other) const {
  return atoms.size() == other.atoms.size() &&
         std::equal(atoms.begin(), atoms.end(), other.atoms.begin(),
                    [](const SymAtomRef &a, const SymAtomRef &b) { return a->key == b->key; });
}

SymExpr::SymExpr(int64_t constant) {
  if (constant != 0)
    terms[Monomial{}] = constant;
}

SymExpr SymExpr::atom(SymAtomRef atom) {
  SymExpr result;
  result.terms[Monomial{{std::move(atom)}}] = 1;
  return result;
}

SymExpr SymExpr::symbol(StringRef name) {
  auto atom = std::make_shared<SymAtom>();
  atom->op = SymOp::symbol;
  atom->key = name.str();
  atom->name = name.str();
  return SymExpr::atom(std::move(atom));
}

std::optional<int64_t> SymExpr::constant() const {
  if (terms.empty())
    return 0;
  if (terms.size() == 1 && terms.begin()->first.atoms.empty())
    return terms.begin()->second;
  return std::nullopt;
}

SymExpr SymExpr::operator+(const SymExpr &other) const {
  SymExpr result = *this;
  for (const auto &[monomial, coefficient] : other.terms) {
    // Coefficients wrap rather than overflow: no real shape comes near, and hostile ones must not be undefined.
    int64_t &sum = result.terms[monomial];
    sum = static_cast<int64_t>(static_cast<uint64_t>(sum) + static_cast<uint64_t>(coefficient));
    if (sum == 0)
      result.terms.erase(monomial);
  }
  return result;
}

size_t SymExpr::size() const {
  size_t size = 0;
  for (const auto &[monomial, coefficient] : terms) {
    size += 1;
    for (const SymAtomRef &atom : monomial.atoms)
      size += atom->size;
  }
  return size;
}

bool SymExpr::dependsOnData() const {
  return llvm::any_of(terms, [](const auto &term) {
    return llvm::any_of(term.first.atoms, [](const SymAtomRef &atom) { return atom->ofData; });
  });
}

SymExpr SymExpr::operator*(const SymExpr &other) const {
  if (size() * other.size() >= kTooLarge && !constant() && !other.constant())
    return detail::makeAtom(SymOp::product, {*this, other});
  SymExpr result;
  for (const auto &[a, x] : terms)
    for (const auto &[b, y] : other.terms) {
      Monomial product;
      std::merge(a.atoms.begin(), a.atoms.end(), b.atoms.begin(), b.atoms.end(), std::back_inserter(product.atoms),
                 AtomLess());
      int64_t &sum = result.terms[product];
      sum = static_cast<int64_t>(static_cast<uint64_t>(sum) + static_cast<uint64_t>(x) * static_cast<uint64_t>(y));
      if (sum == 0)
        result.terms.erase(product);
    }
  return result;
}

SymExpr SymExpr::operator-(const SymExpr &other) const { return *this + other * SymExpr(-1); }

std::string SymExpr::str() const {
  if (terms.empty())
    return "0";
  std::string text;
  auto append = [&](const Monomial &monomial, int64_t coefficient) {
    if (!text.empty())
      text += coefficient < 0 ? " - " : " + ";
    else if (coefficient < 0)
      text += "-";
    uint64_t magnitude = coefficient < 0 ? 0 - static_cast<uint64_t>(coefficient) : static_cast<uint64_t>(coefficient);
    if (monomial.atoms.empty() || magnitude != 1)
      text += std::to_string(magnitude) + (monomial.atoms.empty() ? "" : "*");
    text += llvm::join(llvm::map_range(monomial.atoms, [](const SymAtomRef &a) { return a->key; }), "*");
  };
  // The constant last, as people write it.
  for (const auto &[monomial, coefficient] : terms)
    if (!monomial.atoms.empty())
      append(monomial, coefficient);
  if (auto it = terms.find(Monomial{}); it != terms.end())
    append(it->first, it->second);
  return text;
}

std::optional<StringRef> SymExpr::symbolName() const {
  if (terms.size() != 1 || terms.begin()->second != 1 || terms.begin()->first.atoms.size() != 1)
    return std::nullopt;
  const SymAtom &atom = *terms.begin()->first.atoms.front();
  if (atom.op != SymOp::symbol)
    return std::nullopt;
  return StringRef(atom.name);
}

/// `seen` are the shared atoms that were visited.
static void collect(const SymExpr &expr, SmallVectorImpl<std::string> &names, StringSet<> &seen) {
  for (const auto &[monomial, coefficient] : expr.getTerms())
    for (const SymAtomRef &atom : monomial.atoms) {
      if (atom->shared && !seen.insert(atom->key).second)
        continue;
      if (atom->op == SymOp::symbol && !llvm::is_contained(names, atom->name))
        names.push_back(atom->name);
      for (const SymExpr &arg : atom->args)
        collect(arg, names, seen);
    }
}

void SymExpr::collectSymbols(SmallVectorImpl<std::string> &names) const {
  StringSet<> seen;
  collect(*this, names, seen);
}

std::optional<SymExpr> detail::divideExactly(const SymExpr &a, const SymExpr &b) {
  using Term = std::pair<const SymExpr::Monomial, int64_t>;
  auto leading = [](const SymExpr &e) -> const Term & {
    return *std::max_element(e.getTerms().begin(), e.getTerms().end(), [](const Term &x, const Term &y) {
      size_t dx = x.first.atoms.size(), dy = y.first.atoms.size();
      return dx != dy ? dx < dy : x.first < y.first;
    });
  };
  if (b.getTerms().empty() || a.size() >= SymExpr::kTooLarge)
    return std::nullopt;
  const auto &[divisor, factor] = leading(b);
  if (factor <= 0)
    return std::nullopt;
  SymExpr rest = a, quotient;
  for (int step = 0; step < 64; ++step) {
    if (rest.getTerms().empty())
      return quotient;
    const auto &[monomial, coefficient] = leading(rest);
    SymExpr::Monomial left;
    std::set_difference(monomial.atoms.begin(), monomial.atoms.end(), divisor.atoms.begin(), divisor.atoms.end(),
                        std::back_inserter(left.atoms), SymExpr::AtomLess());
    if (left.atoms.size() + divisor.atoms.size() != monomial.atoms.size() || coefficient % factor != 0)
      return std::nullopt;
    SymExpr term(coefficient / factor);
    for (const SymAtomRef &atom : left.atoms)
      term = term * SymExpr::atom(atom);
    quotient = quotient + term;
    rest = rest - term * b;
  }
  return std::nullopt;
}

//===----------------------------------------------------------------------===//
// Text
//===----------------------------------------------------------------------===//

namespace {
/// Recursive descent over `+ - * ( )`, integers and identifiers; bounded in depth by the caller's text length.
struct Parser {
  StringRef text;
  int depth = 0;
  bool failed = false;

  void skip() { text = text.ltrim(); }
  SymExpr fail() {
    failed = true;
    return SymExpr(0);
  }
  SymExpr primary() {
    skip();
    if (text.empty() || ++depth > 64)
      return fail();
    if (text.consume_front("(")) {
      SymExpr inner = sum();
      skip();
      --depth;
      return text.consume_front(")") ? inner : fail();
    }
    --depth;
    if (llvm::isDigit(text.front())) {
      uint64_t value;
      if (text.consumeInteger(10, value) || value > (uint64_t(1) << 62))
        return fail();
      return SymExpr(static_cast<int64_t>(value));
    }
    StringRef name =
        text.take_while([](char c) { return llvm::isAlnum(c) || c == '_' || c == '.' || c == '/' || c == ':'; });
    if (name.empty())
      return fail();
    text = text.drop_front(name.size());
    return SymExpr::symbol(name);
  }
  SymExpr product() {
    SymExpr left = primary();
    for (skip(); !failed && text.consume_front("*"); skip())
      left = left * primary();
    return left;
  }
  SymExpr sum() {
    skip();
    SymExpr left = text.consume_front("-") ? SymExpr(0) - product() : product();
    for (skip(); !failed; skip()) {
      if (text.consume_front("+"))
        left = left + product();
      else if (text.consume_front("-"))
        left = left - product();
      else
        break;
    }
    return left;
  }
};
} // namespace

std::optional<SymExpr> SymExpr::parse(StringRef text) {
  if (text.size() > 256)
    return std::nullopt;
  Parser parser{text};
  SymExpr result = parser.sum();
  parser.skip();
  if (parser.failed || !parser.text.empty())
    return std::nullopt;
  return result;
}

} // namespace lathe
