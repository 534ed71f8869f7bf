//===- AttentionKernels.h - Attention of a block of queries -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_ATTENTIONKERNELS_H
#define LATHE_BACKENDS_CPU_RUNTIME_ATTENTIONKERNELS_H

#include <cstddef>
#include <cstdint>

/// Before a loop over registers.
#ifdef __clang__
#define LATHE_UNROLL _Pragma("unroll")
#else
#define LATHE_UNROLL _Pragma("GCC unroll 16")
#endif

namespace lathe::cpu {

/// Some queries and all or some of the keys and values that they read. Scores are kept transposed: a vector holds
/// the scores of one key with as many queries as it has lanes. So keys and values are read as they lie, a number at a
/// time, the softmax needs no sums across lanes, and queries of several heads that read the same keys share a block.
struct AttentionBlock {
  /// Keys or values: one behind the other, or in pages of kKeys each, as f32 or as codes (runtime/CacheLayout.h).
  struct Rows {
    const float *data = nullptr;
    int64_t row = 0, col = 0; ///< between elements; `row` between the bytes of codes
    const unsigned char *const *pages = nullptr;
    int64_t offset = 0; ///< of the head's first row in a page, in bytes
    int bits = 0;       ///< of a code, 4 or 8; 0: f32
    bool symmetric = false;
    int64_t size = 0, group = 0;           ///< columns, and how many of them share a scale
    int64_t scales = 0, lowest = 0;        ///< from the head's first row, in bytes
    int64_t bytes = 0;                     ///< of the head in a page
    int64_t rotation = 1;                  ///< columns that are multiplied with a Hadamard matrix before they are rounded
    float rotationFactor = 1;              ///< of its numbers

    const unsigned char *head(int64_t index) const { return pages[index / kKeys] + offset; }
    /// Of f32.
    const float *at(int64_t index) const {
      return pages ? reinterpret_cast<const float *>(head(index)) + index % kKeys * row : data + index * row;
    }
  };

  static constexpr int64_t kLanes = 64;
  /// Keys whose scores are kept at once: scores of 64 lanes and values of 64 numbers take 16 KiB each, half of the first cache.
  static constexpr int64_t kKeys = 64;
  static constexpr int64_t kGroupKeys = 16;    ///< that are looked at together
  static constexpr int64_t kGroupColumns = 16; ///< groups of codes with a scale have a multiple of so many columns

  int64_t lanes = 0; ///< queries, from 1 to kLanes
  int64_t first = 0, keys = 0; ///< reads the keys from `first`, a multiple of kKeys, to below `keys`
  int64_t d = 0, e = 0;
  const float *query[kLanes];   ///< row of each
  const float *bias[2][kLanes]; ///< row of each
  float *out[kLanes];           ///< row of each; not used for a part
  int64_t queryCol = 0, biasCol[2] = {}, outCol = 0;
  int biases = 0;
  bool sameBias[2] = {}; ///< all lanes have the same row
  Rows key, value;
  bool hasLimits = false;
  float limit[kLanes];       ///< last key that each sees
  float window = 0;          ///< not 0: how many keys, the last one included, each sees
  float scale = 1, softcap = 0;
  bool zeroMasked = false, zeroNan = false; ///< as of lathe_attention_call
  float *part = nullptr;                    ///< where a part of the keys leaves partFloats(e), else null
  float *scratch = nullptr;                 ///< scratchFloats(d, e), 64-byte aligned

  /// For some keys that codes stand for, too, and sums over groups of a query.
  static int64_t scratchFloats(int64_t d, int64_t e) {
    return (d + e + kKeys + 20) * kLanes + kKeys * e + kGroupKeys * d + d / kGroupColumns + 256;
  }
  static int64_t partFloats(int64_t e) { return (e + 2) * kLanes; }
};

/// Keys and values that some blocks of queries read, as bytes, a page of AttentionBlock::kKeys of them at a time, which is
/// rounded when a block first reads it; and what a block needs besides. All of it lies in `memory`.
struct AttentionBytes {
  unsigned char *memory = nullptr; ///< size(), 64-byte aligned
  int64_t first = 0, keys = 0;     ///< blocks read keys from `first`, a multiple of kKeys, to below `keys`
  int64_t d = 0, e = 0;
  bool started = false;            ///< something of it is there

  /// Where things begin, in bytes.
  struct Layout {
    int64_t pages, keyRow, valueRow; ///< how many; bytes of a key; numbers of a row of values
    // Within a page:
    int64_t keys = 64, keyScales, values, valueScales, page; ///< `page`: bytes of one, which begins with its state
    // Behind all pages:
    int64_t centre, queries, row, queryScales, querySums, weights, most, old, now, size;
  };
  static Layout layout(int64_t keys, int64_t d, int64_t e) {
    constexpr int64_t kKeys = AttentionBlock::kKeys, kLanes = AttentionBlock::kLanes;
    auto whole = [](int64_t x) { return (x + 63) / 64 * 64; };
    Layout at = {};
    at.pages = (keys + kKeys - 1) / kKeys;
    at.keyRow = whole(d);
    at.valueRow = (e + 15) / 16 * 16;
    at.keys = 64;
    at.keyScales = at.keys + kKeys * at.keyRow;
    at.values = at.keyScales + kKeys * 4;
    at.valueScales = at.values + kKeys * at.valueRow;
    at.page = at.valueScales + at.valueRow * 4;
    at.centre = at.pages * at.page;
    at.row = at.centre + whole(d) * 4;
    at.queries = at.row + whole(d > e ? d : e) * 4;
    at.queryScales = at.queries + 2 * kLanes * at.keyRow;
    at.querySums = at.queryScales + kLanes * 4;
    at.weights = at.querySums + kLanes * 4;
    at.most = at.weights + kKeys * kLanes;
    at.old = at.most + kLanes * 4;
    at.now = at.old + kLanes * 4;
    at.size = at.now + kLanes * 4;
    return at;
  }
};

/// The functions of one instruction set.
struct AttentionKernels {
  const char *isa;
  void (*run)(const AttentionBlock &block);
  /// Makes the results of a block from those of its parts, which lie one behind the other.
  void (*combine)(const AttentionBlock &block, const float *parts, int64_t count);
  /// y = exp(x), within 2 units in the last place.
  void (*exponential)(const float *x, float *y, int64_t count);
  /// y = tanh(x), within 4 units in the last place.
  void (*hyperbolicTangent)(const float *x, float *y, int64_t count);
};

/// As AttentionKernels::run, of a block that is no part and whose keys and values are no codes, by sums of products of
/// bytes. False, with nothing written to the result, where numbers are not finite, or very small or large.
using RunByteAttention = bool (*)(const AttentionBlock &block, AttentionBytes &bytes);
bool runAttentionVnni(const AttentionBlock &block, AttentionBytes &bytes);

extern const AttentionKernels kAttentionAvx512;
/// Rounds what products read to bf16.
extern const AttentionKernels kAttentionBfloats;
extern const AttentionKernels kAttentionAvx2;

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_ATTENTIONKERNELS_H
