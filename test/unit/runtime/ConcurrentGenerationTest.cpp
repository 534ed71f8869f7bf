//===- ConcurrentGenerationTest.cpp - Generators in threads -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Generators over one module work at once, each in a thread of its own, and write what each writes alone. Under the
// thread sanitizer this is also the test that nothing they share is written without order.
//
//===----------------------------------------------------------------------===//
#include <gtest/gtest.h>
#include <lathe/generate.hpp>
#include <lathe/lathe.hpp>

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

using namespace lathe;

namespace {

constexpr int kGenerators = 8;
constexpr int64_t kNewTokens = 24, kCancelledAfter = 5;

/// What one of the generators is asked for.
struct Work {
  std::string what;
  int threads = 1;
  std::vector<std::vector<int64_t>> prompts;
  GenerationConfig config;
  int64_t cancelAfter = 0; ///< tokens; 0 for never
};

std::vector<int64_t> tokens(uint32_t seed, size_t count, int64_t vocabulary) {
  std::vector<int64_t> result(count);
  for (int64_t &token : result) {
    seed = seed * 1664525 + 1013904223;
    token = 5 + static_cast<int64_t>(seed >> 8) % (vocabulary - 5);
  }
  return result;
}

/// Greedy, drawn, by beams, of several prompts of different lengths, cancelled; by one thread and by several.
std::vector<Work> works(int64_t vocabulary) {
  std::vector<Work> all(kGenerators);
  for (size_t i = 0; i < all.size(); ++i) {
    Work &work = all[i];
    work.threads = 1 + static_cast<int>(i) % 3;
    // The longest takes more than a page of the cache.
    for (size_t prompt = 0; prompt <= i % 3; ++prompt)
      work.prompts.push_back(
          tokens(static_cast<uint32_t>(100 * i + prompt), 1 + (29 * i + 17 * prompt) % 90, vocabulary));
    work.config.native.max_new_tokens = kNewTokens;
    switch (i % 4) {
    case 0:
      work.what = "greedy";
      break;
    case 1:
      work.what = "drawn";
      work.config.native.do_sample = 1;
      work.config.native.seed = i;
      work.config.native.temperature = 1.5;
      work.config.native.top_k = 50;
      work.config.native.top_p = 0.95;
      work.config.native.num_return_sequences = 2;
      break;
    case 2:
      work.what = "beams";
      work.config.native.num_beams = 3;
      work.config.native.num_return_sequences = 2;
      break;
    default:
      work.what = "with penalties, cancelled";
      work.config.native.repetition_penalty = 1.3;
      work.config.native.no_repeat_ngram_size = 2;
      work.cancelAfter = i == 3 ? kCancelledAfter : 0;
    }
  }
  return all;
}

/// A source for each prompt, of its own length, which the generator borrows; none without an encoder.
std::vector<std::vector<int64_t>> setSources(Generator &generator, const Work &work) {
  std::vector<std::vector<int64_t>> ids;
  if (generator.sources().empty())
    return ids;
  for (size_t row = 0; row < work.prompts.size(); ++row)
    ids.push_back(tokens(static_cast<uint32_t>(row + 7), 3 + work.prompts[row].size() % 11, 500));
  for (size_t row = 0; row < ids.size(); ++row)
    generator.setSource(row, 0, Source::of({1, static_cast<int64_t>(ids[row].size())}, ids[row].data()));
  return ids;
}

std::vector<Generated> generate(const Module &module, const Work &work, int threads) {
  GeneratorOptions options;
  options.threads = threads;
  Generator generator(module, options);
  std::vector<std::vector<int64_t>> sources = setSources(generator, work);
  int64_t told = 0;
  return generator.generate(work.prompts, work.config, [&](const lathe_token_event &) {
    return ++told == work.cancelAfter ? LATHE_CANCEL : LATHE_CONTINUE;
  });
}

class ConcurrentGeneration : public testing::TestWithParam<const char *> {};

} // namespace

TEST_P(ConcurrentGeneration, GivesWhatEachGivesAlone) {
  std::string path = std::string(LATHE_TEST_ARTIFACTS "/") + GetParam() + ".lathe";
  std::vector<Work> all;
  std::vector<std::vector<Generated>> alone;
  {
    Module module(path);
    all = works(Generator(module).info().vocabulary);
    for (const Work &work : all)
      alone.push_back(generate(module, work, 1));
  }
  // Of a module that nothing ran yet: what is made by the first that needs it is made at once, too.
  Module module(path);
  for (int round = 0; round < 2; ++round) {
    std::vector<std::vector<Generated>> together(all.size());
    std::vector<std::string> errors(all.size());
    std::atomic<size_t> ready{0};
    std::vector<std::thread> threads;
    for (size_t i = 0; i < all.size(); ++i)
      threads.emplace_back([&, i] {
        ++ready;
        while (ready < all.size())
          std::this_thread::yield();
        try {
          together[i] = generate(module, all[i], all[i].threads);
        } catch (const Error &error) {
          errors[i] = error.what();
        }
      });
    for (std::thread &thread : threads)
      thread.join();
    for (size_t i = 0; i < all.size(); ++i) {
      SCOPED_TRACE(all[i].what + ", " + std::to_string(all[i].threads) + " threads, round " + std::to_string(round));
      EXPECT_EQ(errors[i], "");
      ASSERT_EQ(together[i].size(), alone[i].size());
      for (size_t row = 0; row < alone[i].size(); ++row) {
        EXPECT_EQ(together[i][row].tokens, alone[i][row].tokens);
        EXPECT_EQ(together[i][row].finish, alone[i][row].finish);
      }
      if (all[i].cancelAfter == 0)
        continue;
      int64_t count = 0;
      for (const Generated &row : together[i])
        count += static_cast<int64_t>(row.tokens.size());
      EXPECT_EQ(count, all[i].cancelAfter);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, ConcurrentGeneration, testing::Values("gpt2", "llama", "t5"),
                         [](const auto &info) { return std::string(info.param); });
