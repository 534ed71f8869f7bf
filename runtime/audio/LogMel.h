//===- LogMel.h - What Whisper hears ----------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_AUDIO_LOGMEL_H
#define LATHE_RUNTIME_AUDIO_LOGMEL_H

#include "runtime/Status.h"

#include <cstdint>
#include <vector>

namespace lathe::runtime {

/// Whisper's settings: 16 000 samples a second, windows of 25 ms every 10 ms, and 30 s at a time.
constexpr int64_t kMelRate = 16000;
constexpr int64_t kMelHop = 160;
constexpr int64_t kMelFrames = 3000;
constexpr int64_t kMostMels = 128;

/// The features [mels, frames] of a sound of 16 000 samples a second, equal to those of Hugging Face's
/// WhisperFeatureExtractor: power spectra of Hann windows of 400 samples, the sound mirrored at its ends; `mels`
/// filters of equal area on Slaney's mel scale up to 8 kHz; the logarithm (base 10) of at least 1e-10, at most 8 below
/// the largest of all; plus 4, divided by 4. The sound is continued with silence, or cut, to `frames` * 160 samples;
/// for 0 frames it stays as it is and the whole hops that it has are `frames`, which needs more than 200 samples.
Status logMel(const std::vector<float> &samples, int64_t mels, int64_t &frames, std::vector<float> &features);

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_AUDIO_LOGMEL_H
