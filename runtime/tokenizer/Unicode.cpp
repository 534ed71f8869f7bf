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

using Range = uint32_t[2];
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
  const Range *ranges;
  size_t count;
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

bool isNewStarter(uint32_t c) {
  return findRange(kStarter, std::size(kStarter), c, [](const Range &range) { return std::pair(range[0], range[1]); });
}

} // namespace

PropertyTable::PropertyTable() {
  std::vector<uint16_t> all(0x110000);
  auto mark = [&](const Range *ranges, size_t count, uint16_t property) {
    for (size_t i = 0; i < count; ++i)
      for (uint32_t c = ranges[i][0]; c <= ranges[i][1]; ++c)
        all[c] |= property;
  };
  mark(kLetter, std::size(kLetter), kIsLetter);
  mark(kNumber, std::size(kNumber), kIsNumber);
  mark(kSpace, std::size(kSpace), kIsSpace);
  mark(kWord, std::size(kWord), kIsWord);
  mark(kNumeric, std::size(kNumeric), kIsNumeric);
  mark(kPunctuation, std::size(kPunctuation), kIsPunctuation);
  mark(kRemoved, std::size(kRemoved), kIsRemoved);
  mark(kAccent, std::size(kAccent), kIsAccent);
  mark(kMark, std::size(kMark), kIsMark);
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
    additions.push_back({named.name, named.ranges, named.count});
  return additions;
}

//===----------------------------------------------------------------------===//
// Normal forms
//===----------------------------------------------------------------------===//

namespace {

int combiningClass(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

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
  for (size_t at = plain; at < text.size();) {
    char32_t c = nextCharacter(text, at);
    if (isNewStarter(c)) {
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
