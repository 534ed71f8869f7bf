//===- Products.h - Matrix products by cuBLASLt -----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_RUNTIME_PRODUCTS_H
#define LATHE_BACKENDS_CUDA_RUNTIME_PRODUCTS_H

#include "backends/cuda/runtime/BlasPlans.h"
#include "backends/cuda/runtime/FewRows.h"
#include "backends/cuda/runtime/Fusion.h"
#include "backends/cuda/runtime/SparseProducts.h"
#include "runtime/Abi.h"

#include <set>

namespace lathe::cuda {

/// A matrix, or a batch of them, by strides in elements.
struct MatrixView {
  DevicePointer data = 0;
  int64_t row = 0, col = 0;
  int64_t batch[3] = {};
  int64_t type = kBlasF32; ///< BlasType
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
  DevicePointer bias = 0, residual = 0; ///< of the result's type; residual has the strides of out
  float alpha = 1;
  int64_t activation = LATHE_ACT_NONE;

  explicit Product(const lathe_matmul_call &call);
  void simplify();
};

/// How the library multiplies 8-bit floats for a call (FloatProducts.cpp).
struct FloatsPlan {
  BlasPlan *plan = nullptr; ///< null: it does not
  bool isScaled = false;    ///< by the library
  bool isWhole = false;     ///< with all that the call wants, at its place
};

/// lathe_runtime_table::matmul of a session. The device's context is current in all calls.
///
/// The library multiplies operands of one type: f32, f16 or bf16, with sums in f32 that are rounded once. Where a
/// weight has 16 bits and the rest f32, the left side is rounded to the weight's type before, unless it has that type
/// already, and the result is f32, or is rounded behind the epilogue.
/// Few rows by weights of f32, f16 and bf16 a kernel of our own multiplies, with the same rounding (FewRows.h).
/// Weights of integers multiply left sides that are rounded to integers, with sums in i32, by the library where there
/// are many rows (QuantizedProducts.cpp); such left sides and results may be bytes in the program, too. Likewise
/// weights of 8-bit floats, with sums in f32 (FloatProducts.cpp).
/// Weights of 16 bits of which two of each four numbers are zeros are cuSPARSELt's where that is there and faster
/// (SparseProducts.cpp); then sums are rounded to the weight's type before the epilogue.
class Products {
public:
  /// `replay`: whose graphs have products.
  Products(CudaModule &module, runtime::SessionServices &services, Stream stream, Replay *replay)
      : module_(module), services_(services), device_(module.device()), driver_(device_.driver()), stream_(stream),
        plans_(module, services, stream, replay), sparse_(module, services, stream, replay),
        stagedA_(device_, services, stream, replay), stagedB_(device_, services, stream, replay),
        stagedOut_(device_, services, stream, replay), beforeBytes_(device_, services, stream, replay),
        isVerbose_(isSet("LATHE_CUDA_VERBOSE")) {}

  runtime::Status execute(const lathe_matmul_call &call);
  runtime::Status execute(const ProductGroup &group);
  /// Plans it and reserves what it needs.
  runtime::Status prepare(const lathe_matmul_call &call) { return run(call, true); }

private:
  /// What is in stagedA_: only 8-byte members, compared as bytes.
  struct Staged {
    MatrixView view;
    int64_t extents[3] = {}, rows = 0, cols = 0;
    int64_t type = -1; ///< BlasType that it has there; -1: nothing that is known
    int64_t quantization = LATHE_QUANTIZE_NONE, zero = 0;
    double scale = 0;
  };

  void beginLeft(const lathe_matmul_call &call);
  runtime::Status run(const lathe_matmul_call &call, bool prepareOnly);
  runtime::Status runQuantized(const lathe_matmul_call &call, const runtime::Constant &weight, bool prepareOnly);
  runtime::Status runNumbers(const lathe_matmul_call &call, const runtime::Constant &weight, bool prepareOnly);
  runtime::Status runToBytes(const lathe_matmul_call &call, const runtime::Constant &weight, bool prepareOnly);
  runtime::Status runExpanded(const lathe_matmul_call &call, const QuantizedArgs &weight, bool prepareOnly);
  runtime::Status runIntegers(const lathe_matmul_call &call, const ByteWeight &weight, bool prepareOnly);
  runtime::Status runScaled(const lathe_matmul_call &call, const runtime::Constant &weight, bool prepareOnly);
  runtime::Status findFloats(const lathe_matmul_call &call, const runtime::Constant &weight, FloatsPlan *plan);
  runtime::Status runFloats(const lathe_matmul_call &call, const ByteWeight &weight, const FloatsPlan &plan,
                            bool prepareOnly);
  /// Reserves memory for the codes that a left side is rounded to, in rows of `codesRow`, and, where `writes`, sees to
  /// it that they are there.
  runtime::Status stageCodes(const lathe_matmul_call &call, int64_t codesRow, int64_t type, bool writes,
                             bool prepareOnly, RoundBytesArgs *round);
  runtime::Status runByWeight(const lathe_matmul_call &call, const MatrixView &right, bool prepareOnly);
  runtime::Status runFewRows(const lathe_matmul_call *calls, int64_t count, const NumbersWeight &form,
                             const ProductGroup *group);
  runtime::Status runDense(const lathe_matmul_call &call, const MatrixView &right, bool prepareOnly);
  /// `isRefused`: where the library has no such product that is told there, and nothing was computed.
  runtime::Status runByLibrary(Product product, int64_t epilogue, int64_t operands, bool again, bool prepareOnly,
                               bool *isRefused = nullptr);
  bool describeSparse(const lathe_matmul_call &call, const MatrixView &right, SparseShape *shape,
                      std::string *why) const;
  runtime::Status runSparse(const lathe_matmul_call &call, const MatrixView &right, bool prepareOnly, bool *isTaken);
  runtime::Status computeSparse(const lathe_matmul_call &call, const MatrixView &right, const SparseShape &shape,
                                SparseProducts::Plan &plan, const void *compressed, bool prepareOnly);
  void tell(const lathe_matmul_call &call, const std::string &why);
  runtime::Status start(bool possible, const KernelLaunch &launch, const std::string &why);
  /// Whether stagedA_ has what `wanted` says already; else it is to be written, and will.
  bool isStaged(const Staged &wanted, bool again, bool prepareOnly);
  runtime::Status stage(Product &product, MatrixView &matrix, int64_t rows, int64_t cols, int64_t type,
                        Scratch &scratch, bool again, bool prepareOnly, bool always = false);
  runtime::Status zeroOperands(Product &product, bool prepareOnly);

  CudaModule &module_;
  runtime::SessionServices &services_;
  const Device &device_;
  const DriverApi &driver_;
  Stream stream_;
  BlasPlans plans_;
  SparseProducts sparse_;
  Scratch stagedA_, stagedB_, stagedOut_, beforeBytes_;
  Staged staged_;
  const bool isVerbose_;
  std::set<std::pair<int64_t, std::string>> told_; ///< of kernels, by what they are computed
};

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_RUNTIME_PRODUCTS_H
