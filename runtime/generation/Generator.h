//===- Generator.h - Sequences that a module goes on ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_GENERATION_GENERATOR_H
#define LATHE_RUNTIME_GENERATION_GENERATOR_H

#include "runtime/Session.h"
#include "runtime/generation/GenerationConfig.h"
#include "runtime/generation/KvCache.h"

#include <functional>

namespace lathe::runtime {

/// Generates with the programs `step` and `encode` of a module. Used by one thread at a time.
class Generator {
public:
  struct Options {
    int threads = 0;
    uint64_t memoryBudget = 0; ///< bytes of the step's session and the cache; 0: any
    int64_t maxSequence = 0;   ///< tokens of a sequence, the prompt included; 0: as many as the model has positions for
  };

  /// An input of the program `encode` for one sequence, whose first extent is 1.
  struct Source {
    lathe_dtype type = LATHE_F32;
    std::vector<int64_t> dims;
    const void *data = nullptr;
  };

  /// Why a sequence has ended.
  enum class Finish {
    none,
    endToken,    ///< one of eos_token_id, which is the last token
    length,      ///< max_new_tokens or max_length
    maxSequence, ///< the longest sequence that the model or the caller allows
    caller,      ///< asked for
  };

  /// A token that was chosen.
  struct Event {
    size_t row = 0; ///< of the results
    size_t index = 0; ///< of the row's new tokens
    Token token = 0;
    float logProbability = 0;      ///< as of Choice
    float modelLogProbability = 0; ///< of the model alone
    const float *logits = nullptr; ///< of the model, as many as the vocabulary; valid while the call
  };
  enum class Answer { goOn, endRow, cancel };
  using Listener = std::function<Answer(const Event &)>;

  struct Result {
    size_t prompt = 0;
    std::vector<Token> tokens; ///< new ones
    Finish finish = Finish::none;
    float score = 0; ///< of beams, else the sum of the log-probabilities
  };

  struct Request {
    std::vector<std::vector<Token>> prompts;
    std::vector<std::vector<Source>> sources; ///< by prompt and by input of `encode`; empty without that program
    /// What the encoder was given, by prompt, for penalties of its tokens; may be empty.
    std::vector<std::vector<Token>> encoderTokens;
    GenerationConfig config;
    Listener listener; ///< may be empty; is not asked about beams
    /// Asked between the pieces of a prompt, of which `done` of `total` tokens are computed, whether to go on; any other answer ends
    /// all rows; may be empty.
    std::function<Answer(size_t done, size_t total)> promptListener;
    /// Asked about the continuations of a prompt by beams, the prompt among their tokens, that neither an end token nor the length
    /// ends; may be empty.
    std::function<Answer(size_t prompt, const std::vector<Token> &)> beamListener;
  };

  static Status create(std::shared_ptr<Module> module, const Options &options, std::unique_ptr<Generator> *generator);

  /// num_return_sequences results for each prompt, in their order. On failure the results are those of the tokens until
  /// then.
  Status generate(const Request &request, std::vector<Result> *results);

  const Module &module() const { return *module_; }
  int64_t vocabulary() const { return vocabulary_; }
  int64_t maxSequence() const { return maxSequence_; }
  /// Inputs of `encode`; none without that program.
  const std::vector<Tensor> &sources() const;
  Session &step() { return *step_; }
  uint64_t cacheBytes() const { return cache_->bytes(); }

  /// Tokens of a sequence that are computed together: memory grows with them, and products are as fast as they get.
  static constexpr int64_t kPieceTokens = 512;

  /// What `generate` is made of: a sequence without tokens, and `count` tokens more of each sequence, [sequences, count], in pieces.
  /// `logits` of the last tokens, [sequences, vocabulary], are valid until the next call. A failure leaves the sequences as
  /// they were. `goesOn` is asked between pieces, with the tokens of each sequence that are done; where it says no, `logits` are null
  /// and the sequences have what is done.
  using Sequence = KvCache::Sequence;
  Status begin(const std::vector<Source> &sources, Sequence *sequence);
  Status append(const std::vector<Sequence *> &sequences, const Token *tokens, int64_t count, const float **logits,
                const std::function<bool(int64_t done)> &goesOn = nullptr);

  /// The same, told of the logits after each of the tokens: those of tokens [first, first + tokens) of sequence s begin at
  /// logits + s * stride. Memory is bounded whatever the count.
  struct ScoredTokens {
    int64_t first = 0, tokens = 0, stride = 0;
    const float *logits = nullptr;
  };
  /// Tokens of a run that are scored together; 1 of a program that gives the logits of the last one alone.
  int64_t scoredTokens() const { return wantedInput_ ? kPieceTokens : 1; }
  /// The natural logarithms of the tokens' probabilities, each after all tokens before it, [sequences, count]. `last` are the logits
  /// after what the sequences have, [sequences, vocabulary], and afterwards those after the tokens; while it is empty, the first
  /// token of each sequence gets NaN.
  Status score(const std::vector<Sequence *> &sequences, const Token *tokens, int64_t count, std::vector<float> &last,
               float *logProbabilities);
  Status appendScored(const std::vector<Sequence *> &sequences, const Token *tokens, int64_t count,
                      const std::function<void(const ScoredTokens &)> &listener);

private:
  /// A prompt that is computed.
  struct Row {
    Sequence sequence;
    std::vector<float> logits; ///< after the prompt
    size_t prompt = 0;
  };
  class Sampling;
  class Beams;

  Status locate();
  /// One run. `logits` [sequences, wanted, vocabulary] are of the last `wanted` tokens, 1 of a program that knows no other.
  Status advance(const std::vector<Sequence *> &sequences, const Token *tokens, int64_t count, int64_t wanted, const float **logits);
  /// Runs over pieces of at most `piece` tokens, [sequences, count] of a row length that is more.
  Status advancePieces(const std::vector<Sequence *> &sequences, const Token *tokens, int64_t count, int64_t piece, bool all,
                       const std::function<bool(int64_t first, int64_t tokens, const float *logits)> &done);
  Status encode(const std::vector<Source> &sources, Sequence *sequence);
  Status checkRequest(const Request &request) const;
  Status prefill(const Request &request, std::vector<Row> &rows, bool *cancelled);
  static Status sample(Generator &generator, const Request &request, std::vector<Row> &rows, std::vector<Result> &results);
  static Status searchBeams(Generator &generator, const Request &request, std::vector<Row> &rows, std::vector<Result> &results);
  bool isFull(size_t tokens) const { return static_cast<int64_t>(tokens) >= maxSequence_; }

  std::shared_ptr<Module> module_;
  Options options_;
  std::unique_ptr<Session> step_, encode_;
  std::unique_ptr<KvCache> cache_;
  int64_t vocabulary_ = 0, maxSequence_ = 0;
  size_t tokensInput_ = 0, positionsInput_ = 0, keyPositionsInput_ = 0;
  std::optional<size_t> sourcePositionsInput_, sourceLastInput_, wantedInput_;
  bool wideTokens_ = true; ///< i64, else i32
  std::vector<size_t> filled_; ///< caches that the outputs of `encode` fill
  // Of a run.
  std::vector<int64_t> positions_, numbers_, sourceLast_, wide_;
  std::vector<int32_t> narrow_;
  std::vector<Token> piece_;
  std::vector<float> scratch_;
};

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_GENERATION_GENERATOR_H
