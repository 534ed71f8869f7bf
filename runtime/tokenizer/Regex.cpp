//===- Regex.cpp - Regular expressions and texts to look for ----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/tokenizer/Regex.h"
#include "runtime/tokenizer/Unicode.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <oniguruma.h>

using namespace lathe;
using namespace lathe::tokenizer;

namespace {

const OnigUChar *bytes(const char *text) { return reinterpret_cast<const OnigUChar *>(text); }

/// Names under which the library knows the members that newer versions of Unicode add to a property.
std::string additionName(std::string name) {
  for (char &c : name)
    c = static_cast<char>(tolower(static_cast<unsigned char>(c)));
  return "lathenew" + name;
}

/// Initialises the library and defines the additions, once in a process. Gives the names of properties that have some.
const std::map<std::string, std::string> &additions() {
  static const std::map<std::string, std::string> names = [] {
    std::map<std::string, std::string> result;
    OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
    onig_initialize(encodings, 1);
    // The library keeps pointers to what it is given.
    static std::vector<std::vector<OnigCodePoint>> kept;
    for (const PropertyAddition &addition : newProperties()) {
      std::vector<OnigCodePoint> ranges = {static_cast<OnigCodePoint>(addition.count)};
      ranges.insert(ranges.end(), addition.ranges, addition.ranges + 2 * addition.count);
      kept.push_back(std::move(ranges));
      std::string name = additionName(addition.name);
      if (onig_unicode_define_user_property(name.c_str(), kept.back().data()) == 0) {
        std::string key = name.substr(8);
        result[key] = name;
      }
    }
    for (auto [other, name] :
         {std::pair("letter", "l"), std::pair("number", "n"), std::pair("mark", "m"), std::pair("punctuation", "p"),
          std::pair("symbol", "s"), std::pair("uppercaseletter", "lu"), std::pair("lowercaseletter", "ll"),
          std::pair("otherletter", "lo"), std::pair("decimalnumber", "nd"), std::pair("nonspacingmark", "mn")})
      if (auto known = result.find(name); known != result.end())
        result[other] = known->second;
    return result;
  }();
  return names;
}

/// A property in an expression: \\p{Name}, \\w, \\d or a negation of them.
struct Property {
  size_t end = 0;       ///< behind it
  std::string name;     ///< as in the table of additions; empty for anything else
  std::string positive; ///< the same without a negation
  bool isNegated = false, isWordClass = false;
};

Property readProperty(const std::string &source, size_t at) {
  Property property;
  property.end = at + 2;
  char kind = source[at + 1];
  property.isNegated = kind == 'P' || kind == 'W' || kind == 'D';
  if (kind == 'w' || kind == 'W' || kind == 'd' || kind == 'D') {
    bool isWord = kind == 'w' || kind == 'W';
    property.name = isWord ? "word" : "digit";
    property.positive = isWord ? "\\w" : "\\d";
    property.isWordClass = true;
  } else if ((kind == 'p' || kind == 'P') && property.end < source.size() && source[property.end] == '{') {
    size_t from = property.end + 1, close = source.find('}', from);
    if (close == std::string::npos)
      return property;
    if (source[from] == '^') {
      property.isNegated = !property.isNegated;
      ++from;
    }
    for (char c : source.substr(from, close - from))
      if (c != ' ' && c != '_' && c != '-')
        property.name += static_cast<char>(tolower(static_cast<unsigned char>(c)));
    property.positive = "\\p{" + property.name + "}";
    property.end = close + 1;
  }
  return property;
}

/// The expression with the additions beside each property that has them: the library's tables may be older than the
/// ones that a tokenizer was made with.
std::string withAdditions(const std::string &source) {
  const auto &names = additions();
  std::string out;
  int depth = 0; // of sets
  for (size_t i = 0; i < source.size(); ++i) {
    char c = source[i];
    if (c != '\\' || i + 1 == source.size()) {
      out += c;
      if (c == '[' && depth && i + 1 < source.size() && source[i + 1] == ':') {
        // [:alpha:]
        size_t close = source.find(":]", i + 2);
        if (close != std::string::npos) {
          out.append(source, i + 1, close + 1 - i);
          i = close + 1;
          continue;
        }
      }
      if (c == '[') {
        ++depth;
        // A bracket that comes first in a set is one of its members.
        if (i + 1 < source.size() && source[i + 1] == '^')
          out += source[++i];
        if (i + 1 < source.size() && source[i + 1] == ']')
          out += source[++i];
      } else if (c == ']' && depth) {
        --depth;
      }
      continue;
    }
    if (auto word = names.find("word");
        !depth && word != names.end() && (source[i + 1] == 'b' || source[i + 1] == 'B')) {
      // Between a character of words and another, or not.
      std::string in = "\\w|\\p{" + word->second + "}", behind = "(?<=" + in + ")", notBehind = "(?<!" + in + ")";
      bool isEdge = source[++i] == 'b';
      out += "(?:" + behind + (isEdge ? "(?!" : "(?=") + in + ")|" + notBehind + (isEdge ? "(?=" : "(?!") + in + "))";
      continue;
    }
    Property property = readProperty(source, i);
    auto known = names.find(property.name);
    if (property.name.empty() || known == names.end()) {
      out.append(source, i, property.end - i);
    } else {
      std::string added = "\\p{" + known->second + "}";
      // \w and [\w] are not the same for some characters below U+0100, so the one must not become the other.
      if (property.isWordClass && !depth)
        out += property.isNegated ? "(?:(?!" + added + ")" + source.substr(i, 2) + ")"
                                  : "(?:" + property.positive + "|" + added + ")";
      else
        out += (property.isNegated ? "[^" : "[") + property.positive + added + "]";
    }
    i = property.end - 1;
  }
  return out;
}

/// The library's limit of steps back, for one match, is a million or ten; a text may be longer than that.
struct MatchParameters {
  MatchParameters() : value(onig_new_match_param()) {
    onig_initialize_match_param(value);
    onig_set_retry_limit_in_match_of_match_param(value, 1ul << 30);
  }
  ~MatchParameters() { onig_free_match_param(value); }
  OnigMatchParam *value;
};

} // namespace

void Pattern::Free::operator()(re_pattern_buffer *regex) const { onig_free(regex); }

Status Pattern::literal(const std::string &text, const std::string &where, Pattern *pattern) {
  if (text.empty())
    return regex("", where, pattern);
  pattern->literal_ = text;
  return success();
}

Status Pattern::regex(const std::string &source, const std::string &where, Pattern *pattern) {
  std::string wanted = withAdditions(source);
  OnigRegex compiled = nullptr;
  OnigErrorInfo info = {};
  const OnigUChar *begin = bytes(wanted.c_str());
  int code = onig_new(&compiled, begin, begin + wanted.size(), ONIG_OPTION_NONE, ONIG_ENCODING_UTF8,
                      ONIG_SYNTAX_ONIGURUMA, &info);
  if (code != ONIG_NORMAL) {
    OnigUChar message[ONIG_MAX_ERROR_MESSAGE_LEN] = {};
    onig_error_code_to_str(message, code, &info);
    return failure(LATHE_INVALID_ARTIFACT, where, ": the regular expression '", source,
                   "' is invalid: ", reinterpret_cast<const char *>(message));
  }
  pattern->regex_.reset(compiled);
  return success();
}

Status Pattern::parts(std::string_view text, std::vector<Match> *parts) const {
  parts->clear();
  if (text.empty()) {
    parts->push_back({0, 0, false});
    return success();
  }
  size_t done = 0;
  auto add = [&](size_t begin, size_t end) {
    if (done != begin)
      parts->push_back({done, begin, false});
    parts->push_back({begin, end, true});
    done = end;
  };
  if (!regex_) {
    for (size_t at; (at = text.find(literal_, done)) != std::string_view::npos;)
      add(at, at + literal_.size());
  } else {
    static thread_local MatchParameters parameters;
    std::unique_ptr<OnigRegion, void (*)(OnigRegion *)> region(onig_region_new(),
                                                               [](OnigRegion *region) { onig_region_free(region, 1); });
    const OnigUChar *begin = bytes(text.data()), *end = begin + text.size();
    size_t from = 0, last = std::string_view::npos;
    while (from <= text.size()) {
      int at = onig_search_with_param(regex_.get(), begin, end, begin + from, end, region.get(), ONIG_OPTION_NONE,
                                      parameters.value);
      if (at == ONIG_MISMATCH)
        break;
      if (at < 0) {
        OnigUChar message[ONIG_MAX_ERROR_MESSAGE_LEN] = {};
        onig_error_code_to_str(message, at);
        return failure(LATHE_EXECUTION_ERROR, "a regular expression of the tokenizer fails on this text: ",
                       reinterpret_cast<const char *>(message));
      }
      size_t to = static_cast<size_t>(region->end[0]);
      // No empty match right behind the last one, which would be found for ever.
      if (static_cast<size_t>(at) == to && last == to) {
        from += from < text.size() ? characterSize(static_cast<unsigned char>(text[from])) : 1;
        continue;
      }
      add(static_cast<size_t>(at), to);
      from = last = to;
    }
  }
  if (done != text.size())
    parts->push_back({done, text.size(), false});
  return success();
}
