//===- Gptq.cpp - Rounding that makes up for its errors ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/Gptq.h"

#include "passes/quantization/methods/Blas.h"
#include "passes/quantization/methods/Parallel.h"
#include "passes/quantization/methods/ScaleRefinement.h"

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace lathe;
using namespace lathe::quantization;

namespace {

/// Outputs that are worked on together; those of a block are neighbours in memory, so that loops over them are
/// vectorized. Blocks are independent of each other.
constexpr int64_t kOutputs = 64;

/// What all blocks of outputs share.
struct Problem {
  Weight w;
  const GroupCoder &coder;
  const GptqOptions &options;
  std::vector<int64_t> order;    ///< position -> input
  std::vector<int64_t> groupEnd; ///< position -> end of the run of inputs of the same group
  std::vector<float> factor;
  std::vector<float> importance; ///< by input, or empty
  int64_t group = 1;             ///< inputs of a group
  int64_t groups = 0;
};

class OutputBlock {
public:
  OutputBlock(const Problem &problem, int64_t begin, Quantized &result)
      : problem_(problem), begin_(begin), count_(std::min(kOutputs, problem.w.n - begin)), result_(result),
        weights_(static_cast<size_t>(problem.w.k * count_)), scales_(static_cast<size_t>(problem.groups * count_)),
        zeros_(scales_.size()), columns_(static_cast<size_t>(2 * count_)), codes_(static_cast<size_t>(count_)) {
    for (int64_t position = 0; position < problem.w.k; ++position)
      for (int64_t j = 0; j < count_; ++j)
        weights_[position * count_ + j] = problem.w.data[(begin + j) * problem.w.k + problem.order[position]];
    if (problem.options.keepZeros && std::count(weights_.begin(), weights_.end(), 0.0f) > 0)
      for (float weight : weights_)
        stays_.push_back(weight == 0 ? 0.0f : 1.0f);
  }

  void run() {
    const int64_t k = problem_.w.k;
    // Scales are chosen when a group comes, unless groups do not come together.
    const bool early = problem_.options.order == InputOrder::Descending && problem_.groups > 1;
    for (int64_t group = 0; early && group < problem_.groups; ++group)
      fitOriginal(group);
    for (int64_t begin = 0; begin < k;) {
      const int64_t end = early ? std::min(k, begin + problem_.options.block) : endOfBlock(begin);
      quantizeInputs(begin, end, early);
      begin = end;
    }
    for (int64_t group = 0; group < problem_.groups; ++group)
      for (int64_t j = 0; j < count_; ++j) {
        const size_t at = static_cast<size_t>((begin_ + j) * problem_.groups + group);
        result_.scales[at] = scales_[group * count_ + j];
        if (!result_.zeros.empty())
          result_.zeros[at] = zeros_[group * count_ + j];
      }
  }

private:
  int64_t groupAt(int64_t position) const { return problem_.order[position] / problem_.group; }
  /// As many whole groups as fit; groups that are larger than a block are cut. A group's scale is then chosen from
  /// weights that have all earlier errors handed on.
  int64_t endOfBlock(int64_t begin) const {
    const int64_t limit = begin + problem_.options.block;
    int64_t end = std::min(limit, problem_.groupEnd[begin]);
    while (end < problem_.w.k && problem_.groupEnd[end] <= limit)
      end = problem_.groupEnd[end];
    return end;
  }
  bool startsGroup(int64_t position) const { return position == 0 || groupAt(position) != groupAt(position - 1); }

  void fitOriginal(int64_t group) {
    const int64_t first = group * problem_.group, size = std::min(problem_.group, problem_.w.k - first);
    for (int64_t j = 0; j < count_; ++j)
      setParameters(group, j, problem_.w.data + (begin_ + j) * problem_.w.k + first,
                    problem_.importance.empty() ? nullptr : problem_.importance.data() + first, size);
  }

  void fitCurrent(int64_t position) {
    const int64_t group = groupAt(position), first = group * problem_.group, end = problem_.groupEnd[position];
    std::vector<float> values(static_cast<size_t>(end - position));
    for (int64_t j = 0; j < count_; ++j) {
      // In the order of the inputs, so that ties and sums are those of the same group rounded by itself.
      for (int64_t i = position; i < end; ++i)
        values[problem_.order[i] - first] = weights_[i * count_ + j] * shareOf(i, j);
      setParameters(group, j, values.data(), problem_.importance.empty() ? nullptr : problem_.importance.data() + first,
                    end - position);
    }
  }

  /// 0 for a weight that is to stay zero, else 1.
  float shareOf(int64_t position, int64_t j) const { return stays_.empty() ? 1.0f : stays_[position * count_ + j]; }

  void setParameters(int64_t group, int64_t j, const float *values, const float *importance, int64_t size) {
    const GroupParameters parameters = problem_.coder.fit(values, importance, size, problem_.options.fit);
    scales_[group * count_ + j] = parameters.scale;
    zeros_[group * count_ + j] = parameters.zero;
  }

  void quantizeInputs(int64_t begin, int64_t end, bool early) {
    const int64_t k = problem_.w.k;
    errors_.assign(static_cast<size_t>((end - begin) * count_), 0.0f);
    float *values = columns_.data();
    for (int64_t position = begin; position < end; ++position) {
      if (!early && startsGroup(position))
        fitCurrent(position);
      const int64_t group = groupAt(position), input = problem_.order[position];
      const float *column = weights_.data() + position * count_;
      const float *factor = problem_.factor.data() + position * k;
      const float *coded = column;
      if (!stays_.empty()) {
        // Of what was handed on to a zero nothing is coded: all of it is an error that is handed on.
        float *kept = values + count_;
        for (int64_t j = 0; j < count_; ++j)
          kept[j] = column[j] * shareOf(position, j);
        coded = kept;
      }
      problem_.coder.encodeEach(coded, count_, scales_.data() + group * count_, zeros_.data() + group * count_,
                                codes_.data(), values);
      float *errors = errors_.data() + (position - begin) * count_;
      for (int64_t j = 0; j < count_; ++j) {
        result_.codes[(begin_ + j) * k + input] = codes_[j];
        errors[j] = (column[j] - values[j]) / factor[position];
      }
      for (int64_t later = position + 1; later < end; ++later) {
        float *changed = weights_.data() + later * count_;
        const float share = factor[later];
        for (int64_t j = 0; j < count_; ++j)
          changed[j] -= share * errors[j];
      }
    }
    gemm(true, false, k - end, count_, end - begin, -1, problem_.factor.data() + begin * k + end, k, errors_.data(),
         count_, 1, weights_.data() + end * count_, count_);
  }

  const Problem &problem_;
  int64_t begin_, count_;
  Quantized &result_;
  std::vector<float> weights_;        ///< [position][output]
  std::vector<float> scales_, zeros_; ///< [group][output]
  std::vector<float> stays_;          ///< likewise, of shareOf; empty where all is coded as it is
  std::vector<float> errors_, columns_;
  std::vector<uint8_t> codes_;
};

} // namespace

std::vector<int64_t> quantization::inputOrder(const InputStatistics &statistics, InputOrder order, int64_t groupSize) {
  const int64_t k = statistics.k;
  std::vector<int64_t> result(static_cast<size_t>(k));
  std::iota(result.begin(), result.end(), 0);
  if (order == InputOrder::Natural || k == 0)
    return result;
  const std::vector<float> square = statistics.meanSquare();
  std::vector<double> ofGroup(static_cast<size_t>((k + groupSize - 1) / groupSize));
  for (size_t group = 0; group < ofGroup.size() && order == InputOrder::DescendingGroups; ++group) {
    const int64_t begin = static_cast<int64_t>(group) * groupSize, end = std::min(k, begin + groupSize);
    // Equal ones must compare as equal: not the mean of rounded sums, which depends on the group's size.
    const bool same = std::all_of(&square[begin], &square[end - 1] + 1, [&](float v) { return v == square[begin]; });
    ofGroup[group] = same ? square[begin] : std::accumulate(&square[begin], &square[end - 1] + 1, 0.0) / (end - begin);
  }
  // Without differences, the natural order.
  std::sort(result.begin(), result.end(), [&](int64_t a, int64_t b) {
    if (a / groupSize != b / groupSize && order == InputOrder::DescendingGroups) {
      const double groupA = ofGroup[a / groupSize], groupB = ofGroup[b / groupSize];
      return groupA != groupB ? groupA > groupB : a < b;
    }
    return square[a] != square[b] ? square[a] > square[b] : a < b;
  });
  return result;
}

Status quantization::feedbackFactor(const InputStatistics &statistics, const std::vector<int64_t> &order,
                                    double damping, std::vector<float> &factor) {
  const int64_t k = statistics.k;
  double mean = 0;
  for (int64_t i = 0; i < k; ++i)
    mean += statistics.secondMoment[i * k + i];
  mean /= static_cast<double>(std::max<int64_t>(k, 1));
  factor.assign(static_cast<size_t>(k * k), 0.0f);
  std::vector<double> h(static_cast<size_t>(k * k));
  // No statistics of a real input need more than the first two; rounding of the moment itself may.
  for (int attempt = 0; attempt < 6; ++attempt, damping = std::max(damping * 10, 1e-6)) {
    for (int64_t i = 0; i < k; ++i)
      for (int64_t j = 0; j < k; ++j)
        h[i * k + j] = statistics.secondMoment[order[i] * k + order[j]];
    for (int64_t i = 0; i < k; ++i)
      h[i * k + i] = h[i * k + i] > 0 ? h[i * k + i] + damping * mean : std::max(mean, 1e-30);
    if (!inverseCholesky(h, k))
      continue;
    bool finite = true;
    for (size_t i = 0; i < h.size(); ++i) {
      factor[i] = static_cast<float>(h[i]);
      finite &= std::isfinite(factor[i]);
    }
    if (finite)
      return {};
  }
  return runtime::failure(LATHE_INVALID_ARGUMENT, "the second moment of ", k,
                          " inputs must be positive semidefinite, which it is not even when damped by ", damping,
                          " of its mean");
}

Status quantization::quantizeGptq(const Weight &w, const InputStatistics &statistics, const Format &format,
                                  const GptqOptions &options, ThreadPool *pool, Quantized &result) {
  result = {};
  if (Status status = checkWeight(w, format); status.failed())
    return status;
  if (!(options.damping >= 0) || options.damping > 1e6)
    return runtime::failure(LATHE_INVALID_ARGUMENT, "damping must be from 0 to 1e6, got ", options.damping);
  if (options.refinements < 0)
    return runtime::failure(LATHE_INVALID_ARGUMENT, "the number of passes must not be negative, got ",
                            options.refinements);
  if (options.block < 1)
    return runtime::failure(LATHE_INVALID_ARGUMENT, "a block must have at least 1 input, got ", options.block);
  if (Status status = validate(statistics, w.k, /*needsSecondMoment=*/true); status.failed())
    return status;
  const GroupCoder coder(format);
  Problem problem{w, coder, options, {}, {}, {}, {}, std::max<int64_t>(1, format.groupSize(w.k)), format.groups(w.k)};
  problem.order = inputOrder(statistics, options.order, problem.group);
  problem.groupEnd.resize(problem.order.size());
  for (int64_t i = w.k - 1; i >= 0; --i) {
    const bool last = i + 1 == w.k || problem.order[i] / problem.group != problem.order[i + 1] / problem.group;
    problem.groupEnd[i] = last ? i + 1 : problem.groupEnd[i + 1];
  }
  if (Status status = feedbackFactor(statistics, problem.order, options.damping, problem.factor); status.failed())
    return status;
  if (options.weighted)
    problem.importance = statistics.meanSquare();
  result.format = format;
  result.n = w.n;
  result.k = w.k;
  result.codes.resize(static_cast<size_t>(w.n * w.k));
  result.scales.resize(static_cast<size_t>(w.n * problem.groups));
  if (format.zeroPoint != ZeroPoint::None)
    result.zeros.resize(result.scales.size());
  parallelFor(pool, (w.n + kOutputs - 1) / kOutputs,
              [&](int64_t block) { OutputBlock(problem, block * kOutputs, result).run(); });
  if (options.refinements > 0)
    return refineScales(w, statistics, options.refinements, pool, result);
  return {};
}
