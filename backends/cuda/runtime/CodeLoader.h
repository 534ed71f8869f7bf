//===- CodeLoader.h - Loads kernels onto a device ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_RUNTIME_CODELOADER_H
#define LATHE_BACKENDS_CUDA_RUNTIME_CODELOADER_H

#include "backends/cuda/runtime/Device.h"

#include <string_view>
#include <vector>

namespace lathe::cuda {

/// A form of a module's kernels.
struct CodeImage {
  bool isPtx = false;
  std::string arch; ///< such as "sm_90" or "sm_90a"
  std::string_view bytes;
};

/// Whether a device of this compute capability, such as 89, runs a cubin for `arch`, or can compile PTX for it. `*why`
/// says why not.
bool runsOn(const CodeImage &image, int capability, std::string *why);

/// The PTX of one kernel of a text of many, so that a driver compiles no more than is used; all of it where functions
/// stand between the kernels. Empty where there is no such kernel.
std::string kernelOf(std::string_view ptx, std::string_view function);

/// Loads the image that suits the device best: the cubin closest to it, and where the driver refuses that, which one
/// that is older than the toolkit does, PTX. *chosen says which, such as "cubin sm_90". UNSUPPORTED_DEVICE with what
/// was tried and why it was refused, OUT_OF_MEMORY, DEVICE_LOST. The device's context is current.
runtime::Status loadCode(const Device &device, std::vector<CodeImage> images, ModuleHandle *module,
                         std::string *chosen);

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_RUNTIME_CODELOADER_H
