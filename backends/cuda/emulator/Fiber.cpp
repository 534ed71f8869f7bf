//===- Fiber.cpp - Stacks that take turns on one thread -------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/emulator/Fiber.h"

#include <cstdint>
#include <cstring>
#include <new>
#include <sys/mman.h>
#include <unistd.h>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define LATHE_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LATHE_ADDRESS_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define LATHE_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LATHE_THREAD_SANITIZER 1
#endif
#endif

#ifdef LATHE_ADDRESS_SANITIZER
extern "C" {
void __sanitizer_start_switch_fiber(void **fakeStack, const void *bottom, size_t bytes);
void __sanitizer_finish_switch_fiber(void *fakeStack, const void **bottom, size_t *bytes);
void __asan_unpoison_memory_region(void const volatile *address, size_t bytes);
}
#endif
#ifdef LATHE_THREAD_SANITIZER
extern "C" {
void *__tsan_get_current_fiber();
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
}
#endif

namespace lathe::cuda {
namespace {

/// The fibers between which a switch happens: what arrives must know whence, and has no argument.
thread_local Fiber *leaving = nullptr;
thread_local Fiber *entering = nullptr;

} // namespace

#if defined(__x86_64__)
// Saves what a function must preserve, puts the stack pointer into *from and goes on where `to` was saved.
extern "C" void lathe_fiber_switch(void **from, void *to);
asm(R"(
.text
.globl lathe_fiber_switch
.hidden lathe_fiber_switch
.type lathe_fiber_switch, @function
.p2align 4
lathe_fiber_switch:
  endbr64
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size lathe_fiber_switch, .-lathe_fiber_switch
)");
#endif

std::unique_ptr<Fiber> Fiber::create(size_t stackBytes, Entry entry, void *argument) {
  size_t page = size_t(sysconf(_SC_PAGESIZE));
  size_t bytes = (stackBytes + page - 1) / page * page;
  // The lowest page faults where a stack overflows.
  void *mapping =
      mmap(nullptr, bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED)
    return nullptr;
  if (mprotect(mapping, page, PROT_NONE) != 0) {
    munmap(mapping, bytes + page);
    return nullptr;
  }
  std::unique_ptr<Fiber> fiber(new (std::nothrow) Fiber());
  if (!fiber) {
    munmap(mapping, bytes + page);
    return nullptr;
  }
  fiber->mapping_ = mapping;
  fiber->mappingBytes_ = bytes + page;
  fiber->bottom_ = static_cast<char *>(mapping) + page;
  fiber->bytes_ = bytes;
  fiber->entry_ = entry;
  fiber->argument_ = argument;
#ifdef LATHE_THREAD_SANITIZER
  fiber->threadState_ = __tsan_create_fiber(0);
#endif
  fiber->restart();
  return fiber;
}

std::unique_ptr<Fiber> Fiber::ofThread() {
  std::unique_ptr<Fiber> fiber(new (std::nothrow) Fiber());
#if !defined(__x86_64__)
  if (fiber)
    fiber->pointer_ = new ucontext_t();
#endif
#ifdef LATHE_THREAD_SANITIZER
  fiber->threadState_ = __tsan_get_current_fiber();
#endif
  return fiber;
}

Fiber::~Fiber() {
#if !defined(__x86_64__)
  delete static_cast<ucontext_t *>(pointer_);
#endif
  if (!mapping_)
    return;
#ifdef LATHE_ADDRESS_SANITIZER
  __asan_unpoison_memory_region(bottom_, bytes_);
#endif
#ifdef LATHE_THREAD_SANITIZER
  __tsan_destroy_fiber(threadState_);
#endif
  munmap(mapping_, mappingBytes_);
}

void Fiber::restart() {
#ifdef LATHE_ADDRESS_SANITIZER
  // What was left standing on the stack keeps its red zones.
  __asan_unpoison_memory_region(bottom_, bytes_);
  fakeStack_ = nullptr;
#endif
#if defined(__x86_64__)
  auto top = reinterpret_cast<uintptr_t>(bottom_) + bytes_;
  top &= ~uintptr_t(15);
  auto *words = reinterpret_cast<void **>(top) - 10;
  std::memset(words, 0, 10 * sizeof(void *));
  // Six saved registers, then where `ret` goes; a function begins with its stack 8 bytes off a multiple of 16.
  words[6] = reinterpret_cast<void *>(&Fiber::enter);
  pointer_ = words;
#else
  if (!pointer_)
    pointer_ = new ucontext_t();
  auto *context = static_cast<ucontext_t *>(pointer_);
  getcontext(context);
  context->uc_stack.ss_sp = const_cast<void *>(bottom_);
  context->uc_stack.ss_size = bytes_;
  context->uc_link = nullptr;
  makecontext(context, &Fiber::enter, 0);
#endif
}

void Fiber::enter() {
  Fiber *self = entering;
  self->arrive();
  self->entry_(self->argument_);
  __builtin_trap(); // an entry never returns
}

void Fiber::arrive() {
#ifdef LATHE_ADDRESS_SANITIZER
  const void *bottom = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(fakeStack_, &bottom, &bytes);
  if (!leaving->mapping_) { // the thread's own stack, of which nobody else knows
    leaving->bottom_ = bottom;
    leaving->bytes_ = bytes;
  }
#endif
}

void Fiber::switchTo(Fiber &next) {
  leaving = this;
  entering = &next;
#ifdef LATHE_ADDRESS_SANITIZER
  __sanitizer_start_switch_fiber(&fakeStack_, next.bottom_, next.bytes_);
#endif
#ifdef LATHE_THREAD_SANITIZER
  __tsan_switch_to_fiber(next.threadState_, 0);
#endif
#if defined(__x86_64__)
  lathe_fiber_switch(&pointer_, next.pointer_);
#else
  swapcontext(static_cast<ucontext_t *>(pointer_), static_cast<ucontext_t *>(next.pointer_));
#endif
  arrive();
}

} // namespace lathe::cuda
