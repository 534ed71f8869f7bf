//===- AudioTest.cpp - Sounds, and what models hear -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// test/cli/test_log_mel.py compares the features with those of transformers.
//
//===----------------------------------------------------------------------===//
#include "runtime/audio/LogMel.h"
#include "runtime/audio/Sound.h"

#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <random>

using namespace lathe::runtime;

namespace {

using Bytes = std::vector<unsigned char>;

void append(Bytes &bytes, uint64_t value, int count) {
  for (int i = 0; i < count; ++i)
    bytes.push_back(static_cast<unsigned char>(value >> (8 * i)));
}

void append(Bytes &bytes, const char *text) { bytes.insert(bytes.end(), text, text + std::strlen(text)); }

/// PCM of 16 bits.
Bytes wav(const std::vector<int16_t> &samples, uint32_t rate, uint16_t channels, uint32_t dataSize) {
  Bytes bytes;
  append(bytes, "RIFF");
  append(bytes, 36 + dataSize, 4);
  append(bytes, "WAVEfmt ");
  append(bytes, 16, 4);
  append(bytes, 1, 2);
  append(bytes, channels, 2);
  append(bytes, rate, 4);
  append(bytes, uint64_t(rate) * channels * 2, 4);
  append(bytes, uint64_t(channels) * 2, 2);
  append(bytes, 16, 2);
  append(bytes, "data");
  append(bytes, dataSize, 4);
  for (int16_t sample : samples)
    append(bytes, static_cast<uint16_t>(sample), 2);
  return bytes;
}

TEST(Wav, ReadsSamples) {
  Sound sound;
  Bytes bytes = wav({16384, -32768, 0, 8192}, 8000, 2, 8);
  ASSERT_FALSE(readWav(bytes.data(), bytes.size(), sound).failed());
  EXPECT_EQ(sound.rate, 8000);
  EXPECT_EQ(sound.samples, (std::vector<float>{-0.25f, 0.125f}));
  // A length that was not known when it was written.
  bytes = wav({16384, -32768, 0}, 8000, 1, 0xFFFFFFFF);
  ASSERT_FALSE(readWav(bytes.data(), bytes.size(), sound).failed());
  EXPECT_EQ(sound.samples, (std::vector<float>{0.5f, -1, 0}));
  // Half a frame at the end is dropped.
  bytes = wav({16384, -32768, 0}, 8000, 2, 6);
  ASSERT_FALSE(readWav(bytes.data(), bytes.size(), sound).failed());
  EXPECT_EQ(sound.samples.size(), 1u);
}

TEST(Wav, DamagedFilesAreErrorsOrSounds) {
  Bytes good = wav(std::vector<int16_t>(20, 99), 16000, 1, 40);
  Sound sound;
  for (size_t size = 0; size < good.size(); ++size) {
    Bytes cut(good.begin(), good.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_TRUE(readWav(cut.data(), cut.size(), sound).failed()) << size;
  }
  std::mt19937 random(1);
  for (int time = 0; time < 20000; ++time) {
    Bytes bytes = good;
    for (int change = 0; change < 3; ++change)
      bytes[random() % 48] = static_cast<unsigned char>(random() % 4 ? random() : 0xFF);
    Status status = readWav(bytes.data(), bytes.size(), sound);
    if (!status.failed())
      EXPECT_LE(sound.samples.size(), 40u);
    else
      EXPECT_EQ(status.code(), LATHE_INVALID_ARGUMENT);
  }
}

TEST(Resample, GivesLengthsByTheRates) {
  for (int64_t from : {1000, 8000, 16000, 44100, 192000})
    for (size_t length : {0u, 1u, 2u, 999u}) {
      Sound sound;
      sound.rate = from;
      sound.samples.assign(length, 0.25f);
      ASSERT_FALSE(resample(sound, 16000).failed());
      EXPECT_EQ(sound.rate, 16000);
      EXPECT_EQ(sound.samples.size(), length * 16000 / static_cast<size_t>(from)) << from;
    }
  Sound sound;
  sound.rate = 999;
  EXPECT_EQ(resample(sound, 16000).message(), "the samples a second must be from 1000 to 192000, got 999");
  sound.rate = 16000;
  EXPECT_TRUE(resample(sound, 192001).failed());
}

TEST(Resample, KeepsTonesAndDropsWhatDoesNotFit) {
  constexpr double kPi = 3.14159265358979323846;
  for (double hertz : {500.0, 6000.0, 12000.0}) {
    Sound sound;
    sound.rate = 48000;
    for (int i = 0; i < 48000; ++i)
      sound.samples.push_back(static_cast<float>(0.5 * std::sin(2 * kPi * hertz * i / 48000)));
    ASSERT_FALSE(resample(sound, 16000).failed());
    for (size_t i = 2000; i < 14000; ++i) {
      double expected = hertz < 8000 ? 0.5 * std::sin(2 * kPi * hertz * static_cast<double>(i) / 16000) : 0;
      ASSERT_NEAR(sound.samples[i], expected, 1e-4) << hertz << " " << i;
    }
  }
}

TEST(LogMel, SilenceIsFlat) {
  int64_t frames = 7;
  std::vector<float> features;
  ASSERT_FALSE(logMel({}, 80, frames, features).failed());
  EXPECT_EQ(features, std::vector<float>(80 * 7, (-10.0f + 4) / 4));
}

TEST(LogMel, NamesWhatIsWrong) {
  std::vector<float> features;
  int64_t frames = 0;
  EXPECT_EQ(logMel(std::vector<float>(200), 80, frames, features).message(),
            "a sound that is not continued must have more than 200 samples, got 200");
  EXPECT_FALSE(logMel(std::vector<float>(201), 80, frames, features).failed());
  EXPECT_EQ(frames, 1);
  EXPECT_TRUE(logMel(std::vector<float>(201), 80, frames, features).failed());
  frames = 10;
  EXPECT_EQ(logMel({}, 0, frames, features).message(), "the number of mels must be from 1 to 128, got 0");
}

} // namespace
