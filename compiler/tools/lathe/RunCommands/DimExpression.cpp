//===- DimExpression.cpp - Expressions over symbolic dimensions ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/DimExpression.h"

#include <algorithm>
#include <cctype>

using namespace lathe;

namespace {

class Evaluator {
public:
  Evaluator(const std::string &text, const std::map<std::string, int64_t> &symbols) : text_(text), symbols_(symbols) {}

  std::optional<int64_t> evaluate() {
    int64_t value = sum(0);
    if (!ok_ || peek() != 0)
      return std::nullopt;
    return value;
  }

private:
  static constexpr int kMaxDepth = 64;

  char peek() {
    while (at_ < text_.size() && text_[at_] == ' ')
      ++at_;
    return at_ < text_.size() ? text_[at_] : 0;
  }

  /// Takes the character that must come; nothing is read behind the end.
  void expect(char c) {
    if (peek() == c)
      ++at_;
    else
      ok_ = false;
  }

  int64_t apply(char operation, int64_t a, int64_t b) {
    int64_t value = 0;
    bool overflow = operation == '+'   ? __builtin_add_overflow(a, b, &value)
                    : operation == '-' ? __builtin_sub_overflow(a, b, &value)
                    : operation == '*' ? __builtin_mul_overflow(a, b, &value)
                                       : b <= 0;
    ok_ &= !overflow;
    if (operation == '/' && ok_)
      value = a / b - (a % b < 0);
    return value;
  }

  int64_t sum(int depth) {
    int64_t value = product(depth);
    while (ok_ && (peek() == '+' || peek() == '-')) {
      char operation = text_[at_++];
      value = apply(operation, value, product(depth));
    }
    return value;
  }

  int64_t product(int depth) {
    int64_t value = primary(depth);
    while (ok_ && (peek() == '*' || peek() == '/')) {
      char operation = text_[at_++];
      // "//" means the same.
      if (operation == '/' && at_ < text_.size() && text_[at_] == '/')
        ++at_;
      value = apply(operation, value, primary(depth));
    }
    return value;
  }

  /// name(a, b), as the compiler writes what no other sign stands for.
  int64_t call(const std::string &name, int depth) {
    expect('(');
    int64_t a = sum(depth);
    expect(',');
    int64_t b = sum(depth);
    expect(')');
    if (name == "min" || name == "max")
      return name == "min" ? std::min(a, b) : std::max(a, b);
    int64_t quotient = apply('/', a, name == "floordiv" || name == "mod" ? b : 0);
    return name == "mod" ? apply('-', a, apply('*', quotient, b)) : quotient;
  }

  int64_t primary(int depth) {
    if (peek() == '(' && depth < kMaxDepth) {
      expect('(');
      int64_t value = sum(depth + 1);
      expect(')');
      return value;
    }
    size_t start = at_;
    while (at_ < text_.size() && (isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '_' ||
                                  text_[at_] == '.' || text_[at_] == ':' || text_[at_] == '#'))
      ++at_;
    std::string word = text_.substr(start, at_ - start);
    if (peek() == '(' && depth < kMaxDepth)
      return call(word, depth + 1);
    if (auto symbol = symbols_.find(word); symbol != symbols_.end())
      return symbol->second;
    int64_t value = 0;
    ok_ &= !word.empty();
    for (char digit : word)
      if (!isdigit(static_cast<unsigned char>(digit)) || __builtin_mul_overflow(value, 10, &value) ||
          __builtin_add_overflow(value, digit - '0', &value))
        ok_ = false;
    return value;
  }

  const std::string &text_;
  const std::map<std::string, int64_t> &symbols_;
  size_t at_ = 0;
  bool ok_ = true;
};

} // namespace

std::optional<int64_t> tool::evaluateDim(const std::string &text, const std::map<std::string, int64_t> &symbols) {
  // Names of symbols come from models and may hold any character.
  if (auto symbol = symbols.find(text); symbol != symbols.end())
    return symbol->second;
  return Evaluator(text, symbols).evaluate();
}
