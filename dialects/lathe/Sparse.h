//===- Sparse.h - The operation lathe.sparse_to_dense -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_DIALECTS_LATHE_SPARSE_H
#define LATHE_DIALECTS_LATHE_SPARSE_H

#include "dialects/lathe/Lathe.h"

#define GET_OP_CLASSES
#include "dialects/lathe/LatheSparseOps.h.inc"

namespace lathe {

/// How the places of stored elements are told; names as in the operation.
enum class SparseFormat { csr, bsr, bitmap, n_of_m };

std::optional<SparseFormat> parseSparseFormat(llvm::StringRef name);
llvm::StringRef nameOf(SparseFormat format);

} // namespace lathe

#endif // LATHE_DIALECTS_LATHE_SPARSE_H
