//===- BackendLibrary.h - Backends in libraries of their own ----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// A backend may come in a library that is opened when a device of it is asked for: liblathe-NAME.so for the device NAME
// and for all devices NAME-…, in the folders of LATHE_BACKEND_PATH or beside the runtime. The library exports one
// function of C, and with it a description; all else is the C++ of Backend.h, so both sides must have been compiled
// alike, which is checked (docs/design/0027-backend-libraries.md).
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_BACKENDLIBRARY_H
#define LATHE_RUNTIME_BACKENDLIBRARY_H

#include "runtime/Backend.h"
#include "runtime/BackendBuild.h" // made when the build is configured: LATHE_BACKEND_INTERFACE

#include <string>
#include <vector>

namespace lathe::runtime {

#define LATHE_BACKEND_TEXT_(x) #x
#define LATHE_BACKEND_TEXT(x) LATHE_BACKEND_TEXT_(x)

/// What both sides must agree in: the headers that Backend.h stands on, byte by byte, and whatever decides how their
/// C++ looks in memory.
inline constexpr char kBackendBuild[] = "interface " LATHE_BACKEND_INTERFACE
#if defined(__clang__)
                                        ", clang " LATHE_BACKEND_TEXT(__clang_major__)
#else
                                        ", gcc " LATHE_BACKEND_TEXT(__GNUC__)
#endif
#if defined(_LIBCPP_VERSION)
                                            ", libc++ " LATHE_BACKEND_TEXT(_LIBCPP_VERSION)
#else
                                            ", libstdc++ " LATHE_BACKEND_TEXT(
                                                _GLIBCXX_RELEASE) " abi " LATHE_BACKEND_TEXT(_GLIBCXX_USE_CXX11_ABI)
#endif
    ;

/// What the runtime offers a library of backends, as long as the process lives. Thread-safe.
class BackendHost {
public:
  /// Another backend, which may be built in or come from a library of its own; fails with the reason where there is
  /// none.
  virtual Status find(std::string_view device, Backend **backend) = 0;

protected:
  ~BackendHost() = default;
};

} // namespace lathe::runtime

extern "C" {

/// Describes a library of backends. Members are never moved; what comes later gets another entry point.
struct lathe_backend_library {
  /// lathe::runtime::kBackendBuild of the library: nothing else is used where it differs from the runtime's.
  const char *build;
  /// Adds the backends of the library, which must live as long as the process; a failure is what the device does not
  /// work for.
  lathe::runtime::Status (*open)(lathe::runtime::BackendHost &host, std::vector<lathe::runtime::Backend *> &backends);
};

/// The one function that a library of backends exports; static.
__attribute__((visibility("default"))) const lathe_backend_library *lathe_backend_v1();
}

namespace lathe::runtime {

/// Finds a backend: one that is registered, or opens the library that has it. Fails with a reason of one line.
/// Thread-safe.
Status openBackend(std::string_view device, Backend **backend);

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_BACKENDLIBRARY_H
