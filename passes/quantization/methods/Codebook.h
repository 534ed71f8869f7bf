//===- Codebook.h - Neighbouring weights as one code ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_METHODS_CODEBOOK_H
#define LATHE_PASSES_QUANTIZATION_METHODS_CODEBOOK_H

#include "passes/quantization/methods/Parallel.h"
#include "passes/quantization/methods/Quantized.h"
#include "passes/quantization/methods/Statistics.h"

namespace lathe::quantization {

struct CodebookOptions {
  int dimension = 2;          ///< inputs that share a code: 1, 2, 4 or 8
  int bits = 4;               ///< of a code, 2 to 8
  int stages = 1;             ///< codebooks whose values are added, 1 or 2; the second one holds what the first leaves
  int64_t outputsPerBook = 0; ///< neighbouring outputs with a codebook of their own; 0: one for all
  bool scaled = true;         ///< with scales, each the root mean square of its group before they are refined
  int64_t group = 0;          ///< inputs that share a scale, a multiple of the dimension; 0: all of a row
  ScaleType scaleType = ScaleType::F32;

  uint64_t seed = 1;
  int iterations = 30;       ///< of k-means
  int64_t samples = 1 << 16; ///< vectors of a codebook that k-means looks at, at most
  double damping = 0.01;     ///< as for GPTQ
  int64_t block = 128;       ///< inputs whose errors are handed on together
  int rounds = 3; ///< of choosing codes with errors handed on, and of refining codebooks and scales for these codes
  bool keepZeros = false; ///< vectors that are all zero stay so: one code of each codebook stands for nothing else
  int refinements = 4; ///< steps of conjugate gradients for the codebooks; 0: codebooks and scales stay
};

/// One codebook, or one for each `outputsPerBook` outputs.
struct CodebookStage {
  std::vector<float> table;   ///< [books][2^bits][dimension]
  std::vector<uint8_t> codes; ///< [n][ceil(k / dimension)]
};

/// A weight as vectors of neighbouring inputs: w[j][i] = scale[j][i / group] * the sum over stages of
/// table[j / outputsPerBook][codes[j][i / dimension]][i % dimension].
struct CodebookQuantized {
  int64_t n = 0, k = 0;
  int dimension = 1;
  int bits = 8;
  int64_t outputsPerBook = 0;
  int64_t group = 0;
  ScaleType scaleType = ScaleType::F32;
  std::vector<float> scales; ///< [n][groups], or empty
  std::vector<CodebookStage> stages;
  bool hasZero = false; ///< code 0 of each codebook stands for 0, and is that of vectors that were zero

  int64_t vectors() const { return (k + dimension - 1) / dimension; }
  int64_t groupSize() const { return group <= 0 || group >= k ? k : group; }
  int64_t groups() const { return k == 0 ? 0 : (k + groupSize() - 1) / groupSize(); }
  int64_t books() const {
    return outputsPerBook <= 0 || outputsPerBook >= n ? (n > 0) : (n + outputsPerBook - 1) / outputsPerBook;
  }
  int64_t bookOf(int64_t row) const { return outputsPerBook <= 0 ? 0 : row / outputsPerBook; }
  float scaleOf(int64_t row, int64_t input) const {
    return scales.empty() ? 1.0f : scales[static_cast<size_t>(row * groups() + input / groupSize())];
  }
  /// Writes the dense weight, [n][k].
  void dequantize(float *w) const;
  /// Bytes when packed: codes without gaps, tables in f32, scales of their type.
  int64_t bytes() const;
};

/// Vector quantization. Codebooks begin as the k-means of the vectors, each weight's error weighted by how much it
/// matters to the output. With statistics, vectors then are coded one after another, each by the code of the least
/// error of the output, and what is left of it is handed on to the inputs that are still to come, as in GPTQ but for
/// whole vectors (van Baalen et al. 2024, "GPTVQ", section 3; Liu et al. 2024, "VPTQ"); codebooks and scales are then
/// refined for these codes by least squares of the output's error, and codes chosen again. The best of the rounds is
/// the result. Without statistics (null) it is the k-means of the weights alone.
/// The same for any number of threads.
/// Fails where the weight is not finite, the statistics do not fit it, or options are out of range.
Status quantizeCodebook(const Weight &w, const InputStatistics *statistics, const CodebookOptions &options,
                        ThreadPool *pool, CodebookQuantized &result);

} // namespace lathe::quantization

#endif // LATHE_PASSES_QUANTIZATION_METHODS_CODEBOOK_H
