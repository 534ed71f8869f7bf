//===- Import.cpp - From an ONNX file to the lathe dialect ----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Everything that is wrong is collected before the import fails: what follows from a missing value is passed over, so
// that each problem is reported once, where it is.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Import.h"
#include "frontends/onnx/Node.h"
#include "frontends/onnx/Tensors.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include <queue>

using namespace mlir;

namespace lathe {
namespace frontend {
namespace {

constexpr int64_t kOldestOpset = 13, kNewestOpset = 25;
/// Errors reported; a hostile file could make millions.
constexpr size_t kMaxReports = 1000;

/// Operators that ONNX Runtime adds.
constexpr llvm::StringLiteral kContribDomain = "com.microsoft";

bool isOnnxDomain(StringRef domain) { return domain.empty() || domain == "ai.onnx"; }

std::string nodeName(const onnx::NodeProto &node, int index) {
  return node.name().empty() ? node.op_type() + "_" + std::to_string(index) : node.name();
}

const llvm::StringMap<const Operator *> &operators() {
  static const auto table = [] {
    llvm::StringMap<const Operator *> result;
    for (ArrayRef<Operator> family :
         {activationOperators(), convolutionOperators(), elementwiseOperators(), matmulOperators(), movementOperators(),
          normalizationOperators(), padOperators(), poolOperators(), quantizationOperators(), reductionOperators(),
          resizeOperators(), samplingOperators(), shapeOperators(), signalOperators(), trigonometryOperators()})
      for (const Operator &op : family)
        result[op.name] = &op;
    for (ArrayRef<Operator> family : {quantizedContribOperators()})
      for (const Operator &op : family)
        result[(kContribDomain + "::" + op.name).str()] = &op;
    return result;
  }();
  return table;
}

/// Null for an operator that is not supported.
const Operator *findOperator(const onnx::NodeProto &node) {
  return operators().lookup(isOnnxDomain(node.domain()) ? node.op_type() : node.domain() + "::" + node.op_type());
}

/// Names of symbols as SymExpr parses them.
std::string symbolText(StringRef name) {
  std::string text = name.str();
  for (char &c : text)
    if (!llvm::isAlnum(c) && c != '_' && c != '.' && c != '/' && c != ':')
      c = '_';
  if (text.empty() || llvm::isDigit(text.front()))
    text.insert(text.begin(), '_');
  return text.substr(0, 200);
}

class Importer {
public:
  Importer(MLIRContext &mlirContext, const ImportOptions &options, ModelFile &file, ImportResult &result)
      : mlirContext(mlirContext), builder(&mlirContext), options(options), file(file), graph(file.proto.graph()),
        result(result) {}

  void run();

private:
  // Import.cpp is read in this order.
  bool checkModel();
  bool orderNodes();
  bool importInputs();
  void importInitializers();
  void importNodes();
  void importOutputs();
  void finish();

  void checkNode(int index);
  void checkAttributes(const onnx::NodeProto &proto, const Operator &op, int index);
  bool importInput(const onnx::ValueInfoProto &input);
  std::optional<SymExpr> inputDim(const onnx::ValueInfoProto &input, int axis);
  Value importWeight(Location loc, const TensorType &type, StringRef name, StringRef file, int64_t offset);
  void importInitializer(int index);
  void importNode(int index);
  SymExpr substituteFixed(const SymExpr &expr);
  Location location(StringRef name) {
    return NameLoc::get(builder.getStringAttr(name.empty() ? StringRef("unnamed") : name));
  }

  void error(const Twine &text) {
    if (errors.size() < kMaxReports)
      errors.push_back(text.str());
  }
  void unsupported(const Twine &opType, const Twine &domain, const Twine &node, const Twine &reason) {
    if (result.unsupported.size() < kMaxReports)
      result.unsupported.push_back({opType.str(), domain.str(), node.str(), reason.str()});
  }
  void nodeError(int index, const Twine &text) {
    const onnx::NodeProto &node = graph.node(index);
    refused[index] = true;
    error("node '" + nodeName(node, index) + "' (" + node.op_type() + " of domain '" +
          (node.domain().empty() ? "ai.onnx" : node.domain()) + "'): " + text);
  }
  void nodeUnsupported(int index, const Twine &reason) {
    const onnx::NodeProto &node = graph.node(index);
    refused[index] = true;
    unsupported(node.op_type(), node.domain().empty() ? "ai.onnx" : node.domain(), nodeName(node, index), reason);
  }

  MLIRContext &mlirContext;
  OpBuilder builder;
  const ImportOptions &options;
  ModelFile &file;
  const onnx::GraphProto &graph;
  ImportResult &result;

  ShapeContext shapes;
  std::vector<std::string> errors;
  std::vector<int> order;    ///< nodes, producers first
  std::vector<bool> refused; ///< nodes that are not imported
  llvm::StringMap<int> initializers;
  llvm::StringSet<> used; ///< names that nodes and outputs take
  llvm::StringSet<> functions; ///< that the model defines, "domain::name"
  std::map<std::string, int> badFiles; ///< external data that could not be found, with the number of initializers
  llvm::StringMap<Value> values;
  func::FuncOp func;
  Block *body = nullptr;
  SmallVector<DictionaryAttr> argumentAttributes;
  SmallVector<std::string> symbols; ///< in the order of the inputs
};

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
    error("expects operator set " + Twine(kOldestOpset) + " to " + Twine(kNewestOpset) +
          " of domain ai.onnx, got " + Twine(result.info.opset) +
          "; the converter of the onnx package (onnx.version_converter) changes it");
  llvm::StringSet<> named;
  for (auto [i, tensor] : llvm::enumerate(graph.initializer())) {
    if (tensor.name().empty())
      error("initializer " + Twine(i) + " has no name");
    else if (!initializers.try_emplace(tensor.name(), static_cast<int>(i)).second)
      error("initializer '" + tensor.name() + "' is defined twice");
  }
  for (const onnx::SparseTensorProto &sparse : graph.sparse_initializer())
    unsupported("Initializer", "ai.onnx", sparse.values().name(), "sparse initializers are not supported");
  for (const onnx::FunctionProto &function : file.proto.functions())
    functions.insert(function.domain() + "::" + function.name());
  for (const onnx::NodeProto &node : graph.node())
    for (const std::string &name : node.input())
      used.insert(name);
  for (const onnx::ValueInfoProto &output : graph.output())
    used.insert(output.name());
  if (graph.output_size() == 0)
    error("the graph has no output");
  return errors.empty();
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
    for (const std::string &name : graph.node(i).input()) {
      if (name.empty())
        continue;
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
  case onnx::AttributeProto::INT: return 'i';
  case onnx::AttributeProto::INTS: return 'I';
  case onnx::AttributeProto::FLOAT: return 'f';
  case onnx::AttributeProto::FLOATS: return 'F';
  case onnx::AttributeProto::STRING: return 's';
  case onnx::AttributeProto::STRINGS: return 'S';
  case onnx::AttributeProto::TENSOR: return 't';
  case onnx::AttributeProto::SPARSE_TENSOR: return 'p';
  default: return '?';
  }
}

static StringRef attributeTypeName(char letter) {
  switch (letter) {
  case 'i': return "INT";
  case 'I': return "INTS";
  case 'f': return "FLOAT";
  case 'F': return "FLOATS";
  case 's': return "STRING";
  case 'S': return "STRINGS";
  case 't': return "TENSOR";
  case 'p': return "SPARSE_TENSOR";
  default: return "another type";
  }
}

void Importer::checkAttributes(const onnx::NodeProto &proto, const Operator &op, int index) {
  llvm::StringMap<char> known;
  SmallVector<StringRef> specs;
  StringRef(op.attributes).split(specs, ' ', -1, /*KeepEmpty=*/false);
  for (StringRef spec : specs)
    known[spec.split(':').first] = spec.back();
  llvm::StringSet<> seen;
  for (const onnx::AttributeProto &attribute : proto.attribute()) {
    if (!seen.insert(attribute.name()).second)
      return nodeError(index, "attribute '" + attribute.name() + "' is given twice");
    auto it = known.find(attribute.name());
    if (it == known.end())
      return nodeUnsupported(index, "attribute '" + attribute.name() + "' is not supported");
    if (char letter = attributeLetter(attribute.type()); letter != it->second)
      return nodeError(index, "expects attribute '" + attribute.name() + "' to be of type " +
                                  attributeTypeName(it->second) + ", got " + attributeTypeName(letter));
  }
}

static std::string countText(int low, int high) {
  if (high < 0)
    return std::to_string(low) + " or more";
  return low == high ? std::to_string(low) : std::to_string(low) + " to " + std::to_string(high);
}

/// What the table alone tells of a node.
void Importer::checkNode(int index) {
  const onnx::NodeProto &node = graph.node(index);
  if (functions.contains(node.domain() + "::" + node.op_type()))
    return nodeUnsupported(index, "functions that the model defines are not supported; inline them first "
                                  "(onnx.inliner)");
  const Operator *found = findOperator(node);
  if (!found && !isOnnxDomain(node.domain()) && node.domain() != kContribDomain)
    return nodeUnsupported(index, "operators of domain '" + node.domain() + "' are not supported");
  if (!found)
    return nodeUnsupported(index, "the operator is not supported");
  const Operator &op = *found;
  if (isOnnxDomain(node.domain()) && result.info.opset < op.sinceOpset)
    return nodeError(index, "expects operator set " + Twine(op.sinceOpset) + " or newer, got " +
                                Twine(result.info.opset));
  int given = node.input_size();
  while (given > 0 && node.input(given - 1).empty())
    --given;
  if (given < op.minInputs || (op.maxInputs >= 0 && given > op.maxInputs))
    return nodeError(index, "expects " + countText(op.minInputs, op.maxInputs) + " inputs, got " + Twine(given));
  for (int i = 0; i < (op.maxInputs < 0 ? given : op.minInputs); ++i)
    if (node.input(i).empty())
      return nodeError(index, "expects input " + Twine(i) + ", got none");
  if (node.output_size() < 1 || (op.maxOutputs >= 0 && node.output_size() > op.maxOutputs))
    return nodeError(index, "expects " + countText(1, op.maxOutputs) + " outputs, got " + Twine(node.output_size()));
  checkAttributes(node, op, index);
}

//===----------------------------------------------------------------------===//
// Inputs and initializers
//===----------------------------------------------------------------------===//

/// Symbols that were declared as one number become that number.
SymExpr Importer::substituteFixed(const SymExpr &expr) {
  SymExpr sum;
  for (const auto &[monomial, coefficient] : expr.getTerms()) {
    SymExpr term(coefficient);
    for (const SymAtomRef &atom : monomial.atoms) {
      auto it = options.dims.find(atom->name);
      bool fixed = it != options.dims.end() && it->second.second == it->second.first;
      term = term * (fixed ? SymExpr(it->second.first) : SymExpr::atom(atom));
    }
    sum = sum + term;
  }
  return sum;
}

std::optional<SymExpr> Importer::inputDim(const onnx::ValueInfoProto &input, int axis) {
  const auto &dim = input.type().tensor_type().shape().dim(axis);
  std::optional<SymExpr> expr;
  if (dim.has_dim_value())
    expr = SymExpr(dim.dim_value());
  else if (StringRef text = StringRef(dim.dim_param()).trim(); text.empty())
    expr = SymExpr::symbol(symbolText(input.name() + "_d" + std::to_string(axis)));
  else if (!(expr = SymExpr::parse(text)) || expr->getTerms().size() > 16)
    expr = SymExpr::symbol(symbolText(text)); // an expression we don't read is a dimension of its own
  expr->collectSymbols(symbols);
  expr = substituteFixed(*expr);
  if (auto constant = expr->constant(); constant && *constant < 0) {
    error("input '" + input.name() + "': expects dimensions of at least 0, got " + Twine(*constant) + " at axis " +
          Twine(axis));
    return std::nullopt;
  }
  return expr;
}

bool Importer::importInput(const onnx::ValueInfoProto &input) {
  auto refuse = [&](const Twine &reason) {
    unsupported("Input", "", input.name(), reason);
    return true;
  };
  if (!input.type().has_tensor_type())
    return refuse("expects a tensor, got another type");
  const onnx::TypeProto_Tensor &tensor = input.type().tensor_type();
  Type element = elementType(&mlirContext, tensor.elem_type());
  if (!element)
    return refuse("data type " + dataTypeName(tensor.elem_type()) + " is not supported");
  if (!tensor.has_shape())
    return refuse("expects a shape, got an input of unknown rank");
  if (tensor.shape().dim_size() > kMaxRank)
    return refuse("expects a rank of at most " + Twine(kMaxRank) + ", got " + Twine(tensor.shape().dim_size()));
  SmallVector<int64_t> extents, known;
  SmallVector<Attribute> texts;
  SymShape shape;
  for (int axis = 0; axis < tensor.shape().dim_size(); ++axis) {
    std::optional<SymExpr> dim = inputDim(input, axis);
    if (!dim)
      return false;
    std::optional<int64_t> constant = dim->constant();
    extents.push_back(constant.value_or(ShapedType::kDynamic));
    if (constant)
      known.push_back(*constant);
    texts.push_back(builder.getStringAttr(dim->str()));
    shape.push_back(*dim);
  }
  if (!elementCount(known)) {
    error("input '" + input.name() + "': expects fewer than 2^60 elements");
    return false;
  }
  Value argument = body->addArgument(RankedTensorType::get(extents, element), location(input.name()));
  shapes.setShape(argument, shape);
  values[input.name()] = argument;
  argumentAttributes.push_back(builder.getDictionaryAttr(
      {builder.getNamedAttr(LatheDialect::kNameAttr, builder.getStringAttr(input.name())),
       builder.getNamedAttr(LatheDialect::kDimsAttr, builder.getArrayAttr(texts))}));
  return true;
}

bool Importer::importInputs() {
  for (const auto &[name, range] : options.dims) {
    if (range.first < 0 || (range.second && *range.second < range.first)) {
      result.badOptions = true;
      error("dimension '" + name + "': expects a range of at least 0 with minimum before maximum, got " +
            Twine(range.first) + ".." + (range.second ? std::to_string(*range.second) : ""));
      return false;
    }
    shapes.ranges[name] = {range.first, range.second};
  }
  for (const onnx::ValueInfoProto &input : graph.input())
    if (!initializers.count(input.name()) && !importInput(input))
      return false;
  SmallVector<NamedAttribute> declared;
  for (const auto &[name, range] : options.dims) {
    if (!llvm::is_contained(symbols, name)) {
      result.badOptions = true;
      error("dimension '" + name + "' is not one of the model's" +
            (symbols.empty() ? ", which has none" : ": " + llvm::join(symbols, ", ")));
      return false;
    }
    declared.push_back(builder.getNamedAttr(
        name, builder.getDenseI64ArrayAttr({range.first, range.second.value_or(-1)})));
  }
  if (!declared.empty())
    (*result.module)->setAttr(LatheDialect::kSymbolsAttr, builder.getDictionaryAttr(declared));
  return true;
}

/// A range of bytes of a file. Several values in a byte stay so until they are read.
Value Importer::importWeight(Location loc, const TensorType &type, StringRef name, StringRef file, int64_t offset) {
  RankedTensorType stored = type.type;
  if (isPacked(stored.getElementType()))
    stored = RankedTensorType::get({type.bytes}, builder.getIntegerType(8, /*isSigned=*/false));
  Value weight = builder.create<WeightOp>(loc, stored, name, file, static_cast<uint64_t>(offset));
  return stored == type.type ? weight : unpackTensor(builder, loc, shapes, weight, type.type);
}

void Importer::importInitializer(int index) {
  const onnx::TensorProto &tensor = graph.initializer(index);
  Location loc = location(tensor.name());
  auto bad = [&](const Twine &text) { error("initializer '" + tensor.name() + "': " + text); };
  TensorType type = tensorType(&mlirContext, tensor);
  if (!type.type)
    return type.isUnsupported ? unsupported("Initializer", "", tensor.name(), type.error) : bad(type.error);
  const std::optional<RawData> &raw = file.rawData[index];
  bool external = tensor.data_location() == onnx::TensorProto::EXTERNAL;
  ExternalData place;
  if (external) {
    std::string problem = locateExternalData(file, tensor, type.bytes, place);
    if (!problem.empty()) {
      // A model without its weights is one thing that is wrong, and its nodes can still be checked.
      if (badFiles[place.file]++ == 0)
        error(problem);
      if (!isSmall(type.type))
        values[tensor.name()] = importWeight(loc, type, tensor.name(), place.file, 0);
      return;
    }
  } else if (raw && raw->offset >= 0) {
    place = {file.fileName, raw->offset};
    if (static_cast<int64_t>(raw->bytes.size()) != type.bytes)
      return bad("expects " + Twine(type.bytes) + " bytes of raw data, found " + Twine(raw->bytes.size()));
  }
  bool inFile = external || raw;
  std::optional<RawData> bytes = raw;
  if (external && isSmall(type.type) && type.bytes > 0) {
    // Exporters also put axes and shapes there; folding must see them.
    llvm::SmallString<128> path(file.directory);
    path += "/";
    path += place.file;
    auto slice = llvm::MemoryBuffer::getFileSlice(path, static_cast<uint64_t>(type.bytes), place.offset);
    if (!slice)
      return bad("cannot read '" + path.str() + "': " + slice.getError().message());
    std::string problem;
    DenseElementsAttr value =
        denseTensor(type.type, tensor, RawData{(*slice)->getBuffer(), place.offset}, problem);
    if (!value)
      return bad(problem);
    values[tensor.name()] = builder.create<ConstantOp>(loc, type.type, value);
    return;
  }
  if (external && type.bytes == 0)
    bytes = RawData{};
  if (inFile && !isSmall(type.type)) {
    values[tensor.name()] = importWeight(loc, type, tensor.name(), place.file, place.offset);
    return;
  }
  std::string problem;
  DenseElementsAttr value = denseTensor(type.type, tensor, bytes, problem);
  if (!value)
    return bad(problem);
  values[tensor.name()] = builder.create<ConstantOp>(loc, type.type, value);
}

void Importer::importInitializers() {
  for (int i = 0; i < graph.initializer_size(); ++i)
    if (used.contains(graph.initializer(i).name()))
      importInitializer(i);
}

//===----------------------------------------------------------------------===//
// Nodes and outputs
//===----------------------------------------------------------------------===//

void Importer::importNode(int index) {
  const onnx::NodeProto &proto = graph.node(index);
  Node node(proto, builder, shapes, location(nodeName(proto, index)), result.info.opset);
  int given = proto.input_size();
  while (given > 0 && proto.input(given - 1).empty())
    --given;
  for (int i = 0; i < given; ++i) {
    const std::string &name = proto.input(i);
    Value value = name.empty() ? Value() : values.lookup(name);
    if (!name.empty() && !value)
      return; // the reason has been reported where the value is missing
    node.inputs.push_back(value);
  }
  for (const std::string &name : proto.output())
    node.outputUsed.push_back(!name.empty() && used.contains(name));

  std::string diagnostics;
  ScopedDiagnosticHandler handler(&mlirContext, [&](Diagnostic &diagnostic) {
    if (diagnostic.getSeverity() == DiagnosticSeverity::Error && diagnostics.empty())
      diagnostics = diagnostic.str();
    return success();
  });
  if (failed(findOperator(proto)->import(node))) {
    if (node.isUnsupported)
      nodeUnsupported(index, node.reason);
    else
      nodeError(index, !node.reason.empty() ? node.reason : !diagnostics.empty() ? diagnostics : "cannot be imported");
    return;
  }
  for (int i = 0; i < proto.output_size(); ++i)
    if (!proto.output(i).empty() && node.results[i])
      values[proto.output(i)] = node.results[i];
}

void Importer::importNodes() {
  for (int index : order)
    if (!refused[index])
      importNode(index);
}

void Importer::importOutputs() {
  SmallVector<Value> returned;
  SmallVector<DictionaryAttr> attributes;
  for (const onnx::ValueInfoProto &output : graph.output()) {
    Value value = values.lookup(output.name());
    if (!value) {
      error("output '" + output.name() + "' of the graph is not computed");
      return;
    }
    returned.push_back(value);
    attributes.push_back(builder.getDictionaryAttr(
        builder.getNamedAttr(LatheDialect::kNameAttr, builder.getStringAttr(output.name()))));
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
  refused.assign(graph.node_size(), false);
  if (checkModel() && orderNodes()) {
    for (int i = 0; i < graph.node_size(); ++i)
      checkNode(i);
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

ImportResult importOnnx(MLIRContext &context, const std::string &path, const ImportOptions &options) {
  ImportResult result;
  context.loadDialect<LatheDialect, arith::ArithDialect, func::FuncDialect>();
  frontend::ModelFile file;
  result.error = frontend::readModelFile(path, file);
  if (result.error.empty())
    frontend::Importer(context, options, file, result).run();
  return result;
}

} // namespace lathe
