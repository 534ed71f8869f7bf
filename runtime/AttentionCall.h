//===- AttentionCall.h - What every backend asks of attention ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_ATTENTIONCALL_H
#define LATHE_RUNTIME_ATTENTIONCALL_H

#include "runtime/Backend.h"

#include <utility>

namespace lathe::runtime {

/// Whether extents, heads, biases and positions of a call fit together, and the caches that its keys and values are of:
/// null where they are of none.
inline Status verifyCall(const lathe_attention_call &call, const CacheRows *keys, const CacheRows *values) {
  for (int64_t extent : {call.batch[0], call.batch[1], call.batch[2], call.key_heads, call.s, call.t, call.d, call.e})
    if (extent < 0)
      return failure(LATHE_INTERNAL, "negative extent in attention");
  if (call.batch[2] > 0 && (call.key_heads == 0 || call.batch[2] % call.key_heads != 0))
    return failure(LATHE_INTERNAL, "expected query heads that are a multiple of the key heads, got ", call.batch[2],
                   " and ", call.key_heads);
  if (call.biases < 0 || call.biases > 2)
    return failure(LATHE_INTERNAL, "expected at most 2 biases, got ", call.biases);
  if (call.window < 0 || (call.window > 0 && !call.positions))
    return failure(LATHE_INTERNAL, "expected a window of at least 0 with positions, got ", call.window);
  for (auto [cache, size] : {std::pair(keys, call.d), std::pair(values, call.e)})
    if (cache && (call.batch[0] != 1 || call.batch[1] != cache->sequences || cache->layout.heads != call.key_heads ||
                  cache->layout.size != size))
      return failure(LATHE_INTERNAL, "attention of ", call.batch[1], " sequences, ", call.key_heads, " heads and ",
                     size, " columns does not fit a cache of ", cache->sequences, ", ", cache->layout.heads, " and ",
                     cache->layout.size);
  for (int64_t i = 0; keys && values && i < keys->sequences; ++i)
    if (keys->counts[i] != values->counts[i])
      return failure(LATHE_INTERNAL, "expected as many keys as values, got ", keys->counts[i], " and ",
                     values->counts[i]);
  return success();
}

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_ATTENTIONCALL_H
