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

/// What the machine can do at most, if reading weights were all there is: a step reads each once, and of tables one
/// row.
struct StepLimit {
  uint64_t bytes = 0;
  const char *from = nullptr; ///< where they are read from, as lathe bench --limits has it; null where nothing is known
  double tokensPerSecond = 0; ///< 0: not known
};

StepLimit stepLimit(const Module &module, int threads, bool isMeasured) {
  Dims one;
  for (const SymbolInfo &symbol : module.symbols(module.program("step")))
    one[symbol.name] = 1;
  StepLimit limit;
  limit.bytes = bytesReadBy(module, "step", one);
  if (strcmp(module.info().device, "cpu") != 0) // nothing is known here about memory of other devices
    return limit;
  auto bytes = static_cast<double>(limit.bytes);
  limit.from = bytes > static_cast<double>(sysconf(_SC_LEVEL3_CACHE_SIZE)) ? "dram_gb_s" : "l3_gb_s";
  if (isMeasured && limit.bytes > 0)
    limit.tokensPerSecond = measureLimit(limit.from, threads) * 1e9 / bytes;
  return limit;
}

struct Figures {
  Speeds prefill, decode;
  double loadMs = 0;
  uint64_t cacheBytes = 0;
  int threads = 0;
  StepLimit limit;
  bool isLimited() const { return limit.tokensPerSecond > 0; }
  double percentOfLimit() const { return isLimited() ? 100 * decode.mean() / limit.tokensPerSecond : 0; }
};

ordered_json toJson(const MeasureOptions &options, const Module &module, const Bench &bench, const Figures &found) {
  ordered_json report;
  report["prompt"] = bench.prompt;
  report["generate"] = bench.steps;
  report["prefill_tokens_per_s"] = orNull(found.prefill, found.prefill.mean());
  report["prefill_deviation"] = orNull(found.prefill, found.prefill.deviation());
  report["prefill_best"] = orNull(found.prefill, found.prefill.best());
  report["decode_tokens_per_s"] = orNull(found.decode, found.decode.mean());
  report["decode_deviation"] = orNull(found.decode, found.decode.deviation());
  report["decode_best"] = orNull(found.decode, found.decode.best());
  report["read_bytes"] = found.limit.bytes;
  report["read_limit"] = found.limit.from ? ordered_json(found.limit.from) : ordered_json();
  report["limit_tokens_per_s"] = found.isLimited() ? ordered_json(found.limit.tokensPerSecond) : ordered_json();
  report["percent_of_limit"] = found.isLimited() ? ordered_json(found.percentOfLimit()) : ordered_json();
  report["cache_bytes"] = found.cacheBytes;
  report["load_ms"] = found.loadMs;
  report["peak_rss_bytes"] = processStatus("VmHWM");
  report["iterations"] = options.iterations;
  report["warmup"] = options.warmup;
  report["threads"] = found.threads;
  report["device"] = module.info().device;
  report["isa"] = module.info().isa;
  return report;
}

void print(const MeasureOptions &options, const Module &module, const Bench &bench, const Figures &found) {
  std::string prefill = "pp" + std::to_string(bench.prompt), decode = "tg" + std::to_string(bench.steps);
  printf("device      %s (%s), %d threads\n", module.info().device, module.info().isa, found.threads);
  for (auto [name, speeds] : {std::pair(&prefill, &found.prefill), std::pair(&decode, &found.decode)})
    if (!speeds->values.empty())
      printf("%-11s %.2f +- %.2f tokens/s, best %.2f\n", name->c_str(), speeds->mean(), speeds->deviation(),
             speeds->best());
  if (found.isLimited())
    printf("limit       %.2f tokens/s: reading %.1f MB of weights; %s reaches %.0f %% of it\n",
           found.limit.tokensPerSecond, static_cast<double>(found.limit.bytes) / 1e6, decode.c_str(),
           found.percentOfLimit());
  printf("iterations  %d\n", options.iterations);
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
  Figures found;
  found.loadMs = (seconds() - start) * 1e3;
  if (bench.prompt == 0 && bench.steps == 0)
    throw CommandError(kUsage, "expects tokens to measure with --prompt or --generate, got 0");
  Progress progress;
  for (int i = 0; i < options.warmup; ++i) {
    progress.show({"warm up", static_cast<uint64_t>(i), static_cast<uint64_t>(options.warmup)});
    bench.run(nullptr, nullptr);
  }
  for (int i = 0; i < options.iterations; ++i) {
    progress.show({"measure", static_cast<uint64_t>(i), static_cast<uint64_t>(options.iterations)});
    bench.run(&found.prefill, &found.decode);
  }
  progress.stop();
  found.cacheBytes = bench.cacheBytes();
  found.threads = options.threads ? options.threads : runtime::ThreadPool::usableProcessors();
  found.limit = stepLimit(module, found.threads, /*isMeasured=*/bench.steps > 0);
  if (options.json)
    printf("%s\n",
           toJson(options, module, bench, found).dump(2, ' ', false, ordered_json::error_handler_t::replace).c_str());
  else
    print(options, module, bench, found);
  return kOk;
}
