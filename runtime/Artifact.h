//===- Artifact.h - Reader of .lathe files ----------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_ARTIFACT_H
#define LATHE_RUNTIME_ARTIFACT_H

#include "runtime/Abi.h"
#include "runtime/ArtifactFormat.h"
#include "runtime/Manifest.h"
#include "runtime/Mapping.h"

#include <string>
#include <string_view>
#include <vector>

namespace lathe::runtime {

/// An artifact mapped into memory and checked: nothing in it leads outside of it.
class Artifact {
public:
  struct Options {
    bool verify = false;
    std::string device; ///< empty for the first, "auto" for the best that works, kNoDevice for none
    std::string isa;    ///< empty for the best
    uint64_t memoryBudget = 0;
    bool allowsTf32 = false;
  };

  /// As a device: nothing is to run, the programs of the artifact's first device are to be looked at.
  static constexpr const char *kNoDevice = "none";

  static Status open(const char *path, const Options &options, Artifact *artifact);

  const Manifest &manifest() const { return manifest_; }
  /// Zero-terminated.
  const std::string &manifestText() const { return manifestText_; }
  const std::string &device() const { return device_; }
  /// Whether there is code for this machine, plan() and run(): not without a device.
  bool runs() const { return runs_; }
  const std::string &isa() const { return isa_; }
  uint64_t fileSize() const { return file_.size(); }
  uint64_t constantsSize() const { return constantsSize_; }
  /// Address of a constant; readable to the end of its page.
  const unsigned char *constant(size_t index) const { return constants_ + manifest_.constants[index].offset; }
  /// The bytes of document `index`, with a zero behind them; its hash is checked here, as few who load an artifact ask
  /// for it.
  Status document(size_t index, std::string_view *bytes) const;
  /// The bytes of entry `index` of the manifest's device code, whose hash is checked here.
  Status deviceCode(size_t index, std::string_view *bytes) const;
  /// Where the chosen device is played by another: the image with its kernels, executable, and what the manifest says about
  /// it; null else.
  const Mapping &emulation() const { return emulation_; }
  const DeviceCode *emulationCode() const { return emulationCode_; }
  /// Entry points of a program.
  lathe_plan_fn plan(size_t program) const { return entries_[program].plan; }
  lathe_run_fn run(size_t program) const { return entries_[program].run; }

private:
  Status readTable(bool verify);
  Status readManifest();
  Status readConstants();
  Status checkDocuments() const;
  Status chooseDevice(const std::string &wanted);
  Status chooseAnyDevice();
  Status loadEmulation();
  const artifact::SectionEntry *deviceSection(const DeviceCode &code) const;
  Status checkDeviceCode() const;
  Status chooseIsa(const std::string &wanted);
  Status loadCode(const Program &program);
  Status checkHash(const artifact::SectionEntry &entry) const;
  const artifact::SectionEntry *find(artifact::SectionKind kind, std::string_view name) const;

  Mapping file_;
  std::vector<artifact::SectionEntry> sections_;
  Manifest manifest_;
  std::string manifestText_;
  std::string device_;
  std::string isa_;
  bool runs_ = true;
  Mapping emulation_;
  const DeviceCode *emulationCode_ = nullptr; ///< of manifest_
  const unsigned char *constants_ = nullptr;
  uint64_t constantsSize_ = 0;
  struct Entry {
    Mapping code;
    lathe_plan_fn plan = nullptr;
    lathe_run_fn run = nullptr;
  };
  std::vector<Entry> entries_; ///< one for each program
};

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_ARTIFACT_H
