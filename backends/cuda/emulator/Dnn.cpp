//===- Dnn.cpp - cuDNN's attention by plain loops ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Refuses what the library does ("Support surface" of "Scaled dot product attention" in the documentation of its
// frontend). Scores and sums are in f32; weights are rounded to the type of the values before they multiply them, and
// results once, as flash attention on matrix instructions does (arXiv:2307.08691).
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/emulator/Driver.h"
#include "backends/cuda/emulator/Streams.h"
#include "runtime/SmallFloats.h"

#include <algorithm>
#include <cmath>
#include <vector>

using namespace lathe;
using namespace lathe::cuda;
using runtime::failure;
using runtime::join;
using runtime::Status;
using runtime::success;

namespace {

constexpr uint64_t kWorkspaceBytes = 4096;
constexpr int64_t kAlignment = 16; ///< of addresses and strides, in bytes

float numberOf(int64_t type, const void *data, int64_t index) {
  if (type == kDnnF32)
    return static_cast<const float *>(data)[index];
  uint16_t bits = static_cast<const uint16_t *>(data)[index];
  return type == kDnnF16 ? runtime::halfValue(bits) : runtime::bfloatValue(bits);
}

uint16_t bitsOf(int64_t type, float value) {
  return type == kDnnF16 ? runtime::toHalf(value) : runtime::toBfloat(value);
}

/// One of the tensors, with its extents.
struct View {
  const char *name;
  int64_t type, extents[4];
  const int64_t *strides;

  /// Elements from the first to the last.
  int64_t span() const {
    int64_t last = 0;
    for (int axis = 0; axis < 4; ++axis)
      last += (extents[axis] - 1) * strides[axis];
    return last + 1;
  }
  int64_t bytes() const { return span() * (type == kDnnF32 ? 4 : 2); }
};

std::vector<View> viewsOf(const DnnAttention &p) {
  std::vector<View> views = {{"the query", p.type, {p.batch, p.heads, p.s, p.d}, p.query},
                             {"the key", p.type, {p.batch, p.keyHeads, p.t, p.d}, p.key},
                             {"the value", p.type, {p.batch, p.keyHeads, p.t, p.e}, p.value},
                             {"the result", p.type, {p.batch, p.heads, p.s, p.e}, p.out}};
  if (p.biasType >= 0)
    views.push_back({"the bias", p.biasType, {p.biasBatch, p.biasHeads, p.s, p.t}, p.bias});
  return views;
}

Status refuse(const std::string &why) { return failure(LATHE_UNSUPPORTED_DEVICE, "cuDNN refuses it: ", why); }

Status checkView(const View &view) {
  for (int axis = 0; axis < 4; ++axis) {
    if (view.extents[axis] < 1)
      return refuse(join(view.name, " has no elements"));
    int64_t bytes = view.strides[axis] * (view.type == kDnnF32 ? 4 : 2);
    if (axis == 3 ? view.strides[axis] != 1 : bytes % kAlignment != 0)
      return refuse(join("stride ", view.strides[axis], " of axis ", axis, " of ", view.name, ", expected ",
                         axis == 3 ? "1" : "a multiple of 16 bytes"));
    if (view.extents[axis] > 1 && view.strides[axis] < 1)
      return refuse(join("stride ", view.strides[axis], " of axis ", axis, " of ", view.name, " of ",
                         view.extents[axis], " elements"));
  }
  return success();
}

/// What the library refuses of a description.
Status check(const DnnAttention &p, int capability) {
  if (capability < 80)
    return refuse(join("compute capability ", capability, ", expected 80 or newer"));
  if (p.type != kDnnF16 && p.type != kDnnBf16)
    return refuse(join("type ", p.type, ", expected f16 or bf16"));
  if (p.biasType >= 0 && p.biasType != kDnnF32 && p.biasType != p.type)
    return refuse(join("a bias of type ", p.biasType));
  if (p.d % 8 != 0 || p.e % 8 != 0 || p.d > 256 || p.e > 256)
    return refuse(join("heads of ", p.d, " and ", p.e, " columns, expected multiples of 8 up to 256"));
  for (const View &view : viewsOf(p))
    if (Status status = checkView(view); status.failed())
      return status;
  if (p.heads % p.keyHeads != 0)
    return refuse(join(p.heads, " heads of ", p.keyHeads, " of keys"));
  if (p.biasType >= 0 && ((p.biasBatch != 1 && p.biasBatch != p.batch) || (p.biasHeads != 1 && p.biasHeads != p.heads)))
    return refuse(join("a bias of ", p.biasBatch, " sequences and ", p.biasHeads, " heads"));
  if (p.isCausal && p.s > p.t)
    return refuse(join("a causal mask of ", p.s, " queries and ", p.t, " keys"));
  if (p.isCausal && p.s != p.t && p.biasType >= 0)
    return refuse("a causal mask that ends with the keys, and a bias");
  return success();
}

/// Rows of a head as numbers.
std::vector<float> rowsOf(int64_t type, const void *data, int64_t base, int64_t rows, int64_t stride, int64_t columns) {
  std::vector<float> result;
  result.reserve(static_cast<size_t>(rows * columns));
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column)
      result.push_back(numberOf(type, data, base + row * stride + column));
  return result;
}

/// The attention of one head of one sequence.
void computeHead(const DnnAttention &p, const DnnOperands &operands, int64_t sequence, int64_t head) {
  int64_t keyHead = head / (p.heads / p.keyHeads);
  auto at = [&](const int64_t(&strides)[4], int64_t ofHead) { return sequence * strides[0] + ofHead * strides[1]; };
  std::vector<float> query = rowsOf(p.type, operands.query, at(p.query, head), p.s, p.query[2], p.d);
  std::vector<float> key = rowsOf(p.type, operands.key, at(p.key, keyHead), p.t, p.key[2], p.d);
  std::vector<float> value = rowsOf(p.type, operands.value, at(p.value, keyHead), p.t, p.value[2], p.e);
  int64_t bias = (p.biasBatch > 1 ? sequence * p.bias[0] : 0) + (p.biasHeads > 1 ? head * p.bias[1] : 0);
  std::vector<float> scores(static_cast<size_t>(p.t)), sums(static_cast<size_t>(p.e));
  auto *out = static_cast<uint16_t *>(operands.out) + at(p.out, head);
  for (int64_t i = 0; i < p.s; ++i) {
    int64_t end = p.isCausal ? i + p.t - p.s + 1 : p.t;
    float most = -INFINITY, total = 0;
    for (int64_t j = 0; j < end; ++j) {
      float sum = 0;
      for (int64_t l = 0; l < p.d; ++l)
        sum += query[static_cast<size_t>(i * p.d + l)] * key[static_cast<size_t>(j * p.d + l)];
      sum *= static_cast<float>(p.scale);
      if (p.biasType >= 0)
        sum += numberOf(p.biasType, operands.bias, bias + i * p.bias[2] + j);
      scores[static_cast<size_t>(j)] = sum;
      most = std::isnan(sum) ? sum : std::max(most, sum);
    }
    std::fill(sums.begin(), sums.end(), 0.0f);
    for (int64_t j = 0; j < end; ++j) {
      float weight = std::exp(scores[static_cast<size_t>(j)] - most);
      total += weight;
      uint16_t rounded = bitsOf(p.type, weight);
      weight = numberOf(p.type, &rounded, 0);
      for (int64_t l = 0; l < p.e; ++l)
        sums[static_cast<size_t>(l)] += weight * value[static_cast<size_t>(j * p.e + l)];
    }
    for (int64_t l = 0; l < p.e; ++l)
      out[i * p.out[2] + l] = bitsOf(p.type, sums[static_cast<size_t>(l)] / total);
  }
}

class EmulatedPlan final : public DnnPlan {
public:
  explicit EmulatedPlan(const DnnAttention &problem) : problem_(problem) {}

  uint64_t workspaceBytes() const override { return kWorkspaceBytes; }

  Status execute(const DnnOperands &operands, void *workspace, Stream stream) override {
    const void *addresses[] = {operands.query, operands.key, operands.value, operands.out, operands.bias};
    std::vector<View> views = viewsOf(problem_);
    for (size_t i = 0; i < views.size(); ++i) {
      if (reinterpret_cast<uintptr_t>(addresses[i]) % kAlignment != 0)
        return failure(LATHE_INTERNAL, "attention by cuDNN: ", std::string(views[i].name),
                       " is not aligned to 16 bytes");
      if (!emulator::inBounds(addresses[i], views[i].bytes()))
        return failure(LATHE_DEVICE_LOST, "attention by cuDNN: ", std::string(views[i].name),
                       " reaches outside of what is allocated");
    }
    if (!emulator::inBounds(workspace, static_cast<int64_t>(kWorkspaceBytes)))
      return failure(LATHE_INTERNAL, "attention by cuDNN: a workspace that is not allocated");
    // The plan may be gone before the stream comes here.
    int result = emulator::enqueue(stream, [problem = problem_, operands] {
      emulator::countAttention();
      for (int64_t sequence = 0; sequence < problem.batch; ++sequence)
        for (int64_t head = 0; head < problem.heads; ++head)
          computeHead(problem, operands, sequence, head);
      return int(kDriverSuccess);
    });
    return result ? failure(LATHE_DEVICE_LOST, "attention by cuDNN: the stream does not take it") : success();
  }

private:
  DnnAttention problem_;
};

class EmulatedDnn final : public Dnn {
public:
  explicit EmulatedDnn(int capability) : capability_(capability) {}
  int64_t version() const override { return 91900; }
  Status plan(const DnnAttention &problem, std::unique_ptr<DnnPlan> *plan) override {
    if (Status status = check(problem, capability_); status.failed())
      return status;
    *plan = std::make_unique<EmulatedPlan>(problem);
    return success();
  }

private:
  int capability_;
};

} // namespace

Status cuda::emulatorDnn(int capability, std::unique_ptr<Dnn> *dnn) {
  if (!emulatorSettings().hasDnn)
    return failure(LATHE_UNSUPPORTED_DEVICE, "'libcudnn.so.9' can't be opened");
  *dnn = std::make_unique<EmulatedDnn>(capability);
  return success();
}
