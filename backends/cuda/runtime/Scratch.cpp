//===- Scratch.cpp - Memory that calls of a session share -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/Scratch.h"

using namespace lathe;
using namespace lathe::cuda;
using runtime::failure;
using runtime::join;
using runtime::Status;

void Scratch::drop() {
  if (!address_)
    return;
  if (replay_)
    replay_->forget();
  // What is in the stream may still use it.
  device_.driver().streamSynchronize(stream_);
  device_.driver().memFree(address_);
  services_.charge(-static_cast<int64_t>(bytes_));
  address_ = 0;
  bytes_ = 0;
}

Status Scratch::reserve(uint64_t bytes, const char *what) {
  if (bytes <= bytes_)
    return runtime::success();
  if (replay_ && replay_->isCapturing())
    return failure(LATHE_INTERNAL, what, " can't grow while a graph is made");
  drop();
  if (bytes > INT64_MAX || !services_.charge(static_cast<int64_t>(bytes)))
    return failure(LATHE_OVER_BUDGET, bytes, " bytes for ", what, " would pass the session's memory budget");
  if (int result = device_.driver().memAlloc(&address_, bytes)) {
    services_.charge(-static_cast<int64_t>(bytes));
    address_ = 0;
    return device_.status(result, join("allocating ", bytes, " bytes for ", what).c_str());
  }
  bytes_ = bytes;
  return runtime::success();
}
