//===- Staging.cpp - Copies through memory that devices reach ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/Staging.h"

#include <algorithm>
#include <cstring>

using namespace lathe;
using namespace lathe::cuda;
using runtime::Status;
using runtime::success;

namespace {
/// Where parts of a piece begin: at cache lines.
constexpr uint64_t kAlignment = 64;
} // namespace

Staging::Staging(const Device &device, Stream stream, uint64_t pieceBytes, size_t pieces, Charge charge)
    : device_(device), driver_(device.driver()), stream_(stream), pieceBytes_(pieceBytes), charge_(std::move(charge)),
      pieces_(pieces) {}

Staging::~Staging() {
  abandon();
  for (Piece &piece : pieces_) {
    if (piece.event)
      driver_.eventDestroy(piece.event);
    if (!piece.data)
      continue;
    driver_.memFreeHost(piece.data);
    charge_(-static_cast<int64_t>(pieceBytes_));
  }
}

bool Staging::allocate(Piece &piece) {
  if (piece.data)
    return true;
  if (!charge_(static_cast<int64_t>(pieceBytes_)))
    return false;
  void *data = nullptr;
  if (!piece.event && driver_.eventCreate(&piece.event, kEventDisableTiming) != kDriverSuccess)
    piece.event = nullptr;
  if (!piece.event || driver_.memHostAlloc(&data, pieceBytes_, 0) != kDriverSuccess) {
    charge_(-static_cast<int64_t>(pieceBytes_));
    return false;
  }
  piece.data = static_cast<unsigned char *>(data);
  return true;
}

/// Waits until the device has made all copies of a piece.
Status Staging::empty(Piece &piece) {
  if (piece.isClosed)
    if (int result = driver_.eventSynchronize(piece.event))
      return device_.status(result, "waiting for a copy");
  piece.isClosed = false;
  for (const Arrival &arrival : piece.arrivals)
    memcpy(arrival.to, arrival.from, arrival.bytes);
  piece.arrivals.clear();
  piece.used = 0;
  return success();
}

/// Goes on with the next piece.
Status Staging::advance() {
  Piece &full = pieces_[current_];
  if (int result = driver_.eventRecord(full.event, stream_))
    return device_.status(result, "marking a copy");
  full.isClosed = true;
  size_t next = (current_ + 1) % pieces_.size();
  // Where there is no memory for another one, those that are there go round.
  if (!allocate(pieces_[next]))
    next = 0;
  current_ = next;
  return empty(pieces_[current_]);
}

Status Staging::place(uint64_t bytes, unsigned char **at, uint64_t *room) {
  *at = nullptr;
  if (!allocate(pieces_[current_]))
    return success();
  // Small data is not split.
  uint64_t left = pieceBytes_ - pieces_[current_].used;
  if (left < std::min(bytes, kAlignment * 64))
    if (Status status = advance(); status.failed())
      return status;
  Piece &piece = pieces_[current_];
  *room = std::min(bytes, pieceBytes_ - piece.used);
  *at = piece.data + piece.used;
  piece.used = std::min(pieceBytes_, (piece.used + *room + kAlignment - 1) / kAlignment * kAlignment);
  return success();
}

Status Staging::upload(DevicePointer to, const void *from, uint64_t bytes) {
  auto *source = static_cast<const unsigned char *>(from);
  while (bytes > 0) {
    unsigned char *at = nullptr;
    uint64_t room = bytes;
    if (Status status = place(bytes, &at, &room); status.failed())
      return status;
    if (at)
      memcpy(at, source, room);
    if (int result = driver_.memcpyHtoDAsync(to, at ? at : source, room, stream_))
      return device_.status(result, "copying to the device");
    to += room;
    source += room;
    bytes -= room;
  }
  return success();
}

Status Staging::download(void *to, DevicePointer from, uint64_t bytes) {
  auto *target = static_cast<unsigned char *>(to);
  while (bytes > 0) {
    unsigned char *at = nullptr;
    uint64_t room = bytes;
    if (Status status = place(bytes, &at, &room); status.failed())
      return status;
    if (int result = driver_.memcpyDtoHAsync(at ? at : target, from, room, stream_))
      return device_.status(result, "copying from the device");
    if (at)
      pieces_[current_].arrivals.push_back({target, at, room});
    from += room;
    target += room;
    bytes -= room;
  }
  return success();
}

Status Staging::arrive() {
  if (int result = driver_.streamSynchronize(stream_)) {
    for (Piece &piece : pieces_)
      piece.arrivals.clear();
    return device_.status(result, "waiting for the device");
  }
  for (size_t i = 0; i < pieces_.size(); ++i) {
    // From the oldest on: what was downloaded twice to one place has the last value.
    Piece &piece = pieces_[(current_ + 1 + i) % pieces_.size()];
    piece.isClosed = false;
    if (Status status = empty(piece); status.failed())
      return status;
  }
  return success();
}

void Staging::abandon() {
  driver_.streamSynchronize(stream_);
  for (Piece &piece : pieces_) {
    piece.arrivals.clear();
    piece.used = 0;
    piece.isClosed = false;
  }
}
