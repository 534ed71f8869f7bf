//===- LogProbabilityFile.h - What a model predicted, kept ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Little endian: "LATHELP1", then u32 vocabulary, u32 context, u32 stride, u32 zero, u64 number of tokens, u64 number
// of predictions, the tokens as u32, and for each prediction, in the order of the text, f32 greatest and f32 step and
// u16 q for each token of the vocabulary: the logarithm of its probability is greatest - step * q.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_LOGPROBABILITYFILE_H
#define LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_LOGPROBABILITYFILE_H

#include "runtime/NewFile.h"
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace lathe::tool {

struct LogProbabilityHeader {
  uint32_t vocabulary = 0, context = 0, stride = 0;
  uint64_t predictions = 0;
  std::vector<int64_t> tokens;
};

class LogProbabilityFile {
public:
  /// Reads one. Throws FileError for anything that is none.
  explicit LogProbabilityFile(const std::string &path);
  /// Writes one: the file is there when `finish` has returned, and not at all where it is never called.
  LogProbabilityFile(const std::string &path, const LogProbabilityHeader &header);
  ~LogProbabilityFile();
  LogProbabilityFile(const LogProbabilityFile &) = delete;
  LogProbabilityFile &operator=(const LogProbabilityFile &) = delete;

  const LogProbabilityHeader &header() const { return header_; }
  /// As many numbers as the vocabulary has. What is read sums to 1 again. Safe for several threads at once.
  void write(uint64_t prediction, const float *logProbabilities);
  void read(uint64_t prediction, float *logProbabilities) const;
  void finish();

private:
  uint64_t offset(uint64_t prediction) const;
  size_t rowBytes() const { return 2 * sizeof(float) + header_.vocabulary * sizeof(uint16_t); }

  std::string path_;
  std::unique_ptr<runtime::NewFile> made_; ///< that is written; null for one that is read
  LogProbabilityHeader header_;
  int file_ = -1;
};

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_LOGPROBABILITYFILE_H
