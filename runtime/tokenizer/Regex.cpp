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
      for (size_t i = 0; i < addition.count; ++i)
        ranges.insert(ranges.end(), {addition.ranges[i][0], addition.ranges[i][1]});
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

/// The expression with the additions beside each property that has them: the library's tables may be older than the
/// ones that a tokenizer was made with.
std::string withAdditions(const std::string &source) {
  const auto &names = additions();
  std::string out;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\\' || i + 1 == source.size()) {
      out += source[i];
      continue;
    }
    char kind = source[i + 1];
    std::string name;
    size_t end = i + 2;
    bool isNegated = kind == 'P' || kind == 'W' || kind == 'D';
    if (kind == 'w' || kind == 'W' || kind == 'd' || kind == 'D') {
      name = kind == 'w' || kind == 'W' ? "word" : "digit";
    } else if ((kind == 'p' || kind == 'P') && end < source.size() && source[end] == '{') {
      size_t close = source.find('}', end);
      if (close != std::string::npos) {
        size_t from = end + 1;
        if (source[from] == '^') {
          isNegated = !isNegated;
          ++from;
        }
        for (char c : source.substr(from, close - from))
          if (c != ' ' && c != '_' && c != '-')
            name += static_cast<char>(tolower(static_cast<unsigned char>(c)));
        end = close + 1;
      }
    }
    auto known = names.find(name);
    if (name.empty() || known == names.end()) {
      out.append(source, i, end - i);
    } else {
      // The property itself without its negation, which then holds for the whole set.
      std::string property = kind == 'w' || kind == 'W'   ? "\\w"
                             : kind == 'd' || kind == 'D' ? "\\d"
                                                          : "\\p{" + name + "}";
      out += (isNegated ? "[^" : "[") + property + "\\p{" + known->second + "}]";
    }
    i = end - 1;
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
