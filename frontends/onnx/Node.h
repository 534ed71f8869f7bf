//===- Node.h - One ONNX node while it is imported --------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_NODE_H
#define LATHE_FRONTENDS_ONNX_NODE_H

#include "dialects/lathe/Lathe.h"
#include "dialects/lathe/Materialize.h"
#include "onnx.pb.h"
#include <functional>
#include <optional>
#include <string>
#include <type_traits>

namespace lathe::frontend {

/// An operand that may be absent, which Node::make would take for a failure.
struct OptionalOperand {
  mlir::Value value;
  operator mlir::Value() const { return value; } // NOLINT: stands for the operand
};

/// What helps against several reasons.
namespace hints {
inline constexpr llvm::StringLiteral kFold =
    "export with constants there, or fold them first: 'onnxsim in.onnx out.onnx', or ONNX Runtime's optimized_model_filepath";
inline constexpr llvm::StringLiteral kElementType = "convert the tensor to FLOAT, FLOAT16, BFLOAT16 or an integer type before saving";
inline constexpr llvm::StringLiteral kStatic = "make the dimension static with --dim NAME=N, or export with a fixed one";
inline constexpr llvm::StringLiteral kFloat = "cast to FLOAT before the node and back after it, or export the model in FLOAT";
inline constexpr llvm::StringLiteral kInference = "export the model for inference: call model.eval() first";
inline constexpr llvm::StringLiteral kNewOpset =
    "export again with a newer operator set, or convert: onnx.version_converter.convert_version(model, 21)";
} // namespace hints

/// What an importer works with. Functions that yield a value yield null after they have recorded what is wrong, and
/// accept null operands, so that an importer is a chain of calls whose last result goes to result().
class Node {
public:
  Node(const onnx::NodeProto &proto, mlir::OpBuilder &builder, ShapeContext &context, mlir::Location loc, int64_t opset)
      : proto(proto), builder(builder), context(context), loc(loc), opset(opset), results(proto.output_size()) {}

  const onnx::NodeProto &proto;
  mlir::OpBuilder &builder;
  ShapeContext &context;
  mlir::Location loc;
  int64_t opset;
  WrittenAtoms *written = nullptr;       ///< of index values of the model's own graph
  llvm::SmallVector<mlir::Value> inputs; ///< null where left out
  llvm::SmallVector<bool> outputUsed;
  llvm::SmallVector<mlir::Value> results;

  // What went wrong first, and whether a valid model is at fault.
  std::string reason;
  std::string hint; ///< what the user can do about it; may be empty
  bool isUnsupported = false;
  bool innerFailed = false; ///< a node of a graph imported for this one, which has been reported

  /// Imports a graph that is an attribute, its inputs being `arguments`; nullopt after a failure.
  std::function<std::optional<llvm::SmallVector<mlir::Value>>(const onnx::GraphProto &graph,
                                                              llvm::ArrayRef<mlir::Value> arguments)>
      importGraph;

  /// A tensor of the node's attributes, whose values stay in the model's file where they are many; null after a failure.
  std::function<mlir::Value(const onnx::TensorProto &tensor)> importTensor;

  /// The rank that the model declares of an output; nullopt where it says nothing.
  std::function<std::optional<int64_t>(size_t output)> declaredRank;

  mlir::LogicalResult invalid(const llvm::Twine &text) { return fail(text, false); }
  /// `hint` says what the user can do: how to export, what to fold or to replace.
  mlir::LogicalResult unsupported(const llvm::Twine &text, llvm::StringRef hint = {}) { return fail(text, true, hint); }

  size_t numInputs() const { return inputs.size(); }
  mlir::Value input(size_t i) const { return i < inputs.size() ? inputs[i] : mlir::Value(); }
  bool wantsOutput(size_t i) const { return i < outputUsed.size() && outputUsed[i]; }
  mlir::LogicalResult result(mlir::Value value, size_t i = 0);

  // Attributes; their types were checked against the table.
  const onnx::AttributeProto *attribute(llvm::StringRef name) const;
  int64_t intAttr(llvm::StringRef name, int64_t otherwise) const;
  double floatAttr(llvm::StringRef name, double otherwise) const;
  std::string stringAttr(llvm::StringRef name, llvm::StringRef otherwise) const;
  std::optional<llvm::SmallVector<int64_t>> intsAttr(llvm::StringRef name) const;

  static mlir::RankedTensorType type(mlir::Value value) { return mlir::cast<mlir::RankedTensorType>(value.getType()); }
  static mlir::Type element(mlir::Value value) { return type(value).getElementType(); }
  static int64_t rank(mlir::Value value) { return type(value).getRank(); }

  /// The element type of an attribute that is one of ONNX's data types.
  mlir::Type dataType(int64_t value);
  /// An axis counted from the end where negative; `rank` may be that of a result.
  std::optional<int64_t> axis(int64_t axis, int64_t rank);
  std::optional<llvm::SmallVector<int64_t>> axes(llvm::ArrayRef<int64_t> axes, int64_t rank);
  /// The elements of a tensor of rank 0 or 1 that don't depend on data or symbols; `what` begins the reason otherwise.
  std::optional<llvm::SmallVector<int64_t>> constantInts(mlir::Value tensor, llvm::StringRef what);
  std::optional<int64_t> constantInt(mlir::Value tensor, llvm::StringRef what);
  /// The elements of a short tensor of floats that is known when the model is imported, also where exporters build it
  /// of pieces; appended to `result`.
  static bool constantFloats(mlir::Value tensor, llvm::SmallVectorImpl<double> &result, int depth = 0);
  /// The elements of an integer tensor of rank 0 or 1 and static extent as index values.
  std::optional<llvm::SmallVector<mlir::Value>> indices(mlir::Value tensor, llvm::StringRef what);

  mlir::Value index(int64_t value);
  /// The value of a constant index. Asks for the operation, since a matcher asks for a trait, whose identity differs
  /// between the compilers that MLIR and this file may be built with.
  static std::optional<int64_t> constantIndex(mlir::Value value);
  mlir::Value dim(mlir::Value tensor, int64_t axis);
  llvm::SmallVector<mlir::Value> dims(mlir::Value tensor);
  /// A dimension as an expression, for arithmetic that folds; and an expression as an index value. A null tensor
  /// has the dimension 0.
  SymExpr dimExpr(mlir::Value tensor, int64_t axis);
  mlir::Value index(const SymExpr &value);
  /// An expression as an i64 scalar tensor.
  mlir::Value indexScalar(const SymExpr &value);
  llvm::SmallVector<mlir::Value> indices(llvm::ArrayRef<SymExpr> values);
  /// A condition that must hold: of a model where it is known, and else of a run. `values` are what the message is about.
  mlir::LogicalResult require(const SymExpr &condition, const llvm::Twine &message, llvm::ArrayRef<SymExpr> values);
  /// `indices`, whose last dimension is a symbol that ranks say to be `length` in a valid model, with that dimension.
  mlir::Value withTupleLength(mlir::Value indices, int64_t length);
  /// Product of index values.
  mlir::Value product(llvm::ArrayRef<mlir::Value> factors);

  mlir::Value constant(mlir::DenseElementsAttr value);
  /// A scalar of the type.
  mlir::Value scalar(mlir::Type element, double value);
  mlir::Value cast(mlir::Value value, mlir::Type element);
  mlir::Value reshape(mlir::Value value, llvm::ArrayRef<mlir::Value> dims, bool zeroCopies = false);
  mlir::Value broadcast(mlir::Value value, llvm::ArrayRef<mlir::Value> dims);
  mlir::Value slice(mlir::Value value, int64_t axis, mlir::Value start, mlir::Value end);
  mlir::Value transpose(mlir::Value value, llvm::ArrayRef<int64_t> permutation);
  mlir::Value reduce(Reduction kind, mlir::Value value, llvm::ArrayRef<int64_t> axes, bool keepDims);
  /// A scalar as it is, or a vector along an axis of a tensor of `rank`, as a tensor that broadcasts to it.
  mlir::Value alongAxis(mlir::Value parameter, int64_t axis, int64_t rank);

  /// Creates an operation, infers its shape and verifies it.
  template <typename OpTy, typename... Args> mlir::Value make(mlir::Type element, Args &&...args) {
    if ((isNull(args) || ...))
      return {};
    auto op = createInferred<OpTy>(builder, loc, context, element, std::forward<Args>(args)...);
    if (mlir::failed(op) || mlir::failed(check(*op)))
      return {};
    return op->getResult();
  }

private:
  template <typename T> static bool isNull(const T &arg) {
    if constexpr (std::is_same_v<T, mlir::Value>)
      return !arg;
    else if constexpr (std::is_same_v<T, llvm::SmallVector<mlir::Value>>)
      return llvm::is_contained(arg, mlir::Value());
    else
      return false;
  }
  mlir::LogicalResult check(mlir::Operation *op);
  mlir::LogicalResult fail(const llvm::Twine &text, bool unsupported, llvm::StringRef hint = {});
};

/// numpy's matmul: a vector is a row on the left and a column on the right. Null after a failure.
mlir::Value matrixProduct(Node &node, mlir::Value a, mlir::Value b);

using ImportFunction = mlir::LogicalResult (*)(Node &);

/// A row of the table of operators. `attributes` lists "name:type" with i, f, s, t, g for INT, FLOAT, STRING, TENSOR,
/// GRAPH and I, F, S for their lists.
struct Operator {
  llvm::StringLiteral name;
  int64_t sinceOpset;
  int minInputs, maxInputs; ///< maxInputs -1: any number
  int maxOutputs;           ///< -1: any number
  llvm::StringLiteral attributes;
  ImportFunction import;
};

/// Whether it is ONNX's own.
bool isOnnxDomain(llvm::StringRef domain);
/// The row of a node's operator; null where it is not supported.
const Operator *findOperator(const onnx::NodeProto &node);

llvm::ArrayRef<Operator> activationOperators();
llvm::ArrayRef<Operator> convolutionOperators();
llvm::ArrayRef<Operator> attentionOperators();
llvm::ArrayRef<Operator> boxOperators();
llvm::ArrayRef<Operator> deformConvOperators();
llvm::ArrayRef<Operator> linearAlgebraOperators();
llvm::ArrayRef<Operator> controlFlowOperators();
llvm::ArrayRef<Operator> einsumOperators();
llvm::ArrayRef<Operator> elementwiseOperators();
llvm::ArrayRef<Operator> matmulOperators();
llvm::ArrayRef<Operator> movementOperators();
llvm::ArrayRef<Operator> normalizationOperators();
llvm::ArrayRef<Operator> padOperators();
llvm::ArrayRef<Operator> poolOperators();
llvm::ArrayRef<Operator> quantizationOperators();
llvm::ArrayRef<Operator> quantizedContribOperators();
llvm::ArrayRef<Operator> recurrentOperators();
llvm::ArrayRef<Operator> reductionOperators();
llvm::ArrayRef<Operator> resizeOperators();
llvm::ArrayRef<Operator> samplingOperators();
llvm::ArrayRef<Operator> scatterOperators();
llvm::ArrayRef<Operator> shapeOperators();
llvm::ArrayRef<Operator> signalOperators();
llvm::ArrayRef<Operator> sliceOperators();
llvm::ArrayRef<Operator> trigonometryOperators();
llvm::ArrayRef<Operator> uniqueOperators();

/// Operators that ONNX Runtime's optimizer writes.
inline constexpr llvm::StringLiteral kContribDomain = "com.microsoft";
llvm::ArrayRef<Operator> contribOperators();
llvm::ArrayRef<Operator> contribAttentionOperators();
llvm::ArrayRef<Operator> contribGroupedAttentionOperators();
llvm::ArrayRef<Operator> contribLinearAttentionOperators();
llvm::ArrayRef<Operator> contribPackedAttentionOperators();
llvm::ArrayRef<Operator> contribRecurrentOperators();
llvm::ArrayRef<Operator> contribExpertOperators();
llvm::ArrayRef<Operator> contribImageOperators();
llvm::ArrayRef<Operator> contribLinearAlgebraOperators();
llvm::ArrayRef<Operator> contribSamplingOperators();
llvm::ArrayRef<Operator> contribUniqueOperators();
llvm::ArrayRef<Operator> contribPositionOperators();
llvm::ArrayRef<Operator> contribSignalOperators();
llvm::ArrayRef<Operator> contribTensorOperators();
/// Those that it writes in ONNX's own domain.
llvm::ArrayRef<Operator> contribOnnxOperators();

} // namespace lathe::frontend

#endif // LATHE_FRONTENDS_ONNX_NODE_H
