//===- JsonMutator.cpp - Mutations of JSON documents ----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Values of a document are changed, removed, doubled, and put in the place of others, of the same document or of
// another one; sometimes its bytes are. What comes before the first brace stays, unless bytes are changed.
//
//===----------------------------------------------------------------------===//
#include "test/fuzz/Random.h"
#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

using lathe::fuzz::Random;
using Json = nlohmann::ordered_json;

extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t maxSize);

namespace {

/// A document and what precedes it; `json` is discarded where there is none.
struct Input {
  Input(const uint8_t *data, size_t size) {
    std::string_view all(reinterpret_cast<const char *>(data), size);
    size_t begin = std::min(all.find('{'), size);
    before = all.substr(0, begin);
    // Deeper ones are for the bytes' mutations: writing one takes the stack.
    bool tooDeep = false;
    auto look = [&](int depth, Json::parse_event_t, Json &) { return !(tooDeep = tooDeep || depth > 64); };
    json = Json::parse(all.substr(begin), look, /*allow_exceptions=*/false);
    if (tooDeep)
      json = Json(Json::value_t::discarded);
  }

  size_t write(uint8_t *data, size_t maxSize) const {
    std::string text = before + json.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (text.size() > maxSize)
      return 0;
    std::copy(text.begin(), text.end(), data);
    return text.size();
  }

  std::string before;
  Json json;
};

void collect(Json &value, std::vector<Json *> &values) {
  values.push_back(&value);
  if (value.is_structured())
    for (Json &member : value)
      collect(member, values);
}

class Mutator {
public:
  Mutator(Json &document, const Json *other, Random &random) : document(document), random(random) {
    if (other)
      donor = *other;
  }

  void run() {
    for (size_t count = 1 + random.pick(3); count > 0; --count) {
      values.clear();
      collect(document, values);
      change(*values[random.pick(values.size())]);
    }
  }

private:
  /// A copy of any value, of the other document where there is one.
  Json any() {
    if (donor.is_null())
      return *values[random.pick(values.size())];
    std::vector<Json *> others;
    collect(donor, others);
    return *others[random.pick(others.size())];
  }

  Json scalar() {
    switch (random.pick(6)) {
    case 0:
      return random.number();
    case 1:
      return static_cast<double>(random.number()) / 7;
    case 2:
      return random.pick(2) == 0;
    case 3:
      return random.pick(2) ? Json(nullptr) : Json(1e300);
    case 4:
      return random.pick(2) ? Json::array() : Json::object();
    default:
      static const char *const known[] = {"",          "a",
                                          "*",         "?",
                                          "[",         "\\",
                                          "(a|b)*",    "\\p{L}+",
                                          "2:4",       "0:0",
                                          "8:1",       "25MiB",
                                          "-1MiB",     "1e400GiB",
                                          "block:4x4", "block:0x9",
                                          "é",         "\u2581",
                                          "<0x41>",    "<0xZZ>",
                                          "AAAA",      "\xf0\x9f\x98\x80"};
      return known[random.pick(std::size(known))];
    }
  }

  void changeText(std::string &text) {
    size_t at = random.pick(text.size() + 1);
    switch (random.pick(4)) {
    case 0:
      text.insert(at, 1, static_cast<char>(32 + random.pick(95)));
      break;
    case 1:
      text.erase(at, 1 + random.pick(4));
      break;
    case 2:
      text += text.substr(at, 64);
      break;
    default:
      text.insert(at, "\xc3\xa9");
    }
  }

  void changeMembers(Json &value) {
    size_t at = random.pick(value.size());
    auto member = std::next(value.begin(), static_cast<ptrdiff_t>(at));
    switch (random.pick(3)) {
    case 0:
      value.erase(member);
      break;
    case 1:
      if (value.is_array())
        value.insert(member, any());
      else
        value[member.key()] = any();
      break;
    default:
      if (value.is_array()) {
        value.push_back(Json(*member));
      } else {
        std::string key = member.key();
        Json moved = *member;
        changeText(key);
        value[key] = std::move(moved);
      }
    }
  }

  void change(Json &value) {
    size_t choice = random.pick(8);
    if (choice == 0) {
      value = scalar();
    } else if (choice == 1) {
      value = any();
    } else if (value.is_structured() && !value.empty()) {
      changeMembers(value);
    } else if (value.is_string()) {
      changeText(value.get_ref<std::string &>());
    } else if (value.is_number_integer()) {
      value = random.pick(2) ? random.number() : static_cast<int64_t>(value.get<uint64_t>() + random.pick(5) - 2);
    } else {
      value = scalar();
    }
  }

  Json &document;
  Json donor;
  Random &random;
  std::vector<Json *> values;
};

} // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t maxSize, unsigned seed) {
  Random random(seed);
  Input input(data, size);
  if (input.json.is_discarded() || random.pick(5) == 0)
    return LLVMFuzzerMutate(data, size, maxSize);
  Mutator(input.json, nullptr, random).run();
  size_t written = input.write(data, maxSize);
  return written ? written : LLVMFuzzerMutate(data, size, maxSize);
}

extern "C" size_t LLVMFuzzerCustomCrossOver(const uint8_t *data1, size_t size1, const uint8_t *data2, size_t size2,
                                            uint8_t *out, size_t maxSize, unsigned seed) {
  Random random(seed);
  Input input(data1, size1), other(data2, size2);
  if (input.json.is_discarded() || other.json.is_discarded())
    return 0;
  Mutator(input.json, &other.json, random).run();
  return input.write(out, maxSize);
}
