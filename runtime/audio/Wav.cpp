//===- Wav.cpp - WAV files --------------------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/audio/Sound.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace lathe::runtime;

namespace {

constexpr uint16_t kPcm = 1;
constexpr uint16_t kFloat = 3;
constexpr uint16_t kExtensible = 0xFFFE; ///< the format stands behind the usual fields

struct Format {
  uint16_t encoding = 0;
  uint16_t channels = 0;
  uint32_t rate = 0;
  uint16_t bits = 0;

  size_t sampleBytes() const { return bits / 8; }
};

uint64_t little(const unsigned char *bytes, size_t count) {
  uint64_t value = 0;
  for (size_t i = count; i-- > 0;)
    value = value << 8 | bytes[i];
  return value;
}

Status invalid(const std::string &what) {
  return failure(LATHE_INVALID_ARGUMENT, "not a WAV file that can be read: ", what);
}

Status readFormat(const unsigned char *chunk, size_t size, Format &format) {
  constexpr size_t kShortest = 16, kExtended = 40, kExtension = 24;
  if (size < kShortest)
    return invalid(join("its format has ", size, " bytes, expected at least ", kShortest));
  format.encoding = static_cast<uint16_t>(little(chunk, 2));
  format.channels = static_cast<uint16_t>(little(chunk + 2, 2));
  format.rate = static_cast<uint32_t>(little(chunk + 4, 4));
  format.bits = static_cast<uint16_t>(little(chunk + 14, 2));
  if (format.encoding == kExtensible && size >= kExtended)
    format.encoding = static_cast<uint16_t>(little(chunk + kExtension, 2));
  bool pcm =
      format.encoding == kPcm && (format.bits == 8 || format.bits == 16 || format.bits == 24 || format.bits == 32);
  bool floats = format.encoding == kFloat && (format.bits == 32 || format.bits == 64);
  if (!pcm && !floats)
    return invalid(join("expected PCM of 8, 16, 24 or 32 bits, or floats of 32 or 64, got encoding ", format.encoding,
                        " of ", format.bits, " bits"));
  if (format.channels == 0)
    return invalid("it has no channels");
  if (little(chunk + 12, 2) != format.channels * format.sampleBytes())
    return invalid(join("expected ", format.channels * format.sampleBytes(), " bytes for ", format.channels,
                        " channels of ", format.bits, " bits, got ", little(chunk + 12, 2)));
  if (format.rate == 0)
    return invalid("it has no samples a second");
  return success();
}

double readSample(const unsigned char *bytes, const Format &format) {
  uint64_t bits = little(bytes, format.sampleBytes());
  if (format.encoding == kFloat && format.bits == 64) {
    double value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }
  auto narrow = static_cast<uint32_t>(bits);
  if (format.encoding == kFloat) {
    float value;
    std::memcpy(&value, &narrow, sizeof value);
    return static_cast<double>(value);
  }
  // Eight bits have no sign, the others do.
  if (format.bits == 8)
    return (static_cast<double>(narrow) - 128) / 128;
  auto shifted = static_cast<int32_t>(narrow << (32 - format.bits));
  return static_cast<double>(shifted) * 0x1p-31;
}

Status readSamples(const unsigned char *data, size_t size, const Format &format, std::vector<float> &samples) {
  size_t frame = format.channels * format.sampleBytes();
  samples.resize(size / frame);
  for (size_t i = 0; i < samples.size(); ++i) {
    double sum = 0;
    for (size_t channel = 0; channel < format.channels; ++channel)
      sum += readSample(data + i * frame + channel * format.sampleBytes(), format);
    samples[i] = static_cast<float>(sum / format.channels);
    if (!std::isfinite(samples[i]))
      return invalid(join("sample ", i, " is no finite number"));
  }
  return success();
}

} // namespace

Status lathe::runtime::readWav(const unsigned char *data, size_t size, Sound &sound) {
  constexpr size_t kHeader = 12, kChunkHeader = 8;
  constexpr uint64_t kUnknownLength = 0xFFFFFFFF;
  if (size < kHeader || std::memcmp(data, "RIFF", 4) != 0 || std::memcmp(data + 8, "WAVE", 4) != 0)
    return invalid("expected it to begin with RIFF and WAVE");
  Format format;
  bool known = false;
  for (size_t at = kHeader; size - at >= kChunkHeader;) {
    const unsigned char *name = data + at;
    uint64_t length = little(data + at + 4, 4);
    at += kChunkHeader;
    size_t left = size - at;
    bool isData = std::memcmp(name, "data", 4) == 0;
    if (isData && length == kUnknownLength)
      length = left;
    if (length > left)
      return invalid(join("it is cut off: a part of ", length, " bytes has only ", left));
    if (std::memcmp(name, "fmt ", 4) == 0) {
      if (Status status = readFormat(data + at, static_cast<size_t>(length), format); status.failed())
        return status;
      known = true;
    } else if (isData) {
      if (!known)
        return invalid("its data stand before their format");
      sound.rate = format.rate;
      return readSamples(data + at, static_cast<size_t>(length), format, sound.samples);
    }
    // Parts begin at even places.
    at += static_cast<size_t>(std::min<uint64_t>(length + length % 2, left));
  }
  return invalid("it has no data");
}
