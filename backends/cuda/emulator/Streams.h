//===- Streams.h - Streams, events and graphs of the emulator ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Work that is put into a stream is done when the call returns. Where the emulator is told to delay
// (EmulatorSettings::delays) it is done when something waits for it, and no sooner: what forgets to wait shows. In a
// stream that is captured it becomes part of a graph.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_EMULATOR_STREAMS_H
#define LATHE_BACKENDS_CUDA_EMULATOR_STREAMS_H

#include "backends/cuda/emulator/Machine.h"
#include "backends/cuda/runtime/DriverApi.h"

#include <functional>
#include <mutex>

namespace lathe::cuda::emulator {

/// What is done in its turn; returns a DriverResult.
using Work = std::function<int()>;

/// Whether work put into the stream is done later than the call, so that it has to hold what it needs.
bool isDeferred(Stream stream);
/// The result of the work where it is done at once; else that of putting it there.
int enqueue(Stream stream, Work work);
/// Does all that is in a stream, or in all of them, and gives the first failure.
int drain(Stream stream);
int drainAll();
/// StreamCaptureUnsupported, and the end of the captures that this thread goes on with, where there are any: `call` is
/// none that may be made meanwhile.
int refuseInCapture(const char *call);
/// The machine of a stream, which the lock is for. Made when it is asked for first.
Machine &machineOf(Stream stream, std::unique_lock<std::mutex> *lock);

int streamCreate(Stream *stream, unsigned flags);
int streamDestroy(Stream stream);
int streamSynchronize(Stream stream);
int eventCreate(Event *event, unsigned flags);
int eventDestroy(Event event);
int eventRecord(Event event, Stream stream);
int eventSynchronize(Event event);
int eventElapsedTime(float *milliseconds, Event from, Event to);
int streamBeginCapture(Stream stream, int mode);
int streamEndCapture(Stream stream, Graph *graph);
int graphInstantiate(GraphExec *exec, Graph graph, unsigned long long flags);
int graphLaunch(GraphExec exec, Stream stream);
int graphDestroy(Graph graph);
int graphExecDestroy(GraphExec exec);

} // namespace lathe::cuda::emulator

#endif // LATHE_BACKENDS_CUDA_EMULATOR_STREAMS_H
