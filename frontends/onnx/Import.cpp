//===- Import.cpp - From an ONNX file to the lathe dialect ----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Importer.h"
#include "dialects/lathe/ValueNames.h"
#include "frontends/onnx/Functions.h"
#include "frontends/onnx/SmallFloats.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include <queue>

using namespace mlir;

namespace lathe {
namespace frontend {
namespace {

constexpr int64_t kOldestOpset = 13, kNewestOpset = 25;

std::string nodeName(const onnx::NodeProto &node, int index) {
  return node.name().empty() ? node.op_type() + "_" + std::to_string(index) : node.name();
}

} // namespace

//===----------------------------------------------------------------------===//
// Structure
//===----------------------------------------------------------------------===//

bool Importer::checkModel() {
  llvm::StringMap<int64_t> opsets;
  for (const onnx::OperatorSetIdProto &opset : file.proto.opset_import()) {
    std::string domain = isOnnxDomain(opset.domain()) ? "" : opset.domain();
    if (!opsets.try_emplace(domain, opset.version()).second)
      error("domain '" + (domain.empty() ? "ai.onnx" : domain) + "' is imported twice");
  }
  bool usesOnnx = llvm::any_of(graph.node(), [](const auto &node) { return isOnnxDomain(node.domain()); });
  if (auto it = opsets.find(""); it != opsets.end())
    result.info.opset = it->second;
  else if (usesOnnx || opsets.empty())
    error("the model imports no operator set of domain ai.onnx");
  if (opsets.count("") && (result.info.opset < kOldestOpset || result.info.opset > kNewestOpset))
    error("expects operator set " + Twine(kOldestOpset) + " to " + Twine(kNewestOpset) + " of domain ai.onnx, got " +
          Twine(result.info.opset) + "; the converter of the onnx package (onnx.version_converter) changes it");
  llvm::StringSet<> named;
  for (auto [i, tensor] : llvm::enumerate(graph.initializer())) {
    if (tensor.name().empty())
      error("initializer " + Twine(i) + " has no name");
    else if (!initializers.try_emplace(tensor.name(), static_cast<int>(i)).second)
      error("initializer '" + tensor.name() + "' is defined twice");
  }
  for (const onnx::SparseTensorProto &sparse : graph.sparse_initializer())
    unsupported("Initializer", "ai.onnx", sparse.values().name(), "sparse initializers are not supported",
                "make it dense before saving: an initializer of the values that a sparse tensor stands for");
  collectUsedNames(graph, used);
  if (graph.output_size() == 0)
    error("the graph has no output");
  return errors.empty();
}

/// Names that a node takes: its inputs, and what its graphs take from outside.
static llvm::SetVector<StringRef> takenNames(const onnx::NodeProto &node) {
  llvm::SetVector<StringRef> names(node.input().begin(), node.input().end());
  collectCaptures(node, names);
  names.remove("");
  return names;
}

bool Importer::orderNodes() {
  // -1: an input or initializer.
  llvm::StringMap<int> producers;
  for (const onnx::ValueInfoProto &input : graph.input())
    if (input.name().empty())
      error("an input of the graph has no name");
    else if (!producers.try_emplace(input.name(), -1).second)
      error("input '" + input.name() + "' is defined twice");
  for (const auto &entry : initializers)
    producers.try_emplace(entry.getKey(), -1);
  for (int i = 0; i < graph.node_size(); ++i)
    for (const std::string &name : graph.node(i).output())
      if (!name.empty() && !producers.try_emplace(name, i).second)
        error("value '" + name + "' is defined twice, the second time by node '" + nodeName(graph.node(i), i) + "'");

  std::vector<int> missing(graph.node_size(), 0);
  std::vector<std::vector<int>> consumers(graph.node_size());
  for (int i = 0; i < graph.node_size(); ++i)
    for (StringRef name : takenNames(graph.node(i))) {
      auto it = producers.find(name);
      if (it == producers.end()) {
        error("node '" + nodeName(graph.node(i), i) + "' (" + graph.node(i).op_type() + ") uses '" + name +
              "', which nothing defines");
      } else if (it->second >= 0) {
        ++missing[i];
        consumers[it->second].push_back(i);
      }
    }
  llvm::StringSet<> outputs;
  for (const onnx::ValueInfoProto &output : graph.output()) {
    if (!producers.count(output.name()))
      error("output '" + output.name() + "' of the graph is not defined by any node");
    if (!outputs.insert(output.name()).second)
      error("output '" + output.name() + "' of the graph is listed twice");
  }
  // The file's order where it is one; the format asks for it, but not every writer keeps it.
  std::priority_queue<int, std::vector<int>, std::greater<>> ready;
  for (int i = 0; i < graph.node_size(); ++i)
    if (missing[i] == 0)
      ready.push(i);
  while (!ready.empty()) {
    int i = ready.top();
    ready.pop();
    order.push_back(i);
    for (int consumer : consumers[i])
      if (--missing[consumer] == 0)
        ready.push(consumer);
  }
  for (int i = 0; errors.empty() && i < graph.node_size(); ++i)
    if (missing[i] > 0)
      error("the graph has a cycle that node '" + nodeName(graph.node(i), i) + "' (" + graph.node(i).op_type() +
            ") is part of or depends on");
  return errors.empty();
}

/// Letter of an attribute's type in the table.
static char attributeLetter(onnx::AttributeProto::AttributeType type) {
  switch (type) {
  case onnx::AttributeProto::INT:
    return 'i';
  case onnx::AttributeProto::INTS:
    return 'I';
  case onnx::AttributeProto::FLOAT:
    return 'f';
  case onnx::AttributeProto::FLOATS:
    return 'F';
  case onnx::AttributeProto::STRING:
    return 's';
  case onnx::AttributeProto::STRINGS:
    return 'S';
  case onnx::AttributeProto::TENSOR:
    return 't';
  case onnx::AttributeProto::SPARSE_TENSOR:
    return 'p';
  case onnx::AttributeProto::GRAPH:
    return 'g';
  default:
    return '?';
  }
}

static StringRef attributeTypeName(char letter) {
  switch (letter) {
  case 'i':
    return "INT";
  case 'I':
    return "INTS";
  case 'f':
    return "FLOAT";
  case 'F':
    return "FLOATS";
  case 's':
    return "STRING";
  case 'S':
    return "STRINGS";
  case 't':
    return "TENSOR";
  case 'p':
    return "SPARSE_TENSOR";
  case 'g':
    return "GRAPH";
  default:
    return "another type";
  }
}

bool Importer::checkAttributes(const onnx::NodeProto &node, const Operator &op, StringRef name) {
  llvm::StringMap<char> known;
  SmallVector<StringRef> specs;
  StringRef(op.attributes).split(specs, ' ', -1, /*KeepEmpty=*/false);
  for (StringRef spec : specs)
    known[spec.split(':').first] = spec.back();
  llvm::StringSet<> seen;
  for (const onnx::AttributeProto &attribute : node.attribute()) {
    if (!seen.insert(attribute.name()).second)
      return nodeError(node, name, "attribute '" + attribute.name() + "' is given twice");
    auto it = known.find(attribute.name());
    if (it == known.end())
      return nodeUnsupported(
          node, name, "attribute '" + attribute.name() + "' is not supported",
          "leave it out where its value is the default; else export with an operator set that has it, or "
          "without what it asks for");
    if (char letter = attributeLetter(attribute.type()); letter != it->second)
      return nodeError(node, name,
                       "expects attribute '" + attribute.name() + "' to be of type " + attributeTypeName(it->second) +
                           ", got " + attributeTypeName(letter));
  }
  return true;
}

static std::string countText(int low, int high) {
  if (high < 0)
    return std::to_string(low) + " or more";
  return low == high ? std::to_string(low) : std::to_string(low) + " to " + std::to_string(high);
}

/// What the table alone tells of a node.
bool Importer::checkNode(const onnx::NodeProto &node, StringRef name) {
  const Operator *op = findOperator(node);
  if (!op && (isOnnxDomain(node.domain()) || node.domain() == kContribDomain))
    return nodeUnsupported(
        node, name, "the operator is not supported",
        isOnnxDomain(node.domain())
            ? "write it with other operators in the model's source, or give it as a function of the model "
              "(onnx.FunctionProto); one of constant inputs goes away by folding: 'onnxsim in.onnx out.onnx'"
            : "optimize the model without ONNX Runtime's fusions (its level ORT_ENABLE_BASIC), which leaves "
              "ONNX's own operators");
  if (!op)
    return nodeUnsupported(
        node, name, "operators of domain '" + node.domain() + "' are not supported",
        "give it as a function of the model (onnx.FunctionProto) of ONNX's operators, or export without it");
  if (isOnnxDomain(node.domain()) && result.info.opset < op->sinceOpset)
    return nodeError(node, name,
                     "expects operator set " + Twine(op->sinceOpset) + " or newer, got " + Twine(result.info.opset));
  int given = node.input_size();
  while (given > 0 && node.input(given - 1).empty())
    --given;
  if (given < op->minInputs || (op->maxInputs >= 0 && given > op->maxInputs))
    return nodeError(node, name, "expects " + countText(op->minInputs, op->maxInputs) + " inputs, got " + Twine(given));
  for (int i = 0; i < (op->maxInputs < 0 ? given : op->minInputs); ++i)
    if (node.input(i).empty())
      return nodeError(node, name, "expects input " + Twine(i) + ", got none");
  if (node.output_size() < 1 || (op->maxOutputs >= 0 && node.output_size() > op->maxOutputs))
    return nodeError(node, name,
                     "expects " + countText(1, op->maxOutputs) + " outputs, got " + Twine(node.output_size()));
  return checkAttributes(node, *op, name);
}

//===----------------------------------------------------------------------===//
// Nodes and outputs
//===----------------------------------------------------------------------===//

/// What the graphs imported now say of one of their values.
std::optional<int64_t> Importer::declaredRank(StringRef name) const {
  for (const onnx::GraphProto *inner : llvm::reverse(graphs))
    for (const auto *values : {&inner->value_info(), &inner->output()})
      for (const onnx::ValueInfoProto &value : *values)
        if (name == value.name() && value.type().tensor_type().has_shape())
          return value.type().tensor_type().shape().dim_size();
  return std::nullopt;
}

/// Says in its location which output of the model a value is, where this node has made it. Names travel through C strings: what ends one
/// is no part of a name.
static void nameValue(Value value, Location node, StringRef name) {
  Operation *op = value.getDefiningOp();
  if (op && op->getLoc() == node && op->getNumResults() == 1 && !name.contains('\0'))
    op->setLoc(withValue(cast<NameLoc>(node), name));
}

bool Importer::importNode(const onnx::NodeProto &proto, StringRef name) {
  for (StringRef taken : takenNames(proto))
    if (!lookup(taken))
      return false; // the reason has been reported where the value is missing
  Node node(proto, builder, shapes, location(name), result.info.opset);
  node.written = &written;
  node.importGraph = [&](const onnx::GraphProto &inner, ArrayRef<Value> arguments) {
    return importGraph(inner, arguments, node);
  };
  node.importTensor = [&](const onnx::TensorProto &tensor) {
    Tensor imported = importTensor(tensor, "node '" + name.str() + "'", name, kInlineBytes);
    if (!imported.value)
      (void)(imported.isUnsupported ? node.unsupported(imported.problem, hints::kElementType)
                                    : node.invalid(imported.problem));
    node.innerFailed |= !imported.value && imported.problem.empty();
    return imported.value;
  };
  node.declaredRank = [&](size_t i) { return declaredRank(proto.output(static_cast<int>(i))); };
  int given = proto.input_size();
  while (given > 0 && proto.input(given - 1).empty())
    --given;
  for (int i = 0; i < given; ++i)
    node.inputs.push_back(proto.input(i).empty() ? Value() : lookup(proto.input(i)));
  for (const std::string &output : proto.output())
    node.outputUsed.push_back(!output.empty() && used.contains(output));

  std::string diagnostics;
  ScopedDiagnosticHandler handler(&mlirContext, [&](Diagnostic &diagnostic) {
    if (diagnostic.getSeverity() == DiagnosticSeverity::Error && diagnostics.empty())
      diagnostics = diagnostic.str();
    return success();
  });
  std::string outer = path;
  path = name.str() + "/";
  LogicalResult imported = findOperator(proto)->import(node);
  path = outer;
  if (failed(imported)) {
    if (node.innerFailed)
      return false;
    if (node.isUnsupported)
      return nodeUnsupported(proto, name, node.reason,
                             node.hint.empty() ? "write it with other operators or attributes in the model's source"
                                               : node.hint);
    return nodeError(proto, name,
                     !node.reason.empty()   ? node.reason
                     : !diagnostics.empty() ? diagnostics
                                            : "cannot be imported");
  }
  for (int i = 0; i < proto.output_size(); ++i)
    if (!proto.output(i).empty() && node.results[i]) {
      scopes.back()[proto.output(i)] = node.results[i];
      nameValue(node.results[i], node.loc, path + proto.output(i));
    }
  return true;
}

/// The nodes are imported where the owner stands, as often as it asks for it.
std::optional<SmallVector<Value>> Importer::importGraph(const onnx::GraphProto &inner, ArrayRef<Value> arguments,
                                                        Node &owner) {
  constexpr size_t kDeepest = 32;
  constexpr int64_t kMostNodes = 1 << 14;
  auto refuse = [&](LogicalResult) { return std::nullopt; };
  if (inner.input_size() != static_cast<int>(arguments.size()))
    return refuse(
        owner.invalid("expects a graph of " + Twine(arguments.size()) + " inputs, got " + Twine(inner.input_size())));
  if (inner.sparse_initializer_size() > 0)
    return refuse(owner.unsupported("sparse initializers are not supported", "make them dense before saving"));
  if (scopes.size() > kDeepest)
    return refuse(owner.unsupported("graphs nested deeper than " + Twine(kDeepest) + " are not supported",
                                    "take nodes out of the inner graphs"));
  innerNodes += inner.node_size() + 1;
  if (innerNodes > kMostNodes)
    return refuse(owner.unsupported("loops and branches of more than " + Twine(kMostNodes) +
                                        " nodes when unrolled are not supported",
                                    "export the loop's body as a model of its own, and loop outside of it"));
  // What goes wrong inside is reported there, for the first node that it goes wrong for.
  scopes.emplace_back();
  graphs.push_back(&inner);
  auto leave = llvm::make_scope_exit([&] { scopes.pop_back(), graphs.pop_back(); });
  owner.innerFailed = true;
  for (auto [input, value] : llvm::zip_equal(inner.input(), arguments))
    scopes.back()[input.name()] = value;
  if (!importGraphInitializers(inner))
    return std::nullopt;
  for (auto [i, node] : llvm::enumerate(inner.node())) {
    std::string name = path + nodeName(node, static_cast<int>(i));
    for (StringRef taken : takenNames(node))
      if (!lookup(taken)) {
        (void)nodeError(node, name, "uses '" + taken + "', which nothing before it defines");
        return std::nullopt;
      }
    if (!checkNode(node, name) || !importNode(node, name))
      return std::nullopt;
  }
  SmallVector<Value> outputs;
  for (const onnx::ValueInfoProto &output : inner.output()) {
    outputs.push_back(lookup(output.name()));
    if (!outputs.back()) {
      error("output '" + output.name() + "' of the graph of node '" + StringRef(path).drop_back() +
            "' is not defined by any node");
      return std::nullopt;
    }
  }
  owner.innerFailed = false;
  return outputs;
}

void Importer::importNodes() {
  for (int index : order)
    if (!refused[index])
      (void)importNode(graph.node(index), nodeName(graph.node(index), index));
}

void Importer::importOutputs() {
  SmallVector<Value> returned;
  SmallVector<DictionaryAttr> attributes;
  for (const onnx::ValueInfoProto &output : graph.output()) {
    Value value = lookup(output.name());
    if (!value) {
      error("output '" + output.name() + "' of the graph is not computed");
      return;
    }
    if (isFloat4(Node::element(value))) {
      Node node(onnx::NodeProto::default_instance(), builder, shapes, value.getLoc(), result.info.opset);
      Compose c(node);
      value = encodeFloat4(c, value);
    }
    returned.push_back(value);
    attributes.push_back(
        builder.getDictionaryAttr(builder.getNamedAttr(LatheDialect::kNameAttr, builder.getStringAttr(output.name()))));
  }
  builder.create<func::ReturnOp>(func.getLoc(), returned);
  func.setFunctionType(builder.getFunctionType(body->getArgumentTypes(), ValueRange(returned).getTypes()));
  func.setAllResultAttrs(attributes);
}

void Importer::finish() {
  if (errors.empty() && result.unsupported.empty()) {
    std::string diagnostics;
    ScopedDiagnosticHandler handler(&mlirContext, [&](Diagnostic &diagnostic) {
      if (diagnostics.empty())
        diagnostics = diagnostic.str();
      return success();
    });
    if (failed(verify(*result.module)))
      error("the imported module is not valid: " + diagnostics);
  }
  for (const auto &[name, count] : badFiles)
    if (count > 1)
      error(Twine(count - 1) + " more initializers cannot be found in external data '" + name + "'");
  std::string where = "'" + file.fileName + "': ";
  for (const std::string &text : errors)
    result.error += (result.error.empty() ? "" : "\n") + where + text;
  result.otherErrors = result.error;
  if (errors.empty() && !result.unsupported.empty())
    result.error = where + std::to_string(result.unsupported.size()) +
                   (result.unsupported.size() == 1 ? " thing is" : " things are") + " not supported";
  for (const Unsupported &u : result.unsupported) {
    result.error += "\n" + where + u.opType + " '" + u.node + "'" +
                    (u.domain.empty() ? "" : " of domain '" + u.domain + "'") + ": " + u.reason;
  }
  if (!result.error.empty())
    result.module = nullptr;
}

void Importer::run() {
  result.info.name = graph.name();
  result.info.sha256 = file.sha256;
  Location loc = location(graph.name());
  result.module = ModuleOp::create(loc);
  ModuleOp module = *result.module;
  module->setAttr(LatheDialect::kModelDirAttr, builder.getStringAttr(file.directory));
  builder.setInsertionPointToEnd(module.getBody());
  func = builder.create<func::FuncOp>(loc, "main", builder.getFunctionType({}, {}));
  body = func.addEntryBlock();
  builder.setInsertionPointToEnd(body);
  scopes.emplace_back();
  graphs.push_back(&graph);
  if (std::string problem = inlineFunctions(file.proto); !problem.empty())
    error(problem);
  if (errors.empty() && checkModel() && orderNodes() && attachWeights()) {
    for (int i = 0; i < graph.node_size(); ++i)
      refused.push_back(!checkNode(graph.node(i), nodeName(graph.node(i), i)));
    if (importInputs()) {
      // Shapes ask for the names and dimensions of arguments while nodes are imported.
      func.setFunctionType(builder.getFunctionType(body->getArgumentTypes(), {}));
      func.setAllArgAttrs(argumentAttributes);
      importInitializers();
      importNodes();
      if (errors.empty() && result.unsupported.empty())
        importOutputs();
    }
  }
  finish();
}

} // namespace frontend

ImportResult importOnnx(MLIRContext &context, const std::string &path, const ImportOptions &options,
                        const std::vector<std::string> &moreOutputs) {
  ImportResult result;
  context.loadDialect<LatheDialect, arith::ArithDialect, func::FuncDialect>();
  frontend::ModelFile file;
  result.error = frontend::readModelFile(path, file);
  onnx::GraphProto &graph = *file.proto.mutable_graph();
  for (const std::string &name : moreOutputs)
    if (llvm::none_of(graph.output(), [&](const onnx::ValueInfoProto &output) { return output.name() == name; }))
      graph.add_output()->set_name(name);
  if (result.error.empty())
    frontend::Importer(context, options, file, result).run();
  return result;
}

} // namespace lathe
