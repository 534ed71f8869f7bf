//===- Calibration.h - What a model computes on sample inputs ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Methods that look at data need what flows through a model. The compiler compiles the model with further outputs, and whoever
// calls it runs that on the samples, as the compiler has no runtime.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_CALIBRATION_H
#define LATHE_COMPILER_CALIBRATION_H

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace lathe {

/// An output of one run, f32, row-major; valid during the call that gets it.
struct Observed {
  const float *data = nullptr;
  std::vector<int64_t> dims;
};

/// An input that every run gets beside the sample's.
struct FixedInput {
  std::string name;
  std::vector<int64_t> dims;
  const float *data = nullptr;
};

/// What is run next, of several artifacts that take the same samples.
struct Turn {
  size_t artifact = 0;
  bool moves = false;              ///< on to the next samples; the first turn does that anyway
  std::vector<FixedInput> changed; ///< inputs that are others than in the artifact's turn before; what is borrowed is so until it changes
};

/// How far the turns are.
struct TurnState {
  size_t samples = 0; ///< that turns had, those at hand among them
  bool isLast = false; ///< there are none behind those at hand
};

/// Sample inputs, and a runtime to run artifacts on them.
class CalibrationData {
public:
  virtual ~CalibrationData() = default;
  /// Whether samples are windows of tokens: programs of which only the tokens are an input take them.
  virtual bool hasTokens() const = 0;
  /// Runs the artifact at `path` on all samples, which is what its inputs that `fixed` does not name get, and calls `observe` after each
  /// run with the outputs in their order, until it returns false. Returns what went wrong, or an empty text. Memory does not grow with
  /// the number of samples.
  virtual std::string run(const std::string &path, const std::vector<FixedInput> &fixed,
                          const std::function<bool(const std::vector<Observed> &)> &observe) = 0;
  /// Runs artifacts, all of which take the same samples, in turns: `next` tells what is run next, until it returns false, and `observe` gets
  /// the outputs, until it returns false, too. So several models, or one with several weights, are compared while only the samples at hand are
  /// in memory. Turns that move on from the last samples end it. Returns what went wrong, or an empty text.
  virtual std::string runTurns(const std::vector<std::string> &paths, const std::function<bool(const TurnState &, Turn &)> &next,
                               const std::function<bool(const std::vector<Observed> &)> &observe) = 0;
  /// Runs an artifact that has no inputs. Returns what went wrong, or an empty text.
  virtual std::string evaluate(const std::string &path, const std::function<bool(const std::vector<Observed> &)> &observe) = 0;
  /// The tokens of the samples that were run last, window behind window; none of other samples.
  virtual std::vector<int64_t> tokens() const = 0;
  /// Stands for the samples: other ones have another text.
  virtual std::string identity() const = 0;
  /// Samples, as users count them: windows, or files.
  virtual size_t samples() const = 0;
};

} // namespace lathe

#endif // LATHE_COMPILER_CALIBRATION_H
