//===- Unicode.h - Properties of characters ---------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_TOKENIZER_UNICODE_H
#define LATHE_RUNTIME_TOKENIZER_UNICODE_H

#include "runtime/tokenizer/Utf8.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace lathe::tokenizer {

/// What the parts of tokenizers ask of a character; scripts/unicode_tables.py says how each is defined.
enum Property : uint16_t {
  kIsLetter = 1 << 0,
  kIsNumber = 1 << 1,
  kIsSpace = 1 << 2,
  kIsWord = 1 << 3,
  kIsNumeric = 1 << 4,
  kIsPunctuation = 1 << 5,
  kIsRemoved = 1 << 6, ///< a control, to BertNormalizer
  kIsAccent = 1 << 7,  ///< which BertNormalizer strips
  kIsMark = 1 << 8,    ///< which StripAccents strips
};

/// Properties of all characters, in pages that equal ones share.
class PropertyTable {
public:
  static const PropertyTable &get();

  uint16_t operator[](char32_t c) const { return pages_[page_[c >> 8]][c & 0xFF]; }

private:
  PropertyTable();

  struct Page {
    uint16_t values[256];
    uint16_t operator[](size_t i) const { return values[i]; }
  };
  uint16_t page_[0x1100];
  std::vector<Page> pages_;
};

inline bool hasProperty(char32_t c, uint16_t properties) { return PropertyTable::get()[c] & properties; }

/// Appends the lower case of `c`, which may be two characters.
void appendLower(std::string &out, char32_t c);

/// Number of the script of `c` as UnicodeScripts divides them; 0 for characters that go with any.
int scriptOf(char32_t c);

/// Ranges of code points that regular expressions take for members of a property although a library's own tables may be
/// too old to. `names` in the order of the table.
struct PropertyAddition {
  const char *name;
  const uint32_t *ranges; ///< first and last ones
  size_t count;
};
std::vector<PropertyAddition> newProperties();

enum class Form { C, D, KC, KD };

/// Brings valid text into a normal form.
void normalize(std::string &text, Form form);

/// End of the extended grapheme cluster that begins at `at`.
size_t clusterEnd(std::string_view text, size_t at);

} // namespace lathe::tokenizer

#endif // LATHE_RUNTIME_TOKENIZER_UNICODE_H
