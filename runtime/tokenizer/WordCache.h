//===- WordCache.h - Words that were cut before -----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_TOKENIZER_WORDCACHE_H
#define LATHE_RUNTIME_TOKENIZER_WORDCACHE_H

#include "runtime/tokenizer/Vocabulary.h"

#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

namespace lathe::tokenizer {

/// Ids of short words. Of words that share a place the last one stays, so that the size is fixed.
class WordCache {
public:
  WordCache() : slots_(kSlots) {}

  static constexpr size_t kMaxSize = 48; ///< bytes of a word

  /// Appends the ids of `word` where it is known.
  bool find(std::string_view word, uint64_t hash, std::vector<uint32_t> &ids) const {
    const Slot &slot = slots_[hash & (kSlots - 1)];
    if (slot.size != word.size() || memcmp(slot.word, word.data(), word.size()) != 0)
      return false;
    ids.insert(ids.end(), slot.ids, slot.ids + slot.count);
    return true;
  }

  void put(std::string_view word, uint64_t hash, const uint32_t *ids, size_t count) {
    if (count > kMaxIds)
      return;
    Slot &slot = slots_[hash & (kSlots - 1)];
    slot.size = static_cast<uint8_t>(word.size());
    slot.count = static_cast<uint8_t>(count);
    memcpy(slot.word, word.data(), word.size());
    memcpy(slot.ids, ids, count * sizeof(uint32_t));
  }

private:
  static constexpr size_t kSlots = 1 << 14, kMaxIds = 16;
  struct Slot {
    uint8_t size = 0, count = 0; ///< no word is empty
    char word[kMaxSize];
    uint32_t ids[kMaxIds];
  };
  std::vector<Slot> slots_;
};

/// Caches for the calls that run at one time: each call borrows one, so words need no lock.
class WordCaches {
public:
  class Borrowed {
  public:
    explicit Borrowed(WordCaches &from) : from_(from), cache_(from.take()) {}
    ~Borrowed() { from_.giveBack(std::move(cache_)); }
    Borrowed(const Borrowed &) = delete;
    Borrowed &operator=(const Borrowed &) = delete;
    WordCache *operator->() const { return cache_.get(); }

  private:
    WordCaches &from_;
    std::unique_ptr<WordCache> cache_;
  };

private:
  std::unique_ptr<WordCache> take() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (free_.empty())
      return std::make_unique<WordCache>();
    std::unique_ptr<WordCache> cache = std::move(free_.back());
    free_.pop_back();
    return cache;
  }

  void giveBack(std::unique_ptr<WordCache> cache) {
    std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(cache));
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<WordCache>> free_;
};

} // namespace lathe::tokenizer

#endif // LATHE_RUNTIME_TOKENIZER_WORDCACHE_H
