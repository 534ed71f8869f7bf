//===- Regex.h - Regular expressions and texts to look for ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_TOKENIZER_REGEX_H
#define LATHE_RUNTIME_TOKENIZER_REGEX_H

#include "runtime/Status.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

struct re_pattern_buffer;

namespace lathe::tokenizer {

using runtime::failure;
using runtime::Status;
using runtime::success;

/// A part of a text, and whether a pattern matched it.
struct Match {
  size_t begin, end;
  bool isMatch;
};

/// A text or a regular expression (Oniguruma's syntax). Immutable; used by any number of threads.
class Pattern {
public:
  /// Looks for `text` itself, which may be empty: that matches between all characters.
  static Status literal(const std::string &text, const std::string &where, Pattern *pattern);

  /// Looks for a regular expression. Fails with INVALID_ARTIFACT and the place `where` it stands.
  static Status regex(const std::string &source, const std::string &where, Pattern *pattern);

  /// Cuts `text` into parts that match and parts that do not; together they are the text. Matches may be empty. An
  /// empty text is one part that does not match. Fails where matching goes beyond the library's limits.
  Status parts(std::string_view text, std::vector<Match> *parts) const;

private:
  struct Free {
    void operator()(re_pattern_buffer *regex) const;
  };

  std::string literal_;
  std::unique_ptr<re_pattern_buffer, Free> regex_;
};

} // namespace lathe::tokenizer

#endif // LATHE_RUNTIME_TOKENIZER_REGEX_H
