//===- Choices.cpp - Which algorithm of the library is fastest --*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/Choices.h"

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <unistd.h>

using namespace lathe;
using namespace lathe::cuda;
using json = nlohmann::ordered_json;

namespace {

constexpr const char *kMark = "lathe_cuda_choices";
constexpr int64_t kVersion = 1;
constexpr size_t kMaxBytes = size_t(16) << 20; ///< of a file that is read

std::string textOf(const BlasAlgo &algorithm) {
  std::string text;
  for (uint64_t word : algorithm.data) {
    char digits[17];
    snprintf(digits, sizeof(digits), "%016llx", static_cast<unsigned long long>(word));
    text += digits;
  }
  return text;
}

/// The file as it is; null where there is none, discarded where it is something else.
json load(const std::string &path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file)
    return nullptr;
  auto size = static_cast<std::streamoff>(file.tellg());
  std::string text(size > 0 && size <= static_cast<std::streamoff>(kMaxBytes) ? static_cast<size_t>(size) : 0, '\0');
  file.seekg(0);
  if (text.empty() || !file.read(text.data(), static_cast<std::streamsize>(text.size())))
    return json(json::value_t::discarded);
  json root = json::parse(text, nullptr, /*allow_exceptions=*/false);
  auto isOurs = [&] {
    if (!root.is_object() || !root.contains(kMark) || root[kMark] != kVersion || !root.contains("machines") ||
        !root["machines"].is_array())
      return false;
    for (const json &machine : root["machines"])
      if (!machine.is_object() || !machine.contains("problems") || !machine["problems"].is_object())
        return false;
    return true;
  };
  return isOurs() ? root : json(json::value_t::discarded);
}

} // namespace

void Choices::open(std::string path, std::string device, int64_t driver, int64_t library) {
  std::lock_guard<std::mutex> lock(mutex_);
  path_ = std::move(path);
  device_ = std::move(device);
  driver_ = driver;
  library_ = library;
  choices_ = read(/*tell=*/true);
}

/// The entries of this machine.
std::map<std::string, Choices::Choice> Choices::read(bool tell) const {
  std::map<std::string, Choice> result;
  if (path_.empty())
    return result;
  json root = load(path_);
  isForeign_ = root.is_discarded();
  if (isForeign_ && tell)
    fprintf(stderr, "lathe: note: '%s' is ignored: it holds no choices of algorithms\n", path_.c_str());
  if (!root.is_object())
    return result;
  for (const json &machine : root["machines"]) {
    if (machine.value("device", json()) != device_ || machine.value("driver", json()) != driver_ ||
        machine.value("library", json()) != library_)
      continue;
    for (const auto &[problem, entry] : machine["problems"].items()) {
      const json algorithm = entry.is_object() ? entry.value("algorithm", json()) : json();
      const json time = entry.is_object() ? entry.value("microseconds", json()) : json();
      if (algorithm.is_string() && time.is_number())
        result[problem] = {algorithm.get<std::string>(), time.get<double>()};
    }
  }
  return result;
}

bool Choices::isChosen(const std::string &problem, const BlasAlgo &algorithm) const {
  return chosen(problem) == textOf(algorithm);
}

void Choices::add(const std::string &problem, const BlasAlgo &algorithm, double microseconds) {
  add(problem, textOf(algorithm), microseconds);
}

std::string Choices::chosen(const std::string &problem) const {
  std::lock_guard<std::mutex> lock(mutex_);
  auto found = choices_.find(problem);
  return found == choices_.end() ? std::string() : found->second.algorithm;
}

void Choices::add(const std::string &problem, std::string algorithm, double microseconds) {
  std::lock_guard<std::mutex> lock(mutex_);
  choices_[problem] = {std::move(algorithm), microseconds};
  isChanged_ = true;
}

void Choices::save() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!isChanged_ || path_.empty())
    return;
  isChanged_ = false;
  std::map<std::string, Choice> others = read(/*tell=*/false); // of processes that saved since
  if (isForeign_)
    return;
  choices_.merge(others);
  json root = load(path_), machines = json::array();
  if (root.is_object())
    for (const json &machine : root["machines"])
      if (machine.value("device", json()) != device_ || machine.value("driver", json()) != driver_ ||
          machine.value("library", json()) != library_)
        machines.push_back(machine);
  json problems = json::object();
  for (const auto &[problem, choice] : choices_)
    problems[problem] = {{"algorithm", choice.algorithm}, {"microseconds", choice.microseconds}};
  machines.push_back(
      {{"device", device_}, {"driver", driver_}, {"library", library_}, {"problems", std::move(problems)}});
  json out = {{kMark, kVersion}, {"machines", std::move(machines)}};
  std::string temporary = path_ + "." + std::to_string(getpid()) + ".tmp";
  {
    std::ofstream file(temporary, std::ios::binary);
    file << out.dump(1, ' ', false, json::error_handler_t::replace) << "\n";
    file.close();
    if (!file) {
      remove(temporary.c_str());
      return;
    }
  }
  if (rename(temporary.c_str(), path_.c_str()) != 0)
    remove(temporary.c_str());
}
