//===- AddedTokens.cpp - Tokens that are found in texts ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/tokenizer/AddedTokens.h"
#include "runtime/tokenizer/Unicode.h"

#include <algorithm>

using namespace lathe;
using namespace lathe::tokenizer;

namespace {

bool endsInWord(std::string_view text) {
  if (text.empty())
    return false;
  size_t at = previousStart(text, text.size());
  return hasProperty(nextCharacter(text, at), kIsWord);
}

bool beginsWithWord(std::string_view text) {
  size_t at = 0;
  return !text.empty() && hasProperty(nextCharacter(text, at), kIsWord);
}

/// Where the white space at the end of `text` begins, not before `limit`.
size_t spaceBefore(std::string_view text, size_t limit) {
  size_t begin = text.size();
  while (begin > limit) {
    size_t start = previousStart(text, begin), at = start;
    if (!hasProperty(nextCharacter(text, at), kIsSpace))
      break;
    begin = start;
  }
  return begin;
}

/// Where the white space of `text` at `at` ends.
size_t spaceBehind(std::string_view text, size_t at) {
  while (at < text.size()) {
    size_t next = at;
    if (!hasProperty(nextCharacter(text, next), kIsSpace))
      break;
    at = next;
  }
  return at;
}

} // namespace

Status AddedTokens::read(const Node &list, const Model &model, const Normalizer *normalizer) {
  if (list.isNull())
    return success();
  LATHE_TRY(list.list());
  const Vocabulary &own = model.vocabulary();
  for (size_t i = 0; i < list.size(); ++i) {
    Node node = list[i];
    Token token;
    uint32_t given = 0;
    LATHE_TRY(node["content"].read(&token.text));
    LATHE_TRY(node["id"].read(&given));
    LATHE_TRY(node["special"].read(&token.isSpecial));
    token.isNormalized = !token.isSpecial;
    LATHE_TRY(node["normalized"].readOptional(&token.isNormalized));
    LATHE_TRY(node["single_word"].readOptional(&token.isSingleWord));
    LATHE_TRY(node["lstrip"].readOptional(&token.stripsLeft));
    LATHE_TRY(node["rstrip"].readOptional(&token.stripsRight));
    if (token.text.empty())
      continue;
    if (vocabulary_.find(token.text))
      continue;
    // The package numbers tokens anew that the model does not have, as a file of its own does already.
    uint32_t next = tokens_.empty() ? 0 : vocabulary_.maxId() + 1;
    token.id = own.find(token.text).value_or(std::max(next, static_cast<uint32_t>(own.size())));
    if (token.id >= kMaxTokenId)
      return node.expected("one of fewer tokens");
    vocabulary_.add(token.text, token.id);
    if (token.isSpecial && special_.insert(token.id).second)
      specialIds_.push_back(token.id);
    std::string text = token.text;
    if (token.isNormalized && normalizer)
      LATHE_TRY(normalizer->apply(text));
    written_.emplace(token.id, text);
    auto index = static_cast<uint32_t>(tokens_.size());
    ByteTrie &trie = token.isNormalized ? normalized_ : raw_;
    if (!text.empty() && !trie.has(text))
      trie.add(text, index);
    tokens_.push_back(std::move(token));
  }
  return success();
}

std::string_view AddedTokens::textOf(uint32_t id) const {
  auto found = written_.find(id);
  return found == written_.end() ? std::string_view() : std::string_view(found->second);
}

size_t AddedTokens::countBeyond(const Vocabulary &model) const {
  return static_cast<size_t>(
      std::count_if(tokens_.begin(), tokens_.end(), [&](const Token &token) { return !model.find(token.text); }));
}

void AddedTokens::find(std::string_view text, const ByteTrie &trie, std::vector<Found> *parts) const {
  parts->clear();
  size_t done = 0;
  for (size_t at = 0; !trie.empty() && at < text.size();) {
    size_t size = 0;
    uint32_t index = 0;
    if (trie.startsWith(static_cast<unsigned char>(text[at])))
      trie.prefixes(text.substr(at), [&](size_t length, uint32_t value) {
        size = length;
        index = value;
      });
    if (!size) {
      ++at;
      continue;
    }
    const Token &token = tokens_[index];
    size_t begin = at, end = at + size;
    at = end;
    if (token.isSingleWord && (endsInWord(text.substr(0, begin)) || beginsWithWord(text.substr(end))))
      continue;
    // White space that the token before has taken may be a token itself, and is then there twice, as in the package.
    if (token.stripsLeft && begin > done)
      begin = spaceBefore(text.substr(0, begin), done);
    if (token.stripsRight)
      end = spaceBehind(text, end);
    if (done < begin)
      parts->push_back({done, begin, Piece::kNoToken});
    parts->push_back({begin, end, token.id});
    done = end;
  }
  if (done != text.size())
    parts->push_back({done, text.size(), Piece::kNoToken});
}

Status AddedTokens::cut(std::string_view text, const Normalizer *normalizer, Pieces *pieces) const {
  std::vector<Found> outer, inner;
  find(text, raw_, &outer);
  pieces->text.reserve(text.size());
  std::string between;
  for (const Found &part : outer) {
    size_t begin = pieces->text.size();
    if (part.id != Piece::kNoToken) {
      pieces->pieces.push_back({begin, begin, part.id});
      continue;
    }
    between.assign(text.substr(part.begin, part.end - part.begin));
    if (normalizer)
      LATHE_TRY(normalizer->apply(between));
    find(between, normalized_, &inner);
    pieces->text += between;
    for (const Found &piece : inner)
      pieces->pieces.push_back({begin + piece.begin, begin + piece.end, piece.id, part.begin == 0 && piece.begin == 0});
  }
  return success();
}
