//===- SamplerTest.cpp - Choosing tokens ------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/generation/Sampler.h"

#include "GenerationGolden.h"
#include "runtime/generation/Philox.h"
#include "runtime/generation/StopCriteria.h"

#include <random>
#include <set>
#include <thread>

using namespace lathe::runtime;
using lathe::test::configOf;
using lathe::test::floatsOf;
using lathe::test::golden;

namespace {

Sampler makeSampler(const GenerationConfig &config, size_t vocabulary) {
  Sampler sampler;
  Status status = Sampler::create(config, static_cast<int64_t>(vocabulary), sampler);
  EXPECT_FALSE(status.failed()) << status.message();
  return sampler;
}

SequenceState stateOf(const std::vector<Token> &tokens, size_t promptLength, uint64_t sequence = 0) {
  SequenceState state;
  state.tokens = tokens.data();
  state.length = tokens.size();
  state.promptLength = promptLength;
  state.sequence = sequence;
  return state;
}

std::vector<float> normalLogits(size_t count, float deviation, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> distribution(0, deviation);
  std::vector<float> row(count);
  for (float &value : row)
    value = distribution(random);
  return row;
}

GenerationConfig sampling(int64_t topK = 0) {
  GenerationConfig config;
  config.do_sample = true;
  config.top_k = topK;
  config.seed = 20;
  return config;
}

TEST(Philox, GivesTheKnownAnswers) {
  // Those that come with the authors' library.
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, NumbersAreSpreadEvenly) {
  constexpr int kDraws = 100000, kBins = 20;
  for (int along : {0, 1, 2}) {
    std::vector<int> bins(kBins);
    for (uint64_t i = 0; i < kDraws; ++i) {
      double u = philoxUniform(along == 0 ? i : 5, along == 1 ? i : 6, along == 2 ? i : 7);
      ASSERT_GE(u, 0);
      ASSERT_LT(u, 1);
      ++bins[static_cast<size_t>(u * kBins)];
    }
    double chi = 0, expected = double(kDraws) / kBins;
    for (int bin : bins)
      chi += (bin - expected) * (bin - expected) / expected;
    EXPECT_LT(chi, 43.8) << along; // 0.1 % of 19 degrees of freedom
  }
}

TEST(Sampler, DistributionsAreThoseOfTransformers) {
  size_t index = 0;
  for (const auto &test : golden("sampling.json")) {
    SCOPED_TRACE(std::to_string(index++) + " " + test["config"].dump());
    auto logits = floatsOf(test["logits"]);
    auto expected = floatsOf(test["log_probabilities"]);
    auto tokens = test["tokens"].get<std::vector<Token>>();
    auto encoder = test["encoder_tokens"].get<std::vector<Token>>();
    Sampler sampler = makeSampler(configOf(test["config"]), logits.size());
    SequenceState state = stateOf(tokens, test["prompt_length"]);
    state.encoderTokens = encoder.data();
    state.encoderLength = encoder.size();
    std::vector<float> actual(logits.size());
    // Twice, since the first call leaves its traces in the sampler.
    for (int time = 0; time < 2; ++time) {
      Status status = sampler.distribution(logits.data(), state, actual.data());
      ASSERT_FALSE(status.failed()) << status.message();
      for (size_t i = 0; i < logits.size(); ++i)
        if (expected[i] < -1e30f) // removed, or as good as
          EXPECT_LT(actual[i], -1e30f) << i;
        else
          EXPECT_NEAR(actual[i], expected[i], 2e-5f * std::max(1.0f, std::fabs(expected[i]))) << i;
    }
    Choice choice;
    ASSERT_FALSE(sampler.next(logits.data(), state, choice).failed());
    EXPECT_NEAR(choice.logProbability, actual[static_cast<size_t>(choice.token)], 2e-5f);
  }
  EXPECT_GT(index, 100u);
}

TEST(Sampler, GreedyTextsAreThoseOfTransformers) {
  int texts = 0;
  for (const auto &model : golden("generation.json")) {
    lathe::test::TableModel tables(model);
    for (const auto &test : model["cases"]) {
      if (test["config"].contains("num_beams"))
        continue;
      ++texts;
      GenerationConfig config = configOf(test["config"]);
      auto tokens = test["prompt"].get<std::vector<Token>>();
      size_t prompt = tokens.size();
      Sampler sampler = makeSampler(config, tables.table.size());
      StopCriteria stop(config, static_cast<int64_t>(prompt));
      Choice choice;
      do {
        auto logits = tables.logits(tokens);
        ASSERT_FALSE(sampler.next(logits.data(), stateOf(tokens, prompt), choice).failed());
        tokens.push_back(choice.token);
      } while (stop.check(choice.token, static_cast<int64_t>(tokens.size())) == StopReason::None);
      EXPECT_EQ(tokens, test["sequences"][0].get<std::vector<Token>>()) << test.dump();
    }
  }
  EXPECT_EQ(texts, 6);
}

/// 100 000 draws against the distribution that the sampler says it draws from.
TEST(Sampler, DrawsWithTheProbabilitiesOfTheDistribution) {
  constexpr int kDraws = 100000;
  std::vector<GenerationConfig> configs(4, sampling());
  configs[1].top_k = 6;
  configs[2].top_p = 0.8;
  configs[2].temperature = 1.5;
  configs[3].typical_p = 0.7;
  configs[3].repetition_penalty = 1.5;
  auto logits = normalLogits(40, 1.5, 3);
  for (const GenerationConfig &config : configs) {
    Sampler sampler = makeSampler(config, logits.size());
    std::vector<Token> tokens = {1, 2, 3};
    std::vector<float> expected(logits.size());
    ASSERT_FALSE(sampler.distribution(logits.data(), stateOf(tokens, 2), expected.data()).failed());
    std::vector<int> counts(logits.size());
    for (uint64_t sequence = 0; sequence < kDraws; ++sequence) {
      Choice choice;
      ASSERT_FALSE(sampler.next(logits.data(), stateOf(tokens, 2, sequence), choice).failed());
      ++counts[static_cast<size_t>(choice.token)];
    }
    double sum = 0;
    for (size_t i = 0; i < logits.size(); ++i) {
      double probability = std::exp(static_cast<double>(expected[i]));
      double deviation = std::sqrt(kDraws * probability * (1 - probability));
      // Four and a half deviations: once in some 150 000 tokens by chance.
      EXPECT_NEAR(counts[i], kDraws * probability, 4.5 * deviation + 1e-9) << i;
      sum += probability;
    }
    EXPECT_NEAR(sum, 1, 1e-5);
  }
}

TEST(Sampler, DrawsOfLargeVocabulariesHaveTheProbabilitiesToo) {
  // Many parts of weights: the draw looks for the part first.
  constexpr int kDraws = 100000;
  constexpr size_t kTokens = 5003;
  std::vector<float> logits(kTokens);
  for (size_t i = 0; i < kTokens; ++i)
    logits[i] = static_cast<float>(i % 7) * 0.3f - 2;
  Sampler sampler = makeSampler(sampling(), kTokens);
  std::vector<Token> tokens = {0};
  std::vector<float> expected(kTokens);
  ASSERT_FALSE(sampler.distribution(logits.data(), stateOf(tokens, 1), expected.data()).failed());
  constexpr size_t kBins = 50;
  std::vector<double> probability(kBins), counts(kBins);
  for (size_t i = 0; i < kTokens; ++i)
    probability[i * kBins / kTokens] += std::exp(static_cast<double>(expected[i]));
  for (uint64_t sequence = 0; sequence < kDraws; ++sequence) {
    Choice choice;
    ASSERT_FALSE(sampler.next(logits.data(), stateOf(tokens, 1, sequence), choice).failed());
    ++counts[static_cast<size_t>(choice.token) * kBins / kTokens];
  }
  double chi = 0;
  for (size_t bin = 0; bin < kBins; ++bin) {
    double wanted = probability[bin] * kDraws;
    chi += (counts[bin] - wanted) * (counts[bin] - wanted) / wanted;
  }
  EXPECT_LT(chi, 85.4); // 0.1 % of 49 degrees of freedom
}

TEST(Sampler, DrawsDependOnSeedSequenceAndStepAlone) {
  auto logits = normalLogits(1000, 1, 4);
  std::vector<Token> tokens(30, 1);
  auto draw = [&](Sampler &sampler, uint64_t sequence, size_t length) {
    SequenceState state = stateOf(tokens, 1, sequence);
    state.length = length;
    Choice choice;
    EXPECT_FALSE(sampler.next(logits.data(), state, choice).failed());
    return choice.token;
  };
  GenerationConfig config = sampling(50);
  Sampler forward = makeSampler(config, logits.size());
  Sampler backward = makeSampler(config, logits.size());
  std::vector<Token> first, second(80);
  for (uint64_t sequence = 0; sequence < 4; ++sequence)
    for (size_t step = 1; step <= 20; ++step)
      first.push_back(draw(forward, sequence, step));
  for (size_t i = 80; i-- > 0;)
    second[i] = draw(backward, i / 20, i % 20 + 1);
  EXPECT_EQ(first, second);
  EXPECT_GT(std::set<Token>(first.begin(), first.end()).size(), 20u);

  std::vector<std::vector<Token>> results(8, std::vector<Token>(80));
  std::vector<std::thread> threads;
  for (std::vector<Token> &result : results)
    threads.emplace_back([&] {
      Sampler own = makeSampler(config, logits.size());
      for (size_t i = 0; i < 80; ++i)
        result[i] = draw(own, i / 20, i % 20 + 1);
    });
  for (std::thread &thread : threads)
    thread.join();
  for (const std::vector<Token> &result : results)
    EXPECT_EQ(result, first);

  config.seed = 21;
  Sampler other = makeSampler(config, logits.size());
  std::vector<Token> third;
  for (size_t i = 0; i < 80; ++i)
    third.push_back(draw(other, i / 20, i % 20 + 1));
  EXPECT_NE(third, first);
}

/// Filters of long rows, which look at few of the row, against sorting all of it.
TEST(Sampler, FiltersOfLongRowsKeepWhatSortingKeeps) {
  for (size_t count : {1u, 2u, 63u, 64u, 65u, 1000u, 30011u})
    for (float deviation : {0.0f, 0.01f, 1.0f, 5.0f}) {
      auto logits = normalLogits(count, deviation + 1e-9f, static_cast<uint32_t>(count));
      if (deviation == 0)
        logits.assign(count, 1.5f);
      std::vector<std::pair<float, size_t>> sorted;
      double sum = 0;
      for (size_t i = 0; i < count; ++i) {
        sorted.emplace_back(logits[i], i);
        sum += std::exp(static_cast<double>(logits[i]));
      }
      std::sort(sorted.rbegin(), sorted.rend());
      std::vector<Token> tokens = {0};
      std::vector<float> actual(count);
      for (int64_t k : {1, 2, 7, 64, 5000}) {
        Sampler sampler = makeSampler(sampling(k), count);
        ASSERT_FALSE(sampler.distribution(logits.data(), stateOf(tokens, 1), actual.data()).failed());
        float least = sorted[std::min(count, static_cast<size_t>(k)) - 1].first;
        for (size_t i = 0; i < count; ++i)
          ASSERT_EQ(actual[i] > -INFINITY, logits[i] >= least) << count << " " << k << " " << i;
      }
      for (double p : {0.001, 0.3, 0.9, 0.9999}) {
        GenerationConfig config = sampling();
        config.top_p = p;
        Sampler sampler = makeSampler(config, count);
        ASSERT_FALSE(sampler.distribution(logits.data(), stateOf(tokens, 1), actual.data()).failed());
        double before = 0;
        for (auto [value, place] : sorted) {
          // Rounding decides next to the limit.
          if (std::fabs(before - p * sum) > 1e-5 * sum)
            ASSERT_EQ(actual[place] > -INFINITY, before < p * sum) << count << " " << p << " " << place;
          before += std::exp(static_cast<double>(value));
        }
      }
    }
}

TEST(Sampler, GreedyTakesTheFirstOfEqualTokens) {
  for (size_t count : {1u, 15u, 16u, 17u, 100u, 1025u}) {
    std::vector<float> logits(count, -2.0f);
    for (size_t best = 0; best < count; best += 1 + count / 20) {
      auto row = logits;
      row[best] = row[count - 1] = 3;
      Sampler sampler = makeSampler(GenerationConfig(), count);
      Choice choice;
      std::vector<Token> tokens = {0};
      ASSERT_FALSE(sampler.next(row.data(), stateOf(tokens, 1), choice).failed());
      EXPECT_EQ(choice.token, static_cast<Token>(best));
    }
  }
}

TEST(Sampler, LogProbabilitiesOfTheModelAreThoseOfItsLogits) {
  auto logits = normalLogits(300, 2, 9);
  double sum = 0;
  for (float value : logits)
    sum += std::exp(static_cast<double>(value));
  GenerationConfig config = sampling(3);
  config.temperature = 0.3;
  config.repetition_penalty = 4;
  Sampler sampler = makeSampler(config, logits.size());
  sampler.setLogProbabilities(true, true);
  std::vector<Token> tokens = {5, 6, 7};
  Choice choice;
  ASSERT_FALSE(sampler.next(logits.data(), stateOf(tokens, 1), choice).failed());
  double expected = static_cast<double>(logits[static_cast<size_t>(choice.token)]) - std::log(sum);
  EXPECT_NEAR(choice.modelLogProbability, expected, 1e-5);
  EXPECT_GT(choice.logProbability, choice.modelLogProbability);
}

TEST(Sampler, RefusesLogitsThatAreNoNumbers) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  std::vector<Token> tokens = {0};
  for (bool sample : {false, true})
    for (size_t place : {0u, 40u, 64u, 69u}) {
      GenerationConfig config = sampling(5);
      config.do_sample = sample;
      Sampler sampler = makeSampler(config, 70);
      std::vector<float> row(70, 0.5f);
      Choice choice;
      row[place] = kNan;
      EXPECT_EQ(sampler.next(row.data(), stateOf(tokens, 1), choice).message(),
                "the model's logits must be numbers, got one that is not a number");
      row[place] = INFINITY;
      EXPECT_EQ(sampler.next(row.data(), stateOf(tokens, 1), choice).message(),
                "the model's logits must be finite, got infinity for token " + std::to_string(place));
      row.assign(70, -INFINITY);
      EXPECT_EQ(sampler.next(row.data(), stateOf(tokens, 1), choice).message(),
                "no token is left to choose: every logit is minus infinity");
      row[place] = -1000;
      ASSERT_FALSE(sampler.next(row.data(), stateOf(tokens, 1), choice).failed());
      EXPECT_EQ(choice.token, static_cast<Token>(place));
      EXPECT_EQ(choice.logProbability, 0);

      config.remove_invalid_values = true;
      Sampler removing = makeSampler(config, 70);
      row.assign(70, -1);
      row[place] = kNan; // becomes 0
      config.temperature = 1e-30;
      ASSERT_FALSE(removing.next(row.data(), stateOf(tokens, 1), choice).failed());
      if (!sample)
        EXPECT_EQ(choice.token, static_cast<Token>(place));
      row[place] = INFINITY;
      ASSERT_FALSE(removing.next(row.data(), stateOf(tokens, 1), choice).failed());
      EXPECT_EQ(choice.token, static_cast<Token>(place));
    }
}

TEST(Sampler, ExtremeTemperaturesAreLimits) {
  auto logits = normalLogits(200, 3, 12);
  Token best = std::max_element(logits.begin(), logits.end()) - logits.begin();
  std::vector<Token> tokens = {0};
  GenerationConfig config = sampling();
  config.temperature = 1e-300;
  Sampler cold = makeSampler(config, 200);
  config.temperature = 1e300;
  logits[7] = -INFINITY;
  Sampler hot = makeSampler(config, 200);
  std::set<Token> seen;
  for (uint64_t sequence = 0; sequence < 5000; ++sequence) {
    Choice choice;
    ASSERT_FALSE(cold.next(logits.data(), stateOf(tokens, 1, sequence), choice).failed());
    EXPECT_EQ(choice.token, best);
    ASSERT_FALSE(hot.next(logits.data(), stateOf(tokens, 1, sequence), choice).failed());
    seen.insert(choice.token);
  }
  EXPECT_EQ(seen.size(), 199u);
  EXPECT_EQ(seen.count(7), 0u);
}

TEST(Sampler, IgnoresTokensOutsideTheVocabulary) {
  // Prompts may have them where the embedding has more rows than the head.
  GenerationConfig config;
  config.repetition_penalty = 2;
  config.frequency_penalty = 1;
  config.no_repeat_ngram_size = 2;
  config.eos_token_id = {-1, 100};
  config.suppress_tokens = {-1, 100};
  config.min_new_tokens = 100;
  Sampler sampler = makeSampler(config, 10);
  std::vector<float> row = {0, 1, 2, 3, 4, 5, 4, 3, 2, 1};
  std::vector<Token> tokens = {100, -3, 5, 100, 11};
  Choice choice;
  ASSERT_FALSE(sampler.next(row.data(), stateOf(tokens, 1), choice).failed());
  EXPECT_EQ(choice.token, 4);
}

TEST(Sampler, RefusesTokensThatTheVocabularyHasNot) {
  Sampler sampler;
  GenerationConfig config;
  config.bad_words_ids = {{3}, {4, 10}};
  EXPECT_EQ(Sampler::create(config, 10, sampler).message(),
            "a token of bad_words_ids must be below the model's vocabulary of 10, got 10");
  config = GenerationConfig();
  config.sequence_bias = {{{12}, 1.0}};
  EXPECT_EQ(Sampler::create(config, 10, sampler).message(),
            "a token of sequence_bias must be below the model's vocabulary of 10, got 12");
  config = GenerationConfig();
  config.forced_bos_token_id = 50;
  EXPECT_TRUE(Sampler::create(config, 50, sampler).failed());
  EXPECT_FALSE(Sampler::create(config, 51, sampler).failed());
  EXPECT_EQ(Sampler::create(GenerationConfig(), 0, sampler).message(),
            "the vocabulary must have from 1 to 2147483647 tokens, got 0");
  config = GenerationConfig();
  config.top_p = 2;
  EXPECT_TRUE(Sampler::create(config, 10, sampler).failed());
}

TEST(RowKernels, EveryInstructionSetGivesTheSameBits) {
  const RowKernels &baseline = *rowKernels("baseline");
  int compared = 0;
  for (const char *isa : {"avx2", "avx512"}) {
    const RowKernels *kernels = rowKernels(isa);
    if (!kernels)
      continue;
    for (size_t count : {0u, 1u, 15u, 16u, 63u, 64u, 65u, 1023u, 1024u, 1025u, 50257u}) {
      auto row = normalLogits(count, 9, static_cast<uint32_t>(count));
      std::vector<float> blocks(count / 64 + 1), blocks2(blocks), out(count), out2(count);
      RowScan scan = baseline.scan(row.data(), count, blocks.data());
      RowScan scan2 = kernels->scan(row.data(), count, blocks2.data());
      EXPECT_EQ(scan.max, scan2.max);
      EXPECT_EQ(scan.argmax, scan2.argmax);
      EXPECT_EQ(blocks, blocks2);
      if (count)
        EXPECT_EQ(scan.argmax, static_cast<size_t>(std::max_element(row.begin(), row.end()) - row.begin()));
      for (float scale : {1.0f, 0.3f, 10.0f}) {
        double sum = baseline.exponentials(row.data(), count, scan.max, scale, out.data());
        EXPECT_EQ(sum, kernels->exponentials(row.data(), count, scan.max, scale, out2.data()));
        EXPECT_EQ(sum, kernels->sumOfExponentials(row.data(), count, scan.max, scale));
        EXPECT_EQ(out, out2);
        for (size_t i = 0; i < count; ++i) {
          double expected = std::exp(static_cast<double>((row[i] - scan.max) * scale));
          ASSERT_NEAR(out[i], expected, 3e-7 * expected + 1.2e-38);
        }
      }
      ++compared;
    }
  }
  if (!compared)
    GTEST_SKIP() << "this processor has neither AVX2 nor AVX-512";
}

} // namespace
