//===- LogProbabilityFile.cpp - What a model predicted, kept ----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/LogProbabilityFile.h"
#include "compiler/tools/lathe/RunCommands/TensorFiles.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace lathe;
using namespace lathe::tool;

namespace {

constexpr char kMagic[8] = {'L', 'A', 'T', 'H', 'E', 'L', 'P', '1'};
constexpr size_t kHeaderBytes = 40;
/// What is less probable than the most probable token by this factor's logarithm counts as being so.
constexpr float kRange = 24;

void readAll(int file, void *data, size_t size, uint64_t offset, const std::string &path) {
  auto *bytes = static_cast<char *>(data);
  while (size > 0) {
    ssize_t count = pread(file, bytes, size, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0)
      throw FileError("cannot read '" + path + "': " + (count < 0 ? strerror(errno) : "it is shorter than it says"));
    bytes += count;
    size -= static_cast<size_t>(count);
    offset += static_cast<uint64_t>(count);
  }
}

void writeAll(int file, const void *data, size_t size, uint64_t offset, const std::string &path) {
  auto *bytes = static_cast<const char *>(data);
  while (size > 0) {
    ssize_t count = pwrite(file, bytes, size, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0)
      throw FileError("cannot write '" + path + "': " + strerror(errno), true);
    bytes += count;
    size -= static_cast<size_t>(count);
    offset += static_cast<uint64_t>(count);
  }
}

} // namespace

uint64_t LogProbabilityFile::offset(uint64_t prediction) const {
  return kHeaderBytes + header_.tokens.size() * sizeof(uint32_t) + prediction * rowBytes();
}

LogProbabilityFile::LogProbabilityFile(const std::string &path) : path_(path) {
  file_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file_ < 0)
    throw FileError("cannot open '" + path + "': " + strerror(errno));
  struct stat status = {};
  fstat(file_, &status);
  auto size = static_cast<uint64_t>(status.st_size);
  char head[kHeaderBytes] = {};
  uint64_t count = 0;
  if (size >= kHeaderBytes)
    readAll(file_, head, sizeof(head), 0, path);
  memcpy(&header_.vocabulary, head + 8, 4);
  memcpy(&header_.context, head + 12, 4);
  memcpy(&header_.stride, head + 16, 4);
  memcpy(&count, head + 24, 8);
  memcpy(&header_.predictions, head + 32, 8);
  uint64_t expected = 0, rows = 0;
  bool fits = memcmp(head, kMagic, sizeof(kMagic)) == 0 && header_.vocabulary > 0 && header_.context > 1 &&
              header_.stride > 0 && header_.stride <= header_.context && count <= size / sizeof(uint32_t) &&
              !__builtin_mul_overflow(header_.predictions, rowBytes(), &rows) &&
              !__builtin_add_overflow(kHeaderBytes + count * sizeof(uint32_t), rows, &expected) && expected == size;
  if (!fits) {
    close(file_);
    throw FileError("'" + path +
                    "' holds no log-probabilities, or not all of them: expected what --kl-divergence-base writes");
  }
  std::vector<uint32_t> tokens(count);
  readAll(file_, tokens.data(), count * sizeof(uint32_t), kHeaderBytes, path);
  header_.tokens.assign(tokens.begin(), tokens.end());
}

LogProbabilityFile::LogProbabilityFile(const std::string &path, const LogProbabilityHeader &header)
    : path_(path), made_(std::make_unique<runtime::NewFile>(path)), header_(header) {
  if (std::string problem = made_->open(); !problem.empty())
    throw FileError("cannot write '" + path + "': " + problem, true);
  file_ = made_->descriptor();
  char head[kHeaderBytes] = {};
  uint64_t count = header.tokens.size();
  memcpy(head, kMagic, sizeof(kMagic));
  memcpy(head + 8, &header.vocabulary, 4);
  memcpy(head + 12, &header.context, 4);
  memcpy(head + 16, &header.stride, 4);
  memcpy(head + 24, &count, 8);
  memcpy(head + 32, &header.predictions, 8);
  std::vector<uint32_t> tokens(header.tokens.begin(), header.tokens.end());
  writeAll(file_, head, sizeof(head), 0, path);
  writeAll(file_, tokens.data(), tokens.size() * sizeof(uint32_t), kHeaderBytes, path);
}

LogProbabilityFile::~LogProbabilityFile() {
  if (!made_)
    close(file_);
}

void LogProbabilityFile::write(uint64_t prediction, const float *logProbabilities) {
  size_t vocabulary = header_.vocabulary;
  float greatest = *std::max_element(logProbabilities, logProbabilities + vocabulary);
  float least = std::max(*std::min_element(logProbabilities, logProbabilities + vocabulary), greatest - kRange);
  float step = (greatest - least) / UINT16_MAX;
  std::vector<char> row(rowBytes());
  memcpy(row.data(), &greatest, sizeof(float));
  memcpy(row.data() + sizeof(float), &step, sizeof(float));
  for (size_t i = 0; i < vocabulary; ++i) {
    float places = step > 0 ? (greatest - std::max(logProbabilities[i], least)) / step : 0;
    auto q = static_cast<uint16_t>(std::min(places + 0.5F, static_cast<float>(UINT16_MAX)));
    memcpy(row.data() + 2 * sizeof(float) + i * sizeof(q), &q, sizeof(q));
  }
  writeAll(file_, row.data(), row.size(), offset(prediction), path_);
}

void LogProbabilityFile::read(uint64_t prediction, float *logProbabilities) const {
  size_t vocabulary = header_.vocabulary;
  std::vector<char> row(rowBytes());
  readAll(file_, row.data(), row.size(), offset(prediction), path_);
  float greatest = 0, step = 0;
  memcpy(&greatest, row.data(), sizeof(float));
  memcpy(&step, row.data() + sizeof(float), sizeof(float));
  if (!std::isfinite(greatest) || !std::isfinite(step) || step < 0)
    throw FileError("'" + path_ + "' is broken: expected numbers at prediction " + std::to_string(prediction));
  double sum = 0;
  for (size_t i = 0; i < vocabulary; ++i) {
    uint16_t q = 0;
    memcpy(&q, row.data() + 2 * sizeof(float) + i * sizeof(q), sizeof(q));
    logProbabilities[i] = -step * static_cast<float>(q);
    sum += std::exp(logProbabilities[i]);
  }
  auto scale = static_cast<float>(std::log(sum));
  for (size_t i = 0; i < vocabulary; ++i)
    logProbabilities[i] -= scale;
}

void LogProbabilityFile::finish() {
  if (std::string problem = made_->finish(); !problem.empty())
    throw FileError("cannot write '" + path_ + "': " + problem, true);
}
