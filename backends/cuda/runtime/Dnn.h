//===- Dnn.h - cuDNN, as far as it is used ----------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// cuDNN's fused attention. It is reached through NVIDIA's header-only frontend, which a build may be without, or is
// played by the emulator (backends/cuda/emulator/Dnn.cpp).
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_RUNTIME_DNN_H
#define LATHE_BACKENDS_CUDA_RUNTIME_DNN_H

#include "backends/cuda/runtime/DriverApi.h"

#include <cstring>
#include <memory>

namespace lathe::cuda {

/// cudnnDataType_t.
enum DnnType : int64_t { kDnnF32 = 0, kDnnF16 = 2, kDnnBf16 = 9 };

/// An attention as the library is asked for it: out = softmax(scale * query * key^T + bias) * value, with scores and
/// sums in f32. Axes are sequences, heads, rows and columns; head h of the query reads head h / (heads / keyHeads) of
/// the keys. Strides are in elements. Only 8-byte members: compared as bytes.
struct DnnAttention {
  int64_t type = kDnnF16; ///< of query, key, value and out: kDnnF16 or kDnnBf16
  int64_t batch = 1, heads = 1, keyHeads = 1;
  int64_t s = 0, t = 0, d = 0, e = 0; ///< queries, keys, columns of both, columns of values
  int64_t query[4] = {}, key[4] = {}, value[4] = {}, out[4] = {};
  int64_t biasType = -1;                ///< DnnType of a bias [biasBatch, biasHeads, s, t]; -1: there is none
  int64_t biasBatch = 1, biasHeads = 1; ///< 1, or all
  int64_t bias[4] = {};
  int64_t isCausal = 0; ///< not 0: query i sees keys up to i + t - s
  double scale = 1;

  bool operator<(const DnnAttention &other) const { return memcmp(this, &other, sizeof(*this)) < 0; }
};

/// Addresses of an attention, on the device, multiples of 16.
struct DnnOperands {
  const void *query = nullptr, *key = nullptr, *value = nullptr, *bias = nullptr;
  void *out = nullptr;
};

/// How the library computes an attention. It keeps what made it.
class DnnPlan {
public:
  DnnPlan() = default;
  virtual ~DnnPlan() {}
  DnnPlan(const DnnPlan &) = delete;
  /// Memory of the device that it needs.
  virtual uint64_t workspaceBytes() const = 0;
  /// Puts it into a stream, which may be one that is captured.
  virtual runtime::Status execute(const DnnOperands &operands, void *workspace, Stream stream) = 0;
};

/// The library, for one thread at a time; the device's context is current in all calls.
class Dnn {
public:
  Dnn() = default;
  virtual ~Dnn() {}
  Dnn(const Dnn &) = delete;
  /// As the library counts, 91900 for 9.19.0.
  virtual int64_t version() const = 0;
  /// UNSUPPORTED_DEVICE with the reason in one line where the library has no such attention.
  virtual runtime::Status plan(const DnnAttention &problem, std::unique_ptr<DnnPlan> *plan) = 0;
};

/// Opens the library for a device of a compute capability such as 90. UNSUPPORTED_DEVICE with the reason in one line.
using OpenDnn = runtime::Status (*)(int capability, std::unique_ptr<Dnn> *dnn);
runtime::Status openDnn(int capability, std::unique_ptr<Dnn> *dnn);
/// The library of this machine for a device that is not here, by its properties as the library writes them (JSON; from
/// 9.8 on). It plans, and executes nothing.
runtime::Status openDnnFor(int capability, const char *properties, std::unique_ptr<Dnn> *dnn);

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_RUNTIME_DNN_H
