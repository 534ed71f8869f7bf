//===- SparseGpt.cpp - Zeros that what stays makes up for -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/pruning/methods/SparseGpt.h"

#include "passes/quantization/methods/Blas.h"
#include "passes/quantization/methods/Parallel.h"

#include <algorithm>
#include <cmath>

using namespace lathe;
using namespace lathe::pruning;
using quantization::parallelFor;

namespace {

/// Outputs that are worked on together, independent of the others.
constexpr int64_t kOutputs = 64;

class Pruner {
public:
  Pruner(const Weight &w, const SparseGptInputs &inputs, const SparseGptOptions &options, ThreadPool *pool)
      : w_(w), inputs_(inputs), options_(options), pattern_(options.selection.pattern), pool_(pool),
        values_(static_cast<size_t>(w.n * w.k)), mask_(values_.size()), clip_(clipOf(w, options.clip)),
        dropped_(static_cast<size_t>(options.selection.scope == Scope::Output ? blockRows() : 1)) {
    for (int64_t row = 0; row < w.n; ++row)
      for (int64_t position = 0; position < w.k; ++position) {
        const float value = w.data[row * w.k + inputs.order[position]];
        values_[row * w.k + position] = value;
        mask_[row * w.k + position] = value == 0;
      }
  }

  void run(std::vector<float> &result) {
    const int64_t k = w_.k;
    for (int64_t begin = 0; begin < k;) {
      const int64_t end = endOfBlock(begin);
      if (pattern_.kind != PatternKind::NofM)
        choose(begin, end);
      parallelFor(pool_, (w_.n + kOutputs - 1) / kOutputs,
                  [&](int64_t block) { handOn(block * kOutputs, begin, end); });
      begin = end;
    }
    result.resize(values_.size());
    for (int64_t row = 0; row < w_.n; ++row)
      for (int64_t position = 0; position < k; ++position)
        result[row * k + inputs_.order[position]] = values_[row * k + position];
  }

private:
  static float clipOf(const Weight &w, double clip) {
    std::vector<float> sorted(static_cast<size_t>(w.n * w.k));
    if (clip >= 1 || sorted.empty())
      return INFINITY;
    for (size_t i = 0; i < sorted.size(); ++i)
      sorted[i] = std::abs(w.data[i]);
    const int64_t count = w.n * w.k, at = std::min(shareOf(clip, count), count - 1);
    std::nth_element(sorted.begin(), sorted.begin() + at, sorted.end());
    return sorted[at];
  }

  int64_t blockRows() const { return (w_.n + pattern_.rows - 1) / pattern_.rows; }

  /// The end of the inputs from `position` on that belong together.
  int64_t endOfRun(int64_t position) const {
    const int64_t together = pattern_.inputsTogether(), group = inputs_.order[position] / together;
    int64_t end = position + 1;
    while (end < w_.k && inputs_.order[end] / together == group)
      ++end;
    return end;
  }
  int64_t endOfBlock(int64_t begin) const {
    int64_t end = endOfRun(begin);
    while (end < w_.k && endOfRun(end) <= begin + options_.block)
      end = endOfRun(end);
    return end;
  }

  /// How much the output changes without a weight; -1 where it is zero already.
  float scoreOf(int64_t row, int64_t position) const {
    if (mask_[row * w_.k + position])
      return -1;
    if (inputs_.quiet[inputs_.order[position]])
      return 0;
    return std::min(std::abs(values_[row * w_.k + position]), clip_) / inputs_.factor[position * w_.k + position];
  }

  /// Chooses the zeros of inputs [begin, end) over all outputs.
  void choose(int64_t begin, int64_t end) {
    std::vector<int64_t> starts; // of runs of inputs that belong together
    for (int64_t position = begin; position < end; position = endOfRun(position))
      starts.push_back(position);
    const int64_t rows = blockRows(), columns = static_cast<int64_t>(starts.size());
    starts.push_back(end);
    std::vector<float> scores(static_cast<size_t>(rows * columns));
    parallelFor(pool_, rows, [&](int64_t row) {
      for (int64_t column = 0; column < columns; ++column)
        scores[row * columns + column] = blockScore(row, starts[column], starts[column + 1]);
    });
    const std::vector<uint8_t> chosen = drop(scores, rows, columns);
    for (int64_t row = 0; row < w_.n; ++row)
      for (int64_t column = 0; column < columns; ++column)
        for (int64_t position = starts[column]; position < starts[column + 1]; ++position)
          mask_[row * w_.k + position] |= chosen[row / pattern_.rows * columns + column];
    done_ += columns;
  }

  float blockScore(int64_t block, int64_t begin, int64_t end) const {
    const int64_t first = block * pattern_.rows, last = std::min(w_.n, first + pattern_.rows);
    if (pattern_.rows == 1 && pattern_.columns == 1)
      return scoreOf(first, begin);
    double sum = 0;
    const bool squares = options_.selection.norm == BlockNorm::L2;
    for (int64_t row = first; row < last; ++row)
      for (int64_t position = begin; position < end; ++position) {
        const double score = std::max(0.0f, scoreOf(row, position));
        sum += squares ? score * score : score;
      }
    const double mean = sum / static_cast<double>((last - first) * (end - begin));
    return static_cast<float>(squares ? std::sqrt(mean) : mean);
  }

  /// What becomes zero of scores [rows][columns], such that with what already has the share is that of all so far.
  std::vector<uint8_t> drop(const std::vector<float> &scores, int64_t rows, int64_t columns) {
    const SelectionOptions &selection = options_.selection;
    if (selection.threshold || selection.scope == Scope::Input)
      return dropBlocks(scores, rows, columns, selection);
    const bool isOutput = selection.scope == Scope::Output;
    const int64_t groups = isOutput ? rows : 1,
                  size = static_cast<int64_t>(scores.size()) / std::max<int64_t>(groups, 1);
    std::vector<uint8_t> result(scores.size());
    for (int64_t group = 0; group < groups; ++group) {
      const std::vector<float> own(scores.begin() + group * size, scores.begin() + (group + 1) * size);
      // Zeros that were there count, even where they are more than a block's share.
      const int64_t before = std::count_if(own.begin(), own.end(), [](float score) { return score < 0; });
      const int64_t all = (isOutput ? 1 : rows) * (done_ + columns);
      const int64_t count = std::max(before, shareOf(selection.sparsity, all) - dropped_[group]);
      const std::vector<uint8_t> lowest = dropLowest(own, count);
      std::copy(lowest.begin(), lowest.end(), result.begin() + group * size);
      dropped_[group] += std::count(lowest.begin(), lowest.end(), 1);
    }
    return result;
  }

  /// Makes the zeros of inputs [begin, end), and changes what comes behind.
  void handOn(int64_t firstRow, int64_t begin, int64_t end) {
    const int64_t k = w_.k, rows = std::min(kOutputs, w_.n - firstRow), size = end - begin;
    std::vector<float> errors(static_cast<size_t>(rows * size)), scores(static_cast<size_t>(size));
    for (int64_t row = firstRow; row < firstRow + rows; ++row) {
      float *values = values_.data() + row * k;
      uint8_t *mask = mask_.data() + row * k;
      float *error = errors.data() + (row - firstRow) * size;
      for (int64_t position = begin, endOfGroup = begin; position < end; ++position) {
        if (pattern_.kind == PatternKind::NofM && position == endOfGroup) {
          endOfGroup = endOfRun(position);
          for (int64_t i = position; i < endOfGroup; ++i)
            scores[i - position] = scoreOf(row, i);
          dropOfGroup(scores.data(), endOfGroup - position, pattern_, mask + position);
        }
        if (!mask[position])
          continue;
        const float *factor = inputs_.factor.data() + position * k;
        const float share = values[position] / factor[position];
        error[position - begin] = share;
        values[position] = 0;
        for (int64_t later = position + 1; later < end; ++later)
          values[later] -= share * factor[later];
      }
    }
    quantization::gemm(false, false, rows, k - end, size, -1, errors.data(), size,
                       inputs_.factor.data() + begin * k + end, k, 1, values_.data() + firstRow * k + end, k);
  }

  const Weight &w_;
  const SparseGptInputs &inputs_;
  const SparseGptOptions &options_;
  const Pattern &pattern_;
  ThreadPool *pool_;
  std::vector<float> values_; ///< [output][position]
  std::vector<uint8_t> mask_; ///< what is, or becomes, zero
  float clip_;
  std::vector<int64_t> dropped_; ///< blocks that became zero so far, in all or of each row of them
  int64_t done_ = 0;             ///< columns of blocks
};

} // namespace

Status pruning::prepareSparseGpt(const InputStatistics &statistics, int64_t k, const SparseGptOptions &options,
                                 SparseGptInputs &inputs) {
  inputs = {};
  if (!(options.damping >= 0) || options.damping > 1e6)
    return runtime::failure(LATHE_INVALID_ARGUMENT, "damping must be from 0 to 1e6, got ", options.damping);
  if (options.block < 1)
    return runtime::failure(LATHE_INVALID_ARGUMENT, "a block must have at least 1 input, got ", options.block);
  if (Status status = validate(statistics, k, /*needsSecondMoment=*/true); status.failed())
    return status;
  InputOrder order = options.order;
  const int64_t together = options.selection.pattern.inputsTogether();
  if (order == InputOrder::Descending && together > 1)
    order = InputOrder::DescendingGroups;
  inputs.order = quantization::inputOrder(statistics, order, together);
  for (float square : statistics.meanSquare())
    inputs.quiet.push_back(!(square > 0));
  return quantization::feedbackFactor(statistics, inputs.order, options.damping, inputs.factor);
}

Status pruning::pruneSparseGpt(const Weight &w, const SparseGptInputs &inputs, const SparseGptOptions &options,
                               ThreadPool *pool, std::vector<float> &result) {
  result.clear();
  if (static_cast<int64_t>(inputs.order.size()) != w.k)
    return runtime::failure(LATHE_INVALID_ARGUMENT, "a weight of ", w.k,
                            " inputs was expected to be pruned by those of ", w.k, ", got those of ",
                            inputs.order.size());
  Pruner(w, inputs, options, pool).run(result);
  return {};
}
