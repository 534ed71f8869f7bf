//===- Manifest.cpp - The artifact's manifest and constants ---------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/Manifest.h"
#include "backends/cpu/runtime/PackWeights.h"
#include "dialects/kernel/Kernel.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using nlohmann::ordered_json;

namespace lathe {

std::string typeName(Type type) {
  if (type.isF32())
    return "f32";
  if (type.isF16())
    return "f16";
  if (type.isBF16())
    return "bf16";
  if (type.isF64())
    return "f64";
  if (type.isFloat8E4M3FN())
    return "f8e4m3fn";
  if (type.isFloat8E4M3FNUZ())
    return "f8e4m3fnuz";
  if (type.isFloat8E5M2())
    return "f8e5m2";
  if (type.isFloat8E5M2FNUZ())
    return "f8e5m2fnuz";
  if (type.isInteger(1))
    return "bool";
  if (auto integer = dyn_cast<IntegerType>(type))
    return (integer.isUnsigned() ? "u" : "i") + std::to_string(integer.getWidth());
  return "";
}

const char *WeightFiles::bytes(StringRef file, uint64_t offset, uint64_t size, std::string &error) {
  auto &buffer = files[file.str()];
  if (!buffer) {
    llvm::SmallString<256> path(folder);
    llvm::sys::path::append(path, file);
    auto opened = llvm::MemoryBuffer::getFile(path, /*IsText=*/false, /*RequiresNullTerminator=*/false);
    if (!opened) {
      error = "can't read weights from '" + file.str() + "': " + opened.getError().message();
      return nullptr;
    }
    buffer = std::move(*opened);
  }
  if (offset > buffer->getBufferSize() || size > buffer->getBufferSize() - offset) {
    error = "'" + file.str() + "' is too short: expected " + std::to_string(size) + " bytes at " + std::to_string(offset) +
            ", found a file of " + std::to_string(buffer->getBufferSize());
    return nullptr;
  }
  return buffer->getBufferStart() + offset;
}

static ordered_json strings(Attribute list) {
  ordered_json result = ordered_json::array();
  for (Attribute entry : cast<ArrayAttr>(list)) {
    if (auto text = dyn_cast<StringAttr>(entry))
      result.push_back(text.str());
    else
      result.push_back(cast<IntegerAttr>(entry).getInt());
  }
  return result;
}

static std::string text(DictionaryAttr entry, StringRef name) {
  auto value = entry.getAs<StringAttr>(name);
  return value ? value.str() : std::string();
}

/// Row-major bytes of a dense attribute, truth values a byte each.
static std::shared_ptr<std::vector<char>> denseBytes(DenseElementsAttr dense, size_t elementBytes) {
  auto bytes = std::make_shared<std::vector<char>>();
  if (dense.getElementType().isInteger(1)) {
    for (bool value : dense.getValues<bool>())
      bytes->push_back(value);
    return bytes;
  }
  ArrayRef<char> raw = dense.getRawData();
  size_t repeats = dense.isSplat() ? dense.getNumElements() : 1;
  size_t length = dense.isSplat() ? elementBytes : raw.size();
  for (size_t i = 0; i < repeats; ++i)
    bytes->insert(bytes->end(), raw.begin(), raw.begin() + length);
  return bytes;
}

static bool describeConstant(DictionaryAttr entry, WeightFiles &files, ordered_json &json, artifact::ConstantSource &source,
                             std::string &error) {
  auto type = cast<RankedTensorType>(cast<TypeAttr>(entry.get("type")).getValue());
  size_t elementBytes = std::max<size_t>(type.getElementTypeBitWidth() / 8, 1);
  uint64_t size = type.getNumElements() * elementBytes;
  bool transposed = cast<BoolAttr>(entry.get("transposed")).getValue();
  std::shared_ptr<std::vector<char>> owned;
  const char *data = nullptr;
  if (auto dense = entry.getAs<DenseElementsAttr>("value")) {
    owned = denseBytes(dense, elementBytes);
    data = owned->data();
  } else {
    data = files.bytes(text(entry, "file"), cast<IntegerAttr>(entry.get("offset")).getInt(), size, error);
    if (!data) {
      error = "initializer '" + text(entry, "name") + "': " + error;
      return false;
    }
  }
  json["name"] = text(entry, "name");
  json["type"] = typeName(type.getElementType());
  SmallVector<int64_t> shape(type.getShape());
  source.size = size;
  cpu::WeightLayout layout;
  if (cast<BoolAttr>(entry.get("packed")).getValue()) {
    int64_t k = shape[transposed ? 1 : 0], n = shape[transposed ? 0 : 1];
    if (k > 0 && n > 0 && !cpu::preferredWeightLayout(k, n, LATHE_F32, &layout, &error))
      return false;
    if (!layout.plain) {
      shape = {k, n};
      ordered_json packed;
      const runtime::PackedLayout &blocked = layout.layout;
      packed["dims"] = {blocked.dims[0], blocked.dims[1]};
      packed["padded_dims"] = {blocked.paddedDims[0], blocked.paddedDims[1]};
      packed["strides"] = {blocked.strides[0], blocked.strides[1]};
      packed["inner_blocks"] = ordered_json::array();
      packed["inner_index"] = ordered_json::array();
      for (int i = 0; i < blocked.blockCount; ++i) {
        packed["inner_blocks"].push_back(blocked.blocks[i]);
        packed["inner_index"].push_back(blocked.blockDims[i]);
      }
      json["shape"] = shape;
      json["packed"] = packed;
      source.size = layout.bytes;
      source.produce = [=](artifact::Sink &sink, std::string *) {
        std::vector<char> target(layout.bytes);
        cpu::packWeights(layout, LATHE_F32, data, transposed ? 1 : n, transposed ? k : 1, target.data());
        (void)owned; // keeps the bytes of an inline constant alive
        return sink.write(target.data(), target.size());
      };
      return true;
    }
  }
  json["shape"] = shape;
  source.produce = [=](artifact::Sink &sink, std::string *) {
    (void)owned;
    return size == 0 || sink.write(data, size);
  };
  return true;
}

bool describeProgram(ModuleOp module, WeightFiles &files, ordered_json &manifest, std::vector<artifact::ConstantSource> &constants,
                     std::string &error) {
  auto list = [&](StringRef name) { return module->getAttrOfType<ArrayAttr>(name).getAsRange<DictionaryAttr>(); };
  manifest["symbols"] = ordered_json::array();
  for (DictionaryAttr symbol : list(kernel::kSymbolsAttr)) {
    int64_t max = cast<IntegerAttr>(symbol.get("max")).getInt();
    ordered_json entry = {{"name", text(symbol, "name")}};
    if (auto element = symbol.getAs<IntegerAttr>("element"))
      entry.update({{"min", nullptr}, {"max", nullptr}, {"input", text(symbol, "input")}, {"element", element.getInt()}});
    else if (symbol.get("computed"))
      entry.update({{"min", nullptr}, {"max", nullptr}, {"computed", true}});
    else
      entry.update({{"min", cast<IntegerAttr>(symbol.get("min")).getInt()}, {"max", max < 0 ? ordered_json() : ordered_json(max)}});
    manifest["symbols"].push_back(std::move(entry));
  }
  for (auto [key, name] : {std::pair("inputs", kernel::kInputsAttr), std::pair("outputs", kernel::kOutputsAttr)}) {
    manifest[key] = ordered_json::array();
    for (DictionaryAttr value : list(name))
      manifest[key].push_back({{"name", text(value, "name")},
                               {"type", typeName(cast<TypeAttr>(value.get("type")).getValue())},
                               {"shape", strings(value.get("shape"))}});
  }
  uint64_t weights = 0;
  manifest["constants"] = ordered_json::array();
  for (DictionaryAttr constant : list(kernel::kConstantsAttr)) {
    ordered_json json;
    artifact::ConstantSource source;
    if (!describeConstant(constant, files, json, source, error))
      return false;
    weights += source.size;
    manifest["constants"].push_back(std::move(json));
    constants.push_back(std::move(source));
  }
  manifest["kernels"] = ordered_json::array();
  for (DictionaryAttr kernelEntry : list(kernel::kKernelsAttr))
    manifest["kernels"].push_back(
        {{"name", text(kernelEntry, "name")}, {"kind", text(kernelEntry, "kind")}, {"nodes", strings(kernelEntry.get("nodes"))}});
  manifest["checks"] = ordered_json::array();
  for (DictionaryAttr check : list(kernel::kChecksAttr))
    manifest["checks"].push_back({{"node", text(check, "node")}, {"message", text(check, "message")}});
  manifest["weights_bytes"] = weights;
  return true;
}

} // namespace lathe
