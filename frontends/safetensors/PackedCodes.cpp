//===- PackedCodes.cpp - Where codes and scales lie in a layout -----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/safetensors/PackedWeight.h"
#include "runtime/SmallFloats.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Endian.h"
#include <array>
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

/// Where marlin's order has what: of four tiles of 16 x 16 codes that are next to each other, of 64 scales of groups,
/// and of 32 scales of whole outputs.
struct MarlinOrder {
  static constexpr int64_t kTile = 16, kTileCodes = kTile * kTile, kCodes = 4 * kTileCodes, kScales = 64, kSingle = 32;
  std::array<int16_t, kCodes> codes;
  std::array<int8_t, kScales> scales;
  std::array<int8_t, kSingle> single;

  /// A thread of a warp reads 8 codes of each of four tiles: two rows of two columns that lie 8 apart, and the two rows
  /// 8 below these; of eight, the even ones come first.
  MarlinOrder() {
    constexpr int64_t kThreads = 32, kOfThread = 8;
    for (int64_t thread = 0; thread < kThreads; ++thread)
      for (int64_t tile = 0; tile < 4; ++tile)
        for (int64_t place = 0; place < kOfThread; ++place) {
          int64_t own = place < 4 ? 2 * place : 2 * (place - 4) + 1; // of the eight
          int64_t row = 2 * (thread % 4) + own % 2 + (own / 2 % 2) * 8, column = thread / 4 + own / 4 * 8;
          codes[tile * kTileCodes + row * kTile + column] =
              static_cast<int16_t>((thread * 4 + tile) * kOfThread + place);
        }
    for (int64_t place = 0; place < kScales; ++place)
      scales[place / 8 + 8 * (place % 8)] = static_cast<int8_t>(place);
    for (int64_t place = 0; place < kSingle; ++place)
      single[2 * (place / 8) + place % 2 + place % 8 / 2 * 8] = static_cast<int8_t>(place);
  }
  static const MarlinOrder &get() {
    static const MarlinOrder order;
    return order;
  }
  /// Of a row of tiles: the place of a code, all tiles of it together.
  int64_t codePlace(int64_t row, int64_t output) const {
    int64_t i = output / kTile * kTileCodes + row * kTile + output % kTile;
    return i / kCodes * kCodes + codes[i % kCodes];
  }
};

int64_t widthOf(const Tensor &scales) { return scales.dtype == "F32" ? 4 : 2; }

} // namespace

unsigned PackedWeight::codeAt(int64_t input, int64_t output) const {
  int64_t words = codePart.tensor->shape[1];
  switch (layout) {
  case Layout::Gptq:
    return streamCode(codePart.bytes, output, n, input, width);
  case Layout::Awq:
    return streamCode(codePart.bytes, input * words, 1, awqPlace(output), width);
  case Layout::Marlin: {
    int64_t place = MarlinOrder::get().codePlace(input % MarlinOrder::kTile, output);
    return streamCode(codePart.bytes, input / MarlinOrder::kTile * words, 1, place, width);
  }
  case Layout::AwqGemv:
  case Layout::Compressed:
    return streamCode(codePart.bytes, output * words, 1, input, width);
  case Layout::Bytes:
    break;
  }
  auto byte = static_cast<uint8_t>(codePart.bytes[output * words + input]);
  return codeKind == Kind::integer ? byte ^ 0x80u : byte; // as all codes of integers, from 0
}

unsigned PackedWeight::zeroAt(int64_t g, int64_t output) const {
  if (!zeroPart.tensor)
    return 1u << (width - 1);
  if (layout == Layout::Bytes)
    return static_cast<uint8_t>(zeroPart.bytes[zeroPart.tensor->elements() == 1 ? 0 : scalePlace(g, output)]) ^ 0x80u;
  int64_t words = zeroPart.tensor->shape[1];
  if (layout == Layout::Compressed)
    return streamCode(zeroPart.bytes, g, words, output, width);
  if (layout == Layout::AwqGemv)
    return streamCode(zeroPart.bytes, output * words, 1, g, width);
  unsigned stored = streamCode(zeroPart.bytes, g * words, 1, layout == Layout::Gptq ? output : awqPlace(output), width);
  return (stored + zeroOffset) & ((1u << width) - 1);
}

int64_t PackedWeight::scalePlace(int64_t g, int64_t output) const {
  switch (layout) {
  case Layout::Gptq:
  case Layout::Awq:
    return g * n + output;
  case Layout::AwqGemv:
    return output * scalePart.tensor->shape[1] + g;
  case Layout::Marlin: {
    const MarlinOrder &order = MarlinOrder::get();
    return g * n + (groupCount > 1 ? output / order.kScales * order.kScales + order.scales[output % order.kScales]
                                   : output / order.kSingle * order.kSingle + order.single[output % order.kSingle]);
  }
  case Layout::Compressed:
  case Layout::Bytes:
    break;
  }
  return output / rowsTogether * groupCount + g;
}

float PackedWeight::scaleAt(int64_t g, int64_t output) const {
  const char *data = scalePart.bytes.data();
  int64_t i = scalePlace(g, output);
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
  unsigned code = codeAt(input, output);
  float value = codeKind == Kind::e4m3   ? runtime::e4m3Value(static_cast<uint8_t>(code))
                : codeKind == Kind::e5m2 ? runtime::e5m2Value(static_cast<uint8_t>(code))
                                         : static_cast<float>(code) - static_cast<float>(zeroAt(g, output));
  return scaleAt(g, output) * value;
}

bool PackedWeight::codesLie(bool transposed) const {
  return layout == Layout::Bytes && transposed && symmetric && order.empty();
}

bool PackedWeight::scalesLie(bool transposed) const {
  switch (layout) {
  case Layout::Gptq:
  case Layout::Awq:
    return !transposed || groupCount == 1;
  case Layout::AwqGemv:
    return scalePart.tensor->shape[1] == groupCount && (transposed || groupCount == 1);
  case Layout::Marlin:
    return false;
  case Layout::Compressed:
  case Layout::Bytes:
    break;
  }
  return rowsTogether == 1 && (transposed || groupCount == 1);
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

std::vector<uint8_t> PackedWeight::scales(bool transposed) const {
  int64_t bytes = widthOf(*scalePart.tensor);
  std::vector<uint8_t> result(static_cast<size_t>(groupCount * n * bytes));
  for (int64_t g = 0; g < groupCount; ++g)
    for (int64_t j = 0; j < n; ++j)
      std::memcpy(&result[(transposed ? j * groupCount + g : g * n + j) * bytes],
                  scalePart.bytes.data() + scalePlace(g, j) * bytes, bytes);
  return result;
}

} // namespace lathe::safetensors
