//===- ArtifactMutator.cpp - Mutations of artifacts -----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// The file is taken apart, its manifest changed as a tree or its table as numbers, and put together again with the
// hashes that belong to it: all but the hashes has to be refused for what it says.
//
//===----------------------------------------------------------------------===//
#include "test/fuzz/Random.h"
#include "runtime/ArtifactFormat.h"
#include "runtime/Hash.h"
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

using namespace lathe::artifact;
using nlohmann::ordered_json;

extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t maxSize);

namespace {

struct Section {
  SectionEntry entry;
  std::string bytes;
};

struct File {
  Header header;
  std::vector<Section> sections;
};

bool parse(const uint8_t *data, size_t size, File &file) {
  if (size < sizeof(Header))
    return false;
  memcpy(&file.header, data, sizeof(Header));
  if (file.header.section_count > kMaxSections ||
      sizeof(Header) + file.header.section_count * sizeof(SectionEntry) > size)
    return false;
  for (uint32_t i = 0; i < file.header.section_count; ++i) {
    Section section;
    memcpy(&section.entry, data + sizeof(Header) + i * sizeof(SectionEntry), sizeof(SectionEntry));
    const SectionEntry &entry = section.entry;
    if (entry.offset > size || entry.size > size - entry.offset)
      return false;
    section.bytes.assign(reinterpret_cast<const char *>(data) + entry.offset, entry.size);
    file.sections.push_back(std::move(section));
  }
  return !file.sections.empty();
}

uint64_t padded(uint64_t size) { return (size + kPageSize - 1) / kPageSize * kPageSize; }

class Mutator {
public:
  Mutator(File &file, unsigned seed) : file(file), random(seed) {}

  /// The bytes of the file, or none where they would be too many.
  std::string run(size_t maxSize) {
    size_t choice = pick(10);
    if (choice < 7)
      changeManifest();
    else if (choice == 7)
      changeSections();
    layOut();
    if (choice >= 8)
      changeTable();
    return write(maxSize);
  }

private:
  size_t pick(size_t below) { return random.pick(below); }

  uint64_t number() {
    static const uint64_t known[] = {0,          1,
                                     2,          3,
                                     8,          63,
                                     64,         255,
                                     4095,       4096,
                                     4097,       65536,
                                     INT32_MAX,  1u << 31,
                                     UINT32_MAX, uint64_t(1) << 32,
                                     96,         16384,
                                     1u << 20,   uint64_t(1) << 62,
                                     INT64_MAX,  uint64_t(1) << 63,
                                     UINT64_MAX, UINT64_MAX - 4095};
    return known[pick(std::size(known))];
  }

  //===--------------------------------------------------------------------===//
  // Manifest
  //===--------------------------------------------------------------------===//

  void collect(ordered_json &value) {
    values.push_back(&value);
    for (ordered_json &inner : value)
      if (value.is_structured())
        collect(inner);
  }

  std::string text() {
    static const char *known[] = {"",          "f32",       "i4",       "u2",   "bf16", "cpu",   "avx2",
                                  "code.avx2", "constants", "manifest", "n",    "N",    "n + 1", "-1",
                                  "x",         "matmul",    "i64",      "bool", "f64",  "1",   "main"};
    if (pick(16) == 0)
      return std::string(pick(300), 'a');
    if (pick(16) == 0)
      return std::string("a\0b", 3);
    return known[pick(std::size(known))];
  }

  ordered_json value() {
    switch (pick(9)) {
    case 0:
      return nullptr;
    case 1:
      return pick(2) == 0;
    case 2:
      return -static_cast<int64_t>(number() >> 1);
    case 3:
      return static_cast<double>(number()) * 0.5;
    case 4:
      return text();
    case 5:
      return ordered_json::array();
    case 6:
      return ordered_json::object();
    default:
      return number();
    }
  }

  void changeManifest() {
    Section *manifest = nullptr;
    for (Section &section : file.sections)
      if (section.entry.kind == SectionKind::manifest)
        manifest = &section;
    if (!manifest)
      return;
    ordered_json root = ordered_json::parse(manifest->bytes, nullptr, /*allow_exceptions=*/false);
    if (root.is_discarded())
      return;
    if (pick(4) == 0)
      addProgram(root);
    for (size_t count = 1 + pick(3); count > 0; --count) {
      values.clear();
      collect(root);
      changeValue(*values[pick(values.size())]);
    }
    manifest->bytes = root.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  }

  /// A program like `main`, over its code.
  void addProgram(ordered_json &root) {
    if (!root.is_object())
      return;
    ordered_json program = {{"name", "p" + std::to_string(pick(4))}};
    for (const char *key : {"symbols", "inputs", "outputs", "kernels", "checks", "code"})
      if (root.contains(key))
        program[key] = root[key];
    if (!root.contains("programs") || !root["programs"].is_array())
      root["programs"] = ordered_json::array();
    root["programs"].push_back(std::move(program));
  }

  void changeValue(ordered_json &target) {
    switch (pick(6)) {
    case 0:
      target = value();
      break;
    case 1: {
      ordered_json copy = *values[pick(values.size())];
      target = std::move(copy);
      break;
    }
    case 2:
      if (target.is_number_integer())
        target = target.get<uint64_t>() + (pick(2) ? 1 : -1) * static_cast<uint64_t>(1 + pick(64));
      else
        target = number();
      break;
    case 3:
      if (target.is_array() && !target.empty())
        target.erase(pick(target.size()));
      else if (target.is_object() && !target.empty())
        target.erase(std::next(target.begin(), static_cast<ptrdiff_t>(pick(target.size()))));
      break;
    case 4:
      if (target.is_array()) {
        ordered_json copy = target.empty() || pick(3) == 0 ? value() : target[pick(target.size())];
        for (size_t count = pick(8) ? 1 : pick(100); count > 0; --count)
          target.push_back(copy);
      } else if (target.is_object()) {
        static const char *known[] = {"packed", "element", "input", "computed", "min", "max", "shape", "name", "programs"};
        target[known[pick(std::size(known))]] = value();
      }
      break;
    default:
      if (target.is_string())
        target = text();
      else if (target.is_number())
        target = number();
    }
  }

  //===--------------------------------------------------------------------===//
  // Sections
  //===--------------------------------------------------------------------===//

  void changeSections() {
    Section &section = file.sections[pick(file.sections.size())];
    switch (pick(5)) {
    case 0:
      section.bytes.resize(pick(section.bytes.size() + 1));
      break;
    case 1:
      section.bytes.resize(section.bytes.size() + pick(5000));
      break;
    case 2:
      if (file.sections.size() > 1)
        file.sections.erase(file.sections.begin() + static_cast<ptrdiff_t>(pick(file.sections.size())));
      break;
    case 3:
      if (file.sections.size() < kMaxSections) {
        Section copy = section;
        file.sections.push_back(std::move(copy));
      }
      break;
    default: {
      std::string &bytes = section.bytes;
      size_t size = bytes.size();
      bytes.resize(size + 64);
      bytes.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t *>(bytes.data()), size, size + 64));
    }
    }
  }

  void layOut() {
    file.header.section_count = static_cast<uint32_t>(file.sections.size());
    file.header.table_size = padded(sizeof(Header) + file.sections.size() * sizeof(SectionEntry));
    uint64_t end = file.header.table_size;
    for (Section &section : file.sections) {
      section.entry.offset = end;
      section.entry.size = section.bytes.size();
      section.entry.padded_size = padded(section.bytes.size());
      end += section.entry.padded_size;
    }
    file.header.file_size = end;
  }

  void changeTable() {
    SectionEntry &entry = file.sections[pick(file.sections.size())].entry;
    uint64_t *fields[] = {&entry.offset,           &entry.size,
                          &entry.padded_size,      &file.header.file_size,
                          &file.header.table_size, &file.header.reserved[0]};
    switch (pick(5)) {
    case 0:
      entry.name[pick(sizeof(entry.name))] = static_cast<char>(pick(256));
      break;
    case 1:
      entry.kind = static_cast<SectionKind>(pick(5));
      break;
    case 2:
      (pick(2) ? file.header.section_count : file.header.format_version) = static_cast<uint32_t>(number());
      break;
    default: {
      uint64_t &field = *fields[pick(std::size(fields))];
      field = pick(2) ? number() : field + (pick(2) ? kPageSize : 0 - kPageSize);
    }
    }
  }

  std::string write(size_t maxSize) {
    uint64_t table = padded(sizeof(Header) + file.sections.size() * sizeof(SectionEntry)), end = table;
    for (const Section &section : file.sections)
      end += padded(section.bytes.size());
    if (end > maxSize)
      return "";
    std::string bytes(end, '\0');
    uint64_t at = table;
    for (size_t i = 0; i < file.sections.size(); ++i) {
      Section &section = file.sections[i];
      memcpy(bytes.data() + at, section.bytes.data(), section.bytes.size());
      section.entry.hash = hashBytes(bytes.data() + at, padded(section.bytes.size()));
      memcpy(bytes.data() + sizeof(Header) + i * sizeof(SectionEntry), &section.entry, sizeof(SectionEntry));
      at += padded(section.bytes.size());
    }
    memcpy(bytes.data(), &file.header, sizeof(Header));
    Hash128 hash = hashHeader(reinterpret_cast<const unsigned char *>(bytes.data()), table);
    memcpy(bytes.data() + offsetof(Header, hash), &hash, sizeof(hash));
    return bytes;
  }

  File &file;
  lathe::fuzz::Random random;
  std::vector<ordered_json *> values;
};

} // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t maxSize, unsigned seed) {
  File file;
  if (seed % 32 == 0 || !parse(data, size, file))
    return LLVMFuzzerMutate(data, size, maxSize);
  std::string bytes = Mutator(file, seed).run(maxSize);
  if (bytes.empty())
    return LLVMFuzzerMutate(data, size, maxSize);
  memcpy(data, bytes.data(), bytes.size());
  return bytes.size();
}
