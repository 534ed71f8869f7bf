//===- Scaling.h - Factors of inputs that make rounding easier --*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_METHODS_SCALING_H
#define LATHE_PASSES_QUANTIZATION_METHODS_SCALING_H

#include "passes/quantization/methods/Quantized.h"
#include "passes/quantization/methods/Statistics.h"

namespace lathe::quantization {

/// A layer's output stays as it is when its weight's inputs are multiplied by s[k] and what it gets is divided by s.
/// All layers that share an input must share s. Factors here are positive and finite.

/// scaled[n][k] = w * s. `scaled` may be w.data.
void scaleInputs(const Weight &w, const std::vector<float> &s, float *scaled);
/// Those of x / s.
InputStatistics scaledStatistics(const InputStatistics &statistics, const std::vector<float> &s);

/// s[i] = (max |x[i]|)^alpha / (max |w[.][i]|)^(1 - alpha) (Xiao et al. 2022, "SmoothQuant", equation 4), the maximum
/// being over all `weights`, which share the input; 1 where an input or its weights are all 0. `alpha` from 0 to 1
/// says how much of the difficulty goes to the weights.
Status smoothQuantScales(const std::vector<Weight> &weights, const InputStatistics &statistics, double alpha,
                         std::vector<float> &s);

/// Inputs i with max |x[i]| >= threshold, ascending: those that LLM.int8 keeps apart (Dettmers et al. 2022, section
/// 3.2; 6.0 there).
std::vector<int64_t> outlierInputs(const InputStatistics &statistics, float threshold);
/// `factor` times the median of max |x[i]|: a threshold that does not depend on the model's units.
float relativeThreshold(const InputStatistics &statistics, float factor);

/// Factors of the channels between two layers, first -> channels -> second, that make the ranges of the first one's
/// outputs and of the second one's inputs equal: s[i] = sqrt(max |first[i][.]| / max |second[.][i]|) (Nagel et al.
/// 2019, "Data-Free Quantization", equation 11). The first one's output i and its bias are divided by s[i], the second
/// one's input i is multiplied. This is exact where nothing, or a function f with f(c x) = c f(x) for c > 0 such as
/// ReLU, lies between. `first`: layers whose outputs are the channels (n channels each); `second`: those that read
/// them (k channels each). 1 where a channel is all 0 at either side.
Status equalizationScales(const std::vector<Weight> &first, const std::vector<Weight> &second, std::vector<float> &s);
/// The same with one channel for many weights: channels of `first` repeated `repeat` times in `second`'s inputs, as
/// the heads of grouped-query attention are, come in blocks of `width` channels: channel c of block b is read as blocks
/// b * repeat … b * repeat + repeat - 1.
struct ChannelBlocks {
  int64_t width = 1;
  int64_t repeat = 1;
};
Status equalizationScales(const std::vector<Weight> &first, const std::vector<Weight> &second, ChannelBlocks blocks,
                          std::vector<float> &s);

/// Multiplies the outputs of a weight, in place: w[j][.] *= s[j]; with `inverse`, divides.
void scaleOutputs(float *w, int64_t n, int64_t k, const std::vector<float> &s, bool inverse);

} // namespace lathe::quantization

#endif // LATHE_PASSES_QUANTIZATION_METHODS_SCALING_H
