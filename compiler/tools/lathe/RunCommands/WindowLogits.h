//===- WindowLogits.h - What a model predicts in windows --------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_WINDOWLOGITS_H
#define LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_WINDOWLOGITS_H

#include "runtime/include/lathe/lathe.hpp"

#include <memory>
#include <string>
#include <vector>

namespace lathe::tool {

/// Consecutive tokens [begin, end) of a text, which a model sees from an empty cache on, and of which those from
/// `first` on are predicted.
struct Window {
  int64_t begin = 0, end = 0, first = 0;
  int64_t length() const { return end - begin; }
  int64_t predictions() const { return end - first; }
};

/// Windows of `context` tokens, each `stride` after the one before, in which each token is predicted once, and the
/// first of all not. What a window shares with the one before it is only looked at. The last may be shorter.
std::vector<Window> cutWindows(int64_t tokens, int64_t context, int64_t stride);

struct ScoreOptions {
  std::string device;
  bool tf32 = false;
  int threads = 0;
  uint64_t memoryBudget = 0;
};

/// Computes the logits of windows, several at once: by the program `main`, where it reads tokens and nothing else, in
/// one run, or by the program `step`, piece after piece.
class WindowLogits {
public:
  /// Throws CommandError where the artifact has neither.
  static std::unique_ptr<WindowLogits> create(const std::string &artifact, const ScoreOptions &options);
  virtual ~WindowLogits() = default;

  /// Begins windows of one length, at most `most()` of them: their tokens, [count, length].
  virtual void begin(const std::vector<int64_t> &tokens, int64_t count, int64_t length) = 0;
  /// The logits after the tokens at `position`; window w's are w * stride() numbers further. Positions are asked for in
  /// their order.
  virtual const float *at(int64_t position) = 0;
  virtual int64_t stride() const = 0;

  /// How many windows are computed at once.
  virtual int64_t most(int64_t length) const;
  int64_t vocabulary() const { return vocabulary_; }
  int64_t maxSequence() const { return maxSequence_; }
  virtual const char *program() const = 0;

protected:
  /// Of logits, and windows, at once.
  static constexpr int64_t kBytes = 64 << 20, kMost = 64;
  virtual int64_t logitsOf(int64_t length) const = 0; ///< rows of a window that are there at a time
  int64_t vocabulary_ = 0, maxSequence_ = INT64_MAX;
};

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_WINDOWLOGITS_H
