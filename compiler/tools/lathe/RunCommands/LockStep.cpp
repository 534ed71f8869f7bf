//===- LockStep.cpp - Two runs side by side, value by value -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/LockStep.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>

using namespace lathe;
using namespace lathe::tool;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

template <typename GetA, typename GetB> void addElements(Distance &sums, size_t count, GetA reference, GetB value) {
  for (size_t i = 0; i < count; ++i) {
    double a = reference(i), b = value(i);
    if (!std::isfinite(a) || !std::isfinite(b)) {
      sums.nonFinite += !(a == b || (std::isnan(a) && std::isnan(b)));
      continue;
    }
    double difference = std::abs(a - b);
    sums.difference2 += difference * difference;
    sums.reference2 += a * a;
    sums.value2 += b * b;
    sums.product += a * b;
    sums.maxAbs = std::max(sums.maxAbs, difference);
    sums.maxReference = std::max(sums.maxReference, std::abs(a));
  }
  sums.elements += count;
}

Tensor copyOf(const void *data, lathe_dtype type, size_t elements) {
  Tensor tensor;
  tensor.dtype = type;
  tensor.dims = {static_cast<int64_t>(elements)};
  auto *bytes = static_cast<const unsigned char *>(data);
  if (elements)
    tensor.bytes.assign(bytes, bytes + elements * lathe_dtype_size(type));
  return tensor;
}

} // namespace

void Distance::add(const void *reference, lathe_dtype referenceType, const void *value, lathe_dtype valueType,
                   size_t count) {
  if (referenceType == LATHE_F32 && valueType == LATHE_F32) {
    auto *a = static_cast<const float *>(reference), *b = static_cast<const float *>(value);
    return addElements(*this, count, [=](size_t i) { return a[i]; }, [=](size_t i) { return b[i]; });
  }
  Tensor a = copyOf(reference, referenceType, count), b = copyOf(value, valueType, count);
  addElements(
      *this, count, [&](size_t i) { return element(a, static_cast<int64_t>(i)); },
      [&](size_t i) { return element(b, static_cast<int64_t>(i)); });
}

double Distance::relative() const {
  if (nonFinite)
    return kInfinity;
  return difference2 == 0 ? 0 : reference2 == 0 ? kInfinity : std::sqrt(difference2 / reference2);
}

double Distance::snrDb() const {
  double error = relative();
  return error == 0 ? kInfinity : std::isinf(error) ? -kInfinity : -20 * std::log10(error);
}

double Distance::cosine() const {
  if (reference2 == 0 || value2 == 0)
    return reference2 == value2 ? 1 : 0;
  return std::clamp(product / std::sqrt(reference2) / std::sqrt(value2), -1.0, 1.0);
}

LockStep::LockStep(std::vector<Pair> &pairs, size_t kernelsOfA, size_t kernelsOfB) : pairs_(pairs) {
  sides_[0].pairOf.assign(kernelsOfA, -1);
  sides_[1].pairOf.assign(kernelsOfB, -1);
  for (size_t pair = 0; pair < pairs.size(); ++pair)
    for (int side : {0, 1})
      sides_[side].pairOf.at(pairs[pair].kernels[side]) = static_cast<int64_t>(pair);
}

void LockStep::compare(int64_t pair, int side, const lathe_kernel_result &own, lathe_dtype otherType, const void *other,
                       size_t otherElements) {
  Pair &at = pairs_[static_cast<size_t>(pair)];
  if (own.elements != otherElements) {
    at.otherSize = true;
    return;
  }
  ++at.compared;
  if (side == 0)
    at.distance.add(own.data, own.dtype, other, otherType, own.elements);
  else
    at.distance.add(other, otherType, own.data, own.dtype, own.elements);
}

/// At most one of the two waits: who comes to another value than the one that the other waits at keeps a copy and goes
/// on. So the other is reached, or its run ends.
void LockStep::arrive(int side, size_t kernel, const lathe_kernel_result &result) {
  Side &own = sides_[side], &other = sides_[1 - side];
  int64_t pair = kernel < own.pairOf.size() ? own.pairOf[kernel] : -1;
  if (pair < 0)
    return;
  std::unique_lock<std::mutex> lock(mutex_);
  if (auto kept = other.kept.find(pair); kept != other.kept.end()) {
    Tensor &first = kept->second.front();
    compare(pair, side, result, first.dtype, first.data(), static_cast<size_t>(first.elements()));
    kept->second.pop_front();
    if (kept->second.empty())
      other.kept.erase(kept);
    return;
  }
  if (other.waiting == pair) {
    compare(pair, side, result, other.live->dtype, other.live->data, other.live->elements);
    other.waiting = -1;
    moved_.notify_all();
    return;
  }
  if (!other.running)
    return; // it does not compute the value in this run, as in a branch not taken
  if (other.waiting >= 0) {
    own.kept[pair].push_back(copyOf(result.data, result.dtype, result.elements));
    return;
  }
  own.live = &result;
  own.waiting = pair;
  moved_.wait(lock, [&] { return own.waiting < 0 || !other.running; });
  own.waiting = -1;
}

void LockStep::runSide(int side, Session &session, std::exception_ptr &error) {
  auto observe = [&](size_t kernel, const lathe_kernel_result &result) { arrive(side, kernel, result); };
  try {
    session.setObserver(observe);
    session.run();
  } catch (...) {
    error = std::current_exception();
  }
  lathe_session_set_observer(session.get(), nullptr, nullptr);
  std::lock_guard<std::mutex> lock(mutex_);
  sides_[side].running = false;
  moved_.notify_all();
}

void LockStep::run(Session &a, Session &b) {
  std::exception_ptr errors[2];
  for (Side &side : sides_) {
    side.running = true;
    side.waiting = -1;
    side.kept.clear();
  }
  std::thread second([&] { runSide(1, b, errors[1]); });
  runSide(0, a, errors[0]);
  second.join();
  for (const std::exception_ptr &error : errors)
    if (error)
      std::rethrow_exception(error);
}
