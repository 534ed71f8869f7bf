//===- Mapping.cpp - Memory-mapped files and buffers ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/Mapping.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

using namespace lathe::runtime;

Status Mapping::openFile(const char *path, Mapping *mapping) {
  Mapping result;
  // O_NONBLOCK: opening a FIFO by mistake must not hang.
  result.file_ = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (result.file_ < 0)
    return failure(errno == ENOENT || errno == ENOTDIR ? LATHE_NOT_FOUND : LATHE_IO_ERROR, "cannot open '", path,
                   "': ", strerror(errno));
  struct stat info;
  if (fstat(result.file_, &info) != 0)
    return failure(LATHE_IO_ERROR, "cannot read '", path, "': ", strerror(errno));
  if (!S_ISREG(info.st_mode))
    return failure(LATHE_IO_ERROR, "cannot read '", path, "': expected a regular file");
  if (info.st_size > 0) {
    void *address = mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_SHARED, result.file_, 0);
    if (address == MAP_FAILED)
      return failure(errno == ENOMEM ? LATHE_OUT_OF_MEMORY : LATHE_IO_ERROR, "cannot map '", path,
                     "': ", strerror(errno));
    result.address_ = address;
    result.size_ = static_cast<size_t>(info.st_size);
  }
  *mapping = std::move(result);
  return success();
}

Status Mapping::mapExecutable(uint64_t offset, size_t size, Mapping *mapping) const {
  Mapping result;
  void *address = mmap(nullptr, size, PROT_READ | PROT_EXEC, MAP_PRIVATE, file_, static_cast<off_t>(offset));
  if (address == MAP_FAILED) {
    // A file system mounted noexec refuses: copy, then make the copy executable and no longer writable.
    address = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (address == MAP_FAILED)
      return failure(LATHE_OUT_OF_MEMORY, "cannot map ", size, " bytes of code: ", strerror(errno));
    result.address_ = address;
    result.size_ = size;
    memcpy(address, data() + offset, size);
    if (mprotect(address, size, PROT_READ | PROT_EXEC) != 0)
      return failure(LATHE_IO_ERROR, "the system refuses executable memory: ", strerror(errno));
  }
  result.address_ = address;
  result.size_ = size;
  *mapping = std::move(result);
  return success();
}

void Mapping::closeFile() {
  if (file_ >= 0)
    close(file_);
  file_ = -1;
}

void Mapping::reset() {
  closeFile();
  if (address_)
    munmap(address_, size_);
  address_ = nullptr;
  size_ = 0;
}

void Mapping::swap(Mapping &other) noexcept {
  std::swap(address_, other.address_);
  std::swap(size_, other.size_);
  std::swap(file_, other.file_);
}

Buffer::~Buffer() { free(data_); }

Buffer::Buffer(Buffer &&other) noexcept
    : data_(std::exchange(other.data_, nullptr)), capacity_(std::exchange(other.capacity_, 0)) {}

Buffer &Buffer::operator=(Buffer &&other) noexcept {
  std::swap(data_, other.data_);
  std::swap(capacity_, other.capacity_);
  return *this;
}

bool Buffer::reserve(size_t size) {
  if (data_ && size <= capacity_)
    return true;
  // The old block goes first: the peak is what the new size says, not the sum.
  free(data_);
  data_ = nullptr;
  capacity_ = 0;
  if (size > SIZE_MAX - 2 * kSlack)
    return false;
  size_t rounded = (size + 63) / 64 * 64;
  data_ = static_cast<unsigned char *>(aligned_alloc(64, rounded + kSlack));
  if (data_)
    capacity_ = rounded;
  return data_ != nullptr;
}
