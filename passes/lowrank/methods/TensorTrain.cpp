//===- TensorTrain.cpp - A matrix as a train of small tensors -------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/lowrank/methods/TensorTrain.h"

#include "passes/lowrank/methods/Ranks.h"
#include "passes/lowrank/methods/Singular.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <tuple>

using namespace lathe;
using namespace lathe::lowrank;

namespace {

int64_t productOf(const std::vector<int64_t> &values) {
  return std::accumulate(values.begin(), values.end(), int64_t(1), std::multiplies<>());
}

/// Where the number of output i and input j lies as [n1][k1][n2][k2]…: at the sum of offsets of both.
struct Places {
  std::vector<int64_t> ofOutputs, ofInputs;

  explicit Places(const TrainShape &shape)
      : ofOutputs(static_cast<size_t>(shape.outputs())), ofInputs(static_cast<size_t>(shape.inputs())) {
    for (size_t i = 0; i < ofOutputs.size(); ++i)
      ofOutputs[i] = offset(shape, static_cast<int64_t>(i), /*isOutput=*/true);
    for (size_t i = 0; i < ofInputs.size(); ++i)
      ofInputs[i] = offset(shape, static_cast<int64_t>(i), /*isOutput=*/false);
  }

private:
  static int64_t offset(const TrainShape &shape, int64_t index, bool isOutput) {
    int64_t result = 0, stride = 1;
    for (size_t core = shape.cores(); core-- > 0;) {
      const int64_t extent = isOutput ? shape.n[core] : shape.k[core];
      result += index % extent * stride * (isOutput ? shape.k[core] : 1);
      index /= extent;
      stride *= shape.part(core);
    }
    return result;
  }
};

/// The weight as [n1][k1][n2][k2]….
Status interleaved(const Weight &w, const TrainShape &shape, Matrix &result) {
  if (shape.outputs() != w.n || shape.inputs() != w.k || shape.cores() < 2 || shape.n.size() != shape.k.size())
    return runtime::failure(LATHE_INVALID_ARGUMENT, "a train of ", shape.outputs(), " x ", shape.inputs(),
                            " numbers and two or more cores is expected for a weight of ", w.n, " x ", w.k);
  const Places places(shape);
  result.resize(static_cast<size_t>(w.n * w.k));
  for (int64_t i = 0; i < w.n; ++i)
    for (int64_t j = 0; j < w.k; ++j) {
      const float value = w.data[i * w.k + j];
      if (!std::isfinite(value))
        return runtime::failure(LATHE_INVALID_ARGUMENT, "weights must be finite, got ", value, " for output ", i,
                                " and input ", j);
      result[places.ofOutputs[i] + places.ofInputs[j]] = value;
    }
  return {};
}

/// A core's numbers between [r before][n][k][r behind], as the decomposition has them, and [n][r before][k][r behind].
template <typename From, typename To> To exchanged(const From &values, int64_t outer, int64_t inner, int64_t rest) {
  To result(values.size());
  for (int64_t i = 0; i < outer; ++i)
    for (int64_t j = 0; j < inner; ++j)
      for (int64_t e = 0; e < rest; ++e)
        result[(j * outer + i) * rest + e] = static_cast<typename To::value_type>(values[(i * inner + j) * rest + e]);
  return result;
}

/// Prime factors, largest first.
std::vector<int64_t> primesOf(int64_t value) {
  std::vector<int64_t> primes;
  for (int64_t factor = 2; factor * factor <= value; ++factor)
    for (; value % factor == 0; value /= factor)
      primes.push_back(factor);
  if (value > 1)
    primes.push_back(value);
  std::reverse(primes.begin(), primes.end());
  return primes;
}

/// An extent in parts of about one size, largest first.
std::vector<int64_t> partsOf(int64_t extent, int64_t count) {
  std::vector<int64_t> parts(static_cast<size_t>(count), 1);
  for (int64_t prime : primesOf(extent))
    *std::min_element(parts.begin(), parts.end()) *= prime;
  std::sort(parts.begin(), parts.end(), std::greater<>());
  return parts;
}

std::vector<int64_t> divisorsOf(int64_t extent) {
  std::vector<int64_t> divisors;
  for (int64_t i = 1; i * i <= extent; ++i)
    if (extent % i == 0) {
      divisors.push_back(i);
      if (i * i != extent)
        divisors.push_back(extent / i);
    }
  std::sort(divisors.begin(), divisors.end());
  return divisors;
}

} // namespace

int64_t TrainShape::outputs() const { return productOf(n); }
int64_t TrainShape::inputs() const { return productOf(k); }

int64_t TensorTrain::numbers() const { return trainNumbers(shape, ranks); }

std::vector<float> TensorTrain::dense() const {
  // [parts so far][rank behind], core by core.
  Matrix whole(1, 1.0);
  int64_t parts = 1;
  for (size_t core = 0; core < shape.cores(); ++core) {
    const int64_t rest = shape.k[core] * behind(core);
    Matrix own = exchanged<std::vector<float>, Matrix>(cores[core], shape.n[core], before(core), rest);
    whole = product(false, false, parts, shape.n[core] * rest, before(core), whole, own);
    parts *= shape.part(core);
  }
  const Places places(shape);
  std::vector<float> result(whole.size());
  const auto inputs = static_cast<size_t>(shape.inputs());
  for (size_t i = 0; i < places.ofOutputs.size(); ++i)
    for (size_t j = 0; j < inputs; ++j)
      result[i * inputs + j] = static_cast<float>(whole[places.ofOutputs[i] + places.ofInputs[j]]);
  return result;
}

int64_t lowrank::trainNumbers(const TrainShape &shape, const std::vector<int64_t> &ranks) {
  int64_t numbers = 0;
  for (size_t core = 0; core < shape.cores(); ++core)
    numbers += (core ? ranks[core - 1] : 1) * shape.part(core) * (core < ranks.size() ? ranks[core] : 1);
  return numbers;
}

double lowrank::trainMultiplications(const TrainShape &shape, const std::vector<int64_t> &ranks) {
  double sum = 0, done = 1, open = static_cast<double>(shape.inputs());
  for (size_t core = shape.cores(); core-- > 0;) {
    open /= static_cast<double>(shape.k[core]);
    const int64_t own = (core ? ranks[core - 1] : 1) * shape.part(core) * (core < ranks.size() ? ranks[core] : 1);
    sum += open * done * static_cast<double>(own);
    done *= static_cast<double>(shape.n[core]);
  }
  return sum;
}

std::vector<int64_t> lowrank::trainRanks(const TrainShape &shape, int64_t rank) {
  std::vector<int64_t> ranks;
  const int64_t all = shape.outputs() * shape.inputs();
  int64_t left = 1;
  for (size_t core = 0; core + 1 < shape.cores(); ++core) {
    left *= shape.part(core);
    ranks.push_back(std::min({rank, left, all / left}));
  }
  return ranks;
}

int64_t lowrank::trainRankWithin(const TrainShape &shape, int64_t numbers) {
  const int64_t all = shape.outputs() * shape.inputs();
  int64_t low = 0, high = all;
  while (low < high) {
    const int64_t middle = low + (high - low + 1) / 2;
    if (trainNumbers(shape, trainRanks(shape, middle)) <= numbers)
      low = middle;
    else
      high = middle - 1;
  }
  // Beyond the largest rank nothing changes.
  const std::vector<int64_t> ranks = trainRanks(shape, low);
  return low ? *std::max_element(ranks.begin(), ranks.end()) : 0;
}

TrainShape lowrank::balancedShape(int64_t outputs, int64_t inputs, int64_t cores) {
  TrainShape all{partsOf(outputs, cores), partsOf(inputs, cores)}, shape;
  // The largest parts of one with the smallest of the other.
  std::reverse(all.k.begin(), all.k.end());
  size_t dropped = 0;
  for (size_t core = 0; core < all.cores(); ++core) {
    if (all.part(core) == 1 && all.cores() - dropped > 2) {
      ++dropped;
      continue;
    }
    shape.n.push_back(all.n[core]);
    shape.k.push_back(all.k[core]);
  }
  return shape;
}

TrainShape lowrank::kroneckerShape(int64_t outputs, int64_t inputs, int64_t rows, int64_t columns) {
  return {{outputs / rows, rows}, {inputs / columns, columns}};
}

std::vector<TrainShape> lowrank::kroneckerShapes(int64_t outputs, int64_t inputs, size_t most) {
  // By how far a shape is from two equal cores, each as wide as high; in logarithms.
  std::vector<std::tuple<double, int64_t, int64_t>> found;
  const auto logOf = [](int64_t value) { return std::log(static_cast<double>(value)); };
  for (int64_t rows : divisorsOf(outputs))
    for (int64_t columns : divisorsOf(inputs)) {
      const double balance = std::abs(logOf(rows * columns) - logOf(outputs * inputs) / 2),
                   skew = std::abs(logOf(rows) - logOf(outputs) / 2) + std::abs(logOf(columns) - logOf(inputs) / 2);
      found.emplace_back(4 * balance + skew, rows, columns);
    }
  std::sort(found.begin(), found.end());
  std::vector<TrainShape> shapes;
  for (size_t i = 0; i < std::min(std::max<size_t>(most, 1), found.size()); ++i)
    shapes.push_back(kroneckerShape(outputs, inputs, std::get<1>(found[i]), std::get<2>(found[i])));
  return shapes;
}

Status lowrank::trainSpectrum(const Weight &w, const TrainShape &shape, std::vector<double> &squares) {
  squares.clear();
  Matrix whole, vectors;
  if (Status status = interleaved(w, shape, whole); status.failed())
    return status;
  return leftSingular(whole, shape.part(0), w.n * w.k / shape.part(0), 0, vectors, squares);
}

Status lowrank::factorizeTrain(const Weight &w, const TrainShape &shape, int64_t rank, double energy,
                               TensorTrain &result) {
  result = {};
  Matrix rest;
  if (Status status = interleaved(w, shape, rest); status.failed())
    return status;
  if (rank < 1)
    return runtime::failure(LATHE_INVALID_ARGUMENT, "a rank must be at least 1, got ", rank);
  const double all = squareOf(rest), lost = (1 - energy) / static_cast<double>(shape.cores() - 1);
  const std::vector<int64_t> most = trainRanks(shape, rank);
  result.shape = shape;
  int64_t before = 1, columns = w.n * w.k;
  for (size_t core = 0; core < shape.cores(); ++core) {
    const int64_t rows = before * shape.part(core);
    columns /= shape.part(core);
    Matrix vectors;
    if (core + 1 < shape.cores()) {
      std::vector<double> squares;
      // What is left keeps its squares, so that each place's loss counts in shares of the whole.
      if (Status status = leftSingular(rest, rows, columns, std::min(most[core], rows), vectors, squares);
          status.failed())
        return status;
      int64_t own = std::max<int64_t>(1, static_cast<int64_t>(vectors.size()) / rows);
      double left = 0;
      for (double square : squares)
        left += square;
      if (energy < 1 && left > 0)
        own = std::min(own, rankOfEnergy(squares, std::max(0.0, 1 - lost * all / left)));
      vectors.resize(static_cast<size_t>(own * rows));
      rest = product(false, false, own, columns, rows, vectors, rest);
      // Rows of `vectors` are of ranks behind: [r][rows] as [rows][r].
      result.ranks.push_back(own);
      vectors = exchanged<Matrix, Matrix>(vectors, own, rows, 1);
    } else {
      vectors = rest;
      result.energyKept = all > 0 ? std::min(1.0, squareOf(rest) / all) : 1;
    }
    result.cores.push_back(
        exchanged<Matrix, std::vector<float>>(vectors, before, shape.n[core], shape.k[core] * result.behind(core)));
    before = result.behind(core);
  }
  return {};
}
