//===- GeneratedText.cpp - Texts that come token by token -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/GeneratedText.h"
#include "compiler/tools/lathe/RunCommands/Support.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

using namespace lathe;
using namespace lathe::tool;

GeneratedText::GeneratedText(const Tokenizer *tokenizer, const std::vector<int64_t> &prompt,
                             const std::vector<std::string> &stops, bool withSpecial) {
  std::vector<const char *> strings;
  std::vector<size_t> sizes;
  for (const std::string &stop : stops) {
    strings.push_back(stop.data());
    sizes.push_back(stop.size());
  }
  lathe_stop_strings *stop = nullptr;
  check(lathe_stop_strings_create(strings.data(), sizes.data(), strings.size(), &stop));
  stop_.reset(stop);
  if (!tokenizer)
    return;
  // What a token means may depend on those before it: a blank is left out at the beginning of a text.
  stream_ = std::make_unique<TokenStream>(*tokenizer, !withSpecial);
  for (int64_t token : prompt)
    prompt_ += stream_->push(token);
}

std::string GeneratedText::pass(const std::string &piece) {
  const char *passed = nullptr;
  size_t size = 0;
  int32_t stopped = 0;
  check(lathe_stop_strings_push(stop_.get(), piece.data(), piece.size(), &passed, &size, &stopped));
  stopped_ = stopped != 0;
  text_.append(passed, size);
  return std::string(passed, size);
}

std::string GeneratedText::push(int64_t token) {
  if (stopped_)
    return "";
  if (stream_)
    return pass(stream_->push(token));
  return pass((count_++ ? " " : "") + std::to_string(token));
}

std::string GeneratedText::finish() {
  std::string last = stream_ && !stopped_ ? pass(stream_->finish()) : "";
  if (stopped_)
    return last;
  const char *passed = nullptr;
  size_t size = 0;
  check(lathe_stop_strings_finish(stop_.get(), &passed, &size));
  text_.append(passed, size);
  return last.append(passed, size);
}

void TextPrinter::write(const std::string &text) {
  if (text.empty() || !isOn_)
    return;
  endsLine_ = text.back() == '\n';
  if (fwrite(text.data(), 1, text.size(), stdout) != text.size() || fflush(stdout) != 0)
    throw CommandError(kInternal, std::string("cannot write to standard output: ") + strerror(errno));
}

void TextPrinter::begin() {
  if (begun_)
    return;
  begun_ = true;
  if (texts_.size() > 1)
    write("== " + std::to_string(current_ + 1) + " ==\n");
}

void TextPrinter::add(size_t row, const std::string &piece) {
  if (row != current_) {
    texts_[row] += piece;
    return;
  }
  begin();
  write(piece);
}

void TextPrinter::complete(size_t row) {
  done_[row] = true;
  for (; current_ < done_.size() && done_[current_]; begun_ = false) {
    begin();
    write(texts_[current_]);
    if (!endsLine_)
      write("\n");
    ++current_;
  }
  if (current_ < done_.size() && !texts_[current_].empty()) {
    begin();
    write(texts_[current_]);
    texts_[current_].clear();
  }
}
