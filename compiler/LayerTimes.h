//===- LayerTimes.h - How long products take --------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// A weight can be stored in several ways, each with kernels of its own. Here each is run on this machine, in programs
// that have nothing but such products, so that what is chosen is what is faster.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_LAYERTIMES_H
#define LATHE_COMPILER_LAYERTIMES_H

#include "compiler/Compress.h"
#include "passes/quantization/Layers.h"
#include <functional>
#include <string>
#include <vector>

namespace lathe {

/// A product x . weight whose time is asked for, x being of f32, [rows, inputs].
struct TimedProduct {
  int64_t rows = 0, inputs = 0, outputs = 0;
  bool transposed = false; ///< the weight is [outputs, inputs], else [inputs, outputs]
  /// What else its time depends on in any of the ways, such as a share of zeros: products of equal sizes and kinds are
  /// taken to take equal times.
  std::string kind;
  /// Makes the matrix of f32 as it is in the model.
  std::function<mlir::Value(mlir::OpBuilder &builder, mlir::Location loc)> weight;
  /// Of a convolution, whose left side are windows of an image: their extents, and in how many places they are taken
  /// along each axis, with steps of one; `rows` are the places of one image. Empty for other products.
  std::vector<int64_t> kernel = {}, positions = {};
};

/// The product of a layer with its weight as it is in its file.
TimedProduct timedProduct(const compression::Layer &layer, int64_t rows);

/// A program of such products alone, one after another.
mlir::OwningOpRef<mlir::ModuleOp> productsProgram(mlir::ModuleOp model, llvm::ArrayRef<TimedProduct> products);

/// A product in a program of such alone.
struct TimedMatmul {
  size_t index; ///< of the product it is of
  MatmulOp op;
};

/// A way to store weights.
struct ProductWay {
  std::string name; ///< as reports have it, such as "f32" or "csr"
  /// Changes the right sides of products, or replaces them, in place; what it makes has their locations. Null where
  /// they stay. False with `error` set.
  std::function<bool(llvm::ArrayRef<TimedMatmul> products, std::string &error)> change;
};

/// Bytes that may be resident beside what is there when products of these programs are timed: artifacts in two ways,
/// what empties caches, and the runtime.
uint64_t timingBytes(llvm::ArrayRef<mlir::func::FuncOp> programs);

/// Why products can't be timed; empty where they can.
std::string whyNotTimed(const Compression &compression);

/// Times each product in each way: `times[product][way]`. Products of equal sizes and kinds are timed together, each
/// over a weight of its own, one after another, and get the median of their times; of many as many as 128 MiB of f32
/// hold. `key` stands for what ways depend on beside the products, so that a run that was interrupted need not time
/// again. False with `error` set.
bool timeProducts(const Compression &compression, llvm::ArrayRef<TimedProduct> products,
                  llvm::ArrayRef<ProductWay> ways, const std::string &key, std::vector<std::vector<TimedWay>> &times,
                  std::string &error);

/// Whether a product takes so little time in any way that it decides nothing, on a machine whose times may be off by
/// some microseconds: what is multiplied takes about 20 us, and what is read lies in a cache.
bool isSmall(const TimedProduct &product);
/// Whether a way is slower than another by more than what times of the same kernel differ by: 10 % and 3 microseconds.
bool isSlower(const TimedWay &way, const TimedWay &than);
/// Such as "12.3 us as int8 (matmul int8 x int8)".
std::string describe(const TimedWay &way);
/// Why a way is not taken: "would be 30.0 us (150 %) slower: 50.0 us as int8, 20.0 us as f32", or, where what was wanted
/// is more speed, "would be 14.1 us (4.5 %) faster, not by 10 % and 3 us: 314.4 us as bitmap, 328.5 us as dense".
/// `what`: more about the way.
std::string whyNotTaken(const TimedWay &way, const TimedWay &than, const std::string &what = "");
/// The same of a product: "its product of 128 rows would be …".
std::string whyNotTaken(int64_t rows, const TimedWay &way, const TimedWay &than, const std::string &what = "");

} // namespace lathe

#endif // LATHE_COMPILER_LAYERTIMES_H
