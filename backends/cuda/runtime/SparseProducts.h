//===- SparseProducts.h - Products by cuSPARSELt ----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_RUNTIME_SPARSEPRODUCTS_H
#define LATHE_BACKENDS_CUDA_RUNTIME_SPARSEPRODUCTS_H

#include "backends/cuda/runtime/Scratch.h"
#include "backends/cuda/runtime/SparseLtApi.h"

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>

namespace lathe::cuda {

class CudaModule;

/// Opens cuSPARSELt, or what plays it.
using OpenSparseLt = runtime::Status (*)(SparseLtApi *api);

/// A weight of f16 or bf16 [k, n] on the device, by strides in elements.
struct SparseSource {
  const void *data = nullptr;
  int64_t type = 0; ///< BlasType
  int64_t k = 0, n = 0, row = 0, col = 0;
};

/// A weight as the library multiplies it, or why it does not.
struct SparseWeight {
  const void *compressed = nullptr;
  std::string why;
};

/// cuSPARSELt, and the weights of a module that it multiplies. Thread-safe; the device's context is current in all
/// calls.
class SparseLibrary {
public:
  SparseLibrary(CudaModule &module, OpenSparseLt open) : module_(module), open_(open) {}
  /// After the last product, while the device's context is current.
  void close();
  SparseLibrary(const SparseLibrary &) = delete;

  /// Opens the library, once. False with *why, in one line, where there is none.
  bool isThere(std::string *why);
  const SparseLtApi &api() const { return api_; }
  const SparseLtHandle *handle() const { return handle_.get(); }
  /// As the library counts, 1000 for 0.10.0.
  int64_t version() const { return version_; }
  /// Constant `index` compressed, which is done once, on `stream`; memory that this takes for a while is of `services`.
  /// That the library does not take it is no failure.
  runtime::Status weight(int64_t index, const SparseSource &source, runtime::SessionServices &services, Stream stream,
                         const SparseWeight **weight);
  /// What a status says.
  std::string words(int result) const;

private:
  runtime::Status compress(const SparseSource &source, runtime::SessionServices &services, Stream stream,
                           SparseWeight &made);
  runtime::Status compressRows(const SparseLtMatrix &matrix, const void *rows, runtime::SessionServices &services,
                               Stream stream, SparseWeight &made);

  CudaModule &module_;
  OpenSparseLt open_;
  std::mutex mutex_;
  bool isAsked_ = false;
  std::string whyNot_;
  SparseLtApi api_;
  std::unique_ptr<SparseLtHandle> handle_;
  int version_ = 0;
  std::map<int64_t, SparseWeight> weights_;
};

/// What a plan, and who is faster, depend on. Only 8-byte members: compared as bytes.
struct SparseShape {
  int64_t type = 0; ///< BlasType of all matrices
  int64_t rows = 0; ///< of the left side, a multiple of 8
  int64_t n = 0, k = 0;
  int64_t ldLeft = 0, ldOut = 0;
  int64_t isStaged = 0;                 ///< the left side is written anew before
  int64_t isFinished = 0;               ///< a kernel follows
  int64_t epilogue = 0;                 ///< what else the dense product has to do
  int64_t dtype = 0, left = 0, out = 0; ///< of the call

  bool operator<(const SparseShape &other) const { return memcmp(this, &other, sizeof(*this)) < 0; }
};

/// Plans of a session. The device's context is current in all calls.
class SparseProducts {
public:
  /// The library's objects for a shape.
  struct Plan {
    SparseLtMatrix weight, left, out;
    SparseLtProduct product;
    SparseLtSelection selection;
    SparseLtPlan plan;
    size_t workspaceBytes = 0;
    int made = 0; ///< how many of them there are, in this order
  };
  using Run = std::function<runtime::Status(Plan *plan)>;

  /// `replay`: whose graphs have products.
  SparseProducts(CudaModule &module, runtime::SessionServices &services, Stream stream, Replay *replay)
      : module_(module), services_(services), stream_(stream), replay_(replay),
        workspace_(device(), services, stream, replay) {}
  ~SparseProducts();
  SparseProducts(const SparseProducts &) = delete;

  /// The compressed form of a constant; null with *why where the product is the dense one's.
  runtime::Status weight(int64_t index, const SparseSource &source, const void **compressed, std::string *why);
  /// What multiplies such a shape; null with *why where the dense product is to. It is planned, and timed by `run` with
  /// each plan and with none for the dense product, when it is first met.
  runtime::Status find(const SparseShape &shape, const Run &run, Plan **plan, std::string *why);
  /// out = alpha * left * weight, by rows.
  runtime::Status multiply(Plan &plan, float alpha, const void *compressed, const void *left, void *out);
  int64_t version() const;

private:
  /// Models with more distinct shapes pay for planning again.
  static constexpr size_t kMaxPlans = 256;
  struct Known {
    std::unique_ptr<Plan> plan; ///< null where the library has none, or it is slower
    std::string why;
  };

  const Device &device() const;
  bool make(const SparseShape &shape, int config, Plan &plan, int *configs, std::string *why);
  void drop(Plan &plan);
  runtime::Status choose(const SparseShape &shape, const Run &run, int configs, Known &known);

  CudaModule &module_;
  runtime::SessionServices &services_;
  Stream stream_;
  Replay *replay_;
  Scratch workspace_;
  std::map<SparseShape, Known> known_;
};

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_RUNTIME_SPARSEPRODUCTS_H
