//===- Emitter.cpp - Nodes, names and constants ---------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/export/Emitter.h"
#include "llvm/ADT/STLExtras.h"
#include <cstring>

using namespace mlir;
using onnx::TensorProto;

namespace lathe::frontend {

int32_t onnxDataType(Type type) {
  if (type.isF32() || type.isFloat8E4M3()) // which stands for 4-bit floats: every f32 has their values
    return TensorProto::FLOAT;
  if (type.isF64())
    return TensorProto::DOUBLE;
  if (type.isF16())
    return TensorProto::FLOAT16;
  if (type.isBF16())
    return TensorProto::BFLOAT16;
  if (type.isFloat8E4M3FN())
    return TensorProto::FLOAT8E4M3FN;
  if (type.isFloat8E4M3FNUZ())
    return TensorProto::FLOAT8E4M3FNUZ;
  if (type.isFloat8E5M2())
    return TensorProto::FLOAT8E5M2;
  if (type.isFloat8E5M2FNUZ())
    return TensorProto::FLOAT8E5M2FNUZ;
  auto integer = dyn_cast<IntegerType>(type);
  bool isUnsigned = integer && integer.isUnsigned();
  switch (integer ? integer.getWidth() : 0) {
  case 1:
    return TensorProto::BOOL;
  case 2: // Runtimes are new to the type: ONNX Runtime 1.31 gives other results for products with weights of it.
  case 3: // There is no such type.
  case 4:
    return isUnsigned ? TensorProto::UINT4 : TensorProto::INT4;
  case 8:
    return isUnsigned ? TensorProto::UINT8 : TensorProto::INT8;
  case 16:
    return isUnsigned ? TensorProto::UINT16 : TensorProto::INT16;
  case 32:
    return isUnsigned ? TensorProto::UINT32 : TensorProto::INT32;
  case 64:
    return isUnsigned ? TensorProto::UINT64 : TensorProto::INT64;
  default:
    return TensorProto::UNDEFINED;
  }
}

bool sharesBytes(Type element) {
  auto integer = dyn_cast<IntegerType>(element);
  return integer && integer.getWidth() > 1 && integer.getWidth() < 8;
}

int64_t opsetOf(Type element) {
  if (sharesBytes(element))
    return 21;
  return isa<FloatType>(element) && element.getIntOrFloatBitWidth() == 8 ? 19 : 13;
}

std::string packElements(StringRef elements, IntegerType type) {
  std::string bytes((elements.size() + 1) / 2, '\0');
  for (size_t i = 0; i < elements.size(); ++i) {
    unsigned code = static_cast<uint8_t>(elements[i]) & ((1u << type.getWidth()) - 1);
    if (!type.isUnsigned() && code >> (type.getWidth() - 1))
      code |= ~0u << type.getWidth();
    bytes[i / 2] = static_cast<char>(static_cast<uint8_t>(bytes[i / 2]) | (code & 15) << (i % 2 * 4));
  }
  return bytes;
}

void Initializer::write(llvm::raw_ostream &stream) const {
  if (packed)
    stream << packElements(StringRef(bytes, given), packed);
  else
    stream.write(bytes, given);
}

uint64_t onnxBytes(RankedTensorType type) {
  auto count = static_cast<uint64_t>(type.getNumElements());
  Type element = type.getElementType();
  if (element.isFloat8E4M3())
    return count * 4;
  return sharesBytes(element) ? (count + 1) / 2 : count * ((element.getIntOrFloatBitWidth() + 7) / 8);
}

//===----------------------------------------------------------------------===//
// Names
//===----------------------------------------------------------------------===//

static std::string unique(llvm::StringSet<> &used, llvm::StringMap<int> &next, StringRef wanted) {
  std::string name = wanted.str();
  while (!used.insert(name).second)
    name = (wanted + "_" + Twine(++next[wanted])).str();
  return name;
}

Name Emitter::uniqueValue(StringRef wanted) { return unique(usedValues, nextSuffix, wanted); }
std::string Emitter::uniqueNode(StringRef wanted) { return unique(usedNodes, nextSuffix, wanted); }

void Emitter::nameNodes() {
  for (; unnamed < graph->node_size(); ++unnamed) {
    onnx::NodeProto &node = *graph->mutable_node(unnamed);
    if (node.name().empty())
      node.set_name(uniqueNode(base + "/" + node.op_type()));
  }
}

void Emitter::define(Value value, Name name) {
  // The node that gives the result is the one that the location names.
  int last = graph->node_size() - 1;
  if (last >= unnamed && graph->node(last).name().empty() && llvm::is_contained(graph->node(last).output(), name) &&
      !usedNodes.contains(base))
    graph->mutable_node(last)->set_name(uniqueNode(base));
  names[value] = std::move(name);
}

LogicalResult Emitter::fail(Operation *op, const Twine &reason) {
  if (error.empty())
    error = "node '" + base + "' (" + op->getName().getStringRef().str() + ") has no form in ONNX: " + reason.str();
  return failure();
}

//===----------------------------------------------------------------------===//
// Nodes
//===----------------------------------------------------------------------===//

onnx::NodeProto &Emitter::nodeOf(StringRef op, ArrayRef<Name> inputs, unsigned outputs, NodeAttributes attributes) {
  onnx::NodeProto &node = *graph->add_node();
  node.set_op_type(op.str());
  for (const Name &input : inputs)
    node.add_input(input);
  for (unsigned i = 0; i < outputs; ++i)
    node.add_output(uniqueValue(base));
  for (const NodeAttribute &attribute : attributes) {
    onnx::AttributeProto &proto = *node.add_attribute();
    proto.set_name(attribute.name.str());
    if (auto *number = std::get_if<int64_t>(&attribute.value)) {
      proto.set_type(onnx::AttributeProto::INT);
      proto.set_i(*number);
    } else if (auto *real = std::get_if<double>(&attribute.value)) {
      proto.set_type(onnx::AttributeProto::FLOAT);
      proto.set_f(static_cast<float>(*real));
    } else if (auto *text = std::get_if<std::string>(&attribute.value)) {
      proto.set_type(onnx::AttributeProto::STRING);
      proto.set_s(*text);
    } else {
      proto.set_type(onnx::AttributeProto::INTS);
      for (int64_t value : std::get<Ints>(attribute.value))
        proto.add_ints(value);
    }
  }
  return node;
}

Name Emitter::node(StringRef op, ArrayRef<Name> inputs, NodeAttributes attributes) {
  return nodeOf(op, inputs, 1, attributes).output(0);
}

Name Emitter::cast(Name value, Type from, Type to) {
  int32_t type = onnxDataType(to);
  if (onnxDataType(from) == type)
    return value;
  Name &cached = known[("cast " + Twine(type) + " " + value).str()];
  if (cached.empty())
    cached = node("Cast", {value}, {{"to", int64_t(type)}});
  return cached;
}

//===----------------------------------------------------------------------===//
// Constants
//===----------------------------------------------------------------------===//

Name Emitter::initializer(RankedTensorType type, const char *bytes, uint64_t given, StringRef wanted) {
  // Where they are as many as the elements, and not as the model's bytes, they are to be packed.

  TensorProto *tensor = model.mutable_graph()->add_initializer();
  tensor->set_name(uniqueValue(wanted));
  tensor->set_data_type(onnxDataType(type.getElementType()));
  for (int64_t dim : type.getShape())
    tensor->add_dims(dim);
  bool packs = sharesBytes(type.getElementType()) && given != onnxBytes(type);
  initializers.push_back({tensor, bytes, given, onnxBytes(type), packs ? cast<IntegerType>(type.getElementType()) : IntegerType()});
  return tensor->name();
}

/// The elements as a model stores them, but those that share bytes, which stay in one each.
static std::string storedBytes(DenseElementsAttr value) {
  Type element = value.getElementType();
  std::string bytes;
  if (element.isInteger(1) || sharesBytes(element)) {
    for (const APInt &number : value.getValues<APInt>())
      bytes += static_cast<char>(number.getZExtValue());
    return bytes;
  }
  if (element.isFloat8E4M3()) {
    for (const APFloat &number : value.getValues<APFloat>()) {
      float single = number.convertToFloat();
      bytes.append(reinterpret_cast<const char *>(&single), sizeof single);
    }
    return bytes;
  }
  ArrayRef<char> raw = value.getRawData();
  for (int64_t i = 0, copies = value.isSplat() ? value.getNumElements() : 1; i < copies; ++i)
    bytes.append(raw.data(), raw.size());
  return bytes;
}

Name Emitter::constant(DenseElementsAttr value, StringRef wanted) {
  auto type = cast<RankedTensorType>(value.getType());
  // Many times the same number is one of them.
  constexpr uint64_t kLargeSplat = 256;
  if (value.isSplat() && type.getNumElements() > 0 && onnxBytes(type) > kLargeSplat && !sharesBytes(type.getElementType())) {
    Name one = constant(value.resizeSplat(RankedTensorType::get({}, type.getElementType())), wanted);
    return node("Expand", {one, ints(type.getShape())});
  }
  std::string bytes = storedBytes(value), key;
  llvm::raw_string_ostream stream(key);
  stream << onnxDataType(type.getElementType()) << " ";
  llvm::interleave(type.getShape(), stream, "x");
  stream << " ";
  Name &cached = constants[key + bytes];
  if (cached.empty()) {
    owned.push_back(std::move(bytes));
    cached = initializer(type, owned.back().data(), owned.back().size(), wanted);
  }
  return cached;
}

Name Emitter::number(Type type, double value) {
  auto scalar = RankedTensorType::get({}, type);
  if (auto real = dyn_cast<FloatType>(type)) {
    APFloat number(value);
    bool lossy;
    number.convert(real.getFloatSemantics(), APFloat::rmNearestTiesToEven, &lossy);
    return constant(DenseElementsAttr::get(scalar, number));
  }
  return constant(DenseElementsAttr::get(
      scalar, APInt(type.getIntOrFloatBitWidth(), static_cast<uint64_t>(static_cast<int64_t>(value)), /*isSigned=*/true)));
}

Name Emitter::ints(ArrayRef<int64_t> values) {
  auto type = RankedTensorType::get({static_cast<int64_t>(values.size())}, builder().getI64Type());
  return constant(DenseElementsAttr::get(type, values));
}

Name Emitter::integer(int64_t value) {
  return constant(DenseElementsAttr::get(RankedTensorType::get({}, builder().getI64Type()), value));
}

Name Emitter::truth(bool value) {
  return constant(DenseElementsAttr::get(RankedTensorType::get({}, builder().getI1Type()), value));
}

LogicalResult Emitter::emitWeight(WeightOp op) {
  auto type = cast<RankedTensorType>(op.getType());
  if (onnxDataType(type.getElementType()) == TensorProto::UNDEFINED)
    return fail(op, "there is no such data type");
  std::string key;
  llvm::raw_string_ostream stream(key);
  stream << "weight " << op.getOffset() << " " << type << " " << op.getFile();
  Name &cached = constants[key];
  if (cached.empty()) {
    // Of elements of less than a byte each has one.
    auto size = static_cast<uint64_t>(type.getNumElements()) * static_cast<uint64_t>((type.getElementTypeBitWidth() + 7) / 8);
    std::string problem = "expects the bytes of weights";
    const char *bytes = options.weightBytes ? options.weightBytes(op, size, problem) : nullptr;
    if (!bytes && size > 0) {
      error = "node '" + base + "': " + problem;
      return failure();
    }
    cached = initializer(type, bytes, size, op.getName());
  }
  names[op.getResult()] = cached;
  return success();
}

//===----------------------------------------------------------------------===//
// Short forms
//===----------------------------------------------------------------------===//

Name Emitter::extent(const Name &value, int64_t axis) {
  Name &cached = known[("extent " + Twine(axis) + " " + value).str()];
  if (cached.empty())
    cached = node("Shape", {value}, {{"start", axis}, {"end", axis + 1}});
  return cached;
}

Name Emitter::concat(ArrayRef<Name> values, int64_t axis) {
  return values.size() == 1 ? values.front() : node("Concat", values, {{"axis", axis}});
}

Name Emitter::transpose(const Name &value, ArrayRef<int64_t> permutation) {
  return node("Transpose", {value}, {{"perm", Ints(permutation)}});
}

Name Emitter::swapLast(const Name &value, int64_t rank) {
  Name &cached = known[("swap " + Twine(rank) + " " + value).str()];
  if (cached.empty()) {
    Ints permutation = llvm::to_vector(llvm::seq<int64_t>(0, rank));
    std::swap(permutation[rank - 1], permutation[rank - 2]);
    cached = transpose(value, permutation);
  }
  return cached;
}

std::optional<SymShape> Emitter::shapeOf(Value value) {
  ScopedDiagnosticHandler quiet(module.getContext(), [](Diagnostic &) { return success(); });
  FailureOr<SymShape> shape = shapes.shapeOf(value);
  return succeeded(shape) ? std::optional<SymShape>(*shape) : std::nullopt;
}

} // namespace lathe::frontend
