//===- LogMel.cpp - What Whisper hears --------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/audio/LogMel.h"

#include <algorithm>
#include <cmath>
#include <kissfft/kissfft.hh>

using namespace lathe::runtime;

namespace {

constexpr size_t kWindow = 400;
constexpr size_t kBins = kWindow / 2 + 1;
constexpr double kPi = 3.14159265358979323846;
// An hour: what is longer is cut into windows by whoever transcribes it.
constexpr int64_t kMostFrames = 360000;

// Slaney's scale: linear up to 1 kHz, logarithmic above.
constexpr double kLinearHertz = 200.0 / 3;
constexpr double kBreakHertz = 1000;
constexpr double kBreakMel = kBreakHertz / kLinearHertz;

double hertzOf(double mel) {
  double step = std::log(6.4) / 27;
  return mel < kBreakMel ? mel * kLinearHertz : kBreakHertz * std::exp(step * (mel - kBreakMel));
}

double melOf(double hertz) {
  double step = std::log(6.4) / 27;
  return hertz < kBreakHertz ? hertz / kLinearHertz : kBreakMel + std::log(hertz / kBreakHertz) / step;
}

/// A triangle over the bins from `first` on.
struct Filter {
  size_t first = 0;
  std::vector<double> weights;
};

std::vector<Filter> melFilters(size_t count) {
  constexpr double kHighest = static_cast<double>(kMelRate) / 2;
  auto corner = [&](size_t i) {
    return hertzOf(melOf(kHighest) * static_cast<double>(i) / static_cast<double>(count + 1));
  };
  std::vector<Filter> filters(count);
  for (size_t i = 0; i < count; ++i) {
    double low = corner(i), middle = corner(i + 1), high = corner(i + 2);
    Filter &filter = filters[i];
    for (size_t bin = 0; bin < kBins; ++bin) {
      double hertz = kHighest * static_cast<double>(bin) / (kBins - 1);
      double weight = std::min((hertz - low) / (middle - low), (high - hertz) / (high - middle));
      if (weight <= 0)
        continue;
      if (filter.weights.empty())
        filter.first = bin;
      filter.weights.push_back(weight * 2 / (high - low)); // of equal area
    }
  }
  return filters;
}

/// In double: features reach 80 dB below the loudest, where the rounding of f32 transforms is heard.
class Spectrum {
public:
  Spectrum() : transform_(kWindow / 2, false) {
    for (size_t i = 0; i < kWindow; ++i)
      window_[i] = 0.5 - 0.5 * std::cos(2 * kPi * static_cast<double>(i) / kWindow);
  }

  /// The powers of the window around `center` of the sound, which is mirrored at its ends.
  const double *powers(const std::vector<float> &samples, size_t length, int64_t center) {
    auto last = static_cast<int64_t>(length) - 1;
    for (size_t i = 0; i < kWindow; ++i) {
      int64_t at = center + static_cast<int64_t>(i) - static_cast<int64_t>(kWindow / 2);
      at = at < 0 ? -at : at > last ? 2 * last - at : at;
      double sample =
          static_cast<size_t>(at) < samples.size() ? static_cast<double>(samples[static_cast<size_t>(at)]) : 0;
      windowed_[i] = sample * window_[i];
    }
    // The first number has the highest frequency as its imaginary part.
    transform_.transform_real(windowed_, bins_);
    powers_[0] = bins_[0].real() * bins_[0].real();
    powers_[kBins - 1] = bins_[0].imag() * bins_[0].imag();
    for (size_t bin = 1; bin + 1 < kBins; ++bin)
      powers_[bin] = std::norm(bins_[bin]);
    return powers_;
  }

private:
  kissfft<double> transform_;
  double window_[kWindow];
  double windowed_[kWindow];
  std::complex<double> bins_[kWindow / 2];
  double powers_[kBins];
};

} // namespace

Status lathe::runtime::logMel(const std::vector<float> &samples, int64_t mels, int64_t &frames,
                              std::vector<float> &features) {
  if (mels < 1 || mels > kMostMels)
    return failure(LATHE_INVALID_ARGUMENT, "the number of mels must be from 1 to ", kMostMels, ", got ", mels);
  if (frames < 0 || frames == 1 || frames > kMostFrames)
    return failure(LATHE_INVALID_ARGUMENT, "the number of frames must be from 2 to ", kMostFrames,
                   ", or 0 for that of the sound, got ", frames);
  auto length = static_cast<size_t>(frames * kMelHop);
  if (frames == 0) {
    length = samples.size();
    if (length <= kWindow / 2)
      return failure(LATHE_INVALID_ARGUMENT, "a sound that is not continued must have more than ", kWindow / 2,
                     " samples, got ", length);
    if (length / kMelHop > kMostFrames)
      return failure(LATHE_INVALID_ARGUMENT, "a sound must have at most ", kMostFrames, " frames, got ",
                     length / kMelHop);
    frames = static_cast<int64_t>(length / kMelHop);
  }

  auto rows = static_cast<size_t>(mels), columns = static_cast<size_t>(frames);
  std::vector<Filter> filters = melFilters(rows);
  features.assign(rows * columns, 0);
  Spectrum spectrum;
  constexpr double kLeast = 1e-10;
  double loudest = std::log10(kLeast);
  for (size_t frame = 0; frame < columns; ++frame) {
    const double *powers = spectrum.powers(samples, length, static_cast<int64_t>(frame) * kMelHop);
    for (size_t row = 0; row < rows; ++row) {
      double sum = 0;
      for (size_t i = 0; i < filters[row].weights.size(); ++i)
        sum += filters[row].weights[i] * powers[filters[row].first + i];
      double level = std::log10(std::max(sum, kLeast));
      loudest = std::max(loudest, level);
      features[row * columns + frame] = static_cast<float>(level);
    }
  }
  for (float &value : features)
    value = static_cast<float>((std::max(static_cast<double>(value), loudest - 8) + 4) / 4);
  return success();
}
