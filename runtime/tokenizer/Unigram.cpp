//===- Unigram.cpp - The likeliest tokens of a word -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// Each token has a logarithm of its probability; of all ways to cut a word the likeliest is taken (Kudo, 2018).
//
//===----------------------------------------------------------------------===//
#include "runtime/tokenizer/Model.h"
#include "runtime/tokenizer/Utf8.h"

#include <algorithm>
#include <limits>

using namespace lathe;
using namespace lathe::tokenizer;

namespace {

class Unigram : public Model {
public:
  Status read(const Node &node);
  Status tokenize(std::string_view word, std::vector<uint32_t> &ids) const override;

private:
  /// The best way to a place in the word.
  struct Way {
    double score = 0;
    size_t from = SIZE_MAX;
    uint32_t token = 0;
  };

  Status findWays(std::string_view word, std::vector<Way> &ways) const;
  Status put(std::string_view text, std::vector<uint32_t> &ids) const;
  Status noUnknown() const {
    return failure(LATHE_EXECUTION_ERROR,
                   "the text has characters that are not in the vocabulary, and the tokenizer has no 'unk_id'");
  }

  /// How much less likely than any other token an unknown character is.
  static constexpr double kUnknownPenalty = 10;

  ByteTrie trie_;
  std::vector<double> scores_;
  double lowest_ = std::numeric_limits<double>::infinity();
  bool fallsBackToBytes_ = false;
  uint32_t bytes_[256];
};

Status Unigram::read(const Node &node) {
  Node list = node["vocab"];
  LATHE_TRY(list.list());
  if (list.size() >= kMaxTokenId)
    return list.expected("a list of fewer tokens");
  vocabulary_.reserve(list.size(), list.size() * 8);
  for (size_t i = 0; i < list.size(); ++i) {
    const Json &entry = list.value()[i];
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number())
      return list[i].expected("a text and its score");
    const std::string &text = *entry[0].get_ptr<const std::string *>();
    auto id = static_cast<uint32_t>(i);
    vocabulary_.add(text, id);
    if (!text.empty())
      trie_.add(text, id);
    scores_.push_back(entry[1].get<double>());
    lowest_ = std::min(lowest_, scores_.back());
  }
  if (!node["unk_id"].isNull()) {
    uint32_t id = 0;
    LATHE_TRY(node["unk_id"].read(&id));
    if (id >= list.size())
      return node["unk_id"].expected("the index of a token");
    unknown_ = id;
  }
  LATHE_TRY(node["byte_fallback"].readOptional(&fallsBackToBytes_));
  findBytes(bytes_);
  return success();
}

Status Unigram::findWays(std::string_view word, std::vector<Way> &ways) const {
  double unknownScore = lowest_ - kUnknownPenalty;
  auto offer = [&](size_t from, size_t to, double score, uint32_t token) {
    if (ways[to].from == SIZE_MAX || score > ways[to].score)
      ways[to] = {score, from, token};
  };
  for (size_t at = 0; at < word.size();) {
    size_t size = characterSize(static_cast<unsigned char>(word[at]));
    double score = ways[at].score;
    bool isKnown = false;
    trie_.prefixes(word.substr(at), [&](size_t length, uint32_t token) {
      offer(at, at + length, score + scores_[token], token);
      isKnown |= length == size;
    });
    if (!isKnown) {
      if (!unknown_)
        return noUnknown();
      offer(at, at + size, score + unknownScore, *unknown_);
    }
    at += size;
  }
  return success();
}

Status Unigram::put(std::string_view text, std::vector<uint32_t> &ids) const {
  if (std::optional<uint32_t> id = vocabulary_.find(text)) {
    ids.push_back(*id);
    return success();
  }
  bool isInBytes = fallsBackToBytes_ && std::all_of(text.begin(), text.end(), [&](char c) {
                     return bytes_[static_cast<unsigned char>(c)] != kNoByte;
                   });
  if (isInBytes) {
    for (char c : text)
      ids.push_back(bytes_[static_cast<unsigned char>(c)]);
    return success();
  }
  if (!unknown_)
    return noUnknown();
  ids.push_back(*unknown_);
  return success();
}

Status Unigram::tokenize(std::string_view word, std::vector<uint32_t> &ids) const {
  std::vector<Way> ways(word.size() + 1);
  LATHE_TRY(findWays(word, ways));
  std::vector<size_t> ends;
  for (size_t at = word.size(); at > 0; at = ways[at].from)
    ends.push_back(at);
  std::reverse(ends.begin(), ends.end());
  size_t begin = 0;
  for (size_t i = 0; i < ends.size(); ++i) {
    // Unknown characters in a row are one token.
    auto isUnknown = [&](size_t k) { return unknown_ && ways[ends[k]].token == *unknown_; };
    if (isUnknown(i))
      while (i + 1 < ends.size() && isUnknown(i + 1))
        ++i;
    LATHE_TRY(put(word.substr(begin, ends[i] - begin), ids));
    begin = ends[i];
  }
  return success();
}

} // namespace

Status tokenizer::readUnigram(const Node &node, std::unique_ptr<Model> *model) {
  auto unigram = std::make_unique<Unigram>();
  LATHE_TRY(unigram->read(node));
  *model = std::move(unigram);
  return success();
}
