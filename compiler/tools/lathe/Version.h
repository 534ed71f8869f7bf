//===- Version.h - What this build of lathe is ------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_VERSION_H
#define LATHE_COMPILER_TOOLS_LATHE_VERSION_H

#include <string>

namespace lathe::tool {

/// What `lathe --version` prints: the version in the first line, below it what is built in, what lies beside it, and
/// what of that this machine can use.
std::string versionText();

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_VERSION_H
