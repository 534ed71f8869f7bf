//===- Emitter.h - A graph of ONNX nodes under construction -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Values are their names. A value of type `index` is an i64 tensor of one element, [1], so that shapes are a Concat away.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_EXPORT_EMITTER_H
#define LATHE_FRONTENDS_ONNX_EXPORT_EMITTER_H

#include "dialects/lathe/Attention.h"
#include "frontends/onnx/export/Export.h"
#include "onnx.pb.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"
#include <deque>
#include <variant>

namespace lathe::frontend {

using Name = std::string;
using Names = llvm::SmallVector<std::string>;
using Ints = llvm::SmallVector<int64_t>;

struct NodeAttribute {
  llvm::StringRef name;
  std::variant<int64_t, double, std::string, Ints> value;
};
using NodeAttributes = std::initializer_list<NodeAttribute>;

/// The data type that a value of an element type has in ONNX; UNDEFINED for none.
int32_t onnxDataType(mlir::Type element);
/// Bytes that a tensor of the type takes in a model.
uint64_t onnxBytes(mlir::RankedTensorType type);

/// Whether several elements share a byte of a model.
bool sharesBytes(mlir::Type element);
/// Elements that are given in a byte each, as a model stores them: two in a byte, the first in its lower half.
std::string packElements(llvm::StringRef elements, mlir::IntegerType type);
/// The operator set that the type came with.
int64_t opsetOf(mlir::Type element);

/// A constant of the model whose bytes are set when it is written.
struct Initializer {
  onnx::TensorProto *tensor;
  const char *bytes;
  uint64_t given;           ///< number of those bytes
  uint64_t size;            ///< of what a model stores
  mlir::IntegerType packed; ///< where each element is given in a byte, of which it takes a part in the model; else null

  void write(llvm::raw_ostream &stream) const;
};

class Emitter {
public:
  Emitter(mlir::ModuleOp module, onnx::ModelProto &model, const ExportOptions &options)
      : module(module), model(model), options(options), graph(model.mutable_graph()) {}

  /// Writes the graph; `getError()` says why not.
  mlir::LogicalResult run();
  const std::string &getError() const { return error; }
  /// All of them, in the order of the model's.
  const std::vector<Initializer> &getInitializers() const { return initializers; }

  //===--------------------------------------------------------------------===//
  // Nodes
  //===--------------------------------------------------------------------===//

  /// Adds a node of one result, whose name it returns.
  Name node(llvm::StringRef op, llvm::ArrayRef<Name> inputs, NodeAttributes attributes = {});
  /// Adds a node of several.
  onnx::NodeProto &nodeOf(llvm::StringRef op, llvm::ArrayRef<Name> inputs, unsigned outputs, NodeAttributes attributes = {});
  /// The operator set is to be at least this.
  void need(int64_t opset) { needed = std::max(needed, opset); }
  /// Records what is wrong with the operation.
  mlir::LogicalResult fail(mlir::Operation *op, const llvm::Twine &reason);

  Name of(mlir::Value value) { return names.lookup(value); }
  void define(mlir::Value value, Name name);
  static mlir::Type element(mlir::Value value) { return llvm::cast<mlir::RankedTensorType>(value.getType()).getElementType(); }
  static int64_t rank(mlir::Value value) { return llvm::cast<mlir::RankedTensorType>(value.getType()).getRank(); }
  mlir::Builder builder() { return mlir::Builder(module.getContext()); }

  //===--------------------------------------------------------------------===//
  // Values
  //===--------------------------------------------------------------------===//

  Name cast(Name value, mlir::Type from, mlir::Type to);
  Name constant(mlir::DenseElementsAttr value, llvm::StringRef wanted = "const");
  /// A scalar of a float or integer type.
  Name number(mlir::Type type, double value);
  /// An i64 tensor of rank 1.
  Name ints(llvm::ArrayRef<int64_t> values);
  /// An i64 tensor of rank 0.
  Name integer(int64_t value);
  Name truth(bool value);

  static std::optional<int64_t> constantIndex(mlir::Value index);
  /// An index value, [1].
  Name index(mlir::Value index) { return of(index); }
  /// The same as a scalar, [].
  Name scalarIndex(mlir::Value index);
  Name indices(mlir::ValueRange values);
  Name concat(llvm::ArrayRef<Name> values, int64_t axis);
  /// Extent of an axis, [1].
  Name extent(const Name &value, int64_t axis);
  Name squeeze(const Name &value) { return node("Squeeze", {value}); }
  Name unsqueeze(const Name &value, llvm::ArrayRef<int64_t> axes) { return node("Unsqueeze", {value, ints(axes)}); }
  Name transpose(const Name &value, llvm::ArrayRef<int64_t> permutation);
  /// Swaps the last two of so many axes.
  Name swapLast(const Name &value, int64_t rank);
  Name reduce(Reduction kind, const Name &value, llvm::ArrayRef<int64_t> axes, bool keepDims);
  Name where(const Name &condition, const Name &a, const Name &b) { return node("Where", {condition, a, b}); }
  Name binary(llvm::StringRef op, const Name &a, const Name &b) { return node(op, {a, b}); }

  /// The dimensions of a value, nothing where they are not known to fit together.
  std::optional<SymShape> shapeOf(mlir::Value value);
  ShapeContext shapes;

private:
  friend struct Regions;
  mlir::LogicalResult emitBlock(mlir::Block &block);
  mlir::LogicalResult emit(mlir::Operation *op);
  mlir::LogicalResult emitIndex(mlir::Operation *op);
  mlir::LogicalResult emitComparison(mlir::arith::CmpIOp op);
  mlir::LogicalResult emitElementwise(mlir::Operation *op);
  mlir::LogicalResult emitProduct(mlir::Operation *op);
  mlir::LogicalResult emitMovement(mlir::Operation *op);
  mlir::LogicalResult emitWindows(WindowsOp op);
  /// Writes what is a convolution or a pool as one; false where it is neither.
  bool emitConvolution(MatmulOp op);
  bool emitPool(ReduceOp op);
  mlir::LogicalResult emitQuantization(mlir::Operation *op);
  mlir::LogicalResult emitSparse(mlir::Operation *op);
  mlir::LogicalResult emitAttention(AttentionOp op);
  mlir::LogicalResult emitIf(IfOp op);
  mlir::LogicalResult emitLoop(LoopOp op);
  Name padToLimit(LoopOp op, mlir::Value result, const Name &rows, const Name &count);
  mlir::LogicalResult emitWeight(WeightOp op);
  /// Writes a value of less than a byte an element that follows from constants; false where it is no such value.
  bool emitPackedConstant(mlir::Operation *op);
  /// A symbolic dimension, from the inputs whose shapes mention it.
  Name symbol(llvm::StringRef name, unsigned depth);
  Name expression(const SymExpr &expr, unsigned depth);

  void emitInputs();
  mlir::LogicalResult emitOutputs();
  void describeType(onnx::ValueInfoProto &info, llvm::StringRef name, mlir::Type element);
  /// Nodes that nothing reads are dropped, and constants.
  void removeUnused();
  void nameNodes();

  Name uniqueValue(llvm::StringRef wanted);
  std::string uniqueNode(llvm::StringRef wanted);
  Name initializer(mlir::RankedTensorType type, const char *bytes, uint64_t given, llvm::StringRef wanted);

  mlir::ModuleOp module;
  mlir::func::FuncOp main;
  onnx::ModelProto &model;
  const ExportOptions &options;
  onnx::GraphProto *graph; ///< that nodes are added to: the model's, or that of a branch or loop
  int64_t needed = 18;     ///< axes of all reductions are inputs from there on
  std::string error;
  std::string base = "node"; ///< name of the node that the operation at hand comes from
  int unnamed = 0;           ///< the first node of the graph without a name
  mlir::DenseMap<mlir::Value, Name> names;
  llvm::StringSet<> usedValues, usedNodes;
  llvm::StringMap<int> nextSuffix;
  /// What was computed in the graph at hand or around it, by what it is.
  llvm::StringMap<Name> known;
  llvm::StringMap<Name> constants; ///< of the whole model
  std::vector<Initializer> initializers;
  std::deque<std::string> owned; ///< bytes of constants
  std::vector<std::pair<Name, Name>> wantedNames; ///< what constants are to be called, where the name is free in the end
};

} // namespace lathe::frontend

#endif // LATHE_FRONTENDS_ONNX_EXPORT_EMITTER_H
