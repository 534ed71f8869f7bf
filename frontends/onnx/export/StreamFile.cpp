//===- StreamFile.cpp - New files as streams of LLVM ----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/export/StreamFile.h"
#include "llvm/Support/raw_ostream.h"

namespace lathe {

std::string writeStream(runtime::NewFile &file, llvm::function_ref<void(llvm::raw_ostream &)> body) {
  if (std::string problem = file.open(); !problem.empty())
    return problem;
  llvm::raw_fd_ostream stream(file.descriptor(), /*shouldClose=*/false);
  body(stream);
  stream.flush();
  std::error_code code = stream.error();
  stream.clear_error();
  return code ? code.message() : "";
}

} // namespace lathe
