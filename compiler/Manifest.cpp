//===- Manifest.cpp - The artifact's manifest and constants ---------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/Manifest.h"
#include "backends/cpu/runtime/PackQuantized.h"
#include "backends/cpu/runtime/PackWeights.h"
#include "compiler/SparseConstants.h"
#include "compiler/WeightValues.h"
#include "dialects/kernel/Kernel.h"
#include "runtime/Abi.h"
#include <cmath>
#include <cstring>

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
  if (type.isFloat8E4M3())
    return "f8e4m3";
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

/// What is in memory at a time of a constant, or of what it is made of.
static constexpr int64_t kPieceBytes = int64_t(1) << 24;

/// Row-major bytes of a dense attribute, truth values a byte each.
static bool writeDense(DenseElementsAttr dense, size_t elementBytes, artifact::Sink &sink) {
  int64_t count = dense.getNumElements();
  bool isSplat = dense.isSplat();
  std::vector<char> piece;
  if (dense.getElementType().isInteger(1)) {
    auto values = dense.getValues<bool>();
    for (int64_t begin = 0; begin < count; begin += kPieceBytes) {
      piece.clear();
      for (int64_t i = begin; i < std::min(begin + kPieceBytes, count); ++i)
        piece.push_back(values[i]);
      if (!sink.write(piece.data(), piece.size()))
        return false;
    }
    return true;
  }
  ArrayRef<char> raw = dense.getRawData();
  if (!isSplat)
    return raw.empty() || sink.write(raw.data(), raw.size());
  int64_t atOnce = std::min<int64_t>(count, kPieceBytes / static_cast<int64_t>(elementBytes));
  for (int64_t i = 0; i < atOnce; ++i)
    piece.insert(piece.end(), raw.begin(), raw.begin() + elementBytes);
  for (int64_t begin = 0; begin < count; begin += atOnce)
    if (!sink.write(piece.data(), std::min(atOnce, count - begin) * elementBytes))
      return false;
  return true;
}

/// A [k, n] matrix as it lies in memory.
struct Matrix {
  const char *data = nullptr;
  int64_t rowStride = 0, colStride = 0; ///< in elements
  lathe_dtype type = LATHE_F32;         ///< of its elements
  lathe_dtype stored = LATHE_F32;       ///< what they are rounded to, where that is another
};

/// Writes f32 as another type.
static bool writeRounded(const char *data, int64_t count, lathe_dtype stored, artifact::Sink &sink) {
  std::vector<uint16_t> rounded(count);
  cpu::roundWeights(stored, data, count, rounded.data());
  return sink.write(rounded.data(), rounded.size() * 2);
}

/// Packs slabs of whole outermost blocks, which lie one after another, each of pieces of the source.
static bool writePacked(const cpu::WeightLayout &layout, Matrix matrix, const WeightFiles *files, artifact::Sink &sink) {
  constexpr int64_t kSlabBytes = 4 * kPieceBytes;
  const int64_t kElement = matrix.type == LATHE_F32 ? 4 : 2;
  const runtime::PackedLayout &whole = layout.layout;
  int outer = whole.strides[1] * whole.paddedDims[1] / whole.blockOf(1) == whole.elements() ? 1 : 0, inner = 1 - outer;
  int64_t block = whole.blockOf(outer), blocks = whole.paddedDims[outer] / block;
  int64_t innerLast = whole.term(inner, whole.paddedDims[inner] - 1) + whole.term(outer, block - 1);
  // Else the blocks of both dimensions are mixed, and the matrix is one slab.
  bool hasSlabs = whole.strides[outer] * blocks == whole.elements() && innerLast < whole.strides[outer];
  int64_t atOnce = hasSlabs ? std::max<int64_t>(kSlabBytes / (whole.strides[outer] * kElement), 1) : blocks;
  int64_t strides[2] = {matrix.rowStride, matrix.colStride};
  int64_t innerBlock = whole.blockOf(inner);
  bool isInnerMajor = strides[inner] > strides[outer];
  std::vector<char> slab;
  for (int64_t first = 0; first < blocks; first += atOnce) {
    int64_t count = std::min(atOnce, blocks - first), begin = first * block;
    int64_t extent = std::min(whole.dims[outer] - begin, count * block);
    slab.assign((hasSlabs ? count * whole.strides[outer] : whole.elements()) * kElement, 0);
    int64_t step = isInnerMajor ? std::max<int64_t>(kPieceBytes / (strides[inner] * kElement) / innerBlock, 1) * innerBlock
                                : whole.dims[inner];
    for (int64_t row = 0; extent > 0 && row < whole.dims[inner]; row += step) {
      cpu::WeightLayout piece = layout;
      piece.layout.dims[outer] = piece.layout.paddedDims[outer] = extent;
      piece.layout.dims[inner] = piece.layout.paddedDims[inner] = std::min(step, whole.dims[inner] - row);
      const char *source = matrix.data + (begin * strides[outer] + row * strides[inner]) * kElement;
      cpu::packWeights(piece, matrix.type, source, matrix.rowStride, matrix.colStride,
                       slab.data() + whole.term(inner, row) * kElement);
      if (files)
        files->release(source, ((extent - 1) * strides[outer] + (piece.layout.dims[inner] - 1) * strides[inner] + 1) * kElement);
    }
    if (matrix.type != matrix.stored ? !writeRounded(slab.data(), slab.size() / kElement, matrix.stored, sink)
                                     : !sink.write(slab.data(), slab.size()))
      return false;
  }
  return true;
}

/// The type of a matrix that can be packed; others are refused where they are.
static lathe_dtype matrixType(Type type) { return type.isBF16() ? LATHE_BF16 : type.isF16() ? LATHE_F16 : LATHE_F32; }

namespace {

/// The bytes of a constant of a compressed weight.
struct Part {
  const char *data = nullptr;
  RankedTensorType type;
  bool isSplat = false;
};

/// False with `error` set where they can't be read.
bool readPart(DictionaryAttr entry, StringRef name, WeightFiles &files, std::optional<Part> &part, std::string &error) {
  auto source = entry.getAs<DictionaryAttr>(name);
  if (!source)
    return true;
  part.emplace();
  part->type = cast<RankedTensorType>(source.getAs<TypeAttr>("type").getValue());
  if (auto dense = source.getAs<DenseElementsAttr>("value")) {
    part->isSplat = dense.isSplat();
    part->data = dense.getRawData().data();
    return true;
  }
  uint64_t bytes = part->type.getNumElements() * std::max<int64_t>(part->type.getElementTypeBitWidth() / 8, 1);
  part->data = files.bytes(text(source, "file"), source.getAs<IntegerAttr>("offset").getInt(), bytes, error);
  return part->data != nullptr;
}

/// Element `index` as a number. Integers without a sign, or with one that is added to.
float numberOf(const Part &part, int64_t index, int64_t bits) {
  Type type = part.type.getElementType();
  if (part.isSplat)
    index = 0;
  if (type.isF32() || type.isF16() || type.isBF16())
    return numberAt(part.data, index, type);
  auto code = static_cast<uint8_t>(part.data[index]);
  return static_cast<float>(type.isUnsignedInteger() ? code : (code ^ (1 << (bits - 1))) & ((1 << bits) - 1));
}

/// [groups, n] of a scale or zero point as it lies beside a matrix that is transposed or not.
std::vector<float> parametersOf(const Part &part, int64_t groups, int64_t n, bool transposed, int64_t bits) {
  std::vector<float> result(groups * n);
  bool isOne = part.type.getNumElements() == 1, isRow = part.type.getRank() == 1;
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t j = 0; j < n; ++j)
      result[g * n + j] = numberOf(part, isOne ? 0 : isRow ? j : transposed ? j * groups + g : g * n + j, bits);
  return result;
}

bool isPowerOfTwo(float value) {
  int exponent = 0;
  return value > 0 && std::frexp(value, &exponent) == 0.5f;
}

} // namespace

static bool describeCompressed(DictionaryAttr entry, WeightFiles &files, ordered_json &json, artifact::ConstantSource &source,
                               std::string &error) {
  auto number = [&](StringRef name) { return entry.getAs<IntegerAttr>(name).getInt(); };
  std::optional<Part> codes, scale, zero, table;
  if (!readPart(entry, "codes", files, codes, error) || !readPart(entry, "scale", files, scale, error) ||
      !readPart(entry, "zero", files, zero, error) || !readPart(entry, "table", files, table, error)) {
    error = "initializer '" + text(entry, "name") + "': " + error;
    return false;
  }
  bool transposed = entry.getAs<BoolAttr>("transposed").getValue();
  auto type = cast<RankedTensorType>(entry.getAs<TypeAttr>("type").getValue());
  runtime::QuantizedLayout layout;
  layout.k = type.getDimSize(transposed ? 1 : 0);
  layout.n = type.getDimSize(transposed ? 0 : 1);
  layout.bits = number("bits");
  layout.values = static_cast<runtime::CodeValues>(number("values"));
  layout.dimension = number("dimension");
  layout.group = number("group");
  Type element = codes->type.getElementType();
  bool isSigned = isa<IntegerType>(element) && !element.isUnsignedInteger();
  // Made again when they are written: those of a large model are not to lie in memory together.
  auto scalesOf = [scale, transposed](const runtime::QuantizedLayout &of) {
    return scale ? parametersOf(*scale, of.groups(), of.n, transposed, of.bits) : std::vector<float>(of.groups() * of.n, 1.0f);
  };
  std::vector<float> scales = scalesOf(layout), zeros;
  Type scaleType = scale ? scale->type.getElementType() : Type();
  layout.scale = !scale || (scaleType.isBF16() && llvm::all_of(scales, isPowerOfTwo)) ? runtime::ScaleType::e8m0
                 : scaleType.isF16()                                                  ? runtime::ScaleType::f16
                 : scaleType.isBF16()                                                 ? runtime::ScaleType::bf16
                                                                                      : runtime::ScaleType::f32;
  if (zero) {
    zeros = parametersOf(*zero, layout.groups(), layout.n, transposed, layout.bits);
    layout.zeros = isa<FloatType>(zero->type.getElementType()) ? runtime::ZeroType::scale : runtime::ZeroType::u8;
    if (isSigned && layout.zeros == runtime::ZeroType::scale)
      for (float &value : zeros)
        value += static_cast<float>(1 << (layout.bits - 1));
    if (llvm::all_equal(zeros)) {
      layout.zeros = runtime::ZeroType::constant;
      layout.zero = zeros.front();
    }
  } else if (isSigned) {
    layout.zero = static_cast<float>(1 << (layout.bits - 1));
  }
  // Codes of 4 bits of which none needs them are stored in 3.
  int shift = 0;
  if (layout.bits == 4 && (layout.values == runtime::CodeValues::integer || layout.values == runtime::CodeValues::table)) {
    runtime::QuantizedLayout narrow = layout;
    narrow.bits = 3;
    shift = isSigned ? 4 : 0;
    uint8_t sign = isSigned ? 8 : 0;
    auto fits = [&](char code) { return ((static_cast<uint8_t>(code) ^ sign) & 15) - shift >= 0 && ((static_cast<uint8_t>(code) ^ sign) & 15) - shift < 8; };
    std::string why;
    cpu::setPanel(narrow);
    bool zerosFit = layout.zeros != runtime::ZeroType::u8 || llvm::all_of(zeros, [&](float value) { return value >= shift; });
    if (zerosFit && narrow.valid(&why) && std::all_of(codes->data, codes->data + (codes->isSplat ? 1 : layout.k * layout.n), fits)) {
      layout = narrow;
      layout.zero -= static_cast<float>(shift);
      for (float &value : zeros)
        value -= static_cast<float>(shift);
    } else {
      shift = 0;
    }
  }
  int64_t sourceBits = codes->type.getElementTypeBitWidth();
  cpu::setPanel(layout);
  if (std::string why; !layout.valid(&why)) {
    error = "initializer '" + text(entry, "name") + "': " + why;
    return false;
  }
  json["name"] = text(entry, "name");
  json["type"] = "f32";
  json["shape"] = {layout.k, layout.n};
  json["quantized"] = {{"bits", layout.bits}, {"values", runtime::name(layout.values)}, {"dimension", layout.dimension},
                       {"group", layout.group}, {"panel", layout.panel}, {"scale", runtime::name(layout.scale)}};
  json["quantized"]["zero"] = layout.zeros == runtime::ZeroType::constant ? ordered_json(layout.zero)
                              : layout.zeros == runtime::ZeroType::u8     ? ordered_json("u8")
                                                                          : ordered_json("scale");
  source.size = static_cast<uint64_t>(layout.bytes());
  int64_t codeRows = (layout.k + layout.dimension - 1) / layout.dimension;
  scales.clear();
  source.produce = [=, zeros = std::move(zeros)](artifact::Sink &sink, std::string *) {
    std::vector<float> scales = scalesOf(layout);
    std::vector<uint8_t> own;
    cpu::QuantizedSource from;
    from.codes = reinterpret_cast<const uint8_t *>(codes->data);
    if (isSigned || codes->isSplat) {
      own.resize(codeRows * layout.n);
      for (size_t i = 0; i < own.size(); ++i)
        own[i] = static_cast<uint8_t>((from.codes[codes->isSplat ? 0 : i] ^ (isSigned ? 1 << (sourceBits - 1) : 0)) & ((1 << sourceBits) - 1)) -
                 static_cast<uint8_t>(shift);
      from.codes = own.data();
    }
    from.codeRow = transposed ? 1 : layout.n;
    from.codeColumn = transposed ? codeRows : 1;
    from.scales = scales.data();
    from.zeros = zeros.empty() ? nullptr : zeros.data();
    std::vector<float> entries;
    if (table) {
      entries.resize(layout.entries() * layout.dimension);
      int64_t given = table->type.getNumElements();
      for (size_t i = 0; i < entries.size(); ++i) // a code beyond the table stands for its last entry
        entries[i] = numberOf(*table, std::min<int64_t>(i, given - layout.dimension + i % layout.dimension), 0);
      from.table = entries.data();
    }
    std::vector<char> packed(layout.bytes());
    cpu::packQuantized(layout, from, packed.data());
    return sink.write(packed.data(), packed.size());
  };
  return true;
}

static bool describeConstant(DictionaryAttr entry, WeightFiles &files, ordered_json &json, artifact::ConstantSource &source,
                             std::string &error) {
  if (entry.get("sparse"))
    return describeSparse(entry, files, json, source, error);
  if (entry.get("codes"))
    return describeCompressed(entry, files, json, source, error);
  auto type = cast<RankedTensorType>(cast<TypeAttr>(entry.get("type")).getValue());
  size_t elementBytes = std::max<size_t>(type.getElementTypeBitWidth() / 8, 1);
  uint64_t size = type.getNumElements() * elementBytes;
  // As it is in its file, where it is rounded when it is written.
  auto rounded = entry.getAs<TypeAttr>("source");
  Type sourceType = rounded ? cast<RankedTensorType>(rounded.getValue()).getElementType() : type.getElementType();
  uint64_t sourceSize = rounded ? uint64_t(4) * type.getNumElements() : size;
  bool transposed = cast<BoolAttr>(entry.get("transposed")).getValue();
  auto dense = entry.getAs<DenseElementsAttr>("value");
  const char *data = nullptr;
  if (!dense) {
    data = files.bytes(text(entry, "file"), cast<IntegerAttr>(entry.get("offset")).getInt(), sourceSize, error);
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
    lathe_dtype stored = matrixType(type.getElementType());
    if (k > 0 && n > 0 && !cpu::preferredWeightLayout(k, n, stored, &layout, &error))
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
      Matrix matrix{data, transposed ? 1 : n, transposed ? k : 1, matrixType(sourceType), stored};
      if (dense) // one value for all elements, or all of them
        matrix = {dense.getRawData().data(), dense.isSplat() ? 0 : matrix.rowStride, dense.isSplat() ? 0 : matrix.colStride,
                  stored, stored};
      source.produce = [=, &files](artifact::Sink &sink, std::string *) {
        return writePacked(layout, matrix, dense ? nullptr : &files, sink);
      };
      return true;
    }
  }
  json["shape"] = shape;
  source.produce = [=, &files](artifact::Sink &sink, std::string *) {
    if (dense)
      return writeDense(dense, elementBytes, sink);
    for (uint64_t begin = 0; begin < sourceSize; begin += kPieceBytes) {
      uint64_t count = std::min<uint64_t>(kPieceBytes, sourceSize - begin);
      if (rounded ? !writeRounded(data + begin, count / 4, matrixType(type.getElementType()), sink)
                  : !sink.write(data + begin, count))
        return false;
      files.release(data + begin, count);
    }
    return true;
  };
  return true;
}

static auto entriesOf(ModuleOp module, StringRef name) {
  return module->getAttrOfType<ArrayAttr>(name).getAsRange<DictionaryAttr>();
}

static ordered_json describeKernel(DictionaryAttr entry) {
  ordered_json json = {{"name", text(entry, "name")}, {"kind", text(entry, "kind")}, {"nodes", strings(entry.get("nodes"))}};
  if (auto reads = entry.getAs<DenseI64ArrayAttr>("reads"))
    json["reads"] = ArrayRef<int64_t>(reads).vec();
  if (auto result = entry.getAs<DictionaryAttr>("result")) {
    json["result"] = {{"value", text(result, "value")},
                      {"node", text(result, "node")},
                      {"type", typeName(cast<TypeAttr>(result.get("type")).getValue())},
                      {"shape", strings(result.get("shape"))}};
    for (StringRef key : {"argument", "rank"})
      if (auto number = result.getAs<IntegerAttr>(key))
        json["result"][key.str()] = number.getInt();
  }
  if (auto computes = entry.getAs<DictionaryAttr>("computes")) {
    ordered_json &out = json["computes"] = {{"operation", text(computes, "operation")}, {"arguments", ordered_json::array()}};
    for (int64_t offset : ArrayRef<int64_t>(computes.getAs<DenseI64ArrayAttr>("arguments")))
      out["arguments"].push_back(offset < 0 ? ordered_json() : ordered_json(offset));
    out["columns"] = computes.getAs<IntegerAttr>("columns").getInt();
    if (auto epsilon = computes.getAs<FloatAttr>("epsilon"))
      out["epsilon"] = epsilon.getValueAsDouble();
    if (auto order = computes.getAs<DenseI64ArrayAttr>("order"))
      out["order"] = ArrayRef<int64_t>(order).vec();
    if (auto type = computes.getAs<TypeAttr>("type"))
      out["type"] = typeName(type.getValue());
  }
  return json;
}

/// Which constants products and lookups read as their weights, and whether products, and attentions, round what they read.
static void describeWeights(ModuleOp module, ordered_json &kernels) {
  module.walk([&](kernel::AttentionOp op) {
    if (op.getArithmetic())
      kernels[op.getKernel()]["arithmetic"] = typeName(*op.getArithmetic());
  });
  module.walk([&](Operation *op) {
    auto kernel = op->getAttrOfType<IntegerAttr>("kernel"), weight = op->getAttrOfType<IntegerAttr>("weight");
    if (!kernel || !weight || weight.getInt() < 0)
      return;
    ordered_json &entry = kernels[kernel.getInt()];
    entry["weight"] = weight.getInt();
    if (auto product = dyn_cast<kernel::MatmulOp>(op); product && product.getArithmetic())
      entry["arithmetic"] = typeName(*product.getArithmetic());
    if (auto product = dyn_cast<kernel::MatmulOp>(op); product && product.getLhsQuantization() != LATHE_QUANTIZE_NONE)
      entry["rounds"] = product.getLhsQuantization() == LATHE_QUANTIZE_ROWS        ? "rows"
                        : product.getLhsQuantization() == LATHE_QUANTIZE_ROWS_E4M3 ? "rows-e4m3"
                                                                                   : "static";
  });
}

void describeProgram(ModuleOp module, ordered_json &program) {
  program["symbols"] = ordered_json::array();
  for (DictionaryAttr symbol : entriesOf(module, kernel::kSymbolsAttr)) {
    int64_t max = cast<IntegerAttr>(symbol.get("max")).getInt();
    ordered_json entry = {{"name", text(symbol, "name")}};
    if (auto element = symbol.getAs<IntegerAttr>("element"))
      entry.update({{"min", nullptr}, {"max", nullptr}, {"input", text(symbol, "input")}, {"element", element.getInt()}});
    else if (symbol.get("computed"))
      entry.update({{"min", nullptr}, {"max", nullptr}, {"computed", true}});
    else
      entry.update({{"min", cast<IntegerAttr>(symbol.get("min")).getInt()}, {"max", max < 0 ? ordered_json() : ordered_json(max)}});
    program["symbols"].push_back(std::move(entry));
  }
  for (auto [key, name] : {std::pair("inputs", kernel::kInputsAttr), std::pair("outputs", kernel::kOutputsAttr)}) {
    program[key] = ordered_json::array();
    for (DictionaryAttr value : entriesOf(module, name)) {
      program[key].push_back({{"name", text(value, "name")},
                              {"type", typeName(cast<TypeAttr>(value.get("type")).getValue())},
                              {"shape", strings(value.get("shape"))}});
      if (auto below = value.getAs<IntegerAttr>("below"))
        program[key].back()["below"] = below.getInt();
    }
  }
  program["kernels"] = ordered_json::array();
  for (DictionaryAttr entry : entriesOf(module, kernel::kKernelsAttr))
    program["kernels"].push_back(describeKernel(entry));
  describeWeights(module, program["kernels"]);
  program["checks"] = ordered_json::array();
  for (DictionaryAttr check : entriesOf(module, kernel::kChecksAttr))
    program["checks"].push_back({{"node", text(check, "node")}, {"message", text(check, "message")}});
  if (module->hasAttr(kernel::kReadsAttr)) {
    program["reads"] = ordered_json::array();
    for (DictionaryAttr read : entriesOf(module, kernel::kReadsAttr)) {
      program["reads"].push_back({{"constant", read.getAs<IntegerAttr>("constant").getInt()}});
      if (read.get("rows"))
        program["reads"].back()["rows"] = text(read, "rows");
    }
  }
  if (!module->hasAttr(kernel::kCachesAttr))
    return;
  program["caches"] = ordered_json::array();
  for (DictionaryAttr cache : entriesOf(module, kernel::kCachesAttr)) {
    program["caches"].push_back({{"name", text(cache, "name")},
                                 {"type", typeName(cast<TypeAttr>(cache.get("type")).getValue())},
                                 {"heads", cast<IntegerAttr>(cache.get("heads")).getInt()},
                                 {"size", cast<IntegerAttr>(cache.get("size")).getInt()},
                                 {"appended", cast<BoolAttr>(cache.get("appended")).getValue()}});
    if (auto group = cache.getAs<IntegerAttr>("group")) {
      program["caches"].back()["group"] = group.getInt();
      program["caches"].back()["rotated"] = cast<BoolAttr>(cache.get("rotated")).getValue();
    }
  }
}

bool describeConstants(ModuleOp module, WeightFiles &files, ordered_json &manifest, std::vector<artifact::ConstantSource> &constants,
                       std::string &error) {
  uint64_t weights = 0;
  manifest["constants"] = ordered_json::array();
  for (DictionaryAttr constant : entriesOf(module, kernel::kConstantsAttr)) {
    ordered_json json;
    artifact::ConstantSource source;
    if (!describeConstant(constant, files, json, source, error))
      return false;
    if (constant.get("rows"))
      json["rows"] = text(constant, "rows");
    weights += source.size;
    manifest["constants"].push_back(std::move(json));
    constants.push_back(std::move(source));
  }
  manifest["weights_bytes"] = weights;
  return true;
}

} // namespace lathe
