//===- Device.cu.h - What kernels are written in ----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Threads, barriers, shuffles and memory for one text that is compiled twice: by clang for the device, without headers
// of a toolkit, and for the host, where all of it is the emulator's machine. Accesses to global and shared memory go
// through load and store, so that the machine sees them.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_KERNELS_DEVICE_CU_H
#define LATHE_BACKENDS_CUDA_KERNELS_DEVICE_CU_H

#include "backends/cuda/kernels/Arguments.h"

#if defined(__CUDA__)
#define LATHE_DEVICE static inline __attribute__((device, always_inline))
#else
#include "backends/cuda/emulator/Machine.h"
#include "runtime/SmallFloats.h"
#include <cmath>
#include <cstring>
#define LATHE_DEVICE static inline
#endif

namespace lathe::cuda::device {

struct Half {
  uint16_t bits;
};
struct Bfloat {
  uint16_t bits;
};

constexpr uint32_t kAllLanes = ~0u;

#if defined(__CUDA__)

LATHE_DEVICE int threadIndex() { return int(__nvvm_read_ptx_sreg_tid_x()); }
LATHE_DEVICE int threadCount() { return int(__nvvm_read_ptx_sreg_ntid_x()); }
LATHE_DEVICE int64_t blockIndex() { return int64_t(unsigned(__nvvm_read_ptx_sreg_ctaid_x())); }
LATHE_DEVICE int64_t blockIndexY() { return int64_t(unsigned(__nvvm_read_ptx_sreg_ctaid_y())); }
LATHE_DEVICE int64_t blockIndexZ() { return int64_t(unsigned(__nvvm_read_ptx_sreg_ctaid_z())); }
LATHE_DEVICE int64_t blockCount() { return int64_t(unsigned(__nvvm_read_ptx_sreg_nctaid_x())); }

#define LATHE_SYNC() __syncthreads()
#define LATHE_SYNC_WARP() __nvvm_bar_warp_sync(0xffffffffu)

extern __attribute__((shared, aligned(128))) unsigned char lathe_shared_memory[];
LATHE_DEVICE void *sharedMemory() { return lathe_shared_memory; }

LATHE_DEVICE float shuffleXor(float value, int mask) { return __nvvm_shfl_sync_bfly_f32(kAllLanes, value, mask, 31); }

#define LATHE_GLOBAL __attribute__((address_space(1)))
/// What is in global memory: told, the device needs not find it out.
template <typename T> LATHE_DEVICE T load(const T *address) { return *(const LATHE_GLOBAL T *)address; }
template <typename T> LATHE_DEVICE void store(T *address, T value) { *(LATHE_GLOBAL T *)address = value; }
LATHE_DEVICE Half load(const Half *address) { return {load(&address->bits)}; }
LATHE_DEVICE Bfloat load(const Bfloat *address) { return {load(&address->bits)}; }
LATHE_DEVICE void store(Half *address, Half value) { store(&address->bits, value.bits); }
LATHE_DEVICE void store(Bfloat *address, Bfloat value) { store(&address->bits, value.bits); }
/// What is in shared memory.
template <typename T> LATHE_DEVICE T loadShared(const T *address) { return *address; }
template <typename T> LATHE_DEVICE void storeShared(T *address, T value) { *address = value; }

LATHE_DEVICE void compareAndSet(int64_t *address, int64_t expected, int64_t value) {
  int64_t old;
  asm volatile("atom.global.cas.b64 %0, [%1], %2, %3;"
               : "=l"(old)
               : "l"(address), "l"(expected), "l"(value)
               : "memory");
}

LATHE_DEVICE float bitsToFloat(uint32_t bits) { return __builtin_bit_cast(float, bits); }
LATHE_DEVICE float halfToFloat(uint16_t bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}
LATHE_DEVICE uint16_t floatToHalf(float value) {
  uint16_t bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
LATHE_DEVICE uint16_t floatToBfloat(float value) {
  uint16_t bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}

LATHE_DEVICE float exp2Fast(float x) { return __nvvm_ex2_approx_f(x); }
LATHE_DEVICE float fused(float a, float b, float c) { return __nvvm_fma_rn_f(a, b, c); }
LATHE_DEVICE float larger(float a, float b) { return __nvvm_fmax_f(a, b); }
LATHE_DEVICE float smaller(float a, float b) { return __nvvm_fmin_f(a, b); }
LATHE_DEVICE float magnitude(float x) { return __nvvm_fabs_f(x); }
LATHE_DEVICE float squareRoot(float x) { return __nvvm_sqrt_rn_f(x); }
/// To an integer, of two that are as near to the even one.
LATHE_DEVICE float nearest(float x) {
  float result;
  asm("cvt.rni.f32.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

/// Two numbers as f16 or bf16 side by side, the first one low.
LATHE_DEVICE uint32_t packPair(float low, float high, Half) {
  uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
LATHE_DEVICE uint32_t packPair(float low, float high, Bfloat) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
/// sums += a * b, of fragments m16n8k16 (PTX ISA, mma.sync).
#define LATHE_MMA(TYPE, NAME)                                                                                          \
  LATHE_DEVICE void multiplyAdd(float(&sums)[4], const uint32_t(&a)[4], uint32_t b0, uint32_t b1, TYPE) {              \
    asm("mma.sync.aligned.m16n8k16.row.col.f32." NAME "." NAME ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "          \
        "{%0,%1,%2,%3};"                                                                                               \
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])                                                   \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));                                               \
  }
LATHE_MMA(Half, "f16")
LATHE_MMA(Bfloat, "bf16")
#undef LATHE_MMA

LATHE_DEVICE uint32_t sharedAddress(const void *address) {
  return uint32_t(reinterpret_cast<uint64_t>((__attribute__((address_space(3))) const void *)address));
}
/// Four matrices of 8x8 numbers of 16 bits, of which each lane gives a row's address.
LATHE_DEVICE void loadMatrices(uint32_t (&out)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(sharedAddress(row))
               : "memory");
}
LATHE_DEVICE void loadMatricesTransposed(uint32_t (&out)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(sharedAddress(row))
               : "memory");
}
/// Copies 16 bytes to shared memory, some time before the next awaitCopies.
LATHE_DEVICE void copyLater(void *to, const void *from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(sharedAddress(to)),
               "l"((const LATHE_GLOBAL void *)from)
               : "memory");
}
LATHE_DEVICE void awaitCopies() { asm volatile("cp.async.wait_all;" ::: "memory"); }
/// Has the memory at an address on its way to the L2 cache.
LATHE_DEVICE void askFor(const void *address) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"((const LATHE_GLOBAL void *)address));
}
/// 2^-11.
LATHE_DEVICE float tanhFast(float x) {
  float result;
  asm("tanh.approx.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

#define LATHE_UNROLL _Pragma("unroll")
#define LATHE_UNROLL_4 _Pragma("unroll 4")
#define LATHE_NO_UNROLL _Pragma("unroll 1")

#else

LATHE_DEVICE int threadIndex() { return int(lane::current()->thread[0]); }
LATHE_DEVICE int threadCount() { return int(lane::current()->block_size[0]); }
LATHE_DEVICE int64_t blockIndex() { return lane::current()->block[0]; }
LATHE_DEVICE int64_t blockIndexY() { return lane::current()->block[1]; }
LATHE_DEVICE int64_t blockIndexZ() { return lane::current()->block[2]; }
LATHE_DEVICE int64_t blockCount() { return lane::current()->grid_size[0]; }

#define LATHE_SYNC() ::lathe::cuda::lane::current()->machine->barrier(::lathe::cuda::lane::current(), __LINE__)
#define LATHE_SYNC_WARP()                                                                                              \
  ::lathe::cuda::lane::current()->machine->warp_barrier(::lathe::cuda::lane::current(), ~0u, __LINE__)

LATHE_DEVICE void *sharedMemory() { return lane::current()->shared; }

LATHE_DEVICE float bitsToFloat(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

LATHE_DEVICE float shuffleXor(float value, int mask) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  lathe_lane *self = lane::current();
  return bitsToFloat(self->machine->shuffle(self, LATHE_SHUFFLE_BUTTERFLY, kAllLanes, bits, uint32_t(mask), 31));
}

template <typename T> LATHE_DEVICE T load(const T *address) {
  lathe_lane *self = lane::current();
  self->machine->access(self, address, sizeof(T), LATHE_ACCESS_READ | LATHE_ACCESS_GLOBAL);
  return *address;
}
template <typename T> LATHE_DEVICE void store(T *address, T value) {
  lathe_lane *self = lane::current();
  self->machine->access(self, address, sizeof(T), LATHE_ACCESS_WRITE | LATHE_ACCESS_GLOBAL);
  *address = value;
}

template <typename T> LATHE_DEVICE T loadShared(const T *address) {
  lathe_lane *self = lane::current();
  self->machine->access(self, address, sizeof(T), LATHE_ACCESS_READ | LATHE_ACCESS_SHARED);
  return *address;
}
template <typename T> LATHE_DEVICE void storeShared(T *address, T value) {
  lathe_lane *self = lane::current();
  self->machine->access(self, address, sizeof(T), LATHE_ACCESS_WRITE | LATHE_ACCESS_SHARED);
  *address = value;
}

LATHE_DEVICE void compareAndSet(int64_t *address, int64_t expected, int64_t value) {
  lane::atomicCas(lane::current(), address, expected, value);
}

LATHE_DEVICE float halfToFloat(uint16_t bits) { return runtime::halfValue(bits); }
LATHE_DEVICE uint16_t floatToHalf(float value) { return runtime::toHalf(value); }
LATHE_DEVICE uint16_t floatToBfloat(float value) { return runtime::toBfloat(value); }

LATHE_DEVICE float exp2Fast(float x) { return std::exp2(x); }
LATHE_DEVICE float fused(float a, float b, float c) { return std::fma(a, b, c); }
LATHE_DEVICE float larger(float a, float b) { return std::fmax(a, b); }
LATHE_DEVICE float smaller(float a, float b) { return std::fmin(a, b); }
LATHE_DEVICE float magnitude(float x) { return std::fabs(x); }
LATHE_DEVICE float squareRoot(float x) { return std::sqrt(x); }
LATHE_DEVICE float nearest(float x) { return std::nearbyint(x); }

inline lane::MmaType mmaType(Half) { return lane::MmaType::f16; }
inline lane::MmaType mmaType(Bfloat) { return lane::MmaType::bf16; }
LATHE_DEVICE uint32_t packPair(float low, float high, Half) {
  return floatToHalf(low) | uint32_t(floatToHalf(high)) << 16;
}
LATHE_DEVICE uint32_t packPair(float low, float high, Bfloat) {
  return floatToBfloat(low) | uint32_t(floatToBfloat(high)) << 16;
}
template <typename T>
LATHE_DEVICE void multiplyAdd(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, T type) {
  uint32_t b[2] = {b0, b1}, c[4];
  std::memcpy(c, sums, sizeof c);
  lane::mma(lane::current(), mmaType(type), c, a, b, c);
  std::memcpy(sums, c, sizeof c);
}
LATHE_DEVICE void loadMatrices(uint32_t (&out)[4], const void *row) {
  lane::ldmatrix(lane::current(), out, 4, false, row);
}
LATHE_DEVICE void loadMatricesTransposed(uint32_t (&out)[4], const void *row) {
  lane::ldmatrix(lane::current(), out, 4, true, row);
}
LATHE_DEVICE void copyLater(void *to, const void *from) { lane::copyLater(lane::current(), to, from); }
LATHE_DEVICE void awaitCopies() { lane::awaitCopies(lane::current()); }
LATHE_DEVICE void askFor(const void *address) {
  lathe_lane *self = lane::current();
  self->machine->access(self, address, 1, LATHE_ACCESS_GLOBAL);
}
/// As wrong as the instruction may be.
LATHE_DEVICE float tanhFast(float x) {
  float exact = std::tanh(x);
  return exact == exact ? bitsToFloat(__builtin_bit_cast(uint32_t, exact) & 0xfffff000u) : exact;
}

#define LATHE_UNROLL
#define LATHE_UNROLL_4
#define LATHE_NO_UNROLL

#endif

LATHE_DEVICE float toFloat(float value) { return value; }
LATHE_DEVICE float toFloat(Half value) { return halfToFloat(value.bits); }
LATHE_DEVICE float toFloat(Bfloat value) { return bitsToFloat(uint32_t(value.bits) << 16); }

LATHE_DEVICE void fromFloat(float value, float *to) { *to = value; }
LATHE_DEVICE void fromFloat(float value, Half *to) { to->bits = floatToHalf(value); }
LATHE_DEVICE void fromFloat(float value, Bfloat *to) { to->bits = floatToBfloat(value); }

template <typename T> LATHE_DEVICE float loadFloat(const void *base, int64_t index) {
  return toFloat(load(static_cast<const T *>(base) + index));
}
template <typename T> LATHE_DEVICE void storeFloat(void *base, int64_t index, float value) {
  T rounded;
  fromFloat(value, &rounded);
  store(static_cast<T *>(base) + index, rounded);
}

LATHE_DEVICE uint32_t floatBits(float value) { return __builtin_bit_cast(uint32_t, value); }
/// Bits of numbers that are only handed on.
LATHE_DEVICE int32_t shuffleXorBits(int32_t value, int mask) {
#if defined(__CUDA__)
  return __nvvm_shfl_sync_bfly_i32(int(kAllLanes), value, mask, 31);
#else
  lathe_lane *self = lane::current();
  return int32_t(self->machine->shuffle(self, LATHE_SHUFFLE_BUTTERFLY, kAllLanes, uint32_t(value), uint32_t(mask), 31));
#endif
}

LATHE_DEVICE float infinity() { return __builtin_inff(); }

LATHE_DEVICE float warpMax(float value) {
  for (int mask = 16; mask; mask /= 2)
    value = larger(value, shuffleXor(value, mask));
  return value;
}
LATHE_DEVICE float warpSum(float value) {
  for (int mask = 16; mask; mask /= 2)
    value += shuffleXor(value, mask);
  return value;
}

} // namespace lathe::cuda::device

#endif // LATHE_BACKENDS_CUDA_KERNELS_DEVICE_CU_H
