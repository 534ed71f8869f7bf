//===- Staging.h - Copies through memory that devices reach -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_RUNTIME_STAGING_H
#define LATHE_BACKENDS_CUDA_RUNTIME_STAGING_H

#include "backends/cuda/runtime/Device.h"

#include <functional>
#include <vector>

namespace lathe::cuda {

/// Copies between memory of the host and the device in the order of a stream. Data goes through a few pieces of pinned
/// memory, so that the device copies one while the host fills or empties the next, and no call waits as long as there
/// is a piece. Where there is no such memory the driver copies as it can. The device's context is current in all calls.
class Staging {
public:
  /// Counts bytes of pinned memory more, or fewer; false where there may be no more of it, which is no failure.
  using Charge = std::function<bool(int64_t bytes)>;

  /// `pieceBytes`: of each of up to `pieces`, of which each is allocated when it is needed.
  Staging(const Device &device, Stream stream, uint64_t pieceBytes, size_t pieces, Charge charge);
  /// Waits for the stream; copies to the host that were not waited for are not made.
  ~Staging();
  Staging(const Staging &) = delete;

  /// `from` may change after the call.
  runtime::Status upload(DevicePointer to, const void *from, uint64_t bytes);
  /// `to` has the bytes after arrive().
  runtime::Status download(void *to, DevicePointer from, uint64_t bytes);
  /// Waits for the stream, and brings what was downloaded where it belongs.
  runtime::Status arrive();
  /// Waits for the stream and forgets what was downloaded, whose place may be gone.
  void abandon();

private:
  struct Arrival {
    void *to;
    const unsigned char *from;
    uint64_t bytes;
  };
  /// Filled from its beginning on, and empty again when the device has come to its end.
  struct Piece {
    unsigned char *data = nullptr;
    uint64_t used = 0;
    Event event = nullptr; ///< behind all copies of the piece, where isClosed
    bool isClosed = false;
    std::vector<Arrival> arrivals;
  };

  /// Where up to `bytes` bytes can go now, and how many; null where there is no pinned memory.
  runtime::Status place(uint64_t bytes, unsigned char **at, uint64_t *room);
  runtime::Status advance();
  runtime::Status empty(Piece &piece);
  bool allocate(Piece &piece);

  const Device &device_;
  const DriverApi &driver_;
  Stream stream_;
  uint64_t pieceBytes_;
  Charge charge_;
  std::vector<Piece> pieces_;
  size_t current_ = 0;
};

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_RUNTIME_STAGING_H
