//===- Decoder.h - Tokens put together --------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// A decoder is a chain of steps through which tokens pass, in pieces as soon as a step can give them away. A text that
// is decoded at once takes the same way, so both are equal.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_TOKENIZER_DECODER_H
#define LATHE_RUNTIME_TOKENIZER_DECODER_H

#include "runtime/tokenizer/Json.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace lathe::tokenizer {

/// The state of one step of one decoding. Gets the parts of tokens, each of whole characters, and gives to the next.
class DecodeStep {
public:
  virtual ~DecodeStep() = default;
  virtual void push(std::string_view part) = 0;
  virtual void endToken() = 0;
  /// There are no more tokens.
  virtual void finish() { next_->finish(); }

  void setNext(DecodeStep *next, Status *status) {
    next_ = next;
    status_ = status;
  }

protected:
  /// Gives a whole token.
  void give(std::string_view token) {
    next_->push(token);
    next_->endToken();
  }

  DecodeStep *next_ = nullptr;
  Status *status_ = nullptr; ///< for a failure: the decoding's
};

/// Describes a step. Immutable.
class DecodePart {
public:
  virtual ~DecodePart() = default;
  virtual std::unique_ptr<DecodeStep> start() const = 0;
};

/// One decoding; used by one thread at a time.
class DecodeChain {
public:
  explicit DecodeChain(const std::vector<std::unique_ptr<DecodePart>> &parts);

  void token(std::string_view text) {
    head().push(text);
    head().endToken();
  }
  void finish() { head().finish(); }

  /// What has come out since the last call.
  std::string take() { return std::exchange(sink_.text, {}); }
  const Status &status() const { return status_; }

private:
  struct Sink : DecodeStep {
    void push(std::string_view part) override { text += part; }
    void endToken() override {}
    void finish() override {}
    std::string text;
  };

  DecodeStep &head() { return steps_.empty() ? sink_ : *steps_.front(); }

  std::vector<std::unique_ptr<DecodeStep>> steps_;
  Sink sink_;
  Status status_;
};

/// Reads the decoder that `node` describes; null puts blanks between the tokens.
Status readDecoder(const Node &node, std::vector<std::unique_ptr<DecodePart>> *parts, int depth = 0);

} // namespace lathe::tokenizer

#endif // LATHE_RUNTIME_TOKENIZER_DECODER_H
