//===- Grouping.h - Which operations share a generated kernel ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_COMPILER_GROUPING_H
#define LATHE_BACKENDS_CPU_COMPILER_GROUPING_H

#include "backends/cpu/compiler/ByteChains.h"
#include "backends/cpu/compiler/TensorView.h"
#include "dialects/lathe/Attention.h"
#include "llvm/ADT/MapVector.h"

namespace lathe::cpu {

/// Makes concatenations of many tensors those of fewer, since a kernel for a device has room for so many arguments.
mlir::LogicalResult splitConcats(mlir::Block &block, ShapeContext &shapes);

/// Whether a value is a constant as it is stored: a weight or a literal, or a weight that is rounded to 16 bits when it is
/// written.
bool isStored(mlir::Value value);

/// The stored constant that a value is, or that it is widened from as it is read; null for none.
mlir::Value storedMatrix(mlir::Value value);

/// A tensor that a matrix product reads: axis i of its matrices is axis `axes[i]` of it; none where they are the same.
struct MatrixOperand {
  mlir::Value tensor;
  std::optional<llvm::SmallVector<int64_t>> axes;
};

/// What a matrix product does itself beside multiplying.
struct Epilogue {
  mlir::Operation *last = nullptr; ///< the operation whose result the product then computes
  mlir::Value bias;
  int64_t activation = 0; ///< lathe_activation
  mlir::Value multiplier; ///< of the activation's result, element by element
  mlir::Value residual;   ///< added at the end
  double alpha = 1;       ///< of the product
  std::optional<StaticRounding> rounding; ///< to bytes, after all this
  MatrixOperand lhs, rhs;
  std::optional<llvm::SmallVector<int64_t>> outAxes; ///< as of an operand
  llvm::SmallVector<mlir::Operation *> before;       ///< operations that the operands saw, without the product's own
};

/// What an attention of the library reads and writes.
struct AttentionCall {
  mlir::Operation *last = nullptr; ///< the operation whose result it then computes: itself or a transpose
  TensorView query, key, value;
  llvm::SmallVector<TensorView, 2> biases;
};

/// What becomes of a cache.
struct CacheCall {
  std::optional<TensorView> rows; ///< that are put into it
  bool isRead = false;            ///< something else than attentions of the library needs its rows as a tensor
};

/// What becomes of each operation of a lathe program.
struct Grouping {
  /// Operations of a generated kernel, in program order; by the operation whose result is stored.
  llvm::MapVector<mlir::Operation *, llvm::SmallVector<mlir::Operation *>> kernels;
  /// Matrix products of the library.
  llvm::DenseMap<mlir::Operation *, Epilogue> matmuls;
  llvm::DenseMap<mlir::Operation *, AttentionCall> attentions;
  llvm::DenseMap<mlir::Operation *, CacheCall> caches;
  llvm::DenseSet<mlir::Operation *> lookups; ///< of rows of compressed tables
  /// Operations of which nothing is left: library calls read through them.
  llvm::DenseSet<mlir::Operation *> absorbed;
};

/// Written in the order of its updates, by a kernel of its own.
inline bool isScatter(mlir::Operation *op) { return llvm::isa<ScatterElementsOp, ScatterNDOp>(op); }

/// Whether the library has it; others are decomposed before.
bool isLibraryAttention(AttentionOp op);

/// Whether the operand is the keys or values of an attention of the library that reads them where a cache has them.
bool readsCache(mlir::OpOperand &use);

/// Groups the operations of a block, not those of regions within it. `library`: f32 products go to the library; `fuse`:
/// as the pass's options; `device` as well.
Grouping formGroups(mlir::Block &block, ShapeContext &shapes, bool fuse, bool library, bool device);

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_COMPILER_GROUPING_H
