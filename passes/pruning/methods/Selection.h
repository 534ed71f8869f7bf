//===- Selection.h - Which weights become zero ------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_PRUNING_METHODS_SELECTION_H
#define LATHE_PASSES_PRUNING_METHODS_SELECTION_H

#include "passes/pruning/methods/Pattern.h"
#include "passes/quantization/methods/Quantized.h"

#include <optional>
#include <vector>

namespace lathe::pruning {

using quantization::Weight;

/// What weights, or blocks, are compared with: the same share of each becomes zero. With blocks of R outputs and C
/// inputs an output is R of them, an input C.
enum class Scope { Layer, Output, Input };

/// What a block's score is of the scores of its weights: their mean, or their root mean square.
enum class BlockNorm { L1, L2 };

struct SelectionOptions {
  Pattern pattern;
  Scope scope = Scope::Layer; ///< not of N:M, whose groups are compared within themselves
  double sparsity = 0.5;      ///< share of zeros, from 0 up to, without, 1; of N:M the pattern says it
  /// In place of a share: what scores less becomes zero.
  std::optional<double> threshold;
  BlockNorm norm = BlockNorm::L2;
};

/// How many of `count` a share is: never more than that share.
int64_t shareOf(double share, int64_t count);

/// Scores of weights, [n][k]: |w|, times `size` [k] of its input where there is one. With the root mean square of the
/// inputs this is Wanda (Sun et al. 2023, "A Simple and Effective Pruning Approach for Large Language Models", section
/// 3). Weights count for no more than the quantile `clip`, above 0, at most 1, of the layer's magnitudes, so that
/// single large ones do not keep their block. What is zero already scores -1, and so goes first.
std::vector<float> scoresOf(const Weight &w, const std::vector<float> &size, double clip);

/// Scores of a pattern's blocks, [ceil(n / rows)][ceil(k / columns)]; where these are of 1 x 1, the weights' own.
std::vector<float> blockScores(const std::vector<float> &scores, int64_t n, int64_t k, const Pattern &pattern,
                               BlockNorm norm);

/// Marks the `count` lowest of scores with 1, the others with 0; of equal ones the first.
std::vector<uint8_t> dropLowest(const std::vector<float> &scores, int64_t count);

/// Which blocks become zero by their scores [rows][columns] (those of blockScores).
std::vector<uint8_t> dropBlocks(const std::vector<float> &scores, int64_t rows, int64_t columns,
                                const SelectionOptions &options);

/// The weights [n][k] of blocks.
std::vector<uint8_t> maskOfBlocks(const std::vector<uint8_t> &blocks, int64_t n, int64_t k, const Pattern &pattern);

/// Marks what N:M takes away of the scores of one group, of `of` inputs, or fewer at the end of a row. What scores
/// less than 0 is zero already: all of it is marked.
void dropOfGroup(const float *scores, int64_t count, const Pattern &pattern, uint8_t *dropped);

/// Which weights become zero by their scores [n][k]: 1 in the result.
std::vector<uint8_t> selectWeights(const std::vector<float> &scores, int64_t n, int64_t k,
                                   const SelectionOptions &options);

/// The share of weights [count] that are zero.
double sparsityOf(const float *values, int64_t count);

} // namespace lathe::pruning

#endif // LATHE_PASSES_PRUNING_METHODS_SELECTION_H
