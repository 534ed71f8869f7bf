//===- CalibrationProgram.cpp - Programs that run on samples --------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/CalibrationProgram.h"
#include "dialects/lathe/Lathe.h"

using namespace mlir;

namespace lathe {

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

bool compileTemporary(const Compression &compression, ModuleOp module, TemporaryArtifact &artifact,
                      std::string &error) {
  return artifact.make(
      [&](const std::string &path, std::string &problem) { return compression.compile(module, path, problem); }, error);
}

ModuleOp calibratedModule(const Compression &compression) {
  return compression.calibrated ? compression.calibrated : compression.main;
}

} // namespace lathe
