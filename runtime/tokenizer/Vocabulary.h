//===- Vocabulary.h - Tokens and their numbers ------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_TOKENIZER_VOCABULARY_H
#define LATHE_RUNTIME_TOKENIZER_VOCABULARY_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace lathe::tokenizer {

uint64_t hashOf(std::string_view text);

/// Tokens by their text and by their id. Ids need not be dense. Texts stay where they are when the vocabulary is moved.
class Vocabulary {
public:
  void reserve(size_t tokens, size_t bytes);

  /// Adds a token; one with the same text takes its place.
  void add(std::string_view text, uint32_t id);

  std::optional<uint32_t> find(std::string_view text) const {
    if (slots_.empty())
      return std::nullopt;
    for (size_t slot = hashOf(text) & mask_; slots_[slot] != kFree; slot = (slot + 1) & mask_)
      if (this->text(entries_[slots_[slot]]) == text)
        return entries_[slots_[slot]].id;
    return std::nullopt;
  }

  /// The token's text, zero-terminated; one without data where no token has this id.
  std::string_view text(uint32_t id) const;

  /// Number of different texts.
  size_t size() const { return entries_.size(); }
  uint32_t maxId() const { return maxId_; }
  size_t longest() const { return longest_; } ///< in bytes

private:
  struct Entry {
    size_t begin;
    uint32_t size, id;
  };
  static constexpr uint32_t kFree = UINT32_MAX;

  std::string_view text(const Entry &entry) const { return {bytes_.data() + entry.begin, entry.size}; }
  void grow();

  std::vector<char> bytes_;
  std::vector<Entry> entries_;
  std::vector<uint32_t> slots_;
  std::unordered_map<uint32_t, uint32_t> byId_; ///< entries
  size_t mask_ = 0, longest_ = 0;
  uint32_t maxId_ = 0;
};

/// Numbers for pairs of numbers: open addressing, since a merge looks several up.
class PairTable {
public:
  struct Value {
    uint32_t rank, id;
  };

  void reserve(size_t count);
  void put(uint32_t a, uint32_t b, Value value);
  const Value *find(uint32_t a, uint32_t b) const {
    if (slots_.empty())
      return nullptr;
    uint64_t key = uint64_t(a) << 32 | b;
    for (size_t slot = place(key);; slot = (slot + 1) & mask_) {
      if (slots_[slot].key == key)
        return &slots_[slot].value;
      if (slots_[slot].key == kFree)
        return nullptr;
    }
  }

private:
  struct Slot {
    uint64_t key;
    Value value;
  };
  static constexpr uint64_t kFree = UINT64_MAX; ///< no pair: ids are lower

  size_t place(uint64_t key) const { return static_cast<size_t>((key * 0x9E3779B97F4A7C15u) >> shift_) & mask_; }

  std::vector<Slot> slots_;
  size_t mask_ = 0, count_ = 0;
  int shift_ = 0;
};

/// Texts by their first bytes.
class ByteTrie {
public:
  static constexpr uint32_t kNone = UINT32_MAX;

  void add(std::string_view text, uint32_t value);

  /// Calls `found(size, value)` for each text that `text` begins with, shorter ones first.
  template <typename Found> void prefixes(std::string_view text, Found found) const {
    uint32_t node = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      node = child(node, static_cast<unsigned char>(text[i]));
      if (node == kNone)
        return;
      if (values_[node] != kNone)
        found(i + 1, values_[node]);
    }
  }

  bool has(std::string_view text) const {
    bool isThere = false;
    prefixes(text, [&](size_t size, uint32_t) { isThere = size == text.size(); });
    return isThere;
  }

  bool startsWith(unsigned char byte) const { return child(0, byte) != kNone; }
  bool empty() const { return values_.size() == 1; }

private:
  uint32_t child(uint32_t node, unsigned char byte) const {
    const PairTable::Value *found = edges_.find(node, byte);
    return found ? found->id : kNone;
  }

  PairTable edges_;
  std::vector<uint32_t> values_ = {kNone};
};

} // namespace lathe::tokenizer

#endif // LATHE_RUNTIME_TOKENIZER_VOCABULARY_H
