//===- Selection.cpp - Parts of a distribution, without sorting -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/generation/Selection.h"

#include <algorithm>
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

Ranked lathe::runtime::rankedByMass(Ranked *items, size_t count, double mass) {
  auto before = [](const Ranked &a, const Ranked &b) { return a.key != b.key ? a.key < b.key : a.place > b.place; };
  constexpr size_t kFewItems = 32;
  Ranked *begin = items;
  Ranked *end = items + count;
  double passed = 0;
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
