//===- CompilerLibrary.cpp - The compiler as a shared library -------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/CompilerLibrary.h"
#include "compiler/CompilerBuild.h"
#include <cstring>

#define LATHE_EXPORTED extern "C" __attribute__((visibility("default")))

LATHE_EXPORTED const char *const lathe_compiler_interface;
const char *const lathe_compiler_interface = LATHE_COMPILER_INTERFACE;

LATHE_EXPORTED const lathe::CompilerLibrary *lathe_compiler_library(const char *interface) {
  static const lathe::CompilerLibrary library = {lathe::checkModel, lathe::explainModel, lathe::compileModel,
                                                 lathe::findPart, lathe::writePart};
  return std::strcmp(interface, LATHE_COMPILER_INTERFACE) == 0 ? &library : nullptr;
}
