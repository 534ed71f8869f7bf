//===- CodebookRefinement.cpp - Better codebooks for given codes -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/Blas.h"
#include "passes/quantization/methods/CodebookSteps.h"
#include "passes/quantization/methods/ScaleRefinement.h"

#include <algorithm>
#include <cmath>

using namespace lathe;
using namespace lathe::quantization;

namespace {

/// What refining looks at of a codebook's outputs, evenly spread: at least so many of them, and so many weights. Fewer
/// would make the sample's error smaller, and that of the others larger.
constexpr int64_t kSampledOutputs = 512, kSampledWeights = int64_t(1) << 21;

/// The ranges of that sample.
std::vector<OutputRange> sampledRanges(const CodebookQuantized &quantized) {
  const std::vector<OutputRange> all = outputRanges(quantized);
  std::vector<OutputRange> chosen;
  for (size_t first = 0, last = 0; first < all.size(); first = last) {
    while (last < all.size() && quantized.bookOf(all[last].begin) == quantized.bookOf(all[first].begin))
      ++last;
    const int64_t outputs = all[last - 1].end - all[first].begin, count = static_cast<int64_t>(last - first);
    const int64_t sampled = std::max(kSampledOutputs, kSampledWeights / std::max<int64_t>(1, quantized.k));
    const int64_t wanted = outputs <= sampled ? count : std::max<int64_t>(1, sampled * count / outputs);
    for (int64_t i = 0; i < wanted; ++i)
      chosen.push_back(all[first + static_cast<size_t>(i * count / wanted)]);
  }
  return chosen;
}

/// The weight as a linear function of its codebooks' numbers (all stages, one after another), for given codes and
/// scales; `ranges` of outputs are worked on in parallel, and their sums added in order.
class TableMap {
public:
  TableMap(const CodebookQuantized &quantized, const InputStatistics &statistics, ThreadPool *pool)
      : quantized_(quantized), statistics_(statistics), pool_(pool), ranges_(sampledRanges(quantized)),
        bookSize_(static_cast<size_t>(quantized.dimension) << quantized.bits),
        stageSize_(bookSize_ * static_cast<size_t>(quantized.books())) {}

  size_t size() const { return stageSize_ * quantized_.stages.size(); }
  std::vector<double> current() const {
    std::vector<double> numbers;
    for (const CodebookStage &stage : quantized_.stages)
      numbers.insert(numbers.end(), stage.table.begin(), stage.table.end());
    return numbers;
  }

  /// For the weight D that `numbers` make, less `w` where there is one: the gradient of half the error D H D^T by the
  /// numbers; returns D H D^T.
  double gradient(const std::vector<double> &numbers, const float *w, std::vector<double> &result) const {
    return overRanges(result, [&](OutputRange range, std::vector<double> &part) {
      const int64_t k = quantized_.k, rows = range.end - range.begin;
      std::vector<float> dense(static_cast<size_t>(rows * k)), product(dense.size());
      visit(range, [&](int64_t at, double scale, size_t number, size_t) {
        dense[at] += static_cast<float>(scale * numbers[number]);
      });
      for (size_t i = 0; w && i < dense.size(); ++i)
        dense[i] -= w[range.begin * k + static_cast<int64_t>(i)];
      gemm(false, false, rows, k, k, 1, dense.data(), k, statistics_.secondMoment.data(), k, 0, product.data(), k);
      visit(range, [&](int64_t at, double scale, size_t, size_t inBook) { part[inBook] += scale * product[at]; });
      double error = 0;
      for (size_t i = 0; i < dense.size(); ++i)
        error += static_cast<double>(dense[i]) * product[i];
      return error;
    });
  }

  /// The diagonal of the problem's matrix, but for inputs that share a number.
  std::vector<double> diagonal() const {
    std::vector<double> result;
    const int64_t k = quantized_.k;
    overRanges(result, [&](OutputRange range, std::vector<double> &part) {
      visit(range, [&](int64_t at, double scale, size_t, size_t inBook) {
        part[inBook] += scale * scale * statistics_.secondMoment[at % k * k + at % k];
      });
      return 0.0;
    });
    return result;
  }

private:
  /// Calls body(place in the range's dense weight, scale, index of the number, index among those of its book) for all
  /// weights and stages.
  template <typename Body> void visit(OutputRange range, Body &&body) const {
    const int64_t d = quantized_.dimension, book = quantized_.bookOf(range.begin);
    for (size_t stage = 0; stage < quantized_.stages.size(); ++stage)
      for (int64_t row = range.begin; row < range.end; ++row)
        for (int64_t i = 0; i < quantized_.k; ++i) {
          const size_t code = quantized_.stages[stage].codes[row * quantized_.vectors() + i / d];
          const size_t inBook = code * static_cast<size_t>(d) + static_cast<size_t>(i % d);
          body((row - range.begin) * quantized_.k + i, quantized_.scaleOf(row, i),
               stage * stageSize_ + static_cast<size_t>(book) * bookSize_ + inBook, stage * bookSize_ + inBook);
        }
  }

  /// body(range, sums of the range's book [stages][bookSize]) returns a number; numbers and sums are added up.
  template <typename Body> double overRanges(std::vector<double> &result, Body &&body) const {
    std::vector<std::vector<double>> parts(ranges_.size());
    std::vector<double> returned(ranges_.size());
    parallelFor(pool_, static_cast<int64_t>(ranges_.size()), [&](int64_t i) {
      parts[i].assign(bookSize_ * quantized_.stages.size(), 0.0);
      returned[i] = body(ranges_[i], parts[i]);
    });
    result.assign(size(), 0.0);
    double total = 0;
    for (size_t i = 0; i < ranges_.size(); ++i) {
      const size_t book = static_cast<size_t>(quantized_.bookOf(ranges_[i].begin));
      for (size_t at = 0; at < parts[i].size(); ++at)
        result[at / bookSize_ * stageSize_ + book * bookSize_ + at % bookSize_] += parts[i][at];
      total += returned[i];
    }
    return total;
  }

  const CodebookQuantized &quantized_;
  const InputStatistics &statistics_;
  ThreadPool *pool_;
  std::vector<OutputRange> ranges_;
  size_t bookSize_, stageSize_;
};

double dot(const std::vector<double> &a, const std::vector<double> &b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i)
    sum += a[i] * b[i];
  return sum;
}

} // namespace

void quantization::refineTables(const Weight &w, const InputStatistics &statistics, int steps, ThreadPool *pool,
                                CodebookQuantized &quantized) {
  const TableMap map(quantized, statistics, pool);
  std::vector<double> numbers = map.current(), residual, direction, image;
  std::vector<double> inverse = map.diagonal();
  // Numbers that no weight uses, or only inputs that are always 0, stay.
  for (double &value : inverse)
    value = value > 0 ? 1 / value : 0.0;
  const size_t d = static_cast<size_t>(quantized.dimension), bookSize = d << quantized.bits;
  for (size_t first = 0; quantized.hasZero && first < inverse.size(); first += bookSize)
    std::fill_n(inverse.begin() + static_cast<int64_t>(first), d, 0.0); // what stands for 0
  const auto preconditioned = [&](const std::vector<double> &x) {
    std::vector<double> result(x.size());
    for (size_t i = 0; i < x.size(); ++i)
      result[i] = inverse[i] * x[i];
    return result;
  };
  map.gradient(numbers, w.data, residual);
  for (double &value : residual)
    value = -value;
  std::vector<double> next = preconditioned(residual);
  direction = next;
  double length = dot(residual, next);
  const double first = length;
  for (int step = 0; step < steps && length > 1e-10 * first && length > 0; ++step) {
    const double curvature = map.gradient(direction, nullptr, image);
    if (!(curvature > 0))
      break;
    const double share = length / curvature;
    for (size_t i = 0; i < numbers.size(); ++i) {
      numbers[i] += share * direction[i];
      residual[i] -= share * image[i];
    }
    next = preconditioned(residual);
    const double before = length;
    length = dot(residual, next);
    for (size_t i = 0; i < numbers.size(); ++i)
      direction[i] = next[i] + length / before * direction[i];
  }
  if (!std::all_of(numbers.begin(), numbers.end(),
                   [](double value) { return std::isfinite(static_cast<float>(value)); }))
    return;
  auto number = numbers.begin();
  for (CodebookStage &stage : quantized.stages)
    for (float &value : stage.table)
      value = static_cast<float>(*number++);
}

void quantization::refineScales(const Weight &w, const InputStatistics &statistics, ThreadPool *pool,
                                CodebookQuantized &quantized) {
  if (quantized.scales.empty())
    return;
  // What the codes stand for without scales.
  CodebookQuantized plain = quantized;
  plain.scales.clear();
  std::vector<float> values(static_cast<size_t>(quantized.n * quantized.k));
  plain.dequantize(values.data());
  refineScales(w, values, statistics, std::max<int64_t>(1, quantized.groupSize()), quantized.scaleType, /*passes=*/1,
               pool, quantized.scales);
}
