//===- WindowLogits.cpp - What a model predicts in windows ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/WindowLogits.h"
#include "compiler/tools/lathe/RunCommands/ManifestJson.h"
#include "compiler/tools/lathe/RunCommands/Support.h"
#include "runtime/include/lathe/generate.hpp"

#include <algorithm>
#include <optional>

using namespace lathe;
using namespace lathe::tool;

namespace {

LoadOptions loadOptions(const ScoreOptions &options) {
  LoadOptions load;
  load.device = options.device;
  load.tf32 = options.tf32;
  load.memoryBudget = options.memoryBudget;
  return load;
}

/// The output of `main` that has logits for each token: [batch, sequence, N] with the dimensions of the tokens.
std::optional<size_t> findLogits(const Module &module) {
  std::vector<TensorInfo> inputs = module.inputs(), outputs = module.outputs();
  if (inputs.size() != 1 || inputs[0].dims.size() != 2 ||
      (inputs[0].dtype != LATHE_I64 && inputs[0].dtype != LATHE_I32) || inputs[0].dims[0] >= 0)
    return std::nullopt;
  for (size_t i = 0; i < outputs.size(); ++i)
    if (outputs[i].dims.size() == 3 && outputs[i].dtype == LATHE_F32 && outputs[i].dims[2] > 0 &&
        outputs[i].dimTexts[0] == inputs[0].dimTexts[0] && outputs[i].dimTexts[1] == inputs[0].dimTexts[1])
      return i;
  return std::nullopt;
}

/// All positions in one run.
class MainLogits : public WindowLogits {
public:
  MainLogits(Module &&given, size_t output, const ScoreOptions &options)
      : module(std::move(given)), session(module, sessionOptions(options)), output(output) {
    vocabulary_ = module.outputs()[output].dims[2];
    TensorInfo input = module.inputs()[0];
    isWide = input.dtype == LATHE_I64;
    for (const SymbolInfo &symbol : module.symbols())
      if (symbol.name == input.dimTexts[1])
        maxSequence_ = symbol.max;
    if (input.dims[1] >= 0)
      maxSequence_ = input.dims[1];
  }

  void begin(const std::vector<int64_t> &tokens, int64_t count, int64_t length) override {
    narrow.assign(tokens.begin(), tokens.end());
    isWide ? session.setInput(0, {count, length}, tokens.data()) : session.setInput(0, {count, length}, narrow.data());
    session.run();
    logits = session.output(output).as<float>();
    stride_ = length * vocabulary_;
  }
  const float *at(int64_t position) override { return logits + position * vocabulary_; }
  int64_t stride() const override { return stride_; }
  const char *program() const override { return "main"; }

private:
  static SessionOptions sessionOptions(const ScoreOptions &options) {
    SessionOptions result;
    result.threads = options.threads;
    result.memoryBudget = options.memoryBudget;
    return result;
  }
  int64_t logitsOf(int64_t length) const override { return length; }

  Module module;
  Session session;
  size_t output;
  bool isWide = true;
  std::vector<int32_t> narrow;
  const float *logits = nullptr;
  int64_t stride_ = 0;
};

/// Pieces of windows in a run, as generation computes prompts.
class StepLogits : public WindowLogits {
public:
  StepLogits(Module &&given, const ScoreOptions &options)
      : module(std::move(given)), generator(module, {options.threads, options.memoryBudget}) {
    lathe_generator_info info = generator.info();
    if (info.source_count > 0)
      throw CommandError(kUsage, "expects a decoder alone: this one depends on what an encoder reads");
    vocabulary_ = info.vocabulary;
    maxSequence_ = info.max_sequence;
    together = info.scored_tokens;
  }

  void begin(const std::vector<int64_t> &given, int64_t count, int64_t length) override {
    generator.begin(static_cast<size_t>(count));
    tokens = given;
    windows = count;
    length_ = length;
    first = end = 0;
  }

  const float *at(int64_t position) override {
    while (position >= end) {
      int64_t size = std::min(piece(windows), length_ - end);
      part.clear();
      for (int64_t w = 0; w < windows; ++w) {
        auto from = tokens.begin() + w * length_ + end;
        part.insert(part.end(), from, from + size);
      }
      first = end;
      end += size;
      stride_ = size * vocabulary_;
      logits.resize(static_cast<size_t>(windows * stride_));
      generator.appendAll(part, static_cast<size_t>(size),
                          [&](size_t begin, size_t count, const float *given, size_t stride) {
                            for (size_t w = 0; w < static_cast<size_t>(windows); ++w)
                              std::copy_n(given + w * stride, count * static_cast<size_t>(vocabulary_),
                                          logits.data() + static_cast<int64_t>(w) * stride_ +
                                              static_cast<int64_t>(begin) * vocabulary_);
                          });
    }
    return logits.data() + (position - first) * vocabulary_;
  }
  int64_t stride() const override { return stride_; }
  const char *program() const override { return "step"; }

private:
  /// Tokens of each window in a run, where there are so many windows.
  int64_t piece(int64_t count) const {
    int64_t fits = kBytes / (count * vocabulary_ * static_cast<int64_t>(sizeof(float)));
    return std::clamp<int64_t>(std::min(fits, together / count), 1, length_);
  }
  /// Whole windows, or as many as possible of which one token each is computed.
  int64_t logitsOf(int64_t length) const override { return std::min(length, together); }
  int64_t most(int64_t length) const override {
    return together == 1 ? WindowLogits::most(length) : std::clamp<int64_t>(together / length, 1, kMost);
  }

  Module module;
  Generator generator;
  std::vector<int64_t> tokens, part;
  std::vector<float> logits; ///< of tokens [first, end) of the windows
  int64_t windows = 0, length_ = 0, first = 0, end = 0, stride_ = 0, together = 1;
};

} // namespace

std::vector<Window> tool::cutWindows(int64_t tokens, int64_t context, int64_t stride) {
  std::vector<Window> windows;
  int64_t done = 0; // tokens that are predicted, or cannot be
  for (int64_t begin = 0; done < tokens; begin += stride) {
    int64_t end = begin + std::min(context, tokens - begin);
    Window window{begin, end, std::max(done, begin + 1)};
    if (window.predictions() > 0)
      windows.push_back(window);
    done = end;
  }
  return windows;
}

int64_t WindowLogits::most(int64_t length) const {
  int64_t bytes = vocabulary_ * logitsOf(length) * static_cast<int64_t>(sizeof(float));
  return std::clamp<int64_t>(kBytes / std::max<int64_t>(bytes, 1), 1, kMost);
}

std::unique_ptr<WindowLogits> WindowLogits::create(const std::string &artifact, const ScoreOptions &options) {
  Module module(artifact, loadOptions(options));
  // What is rounded between runs is part of what is generated.
  std::optional<size_t> output = roundsCaches(manifestOf(module)) ? std::nullopt : findLogits(module);
  if (output)
    return std::make_unique<MainLogits>(std::move(module), *output, options);
  std::vector<std::string> programs = module.programs();
  if (std::find(programs.begin(), programs.end(), "step") != programs.end())
    return std::make_unique<StepLogits>(std::move(module), options);
  throw CommandError(
      kUsage,
      "'" + artifact +
          "' does not tell which tokens come next: it has no program 'step' ('lathe compile --generate "
          "on' makes it of decoders, or says why it cannot), nor does it read tokens [batch, sequence] alone and give "
          "logits [batch, sequence, N]");
}
