//===- Bpe.cpp - Words cut by merging pairs ---------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// A word is cut into characters; then of all neighbours that the list of merges has, those that come first in the list
// are merged, the leftmost first, until there are none (Sennrich et al., 2016).
//
//===----------------------------------------------------------------------===//
#include "runtime/tokenizer/Model.h"
#include "runtime/tokenizer/Utf8.h"

#include <algorithm>
#include <queue>

using namespace lathe;
using namespace lathe::tokenizer;

namespace {

class Bpe : public Model {
public:
  Status read(const Node &node);
  Status tokenize(std::string_view word, std::vector<uint32_t> &ids) const override;

private:
  Status readMerges(const Node &list);
  void cutCharacters(std::string_view word, std::vector<uint32_t> &symbols) const;
  void mergeShort(std::vector<uint32_t> &symbols) const;
  void mergeLong(std::vector<uint32_t> &symbols) const;

  PairTable merges_;
  std::string prefix_, suffix_;
  bool fusesUnknown_ = false, fallsBackToBytes_ = false, ignoresMerges_ = false;
  uint32_t bytes_[256];
};

/// A word up to this many characters is merged by looking through all pairs, which is faster there than a queue.
constexpr size_t kShortWord = 40;
constexpr uint32_t kNoRank = UINT32_MAX;

Status Bpe::read(const Node &node) {
  LATHE_TRY(readVocabulary(node["vocab"]));
  double dropout = 0;
  LATHE_TRY(node["dropout"].readOptional(&dropout));
  if (dropout != 0)
    return node["dropout"].unsupported("cutting words at random");
  LATHE_TRY(node["continuing_subword_prefix"].readOptional(&prefix_));
  LATHE_TRY(node["end_of_word_suffix"].readOptional(&suffix_));
  LATHE_TRY(node["fuse_unk"].readOptional(&fusesUnknown_));
  LATHE_TRY(node["byte_fallback"].readOptional(&fallsBackToBytes_));
  LATHE_TRY(node["ignore_merges"].readOptional(&ignoresMerges_));
  std::string unknown;
  if (!node["unk_token"].isNull()) {
    LATHE_TRY(node["unk_token"].read(&unknown));
    unknown_ = vocabulary_.find(unknown);
    if (!unknown_)
      return node["unk_token"].expected("a token of the vocabulary");
  }
  findBytes(bytes_);
  return readMerges(node["merges"]);
}

/// Each merge is a pair of texts, or one text with a blank between the two.
Status Bpe::readMerges(const Node &list) {
  LATHE_TRY(list.list());
  merges_.reserve(list.size());
  std::string joined;
  uint32_t rank = 0;
  for (size_t i = 0; i < list.size(); ++i) {
    const Json &merge = list.value()[i];
    std::string_view left, right;
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = *merge[0].get_ptr<const std::string *>();
      right = *merge[1].get_ptr<const std::string *>();
    } else if (merge.is_string()) {
      std::string_view text = *merge.get_ptr<const std::string *>();
      if (text.substr(0, 8) == "#version")
        continue;
      size_t blank = text.find(' ');
      if (blank == std::string_view::npos || text.find(' ', blank + 1) != std::string_view::npos)
        return list[i].expected("two texts with a blank between");
      left = text.substr(0, blank);
      right = text.substr(blank + 1);
    } else {
      return list[i].expected("a pair of texts");
    }
    std::optional<uint32_t> a = vocabulary_.find(left), b = vocabulary_.find(right);
    // The right one goes on within a word: its mark is not part of the whole.
    joined.assign(left);
    bool isMerge = a && b && right.size() >= prefix_.size();
    if (isMerge)
      joined += right.substr(prefix_.size());
    std::optional<uint32_t> whole = isMerge ? vocabulary_.find(joined) : std::nullopt;
    if (!whole)
      return list[i].expected("two tokens of the vocabulary that make a third");
    merges_.put(*a, *b, {rank++, *whole});
  }
  return success();
}

void Bpe::cutCharacters(std::string_view word, std::vector<uint32_t> &symbols) const {
  std::string marked;
  std::optional<uint32_t> unknown; // not put down yet: the next may join it
  for (size_t at = 0; at < word.size();) {
    size_t begin = at;
    at += characterSize(static_cast<unsigned char>(word[at]));
    std::string_view symbol = word.substr(begin, at - begin);
    bool isFirst = begin == 0, isLast = at == word.size();
    if ((!isFirst && !prefix_.empty()) || (isLast && !suffix_.empty())) {
      marked.assign(isFirst ? std::string_view() : prefix_);
      marked += symbol;
      if (isLast)
        marked += suffix_;
      symbol = marked;
    }
    if (std::optional<uint32_t> id = vocabulary_.find(symbol)) {
      if (unknown)
        symbols.push_back(*unknown);
      unknown.reset();
      symbols.push_back(*id);
      continue;
    }
    bool isInBytes = fallsBackToBytes_ && std::all_of(symbol.begin(), symbol.end(), [&](char c) {
                       return bytes_[static_cast<unsigned char>(c)] != kNoByte;
                     });
    if (isInBytes) {
      // An unknown token that waits comes behind them, as the package has it.
      for (char c : symbol)
        symbols.push_back(bytes_[static_cast<unsigned char>(c)]);
    } else if (unknown_) {
      if (unknown && !fusesUnknown_)
        symbols.push_back(*unknown);
      unknown = unknown_;
    }
  }
  if (unknown)
    symbols.push_back(*unknown);
}

void Bpe::mergeShort(std::vector<uint32_t> &symbols) const {
  uint32_t ranks[kShortWord], wholes[kShortWord];
  size_t count = symbols.size();
  auto look = [&](size_t i) {
    const PairTable::Value *merge = merges_.find(symbols[i], symbols[i + 1]);
    ranks[i] = merge ? merge->rank : kNoRank;
    wholes[i] = merge ? merge->id : 0;
  };
  for (size_t i = 0; i + 1 < count; ++i)
    look(i);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i)
      if (ranks[i] < ranks[best])
        best = i;
    if (ranks[best] == kNoRank)
      break;
    symbols[best] = wholes[best];
    for (size_t i = best + 1; i + 1 < count; ++i) {
      symbols[i] = symbols[i + 1];
      ranks[i] = ranks[i + 1];
      wholes[i] = wholes[i + 1];
    }
    --count;
    if (best > 0)
      look(best - 1);
    if (best + 1 < count)
      look(best);
  }
  symbols.resize(count);
}

/// With a queue of merges over a linked list; merges whose symbols have changed meanwhile are passed over.
void Bpe::mergeLong(std::vector<uint32_t> &symbols) const {
  constexpr size_t kNone = SIZE_MAX;
  struct Candidate {
    uint32_t rank, whole;
    size_t at;
    bool operator<(const Candidate &other) const { // the queue gives the greatest
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  constexpr uint32_t kGone = UINT32_MAX;
  std::vector<size_t> previous(symbols.size()), next(symbols.size());
  std::vector<Candidate> first;
  for (size_t i = 0; i < symbols.size(); ++i) {
    previous[i] = i ? i - 1 : kNone;
    next[i] = i + 1 < symbols.size() ? i + 1 : kNone;
    if (next[i] != kNone)
      if (const PairTable::Value *merge = merges_.find(symbols[i], symbols[i + 1]))
        first.push_back({merge->rank, merge->id, i});
  }
  std::priority_queue<Candidate> queue(std::less<Candidate>(), std::move(first));
  auto offer = [&](size_t at) {
    if (at == kNone || next[at] == kNone)
      return;
    if (const PairTable::Value *merge = merges_.find(symbols[at], symbols[next[at]]))
      queue.push({merge->rank, merge->id, at});
  };
  while (!queue.empty()) {
    Candidate top = queue.top();
    queue.pop();
    size_t right = symbols[top.at] == kGone ? kNone : next[top.at];
    if (right == kNone)
      continue;
    const PairTable::Value *merge = merges_.find(symbols[top.at], symbols[right]);
    if (!merge || merge->id != top.whole)
      continue;
    symbols[top.at] = top.whole;
    symbols[right] = kGone;
    next[top.at] = next[right];
    if (next[right] != kNone)
      previous[next[right]] = top.at;
    offer(previous[top.at]);
    offer(top.at);
  }
  symbols.erase(std::remove(symbols.begin(), symbols.end(), kGone), symbols.end());
}

Status Bpe::tokenize(std::string_view word, std::vector<uint32_t> &ids) const {
  if (ignoresMerges_)
    if (std::optional<uint32_t> id = vocabulary_.find(word)) {
      ids.push_back(*id);
      return success();
    }
  std::vector<uint32_t> symbols;
  symbols.reserve(word.size());
  cutCharacters(word, symbols);
  symbols.size() <= kShortWord ? mergeShort(symbols) : mergeLong(symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
  return success();
}

} // namespace

Status tokenizer::readBpe(const Node &node, std::unique_ptr<Model> *model) {
  auto bpe = std::make_unique<Bpe>();
  LATHE_TRY(bpe->read(node));
  *model = std::move(bpe);
  return success();
}
