//===- StopCriteria.cpp - When a text is finished ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/generation/StopCriteria.h"

#include <algorithm>

using namespace lathe::runtime;

StopCriteria::StopCriteria(const GenerationConfig &config, int64_t promptLength)
    : ends_(config.eos_token_id), maxLength_(config.maxLength(promptLength)) {
  std::sort(ends_.begin(), ends_.end());
}

StopReason StopCriteria::check(Token last, int64_t length) const {
  if (std::binary_search(ends_.begin(), ends_.end(), last))
    return StopReason::EndToken;
  return full(length) ? StopReason::Length : StopReason::None;
}

StopStrings::StopStrings(const std::vector<std::string> &strings) {
  for (const std::string &text : strings) {
    Pattern pattern;
    pattern.text = text;
    // The automaton of Knuth, Morris and Pratt.
    pattern.fallback.assign(text.size() + 1, 0);
    for (size_t i = 1, length = 0; i < text.size(); ++i) {
      while (length && text[i] != text[length])
        length = pattern.fallback[length];
      if (text[i] == text[length])
        ++length;
      pattern.fallback[i + 1] = length;
    }
    patterns_.push_back(std::move(pattern));
  }
}

bool StopStrings::push(std::string_view piece, std::string &out) {
  if (stopped_)
    return true;
  if (patterns_.empty()) {
    out += piece;
    return false;
  }
  size_t longest = 0;
  for (char c : piece) {
    held_ += c;
    longest = 0;
    size_t found = 0;
    for (Pattern &pattern : patterns_) {
      size_t &matched = pattern.matched;
      while (matched && pattern.text[matched] != c)
        matched = pattern.fallback[matched];
      if (pattern.text[matched] == c)
        ++matched;
      if (matched == pattern.text.size())
        found = std::max(found, matched);
      longest = std::max(longest, matched);
    }
    if (found) {
      out.append(held_, 0, held_.size() - found);
      held_.clear();
      stopped_ = true;
      return true;
    }
  }
  if (!piece.empty()) {
    out.append(held_, 0, held_.size() - longest);
    held_.erase(0, held_.size() - longest);
  }
  return false;
}

void StopStrings::finish(std::string &out) {
  out += held_;
  held_.clear();
  for (Pattern &pattern : patterns_)
    pattern.matched = 0;
}
