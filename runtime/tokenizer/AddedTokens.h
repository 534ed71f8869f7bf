//===- AddedTokens.h - Tokens that are found in texts -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_TOKENIZER_ADDEDTOKENS_H
#define LATHE_RUNTIME_TOKENIZER_ADDEDTOKENS_H

#include "runtime/tokenizer/Model.h"
#include "runtime/tokenizer/Normalizer.h"
#include "runtime/tokenizer/PreTokenizer.h"

#include <unordered_map>
#include <unordered_set>

namespace lathe::tokenizer {

/// Tokens beside those of the model, such as <|endoftext|>: wherever a text has one it stays whole, and the model sees
/// what lies between. Immutable once it is read.
class AddedTokens {
public:
  /// Reads the list "added_tokens". A token that the model has keeps the model's id.
  Status read(const Node &list, const Model &model, const Normalizer *normalizer);

  /// Cuts `text` at these tokens and normalizes what is between them.
  Status cut(std::string_view text, const Normalizer *normalizer, Pieces *pieces) const;

  const Vocabulary &vocabulary() const { return vocabulary_; }
  /// What a token becomes in a text: as it was normalized, where it was. One without data where no token has the id.
  std::string_view textOf(uint32_t id) const;
  bool isSpecial(uint32_t id) const { return special_.count(id) != 0; }
  const std::vector<uint32_t> &specials() const { return specialIds_; } ///< in the order of the file
  size_t countBeyond(const Vocabulary &model) const;                    ///< tokens that the model does not have

private:
  struct Token {
    std::string text;
    uint32_t id = 0;
    bool isSingleWord = false, stripsLeft = false, stripsRight = false, isNormalized = true, isSpecial = false;
  };
  struct Found {
    size_t begin, end;
    uint32_t id; ///< Piece::kNoToken for what is between
  };

  /// Cuts a text at the tokens of a trie; together the parts are the text.
  void find(std::string_view text, const ByteTrie &trie, std::vector<Found> *parts) const;

  Vocabulary vocabulary_;
  std::unordered_map<uint32_t, std::string> written_;
  std::vector<Token> tokens_;
  std::vector<uint32_t> specialIds_;
  std::unordered_set<uint32_t> special_;
  ByteTrie raw_, normalized_; ///< indices of tokens, which are looked for before and after the text is normalized
};

} // namespace lathe::tokenizer

#endif // LATHE_RUNTIME_TOKENIZER_ADDEDTOKENS_H
