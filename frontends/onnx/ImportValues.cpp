//===- ImportValues.cpp - Inputs and initializers -------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Importer.h"
#include "frontends/onnx/SmallFloats.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;

namespace lathe::frontend {

/// Names of symbols as SymExpr parses them.
static std::string symbolText(StringRef name) {
  std::string text = name.str();
  for (char &c : text)
    if (!llvm::isAlnum(c) && c != '_' && c != '.' && c != '/' && c != ':')
      c = '_';
  if (text.empty() || llvm::isDigit(text.front()))
    text.insert(text.begin(), '_');
  return text.substr(0, 200);
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
  else if (!(expr = SymExpr::parse(text)) || expr->getTerms().size() > 16 || expr->constant().value_or(0) < 0)
    expr = SymExpr::symbol(symbolText(text)); // an expression we don't read, or `-1`, is a dimension of its own
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
  auto refuse = [&](const Twine &reason, StringRef hint) {
    unsupported("Input", "", input.name(), reason, hint);
    return true;
  };
  if (!input.type().has_tensor_type())
    return refuse("expects a tensor, got another type",
                  "export with tensors as inputs: one for each element of a sequence");
  const onnx::TypeProto_Tensor &tensor = input.type().tensor_type();
  Type stored = storageOfSmallFloat(&mlirContext, tensor.elem_type());
  Type element = stored ? stored : elementType(&mlirContext, tensor.elem_type());
  if (!element)
    return refuse(
        "data type " + dataTypeName(tensor.elem_type()) + " is not supported",
        tensor.elem_type() == onnx::TensorProto::STRING
            ? StringRef(
                  "export with numbers as inputs: texts are turned into numbers, such as tokens, before the model")
            : StringRef(hints::kElementType));
  if (!tensor.has_shape())
    return refuse("expects a shape, got an input of unknown rank",
                  "give the input a shape, of names where it is dynamic: onnx.tools.update_model_dims, or dynamic_axes "
                  "when exporting");
  if (tensor.shape().dim_size() > kMaxRank)
    return refuse("expects a rank of at most " + Twine(kMaxRank) + ", got " + Twine(tensor.shape().dim_size()),
                  "flatten axes of the input in the model's source");
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
  scopes.front()[input.name()] = argument;
  if (stored) {
    Node node(onnx::NodeProto::default_instance(), builder, shapes, argument.getLoc(), result.info.opset);
    scopes.front()[input.name()] = decodeSmallFloat(node, argument, tensor.elem_type());
  }
  argumentAttributes.push_back(
      builder.getDictionaryAttr({builder.getNamedAttr(LatheDialect::kNameAttr, builder.getStringAttr(input.name())),
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
    declared.push_back(
        builder.getNamedAttr(name, builder.getDenseI64ArrayAttr({range.first, range.second.value_or(-1)})));
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

/// A constant where folding should see the values, else a range of bytes of a file.
Importer::Tensor Importer::importStored(const onnx::TensorProto &tensor, StringRef owner, StringRef name,
                                        int64_t inlineBytes) {
  Location loc = location(name);
  auto fail = [](const Twine &problem, bool isUnsupported = false) {
    return Tensor{Value(), problem.str(), isUnsupported};
  };
  TensorType type = tensorType(&mlirContext, tensor);
  if (!type.type)
    return fail(type.error, type.isUnsupported);
  if (const Attached *attached = attachment.find(tensor))
    return importAttached(tensor, *attached);
  bool isInline = isSmall(type.type) || type.bytes <= inlineBytes;
  bool external = tensor.data_location() == onnx::TensorProto::EXTERNAL;
  std::optional<RawData> raw = file.raw(tensor);
  std::unique_ptr<llvm::MemoryBuffer> slice;
  ExternalData place;
  auto weight = [&] {
    if (scopes.size() == 1)
      return Tensor{importWeight(loc, type, name, place.file, place.offset), "", false};
    // Before all nodes: the graph of a node may be imported many times, and its weights are there once.
    Value &known = innerWeights[&tensor];
    if (!known) {
      OpBuilder::InsertionGuard guard(builder);
      builder.setInsertionPointToStart(body);
      known = importWeight(loc, type, name, place.file, place.offset);
    }
    return Tensor{known, "", false};
  };
  if (external) {
    std::string problem = locateExternalData(file, tensor, owner, type.bytes, place);
    if (!problem.empty()) {
      // A model without its weights is one thing that is wrong, and its nodes can still be checked.
      if (badFiles[place.file]++ == 0)
        error(problem);
      place.offset = 0;
      return isInline ? Tensor() : weight();
    }
    raw = RawData{"", place.offset};
    if (isInline && type.bytes > 0) {
      // Exporters also put axes and shapes there; folding must see them.
      llvm::SmallString<128> path(file.directory);
      path += "/";
      path += place.file;
      auto read = llvm::MemoryBuffer::getFileSlice(path, static_cast<uint64_t>(type.bytes), place.offset);
      if (!read)
        return fail("cannot read '" + path.str() + "': " + read.getError().message());
      slice = std::move(*read);
      raw->bytes = slice->getBuffer();
    }
  } else if (raw) {
    place = {file.fileName, raw->offset};
    if (static_cast<int64_t>(raw->bytes.size()) != type.bytes)
      return fail("expects " + Twine(type.bytes) + " bytes of data for " + Twine(type.type.getNumElements()) +
                  " elements of type " + dataTypeName(tensor.data_type()) + ", found " + Twine(raw->bytes.size()));
  }
  if (raw && !isInline)
    return weight();
  std::string problem;
  DenseElementsAttr value = denseTensor(type.type, tensor, raw, problem);
  if (!value)
    return fail(problem);
  return {builder.create<ConstantOp>(loc, type.type, value), "", false};
}

Importer::Tensor Importer::importTensor(const onnx::TensorProto &tensor, StringRef owner, StringRef name,
                                        int64_t inlineBytes) {
  Tensor result = importStored(tensor, owner, name, inlineBytes);
  if (result.value && storageOfSmallFloat(&mlirContext, tensor.data_type())) {
    Node node(onnx::NodeProto::default_instance(), builder, shapes, location(name), this->result.info.opset);
    result.value = decodeSmallFloat(node, result.value, tensor.data_type());
  }
  return result;
}

void Importer::importInitializer(int index) {
  const onnx::TensorProto &tensor = graph.initializer(index);
  std::string owner = "initializer '" + tensor.name() + "'";
  auto [value, problem, isUnsupported] = importTensor(tensor, owner, tensor.name(), /*inlineBytes=*/0);
  if (value)
    scopes.front()[tensor.name()] = value;
  else if (isUnsupported)
    unsupported("Initializer", "", tensor.name(), problem, hints::kElementType);
  else if (!problem.empty())
    error(owner + ": " + problem);
}

void Importer::importInitializers() {
  for (int i = 0; i < graph.initializer_size(); ++i)
    if (used.contains(graph.initializer(i).name()))
      importInitializer(i);
}

bool Importer::importGraphInitializers(const onnx::GraphProto &inner) {
  for (const onnx::TensorProto &tensor : inner.initializer()) {
    std::string name = path + tensor.name(), owner = "initializer '" + name + "'";
    auto [value, problem, isUnsupported] = importTensor(tensor, owner, name, kInlineBytes);
    if (isUnsupported)
      unsupported("Initializer", "", name, problem, hints::kElementType);
    else if (!problem.empty())
      error(owner + ": " + problem);
    if (!value)
      return false;
    scopes.back()[tensor.name()] = value;
  }
  return true;
}

} // namespace lathe::frontend
