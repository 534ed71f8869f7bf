//===- ValueNames.h - Which value of the model a result is ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Locations tell of which nodes an operation is made: NameLocs. That of an operation whose result is an output of a
// node tells the output's name too, below the node's: loc("node"("value":0:0)). It says what the result holds, so
// whoever writes an operation whose result holds something else, or changes what a result holds, gives it the location
// withoutValue().
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_DIALECTS_LATHE_VALUENAMES_H
#define LATHE_DIALECTS_LATHE_VALUENAMES_H

#include "mlir/IR/Location.h"
#include <optional>

namespace lathe {

/// An output of a node of the model.
struct ModelValue {
  mlir::StringAttr node, name;
};

/// The output that the result of an operation at `loc` holds, where the location tells.
std::optional<ModelValue> modelValue(mlir::Location loc);

/// The location of an operation whose result is the output `name` of the node that `node` names.
mlir::Location withValue(mlir::NameLoc node, llvm::StringRef name);

/// Names the same nodes, and no output.
mlir::Location withoutValue(mlir::Location loc);

/// Of an operation that does what those at `locs` did, and whose result is that of the one at `root`.
mlir::Location fusedLocation(mlir::MLIRContext *context, llvm::ArrayRef<mlir::Location> locs, mlir::Location root);

} // namespace lathe

#endif // LATHE_DIALECTS_LATHE_VALUENAMES_H
