//===- CodeLoader.cpp - Loads kernels onto a device -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/CodeLoader.h"

#include <algorithm>
#include <cstring>

using namespace lathe;
using namespace lathe::cuda;
using runtime::failure;
using runtime::join;
using runtime::Status;
using runtime::success;

namespace {

/// The number in "sm_90"; -1 where it is none. *exact: "sm_90a" runs on 9.0 alone, "sm_100f" within its family, which
/// is taken as narrowly.
int parseArch(const std::string &arch, bool *exact) {
  if (arch.compare(0, 3, "sm_") != 0)
    return -1;
  size_t at = 3;
  int number = 0;
  for (; at < arch.size() && arch[at] >= '0' && arch[at] <= '9' && number < 10000; ++at)
    number = number * 10 + (arch[at] - '0');
  *exact = at + 1 == arch.size() && (arch[at] == 'a' || arch[at] == 'f');
  return at == 3 || (at != arch.size() && !*exact) ? -1 : number;
}

std::string describe(const CodeImage &image) { return join(image.isPtx ? "ptx " : "cubin ", image.arch); }

/// What another form of the same kernels may help against.
bool isAboutTheImage(int result) {
  switch (result) {
  case kDriverInvalidValue:
  case kDriverInvalidImage:
  case kDriverNoBinaryForGpu:
  case kDriverInvalidPtx:
  case kDriverJitCompilerNotFound:
  case kDriverUnsupportedPtxVersion:
  case kDriverJitCompilationDisabled:
    return true;
  default:
    return false;
  }
}

/// Why the driver could not compile PTX: the first line that it wrote.
std::string firstLine(const char *log) {
  const char *end = strchr(log, '\n');
  return end ? std::string(log, end) : std::string(log);
}

} // namespace

bool cuda::runsOn(const CodeImage &image, int capability, std::string *why) {
  bool exact = false;
  int arch = parseArch(image.arch, &exact);
  if (arch < 0)
    *why = "no architecture that is known";
  else if (exact && arch != capability)
    *why = "for that GPU alone";
  else if (arch > capability)
    *why = "for newer GPUs";
  else if (!image.isPtx && arch / 10 != capability / 10)
    *why = "for another generation of GPUs";
  else
    return true;
  return false;
}

std::string cuda::kernelOf(std::string_view ptx, std::string_view function) {
  constexpr std::string_view kEntry = ".visible .entry ", kEnd = "\n}";
  std::string wanted = join(std::string(kEntry), std::string(function), "(");
  size_t first = ptx.find(kEntry), begin = ptx.find(wanted);
  if (begin == std::string_view::npos)
    return {};
  size_t end = ptx.find(kEnd, begin);
  if (end == std::string_view::npos || ptx.find(".func ") != std::string_view::npos)
    return std::string(ptx);
  // Before the first kernel: what the text is for, and the memory that all share.
  return join(std::string(ptx.substr(0, first)), std::string(ptx.substr(begin, end + kEnd.size() - begin)), "\n");
}

Status cuda::loadCode(const Device &device, std::vector<CodeImage> images, ModuleHandle *module, std::string *chosen) {
  std::string refused;
  auto refuse = [&](const CodeImage &image, const std::string &why) {
    refused += join(refused.empty() ? "" : "; ", describe(image), ": ", why);
  };
  // Cubins first, the closest of each kind, and what is for one GPU alone before what others run, too.
  std::sort(images.begin(), images.end(), [](const CodeImage &a, const CodeImage &b) {
    bool exact = false;
    int left = parseArch(a.arch, &exact), right = parseArch(b.arch, &exact);
    return a.isPtx != b.isPtx ? b.isPtx : left != right ? left > right : a.arch > b.arch;
  });
  for (const CodeImage &image : images) {
    std::string why;
    if (!runsOn(image, device.capability(), &why)) {
      refuse(image, why);
      continue;
    }
    // PTX ends with a zero.
    std::string text = image.isPtx ? std::string(image.bytes) : std::string();
    char log[4096] = {};
    int options[] = {kJitErrorLogBuffer, kJitErrorLogBufferBytes};
    void *values[] = {log, reinterpret_cast<void *>(sizeof(log) - 1)};
    int result = device.driver().moduleLoadDataEx(module, image.isPtx ? text.c_str() : image.bytes.data(),
                                                  image.isPtx ? 2 : 0, options, values);
    if (result == kDriverSuccess) {
      *chosen = describe(image);
      return success();
    }
    if (!isAboutTheImage(result))
      return device.status(result, join("loading the kernels as ", describe(image)).c_str());
    refuse(image, join(device.describe(result), *log ? ", " : "", firstLine(log)));
  }
  return failure(LATHE_UNSUPPORTED_DEVICE, "'", device.name(), "' (sm_", device.capability(), ", driver for CUDA ",
                 device.driverVersion() / 1000, ".", device.driverVersion() % 1000 / 10,
                 ") can't run the artifact's kernels (", refused.empty() ? "it has none" : refused,
                 "); compile with --target cuda:sm_", device.capability(), " or update the driver");
}
