//===- Selection.cpp - Which weights become zero ----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/pruning/methods/Selection.h"

#include <algorithm>
#include <cmath>

using namespace lathe;
using namespace lathe::pruning;

int64_t pruning::shareOf(double share, int64_t count) {
  // A share such as 0.7 is no number of binary digits: 0.7 of 10 is to be 7.
  const double exact = share * static_cast<double>(count);
  return std::clamp<int64_t>(static_cast<int64_t>(std::floor(exact * (1 + 1e-12) + 1e-9)), 0, count);
}

std::vector<float> pruning::scoresOf(const Weight &w, const std::vector<float> &size, double clip) {
  const int64_t count = w.n * w.k;
  std::vector<float> scores(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i)
    scores[i] = std::abs(w.data[i]);
  if (clip < 1 && count > 0) {
    std::vector<float> sorted = scores;
    const int64_t at = std::min(shareOf(clip, count), count - 1);
    std::nth_element(sorted.begin(), sorted.begin() + at, sorted.end());
    for (float &score : scores)
      score = std::min(score, sorted[at]);
  }
  for (int64_t row = 0; row < w.n; ++row)
    for (int64_t i = 0; i < w.k; ++i) {
      float &score = scores[row * w.k + i];
      score = w.data[row * w.k + i] == 0 ? -1.0f : size.empty() ? score : score * size[i];
    }
  return scores;
}

std::vector<float> pruning::blockScores(const std::vector<float> &scores, int64_t n, int64_t k, const Pattern &pattern,
                                        BlockNorm norm) {
  if (pattern.rows == 1 && pattern.columns == 1)
    return scores;
  const int64_t rows = (n + pattern.rows - 1) / pattern.rows, columns = (k + pattern.columns - 1) / pattern.columns;
  std::vector<float> result(static_cast<size_t>(rows * columns));
  std::vector<double> sums(static_cast<size_t>(columns));
  for (int64_t row = 0; row < rows; ++row) {
    std::fill(sums.begin(), sums.end(), 0.0);
    const int64_t begin = row * pattern.rows, end = std::min(n, begin + pattern.rows);
    for (int64_t j = begin; j < end; ++j)
      for (int64_t i = 0; i < k; ++i) {
        const double score = std::max(scores[j * k + i], 0.0f);
        sums[i / pattern.columns] += norm == BlockNorm::L2 ? score * score : score;
      }
    for (int64_t column = 0; column < columns; ++column) {
      const int64_t width = std::min(k, (column + 1) * pattern.columns) - column * pattern.columns;
      const double mean = sums[column] / static_cast<double>((end - begin) * width);
      result[row * columns + column] = static_cast<float>(norm == BlockNorm::L2 ? std::sqrt(mean) : mean);
    }
  }
  return result;
}

std::vector<uint8_t> pruning::dropLowest(const std::vector<float> &scores, int64_t count) {
  std::vector<uint8_t> dropped(scores.size());
  if (count <= 0)
    return dropped;
  if (count >= static_cast<int64_t>(scores.size())) {
    std::fill(dropped.begin(), dropped.end(), 1);
    return dropped;
  }
  std::vector<float> sorted = scores;
  std::nth_element(sorted.begin(), sorted.begin() + (count - 1), sorted.end());
  const float bound = sorted[count - 1];
  int64_t below = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    dropped[i] = scores[i] < bound;
    below += dropped[i];
  }
  for (size_t i = 0; i < scores.size() && below < count; ++i)
    if (scores[i] == bound) {
      dropped[i] = 1;
      ++below;
    }
  return dropped;
}

std::vector<uint8_t> pruning::dropBlocks(const std::vector<float> &scores, int64_t rows, int64_t columns,
                                         const SelectionOptions &options) {
  std::vector<uint8_t> dropped(scores.size());
  if (options.threshold) {
    for (size_t i = 0; i < scores.size(); ++i)
      dropped[i] = scores[i] < *options.threshold;
    return dropped;
  }
  if (options.scope == Scope::Layer)
    return dropLowest(scores, shareOf(options.sparsity, rows * columns));
  const bool isOutput = options.scope == Scope::Output;
  const int64_t groups = isOutput ? rows : columns, size = isOutput ? columns : rows;
  std::vector<float> own(static_cast<size_t>(size));
  for (int64_t group = 0; group < groups; ++group) {
    const auto at = [&](int64_t i) { return isOutput ? group * columns + i : i * columns + group; };
    for (int64_t i = 0; i < size; ++i)
      own[i] = scores[at(i)];
    const std::vector<uint8_t> lowest = dropLowest(own, shareOf(options.sparsity, size));
    for (int64_t i = 0; i < size; ++i)
      dropped[at(i)] = lowest[i];
  }
  return dropped;
}

std::vector<uint8_t> pruning::maskOfBlocks(const std::vector<uint8_t> &blocks, int64_t n, int64_t k,
                                           const Pattern &pattern) {
  if (pattern.rows == 1 && pattern.columns == 1)
    return blocks;
  const int64_t columns = (k + pattern.columns - 1) / pattern.columns;
  std::vector<uint8_t> mask(static_cast<size_t>(n * k));
  for (int64_t j = 0; j < n; ++j)
    for (int64_t i = 0; i < k; ++i)
      mask[j * k + i] = blocks[j / pattern.rows * columns + i / pattern.columns];
  return mask;
}

void pruning::dropOfGroup(const float *scores, int64_t count, const Pattern &pattern, uint8_t *dropped) {
  int64_t left = count;
  for (int64_t i = 0; i < count; ++i) {
    dropped[i] = scores[i] < 0;
    left -= dropped[i];
  }
  for (; left > pattern.kept; --left) {
    int64_t lowest = -1;
    for (int64_t i = 0; i < count; ++i)
      if (!dropped[i] && (lowest < 0 || scores[i] < scores[lowest]))
        lowest = i;
    dropped[lowest] = 1;
  }
}

std::vector<uint8_t> pruning::selectWeights(const std::vector<float> &scores, int64_t n, int64_t k,
                                            const SelectionOptions &options) {
  const Pattern &pattern = options.pattern;
  if (pattern.kind != PatternKind::NofM) {
    const int64_t rows = (n + pattern.rows - 1) / pattern.rows, columns = (k + pattern.columns - 1) / pattern.columns;
    return maskOfBlocks(dropBlocks(blockScores(scores, n, k, pattern, options.norm), rows, columns, options), n, k,
                        pattern);
  }
  std::vector<uint8_t> mask(static_cast<size_t>(n * k));
  for (int64_t j = 0; j < n; ++j)
    for (int64_t i = 0; i < k; i += pattern.of)
      dropOfGroup(&scores[j * k + i], std::min(pattern.of, k - i), pattern, &mask[j * k + i]);
  return mask;
}

double pruning::sparsityOf(const float *values, int64_t count) {
  return count == 0 ? 0 : static_cast<double>(std::count(values, values + count, 0.0f)) / static_cast<double>(count);
}
