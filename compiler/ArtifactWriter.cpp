//===- ArtifactWriter.cpp - Writer of .lathe files --------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/ArtifactWriter.h"

#include "runtime/ArtifactFormat.h"
#include "runtime/Hash.h"
#include "runtime/NewFile.h"

#include <cstring>
#include <nlohmann/json.hpp>

using namespace lathe::artifact;

namespace {

uint64_t roundUp(uint64_t value, uint64_t step) { return (value + step - 1) / step * step; }

/// The file, with messages that name it.
class PendingFile {
public:
  explicit PendingFile(const std::string &path, std::string *error) : file_(path), error_(error) {}
  bool open() { return check(file_.open()); }
  bool write(const void *data, size_t size) { return check(file_.write(data, size)); }
  bool rewind() { return check(file_.seek(0)); }
  bool finish() { return check(file_.finish()); }

private:
  bool check(const std::string &problem) {
    if (!problem.empty())
      *error_ = "cannot write '" + file_.path() + "': " + problem;
    return problem.empty();
  }

  lathe::runtime::NewFile file_;
  std::string *error_;
};

/// Writes sections one after another, hashing what passes.
class SectionWriter final : public Sink {
public:
  SectionWriter(PendingFile &file, std::string *error, uint64_t total, const WriteProgress &progress)
      : file_(file), error_(error), total_(total), progress_(progress) {
    buffer_.reserve(kBufferSize);
  }
  ~SectionWriter() override = default;

  bool begin(SectionKind kind, const std::string &name, uint64_t offset) {
    entry_ = {};
    entry_.kind = kind;
    entry_.offset = offset;
    if (name.empty() || name.size() >= sizeof(entry_.name)) {
      *error_ = "section name '" + name + "' must have 1 to " + std::to_string(sizeof(entry_.name) - 1) + " bytes";
      return false;
    }
    memcpy(entry_.name, name.data(), name.size());
    XXH3_128bits_reset(&hash_);
    return true;
  }

  bool write(const void *data, size_t size) override {
    entry_.size += size;
    return emit(data, size);
  }

  bool pad(uint64_t to) {
    static const char kZeros[kPageSize] = {};
    while (entry_.size < to) {
      uint64_t count = to - entry_.size < sizeof(kZeros) ? to - entry_.size : sizeof(kZeros);
      if (!write(kZeros, count))
        return false;
    }
    return true;
  }

  uint64_t size() const { return entry_.size; }

  bool end(SectionEntry *entry) {
    uint64_t size = entry_.size;
    if (!pad(roundUp(size, kPageSize)) || !flush())
      return false;
    entry_.padded_size = entry_.size;
    entry_.size = size;
    entry_.hash = canonical(XXH3_128bits_digest(&hash_));
    *entry = entry_;
    return true;
  }

private:
  static constexpr size_t kBufferSize = 1 << 20;

  bool emit(const void *data, size_t size) {
    XXH3_128bits_update(&hash_, data, size);
    if (buffer_.size() + size > kBufferSize && !flush())
      return false;
    if (size > kBufferSize)
      return file_.write(data, size) && told(size);
    auto *bytes = static_cast<const char *>(data);
    buffer_.insert(buffer_.end(), bytes, bytes + size);
    return true;
  }

  bool flush() {
    bool ok = file_.write(buffer_.data(), buffer_.size()) && told(buffer_.size());
    buffer_.clear();
    return ok;
  }

  bool told(size_t size) {
    written_ += size;
    if (!progress_ || progress_(written_, total_))
      return true;
    *error_ = "the writing was stopped";
    return false;
  }

  PendingFile &file_;
  std::string *error_;
  uint64_t written_ = 0, total_;
  const WriteProgress &progress_;
  std::vector<char> buffer_;
  SectionEntry entry_ = {};
  XXH3_state_t hash_;
};

/// Gives constants their places; returns an empty text or what is wrong.
std::string placeConstants(nlohmann::ordered_json &manifest, const std::vector<ConstantSource> &constants) {
  auto list = manifest.is_object() ? manifest.find("constants") : manifest.end();
  if (list == manifest.end() || !list->is_array() || list->size() != constants.size())
    return "the manifest must describe each of the " + std::to_string(constants.size()) + " constants";
  uint64_t offset = 0;
  for (size_t i = 0; i < constants.size(); ++i) {
    nlohmann::ordered_json &entry = (*list)[i];
    if (!entry.is_object())
      return "constant " + std::to_string(i) + " of the manifest must be an object";
    offset = roundUp(offset, kConstantAlignment);
    entry["offset"] = offset;
    entry["size"] = constants[i].size;
    offset += constants[i].size;
  }
  return {};
}

bool writeConstants(SectionWriter &writer, const std::vector<ConstantSource> &constants, std::string *error) {
  for (size_t i = 0; i < constants.size(); ++i) {
    if (!writer.pad(roundUp(writer.size(), kConstantAlignment)))
      return false;
    uint64_t start = writer.size();
    const ConstantSource &source = constants[i];
    if (source.data || !source.produce) {
      if (source.size > 0 && !source.data) {
        *error = "constant " + std::to_string(i) + " has no content";
        return false;
      }
      if (!writer.write(source.data, source.size))
        return false;
    } else if (!source.produce(writer, error)) {
      if (error->empty())
        *error = "constant " + std::to_string(i) + " could not be produced";
      return false;
    }
    if (writer.size() - start != source.size) {
      *error = "constant " + std::to_string(i) + " has " + std::to_string(writer.size() - start) + " bytes, expected " +
               std::to_string(source.size);
      return false;
    }
  }
  return true;
}

} // namespace

bool lathe::artifact::writeArtifact(const std::string &path, nlohmann::ordered_json manifest,
                                    const std::vector<SectionSource> &sections,
                                    const std::vector<ConstantSource> &constants, std::string *error,
                                    const WriteProgress &progress) {
  error->clear();
  *error = placeConstants(manifest, constants);
  if (!error->empty())
    return false;
  // Names come from models and may be in any encoding; the manifest is UTF-8.
  std::string text = manifest.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);

  size_t count = sections.size() + 2;
  if (count > kMaxSections) {
    *error = "an artifact has at most " + std::to_string(kMaxSections) + " sections";
    return false;
  }
  std::vector<unsigned char> table(roundUp(sizeof(Header) + count * sizeof(SectionEntry), kPageSize));
  std::vector<SectionEntry> entries(count);
  PendingFile file(path, error);
  if (!file.open() || !file.write(table.data(), table.size()))
    return false;
  uint64_t total = table.size() + text.size();
  for (const SectionSource &section : sections)
    total += section.size;
  for (const ConstantSource &source : constants)
    total += source.size;
  SectionWriter writer(file, error, total, progress);
  uint64_t offset = table.size();
  for (size_t i = 0; i < count; ++i) {
    bool ok = false;
    if (i == 0)
      ok = writer.begin(SectionKind::manifest, "manifest", offset) && writer.write(text.data(), text.size());
    else if (i <= sections.size())
      ok = writer.begin(sections[i - 1].kind, sections[i - 1].name, offset) &&
           writer.write(sections[i - 1].data, sections[i - 1].size);
    else
      ok = writer.begin(SectionKind::constants, "constants", offset) && writeConstants(writer, constants, error);
    if (!ok || !writer.end(&entries[i]))
      return false;
    offset += entries[i].padded_size;
  }

  Header header = {};
  memcpy(header.magic, kMagic, sizeof(kMagic));
  header.format_version = kFormatVersion;
  header.section_count = static_cast<uint32_t>(count);
  header.file_size = offset;
  header.table_size = table.size();
  memcpy(table.data(), &header, sizeof(header));
  memcpy(table.data() + sizeof(header), entries.data(), count * sizeof(SectionEntry));
  header.hash = hashHeader(table.data(), table.size());
  memcpy(table.data(), &header, sizeof(header));
  return file.rewind() && file.write(table.data(), table.size()) && file.finish();
}
