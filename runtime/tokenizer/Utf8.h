//===- Utf8.h - Characters of texts -----------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// All texts inside the library are valid UTF-8: what comes from outside passes through appendValid.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_TOKENIZER_UTF8_H
#define LATHE_RUNTIME_TOKENIZER_UTF8_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lathe::tokenizer {

constexpr std::string_view kReplacementText = "\xEF\xBF\xBD"; ///< U+FFFD

/// Bytes of the character that begins with `lead`.
inline size_t characterSize(unsigned char lead) { return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4; }

/// The character at `at` of valid text; moves `at` behind it.
inline char32_t nextCharacter(std::string_view text, size_t &at) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
  unsigned char lead = byte(0);
  size_t size = characterSize(lead);
  char32_t c = lead;
  if (size == 2)
    c = (lead & 0x1Fu) << 6 | (byte(1) & 0x3Fu);
  else if (size == 3)
    c = (lead & 0x0Fu) << 12 | (byte(1) & 0x3Fu) << 6 | (byte(2) & 0x3Fu);
  else if (size == 4)
    c = (lead & 0x07u) << 18 | (byte(1) & 0x3Fu) << 12 | (byte(2) & 0x3Fu) << 6 | (byte(3) & 0x3Fu);
  at += size;
  return c;
}

/// Where the character that ends at `at`, not 0, begins.
inline size_t previousStart(std::string_view text, size_t at) {
  do
    --at;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
  return at;
}

inline size_t countCharacters(std::string_view text) {
  size_t count = 0;
  for (char c : text)
    count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return count;
}

void appendCharacter(std::string &out, char32_t c);

/// Size of the well-formed character at the front of `text`, which is not empty; 0 where there is none. `bad` is then
/// the size of what Unicode's "maximal subpart" practice replaces at once, and `isPrefix` whether the text ends within
/// a character that more bytes may complete.
size_t wellFormed(std::string_view text, size_t *bad = nullptr, bool *isPrefix = nullptr);

/// Appends `text` with U+FFFD for what is no UTF-8, as Python does with errors="replace".
void appendValid(std::string &out, std::string_view text);

bool isValid(std::string_view text);

} // namespace lathe::tokenizer

#endif // LATHE_RUNTIME_TOKENIZER_UTF8_H
