//===- Vocabulary.cpp - Tokens and their numbers ----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/tokenizer/Vocabulary.h"

#include <algorithm>
#define XXH_INLINE_ALL
#include <xxhash.h>

using namespace lathe;
using namespace lathe::tokenizer;

uint64_t tokenizer::hashOf(std::string_view text) { return XXH3_64bits(text.data(), text.size()); }

//===----------------------------------------------------------------------===//
// Vocabulary
//===----------------------------------------------------------------------===//

void Vocabulary::reserve(size_t tokens, size_t bytes) {
  entries_.reserve(tokens);
  byId_.reserve(tokens);
  bytes_.reserve(bytes + tokens);
}

void Vocabulary::grow() {
  size_t wanted = std::max<size_t>(slots_.size() * 2, 64);
  while (wanted < entries_.capacity() * 2)
    wanted *= 2;
  slots_.assign(wanted, kFree);
  mask_ = wanted - 1;
  for (uint32_t i = 0; i < entries_.size(); ++i) {
    size_t slot = hashOf(text(entries_[i])) & mask_;
    while (slots_[slot] != kFree)
      slot = (slot + 1) & mask_;
    slots_[slot] = i;
  }
}

void Vocabulary::add(std::string_view token, uint32_t id) {
  if ((entries_.size() + 1) * 2 > slots_.size())
    grow();
  maxId_ = std::max(maxId_, id);
  size_t slot = hashOf(token) & mask_;
  for (; slots_[slot] != kFree; slot = (slot + 1) & mask_)
    if (text(entries_[slots_[slot]]) == token) {
      entries_[slots_[slot]].id = id;
      byId_[id] = slots_[slot];
      return;
    }
  auto index = static_cast<uint32_t>(entries_.size());
  slots_[slot] = index;
  entries_.push_back({bytes_.size(), static_cast<uint32_t>(token.size()), id});
  bytes_.insert(bytes_.end(), token.begin(), token.end());
  bytes_.push_back(0);
  byId_[id] = index;
  longest_ = std::max(longest_, token.size());
}

std::string_view Vocabulary::text(uint32_t id) const {
  auto found = byId_.find(id);
  return found == byId_.end() ? std::string_view() : text(entries_[found->second]);
}

//===----------------------------------------------------------------------===//
// PairTable
//===----------------------------------------------------------------------===//

void PairTable::reserve(size_t count) {
  size_t wanted = 64;
  shift_ = 58;
  while (wanted < count * 2) {
    wanted *= 2;
    --shift_;
  }
  std::vector<Slot> old(wanted, Slot{kFree, {}});
  old.swap(slots_);
  mask_ = wanted - 1;
  for (const Slot &slot : old)
    if (slot.key != kFree) {
      size_t at = place(slot.key);
      while (slots_[at].key != kFree)
        at = (at + 1) & mask_;
      slots_[at] = slot;
    }
}

void PairTable::put(uint32_t a, uint32_t b, Value value) {
  if ((count_ + 1) * 2 > slots_.size())
    reserve(std::max<size_t>(count_ * 2, 32));
  uint64_t key = uint64_t(a) << 32 | b;
  size_t slot = place(key);
  while (slots_[slot].key != kFree && slots_[slot].key != key)
    slot = (slot + 1) & mask_;
  count_ += slots_[slot].key == kFree;
  slots_[slot] = {key, value};
}

//===----------------------------------------------------------------------===//
// ByteTrie
//===----------------------------------------------------------------------===//

void ByteTrie::add(std::string_view text, uint32_t value) {
  uint32_t node = 0;
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    uint32_t next = child(node, byte);
    if (next == kNone) {
      next = static_cast<uint32_t>(values_.size());
      edges_.put(node, byte, {0, next});
      values_.push_back(kNone);
    }
    node = next;
  }
  values_[node] = value;
}
