//===- Races.cpp - Who touched which bytes last ---------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/emulator/Races.h"

#include <algorithm>

namespace lathe::cuda {
namespace {

/// Whether what was recorded happened before what `by` does now.
bool ordered(const AccessRecord &record, const Accessor &by) {
  if (record.block < by.firstBlock)
    return true;
  if (record.block != by.block)
    return false;
  if (record.epoch != by.epoch || record.thread == by.thread)
    return true;
  return record.thread / 32 == by.thread / 32 && record.clock <= by.clocks[record.thread % 32];
}

bool conflicts(const AccessRecord &record, const Accessor &by, uint8_t bytes, bool atomic) {
  return (record.bytes & bytes) && !(record.atomic && atomic) && !ordered(record, by);
}

/// The bytes of the cell at `cell` that an access to [begin, end) touches.
uint8_t touched(int64_t cell, int64_t size, int64_t begin, int64_t end) {
  int64_t from = std::max(begin - cell, int64_t(0)), to = std::min(end - cell, size);
  return uint8_t(((1 << to) - 1) & ~((1 << from) - 1));
}

} // namespace

const AccessRecord *RaceCell::access(const Accessor &by, uint8_t bytes, bool doesRead, bool doesWrite, bool atomic) {
  if (conflicts(write, by, bytes, atomic))
    return &write;
  AccessRecord record;
  record.block = by.block;
  record.epoch = by.epoch;
  record.clock = by.clocks[by.thread % 32];
  record.thread = by.thread;
  record.bytes = bytes;
  record.atomic = atomic;
  if (doesWrite) {
    for (const AccessRecord &read : reads)
      if (conflicts(read, by, bytes, atomic))
        return &read;
    write = record;
    return nullptr;
  }
  if (!doesRead)
    return nullptr;
  // A read before this one tells nothing more, unless it was of other bytes; of those at the same time keep two, of
  // different warps where there are such.
  bool wider = reads[0].bytes & ~bytes;
  if (ordered(reads[0], by) && !(wider && reads[0].block == by.block && reads[0].epoch == by.epoch)) {
    reads[0] = record;
  } else if (ordered(reads[1], by) || (reads[1].block == by.block && reads[1].thread / 32 == reads[0].thread / 32)) {
    reads[1] = record;
  }
  return nullptr;
}

const AccessRecord *RangeRaces::access(const Accessor &by, int64_t offset, int64_t bytes, bool reads, bool writes,
                                       bool atomic) {
  for (int64_t cell = offset / kCellBytes; cell * kCellBytes < offset + bytes; ++cell)
    if (const AccessRecord *record = cells_[size_t(cell)].access(
            by, touched(cell * kCellBytes, kCellBytes, offset, offset + bytes), reads, writes, atomic))
      return record;
  return nullptr;
}

PagedRaces::Page *PagedRaces::page(uintptr_t number, Recent &recent) {
  size_t line = number % 16;
  if (recent.pages[line] && recent.numbers[line] == number)
    return recent.pages[line];
  std::lock_guard<std::mutex> lock(mutex_);
  auto found = pages_.find(number);
  if (found == pages_.end()) {
    if (int64_t(pages_.size()) >= maxPages_)
      return nullptr;
    found = pages_.emplace(number, std::make_unique<Page>()).first;
  }
  recent.numbers[line] = number;
  return recent.pages[line] = found->second.get();
}

bool PagedRaces::access(const Accessor &by, uintptr_t address, int64_t bytes, bool reads, bool writes, bool atomic,
                        bool alone, Recent &recent, AccessRecord *conflict) {
  uintptr_t end = address + uintptr_t(bytes);
  while (address < end) {
    uintptr_t number = address / kPageBytes, stop = std::min(end, (number + 1) * kPageBytes);
    if (Page *cells = page(number, recent)) {
      std::unique_lock<std::mutex> lock(cells->mutex, std::defer_lock);
      if (!alone)
        lock.lock();
      int64_t from = int64_t(address % kPageBytes), to = from + int64_t(stop - address);
      for (int64_t cell = from / kCellBytes; cell * kCellBytes < to; ++cell)
        if (const AccessRecord *record = cells->cells[cell].access(by, touched(cell * kCellBytes, kCellBytes, from, to),
                                                                   reads, writes, atomic)) {
          *conflict = *record;
          return true;
        }
    }
    address = stop;
  }
  return false;
}

} // namespace lathe::cuda
