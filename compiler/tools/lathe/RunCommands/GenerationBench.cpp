//===- GenerationBench.cpp - How fast text is generated ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/GenerationBench.h"
#include "compiler/tools/lathe/Progress.h"
#include "compiler/tools/lathe/RunCommands/Limits.h"
#include "compiler/tools/lathe/RunCommands/Support.h"
#include "runtime/ThreadPool.h"
#include "runtime/include/lathe/generate.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <unistd.h>

using namespace lathe;
using namespace lathe::tool;
using nlohmann::ordered_json;

namespace {

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// Tokens per second of each repetition.
struct Speeds {
  std::vector<double> values;

  double mean() const {
    double sum = 0;
    for (double value : values)
      sum += value;
    return values.empty() ? 0 : sum / static_cast<double>(values.size());
  }
  double best() const { return values.empty() ? 0 : *std::max_element(values.begin(), values.end()); }
  /// Of the repetitions, not of the mean.
  double deviation() const {
    if (values.size() < 2)
      return 0;
    double sum = 0, middle = mean();
    for (double value : values)
      sum += (value - middle) * (value - middle);
    return std::sqrt(sum / static_cast<double>(values.size() - 1));
  }
};

class Bench {
public:
  Bench(const Module &module, const MeasureOptions &options, const GenerationBenchOptions &given)
      : prompt(std::max<int64_t>(given.prompt, 0)), steps(std::max<int64_t>(given.generate, 0)),
        generator(module, {options.threads}) {
    lathe_generator_info info = generator.info();
    if (info.source_count > 0)
      throw CommandError(kUsage, "expects a decoder alone: this one depends on what an encoder reads");
    if (prompt > info.max_sequence || steps > info.max_sequence - prompt)
      throw CommandError(kUsage, "expects sequences of at most " + std::to_string(info.max_sequence) + " tokens, got " +
                                     std::to_string(prompt) + " of a prompt and " + std::to_string(steps));
    // Which tokens they are does not matter: nothing is skipped for some of them.
    for (int64_t i = 0; i < std::max(prompt, steps); ++i)
      tokens.push_back(i * 7919 % info.vocabulary);
  }

  void run(Speeds *prefill, Speeds *decode) {
    generator.begin(1);
    const float *logits = nullptr;
    double start = seconds();
    if (prompt > 0)
      check(lathe_generator_append(generator.get(), tokens.data(), static_cast<size_t>(prompt), &logits));
    double middle = seconds();
    for (int64_t i = 0; i < steps; ++i)
      check(lathe_generator_append(generator.get(), tokens.data() + i, 1, &logits));
    double end = seconds();
    if (prompt > 0 && prefill)
      prefill->values.push_back(static_cast<double>(prompt) / (middle - start));
    if (steps > 0 && decode)
      decode->values.push_back(static_cast<double>(steps) / (end - middle));
  }

  uint64_t cacheBytes() const { return generator.info().cache_bytes; }

  int64_t prompt, steps;

private:
  Generator generator;
  std::vector<int64_t> tokens;
};

ordered_json orNull(const Speeds &speeds, double value) {
  return speeds.values.empty() ? ordered_json() : ordered_json(value);
}

} // namespace

int tool::benchGeneration(const MeasureOptions &options, const GenerationBenchOptions &generation, bool verify) {
  if (!options.inputs.file.empty() || !options.inputs.dims.empty())
    throw CommandError(kUsage, "--prompt and --generate make their own inputs: give them without --dim and --inputs");
  double start = seconds();
  LoadOptions load;
  load.device = options.device;
  load.tf32 = options.tf32;
  load.verify = verify;
  Module module(options.artifact, load);
  Bench bench(module, options, generation);
  double loadMs = (seconds() - start) * 1e3;
  if (bench.prompt == 0 && bench.steps == 0)
    throw CommandError(kUsage, "expects tokens to measure with --prompt or --generate, got 0");
  Progress progress;
  for (int i = 0; i < options.warmup; ++i) {
    progress.show({"warm up", static_cast<uint64_t>(i), static_cast<uint64_t>(options.warmup)});
    bench.run(nullptr, nullptr);
  }
  Speeds prefill, decode;
  for (int i = 0; i < options.iterations; ++i) {
    progress.show({"measure", static_cast<uint64_t>(i), static_cast<uint64_t>(options.iterations)});
    bench.run(&prefill, &decode);
  }
  progress.stop();
  uint64_t cacheBytes = bench.cacheBytes();

  // A step reads each weight once, and of tables one row.
  int threads = options.threads ? options.threads : runtime::ThreadPool::usableProcessors();
  Dims one;
  for (const SymbolInfo &symbol : module.symbols(module.program("step")))
    one[symbol.name] = 1;
  uint64_t bytes = bytesReadBy(module, "step", one);
  const char *from =
      static_cast<double>(bytes) > static_cast<double>(sysconf(_SC_LEVEL3_CACHE_SIZE)) ? "dram_gb_s" : "l3_gb_s";
  bool isProcessor = strcmp(module.info().device, "cpu") == 0; // nothing is known here about memory of other devices
  double speed = bench.steps > 0 && isProcessor ? measureLimit(from, threads) : 0;
  double limit = bytes > 0 ? speed * 1e9 / static_cast<double>(bytes) : 0; // tokens per second
  double percent = limit > 0 ? 100 * decode.mean() / limit : 0;
  std::string promptName = "pp" + std::to_string(bench.prompt), decodeName = "tg" + std::to_string(bench.steps);
  if (options.json) {
    ordered_json report;
    report["prompt"] = bench.prompt;
    report["generate"] = bench.steps;
    report["prefill_tokens_per_s"] = orNull(prefill, prefill.mean());
    report["prefill_deviation"] = orNull(prefill, prefill.deviation());
    report["prefill_best"] = orNull(prefill, prefill.best());
    report["decode_tokens_per_s"] = orNull(decode, decode.mean());
    report["decode_deviation"] = orNull(decode, decode.deviation());
    report["decode_best"] = orNull(decode, decode.best());
    report["read_bytes"] = bytes;
    report["read_limit"] = isProcessor ? ordered_json(from) : ordered_json();
    report["limit_tokens_per_s"] = limit > 0 ? ordered_json(limit) : ordered_json();
    report["percent_of_limit"] = limit > 0 ? ordered_json(percent) : ordered_json();
    report["cache_bytes"] = cacheBytes;
    report["load_ms"] = loadMs;
    report["peak_rss_bytes"] = processStatus("VmHWM");
    report["iterations"] = options.iterations;
    report["warmup"] = options.warmup;
    report["threads"] = threads;
    report["device"] = module.info().device;
    report["isa"] = module.info().isa;
    printf("%s\n", report.dump(2, ' ', false, ordered_json::error_handler_t::replace).c_str());
    return kOk;
  }
  printf("device      %s (%s), %d threads\n", module.info().device, module.info().isa, threads);
  if (!prefill.values.empty())
    printf("%-11s %.2f +- %.2f tokens/s, best %.2f\n", promptName.c_str(), prefill.mean(), prefill.deviation(),
           prefill.best());
  if (!decode.values.empty())
    printf("%-11s %.2f +- %.2f tokens/s, best %.2f\n", decodeName.c_str(), decode.mean(), decode.deviation(),
           decode.best());
  if (limit > 0)
    printf("limit       %.2f tokens/s: reading %.1f MB of weights; %s reaches %.0f %% of it\n", limit,
           static_cast<double>(bytes) / 1e6, decodeName.c_str(), percent);
  printf("iterations  %d\n", options.iterations);
  return kOk;
}
