//===- Precompiled.cpp - SentencePiece's table of replacements --*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// The table is a double array (Darts-clone's units of 32 bits) over the texts to replace, whose values are offsets of
// zero-terminated replacements that follow it.
//
//===----------------------------------------------------------------------===//
#include "runtime/tokenizer/Normalizer.h"
#include "runtime/tokenizer/Unicode.h"

#include <array>
#include <optional>
#include <vector>

using namespace lathe;
using namespace lathe::tokenizer;

namespace {

class Precompiled : public Normalizer {
public:
  std::vector<uint32_t> units;
  std::string replacements; ///< ends with a zero

  Status apply(std::string &text) const override {
    std::string out;
    out.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
      size_t end = clusterEnd(text, at);
      std::string_view cluster(text.data() + at, end - at);
      // The limit is the package's.
      std::optional<std::string_view> whole = cluster.size() < 6 ? find(cluster) : std::nullopt;
      if (whole)
        out += *whole;
      for (size_t i = whole ? cluster.size() : 0; i < cluster.size();) {
        std::string_view character = cluster.substr(i, characterSize(static_cast<unsigned char>(cluster[i])));
        out += find(character).value_or(character);
        i += character.size();
      }
      at = end;
    }
    text = std::move(out);
    return success();
  }

private:
  /// What the shortest text of the table that `text` begins with becomes.
  std::optional<std::string_view> find(std::string_view text) const {
    auto offset = [](uint32_t unit) { return static_cast<size_t>(unit >> 10) << ((unit & (1u << 9)) >> 6); };
    if (units.empty())
      return std::nullopt;
    size_t at = offset(units[0]);
    for (char c : text) {
      auto byte = static_cast<unsigned char>(c);
      at ^= byte;
      if (byte == 0 || at >= units.size() || (units[at] & (1u << 31 | 0xFF)) != byte)
        return std::nullopt;
      bool hasLeaf = units[at] >> 8 & 1;
      at ^= offset(units[at]);
      if (hasLeaf) {
        size_t begin = at < units.size() ? units[at] & ((1u << 31) - 1) : replacements.size();
        if (begin >= replacements.size())
          return std::nullopt;
        return std::string_view(replacements.c_str() + begin);
      }
    }
    return std::nullopt;
  }
};

/// Nothing where `text` is no base64.
std::optional<std::string> fromBase64(std::string_view text) {
  static const std::array<int8_t, 256> kDigits = [] {
    std::array<int8_t, 256> digits;
    digits.fill(-1);
    constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < kAlphabet.size(); ++i)
      digits[static_cast<unsigned char>(kAlphabet[i])] = static_cast<int8_t>(i);
    return digits;
  }();
  if (text.size() % 4)
    return std::nullopt;
  for (int i = 0; i < 2 && !text.empty() && text.back() == '='; ++i)
    text.remove_suffix(1);
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (char c : text) {
    int digit = kDigits[static_cast<unsigned char>(c)];
    if (digit < 0)
      return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    if ((count += 6) >= 8)
      out.push_back(static_cast<char>(bits >> (count -= 8)));
  }
  return out;
}

uint32_t littleEndian(const char *bytes) {
  uint32_t value = 0;
  for (int i = 3; i >= 0; --i)
    value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

} // namespace

Status tokenizer::readPrecompiled(const Node &node, std::unique_ptr<Normalizer> *normalizer) {
  auto precompiled = std::make_unique<Precompiled>();
  Node member = node["precompiled_charsmap"];
  std::string text;
  // Null is an empty table in files of old versions.
  LATHE_TRY(member.readOptional(&text));
  if (!text.empty()) {
    std::optional<std::string> bytes = fromBase64(text);
    if (!bytes)
      return failure(LATHE_INVALID_ARTIFACT, "'", member.path(), "' is no base64");
    size_t size = bytes->size() < 4 ? SIZE_MAX : littleEndian(bytes->data());
    if (size > bytes->size() - 4 || size % 4)
      return failure(LATHE_INVALID_ARTIFACT, "'", member.path(), "' is truncated: its table does not fit into its ",
                     bytes->size(), " bytes");
    for (size_t i = 0; i < size; i += 4)
      precompiled->units.push_back(littleEndian(bytes->data() + 4 + i));
    precompiled->replacements = bytes->substr(4 + size);
    if (!isValid(precompiled->replacements))
      return failure(LATHE_INVALID_ARTIFACT, "'", member.path(), "' has replacements that are no UTF-8");
    precompiled->replacements.push_back(0);
  }
  *normalizer = std::move(precompiled);
  return success();
}
