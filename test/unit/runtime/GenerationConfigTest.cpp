//===- GenerationConfigTest.cpp - Parameters of generation ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/generation/GenerationConfig.h"

#include <functional>
#include <gtest/gtest.h>
#include <limits>

using namespace lathe::runtime;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::string refusal(const std::function<void(GenerationConfig &)> &change) {
  GenerationConfig config;
  change(config);
  Status status = validate(config);
  EXPECT_TRUE(!status.failed() || status.code() == LATHE_INVALID_ARGUMENT);
  return status.message();
}

#define REFUSAL(statement) refusal([](GenerationConfig &c) { statement; })

TEST(GenerationConfig, DefaultsAreValid) { EXPECT_EQ(REFUSAL((void)c), ""); }

TEST(GenerationConfig, NamesWhatIsWrong) {
  EXPECT_EQ(REFUSAL(c.temperature = 0),
            "temperature must be a finite number above 0 (for greedy decoding, set do_sample to false), got 0");
  EXPECT_EQ(REFUSAL(c.temperature = -0.5),
            "temperature must be a finite number above 0 (for greedy decoding, set do_sample to false), got -0.5");
  EXPECT_NE(REFUSAL(c.temperature = kNan), "");
  EXPECT_NE(REFUSAL(c.temperature = kInfinity), "");
  EXPECT_EQ(REFUSAL(c.top_k = -1), "top_k must be at least 0 (0 keeps all tokens), got -1");
  EXPECT_EQ(REFUSAL(c.top_p = 0), "top_p must be above 0 and at most 1, got 0");
  EXPECT_EQ(REFUSAL(c.top_p = 1.5), "top_p must be above 0 and at most 1, got 1.5");
  EXPECT_NE(REFUSAL(c.top_p = kNan), "");
  EXPECT_EQ(REFUSAL(c.min_p = -0.1), "min_p must be from 0 to 1, got -0.1");
  EXPECT_EQ(REFUSAL(c.typical_p = 0), "typical_p must be above 0 and at most 1, got 0");
  EXPECT_EQ(REFUSAL(c.epsilon_cutoff = 1), "epsilon_cutoff must be at least 0 and below 1, got 1");
  EXPECT_EQ(REFUSAL(c.eta_cutoff = -1e-9), "eta_cutoff must be at least 0 and below 1, got -1e-09");
  EXPECT_EQ(REFUSAL(c.repetition_penalty = -1), "repetition_penalty must be above 0 (from 1e-30 to 1e+30), got -1");
  EXPECT_NE(REFUSAL(c.encoder_repetition_penalty = 0), "");
  EXPECT_EQ(REFUSAL(c.frequency_penalty = 2.5), "frequency_penalty must be from -2 to 2, got 2.5");
  EXPECT_NE(REFUSAL(c.presence_penalty = kNan), "");
  EXPECT_EQ(REFUSAL(c.no_repeat_ngram_size = -2), "no_repeat_ngram_size must be at least 0, got -2");
  EXPECT_EQ(REFUSAL(c.max_length = 0), "max_length must be at least 1, got 0");
  EXPECT_EQ(REFUSAL(c.max_new_tokens = 0), "max_new_tokens must be at least 1, got 0");
  EXPECT_EQ(REFUSAL((c.max_new_tokens = 3, c.min_new_tokens = 4)),
            "min_new_tokens must be at most max_new_tokens, which is 3, got 4");
  EXPECT_EQ(REFUSAL(c.stop_strings = {""}), "stop_strings must not contain an empty string");
  EXPECT_EQ(REFUSAL(c.num_beams = 0), "num_beams must be from 1 to 1024, got 0");
  EXPECT_EQ(REFUSAL((c.num_beams = 2, c.do_sample = true)), "do_sample must be false with beams, got num_beams 2");
  EXPECT_EQ(REFUSAL((c.num_beams = 2, c.num_return_sequences = 3)),
            "num_return_sequences must be at most num_beams, which is 2, got 3");
  EXPECT_EQ(REFUSAL(c.num_return_sequences = 2),
            "num_return_sequences must be 1 with greedy decoding, which has one result, got 2");
  EXPECT_EQ(REFUSAL((c.num_return_sequences = 2, c.do_sample = true)), "");
  EXPECT_NE(REFUSAL(c.length_penalty = kInfinity), "");
  EXPECT_EQ(REFUSAL((c.bad_words_ids = {{1}, {}})), "bad_words_ids must not contain an empty sequence");
  EXPECT_EQ(REFUSAL((c.bad_words_ids = {{-4}})), "a token of bad_words_ids must be at least 0, got -4");
  EXPECT_NE(REFUSAL((c.sequence_bias = {{{1}, kInfinity}})), "");
  EXPECT_NE(REFUSAL((c.sequence_bias = {{{1}, kNan}})), "");
  EXPECT_EQ(REFUSAL((c.sequence_bias = {{{1}, -kInfinity}})), "");
  EXPECT_NE(REFUSAL((c.sequence_bias = {{{}, 1.0}})), "");
  EXPECT_EQ(REFUSAL((c.forced_bos_token_id = 3, c.suppress_tokens = {2, 3})),
            "forced_bos_token_id 3 must not be in suppress_tokens");
  EXPECT_EQ(REFUSAL((c.forced_eos_token_id = {3, 4}, c.suppress_tokens = {2, 3})), "");
  EXPECT_NE(REFUSAL((c.forced_eos_token_id = {3}, c.suppress_tokens = {2, 3})), "");
  EXPECT_NE(REFUSAL((c.exponential_decay_length_penalty = {-1, 1.5})), "");
}

TEST(GenerationConfig, LengthsAreThoseOfHuggingFace) {
  GenerationConfig config;
  EXPECT_EQ(config.maxLength(5), 25);
  config.max_length = 12;
  EXPECT_EQ(config.maxLength(5), 12);
  config.max_new_tokens = 3;
  EXPECT_EQ(config.maxLength(5), 8);
  config.max_new_tokens = INT64_MAX;
  EXPECT_EQ(config.maxLength(5), INT64_MAX);
  config.min_length = 9;
  EXPECT_EQ(config.minLength(5), 9);
  config.min_new_tokens = 1;
  EXPECT_EQ(config.minLength(5), 6);
}

TEST(GenerationConfig, ReadsTheFileOfAModel) {
  GenerationConfig config;
  std::vector<std::string> ignored = {"left over"};
  Status status = readGenerationConfig(R"({
    "_from_model_config": true, "bos_token_id": 0, "decoder_start_token_id": 2, "early_stopping": true,
    "eos_token_id": 2, "forced_bos_token_id": 0, "forced_eos_token_id": 2, "length_penalty": 2.0, "max_length": 142,
    "min_length": 56, "no_repeat_ngram_size": 3, "num_beams": 4, "pad_token_id": 1, "transformers_version": "4.27.0",
    "use_cache": true, "top_k": null, "max_time": 3.5, "alignment_heads": [[1, 2]], "stop_strings": "\n\n",
    "bad_words_ids": [[1, 2], [3]], "sequence_bias": [[[7], -1.5], [[1, 2], 3]],
    "exponential_decay_length_penalty": [10, 1.5], "temperature": 2
  })",
                                       config, &ignored);
  ASSERT_FALSE(status.failed()) << status.message();
  EXPECT_FALSE(validate(config).failed());
  EXPECT_EQ(ignored, (std::vector<std::string>{"alignment_heads", "max_time"}));
  EXPECT_EQ(config.bos_token_id, 0);
  EXPECT_EQ(config.decoder_start_token_id, 2);
  EXPECT_EQ(config.early_stopping, EarlyStopping::Yes);
  EXPECT_EQ(config.eos_token_id, std::vector<Token>{2});
  EXPECT_EQ(config.forced_bos_token_id, 0);
  EXPECT_EQ(config.forced_eos_token_id, std::vector<Token>{2});
  EXPECT_EQ(config.length_penalty, 2);
  EXPECT_EQ(config.max_length, 142);
  EXPECT_EQ(config.num_beams, 4);
  EXPECT_EQ(config.top_k, 50);
  EXPECT_EQ(config.stop_strings, std::vector<std::string>{"\n\n"});
  EXPECT_EQ(config.bad_words_ids, (std::vector<std::vector<Token>>{{1, 2}, {3}}));
  ASSERT_EQ(config.sequence_bias.size(), 2u);
  EXPECT_EQ(config.sequence_bias[1].second, 3);
  EXPECT_EQ(config.exponential_decay_length_penalty, std::pair(int64_t(10), 1.5));
  EXPECT_EQ(config.temperature, 2);

  // What is not named stays.
  ASSERT_FALSE(
      readGenerationConfig(R"({"early_stopping": "never", "eos_token_id": [5, 6]})", config, nullptr).failed());
  EXPECT_EQ(config.early_stopping, EarlyStopping::Never);
  EXPECT_EQ(config.eos_token_id, (std::vector<Token>{5, 6}));
  EXPECT_EQ(config.num_beams, 4);
}

TEST(GenerationConfig, RefusesOtherTypes) {
  auto error = [](const char *text) {
    GenerationConfig config;
    config.top_k = 3;
    Status status = readGenerationConfig(text, config, nullptr);
    EXPECT_EQ(config.top_k, 3);
    return status.message();
  };
  EXPECT_EQ(error(""), "generation config is not valid JSON");
  EXPECT_EQ(error("{\"top_k\": 7"), "generation config is not valid JSON");
  EXPECT_EQ(error("[1]"), "generation config must be a JSON object, got [1]");
  EXPECT_EQ(error(R"({"top_k": 7, "top_p": "high"})"), "generation config: top_p must be a number, got \"high\"");
  EXPECT_EQ(error(R"({"top_k": 7.5})"), "generation config: top_k must be an integer, got 7.5");
  EXPECT_EQ(error(R"({"top_k": 99999999999999999999})"), "generation config: top_k must be an integer, got 1e+20");
  EXPECT_EQ(error(R"({"top_k": 18446744073709551615})"),
            "generation config: top_k must be an integer, got 18446744073709551615");
  EXPECT_EQ(error(R"({"seed": -1})"), "generation config: seed must be an integer of at least 0, got -1");
  EXPECT_EQ(error(R"({"do_sample": 1})"), "generation config: do_sample must be true or false, got 1");
  EXPECT_EQ(error(R"({"early_stopping": "always"})"),
            "generation config: early_stopping must be true, false or \"never\", got \"always\"");
  EXPECT_EQ(error(R"({"eos_token_id": [1, "2"]})"),
            "generation config: eos_token_id must be an integer, got [1,\"2\"]");
  EXPECT_EQ(error(R"({"bad_words_ids": 3})"), "generation config: bad_words_ids must be a list, got 3");
  EXPECT_EQ(error(R"({"sequence_bias": [[[1], 2.0, 3]]})"),
            "generation config: sequence_bias must be a list of two, got [[[1],2.0,3]]");
  EXPECT_EQ(error(R"({"sequence_bias": [[1.5, 2.0]]})"),
            "generation config: sequence_bias must be an integer, got [[1.5,2.0]]");
  std::string deep = "{\"a\":" + std::string(100000, '[') + std::string(100000, ']') + "}";
  EXPECT_EQ(error(deep.c_str()), "generation config is nested deeper than 16");
  EXPECT_NE(error("{\"a\": \"\xff\"}"), "");
}

} // namespace
