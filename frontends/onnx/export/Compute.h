//===- Compute.h - Types that nodes compute in ------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_EXPORT_COMPUTE_H
#define LATHE_FRONTENDS_ONNX_EXPORT_COMPUTE_H

#include "frontends/onnx/export/Emitter.h"

namespace lathe::frontend {

/// The type that every runtime computes values of `type` in. `wraps` says that only the low bits of the result count.
mlir::Type computedType(mlir::Type type, bool wraps);

} // namespace lathe::frontend

#endif // LATHE_FRONTENDS_ONNX_EXPORT_COMPUTE_H
