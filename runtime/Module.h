//===- Module.h - A loaded artifact -----------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_MODULE_H
#define LATHE_RUNTIME_MODULE_H

#include "runtime/Artifact.h"
#include "runtime/Backend.h"

#include <atomic>
#include <memory>
#include <string>
#include <vector>

namespace lathe::runtime {

/// An artifact ready to run. Immutable but for caches that lock themselves.
class Module final : private ModuleServices {
public:
  static Status load(const char *path, const Artifact::Options &options, std::shared_ptr<Module> *module);

  const Artifact &artifact() const { return artifact_; }
  const Manifest &manifest() const override { return artifact_.manifest(); }
  /// As the frame of a run wants them.
  const void *const *constants() const {
    const void *const *device = backendModule_->constants();
    return device ? device : constants_.data();
  }
  /// Whether sessions can be made: else it was loaded to be looked into, and has no backend.
  bool runs() const { return backendModule_ != nullptr; }
  Backend &backend() const { return *backend_; }
  BackendModule &backendModule() const { return *backendModule_; }
  uint64_t privateBytes() const { return privateBytes_.load(); }

private:
  std::string_view path() const override { return path_; }
  bool allowsTf32() const override { return allowsTf32_; }
  const void *constant(size_t index) const override { return artifact_.constant(index); }
  Status deviceCode(size_t index, std::string_view *bytes) const override { return artifact_.deviceCode(index, bytes); }
  const DeviceCode *emulation(const unsigned char **image) const override {
    *image = artifact_.emulation().data();
    return artifact_.emulationCode();
  }
  std::string_view isa() const override { return artifact_.isa(); }
  bool chargePrivate(uint64_t bytes) override;

  std::string path_;
  bool allowsTf32_ = false;
  Artifact artifact_;
  uint64_t memoryBudget_ = 0;
  std::atomic<uint64_t> privateBytes_{0};
  std::vector<const void *> constants_;
  Backend *backend_ = nullptr;
  std::unique_ptr<BackendModule> backendModule_;
};

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_MODULE_H
