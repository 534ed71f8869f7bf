//===- DnnAbsent.cpp - A build without cuDNN's frontend ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/Dnn.h"

using namespace lathe;

namespace {
runtime::Status absent() {
  return runtime::failure(LATHE_UNSUPPORTED_DEVICE, "this runtime was built without cuDNN's headers and its frontend");
}
} // namespace

runtime::Status cuda::openDnn(int, std::unique_ptr<Dnn> *) { return absent(); }

runtime::Status cuda::openDnnFor(int, const char *, std::unique_ptr<Dnn> *) { return absent(); }
