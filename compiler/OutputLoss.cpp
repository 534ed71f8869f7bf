//===- OutputLoss.cpp - How far outputs are from those of a model ---------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/OutputLoss.h"
#include "passes/quantization/methods/Parallel.h"
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace lathe {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

int64_t elementsOf(const std::vector<int64_t> &dims) {
  return std::accumulate(dims.begin(), dims.end(), int64_t(1), std::multiplies<>());
}

/// The logarithm of the sum of what `row` are logarithms of.
double logSum(const float *row, int64_t count) {
  float greatest = *std::max_element(row, row + count);
  // One sum for a block: float is exact enough there, and the compiler does it side by side.
  constexpr int64_t kBlock = 256;
  double sum = 0;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    float block = 0;
    for (int64_t i = begin; i < std::min(begin + kBlock, count); ++i)
      block += std::exp(row[i] - greatest);
    sum += static_cast<double>(block);
  }
  return static_cast<double>(greatest) + std::log(sum);
}

} // namespace

void LossSums::add(const LossSums &other) {
  divergence += other.divergence;
  nll += other.nll;
  rows += other.rows;
  predictions += other.predictions;
  error.resize(std::max(error.size(), other.error.size()));
  energy.resize(error.size());
  for (size_t i = 0; i < other.error.size(); ++i) {
    error[i] += other.error[i];
    energy[i] += other.energy[i];
  }
}

double LossSums::loss() const {
  double result = 0;
  if (rows > 0) {
    result = divergence / static_cast<double>(rows);
  } else {
    for (size_t i = 0; i < error.size(); ++i)
      result += error[i] == 0 ? 0 : error[i] / energy[i] / static_cast<double>(error.size());
  }
  return std::isfinite(result) ? std::max(result, 0.0) : kInfinity;
}

double LossSums::perplexity() const { return predictions > 0 ? std::exp(nll / static_cast<double>(predictions)) : 0; }

int64_t ReferenceOutputs::nextToken(int64_t row) const {
  int64_t context = dims.front().size() < 2 ? 0 : dims.front()[dims.front().size() - 2];
  if (context == 0 || row % context == context - 1 || row + 1 >= static_cast<int64_t>(tokens.size()))
    return -1;
  return tokens[static_cast<size_t>(row) + 1];
}

void ReferenceOutputs::set(const std::vector<Observed> &outputs, const std::vector<int64_t> &given,
                           runtime::ThreadPool *pool) {
  values.clear();
  dims.clear();
  tokens = given;
  sums = LossSums();
  for (const Observed &output : outputs) {
    dims.push_back(output.dims);
    values.emplace_back(output.data, output.data + elementsOf(output.dims));
    double energy = 0;
    if (!isLogits)
      for (float x : values.back())
        energy += static_cast<double>(x) * static_cast<double>(x);
    sums.energy.push_back(energy);
  }
  sums.error.assign(sums.energy.size(), 0);
  if (!isLogits)
    return;
  int64_t vocabulary = dims.front().back(), rows = vocabulary ? elementsOf(dims.front()) / vocabulary : 0;
  float *logits = values.front().data();
  quantization::parallelFor(pool, rows, [&](int64_t row) {
    float *own = logits + row * vocabulary;
    auto shift = static_cast<float>(logSum(own, vocabulary));
    for (int64_t i = 0; i < vocabulary; ++i)
      own[i] -= shift;
  });
  sums.rows = static_cast<uint64_t>(rows);
  for (int64_t row = 0; row < rows; ++row)
    if (int64_t token = nextToken(row); token >= 0 && token < vocabulary) {
      sums.nll -= static_cast<double>(logits[row * vocabulary + token]);
      ++sums.predictions;
    }
}

void ReferenceOutputs::compareLogits(const float *logits, int64_t vocabulary, runtime::ThreadPool *pool,
                                     LossSums &result) const {
  int64_t rows = vocabulary ? static_cast<int64_t>(values.front().size()) / vocabulary : 0;
  struct Row {
    double divergence = 0, nll = 0;
    bool isPrediction = false;
  };
  std::vector<Row> each(static_cast<size_t>(rows)); // summed in their order, whatever thread did them
  quantization::parallelFor(pool, rows, [&](int64_t row) {
    const float *own = logits + row * vocabulary, *reference = values.front().data() + row * vocabulary;
    double shift = logSum(own, vocabulary), sum = 0;
    for (int64_t i = 0; i < vocabulary; ++i)
      if (reference[i] > -80) // else it adds nothing that shows
        sum += static_cast<double>(std::exp(reference[i])) *
               (static_cast<double>(reference[i]) - static_cast<double>(own[i]) + shift);
    Row &to = each[static_cast<size_t>(row)];
    to.divergence = sum;
    if (int64_t token = nextToken(row); token >= 0 && token < vocabulary) {
      to.nll = shift - static_cast<double>(own[token]);
      to.isPrediction = true;
    }
  });
  for (const Row &row : each) {
    result.divergence += row.divergence;
    result.nll += row.nll;
    result.predictions += row.isPrediction;
  }
  result.rows += static_cast<uint64_t>(rows);
}

void ReferenceOutputs::compare(const std::vector<Observed> &outputs, runtime::ThreadPool *pool,
                               LossSums &result) const {
  bool isSame = outputs.size() == dims.size();
  for (size_t i = 0; isSame && i < dims.size(); ++i)
    isSame = outputs[i].dims == dims[i];
  if (!isSame) {
    result.rows += sums.rows;
    result.divergence = kInfinity;
    result.error.assign(dims.size(), kInfinity);
    result.energy.assign(dims.size(), 1);
    return;
  }
  if (isLogits)
    return compareLogits(outputs.front().data, dims.front().back(), pool, result);
  LossSums own;
  for (size_t i = 0; i < dims.size(); ++i) {
    double error = 0;
    for (size_t j = 0; j < values[i].size(); ++j) {
      double difference = static_cast<double>(outputs[i].data[j]) - static_cast<double>(values[i][j]);
      error += difference * difference;
    }
    own.error.push_back(error);
    own.energy.push_back(sums.energy[i]);
  }
  result.add(own);
}

} // namespace lathe
