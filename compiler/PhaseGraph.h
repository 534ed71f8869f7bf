//===- PhaseGraph.h - A program as users look at it -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_PHASEGRAPH_H
#define LATHE_COMPILER_PHASEGRAPH_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace mlir {
class ModuleOp;
}

namespace lathe {

/// An operation, or a kernel.
struct PhaseNode {
  std::string op, node;           ///< node: of the model, whose value it computes
  std::vector<std::string> nodes; ///< those that it stands for, where these are several
  std::string type;               ///< of elements of its first result
  std::vector<std::string> shape;
  std::string weight;        ///< names of weights, or of a kernel's constants, that it reads, with commas
  uint64_t bytes = 0;        ///< of these, as they are in the model
  std::vector<size_t> reads; ///< indices of what it reads
};

/// The program of a model after a phase.
struct PhaseGraph {
  std::string name;
  std::vector<PhaseNode> nodes; ///< in the order of a run
};

/// Of the function `main`: its operations of the dialect lathe, constants left out, or the kernels that were selected.
PhaseGraph phaseGraphOf(mlir::ModuleOp module, const std::string &name);

} // namespace lathe

#endif // LATHE_COMPILER_PHASEGRAPH_H
