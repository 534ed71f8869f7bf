//===- Windows.h - Windows of convolutions and pools ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_WINDOWS_H
#define LATHE_FRONTENDS_ONNX_WINDOWS_H

#include "frontends/onnx/Node.h"

namespace lathe::frontend {

using Ints = llvm::SmallVector<int64_t>;
using Exprs = llvm::SmallVector<SymExpr>;

/// The attributes of windows, one entry a spatial axis.
struct WindowAttributes {
  Exprs kernel;
  Ints strides, dilations, begins, ends;
  std::string autoPad;
  bool ceilMode = false;

  bool isSame() const { return autoPad == "SAME_UPPER" || autoPad == "SAME_LOWER"; }
  bool hasPads() const;
  /// From the first element of a window to behind its last.
  SymExpr span(size_t i) const { return (kernel[i] - 1) * dilations[i] + 1; }
};

/// Where windows lie along the spatial axes.
struct WindowPlacement {
  Exprs low, extents;
};

/// An attribute of `count` integers from `lowest` to 2^31 - 1, `otherwise` each where it is not given.
std::optional<Ints> intList(Node &node, llvm::StringRef name, size_t count, int64_t otherwise, int64_t lowest);

/// Reads the attributes of windows over all axes of the first input but the first two; the kernel is that of a weight
/// where `kernel` is given.
std::optional<WindowAttributes> windowAttributes(Node &node, std::optional<Exprs> kernel = std::nullopt);

/// The windows' places in `x`.
std::optional<WindowPlacement> placeWindows(Node &node, mlir::Value x, const WindowAttributes &attributes);

/// The pad in front out of the sum of both.
SymExpr leadingPad(Node &node, const SymExpr &total, bool upper);

/// lathe.windows over the last axes of x.
mlir::Value windows(Node &node, mlir::Value x, const WindowAttributes &attributes, const WindowPlacement &placement,
                    double padding);

/// Importers that others build upon.
mlir::LogicalResult importConv(Node &node);
mlir::LogicalResult importQLinearConv(Node &node);
mlir::LogicalResult importMaxPool(Node &node);
mlir::LogicalResult importAveragePool(Node &node);

/// Zero mean and unit variance over each of `groups` equal groups of channels, the second axis.
mlir::Value normalizeGroups(Node &node, mlir::Value x, const SymExpr &groups);

inline Ints sequence(int64_t first, int64_t end) { return llvm::to_vector(llvm::seq<int64_t>(first, end)); }

} // namespace lathe::frontend

#endif // LATHE_FRONTENDS_ONNX_WINDOWS_H
