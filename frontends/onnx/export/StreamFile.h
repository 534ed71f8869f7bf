//===- StreamFile.h - New files as streams of LLVM --------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_EXPORT_STREAMFILE_H
#define LATHE_FRONTENDS_ONNX_EXPORT_STREAMFILE_H

#include "runtime/NewFile.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace llvm {
class raw_ostream;
}

namespace lathe {

/// Opens a file and writes all of its content, once, for finish() to put in its place. Returns what is wrong; empty
/// where nothing is.
std::string writeStream(runtime::NewFile &file, llvm::function_ref<void(llvm::raw_ostream &)> body);

} // namespace lathe

#endif // LATHE_FRONTENDS_ONNX_EXPORT_STREAMFILE_H
