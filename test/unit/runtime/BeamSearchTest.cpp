//===- BeamSearchTest.cpp - Several continuations side by side --*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/generation/BeamSearch.h"

#include "GenerationGolden.h"

#include <random>

using namespace lathe::runtime;
using lathe::test::configOf;
using lathe::test::golden;
using lathe::test::TableModel;

namespace {

BeamSearch makeSearch(const GenerationConfig &config, const TableModel &model, const std::vector<Token> &prompt) {
  BeamSearch search;
  Status status =
      BeamSearch::create(config, static_cast<int64_t>(model.table.size()), prompt.data(), prompt.size(), search);
  EXPECT_FALSE(status.failed()) << status.message();
  return search;
}

/// One step, with the model's logits of every beam.
Status step(BeamSearch &search, const TableModel &model) {
  std::vector<std::vector<float>> logits;
  std::vector<const float *> rows;
  for (size_t beam = 0; beam < search.beams(); ++beam)
    logits.push_back(model.logits(search.tokens(beam)));
  for (const std::vector<float> &row : logits)
    rows.push_back(row.data());
  return search.step(rows.data());
}

TableModel randomModel(size_t vocabulary, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> distribution(0, 2);
  nlohmann::json model = {{"table", nlohmann::json::array()}, {"position", nlohmann::json::array()}};
  for (size_t row = 0; row < vocabulary + 3; ++row) {
    auto &rows = model[row < vocabulary ? "table" : "position"];
    rows.push_back(nlohmann::json::array());
    for (size_t i = 0; i < vocabulary; ++i)
      rows.back().push_back(distribution(random));
  }
  return TableModel(model);
}

TEST(BeamSearch, SequencesAndScoresAreThoseOfTransformers) {
  int texts = 0;
  for (const auto &model : golden("generation.json")) {
    TableModel tables(model);
    for (const auto &test : model["cases"]) {
      if (!test["config"].contains("num_beams"))
        continue;
      ++texts;
      SCOPED_TRACE(test.dump());
      GenerationConfig config = configOf(test["config"]);
      BeamSearch search = makeSearch(config, tables, test["prompt"].get<std::vector<Token>>());
      while (!search.done())
        ASSERT_FALSE(step(search, tables).failed());
      auto results = search.results();
      ASSERT_EQ(results.size(), test["sequences"].size());
      for (size_t i = 0; i < results.size(); ++i) {
        // Theirs are padded to the longest.
        auto expected = test["sequences"][i].get<std::vector<Token>>();
        ASSERT_LE(results[i].tokens.size(), expected.size());
        Token fill = config.eos_token_id.empty() ? -1 : config.eos_token_id[0];
        for (size_t j = results[i].tokens.size(); j < expected.size(); ++j)
          ASSERT_EQ(expected[j], fill);
        expected.resize(results[i].tokens.size());
        EXPECT_EQ(results[i].tokens, expected) << i;
        EXPECT_NEAR(results[i].score, test["scores"][i].get<float>(), 2e-5f) << i;
      }
    }
  }
  EXPECT_EQ(texts, 40);
}

TEST(BeamSearch, MovesLeadFromTheBeamsBefore) {
  TableModel model = randomModel(50, 5);
  GenerationConfig config;
  config.num_beams = 4;
  config.max_new_tokens = 10;
  config.eos_token_id = {3};
  BeamSearch search = makeSearch(config, model, {7, 8});
  while (!search.done()) {
    std::vector<std::vector<Token>> before;
    for (size_t beam = 0; beam < search.beams(); ++beam)
      before.push_back(search.tokens(beam));
    ASSERT_FALSE(step(search, model).failed());
    ASSERT_EQ(search.moves().size(), 4u);
    for (size_t beam = 0; beam < search.beams(); ++beam) {
      auto expected = before[search.moves()[beam].parent];
      expected.push_back(search.moves()[beam].token);
      EXPECT_EQ(search.tokens(beam), expected);
    }
  }
}

/// With as many beams as there are texts, the search finds the best of all.
TEST(BeamSearch, ManyBeamsFindTheBestOfAllTexts) {
  constexpr size_t kTokens = 5;
  for (uint32_t seed = 0; seed < 20; ++seed) {
    TableModel model = randomModel(kTokens, seed);
    GenerationConfig config;
    config.num_beams = 125;
    config.max_new_tokens = 3;
    BeamSearch search = makeSearch(config, model, {2});
    while (!search.done())
      ASSERT_FALSE(step(search, model).failed());
    double best = -1e30;
    std::vector<Token> text;
    for (Token i = 0; i < 125; ++i) {
      std::vector<Token> tokens = {2};
      double score = 0;
      for (Token digit : {i / 25, i / 5 % 5, i % 5}) {
        auto row = model.logits(tokens);
        double sum = 0;
        for (float value : row)
          sum += std::exp(static_cast<double>(value));
        score += static_cast<double>(row[static_cast<size_t>(digit)]) - std::log(sum);
        tokens.push_back(digit);
      }
      if (score > best) {
        best = score;
        text = tokens;
      }
    }
    EXPECT_EQ(search.results()[0].tokens, text);
    EXPECT_NEAR(search.results()[0].score, best / 3, 1e-5);
  }
}

TEST(BeamSearch, StopChecksFinishSequences) {
  TableModel model = randomModel(30, 8);
  GenerationConfig config;
  config.num_beams = 3;
  config.num_return_sequences = 3;
  config.max_new_tokens = 12;
  BeamSearch search = makeSearch(config, model, {1});
  search.setStopCheck([](const std::vector<Token> &tokens) { return tokens.size() >= 3 && tokens.back() % 2 == 0; });
  while (!search.done())
    ASSERT_FALSE(step(search, model).failed());
  for (const Hypothesis &hypothesis : search.results()) {
    EXPECT_TRUE(hypothesis.tokens.back() % 2 == 0 || hypothesis.tokens.size() == 13);
    for (size_t i = 2; i + 1 < hypothesis.tokens.size(); ++i)
      EXPECT_EQ(hypothesis.tokens[i] % 2, 1);
  }
}

TEST(BeamSearch, CanBeFinishedEarly) {
  TableModel model = randomModel(30, 9);
  GenerationConfig config;
  config.num_beams = 3;
  config.num_return_sequences = 2;
  config.max_new_tokens = 12;
  BeamSearch search = makeSearch(config, model, {1, 2});
  EXPECT_TRUE(search.results().empty());
  for (int i = 0; i < 4; ++i)
    ASSERT_FALSE(step(search, model).failed());
  auto best = search.tokens(0);
  EXPECT_TRUE(search.results().empty());
  search.finish();
  ASSERT_EQ(search.results().size(), 2u);
  EXPECT_EQ(search.results()[0].tokens, best);
  EXPECT_GE(search.results()[0].score, search.results()[1].score);
  EXPECT_EQ(step(search, model).message(), "the beam search is over");

  BeamSearch unused = makeSearch(config, model, {1, 2});
  unused.finish();
  EXPECT_TRUE(unused.results().empty());
}

TEST(BeamSearch, NamesWhatIsWrong) {
  BeamSearch search;
  GenerationConfig config;
  config.num_beams = 2;
  config.max_length = 3;
  std::vector<Token> prompt = {1, 2, 3};
  EXPECT_EQ(BeamSearch::create(config, 10, prompt.data(), 3, search).message(),
            "max_length must be above the prompt's length of 3, got 3");
  EXPECT_EQ(BeamSearch::create(config, 10, prompt.data(), 0, search).message(),
            "the prompt must have at least 1 token, got 0");
  EXPECT_EQ(BeamSearch::create(config, 1, prompt.data(), 2, search).message(),
            "beam search with 0 end tokens needs a vocabulary of at least 2, got 1");
  config.num_return_sequences = 4;
  EXPECT_TRUE(BeamSearch::create(config, 10, prompt.data(), 2, search).failed());
  config.num_return_sequences = 1;

  auto first = [&](std::vector<float> row) {
    EXPECT_FALSE(BeamSearch::create(config, 10, prompt.data(), 2, search).failed());
    std::vector<const float *> rows(2, row.data());
    std::string message = search.step(rows.data()).message();
    EXPECT_TRUE(search.done());
    return message;
  };
  std::vector<float> row(10);
  row[4] = NAN;
  EXPECT_EQ(first(row), "the model's logits must be numbers, got one that is not a number in beam 0");
  row[4] = INFINITY;
  EXPECT_EQ(first(row), "the model's logits must be numbers, got infinity in beam 0");
  EXPECT_EQ(first(std::vector<float>(10, -INFINITY)),
            "no token is left to choose: every logit of every beam is minus infinity");
  config.remove_invalid_values = true;
  EXPECT_EQ(first(row), "");
}

} // namespace
