//===- Arguments.h - What the hand-written kernels are handed ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Read by the host and by device code, so only 8-byte members. Strides are in elements unless said otherwise; addresses
// are the device's.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_KERNELS_ARGUMENTS_H
#define LATHE_BACKENDS_CUDA_KERNELS_ARGUMENTS_H

#include <stdint.h>

namespace lathe::cuda {

/// A strided tensor [b0, b1, heads, rows, columns], of which 0 as a stride broadcasts.
struct ViewArgs {
  void *data;
  int64_t batch[3];
  int64_t row, col;
};

/// How rows of a cache are kept: runtime/CacheLayout.h.
struct CodesArgs {
  int64_t bits; ///< of a code: 8 or 4; else rows are numbers
  int64_t symmetric, group_columns, row_bytes, scales_at, lowest_at;
};

constexpr bool hasCodes(const CodesArgs &codes) { return codes.bits == 8 || codes.bits == 4; }

/// Keys or values: a view, or, where `pages` is not NULL, rows of a cache in pages of 64 rows of each head.
struct RowsArgs {
  ViewArgs view;
  const void *const *const *pages; ///< of each sequence (batch[1]) its pages
  int64_t offset;                  ///< of the cache in a page, in bytes
  int64_t head_bytes;              ///< from one head to the next in a page
  CodesArgs codes;                 ///< of pages
};

/// As lathe_attention_call.
struct AttentionArgs {
  ViewArgs query;
  RowsArgs key, value;
  ViewArgs bias[2];
  ViewArgs out;
  int64_t biases;
  int64_t batch[3], key_heads;
  int64_t s, t, d, e;
  const int64_t *counts; ///< of keys of each sequence (batch[1]), instead of t; or NULL
  const int64_t *positions;
  int64_t position_batch, position_row;
  int64_t window;
  double scale, softcap;
  int64_t zero_masked, zero_nan;
  int64_t row_blocks; ///< blocks of rows of a key's head
  int64_t parts;      ///< into which keys are split
  float *scratch;     ///< where parts > 1: [blocks, parts, rows of a block, e + 2] sums, largest score and total
};

/// Shared memory of an attention with blocks of so many rows.
constexpr int64_t attentionSharedBytes(int64_t rows) {
  return (rows * 65 + 32 * 65 + rows * 33 + 3 * rows) * 4 + rows * 16;
}
/// The same with matrix instructions, for 64 rows of so many columns.
constexpr int64_t attentionMmaSharedBytes(int64_t columns) { return 2 * 2 * 32 * (columns + 8) * 2 + 64 * 16; }
constexpr int64_t kMatmulSharedBytes = 64 * 65 * 4, kQuantizedSharedBytes = 8 * 512 * 4 + 3 * 8 * 4,
                  kNumbersSharedBytes = 8 * 512 * 4 + 8 * 16 + 16,
                  kQuantizedMmaSharedBytes = 32 * (512 + 32) * 2 + 32 * 16;

/// out = act(alpha * x + bias) * multiplier + residual; x is what `out` holds.
struct EpilogueArgs {
  void *out;
  const void *bias, *multiplier, *residual; ///< NULL where there is none
  int64_t m, n, out_row;
  int64_t batch[3], out_batch[3];
  int64_t activation; ///< lathe_activation
  double alpha;
};

/// out = act(alpha * a * b + bias) * multiplier + residual, as lathe_matmul_call.
struct MatmulArgs {
  EpilogueArgs epilogue;
  const void *a, *b;
  int64_t k, a_row, a_col, b_row, b_col;
  int64_t a_batch[3], b_batch[3];
};

/// A copy of elements of 1, 2, 4 or 8 bytes.
struct CopyArgs {
  const void *from;
  void *to;
  int64_t sizes[5];
  int64_t from_strides[5], to_strides[5];
};

/// The same of f32 that become f16 or bf16; numbers beyond those of f16 become its largest.
struct NarrowArgs {
  CopyArgs copy;
  int64_t dense; ///< not 0: both sides lie without gaps, in one order
};

/// Rows, which the last axis is, of up to three tensors that go from f32 to 16 bits, or back.
struct ConvertRowsArgs {
  CopyArgs tensors[3];
  int64_t count;
  int64_t pairs[3]; ///< not 0: numbers of this one lie side by side on both sides, and two are moved together
};

/// Biases of an attention, of which cuDNN gets minus infinity wrong: the sum of one or two, rows of which are the last
/// axis, becomes rows of f32 whose numbers are finite, and NaN and infinity what they are. masked[row] is 1 where all
/// of a row is minus infinity, else 0.
struct BiasRowsArgs {
  const void *from[2];
  int64_t strides[2][5];
  int64_t count; ///< of biases
  int64_t sizes[5];
  float *to, *masked;
  int64_t to_row; ///< numbers from a row to the next
};

/// Results of an attention [batch0, batch1, heads, queries, columns] whose scores had no number: rows all of whose
/// biases are minus infinity are NaN, or 0 where `zero_masked` or `zero_nan` say so; under `zero_nan` those whose
/// statistic is no finite number are 0, too.
struct FinishAttentionArgs {
  void *out;
  int64_t sizes[5], strides[5];
  const float *statistics;              ///< of each row; NULL without zero_nan
  const float *masked;                  ///< [sequences, heads, queries] as BiasRowsArgs gives it, or NULL
  int64_t masked_sequence, masked_head; ///< strides of masked, 0 where it is the same for all
  int64_t zero_masked, zero_nan;
};

/// As EpilogueArgs, where x is of f32 and elsewhere: rows of n numbers, one behind the other in all batches.
struct FinishArgs {
  EpilogueArgs epilogue;
  const float *x;
};

/// The same where x is of f16 or bf16, in which what was beyond f16 is infinite and becomes its largest number.
struct FinishHalfArgs {
  EpilogueArgs epilogue;
  const void *x;
  int64_t wide_operands; ///< not 0: bias, multiplier and residual are f32, else of x's type
  int64_t wide_result;   ///< not 0: out is f32, else of x's type
};

/// As lathe_cache_call; rows of `d` elements in pages.
struct CacheArgs {
  void *data;
  int64_t sizes[4], strides[4]; ///< of b, h, n, d
  void *const *const *pages;    ///< of each sequence its pages
  const int64_t *counts;        ///< rows that each sequence has: put behind them; or of which some are read
  int64_t offset, head_bytes;   ///< as of RowsArgs
  CodesArgs codes;
  int64_t rotation; ///< columns that are rotated together before they become codes; 1: none
};

/// to = from * H, by `rotation` columns of rows [b0, b1, heads, rows, columns] with the orthonormal Hadamard matrix H.
struct RotateArgs {
  ViewArgs from, to;
  int64_t batch[3], rows, columns, rotation;
};

/// A weight as runtime/QuantizedLayout.h stores it.
struct QuantizedArgs {
  const void *weight;
  int64_t k, n;
  int64_t bits, values, dimension, group, panel, scale,
      zeros; ///< values, scale, zeros: the numbers of its enumerations
  double zero;
  int64_t table_bytes, panel_bytes, group_bytes, head_bytes, unit_bytes;
};

/// out = act(alpha * a * weight + bias) * multiplier + residual, where the weight is that of all batches.
struct QuantizedMatmulArgs {
  EpilogueArgs epilogue;
  QuantizedArgs weight;
  const void *a;
  int64_t a_row, a_col, a_batch[3];
  int64_t quantization; ///< lathe_quantization of a, as of RoundArgs
  double scale;
  int64_t zero;
  int64_t arithmetic; ///< lathe_dtype that a, and what codes stand for, may be rounded to
};

/// How rows are normalized before they are multiplied: rows of k numbers, one behind the other.
struct NormArgs {
  int64_t kind;      ///< 0: they are not; 1: by their root mean square; 2: by mean and variance
  const float *gain; ///< of k; NULL: 1
  const float *bias; ///< of k; NULL: 0
  void *out;         ///< where they are wanted, too; dense
  double epsilon;
  int64_t narrow; ///< not 0: `out` has the weights' 16 bits, within the bounds of their type; else f32
};

constexpr int64_t kMostQuantizedParts = 3;

/// Products of one left side, whose weights have one format but for their panels: what differs between them.
struct QuantizedPart {
  const void *weight;
  void *out;
  const void *bias, *multiplier, *residual;
  int64_t n, out_row, out_batch[3], activation;
  double alpha;
  int64_t panel, panel_bytes, group_bytes, head_bytes, unit_bytes; ///< as of QuantizedArgs
};

struct QuantizedGroupArgs {
  QuantizedMatmulArgs first; ///< of whose weight the format is that of all, and whose batches and rows are
  QuantizedPart others[kMostQuantizedParts - 1];
  int64_t count;     ///< of products
  int64_t isChained; ///< each element's thread computes it in one product after the other, so later ones may read it
  NormArgs norm;     ///< of a
  int64_t columns;   ///< of a product that a block computes by matrix instructions
};

/// A weight [k, n] of numbers of which one axis is dense.
struct NumbersArgs {
  const void *weight;
  int64_t k, n;
  int64_t step; ///< from a row to the next, or, transposed, from a column to the next
  int64_t wide; ///< not 0: 16 bytes of a row, or column, may be loaded at once, from any multiple of them on
};

/// How results of products by weights of numbers are stored.
enum NumbersOut : int64_t {
  kOutF32 = 0,
  kOutBounded = 1, ///< of the weight's type, within its bounds
  kOutNarrow = 2,  ///< of the weight's type, as they are
};

/// out = act(alpha * a * weight + bias) * multiplier + residual, where the weight is that of all batches. A left side
/// of f32 is rounded to the weight's type, within its bounds.
struct NumbersMatmulArgs {
  EpilogueArgs epilogue;
  NumbersArgs weight;
  const void *a;
  int64_t a_row, a_col, a_batch[3];
  int64_t narrow_left;  ///< not 0: a has the weight's type; else f32
  int64_t narrow_sides; ///< not 0: so have bias, multiplier and residual
  int64_t store;        ///< NumbersOut
};

/// As QuantizedPart.
struct NumbersPart {
  const void *weight;
  void *out;
  const void *bias, *multiplier, *residual;
  int64_t n, out_row, out_batch[3], activation;
  double alpha;
  int64_t step, wide, store; ///< as of NumbersArgs and NumbersMatmulArgs
};

/// As QuantizedGroupArgs; all weights have one type and one dense axis.
struct NumbersGroupArgs {
  NumbersMatmulArgs first;
  NumbersPart others[kMostQuantizedParts - 1];
  int64_t count, isChained;
  NormArgs norm;
  int64_t columns; ///< of a product that a block computes
};

/// Rows of one tensor [b, h, n, d] that are rotated, or not, and go to two places.
struct StepRowsPart {
  const float *from;
  int64_t sizes[4], strides[4];
  const float *cosine, *sine; ///< NULL: rows stay as they are; columns are dense
  int64_t angle_strides[3];   ///< of both, along b, h and n
  float *out;                 ///< dense; or NULL
  void *const *const *pages;  ///< of each sequence, behind whose rows they are put; or NULL
  const int64_t *counts;      ///< rows that each sequence has without these
  int64_t offset, head_bytes; ///< as of RowsArgs
};

constexpr int64_t kMostStepRows = 3;

/// out = x * cosine + turned(x) * sine, where turned(x) is the second half of x's columns, negated, and then the first
/// half (Su et al., RoFormer, 2021).
struct StepRowsArgs {
  StepRowsPart parts[kMostStepRows];
  int64_t count;
};

/// How results become bytes: round(x / scale) + zero, bounded to [-128, 127], with the bits of `flip` (0 or 128)
/// turned.
struct BytesArgs {
  double scale; ///< 0: they stay f32
  int64_t zero, flip;
};

/// f32 at [batches, m, n] of `shape`, with its strides, that become bytes at the same places of `shape.out`.
struct ToBytesArgs {
  EpilogueArgs shape;
  const float *x;
  BytesArgs bytes;
};

/// What a left side of a product is after it was rounded to integers as lathe_quantization says, as numbers.
struct RoundArgs {
  const void *a;
  int64_t m, k, a_row, a_col;
  int64_t batch[3], a_batch[3];
  float *out;           ///< dense, [batches, m, k]
  int64_t quantization; ///< lathe_quantization, not none
  double scale;         ///< with LATHE_QUANTIZE_STATIC
  int64_t zero;         ///< likewise
  int64_t flip;         ///< of `a` as bytes, which have been rounded: bits that are turned, 0 or 128
};

/// The same as integers, or with LATHE_QUANTIZE_ROWS_E4M3 as 8-bit floats: code i of row r of all batches is
/// codes[r * codes_row + i], with zeros behind the last of a row.
struct RoundBytesArgs {
  RoundArgs round; ///< without `out`
  int8_t *codes;
  int64_t codes_row; ///< a multiple of 4
  float *scales;     ///< of each row; written where rows have their own
  int32_t *sums;     ///< of the codes of each row; or NULL
};

/// A weight of 8 bits and one group, transposed: codes[n * codes_row + k] is 128 less than a code, or a code of E4M3,
/// zeros in rows and columns beyond it. Of each column its scale, and of integers its zero point, 128 less likewise,
/// and the sum of its codes.
struct ExpandBytesArgs {
  QuantizedArgs weight;
  int8_t *codes;
  int64_t codes_row, rows; ///< codes_row: a multiple of 4
  float *scales;
  int32_t *zeros, *sums;
};

/// What a product of integers, out of RoundBytesArgs and ExpandBytesArgs, is as numbers, and its epilogue.
struct IntegerFinishArgs {
  EpilogueArgs epilogue;
  const int32_t *products; ///< of row r of all batches: products[r * products_row + n]
  int64_t products_row, k;
  const float *row_scales; ///< NULL: row_scale for all
  const int32_t *row_sums; ///< NULL: the weight's zero points are all 0
  double row_scale;
  int64_t row_zero;
  BytesArgs bytes; ///< of the results
  const float *scales;
  const int32_t *zeros, *sums;
};

/// What a product of 8-bit floats is with its scales, and its epilogue.
struct ScaledFinishArgs {
  EpilogueArgs epilogue;
  const float *products; ///< of row r of all batches: products[r * products_row + n]
  int64_t products_row;
  const float *row_scales; ///< NULL: products have been scaled
  const float *scales;     ///< likewise, of columns
};

/// As lathe_rows_call.
struct QuantizedRowsArgs {
  QuantizedArgs weight;
  const void *indices; ///< NULL: columns in order, from `first` on
  int64_t first;
  int64_t index_bytes; ///< 4 or 8
  int64_t count, index_stride;
  void *out;
  int64_t dtype; ///< lathe_dtype of out: f32, or f16 or bf16, within whose bounds numbers are rounded
  int64_t out_row;
  int64_t *failures; ///< failures[0] becomes 1 + check where it was 0 and an index is out of range
  int64_t check;
};

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_KERNELS_ARGUMENTS_H
