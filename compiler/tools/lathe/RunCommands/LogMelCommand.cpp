//===- LogMelCommand.cpp - lathe log-mel ------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/Commands.h"
#include "compiler/tools/lathe/RunCommands/Support.h"
#include "runtime/audio/LogMel.h"
#include "runtime/audio/Sound.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstring>
#include <memory>

using namespace lathe;
using namespace lathe::tool;

namespace {

struct LogMelOptions {
  std::string sound;
  std::string output;
  std::string name = "input_features";
  int64_t mels = 80;
  int64_t frames = runtime::kMelFrames;
};

void check(const runtime::Status &status, const std::string &path) {
  if (status.failed())
    throw CommandError(exitCodeFor(status.code()), "'" + path + "': " + status.message());
}

bool endsWith(const std::string &text, const std::string &end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

int logMel(const LogMelOptions &options) {
  bool isNpz = endsWith(options.output, ".npz");
  if (!isNpz && !endsWith(options.output, ".npy"))
    throw CommandError(kUsage, "expected an output that ends in .npz or .npy, got '" + options.output + "'");
  std::vector<unsigned char> file = readWhole(options.sound);
  runtime::Sound sound;
  check(runtime::readWav(file.data(), file.size(), sound), options.sound);
  double seconds = static_cast<double>(sound.samples.size()) / static_cast<double>(sound.rate);
  check(runtime::resample(sound, runtime::kMelRate), options.sound);
  int64_t frames = options.frames;
  std::vector<float> features;
  check(runtime::logMel(sound.samples, options.mels, frames, features), options.sound);

  Tensor tensor;
  tensor.name = options.name;
  tensor.dims = {1, options.mels, frames};
  tensor.bytes.resize(features.size() * sizeof(float));
  std::memcpy(tensor.bytes.data(), features.data(), tensor.bytes.size());
  if (isNpz) {
    writeNpz(options.output, {tensor});
  } else {
    std::vector<unsigned char> bytes = formatNpy(tensor);
    writeText(options.output, std::string(bytes.begin(), bytes.end()));
  }
  printf("%s: %s of %.2f s\n", options.output.c_str(), shapeText(tensor.dims).c_str(), seconds);
  constexpr double kFrameSeconds = static_cast<double>(runtime::kMelHop) / runtime::kMelRate;
  if (options.frames && seconds > static_cast<double>(frames) * kFrameSeconds)
    fprintf(stderr, "lathe: note: only the first %.2f s are used\n", static_cast<double>(frames) * kFrameSeconds);
  return kOk;
}

} // namespace

void tool::addLogMelCommand(CLI::App &app, int &exitCode) {
  auto options = std::make_shared<LogMelOptions>();
  CLI::App *command = app.add_subcommand("log-mel", "Turn a sound into what Whisper reads: log-mel features");
  command->add_option("sound", options->sound, "Sound (.wav): PCM or floats, any rate, channels are averaged")
      ->required();
  command->add_option("-o,--output", options->output, "Write the features here (.npz, .npy)")->required();
  command->add_option("--mels", options->mels, "Mel filters (80; large-v3 has 128)")
      ->check(CLI::Range(int64_t(1), runtime::kMostMels));
  command->add_option("--frames", options->frames,
                      "Frames of 10 ms: the sound is continued with silence, or cut (3000; 0: as long as it is)");
  command->add_option("--name", options->name, "Name of the tensor in a .npz (input_features)");
  command->callback([options, &exitCode] { exitCode = guarded([&] { return logMel(*options); }); });
}
