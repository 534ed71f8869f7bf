//===- JitLink.cpp - Cubins by nvJitLink, where there is one --------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/compiler/DeviceCode.h"
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <sstream>
#include <vector>

namespace lathe::cuda {
namespace {

/// The functions of nvJitLink that are called, with its types as they are in C.
struct Library {
  using Handle = void *;
  int (*create)(Handle *, uint32_t, const char **) = nullptr;
  int (*destroy)(Handle *) = nullptr;
  int (*addData)(Handle, int kind, const void *, size_t, const char *) = nullptr;
  int (*complete)(Handle) = nullptr;
  int (*cubinSize)(Handle, size_t *) = nullptr;
  int (*cubin)(Handle, void *) = nullptr;
  int (*errorSize)(Handle, size_t *) = nullptr;
  int (*errorLog)(Handle, char *) = nullptr;
  int (*infoSize)(Handle, size_t *) = nullptr;
  int (*infoLog)(Handle, char *) = nullptr;
  std::string missing; ///< why there is none

  static constexpr int kPtx = 2;
};

template <typename Function> bool find(void *handle, const char *name, Function &function) {
  function = reinterpret_cast<Function>(dlsym(handle, name));
  return function != nullptr;
}

/// Where the library may be: in the toolkit that the user names, or, where none is named, wherever there is one.
std::vector<std::string> places() {
  for (const char *variable : {"CUDA_PATH", "CUDA_HOME"})
    if (const char *folder = getenv(variable); folder && *folder)
      return {std::string(folder) + "/lib64/libnvJitLink.so", std::string(folder) + "/lib/libnvJitLink.so"};
  return {"libnvJitLink.so.13", "libnvJitLink.so.12", "libnvJitLink.so", "/usr/local/cuda/lib64/libnvJitLink.so"};
}

Library open() {
  Library library;
  void *handle = nullptr;
  for (const std::string &name : places())
    if (!handle)
      handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    library.missing = "nvJitLink of the CUDA toolkit is not found";
    return library;
  }
  bool all = find(handle, "nvJitLinkCreate", library.create) && find(handle, "nvJitLinkDestroy", library.destroy) &&
             find(handle, "nvJitLinkAddData", library.addData) && find(handle, "nvJitLinkComplete", library.complete) &&
             find(handle, "nvJitLinkGetLinkedCubinSize", library.cubinSize) &&
             find(handle, "nvJitLinkGetLinkedCubin", library.cubin) &&
             find(handle, "nvJitLinkGetErrorLogSize", library.errorSize) &&
             find(handle, "nvJitLinkGetErrorLog", library.errorLog) &&
             find(handle, "nvJitLinkGetInfoLogSize", library.infoSize) &&
             find(handle, "nvJitLinkGetInfoLog", library.infoLog);
  if (!all)
    library.missing = "nvJitLink of the CUDA toolkit lacks functions that are called";
  return library;
}

const Library &library() {
  static const Library opened = open();
  return opened;
}

/// A linking that is under way.
class Link {
public:
  Link() = default;
  Link(const Link &) = delete;
  Link &operator=(const Link &) = delete;
  ~Link() {
    if (handle)
      library().destroy(&handle);
  }
  std::string text(int (*size)(void *, size_t *), int (*get)(void *, char *)) const {
    size_t bytes = 0;
    if (!handle || size(handle, &bytes) != 0 || bytes == 0)
      return "";
    std::string log(bytes + 1, '\0');
    get(handle, log.data());
    log.resize(std::strlen(log.c_str()));
    return log;
  }
  void *handle = nullptr;
};

/// What the linker's log says of each kernel: lines "Function properties for NAME", one of ptxas with its spills and
/// one with what it uses.
std::vector<KernelResources> readLog(const std::string &log) {
  std::vector<KernelResources> kernels;
  std::istringstream lines(log);
  std::string name;
  for (std::string line; std::getline(lines, line);) {
    constexpr const char *kBegin = "Function properties for ";
    if (size_t at = line.find(kBegin); at != std::string::npos) {
      name = line.substr(at + std::strlen(kBegin));
      name.erase(std::remove_if(name.begin(), name.end(), [](char c) { return c == '\'' || c == ':' || c == '\r'; }),
                 name.end());
      if (std::none_of(kernels.begin(), kernels.end(),
                       [&](const KernelResources &kernel) { return kernel.function == name; }))
        kernels.push_back({name});
      continue;
    }
    auto kernel = std::find_if(kernels.begin(), kernels.end(),
                               [&](const KernelResources &candidate) { return candidate.function == name; });
    if (kernel == kernels.end())
      continue;
    long long stack = 0, stores = 0, loads = 0, registers = 0;
    if (size_t at = line.find(" bytes stack frame"); at != std::string::npos) {
      const char *digits = line.c_str() + line.find_last_not_of("0123456789", at - 1) + 1;
      if (std::sscanf(digits, "%lld bytes stack frame, %lld bytes spill stores, %lld bytes spill loads", &stack,
                      &stores, &loads) == 3) {
        kernel->stackBytes = stack;
        kernel->spillBytes = stores + loads;
      }
    }
    size_t used = line.find("sed "); // "Used" or "used"
    if (used != std::string::npos && std::sscanf(line.c_str() + used, "sed %lld registers", &registers) == 1)
      kernel->registers = registers;
    if (size_t at = line.find(" bytes smem"); at != std::string::npos)
      kernel->sharedBytes = std::atoll(line.c_str() + line.find_last_not_of("0123456789", at - 1) + 1);
  }
  std::sort(kernels.begin(), kernels.end(),
            [](const KernelResources &a, const KernelResources &b) { return a.function < b.function; });
  return kernels;
}

} // namespace

std::optional<Cubin> linkCubin(llvm::StringRef ptx, llvm::StringRef arch, bool &isMissing, std::string &error) {
  const Library &linker = library();
  isMissing = !linker.missing.empty();
  if (isMissing) {
    error = linker.missing;
    return std::nullopt;
  }
  std::string option = "-arch=" + arch.str();
  const char *options[] = {option.c_str(), "-verbose"};
  Link link;
  if (int code = linker.create(&link.handle, 2, options); code != 0) {
    isMissing = true;
    error = "nvJitLink does not link for " + arch.str() + " (status " + std::to_string(code) + ")";
    link.handle = nullptr;
    return std::nullopt;
  }
  std::string text = ptx.str(); // with the zero behind it
  int code = linker.addData(link.handle, Library::kPtx, text.c_str(), text.size() + 1, "lathe.ptx");
  if (code == 0)
    code = linker.complete(link.handle);
  Cubin cubin;
  cubin.arch = arch.str();
  size_t size = 0;
  if (code == 0)
    code = linker.cubinSize(link.handle, &size);
  cubin.bytes.resize(size);
  if (code == 0)
    code = linker.cubin(link.handle, cubin.bytes.data());
  if (code != 0) {
    error = "nvJitLink failed for " + arch.str() + " (status " + std::to_string(code) +
            "): " + link.text(linker.errorSize, linker.errorLog);
    return std::nullopt;
  }
  cubin.kernels = readLog(link.text(linker.infoSize, linker.infoLog));
  return cubin;
}

} // namespace lathe::cuda
