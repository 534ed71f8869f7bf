//===- EqualizablePairs.h - Layers with scalable channels between -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_EQUALIZABLEPAIRS_H
#define LATHE_PASSES_QUANTIZATION_EQUALIZABLEPAIRS_H

#include "dialects/lathe/Lathe.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include <string>
#include <vector>

namespace lathe::compression {

/// Products with constant matrices of which the first one's outputs are the others' inputs, through nothing but what
/// multiplies its result by c > 0 when a channel is: moves, products with one factor or with another tensor, relu,
/// biases (which are scaled, too), and the values of attention (Nagel et al. 2019, "Data-Free Quantization",
/// section 4.1).
struct EqualizablePair {
  MatmulOp first;               ///< null where there is none
  int64_t begin = 0;            ///< of its outputs, the first that the others read
  int64_t channels = 0;         ///< how many they are
  std::vector<MatmulOp> second; ///< all that read one value
  int64_t width = 1,
          repeat = 1; ///< channel c of block b is input c of blocks b * repeat … b * repeat + repeat - 1 of the others
  struct Bias {
    mlir::OpOperand *use;
    int64_t begin; ///< of the channels in the vector
  };
  std::vector<Bias> biases;
  std::string reason; ///< why there is no first one
};

/// For each left side of products with constant matrices, what gives it.
std::vector<EqualizablePair> findEqualizablePairs(mlir::func::FuncOp program);

} // namespace lathe::compression

#endif // LATHE_PASSES_QUANTIZATION_EQUALIZABLEPAIRS_H
