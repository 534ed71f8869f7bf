//===- StopCriteria.h - When a text is finished -----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_GENERATION_STOPCRITERIA_H
#define LATHE_RUNTIME_GENERATION_STOPCRITERIA_H

#include "runtime/generation/GenerationConfig.h"

namespace lathe::runtime {

enum class StopReason {
  None,
  EndToken,   ///< one of eos_token_id; it is the last token of the sequence
  StopString, ///< one of stop_strings
  Length,     ///< max_new_tokens or max_length
};

/// Whether a sequence ends, by its last token and its length. Has no state: one for all sequences of a prompt's length.
class StopCriteria {
public:
  StopCriteria(const GenerationConfig &config, int64_t promptLength);

  /// `last` is the newest token, `length` counts all tokens with it. An end wins over the length.
  StopReason check(Token last, int64_t length) const;

  /// Whether there is room for one token more after `length`.
  bool full(int64_t length) const { return length >= maxLength_; }
  int64_t maxLength() const { return maxLength_; }

private:
  std::vector<Token> ends_; ///< sorted
  int64_t maxLength_;
};

/// Looks for stop strings in a text that arrives piece by piece. What comes before the first stop string is passed on;
/// the string itself, and what follows it, is not. The end of the text that may be the beginning of a stop string is
/// held back until more text, or the end of it, decides. The results do not depend on how the text is cut into pieces.
///
/// Of strings that end at the same place the longest counts; else the one that ends first. Memory is that of the
/// strings, time one comparison a byte and string on average.
class StopStrings {
public:
  /// `strings` are not empty (see validate).
  explicit StopStrings(const std::vector<std::string> &strings);

  /// Appends to `out` what of the text is now sure to be passed on. True once a stop string was found; then nothing
  /// more is taken.
  bool push(std::string_view piece, std::string &out);

  /// The end of the text: appends what was held back.
  void finish(std::string &out);

  bool stopped() const { return stopped_; }
  /// Bytes held back.
  size_t held() const { return held_.size(); }

private:
  struct Pattern {
    std::string text;
    std::vector<size_t> fallback; ///< by matched length: the longest shorter match that it ends with
    size_t matched = 0;
  };

  std::vector<Pattern> patterns_;
  std::string held_;
  bool stopped_ = false;
};

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_GENERATION_STOPCRITERIA_H
