//===- Driver.h - A driver whose device is the emulator ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// The functions of the CUDA driver, of cuBLASLt, of cuSPARSELt and of cuDNN that the run half uses, on memory of the
// host. They refuse what the real ones refuse, and what the real ones leave undefined: copies outside of what is
// allocated, calls without a context, operands of products out of bounds.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_EMULATOR_DRIVER_H
#define LATHE_BACKENDS_CUDA_EMULATOR_DRIVER_H

#include "backends/cuda/runtime/BlasApi.h"
#include "backends/cuda/runtime/Dnn.h"
#include "backends/cuda/runtime/DriverApi.h"
#include "backends/cuda/runtime/SparseLtApi.h"

#include <string>
#include <utility>
#include <vector>

namespace lathe::cuda {

/// What moduleLoadDataEx takes in the place of a cubin: kernels for the emulator, executable, and where each begins
/// (Emulation.h). The code stays where it is.
struct EmulationImage {
  static constexpr char kMagic[8] = {'L', 'A', 'T', 'H', 'E', 'E', 'M', 'U'};

  EmulationImage(const unsigned char *code, const std::vector<std::pair<std::string, uint64_t>> *kernels);
  /// The hand-written kernels (backends/cuda/kernels).
  EmulationImage() : EmulationImage(nullptr, nullptr) {}

  char magic[8];
  const unsigned char *code;
  const std::vector<std::pair<std::string, uint64_t>> *kernels;
};

/// The device that is played. Changes hold for what comes after them.
struct EmulatorSettings {
  bool hasDevice = true;
  int capability = 90;
  int driverVersion = 13000;                ///< for CUDA 13.0
  bool hasPools = true;                     ///< memory in the order of streams
  uint64_t memoryBytes = uint64_t(1) << 40; ///< of the device
  int maxSharedBytes = 227 << 10;           ///< of a block
  int64_t launchesUntilLost = -1;           ///< after as many the device is lost; -1: never
  int64_t allocationsUntilFull = -1;        ///< after as many there is no memory, whatever the size; -1: never
  int threads = 1;                          ///< of the host, among which blocks of a launch are shared out
  int64_t pinnedUntilFull = -1;             ///< the same of memory of the host that the driver gives
  int64_t graphsUntilFull = -1;             ///< and of graphs
  bool delays = false;                      ///< nothing is done before something waits for it (Streams.h)
  /// How long the library's products take by each of as many algorithms, on a clock that only they advance; empty:
  /// there is one, and the clock is the host's.
  std::vector<float> algorithmMilliseconds;
  /// On that clock: an attention by the library, and a hand-written kernel.
  float attentionMilliseconds = 0, kernelMilliseconds = 0;
  bool hasEpilogues = true; ///< cuBLASLt has algorithms for products with some
  bool hasDnn = true;       ///< there is cuDNN
  bool hasSparseLt = true;  ///< there is cuSPARSELt
  /// How long its products take by each of as many algorithms, on that clock; empty: there is one, which takes none.
  std::vector<float> sparseMilliseconds;
  bool racesGlobal = true; ///< look for races on global memory, too
};

/// For tests; not while something runs.
EmulatorSettings &emulatorSettings();

/// What is alive, for tests.
struct EmulatorStatistics {
  size_t allocations = 0;
  uint64_t bytes = 0;
  int64_t launches = 0;       ///< of the process, those of graphs, too
  size_t pinned = 0;          ///< pieces of memory of the host
  int64_t handles = 0;        ///< of cuBLASLt and cuSPARSELt
  int64_t calls = 0;          ///< of launchKernel
  int64_t graphs = 0;         ///< that were launched
  int64_t products[32] = {};  ///< of the process, of the library, by the type of the operands (BlasType)
  int64_t attentions = 0;     ///< of the process, of the library
  int64_t sparseProducts = 0; ///< of the process, of cuSPARSELt
  int64_t lastSparse = -1;    ///< the algorithm of the last of them
  int64_t lastAlgorithm = -1; ///< of EmulatorSettings::algorithmMilliseconds, that a product was computed by
};
EmulatorStatistics emulatorStatistics();

const DriverApi &emulatorDriver();
/// cuBLASLt by plain loops.
const BlasApi &emulatorBlas();
/// cuSPARSELt by plain loops.
runtime::Status emulatorSparseLt(SparseLtApi *api);
/// cuDNN's attention by plain loops.
runtime::Status emulatorDnn(int capability, std::unique_ptr<Dnn> *dnn);

namespace emulator {
/// Fails unless all of [address, address + bytes) is of one allocation. For the libraries that are played; the launch
/// lock is held by caller.
bool inBounds(const void *address, int64_t bytes);
/// Whether a library may be called that makes calls of the driver: a context has to be current, as they would take
/// whatever device is the process's first, and leave its context behind. Else explains why not.
bool isReady();
/// Counts a handle of cuBLASLt or cuSPARSELt more, or fewer.
void countHandle(int change);
/// Counts a product of operands of a BlasType, by one of the algorithms.
void countProduct(int type, size_t algorithm);
/// Counts a product by a weight with zeros.
void countSparseProduct(size_t algorithm);
/// Counts an attention of the library.
void countAttention();
/// How long products took up to now on the clock that they advance (EmulatorSettings::algorithmMilliseconds).
int64_t playedNanoseconds();
/// A DriverResult in the driver's words; null for one that the emulator never gives.
struct ResultName {
  int result;
  const char *name, *text;
};
const ResultName *resultName(int result);
/// Notes why the next failure that is reported happens, for getErrorString.
void explain(std::string message);
/// What explain() was told last on this thread; empty when it was asked for before.
std::string takeExplanation();
} // namespace emulator

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_EMULATOR_DRIVER_H
