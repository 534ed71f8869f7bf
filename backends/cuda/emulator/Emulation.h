//===- Emulation.h - Contract between device code for the emulator and the machine that runs it -*- C -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// The kernels of a program for CUDA are compiled twice from the same NVVM: to PTX, and to a code image of the host's
// processor in which what only a GPU has (indices of threads, barriers, shuffles, votes, atomics, matrix instructions)
// is a call through the table that each thread is handed. Loads and stores of device memory are announced before they
// happen, so that the machine finds those out of bounds and races. `backends/cuda/compiler` emits code against this
// header, `backends/cuda/emulator` implements it.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_EMULATOR_EMULATION_H
#define LATHE_BACKENDS_CUDA_EMULATOR_EMULATION_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lathe_lane lathe_lane;

/// How a shuffle finds its source lane (PTX ISA, shfl.sync).
typedef enum lathe_shuffle { LATHE_SHUFFLE_UP = 0, LATHE_SHUFFLE_DOWN = 1, LATHE_SHUFFLE_BUTTERFLY = 2, LATHE_SHUFFLE_INDEX = 3 } lathe_shuffle;

/// What a warp's votes become (PTX ISA, vote.sync).
typedef enum lathe_vote { LATHE_VOTE_ALL = 0, LATHE_VOTE_ANY = 1, LATHE_VOTE_UNIFORM = 2, LATHE_VOTE_BALLOT = 3 } lathe_vote;

/// Bits of an access. GLOBAL and SHARED: by an instruction that knows no other memory, such as ld.global.
typedef enum lathe_access {
  LATHE_ACCESS_READ = 1,
  LATHE_ACCESS_WRITE = 2,
  LATHE_ACCESS_ATOMIC = 4,
  LATHE_ACCESS_GLOBAL = 8,
  LATHE_ACCESS_SHARED = 16
} lathe_access;

/// Functions of the machine. All may end the launch with an error, and then do not return.
typedef struct lathe_lane_table {
  /// bar.sync 0 / __syncthreads: an error where a thread of the block has ended without it, or waits elsewhere (`site` tells
  /// barriers apart: a number that the compiler gives each).
  void (*barrier)(lathe_lane *lane, int64_t site);
  /// bar.warp.sync of the lanes of `mask`.
  void (*warp_barrier)(lathe_lane *lane, uint32_t mask, int64_t site);
  /// shfl.sync of 32 bits: `operand` is b of the instruction (delta, mask or lane), `clamp` its c.
  uint32_t (*shuffle)(lathe_lane *lane, int64_t kind, uint32_t mask, uint32_t value, uint32_t operand, uint32_t clamp);
  /// vote.sync; 0 or 1, or the ballot.
  uint32_t (*vote)(lathe_lane *lane, int64_t kind, uint32_t mask, uint32_t predicate);
  /// Tells of an access (bits of lathe_access) to `bytes` at an address of global or shared memory, before it happens.
  void (*access)(lathe_lane *lane, const void *address, int64_t bytes, int64_t kind);
} lathe_lane_table;

/// One thread of a block. Private state of the machine may follow these members.
struct lathe_lane {
  const lathe_lane_table *machine;
  uint32_t thread[3];      ///< threadIdx
  uint32_t block[3];       ///< blockIdx
  uint32_t block_size[3];  ///< blockDim
  uint32_t grid_size[3];   ///< gridDim
  unsigned char *shared;   ///< the block's shared memory, static and then dynamic; 128-byte aligned
};

/// A kernel of the image, called once for each thread: `failures` and `args` are the parameters of the kernel
/// (docs/design/0024-cuda.md), `count` its number of work items.
typedef void (*lathe_lane_fn)(lathe_lane *lane, void *failures, const void *args, int64_t count);

#ifdef __cplusplus
}
#endif

#endif // LATHE_BACKENDS_CUDA_EMULATOR_EMULATION_H
