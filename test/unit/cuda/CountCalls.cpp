//===- CountCalls.cpp - What steps of generation ask of a device *- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// For tests of models: runs a prompt and then single tokens on the emulator, and prints a JSON array with an object for
// each of these runs: how many kernels and products the device did, how many launches the host asked for by themselves,
// and how many graphs.
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/emulator/Driver.h"

#include <cstdio>
#include <cstdlib>
#include <lathe/generate.h>
#include <numeric>
#include <vector>

namespace {

struct Counts {
  int64_t launches, products, calls, graphs;
};

Counts counts() {
  lathe::cuda::EmulatorStatistics now = lathe::cuda::emulatorStatistics();
  return {now.launches, std::accumulate(std::begin(now.products), std::end(now.products), int64_t(0)), now.calls,
          now.graphs};
}

int fail(const char *what) {
  fprintf(stderr, "%s: %s\n", what, lathe_last_error());
  return 1;
}

int count(lathe_generator *generator, size_t sequences, size_t prompt, int steps) {
  lathe_generator_info info;
  lathe_generator_info_init(&info);
  if (lathe_generator_get_info(generator, &info) || lathe_generator_begin(generator, sequences))
    return fail("starting");
  for (int step = 0; step <= steps; ++step) {
    size_t length = step == 0 ? prompt : 1;
    std::vector<int64_t> tokens(sequences * length);
    for (size_t i = 0; i < tokens.size(); ++i)
      tokens[i] = static_cast<int64_t>(i * 7 + static_cast<size_t>(step) * 3 + 5) % info.vocabulary;
    Counts before = counts();
    const float *logits = nullptr;
    if (lathe_generator_append(generator, tokens.data(), length, &logits))
      return fail("a step");
    Counts after = counts();
    printf("%s{\"launches\": %lld, \"products\": %lld, \"calls\": %lld, \"graphs\": %lld}", step ? ",\n " : "[",
           static_cast<long long>(after.launches - before.launches),
           static_cast<long long>(after.products - before.products), static_cast<long long>(after.calls - before.calls),
           static_cast<long long>(after.graphs - before.graphs));
  }
  printf("]\n");
  return 0;
}

} // namespace

int main(int argc, char **argv) {
  if (argc != 5) {
    fprintf(stderr, "usage: lathe_cuda_counts file.lathe sequences prompt steps\n");
    return 2;
  }
  lathe_load_options options;
  lathe_load_options_init(&options);
  options.device = "cuda-emulator";
  lathe_module *module = nullptr;
  lathe_generator *generator = nullptr;
  if (lathe_module_load(argv[1], &options, &module) || lathe_generator_create(module, nullptr, &generator))
    return fail(argv[1]);
  int result = count(generator, static_cast<size_t>(atoi(argv[2])), static_cast<size_t>(atoi(argv[3])), atoi(argv[4]));
  lathe_generator_release(generator);
  lathe_module_release(module);
  return result;
}
