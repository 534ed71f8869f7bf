//===- Unicode.cpp - Properties of characters -------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/tokenizer/Unicode.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <utf8proc.h>

using namespace lathe;
using namespace lathe::tokenizer;

namespace {

/// First and last code points, one after the other.
struct Ranges {
  template <size_t N> constexpr Ranges(const uint32_t (&table)[N]) : table(table), count(N / 2) {}

  bool has(uint32_t c) const {
    const uint32_t *end = table + count * 2;
    // The first bound above: the end of a range where its place is odd.
    auto above = std::upper_bound(table, end, c) - table;
    return above % 2 || (above && table[above - 1] == c);
  }

  const uint32_t *table;
  size_t count;
};
struct LowerRun {
  uint32_t first, last, step;
  int32_t delta;
};
struct ScriptRange {
  uint32_t first, last;
  int script;
};
struct NamedRanges {
  const char *name;
  Ranges ranges;
};

#include "runtime/tokenizer/UnicodeTables.inc"

/// The element of a sorted table whose range holds `c`, or null.
template <typename Element, typename Bounds>
const Element *findRange(const Element *table, size_t count, uint32_t c, Bounds bounds) {
  const Element *end = table + count;
  const Element *found = std::upper_bound(
      table, end, c, [&](uint32_t value, const Element &element) { return value < bounds(element).first; });
  if (found == table || bounds(*--found).second < c)
    return nullptr;
  return found;
}

template <typename Element> std::pair<uint32_t, uint32_t> boundsOf(const Element &e) { return {e.first, e.last}; }

} // namespace

PropertyTable::PropertyTable() {
  std::vector<uint16_t> all(0x110000);
  auto mark = [&](Ranges ranges, uint16_t property) {
    for (size_t i = 0; i < ranges.count; ++i)
      for (uint32_t c = ranges.table[2 * i]; c <= ranges.table[2 * i + 1]; ++c)
        all[c] |= property;
  };
  mark(kLetter, kIsLetter);
  mark(kNumber, kIsNumber);
  mark(kSpace, kIsSpace);
  mark(kWord, kIsWord);
  mark(kNumeric, kIsNumeric);
  mark(kPunctuation, kIsPunctuation);
  mark(kRemoved, kIsRemoved);
  mark(kAccent, kIsAccent);
  mark(kMark, kIsMark);
  std::map<std::string_view, uint16_t> known;
  pages_.reserve(0x1100); // no page moves: the map refers to them
  for (size_t i = 0; i < std::size(page_); ++i) {
    Page page;
    memcpy(page.values, all.data() + i * 256, sizeof(page.values));
    pages_.push_back(page);
    std::string_view bytes(reinterpret_cast<const char *>(pages_.back().values), sizeof(page.values));
    auto [at, isNew] = known.emplace(bytes, static_cast<uint16_t>(pages_.size() - 1));
    if (!isNew)
      pages_.pop_back();
    page_[i] = at->second;
  }
}

const PropertyTable &PropertyTable::get() {
  static const PropertyTable table;
  return table;
}

void tokenizer::appendLower(std::string &out, char32_t c) {
  if (c < 0x80) {
    out.push_back(static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c));
    return;
  }
  if (c == 0x130) { // the one whose lower case is longer
    out += "i\xCC\x87";
    return;
  }
  const LowerRun *run = findRange(kLower, std::size(kLower), c, boundsOf<LowerRun>);
  bool changes = run && (c - run->first) % run->step == 0;
  appendCharacter(out, changes ? static_cast<char32_t>(static_cast<int32_t>(c) + run->delta) : c);
}

int tokenizer::scriptOf(char32_t c) {
  const ScriptRange *range = findRange(kScripts, std::size(kScripts), c, boundsOf<ScriptRange>);
  return range ? range->script : 0;
}

std::vector<PropertyAddition> tokenizer::newProperties() {
  std::vector<PropertyAddition> additions;
  for (const NamedRanges &named : kNewProperties)
    additions.push_back({named.name, named.ranges.table, named.ranges.count});
  return additions;
}

//===----------------------------------------------------------------------===//
// Normal forms
//===----------------------------------------------------------------------===//

namespace {

int combiningClass(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

/// Characters that the library decomposes, composes or reorders, being newer than what the package knows. They are left
/// alone, and what is around them does not meet over them. In order.
const std::vector<uint32_t> &newCharacters() {
  static const std::vector<uint32_t> characters = [] {
    const Ranges reordered(kReordered), decomposed(kDecomposed);
    std::vector<uint32_t> found;
    for (uint32_t c = 0x80; c < 0x110000; ++c) {
      const utf8proc_property_t *property = utf8proc_get_property(static_cast<utf8proc_int32_t>(c));
      if (property->combining_class && !reordered.has(c))
        found.push_back(c);
      if (property->decomp_seqindex == UINT16_MAX || decomposed.has(c))
        continue;
      found.push_back(c);
      // Nor is it composed: the first of its parts is as new.
      utf8proc_int32_t parts[32];
      if (property->decomp_type == 0 &&
          utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts, 32, UTF8PROC_DECOMPOSE, nullptr) > 0)
        found.push_back(static_cast<uint32_t>(parts[0]));
    }
    std::sort(found.begin(), found.end());
    return found;
  }();
  return characters;
}

/// Orders marks by their classes and leaves those of one class in their order.
void sortMarks(utf8proc_int32_t *marks, size_t count) {
  struct Mark {
    int order;
    size_t place;
    utf8proc_int32_t character;
  };
  std::vector<Mark> sorted(count);
  for (size_t i = 0; i < count; ++i)
    sorted[i] = {combiningClass(marks[i]), i, marks[i]};
  std::sort(sorted.begin(), sorted.end(),
            [](const Mark &a, const Mark &b) { return a.order != b.order ? a.order < b.order : a.place < b.place; });
  for (size_t i = 0; i < count; ++i)
    marks[i] = sorted[i].character;
}

/// Normalizes a text without characters that are to be left alone. The library's own reordering takes quadratic time on
/// long rows of marks, so rows are sorted here; it composes afterwards.
void normalizePart(std::vector<utf8proc_int32_t> &part, Form form, std::string &out) {
  bool composes = form == Form::C || form == Form::KC, isCompatible = form == Form::KC || form == Form::KD;
  auto options = static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | (isCompatible ? UTF8PROC_COMPAT : 0));
  std::vector<utf8proc_int32_t> decomposed;
  decomposed.reserve(part.size() + part.size() / 4);
  for (utf8proc_int32_t c : part) {
    utf8proc_int32_t buffer[32];
    utf8proc_ssize_t count = utf8proc_decompose_char(c, buffer, std::size(buffer), options, nullptr);
    if (count > 0 && count <= static_cast<utf8proc_ssize_t>(std::size(buffer)))
      decomposed.insert(decomposed.end(), buffer, buffer + count);
    else
      decomposed.push_back(c);
  }
  for (size_t i = 0; i < decomposed.size();) {
    size_t end = i;
    while (end < decomposed.size() && combiningClass(decomposed[end]))
      ++end;
    if (end - i > 1)
      sortMarks(decomposed.data() + i, end - i);
    i = std::max(end, i + 1);
  }
  size_t count = decomposed.size();
  if (composes && count > 1)
    count = static_cast<size_t>(
        utf8proc_normalize_utf32(decomposed.data(), static_cast<utf8proc_ssize_t>(count),
                                 static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE)));
  for (size_t i = 0; i < count; ++i)
    appendCharacter(out, static_cast<char32_t>(decomposed[i]));
  part.clear();
}

} // namespace

void tokenizer::normalize(std::string &text, Form form) {
  size_t plain = 0; // ASCII is in every form
  while (plain < text.size() && static_cast<unsigned char>(text[plain]) < 0x80)
    ++plain;
  if (plain == text.size())
    return;
  plain = plain ? plain - 1 : 0; // the last one may take marks
  std::string out(text, 0, plain);
  out.reserve(text.size());
  std::vector<utf8proc_int32_t> part;
  const std::vector<uint32_t> &unknown = newCharacters();
  for (size_t at = plain; at < text.size();) {
    char32_t c = nextCharacter(text, at);
    if (c >= 0x80 && std::binary_search(unknown.begin(), unknown.end(), c)) {
      normalizePart(part, form, out);
      appendCharacter(out, c);
    } else {
      part.push_back(static_cast<utf8proc_int32_t>(c));
    }
  }
  normalizePart(part, form, out);
  text = std::move(out);
}

size_t tokenizer::clusterEnd(std::string_view text, size_t at) {
  utf8proc_int32_t state = 0;
  char32_t last = nextCharacter(text, at);
  while (at < text.size()) {
    size_t next = at;
    char32_t c = nextCharacter(text, next);
    if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(last), static_cast<utf8proc_int32_t>(c), &state))
      break;
    last = c;
    at = next;
  }
  return at;
}
