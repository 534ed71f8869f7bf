//===- Fusion.h - Calls of a run that share a kernel ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_RUNTIME_FUSION_H
#define LATHE_BACKENDS_CUDA_RUNTIME_FUSION_H

#include "backends/cuda/runtime/CudaModule.h"
#include "backends/cuda/runtime/Replay.h"
#include "runtime/Abi.h"

#include <vector>

namespace lathe::cuda {

/// Calls that a run may hold back (Replay).
enum CallKind : int64_t { kGeneratedCall, kWrittenCall, kProductCall, kProductGroupCall, kAttentionCall };

/// What is launched; arguments follow. No padding.
struct LaunchCall {
  FunctionHandle function;
  const char *name; ///< of a hand-written kernel
  uint32_t grid[3], block;
  int64_t sharedBytes, count, argsBytes;
};

/// Products by weights of one format, quantized or numbers, of one left side, which is normalized before where
/// norm.kind is not 0: then `x` is read in the place of the calls' left side. No padding.
struct ProductGroup {
  lathe_matmul_call calls[kMostQuantizedParts];
  int64_t count;
  int64_t isChained; ///< the second multiplies what the first wrote
  NormArgs norm;
  const void *x;
};

/// Looks at a run's calls in their order and makes one of neighbours that one kernel can do: a norm and the products of
/// few rows that read it, products of one left side, a gate and what it multiplies, rotations by positions and what
/// puts rows into caches. Every buffer that the calls write is written all the same, so nothing that follows has to be
/// known. What would touch memory of one another in another order than the calls' stays apart
/// (docs/design/0030-fewer-kernels.md).
class Fusion {
public:
  /// Makes calls, at once or in a graph.
  class Sink {
  public:
    virtual void make(int64_t kind, int64_t kernel, std::initializer_list<Replay::Part> parts) = 0;
    virtual void makeWritten(int64_t kernel, const KernelLaunch &launch) = 0;

  protected:
    ~Sink() = default;
  };

  /// `isOn`: else every call is made as it comes.
  Fusion(CudaModule &module, const runtime::Program &program, Sink &sink, bool isOn)
      : module_(module), program_(program), sink_(sink), isOn_(isOn) {}

  void launch(int64_t kernel, const LaunchCall &launch, const void *args);
  void product(const lathe_matmul_call &call);
  /// `args`, of numbers, are those of `launch`.
  void append(int64_t kernel, const CacheArgs &args, const LaunchCall &launch);
  /// Makes what is held back: something else comes.
  void flush();

private:
  enum class State { nothing, norm, products, rows };
  struct Norm {
    NormArgs args = {};
    const void *x = nullptr;
    int64_t rows = 0, columns = 0;
    int64_t type = LATHE_F32; ///< of what it writes
  };
  struct Original {
    int64_t kind, kernel;
    std::vector<unsigned char> bytes;
  };

  const runtime::Constant &weightOf(const lathe_matmul_call &call) const;
  bool haveSameFormat(const lathe_matmul_call &a, const lathe_matmul_call &b) const;
  bool mayJoin(const lathe_matmul_call &call) const;
  bool followsNorm(const lathe_matmul_call &call) const;
  bool followsProducts(const lathe_matmul_call &call, bool *isChained) const;
  bool isApartFromNorm(const lathe_matmul_call &call) const;
  bool fits(const StepRowsPart &part) const;
  void addRows(const StepRowsPart &part);
  void hold(State state, int64_t kind, int64_t kernel, std::initializer_list<Replay::Part> parts);

  CudaModule &module_;
  const runtime::Program &program_;
  Sink &sink_;
  const bool isOn_;
  State state_ = State::nothing;
  std::vector<Original> originals_; ///< what is held back, as it was asked for
  Norm norm_;
  ProductGroup group_ = {};
  StepRowsArgs rows_ = {};
};

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_RUNTIME_FUSION_H
