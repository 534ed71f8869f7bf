//===- CalibrationFiles.cpp - Samples in files ------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/CalibrationFiles.h"
#include "compiler/tools/lathe/RunCommands/Support.h"
#include "compiler/tools/lathe/RunCommands/TensorFiles.h"
#include "compiler/tools/lathe/RunCommands/TokenFiles.h"
#include "lathe/lathe.hpp"
#include "runtime/Hash.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

using namespace lathe;
using namespace lathe::tool;

namespace {

std::string hexHash(const void *data, size_t size) {
  artifact::Hash128 hash = artifact::hashBytes(data, size);
  std::string text;
  for (unsigned char byte : hash.bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

/// Tokens that one run takes.
constexpr int64_t kTokensAtOnce = 2048;

class Samples : public CalibrationData {
public:
  explicit Samples(const CalibrationOptions &options) : options_(options) {}
  std::string run(const std::string &path, const std::vector<FixedInput> &fixed,
                  const std::function<bool(const std::vector<Observed> &)> &observe) override;
  std::string runTurns(const std::vector<std::string> &paths, const std::function<bool(const TurnState &, Turn &)> &next,
                       const std::function<bool(const std::vector<Observed> &)> &observe) override;
  std::string evaluate(const std::string &path, const std::function<bool(const std::vector<Observed> &)> &observe) override;

protected:
  /// Binds sample inputs from `first` on; returns how many samples they are. Inputs that `fixed` names are bound already.
  virtual size_t bind(const Module &module, Session &session, size_t first, const std::vector<FixedInput> &fixed) = 0;

  CalibrationOptions options_;
};

namespace {

std::vector<Observed> outputsOf(const Module &module, const Session &session) {
  std::vector<Observed> observed;
  for (size_t i = 0; i < module.outputs().size(); ++i) {
    auto output = session.output(i);
    observed.push_back({output.as<float>(), output.dims});
  }
  return observed;
}

/// An artifact that takes turns with others.
struct Player {
  Player(const std::string &path, const SessionOptions &options) : module(path), session(module, options) {}
  Module module;
  Session session;
  std::vector<FixedInput> fixed; ///< by name once each
  bool isBound = false;          ///< to the samples at hand
};

} // namespace

std::string Samples::runTurns(const std::vector<std::string> &paths, const std::function<bool(const TurnState &, Turn &)> &next,
                              const std::function<bool(const std::vector<Observed> &)> &observe) {
  try {
    SessionOptions options;
    options.threads = options_.threads;
    std::vector<std::unique_ptr<Player>> players;
    for (const std::string &path : paths)
      players.push_back(std::make_unique<Player>(path, options));
    size_t first = 0, taken = 0; // samples at hand
    auto isLast = [&] { return first + taken >= samples(); };
    for (Turn turn; next({first + taken, taken > 0 && isLast()}, turn); turn = Turn()) {
      if (turn.moves && taken > 0) {
        if (isLast())
          break;
        first += taken;
        for (auto &player : players)
          player->isBound = false;
      }
      Player &player = *players[turn.artifact];
      for (const FixedInput &input : turn.changed) {
        player.session.setInput(player.module.input(input.name), LATHE_F32, input.dims, input.data);
        auto known = std::find_if(player.fixed.begin(), player.fixed.end(), [&](const FixedInput &own) { return own.name == input.name; });
        if (known == player.fixed.end())
          player.fixed.push_back(input);
      }
      if (!player.isBound)
        taken = bind(player.module, player.session, first, player.fixed);
      player.isBound = true;
      player.session.run();
      if (!observe(outputsOf(player.module, player.session)))
        break;
    }
    return "";
  } catch (const std::exception &error) {
    return error.what();
  }
}

std::string Samples::evaluate(const std::string &path, const std::function<bool(const std::vector<Observed> &)> &observe) {
  try {
    Module module(path);
    SessionOptions options;
    options.threads = options_.threads;
    Session session(module, options);
    session.run();
    observe(outputsOf(module, session));
    return "";
  } catch (const std::exception &error) {
    return error.what();
  }
}

std::string Samples::run(const std::string &path, const std::vector<FixedInput> &fixed,
                         const std::function<bool(const std::vector<Observed> &)> &observe) {
  try {
    Module module(path);
    SessionOptions options;
    options.threads = options_.threads;
    Session session(module, options);
    for (const FixedInput &input : fixed)
      session.setInput(module.input(input.name), LATHE_F32, input.dims, input.data);
    for (size_t first = 0; first < samples();) {
      first += bind(module, session, first, fixed);
      session.run();
      if (!observe(outputsOf(module, session)))
        break;
    }
    return "";
  } catch (const std::exception &error) {
    return error.what();
  }
}

class Windows final : public Samples {
public:
  explicit Windows(const CalibrationOptions &options) : Samples(options), ids_(readIds(options.path)) {
    size_t windows = ids_.size() / static_cast<size_t>(options.context);
    if (windows == 0)
      throw FileError("calibration tokens '" + options.path + "': expected at least one window of " +
                      std::to_string(options.context) + " tokens, found " + std::to_string(ids_.size()));
    samples_ = options.samples ? std::min(windows, options.samples) : windows;
  }
  bool hasTokens() const override { return true; }
  size_t samples() const override { return samples_; }
  std::vector<int64_t> tokens() const override { return {bound_.first, bound_.first + bound_.second}; }
  std::string identity() const override {
    return "windows of " + std::to_string(options_.context) + " " +
           hexHash(ids_.data(), samples_ * static_cast<size_t>(options_.context) * sizeof(int64_t));
  }

private:
  size_t bind(const Module &module, Session &session, size_t first, const std::vector<FixedInput> &fixed) override {
    size_t index = 0;
    std::vector<TensorInfo> inputs = module.inputs();
    auto isFixed = [&](const TensorInfo &info) {
      return std::any_of(fixed.begin(), fixed.end(), [&](const FixedInput &input) { return input.name == info.name; });
    };
    while (index < inputs.size() && isFixed(inputs[index]))
      ++index;
    int64_t atOnce = std::max<int64_t>(kTokensAtOnce / options_.context, 1);
    auto count = std::min<int64_t>(atOnce, static_cast<int64_t>(samples_ - first));
    std::vector<int64_t> dims{count, options_.context};
    const int64_t *begin = ids_.data() + static_cast<int64_t>(first) * options_.context;
    bound_ = {begin, static_cast<size_t>(count * options_.context)};
    if (index < inputs.size() && inputs[index].dtype == LATHE_I32) {
      narrow_.assign(begin, begin + count * options_.context);
      session.setInput(index, LATHE_I32, dims, narrow_.data());
    } else {
      session.setInput(index, LATHE_I64, dims, begin);
    }
    return static_cast<size_t>(count);
  }

  std::vector<int64_t> ids_;
  std::vector<int32_t> narrow_;
  std::pair<const int64_t *, size_t> bound_ = {nullptr, 0}; ///< tokens that were bound last
  size_t samples_ = 0;
};

class Files final : public Samples {
public:
  explicit Files(const CalibrationOptions &options) : Samples(options) {
    std::error_code code;
    if (std::filesystem::is_directory(options.path, code)) {
      for (const auto &entry : std::filesystem::directory_iterator(options.path, code))
        if (entry.path().extension() == ".npz")
          paths_.push_back(entry.path().string());
      std::sort(paths_.begin(), paths_.end());
    } else {
      paths_.push_back(options.path);
    }
    if (paths_.empty())
      throw FileError("calibration folder '" + options.path + "' has no .npz file");
    if (options.samples && options.samples < paths_.size())
      paths_.resize(options.samples);
  }
  bool hasTokens() const override { return false; }
  size_t samples() const override { return paths_.size(); }
  std::vector<int64_t> tokens() const override { return {}; }
  std::string identity() const override {
    std::string text = "files";
    for (const std::string &path : paths_) {
      std::ifstream file(path, std::ios::binary);
      std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
      text += " " + hexHash(bytes.data(), bytes.size());
    }
    return text;
  }

private:
  size_t bind(const Module &module, Session &session, size_t first, const std::vector<FixedInput> &fixed) override {
    // Several artifacts that take turns borrow the same tensors.
    if (!loaded_ || *loaded_ != first) {
      loaded_.reset();
      tensors_ = readNpz(paths_[first]);
      loaded_ = first;
      checkNumbers(paths_[first]);
    }
    std::vector<std::string> given;
    for (const FixedInput &input : fixed)
      given.push_back(input.name);
    try {
      bindInputs(module, session, tensors_, given);
    } catch (const std::exception &error) {
      throw FileError("calibration file '" + paths_[first] + "': " + error.what());
    }
    return 1;
  }

  void checkNumbers(const std::string &path) const {
    for (const Tensor &tensor : tensors_)
      if (tensor.dtype == LATHE_F32)
        for (int64_t i = 0; i < tensor.elements(); ++i)
          if (!std::isfinite(reinterpret_cast<const float *>(tensor.bytes.data())[i]))
            throw FileError("calibration file '" + path + "': element " + std::to_string(i) + " of '" + tensor.name +
                            "' is not a finite number");
  }

  std::vector<std::string> paths_;
  std::vector<Tensor> tensors_;
  std::optional<size_t> loaded_; ///< whose tensors these are
};

} // namespace

std::unique_ptr<CalibrationData> tool::openCalibration(const CalibrationOptions &options) {
  std::filesystem::path path(options.path);
  if (!std::filesystem::exists(path))
    throw FileError("calibration data '" + options.path + "' do not exist");
  if (path.extension() == ".npy")
    return std::make_unique<Windows>(options);
  return std::make_unique<Files>(options);
}
