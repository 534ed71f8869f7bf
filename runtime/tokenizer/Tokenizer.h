//===- Tokenizer.h - Texts to ids and back ----------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_TOKENIZER_TOKENIZER_H
#define LATHE_RUNTIME_TOKENIZER_TOKENIZER_H

#include "runtime/Status.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lathe::tokenizer {

using runtime::Status;

/// Ids that become text one after the other; used by one thread at a time. What has come out, joined, is the text of
/// all of them; each part is whole characters.
class Decoding {
public:
  virtual ~Decoding() = default;

  /// Appends to `out` what is settled by now. Ids that no token has are passed over.
  virtual Status push(uint32_t id, std::string &out) = 0;

  /// Appends the rest.
  virtual Status finish(std::string &out) = 0;
};

/// Immutable once it is loaded; used by any number of threads.
class Tokenizer {
public:
  virtual ~Tokenizer() = default;

  /// Reads a tokenizer.json or a SentencePiece model, whichever the bytes are.
  static Status load(std::string_view bytes, std::unique_ptr<Tokenizer> *tokenizer);

  /// Appends the ids of a text, which may hold any bytes; `addsSpecial`: with the tokens that the file puts around it.
  virtual Status encode(std::string_view text, bool addsSpecial, std::vector<uint32_t> &ids) const = 0;

  /// Begins a decoding, which must not outlive the tokenizer.
  virtual std::unique_ptr<Decoding> decode(bool skipsSpecial) const = 0;

  virtual std::optional<uint32_t> idOf(std::string_view token) const = 0;
  /// The text of a token, zero-terminated, as long as the tokenizer lives; without data where no token has the id.
  virtual std::string_view textOf(uint32_t id) const = 0;
  virtual bool isSpecial(uint32_t id) const = 0;

  const char *kind = ""; ///< "tokenizer.json" or "sentencepiece"
  size_t vocabularySize = 0;
  uint32_t maxId = 0;
  std::optional<uint32_t> begin, end, unknown; ///< tokens of texts' ends where the file tells them
  std::vector<uint32_t> specials;
};

/// Reads a tokenizer.json.
Status loadJson(std::string_view bytes, std::unique_ptr<Tokenizer> *tokenizer);

/// Reads a SentencePiece model.
Status loadSentencePiece(std::string_view bytes, std::unique_ptr<Tokenizer> *tokenizer);

} // namespace lathe::tokenizer

#endif // LATHE_RUNTIME_TOKENIZER_TOKENIZER_H
