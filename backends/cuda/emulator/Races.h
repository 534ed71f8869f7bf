//===- Races.h - Who touched which bytes last -------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Two accesses race where different threads make them, one of them writes, not both are atomic, and nothing orders
// them. What orders accesses of a block are its barriers, which begin a new epoch, and, between lanes of a warp, warp
// barriers, which pass on vector clocks (Flanagan and Freund, "FastTrack", PLDI 2009). Nothing orders accesses of
// different blocks of a launch. For each few bytes the last write and two reads are kept; a third reader is dropped, so
// of many readers some race with a later write may be missed, but what is told is a race.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_EMULATOR_RACES_H
#define LATHE_BACKENDS_CUDA_EMULATOR_RACES_H

#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace lathe::cuda {

/// One access as it is remembered.
struct AccessRecord {
  uint32_t block = 0; ///< number of the block, counted over all launches; 0: none
  uint32_t epoch = 0; ///< of the block
  uint32_t clock = 0; ///< of the lane
  uint16_t thread = 0;
  uint8_t bytes = 0; ///< which of the cell's
  uint8_t atomic = 0;
};

/// What is known of the thread that makes an access.
struct Accessor {
  uint32_t firstBlock; ///< of the launch: records below it are of earlier ones
  uint32_t block, epoch;
  uint16_t thread;
  const uint32_t *clocks; ///< what it knows of the lanes of its warp
};

struct RaceCell {
  AccessRecord write;
  AccessRecord reads[2];

  /// Remembers an access to `bytes` of the cell; the record with which it races, or NULL.
  const AccessRecord *access(const Accessor &by, uint8_t bytes, bool reads, bool writes, bool atomic);
};

/// The cells of one range of memory, such as a block's shared memory.
class RangeRaces {
public:
  static constexpr int64_t kCellBytes = 2;

  void resize(int64_t bytes) { cells_.resize(size_t((bytes + kCellBytes - 1) / kCellBytes)); }
  void clear() { cells_.assign(cells_.size(), RaceCell()); }
  const AccessRecord *access(const Accessor &by, int64_t offset, int64_t bytes, bool reads, bool writes, bool atomic);

private:
  std::vector<RaceCell> cells_;
};

/// Cells of global memory, made where it is touched. Thread-safe.
class PagedRaces {
public:
  static constexpr int64_t kPageBytes = 4096, kCellBytes = 4;

  struct Page {
    std::mutex mutex;
    RaceCell cells[kPageBytes / kCellBytes];
  };
  /// Pages that a thread of the host met last; clear() outdates it.
  struct Recent {
    uintptr_t numbers[16] = {};
    Page *pages[16] = {};
  };

  explicit PagedRaces(int64_t maxBytes) : maxPages_(maxBytes / kPageBytes) {}
  void clear() { pages_.clear(); }
  int64_t pages() const { return int64_t(pages_.size()); }
  int64_t maxPages() const { return maxPages_; }
  /// As RaceCell::access; the record is copied to *conflict. False where there is none. `alone`: no other thread of the
  /// host calls.
  bool access(const Accessor &by, uintptr_t address, int64_t bytes, bool reads, bool writes, bool atomic, bool alone,
              Recent &recent, AccessRecord *conflict);

private:
  Page *page(uintptr_t number, Recent &recent);

  int64_t maxPages_;
  std::mutex mutex_;
  std::unordered_map<uintptr_t, std::unique_ptr<Page>> pages_;
};

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_EMULATOR_RACES_H
