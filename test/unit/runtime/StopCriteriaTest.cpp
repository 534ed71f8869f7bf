//===- StopCriteriaTest.cpp - When a text is finished -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/generation/StopCriteria.h"

#include <gtest/gtest.h>
#include <random>

using namespace lathe::runtime;

namespace {

TEST(StopCriteria, EndsAtEndTokensAndLengths) {
  GenerationConfig config;
  config.eos_token_id = {9, 3};
  config.max_new_tokens = 4;
  StopCriteria stop(config, 10);
  EXPECT_EQ(stop.maxLength(), 14);
  EXPECT_EQ(stop.check(1, 11), StopReason::None);
  EXPECT_EQ(stop.check(3, 11), StopReason::EndToken);
  EXPECT_EQ(stop.check(9, 14), StopReason::EndToken);
  EXPECT_EQ(stop.check(1, 13), StopReason::None);
  EXPECT_EQ(stop.check(1, 14), StopReason::Length);
  EXPECT_FALSE(stop.full(13));
  EXPECT_TRUE(stop.full(14));
  config.eos_token_id.clear();
  config.max_new_tokens.reset();
  config.max_length = 5;
  EXPECT_EQ(StopCriteria(config, 10).check(3, 11), StopReason::Length);
}

struct Result {
  std::vector<std::string> parts; ///< one for each piece, and one for the end
  bool stopped = false;

  std::string text() const {
    std::string all;
    for (const std::string &part : parts)
      all += part;
    return all;
  }
};

Result run(const std::vector<std::string> &strings, const std::vector<std::string> &pieces) {
  StopStrings stop(strings);
  Result result;
  for (const std::string &piece : pieces) {
    std::string part;
    result.stopped = stop.push(piece, part);
    result.parts.push_back(part);
  }
  std::string rest;
  stop.finish(rest);
  result.parts.push_back(rest);
  EXPECT_EQ(stop.stopped(), result.stopped);
  return result;
}

using Parts = std::vector<std::string>;

TEST(StopStrings, PassesTextOnWithoutStrings) {
  Result result = run({}, {"a", "", "bc"});
  EXPECT_EQ(result.parts, (Parts{"a", "", "bc", ""}));
  EXPECT_FALSE(result.stopped);
}

TEST(StopStrings, CutsWhereAStringBegins) {
  Result result = run({"STOP"}, {"one STOP two", " three"});
  EXPECT_EQ(result.parts, (Parts{"one ", "", ""}));
  EXPECT_TRUE(result.stopped);
}

TEST(StopStrings, HoldsBackWhatMayBeAString) {
  Result result = run({"\n\n"}, {"a\n", "b\n", "\nc"});
  EXPECT_EQ(result.parts, (Parts{"a", "\nb", "", ""}));
  EXPECT_TRUE(result.stopped);
  result = run({"</s>"}, {"x<", "/", "s", "y"});
  EXPECT_EQ(result.parts, (Parts{"x", "", "", "</sy", ""}));
  EXPECT_FALSE(result.stopped);
}

TEST(StopStrings, PassesOnWhatWasHeldAtTheEnd) {
  Result result = run({"stop"}, {"a sto"});
  EXPECT_EQ(result.parts, (Parts{"a ", "sto"}));
  EXPECT_FALSE(result.stopped);
}

TEST(StopStrings, StringsThatOverlapThemselves) {
  EXPECT_EQ(run({"aab"}, {"a", "a", "a", "b"}).parts, (Parts{"", "", "a", "", ""}));
  EXPECT_EQ(run({"abcabd"}, {"abcab", "cabd"}).text(), "abc");
  EXPECT_EQ(run({"aa"}, {"xa", "a"}).text(), "x");
}

TEST(StopStrings, TheFirstToEndCounts) {
  EXPECT_EQ(run({"abcd", "bc"}, {"xabcd"}).text(), "xa");
  EXPECT_EQ(run({"bc", "abc"}, {"xabc"}).text(), "x");
  EXPECT_EQ(run({"x", "hello"}, {"hel", "lx"}).text(), "hell");
}

TEST(StopStrings, SpansPiecesThatCutCharacters) {
  // U+20AC in three bytes.
  EXPECT_EQ(run({"\u20ac."}, {"5 \xe2", "\x82", "\xac", "!"}).parts, (Parts{"5 ", "", "", "\u20ac!", ""}));
  EXPECT_EQ(run({"\u20ac."}, {"5 \xe2\x82", "\xac", "."}).text(), "5 ");
}

/// Against looking at the whole text: all cuts of random texts over two letters.
TEST(StopStrings, EqualsASearchInTheWholeText) {
  std::mt19937 random(1);
  auto word = [&](size_t length) {
    std::string text;
    for (size_t i = 0; i < length; ++i)
      text += random() % 2 ? 'a' : 'b';
    return text;
  };
  for (int time = 0; time < 5000; ++time) {
    Parts strings;
    for (size_t i = 0, count = 1 + random() % 3; i < count; ++i)
      strings.push_back(word(1 + random() % 7));
    std::string text = word(random() % 40);
    size_t end = std::string::npos, begin = text.size();
    for (size_t i = 1; i <= text.size() && end == std::string::npos; ++i)
      for (const std::string &string : strings)
        if (string.size() <= i && text.compare(i - string.size(), string.size(), string) == 0) {
          end = i;
          begin = std::min(begin, i - string.size());
        }
    Parts pieces;
    for (size_t at = 0; at < text.size();) {
      size_t size = random() % 5;
      pieces.push_back(text.substr(at, size));
      at += size;
    }
    Result result = run(strings, pieces);
    EXPECT_EQ(result.stopped, end != std::string::npos);
    ASSERT_EQ(result.text(), text.substr(0, begin)) << text << " " << strings[0];
  }
}

} // namespace
