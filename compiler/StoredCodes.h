//===- StoredCodes.h - Codes of quantized weights as constants --*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_STOREDCODES_H
#define LATHE_COMPILER_STOREDCODES_H

#include "compiler/WeightFiles.h"
#include "dialects/lathe/Lathe.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace lathe {

/// Models keep several codes of fewer than 8 bits in a byte, and import takes them apart by operations. Computes what quantized weights are made
/// of once, so that kernels find constants: codes and zero points of `lathe.dequantize` and codes of `lathe.codebook_lookup` that
/// reshapes, broadcasts, shifts, slices and casts make of constants become weights with a byte for each code. What programs share stays shared. Products with stacks of such
/// matrices become products with each (splitStackExpressions()). False with `error` set where a weight can't be read or kept.
bool storeCodes(llvm::ArrayRef<mlir::func::FuncOp> programs, WeightFiles &files, std::string &error);

/// Computes scales that are quantized themselves (Dettmers et al. 2023, "QLoRA", section 3), so that kernels read them:
/// they become weights of f16 where that is exact, else of f32. Scales of 16 bits that nodes of ONNX have widened are
/// read as they are stored.
bool storeScales(llvm::ArrayRef<mlir::func::FuncOp> programs, WeightFiles &files, std::string &error);

} // namespace lathe

#endif // LATHE_COMPILER_STOREDCODES_H
