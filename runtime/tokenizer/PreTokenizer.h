//===- PreTokenizer.h - Texts cut into words --------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_TOKENIZER_PRETOKENIZER_H
#define LATHE_RUNTIME_TOKENIZER_PRETOKENIZER_H

#include "runtime/tokenizer/Json.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace lathe::tokenizer {

/// A part of a text: an added token, or a word that the model cuts into tokens.
struct Piece {
  static constexpr uint32_t kNoToken = UINT32_MAX;

  size_t begin, end;
  uint32_t token = kNoToken;
  bool isFirst = false; ///< begins where the whole text begins
};

/// A text and the pieces that it was cut into, in order. Pieces that nothing is left of are dropped.
struct Pieces {
  std::string text;
  std::vector<Piece> pieces;

  std::string_view of(const Piece &piece) const {
    return std::string_view(text).substr(piece.begin, piece.end - piece.begin);
  }
};

/// Cuts the pieces that are no tokens into smaller ones, and may rewrite them. Immutable.
class PreTokenizer {
public:
  virtual ~PreTokenizer() = default;
  virtual Status apply(Pieces &pieces) const = 0;
};

/// Reads the pre-tokenizer that `node` describes, which is not null.
Status readPreTokenizer(const Node &node, std::unique_ptr<PreTokenizer> *preTokenizer, int depth = 0);

/// Where Metaspace puts its mark in front of words.
enum class PrependScheme { Always, First, Never };

/// Reads the members of a Metaspace, which is a pre-tokenizer and a decoder.
Status readMetaspace(const Node &node, std::string *replacement, PrependScheme *scheme, bool *splits);

} // namespace lathe::tokenizer

#endif // LATHE_RUNTIME_TOKENIZER_PRETOKENIZER_H
