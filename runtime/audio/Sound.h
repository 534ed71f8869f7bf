//===- Sound.h - Recorded sound ---------------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_AUDIO_SOUND_H
#define LATHE_RUNTIME_AUDIO_SOUND_H

#include "runtime/Status.h"

#include <cstdint>
#include <vector>

namespace lathe::runtime {

/// One channel. Full scale is from -1 to 1.
struct Sound {
  int64_t rate = 0; ///< samples a second
  std::vector<float> samples;
};

/// Reads the content of a WAV file: PCM of 8, 16, 24 or 32 bits, or floats of 32 or 64. Several channels become their
/// mean. The data may be of any length, 0 too; a file that ends before its data do is an error, save where a program
/// that could not know the length (ffmpeg into a pipe) wrote the largest one.
Status readWav(const unsigned char *data, size_t size, Sound &sound);

/// The rates that resample takes and gives.
constexpr int64_t kLowestRate = 1000;
constexpr int64_t kHighestRate = 192000;

/// Changes the number of samples a second, band-limited (libsamplerate's best sinc filter). The length becomes the
/// old one times the quotient of the rates, rounded down.
Status resample(Sound &sound, int64_t rate);

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_AUDIO_SOUND_H
