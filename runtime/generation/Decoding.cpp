//===- Decoding.cpp - Prompts continued by sampling or beams ----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/generation/Generator.h"

#include "runtime/generation/BeamSearch.h"
#include "runtime/generation/Sampler.h"
#include "runtime/generation/StopCriteria.h"

#include <algorithm>

using namespace lathe::runtime;

namespace {

/// What penalties take for the encoder's tokens: those of a model without an encoder are the prompt's.
const std::vector<Token> &encoderTokens(const Generator::Request &request, size_t prompt) {
  return request.encoderTokens.empty() ? request.prompts[prompt] : request.encoderTokens[prompt];
}

} // namespace

//===----------------------------------------------------------------------===//
// Sampling, of which the most likely token is a case
//===----------------------------------------------------------------------===//

class Generator::Sampling {
public:
  Sampling(Generator &generator, const Request &request, std::vector<Result> &results)
      : generator(generator), request(request), results(results) {}

  Status begin(std::vector<Row> &rows);
  /// Until all texts have ended.
  Status run();

private:
  struct Text {
    Sequence sequence;
    std::vector<Token> tokens;
    size_t result = 0, prompt = 0;
    StopCriteria stop;
  };

  /// The next token of a text; its result's `finish` says whether it goes on.
  Status choose(Text &text, const float *row, Choice &choice);
  Finish reason(Text &text, Token token) const;
  /// Whether the listener lets the generation go on.
  bool tell(const Text &text, const Choice &choice, const float *row);

  Generator &generator;
  const Request &request;
  std::vector<Result> &results;
  Sampler sampler;
  std::vector<std::unique_ptr<Text>> active;
  std::vector<const float *> logits; ///< of the active texts
};

Status Generator::Sampling::begin(std::vector<Row> &rows) {
  if (Status status = Sampler::create(request.config, generator.vocabulary_, sampler); status.failed())
    return status;
  sampler.setLogProbabilities(true, request.listener != nullptr);
  for (Row &row : rows) {
    const std::vector<Token> &prompt = request.prompts[row.prompt];
    for (int64_t copy = 0; copy < request.config.num_return_sequences; ++copy) {
      StopCriteria stop(request.config, static_cast<int64_t>(prompt.size()));
      active.push_back(std::make_unique<Text>(Text{row.sequence, prompt, results.size(), row.prompt, std::move(stop)}));
      logits.push_back(row.logits.data());
      Result result;
      result.prompt = row.prompt;
      results.push_back(std::move(result));
    }
    row.sequence = {};
  }
  return success();
}

Generator::Finish Generator::Sampling::reason(Text &text, Token token) const {
  switch (text.stop.check(token, static_cast<int64_t>(text.tokens.size()))) {
  case StopReason::None:
    return generator.isFull(text.tokens.size()) ? Finish::maxSequence : Finish::none;
  case StopReason::Length:
    return Finish::length;
  case StopReason::EndToken:
  case StopReason::StopString:
    return Finish::endToken;
  }
  return Finish::none;
}

Status Generator::Sampling::choose(Text &text, const float *row, Choice &choice) {
  const std::vector<Token> &source = encoderTokens(request, text.prompt);
  SequenceState state;
  state.tokens = text.tokens.data();
  state.length = text.tokens.size();
  state.promptLength = request.prompts[text.prompt].size();
  state.encoderTokens = source.data();
  state.encoderLength = source.size();
  state.sequence = text.result;
  if (Status status = sampler.next(row, state, choice); status.failed())
    return status;
  text.tokens.push_back(choice.token);
  Result &result = results[text.result];
  result.tokens.push_back(choice.token);
  result.score += choice.logProbability;
  result.finish = reason(text, choice.token);
  return success();
}

bool Generator::Sampling::tell(const Text &text, const Choice &choice, const float *row) {
  if (!request.listener)
    return true;
  Result &result = results[text.result];
  Answer answer = request.listener(
      {text.result, result.tokens.size() - 1, choice.token, choice.logProbability, choice.modelLogProbability, row});
  if (answer != Answer::goOn && result.finish == Finish::none)
    result.finish = Finish::caller;
  if (answer != Answer::cancel)
    return true;
  for (Result &other : results)
    if (other.finish == Finish::none)
      other.finish = Finish::caller;
  return false;
}

Status Generator::Sampling::run() {
  std::vector<Token> next;
  std::vector<Sequence *> sequences;
  while (!active.empty()) {
    next.clear();
    sequences.clear();
    std::vector<std::unique_ptr<Text>> going;
    for (size_t i = 0; i < active.size(); ++i) {
      Text &text = *active[i];
      Result &result = results[text.result];
      if (text.stop.full(static_cast<int64_t>(text.tokens.size()))) {
        result.finish = Finish::length;
        continue;
      }
      if (generator.isFull(text.tokens.size())) { // its prompt is as long as a sequence may be
        result.finish = Finish::maxSequence;
        continue;
      }
      Choice choice;
      if (Status status = choose(text, logits[i], choice); status.failed())
        return status;
      if (!tell(text, choice, logits[i]))
        return success();
      if (result.finish == Finish::none) {
        next.push_back(choice.token);
        going.push_back(std::move(active[i]));
        sequences.push_back(&going.back()->sequence);
      }
    }
    active = std::move(going);
    if (active.empty())
      break;
    const float *all = nullptr;
    if (Status status = generator.append(sequences, next.data(), 1, &all); status.failed())
      return status;
    logits.clear();
    for (size_t i = 0; i < active.size(); ++i)
      logits.push_back(all + static_cast<int64_t>(i) * generator.vocabulary_);
  }
  return success();
}

Status Generator::sample(Generator &generator, const Request &request, std::vector<Row> &rows, std::vector<Result> &results) {
  Sampling sampling(generator, request, results);
  if (Status status = sampling.begin(rows); status.failed())
    return status;
  return sampling.run();
}

//===----------------------------------------------------------------------===//
// Beams
//===----------------------------------------------------------------------===//

class Generator::Beams {
public:
  Beams(Generator &generator, const Request &request) : generator(generator), request(request) {}

  Status begin(std::vector<Row> &rows);
  /// Until all searches have ended or were cancelled.
  Status run();
  /// What was found, which is what there is until then where `failed`.
  void collect(std::vector<Result> &results, bool failed);

private:
  struct Search {
    BeamSearch beams;
    std::vector<Sequence> sequences;
    size_t prompt = 0;
    bool full = false;

    bool begun() const { return beams.beams() > 0; }
    bool goesOn() const { return begun() && !beams.done() && !full; }
  };

  Status begin(Search &search, Row &row);
  /// A step of the search by its beams' logits, and the sequences moved with the beams.
  Status step(Search &search);
  Finish reason(const Search &search, const Hypothesis &hypothesis, bool failed) const;

  Generator &generator;
  const Request &request;
  std::vector<Search> searches;
  std::vector<const float *> pointers; ///< logits of the beams of a search
  bool cancelled = false;
};

Status Generator::Beams::begin(std::vector<Row> &rows) {
  searches.resize(rows.size());
  for (size_t i = 0; i < rows.size(); ++i)
    searches[i].prompt = rows[i].prompt;
  for (size_t i = 0; i < rows.size(); ++i)
    if (!generator.isFull(request.prompts[rows[i].prompt].size()))
      if (Status status = begin(searches[i], rows[i]); status.failed())
        return status;
  return success();
}

Status Generator::Beams::begin(Search &search, Row &row) {
  const std::vector<Token> &prompt = request.prompts[search.prompt];
  if (Status status = BeamSearch::create(request.config, generator.vocabulary_, prompt.data(), prompt.size(), search.beams);
      status.failed())
    return status;
  const std::vector<Token> &source = encoderTokens(request, search.prompt);
  search.beams.setEncoder(source.data(), source.size());
  if (request.beamListener)
    search.beams.setStopCheck([this, prompt = search.prompt](const std::vector<Token> &tokens) {
      // Once cancelled, nothing is asked any more; beams that were not asked about stay running, and are cut off.
      Answer answer = cancelled ? Answer::goOn : request.beamListener(prompt, tokens);
      cancelled |= answer == Answer::cancel;
      return answer == Answer::endRow;
    });
  search.sequences.assign(static_cast<size_t>(request.config.num_beams), row.sequence);
  pointers.assign(search.sequences.size(), row.logits.data());
  row.sequence = {};
  return step(search);
}

Status Generator::Beams::step(Search &search) {
  if (Status status = search.beams.step(pointers.data()); status.failed())
    return status;
  if (search.beams.done())
    return success();
  std::vector<Sequence> moved;
  for (const BeamMove &move : search.beams.moves())
    moved.push_back(search.sequences[move.parent]);
  search.sequences = std::move(moved);
  search.full = !search.sequences.empty() && generator.isFull(search.beams.tokens(0).size());
  if (search.full || cancelled)
    search.beams.finish();
  return success();
}

Status Generator::Beams::run() {
  std::vector<Sequence *> sequences;
  std::vector<Token> next;
  while (true) {
    sequences.clear();
    next.clear();
    for (Search &search : searches)
      if (search.goesOn())
        for (size_t beam = 0; beam < search.sequences.size(); ++beam) {
          sequences.push_back(&search.sequences[beam]);
          next.push_back(search.beams.moves()[beam].token);
        }
    if (sequences.empty() || cancelled)
      return success();
    const float *logits = nullptr;
    if (Status status = generator.append(sequences, next.data(), 1, &logits); status.failed())
      return status;
    for (Search &search : searches) {
      if (!search.goesOn())
        continue;
      pointers.clear();
      for (size_t beam = 0; beam < search.sequences.size(); ++beam, logits += generator.vocabulary_)
        pointers.push_back(logits);
      if (Status status = step(search); status.failed())
        return status;
    }
  }
}

Generator::Finish Generator::Beams::reason(const Search &search, const Hypothesis &hypothesis, bool failed) const {
  auto begin = static_cast<int64_t>(request.prompts[search.prompt].size());
  auto size = static_cast<int64_t>(hypothesis.tokens.size());
  const std::vector<Token> &ends = request.config.eos_token_id;
  if (size > begin && std::find(ends.begin(), ends.end(), hypothesis.tokens.back()) != ends.end())
    return Finish::endToken;
  if (size >= request.config.maxLength(begin))
    return Finish::length;
  // As long as the beams that were still running: cut off.
  bool isCut = hypothesis.tokens.size() >= search.beams.tokens(0).size();
  if (isCut && search.full)
    return Finish::maxSequence;
  return isCut && failed ? Finish::none : Finish::caller;
}

void Generator::Beams::collect(std::vector<Result> &results, bool failed) {
  for (Search &search : searches) {
    size_t begin = request.prompts[search.prompt].size();
    if (!search.begun()) { // there is no room, or an error came first
      if (generator.isFull(begin))
        for (int64_t copy = 0; copy < request.config.num_return_sequences; ++copy)
          results.push_back({search.prompt, {}, Finish::maxSequence, 0});
      continue;
    }
    if (!search.beams.done())
      search.beams.finish();
    for (const Hypothesis &hypothesis : search.beams.results()) {
      Result result;
      result.prompt = search.prompt;
      result.tokens.assign(hypothesis.tokens.begin() + static_cast<int64_t>(begin), hypothesis.tokens.end());
      result.score = hypothesis.score;
      result.finish = reason(search, hypothesis, failed);
      results.push_back(std::move(result));
    }
  }
}

Status Generator::searchBeams(Generator &generator, const Request &request, std::vector<Row> &rows,
                              std::vector<Result> &results) {
  Beams beams(generator, request);
  Status status = beams.begin(rows);
  if (!status.failed())
    status = beams.run();
  beams.collect(results, status.failed());
  return status;
}
