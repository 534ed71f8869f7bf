//===- Products.h - Matrix products by cuBLASLt -----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_RUNTIME_PRODUCTS_H
#define LATHE_BACKENDS_CUDA_RUNTIME_PRODUCTS_H

#include "backends/cuda/runtime/CudaModule.h"
#include "backends/cuda/runtime/Scratch.h"
#include "runtime/Abi.h"

#include <cstring>
#include <map>

namespace lathe::cuda {

/// A matrix of f32, or a batch of them, by strides in elements.
struct MatrixView {
  DevicePointer data = 0;
  int64_t row = 0, col = 0;
  int64_t batch[3] = {};
};

/// How a library that knows matrices with one stride of 1 sees a matrix.
struct Orientation {
  bool possible = false;
  bool transposed = false; ///< columns are dense, not rows
  int64_t ld = 0;
};

/// Finds it for [rows, cols]; strides along extents of 1 do not matter.
Orientation orient(int64_t rows, int64_t cols, int64_t rowStride, int64_t colStride);

/// A product without what does not matter: batches with the same stride for all are one, and those that are only more
/// rows are rows.
struct Product {
  int64_t m = 0, n = 0, k = 0;
  int64_t batch[3] = {1, 1, 1};
  MatrixView a, b, out;                 ///< along n out is dense
  DevicePointer bias = 0, residual = 0; ///< residual has the strides of out
  float alpha = 1;
  int64_t activation = LATHE_ACT_NONE;

  explicit Product(const lathe_matmul_call &call);
  void simplify();
};

/// lathe_runtime_table::matmul of a session. The device's context is current in all calls.
class Products {
public:
  /// `replay`: whose graphs have products.
  Products(CudaModule &module, runtime::SessionServices &services, Stream stream, Replay *replay)
      : module_(module), device_(module.device()), driver_(device_.driver()), stream_(stream),
        workspace_(device_, services, stream, replay), stagedA_(device_, services, stream, replay),
        stagedB_(device_, services, stream, replay) {}
  ~Products();

  runtime::Status execute(const lathe_matmul_call &call) { return run(call, false); }
  /// Plans it and reserves what it needs.
  runtime::Status prepare(const lathe_matmul_call &call) { return run(call, true); }

private:
  /// What the library's choice depends on. Only 8-byte members: compared as bytes.
  struct Key {
    int64_t m = 0, n = 0, k = 0;
    int64_t transA = 0, transB = 0, lda = 0, ldb = 0, ldc = 0;
    int64_t batch = 1, strideA = 0, strideB = 0, strideC = 0;
    int64_t epilogue = kEpilogueDefault;
    int64_t alignA = 0, alignB = 0, alignC = 0, alignD = 0;
    bool operator<(const Key &other) const { return memcmp(this, &other, sizeof(*this)) < 0; }
  };
  struct Plan {
    BlasDesc desc = nullptr;
    BlasLayout a = nullptr, b = nullptr, c = nullptr;
    BlasAlgo algo;
    size_t workspaceBytes = 0;
  };
  /// Plans of a session; models with more distinct shapes pay for planning again.
  static constexpr size_t kMaxPlans = 1024;

  runtime::Status run(const lathe_matmul_call &call, bool prepareOnly);
  runtime::Status runQuantized(const lathe_matmul_call &call, const runtime::Constant &weight, bool prepareOnly);
  runtime::Status runByLibrary(const lathe_matmul_call &call, int64_t epilogue, bool prepareOnly);
  runtime::Status start(bool possible, const KernelLaunch &launch, const std::string &why);
  runtime::Status stage(Product &product, MatrixView &matrix, int64_t rows, int64_t cols, Scratch &scratch,
                        bool prepareOnly);
  runtime::Status zeroOperands(Product &product, bool prepareOnly);
  runtime::Status findPlan(const Key &key, Plan **plan);
  runtime::Status makePlan(const Key &key, Plan &plan);
  runtime::Status choose(const Key &key, Plan &plan);
  runtime::Status multiply(const Product &product, const Key &key, Plan &plan);
  runtime::Status blasStatus(int result, const char *what) const;
  void drop(Plan &plan);

  CudaModule &module_;
  const Device &device_;
  const DriverApi &driver_;
  Stream stream_;
  const BlasApi *blas_ = nullptr;
  BlasHandle handle_ = nullptr;
  std::map<Key, Plan> plans_;
  Scratch workspace_, stagedA_, stagedB_;
};

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_RUNTIME_PRODUCTS_H
