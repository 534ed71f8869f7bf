//===- RunCommand.cpp - lathe run -------------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/Commands.h"
#include "compiler/tools/lathe/RunCommands/Inputs.h"
#include "compiler/tools/lathe/RunCommands/Support.h"
#include "compiler/tools/lathe/RunCommands/Terminal.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>

using namespace lathe;
using namespace lathe::tool;

namespace {

using Clock = std::chrono::steady_clock;

double milliseconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

struct RunOptions {
  std::string artifact, inputs, outputs, expect, device;
  bool tf32 = false;
  std::vector<std::string> input;
  double rtol = 1e-3, atol = 1e-4;
  int threads = 0;
  uint64_t memoryBudget = 0;
  bool verify = false;
};

std::vector<Tensor> collectOutputs(const Module &module, const Session &session) {
  std::vector<Tensor> tensors;
  std::vector<TensorInfo> infos = module.outputs();
  for (size_t i = 0; i < infos.size(); ++i) {
    Output output = session.output(i);
    Tensor tensor;
    tensor.name = infos[i].name;
    tensor.dtype = output.dtype;
    tensor.dims = output.dims;
    auto *bytes = static_cast<const unsigned char *>(output.data);
    tensor.bytes.assign(bytes, bytes + output.size);
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

/// Largest difference, and the largest magnitude of the reference. Equal infinities and pairs of NaN do not differ.
void compare(const Tensor &value, const Tensor &reference, double *error, double *magnitude) {
  *error = *magnitude = 0;
  for (int64_t i = 0, count = reference.elements(); i < count; ++i) {
    double a = element(value, i), b = element(reference, i);
    if (std::isfinite(b))
      *magnitude = std::max(*magnitude, std::abs(b));
    if (a == b || (std::isnan(a) && std::isnan(b)))
      continue;
    double difference = std::abs(a - b);
    *error = std::isfinite(difference) ? std::max(*error, difference) : std::numeric_limits<double>::infinity();
  }
}

bool withinTolerance(const std::vector<Tensor> &outputs, const RunOptions &options) {
  bool within = true;
  std::vector<Tensor> references = readNpz(options.expect);
  if (references.empty())
    throw CommandError(kUsage, "'" + options.expect + "' holds nothing to compare with");
  for (Tensor &reference : references) {
    auto output = std::find_if(outputs.begin(), outputs.end(),
                               [&](const Tensor &tensor) { return tensor.name == reference.name; });
    if (output == outputs.end())
      throw CommandError(kUsage, "'" + options.expect + "' has '" + reference.name + "', which is no output");
    if (output->dims != reference.dims) {
      printf("%s: shape %s, expected %s: FAILED\n", reference.name.c_str(), shapeText(output->dims).c_str(),
             shapeText(reference.dims).c_str());
      within = false;
      continue;
    }
    reference.dtype = fileType(reference.dtype, output->dtype);
    double error = 0, magnitude = 0;
    compare(*output, reference, &error, &magnitude);
    double allowed = options.atol + options.rtol * magnitude;
    bool ok = error <= allowed;
    if (!ok || !isQuiet())
      printf("%s: max error %.6g, allowed %.6g: %s\n", reference.name.c_str(), error, allowed, ok ? "ok" : "FAILED");
    within &= ok;
  }
  return within;
}

void printOutputs(const std::vector<Tensor> &outputs) {
  for (const Tensor &tensor : outputs) {
    printf("%s: %s %s", tensor.name.c_str(), lathe_dtype_name(tensor.dtype), shapeText(tensor.dims).c_str());
    int64_t count = tensor.elements();
    for (int64_t i = 0; i < std::min<int64_t>(count, 6); ++i)
      printf("%s%.6g", i ? ", " : " = ", element(tensor, i));
    printf("%s\n", count > 6 ? ", ..." : "");
  }
}

int run(const RunOptions &options) {
  LoadOptions load;
  load.device = options.device;
  load.tf32 = options.tf32;
  load.verify = options.verify;
  load.memoryBudget = options.memoryBudget;
  const Clock::time_point start = Clock::now();
  Module module(options.artifact, load);
  SessionOptions sessionOptions;
  sessionOptions.threads = options.threads;
  sessionOptions.memoryBudget = options.memoryBudget;
  Session session(module, sessionOptions);
  const Clock::time_point loaded = Clock::now();
  std::vector<Tensor> inputs = readNamedTensors(options.inputs, options.input);
  bindInputs(module, session, inputs);
  const Clock::time_point begin = Clock::now();
  session.run();
  detailRun(module, session, milliseconds(start, loaded), milliseconds(begin, Clock::now()));
  std::vector<Tensor> outputs = collectOutputs(module, session);
  // Compared before it is written: the references may be unreadable.
  bool within = options.expect.empty() || withinTolerance(outputs, options);
  if (!options.outputs.empty())
    writeNpz(options.outputs, outputs);
  if (options.outputs.empty() && options.expect.empty())
    printOutputs(outputs);
  if (fflush(stdout) != 0 || ferror(stdout))
    throw CommandError(kInternal, std::string("cannot write to standard output: ") + strerror(errno));
  return within ? kOk : kOutsideTolerance;
}

} // namespace

void tool::addRunCommand(CLI::App &app, int &exitCode) {
  auto options = std::make_shared<RunOptions>();
  CLI::App *command = app.add_subcommand("run", "Run a compiled model on inputs from files");
  command->add_option("artifact", options->artifact, "Compiled model (.lathe)")->required();
  command->add_option("--inputs", options->inputs, "Inputs by name (.npz)");
  command->add_option("--input", options->input, "One input: name=@file.npy (repeatable)")->take_all();
  command->add_option("--outputs", options->outputs, "Write the outputs here (.npz)");
  command->add_option("--expect", options->expect, "Compare the outputs with these (.npz)");
  command->add_option("--rtol", options->rtol, "Allowed error as a share of the largest expected value (1e-3)")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--atol", options->atol, "Allowed absolute error (1e-4)")->check(CLI::NonNegativeNumber);
  command->add_option("--device", options->device, "Device to run on: cpu, cuda, cuda-emulator, or auto for the best that works (default: the artifact's first)");
  command->add_flag("--tf32", options->tf32, "On GPUs products of f32 may round their operands to TF32: 10 bits behind the first");
  command->add_option("--threads", options->threads, "Threads (default: every processor)")->check(CLI::Range(0, 1024));
  command->add_option("--memory-budget", options->memoryBudget, "Bytes that model and run may each use");
  command->add_flag("--verify", options->verify, "Check every byte of the artifact");
  command->callback([options, &exitCode] { exitCode = guarded([&] { return run(*options); }); });
}
