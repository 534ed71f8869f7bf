//===- Importer.h - The import of one file ----------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_IMPORTER_H
#define LATHE_FRONTENDS_ONNX_IMPORTER_H

#include "frontends/onnx/Attachment.h"
#include "frontends/onnx/Import.h"
#include "frontends/onnx/Node.h"
#include "frontends/onnx/Tensors.h"
#include "llvm/ADT/StringSet.h"
#include <map>

namespace lathe::frontend {

/// Imports one file. Everything that is wrong is collected before the import fails: what follows from a missing value
/// is passed over, so that each problem is reported once, where it is.
class Importer {
public:
  /// Errors reported; a hostile file could make millions.
  static constexpr size_t kMaxReports = 1000;
  /// Tensors of graphs of nodes and of attributes up to this are constants that importers see.
  static constexpr int64_t kInlineBytes = 4096;

  Importer(mlir::MLIRContext &mlirContext, const ImportOptions &options, ModelFile &file, ImportResult &result)
      : mlirContext(mlirContext), builder(&mlirContext), options(options), file(file), graph(file.proto.graph()),
        result(result) {}

  void run();

private:
  // Import.cpp is read in this order, with the inputs and initializers in ImportValues.cpp, and weights of
  // checkpoints in ImportAttached.cpp.
  bool checkModel();
  bool orderNodes();
  bool attachWeights();
  bool importInputs();
  void importInitializers();
  void importNodes();
  void importOutputs();
  void finish();

  bool checkNode(const onnx::NodeProto &node, llvm::StringRef name);
  bool checkAttributes(const onnx::NodeProto &node, const Operator &op, llvm::StringRef name);
  bool importInput(const onnx::ValueInfoProto &input);
  std::optional<SymExpr> inputDim(const onnx::ValueInfoProto &input, int axis);
  mlir::Value importWeight(mlir::Location loc, const TensorType &type, llvm::StringRef name, llvm::StringRef file,
                           int64_t offset);
  /// A tensor of the file, or what is wrong with it, which may have been reported.
  struct Tensor {
    mlir::Value value;
    std::string problem;
    bool isUnsupported = false;
  };
  Tensor importTensor(const onnx::TensorProto &tensor, llvm::StringRef owner, llvm::StringRef name,
                      int64_t inlineBytes);
  Tensor importStored(const onnx::TensorProto &tensor, llvm::StringRef owner, llvm::StringRef name,
                      int64_t inlineBytes);
  Tensor importAttached(const onnx::TensorProto &tensor, const Attached &attached);
  mlir::Value denseValue(Node &node, const safetensors::Tensor &tensor, const Attached &attached, mlir::Type element);
  mlir::Value packedValue(Node &node, const safetensors::PackedWeight &packed, llvm::StringRef name, bool transposed,
                          mlir::Type element);
  mlir::Value makeWeight(mlir::Location loc, llvm::StringRef name, mlir::RankedTensorType type,
                         llvm::ArrayRef<uint8_t> bytes);
  std::string checkpointFile(const safetensors::Tensor &tensor);
  void importInitializer(int index);
  bool importNode(const onnx::NodeProto &proto, llvm::StringRef name);
  std::optional<llvm::SmallVector<mlir::Value>> importGraph(const onnx::GraphProto &inner,
                                                            llvm::ArrayRef<mlir::Value> arguments, Node &owner);
  bool importGraphInitializers(const onnx::GraphProto &inner);
  SymExpr substituteFixed(const SymExpr &expr);
  mlir::Location location(llvm::StringRef name) {
    return mlir::NameLoc::get(builder.getStringAttr(name.empty() ? llvm::StringRef("unnamed") : name));
  }

  void error(const llvm::Twine &text) {
    if (errors.size() < kMaxReports)
      errors.push_back(text.str());
  }
  void unsupported(const llvm::Twine &opType, const llvm::Twine &domain, const llvm::Twine &node,
                   const llvm::Twine &reason, llvm::StringRef hint) {
    if (result.unsupported.size() < kMaxReports)
      result.unsupported.push_back({opType.str(), domain.str(), node.str(), reason.str(), hint.str()});
  }
  // Both return false: the node is not imported.
  bool nodeError(const onnx::NodeProto &node, llvm::StringRef name, const llvm::Twine &text) {
    error("node '" + name + "' (" + node.op_type() + " of domain '" +
          (node.domain().empty() ? "ai.onnx" : node.domain()) + "'): " + text);
    return false;
  }
  bool nodeUnsupported(const onnx::NodeProto &node, llvm::StringRef name, const llvm::Twine &reason,
                       llvm::StringRef hint) {
    unsupported(node.op_type(), node.domain().empty() ? "ai.onnx" : node.domain(), name, reason, hint);
    return false;
  }
  mlir::Value lookup(llvm::StringRef name) const {
    for (const llvm::StringMap<mlir::Value> &scope : llvm::reverse(scopes))
      if (mlir::Value value = scope.lookup(name))
        return value;
    return {};
  }
  std::optional<int64_t> declaredRank(llvm::StringRef name) const;

  mlir::MLIRContext &mlirContext;
  mlir::OpBuilder builder;
  const ImportOptions &options;
  ModelFile &file;
  const onnx::GraphProto &graph;
  ImportResult &result;

  ShapeContext shapes;
  WrittenAtoms written;
  std::vector<std::string> errors;
  std::vector<int> order;    ///< nodes, producers first
  std::vector<bool> refused; ///< nodes that are not imported
  llvm::StringMap<int> initializers;
  llvm::StringSet<> used;              ///< names that nodes and outputs take
  std::map<std::string, int> badFiles; ///< external data that could not be found, with the number of initializers
  std::vector<llvm::StringMap<mlir::Value>>
      scopes;                                   ///< values by name; of the graph first, of the graph imported now last
  std::vector<const onnx::GraphProto *> graphs; ///< imported now, innermost last
  std::string path;                             ///< nodes whose graphs are imported now, each with a slash
  llvm::DenseMap<const onnx::TensorProto *, mlir::Value>
      innerWeights;       ///< of graphs of nodes, which stay where they are, and those that a checkpoint gives
  safetensors::Checkpoint checkpoint; ///< of the options; empty for none
  Attachment attachment;
  std::map<uint32_t, std::string> checkpointFiles; ///< paths from the model's folder
  int64_t innerNodes = 0; ///< imported out of attributes so far
  mlir::func::FuncOp func;
  mlir::Block *body = nullptr;
  llvm::SmallVector<mlir::DictionaryAttr> argumentAttributes;
  llvm::SmallVector<std::string> symbols; ///< in the order of the inputs
};

} // namespace lathe::frontend

#endif // LATHE_FRONTENDS_ONNX_IMPORTER_H
