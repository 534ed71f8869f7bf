//===- WordPiece.cpp - Words in a vocabulary --------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/tokenizer/Model.h"
#include "runtime/tokenizer/Utf8.h"

#include <algorithm>

using namespace lathe;
using namespace lathe::tokenizer;

namespace {

/// Whole words.
class WordLevel : public Model {
public:
  Status read(const Node &node) {
    LATHE_TRY(readVocabulary(node["vocab"]));
    LATHE_TRY(node["unk_token"].read(&unknownText_));
    unknown_ = vocabulary_.find(unknownText_);
    return success();
  }

  Status tokenize(std::string_view word, std::vector<uint32_t> &ids) const override {
    std::optional<uint32_t> id = vocabulary_.find(word);
    return id ? put(*id, ids) : putUnknown(ids);
  }

protected:
  Status put(uint32_t id, std::vector<uint32_t> &ids) const {
    ids.push_back(id);
    return success();
  }

  Status putUnknown(std::vector<uint32_t> &ids) const {
    if (!unknown_)
      return failure(LATHE_EXECUTION_ERROR, "the text has words that are not in the vocabulary, nor is the token '",
                     unknownText_, "' that stands for them");
    return put(*unknown_, ids);
  }

  std::string unknownText_;
};

/// Words cut into the longest parts from the left (Schuster and Nakajima, 2012).
class WordPiece : public WordLevel {
public:
  Status read(const Node &node) {
    LATHE_TRY(WordLevel::read(node));
    LATHE_TRY(node["continuing_subword_prefix"].read(&prefix_));
    return node["max_input_chars_per_word"].read(&maxCharacters_);
  }

  Status tokenize(std::string_view word, std::vector<uint32_t> &ids) const override {
    if (countCharacters(word) > maxCharacters_)
      return putUnknown(ids);
    size_t kept = ids.size();
    std::string part(prefix_);
    for (size_t begin = 0; begin < word.size();) {
      // No longer part is in the vocabulary.
      size_t end = std::min(word.size(), begin + vocabulary_.longest());
      while (end < word.size() && end > begin && (static_cast<unsigned char>(word[end]) & 0xC0) == 0x80)
        --end;
      std::optional<uint32_t> id;
      while (end > begin) {
        std::string_view text = word.substr(begin, end - begin);
        if (begin) {
          part.replace(prefix_.size(), std::string::npos, text);
          text = part;
        }
        if ((id = vocabulary_.find(text)))
          break;
        end = previousStart(word, end);
      }
      if (!id) {
        ids.resize(kept);
        return putUnknown(ids);
      }
      ids.push_back(*id);
      begin = end;
    }
    return success();
  }

private:
  std::string prefix_;
  uint32_t maxCharacters_ = 100;
};

} // namespace

Status tokenizer::readWordPiece(const Node &node, std::unique_ptr<Model> *model) {
  auto wordPiece = std::make_unique<WordPiece>();
  LATHE_TRY(wordPiece->read(node));
  *model = std::move(wordPiece);
  return success();
}

Status tokenizer::readWordLevel(const Node &node, std::unique_ptr<Model> *model) {
  auto wordLevel = std::make_unique<WordLevel>();
  LATHE_TRY(wordLevel->read(node));
  *model = std::move(wordLevel);
  return success();
}
