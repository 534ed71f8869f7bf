//===- LogitsProcessors.h - Changes to logits before a choice ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_GENERATION_LOGITSPROCESSORS_H
#define LATHE_RUNTIME_GENERATION_LOGITSPROCESSORS_H

#include "runtime/generation/GenerationConfig.h"

namespace lathe::runtime {

/// One sequence, as it is before the next token. Points to what the caller holds.
struct SequenceState {
  const Token *tokens = nullptr; ///< the prompt (of the decoder) and what was generated
  size_t length = 0;
  size_t promptLength = 0;
  /// What the encoder was given; for models without one, the prompt. Only for the two parameters with "encoder".
  const Token *encoderTokens = nullptr;
  size_t encoderLength = 0;
  /// Tells the sequences of one seed apart: the row's number in the batch, or in the caller's whole work.
  uint64_t sequence = 0;
};

/// What the parameters do to the logits of the next token, in Hugging Face's order: sequence_bias, the repetition
/// penalties, no repeated n-grams, bad words, the shortest length, forced tokens, invalid values, the growing end,
/// suppressed tokens; and last, as if they were a caller's own, the frequency and presence penalties. What only
/// sampling does (temperature, top_k…) is the Sampler's.
///
/// Nothing is allocated after create. Used by one thread at a time.
class LogitsProcessors {
public:
  /// `config` was validated; here its tokens are compared with the vocabulary.
  static Status create(const GenerationConfig &config, int64_t vocabulary, LogitsProcessors &result);

  /// Whether apply can change anything.
  bool active() const { return active_; }

  /// Changes `row`, whose length is the vocabulary's.
  void apply(float *row, const SequenceState &state);

private:
  void addBiases(float *row, const SequenceState &state) const;
  void penalizeRepetitions(float *row, const Token *tokens, size_t count, float penalty);
  void banRepeatedNgrams(float *row, const Token *text, size_t length, const SequenceState &state, int64_t size) const;
  void banBadWords(float *row, const SequenceState &state) const;
  void force(float *row, const SequenceState &state) const;
  void growEnd(float *row, const SequenceState &state) const;
  void penalizeFrequencies(float *row, const SequenceState &state);
  void ban(float *row, const std::vector<Token> &tokens) const;
  bool inVocabulary(Token token) const { return token >= 0 && static_cast<size_t>(token) < vocabulary_; }

  GenerationConfig config_;
  size_t vocabulary_ = 0;
  bool active_ = false;
  std::vector<Token> ends_;
  std::vector<uint32_t> counts_; ///< by token; all 0 between calls
};

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_GENERATION_LOGITSPROCESSORS_H
