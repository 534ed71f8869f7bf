//===- CodebookSteps.h - Choosing codes, refining codebooks -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_METHODS_CODEBOOKSTEPS_H
#define LATHE_PASSES_QUANTIZATION_METHODS_CODEBOOKSTEPS_H

#include "passes/quantization/methods/Codebook.h"

namespace lathe::quantization {

/// Whether a vector of the weight is all zero.
bool isZero(const Weight &w, int64_t row, int64_t vector, int64_t dimension);

/// The order in which vectors are coded, and how errors are handed on.
struct Feedback {
  std::vector<int64_t> order; ///< position -> input; inputs of a vector lie together
  std::vector<float> factor;  ///< [k][k], of feedbackFactor
};

/// Neighbouring outputs that are worked on together; they share their codebooks.
struct OutputRange {
  int64_t begin = 0;
  int64_t end = 0;
};
std::vector<OutputRange> outputRanges(const CodebookQuantized &quantized);

/// Chooses all codes anew, for the codebooks and scales as they are: vectors in the order of `feedback`, each by the
/// code with the least error of the output that the inputs still to come cannot make up for.
void chooseCodes(const Weight &w, const Feedback &feedback, int64_t block, ThreadPool *pool,
                 CodebookQuantized &quantized);
/// The same without any feedback: the nearest vectors, each number's error weighted by `importance` [k], or alike
/// where it is null.
void chooseNearest(const Weight &w, const float *importance, ThreadPool *pool, CodebookQuantized &quantized);

/// Makes the error of the output smaller by changing all codebooks together, for the codes as they are: `steps` of
/// conjugate gradients on the least squares problem, which is linear in the codebooks' numbers. For codebooks that
/// serve millions of weights, a sample of the outputs decides.
void refineTables(const Weight &w, const InputStatistics &statistics, int steps, ThreadPool *pool,
                  CodebookQuantized &quantized);
/// Likewise the scales, one group of inputs after another.
void refineScales(const Weight &w, const InputStatistics &statistics, ThreadPool *pool, CodebookQuantized &quantized);

} // namespace lathe::quantization

#endif // LATHE_PASSES_QUANTIZATION_METHODS_CODEBOOKSTEPS_H
