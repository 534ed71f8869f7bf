//===- Replay.cpp - Runs that repeat become graphs --------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/Replay.h"

#include <algorithm>
#include <cstring>
#include <numeric>

using namespace lathe;
using namespace lathe::cuda;
using runtime::Status;

Replay::Replay(const Device &device, Stream stream, Player &player, bool isOn)
    : device_(device), driver_(device.driver()), stream_(stream), player_(player), isOn_(isOn) {
  isOn_ = isOn_ && driver_.streamBeginCapture && driver_.streamEndCapture && driver_.graphInstantiate &&
          driver_.graphLaunch && driver_.graphDestroy && driver_.graphExecDestroy;
}

void Replay::beginRun() {
  run_.clear();
  isWhole_ = isOn_;
  isRunning_ = true;
  candidates_.resize(isOn_ ? tapes_.size() : 0);
  std::iota(candidates_.begin(), candidates_.end(), size_t(0));
}

/// Makes the calls of the run from `begin` on.
void Replay::play(size_t begin) {
  while (begin < run_.size()) {
    Head head;
    memcpy(&head, run_.data() + begin, sizeof(head));
    begin += sizeof(head);
    player_.report(head.kernel, player_.play(head.kind, head.kernel, run_.data() + begin, head.bytes));
    begin += (head.bytes + 7) / 8 * 8;
  }
}

void Replay::call(int64_t kind, int64_t kernel, std::initializer_list<Part> parts) {
  if (!isWhole_)
    run_.clear();
  size_t begin = run_.size();
  Head head = {kind, kernel, 0};
  for (const Part &part : parts)
    head.bytes += part.bytes;
  run_.resize(begin + sizeof(head) + (head.bytes + 7) / 8 * 8);
  memcpy(run_.data() + begin, &head, sizeof(head));
  unsigned char *at = run_.data() + begin + sizeof(head);
  for (const Part &part : parts) {
    if (part.bytes)
      memcpy(at, part.data, part.bytes);
    at += part.bytes;
  }
  bool isHeld = !candidates_.empty();
  candidates_.erase(std::remove_if(candidates_.begin(), candidates_.end(),
                                   [&](size_t index) {
                                     const std::vector<unsigned char> &known = tapes_[index].bytes;
                                     return known.size() < run_.size() ||
                                            memcmp(known.data() + begin, run_.data() + begin, run_.size() - begin) != 0;
                                   }),
                    candidates_.end());
  if (candidates_.empty())
    play(isHeld ? 0 : begin);
  if (run_.size() > kMaxBytes)
    interrupt();
}

void Replay::interrupt() {
  if (!isRunning_ || !isWhole_)
    return;
  isWhole_ = false;
  if (candidates_.empty())
    return;
  candidates_.clear();
  play(0);
}

void Replay::endRun() {
  isRunning_ = false;
  if (!isWhole_ || run_.empty())
    return;
  auto same = std::find_if(candidates_.begin(), candidates_.end(),
                           [&](size_t index) { return tapes_[index].bytes.size() == run_.size(); });
  if (same == candidates_.end()) {
    if (!candidates_.empty())
      play(0);
    return keep();
  }
  std::rotate(tapes_.begin() + static_cast<ptrdiff_t>(*same), tapes_.begin() + static_cast<ptrdiff_t>(*same) + 1,
              tapes_.end());
  Tape &tape = tapes_.back();
  if (tape.graph || (!tape.isRefused && capture(tape)))
    return launch(tape);
  tape.isRefused = true;
  play(0);
}

/// Remembers the calls of a run, which were made.
void Replay::keep() {
  if (tapes_.size() >= kMaxTapes) {
    drop(tapes_.front());
    tapes_.erase(tapes_.begin());
  }
  tapes_.emplace_back();
  tapes_.back().bytes = run_;
}

/// Makes a graph of the calls of the run, of which none is made; false where that is not possible.
bool Replay::capture(Tape &tape) {
  if (driver_.streamBeginCapture(stream_, kCaptureThreadLocal) != kDriverSuccess)
    return false;
  isCapturing_ = true;
  bool isGood = true;
  for (size_t at = 0; at < run_.size() && isGood;) {
    Head head;
    memcpy(&head, run_.data() + at, sizeof(head));
    at += sizeof(head);
    isGood = !player_.play(head.kind, head.kernel, run_.data() + at, head.bytes).failed();
    at += (head.bytes + 7) / 8 * 8;
  }
  isCapturing_ = false;
  Graph graph = nullptr;
  isGood = driver_.streamEndCapture(stream_, &graph) == kDriverSuccess && graph && isGood;
  if (isGood && driver_.graphInstantiate(&tape.graph, graph, 0) != kDriverSuccess) {
    tape.graph = nullptr;
    isGood = false;
  }
  if (graph)
    driver_.graphDestroy(graph);
  return isGood;
}

void Replay::launch(Tape &tape) {
  int result = driver_.graphLaunch(tape.graph, stream_);
  Head head;
  memcpy(&head, run_.data(), sizeof(head));
  player_.report(head.kernel, device_.status(result, "launching the graph that begins here"));
}

/// No graph runs then: a stream that was waited for is told so by the driver, and one more wait costs little.
void Replay::drop(Tape &tape) {
  if (!tape.graph)
    return;
  driver_.streamSynchronize(stream_);
  driver_.graphExecDestroy(tape.graph);
  tape.graph = nullptr;
}

void Replay::forget() {
  interrupt();
  for (Tape &tape : tapes_)
    drop(tape);
  tapes_.clear();
}
