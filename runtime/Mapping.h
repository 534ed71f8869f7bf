//===- Mapping.h - Memory-mapped files and buffers --------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_MAPPING_H
#define LATHE_RUNTIME_MAPPING_H

#include "runtime/Status.h"

#include <cstddef>
#include <cstdint>

namespace lathe::runtime {

/// A region of address space that is unmapped at the end of its life.
class Mapping {
public:
  Mapping() = default;
  ~Mapping() { reset(); }
  Mapping(Mapping &&other) noexcept { swap(other); }
  Mapping &operator=(Mapping &&other) noexcept {
    swap(other);
    return *this;
  }

  /// Maps a whole regular file read-only; pages are shared with every process that maps it. An empty file gives an
  /// empty mapping. The descriptor stays open for mapExecutable.
  static Status openFile(const char *path, Mapping *mapping);

  /// Maps [offset, offset + size) of this file read + execute: from the file, or as a private copy where the file
  /// system forbids execution.
  Status mapExecutable(uint64_t offset, size_t size, Mapping *mapping) const;

  const unsigned char *data() const { return static_cast<const unsigned char *>(address_); }
  size_t size() const { return size_; }

  /// Closes the descriptor; the mapping stays.
  void closeFile();

private:
  void reset();
  void swap(Mapping &other) noexcept;

  void *address_ = nullptr;
  size_t size_ = 0;
  int file_ = -1;
};

/// Heap memory aligned to 64 bytes that is grown, never shrunk; growing discards the content.
class Buffer {
public:
  /// Readable bytes past the end, so that vector loads of a tail need no mask.
  static constexpr size_t kSlack = 64;

  Buffer() = default;
  ~Buffer();
  Buffer(Buffer &&other) noexcept;
  Buffer &operator=(Buffer &&other) noexcept;

  /// Makes at least `size` bytes available; false when there is no memory (the old content is then gone too).
  bool reserve(size_t size);

  unsigned char *data() const { return data_; }
  size_t capacity() const { return capacity_; }

private:
  unsigned char *data_ = nullptr;
  size_t capacity_ = 0;
};

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_MAPPING_H
