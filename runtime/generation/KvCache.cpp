//===- KvCache.cpp - Keys and values of sequences ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/generation/KvCache.h"

#include <algorithm>
#include <cstring>

using namespace lathe::runtime;

namespace {
constexpr int64_t kPageRows = CacheRows::kPageRows;
}

KvCache::KvCache(const std::vector<Cache> &caches, Charge charge, DeviceQueue *device)
    : caches_(caches), charge_(std::move(charge)), device_(device) {
  for (const Cache &cache : caches_) {
    int64_t &bytes = cache.appended ? appendedBytes_ : fixedBytes_;
    offsets_.push_back(bytes);
    bytes += cache.layout.bytes(); // of whole cache lines, so that all rows of f32 are aligned
  }
}

KvCache::~KvCache() = default;

KvCache::Page::~Page() {
  if (!owner)
    return;
  auto held = static_cast<int64_t>(data.capacity());
  owner->charge_(-held);
  owner->bytes_ -= static_cast<uint64_t>(held);
}

Status KvCache::newPage(int64_t bytes, std::shared_ptr<Page> *page) {
  if (!charge_(bytes))
    return failure(LATHE_OVER_BUDGET, "the cache needs ", bytes, " bytes for ", kPageRows, " more positions; it holds ", bytes_,
                   " and that would pass the memory budget");
  auto result = std::make_shared<Page>();
  result->data = RunBuffer(device_);
  if (Status status = result->data.reserve(static_cast<size_t>(bytes)); status.failed()) {
    charge_(-bytes);
    return failure(status.code(), "cannot allocate ", bytes, " bytes for the cache", status.message().empty() ? "" : ": ", status.message());
  }
  charge_(static_cast<int64_t>(result->data.capacity()) - bytes);
  result->owner = this;
  bytes_ += result->data.capacity();
  *page = std::move(result);
  return success();
}

Status KvCache::reserve(Rows &rows, int64_t more, int64_t pageBytes) {
  size_t needed = static_cast<size_t>((rows.count + more + kPageRows - 1) / kPageRows);
  size_t first = static_cast<size_t>(rows.count / kPageRows);
  if (more > 0 && first < rows.pages.size() && rows.pages[first].use_count() > 1) {
    std::shared_ptr<Page> own;
    if (Status status = newPage(pageBytes, &own); status.failed())
      return status;
    if (device_) {
      Status status = device_->copy(own->data.data(), rows.pages[first]->data.data(), static_cast<uint64_t>(pageBytes));
      if (status.failed())
        return status;
    } else {
      std::memcpy(own->data.data(), rows.pages[first]->data.data(), static_cast<size_t>(pageBytes));
    }
    rows.pages[first] = std::move(own);
    rows.addresses[first] = rows.pages[first]->data.data();
  }
  // Pages behind it that another sequence shares were reserved and never written by this one.
  for (size_t i = first + 1; i < rows.pages.size(); ++i)
    if (rows.pages[i].use_count() > 1) {
      rows.pages.resize(i);
      rows.addresses.resize(i);
    }
  while (rows.pages.size() < needed) {
    std::shared_ptr<Page> page;
    if (Status status = newPage(pageBytes, &page); status.failed())
      return status;
    rows.addresses.push_back(page->data.data());
    rows.pages.push_back(std::move(page));
  }
  return success();
}

void KvCache::truncate(Sequence &sequence, int64_t count) {
  Rows &rows = sequence.appended;
  rows.count = std::clamp<int64_t>(count, 0, rows.count);
  auto pages = static_cast<size_t>((rows.count + kPageRows - 1) / kPageRows);
  rows.pages.resize(std::min(rows.pages.size(), pages));
  rows.addresses.resize(rows.pages.size());
}

unsigned char *KvCache::headOf(const Sequence &sequence, size_t cache, int64_t head, int64_t row) const {
  const Rows &rows = caches_[cache].appended ? sequence.appended : sequence.fixed;
  return rows.pages[static_cast<size_t>(row / kPageRows)]->data.data() + offsets_[cache] + head * caches_[cache].layout.headBytes();
}

Status KvCache::fill(Sequence &sequence, size_t cache, const float *data, int64_t rows) {
  const Cache &own = caches_[cache];
  Rows &fixed = sequence.fixed;
  if (fixed.count == 0) {
    if (Status status = reserve(fixed, rows, fixedBytes_); status.failed())
      return status;
    fixed.count = rows;
  }
  if (fixed.count != rows)
    return failure(LATHE_INTERNAL, "cache '", own.name, "' has ", rows, " rows, but others of the sequence have ", fixed.count);
  if (device_)
    return fillOnDevice(fixed, cache, data);
  for (int64_t head = 0; head < own.layout.heads; ++head)
    for (int64_t row = 0; row < rows; ++row)
      own.layout.store(headOf(sequence, cache, head, row), row % kPageRows, data + (head * rows + row) * own.layout.size, 1);
  return success();
}

/// A page's part of the cache at a time, put together on the host.
Status KvCache::fillOnDevice(Rows &fixed, size_t cache, const float *data) {
  const CacheLayout &layout = caches_[cache].layout;
  std::vector<unsigned char> part(static_cast<size_t>(layout.bytes()));
  for (size_t page = 0; page < fixed.pages.size(); ++page) {
    int64_t first = static_cast<int64_t>(page) * kPageRows, last = std::min(fixed.count, first + kPageRows);
    for (int64_t head = 0; head < layout.heads; ++head)
      for (int64_t row = first; row < last; ++row)
        layout.store(part.data() + head * layout.headBytes(), row - first, data + (head * fixed.count + row) * layout.size, 1);
    if (Status status = device_->upload(fixed.pages[page]->data.data() + offsets_[cache], part.data(), part.size()); status.failed())
      return status;
  }
  return success();
}

Status KvCache::begin(const std::vector<Sequence *> &sequences, int64_t rows, bool inOrder) {
  inOrder_ = inOrder;
  active_ = sequences;
  newRows_ = rows;
  appendedPages_.clear();
  fixedPages_.clear();
  appendedCounts_.clear();
  fixedCounts_.clear();
  for (Sequence *sequence : active_) {
    Rows &own = sequence->appended;
    if (static_cast<int64_t>(own.pages.size()) * kPageRows < own.count + rows)
      return failure(LATHE_INTERNAL, "a run appends ", rows, " rows to a cache without room for them");
    appendedPages_.push_back(own.addresses.data());
    fixedPages_.push_back(sequence->fixed.addresses.data());
    appendedCounts_.push_back(own.count + rows);
    fixedCounts_.push_back(sequence->fixed.count);
  }
  return success();
}

void KvCache::commit() {
  for (Sequence *sequence : active_)
    sequence->appended.count += newRows_;
  active_.clear();
}

Status KvCache::rows(int64_t cache, CacheRows *rows) const {
  if (cache < 0 || static_cast<size_t>(cache) >= caches_.size())
    return failure(LATHE_INTERNAL, "cache ", cache, " does not exist: the program has ", caches_.size());
  auto index = static_cast<size_t>(cache);
  bool appended = caches_[index].appended;
  rows->pages = (appended ? appendedPages_ : fixedPages_).data();
  rows->counts = (appended ? appendedCounts_ : fixedCounts_).data();
  rows->offset = offsets_[index];
  rows->sequences = static_cast<int64_t>(active_.size());
  rows->inOrder = appended && inOrder_;
  rows->layout = caches_[index].layout;
  return success();
}

Status KvCache::check(const lathe_cache_call &call, CacheRows *found) const {
  if (Status status = rows(call.cache, found); status.failed())
    return status;
  const CacheRows &view = *found;
  const Cache &cache = caches_[static_cast<size_t>(call.cache)];
  bool fits = call.dtype == LATHE_F32 && call.sizes[0] == view.sequences && call.sizes[1] == cache.layout.heads &&
              call.sizes[3] == cache.layout.size && call.sizes[2] >= 0;
  if (!fits || (!call.read && (!cache.appended || call.sizes[2] != newRows_)))
    return failure(LATHE_INTERNAL, "rows [", call.sizes[0], ", ", call.sizes[1], ", ", call.sizes[2], ", ", call.sizes[3],
                   "] do not fit cache '", cache.name, "' of ", view.sequences, " sequences, ", cache.layout.heads, " heads, ", newRows_,
                   " new rows and ", cache.layout.size, " columns");
  return success();
}

Status KvCache::execute(const lathe_cache_call &call, ThreadPool &pool) {
  CacheRows view;
  if (Status status = check(call, &view); status.failed())
    return status;
  auto index = static_cast<size_t>(call.cache);
  struct Loop {
    const KvCache *self;
    const lathe_cache_call *call;
    const int64_t *counts;
    size_t cache;
  } loop{this, &call, view.counts, index};
  constexpr int64_t kWorthSharing = 1 << 14; // elements
  int64_t each = std::max<int64_t>(call.sizes[2] * call.sizes[3], 1);
  pool.parallelFor(
      call.sizes[0] * call.sizes[1], std::max<int64_t>(kWorthSharing / each, 1),
      [](void *context, int64_t begin, int64_t end, int) {
        auto *loop = static_cast<Loop *>(context);
        const lathe_cache_call &call = *loop->call;
        for (int64_t i = begin; i < end; ++i) {
          int64_t sequence = i / call.sizes[1], head = i % call.sizes[1];
          const Sequence &own = *loop->self->active_[static_cast<size_t>(sequence)];
          float *data = static_cast<float *>(call.data) + sequence * call.strides[0] + head * call.strides[1];
          int64_t count = loop->counts[sequence], first = call.read ? 0 : own.appended.count;
          const CacheLayout &layout = loop->self->caches_[loop->cache].layout;
          for (int64_t row = 0; row < call.sizes[2]; ++row) {
            float *other = data + row * call.strides[2];
            int64_t place = first + row;
            if (place >= count) {
              for (int64_t c = 0; c < call.sizes[3]; ++c)
                other[c * call.strides[3]] = 0;
              continue;
            }
            unsigned char *page = loop->self->headOf(own, loop->cache, head, place);
            if (call.read)
              layout.load(page, place % kPageRows, other, call.strides[3]);
            else
              layout.store(page, place % kPageRows, other, call.strides[3]);
          }
        }
      },
      &loop);
  return success();
}
