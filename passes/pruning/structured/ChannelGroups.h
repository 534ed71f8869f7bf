//===- ChannelGroups.h - What can only be taken away together ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_PRUNING_STRUCTURED_CHANNELGROUPS_H
#define LATHE_PASSES_PRUNING_STRUCTURED_CHANNELGROUPS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/pruning/structured/AxisLinks.h"
#include "passes/quantization/Layers.h"
#include <string>
#include <vector>

namespace lathe::pruning {

/// A matrix, or a larger tensor, that lies in a file: all that read it, in all programs, read the same part of it.
struct SharedWeight {
  compression::Place place;
  std::string name;                ///< of the initializer
  std::vector<mlir::Value> values; ///< lathe.weight, and what is widened of it
};

/// A tensor that elements are taken away from: a value of a program, a weight that several read, or a constant as one
/// use has it (vectors such as biases of zeros are often stored once for many).
struct Tensor {
  mlir::Value value;              ///< any one of them
  mlir::OpOperand *use = nullptr; ///< of a constant of its own
  SharedWeight *weight = nullptr;
  void *key() const {
    return weight ? static_cast<void *>(weight) : use ? static_cast<void *>(use) : value.getAsOpaquePointer();
  }
  bool isConstant() const { return use || weight; }
};

/// An axis of a tensor, and the unit of the group that each element belongs to; -1: none, it stays.
struct GroupAxis {
  Tensor tensor;
  int64_t axis = 0;
  std::vector<int> units;
};

/// A product with a constant matrix that sums over units.
struct GroupReader {
  MatmulOp product;
  SharedWeight *weight = nullptr; ///< null where the matrix is no weight of a file
  size_t axis = 0;                ///< of the group, that of its left side
};

/// What can only be taken away together, unit by unit, so that the rest of the model stays what it is: heads of
/// attention with what gives and reads them, neurons between two products, channels of a residual stream, which norms
/// read or what products make of them is added to. Units are found from one axis through everything that shares it, in
/// all programs (Fang et al. 2023, "DepGraph", section 3).
struct ChannelGroup {
  enum class Kind { heads, neurons, channels, other };
  Kind kind = Kind::other;
  int units = 0;
  std::vector<GroupAxis> axes;
  std::vector<std::string> locked; ///< for each unit why it has to stay; empty where it need not
  std::vector<GroupReader> readers;
  std::vector<mlir::Operation *> norms; ///< along the units
  /// Units by heads of keys and values that they read: as many of each have to stay.
  std::vector<std::vector<std::vector<int>>> balanced;
  /// Inputs and outputs of programs that change their shape: caches, which go in as they came out.
  std::vector<std::string> interface;
  std::string node; ///< of the model, that tells where it is
  std::string reason() const; ///< why nothing of it can be taken away
};

llvm::StringRef kindName(ChannelGroup::Kind kind);

/// All programs of a model, as the search sees them.
class ChannelGroups {
public:
  explicit ChannelGroups(llvm::ArrayRef<mlir::func::FuncOp> programs);
  /// Groups of heads; `together`: key and value heads go with the queries that read them.
  std::vector<ChannelGroup> findHeads(bool together);
  /// Groups that products with constant matrices sum over, but for heads: neurons, channels and others.
  std::vector<ChannelGroup> findSummed();
  /// The weight of a file that a constant is, or is widened from; null for others.
  SharedWeight *weightOf(mlir::Value value) const;

private:
  friend struct GroupSearch;
  llvm::ArrayRef<mlir::func::FuncOp> programs;
  std::vector<std::unique_ptr<SharedWeight>> weights;
  llvm::DenseMap<mlir::Value, SharedWeight *> byValue;
  llvm::StringMap<std::vector<mlir::Operation *>> caches; ///< lathe.cache by its name
  llvm::StringMap<std::vector<mlir::OpOperand *>> filled; ///< outputs of programs that fill one, by its name
  ShapeContext shapes;
};

} // namespace lathe::pruning

#endif // LATHE_PASSES_PRUNING_STRUCTURED_CHANNELGROUPS_H
