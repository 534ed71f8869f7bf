//===- AxisLinks.h - What axes of an operation's tensors share --*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_PRUNING_STRUCTURED_AXISLINKS_H
#define LATHE_PASSES_PRUNING_STRUCTURED_AXISLINKS_H

#include "dialects/lathe/Lathe.h"
#include <utility>

namespace lathe::pruning {

/// Stands for the result where operands are told by their number.
inline constexpr int kResult = -1;

/// An axis of an operand, or of the result.
struct AxisOf {
  int slot = kResult;
  int64_t axis = 0;
  bool operator==(const AxisOf &other) const { return slot == other.slot && axis == other.axis; }
};

/// Elements of two axes that can only be taken away together: element `begin + i / repeat` of each, for i below
/// `count`.
struct AxisLink {
  struct Side {
    AxisOf at;
    int64_t begin = 0, repeat = 1;
  };
  Side a, b;
  int64_t count = 0;
  bool fromBOnly = false; ///< without an element of a that of b may stay

  int64_t indexA(int64_t i) const { return a.begin + i / a.repeat; }
  int64_t indexB(int64_t i) const { return b.begin + i / b.repeat; }
};

/// Axes of a reshape's input and of its result that hold the same elements in row-major order, all of static extents.
struct AxisFolding {
  llvm::SmallVector<int64_t, 4> input, result;
};

/// How axes of an operation's tensors follow from each other.
struct OperationLinks {
  llvm::SmallVector<AxisLink, 8> links;
  llvm::SmallVector<AxisFolding, 2> foldings; ///< of slot 0 and the result
  llvm::SmallVector<AxisOf, 4> free;          ///< that nothing follows from
  /// Whether elements of an axis can be taken away at all. Of others the operation computes something of all elements,
  /// or nothing is known.
  bool covers(AxisOf at) const;
};

/// The links of static axes. `together`: query heads of attention go with the heads of keys and values that they read;
/// else several of one such head can go alone (as many of each).
OperationLinks linksOf(mlir::Operation *op, ShapeContext &shapes, bool together);

/// A norm along the last axis: lathe.rms_norm or lathe.layer_norm.
bool isNormOf(mlir::Operation *op, int64_t axis);

inline mlir::RankedTensorType tensorType(mlir::Value value) {
  return llvm::cast<mlir::RankedTensorType>(value.getType());
}
inline int64_t extentOf(mlir::Value value, int64_t axis) { return tensorType(value).getDimSize(axis); }

/// An index value that is a constant.
std::optional<int64_t> constantOf(mlir::Value index);

/// Elements [begin, end) that a slice takes of its `i`-th axis; nullopt where that is not constant, or steps over some.
std::optional<std::pair<int64_t, int64_t>> rangeOf(SliceOp slice, size_t i);

} // namespace lathe::pruning

#endif // LATHE_PASSES_PRUNING_STRUCTURED_AXISLINKS_H
