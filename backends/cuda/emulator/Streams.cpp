//===- Streams.cpp - Streams, events and graphs of the emulator -----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/emulator/Streams.h"

#include "backends/cuda/emulator/Driver.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <memory>
#include <set>
#include <vector>

using namespace lathe;
using namespace lathe::cuda;
using emulator::Work;
using runtime::join;

namespace lathe::cuda {

struct GraphTag {
  std::vector<Work> nodes;
};

struct GraphExecTag {
  std::vector<Work> nodes;
};

struct StreamTag {
  std::mutex mutex;                 ///< of the machine
  std::unique_ptr<Machine> machine; ///< made for the first launch
  std::recursive_mutex queueMutex;  ///< of what follows
  std::deque<Work> pending;
  std::unique_ptr<GraphTag> capture;
  bool isInvalid = false; ///< the capture, which nothing but its end can be done with
};

struct EventTag {
  std::chrono::steady_clock::time_point time;
  int64_t played = 0; ///< nanoseconds of products
  Stream stream = nullptr;
  bool recorded = false, reached = false;
};

} // namespace lathe::cuda

namespace {

/// Streams that are alive; and those that this thread captures.
std::mutex streamsMutex;
std::set<StreamTag *> &streams() {
  static auto *set = new std::set<StreamTag *>;
  return *set;
}
thread_local std::vector<StreamTag *> captures;

StreamTag &of(Stream stream) {
  static auto *legacy = new StreamTag;
  return stream ? *stream : *legacy;
}

int invalidate(StreamTag &stream, std::string why) {
  stream.isInvalid = true;
  emulator::explain(std::move(why));
  return kDriverStreamCaptureUnsupported;
}

} // namespace

bool emulator::isDeferred(Stream stream) { return of(stream).capture || emulatorSettings().delays; }

int emulator::enqueue(Stream given, Work work) {
  StreamTag &stream = of(given);
  std::unique_lock<std::recursive_mutex> lock(stream.queueMutex);
  if (stream.capture) {
    if (stream.isInvalid)
      return kDriverStreamCaptureInvalidated;
    if (std::find(captures.begin(), captures.end(), &stream) == captures.end())
      return kDriverStreamCaptureWrongThread;
    stream.capture->nodes.push_back(std::move(work));
    return kDriverSuccess;
  }
  if (emulatorSettings().delays) {
    stream.pending.push_back(std::move(work));
    return kDriverSuccess;
  }
  lock.unlock();
  return work();
}

int emulator::drain(Stream given) {
  StreamTag &stream = of(given);
  std::lock_guard<std::recursive_mutex> lock(stream.queueMutex);
  int result = kDriverSuccess;
  while (!stream.pending.empty()) {
    Work work = std::move(stream.pending.front());
    stream.pending.pop_front();
    if (int failed = work(); failed && !result)
      result = failed;
  }
  return result;
}

int emulator::drainAll() {
  std::vector<StreamTag *> all;
  {
    std::lock_guard<std::mutex> lock(streamsMutex);
    all.assign(streams().begin(), streams().end());
  }
  int result = drain(nullptr);
  for (StreamTag *stream : all)
    if (int failed = drain(stream); failed && !result)
      result = failed;
  return result;
}

int emulator::refuseInCapture(const char *call) {
  if (captures.empty())
    return kDriverSuccess;
  for (StreamTag *stream : captures)
    invalidate(*stream, join(call, " while this thread captures a stream"));
  return kDriverStreamCaptureUnsupported;
}

Machine &emulator::machineOf(Stream given, std::unique_lock<std::mutex> *lock) {
  StreamTag &stream = of(given);
  *lock = std::unique_lock<std::mutex>(stream.mutex);
  if (!stream.machine) {
    const EmulatorSettings &settings = emulatorSettings();
    Machine::Options options;
    options.threads = settings.threads;
    options.races_global = settings.racesGlobal;
    options.limits.shared_bytes = settings.maxSharedBytes;
    stream.machine = std::make_unique<Machine>(options);
  }
  return *stream.machine;
}

//===----------------------------------------------------------------------===//
// Streams and events
//===----------------------------------------------------------------------===//

int emulator::streamCreate(Stream *stream, unsigned) {
  *stream = new StreamTag;
  std::lock_guard<std::mutex> lock(streamsMutex);
  streams().insert(*stream);
  return kDriverSuccess;
}

int emulator::streamDestroy(Stream stream) {
  drain(stream);
  captures.erase(std::remove(captures.begin(), captures.end(), stream), captures.end());
  {
    std::lock_guard<std::mutex> lock(streamsMutex);
    streams().erase(stream);
  }
  delete stream;
  return kDriverSuccess;
}

int emulator::streamSynchronize(Stream given) {
  StreamTag &stream = of(given);
  if (stream.capture)
    return invalidate(stream, "a stream is waited for while it is captured");
  return drain(given);
}

int emulator::eventCreate(Event *event, unsigned) {
  *event = new EventTag;
  return kDriverSuccess;
}

int emulator::eventDestroy(Event event) {
  if (event->recorded && !event->reached)
    drain(event->stream);
  delete event;
  return kDriverSuccess;
}

int emulator::eventRecord(Event event, Stream stream) {
  // The real one makes it part of the graph, which then nothing waits for but other captured streams.
  if (of(stream).capture)
    return invalidate(of(stream), "the emulator records no events in a stream that is captured");
  event->stream = stream;
  event->recorded = true;
  event->reached = false;
  return enqueue(stream, [event] {
    event->time = std::chrono::steady_clock::now();
    event->played = emulator::playedNanoseconds();
    event->reached = true;
    return int(kDriverSuccess);
  });
}

int emulator::eventSynchronize(Event event) {
  if (!event->recorded || event->reached)
    return kDriverSuccess;
  if (int result = refuseInCapture("an event is waited for"))
    return result;
  return drain(event->stream);
}

int emulator::eventElapsedTime(float *milliseconds, Event from, Event to) {
  if (!from->recorded || !to->recorded)
    return kDriverInvalidHandle;
  if (!from->reached || !to->reached)
    return kDriverNotReady;
  *milliseconds = emulatorSettings().algorithmMilliseconds.empty()
                      ? std::chrono::duration<float, std::milli>(to->time - from->time).count()
                      : static_cast<float>(double(to->played - from->played) / 1e6);
  return kDriverSuccess;
}

//===----------------------------------------------------------------------===//
// Graphs
//===----------------------------------------------------------------------===//

int emulator::streamBeginCapture(Stream given, int mode) {
  if (!given) {
    explain("the default stream can't be captured");
    return kDriverStreamCaptureUnsupported;
  }
  if (mode != kCaptureThreadLocal) {
    explain("the emulator captures for one thread alone");
    return kDriverInvalidValue;
  }
  StreamTag &stream = of(given);
  std::lock_guard<std::recursive_mutex> lock(stream.queueMutex);
  if (stream.capture)
    return kDriverIllegalState;
  stream.capture = std::make_unique<GraphTag>();
  stream.isInvalid = false;
  captures.push_back(given);
  return kDriverSuccess;
}

int emulator::streamEndCapture(Stream given, Graph *graph) {
  *graph = nullptr;
  StreamTag &stream = of(given);
  std::lock_guard<std::recursive_mutex> lock(stream.queueMutex);
  if (!stream.capture)
    return kDriverIllegalState;
  auto own = std::find(captures.begin(), captures.end(), given);
  if (own == captures.end())
    return kDriverStreamCaptureWrongThread;
  captures.erase(own);
  std::unique_ptr<GraphTag> captured = std::move(stream.capture);
  if (stream.isInvalid)
    return kDriverStreamCaptureInvalidated;
  *graph = captured.release();
  return kDriverSuccess;
}

int emulator::graphInstantiate(GraphExec *exec, Graph graph, unsigned long long flags) {
  if (flags != 0)
    return kDriverInvalidValue;
  if (int result = refuseInCapture("a graph is instantiated"))
    return result;
  if (emulatorSettings().graphsUntilFull == 0)
    return kDriverOutOfMemory;
  if (emulatorSettings().graphsUntilFull > 0)
    --emulatorSettings().graphsUntilFull;
  *exec = new GraphExecTag{graph->nodes};
  return kDriverSuccess;
}

int emulator::graphLaunch(GraphExec exec, Stream stream) {
  return enqueue(stream, [nodes = exec->nodes] {
    for (const Work &node : nodes)
      if (int result = node())
        return result;
    return int(kDriverSuccess);
  });
}

int emulator::graphDestroy(Graph graph) {
  delete graph;
  return kDriverSuccess;
}

int emulator::graphExecDestroy(GraphExec exec) {
  delete exec;
  return kDriverSuccess;
}
