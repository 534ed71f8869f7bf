//===- ResidualStreams.h - What norms read and layers add to ----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_RESIDUALSTREAMS_H
#define LATHE_PASSES_QUANTIZATION_RESIDUALSTREAMS_H

#include "dialects/lathe/Lathe.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include <string>
#include <vector>

namespace lathe::compression {

/// A product whose left side are rows of a stream.
struct StreamReader {
  MatmulOp product;
  mlir::Operation *norm = nullptr; ///< lathe.rms_norm or lathe.layer_norm that they have gone through; null for none
};

/// Tensors of rows of `channels` numbers that are moved, added to each other and multiplied by numbers that a row
/// shares, from what writes them to what reads them. As all of that is linear in a row and the same for each channel,
/// an orthogonal matrix can be multiplied into what writes rows, and its inverse into what reads them; the length of
/// rows, which rms norms divide by, stays (Ashkboos et al. 2024, "QuaRot", section 4.1).
struct ResidualStream {
  int64_t channels = 0;
  std::vector<mlir::Operation *> norms;     ///< that read it
  std::vector<StreamReader> readers;        ///< products with constant matrices
  std::vector<MatmulOp> writers;            ///< likewise
  std::vector<mlir::OpOperand *> constants; ///< biases and tables of rows of f32, by what reads them
  /// Values that nothing linear in rows gives, with what reads them in the stream: a product at run time has to change
  /// them.
  struct Entry {
    mlir::Value value;
    std::vector<mlir::OpOperand *> uses;
  };
  std::vector<Entry> entries;
  /// What else reads rows, or rows behind a norm, as they were: likewise.
  struct Exit {
    mlir::OpOperand *use;
    mlir::Operation *norm; ///< null for none
  };
  std::vector<Exit> exits;
  bool losesMean = false; ///< there are layer norms, so that a row's mean is never read
  std::string reason;     ///< why rows can't be changed, or nothing
};

/// The streams that norms along the last axis read, in the order of the program.
std::vector<ResidualStream> findResidualStreams(mlir::func::FuncOp program);

/// Whether a value is a constant of f32: lathe.weight, one of 16 bits that is widened, or lathe.constant.
bool isConstantF32(mlir::Value value);

/// The operand that an operation only moves rows of, to other places or several ones, rows being vectors of `channels`
/// along the last axis; null for others.
mlir::OpOperand *movedRows(mlir::Operation *op, int64_t channels);

} // namespace lathe::compression

#endif // LATHE_PASSES_QUANTIZATION_RESIDUALSTREAMS_H
