//===- RunBuffer.h - Memory that runs use -----------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_RUNBUFFER_H
#define LATHE_RUNTIME_RUNBUFFER_H

#include "runtime/Backend.h"
#include "runtime/Mapping.h"

#include <utility>

namespace lathe::runtime {

/// Memory of the host, or of a device, that is grown, never shrunk; growing discards the content.
class RunBuffer {
public:
  /// Of the host where `device` is null; must not outlive it.
  explicit RunBuffer(DeviceQueue *device = nullptr) : device_(device) {}
  ~RunBuffer() { drop(); }
  RunBuffer(RunBuffer &&other) noexcept { swap(other); }
  RunBuffer &operator=(RunBuffer &&other) noexcept {
    swap(other);
    return *this;
  }

  /// Makes at least `size` bytes available. OUT_OF_MEMORY: the old content is then gone too.
  Status reserve(size_t size) {
    if (!device_)
      return host_.reserve(size) ? success() : Status(LATHE_OUT_OF_MEMORY, "");
    if (address_ && size <= capacity_)
      return success();
    drop();
    Status status = device_->allocate(size, &address_);
    capacity_ = address_ ? size : 0;
    return status;
  }

  unsigned char *data() const { return device_ ? static_cast<unsigned char *>(address_) : host_.data(); }
  size_t capacity() const { return device_ ? capacity_ : host_.capacity(); }

private:
  void drop() {
    if (address_)
      device_->release(address_);
    address_ = nullptr;
    capacity_ = 0;
  }
  void swap(RunBuffer &other) noexcept {
    std::swap(device_, other.device_);
    std::swap(host_, other.host_);
    std::swap(address_, other.address_);
    std::swap(capacity_, other.capacity_);
  }

  DeviceQueue *device_ = nullptr;
  Buffer host_;
  void *address_ = nullptr;
  size_t capacity_ = 0;
};

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_RUNBUFFER_H
