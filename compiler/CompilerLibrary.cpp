//===- CompilerLibrary.cpp - The compiler as a shared library -------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/CompilerLibrary.h"
#include <cstring>

extern "C" __attribute__((visibility("default"))) const lathe::CompilerLibrary *lathe_compiler_library(const char *version) {
  static const lathe::CompilerLibrary library = {lathe::checkModel, lathe::explainModel, lathe::compileModel, lathe::findPart,
                                                 lathe::writePart};
  return std::strcmp(version, LATHE_VERSION) == 0 ? &library : nullptr;
}
