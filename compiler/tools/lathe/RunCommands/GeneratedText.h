//===- GeneratedText.h - Texts that come token by token ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_GENERATEDTEXT_H
#define LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_GENERATEDTEXT_H

#include "runtime/include/lathe/generate.h"
#include "runtime/include/lathe/tokenizer.hpp"

#include <memory>
#include <string>
#include <vector>

namespace lathe::tool {

/// What becomes of the tokens of one result: its text, up to a stop string. Without a tokenizer the text is the ids.
class GeneratedText {
public:
  /// `tokenizer` may be null, and must outlive this.
  GeneratedText(const Tokenizer *tokenizer, const std::vector<int64_t> &prompt, const std::vector<std::string> &stops,
                bool withSpecial);

  /// The text that is settled by this token.
  std::string push(int64_t token);
  /// The rest of it.
  std::string finish();

  bool stopped() const { return stopped_; }
  const std::string &text() const { return text_; }
  /// The prompt's text, as far as it is settled before the first token.
  const std::string &prompt() const { return prompt_; }

private:
  struct Release {
    void operator()(lathe_stop_strings *stop) const { lathe_stop_strings_release(stop); }
  };
  std::string pass(const std::string &piece);

  std::unique_ptr<TokenStream> stream_;
  std::unique_ptr<lathe_stop_strings, Release> stop_;
  std::string text_, prompt_;
  size_t count_ = 0;
  bool stopped_ = false;
};

/// Writes the texts of several results to standard output in their order, each as it comes once those before it are
/// complete.
class TextPrinter {
public:
  /// One result has no heading; `isOn` false prints nothing.
  TextPrinter(size_t count, bool isOn) : texts_(count), done_(count), isOn_(isOn) {}

  void add(size_t row, const std::string &piece);
  /// No more comes of it.
  void complete(size_t row);

private:
  void write(const std::string &text);
  void begin();

  std::vector<std::string> texts_; ///< held back
  std::vector<bool> done_;
  size_t current_ = 0;
  bool isOn_, begun_ = false, endsLine_ = true;
};

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_GENERATEDTEXT_H
