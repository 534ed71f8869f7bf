//===- Model.h - Words cut into tokens --------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_TOKENIZER_MODEL_H
#define LATHE_RUNTIME_TOKENIZER_MODEL_H

#include "runtime/tokenizer/Json.h"
#include "runtime/tokenizer/Vocabulary.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lathe::tokenizer {

/// Ids are below this, which leaves numbers for what is none.
constexpr uint32_t kMaxTokenId = 1u << 31;

/// Cuts words into tokens, each word by itself. Immutable.
class Model {
public:
  virtual ~Model() = default;

  /// Appends the ids of the tokens of `word`, which is not empty. Fails where the text needs an unknown token and the
  /// file has none.
  virtual Status tokenize(std::string_view word, std::vector<uint32_t> &ids) const = 0;

  const Vocabulary &vocabulary() const { return vocabulary_; }
  /// The token for what is in no other; none where the file names none.
  std::optional<uint32_t> unknown() const { return unknown_; }

protected:
  /// Reads a member {"token": id, …}.
  Status readVocabulary(const Node &node);

  /// Ids of the tokens <0x00> to <0xFF>, for texts that the vocabulary lacks; Vocabulary's ids, or kNoByte.
  static constexpr uint32_t kNoByte = UINT32_MAX;
  void findBytes(uint32_t (&bytes)[256]) const;

  Vocabulary vocabulary_;
  std::optional<uint32_t> unknown_;
};

Status readBpe(const Node &node, std::unique_ptr<Model> *model);
Status readWordPiece(const Node &node, std::unique_ptr<Model> *model);
Status readWordLevel(const Node &node, std::unique_ptr<Model> *model);
Status readUnigram(const Node &node, std::unique_ptr<Model> *model);

/// Reads the model that `node` describes.
Status readModel(const Node &node, std::unique_ptr<Model> *model);

} // namespace lathe::tokenizer

#endif // LATHE_RUNTIME_TOKENIZER_MODEL_H
