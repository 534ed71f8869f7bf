//===- CodebookChoice.cpp - Choosing codes of vectors -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/Blas.h"
#include "passes/quantization/methods/CodebookSteps.h"
#include "passes/quantization/methods/KMeans.h"

#include <algorithm>
#include <cmath>

using namespace lathe;
using namespace lathe::quantization;

namespace {

constexpr int64_t kOutputs = 64;
constexpr int kMaxDimension = 8;
constexpr int kMaxStages = 2;
/// Times that the first code is chosen again, given the second one.
constexpr int kExchanges = 2;

/// The codes, one a stage, whose values' sum is near to x; they are written to `chosen`. `tables`: [stage][code][size],
/// in the coordinates of x.
void nearestSum(const std::vector<CentreSearch> &searches, const std::vector<std::vector<float>> &tables,
                const float *x, const float *weight, int size, int *chosen) {
  chosen[0] = searches[0].nearest(x, weight);
  if (searches.size() == 1)
    return;
  float rest[kMaxDimension];
  const auto without = [&](int stage) {
    for (int q = 0; q < size; ++q)
      rest[q] = x[q] - tables[stage][static_cast<size_t>(chosen[stage]) * size + q];
  };
  without(0);
  chosen[1] = searches[1].nearest(rest, weight);
  // Each exchange leaves the sum at least as near.
  for (int exchange = 0; exchange < kExchanges; ++exchange) {
    const int before = chosen[0];
    without(1);
    chosen[0] = searches[0].nearest(rest, weight);
    if (chosen[0] == before)
      break;
    without(0);
    chosen[1] = searches[1].nearest(rest, weight);
  }
}

/// Inverse of the upper triangular block u[size][size] of a matrix with rows of `stride`.
void invertTriangle(const float *u, int64_t stride, int size, double inverse[kMaxDimension][kMaxDimension]) {
  for (int column = 0; column < size; ++column)
    for (int row = size - 1; row >= 0; --row) {
      double sum = row == column;
      for (int m = row + 1; m <= column; ++m)
        sum -= u[row * stride + m] * inverse[m][column];
      inverse[row][column] = row > column ? 0.0 : sum / u[row * stride + row];
    }
}

class CodedRange {
public:
  CodedRange(const Weight &w, const Feedback &feedback, OutputRange range, int64_t block, CodebookQuantized &quantized)
      : w_(w), feedback_(feedback), range_(range), block_(block), count_(range.end - range.begin),
        quantized_(quantized), weights_(static_cast<size_t>(w.k * count_)) {
    for (int64_t position = 0; position < w.k; ++position)
      for (int64_t j = 0; j < count_; ++j)
        weights_[position * count_ + j] = w.data[(range.begin + j) * w.k + feedback.order[position]];
  }

  void run() {
    for (int64_t begin = 0; begin < w_.k;) {
      int64_t end = begin;
      while (end < w_.k && (end == begin || end + sizeAt(end) <= begin + block_))
        end += sizeAt(end);
      errors_.assign(static_cast<size_t>((end - begin) * count_), 0.0f);
      for (int64_t position = begin; position < end; position += sizeAt(position))
        codeVector(begin, position, end);
      gemm(true, false, w_.k - end, count_, end - begin, -1, feedback_.factor.data() + begin * w_.k + end, w_.k,
           errors_.data(), count_, 1, weights_.data() + end * count_, count_);
      begin = end;
    }
  }

private:
  /// Inputs of the vector that begins at a position: fewer at the end of a row.
  int sizeAt(int64_t position) const {
    const int64_t vector = feedback_.order[position] / quantized_.dimension;
    return static_cast<int>(std::min<int64_t>(quantized_.dimension, w_.k - vector * quantized_.dimension));
  }

  void codeVector(int64_t begin, int64_t position, int64_t end) {
    const int size = sizeAt(position), d = quantized_.dimension, codes = 1 << quantized_.bits;
    const int64_t k = w_.k, vector = feedback_.order[position] / d, book = quantized_.bookOf(range_.begin);
    const float *factor = feedback_.factor.data() + position * k;
    // An error e of this vector that the inputs to come make up for as well as they can leaves |e U^-1|^2 of the
    // output's, U being the vector's block of the factor: in these coordinates the nearest code is the best one.
    double inverse[kMaxDimension][kMaxDimension];
    invertTriangle(factor + position, k, size, inverse);
    std::vector<std::vector<float>> tables;
    std::vector<CentreSearch> searches;
    for (const CodebookStage &stage : quantized_.stages) {
      std::vector<float> &table = tables.emplace_back(static_cast<size_t>(codes) * size);
      for (int code = 0; code < codes; ++code)
        for (int q = 0; q < size; ++q) {
          double sum = 0;
          for (int m = 0; m <= q; ++m)
            sum += valueOf(stage, book, code, position + m) * inverse[m][q];
          table[static_cast<size_t>(code) * size + q] = static_cast<float>(sum);
        }
      searches.emplace_back(table.data(), codes, size);
    }
    float *errors = errors_.data() + (position - begin) * count_;
    for (int64_t j = 0; j < count_; ++j) {
      const int64_t row = range_.begin + j;
      const float scale = quantized_.scaleOf(row, vector * d);
      float x[kMaxDimension];
      int chosen[kMaxStages] = {};
      if (scale != 0 && !(quantized_.hasZero && isZero(w_, row, vector, d))) {
        for (int q = 0; q < size; ++q) {
          double sum = 0;
          for (int m = 0; m <= q; ++m)
            sum += weights_[(position + m) * count_ + j] * inverse[m][q];
          x[q] = static_cast<float>(sum / scale);
        }
        nearestSum(searches, tables, x, nullptr, size, chosen);
      }
      double difference[kMaxDimension];
      for (int q = 0; q < size; ++q) {
        float value = 0;
        for (size_t stage = 0; stage < quantized_.stages.size(); ++stage)
          value += valueOf(quantized_.stages[stage], book, chosen[stage], position + q);
        difference[q] = weights_[(position + q) * count_ + j] - scale * value;
      }
      for (int q = 0; q < size; ++q) {
        double sum = 0;
        for (int m = 0; m <= q; ++m)
          sum += difference[m] * inverse[m][q];
        errors[q * count_ + j] = static_cast<float>(sum);
      }
      for (size_t stage = 0; stage < quantized_.stages.size(); ++stage)
        quantized_.stages[stage].codes[row * quantized_.vectors() + vector] = static_cast<uint8_t>(chosen[stage]);
    }
    for (int64_t later = position + size; later < end; ++later) {
      float *changed = weights_.data() + later * count_;
      for (int q = 0; q < size; ++q) {
        const float share = factor[q * k + later];
        for (int64_t j = 0; j < count_; ++j)
          changed[j] -= share * errors[q * count_ + j];
      }
    }
  }

  float valueOf(const CodebookStage &stage, int64_t book, int code, int64_t position) const {
    const int64_t d = quantized_.dimension;
    return stage.table[static_cast<size_t>(((book << quantized_.bits) + code) * d + feedback_.order[position] % d)];
  }

  const Weight &w_;
  const Feedback &feedback_;
  OutputRange range_;
  int64_t block_, count_;
  CodebookQuantized &quantized_;
  std::vector<float> weights_; ///< [position][output]
  std::vector<float> errors_;
};

} // namespace

bool quantization::isZero(const Weight &w, int64_t row, int64_t vector, int64_t dimension) {
  const float *begin = w.data + row * w.k + vector * dimension;
  return std::all_of(begin, begin + std::min(dimension, w.k - vector * dimension), [](float x) { return x == 0; });
}

std::vector<OutputRange> quantization::outputRanges(const CodebookQuantized &quantized) {
  std::vector<OutputRange> ranges;
  const int64_t book = quantized.outputsPerBook > 0 ? quantized.outputsPerBook : std::max<int64_t>(1, quantized.n);
  for (int64_t first = 0; first < quantized.n; first += book)
    for (int64_t begin = first, end = std::min(quantized.n, first + book); begin < end; begin += kOutputs)
      ranges.push_back({begin, std::min(end, begin + kOutputs)});
  return ranges;
}

void quantization::chooseCodes(const Weight &w, const Feedback &feedback, int64_t block, ThreadPool *pool,
                               CodebookQuantized &quantized) {
  const std::vector<OutputRange> ranges = outputRanges(quantized);
  parallelFor(pool, static_cast<int64_t>(ranges.size()),
              [&](int64_t i) { CodedRange(w, feedback, ranges[i], block, quantized).run(); });
}

void quantization::chooseNearest(const Weight &w, const float *importance, ThreadPool *pool,
                                 CodebookQuantized &quantized) {
  const std::vector<OutputRange> ranges = outputRanges(quantized);
  const int d = quantized.dimension;
  const size_t bookSize = static_cast<size_t>(d) << quantized.bits;
  parallelFor(pool, static_cast<int64_t>(ranges.size()), [&](int64_t i) {
    const int64_t book = quantized.bookOf(ranges[i].begin);
    std::vector<std::vector<float>> tables;
    std::vector<CentreSearch> searches;
    for (const CodebookStage &stage : quantized.stages) {
      const auto begin = stage.table.begin() + static_cast<int64_t>(book * bookSize);
      tables.emplace_back(begin, begin + static_cast<int64_t>(bookSize));
      searches.emplace_back(tables.back().data(), 1 << quantized.bits, d);
    }
    for (int64_t row = ranges[i].begin; row < ranges[i].end; ++row)
      for (int64_t vector = 0; vector < quantized.vectors(); ++vector) {
        const float scale = quantized.scaleOf(row, vector * d);
        float x[kMaxDimension] = {}, weight[kMaxDimension] = {};
        int chosen[kMaxStages] = {};
        for (int64_t q = 0; q < d && vector * d + q < w.k; ++q) {
          x[q] = scale == 0 ? 0.0f : w.data[row * w.k + vector * d + q] / scale;
          weight[q] = importance ? importance[vector * d + q] : 1.0f;
        }
        if (!(quantized.hasZero && isZero(w, row, vector, d)))
          nearestSum(searches, tables, x, weight, d, chosen);
        for (size_t stage = 0; stage < quantized.stages.size(); ++stage)
          quantized.stages[stage].codes[row * quantized.vectors() + vector] = static_cast<uint8_t>(chosen[stage]);
      }
  });
}
