//===- PackedWeight.cpp - Codes as GPTQ and AWQ pack them -----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/safetensors/PackedWeight.h"
#include "runtime/SmallFloats.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/MathExtras.h"
#include <cstring>

using llvm::StringRef;
namespace endian = llvm::support::endian;

namespace lathe::safetensors {
namespace {

constexpr int64_t kWordBits = 32;

uint32_t wordAt(StringRef bytes, int64_t index) { return endian::read32le(bytes.data() + 4 * index); }

/// Code `i` of codes that lie one behind the other in words that are `stride` words apart, the first at `first`. A code
/// of three bits may lie in two words.
unsigned streamCode(StringRef bytes, int64_t first, int64_t stride, int64_t i, int64_t bits) {
  int64_t bit = i * bits, word = bit / kWordBits, shift = bit % kWordBits;
  uint64_t value = wordAt(bytes, first + word * stride);
  if (shift + bits > kWordBits)
    value |= uint64_t(wordAt(bytes, first + (word + 1) * stride)) << kWordBits;
  return static_cast<unsigned>(value >> shift) & ((1u << bits) - 1);
}

/// Where AWQ has the code of an output among the eight of its word.
int64_t awqPlace(int64_t output) {
  static constexpr int64_t places[] = {0, 4, 1, 5, 2, 6, 3, 7};
  return output / 8 * 8 + places[output % 8];
}

bool isBits(int64_t bits) { return bits == 2 || bits == 3 || bits == 4 || bits == 8; }

} // namespace

std::string PackedWeight::make(const Parts &parts, const QuantizationConfig &config, PackedWeight &weight) {
  weight = PackedWeight();
  weight.codePart = parts.codes;
  weight.zeroPart = parts.zeros;
  weight.scalePart = parts.scales;
  weight.groupPart = parts.groupIndex;
  weight.shapePart = parts.shape;
  std::string problem = weight.checkTypes();
  if (problem.empty())
    problem = parts.shape.tensor ? weight.checkCompressed() : weight.checkShapes(config);
  if (problem.empty())
    problem = weight.checkConfig(config);
  if (problem.empty())
    problem = weight.readGroups();
  if (!problem.empty())
    return problem;
  auto middle = 1u << (weight.width - 1);
  weight.symmetric = true;
  for (int64_t g = 0; g < weight.groupCount && weight.symmetric; ++g)
    for (int64_t j = 0; j < weight.n && weight.symmetric; ++j)
      weight.symmetric = weight.zeroAt(g, j) == middle;
  return "";
}

std::string PackedWeight::checkTypes() {
  const Tensor &q = *codePart.tensor, &s = *scalePart.tensor;
  if (q.dtype != "I32" || q.rank() != 2)
    return "codes: expects I32 of two axes, got " + q.type();
  if (zeroPart.tensor && (zeroPart.tensor->dtype != "I32" || zeroPart.tensor->rank() != 2))
    return "zero points: expects I32 of two axes, got " + zeroPart.tensor->type();
  if ((s.dtype != "F16" && s.dtype != "BF16" && s.dtype != "F32") || s.rank() != 2)
    return "scales: expects F16, BF16 or F32 of two axes, got " + s.type();
  if (s.elements() == 0 || q.elements() == 0 || (zeroPart.tensor && zeroPart.tensor->elements() == 0))
    return "expects at least one input and one output, got " + q.type();
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
std::string PackedWeight::checkShapes(const QuantizationConfig &config) {
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
  struct Known {
    const char *method;
    llvm::SmallVector<const char *> formats;
  };
  const Known known[] = {
      {"gptq", {"gptq", "gptq_v2"}}, {"awq", {"gemm", "awq"}}, {"compressed-tensors", {"pack-quantized"}}};
  const Known &own = known[static_cast<int>(layout)];
  if (!config.method.empty() && config.method != own.method)
    return prefix + "quant_method '" + config.method + "' does not fit " + codes + ": expected '" + own.method + "'";
  if (!config.format.empty() && llvm::none_of(own.formats, [&](const char *format) { return config.format == format; }))
    return prefix + "format '" + config.format + "' is not supported: expected '" + llvm::join(own.formats, "' or '") +
           "'";
  zeroOffset = layout == Layout::Gptq && config.format != "gptq_v2" ? 1 : 0;
  group = (k + groupCount - 1) / groupCount;
  if (config.variesByLayer || config.source.empty())
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
       isUnused = layout == Layout::Compressed; // compressed-tensors writes -1 for each where it has no order
  for (int64_t i = 0; i < k && isUnused; ++i)
    isUnused = wordAt(groupPart.bytes, i) == ~0u;
  if (isUnused)
    return "";
  for (int64_t i = 0; i < k; ++i) {
    auto g = static_cast<int32_t>(wordAt(groupPart.bytes, i));
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

unsigned PackedWeight::codeAt(int64_t input, int64_t output) const {
  int64_t words = codePart.tensor->shape[1];
  if (layout == Layout::Gptq)
    return streamCode(codePart.bytes, output, n, input, width);
  if (layout == Layout::Awq)
    return streamCode(codePart.bytes, input * words, 1, awqPlace(output), width);
  return streamCode(codePart.bytes, output * words, 1, input, width);
}

unsigned PackedWeight::zeroAt(int64_t g, int64_t output) const {
  if (!zeroPart.tensor)
    return 1u << (width - 1);
  int64_t words = zeroPart.tensor->shape[1];
  if (layout == Layout::Compressed)
    return streamCode(zeroPart.bytes, g, words, output, width);
  unsigned stored = streamCode(zeroPart.bytes, g * words, 1, layout == Layout::Gptq ? output : awqPlace(output), width);
  return (stored + zeroOffset) & ((1u << width) - 1);
}

float PackedWeight::scaleAt(int64_t g, int64_t output) const {
  const char *data = scalePart.bytes.data();
  int64_t i = scalesByOutput() ? output * groupCount + g : g * n + output;
  if (scalePart.tensor->dtype == "F32") {
    uint32_t bits = endian::read32le(data + 4 * i);
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }
  uint16_t half = endian::read16le(data + 2 * i);
  return scalePart.tensor->dtype == "F16" ? runtime::halfValue(half) : runtime::bfloatValue(half);
}

float PackedWeight::at(int64_t input, int64_t output) const {
  int64_t g = groupOf.empty() ? input / group : groupOf[input];
  return scaleAt(g, output) * (static_cast<float>(codeAt(input, output)) - static_cast<float>(zeroAt(g, output)));
}

std::vector<uint8_t> PackedWeight::codes(bool transposed) const {
  std::vector<uint8_t> result(static_cast<size_t>(k) * static_cast<size_t>(n));
  // By rows of the file, a few outputs at a time where they are written far apart.
  constexpr int64_t kTile = 64;
  for (int64_t begin = 0; begin < n; begin += kTile)
    for (int64_t row = 0; row < k; ++row) {
      int64_t input = order.empty() ? row : order[row];
      for (int64_t j = begin, end = std::min(begin + kTile, n); j < end; ++j)
        result[transposed ? j * k + row : row * n + j] = static_cast<uint8_t>(codeAt(input, j));
    }
  return result;
}

std::vector<uint8_t> PackedWeight::zeros(bool transposed) const {
  std::vector<uint8_t> result(static_cast<size_t>(groupCount) * static_cast<size_t>(n));
  for (int64_t g = 0; g < groupCount; ++g)
    for (int64_t j = 0; j < n; ++j)
      result[transposed ? j * groupCount + g : g * n + j] = static_cast<uint8_t>(zeroAt(g, j));
  return result;
}

} // namespace lathe::safetensors
