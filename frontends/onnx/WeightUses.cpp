//===- WeightUses.cpp - What initializers are to a model ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/WeightUses.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"

using llvm::StringRef;

namespace lathe::frontend {

/// The names in a list of Python's literals, such as "['', 'model', 'linear']".
static llvm::SmallVector<std::string> quotedTexts(StringRef list) {
  llvm::SmallVector<std::string> texts;
  while (!list.empty()) {
    size_t begin = list.find_first_of("'\"");
    size_t end = begin == StringRef::npos ? begin : list.find(list[begin], begin + 1);
    if (end == StringRef::npos)
      break;
    texts.push_back(list.slice(begin + 1, end).str());
    list = list.drop_front(end + 1);
  }
  return texts;
}

std::string moduleOf(const onnx::NodeProto &node) {
  for (const onnx::StringStringEntryProto &entry : node.metadata_props())
    if (entry.key() == "pkg.torch.onnx.name_scopes") {
      // The last one is the node's own name.
      llvm::SmallVector<std::string> scopes = quotedTexts(entry.value());
      if (scopes.size() >= 2)
        return scopes[scopes.size() - 2];
    }
  StringRef name(node.name());
  if (!name.starts_with("/"))
    return "";
  llvm::SmallVector<StringRef> parts;
  name.split(parts, '/', -1, /*KeepEmpty=*/false);
  if (!parts.empty())
    parts.pop_back();
  return llvm::join(parts, ".");
}

namespace {

int64_t intAttribute(const onnx::NodeProto &node, StringRef name) {
  for (const onnx::AttributeProto &attribute : node.attribute())
    if (attribute.name() == name)
      return attribute.i();
  return 0;
}

/// Whether it swaps the axes of a matrix.
bool isSwap(const onnx::NodeProto &node) {
  for (const onnx::AttributeProto &attribute : node.attribute())
    if (attribute.name() == "perm")
      return attribute.ints_size() == 2 && attribute.ints(0) == 1 && attribute.ints(1) == 0;
  return true;
}

/// What an input of a node is to its module: "weight", "bias", or nothing.
StringRef roleOf(const onnx::NodeProto &node, int input, int rank) {
  StringRef op(node.op_type());
  if (op == "MatMul" || op == "FusedMatMul" || op == "Conv" || op == "Gemm")
    return input == 1 ? "weight" : input == 2 ? "bias" : "";
  if (op == "Gather")
    return input == 0 ? "weight" : "";
  if (op.ends_with("Normalization"))
    return input == 1 ? "weight" : input == 2 ? "bias" : "";
  if (rank != 1)
    return "";
  return op == "Add" ? "bias" : op == "Mul" ? "weight" : "";
}

/// Whether a product that reads a matrix there sums over its last axis; none for what is no product.
std::optional<bool> sumsOverRows(const onnx::NodeProto &node, int input) {
  StringRef op(node.op_type());
  if (op == "MatMul" && input <= 1)
    return input == 0;
  if ((op == "Gemm" || op == "FusedMatMul") && input <= 1)
    return (input == 0) != (intAttribute(node, input == 0 ? "transA" : "transB") != 0);
  return std::nullopt;
}

/// Walks graphs with the names that stand for initializers in them.
class Walk {
public:
  explicit Walk(std::vector<WeightUses> &found) : found(found) {}

  void graph(const onnx::GraphProto &graph) {
    scopes.emplace_back();
    for (const onnx::TensorProto &tensor : graph.initializer()) {
      scopes.back()[tensor.name()] = {found.size() + 1, false};
      found.emplace_back().tensor = &tensor;
    }
    for (const onnx::NodeProto &own : graph.node())
      node(own);
    scopes.pop_back();
  }

private:
  /// A value that is an initializer, or its transpose.
  struct Alias {
    size_t number = 0; ///< of the initializer, from 1; 0: none
    bool isSwapped = false;
  };

  Alias lookup(StringRef name) const {
    for (const llvm::StringMap<Alias> &scope : llvm::reverse(scopes))
      if (Alias alias = scope.lookup(name); alias.number)
        return alias;
    return {};
  }

  void node(const onnx::NodeProto &node) {
    for (int i = 0; i < node.input_size(); ++i)
      if (Alias alias = lookup(node.input(i)); alias.number)
        use(node, i, alias);
    for (const onnx::AttributeProto &attribute : node.attribute()) {
      if (attribute.has_g())
        graph(attribute.g());
      for (const onnx::GraphProto &inner : attribute.graphs())
        graph(inner);
    }
  }

  void use(const onnx::NodeProto &node, int input, Alias alias) {
    WeightUses &uses = found[alias.number - 1];
    int rank = uses.tensor->dims_size();
    StringRef op(node.op_type());
    if (op == "Cast" || op == "Identity" || (op == "Transpose" && rank == 2 && isSwap(node))) {
      alias.isSwapped ^= op == "Transpose";
      if (node.output_size() > 0)
        scopes.back()[node.output(0)] = alias;
      return;
    }
    if (StringRef role = roleOf(node, input, rank); !role.empty())
      if (std::string module = moduleOf(node); !module.empty())
        if (std::string name = module + "." + role.str(); !llvm::is_contained(uses.parameters, name))
          uses.parameters.push_back(name);
    uses.isLayer |= rank == 2 && (sumsOverRows(node, input) || (op == "Gather" && input == 0));
    if (std::optional<bool> rows = rank == 2 ? sumsOverRows(node, input) : std::nullopt) {
      bool own = *rows != alias.isSwapped;
      uses.differs |= uses.sumsOverRows.value_or(own) != own;
      uses.sumsOverRows = own;
    }
    if (uses.differs)
      uses.sumsOverRows.reset();
  }

  std::vector<WeightUses> &found;
  std::vector<llvm::StringMap<Alias>> scopes;
};

} // namespace

std::vector<WeightUses> findWeightUses(const onnx::GraphProto &graph) {
  std::vector<WeightUses> found;
  Walk(found).graph(graph);
  return found;
}

} // namespace lathe::frontend
