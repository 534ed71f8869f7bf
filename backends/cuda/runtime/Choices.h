//===- Choices.h - Which algorithm of the library is fastest ----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_RUNTIME_CHOICES_H
#define LATHE_BACKENDS_CUDA_RUNTIME_CHOICES_H

#include "backends/cuda/runtime/BlasApi.h"

#include <map>
#include <mutex>
#include <string>

namespace lathe::cuda {

/// What was timed, by problem, kept in a file for the next process: JSON
///
///     {"lathe_cuda_choices": 1, "machines": [{"device": "...", "driver": 13000, "library": 130000,
///       "problems": {"768,128,...": {"algorithm": "0a4f...", "microseconds": 12.5}}}]}
///
/// An algorithm is told by its bytes, which are only compared with what the library offers: nothing of the file reaches
/// the library. Another machine's entries stay in the file; a file that is something else is neither read nor replaced.
/// Thread-safe.
class Choices {
public:
  Choices() = default;
  /// Reads `path`, if there is such a file. Without a path nothing is kept.
  void open(std::string path, std::string device, int64_t driver, int64_t library);
  /// Saves.
  ~Choices() { save(); }
  Choices(const Choices &) = delete;

  /// Whether `algorithm` is what was fastest for `problem`.
  bool isChosen(const std::string &problem, const BlasAlgo &algorithm) const;
  void add(const std::string &problem, const BlasAlgo &algorithm, double microseconds);
  /// The same of algorithms that have names; empty where nothing is known.
  std::string chosen(const std::string &problem) const;
  void add(const std::string &problem, std::string algorithm, double microseconds);
  /// Writes the file, beside its place and then renamed, if something was added. That it can't be written is no error.
  void save();

private:
  struct Choice {
    std::string algorithm;
    double microseconds = 0;
  };

  std::map<std::string, Choice> read(bool tell) const;

  mutable std::mutex mutex_;
  std::string path_, device_;
  int64_t driver_ = 0, library_ = 0;
  std::map<std::string, Choice> choices_;
  bool isChanged_ = false;
  mutable bool isForeign_ = false; ///< what has the file's name is none of these
};

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_RUNTIME_CHOICES_H
