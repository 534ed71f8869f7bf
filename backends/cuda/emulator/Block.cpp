//===- Block.cpp - The threads of a block and their turns -----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/emulator/Block.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace lathe::cuda {
namespace {

/// Around the shared memory, so that accesses a little outside are told from those to global memory.
constexpr int64_t kMargin = 1024;

thread_local Worker *currentWorker = nullptr;

std::string hex(uintptr_t value) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

std::string triple(const uint32_t value[3]) {
  return "(" + std::to_string(value[0]) + ", " + std::to_string(value[1]) + ", " + std::to_string(value[2]) + ")";
}

const char *name(Together what) {
  switch (what) {
  case Together::barrier:
    return "a warp barrier";
  case Together::shuffle:
    return "a shuffle";
  case Together::vote:
    return "a vote";
  case Together::mma:
    return "a matrix product";
  case Together::matrix:
    return "a load of matrices";
  }
  return "";
}

// The table that device code is handed.
Lane &laneOf(lathe_lane *lane) { return *static_cast<Lane *>(lane); }

void tableBarrier(lathe_lane *lane, int64_t site) { laneOf(lane).worker->barrier(laneOf(lane), site); }

void tableWarpBarrier(lathe_lane *lane, uint32_t mask, int64_t site) {
  laneOf(lane).worker->together(laneOf(lane), Together::barrier, site, mask);
}

uint32_t tableShuffle(lathe_lane *lane, int64_t kind, uint32_t mask, uint32_t value, uint32_t operand, uint32_t clamp) {
  Lane &self = laneOf(lane);
  self.in[0] = value;
  self.in[1] = operand;
  self.in[2] = clamp;
  self.worker->together(self, Together::shuffle, kind, mask);
  return self.out[0];
}

uint32_t tableVote(lathe_lane *lane, int64_t kind, uint32_t mask, uint32_t predicate) {
  Lane &self = laneOf(lane);
  self.in[0] = predicate;
  self.worker->together(self, Together::vote, kind, mask);
  return self.out[0];
}

void tableAccess(lathe_lane *lane, const void *address, int64_t bytes, int64_t kind) {
  laneOf(lane).worker->access(laneOf(lane), address, bytes, kind);
}

const lathe_lane_table kTable = {tableBarrier, tableWarpBarrier, tableShuffle, tableVote, tableAccess};

} // namespace

Worker::Worker() = default;
Worker::~Worker() = default;

Worker *Worker::current() { return currentWorker; }

bool Worker::prepare(LaunchState &launch) {
  launch_ = &launch;
  const MachineLaunch &call = *launch.launch;
  failed_ = false;
  if (!main_ && !(main_ = Fiber::ofThread())) {
    record(MachineError::resources, std::string("kernel '") + call.name + "': no memory for its threads");
    return false;
  }
  threads_ = call.block[0] * call.block[1] * call.block[2];
  lanes_.assign(threads_, Lane());
  ready_.resize(threads_);
  warps_.resize((threads_ + 31) / 32);
  if (sharedBytes_ < call.shared_bytes || sharedMemory_.empty()) {
    sharedBytes_ = call.shared_bytes;
    sharedMemory_.resize(size_t(sharedBytes_ + 2 * kMargin + 128));
    sharedRaces_.resize(sharedBytes_);
  }
  auto begin = reinterpret_cast<uintptr_t>(sharedMemory_.data()) + kMargin;
  shared_ = reinterpret_cast<unsigned char *>((begin + 127) / 128 * 128);
  for (Allocation &allocation : lastAllocations_)
    allocation = Allocation();
  return true;
}

void Worker::run(LaunchState &launch) {
  Worker *outer = currentWorker;
  currentWorker = this;
  if (prepare(launch))
    while (!launch.stop.load(std::memory_order_relaxed)) {
      int64_t block = launch.next.fetch_add(1);
      if (block >= launch.blocks)
        break;
      runBlock(block);
    }
  currentWorker = outer;
}

void Worker::runBlock(int64_t block) {
  const MachineLaunch &call = *launch_->launch;
  block_ = block;
  uint32_t where[3] = {uint32_t(block % call.grid[0]), uint32_t(block / call.grid[0] % call.grid[1]),
                       uint32_t(block / call.grid[0] / call.grid[1])};
  for (uint32_t i = 0; i < threads_; ++i) {
    Lane &lane = lanes_[i];
    lane.machine = &kTable;
    lane.thread[0] = i % call.block[0];
    lane.thread[1] = i / call.block[0] % call.block[1];
    lane.thread[2] = i / call.block[0] / call.block[1];
    std::memcpy(lane.block, where, sizeof where);
    std::memcpy(lane.block_size, call.block, sizeof lane.block_size);
    std::memcpy(lane.grid_size, call.grid, sizeof lane.grid_size);
    lane.shared = shared_;
    lane.worker = this;
    lane.index = i;
    lane.state = Lane::State::notStarted;
    lane.fiber = nullptr;
    lane.copies.clear();
    ++lane.clocks[i % 32]; // nobody knows of what this lane does from here on
  }
  for (uint32_t w = 0; w < warps_.size(); ++w) {
    uint32_t lanes = std::min(threads_ - w * 32, 32u);
    warps_[w].ended = lanes == 32 ? 0 : ~0u << lanes;
    warps_[w].gatherings.clear();
  }
  // What a kernel reads without having written it shows in results.
  std::memset(shared_, 0xff, size_t(call.shared_bytes));
  if (++epoch_ == 0)
    sharedRaces_.clear();
  nextThread_ = ended_ = arrived_ = 0;
  readyBegin_ = readyCount_ = 0;
  Fiber *fiber = fresh();
  if (!fiber) {
    record(MachineError::resources, std::string("kernel '") + call.name + "': no memory for the stack of a thread");
    return;
  }
  running_ = fiber;
  main_->switchTo(*fiber);
  lane_ = nullptr;
  if (ended_ == threads_ && !failed_)
    return;
  if (!failed_)
    stuck();
  // Whatever stands on the stacks is left there.
  free_.clear();
  for (auto &each : fibers_) {
    each->restart();
    free_.push_back(each.get());
  }
}

Fiber *Worker::fresh() {
  if (free_.empty()) {
    auto fiber = Fiber::create(launch_->options->stack_bytes, fiberEntry, this);
    if (!fiber)
      return nullptr;
    fibers_.push_back(std::move(fiber));
    return fibers_.back().get();
  }
  Fiber *fiber = free_.back();
  free_.pop_back();
  return fiber;
}

void Worker::fiberEntry(void *worker) {
  auto *self = static_cast<Worker *>(worker);
  for (;;)
    self->runThreads();
}

/// Starts threads one after another, on one stack as long as they do not wait; then gives the stack back.
void Worker::runThreads() {
  Fiber *self = running_;
  for (;;) {
    if (readyCount_ || nextThread_ == threads_)
      break;
    Lane &lane = lanes_[nextThread_++];
    lane.fiber = self;
    lane.state = Lane::State::runs;
    lane_ = &lane;
    launch_->launch->body(&lane, launch_->launch->context);
    end(lane);
  }
  free_.push_back(self);
  if (readyCount_) {
    Lane &next = lanes_[ready_[readyBegin_]];
    readyBegin_ = (readyBegin_ + 1) % threads_;
    --readyCount_;
    next.state = Lane::State::runs;
    lane_ = &next;
    running_ = next.fiber;
  } else {
    running_ = main_.get();
  }
  self->switchTo(*running_);
}

void Worker::ready(Lane &lane) {
  ready_[(readyBegin_ + readyCount_) % threads_] = lane.index;
  ++readyCount_;
}

/// Lets others run until someone made `lane` ready.
void Worker::wait(Lane &lane) {
  Fiber *self = lane.fiber;
  if (readyCount_) {
    Lane &next = lanes_[ready_[readyBegin_]];
    readyBegin_ = (readyBegin_ + 1) % threads_;
    --readyCount_;
    next.state = Lane::State::runs;
    lane_ = &next;
    running_ = next.fiber;
  } else if (nextThread_ < threads_) {
    running_ = fresh();
    if (!running_) {
      text_ = "no memory for the stack of a thread";
      fail(lane, MachineError::resources);
    }
  } else {
    running_ = main_.get();
  }
  self->switchTo(*running_);
}

void Worker::end(Lane &lane) {
  lane.state = Lane::State::ended;
  if (ended_++ == 0)
    firstEnded_ = lane.index;
  if (arrived_) {
    text_ = "ended without the barrier (site " + std::to_string(site_) + ") at which thread " +
            threadText(firstArrived_) + " waits";
    fail(lane, MachineError::barrier);
  }
  Warp &warp = warps_[lane.index / 32];
  warp.ended |= 1u << lane.index % 32;
  for (size_t i = 0; i < warp.gatherings.size();) {
    const Gathering &gathering = warp.gatherings[i];
    if (gathering.mask & ~(gathering.arrived | warp.ended))
      ++i;
    else
      complete(warp, i, lane.index / 32);
  }
}

void Worker::barrier(Lane &lane, int64_t site) {
  if (arrived_ == 0) {
    site_ = site;
    firstArrived_ = lane.index;
  } else if (site != site_) {
    {
      text_ = "waits at barrier " + std::to_string(site) + ", thread " + threadText(firstArrived_) + " at barrier " +
              std::to_string(site_);
      fail(lane, MachineError::barrier);
    }
  }
  if (ended_) {
    text_ = "waits at a barrier (site " + std::to_string(site) + ") without which thread " + threadText(firstEnded_) +
            " ended";
    fail(lane, MachineError::barrier);
  }
  if (++arrived_ == threads_) {
    arrived_ = 0;
    if (++epoch_ == 0) {
      sharedRaces_.clear();
      epoch_ = 1;
    }
    for (Lane &other : lanes_)
      if (&other != &lane)
        ready(other);
    return;
  }
  lane.state = Lane::State::barrier;
  lane.site = site;
  wait(lane);
}

void Worker::together(Lane &lane, Together what, int64_t detail, uint32_t mask) {
  uint32_t self = 1u << lane.index % 32;
  if (!(mask & self)) {
    text_ = std::string("calls ") + name(what) + " with the mask " + hex(mask) + ", which leaves it out";
    fail(lane, MachineError::warp);
  }
  Warp &warp = warps_[lane.index / 32];
  size_t at = 0;
  while (at < warp.gatherings.size() && !(warp.gatherings[at].mask & mask))
    ++at;
  if (at == warp.gatherings.size()) {
    warp.gatherings.push_back({what, detail, mask, 0});
  } else {
    const Gathering &other = warp.gatherings[at];
    uint32_t waiting = 0;
    while (!(other.arrived >> waiting & 1))
      ++waiting;
    if (other.what != what || other.detail != detail || other.mask != mask) {
      text_ = std::string("comes to ") + name(what) + " (" + std::to_string(detail) + ", mask " + hex(mask) +
              ") while thread " + threadText(lane.index / 32 * 32 + waiting) + " waits for it at " + name(other.what) +
              " (" + std::to_string(other.detail) + ", mask " + hex(other.mask) + ")";
      fail(lane, MachineError::warp);
    }
  }
  Gathering &gathering = warp.gatherings[at];
  gathering.arrived |= self;
  lane.mask = mask;
  lane.site = detail;
  if (!(mask & ~(gathering.arrived | warp.ended))) {
    gathering.arrived &= ~self; // needs not be woken
    Gathering whole = gathering;
    whole.arrived |= self;
    perform(whole, &lanes_[lane.index / 32 * 32]);
    complete(warp, at, lane.index / 32);
    return;
  }
  lane.state = Lane::State::warp;
  wait(lane);
}

/// Wakes the lanes of a gathering, after doing what they came for where the last to come did not.
void Worker::complete(Warp &warp, size_t at, uint32_t warpIndex) {
  Gathering gathering = warp.gatherings[at];
  warp.gatherings.erase(warp.gatherings.begin() + ptrdiff_t(at));
  Lane *lanes = &lanes_[warpIndex * 32];
  if (lane_->state == Lane::State::ended)
    perform(gathering, lanes);
  for (uint32_t i = 0; i < 32; ++i)
    if (gathering.arrived >> i & 1)
      ready(lanes[i]);
}

void Worker::perform(const Gathering &gathering, Lane *lanes) {
  switch (gathering.what) {
  case Together::barrier: {
    uint32_t known[32] = {};
    for (uint32_t i = 0; i < 32; ++i)
      if (gathering.arrived >> i & 1)
        for (int c = 0; c < 32; ++c)
          known[c] = std::max(known[c], lanes[i].clocks[c]);
    for (uint32_t i = 0; i < 32; ++i)
      if (gathering.arrived >> i & 1) {
        std::memcpy(lanes[i].clocks, known, sizeof known);
        ++lanes[i].clocks[i];
      }
    return;
  }
  case Together::shuffle:
    return performShuffle(gathering, lanes);
  case Together::vote:
    return performVote(gathering, lanes);
  case Together::mma:
  case Together::matrix:
    if (gathering.arrived != ~0u) {
      text_ = std::string(name(gathering.what)) + " needs all 32 lanes of a warp";
      fail(*lane_, MachineError::warp);
    }
    if (gathering.what == Together::mma)
      return performMma(gathering.detail, lanes);
    int count = int(gathering.detail >> 1);
    for (int i = 0; i < count * 8; ++i)
      access(lanes[i], lanes[i].row, 16, LATHE_ACCESS_READ | LATHE_ACCESS_SHARED);
    return performLoadMatrix(count, gathering.detail & 1, lanes);
  }
}

void Worker::performShuffle(const Gathering &gathering, Lane *lanes) {
  for (uint32_t lane = 0; lane < 32; ++lane) {
    if (!(gathering.arrived >> lane & 1))
      continue;
    uint32_t b = lanes[lane].in[1] & 31, c = lanes[lane].in[2] & 31, segment = lanes[lane].in[2] >> 8 & 31;
    uint32_t last = (lane & segment) | (c & ~segment & 31), first = lane & segment;
    int64_t source = lane;
    bool inside = false;
    switch (gathering.detail) {
    case LATHE_SHUFFLE_UP:
      source = int64_t(lane) - b;
      inside = source >= int64_t(last);
      break;
    case LATHE_SHUFFLE_DOWN:
      source = int64_t(lane) + b;
      inside = source <= int64_t(last);
      break;
    case LATHE_SHUFFLE_BUTTERFLY:
      source = lane ^ b;
      inside = source <= int64_t(last);
      break;
    default:
      source = first | (b & ~segment);
      inside = source <= int64_t(last);
    }
    // A lane that takes no part has no value to give: undefined on a device, its own here.
    if (!inside || !(gathering.arrived >> source & 1))
      source = lane;
    lanes[lane].out[0] = lanes[source].in[0];
  }
}

void Worker::performVote(const Gathering &gathering, Lane *lanes) {
  uint32_t ballot = 0;
  for (uint32_t i = 0; i < 32; ++i)
    if (gathering.arrived >> i & 1 && lanes[i].in[0])
      ballot |= 1u << i;
  uint32_t result = ballot;
  if (gathering.detail == LATHE_VOTE_ALL)
    result = ballot == gathering.arrived;
  else if (gathering.detail == LATHE_VOTE_ANY)
    result = ballot != 0;
  else if (gathering.detail == LATHE_VOTE_UNIFORM)
    result = ballot == 0 || ballot == gathering.arrived;
  for (uint32_t i = 0; i < 32; ++i)
    if (gathering.arrived >> i & 1)
      lanes[i].out[0] = result;
}

void Worker::access(Lane &lane, const void *pointer, int64_t bytes, int64_t kind) {
  if (bytes <= 0)
    return;
  auto address = reinterpret_cast<uintptr_t>(pointer);
  if ((bytes & (bytes - 1)) == 0 && bytes <= 16 && address % uintptr_t(bytes)) {
    text_ = "accesses " + std::to_string(bytes) + " bytes at " + hex(address) + ", which is no multiple of them";
    fail(lane, MachineError::alignment);
  }
  auto shared = reinterpret_cast<uintptr_t>(shared_);
  int64_t offset = int64_t(address - shared), size = launch_->launch->shared_bytes;
  bool isShared = offset >= 0 && offset + bytes <= size;
  if (!isShared) {
    if (offset >= -kMargin && offset < sharedBytes_ + kMargin) {
      text_ = "accesses " + std::to_string(bytes) + " bytes at offset " + std::to_string(offset) + " of " +
              std::to_string(size) + " bytes of shared memory";
      fail(lane, MachineError::bounds);
    }
    checkBounds(lane, address, bytes);
  }
  if (kind & (isShared ? LATHE_ACCESS_GLOBAL : LATHE_ACCESS_SHARED)) {
    text_ = std::string("accesses ") + (isShared ? "shared" : "global") + " memory by an instruction that is for " +
            (isShared ? "global" : "shared") + " memory";
    fail(lane, MachineError::bounds);
  }
  if (!(kind & (LATHE_ACCESS_READ | LATHE_ACCESS_WRITE | LATHE_ACCESS_ATOMIC)))
    return;
  if (isShared ? launch_->options->races_shared : launch_->options->races_global)
    checkRace(lane, address, bytes, kind, isShared);
}

void Worker::checkBounds(Lane &lane, uintptr_t address, int64_t bytes) {
  const DeviceMemory *memory = launch_->launch->memory;
  if (!memory)
    return;
  auto inside = [&](const Allocation &allocation) {
    auto begin = reinterpret_cast<uintptr_t>(allocation.address);
    return allocation.address && address >= begin && address - begin + uintptr_t(bytes) <= uintptr_t(allocation.bytes);
  };
  for (const Allocation &allocation : lastAllocations_)
    if (inside(allocation))
      return;
  Allocation nearest;
  bool any = memory->find(reinterpret_cast<const void *>(address), &nearest);
  if (any && inside(nearest)) {
    lastAllocations_[lastAllocation_++ % 4] = nearest;
    return;
  }
  text_ = "accesses " + std::to_string(bytes) + " bytes at " + hex(address);
  if (!any) {
    text_ += ", but nothing is allocated";
    fail(lane, MachineError::bounds);
  }
  auto begin = reinterpret_cast<uintptr_t>(nearest.address);
  bool before = address < begin;
  uintptr_t distance = before ? begin - address : address - begin;
  text_ += ", " + std::to_string(distance) + " bytes " + (before ? "before" : "behind the begin of") +
           " the nearest allocation, of " + std::to_string(nearest.bytes) + " bytes";
  fail(lane, MachineError::bounds);
}

void Worker::checkRace(Lane &lane, uintptr_t address, int64_t bytes, int64_t kind, bool shared) {
  if (launch_->blocks > int64_t(~launch_->firstBlock))
    return; // more blocks than there are numbers
  Accessor by = {launch_->firstBlock, uint32_t(launch_->firstBlock + block_), epoch_, uint16_t(lane.index),
                 lane.clocks};
  if (shared)
    by.firstBlock = by.block = 1; // blocks on the same memory are told apart by their epochs
  bool atomic = kind & LATHE_ACCESS_ATOMIC;
  bool reads = kind & LATHE_ACCESS_READ || atomic, writes = kind & LATHE_ACCESS_WRITE || atomic;
  AccessRecord other;
  if (shared) {
    const AccessRecord *record =
        sharedRaces_.access(by, int64_t(address - reinterpret_cast<uintptr_t>(shared_)), bytes, reads, writes, atomic);
    if (!record)
      return;
    other = *record;
  } else if (!launch_->global->access(by, address, bytes, reads, writes, atomic, launch_->alone, recentPages_,
                                      &other)) {
    return;
  }
  text_ = std::string(writes ? "writes" : "reads") + " " + std::to_string(bytes) + " bytes of ";
  text_ += shared ? "shared memory at offset " + std::to_string(address - reinterpret_cast<uintptr_t>(shared_))
                  : "global memory at " + hex(address);
  text_ += ", which thread " + threadText(other.thread);
  if (!shared && other.block != by.block) {
    int64_t block = other.block - launch_->firstBlock;
    const uint32_t *grid = launch_->launch->grid;
    uint32_t where[3] = {uint32_t(block % grid[0]), uint32_t(block / grid[0] % grid[1]),
                         uint32_t(block / grid[0] / grid[1])};
    text_ += " of block " + triple(where);
  }
  text_ += " accessed, with no barrier between";
  fail(lane, MachineError::race);
}

std::string Worker::threadText(uint32_t index) const { return triple(lanes_[index].thread); }

std::string Worker::place(const Lane &lane) const {
  return std::string("kernel '") + launch_->launch->name + "', block " + triple(lane.block) + ", thread " +
         triple(lane.thread);
}

void Worker::record(MachineError error, std::string message) {
  failed_ = true;
  std::lock_guard<std::mutex> lock(launch_->mutex);
  if (!launch_->result.failed()) {
    launch_->result.error = error;
    launch_->result.message = std::move(message);
  }
  launch_->stop = true;
}

void Worker::fail(const Lane &lane, MachineError error) {
  record(error, place(lane) + ": " + text_);
  Fiber *self = running_;
  running_ = main_.get();
  self->switchTo(*main_);
  __builtin_trap(); // nobody goes on here
}

/// Tells why no thread can go on.
void Worker::stuck() {
  const Lane *barrier = nullptr, *warp = nullptr;
  for (const Lane &lane : lanes_) {
    if (lane.state == Lane::State::barrier && !barrier)
      barrier = &lane;
    if (lane.state == Lane::State::warp && !warp)
      warp = &lane;
  }
  const Lane *lane = warp ? warp : barrier;
  if (!warp) {
    record(MachineError::barrier, place(*lane) + ": waits at a barrier that not all threads reach");
    return;
  }
  std::string text = place(*warp) + ": waits for lanes of its warp (mask " + hex(warp->mask) + ")";
  for (uint32_t i = 0; i < 32 && warp->index / 32 * 32 + i < threads_; ++i) {
    const Lane &other = lanes_[warp->index / 32 * 32 + i];
    if (warp->mask >> i & 1 && other.state == Lane::State::barrier) {
      text += ", of which thread " + threadText(other.index) + " waits at a barrier (site " +
              std::to_string(other.site) + ")";
      break;
    }
  }
  record(MachineError::warp, text);
}

} // namespace lathe::cuda
