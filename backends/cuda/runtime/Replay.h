//===- Replay.h - Runs that repeat become graphs ----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_RUNTIME_REPLAY_H
#define LATHE_BACKENDS_CUDA_RUNTIME_REPLAY_H

#include "backends/cuda/runtime/Device.h"

#include <cstddef>
#include <vector>

namespace lathe::cuda {

/// Keeps what runs put into a stream as bytes. A run that asks for the same, call by call, as one before it is put
/// there as one graph: of the second such run it is captured, and from then on only launched. As long as a run may
/// still be one that is known, its calls are held back; at the first difference they are made, and the run goes on
/// without delay. So positions, counts and pages, which kernels read from the device's memory, need no new graph, and
/// whatever else changes, such as shapes, addresses or constants of a call, gives one. The device's context is current
/// in all calls.
class Replay {
public:
  /// Makes calls. While a graph is captured failures are returned alone; else they are reported as well.
  class Player {
  public:
    virtual runtime::Status play(int64_t kind, int64_t kernel, const void *call, size_t bytes) = 0;
    virtual void report(int64_t kernel, runtime::Status status) = 0;

  protected:
    ~Player() = default;
  };

  /// `isOn`: else every call is made at once.
  Replay(const Device &device, Stream stream, Player &player, bool isOn);
  ~Replay() { forget(); }
  Replay(const Replay &) = delete;

  void beginRun();
  /// Makes a call, now or with the graph of the run. Equal calls have equal bytes, of which `parts` are put together.
  struct Part {
    const void *data;
    size_t bytes;
  };
  void call(int64_t kind, int64_t kernel, std::initializer_list<Part> parts);
  /// Makes what is held back, and all that follows in this run, at once: someone needs its results, or the calls depend
  /// on more than their bytes.
  void interrupt();
  void endRun();
  /// Before memory that calls use beyond their bytes is freed or moved: the run goes on without a graph, and graphs are
  /// made anew. Waits for those that run.
  void forget();
  /// Whether nothing may be allocated or waited for.
  bool isCapturing() const { return isCapturing_; }

private:
  /// Calls of a run, and their graph.
  struct Tape {
    std::vector<unsigned char> bytes;
    GraphExec graph = nullptr;
    bool isRefused = false; ///< there is no graph of it
  };
  /// What a call begins with; whole words follow.
  struct Head {
    int64_t kind, kernel;
    uint64_t bytes;
  };
  static constexpr size_t kMaxTapes = 8, kMaxBytes = size_t(8) << 20;

  void play(size_t begin);
  void keep();
  bool capture(Tape &tape);
  void drop(Tape &tape);
  void launch(Tape &tape);

  const Device &device_;
  const DriverApi &driver_;
  Stream stream_;
  Player &player_;
  bool isOn_, isCapturing_ = false;
  std::vector<Tape> tapes_;        ///< the one that was used last is the last
  std::vector<size_t> candidates_; ///< those that begin as the run; not empty: calls are held back
  std::vector<unsigned char> run_; ///< calls of the run
  bool isWhole_ = false;           ///< the run has been nothing but its calls
  bool isRunning_ = false;
};

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_RUNTIME_REPLAY_H
