//===- ImportAttached.cpp - Weights that a checkpoint gives ---------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Importer.h"
#include "frontends/onnx/WeightValues.h"
#include <filesystem>

using namespace mlir;

namespace lathe::frontend {

using safetensors::PackedWeight;
using safetensors::Parameter;

/// Finds what the checkpoint of the options has for initializers. What is wrong with it is recorded.
bool Importer::attachWeights() {
  if (options.weights.empty())
    return true;
  std::string who = "checkpoint '" + options.weights + "': ";
  if (std::error_code none; !std::filesystem::exists(options.weights, none)) {
    result.badOptions = true;
    error(who + "no such file or folder");
    return false;
  }
  if (std::string problem = checkpoint.open(options.weights); !problem.empty()) {
    error(who + problem);
    return false;
  }
  attachment.match(checkpoint, file, options.skippedWeights, options.partialWeights, [&](const std::string &problem) { error(who + problem); });
  result.attached = {attachment.packed, attachment.dense, attachment.kept};
  return errors.empty();
}

/// The file of a tensor of the checkpoint as weights name it: from the model's folder.
std::string Importer::checkpointFile(const safetensors::Tensor &tensor) {
  std::string &known = checkpointFiles[tensor.file];
  if (known.empty()) {
    std::error_code none;
    std::filesystem::path from = std::filesystem::canonical(file.directory, none);
    known = std::filesystem::canonical(checkpoint.fileOf(tensor).path, none).lexically_relative(from).string();
  }
  return known;
}

static Type typeOf(Builder &b, StringRef dtype) {
  return dtype == "F32"    ? Type(b.getF32Type())
         : dtype == "F16"  ? Type(b.getF16Type())
         : dtype == "BF16" ? Type(b.getBF16Type())
                           : Type(b.getF64Type());
}

/// Bytes that are made here; null after a failure, which is recorded.
Value Importer::makeWeight(Location loc, StringRef name, RankedTensorType type, ArrayRef<uint8_t> bytes) {
  if (!options.keep) {
    error("weight '" + name + "' can be kept nowhere");
    return {};
  }
  std::string problem;
  std::optional<ImportOptions::Kept> kept = options.keep(bytes.data(), bytes.size(), problem);
  if (!kept) {
    error("weight '" + name + "': " + problem);
    return {};
  }
  return builder.create<WeightOp>(loc, type, name, kept->file, kept->offset);
}

/// The bytes of a tensor's numbers in the type that the model has them in, the axes of a matrix swapped or not.
static std::vector<uint8_t> convert(const WeightValues &values, FloatType type, ArrayRef<int64_t> shape,
                                    bool isSwapped) {
  std::vector<uint8_t> bytes;
  unsigned width = type.getWidth() / 8;
  bytes.reserve(values.size() * width);
  int64_t rows = isSwapped ? shape[1] : 1, columns = isSwapped ? shape[0] : values.size();
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      APFloat number(values[isSwapped ? j * rows + i : j]);
      bool lossy = false;
      number.convert(type.getFloatSemantics(), APFloat::rmNearestTiesToEven, &lossy);
      uint64_t bits = number.bitcastToAPInt().getZExtValue();
      for (unsigned byte = 0; byte < width; ++byte)
        bytes.push_back(static_cast<uint8_t>(bits >> (8 * byte)));
    }
  return bytes;
}

/// A tensor where it lies, but for small ones, which folding should see, and those of another type that no product
/// widens as it reads them.
Value Importer::denseValue(Node &node, const safetensors::Tensor &tensor, const Attached &attached, Type element) {
  auto type = RankedTensorType::get(tensor.shape, typeOf(builder, tensor.dtype));
  SmallVector<int64_t> shape(tensor.shape);
  if (attached.transposed)
    std::swap(shape[0], shape[1]);
  auto wanted = RankedTensorType::get(shape, element);
  bool isRead = type.getElementType() == element || (attached.isLayer && element.isF32());
  std::optional<WeightValues> values = WeightValues::of(checkpoint, tensor);
  if (values && (isSmall(type) || !isRead)) {
    std::vector<uint8_t> bytes = convert(*values, cast<FloatType>(element), tensor.shape, attached.transposed);
    if (!isSmall(type))
      return makeWeight(node.loc, attached.name, wanted, bytes);
    ArrayRef<char> raw(reinterpret_cast<const char *>(bytes.data()), bytes.size());
    return node.constant(values->size() ? DenseElementsAttr::getFromRawBuffer(wanted, raw)
                                        : DenseElementsAttr::get(wanted, ArrayRef<APFloat>()));
  }
  Value value = builder.create<WeightOp>(node.loc, type, attached.name, checkpointFile(tensor), tensor.offset);
  // In this order, since products take a transpose that is next to them, and widen what is stored.
  value = node.cast(value, element);
  return attached.transposed ? node.transpose(value, {1, 0}) : value;
}

/// The expression of a quantized layer, [outputs, inputs] where it is transposed. Codes get a byte each, as all weights
/// of few bits have before they are packed; scales stay where they are, if they lie as they are wanted.
Value Importer::packedValue(Node &node, const PackedWeight &packed, StringRef name, bool transposed, Type element) {
  int64_t k = packed.inputs(), n = packed.outputs(), groups = packed.groups(), along = transposed ? 1 : 0;
  unsigned bits = packed.bits() == 3 ? 4 : static_cast<unsigned>(packed.bits());
  bool isSigned = packed.isSymmetric(), isInteger = packed.kind() == PackedWeight::Kind::integer;
  Type code = packed.kind() == PackedWeight::Kind::e4m3   ? Type(builder.getFloat8E4M3FNType())
              : packed.kind() == PackedWeight::Kind::e5m2 ? Type(builder.getFloat8E5M2Type())
              : isSigned                                  ? builder.getIntegerType(bits)
                                                          : builder.getIntegerType(bits, /*isSigned=*/false);
  auto matrix = [&](int64_t inputs) {
    return transposed ? SmallVector<int64_t>{n, inputs} : SmallVector<int64_t>{inputs, n};
  };
  auto codeType = RankedTensorType::get(matrix(k), code);
  Value stored;
  if (packed.codesLie(transposed)) {
    stored = builder.create<WeightOp>(node.loc, codeType, (name + ".codes").str(), checkpointFile(packed.codeTensor()),
                                      packed.codeTensor().offset);
  } else {
    std::vector<uint8_t> codes = packed.codes(transposed);
    if (isSigned && isInteger)
      for (uint8_t &c : codes) // the low bits of the difference
        c = static_cast<uint8_t>((c - (1u << (packed.bits() - 1))) & ((1u << bits) - 1));
    stored = makeWeight(node.loc, (name + ".codes").str(), codeType, codes);
  }
  if (!stored)
    return {};
  SmallVector<int64_t> shape = groups == 1 ? SmallVector<int64_t>{n} : matrix(groups);
  auto scaleType = RankedTensorType::get(shape, typeOf(builder, packed.scaleTensor().dtype));
  Value scales, zeros;
  if (packed.scalesLie(transposed))
    scales = builder.create<WeightOp>(node.loc, scaleType, (name + ".scales").str(),
                                      checkpointFile(packed.scaleTensor()), packed.scaleTensor().offset);
  else
    scales = makeWeight(node.loc, (name + ".scales").str(), scaleType, packed.scales(transposed));
  if (!isSigned)
    zeros = makeWeight(node.loc, (name + ".zeros").str(), RankedTensorType::get(shape, code), packed.zeros(transposed));
  if (!scales || (!isSigned && !zeros))
    return {};
  IntegerAttr axis = builder.getI64IntegerAttr(groups == 1 ? 1 - along : along);
  IntegerAttr block = groups == 1 ? IntegerAttr() : builder.getI64IntegerAttr(packed.groupSize());
  Value dense = node.make<DequantizeOp>(element, stored, scales, OptionalOperand{zeros}, axis, block);
  if (!packed.isReordered())
    return dense;
  // Row j of what is stored is row order[j] of the weight.
  SmallVector<int64_t> places(k);
  for (auto [place, input] : llvm::enumerate(packed.inputOrder()))
    places[input] = static_cast<int64_t>(place);
  Value indices = node.constant(
      DenseElementsAttr::get(RankedTensorType::get({k}, builder.getI64Type()), ArrayRef<int64_t>(places)));
  return dense ? node.make<GatherOp>(element, dense, indices, along) : Value();
}

Importer::Tensor Importer::importAttached(const onnx::TensorProto &tensor, const Attached &attached) {
  Type element = elementType(&mlirContext, tensor.data_type());
  // Before all nodes: the graph of a node may be imported many times, and its weights are there once.
  OpBuilder::InsertionGuard guard(builder);
  Value &known = innerWeights[&tensor];
  if (known)
    return {known, "", false};
  if (scopes.size() > 1)
    builder.setInsertionPointToStart(body);
  Node node(onnx::NodeProto::default_instance(), builder, shapes, location(attached.name), result.info.opset);
  const Parameter &parameter = *attached.parameter;
  Value value = parameter.packed ? packedValue(node, *parameter.packed, attached.name, attached.transposed, element)
                                 : denseValue(node, *parameter.dense, attached, element);
  if (!value)
    return {Value(), node.reason, false};
  known = value;
  return {value, "", false};
}

} // namespace lathe::frontend
