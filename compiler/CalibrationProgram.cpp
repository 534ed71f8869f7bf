//===- CalibrationProgram.cpp - Programs that run on samples --------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/CalibrationProgram.h"
#include "dialects/lathe/Lathe.h"
#include "llvm/Support/FileSystem.h"
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

using namespace mlir;

namespace lathe {

TemporaryFile::~TemporaryFile() {
  if (descriptor >= 0)
    close(descriptor);
  else if (!path.empty())
    llvm::sys::fs::remove(path);
}

bool TemporaryFile::unlink(std::string &error) {
  descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    error = "can't open a temporary file: " + std::string(strerror(errno));
    return false;
  }
  llvm::sys::fs::remove(path);
  path = "/proc/self/fd/" + std::to_string(descriptor);
  return true;
}

void returnOnly(func::FuncOp program, ArrayRef<Value> values) {
  Operation *terminator = program.getBody().front().getTerminator();
  terminator->setOperands(values);
  SmallVector<Type> types;
  for (Value value : values)
    types.push_back(value.getType());
  program.setFunctionType(FunctionType::get(program.getContext(), program.getArgumentTypes(), types));
  Builder b(program.getContext());
  SmallVector<Attribute> attributes;
  for (size_t i = 0; i < values.size(); ++i)
    attributes.push_back(
        b.getDictionaryAttr(b.getNamedAttr(LatheDialect::kNameAttr, b.getStringAttr("tap." + std::to_string(i)))));
  program.setResAttrsAttr(b.getArrayAttr(attributes));
}

bool compileTemporary(const Compression &compression, ModuleOp module, TemporaryFile &file, std::string &error) {
  int descriptor = -1;
  if (std::error_code code = llvm::sys::fs::createTemporaryFile("lathe-calibration", "lathe", descriptor, file.path)) {
    error = "can't make a temporary file: " + code.message();
    return false;
  }
  close(descriptor);
  return compression.compile(module, std::string(file.path), error) && file.unlink(error);
}

ModuleOp calibratedModule(const Compression &compression) {
  return compression.calibrated ? compression.calibrated : compression.main;
}

} // namespace lathe
