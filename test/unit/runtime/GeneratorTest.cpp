//===- GeneratorTest.cpp - The C interface of generation --------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// What the tests of models do not see: they go through Python.
//
//===----------------------------------------------------------------------===//
#include <cmath>
#include <gtest/gtest.h>
#include <lathe/generate.hpp>
#include <lathe/lathe.hpp>
#include <vector>

using namespace lathe;

namespace {

constexpr size_t kPiece = 512;

std::vector<int64_t> tokens(size_t count) {
  std::vector<int64_t> result(count);
  for (size_t i = 0; i < count; ++i)
    result[i] = static_cast<int64_t>(5 + i * 31 % 900);
  return result;
}

struct Asked {
  std::vector<std::pair<size_t, size_t>> calls;
  size_t cancelAt = 0; ///< of the calls; 0 for never

  static lathe_answer call(void *context, size_t done, size_t total) {
    auto *asked = static_cast<Asked *>(context);
    asked->calls.emplace_back(done, total);
    return asked->calls.size() == asked->cancelAt ? LATHE_CANCEL : LATHE_CONTINUE;
  }
};

class GeneratorTest : public testing::Test {
protected:
  Module module{LATHE_TEST_ARTIFACTS "/llama.lathe"};
  Generator generator{module};
};

} // namespace

TEST_F(GeneratorTest, AsksBetweenThePiecesOfPrompts) {
  Asked asked;
  GenerationConfig config;
  config.native.max_new_tokens = 2;
  config.native.prompt_listener = Asked::call;
  config.native.prompt_context = &asked;
  std::vector<Generated> results = generator.generate({tokens(2 * kPiece + 3), tokens(4)}, config);
  using Calls = std::vector<std::pair<size_t, size_t>>;
  size_t total = 2 * kPiece + 7;
  EXPECT_EQ(asked.calls, (Calls{{4, total}, {4 + kPiece, total}, {4 + 2 * kPiece, total}}));
  ASSERT_EQ(results.size(), 2u);
  EXPECT_EQ(results[0].tokens.size(), 2u);
  EXPECT_EQ(results[0].finish, LATHE_FINISH_LENGTH);
}

TEST_F(GeneratorTest, EndsWithinAPrompt) {
  Asked asked;
  asked.cancelAt = 1;
  GenerationConfig config;
  config.native.num_return_sequences = 2;
  config.native.do_sample = 1;
  config.native.prompt_listener = Asked::call;
  config.native.prompt_context = &asked;
  std::vector<Generated> results = generator.generate({tokens(kPiece + 3)}, config);
  EXPECT_EQ(asked.calls.size(), 1u);
  ASSERT_EQ(results.size(), 2u);
  for (const Generated &result : results) {
    EXPECT_TRUE(result.tokens.empty());
    EXPECT_EQ(result.finish, LATHE_FINISH_CALLER);
  }
  EXPECT_EQ(generator.info().cache_bytes, 0u);
}

TEST_F(GeneratorTest, PenalizesTheTokensOfAnEncoder) {
  GenerationConfig config;
  config.native.max_new_tokens = 1;
  config.native.encoder_repetition_penalty = 100;
  int64_t plain = generator.generate({tokens(9)}).at(0).tokens.at(0);
  // As if what comes next had been read by an encoder: it is a hundred times as probable, or less so where its logit is
  // below 0.
  std::vector<int64_t> source(900);
  for (size_t i = 0; i < source.size(); ++i)
    source[i] = static_cast<int64_t>(i) == plain ? 0 : static_cast<int64_t>(i);
  const int64_t *pointer = source.data();
  size_t count = source.size();
  config.native.encoder_tokens = &pointer;
  EXPECT_EQ(lathe_generate(generator.get(), 1, &pointer, &count, &config.native, nullptr, nullptr),
            LATHE_INVALID_ARGUMENT);
  config.native.encoder_token_counts = &count;
  EXPECT_NE(generator.generate({tokens(9)}, config).at(0).tokens.at(0), plain);
}

TEST_F(GeneratorTest, TellsOfAllLogits) {
  size_t count = kPiece + 5;
  std::vector<int64_t> given = tokens(count);
  auto vocabulary = static_cast<size_t>(generator.info().vocabulary);
  EXPECT_EQ(generator.info().scored_tokens, static_cast<int64_t>(kPiece));
  std::vector<float> all, last;
  generator.begin(1);
  generator.appendAll(given, count, [&](size_t first, size_t tokens, const float *logits, size_t stride) {
    EXPECT_EQ(first * vocabulary, all.size());
    EXPECT_EQ(stride, tokens * vocabulary);
    all.insert(all.end(), logits, logits + stride);
  });
  ASSERT_EQ(all.size(), count * vocabulary);
  generator.begin(1);
  const float *end = generator.append(given, count);
  for (size_t i = 0; i < vocabulary; ++i)
    EXPECT_NEAR(end[i], all[(count - 1) * vocabulary + i], 1e-4);
  generator.begin(1);
  std::vector<float> scores = generator.score(given, count);
  EXPECT_TRUE(std::isnan(scores[0]));
  for (size_t place : {size_t{1}, kPiece - 1, kPiece, count - 1}) {
    const float *row = all.data() + (place - 1) * vocabulary;
    double sum = 0;
    for (size_t i = 0; i < vocabulary; ++i)
      sum += std::exp(static_cast<double>(row[i]));
    EXPECT_NEAR(scores[place], row[given[place]] - std::log(sum), 1e-4) << place;
  }
}

TEST_F(GeneratorTest, FailuresLeaveSequencesAsTheyWere) {
  GeneratorOptions options;
  options.maxSequence = 1000;
  Generator small(module, options);
  small.begin(1);
  std::vector<float> before = small.score(tokens(8), 8);
  std::vector<int64_t> wrong = tokens(kPiece + 8);
  wrong.back() = -1; // in the second piece
  EXPECT_THROW(small.append(wrong, wrong.size()), Error);
  EXPECT_THROW(small.append(tokens(1000), 1000), Error);
  std::vector<float> rest = small.score(tokens(3), 3);
  std::vector<int64_t> together = tokens(8);
  for (int64_t token : tokens(3))
    together.push_back(token);
  small.begin(1);
  std::vector<float> expected = small.score(together, together.size());
  for (size_t i = 0; i < rest.size(); ++i)
    EXPECT_NEAR(rest[i], expected[8 + i], 1e-4);
}
