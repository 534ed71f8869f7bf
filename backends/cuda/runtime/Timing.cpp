//===- Timing.cpp - How long work takes on the device -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/Timing.h"

using namespace lathe;
using namespace lathe::cuda;

runtime::Status cuda::leastTime(const Device &device, Stream stream, const std::function<runtime::Status()> &start,
                                float *milliseconds) {
  constexpr int kRounds = 3;
  const DriverApi &driver = device.driver();
  *milliseconds = -1;
  Event events[2] = {};
  int result = kDriverSuccess;
  for (Event &event : events)
    if (!result)
      result = driver.eventCreate(&event, 0);
  bool works = true;
  for (int i = 0; i <= kRounds && !result && works; ++i) {
    result = driver.eventRecord(events[0], stream);
    works = !start().failed();
    if (!result)
      result = driver.eventRecord(events[1], stream);
    if (!result)
      result = driver.streamSynchronize(stream);
    float own = 0;
    if (!result)
      result = driver.eventElapsedTime(&own, events[0], events[1]);
    if (works && i > 0 && (*milliseconds < 0 || own < *milliseconds))
      *milliseconds = own;
  }
  if (!works)
    *milliseconds = -1;
  for (Event event : events)
    if (event)
      driver.eventDestroy(event);
  return device.status(result, "timing algorithms");
}
