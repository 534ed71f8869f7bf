//===- Support.cpp - What the subcommands share -----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/Support.h"

#include "compiler/tools/lathe/RunCommands/Terminal.h"
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <new>

using namespace lathe;
using namespace lathe::tool;

int tool::exitCodeFor(lathe_status status) {
  switch (status) {
  case LATHE_OK:
    return kOk;
  case LATHE_INVALID_ARGUMENT:
  case LATHE_NOT_FOUND:
  case LATHE_EXECUTION_ERROR:
    return kUsage;
  case LATHE_INVALID_ARTIFACT:
  case LATHE_UNSUPPORTED_VERSION:
  case LATHE_UNSUPPORTED_DEVICE:
    return kInvalidModel;
  case LATHE_OUT_OF_MEMORY:
  case LATHE_OVER_BUDGET:
    return kOverBudget;
  case LATHE_IO_ERROR:
    return kUsage;
  case LATHE_INTERNAL:
  case LATHE_DEVICE_LOST:
    break;
  }
  return kInternal;
}

/// What to do about a mistake that many make first, where the message is of one.
static std::string adviceFor(const std::string &message) {
  bool isModel = message.find(".onnx': not a .lathe file") != std::string::npos;
  return isModel ? "; compile the model first: lathe compile MODEL.onnx -o MODEL.lathe" : "";
}

int tool::reportFailure(const std::exception &error) {
  int code = kInternal;
  std::string message = error.what();
  if (auto *runtime = dynamic_cast<const Error *>(&error))
    code = exitCodeFor(runtime->status());
  else if (auto *command = dynamic_cast<const CommandError *>(&error))
    code = command->code();
  else if (auto *file = dynamic_cast<const FileError *>(&error))
    code = file->writing() ? kInternal : kUsage;
  else if (dynamic_cast<const std::bad_alloc *>(&error)) {
    code = kOverBudget;
    message = "out of memory";
  }
  printError(message + adviceFor(message));
  return code;
}

std::string tool::shapeText(const std::vector<std::string> &dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i)
    text += (i ? ", " : "") + dims[i];
  return text + "]";
}

std::string tool::shapeText(const std::vector<int64_t> &dims) {
  std::vector<std::string> texts;
  for (int64_t dim : dims)
    texts.push_back(std::to_string(dim));
  return shapeText(texts);
}

void tool::detailRun(const Module &module, const Session &session, double loadMs, double runMs) {
  if (!isVerbose())
    return;
  char text[256];
  snprintf(text, sizeof text, "device %s (%s), %d threads; loaded in %.1f ms; first run %.1f ms; %.1f MiB resident at most",
           module.info().device, module.info().isa, session.threads(), loadMs, runMs,
           static_cast<double>(processStatus("VmHWM")) / (1 << 20));
  printDetail(text);
}

uint64_t tool::processStatus(const char *key) {
  std::ifstream status("/proc/self/status");
  std::string wanted = std::string(key) + ":";
  for (std::string line; std::getline(status, line);)
    if (line.rfind(wanted, 0) == 0)
      return std::strtoull(line.c_str() + wanted.size(), nullptr, 10) * 1024;
  return 0;
}

void tool::bindInputs(const Module &module, Session &session, const std::vector<Tensor> &tensors,
                      const std::vector<std::string> &given) {
  std::vector<TensorInfo> inputs = module.inputs();
  std::vector<bool> bound(inputs.size());
  for (const Tensor &tensor : tensors) {
    size_t index = 0;
    if (lathe_module_find_input(module.get(), tensor.name.c_str(), &index) != LATHE_OK)
      throw CommandError(kUsage, lathe_last_error());
    session.setInput(index, fileType(tensor.dtype, inputs[index].dtype), tensor.dims, tensor.data());
    bound[index] = true;
  }
  for (size_t i = 0; i < inputs.size(); ++i)
    if (!bound[i] && std::find(given.begin(), given.end(), inputs[i].name) == given.end())
      throw CommandError(kUsage, "input '" + inputs[i].name + "' of type " + lathe_dtype_name(inputs[i].dtype) +
                                     " and shape " + shapeText(inputs[i].dimTexts) +
                                     " is missing: give it by --input or --inputs");
}
