//===- Driver.cpp - A driver whose device is the emulator -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/emulator/Driver.h"

#include "backends/cuda/emulator/Machine.h"
#include "backends/cuda/emulator/Streams.h"
#include "backends/cuda/kernels/HostKernels.h"
#include "backends/cuda/kernels/Kernels.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <vector>

using namespace lathe;
using namespace lathe::cuda;
using runtime::join;

namespace lathe::cuda {

struct ContextHandle {};

struct FunctionTag {
  std::string name;
  lathe_lane_fn body = nullptr;
  MachineLaunch::Body written =
      nullptr;             ///< instead of that, of a hand-written kernel; neither of what was loaded as PTX or cubin
  int64_t mostThreads = 0; ///< of a block of a hand-written kernel
  int maxSharedBytes = 48 << 10;
};

struct ModuleTag {
  std::mutex mutex;
  bool isWritten = false; ///< its functions are the hand-written ones
  std::map<std::string, FunctionTag> functions;
};
} // namespace lathe::cuda

namespace {

/// Blocks begin at multiples of this, with as much between them that is no one's.
constexpr size_t kAlignment = 256;
/// What new memory holds: NaN as f32, so that what reads it before it is written shows.
constexpr int kPoison = 0xff;

class Emulator final : public DeviceMemory {
public:
  bool find(const void *address, Allocation *nearest) const override {
    auto at = reinterpret_cast<uintptr_t>(address);
    auto next = allocations_.upper_bound(at);
    if (allocations_.empty())
      return false;
    auto tell = [&](std::map<uintptr_t, size_t>::const_iterator it) {
      *nearest = {reinterpret_cast<const void *>(it->first), static_cast<int64_t>(it->second)};
    };
    if (next == allocations_.begin()) {
      tell(next);
      return true;
    }
    auto before = std::prev(next);
    bool behind = at >= before->first + before->second;
    tell(behind && next != allocations_.end() && next->first - at < at - (before->first + before->second) ? next
                                                                                                          : before);
    return true;
  }

  bool inBounds(uintptr_t address, uint64_t bytes) const {
    auto next = allocations_.upper_bound(address);
    if (next == allocations_.begin())
      return bytes == 0;
    auto [base, size] = *std::prev(next);
    return bytes == 0 || (address - base <= size && bytes <= size - (address - base));
  }

  int allocate(DevicePointer *address, size_t bytes) {
    EmulatorSettings &settings = emulatorSettings();
    std::unique_lock<std::shared_mutex> lock(mutex);
    if (bytes == 0)
      return kDriverInvalidValue;
    if (settings.allocationsUntilFull == 0 || bytes > settings.memoryBytes || bytes_ > settings.memoryBytes - bytes ||
        bytes > SIZE_MAX - 3 * kAlignment)
      return kDriverOutOfMemory;
    size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    void *memory = aligned_alloc(kAlignment, rounded + kAlignment);
    if (!memory)
      return kDriverOutOfMemory;
    if (settings.allocationsUntilFull > 0)
      --settings.allocationsUntilFull;
    memset(memory, kPoison, bytes);
    allocations_[reinterpret_cast<uintptr_t>(memory)] = bytes;
    bytes_ += bytes;
    *address = reinterpret_cast<DevicePointer>(memory);
    return kDriverSuccess;
  }

  int release(DevicePointer address) {
    std::unique_lock<std::shared_mutex> lock(mutex);
    auto found = allocations_.find(static_cast<uintptr_t>(address));
    if (found == allocations_.end()) {
      emulator::explain("what is freed is no allocation");
      return kDriverInvalidValue;
    }
    bytes_ -= found->second;
    free(reinterpret_cast<void *>(found->first));
    allocations_.erase(found);
    return kDriverSuccess;
  }

  int pin(void **address, size_t bytes) {
    EmulatorSettings &settings = emulatorSettings();
    std::unique_lock<std::shared_mutex> lock(mutex);
    if (bytes == 0)
      return kDriverInvalidValue;
    if (settings.pinnedUntilFull == 0)
      return kDriverOutOfMemory;
    void *memory = malloc(bytes);
    if (!memory)
      return kDriverOutOfMemory;
    if (settings.pinnedUntilFull > 0)
      --settings.pinnedUntilFull;
    memset(memory, kPoison, bytes);
    pinned_[reinterpret_cast<uintptr_t>(memory)] = bytes;
    *address = memory;
    return kDriverSuccess;
  }

  int unpin(void *address) {
    std::unique_lock<std::shared_mutex> lock(mutex);
    if (!pinned_.erase(reinterpret_cast<uintptr_t>(address))) {
      emulator::explain("what is freed is no memory that the driver gave");
      return kDriverInvalidValue;
    }
    free(address);
    return kDriverSuccess;
  }

  bool isPinned(const void *address, size_t bytes) {
    std::shared_lock<std::shared_mutex> lock(mutex);
    auto at = reinterpret_cast<uintptr_t>(address);
    auto next = pinned_.upper_bound(at);
    if (next == pinned_.begin())
      return false;
    auto [base, size] = *std::prev(next);
    return at - base <= size && bytes <= size - (at - base);
  }

  /// The end of the context: all that it had is gone, and so is what made it fail.
  void reset() {
    std::unique_lock<std::shared_mutex> lock(mutex);
    for (auto &[address, bytes] : allocations_)
      free(reinterpret_cast<void *>(address));
    for (auto &[address, bytes] : pinned_)
      free(reinterpret_cast<void *>(address));
    allocations_.clear();
    pinned_.clear();
    bytes_ = 0;
    lost = kDriverSuccess;
    lostMessage.clear();
  }

  EmulatorStatistics statistics() {
    std::shared_lock<std::shared_mutex> lock(mutex);
    EmulatorStatistics result;
    result.allocations = allocations_.size();
    result.bytes = bytes_;
    result.launches = launches.load();
    result.pinned = pinned_.size();
    result.handles = handles.load();
    result.calls = calls.load();
    result.graphs = graphs.load();
    result.attentions = attentions.load();
    result.lastAlgorithm = lastAlgorithm;
    std::copy(std::begin(products), std::end(products), result.products);
    result.sparseProducts = sparseProducts;
    result.lastSparse = lastSparse;
    return result;
  }

  std::shared_mutex mutex; ///< of the allocations: shared by what uses memory
  std::mutex contextMutex;
  int contextCount = 0;
  std::atomic<int> lost{kDriverSuccess}; ///< what every call answers once the device failed
  std::string lostMessage;
  std::atomic<int64_t> launches{0}, calls{0}, graphs{0}, attentions{0}, handles{0};
  std::atomic<int64_t> products[32] = {};
  std::atomic<int64_t> playedNanoseconds{0}, lastAlgorithm{-1}, sparseProducts{0}, lastSparse{-1};

private:
  std::map<uintptr_t, size_t> allocations_, pinned_;
  uint64_t bytes_ = 0;
};

Emulator &device() {
  static Emulator *instance = new Emulator; // sessions may outlive static objects
  return *instance;
}

ContextHandle theContext;
thread_local int contextDepth = 0;
thread_local std::string explanation;

/// What calls that need a context begin with; `forbidden`: which ones may not be made while a stream is captured.
int ready(const char *forbidden = nullptr) {
  if (contextDepth == 0) {
    emulator::explain("no context is current on this thread");
    return kDriverInvalidContext;
  }
  if (forbidden)
    if (int result = emulator::refuseInCapture(forbidden))
      return result;
  return device().lost.load();
}

void *hostOf(DevicePointer address) { return reinterpret_cast<void *>(address); }

/// A piece of device memory that a copy touches, while the lock is held.
int checkRange(DevicePointer address, uint64_t bytes, const char *what) {
  if (device().inBounds(static_cast<uintptr_t>(address), bytes))
    return kDriverSuccess;
  Allocation nearest;
  std::string where = "nothing is allocated";
  if (device().find(hostOf(address), &nearest))
    where = join("the nearest allocation has ", nearest.bytes, " bytes, ",
                 static_cast<int64_t>(address - reinterpret_cast<DevicePointer>(nearest.address)),
                 " bytes before this address");
  emulator::explain(join(what, " of ", bytes, " bytes out of bounds: ", where));
  return kDriverInvalidValue;
}

//===----------------------------------------------------------------------===//
// Device and context
//===----------------------------------------------------------------------===//

int init(unsigned) { return emulatorSettings().hasDevice ? kDriverSuccess : kDriverNoDevice; }

int driverGetVersion(int *version) {
  *version = emulatorSettings().driverVersion;
  return kDriverSuccess;
}

int getErrorName(int result, const char **text) {
  const emulator::ResultName *name = emulator::resultName(result);
  *text = name ? name->name : nullptr;
  return name ? kDriverSuccess : kDriverInvalidValue;
}

/// Says more than the real one: what the emulator found.
int getErrorString(int result, const char **text) {
  thread_local std::string full;
  const emulator::ResultName *name = emulator::resultName(result);
  if (!name) {
    *text = nullptr;
    return kDriverInvalidValue;
  }
  std::string why = emulator::takeExplanation();
  if (result == device().lost.load()) {
    std::lock_guard<std::mutex> lock(device().contextMutex);
    why = device().lostMessage;
  }
  full = join(name->text, why.empty() ? "" : ": ", why);
  *text = full.c_str();
  return kDriverSuccess;
}

int deviceGetCount(int *count) {
  *count = emulatorSettings().hasDevice ? 1 : 0;
  return kDriverSuccess;
}

int deviceGet(DeviceOrdinal *ordinal, int index) {
  *ordinal = 0;
  return index == 0 && emulatorSettings().hasDevice ? kDriverSuccess : kDriverInvalidDevice;
}

int deviceGetName(char *name, int bytes, DeviceOrdinal) {
  snprintf(name, static_cast<size_t>(bytes), "emulated GPU");
  return kDriverSuccess;
}

int deviceGetAttribute(int *value, int attribute, DeviceOrdinal) {
  const EmulatorSettings &settings = emulatorSettings();
  switch (attribute) {
  case kAttributeMultiprocessors:
    *value = 4;
    return kDriverSuccess;
  case kAttributeComputeCapabilityMajor:
    *value = settings.capability / 10;
    return kDriverSuccess;
  case kAttributeComputeCapabilityMinor:
    *value = settings.capability % 10;
    return kDriverSuccess;
  case kAttributeMaxSharedBytesOptin:
    *value = settings.maxSharedBytes;
    return kDriverSuccess;
  case kAttributeMemoryPoolsSupported:
    *value = settings.hasPools;
    return kDriverSuccess;
  default:
    return kDriverInvalidValue;
  }
}

int primaryContextRetain(Context *context, DeviceOrdinal) {
  std::lock_guard<std::mutex> lock(device().contextMutex);
  ++device().contextCount;
  *context = &theContext;
  return kDriverSuccess;
}

int primaryContextRelease(DeviceOrdinal) {
  std::lock_guard<std::mutex> lock(device().contextMutex);
  if (device().contextCount == 0)
    return kDriverInvalidContext;
  if (--device().contextCount == 0)
    device().reset();
  return kDriverSuccess;
}

int contextPush(Context context) {
  if (context != &theContext)
    return kDriverInvalidContext;
  ++contextDepth;
  return kDriverSuccess;
}

int contextPop(Context *context) {
  if (contextDepth == 0)
    return kDriverInvalidContext;
  --contextDepth;
  *context = &theContext;
  return kDriverSuccess;
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

int memGetInfo(size_t *available, size_t *total) {
  if (int result = ready())
    return result;
  *total = emulatorSettings().memoryBytes;
  *available = *total - std::min<uint64_t>(*total, device().statistics().bytes);
  return kDriverSuccess;
}

int memAlloc(DevicePointer *address, size_t bytes) {
  int result = ready("memory is allocated");
  return result ? result : device().allocate(address, bytes);
}

/// Waits for all that may use it.
int memFree(DevicePointer address) {
  if (int result = ready("memory is freed"))
    return result;
  int result = emulator::drainAll();
  return result ? result : device().release(address);
}

int memAllocAsync(DevicePointer *address, size_t bytes, Stream) { return memAlloc(address, bytes); }
int memFreeAsync(DevicePointer address, Stream stream) {
  int result = ready("memory is freed");
  return result ? result : emulator::enqueue(stream, [=] { return device().release(address); });
}

int memHostAlloc(void **address, size_t bytes, unsigned) {
  int result = ready("memory of the host is allocated");
  return result ? result : device().pin(address, bytes);
}

int memFreeHost(void *address) {
  if (int result = ready("memory of the host is freed"))
    return result;
  emulator::drainAll();
  return device().unpin(address);
}

int copyIn(DevicePointer to, const void *from, size_t bytes) {
  std::shared_lock<std::shared_mutex> lock(device().mutex);
  int result = checkRange(to, bytes, "a copy to the device");
  if (!result && bytes)
    memcpy(hostOf(to), from, bytes);
  return result;
}

int copyOut(void *to, DevicePointer from, size_t bytes) {
  std::shared_lock<std::shared_mutex> lock(device().mutex);
  int result = checkRange(from, bytes, "a copy from the device");
  if (!result && bytes)
    memcpy(to, hostOf(from), bytes);
  return result;
}

/// What is not pinned the driver has copied when the call returns.
int memcpyHtoDAsync(DevicePointer to, const void *from, size_t bytes, Stream stream) {
  if (int result = ready())
    return result;
  if (!emulator::isDeferred(stream) || device().isPinned(from, bytes))
    return emulator::enqueue(stream, [=] { return copyIn(to, from, bytes); });
  auto *begin = static_cast<const unsigned char *>(from);
  return emulator::enqueue(stream, [to, copy = std::vector<unsigned char>(begin, begin + bytes)] {
    return copyIn(to, copy.data(), copy.size());
  });
}

/// To what is not pinned the driver copies at once.
int memcpyDtoHAsync(void *to, DevicePointer from, size_t bytes, Stream stream) {
  if (int result = ready())
    return result;
  bool isPinned = device().isPinned(to, bytes);
  int result = emulator::enqueue(stream, [=] { return copyOut(to, from, bytes); });
  return result || isPinned ? result : emulator::drain(stream);
}

int copyInside(DevicePointer to, DevicePointer from, size_t bytes) {
  std::shared_lock<std::shared_mutex> lock(device().mutex);
  int result = checkRange(from, bytes, "a copy on the device");
  if (!result)
    result = checkRange(to, bytes, "a copy on the device");
  if (!result && bytes)
    memmove(hostOf(to), hostOf(from), bytes);
  return result;
}

int memcpyDtoDAsync(DevicePointer to, DevicePointer from, size_t bytes, Stream stream) {
  int result = ready();
  return result ? result : emulator::enqueue(stream, [=] { return copyInside(to, from, bytes); });
}

int copyLines(const Copy2D &copy) {
  DevicePointer from = copy.src + copy.srcY * copy.srcPitch + copy.srcX,
                to = copy.dst + copy.dstY * copy.dstPitch + copy.dstX;
  std::shared_lock<std::shared_mutex> lock(device().mutex);
  int result = checkRange(from, (copy.height - 1) * copy.srcPitch + copy.widthBytes, "a copy of lines");
  if (!result)
    result = checkRange(to, (copy.height - 1) * copy.dstPitch + copy.widthBytes, "a copy of lines");
  for (size_t i = 0; i < copy.height && !result; ++i)
    memmove(hostOf(to + i * copy.dstPitch), hostOf(from + i * copy.srcPitch), copy.widthBytes);
  return result;
}

int memcpy2DAsync(const Copy2D *copy, Stream stream) {
  if (int result = ready())
    return result;
  if (copy->srcType != kMemoryTypeDevice || copy->dstType != kMemoryTypeDevice || copy->srcPitch < copy->widthBytes ||
      copy->dstPitch < copy->widthBytes)
    return kDriverInvalidValue;
  if (copy->height == 0 || copy->widthBytes == 0)
    return kDriverSuccess;
  return emulator::enqueue(stream, [copy = *copy] { return copyLines(copy); });
}

int fill(DevicePointer to, unsigned char value, size_t bytes) {
  std::shared_lock<std::shared_mutex> lock(device().mutex);
  int result = checkRange(to, bytes, "a filling");
  if (!result && bytes)
    memset(hostOf(to), value, bytes);
  return result;
}

int memsetD8Async(DevicePointer to, unsigned char value, size_t bytes, Stream stream) {
  int result = ready();
  return result ? result : emulator::enqueue(stream, [=] { return fill(to, value, bytes); });
}

int deviceGetDefaultPool(Pool *pool, DeviceOrdinal) {
  *pool = nullptr;
  return kDriverSuccess;
}
int poolSetAttribute(Pool, int, void *) { return kDriverSuccess; }

//===----------------------------------------------------------------------===//
// Streams, events and graphs: what needs a context
//===----------------------------------------------------------------------===//

int streamCreate(Stream *stream, unsigned flags) {
  int result = ready();
  return result ? result : emulator::streamCreate(stream, flags);
}

int streamDestroy(Stream stream) { return emulator::streamDestroy(stream); }

int streamSynchronize(Stream stream) {
  int result = ready();
  return result ? result : emulator::streamSynchronize(stream);
}

int eventCreate(Event *event, unsigned flags) {
  int result = ready();
  return result ? result : emulator::eventCreate(event, flags);
}

int eventDestroy(Event event) { return emulator::eventDestroy(event); }

int eventRecord(Event event, Stream stream) {
  int result = ready();
  return result ? result : emulator::eventRecord(event, stream);
}

int eventSynchronize(Event event) {
  int result = ready();
  return result ? result : emulator::eventSynchronize(event);
}

int eventElapsedTime(float *milliseconds, Event from, Event to) {
  int result = ready();
  return result ? result : emulator::eventElapsedTime(milliseconds, from, to);
}

int streamBeginCapture(Stream stream, int mode) {
  int result = ready();
  return result ? result : emulator::streamBeginCapture(stream, mode);
}

int streamEndCapture(Stream stream, Graph *graph) { return emulator::streamEndCapture(stream, graph); }

int graphInstantiate(GraphExec *exec, Graph graph, unsigned long long flags) {
  int result = ready();
  return result ? result : emulator::graphInstantiate(exec, graph, flags);
}

int graphLaunch(GraphExec exec, Stream stream) {
  if (int result = ready())
    return result;
  ++device().graphs;
  return emulator::graphLaunch(exec, stream);
}

int graphDestroy(Graph graph) { return emulator::graphDestroy(graph); }
int graphExecDestroy(GraphExec exec) { return emulator::graphExecDestroy(exec); }

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

/// PTX and cubins are taken as a driver of this version would, so that choosing between them can be tested; what they
/// hold can't be launched.
int loadForeign(const char *image, ModuleTag &module) {
  const EmulatorSettings &settings = emulatorSettings();
  static const char kElf[4] = {'\x7f', 'E', 'L', 'F'};
  if (memcmp(image, kElf, sizeof(kElf)) == 0)
    return settings.driverVersion >= 13000 ? kDriverSuccess : kDriverUnsupportedPtxVersion;
  const char *version = strstr(image, ".version "), *target = strstr(image, ".target sm_");
  if (!version || !target)
    return kDriverInvalidImage;
  if (atof(version + strlen(".version ")) >
      settings.driverVersion / 1000 - 4) // PTX 8.x came with CUDA 12, 9.x with CUDA 13
    return kDriverUnsupportedPtxVersion;
  if (atoi(target + strlen(".target sm_")) > settings.capability)
    return kDriverInvalidPtx;
  for (const char *entry = strstr(image, ".entry "); entry; entry = strstr(entry, ".entry ")) {
    entry += strlen(".entry ");
    std::string name(entry, strcspn(entry, "( \t\r\n"));
    module.functions[name].name = name;
  }
  return kDriverSuccess;
}

int moduleLoadDataEx(ModuleHandle *module, const void *image, unsigned, int *, void **) {
  if (int result = ready("kernels are loaded"))
    return result;
  auto loaded = std::make_unique<ModuleTag>();
  if (memcmp(image, EmulationImage::kMagic, sizeof(EmulationImage::kMagic)) != 0) {
    if (int result = loadForeign(static_cast<const char *>(image), *loaded))
      return result;
  } else if (auto *emulation = static_cast<const EmulationImage *>(image); emulation->kernels) {
    for (const auto &[name, offset] : *emulation->kernels) {
      FunctionTag &function = loaded->functions[name];
      function.name = name;
      function.body = reinterpret_cast<lathe_lane_fn>(reinterpret_cast<uintptr_t>(emulation->code + offset));
    }
  } else {
    loaded->isWritten = true;
  }
  *module = loaded.release();
  return kDriverSuccess;
}

int moduleUnload(ModuleHandle module) {
  delete module;
  return kDriverSuccess;
}

int moduleGetFunction(FunctionHandle *function, ModuleHandle module, const char *name) {
  if (int result = ready())
    return result;
  std::lock_guard<std::mutex> lock(module->mutex);
  auto found = module->functions.find(name);
  int64_t threads = 0;
  if (MachineLaunch::Body body = module->isWritten ? hostKernel(name, &threads) : nullptr;
      body && found == module->functions.end()) {
    found = module->functions.emplace(name, FunctionTag{}).first;
    found->second.name = name;
    found->second.written = body;
    found->second.mostThreads = threads;
  }
  if (found == module->functions.end())
    return kDriverNotFound;
  *function = &found->second;
  return kDriverSuccess;
}

int functionSetAttribute(FunctionHandle function, int attribute, int value) {
  if (int result = ready())
    return result;
  if (attribute != kFunctionMaxDynamicSharedBytes || value < 0 || value > emulatorSettings().maxSharedBytes)
    return kDriverInvalidValue;
  function->maxSharedBytes = value;
  return kDriverSuccess;
}

/// After this the device answers nothing else.
int lose(int result, const std::string &message) {
  int expected = kDriverSuccess;
  std::lock_guard<std::mutex> lock(device().contextMutex);
  if (device().lost.compare_exchange_strong(expected, result))
    device().lostMessage = message;
  return result;
}

int resultOf(const MachineResult &result) {
  switch (result.error) {
  case MachineError::none:
    return kDriverSuccess;
  case MachineError::configuration:
    emulator::explain(result.message);
    return kDriverInvalidValue;
  case MachineError::resources:
    emulator::explain(result.message);
    return kDriverLaunchOutOfResources;
  case MachineError::bounds:
    return lose(kDriverIllegalAddress, result.message);
  case MachineError::alignment:
    return lose(kDriverMisalignedAddress, result.message);
  default:
    return lose(kDriverLaunchFailed, result.message);
  }
}

/// One launch; `parameters` as of launchKernel.
int runKernel(FunctionHandle function, const MachineLaunch &given, Stream stream, void **parameters) {
  if (int lost = device().lost.load())
    return lost;
  EmulatorSettings &settings = emulatorSettings();
  if (settings.launchesUntilLost == 0)
    return lose(kDriverEccUncorrectable, "the emulator was told to lose its device");
  if (settings.launchesUntilLost > 0)
    --settings.launchesUntilLost;
  ++device().launches;
  std::unique_lock<std::mutex> order;
  Machine &machine = emulator::machineOf(stream, &order);
  std::shared_lock<std::shared_mutex> lock(device().mutex);
  MachineLaunch launch = given;
  launch.name = function->name.c_str();
  launch.most_threads = function->mostThreads;
  launch.memory = &device();
  MachineResult result;
  if (function->written) {
    device().playedNanoseconds += static_cast<int64_t>(double(settings.kernelMilliseconds) * 1e6);
    launch.body = function->written;
    launch.context = parameters[0];
    result = machine.run(launch);
  } else {
    result = machine.run(launch, function->body, hostOf(*static_cast<DevicePointer *>(parameters[0])), parameters[1],
                         *static_cast<int64_t *>(parameters[2]));
  }
  lock.unlock();
  return resultOf(result);
}

/// The arguments of a launch that is done later. The driver knows how many bytes a kernel takes; here they are as many
/// as any: those of hand-written kernels fill a KernelLaunch, those of generated ones what the run half hands over.
struct KeptArguments {
  static constexpr size_t kGeneratedBytes = 4064;
  DevicePointer failures = 0;
  int64_t count = 0;
  std::vector<uint64_t> bytes;

  KeptArguments(bool isWritten, void **parameters) {
    size_t size = isWritten ? sizeof(KernelLaunch::args) : kGeneratedBytes;
    bytes.resize((size + 7) / 8);
    memcpy(bytes.data(), parameters[isWritten ? 0 : 1], size);
    if (isWritten)
      return;
    failures = *static_cast<DevicePointer *>(parameters[0]);
    count = *static_cast<int64_t *>(parameters[2]);
  }
  int run(FunctionHandle function, const MachineLaunch &launch, Stream stream) {
    void *written[] = {bytes.data()}, *generated[] = {&failures, bytes.data(), &count};
    return runKernel(function, launch, stream, function->written ? written : generated);
  }
};

int launchKernel(FunctionHandle function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX,
                 unsigned blockY, unsigned blockZ, unsigned sharedBytes, Stream stream, void **parameters, void **) {
  if (int result = ready())
    return result;
  if (static_cast<int64_t>(sharedBytes) > function->maxSharedBytes) {
    emulator::explain(join("kernel '", function->name, "' was not allowed more than ", function->maxSharedBytes,
                           " bytes of shared memory"));
    return kDriverInvalidValue;
  }
  if (!function->body && !function->written)
    return kDriverNoBinaryForGpu;
  ++device().calls;
  MachineLaunch launch;
  launch.grid[0] = gridX, launch.grid[1] = gridY, launch.grid[2] = gridZ;
  launch.block[0] = blockX, launch.block[1] = blockY, launch.block[2] = blockZ;
  launch.shared_bytes = sharedBytes;
  if (!emulator::isDeferred(stream))
    return runKernel(function, launch, stream, parameters);
  return emulator::enqueue(
      stream, [function, launch, stream, kept = KeptArguments(function->written != nullptr, parameters)]() mutable {
        return kept.run(function, launch, stream);
      });
}

} // namespace

EmulationImage::EmulationImage(const unsigned char *code, const std::vector<std::pair<std::string, uint64_t>> *kernels)
    : code(code), kernels(kernels) {
  memcpy(magic, kMagic, sizeof(magic));
}

EmulatorSettings &cuda::emulatorSettings() {
  static EmulatorSettings settings;
  return settings;
}

EmulatorStatistics cuda::emulatorStatistics() { return device().statistics(); }

bool emulator::inBounds(const void *address, int64_t bytes) {
  std::shared_lock<std::shared_mutex> lock(device().mutex);
  return bytes >= 0 && device().inBounds(reinterpret_cast<uintptr_t>(address), static_cast<uint64_t>(bytes));
}

void emulator::countHandle(int change) { device().handles += change; }

bool emulator::isReady() { return ::ready() != kDriverInvalidContext; }

void emulator::countProduct(int type, size_t algorithm) {
  ++device().products[type];
  const std::vector<float> &times = emulatorSettings().algorithmMilliseconds;
  if (algorithm < times.size()) {
    device().playedNanoseconds += static_cast<int64_t>(double(times[algorithm]) * 1e6);
    device().lastAlgorithm = static_cast<int64_t>(algorithm);
  }
}

void emulator::countSparseProduct(size_t algorithm) {
  ++device().sparseProducts;
  device().lastSparse = static_cast<int64_t>(algorithm);
  const std::vector<float> &times = emulatorSettings().sparseMilliseconds;
  if (algorithm < times.size())
    device().playedNanoseconds += static_cast<int64_t>(double(times[algorithm]) * 1e6);
}

void emulator::countAttention() {
  ++device().attentions;
  device().playedNanoseconds += static_cast<int64_t>(double(emulatorSettings().attentionMilliseconds) * 1e6);
}

int64_t emulator::playedNanoseconds() { return device().playedNanoseconds; }

void emulator::explain(std::string message) { explanation = std::move(message); }

std::string emulator::takeExplanation() { return std::exchange(explanation, {}); }

const DriverApi &cuda::emulatorDriver() {
  static const DriverApi api = [] {
    DriverApi table;
#define LATHE_CUDA_FILL(member, symbol, parameters) table.member = ::member;
    LATHE_CUDA_DRIVER(LATHE_CUDA_FILL, LATHE_CUDA_FILL)
#undef LATHE_CUDA_FILL
    return table;
  }();
  return api;
}
