//===- BackendLibrary.cpp - Backends in libraries of their own --*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/BackendLibrary.h"

#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <mutex>
#include <unistd.h>

using namespace lathe::runtime;

namespace {

/// One that was opened, or is being opened. Never closed: modules may outlive all who know of it.
struct Library {
  std::string path;
  bool opening = true;
  Status status;
  std::vector<Backend *> backends;
};

/// Names of devices become names of files, so they must be nothing else.
bool isDeviceName(std::string_view name) {
  if (name.empty() || name.size() > 64)
    return false;
  for (char c : name)
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
      return false;
  return name.front() != '-';
}

/// Folders that may hold libraries: those that the environment names (not of a program with rights of another user),
/// and the runtime's own.
std::vector<std::string> folders() {
  std::vector<std::string> result;
  if (const char *given = secure_getenv("LATHE_BACKEND_PATH"))
    for (std::string_view rest = given; !rest.empty();) {
      size_t length = std::min(rest.find(':'), rest.size());
      if (length != 0)
        result.emplace_back(rest.substr(0, length));
      rest.remove_prefix(std::min(length + 1, rest.size()));
    }
  Dl_info info;
  if (dladdr(reinterpret_cast<const void *>(&folders), &info) && info.dli_fname)
    if (const char *slash = strrchr(info.dli_fname, '/'))
      result.emplace_back(info.dli_fname, static_cast<size_t>(slash - info.dli_fname));
  return result;
}

/// The library for a device: of its whole name, or of the longest part of it before a '-' that there is one of.
Status findLibrary(std::string_view device, std::string *path) {
  std::vector<std::string> all = folders();
  for (std::string_view name = device;; name = name.substr(0, name.rfind('-'))) {
    for (const std::string &folder : all) {
      *path = join(folder, "/liblathe-", std::string(name), ".so");
      if (access(path->c_str(), F_OK) == 0)
        return success();
    }
    if (name.find('-') == std::string_view::npos)
      break;
  }
  std::string looked;
  for (const std::string &folder : all)
    looked += join(looked.empty() ? "" : ", ", folder);
  std::string base(device.substr(0, device.find('-')));
  return failure(LATHE_UNSUPPORTED_DEVICE, "there is no library 'liblathe-", base, ".so' in ",
                 looked.empty() ? "any folder" : looked, " (LATHE_BACKEND_PATH names more folders)");
}

/// dlopen's words without the path, which the caller has told.
std::string reasonOf(const char *error, const std::string &path) {
  std::string reason = error ? error : "unknown error";
  if (reason.compare(0, path.size() + 2, path + ": ") == 0)
    reason.erase(0, path.size() + 2);
  return reason;
}

Status openLibrary(const std::string &path, BackendHost &host, std::vector<Backend *> *backends) {
  void *handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    return failure(LATHE_UNSUPPORTED_DEVICE, "'", path, "' cannot be opened: ", reasonOf(dlerror(), path));
  auto entry = reinterpret_cast<decltype(&lathe_backend_v1)>(dlsym(handle, "lathe_backend_v1"));
  if (!entry)
    return failure(LATHE_UNSUPPORTED_DEVICE, "'", path,
                   "' is no library of backends: expected it to export 'lathe_backend_v1'");
  const lathe_backend_library *library = entry();
  if (!library || !library->build || !library->open)
    return failure(LATHE_UNSUPPORTED_DEVICE, "'", path, "' describes no backends");
  if (strcmp(library->build, kBackendBuild) != 0)
    return failure(LATHE_UNSUPPORTED_DEVICE, "'", path, "' was built for another runtime: expected '", kBackendBuild,
                   "', found '", library->build, "'");
  if (Status status = library->open(host, *backends); status.failed())
    return failure(status.code(), "'", path, "': ", status.message());
  return success();
}

class Libraries final : public BackendHost {
public:
  Status find(std::string_view device, Backend **backend) override {
    *backend = findBackend(device);
    if (*backend)
      return success();
    if (!isDeviceName(device))
      return failure(LATHE_UNSUPPORTED_DEVICE, "'", std::string(device),
                     "' is no name of a device: expected a-z, 0-9, '-' and '_'");
    std::string path;
    if (Status status = findLibrary(device, &path); status.failed())
      return status;
    // A library may ask for backends of others while it is opened.
    std::lock_guard<std::recursive_mutex> lock(mutex_);
    Library &library = open(path);
    if (library.opening)
      return failure(LATHE_UNSUPPORTED_DEVICE, "'", path, "' asks for a device of its own while it is opened");
    if (library.status.failed())
      return library.status;
    std::string has;
    for (Backend *one : library.backends) {
      if (device == one->name()) {
        *backend = one;
        return success();
      }
      has += join(has.empty() ? "" : ", ", one->name());
    }
    return failure(LATHE_UNSUPPORTED_DEVICE, "'", path, "' has no device '", std::string(device), "'; it has: ", has);
  }

private:
  Library &open(const std::string &path) {
    for (const std::unique_ptr<Library> &library : libraries_)
      if (library->path == path)
        return *library;
    Library &library = *libraries_.emplace_back(std::make_unique<Library>());
    library.path = path;
    library.status = openLibrary(path, *this, &library.backends);
    library.opening = false;
    return library;
  }

  std::recursive_mutex mutex_;
  std::vector<std::unique_ptr<Library>> libraries_;
};

} // namespace

Status lathe::runtime::openBackend(std::string_view device, Backend **backend) {
  registerBuiltinBackends();
  static Libraries *libraries = new Libraries;
  return libraries->find(device, backend);
}
