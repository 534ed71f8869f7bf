//===- Fiber.h - Stacks that take turns on one thread -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_EMULATOR_FIBER_H
#define LATHE_BACKENDS_CUDA_EMULATOR_FIBER_H

#include <cstddef>
#include <memory>

namespace lathe::cuda {

/// A stack and where it stands. Switching costs some nanoseconds: the signal mask is not touched, as swapcontext would.
/// Tells the address and the thread sanitizer what it does.
class Fiber {
public:
  using Entry = void (*)(void *argument);

  /// A fiber that runs `entry` once it is switched to; `entry` never returns. NULL where there is no memory.
  static std::unique_ptr<Fiber> create(size_t stackBytes, Entry entry, void *argument);
  /// What stands for the stack of the thread that calls.
  static std::unique_ptr<Fiber> ofThread();
  ~Fiber();
  Fiber(const Fiber &) = delete;
  Fiber &operator=(const Fiber &) = delete;

  /// Leaves this fiber, the one that runs, for another one. Returns when someone switches back.
  void switchTo(Fiber &next);
  /// Forgets where this fiber, which does not run, stands: it begins anew.
  void restart();

private:
  Fiber() = default;
  static void enter();
  void arrive();

  void *pointer_ = nullptr; ///< of the stack, or of a ucontext_t
  void *mapping_ = nullptr;
  size_t mappingBytes_ = 0;
  const void *bottom_ = nullptr;
  size_t bytes_ = 0;
  Entry entry_ = nullptr;
  void *argument_ = nullptr;
  [[maybe_unused]] void *fakeStack_ = nullptr;   ///< of the address sanitizer
  [[maybe_unused]] void *threadState_ = nullptr; ///< of the thread sanitizer
};

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_EMULATOR_FIBER_H
