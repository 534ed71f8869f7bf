//===- sampling.cpp - How long choosing a token takes ---------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Prints the table of docs/design/0011-sampling.md: microseconds of Sampler::next on one row of logits, the least of
// many, on one thread. "Peaked" is a normal distribution of deviation 3 with twenty tokens 12 above it, "flat" one of
// deviation 0.5.
//
//   ninja -C build lathe_bench_sampling && build/bin/lathe_bench_sampling [vocabulary]
//
//===----------------------------------------------------------------------===//
#include "runtime/generation/Sampler.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>

using namespace lathe::runtime;

namespace {

struct Case {
  const char *name;
  std::function<void(GenerationConfig &)> set;
  bool wantsLogProbability = true;
};

const Case kCases[] = {
    {"greedy, without log-probability", [](GenerationConfig &) {}, false},
    {"greedy", [](GenerationConfig &) {}},
    {"greedy, repetition_penalty over 1 000 tokens", [](GenerationConfig &c) { c.repetition_penalty = 1.1; }},
    {"temperature alone",
     [](GenerationConfig &c) {
       c.do_sample = true;
       c.temperature = 0.8;
     }},
    {"top_k 50",
     [](GenerationConfig &c) {
       c.do_sample = true;
       c.top_k = 50;
     }},
    {"top_k 50, top_p 0.95, temperature 0.8",
     [](GenerationConfig &c) {
       c.do_sample = true;
       c.top_k = 50;
       c.top_p = 0.95;
       c.temperature = 0.8;
     }},
    {"the same with repetition and frequency penalties and no_repeat_ngram_size 3",
     [](GenerationConfig &c) {
       c.do_sample = true;
       c.top_k = 50;
       c.top_p = 0.95;
       c.temperature = 0.8;
       c.repetition_penalty = 1.1;
       c.frequency_penalty = 0.1;
       c.no_repeat_ngram_size = 3;
     }},
    {"top_p 0.9 alone",
     [](GenerationConfig &c) {
       c.do_sample = true;
       c.top_p = 0.9;
     }},
    {"min_p 0.05 alone",
     [](GenerationConfig &c) {
       c.do_sample = true;
       c.min_p = 0.05;
     }},
    {"typical_p 0.9 alone",
     [](GenerationConfig &c) {
       c.do_sample = true;
       c.typical_p = 0.9;
     }},
};

std::vector<float> logits(size_t vocabulary, float deviation, size_t peaks) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> row(vocabulary);
  for (float &value : row)
    value = normal(random);
  for (size_t i = 0; i < peaks; ++i)
    row[random() % vocabulary] += 12;
  return row;
}

/// Negative after a message.
double leastMicroseconds(const Case &one, const std::vector<float> &row) {
  constexpr int kRuns = 50;
  GenerationConfig config;
  config.top_k = 0;
  config.seed = 1;
  one.set(config);
  Sampler sampler;
  Status status = Sampler::create(config, static_cast<int64_t>(row.size()), sampler);
  sampler.setLogProbabilities(one.wantsLogProbability, false);
  std::mt19937 random(2);
  std::vector<Token> text(1000);
  for (Token &token : text)
    token = static_cast<Token>(random() % row.size());
  SequenceState state;
  state.tokens = text.data();
  state.length = text.size();
  double least = 1e30;
  for (int i = 0; i < kRuns && !status.failed(); ++i) {
    Choice choice;
    state.sequence = static_cast<uint64_t>(i);
    auto start = std::chrono::steady_clock::now();
    status = sampler.next(row.data(), state, choice);
    least =
        std::min(least, std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count());
  }
  if (!status.failed())
    return least;
  std::fprintf(stderr, "%s: %s\n", one.name, status.message().c_str());
  return -1;
}

} // namespace

int main(int argc, char **argv) {
  long vocabulary = argc > 1 ? std::atol(argv[1]) : 151936;
  if (vocabulary < 100) {
    std::fprintf(stderr, "expected a vocabulary of at least 100 tokens, got '%s'\n", argv[1]);
    return 2;
  }
  std::vector<float> peaked = logits(static_cast<size_t>(vocabulary), 3, 20),
                     flat = logits(static_cast<size_t>(vocabulary), 0.5f, 0);
  std::printf("| Parameters | Peaked | Flat |\n|---|---|---|\n");
  for (const Case &one : kCases) {
    double first = leastMicroseconds(one, peaked), second = leastMicroseconds(one, flat);
    if (first < 0 || second < 0)
      return 1;
    std::printf("| %s | %.0f | %.0f |\n", one.name, first, second);
  }
  return 0;
}
