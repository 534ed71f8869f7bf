//===- Resample.cpp - Other numbers of samples a second ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/audio/Sound.h"

#include <climits>
#include <samplerate.h>

using namespace lathe::runtime;

Status lathe::runtime::resample(Sound &sound, int64_t rate) {
  for (int64_t one : {sound.rate, rate})
    if (one < kLowestRate || one > kHighestRate)
      return failure(LATHE_INVALID_ARGUMENT, "the samples a second must be from ", kLowestRate, " to ", kHighestRate,
                     ", got ", one);
  if (sound.rate == rate)
    return success();
  double quotient = static_cast<double>(rate) / static_cast<double>(sound.rate);
  auto frames = static_cast<uint64_t>(static_cast<double>(sound.samples.size()) * quotient);
  if (sound.samples.size() > LONG_MAX / sizeof(float) || frames > LONG_MAX / sizeof(float))
    return failure(LATHE_INVALID_ARGUMENT, "the sound is too long to resample");
  std::vector<float> result(static_cast<size_t>(frames));
  if (!result.empty()) {
    SRC_DATA request = {};
    request.data_in = sound.samples.data();
    request.data_out = result.data();
    request.input_frames = static_cast<long>(sound.samples.size());
    request.output_frames = static_cast<long>(result.size());
    request.src_ratio = quotient;
    if (int error = src_simple(&request, SRC_SINC_BEST_QUALITY, 1))
      return failure(LATHE_INTERNAL, "cannot resample: ", src_strerror(error));
    // The filter's end may be short of the last sample: silence.
    for (size_t i = static_cast<size_t>(request.output_frames_gen); i < result.size(); ++i)
      result[i] = 0;
  }
  sound.samples.swap(result);
  sound.rate = rate;
  return success();
}
