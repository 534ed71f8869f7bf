//===- Pattern.cpp - Which weights become zero together ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/pruning/methods/Pattern.h"

#include <algorithm>
#include <cmath>

using namespace lathe;
using namespace lathe::pruning;

namespace {

const std::string kBlock = "block:";

/// Two whole numbers of at most six digits around `mark`. False for anything else.
bool readPair(const std::string &text, char mark, int64_t &first, int64_t &second) {
  const size_t at = text.find(mark);
  const auto isNumber = [](const std::string &part) {
    return !part.empty() && part.size() <= 6 &&
           std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
  };
  if (at == std::string::npos || !isNumber(text.substr(0, at)) || !isNumber(text.substr(at + 1)))
    return false;
  first = std::stoll(text.substr(0, at));
  second = std::stoll(text.substr(at + 1));
  return true;
}

std::string nofM(int64_t kept, int64_t of) { return std::to_string(kept) + ":" + std::to_string(of); }

/// The valid group that is most like what was given.
std::string nearestGroup(int64_t kept, int64_t of) {
  if (kept > of)
    std::swap(kept, of);
  if (of > kLargestGroup) {
    const double share = static_cast<double>(kept) / static_cast<double>(of);
    of = kLargestGroup;
    kept = std::llround(share * static_cast<double>(of));
  }
  of = std::max<int64_t>(of, 2);
  return nofM(std::clamp<int64_t>(kept, 1, of - 1), of);
}

std::string parseBlock(const std::string &text, Pattern &pattern) {
  const std::string expected = "expects block:RxC, blocks of R outputs and C inputs from 1 to " +
                               std::to_string(kLargestBlock) + ", got '" + text + "'; did you mean 'block:";
  int64_t rows = 0, columns = 0;
  if (!readPair(text.substr(kBlock.size()), 'x', rows, columns))
    return expected + "1x16'?";
  const auto isValid = [](int64_t side) { return side >= 1 && side <= kLargestBlock; };
  if (!isValid(rows) || !isValid(columns))
    return expected + std::to_string(std::clamp<int64_t>(rows, 1, kLargestBlock)) + "x" +
           std::to_string(std::clamp<int64_t>(columns, 1, kLargestBlock)) + "'?";
  pattern.kind = PatternKind::Block;
  pattern.rows = rows;
  pattern.columns = columns;
  return "";
}

} // namespace

std::string Pattern::name() const {
  if (kind == PatternKind::NofM)
    return nofM(kept, of);
  return kind == PatternKind::Block ? kBlock + std::to_string(rows) + "x" + std::to_string(columns) : "unstructured";
}

std::string pruning::parsePattern(const std::string &text, Pattern &pattern) {
  pattern = {};
  if (text == "unstructured")
    return "";
  if (text.compare(0, kBlock.size(), kBlock) == 0)
    return parseBlock(text, pattern);
  int64_t kept = 0, of = 0;
  if (readPair(text, ':', kept, of)) {
    if (kept < 1 || kept >= of || of > kLargestGroup)
      return "expects N:M with 0 < N < M <= " + std::to_string(kLargestGroup) + ", got '" + text + "'; did you mean '" +
             nearestGroup(kept, of) + "'?";
    pattern.kind = PatternKind::NofM;
    pattern.kept = kept;
    pattern.of = of;
    return "";
  }
  // Who writes 4x16 means blocks.
  if (readPair(text, 'x', kept, of)) {
    Pattern blocks;
    const std::string problem = parseBlock(kBlock + text, blocks);
    return problem.empty()
               ? "expects unstructured, N:M or block:RxC, got '" + text + "'; did you mean 'block:" + text + "'?"
               : problem;
  }
  const bool isGroup = text.find(':') != std::string::npos;
  // Those that take parts away are read elsewhere.
  for (const std::string part : {"heads", "neurons", "channels", "layers"})
    if (text.size() > 2 && part.compare(0, 3, text, 0, 3) == 0)
      return "expects unstructured, N:M, block:RxC, heads, neurons, channels or layers, got '" + text +
             "'; did you mean '" + part + "'?";
  return "expects unstructured, N:M or block:RxC, got '" + text + "'; did you mean '" +
         (isGroup ? "2:4" : "unstructured") + "'?";
}
