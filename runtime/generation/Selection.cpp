//===- Selection.cpp - Parts of a distribution, without sorting -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/generation/Selection.h"

#include <algorithm>
#include <array>
#include <functional>
#include <limits>

using namespace lathe::runtime;

RowScan Selection::scan(const float *row, size_t count) {
  row_ = row;
  count_ = count;
  size_t blocks = (count + kRowBlock - 1) / kRowBlock;
  if (scratch_.size() < count) {
    blocks_.resize(blocks);
    scratch_.resize(count);
  }
  return rowKernels().scan(row, count, blocks_.data());
}

void Selection::collect(float threshold, Candidates &candidates) {
  // One more than there are: the kernel writes a number before it knows whether it is wanted.
  if (candidates.values.size() <= count_) {
    candidates.values.resize(count_ + 1);
    candidates.places.resize(count_ + 1);
  }
  threshold = std::max(threshold, -std::numeric_limits<float>::max());
  candidates.count =
      rowKernels().collect(row_, count_, blocks_.data(), threshold, candidates.values.data(), candidates.places.data());
}

void Selection::largest(size_t k, Candidates &candidates) {
  size_t blocks = (count_ + kRowBlock - 1) / kRowBlock;
  float threshold = -std::numeric_limits<float>::infinity();
  if (k == 0 || count_ == 0) {
    candidates.count = 0;
    return;
  }
  auto kth = [&](size_t count) {
    std::nth_element(scratch_.begin(), scratch_.begin() + static_cast<ptrdiff_t>(k - 1),
                     scratch_.begin() + static_cast<ptrdiff_t>(count), std::greater<float>());
    return scratch_[k - 1];
  };
  // Each of the k largest blocks has a number that large, so the k-th number is not below.
  if (k <= blocks) {
    std::copy(blocks_.begin(), blocks_.begin() + static_cast<ptrdiff_t>(blocks), scratch_.begin());
    threshold = kth(blocks);
  }
  collect(threshold, candidates);
  if (candidates.count <= k)
    return;
  std::copy(candidates.values.begin(), candidates.values.begin() + static_cast<ptrdiff_t>(candidates.count),
            scratch_.begin());
  threshold = kth(candidates.count);
  candidates.filter([&](size_t i) { return candidates.values[i] >= threshold; });
}

/// Moves to the front those among which the one that rankedByMass looks for is, and gives their number; adds what is
/// before them to `passed`. One pass, where a selection by parts moves most of the items several times.
static size_t narrowByMass(Ranked *items, size_t count, double mass, double &passed) {
  constexpr size_t kBuckets = 1024;
  auto [least, most] =
      std::minmax_element(items, items + count, [](const Ranked &a, const Ranked &b) { return a.key < b.key; });
  float first = least->key;
  float scale = static_cast<float>(kBuckets - 1) / (most->key - first);
  // Keys are finite, but their distance need not be.
  if (!(scale > 0 && scale < std::numeric_limits<float>::max()))
    return count;
  auto bucketOf = [&](const Ranked &item) {
    return std::min(static_cast<size_t>((item.key - first) * scale), kBuckets - 1);
  };
  std::array<double, kBuckets> masses = {};
  std::array<bool, kBuckets> used = {};
  for (size_t i = 0; i < count; ++i) {
    size_t bucket = bucketOf(items[i]);
    masses[bucket] += static_cast<double>(items[i].weight);
    used[bucket] = true;
  }
  // The last bucket that has items and begins below the mass.
  size_t found = 0;
  double sum = 0;
  for (size_t bucket = 0; bucket < kBuckets && (bucket == 0 || sum < mass); ++bucket) {
    if (used[bucket]) {
      found = bucket;
      passed = sum;
    }
    sum += masses[bucket];
  }
  size_t kept = 0;
  for (size_t i = 0; i < count; ++i)
    if (bucketOf(items[i]) == found)
      items[kept++] = items[i];
  return kept;
}

Ranked lathe::runtime::rankedByMass(Ranked *items, size_t count, double mass) {
  auto before = [](const Ranked &a, const Ranked &b) { return a.key != b.key ? a.key < b.key : a.place > b.place; };
  constexpr size_t kFewItems = 32;
  constexpr size_t kManyItems = 4096;
  double passed = 0;
  if (count >= kManyItems)
    count = narrowByMass(items, count, mass, passed);
  Ranked *begin = items;
  Ranked *end = items + count;
  while (static_cast<size_t>(end - begin) > kFewItems) {
    Ranked *middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end, before);
    double half = 0;
    for (Ranked *item = begin; item != middle; ++item)
      half += static_cast<double>(item->weight);
    if (passed + half < mass) {
      passed += half;
      begin = middle;
    } else {
      end = middle;
    }
  }
  std::sort(begin, end, before);
  Ranked last = *begin;
  for (Ranked *item = begin; item != end && passed < mass; ++item) {
    last = *item;
    passed += static_cast<double>(item->weight);
  }
  return last;
}
