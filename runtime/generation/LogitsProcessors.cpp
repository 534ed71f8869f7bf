//===- LogitsProcessors.cpp - Changes to logits before a choice -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/generation/LogitsProcessors.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace lathe::runtime;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

Status checkToken(const char *name, Token token, int64_t vocabulary) {
  if (token < vocabulary)
    return success();
  return failure(LATHE_INVALID_ARGUMENT, name, " must be below the model's vocabulary of ", vocabulary, ", got ",
                 token);
}

Status checkVocabulary(const GenerationConfig &config, int64_t vocabulary) {
  for (const auto &words : config.bad_words_ids)
    for (Token token : words)
      if (Status status = checkToken("a token of bad_words_ids", token, vocabulary); status.failed())
        return status;
  for (const auto &[sequence, bias] : config.sequence_bias)
    for (Token token : sequence)
      if (Status status = checkToken("a token of sequence_bias", token, vocabulary); status.failed())
        return status;
  for (Token token : config.forced_eos_token_id)
    if (Status status = checkToken("forced_eos_token_id", token, vocabulary); status.failed())
      return status;
  return config.forced_bos_token_id ? checkToken("forced_bos_token_id", *config.forced_bos_token_id, vocabulary)
                                    : success();
}

/// Whether the tokens before the last of `sequence` are the last ones of the text.
bool endsWithPrefix(const SequenceState &state, const std::vector<Token> &sequence) {
  size_t prefix = sequence.size() - 1;
  return prefix <= state.length &&
         std::equal(sequence.begin(), sequence.end() - 1, state.tokens + state.length - prefix);
}

} // namespace

Status LogitsProcessors::create(const GenerationConfig &config, int64_t vocabulary, LogitsProcessors &result) {
  if (vocabulary < 1 || vocabulary > INT32_MAX)
    return failure(LATHE_INVALID_ARGUMENT, "the vocabulary must have from 1 to ", INT32_MAX, " tokens, got ",
                   vocabulary);
  if (Status status = checkVocabulary(config, vocabulary); status.failed())
    return status;
  result = LogitsProcessors();
  result.config_ = config;
  result.vocabulary_ = static_cast<size_t>(vocabulary);
  GenerationConfig &own = result.config_;

  for (Token token : config.eos_token_id)
    if (result.inVocabulary(token) && std::find(result.ends_.begin(), result.ends_.end(), token) == result.ends_.end())
      result.ends_.push_back(token);
  // A word that is an end by itself would never let a text end; the same rule as Hugging Face's.
  own.bad_words_ids.erase(std::remove_if(own.bad_words_ids.begin(), own.bad_words_ids.end(),
                                         [&](const std::vector<Token> &word) {
                                           return word.size() == 1 &&
                                                  std::find(config.eos_token_id.begin(), config.eos_token_id.end(),
                                                            word[0]) != config.eos_token_id.end();
                                         }),
                          own.bad_words_ids.end());
  // Of equal sequences the last one counts, as in a dictionary.
  auto &biases = own.sequence_bias;
  for (size_t i = 0; i < biases.size();) {
    bool again = std::any_of(biases.begin() + static_cast<ptrdiff_t>(i) + 1, biases.end(),
                             [&](const auto &other) { return other.first == biases[i].first; });
    if (again)
      biases.erase(biases.begin() + static_cast<ptrdiff_t>(i));
    else
      ++i;
  }

  bool counts = own.repetition_penalty != 1 || own.encoder_repetition_penalty != 1 || own.frequency_penalty != 0 ||
                own.presence_penalty != 0;
  if (counts)
    result.counts_.assign(result.vocabulary_, 0);
  bool ends = !result.ends_.empty() &&
              (own.min_length > 0 || own.min_new_tokens.value_or(0) > 0 || own.exponential_decay_length_penalty);
  result.active_ = counts || ends || own.no_repeat_ngram_size || own.encoder_no_repeat_ngram_size || !biases.empty() ||
                   !own.bad_words_ids.empty() || own.forced_bos_token_id || !own.forced_eos_token_id.empty() ||
                   own.remove_invalid_values || !own.suppress_tokens.empty() || !own.begin_suppress_tokens.empty();
  return success();
}

void LogitsProcessors::apply(float *row, const SequenceState &state) {
  const GenerationConfig &config = config_;
  addBiases(row, state);
  if (config.encoder_repetition_penalty != 1)
    penalizeRepetitions(row, state.encoderTokens, state.encoderLength,
                        static_cast<float>(1 / config.encoder_repetition_penalty));
  if (config.repetition_penalty != 1)
    penalizeRepetitions(row, state.tokens, state.length, static_cast<float>(config.repetition_penalty));
  if (config.no_repeat_ngram_size)
    banRepeatedNgrams(row, state.tokens, state.length, state, config.no_repeat_ngram_size);
  if (config.encoder_no_repeat_ngram_size)
    banRepeatedNgrams(row, state.encoderTokens, state.encoderLength, state, config.encoder_no_repeat_ngram_size);
  banBadWords(row, state);
  auto prompt = static_cast<int64_t>(state.promptLength);
  if (static_cast<int64_t>(state.length) < config.minLength(prompt))
    ban(row, ends_);
  force(row, state);
  if (config.remove_invalid_values) {
    constexpr float kMax = std::numeric_limits<float>::max();
    // The comparisons of what is not a number are all false.
    for (size_t i = 0; i < vocabulary_; ++i)
      row[i] = row[i] != row[i] ? 0 : std::min(std::max(row[i], -kMax), kMax);
  }
  growEnd(row, state);
  ban(row, config.suppress_tokens);
  // A forced first token moves the beginning behind it.
  size_t begin = state.promptLength + (config.forced_bos_token_id && state.promptLength <= 1 ? 1 : 0);
  if (state.length == begin)
    ban(row, config.begin_suppress_tokens);
  penalizeFrequencies(row, state);
}

void LogitsProcessors::ban(float *row, const std::vector<Token> &tokens) const {
  for (Token token : tokens)
    if (inVocabulary(token))
      row[token] = -kInfinity;
}

void LogitsProcessors::addBiases(float *row, const SequenceState &state) const {
  for (const auto &[sequence, bias] : config_.sequence_bias)
    if (endsWithPrefix(state, sequence))
      row[sequence.back()] += static_cast<float>(bias);
}

void LogitsProcessors::penalizeRepetitions(float *row, const Token *tokens, size_t count, float penalty) {
  for (size_t i = 0; i < count; ++i) {
    Token token = tokens[i];
    if (!inVocabulary(token) || counts_[static_cast<size_t>(token)]++)
      continue;
    row[token] = row[token] < 0 ? row[token] * penalty : row[token] / penalty;
  }
  for (size_t i = 0; i < count; ++i)
    if (inVocabulary(tokens[i]))
      counts_[static_cast<size_t>(tokens[i])] = 0;
}

void LogitsProcessors::banRepeatedNgrams(float *row, const Token *text, size_t length, const SequenceState &state,
                                         int64_t size) const {
  // The beginning of the n-gram that the next token would complete.
  auto prefix = static_cast<size_t>(size) - 1;
  if (state.length < prefix || length <= prefix)
    return;
  const Token *last = state.tokens + state.length - prefix;
  for (size_t i = 0; i + prefix < length; ++i)
    if (inVocabulary(text[i + prefix]) && std::equal(last, last + prefix, text + i))
      row[text[i + prefix]] = -kInfinity;
}

void LogitsProcessors::banBadWords(float *row, const SequenceState &state) const {
  for (const std::vector<Token> &word : config_.bad_words_ids)
    if (endsWithPrefix(state, word))
      row[word.back()] = -kInfinity;
}

void LogitsProcessors::force(float *row, const SequenceState &state) const {
  auto only = [&](const Token *tokens, size_t count) {
    std::fill(row, row + vocabulary_, -kInfinity);
    for (size_t i = 0; i < count; ++i)
      row[tokens[i]] = 0;
  };
  if (config_.forced_bos_token_id && state.length == 1)
    only(&*config_.forced_bos_token_id, 1);
  const std::vector<Token> &ends = config_.forced_eos_token_id;
  auto prompt = static_cast<int64_t>(state.promptLength);
  if (!ends.empty() && static_cast<int64_t>(state.length) == config_.maxLength(prompt) - 1)
    only(ends.data(), ends.size());
}

void LogitsProcessors::growEnd(float *row, const SequenceState &state) const {
  if (!config_.exponential_decay_length_penalty)
    return;
  auto [start, factor] = *config_.exponential_decay_length_penalty;
  auto generated = static_cast<int64_t>(state.length - state.promptLength);
  if (generated <= start)
    return;
  // Grows beyond all numbers in the end, and then stays the largest one.
  constexpr double kMax = std::numeric_limits<float>::max();
  double growth = std::min(std::pow(factor, static_cast<double>(generated - start)) - 1, kMax);
  for (Token token : ends_)
    if (std::isfinite(row[token])) {
      double value = static_cast<double>(row[token]);
      row[token] = static_cast<float>(std::min(value + std::fabs(value) * growth, kMax));
    }
}

void LogitsProcessors::penalizeFrequencies(float *row, const SequenceState &state) {
  auto frequency = static_cast<float>(config_.frequency_penalty);
  auto presence = static_cast<float>(config_.presence_penalty);
  if (frequency == 0 && presence == 0)
    return;
  for (size_t i = state.promptLength; i < state.length; ++i)
    if (inVocabulary(state.tokens[i]))
      ++counts_[static_cast<size_t>(state.tokens[i])];
  for (size_t i = state.promptLength; i < state.length; ++i) {
    if (!inVocabulary(state.tokens[i]))
      continue;
    uint32_t &count = counts_[static_cast<size_t>(state.tokens[i])];
    if (count)
      row[state.tokens[i]] -= static_cast<float>(count) * frequency + presence;
    count = 0;
  }
}
