//===- Hash.h - Hashes of artifacts -----------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_HASH_H
#define LATHE_RUNTIME_HASH_H

#include "runtime/ArtifactFormat.h"

#include <cstddef>
#include <cstring>
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace lathe::artifact {

inline bool operator==(const Hash128 &a, const Hash128 &b) { return memcmp(a.bytes, b.bytes, sizeof(a.bytes)) == 0; }

inline Hash128 canonical(XXH128_hash_t value) {
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, value);
  Hash128 hash;
  memcpy(hash.bytes, bytes.digest, sizeof(hash.bytes));
  return hash;
}

inline Hash128 hashBytes(const void *data, size_t size) { return canonical(XXH3_128bits(data, size)); }

/// Hash of the header and table, `size` bytes, as if the field of the header that holds it were zero.
inline Hash128 hashHeader(const unsigned char *data, size_t size) {
  constexpr size_t kFieldEnd = offsetof(Header, hash) + sizeof(Hash128);
  static const unsigned char kZero[sizeof(Hash128)] = {};
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  XXH3_128bits_update(&state, data, offsetof(Header, hash));
  XXH3_128bits_update(&state, kZero, sizeof(kZero));
  XXH3_128bits_update(&state, data + kFieldEnd, size - kFieldEnd);
  return canonical(XXH3_128bits_digest(&state));
}

} // namespace lathe::artifact

#endif // LATHE_RUNTIME_HASH_H
