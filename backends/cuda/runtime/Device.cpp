//===- Device.cpp - A GPU, or what plays one --------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/Device.h"

using namespace lathe;
using namespace lathe::cuda;
using runtime::failure;
using runtime::Status;
using runtime::success;

Device::~Device() {
  if (context_)
    driver_.primaryContextRelease(ordinal_);
}

std::string Device::describe(int result) const {
  const char *name = nullptr, *text = nullptr;
  if (driver_.getErrorName(result, &name) != kDriverSuccess || !name)
    name = "an error that the driver has no name for";
  if (driver_.getErrorString(result, &text) != kDriverSuccess || !text)
    text = "";
  return runtime::join(name, " (", result, ")", *text ? ": " : "", text);
}

Status Device::status(int result, const char *what) const {
  switch (result) {
  case kDriverSuccess:
    return success();
  case kDriverOutOfMemory:
    return failure(LATHE_OUT_OF_MEMORY, what, ": the device has not enough memory");
  // After these the driver answers every call of the process with the same.
  case kDriverEccUncorrectable:
  case kDriverLinkUncorrectable:
  case kDriverContained:
  case kDriverIllegalAddress:
  case kDriverLaunchTimeout:
  case kDriverContextIsDestroyed:
  case kDriverAssert:
  case kDriverHardwareStackError:
  case kDriverIllegalInstruction:
  case kDriverMisalignedAddress:
  case kDriverInvalidAddressSpace:
  case kDriverInvalidPc:
  case kDriverLaunchFailed:
  case kDriverTensorMemoryLeak:
  case kDriverMpsClientTerminated:
  case kDriverUnknown:
    return failure(LATHE_DEVICE_LOST, what, ": the device failed, ", describe(result));
  default:
    return failure(LATHE_INTERNAL, what, ": ", describe(result));
  }
}

Status Device::open(const DriverApi &driver, bool isEmulated) {
  driver_ = driver;
  isEmulated_ = isEmulated;
  auto refused = [&](const char *what, int result) {
    return failure(result == kDriverOutOfMemory ? LATHE_OUT_OF_MEMORY : LATHE_UNSUPPORTED_DEVICE, what, ": ",
                   describe(result));
  };
  if (int result = driver_.init(0))
    return result == kDriverNoDevice ? failure(LATHE_UNSUPPORTED_DEVICE, "the driver finds no GPU")
                                     : refused("the driver does not start", result);
  int count = 0;
  if (int result = driver_.deviceGetCount(&count))
    return refused("the driver does not count its GPUs", result);
  if (count < 1)
    return failure(LATHE_UNSUPPORTED_DEVICE, "the driver finds no GPU");
  if (int result = driver_.deviceGet(&ordinal_, 0))
    return refused("the driver does not give its GPU", result);
  char name[256] = {};
  int major = 0, minor = 0, pools = 0;
  driver_.deviceGetName(name, sizeof(name) - 1, ordinal_);
  name_ = name;
  driver_.driverGetVersion(&driverVersion_);
  driver_.deviceGetAttribute(&major, kAttributeComputeCapabilityMajor, ordinal_);
  driver_.deviceGetAttribute(&minor, kAttributeComputeCapabilityMinor, ordinal_);
  capability_ = major * 10 + minor;
  driver_.deviceGetAttribute(&multiprocessors_, kAttributeMultiprocessors, ordinal_);
  driver_.deviceGetAttribute(&maxSharedBytes_, kAttributeMaxSharedBytesOptin, ordinal_);
  driver_.deviceGetAttribute(&pools, kAttributeMemoryPoolsSupported, ordinal_);
  hasPools_ = pools && driver_.memAllocAsync && driver_.memFreeAsync;
  Context context = nullptr;
  if (int result = driver_.primaryContextRetain(&context, ordinal_))
    return refused("the driver gives no context", result);
  context_ = context;
  if (hasPools_ && driver_.deviceGetDefaultPool && driver_.poolSetAttribute) {
    // What runs release stays with the process: the next one asks for as much.
    uint64_t keep = uint64_t(1) << 30;
    Pool pool = nullptr;
    if (driver_.deviceGetDefaultPool(&pool, ordinal_) == kDriverSuccess)
      driver_.poolSetAttribute(pool, kPoolReleaseThreshold, &keep);
  }
  return success();
}
