//===- BeamSearch.cpp - Several continuations side by side ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/generation/BeamSearch.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

using namespace lathe::runtime;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// What takes a sequence out of a comparison without taking it out of the list. Finite, so that the order among such
// sequences stays that of Hugging Face, whose number it is.
constexpr float kOut = -1.0e9f;

/// The places of scores, the best first and of equal ones the first first.
std::vector<size_t> ranking(const std::vector<float> &scores) {
  std::vector<size_t> places(scores.size());
  std::iota(places.begin(), places.end(), size_t(0));
  std::sort(places.begin(), places.end(),
            [&](size_t a, size_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });
  return places;
}

/// log(softmax(row)), in place.
void logSoftmax(std::vector<float> &row, const RowScan &scan) {
  auto sum = static_cast<float>(std::log(rowKernels().sumOfExponentials(row.data(), row.size(), scan.max, 1)));
  for (float &value : row)
    value = value - scan.max - sum;
}

} // namespace

Status BeamSearch::create(const GenerationConfig &config, int64_t vocabulary, const Token *prompt, size_t promptLength,
                          BeamSearch &result) {
  if (Status status = validate(config); status.failed())
    return status;
  result = BeamSearch();
  if (Status status = LogitsProcessors::create(config, vocabulary, result.processors_); status.failed())
    return status;
  auto beams = static_cast<size_t>(config.num_beams);
  // So many that, whatever ends, as many as there are beams go on.
  size_t perBeam = std::max<size_t>(2, 1 + config.eos_token_id.size());
  if (static_cast<size_t>(vocabulary) < perBeam)
    return failure(LATHE_INVALID_ARGUMENT, "beam search with ", config.eos_token_id.size(),
                   " end tokens needs a vocabulary of at least ", perBeam, ", got ", vocabulary);
  int64_t maxLength = config.maxLength(static_cast<int64_t>(promptLength));
  if (promptLength == 0)
    return failure(LATHE_INVALID_ARGUMENT, "the prompt must have at least 1 token, got 0");
  if (maxLength <= static_cast<int64_t>(promptLength))
    return failure(LATHE_INVALID_ARGUMENT, "max_length must be above the prompt's length of ", promptLength, ", got ",
                   maxLength);
  result.config_ = config;
  result.vocabulary_ = static_cast<size_t>(vocabulary);
  result.promptLength_ = promptLength;
  result.maxLength_ = static_cast<size_t>(maxLength);
  result.kept_ = perBeam * beams;
  Hypothesis start;
  start.tokens.assign(prompt, prompt + promptLength);
  // All beams begin the same: only the first counts, or each continuation would be found once for each.
  start.score = kOut;
  result.running_.assign(beams, start);
  result.finished_ = result.running_;
  result.running_.front().score = 0;
  return success();
}

Status BeamSearch::step(const float *const *rows) {
  if (done_)
    return failure(LATHE_INVALID_ARGUMENT, "the beam search is over");
  continuations_.clear();
  bool first = running_.front().tokens.size() == promptLength_;
  for (size_t beam = 0; beam < running_.size(); ++beam) {
    if (!first || rows[beam] != rows[0] || beam == 0)
      if (Status status = rank(beam, rows[beam]); status.failed()) {
        done_ = true;
        return status;
      }
    for (const Continuation &found : ranked_)
      continuations_.push_back({running_[beam].score + found.score, beam, found.token, false});
  }
  choose();
  if (continuations_.front().score == -kInfinity) {
    done_ = true;
    return failure(LATHE_EXECUTION_ERROR, "no token is left to choose: every logit of every beam is minus infinity");
  }
  for (Continuation &continuation : continuations_)
    continuation.ends = ends(continuation);
  complete();
  advance();
  return success();
}

/// The best tokens of one beam, to ranked_: as many as could be wanted if all were of this beam.
Status BeamSearch::rank(size_t beam, const float *logits) {
  row_.assign(logits, logits + vocabulary_);
  RowScan scan = selection_.scan(row_.data(), vocabulary_);
  auto invalid = [&](const char *what) {
    return failure(LATHE_EXECUTION_ERROR, "the model's logits must be numbers, got ", what, " in beam ", beam);
  };
  if (!config_.remove_invalid_values) {
    if (scan.nan)
      return invalid("one that is not a number");
    if (scan.max == kInfinity)
      return invalid("infinity");
  }
  if (!scan.nan && std::fabs(scan.max) != kInfinity)
    logSoftmax(row_, scan);
  else if (scan.max != -kInfinity)
    // What the logarithm of such a softmax is; only to be removed.
    std::fill(row_.begin(), row_.end(), std::numeric_limits<float>::quiet_NaN());
  if (processors_.active()) {
    SequenceState state;
    state.tokens = running_[beam].tokens.data();
    state.length = running_[beam].tokens.size();
    state.promptLength = promptLength_;
    state.encoderTokens = encoder_;
    state.encoderLength = encoderLength_;
    processors_.apply(row_.data(), state);
  }
  scan = selection_.scan(row_.data(), vocabulary_);
  if (config_.renormalize_logits && scan.max != -kInfinity) {
    logSoftmax(row_, scan);
    scan = selection_.scan(row_.data(), vocabulary_);
  }

  size_t wanted = std::min(kept_, vocabulary_);
  selection_.largest(wanted, candidates_);
  ranked_.clear();
  for (size_t i = 0; i < candidates_.count; ++i)
    ranked_.push_back({candidates_.values[i], beam, candidates_.places[i], false});
  // Where fewer are possible, impossible ones fill the list: beams must not run out.
  for (size_t i = 0; i < vocabulary_ && ranked_.size() < wanted; ++i)
    if (row_[i] == -kInfinity)
      ranked_.push_back({-kInfinity, beam, static_cast<Token>(i), false});
  std::sort(ranked_.begin(), ranked_.end(), [](const Continuation &a, const Continuation &b) {
    return a.score != b.score ? a.score > b.score : a.token < b.token;
  });
  ranked_.resize(std::min(wanted, ranked_.size()));
  return success();
}

/// Keeps the best of all continuations.
void BeamSearch::choose() {
  auto better = [](const Continuation &a, const Continuation &b) {
    if (a.score != b.score)
      return a.score > b.score;
    return a.beam != b.beam ? a.beam < b.beam : a.token < b.token;
  };
  auto end = continuations_.begin() + static_cast<ptrdiff_t>(std::min(kept_, continuations_.size()));
  std::partial_sort(continuations_.begin(), end, continuations_.end(), better);
  continuations_.erase(end, continuations_.end());
}

bool BeamSearch::ends(const Continuation &continuation) {
  const Hypothesis &parent = running_[continuation.beam];
  const std::vector<Token> &ends = config_.eos_token_id;
  if (parent.tokens.size() + 1 >= maxLength_ || std::find(ends.begin(), ends.end(), continuation.token) != ends.end())
    return true;
  if (!stopCheck_)
    return false;
  scratch_ = parent.tokens;
  scratch_.push_back(continuation.token);
  return stopCheck_(scratch_);
}

float BeamSearch::normalized(float score, size_t generated) const {
  return score / static_cast<float>(std::pow(static_cast<double>(generated), config_.length_penalty));
}

/// Takes those of the first continuations that end among the finished hypotheses, where they are better.
void BeamSearch::complete() {
  size_t beams = running_.size();
  size_t generated = running_.front().tokens.size() + 1 - promptLength_;
  bool full = config_.early_stopping == EarlyStopping::Yes &&
              std::all_of(finished_.begin(), finished_.end(), [](const Hypothesis &h) { return h.finished; });
  // Places in the list of what has finished, followed by the continuations.
  std::vector<float> scores;
  for (const Hypothesis &hypothesis : finished_)
    scores.push_back(hypothesis.score);
  for (size_t i = 0; i < continuations_.size(); ++i) {
    float score = normalized(continuations_[i].score, generated);
    score += full ? kOut : 0;
    score += canImprove_ ? 0 : kOut;
    score += i < beams && continuations_[i].ends ? 0 : kOut;
    scores.push_back(score);
  }
  std::vector<size_t> places = ranking(scores);
  next_.clear();
  for (size_t i = 0; i < beams; ++i) {
    size_t place = places[i];
    if (place < beams) {
      next_.push_back(finished_[place]);
      continue;
    }
    const Continuation &continuation = continuations_[place - beams];
    Hypothesis hypothesis;
    hypothesis.tokens = running_[continuation.beam].tokens;
    hypothesis.tokens.push_back(continuation.token);
    hypothesis.score = scores[place];
    hypothesis.finished = place - beams < beams && continuation.ends;
    next_.push_back(std::move(hypothesis));
  }
  finished_.swap(next_);
}

/// The next beams, and whether there is a reason to go on.
void BeamSearch::advance() {
  size_t beams = running_.size();
  bool allEnd = true;
  std::vector<float> scores;
  for (const Continuation &continuation : continuations_) {
    allEnd = allEnd && continuation.ends;
    scores.push_back(continuation.score + (continuation.ends ? kOut : 0));
  }
  std::vector<size_t> places = ranking(scores);
  moves_.clear();
  next_.clear();
  for (size_t i = 0; i < beams; ++i) {
    const Continuation &continuation = continuations_[places[i]];
    moves_.push_back({continuation.beam, continuation.token});
    Hypothesis beam;
    beam.tokens = running_[continuation.beam].tokens;
    beam.tokens.push_back(continuation.token);
    beam.score = scores[places[i]];
    next_.push_back(std::move(beam));
  }
  running_.swap(next_);

  // What the best beam could still reach. It is a guess, and HF's: the length that it is divided by may not be the one
  // at which it ends.
  size_t length = config_.early_stopping == EarlyStopping::Never && config_.length_penalty > 0
                      ? maxLength_
                      : running_.front().tokens.size();
  float reachable = normalized(running_.front().score, length - promptLength_);
  float worst = kInfinity;
  bool allFinished = true;
  bool anyFinished = false;
  for (const Hypothesis &hypothesis : finished_) {
    worst = std::min(worst, hypothesis.score);
    allFinished = allFinished && hypothesis.finished;
    anyFinished = anyFinished || hypothesis.finished;
  }
  canImprove_ = canImprove_ && ((anyFinished && reachable > worst) || (!allFinished && reachable > kOut));
  done_ = !canImprove_ || allEnd || (allFinished && config_.early_stopping == EarlyStopping::Yes);
}

void BeamSearch::finish() {
  done_ = true;
  size_t generated = running_.front().tokens.size() - promptLength_;
  if (generated == 0)
    return;
  size_t next = 0;
  for (Hypothesis &hypothesis : finished_) {
    if (hypothesis.finished)
      continue;
    hypothesis = running_[next++];
    hypothesis.score = normalized(hypothesis.score, generated);
    hypothesis.finished = true;
  }
  std::vector<float> scores;
  for (const Hypothesis &hypothesis : finished_)
    scores.push_back(hypothesis.score);
  next_.clear();
  for (size_t place : ranking(scores))
    next_.push_back(finished_[place]);
  finished_.swap(next_);
}

std::vector<Hypothesis> BeamSearch::results() const {
  std::vector<Hypothesis> results;
  for (const Hypothesis &hypothesis : finished_)
    if (hypothesis.finished && results.size() < static_cast<size_t>(config_.num_return_sequences))
      results.push_back(hypothesis);
  return results;
}
