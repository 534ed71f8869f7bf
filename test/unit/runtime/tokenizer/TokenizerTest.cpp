//===- TokenizerTest.cpp - Tokenizers through their interfaces ------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "test/unit/runtime/tokenizer/TestFiles.h"

#include <chrono>
#include <cstring>
#include <gtest/gtest.h>
#include <lathe/tokenizer.hpp>
#include <thread>

using namespace lathe;
using namespace lathe::test;

namespace {

using Ids = std::vector<int64_t>;

std::string streamed(const Tokenizer &tokenizer, const Ids &ids, bool skipSpecial = true) {
  TokenStream stream(tokenizer, skipSpecial);
  std::string text;
  for (int64_t id : ids)
    text += stream.push(id);
  return text + stream.finish();
}

TEST(Tokenizer, ByteLevel) {
  Tokenizer tokenizer = Tokenizer::fromMemory(kByteLevel);
  EXPECT_EQ(tokenizer.encode("a b<eos> bab"), (Ids{1, 5, 0, 5, 4, 0}));
  EXPECT_EQ(tokenizer.encode("a b<eos> bab", false), (Ids{1, 5, 0, 5, 4}));
  EXPECT_EQ(tokenizer.decode({1, 5, 0, 5, 4, 0}, false), "a b<eos> bab<eos>");
  EXPECT_EQ(tokenizer.decode({1, 5, 0, 5, 4, 0}), "a b bab");
  EXPECT_EQ(tokenizer.encode("", false), Ids());
  EXPECT_EQ(tokenizer.decode({}), "");
}

TEST(Tokenizer, Describes) {
  Tokenizer tokenizer = Tokenizer::fromMemory(kByteLevel);
  lathe_tokenizer_info info = tokenizer.info();
  EXPECT_STREQ(info.kind, "tokenizer.json");
  EXPECT_EQ(info.vocabulary_size, 9u);
  EXPECT_EQ(info.max_id, 8);
  EXPECT_EQ(info.eos_id, 0);
  EXPECT_EQ(info.bos_id, -1);
  EXPECT_EQ(info.unk_id, -1);
  EXPECT_EQ(tokenizer.specials(), Ids{0});
  EXPECT_TRUE(tokenizer.isSpecial(0));
  EXPECT_FALSE(tokenizer.isSpecial(1));
  EXPECT_FALSE(tokenizer.isSpecial(int64_t(1) << 40));
  EXPECT_EQ(tokenizer.tokenId("ab"), 4);
  EXPECT_EQ(tokenizer.tokenId("zz"), std::nullopt);
  EXPECT_EQ(tokenizer.tokenText(4), "ab");
  EXPECT_THROW(tokenizer.tokenText(99), TokenizerError);
}

TEST(Tokenizer, NeverSplitsACharacter) {
  // The two bytes of é are a token each.
  Tokenizer tokenizer = Tokenizer::fromMemory(kByteLevel);
  Ids ids = tokenizer.encode("\xC3\xA9", false);
  ASSERT_EQ(ids, (Ids{7, 8}));
  TokenStream stream(tokenizer);
  EXPECT_EQ(stream.push(7), "");
  EXPECT_EQ(stream.push(8), "\xC3\xA9");
  EXPECT_EQ(stream.push(7), "");
  EXPECT_EQ(stream.push(1), "\xEF\xBF\xBD"
                            "a");
  EXPECT_EQ(stream.push(7), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");
  // It begins anew.
  EXPECT_EQ(stream.push(8), "\xEF\xBF\xBD");
  EXPECT_EQ(stream.finish(), "");
  EXPECT_EQ(tokenizer.decode({7, 8, 7, 1, 7}), streamed(tokenizer, {7, 8, 7, 1, 7}));
}

TEST(Tokenizer, PassesOverIdsWithoutTokens) {
  Tokenizer tokenizer = Tokenizer::fromMemory(kByteLevel);
  EXPECT_EQ(tokenizer.decode({1, 99, int64_t(1) << 40, 2}), "ab");
  EXPECT_THROW(tokenizer.decode({-1}), TokenizerError);
}

TEST(Tokenizer, LongWordsTakeTimeInProportion) {
  Tokenizer tokenizer = Tokenizer::fromMemory(kByteLevel);
  auto start = std::chrono::steady_clock::now();
  std::string text(1 << 20, 'a');
  EXPECT_EQ(tokenizer.encode(text, false).size(), text.size());
  for (size_t i = 1; i < text.size(); i += 2)
    text[i] = 'b';
  EXPECT_EQ(tokenizer.encode(text, false).size(), text.size() / 2); // ab
  auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_LT(seconds, 20) << "a quadratic loop would take hours";
}

TEST(Tokenizer, ServesManyThreads) {
  Tokenizer tokenizer = Tokenizer::fromMemory(kByteLevel);
  std::vector<std::thread> threads;
  std::vector<int> failures(8);
  for (size_t t = 0; t < failures.size(); ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        Ids ids = tokenizer.encode("a b<eos> bab", i % 2 != 0);
        failures[t] += ids != (i % 2 ? Ids{1, 5, 0, 5, 4, 0} : Ids{1, 5, 0, 5, 4});
        failures[t] += streamed(tokenizer, ids) != "a b bab";
      }
    });
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_EQ(failures, std::vector<int>(8));
}

TEST(Tokenizer, NullArguments) {
  lathe_tokenizer *tokenizer = nullptr;
  EXPECT_EQ(lathe_tokenizer_load(nullptr, &tokenizer), LATHE_INVALID_ARGUMENT);
  EXPECT_STREQ(lathe_tokenizer_last_error(), "'path' must not be NULL");
  EXPECT_EQ(lathe_tokenizer_load("x", nullptr), LATHE_INVALID_ARGUMENT);
  EXPECT_EQ(lathe_tokenizer_load("/does/not/exist", &tokenizer), LATHE_NOT_FOUND);
  EXPECT_EQ(lathe_tokenizer_load_memory(nullptr, 1, &tokenizer), LATHE_INVALID_ARGUMENT);
  EXPECT_EQ(lathe_tokenizer_load_memory(nullptr, 0, &tokenizer), LATHE_INVALID_ARTIFACT);
  ASSERT_EQ(lathe_tokenizer_load_memory(kByteLevel, strlen(kByteLevel), &tokenizer), LATHE_OK);
  int64_t *ids = nullptr, id = 0;
  size_t count = 0;
  char *text = nullptr;
  EXPECT_EQ(lathe_tokenizer_encode(tokenizer, nullptr, 1, 0, &ids, &count), LATHE_INVALID_ARGUMENT);
  EXPECT_EQ(lathe_tokenizer_encode(nullptr, "a", 1, 0, &ids, &count), LATHE_INVALID_ARGUMENT);
  EXPECT_EQ(lathe_tokenizer_encode(tokenizer, nullptr, 0, 0, &ids, &count), LATHE_OK);
  lathe_tokenizer_free(ids);
  EXPECT_EQ(lathe_tokenizer_decode(tokenizer, nullptr, 1, 0, &text, &count), LATHE_INVALID_ARGUMENT);
  EXPECT_EQ(lathe_tokenizer_special(tokenizer, 1, &id), LATHE_INVALID_ARGUMENT);
  EXPECT_EQ(lathe_tokenizer_token_id(tokenizer, "none", 4, &id), LATHE_NOT_FOUND);
  EXPECT_EQ(lathe_tokenizer_stream_create(tokenizer, 0, nullptr), LATHE_INVALID_ARGUMENT);
  lathe_tokenizer_info info = {};
  EXPECT_EQ(lathe_tokenizer_get_info(tokenizer, &info), LATHE_INVALID_ARGUMENT);
  lathe_tokenizer_release(tokenizer);
  lathe_tokenizer_release(nullptr);
  lathe_tokenizer_stream_release(nullptr);
  lathe_tokenizer_free(nullptr);
}

} // namespace
