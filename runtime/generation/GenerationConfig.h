//===- GenerationConfig.h - How text is generated ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_GENERATION_GENERATIONCONFIG_H
#define LATHE_RUNTIME_GENERATION_GENERATIONCONFIG_H

#include "runtime/Status.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lathe::runtime {

/// What the inputs of models hold.
using Token = int64_t;

enum class EarlyStopping { No, Yes, Never };

/// The parameters of generation. Names, meanings and defaults are those of Hugging Face's GenerationConfig, which is
/// why the members are spelt so; `frequency_penalty`, `presence_penalty` (those of OpenAI's API) and `seed` are ours.
struct GenerationConfig {
  /// Lengths in tokens, the prompt (of the decoder) included. Without `max_length` and `max_new_tokens`, 20 tokens are
  /// generated; where both are given, `max_new_tokens` counts, and so for `min_new_tokens`.
  std::optional<int64_t> max_length;
  std::optional<int64_t> max_new_tokens;
  int64_t min_length = 0;
  std::optional<int64_t> min_new_tokens;
  std::vector<std::string> stop_strings;

  /// Drawn from the distribution, or the most probable one.
  bool do_sample = false;
  /// Decides, with the number of the sequence and of the step, every draw.
  uint64_t seed = 0;
  double temperature = 1;
  int64_t top_k = 50; ///< 0: all
  double top_p = 1;
  std::optional<double> min_p;
  double typical_p = 1;
  double epsilon_cutoff = 0;
  double eta_cutoff = 0;

  int64_t num_beams = 1;
  EarlyStopping early_stopping = EarlyStopping::No;
  double length_penalty = 1;
  int64_t num_return_sequences = 1;

  double repetition_penalty = 1;
  /// Subtracted from a token's logit: for each time that it was generated, and once if it was. The prompt does not
  /// count.
  double frequency_penalty = 0;
  double presence_penalty = 0;
  int64_t no_repeat_ngram_size = 0;
  /// As the two without "encoder", for what the encoder was given (for a model without one, the prompt).
  double encoder_repetition_penalty = 1;
  int64_t encoder_no_repeat_ngram_size = 0;
  std::vector<std::vector<Token>> bad_words_ids;
  /// Added to the logit of a sequence's last token where its other tokens are the last of the text. A sequence of one
  /// token is what others call a logit bias.
  std::vector<std::pair<std::vector<Token>, double>> sequence_bias;
  std::vector<Token> suppress_tokens;
  std::vector<Token> begin_suppress_tokens;
  std::optional<Token> forced_bos_token_id;
  std::vector<Token> forced_eos_token_id;
  /// Tokens after which, and by which power, the logit of the end grows.
  std::optional<std::pair<int64_t, double>> exponential_decay_length_penalty;
  /// Not a number becomes 0, infinities the largest numbers; otherwise both are errors.
  bool remove_invalid_values = false;
  /// Beams only: probabilities sum to 1 again after the processors.
  bool renormalize_logits = false;

  std::vector<Token> eos_token_id;
  std::optional<Token> pad_token_id;
  std::optional<Token> bos_token_id;
  std::optional<Token> decoder_start_token_id;

  /// The length at which generation ends, and below which it does not, for a prompt of `prompt` tokens.
  int64_t maxLength(int64_t prompt) const;
  int64_t minLength(int64_t prompt) const;
};

/// Whether every parameter is one that generation accepts; the message names the first that is not, what was expected
/// and what was found.
Status validate(const GenerationConfig &config);

/// Reads the text of a `generation_config.json` over `config`: what the text does not name, or gives as null, stays as
/// it is. `ignored`, where given, gets the names that are not parameters of ours, sorted, save those that cannot change
/// which tokens are generated (such as `use_cache` or `transformers_version`). The result is not validated.
Status readGenerationConfig(std::string_view text, GenerationConfig &config, std::vector<std::string> *ignored);

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_GENERATION_GENERATIONCONFIG_H
