//===- Artifact.cpp - Reader of .lathe files --------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/Artifact.h"

#include "runtime/BackendLibrary.h"
#include "runtime/CpuFeatures.h"
#include "runtime/Hash.h"

#include <algorithm>
#include <cstring>

using namespace lathe::runtime;
using namespace lathe::artifact;

namespace {

/// Larger manifests are a mistake: they are read into memory as a tree.
constexpr uint64_t kMaxManifestSize = uint64_t(256) << 20;

template <typename... Parts> Status invalid(const Parts &...parts) { return failure(LATHE_INVALID_ARTIFACT, parts...); }

std::string_view nameOf(const SectionEntry &entry) { return {entry.name, strnlen(entry.name, sizeof(entry.name))}; }

std::string listIsas(const Manifest &manifest) {
  std::string list;
  for (const Code &code : manifest.main().code)
    list += (list.empty() ? "" : ", ") + code.isa;
  return list.empty() ? "none" : list;
}

} // namespace

const SectionEntry *Artifact::find(SectionKind kind, std::string_view name) const {
  for (const SectionEntry &entry : sections_)
    if (entry.kind == kind && nameOf(entry) == name)
      return &entry;
  return nullptr;
}

Status Artifact::checkHash(const SectionEntry &entry) const {
  if (!(hashBytes(file_.data() + entry.offset, entry.padded_size) == entry.hash))
    return invalid("section '", std::string(nameOf(entry)), "' is corrupt: its hash differs");
  return success();
}

Status Artifact::readTable(bool verify) {
  if (file_.size() < sizeof(Header))
    return invalid("not a .lathe file: it has ", file_.size(), " bytes, fewer than a header");
  Header header;
  memcpy(&header, file_.data(), sizeof(header));
  if (memcmp(header.magic, kMagic, sizeof(kMagic)) != 0)
    return invalid("not a .lathe file: it starts with other bytes");
  if (header.format_version != kFormatVersion)
    return failure(LATHE_UNSUPPORTED_VERSION, "the file has format version ", header.format_version,
                   ", this runtime reads version ", kFormatVersion, "; use a matching runtime or compile again");
  if (header.file_size != file_.size())
    return invalid("the file is truncated or has been appended to: expected ", header.file_size, " bytes, found ",
                   file_.size());
  uint64_t entries = uint64_t(header.section_count) * sizeof(SectionEntry);
  if (header.section_count > kMaxSections || header.table_size % kPageSize != 0 || header.table_size > file_.size() ||
      header.table_size < sizeof(Header) + entries)
    return invalid("the section table is corrupt");
  if (!(hashHeader(file_.data(), header.table_size) == header.hash))
    return invalid("the header is corrupt: its hash differs");
  if (header.reserved[0] != 0 || header.reserved[1] != 0)
    return invalid("the header is corrupt: reserved fields are not zero");

  sections_.resize(header.section_count);
  if (entries > 0)
    memcpy(sections_.data(), file_.data() + sizeof(Header), entries);
  uint64_t end = header.table_size;
  for (size_t i = 0; i < sections_.size(); ++i) {
    const SectionEntry &entry = sections_[i];
    // Contiguous, so that each byte of the file belongs to one hash.
    if (entry.offset != end || entry.padded_size % kPageSize != 0 || entry.padded_size > file_.size() - end ||
        entry.size > entry.padded_size || entry.padded_size - entry.size >= kPageSize)
      return invalid("section ", i, " does not lie where it should");
    if (entry.name[sizeof(entry.name) - 1] != 0 || entry.reserved != 0)
      return invalid("section ", i, " has a corrupt name");
    for (size_t j = 0; j < i; ++j)
      if (nameOf(sections_[j]) == nameOf(entry))
        return invalid("section '", std::string(nameOf(entry)), "' occurs twice");
    end += entry.padded_size;
  }
  if (end != file_.size())
    return invalid("the sections end at byte ", end, " of ", file_.size());
  for (size_t i = 0; verify && i < sections_.size(); ++i)
    if (Status status = checkHash(sections_[i]); status.failed())
      return status;
  return success();
}

Status Artifact::readManifest() {
  const SectionEntry *entry = find(SectionKind::manifest, "manifest");
  if (!entry)
    return invalid("the file has no manifest");
  if (entry->size > kMaxManifestSize)
    return invalid("the manifest has ", entry->size, " bytes, more than the limit of ", kMaxManifestSize);
  if (Status status = checkHash(*entry); status.failed())
    return status;
  manifestText_.assign(reinterpret_cast<const char *>(file_.data() + entry->offset), entry->size);
  return Manifest::parse(manifestText_, &manifest_);
}

Status Artifact::readConstants() {
  const SectionEntry *entry = find(SectionKind::constants, "constants");
  if (entry) {
    constants_ = file_.data() + entry->offset;
    constantsSize_ = entry->size;
  } else {
    // Empty constants still get an address.
    constants_ = file_.data();
  }
  std::vector<const Constant *> order;
  for (const Constant &constant : manifest_.constants) {
    if (constant.offset > constantsSize_ || constant.size > constantsSize_ - constant.offset)
      return invalid("constant '", constant.name, "' does not lie inside the section of constants");
    if (constant.size > 0)
      order.push_back(&constant);
  }
  std::sort(order.begin(), order.end(), [](const Constant *a, const Constant *b) { return a->offset < b->offset; });
  // Two constants may share their bytes, but then all of them.
  for (size_t i = 1; i < order.size(); ++i)
    if (order[i - 1]->offset + order[i - 1]->size > order[i]->offset &&
        (order[i - 1]->offset != order[i]->offset || order[i - 1]->size != order[i]->size))
      return invalid("constants '", order[i - 1]->name, "' and '", order[i]->name, "' overlap");
  return success();
}

Status Artifact::checkDocuments() const {
  for (const Document &document : manifest_.documents) {
    const SectionEntry *entry = find(SectionKind::document, document.section);
    if (!entry)
      return invalid("the manifest names section '", document.section, "', which is no document");
    if (entry->size == 0)
      return invalid("section '", document.section, "' has no zero at its end");
  }
  return success();
}

Status Artifact::document(size_t index, std::string_view *bytes) const {
  const std::string &section = manifest_.documents[index].section;
  const SectionEntry &entry = *find(SectionKind::document, section);
  if (Status status = checkHash(entry); status.failed())
    return status;
  auto *data = reinterpret_cast<const char *>(file_.data() + entry.offset);
  if (data[entry.size - 1] != 0)
    return invalid("section '", section, "' has no zero at its end");
  *bytes = {data, entry.size - 1};
  return success();
}

const SectionEntry *Artifact::deviceSection(const DeviceCode &code) const {
  return find(code.kind == DeviceCode::Kind::emulation ? SectionKind::code : SectionKind::device, code.section);
}

Status Artifact::checkDeviceCode() const {
  for (const DeviceCode &code : manifest_.deviceCode) {
    const SectionEntry *entry = deviceSection(code);
    if (!entry)
      return invalid("the manifest names section '", code.section, "', which is no code for a device");
    for (const auto &[function, offset] : code.kernels)
      if (offset >= entry->size)
        return invalid("kernel '", function, "' of section '", code.section, "' lies outside of it");
  }
  return success();
}

Status Artifact::deviceCode(size_t index, std::string_view *bytes) const {
  const SectionEntry &entry = *deviceSection(manifest_.deviceCode[index]);
  if (Status status = checkHash(entry); status.failed())
    return status;
  *bytes = {reinterpret_cast<const char *>(file_.data() + entry.offset), entry.size};
  return success();
}

/// The image for the best instruction set of the host that there is.
Status Artifact::loadEmulation() {
  std::string reasons;
  for (const DeviceCode &code : manifest_.deviceCode) {
    if (code.kind != DeviceCode::Kind::emulation)
      continue;
    const char *why = nullptr;
    if (!supportsIsa(code.isa, &why))
      reasons += join(reasons.empty() ? "" : "; ", code.isa, ": ", why);
    else if (!emulationCode_ || isaRank(code.isa) > isaRank(emulationCode_->isa))
      emulationCode_ = &code;
  }
  if (!emulationCode_ && manifest_.deviceCode.empty()) // all there is are calls of libraries
    return success();
  if (!emulationCode_)
    return failure(LATHE_UNSUPPORTED_DEVICE, "the artifact has no kernels that device '", device_,
                   "' can run on this machine (", reasons.empty() ? "none for emulation" : reasons,
                   "); compile the model for this machine");
  const SectionEntry &entry = *deviceSection(*emulationCode_);
  if (Status status = checkHash(entry); status.failed())
    return status;
  if (entry.padded_size == 0)
    return success();
  return file_.mapExecutable(entry.offset, entry.padded_size, &emulation_);
}

namespace {
std::string listDevices(const Manifest &manifest) {
  std::string list;
  for (const std::string &device : manifest.devices)
    list += (list.empty() ? "" : ", ") + device;
  return list;
}
} // namespace

/// An accelerator where one works, else the processor.
Status Artifact::chooseAnyDevice() {
  std::string reasons;
  const std::string *processor = nullptr;
  for (const std::string &device : manifest_.devices) {
    if (device == "cpu") {
      processor = &device;
      continue;
    }
    Backend *backend = nullptr;
    Status status = openBackend(device, &backend);
    if (!status.failed())
      status = backend->available();
    if (!status.failed()) {
      device_ = device;
      return success();
    }
    reasons += join(reasons.empty() ? "" : "; ", device, ": ", status.message());
  }
  if (!processor)
    return failure(LATHE_UNSUPPORTED_DEVICE, "no device of the artifact works here (", reasons, ")");
  device_ = *processor;
  return success();
}

Status Artifact::chooseDevice(const std::string &wanted) {
  runs_ = wanted != kNoDevice;
  device_ = wanted.empty() || !runs_ ? manifest_.devices.front() : wanted;
  if (!runs_)
    return manifest_.select(device_);
  if (wanted == "auto")
    if (Status status = chooseAnyDevice(); status.failed())
      return status;
  // The device whose programs it runs, which it may play.
  Backend *backend = nullptr;
  Status opened = openBackend(device_, &backend);
  std::string programs = opened.failed() ? device_ : backend->programs();
  if (std::find(manifest_.devices.begin(), manifest_.devices.end(), programs) == manifest_.devices.end())
    return failure(LATHE_NOT_FOUND, "the artifact is not for device '", device_,
                   "'; it is for: ", listDevices(manifest_),
                   opened.failed() ? "; a backend that plays one of them was not found: " + opened.message() : "");
  if (Status status = manifest_.select(programs); status.failed())
    return status;
  return backend && backend->emulates() ? loadEmulation() : success();
}

Status Artifact::chooseIsa(const std::string &wanted) {
  std::string best, reasons;
  auto consider = [&](const std::string &isa) {
    if (!wanted.empty() && isa != wanted)
      return;
    const char *why = nullptr;
    if (!supportsIsa(isa, &why))
      reasons += join(reasons.empty() ? "" : "; ", isa, ": ", why);
    else if (best.empty() || isaRank(isa) > isaRank(best))
      best = isa;
  };
  for (const Code &code : manifest_.main().code) {
    consider(code.isa);
    for (std::string_view isa : kProductIsas)
      if (code.isa == codeIsa(isa) && (wanted == isa || paysForProducts(isa)))
        consider(std::string(isa));
  }
  if (best.empty() && reasons.empty() && !wanted.empty())
    return failure(LATHE_NOT_FOUND, "the artifact has no code for instruction set '", wanted,
                   "'; it has: ", listIsas(manifest_));
  if (best.empty())
    return failure(LATHE_UNSUPPORTED_DEVICE, "this machine cannot execute the artifact's code (",
                   reasons.empty() ? "it has none" : reasons, "); compile the model for this machine");
  isa_ = best;
  return success();
}

Status Artifact::loadCode(const Program &program) {
  auto code =
      std::find_if(program.code.begin(), program.code.end(), [&](const Code &c) { return c.isa == codeIsa(isa_); });
  if (code == program.code.end())
    return invalid("program '", program.name, "' has no code for instruction set '", std::string(codeIsa(isa_)), "'");
  const SectionEntry *entry = find(SectionKind::code, code->section);
  if (!entry)
    return invalid("the manifest names section '", code->section, "', which does not exist");
  if (code->plan >= entry->size || code->run >= entry->size)
    return invalid("entry points of section '", code->section, "' lie outside of it");
  if (Status status = checkHash(*entry); status.failed())
    return status;
  Entry loaded;
  if (Status status = file_.mapExecutable(entry->offset, entry->padded_size, &loaded.code); status.failed())
    return status;
  loaded.plan = reinterpret_cast<lathe_plan_fn>(reinterpret_cast<uintptr_t>(loaded.code.data() + code->plan));
  loaded.run = reinterpret_cast<lathe_run_fn>(reinterpret_cast<uintptr_t>(loaded.code.data() + code->run));
  entries_.push_back(std::move(loaded));
  return success();
}

Status Artifact::open(const char *path, const Options &options, Artifact *artifact) {
  Artifact result;
  Status status = Mapping::openFile(path, &result.file_);
  if (status.failed())
    return status;
  if (options.memoryBudget != 0 && result.file_.size() > options.memoryBudget)
    return failure(LATHE_OVER_BUDGET, "'", path, "' has ", result.file_.size(),
                   " bytes, more than the memory budget of ", options.memoryBudget);
  status = result.readTable(options.verify);
  if (!status.failed())
    status = result.readManifest();
  if (!status.failed())
    status = result.readConstants();
  if (!status.failed())
    status = result.checkDocuments();
  if (!status.failed())
    status = result.checkDeviceCode();
  if (!status.failed())
    status = result.chooseDevice(options.device);
  if (!status.failed() && result.runs_)
    status = result.chooseIsa(options.isa);
  for (const Program &program : result.manifest_.programs)
    if (!status.failed() && result.runs_)
      status = result.loadCode(program);
  result.file_.closeFile();
  if (status.failed())
    return failure(status.code(), "'", path, "': ", status.message());
  *artifact = std::move(result);
  return success();
}
