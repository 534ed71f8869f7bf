//===- ByteLevel.cpp - Bytes as characters ----------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/tokenizer/ByteLevel.h"
#include "runtime/tokenizer/Unicode.h"

using namespace lathe;
using namespace lathe::tokenizer;

namespace {

struct ByteCharacters {
  char text[256][2];
  uint8_t size[256];
  int16_t byte[0x144]; ///< by character: 256 + 68 of them are not themselves

  ByteCharacters() {
    for (int16_t &b : byte)
      b = -1;
    char32_t next = 0x100;
    for (int b = 0; b < 256; ++b) {
      bool isPrintable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      char32_t c = isPrintable ? static_cast<char32_t>(b) : next++;
      std::string utf8;
      appendCharacter(utf8, c);
      size[b] = static_cast<uint8_t>(utf8.size());
      text[b][0] = utf8[0];
      text[b][1] = utf8.size() > 1 ? utf8[1] : 0;
      byte[c] = static_cast<int16_t>(b);
    }
  }
};

const ByteCharacters &table() {
  static const ByteCharacters characters;
  return characters;
}

enum Kind { kOther, kLetter, kNumber, kSpace };

/// A place in a text, with what stands there.
class Cursor {
public:
  Cursor(std::string_view text, const PropertyTable &properties) : text_(text), properties_(properties) { look(); }

  bool atEnd() const { return at == text_.size(); }
  char byte() const { return text_[at]; }
  void step() {
    at = next;
    look();
  }
  void moveTo(size_t place) {
    at = place;
    look();
  }

  size_t at = 0, next = 0;
  Kind kind = kOther;

private:
  void look() {
    next = at;
    if (atEnd())
      return;
    uint16_t properties = properties_[nextCharacter(text_, next)];
    kind = properties & kIsLetter   ? kLetter
           : properties & kIsNumber ? kNumber
           : properties & kIsSpace  ? kSpace
                                    : kOther;
  }

  std::string_view text_;
  const PropertyTable &properties_;
};

/// Size of the English ending, such as 's, at the front of `text`; 0 for none.
size_t endingSize(std::string_view text) {
  if (text.size() < 2 || text[0] != '\'')
    return 0;
  char a = text[1], b = text.size() > 2 ? text[2] : '\0';
  if (a == 's' || a == 't' || a == 'm' || a == 'd')
    return 2;
  return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

} // namespace

void tokenizer::appendByteLevel(std::string &out, std::string_view text) {
  const ByteCharacters &characters = table();
  for (char c : text) {
    auto b = static_cast<unsigned char>(c);
    out.append(characters.text[b], characters.size[b]);
  }
}

int tokenizer::byteOf(char32_t c) {
  const ByteCharacters &characters = table();
  return c < std::size(characters.byte) ? characters.byte[c] : -1;
}

void tokenizer::byteLevelWords(std::string_view text, std::vector<size_t> *ends) {
  Cursor cursor(text, PropertyTable::get());
  while (!cursor.atEnd()) {
    if (size_t size = endingSize(text.substr(cursor.at))) {
      cursor.moveTo(cursor.at + size);
      ends->push_back(cursor.at);
      continue;
    }
    Kind kind = cursor.kind;
    if (kind == kSpace) {
      // All of the row but its last character, unless the row ends the text or is one character; a blank that is left
      // goes with the word behind it.
      size_t begin = cursor.at, last = begin;
      bool isBlank = false;
      while (!cursor.atEnd() && cursor.kind == kSpace) {
        last = cursor.at;
        isBlank = cursor.byte() == ' ';
        cursor.step();
      }
      if (cursor.atEnd()) {
        ends->push_back(cursor.at);
        continue;
      }
      if (last != begin)
        ends->push_back(last);
      if (!isBlank) {
        ends->push_back(cursor.at);
        continue;
      }
      kind = cursor.kind;
    }
    while (!cursor.atEnd() && cursor.kind == kind)
      cursor.step();
    ends->push_back(cursor.at);
  }
}
