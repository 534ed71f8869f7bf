//===- PerplexityCommand.cpp - lathe perplexity -----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/Progress.h"
#include "compiler/tools/lathe/RunCommands/Commands.h"
#include "compiler/tools/lathe/RunCommands/Documents.h"
#include "compiler/tools/lathe/RunCommands/GenerateInputs.h"
#include "compiler/tools/lathe/RunCommands/LogProbabilityFile.h"
#include "compiler/tools/lathe/RunCommands/Support.h"
#include "compiler/tools/lathe/RunCommands/TokenFiles.h"
#include "compiler/tools/lathe/RunCommands/WindowLogits.h"
#include "runtime/ThreadPool.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>
#include <mutex>

using namespace lathe;
using namespace lathe::tool;
using nlohmann::ordered_json;

namespace {

struct PerplexityOptions : ScoreOptions {
  std::string artifact, tokens, text, tokenizer, baseOut, base, with;
  int64_t context = 256, stride = 0, windows = 0;
  bool json = false, withoutSpecial = false;
};

/// Sums over the predictions of one window.
struct WindowSums {
  int64_t count = 0, agreements = 0;
  double nll = 0, baseNll = 0, divergence = 0, greatest = 0;
};

/// The mean of what windows sum up, and its standard error. Windows, not predictions, count as independent, for those
/// of one window have a context in common. Without two windows there is no error to tell.
struct Mean {
  double value = 0;
  std::optional<double> error;

  template <typename Get> Mean(const std::vector<WindowSums> &windows, Get get) {
    double count = 0, sum = 0, squares = 0;
    for (const WindowSums &window : windows) {
      count += static_cast<double>(window.count);
      sum += get(window);
    }
    value = sum / count;
    for (const WindowSums &window : windows)
      squares += std::pow(get(window) - value * static_cast<double>(window.count), 2);
    auto n = static_cast<double>(windows.size());
    if (windows.size() > 1)
      error = std::sqrt(squares * n / (n - 1)) / count;
  }

  static constexpr double kNormal95 = 1.959964;
  double low() const { return value - kNormal95 * error.value_or(0); }
  double high() const { return value + kNormal95 * error.value_or(0); }
};

/// Logits to natural logarithms of probabilities.
void normalize(const float *logits, int64_t count, float *result) {
  float greatest = *std::max_element(logits, logits + count);
  double sum = 0;
  for (int64_t i = 0; i < count; ++i)
    sum += std::exp(logits[i] - greatest);
  float shift = greatest + static_cast<float>(std::log(sum));
  for (int64_t i = 0; i < count; ++i)
    result[i] = logits[i] - shift;
}

class Scorer {
public:
  explicit Scorer(const PerplexityOptions &options) : options(options) {}
  int run();

private:
  void readText();
  void check(const WindowLogits &logits, const std::string &artifact) const;
  void score(size_t first, size_t count);
  void scoreRow(size_t window, int64_t token, const float *row, const float *baseRow);
  void report(double seconds);
  bool compares() const { return base || baseFile; }

  const PerplexityOptions &options;
  std::unique_ptr<WindowLogits> logits, base;
  std::unique_ptr<LogProbabilityFile> baseFile, baseOut;
  int64_t context = 0, stride = 0;
  std::vector<int64_t> text;
  std::vector<Window> windows;
  std::vector<uint64_t> predictionsBefore; ///< by window
  std::vector<WindowSums> sums;
  runtime::ThreadPool pool;
  std::mutex lock;
  std::exception_ptr thrown;
};

void Scorer::readText() {
  context = options.context;
  stride = options.stride ? options.stride : context;
  if (baseFile) {
    const LogProbabilityHeader &header = baseFile->header();
    text = header.tokens;
    context = header.context;
    stride = header.stride;
    if (!options.tokens.empty() && readIds(options.tokens) != text)
      throw CommandError(kUsage,
                         "'" + options.base + "' was made with other tokens than those of '" + options.tokens + "'");
  } else if (!options.tokens.empty()) {
    text = readIds(options.tokens);
  } else {
    std::unique_ptr<Tokenizer> tokenizer =
        options.tokenizer.empty() ? loadTokenizer(options.artifact) : std::make_unique<Tokenizer>(options.tokenizer);
    if (!tokenizer)
      throw CommandError(kUsage, "--text needs a tokenizer, and '" + options.artifact +
                                     "' carries none: give --tokenizer tokenizer.json, here or to 'lathe compile'");
    text = tokenizer->encode(readTextFile(options.text), !options.withoutSpecial);
  }
  if (stride > context)
    throw CommandError(kUsage, "--stride must be at most --context, " + std::to_string(context) + ", got " +
                                   std::to_string(stride));
  windows = cutWindows(static_cast<int64_t>(text.size()), context, stride);
  if (options.windows > 0 && windows.size() > static_cast<size_t>(options.windows))
    windows.resize(static_cast<size_t>(options.windows));
  if (windows.empty())
    throw CommandError(kUsage, "expects at least two tokens, got " + std::to_string(text.size()));
  text.resize(static_cast<size_t>(windows.back().end));
  predictionsBefore.push_back(0);
  for (const Window &window : windows)
    predictionsBefore.push_back(predictionsBefore.back() + static_cast<uint64_t>(window.predictions()));
}

void Scorer::check(const WindowLogits &model, const std::string &artifact) const {
  if (context > model.maxSequence())
    throw CommandError(kUsage, "'" + artifact + "' sees " + std::to_string(model.maxSequence()) +
                                   " tokens at most: --context " + std::to_string(context) + " is too long");
  for (int64_t token : text)
    if (token >= model.vocabulary())
      throw CommandError(kUsage, "token " + std::to_string(token) + " is not one of the vocabulary of '" + artifact +
                                     "', which has " + std::to_string(model.vocabulary()));
}

void Scorer::scoreRow(size_t window, int64_t token, const float *row, const float *baseRow) {
  int64_t vocabulary = logits->vocabulary();
  auto size = static_cast<size_t>(vocabulary);
  uint64_t prediction = predictionsBefore[window] + static_cast<uint64_t>(token - windows[window].first);
  auto target = static_cast<size_t>(text[static_cast<size_t>(token)]);
  thread_local std::vector<float> own, other;
  own.resize(size);
  normalize(row, vocabulary, own.data());
  WindowSums &sum = sums[window];
  ++sum.count;
  sum.nll -= own[target];
  if (baseOut)
    baseOut->write(prediction, own.data());
  if (!compares())
    return;
  other.resize(size);
  if (baseFile)
    baseFile->read(prediction, other.data());
  else
    normalize(baseRow, vocabulary, other.data());
  double divergence = 0;
  for (size_t i = 0; i < size; ++i)
    if (other[i] > -100) // else it adds nothing that a number of double precision shows
      divergence += std::exp(static_cast<double>(other[i])) * (static_cast<double>(other[i]) - own[i]);
  sum.divergence += divergence;
  sum.greatest = std::max(sum.greatest, divergence);
  sum.baseNll -= other[target];
  sum.agreements += std::max_element(own.begin(), own.end()) - own.begin() ==
                    std::max_element(other.begin(), other.end()) - other.begin();
}

/// Windows of one length.
void Scorer::score(size_t first, size_t count) {
  int64_t length = windows[first].length();
  std::vector<int64_t> tokens;
  for (size_t i = first; i < first + count; ++i)
    tokens.insert(tokens.end(), text.begin() + windows[i].begin, text.begin() + windows[i].end);
  logits->begin(tokens, static_cast<int64_t>(count), length);
  if (base)
    base->begin(tokens, static_cast<int64_t>(count), length);
  for (int64_t position = 0; position + 1 < length; ++position) {
    struct Task {
      Scorer *self;
      size_t first;
      int64_t position;
      const float *row, *baseRow;
    } task{this, first, position, logits->at(position), base ? base->at(position) : nullptr};
    pool.parallelFor(
        static_cast<int64_t>(count), 1,
        [](void *context, int64_t begin, int64_t end, int) {
          const Task &task = *static_cast<Task *>(context);
          Scorer &self = *task.self;
          try {
            for (int64_t w = begin; w < end; ++w) {
              size_t window = task.first + static_cast<size_t>(w);
              int64_t token = self.windows[window].begin + task.position + 1;
              if (token >= self.windows[window].first)
                self.scoreRow(window, token, task.row + w * self.logits->stride(),
                              task.baseRow ? task.baseRow + w * self.base->stride() : nullptr);
            }
          } catch (...) {
            std::lock_guard<std::mutex> guard(self.lock);
            self.thrown = std::current_exception();
          }
        },
        &task);
    if (thrown)
      std::rethrow_exception(thrown);
  }
}

int Scorer::run() {
  if (!options.base.empty())
    baseFile = std::make_unique<LogProbabilityFile>(options.base);
  readText();
  logits = WindowLogits::create(options.artifact, options);
  check(*logits, options.artifact);
  if (!options.with.empty()) {
    base = WindowLogits::create(options.with, options);
    check(*base, options.with);
  }
  int64_t other = base ? base->vocabulary() : baseFile ? baseFile->header().vocabulary : logits->vocabulary();
  if (other != logits->vocabulary())
    throw CommandError(kUsage, "the vocabularies differ: " + std::to_string(logits->vocabulary()) + " tokens, and " +
                                   std::to_string(other) + " of the base");
  if (baseFile && baseFile->header().predictions < predictionsBefore.back())
    throw CommandError(kUsage, "'" + options.base + "' has " + std::to_string(baseFile->header().predictions) +
                                   " predictions, expected " + std::to_string(predictionsBefore.back()));
  if (!options.baseOut.empty())
    baseOut = std::make_unique<LogProbabilityFile>(
        options.baseOut,
        LogProbabilityHeader{static_cast<uint32_t>(logits->vocabulary()), static_cast<uint32_t>(context),
                             static_cast<uint32_t>(stride), predictionsBefore.back(), text});
  int threads = options.threads ? options.threads : runtime::ThreadPool::usableProcessors();
  if (runtime::Status status = pool.start(threads, nullptr); status.failed())
    throw CommandError(kInternal, "cannot start threads");
  sums.resize(windows.size());
  Progress progress;
  auto start = std::chrono::steady_clock::now();
  for (size_t first = 0; first < windows.size();) {
    size_t count = 0;
    int64_t length = windows[first].length(),
            most = std::min(logits->most(length), base ? base->most(length) : INT64_MAX);
    while (first + count < windows.size() && windows[first + count].length() == length &&
           static_cast<int64_t>(count) < most)
      ++count;
    progress.show({"windows", first, windows.size()});
    score(first, count);
    first += count;
  }
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  progress.stop();
  if (baseOut)
    baseOut->finish();
  report(seconds);
  return kOk;
}

ordered_json interval(const Mean &mean) { return mean.error ? ordered_json{mean.low(), mean.high()} : ordered_json(); }

ordered_json orNull(const std::optional<double> &value) { return value ? ordered_json(*value) : ordered_json(); }

std::string plusMinus(const Mean &mean, double factor = 1) {
  char buffer[64] = "";
  if (mean.error)
    snprintf(buffer, sizeof(buffer), " +- %.6g", *mean.error * factor);
  return buffer;
}

void Scorer::report(double seconds) {
  Mean nll(sums, [](const WindowSums &sum) { return sum.nll; });
  Mean baseNll(sums, [](const WindowSums &sum) { return sum.baseNll; });
  Mean divergence(sums, [](const WindowSums &sum) { return sum.divergence; });
  Mean agreement(sums, [](const WindowSums &sum) { return static_cast<double>(sum.agreements); });
  double greatest = 0;
  for (const WindowSums &sum : sums)
    greatest = std::max(greatest, sum.greatest);
  double perplexity = std::exp(nll.value);
  if (options.json) {
    ordered_json object;
    object["perplexity"] = perplexity;
    object["perplexity_standard_error"] = nll.error ? ordered_json(perplexity * *nll.error) : ordered_json();
    object["perplexity_confidence_95"] =
        nll.error ? ordered_json{std::exp(nll.low()), std::exp(nll.high())} : ordered_json();
    object["nll"] = nll.value;
    object["nll_standard_error"] = orNull(nll.error);
    object["tokens"] = predictionsBefore.back();
    object["windows"] = windows.size();
    object["context"] = context;
    object["stride"] = stride;
    object["program"] = logits->program();
    object["seconds"] = seconds;
    if (compares()) {
      object["base_perplexity"] = std::exp(baseNll.value);
      object["kl_divergence"] = divergence.value;
      object["kl_divergence_standard_error"] = orNull(divergence.error);
      object["kl_divergence_confidence_95"] = interval(divergence);
      object["kl_divergence_max"] = greatest;
      object["top1_agreement"] = agreement.value;
      object["top1_agreement_standard_error"] = orNull(agreement.error);
      object["top1_agreement_confidence_95"] = interval(agreement);
    }
    printf("%s\n", object.dump(2).c_str());
    return;
  }
  printf("perplexity      %.4f%s\nnll             %.6f%s\ntokens          %llu, in %zu windows of %lld\n", perplexity,
         plusMinus(nll, perplexity).c_str(), nll.value, plusMinus(nll).c_str(),
         static_cast<unsigned long long>(predictionsBefore.back()), windows.size(), static_cast<long long>(context));
  if (nll.error)
    printf("95 %% interval   %.4f to %.4f\n", std::exp(nll.low()), std::exp(nll.high()));
  if (!compares())
    return;
  printf("base            %.4f\nKL divergence   %.6g%s, at most %.6g\ntop-1 agreement %.3f %%%s\n",
         std::exp(baseNll.value), divergence.value, plusMinus(divergence).c_str(), greatest, 100 * agreement.value,
         plusMinus(agreement, 100).c_str());
  if (divergence.error)
    printf("95 %% intervals  %.6g to %.6g, %.3f to %.3f %%\n", divergence.low(), divergence.high(),
           100 * agreement.low(), 100 * agreement.high());
}

int perplexity(const PerplexityOptions &options) {
  if (options.base.empty() && options.tokens.empty() == options.text.empty())
    throw CommandError(kUsage, "expects one of --tokens and --text");
  if (!options.base.empty() && !options.text.empty())
    throw CommandError(kUsage, "--kl-divergence brings its own tokens: give it without --text");
  if (!options.base.empty() + !options.with.empty() + !options.baseOut.empty() > 1)
    throw CommandError(kUsage, "give one of --kl-divergence-base, --kl-divergence and --kl-divergence-with");
  try {
    return Scorer(options).run();
  } catch (const TokenizerError &error) {
    throw CommandError(exitCodeFor(error.status()), error.what());
  }
}

} // namespace

void tool::addPerplexityCommand(CLI::App &app, int &exitCode) {
  auto options = std::make_shared<PerplexityOptions>();
  CLI::App *command = app.add_subcommand("perplexity", "Measure how well a compiled language model predicts a text");
  command->add_option("artifact", options->artifact, "Compiled model (.lathe)")->required();
  command->add_option("--tokens", options->tokens, "The text's tokens (.npy, one row of integers)");
  command->add_option("--text", options->text, "A file that holds the text, - for standard input; needs a tokenizer");
  command->add_option("--tokenizer", options->tokenizer,
                      "tokenizer.json or SentencePiece model (default: the one that the artifact carries)");
  command->add_flag("--no-special", options->withoutSpecial, "Put no special tokens around the text");
  command->add_option("--context", options->context, "Tokens of a window, which begins with an empty cache (256)")
      ->check(CLI::Range(int64_t(2), int64_t(UINT32_MAX)));
  command
      ->add_option("--stride", options->stride,
                   "Tokens from one window to the next (default: --context, windows do not overlap)")
      ->check(CLI::Range(int64_t(1), int64_t(UINT32_MAX)));
  command->add_option("--windows", options->windows, "Windows at most (default: all)")->check(CLI::PositiveNumber);
  command->add_option("--kl-divergence-base", options->baseOut, "Write what is predicted here, to compare others with");
  command->add_option("--kl-divergence", options->base, "Compare with such a file");
  command->add_option("--kl-divergence-with", options->with, "Compare with what this artifact predicts");
  command->add_option("--device", options->device, "Device to run on: cpu, cuda, cuda-emulator, or auto for the best that works (default: the artifact's first)");
  command->add_flag("--tf32", options->tf32, "On GPUs products of f32 may round their operands to TF32: 10 bits behind the first");
  command->add_option("--threads", options->threads, "Threads (default: every processor)")->check(CLI::Range(0, 1024));
  command->add_option("--memory-budget", options->memoryBudget, "Bytes that model and run may each use");
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options, &exitCode] { exitCode = guarded([&] { return perplexity(*options); }); });
}
