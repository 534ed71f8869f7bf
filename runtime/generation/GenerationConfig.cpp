//===- GenerationConfig.cpp - How text is generated -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/generation/GenerationConfig.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

using namespace lathe::runtime;

namespace {

/// std::to_string would write 1e-9 as 0.000000.
std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", value);
  return text;
}

Status refuse(const char *name, const std::string &expected, const std::string &found) {
  return failure(LATHE_INVALID_ARGUMENT, name, " must be ", expected, ", got ", found);
}

Status checkLengths(const GenerationConfig &config) {
  if (config.max_length && *config.max_length < 1)
    return refuse("max_length", "at least 1", join(*config.max_length));
  if (config.max_new_tokens && *config.max_new_tokens < 1)
    return refuse("max_new_tokens", "at least 1", join(*config.max_new_tokens));
  if (config.min_length < 0)
    return refuse("min_length", "at least 0", join(config.min_length));
  if (config.min_new_tokens && *config.min_new_tokens < 0)
    return refuse("min_new_tokens", "at least 0", join(*config.min_new_tokens));
  if (config.max_new_tokens && config.min_new_tokens && *config.min_new_tokens > *config.max_new_tokens)
    return refuse("min_new_tokens", join("at most max_new_tokens, which is ", *config.max_new_tokens),
                  join(*config.min_new_tokens));
  for (const std::string &text : config.stop_strings)
    if (text.empty())
      return failure(LATHE_INVALID_ARGUMENT, "stop_strings must not contain an empty string");
  return success();
}

Status checkSampling(const GenerationConfig &config) {
  // Also where nothing is drawn: the value is a mistake wherever it stands. HF's 0 for "greedy" gets its own words.
  if (!(config.temperature > 0) || !std::isfinite(config.temperature))
    return refuse("temperature", "a finite number above 0 (for greedy decoding, set do_sample to false)",
                  number(config.temperature));
  if (config.top_k < 0)
    return refuse("top_k", "at least 0 (0 keeps all tokens)", join(config.top_k));
  if (!(config.top_p > 0 && config.top_p <= 1))
    return refuse("top_p", "above 0 and at most 1", number(config.top_p));
  if (config.min_p && !(*config.min_p >= 0 && *config.min_p <= 1))
    return refuse("min_p", "from 0 to 1", number(*config.min_p));
  if (!(config.typical_p > 0 && config.typical_p <= 1))
    return refuse("typical_p", "above 0 and at most 1", number(config.typical_p));
  if (!(config.epsilon_cutoff >= 0 && config.epsilon_cutoff < 1))
    return refuse("epsilon_cutoff", "at least 0 and below 1", number(config.epsilon_cutoff));
  if (!(config.eta_cutoff >= 0 && config.eta_cutoff < 1))
    return refuse("eta_cutoff", "at least 0 and below 1", number(config.eta_cutoff));
  return success();
}

Status checkBeams(const GenerationConfig &config) {
  constexpr int64_t kMostBeams = 1024;
  if (config.num_beams < 1 || config.num_beams > kMostBeams)
    return refuse("num_beams", join("from 1 to ", kMostBeams), join(config.num_beams));
  if (config.num_return_sequences < 1 || config.num_return_sequences > kMostBeams)
    return refuse("num_return_sequences", join("from 1 to ", kMostBeams), join(config.num_return_sequences));
  if (!std::isfinite(config.length_penalty))
    return refuse("length_penalty", "a finite number", number(config.length_penalty));
  if (config.num_beams > 1 && config.do_sample)
    return failure(LATHE_INVALID_ARGUMENT, "do_sample must be false with beams, got num_beams ", config.num_beams);
  if (config.num_beams > 1 && config.num_return_sequences > config.num_beams)
    return refuse("num_return_sequences", join("at most num_beams, which is ", config.num_beams),
                  join(config.num_return_sequences));
  if (config.num_beams == 1 && !config.do_sample && config.num_return_sequences > 1)
    return failure(LATHE_INVALID_ARGUMENT,
                   "num_return_sequences must be 1 with greedy decoding, which has one result, got ",
                   config.num_return_sequences);
  return success();
}

Status checkPenalties(const GenerationConfig &config) {
  // Logits are f32, and so are the penalties and their inverses.
  constexpr double kLeast = 1e-30;
  constexpr double kMost = 1e30;
  for (auto [name, value] : {std::pair("repetition_penalty", config.repetition_penalty),
                             std::pair("encoder_repetition_penalty", config.encoder_repetition_penalty)})
    if (!(value >= kLeast && value <= kMost))
      return refuse(name, join("above 0 (from ", number(kLeast), " to ", number(kMost), ")"), number(value));
  // The range of the API that they come from.
  for (auto [name, value] : {std::pair("frequency_penalty", config.frequency_penalty),
                             std::pair("presence_penalty", config.presence_penalty)})
    if (!(value >= -2 && value <= 2))
      return refuse(name, "from -2 to 2", number(value));
  for (auto [name, value] : {std::pair("no_repeat_ngram_size", config.no_repeat_ngram_size),
                             std::pair("encoder_no_repeat_ngram_size", config.encoder_no_repeat_ngram_size)})
    if (value < 0)
      return refuse(name, "at least 0", join(value));
  if (config.exponential_decay_length_penalty) {
    auto [start, factor] = *config.exponential_decay_length_penalty;
    if (start < 0 || !(factor > 0 && factor <= kMost))
      return refuse("exponential_decay_length_penalty", "a count of at least 0 and a factor above 0",
                    join(start, " and ", number(factor)));
  }
  return success();
}

/// Ids that no vocabulary has are refused where they would be used to write; as ends or as what is suppressed they do
/// nothing, and published configurations have them.
Status checkTokens(const GenerationConfig &config) {
  for (const auto &words : config.bad_words_ids) {
    if (words.empty())
      return failure(LATHE_INVALID_ARGUMENT, "bad_words_ids must not contain an empty sequence");
    for (Token token : words)
      if (token < 0)
        return refuse("a token of bad_words_ids", "at least 0", join(token));
  }
  for (const auto &[sequence, bias] : config.sequence_bias) {
    if (sequence.empty())
      return failure(LATHE_INVALID_ARGUMENT, "sequence_bias must not contain an empty sequence");
    for (Token token : sequence)
      if (token < 0)
        return refuse("a token of sequence_bias", "at least 0", join(token));
    // Minus infinity forbids a token.
    if (!(bias <= 1e30) || (bias < -1e30 && std::isfinite(bias)))
      return refuse("a bias of sequence_bias", "from -1e30 to 1e30, or minus infinity", number(bias));
  }
  if (config.forced_bos_token_id && *config.forced_bos_token_id < 0)
    return refuse("forced_bos_token_id", "at least 0", join(*config.forced_bos_token_id));
  for (Token token : config.forced_eos_token_id)
    if (token < 0)
      return refuse("forced_eos_token_id", "at least 0", join(token));
  auto suppressed = [&](Token token) {
    return std::find(config.suppress_tokens.begin(), config.suppress_tokens.end(), token) !=
           config.suppress_tokens.end();
  };
  // No token at all would be left at that step.
  if (config.forced_bos_token_id && suppressed(*config.forced_bos_token_id))
    return failure(LATHE_INVALID_ARGUMENT, "forced_bos_token_id ", *config.forced_bos_token_id,
                   " must not be in suppress_tokens");
  if (!config.forced_eos_token_id.empty() &&
      std::all_of(config.forced_eos_token_id.begin(), config.forced_eos_token_id.end(), suppressed))
    return failure(LATHE_INVALID_ARGUMENT, "forced_eos_token_id ", config.forced_eos_token_id.front(),
                   " must not be in suppress_tokens");
  return success();
}

int64_t saturatingSum(int64_t a, int64_t b) {
  int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<int64_t>::max() : sum;
}

} // namespace

int64_t GenerationConfig::maxLength(int64_t prompt) const {
  constexpr int64_t kDefaultNewTokens = 20;
  if (max_new_tokens)
    return saturatingSum(prompt, *max_new_tokens);
  return max_length ? *max_length : saturatingSum(prompt, kDefaultNewTokens);
}

int64_t GenerationConfig::minLength(int64_t prompt) const {
  return min_new_tokens ? saturatingSum(prompt, *min_new_tokens) : min_length;
}

Status lathe::runtime::validate(const GenerationConfig &config) {
  for (auto check : {checkLengths, checkSampling, checkBeams, checkPenalties, checkTokens})
    if (Status status = check(config); status.failed())
      return status;
  return success();
}
