//===- Sampler.cpp - The next token of a sequence ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/generation/Sampler.h"

#include "runtime/generation/Philox.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace lathe::runtime;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Parts of the weights with sums of their own, so that a draw looks at one part only.
constexpr size_t kPart = 1024;

Status checkScan(const RowScan &scan) {
  if (scan.nan)
    return failure(LATHE_EXECUTION_ERROR, "the model's logits must be numbers, got one that is not a number");
  if (scan.max == kInfinity)
    return failure(LATHE_EXECUTION_ERROR, "the model's logits must be finite, got infinity for token ", scan.argmax);
  if (scan.max == -kInfinity)
    return failure(LATHE_EXECUTION_ERROR, "no token is left to choose: every logit is minus infinity");
  return success();
}

} // namespace

Status Sampler::create(const GenerationConfig &config, int64_t vocabulary, Sampler &result) {
  GenerationConfig own = config;
  own.num_beams = own.num_return_sequences = 1;
  if (Status status = validate(own); status.failed())
    return status;
  result = Sampler();
  if (Status status = LogitsProcessors::create(own, vocabulary, result.processors_); status.failed())
    return status;
  result.config_ = std::move(own);
  result.vocabulary_ = static_cast<size_t>(vocabulary);
  // Of temperatures whose inverse is no float, the nearest ones: minus infinity times 0 would not be a number.
  result.scale_ = static_cast<float>(std::clamp<double>(
      1 / result.config_.temperature, std::numeric_limits<float>::min(), std::numeric_limits<float>::max()));
  return success();
}

/// Processes a row and looks at it.
Status Sampler::prepare(const float *logits, const SequenceState &state) {
  if (state.length < state.promptLength)
    return failure(LATHE_INVALID_ARGUMENT, "a sequence must not be shorter than its prompt of ", state.promptLength,
                   ", got ", state.length);
  row_ = logits;
  if (processors_.active()) {
    processed_.assign(logits, logits + vocabulary_);
    processors_.apply(processed_.data(), state);
    row_ = processed_.data();
  }
  scan_ = selection_.scan(row_, vocabulary_);
  return checkScan(scan_);
}

Status Sampler::next(const float *logits, const SequenceState &state, Choice &choice) {
  choice = Choice();
  if (Status status = prepare(logits, state); status.failed())
    return status;
  const RowKernels &kernels = rowKernels();
  if (config_.do_sample) {
    narrow();
    size_t drawn = draw(philoxUniform(config_.seed, state.sequence, state.length));
    choice.token = all_ ? static_cast<Token>(drawn) : candidates_.places[drawn];
    choice.logProbability = logProbability(row_[choice.token]);
  } else {
    choice.token = static_cast<Token>(scan_.argmax);
    if (wantsChosen_)
      choice.logProbability = static_cast<float>(-std::log(kernels.sumOfExponentials(row_, vocabulary_, scan_.max, 1)));
  }
  if (wantsModel_) {
    if (row_ != logits)
      scan_ = selection_.scan(logits, vocabulary_);
    if (Status status = checkScan(scan_); status.failed())
      return status;
    double sum = kernels.sumOfExponentials(logits, vocabulary_, scan_.max, 1);
    choice.modelLogProbability =
        static_cast<float>(static_cast<double>(logits[choice.token] - scan_.max) - std::log(sum));
  }
  return success();
}

Status Sampler::distribution(const float *logits, const SequenceState &state, float *logProbabilities) {
  if (Status status = prepare(logits, state); status.failed())
    return status;
  if (config_.do_sample)
    narrow();
  else
    all_ = true;
  if (all_) {
    float scale = config_.do_sample ? scale_ : 1;
    double sum = std::log(rowKernels().sumOfExponentials(row_, vocabulary_, scan_.max, scale));
    for (size_t i = 0; i < vocabulary_; ++i)
      logProbabilities[i] = static_cast<float>(static_cast<double>((row_[i] - scan_.max) * scale) - sum);
    return success();
  }
  std::fill(logProbabilities, logProbabilities + vocabulary_, -kInfinity);
  for (size_t i = 0; i < candidates_.count; ++i)
    logProbabilities[candidates_.places[i]] = logProbability(candidates_.values[i]);
  return success();
}

float Sampler::logProbability(float value) const {
  return static_cast<float>(static_cast<double>((value - scan_.max) * scale_) - std::log(total_));
}

/// The weights of some values, and their sum.
void Sampler::weigh(const float *values, size_t count) {
  if (weights_.size() < vocabulary_) {
    weights_.resize(vocabulary_);
    partial_.resize((vocabulary_ + kPart - 1) / kPart);
  }
  total_ = 0;
  for (size_t begin = 0; begin < count; begin += kPart) {
    size_t part = std::min(kPart, count - begin);
    partial_[begin / kPart] =
        rowKernels().exponentials(values + begin, part, scan_.max, scale_, weights_.data() + begin);
    total_ += partial_[begin / kPart];
  }
}

/// What is left to draw from. A filter that looks at probabilities takes those of what the filters before it left.
void Sampler::narrow() {
  bool byRank = config_.top_k > 0 && static_cast<size_t>(config_.top_k) < vocabulary_;
  bool byMass = config_.top_p < 1;
  bool byProbability = config_.min_p.value_or(0) > 0 || config_.epsilon_cutoff > 0 || config_.eta_cutoff > 0;
  all_ = !byRank && !byMass && !byProbability && config_.typical_p == 1;
  if (all_) {
    weigh(row_, vocabulary_);
    return;
  }
  if (byRank) {
    selection_.largest(static_cast<size_t>(config_.top_k), candidates_);
    weigh(candidates_.values.data(), candidates_.count);
    narrowToMass();
  } else {
    // Only what can be left is looked at one by one; the limits are kept a little lower, for the rounding of
    // exponentials.
    constexpr double kSlack = 1e-3;
    double distance = std::numeric_limits<double>::infinity();
    if (config_.min_p.value_or(0) > 0)
      distance = kSlack - std::log(*config_.min_p);
    double sum = 0;
    if (byMass) {
      // What lies farther below has, all together, less than the mass that may be left out.
      sum = rowKernels().sumOfExponentials(row_, vocabulary_, scan_.max, scale_);
      distance = std::min(distance, kSlack + std::log(static_cast<double>(vocabulary_) / ((1 - config_.top_p) * sum)));
    }
    constexpr double kLowest = -std::numeric_limits<float>::max();
    double threshold = static_cast<double>(scan_.max) - distance / static_cast<double>(scale_);
    selection_.collect(static_cast<float>(std::max(threshold, kLowest)), candidates_);
    weigh(candidates_.values.data(), candidates_.count);
    if (byMass)
      total_ = sum;
    narrowToMass();
  }
  narrowToProbable();
}

/// top_p: the fewest of the most probable ones that have so much of total_.
void Sampler::narrowToMass() {
  if (config_.top_p == 1)
    return;
  if (ranked_.size() < vocabulary_)
    ranked_.resize(vocabulary_);
  for (size_t i = 0; i < candidates_.count; ++i)
    ranked_[i] = {-candidates_.values[i], candidates_.places[i], weights_[i]};
  Ranked last = rankedByMass(ranked_.data(), candidates_.count, config_.top_p * total_);
  candidates_.filter([&](size_t i) {
    float value = -candidates_.values[i];
    return value < last.key || (value == last.key && candidates_.places[i] >= last.place);
  });
  weigh(candidates_.values.data(), candidates_.count);
}

/// min_p, typical_p, epsilon_cutoff, eta_cutoff.
void Sampler::narrowToProbable() {
  // The most probable one stays; typical_p may have left out that of the row.
  auto cut = [&](double least) {
    const float *values = candidates_.values.data();
    float largest = *std::max_element(values, values + candidates_.count);
    // Candidates move to the front, so weights_[i] is still that of the one looked at.
    candidates_.filter(
        [&](size_t i) { return static_cast<double>(weights_[i]) >= least || candidates_.values[i] == largest; });
    weigh(candidates_.values.data(), candidates_.count);
  };
  // The weight of the most probable one is 1 up to here.
  if (config_.min_p.value_or(0) > 0)
    cut(*config_.min_p);
  if (config_.typical_p < 1)
    narrowToTypical();
  if (config_.epsilon_cutoff > 0)
    cut(config_.epsilon_cutoff * total_);
  if (config_.eta_cutoff > 0) {
    double entropy = 0;
    for (size_t i = 0; i < candidates_.count; ++i)
      if (weights_[i] > 0)
        entropy -=
            static_cast<double>(weights_[i]) / total_ * static_cast<double>(logProbability(candidates_.values[i]));
    cut(std::min(config_.eta_cutoff, std::sqrt(config_.eta_cutoff) * std::exp(-entropy)) * total_);
  }
}

/// Those whose surprise is nearest to the expected one (Meister, Pimentel, Wiher, Cotterell: "Locally typical
/// sampling", 2022), until they have so much of the probability; of equally near ones all.
void Sampler::narrowToTypical() {
  if (ranked_.size() < vocabulary_)
    ranked_.resize(vocabulary_);
  double entropy = 0;
  for (size_t i = 0; i < candidates_.count; ++i)
    if (weights_[i] > 0)
      entropy -= static_cast<double>(weights_[i]) / total_ * static_cast<double>(logProbability(candidates_.values[i]));
  auto distance = [&](size_t i) {
    return std::fabs(-logProbability(candidates_.values[i]) - static_cast<float>(entropy));
  };
  for (size_t i = 0; i < candidates_.count; ++i)
    ranked_[i] = {distance(i), candidates_.places[i], weights_[i]};
  Ranked last = rankedByMass(ranked_.data(), candidates_.count, config_.typical_p * total_);
  candidates_.filter([&](size_t i) { return distance(i) <= last.key; });
  weigh(candidates_.values.data(), candidates_.count);
}

/// The candidate at which the sum of weights passes `uniform` of their total, in the order of the vocabulary.
size_t Sampler::draw(double uniform) const {
  double target = uniform * total_;
  size_t count = all_ ? vocabulary_ : candidates_.count;
  size_t begin = 0;
  for (; begin + kPart < count && target >= partial_[begin / kPart]; begin += kPart)
    target -= partial_[begin / kPart];
  // Rounding can leave the target behind the last weight: then the last that has one.
  size_t drawn = begin;
  for (size_t i = begin; i < count; ++i) {
    if (weights_[i] <= 0)
      continue;
    drawn = i;
    target -= static_cast<double>(weights_[i]);
    if (target < 0)
      break;
  }
  return drawn;
}
