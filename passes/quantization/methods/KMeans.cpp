//===- KMeans.cpp - Centres of weighted points ------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/KMeans.h"

#include "passes/quantization/methods/Random.h"

#include <algorithm>
#include <limits>
#include <numeric>

using namespace lathe;
using namespace lathe::quantization;

namespace {

/// Points whose sums are added one after another; the sums of chunks are added in the chunks' order.
constexpr int64_t kChunk = 2048;
constexpr int kLanes = 8;

float distance(const float *x, const float *weight, const float *centre, int dimension) {
  float sum = 0;
  for (int j = 0; j < dimension; ++j) {
    const float difference = x[j] - centre[j];
    sum += weight[j] * difference * difference;
  }
  return sum;
}

/// The first i for which the sum of the numbers before and at it reaches `target`.
int64_t atMass(const std::vector<float> &values, double target) {
  double sum = 0;
  int64_t last = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] <= 0)
      continue;
    last = static_cast<int64_t>(i);
    sum += values[i];
    if (sum > target)
      break;
  }
  return last;
}

/// k-means++: each next centre is a point, drawn with the probability of its error so far.
std::vector<float> seedCentres(const WeightedPoints &points, int centres, Random &random, ThreadPool *pool) {
  const int64_t count = points.count(), chunks = (count + kChunk - 1) / kChunk;
  const int d = points.dimension;
  std::vector<float> result(static_cast<size_t>(centres) * d);
  std::vector<float> errors(static_cast<size_t>(count));
  std::vector<double> sums(static_cast<size_t>(chunks));
  // The first one: by weight.
  for (int64_t i = 0; i < count; ++i)
    errors[i] = std::accumulate(&points.weight[i * d], &points.weight[i * d] + d, 0.0f);
  double total = std::accumulate(errors.begin(), errors.end(), 0.0);
  for (int centre = 0; centre < centres; ++centre) {
    // Without any error left, more centres are of no use: they repeat one.
    const int64_t chosen = atMass(errors, random.uniform() * total);
    std::copy_n(&points.x[chosen * d], d, &result[static_cast<size_t>(centre) * d]);
    parallelFor(pool, chunks, [&](int64_t chunk) {
      sums[chunk] = 0;
      for (int64_t i = chunk * kChunk, end = std::min(count, i + kChunk); i < end; ++i) {
        const float found =
            distance(&points.x[i * d], &points.weight[i * d], &result[static_cast<size_t>(centre) * d], d);
        errors[i] = centre == 0 ? found : std::min(errors[i], found);
        sums[chunk] += errors[i];
      }
    });
    total = std::accumulate(sums.begin(), sums.end(), 0.0);
  }
  return result;
}

/// What a chunk of the points adds to the centres.
struct Sums {
  std::vector<double> moment, mass; ///< [centres][dimension]
  std::vector<int64_t> members;     ///< [centres]
  double error = 0;
};

} // namespace

CentreSearch::CentreSearch(const float *centres, int count, int dimension) : count_(count), dimension_(dimension) {
  const int padded = (count + kLanes - 1) / kLanes * kLanes;
  // Of no weight, a distant centre is as near as all: those come first, and the first one is taken.
  columns_.assign(static_cast<size_t>(padded) * dimension, 1e18f);
  for (int centre = 0; centre < count; ++centre)
    for (int j = 0; j < dimension; ++j)
      columns_[static_cast<size_t>(j) * padded + centre] = centres[static_cast<size_t>(centre) * dimension + j];
}

int CentreSearch::nearest(const float *x, const float *weight) const {
  const int padded = (count_ + kLanes - 1) / kLanes * kLanes;
  float distances[kMaxCentres] = {};
  for (int j = 0; j < dimension_; ++j) {
    const float value = x[j], factor = weight ? weight[j] : 1.0f;
    const float *column = columns_.data() + static_cast<size_t>(j) * padded;
    for (int centre = 0; centre < padded; ++centre) {
      const float difference = value - column[centre];
      distances[centre] += factor * difference * difference;
    }
  }
  float least[kLanes];
  std::copy_n(distances, kLanes, least);
  for (int centre = kLanes; centre < padded; centre += kLanes)
    for (int lane = 0; lane < kLanes; ++lane)
      least[lane] = distances[centre + lane] < least[lane] ? distances[centre + lane] : least[lane];
  const float nearest = *std::min_element(least, least + kLanes);
  for (int centre = 0; centre < count_; ++centre)
    if (distances[centre] == nearest)
      return centre;
  return 0; // distances beyond f32's range
}

double quantization::kMeans(const WeightedPoints &points, int centres, int iterations, uint64_t seed, ThreadPool *pool,
                            std::vector<float> &result) {
  const int64_t count = points.count(), chunks = (count + kChunk - 1) / kChunk;
  const int d = points.dimension;
  if (count == 0) {
    result.assign(static_cast<size_t>(centres) * d, 0.0f);
    return 0;
  }
  Random random(seed);
  result = seedCentres(points, centres, random, pool);
  std::vector<float> errors(static_cast<size_t>(count)), best = result;
  double least = std::numeric_limits<double>::infinity();
  std::vector<Sums> partial(static_cast<size_t>(chunks));
  for (int iteration = 0; iteration <= iterations; ++iteration) {
    const CentreSearch search(result.data(), centres, d);
    parallelFor(pool, chunks, [&](int64_t chunk) {
      Sums &sums = partial[chunk];
      sums.moment.assign(static_cast<size_t>(centres) * d, 0.0);
      sums.mass.assign(static_cast<size_t>(centres) * d, 0.0);
      sums.members.assign(static_cast<size_t>(centres), 0);
      sums.error = 0;
      for (int64_t i = chunk * kChunk, end = std::min(count, i + kChunk); i < end; ++i) {
        const float *x = &points.x[i * d], *weight = &points.weight[i * d];
        const int centre = search.nearest(x, weight);
        errors[i] = distance(x, weight, &result[static_cast<size_t>(centre) * d], d);
        sums.error += errors[i];
        ++sums.members[centre];
        for (int j = 0; j < d; ++j) {
          sums.moment[static_cast<size_t>(centre) * d + j] += static_cast<double>(weight[j]) * x[j];
          sums.mass[static_cast<size_t>(centre) * d + j] += weight[j];
        }
      }
    });
    Sums &all = partial[0];
    for (int64_t chunk = 1; chunk < chunks; ++chunk) {
      for (size_t i = 0; i < all.moment.size(); ++i) {
        all.moment[i] += partial[chunk].moment[i];
        all.mass[i] += partial[chunk].mass[i];
      }
      for (size_t i = 0; i < all.members.size(); ++i)
        all.members[i] += partial[chunk].members[i];
      all.error += partial[chunk].error;
    }
    // A centre that took a point may have made the error of others larger: the best centres are kept.
    const bool better = all.error < least;
    const bool settled = all.error > least * (1 - 1e-5);
    if (better) {
      least = all.error;
      best = result;
    }
    if (iteration == iterations || (settled && iteration > 1))
      break;
    int64_t empty = 0;
    for (int centre = 0; centre < centres; ++centre)
      empty += all.members[centre] == 0;
    std::vector<int64_t> worst;
    if (empty > 0) {
      worst.resize(static_cast<size_t>(count));
      std::iota(worst.begin(), worst.end(), 0);
      empty = std::min(empty, count);
      std::partial_sort(worst.begin(), worst.begin() + empty, worst.end(),
                        [&](int64_t a, int64_t b) { return errors[a] != errors[b] ? errors[a] > errors[b] : a < b; });
    }
    size_t taken = 0;
    for (int centre = 0; centre < centres; ++centre) {
      float *values = &result[static_cast<size_t>(centre) * d];
      if (all.members[centre] == 0) {
        if (taken < worst.size() && errors[worst[taken]] > 0)
          std::copy_n(&points.x[worst[taken++] * d], d, values);
        continue;
      }
      for (int j = 0; j < d; ++j) {
        const size_t at = static_cast<size_t>(centre) * d + j;
        if (all.mass[at] > 0)
          values[j] = static_cast<float>(all.moment[at] / all.mass[at]);
      }
    }
  }
  result = std::move(best);
  return least;
}
