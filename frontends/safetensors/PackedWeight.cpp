//===- PackedWeight.cpp - Codes as quantizers pack them -------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/safetensors/PackedWeight.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/MathExtras.h"

using llvm::StringRef;
namespace endian = llvm::support::endian;

namespace lathe::safetensors {
namespace {

constexpr int64_t kWordBits = 32;
/// What 'marlin' permutes: tiles of so many inputs and outputs, four next to each other together.
constexpr int64_t kTile = 16, kTilesTogether = 4;

bool isBits(int64_t bits) { return bits == 2 || bits == 3 || bits == 4 || bits == 8; }

bool isByteCode(llvm::StringRef dtype) { return dtype == "I8" || dtype == "F8_E4M3" || dtype == "F8_E5M2"; }

/// Programs by what they call themselves, with the formats that are read.
struct Method {
  const char *name;
  llvm::SmallVector<const char *> formats;
};

const llvm::SmallVector<Method> &methods() {
  static const llvm::SmallVector<Method> all = {
      {"gptq", {"gptq", "gptq_v2", "marlin"}},
      {"awq", {"gemm", "awq", "gemv", "marlin"}},
      {"compressed-tensors",
       {"pack-quantized", "int-quantized", "float-quantized", "naive-quantized", "mixed-precision"}},
      {"fp8", {}}};
  return all;
}

std::string quotedNames(llvm::ArrayRef<const char *> names) { return "'" + llvm::join(names, "' or '") + "'"; }

/// A format that is read of no program has layers that may look like another one's.
std::string checkFormat(const QuantizationConfig &config) {
  for (const Method &method : methods())
    if (config.method == method.name && !config.format.empty() && !method.formats.empty() &&
        !llvm::is_contained(method.formats, config.format))
      return "'" + config.source + "': format '" + config.format + "' is not supported: expected " +
             quotedNames(method.formats) + "; write the checkpoint in one of these";
  return "";
}

} // namespace

struct PackedWeight::LayoutNames {
  llvm::SmallVector<const char *> methods, formats;
};

PackedWeight::LayoutNames PackedWeight::namesOf(Layout layout) {
  switch (layout) {
  case Layout::Gptq:
    return {{"gptq"}, {"gptq", "gptq_v2"}};
  case Layout::Awq:
    return {{"awq"}, {"gemm", "awq"}};
  case Layout::AwqGemv:
    return {{"awq"}, {"gemv"}};
  case Layout::Marlin:
    return {{"gptq", "awq"}, {"marlin"}};
  case Layout::Compressed:
    return {{"compressed-tensors"}, {"pack-quantized", "mixed-precision"}};
  case Layout::Bytes:
    break;
  }
  return {{"compressed-tensors", "fp8"}, {"int-quantized", "float-quantized", "naive-quantized", "mixed-precision"}};
}

std::string PackedWeight::make(const Parts &parts, const QuantizationConfig &config, PackedWeight &weight) {
  weight = PackedWeight();
  weight.codePart = parts.codes;
  weight.zeroPart = parts.zeros;
  weight.scalePart = parts.scales;
  weight.groupPart = parts.groupIndex;
  weight.shapePart = parts.shape;
  std::string problem = checkFormat(config);
  weight.layout = parts.storage == Storage::bytes ? Layout::Bytes : Layout::Gptq;
  if (problem.empty())
    problem = weight.checkTypes();
  if (problem.empty())
    problem = weight.checkShapes(parts.storage, config);
  if (problem.empty())
    problem = weight.checkConfig(config);
  if (problem.empty())
    problem = weight.readGroups();
  if (!problem.empty())
    return problem;
  auto middle = 1u << (weight.width - 1);
  weight.symmetric = true;
  if (weight.codeKind != Kind::integer || !parts.zeros.tensor)
    return "";
  for (int64_t g = 0; g < weight.groupCount && weight.symmetric; ++g)
    for (int64_t j = 0; j < weight.n && weight.symmetric; ++j)
      weight.symmetric = weight.zeroAt(g, j) == middle;
  return "";
}

std::string PackedWeight::checkTypes() {
  const Tensor &q = *codePart.tensor, &s = *scalePart.tensor;
  const Tensor *z = zeroPart.tensor;
  bool isBytes = layout == Layout::Bytes;
  if (q.rank() != 2 || (isBytes ? !isByteCode(q.dtype) : q.dtype != "I32"))
    return std::string("codes: expects ") + (isBytes ? "I8, F8_E4M3 or F8_E5M2" : "I32") + " of two axes, got " +
           q.type();
  if (z && (isBytes ? z->dtype != q.dtype && z->dtype != "I8" : z->dtype != "I32" || z->rank() != 2))
    return std::string("zero points: expects ") + (isBytes ? q.dtype : "I32 of two axes") + ", got " + z->type();
  bool isFloat = s.dtype == "F16" || s.dtype == "BF16" || s.dtype == "F32";
  if (!isFloat || (isBytes ? s.rank() > 2 : s.rank() != 2))
    return std::string("scales: expects F16, BF16 or F32 of ") + (isBytes ? "at most " : "") + "two axes, got " +
           s.type();
  if (s.elements() == 0 || q.elements() == 0 || (z && z->elements() == 0))
    return "expects at least one input and one output, got " + q.type();
  return "";
}

std::string PackedWeight::checkShapes(Storage storage, const QuantizationConfig &config) {
  switch (storage) {
  case Storage::packed:
    return checkCompressed();
  case Storage::marlin:
    return checkMarlin();
  case Storage::bytes:
    return checkBytes(config);
  case Storage::words:
    break;
  }
  const Tensor &q = *codePart.tensor, &s = *scalePart.tensor, &z = *zeroPart.tensor;
  // GPTQ's of groups of eight would have such shapes, too, with words along inputs.
  bool byOutputs = q.shape[0] == s.shape[0] && q.shape[0] == z.shape[0] && s.shape[1] == 8 * z.shape[1] &&
                   (config.format == "gemv" || q.shape[1] != s.shape[1]);
  return byOutputs ? checkGemv(config) : checkWords(config);
}

/// Of AWQ's version gemv, columns beyond the groups are padding: the groups are what is said.
std::string PackedWeight::checkGemv(const QuantizationConfig &config) {
  constexpr int64_t kCodes = 8; // of a word
  const Tensor &q = *codePart.tensor, &z = *zeroPart.tensor;
  layout = Layout::AwqGemv;
  width = 4;
  n = q.shape[0];
  k = q.shape[1] * kCodes;
  if (!config.groupSize)
    return "expects 'q_group_size' in 'quant_config.json', or 'group_size' in 'config.json', as the scales of version "
           "gemv, " +
           scalePart.tensor->type() + ", don't tell how many groups there are";
  group = *config.groupSize <= 0 ? k : std::min(*config.groupSize, k);
  groupCount = (k + group - 1) / group;
  // Words of zero points are loaded as many at a time as groups are small.
  int64_t together = group == 64 ? 2 : group == 32 ? 4 : 1;
  auto words = static_cast<int64_t>(llvm::alignTo(llvm::divideCeil(groupCount, kCodes), together));
  if (k % group != 0 || z.shape[1] != words)
    return "'" + config.source + "': says groups of " + std::to_string(*config.groupSize) + ", of which " +
           std::to_string(k) + " inputs have qzeros of I32 [" + std::to_string(n) + ", " + std::to_string(words) +
           "], got " + z.type();
  return "";
}

std::string PackedWeight::checkMarlin() {
  const Tensor &q = *codePart.tensor, &s = *scalePart.tensor;
  constexpr int64_t kCodes = 8, kOutputs = kTile * kTilesTogether;
  layout = Layout::Marlin;
  width = 4;
  groupCount = s.shape[0];
  n = s.shape[1];
  k = q.shape[0] * kTile;
  if (n % kOutputs != 0 || q.shape[1] != n / kCodes * kTile)
    return "expects marlin's codes of 4 bits to be I32 [inputs / 16, 2 * outputs], outputs a multiple of 64, got " +
           q.type() + " beside scales of " + s.type();
  if (k % groupCount != 0)
    return "expects groups of one size: " + std::to_string(k) + " inputs don't make " + std::to_string(groupCount) +
           " groups";
  return "";
}

/// One scale, one for each output, or each group of its inputs, or one for each block.
std::string PackedWeight::checkBytes(const QuantizationConfig &config) {
  const Tensor &q = *codePart.tensor, &s = *scalePart.tensor;
  n = q.shape[0];
  k = q.shape[1];
  width = 8;
  codeKind = q.dtype == "I8" ? Kind::integer : q.dtype == "F8_E4M3" ? Kind::e4m3 : Kind::e5m2;
  auto blocks = [](int64_t extent, const std::optional<int64_t> &size) {
    return size && *size > 0 ? static_cast<int64_t>(llvm::divideCeil(extent, *size)) : 0;
  };
  int64_t rows = s.rank() > 0 ? s.shape[0] : 1, columns = s.rank() > 1 ? s.shape[1] : 1;
  groupCount = columns;
  if (rows * columns == 1) {
    rowsTogether = n;
  } else if (s.rank() == 2 && blocks(n, config.blockRows) == rows && blocks(k, config.blockColumns) == columns) {
    rowsTogether = std::min(*config.blockRows, n);
    group = std::min(*config.blockColumns, k);
  } else if (rows == n && columns == blocks(k, config.groupSize)) {
    group = std::min(*config.groupSize, k);
  } else if (rows != n || columns > k) {
    std::string expected = "expects scales for all, [" + std::to_string(n) + ", 1], or of groups of inputs, or of ";
    return expected +
           (config.blockRows
                ? "blocks of " + std::to_string(*config.blockRows) + " x " + std::to_string(*config.blockColumns)
                : "blocks that 'weight_block_size' in 'config.json' says") +
           ", for codes " + q.type() + ", got " + s.type();
  }
  const Tensor *z = zeroPart.tensor;
  if (z && z->elements() != 1 && z->elements() != s.elements())
    return "expects as many zero points as scales, " + s.type() + ", got " + z->type();
  const StringRef kZeros("\0\x80", 2); // of floats, with either sign
  if (z && codeKind != Kind::integer && zeroPart.bytes.find_first_not_of(kZeros) != StringRef::npos)
    return "expects floats of 8 bits to have zero points of 0";
  return "";
}

/// Of compressed-tensors the extents are said.
std::string PackedWeight::checkCompressed() {
  const Tensor &q = *codePart.tensor, &s = *scalePart.tensor, &shape = *shapePart.tensor;
  layout = Layout::Compressed;
  bool isLong = shape.dtype == "I64";
  if ((!isLong && shape.dtype != "I32") || shape.elements() != 2)
    return "weight_shape: expects two integers, got " + shape.type();
  const char *data = shapePart.bytes.data();
  n = isLong ? static_cast<int64_t>(endian::read64le(data)) : static_cast<int32_t>(endian::read32le(data));
  k = isLong ? static_cast<int64_t>(endian::read64le(data + 8)) : static_cast<int32_t>(endian::read32le(data + 4));
  if (n != q.shape[0] || n != s.shape[0] || k < 1 || k > q.shape[1] * kWordBits)
    return "weight_shape: says " + std::to_string(n) + " outputs and " + std::to_string(k) + " inputs, and codes are " +
           q.type() + ", scales " + s.type();
  int64_t fitting = 0;
  for (int64_t bits : {2, 3, 4, 8})
    if (llvm::divideCeil(k * bits, kWordBits) == static_cast<uint64_t>(q.shape[1])) {
      width = bits;
      ++fitting;
    }
  if (fitting != 1)
    return "expects codes of 2, 3, 4 or 8 bits, which " + std::to_string(k) + " inputs in codes " + q.type() +
           " don't tell";
  groupCount = s.shape[1];
  if (groupCount > k)
    return "expects at most a group for each of " + std::to_string(k) + " inputs, got scales " + s.type();
  auto words = static_cast<int64_t>(llvm::divideCeil(n * width, kWordBits));
  if (zeroPart.tensor && (zeroPart.tensor->shape[0] != words || zeroPart.tensor->shape[1] != groupCount))
    return "expects zero points of I32 [" + std::to_string(words) + ", " + std::to_string(groupCount) +
           "] beside scales of " + s.type() + ", got " + zeroPart.tensor->type();
  return "";
}

/// What the shapes alone tell: which of the layouts it is, and the extents.
std::string PackedWeight::checkWords(const QuantizationConfig &config) {
  const Tensor &q = *codePart.tensor, &s = *scalePart.tensor, &z = *zeroPart.tensor;
  groupCount = s.shape[0];
  n = s.shape[1];
  // Words along outputs are fewer than these.
  bool alongInputs = q.shape[1] == n;
  layout = alongInputs ? Layout::Gptq : Layout::Awq;
  width = (alongInputs ? z.shape[1] : q.shape[1]) * kWordBits / n;
  // Zero points that don't fill their last word say too much.
  const Tensor *index = groupPart.tensor;
  if (alongInputs && index && index->rank() == 1 && index->shape[0] > 0)
    width = q.shape[0] * kWordBits / index->shape[0];
  else if (alongInputs && config.bits && isBits(*config.bits) &&
           llvm::divideCeil(n * *config.bits, kWordBits) == static_cast<uint64_t>(z.shape[1]))
    width = *config.bits;
  if (!isBits(width))
    return "expects codes of 2, 3, 4 or 8 bits; those of qweight " + q.type() + ", qzeros " + z.type() +
           " and scales " + s.type() + " would have " + std::to_string(width);
  if (!alongInputs && (width != 4 || n % 8 != 0))
    return "expects AWQ's codes to have 4 bits and its outputs to be a multiple of 8, got " + std::to_string(width) +
           " bits of " + std::to_string(n) + " outputs";
  if (alongInputs && q.shape[0] * kWordBits % width != 0)
    return "expects qweight's rows to hold whole codes of " + std::to_string(width) + " bits, got " + q.type();
  k = alongInputs ? q.shape[0] * kWordBits / width : q.shape[0];
  if (z.shape[0] != groupCount || z.shape[1] != static_cast<int64_t>(llvm::divideCeil(n * width, kWordBits)))
    return "expects qzeros of I32 [" + std::to_string(groupCount) + ", " +
           std::to_string(llvm::divideCeil(n * width, kWordBits)) + "] beside scales of " + s.type() + ", got " +
           z.type();
  if (groupCount > k)
    return "expects at most a group for each of " + std::to_string(k) + " inputs, got scales " + s.type();
  return "";
}

std::string PackedWeight::checkConfig(const QuantizationConfig &config) {
  std::string prefix = "'" + config.source + "': ", codes = "codes " + codePart.tensor->type();
  LayoutNames own = namesOf(layout);
  if (!config.method.empty() && !llvm::is_contained(own.methods, config.method))
    return prefix + "quant_method '" + config.method + "' does not fit " + codes + ": expected " +
           quotedNames(own.methods);
  if (!config.format.empty() && config.method != "fp8" && !llvm::is_contained(own.formats, config.format))
    return prefix + "format '" + config.format + "' does not fit " + codes + ": expected " + quotedNames(own.formats);
  zeroOffset = layout == Layout::Gptq && config.format != "gptq_v2" ? 1 : 0;
  if (group == 0)
    group = (k + groupCount - 1) / groupCount;
  if (config.variesByLayer || config.source.empty() || layout == Layout::Bytes)
    return "";
  if (config.bits && *config.bits != width)
    return prefix + "says " + std::to_string(*config.bits) + " bits, and qweight " + codePart.tensor->type() +
           " has codes of " + std::to_string(width);
  if (!config.groupSize)
    return "";
  int64_t size = *config.groupSize <= 0 ? k : std::min(*config.groupSize, k);
  if ((k + size - 1) / size != groupCount)
    return prefix + "says groups of " + std::to_string(*config.groupSize) + ", and scales " + scalePart.tensor->type() +
           " are of " + std::to_string(groupCount) + " groups of " + std::to_string(k) + " inputs";
  group = size;
  return "";
}

/// Inputs by their groups. Where that is the order they have, nothing is kept.
std::string PackedWeight::readGroups() {
  if ((k + group - 1) / group != groupCount)
    return "expects groups of one size: " + std::to_string(k) + " inputs don't make " + std::to_string(groupCount) +
           " groups";
  if (!groupPart.tensor)
    return "";
  const Tensor &index = *groupPart.tensor;
  if (index.dtype != "I32" || index.rank() != 1 || index.shape[0] != k)
    return "g_idx: expects I32 [" + std::to_string(k) + "], got " + index.type();
  std::vector<int64_t> counts(groupCount, 0);
  bool isNatural = true,
       isUnused = layout == Layout::Compressed || layout == Layout::Bytes; // then -1 stands for each without an order
  for (int64_t i = 0; i < k && isUnused; ++i)
    isUnused = endian::read32le(groupPart.bytes.data() + 4 * i) == ~0u;
  if (isUnused)
    return "";
  for (int64_t i = 0; i < k; ++i) {
    auto g = static_cast<int32_t>(endian::read32le(groupPart.bytes.data() + 4 * i));
    if (g < 0 || g >= groupCount)
      return "g_idx: expects groups below " + std::to_string(groupCount) + ", got " + std::to_string(g) +
             " for input " + std::to_string(i);
    groupOf.push_back(g);
    ++counts[g];
    isNatural &= g == i / group;
  }
  if (isNatural) {
    groupOf.clear();
    return "";
  }
  for (int64_t g = 0; g < groupCount; ++g)
    if (int64_t expected = std::min(group, k - g * group); counts[g] != expected)
      return "g_idx: expects " + std::to_string(expected) + " inputs in group " + std::to_string(g) + ", got " +
             std::to_string(counts[g]);
  for (int64_t i = 0; i < k; ++i)
    order.push_back(i);
  llvm::sort(order, [this](int64_t a, int64_t b) { return std::pair(groupOf[a], a) < std::pair(groupOf[b], b); });
  return "";
}

} // namespace lathe::safetensors
