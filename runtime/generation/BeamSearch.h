//===- BeamSearch.h - Several continuations side by side --------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_GENERATION_BEAMSEARCH_H
#define LATHE_RUNTIME_GENERATION_BEAMSEARCH_H

#include "runtime/generation/LogitsProcessors.h"
#include "runtime/generation/Selection.h"

#include <functional>

namespace lathe::runtime {

/// How a beam goes on: with the cache of beam `parent` of the step before, and with `token`.
struct BeamMove {
  size_t parent = 0;
  Token token = 0;
};

struct Hypothesis {
  std::vector<Token> tokens; ///< with the prompt, and with the end token where that ended it; not padded
  /// The sum of the tokens' log-probabilities, divided by the number of generated tokens to the power of
  /// length_penalty.
  float score = 0;
  bool finished = false;
};

/// Beam search over one prompt, with the rules, the arithmetic (f32) and so the results of Hugging Face's `generate`:
/// of the continuations of all beams the best are looked at, twice as many as beams or more; those that end become
/// hypotheses if they are among the first, the best others are the next beams. Logits processors see each beam's own
/// tokens and change log-probabilities, not logits. Every prompt of a batch has a search of its own.
///
///     while (!search.done()) {
///       …the model's logits of the last token of every beam…
///       search.step(rows);
///       …reorder the caches by search.moves()…
///     }
///     search.results()
class BeamSearch {
public:
  /// `config` needs num_beams; fails where it is not valid, or where the prompt leaves no room.
  static Status create(const GenerationConfig &config, int64_t vocabulary, const Token *prompt, size_t promptLength,
                       BeamSearch &result);

  /// What the encoder was given, for the penalties of its tokens. Stays the caller's.
  void setEncoder(const Token *tokens, size_t length) {
    encoder_ = tokens;
    encoderLength_ = length;
  }

  /// Asked of sequences that neither end nor are full, whether they end all the same (stop strings, say). They then
  /// count as finished.
  void setStopCheck(std::function<bool(const std::vector<Token> &)> check) { stopCheck_ = std::move(check); }

  /// One step of all beams. `rows` has num_beams rows of logits, each as long as the vocabulary; of the first step all
  /// may be the same row. After a failure the search is over, with what had finished before.
  Status step(const float *const *rows);

  bool done() const { return done_; }

  /// How the beams of the last step go on; num_beams of them, the best first.
  const std::vector<BeamMove> &moves() const { return moves_; }

  /// The tokens of a running beam, the prompt among them.
  const std::vector<Token> &tokens(size_t beam) const { return running_[beam].tokens; }
  size_t beams() const { return running_.size(); }

  /// Ends the search early: running beams take the places for which nothing has finished.
  void finish();

  /// num_return_sequences hypotheses, the best first. Fewer where fewer have finished, as before the search is over, or
  /// where fewer texts are possible (Hugging Face then repeats one, with a score of -1e9).
  std::vector<Hypothesis> results() const;

private:
  struct Continuation {
    float score;
    size_t beam;
    Token token;
    bool ends;
  };

  Status rank(size_t beam, const float *row);
  void choose();
  bool ends(const Continuation &continuation);
  void advance();
  void complete();
  float normalized(float score, size_t generated) const;

  GenerationConfig config_;
  LogitsProcessors processors_;
  std::function<bool(const std::vector<Token> &)> stopCheck_;
  size_t vocabulary_ = 0;
  size_t promptLength_ = 0;
  size_t maxLength_ = 0;
  size_t kept_ = 0; ///< continuations looked at
  const Token *encoder_ = nullptr;
  size_t encoderLength_ = 0;

  std::vector<Hypothesis> running_;  ///< the score is the sum
  std::vector<Hypothesis> finished_; ///< num_beams places, the best first
  bool canImprove_ = true;
  bool done_ = false;
  std::vector<BeamMove> moves_;

  // Of the step at hand.
  std::vector<float> row_;
  Selection selection_;
  Candidates candidates_;
  std::vector<Continuation> ranked_;        ///< of one beam
  std::vector<Continuation> continuations_; ///< of all
  std::vector<Hypothesis> next_;
  std::vector<Token> scratch_;
};

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_GENERATION_BEAMSEARCH_H
