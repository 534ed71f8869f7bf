//===- BenchCommand.cpp - lathe bench ---------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/Progress.h"
#include "compiler/tools/lathe/RunCommands/Commands.h"
#include "compiler/tools/lathe/RunCommands/DimExpression.h"
#include "compiler/tools/lathe/RunCommands/GenerationBench.h"
#include "compiler/tools/lathe/RunCommands/Inputs.h"
#include "compiler/tools/lathe/RunCommands/Limits.h"
#include "compiler/tools/lathe/RunCommands/ManifestJson.h"
#include "compiler/tools/lathe/RunCommands/Support.h"
#include "runtime/ThreadPool.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <unistd.h>

using namespace lathe;
using namespace lathe::tool;
using nlohmann::ordered_json;

namespace {

struct BenchOptions : MeasureOptions {
  bool verify = false, limits = false;
  GenerationBenchOptions generation;
};

double now() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// The least time that this machine can take for what a model has to do, as its manifest tells: the operations of its
/// matrix products at the speed of the registers, or reading its weights once.
struct ModelLimit {
  ordered_json operations = ordered_json::object(); ///< by type
  uint64_t bytes = 0;     ///< of weights that a run reads
  const char *from = ""; ///< the limit of such reads
  double computeMs = 0, readMs = 0;
  double ms() const { return std::max(computeMs, readMs); }
};

/// Nothing where the operations depend on data, or the device is none whose limits are measured here.
std::optional<ModelLimit> modelLimit(const Module &module, const Dims &dims, int threads) {
  ordered_json manifest = manifestOf(module), work = member(manifest, "work");
  if (!work.is_object() || strcmp(module.info().device, "cpu") != 0)
    return std::nullopt;
  bool wide = strcmp(module.info().isa, "avx2") != 0;
  auto peak = [&](std::initializer_list<const char *> keys) {
    double best = 0;
    for (const char *key : keys)
      best = std::max(best, measureLimit(key, threads));
    return best;
  };
  const char *fma = wide ? "fma_avx512_gflops" : "fma_avx2_gflops";
  ModelLimit result;
  for (const auto &[type, text] : work.items()) {
    std::optional<int64_t> operations = text.is_string() ? evaluateDim(text.get<std::string>(), dims) : std::nullopt;
    double speed = type == "i8"     ? peak({"amx_int8_gops", "vnni_int8_gops", fma})
                   : type == "bf16" ? peak({"amx_bf16_gflops", "avx512_bf16_gflops", fma})
                   : type == "f64"  ? peak({fma}) / 2
                                    : peak({fma}); // which f16 is widened for
    if (!operations || speed <= 0)
      return std::nullopt;
    result.operations[type] = *operations;
    result.computeMs += static_cast<double>(*operations) / speed / 1e6;
  }
  result.bytes = bytesRead(module, dims);
  auto bytes = static_cast<double>(result.bytes);
  long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
  result.from = bytes > static_cast<double>(cache) ? "dram_gb_s" : "l3_gb_s";
  if (double speed = measureLimit(result.from, threads))
    result.readMs = bytes / speed / 1e6;
  return result;
}

int printLimits(const BenchOptions &options) {
  int threads = options.threads ? options.threads : runtime::ThreadPool::usableProcessors();
  ordered_json report = {{"threads", threads}};
  if (!options.json)
    printf("%d thread%s, the best of several trials\n", threads, threads == 1 ? "" : "s together");
  for (const Limit &limit : limits()) {
    bool isThere = limit.isThere();
    double value = isThere ? limit.measure(threads) : 0;
    report[limit.key] = isThere ? ordered_json(value) : ordered_json();
    if (!options.json && isThere)
      printf("%-34s %10.2f %s\n", limit.what, value, limit.unit);
    else if (!options.json)
      printf("%-34s %10s\n", limit.what, "not there");
  }
  if (options.json)
    printf("%s\n", report.dump(2).c_str());
  return kOk;
}

/// What was measured of a model.
struct Figures {
  std::vector<double> times; ///< of runs, in order
  double loadMs = 0, firstMs = 0;
  Dims dims;
  int threads = 0;
  uint64_t peak = 0; ///< bytes that were resident
  std::optional<ModelLimit> limit;

  double median() const {
    size_t count = times.size();
    return count % 2 ? times[count / 2] : (times[count / 2 - 1] + times[count / 2]) / 2;
  }
  double p90() const { return times[std::min(times.size() - 1, (times.size() * 9 + 9) / 10 - 1)]; }
  double mean() const { return std::accumulate(times.begin(), times.end(), 0.0) / static_cast<double>(times.size()); }
  double percentOfLimit() const { return limit ? 100 * limit->ms() / median() : 0; }
};

Figures measure(const BenchOptions &options, const Module &module, double start) {
  Figures found;
  SessionOptions sessionOptions;
  sessionOptions.threads = options.threads;
  Session session(module, sessionOptions);
  found.loadMs = now() - start;
  found.threads = session.threads();

  auto [inputs, dims] = chooseInputs(module, options.inputs);
  bindInputs(module, session, inputs);
  start = now();
  session.run();
  found.firstMs = now() - start;
  detailRun(module, session, found.loadMs, found.firstMs);
  Progress progress;
  for (int i = 1; i < options.warmup; ++i) {
    progress.show({"warm up", static_cast<uint64_t>(i), static_cast<uint64_t>(options.warmup)});
    session.run();
  }
  for (int i = 0; i < options.iterations; ++i) {
    progress.show({"measure", static_cast<uint64_t>(i), static_cast<uint64_t>(options.iterations)});
    start = now();
    session.run();
    found.times.push_back(now() - start);
  }
  progress.stop();
  std::sort(found.times.begin(), found.times.end());
  // Not getrusage: its maximum is inherited through exec, so that it would tell how large the calling program was.
  found.peak = processStatus("VmHWM");
  found.limit = modelLimit(module, dims, found.threads);
  found.dims = std::move(dims);
  return found;
}

ordered_json toJson(const BenchOptions &options, const Module &module, const Figures &found) {
  const std::optional<ModelLimit> &limit = found.limit;
  auto ofLimit = [&](auto value) { return limit ? ordered_json(value(*limit)) : ordered_json(); };
  ordered_json report;
  report["median_ms"] = found.median();
  report["min_ms"] = found.times.front();
  report["p90_ms"] = found.p90();
  report["mean_ms"] = found.mean();
  report["first_run_ms"] = found.firstMs;
  report["load_ms"] = found.loadMs;
  report["peak_rss_bytes"] = found.peak;
  report["work"] = ofLimit([](const ModelLimit &own) { return own.operations; });
  report["weights_bytes"] = weightsBytes(manifestOf(module), module.info());
  report["read_bytes"] = ofLimit([](const ModelLimit &own) { return own.bytes; });
  report["read_limit"] = ofLimit([](const ModelLimit &own) { return own.from; });
  report["limit_ms"] = ofLimit([](const ModelLimit &own) { return own.ms(); });
  report["percent_of_limit"] = ofLimit([&](const ModelLimit &) { return found.percentOfLimit(); });
  report["iterations"] = options.iterations;
  report["warmup"] = options.warmup;
  report["threads"] = found.threads;
  report["dims"] = ordered_json::object();
  for (auto &[name, value] : found.dims)
    report["dims"][name] = value;
  report["device"] = module.info().device;
  report["isa"] = module.info().isa;
  return report;
}

void print(const BenchOptions &options, const Module &module, const Figures &found) {
  printf("device      %s (%s), %d threads\n", module.info().device, module.info().isa, found.threads);
  for (auto &[name, value] : found.dims)
    printf("dimension   %s = %lld\n", name.c_str(), static_cast<long long>(value));
  printf("median      %.3f ms\nmin         %.3f ms\np90         %.3f ms\n", found.median(), found.times.front(),
         found.p90());
  if (const std::optional<ModelLimit> &limit = found.limit)
    printf("limit       %.3f ms: %s; the median reaches %.0f %% of it\n", limit->ms(),
           limit->computeMs > limit->readMs ? "matrix products" : "reading the weights", found.percentOfLimit());
  printf("first run   %.3f ms\nload        %.3f ms\npeak memory %.1f MiB\niterations  %d\n", found.firstMs,
         found.loadMs, static_cast<double>(found.peak) / (1 << 20), options.iterations);
}

int bench(const BenchOptions &options) {
  if (options.limits && !options.artifact.empty())
    throw CommandError(kUsage, "--limits measures the machine; give it without an artifact, whose limit is printed anyway");
  if (options.limits)
    return printLimits(options);
  if (options.artifact.empty())
    throw CommandError(kUsage, "expects an artifact, or --limits");
  if (options.generation.asked())
    return benchGeneration(options, options.generation, options.verify);
  double start = now();
  LoadOptions load;
  load.device = options.device;
  load.tf32 = options.tf32;
  load.verify = options.verify;
  Module module(options.artifact, load);
  Figures found = measure(options, module, start);
  if (options.json)
    printf("%s\n", toJson(options, module, found).dump(2, ' ', false, ordered_json::error_handler_t::replace).c_str());
  else
    print(options, module, found);
  return kOk;
}

} // namespace

void tool::addBenchCommand(CLI::App &app, int &exitCode) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App *command = app.add_subcommand("bench", "Measure how long a compiled model takes");
  addMeasureOptions(*command, *options);
  command->add_option("--prompt", options->generation.prompt, "Measure generation: tokens of the prompt")->check(CLI::NonNegativeNumber);
  command->add_option("--generate", options->generation.generate, "Measure generation: tokens after the prompt, one by one")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--limits", options->limits, "Measure what this machine does at most, instead of a model");
  command->add_flag("--verify", options->verify, "Check every byte of the artifact");
  CLI::Option *iterations = command->get_option("--iterations"), *warmup = command->get_option("--warmup");
  command->callback([options, iterations, warmup, &exitCode] {
    // A repetition is many runs.
    if (options->generation.asked() && iterations->empty())
      options->iterations = 5;
    if (options->generation.asked() && warmup->empty())
      options->warmup = 1;
    exitCode = guarded([&] { return bench(*options); });
  });
}
