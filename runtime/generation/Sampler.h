//===- Sampler.h - The next token of a sequence -----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_GENERATION_SAMPLER_H
#define LATHE_RUNTIME_GENERATION_SAMPLER_H

#include "runtime/generation/LogitsProcessors.h"
#include "runtime/generation/Selection.h"

namespace lathe::runtime {

struct Choice {
  Token token = 0;
  /// Natural logarithm of the probability with which it was chosen: after all processors, and among those tokens that
  /// temperature, top_k and the like left. For greedy decoding, after the processors.
  float logProbability = 0;
  /// That of the model, before anything was done to its logits; 0 unless asked for.
  float modelLogProbability = 0;
};

/// Chooses the next token of a sequence from the model's logits, as Hugging Face's `generate` does without beams: the
/// processors, then temperature, top_k, top_p, min_p, typical_p, epsilon_cutoff, eta_cutoff, then a draw; or, without
/// do_sample, the processors and the most probable token (the first of equal ones).
///
/// A draw is a function of the logits, the parameters, the seed, state.sequence and state.length (Philox.h): the same
/// whatever the number of threads, the rest of the batch and the order of calls, and with every instruction set.
///
/// Time is some passes over the row (nothing of the vocabulary's size is sorted). After the first call nothing is
/// allocated. Used by one thread at a time; one sampler serves all sequences.
class Sampler {
public:
  /// Fails where `config` is not valid or names tokens that the vocabulary has not. The number of beams is ignored.
  static Status create(const GenerationConfig &config, int64_t vocabulary, Sampler &result);

  /// Logits that are not numbers, or plus infinity, are an error, unless remove_invalid_values is set, and so is a row
  /// that leaves no token. `logits` (as many as the vocabulary) stay as they are.
  Status next(const float *logits, const SequenceState &state, Choice &choice);

  /// The distribution that `next` would choose from, as natural logarithms, minus infinity where nothing is left.
  /// Writes as many numbers as the vocabulary has.
  Status distribution(const float *logits, const SequenceState &state, float *logProbabilities);

  /// Whether choices have logProbability (set by default), and modelLogProbability: each costs a pass at most.
  void setLogProbabilities(bool chosen, bool model) {
    wantsChosen_ = chosen;
    wantsModel_ = model;
  }

  size_t vocabulary() const { return vocabulary_; }

private:
  Status prepare(const float *logits, const SequenceState &state);
  void narrow();
  void narrowToMass();
  void narrowToProbable();
  void narrowToTypical();
  void weigh(const float *values, size_t count);
  size_t draw(double uniform) const;
  float logProbability(float value) const;

  GenerationConfig config_;
  LogitsProcessors processors_;
  size_t vocabulary_ = 0;
  float scale_ = 1; ///< 1 / temperature
  bool wantsChosen_ = true;
  bool wantsModel_ = false;

  // Of the row at hand.
  std::vector<float> processed_;
  const float *row_ = nullptr;
  RowScan scan_;
  Selection selection_;
  bool all_ = false; ///< the candidates are the whole row, and not listed
  Candidates candidates_;
  std::vector<float> weights_;  ///< probabilities of the candidates, times total_
  std::vector<double> partial_; ///< their sums by part
  std::vector<Ranked> ranked_;
  double total_ = 0;
};

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_GENERATION_SAMPLER_H
