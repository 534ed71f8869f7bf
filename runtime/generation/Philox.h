//===- Philox.h - Counter-based random numbers ------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
//
// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011): random numbers as
// a function of a key and a counter. There is no state to advance, so a draw depends on what it is for and on nothing
// else: not on the threads, on what else is in the batch, or on the order in which rows are looked at.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_GENERATION_PHILOX_H
#define LATHE_RUNTIME_GENERATION_PHILOX_H

#include <array>
#include <cstdint>

namespace lathe::runtime {

using PhiloxCounter = std::array<uint32_t, 4>;
using PhiloxKey = std::array<uint32_t, 2>;

/// The 128 random bits of `counter` under `key`, in ten rounds.
inline PhiloxCounter philox4x32(PhiloxCounter counter, PhiloxKey key) {
  for (int round = 0; round < 10; ++round) {
    uint64_t left = uint64_t(0xD2511F53) * counter[0];
    uint64_t right = uint64_t(0xCD9E8D57) * counter[2];
    counter = {static_cast<uint32_t>(right >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(right),
               static_cast<uint32_t>(left >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(left)};
    key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
  }
  return counter;
}

/// The number in [0, 1), with 53 random bits, of one step of one sequence: the seed is the key, the step the low half
/// of the counter and the sequence its high half.
inline double philoxUniform(uint64_t seed, uint64_t sequence, uint64_t step) {
  PhiloxCounter bits = philox4x32({static_cast<uint32_t>(step), static_cast<uint32_t>(step >> 32),
                                   static_cast<uint32_t>(sequence), static_cast<uint32_t>(sequence >> 32)},
                                  {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  uint64_t wide = static_cast<uint64_t>(bits[1]) << 32 | bits[0];
  return static_cast<double>(wide >> 11) * 0x1p-53;
}

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_GENERATION_PHILOX_H
