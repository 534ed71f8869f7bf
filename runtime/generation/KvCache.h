//===- KvCache.h - Keys and values of sequences -----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_GENERATION_KVCACHE_H
#define LATHE_RUNTIME_GENERATION_KVCACHE_H

#include "runtime/Abi.h"
#include "runtime/Backend.h"
#include "runtime/RunBuffer.h"
#include "runtime/Status.h"

#include <functional>
#include <memory>
#include <vector>

namespace lathe::runtime {

/// Rows of all caches of a program for some sequences. Those that runs append to grow in pages of
/// CacheRows::kPageRows rows; a copy of a sequence shares its pages until one of both writes to them. Used by one thread
/// at a time.
class KvCache {
public:
  /// Counts bytes more, or fewer, against a budget; false when that would pass it.
  using Charge = std::function<bool(int64_t bytes)>;

  /// Pages are memory of `device` where that is not null; it then outlives this.
  KvCache(const std::vector<Cache> &caches, Charge charge, DeviceQueue *device = nullptr);
  ~KvCache();

  struct Page {
    RunBuffer data;
    KvCache *owner = nullptr;
    ~Page();
  };
  /// What grows together.
  struct Rows {
    std::vector<std::shared_ptr<Page>> pages;
    std::vector<const unsigned char *> addresses; ///< of the pages
    int64_t count = 0;
  };
  /// One sequence. Copies share pages.
  struct Sequence {
    Rows appended, fixed;
  };

  /// Makes room for `rows` more rows of the sequence, of its own. OVER_BUDGET, OUT_OF_MEMORY: the sequence is as it was.
  Status reserve(Sequence &sequence, int64_t rows) { return reserve(sequence.appended, rows, appendedBytes_); }
  /// Forgets the rows from `count` on.
  void truncate(Sequence &sequence, int64_t count);
  /// Puts rows [1, heads, rows, size] of a fixed cache, dense, into the sequence; all fixed caches get as many.
  Status fill(Sequence &sequence, size_t cache, const float *data, int64_t rows);

  /// The sequences of the next run, each of which appends `rows` rows, which were reserved. `inOrder`: positions that
  /// the run is given are those of these rows (CacheRows::inOrder).
  Status begin(const std::vector<Sequence *> &sequences, int64_t rows, bool inOrder = false);
  /// The run was successful: sequences have its rows from now on.
  void commit();

  /// Whether a call fits the sequences of the run, and the rows that it is about.
  Status check(const lathe_cache_call &call, CacheRows *rows) const;
  /// lathe_runtime_table::cache, of the sequences of the run, in memory of the host.
  Status execute(const lathe_cache_call &call, ThreadPool &pool);
  /// The rows that attentions of the run see; fails where there is no such cache.
  Status rows(int64_t cache, CacheRows *rows) const;

  size_t size() const { return caches_.size(); }
  /// Bytes of all pages.
  uint64_t bytes() const { return bytes_; }

private:
  Status reserve(Rows &rows, int64_t more, int64_t pageBytes);
  Status fillOnDevice(Rows &fixed, size_t cache, const float *data);
  Status newPage(int64_t bytes, std::shared_ptr<Page> *page);
  /// The head in the page that has the row.
  unsigned char *headOf(const Sequence &sequence, size_t cache, int64_t head, int64_t row) const;

  const std::vector<Cache> &caches_;
  Charge charge_;
  DeviceQueue *device_ = nullptr;
  std::vector<int64_t> offsets_; ///< of each cache in a page, in bytes
  int64_t appendedBytes_ = 0, fixedBytes_ = 0;
  uint64_t bytes_ = 0;
  std::vector<Sequence *> active_;
  int64_t newRows_ = 0;
  bool inOrder_ = false;
  /// Of the active sequences: addresses of pages, and the rows that they have with those of the run.
  std::vector<const unsigned char *const *> appendedPages_, fixedPages_;
  std::vector<int64_t> appendedCounts_, fixedCounts_;
};

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_GENERATION_KVCACHE_H
