//===- CudaModule.cpp - What sessions of an artifact share on a GPU -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/CudaModule.h"

#include "backends/cuda/emulator/Driver.h"
#include "backends/cuda/runtime/CodeLoader.h"
#include "backends/cuda/runtime/CudaSession.h"
#include "backends/cuda/runtime/Staging.h"
#include "backends/cuda/runtime/UnpackSparse.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <tuple>

using namespace lathe;
using namespace lathe::cuda;
using runtime::failure;
using runtime::Status;
using runtime::success;

namespace {
/// Where constants begin: what vector accesses and libraries' fastest algorithms want.
constexpr uint64_t kAlignment = 256;

/// Bytes of a constant on the device.
uint64_t plainBytes(const runtime::Constant &constant) {
  if (const auto &sparse = constant.sparse)
    return static_cast<uint64_t>(sparse->k * sparse->n * denseBytes(*sparse));
  return constant.packed
             ? static_cast<uint64_t>(constant.packed->dims[0] * constant.packed->dims[1]) * constant.type->size
             : constant.size;
}

/// Where timed algorithms are kept: beside the artifact, if the user does not say otherwise; empty: nowhere.
std::string choicesFile(std::string_view artifact, const char *wanted) {
  if (!wanted)
    return artifact.empty() ? std::string() : std::string(artifact) + ".cuda-choices.json";
  return strcmp(wanted, "none") == 0 ? "" : wanted;
}

uint64_t aligned(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }
} // namespace

bool cuda::isSet(const char *variable) {
  const char *value = getenv(variable);
  return value && *value && strcmp(value, "0") != 0;
}

CudaModule::CudaModule(std::shared_ptr<Device> device, runtime::ModuleServices &services, OpenBlas openBlas,
                       OpenDnn openDnn, OpenSparseLt openSparseLt)
    : device_(std::move(device)), services_(services), openBlas_(openBlas), openDnn_(openDnn),
      allowsTf32_(services.allowsTf32() || isSet("LATHE_CUDA_TF32")), sparse_(*this, openSparseLt) {}

CudaModule::~CudaModule() {
  Device::Current current(*device_);
  sparse_.close();
  if (blasHandle_)
    blas_.destroy(blasHandle_);
  for (DevicePointer address : allocations_)
    device_->driver().memFree(address);
  for (auto &[name, kernel] : writtenKernels_)
    if (kernel.module)
      device_->driver().moduleUnload(kernel.module);
  if (module_)
    device_->driver().moduleUnload(module_);
}

Status CudaModule::start() {
  Device::Current current(*device_);
  Status status = loadKernels();
  if (!status.failed())
    status = uploadConstants();
  if (status.failed())
    return status;
  // Better now than in the middle of the first run.
  for (const runtime::Program &program : services_.manifest().programs)
    for (const runtime::Kernel &kernel : program.kernels)
      if (kernel.kind == "matmul") {
        const BlasApi *api = nullptr;
        BlasHandle handle = nullptr;
        return blas(&api, &handle);
      }
  return success();
}

Status CudaModule::loadKernels() {
  const unsigned char *code = nullptr;
  if (const runtime::DeviceCode *emulation = services_.emulation(&code)) {
    EmulationImage image(code, &emulation->kernels);
    return device_->status(device_->driver().moduleLoadDataEx(&module_, &image, 0, nullptr, nullptr),
                           "loading the kernels");
  }
  const std::vector<runtime::DeviceCode> &codes = services_.manifest().deviceCode;
  std::vector<CodeImage> images;
  for (size_t i = 0; i < codes.size(); ++i) {
    if (codes[i].kind == runtime::DeviceCode::Kind::emulation)
      continue;
    CodeImage image;
    image.isPtx = codes[i].kind == runtime::DeviceCode::Kind::ptx;
    image.arch = codes[i].arch;
    // The hash is that of the whole image, so it is computed only for one that may be used.
    std::string why;
    if (runsOn(image, device_->capability(), &why))
      if (Status status = services_.deviceCode(i, &image.bytes); status.failed())
        return status;
    images.push_back(image);
  }
  std::string chosen;
  return images.empty() ? success() : loadCode(*device_, std::move(images), &module_, &chosen);
}

Status CudaModule::function(const std::string &name, FunctionHandle *function) const {
  int result = module_ ? device_->driver().moduleGetFunction(function, module_, name.c_str()) : int(kDriverNotFound);
  if (result == kDriverNotFound)
    return failure(LATHE_INVALID_ARTIFACT, "the artifact's code for the device has no function '", name, "'");
  return device_->status(result, "finding the kernel's function");
}

/// As PTX alone, which the driver compiles, and keeps for the next process.
Status CudaModule::loadWritten(const std::string &function, ModuleHandle *module) {
  if (device_->isEmulated()) {
    EmulationImage image;
    return device_->status(device_->driver().moduleLoadDataEx(module, &image, 0, nullptr, nullptr),
                           "loading the runtime's kernels");
  }
  if (kernelsPtx().empty())
    return failure(LATHE_UNSUPPORTED_DEVICE, "this runtime was built without kernels for CUDA, which need clang");
  std::string ptx = kernelOf(kernelsPtx(), function), chosen;
  if (ptx.empty())
    return failure(LATHE_INTERNAL, "the runtime has no kernel '", function, "'");
  return loadCode(*device_, {{true, "sm_80", ptx}}, module, &chosen);
}

Status CudaModule::find(const KernelLaunch &launch, FunctionHandle *function, const char **name) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto at = writtenKernels_.try_emplace(launch.function).first;
  WrittenKernel &kernel = at->second;
  if (!kernel.module)
    if (Status status = loadWritten(launch.function, &kernel.module); status.failed())
      return status;
  const DriverApi &driver = device_->driver();
  if (!kernel.function)
    if (int result = driver.moduleGetFunction(&kernel.function, kernel.module, launch.function.c_str()))
      return device_->status(result, runtime::join("finding kernel '", launch.function, "'").c_str());
  if (launch.shared_bytes > kernel.sharedBytes) {
    if (launch.shared_bytes > device_->maxSharedBytes())
      return failure(LATHE_UNSUPPORTED_DEVICE, "kernel '", launch.function, "' needs ", launch.shared_bytes,
                     " bytes of shared memory, the device has ", device_->maxSharedBytes());
    if (int result = driver.functionSetAttribute(kernel.function, kFunctionMaxDynamicSharedBytes,
                                                 static_cast<int>(launch.shared_bytes)))
      return device_->status(result, "asking for shared memory");
    kernel.sharedBytes = launch.shared_bytes;
  }
  *function = kernel.function;
  *name = at->first.c_str();
  return success();
}

Status CudaModule::start(const KernelLaunch &launch, Stream stream) {
  if (launch.function.empty())
    return success();
  FunctionHandle function = nullptr;
  const char *name = nullptr;
  if (Status status = find(launch, &function, &name); status.failed())
    return status;
  const DriverApi &driver = device_->driver();
  alignas(8) unsigned char args[sizeof(launch.args)];
  memcpy(args, launch.args, sizeof(args));
  void *parameters[] = {args};
  return device_->status(driver.launchKernel(function, launch.grid, launch.grid_y, launch.grid_z, launch.block, 1, 1,
                                             static_cast<unsigned>(launch.shared_bytes), stream, parameters, nullptr),
                         runtime::join("launching '", launch.function, "'").c_str());
}

Status CudaModule::allocate(uint64_t bytes, const char *what, DevicePointer *address) {
  if (!services_.chargePrivate(bytes))
    return failure(LATHE_OVER_BUDGET, bytes, " bytes of the device for ", what,
                   " would pass the module's memory budget");
  int result = device_->driver().memAlloc(address, std::max<uint64_t>(bytes, 1));
  if (result == kDriverSuccess) {
    std::lock_guard<std::mutex> lock(allocationsMutex_);
    allocations_.push_back(*address);
  }
  return device_->status(result, runtime::join("allocating ", bytes, " bytes for ", what).c_str());
}

Status CudaModule::uploadConstants() {
  const std::vector<runtime::Constant> &constants = services_.manifest().constants;
  uint64_t total = 0;
  std::vector<uint64_t> offsets;
  std::map<std::tuple<uint64_t, uint64_t, size_t>, uint64_t> shared; // constants may share their bytes
  for (const runtime::Constant &constant : constants) {
    auto [at, isNew] = shared.emplace(
        std::tuple(constant.offset, constant.size, constant.packed || constant.sparse ? offsets.size() + 1 : 0), total);
    offsets.push_back(at->second);
    if (isNew)
      total += aligned(plainBytes(constant));
  }
  DevicePointer base = 0;
  if (Status status = allocate(total, "the weights", &base); status.failed())
    return status;
  // The device copies one piece while the next is read, which may be from a disk.
  constexpr uint64_t kPieceBytes = uint64_t(8) << 20;
  constexpr size_t kPieces = 2;
  Stream stream = nullptr;
  if (int result = device_->driver().streamCreate(&stream, kStreamNonBlocking))
    return device_->status(result, "creating a stream for the weights");
  Status status;
  {
    Staging staging(*device_, stream, std::min(kPieceBytes, aligned(std::max<uint64_t>(total, 1))), kPieces,
                    [](int64_t) { return true; });
    status = uploadConstants(staging, base, offsets);
    if (Status arrived = staging.arrive(); !status.failed())
      status = std::move(arrived);
  }
  device_->driver().streamDestroy(stream);
  return status;
}

Status CudaModule::uploadConstants(Staging &staging, DevicePointer base, const std::vector<uint64_t> &offsets) {
  const std::vector<runtime::Constant> &constants = services_.manifest().constants;
  uint64_t done = 0;
  for (size_t i = 0; i < constants.size(); ++i) {
    addresses_.push_back(reinterpret_cast<const void *>(base + offsets[i]));
    uint64_t bytes = plainBytes(constants[i]);
    if (offsets[i] < done || bytes == 0)
      continue;
    done = offsets[i] + 1;
    const void *data = services_.constant(i);
    std::vector<unsigned char> plain;
    if (const auto &packed = constants[i].packed) {
      plain.resize(bytes);
      unpack(*packed, constants[i].type->size, data, plain.data());
      data = plain.data();
    }
    if (const auto &sparse = constants[i].sparse) {
      plain.resize(bytes);
      std::string why;
      if (!unpackSparse(*sparse, static_cast<const unsigned char *>(data), plain.data(), &why))
        return failure(LATHE_INVALID_ARTIFACT, "constant '", constants[i].name, "' ", why);
      data = plain.data();
    }
    if (Status status = staging.upload(base + offsets[i], data, bytes); status.failed())
      return failure(status.code(), "constant '", constants[i].name, "': ", status.message());
  }
  return success();
}

Status CudaModule::blas(const BlasApi **api, BlasHandle *handle) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!blasHandle_) {
    if (Status status = openBlas_(device_->driverVersion(), &blas_); status.failed())
      return status;
    if (int result = blas_.create(&blasHandle_))
      return failure(result == kBlasAllocFailed ? LATHE_OUT_OF_MEMORY : LATHE_UNSUPPORTED_DEVICE,
                     "cuBLASLt does not start: ", std::string(blas_.statusName(result)));
    const char *file = getenv("LATHE_CUDA_CHOICES");
    timesAlgorithms_ = (!file || strcmp(file, "0") != 0) &&
                       (!device_->isEmulated() || !emulatorSettings().algorithmMilliseconds.empty());
    if (timesAlgorithms_)
      choices_.open(choicesFile(services_.path(), file), device_->name(), device_->driverVersion(),
                    static_cast<int64_t>(blas_.version()));
  }
  *api = &blas_;
  *handle = blasHandle_;
  return success();
}

Status CudaModule::dnn(std::unique_ptr<Dnn> *dnn) const {
  if (isSet("LATHE_CUDA_NO_CUDNN"))
    return failure(LATHE_UNSUPPORTED_DEVICE, "LATHE_CUDA_NO_CUDNN is set");
  return openDnn_ ? openDnn_(device_->capability(), dnn)
                  : failure(LATHE_UNSUPPORTED_DEVICE, "there is no cuDNN for this device");
}

bool cuda::hasIntegers(const runtime::QuantizedLayout &layout) {
  bool hasZero = layout.zeros == runtime::ZeroType::u8 ||
                 (layout.zeros == runtime::ZeroType::constant && layout.zero >= 0 && layout.zero <= 255 &&
                  layout.zero == static_cast<float>(static_cast<int>(layout.zero)));
  return layout.values == runtime::CodeValues::integer && layout.bits == 8 && layout.group >= layout.k && hasZero &&
         layout.k > 0 && layout.k < int64_t(1) << 17;
}

bool cuda::hasFloats(const runtime::QuantizedLayout &layout) {
  return layout.values == runtime::CodeValues::e4m3 && layout.group >= layout.k && layout.k > 0 &&
         layout.zeros == runtime::ZeroType::constant && layout.zero == 0;
}

Status CudaModule::byteWeight(int64_t index, Stream stream, const ByteWeight **weight) {
  *weight = nullptr;
  std::lock_guard<std::mutex> lock(bytesMutex_);
  auto [at, isNew] = bytes_.try_emplace(index);
  ByteWeight &made = at->second;
  const runtime::QuantizedLayout &layout = *services_.manifest().constants[static_cast<size_t>(index)].quantized;
  if (isNew && (hasIntegers(layout) || hasFloats(layout))) {
    int64_t row = static_cast<int64_t>((layout.k + 15) / 16 * 16),
            rows = static_cast<int64_t>((layout.n + 15) / 16 * 16);
    DevicePointer copy = 0;
    // Without room for it products read the codes as they are stored, and take longer.
    if (allocate(static_cast<uint64_t>(rows * (row + 12)), "a weight of bytes", &copy).failed())
      return success();
    ExpandBytesArgs args = {};
    args.weight = quantizedArgs(layout, addresses_[static_cast<size_t>(index)]);
    args.codes = reinterpret_cast<int8_t *>(copy);
    args.codes_row = row;
    args.rows = rows;
    args.scales = reinterpret_cast<float *>(args.codes + rows * row);
    args.zeros = reinterpret_cast<int32_t *>(args.scales + rows);
    args.sums = args.zeros + rows;
    KernelLaunch launch;
    std::string why;
    if (!expandBytesLaunch(args, &launch, &why))
      return failure(LATHE_INTERNAL, why);
    Status status = start(launch, stream);
    if (!status.failed()) // sessions read it in streams of their own
      status = device_->status(device_->driver().streamSynchronize(stream), "expanding a weight");
    if (status.failed())
      return status;
    bool hasZeros = layout.zeros != runtime::ZeroType::constant || layout.zero != 128;
    made = {args.codes, row, rows, args.scales, args.zeros, args.sums, hasZeros};
  }
  if (made.codes)
    *weight = &made;
  return success();
}

Status CudaModule::createSession(runtime::SessionServices &services,
                                 std::unique_ptr<runtime::BackendSession> *session) {
  auto result = std::make_unique<CudaSession>(*this, services);
  if (Status status = result->start(); status.failed())
    return status;
  *session = std::move(result);
  return success();
}
