//===- Utf8.cpp - Characters of texts ---------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/tokenizer/Utf8.h"

#include <cstring>

using namespace lathe;
using namespace lathe::tokenizer;

void tokenizer::appendCharacter(std::string &out, char32_t c) {
  auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

size_t tokenizer::wellFormed(std::string_view text, size_t *bad, bool *isPrefix) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  auto fails = [&](size_t size, bool more) -> size_t {
    if (bad)
      *bad = size;
    if (isPrefix)
      *isPrefix = more;
    return 0;
  };
  unsigned char lead = byte(0);
  if (lead < 0x80)
    return 1;
  if (lead < 0xC2 || lead > 0xF4)
    return fails(1, false);
  size_t size = characterSize(lead);
  // The second byte must not make an overlong form, a surrogate, or a number above U+10FFFF.
  unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (size_t i = 1; i < size; ++i) {
    if (i == text.size())
      return fails(i, true);
    if (byte(i) < low || byte(i) > high)
      return fails(i, false);
    low = 0x80;
    high = 0xBF;
  }
  return size;
}

void tokenizer::appendValid(std::string &out, std::string_view text) {
  size_t from = 0, at = 0;
  while (at < text.size()) {
    uint64_t eight;
    if (at + sizeof(eight) <= text.size()) {
      memcpy(&eight, text.data() + at, sizeof(eight));
      if (!(eight & 0x8080808080808080u)) {
        at += sizeof(eight);
        continue;
      }
    }
    size_t bad = 0;
    size_t size = wellFormed(text.substr(at), &bad);
    if (!size) {
      out.append(text, from, at - from);
      out += kReplacementText;
      from = at + bad;
    }
    at += size ? size : bad;
  }
  out.append(text, from, at - from);
}

bool tokenizer::isValid(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    size_t size = wellFormed(text.substr(at));
    if (!size)
      return false;
    at += size;
  }
  return true;
}
