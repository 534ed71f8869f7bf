//===- UnpackSparse.h - Matrices with zeros as devices read them -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_RUNTIME_UNPACKSPARSE_H
#define LATHE_BACKENDS_CUDA_RUNTIME_UNPACKSPARSE_H

#include "runtime/SparseLayout.h"

namespace lathe::cuda {

/// lathe_dtype of the dense matrix: f16 and bf16 of such values, else f32.
int64_t denseType(const runtime::SparseLayout &layout);
inline int64_t denseBytes(const runtime::SparseLayout &layout) { return denseType(layout) == LATHE_F32 ? 4 : 2; }

/// Writes [k, n], row-major, of denseType. False with *why where `image`, layout.bytes() of it, is not within itself.
bool unpackSparse(const runtime::SparseLayout &layout, const unsigned char *image, void *out, std::string *why);

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_RUNTIME_UNPACKSPARSE_H
