//===- SessionStopwatch.cpp - Times of kernels by the runtime ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/SessionStopwatch.h"
#include "compiler/tools/lathe/RunCommands/ManifestJson.h"
#include "lathe/lathe.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <fstream>
#include <limits>
#include <optional>
#include <thread>
#include <unistd.h>

using namespace lathe;
using namespace lathe::tool;
using nlohmann::ordered_json;

namespace {

using Clock = std::chrono::steady_clock;

/// The least of so many runs, and of all that fit into so many seconds, is stable; for slow ones fewer do.
constexpr int kRuns = 20, kFewestRuns = 5;
constexpr double kLeastSeconds = 0.03, kMostSeconds = 1;

double secondsSince(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

/// What a weight is stored as, such as "f32", "int4 g32" and "sparse f32".
std::string storedAs(const ordered_json &constant) {
  if (ordered_json lists = member(constant, "sparse"); lists.is_object())
    return "sparse " + lists.value("values", "") + (lists.value("height", int64_t(1)) > 1 ? " strips" : "");
  ordered_json codes = member(constant, "quantized");
  if (!codes.is_object())
    return constant.value("type", "");
  std::string values = codes.value("values", "");
  int64_t bits = codes.value("bits", int64_t(0)), group = codes.value("group", int64_t(0));
  std::string text = values == "integer" ? "int" + std::to_string(bits)
                     : values == "table" ? "table" + std::to_string(bits)
                                         : values;
  ordered_json shape = member(constant, "shape");
  bool isWhole =
      !shape.is_array() || shape.empty() || !shape[0].is_number_integer() || group >= shape[0].get<int64_t>();
  return isWhole ? text : text + " g" + std::to_string(group);
}

/// What a kernel is, such as "matmul int8 x int8".
std::string describeKernel(const ordered_json &kernel, const ordered_json &constants) {
  std::string text = kernel.value("kind", "");
  ordered_json weight = member(kernel, "weight");
  if (weight.is_number_unsigned() && constants.is_array() && weight.get<size_t>() < constants.size())
    text += " " + storedAs(constants[weight.get<size_t>()]);
  if (ordered_json arithmetic = member(kernel, "arithmetic"); arithmetic.is_string())
    text += " " + arithmetic.get<std::string>();
  const ordered_json &rounds = member(kernel, "rounds");
  return rounds.is_null() ? text : text + (rounds == "rows-e4m3" ? " x e4m3" : " x int8");
}

/// An artifact that is run, with the least time of each of its kernels so far.
class TimedArtifact {
public:
  explicit TimedArtifact(const std::string &path) : module_(path), session_(module_, allThreads()) {
    for (const TensorInfo &info : module_.inputs()) {
      size_t count = 1;
      for (int64_t extent : info.dims)
        count *= static_cast<size_t>(extent);
      const std::vector<float> &x = inputs_.emplace_back(aboutRandom(count));
      session_.setInput(inputs_.size() - 1, LATHE_F32, info.dims, x.data());
    }
    least_.assign(module_.info().kernel_count, std::numeric_limits<uint64_t>::max());
    session_.run(); // the first one makes plans
  }

  void run() { session_.run(); }

  void time() {
    session_.setProfiling(true);
    session_.resetProfile();
    Clock::time_point begin = Clock::now();
    session_.run();
    seconds_ += secondsSince(begin);
    ++runs_;
    for (size_t i = 0; i < least_.size(); ++i)
      if (lathe_kernel_profile profile = session_.profile(i); profile.calls)
        least_[i] = std::min(least_[i], profile.nanoseconds);
    session_.setProfiling(false);
  }

  bool isDone() const { return runs_ >= kRuns && seconds_ >= kLeastSeconds; }
  int runs() const { return runs_; }

  /// A kernel of several nodes is theirs in equal parts.
  std::map<std::string, NodeTime> times() const {
    ordered_json manifest = manifestOf(module_), kernels = member(manifest, "kernels"),
                 constants = member(manifest, "constants");
    struct Part {
      double microseconds;
      std::string kernel;
    };
    std::map<std::string, std::vector<Part>> parts;
    for (size_t i = 0; i < least_.size() && i < kernels.size(); ++i) {
      ordered_json nodes = member(kernels[i], "nodes");
      if (least_[i] == std::numeric_limits<uint64_t>::max() || !nodes.is_array())
        continue;
      double share = static_cast<double>(least_[i]) / 1e3 / static_cast<double>(std::max<size_t>(nodes.size(), 1));
      for (const ordered_json &node : nodes)
        parts[node.get<std::string>()].push_back({share, describeKernel(kernels[i], constants)});
    }
    std::map<std::string, NodeTime> times;
    for (auto &[node, own] : parts) {
      std::sort(own.begin(), own.end(), [](const Part &a, const Part &b) { return a.microseconds > b.microseconds; });
      NodeTime &time = times[node];
      for (const Part &part : own) {
        time.microseconds += part.microseconds;
        time.kernel += (time.kernel.empty() ? "" : ", ") + part.kernel;
      }
    }
    return times;
  }

private:
  static SessionOptions allThreads() {
    SessionOptions options;
    options.threads = 0;
    return options;
  }

  Module module_;
  Session session_;
  std::vector<std::vector<float>> inputs_;
  std::vector<uint64_t> least_; ///< nanoseconds
  double seconds_ = 0;
  int runs_ = 0;
};

/// Reads more than caches hold, so that weights come from memory in the next run, as in models that are larger than
/// what is timed of them. Reading another artifact would not do: caches keep a part of what is read again and again.
class CacheEviction {
public:
  CacheEviction() {
    constexpr int64_t kLeast = int64_t(64) << 20, kMost = int64_t(256) << 20;
    numbers_.assign(
        static_cast<size_t>(std::clamp<int64_t>(2 * int64_t(sysconf(_SC_LEVEL3_CACHE_SIZE)), kLeast, kMost)) / 8, 1);
  }
  void run() {
    uint64_t sum = 0;
    for (uint64_t number : numbers_)
      sum += number;
    read_ = sum;
  }

private:
  std::vector<uint64_t> numbers_; ///< not 0, which need not be in memory
  volatile uint64_t read_ = 0;
};

class SessionStopwatch final : public Stopwatch {
public:
  std::string machine() const override {
    std::string name = std::to_string(std::thread::hardware_concurrency()) + " processors";
    std::ifstream info("/proc/cpuinfo");
    for (std::string line; std::getline(info, line);)
      if (line.rfind("model name", 0) == 0 || line.rfind("flags", 0) == 0) {
        name += "; " + line;
        if (line.rfind("flags", 0) == 0)
          break;
      }
    return name;
  }

  std::string time(const std::vector<std::string> &paths, bool isWarm,
                   std::vector<std::map<std::string, NodeTime>> &times) override {
    try {
      std::vector<std::unique_ptr<TimedArtifact>> artifacts;
      for (const std::string &path : paths)
        artifacts.push_back(std::make_unique<TimedArtifact>(path));
      std::optional<CacheEviction> eviction;
      if (!isWarm)
        eviction.emplace();
      Clock::time_point begin = Clock::now();
      auto isDone = [&] {
        bool isLate = secondsSince(begin) > kMostSeconds * static_cast<double>(artifacts.size());
        return std::all_of(artifacts.begin(), artifacts.end(), [&](const auto &artifact) {
          return artifact->isDone() || (isLate && artifact->runs() >= kFewestRuns);
        });
      };
      while (!isDone())
        for (const auto &artifact : artifacts) {
          if (eviction)
            eviction->run();
          else
            artifact->run();
          artifact->time();
        }
      times.clear();
      for (const auto &artifact : artifacts)
        times.push_back(artifact->times());
      return "";
    } catch (const std::exception &error) {
      return error.what();
    }
  }
};

} // namespace

std::unique_ptr<Stopwatch> tool::makeStopwatch() { return std::make_unique<SessionStopwatch>(); }
