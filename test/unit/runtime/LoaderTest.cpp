//===- LoaderTest.cpp - Artifacts, whole and broken -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/Abi.h"
#include "runtime/ArtifactFormat.h"
#include "runtime/Hash.h"
#include "runtime/include/lathe/lathe.h"
#include "test/unit/runtime/DemoArtifact.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace lathe::artifact;
using namespace lathe::test;
using nlohmann::ordered_json;

namespace {

lathe_status load(const std::string &path, bool verify = false, uint64_t budget = 0, const char *isa = nullptr,
                  const char *device = nullptr) {
  lathe_load_options options;
  lathe_load_options_init(&options);
  options.verify = verify;
  options.memory_budget = budget;
  options.isa = isa;
  options.device = device;
  auto *module = reinterpret_cast<lathe_module *>(1);
  lathe_status status = lathe_module_load(path.c_str(), &options, &module);
  EXPECT_EQ(status == LATHE_OK, module != nullptr);
  if (status != LATHE_OK) {
    EXPECT_STRNE(lathe_last_error(), "");
  }
  lathe_module_release(module);
  return status;
}

/// Recomputes the hash of the header, as an attacker would.
void sign(std::vector<unsigned char> &bytes) {
  Header header;
  memcpy(&header, bytes.data(), sizeof(header));
  if (header.table_size < sizeof(header) || header.table_size > bytes.size())
    return;
  header.hash = hashHeader(bytes.data(), header.table_size);
  memcpy(bytes.data(), &header, sizeof(header));
}

std::vector<unsigned char> edited(const std::vector<unsigned char> &bytes,
                                  const std::function<void(Header &, SectionEntry *)> &edit) {
  std::vector<unsigned char> result = bytes;
  Header header;
  SectionEntry entries[3];
  memcpy(&header, result.data(), sizeof(header));
  memcpy(entries, result.data() + sizeof(header), sizeof(entries));
  edit(header, entries);
  memcpy(result.data(), &header, sizeof(header));
  memcpy(result.data() + sizeof(header), entries, sizeof(entries));
  sign(result);
  return result;
}

/// The demo with another manifest text, everything else intact.
std::string withManifest(const std::string &text) {
  std::vector<unsigned char> bytes = readFile(DemoArtifact().write("base.lathe"));
  Header header;
  SectionEntry entries[3];
  memcpy(&header, bytes.data(), sizeof(header));
  memcpy(entries, bytes.data() + sizeof(header), sizeof(entries));
  std::vector<unsigned char> rest(bytes.begin() + static_cast<ptrdiff_t>(entries[1].offset), bytes.end());
  size_t padded = (text.size() + kPageSize - 1) / kPageSize * kPageSize;
  bytes.resize(entries[0].offset);
  bytes.insert(bytes.end(), text.begin(), text.end());
  bytes.resize(entries[0].offset + padded);
  bytes.insert(bytes.end(), rest.begin(), rest.end());
  uint64_t moved = padded - entries[0].padded_size;
  entries[0].size = text.size();
  entries[0].padded_size = padded;
  entries[0].hash = hashBytes(bytes.data() + entries[0].offset, padded);
  entries[1].offset += moved;
  entries[2].offset += moved;
  header.file_size = bytes.size();
  memcpy(bytes.data(), &header, sizeof(header));
  memcpy(bytes.data() + sizeof(header), entries, sizeof(entries));
  sign(bytes);
  std::string path = temporaryPath("manifest.lathe");
  writeFile(path, bytes);
  return path;
}

/// The demo's manifest with places set, for editing.
ordered_json placedManifest(bool packed = false) {
  ordered_json manifest = DemoArtifact(packed).manifest;
  int64_t offset = 0;
  int64_t sizes[] = {16, packed ? 4096 : 512, 64};
  for (int i = 0; i < 3; ++i) {
    manifest["constants"][i]["offset"] = offset;
    manifest["constants"][i]["size"] = sizes[i];
    offset += (sizes[i] + 63) / 64 * 64;
  }
  return manifest;
}

TEST(Loader, LoadsAndDescribes) {
  std::string path = DemoArtifact().write("demo.lathe");
  EXPECT_EQ(load(path, true), LATHE_OK) << lathe_last_error();
  lathe_module *module = nullptr;
  ASSERT_EQ(lathe_module_load(path.c_str(), nullptr, &module), LATHE_OK) << lathe_last_error();
  lathe_module_info info;
  lathe_module_info_init(&info);
  ASSERT_EQ(lathe_module_get_info(module, &info), LATHE_OK);
  EXPECT_EQ(info.input_count, 4u);
  EXPECT_EQ(info.output_count, 2u);
  EXPECT_EQ(info.symbol_count, 2u);
  EXPECT_EQ(info.kernel_count, 2u);
  EXPECT_STREQ(info.device, "cpu");
  EXPECT_STREQ(info.isa, "avx2");
  EXPECT_EQ(strlen(info.manifest), info.manifest_size);
  lathe_tensor_info tensor;
  ASSERT_EQ(lathe_module_input(module, 3, &tensor), LATHE_OK);
  EXPECT_STREQ(tensor.name, "z");
  EXPECT_EQ(tensor.dims[0], -1);
  EXPECT_STREQ(tensor.dim_texts[0], "n + 1");
  EXPECT_EQ(lathe_module_input(module, 4, &tensor), LATHE_INVALID_ARGUMENT);
  EXPECT_EQ(tensor.name, nullptr);
  lathe_symbol_info symbol;
  ASSERT_EQ(lathe_module_symbol(module, 1, &symbol), LATHE_OK);
  EXPECT_EQ(symbol.max, 64);
  ASSERT_EQ(lathe_module_symbol(module, 0, &symbol), LATHE_OK);
  EXPECT_EQ(symbol.max, INT64_MAX);
  size_t index = 0;
  EXPECT_EQ(lathe_module_find_input(module, "index", &index), LATHE_OK);
  EXPECT_EQ(index, 2u);
  EXPECT_EQ(lathe_module_find_output(module, "nothing", &index), LATHE_NOT_FOUND);
  EXPECT_NE(strstr(lathe_last_error(), "'sum', 'product'"), nullptr) << lathe_last_error();
  lathe_module_release(module);
  lathe_module_release(nullptr);
}

TEST(Loader, RefusesWhatIsNoArtifact) {
  EXPECT_EQ(load("/nonexistent/file.lathe"), LATHE_NOT_FOUND);
  EXPECT_EQ(load("/"), LATHE_IO_ERROR);
  EXPECT_EQ(load("/dev/null"), LATHE_IO_ERROR);
  std::string path = temporaryPath("other");
  writeFile(path, {});
  EXPECT_EQ(load(path), LATHE_INVALID_ARTIFACT);
  writeFile(path, std::vector<unsigned char>(8192, 'x'));
  EXPECT_EQ(load(path), LATHE_INVALID_ARTIFACT);
  mkfifo(temporaryPath("fifo").c_str(), 0600);
  EXPECT_EQ(load(temporaryPath("fifo")), LATHE_IO_ERROR);
}

TEST(Loader, RefusesTruncationAtEveryByte) {
  std::vector<unsigned char> bytes = readFile(DemoArtifact().write("whole.lathe"));
  std::string path = temporaryPath("truncated.lathe");
  writeFile(path, bytes);
  for (size_t size = bytes.size(); size-- > 0;) {
    ASSERT_EQ(truncate(path.c_str(), static_cast<off_t>(size)), 0);
    ASSERT_EQ(load(path), LATHE_INVALID_ARTIFACT) << size;
  }
  bytes.push_back(0);
  writeFile(path, bytes);
  EXPECT_EQ(load(path), LATHE_INVALID_ARTIFACT);
}

TEST(Loader, RefusesAFlippedBitAnywhereOnVerify) {
  std::vector<unsigned char> bytes = readFile(DemoArtifact().write("whole.lathe"));
  std::string path = temporaryPath("flipped.lathe");
  // Every byte of headers and of ends of sections, a sample of the rest.
  size_t rejected = 0;
  for (size_t i = 0; i < bytes.size(); i += i % 4096 < 512 || i % 4096 > 4080 ? 1 : 13) {
    bytes[i] ^= static_cast<unsigned char>(1 << i % 8);
    writeFile(path, bytes);
    ASSERT_NE(load(path, true), LATHE_OK) << "byte " << i;
    bytes[i] ^= static_cast<unsigned char>(1 << i % 8);
    ++rejected;
  }
  EXPECT_GT(rejected, 1000u);
}

TEST(Loader, ChecksAllButConstantsWithoutVerify) {
  std::vector<unsigned char> bytes = readFile(DemoArtifact().write("whole.lathe"));
  SectionEntry entries[3];
  memcpy(entries, bytes.data() + sizeof(Header), sizeof(entries));
  std::string path = temporaryPath("flipped.lathe");
  for (uint64_t at : {entries[0].offset, entries[1].offset, entries[2].offset - 1}) {
    bytes[at] ^= 4;
    writeFile(path, bytes);
    EXPECT_EQ(load(path), LATHE_INVALID_ARTIFACT) << at;
    bytes[at] ^= 4;
  }
}

TEST(Loader, RefusesOtherVersions) {
  std::vector<unsigned char> bytes = readFile(DemoArtifact().write("whole.lathe"));
  std::string path = temporaryPath("version.lathe");
  writeFile(path, edited(bytes, [](Header &header, SectionEntry *) { header.format_version = 2; }));
  EXPECT_EQ(load(path), LATHE_UNSUPPORTED_VERSION);
  ordered_json manifest = placedManifest();
  manifest["abi_version"] = LATHE_ABI_VERSION + 1;
  EXPECT_EQ(load(withManifest(manifest.dump())), LATHE_UNSUPPORTED_VERSION);
}

TEST(Loader, RefusesHostileTables) {
  std::vector<unsigned char> bytes = readFile(DemoArtifact().write("whole.lathe"));
  std::string path = temporaryPath("table.lathe");
  const std::function<void(Header &, SectionEntry *)> edits[] = {
      [](Header &h, SectionEntry *) { h.section_count = 0; },
      [](Header &h, SectionEntry *) { h.section_count = 2; },
      [](Header &h, SectionEntry *) { h.section_count = UINT32_MAX; },
      [](Header &h, SectionEntry *) { h.section_count = kMaxSections; },
      [](Header &h, SectionEntry *) { h.table_size = 0; },
      [](Header &h, SectionEntry *) { h.table_size = UINT64_MAX / kPageSize * kPageSize; },
      [](Header &h, SectionEntry *) { h.table_size += 1; },
      [](Header &h, SectionEntry *) { h.table_size += kPageSize; },
      [](Header &h, SectionEntry *) { h.reserved[1] = 1; },
      [](Header &, SectionEntry *e) { e[0].offset += kPageSize; },
      [](Header &, SectionEntry *e) { e[1].offset = e[0].offset; },
      [](Header &, SectionEntry *e) { e[2].offset = UINT64_MAX - 4095; },
      [](Header &, SectionEntry *e) { e[2].padded_size = UINT64_MAX / kPageSize * kPageSize; },
      [](Header &, SectionEntry *e) { e[2].size = UINT64_MAX; },
      [](Header &, SectionEntry *e) { e[2].size = 0; },
      [](Header &, SectionEntry *e) { e[0].padded_size += kPageSize; },
      [](Header &, SectionEntry *e) { memset(e[1].name, 'x', sizeof(e[1].name)); },
      [](Header &, SectionEntry *e) { memcpy(e[1].name, e[0].name, sizeof(e[1].name)); },
      [](Header &, SectionEntry *e) { e[0].kind = SectionKind::code; },
      [](Header &, SectionEntry *e) { e[1].kind = static_cast<SectionKind>(77); },
      [](Header &, SectionEntry *e) { e[2].kind = SectionKind::code; },
  };
  for (const auto &edit : edits) {
    writeFile(path, edited(bytes, edit));
    EXPECT_EQ(load(path), LATHE_INVALID_ARTIFACT) << &edit - edits;
  }
}

TEST(Loader, RefusesHostileManifests) {
  EXPECT_EQ(load(withManifest(placedManifest().dump())), LATHE_OK) << lathe_last_error();
  EXPECT_EQ(load(withManifest(placedManifest(true).dump())), LATHE_INVALID_ARTIFACT) << "constants are too small";
  const std::string onlyVersion = "{\"abi_version\": " + std::to_string(LATHE_ABI_VERSION) + "}";
  for (const std::string &text :
       {std::string(), std::string("{"), std::string("null"), std::string("[]"), std::string("3"), std::string("\"x\""),
        std::string("{}"), onlyVersion, std::string("\xff\xfe"), std::string("{\"abi_version\": 1e400}"),
        std::string("{\"abi_version\": \"1\"}"), std::string("{\"abi_version\": -1}")})
    EXPECT_EQ(load(withManifest(text)), LATHE_INVALID_ARTIFACT) << text;
  EXPECT_EQ(load(withManifest(std::string(1000000, '['))), LATHE_INVALID_ARTIFACT);
  EXPECT_EQ(load(withManifest(std::string(100000, '[') + std::string(100000, ']'))), LATHE_INVALID_ARTIFACT);
}

TEST(Loader, ReadsWhichAxesHaveHalfZeros) {
  ordered_json manifest = placedManifest();
  for (ordered_json good : {ordered_json(0), ordered_json(1), ordered_json(3)}) {
    manifest["constants"][0]["half_zeros"] = good;
    EXPECT_EQ(load(withManifest(manifest.dump())), LATHE_OK) << good << ": " << lathe_last_error();
  }
  for (ordered_json bad :
       {ordered_json(-1), ordered_json(4), ordered_json("1"), ordered_json(nullptr), ordered_json({1})}) {
    manifest["constants"][0]["half_zeros"] = bad;
    EXPECT_EQ(load(withManifest(manifest.dump())), LATHE_INVALID_ARTIFACT) << bad;
    EXPECT_NE(std::string(lathe_last_error()).find("half_zeros"), std::string::npos) << lathe_last_error();
  }
}

TEST(Loader, RefusesEveryWrongMember) {
  // Any member replaced by anything else is either harmless or refused, never more.
  const ordered_json replacements[] = {nullptr,
                                       true,
                                       -1,
                                       1,
                                       9223372036854775807,
                                       18446744073709551615u,
                                       1e300,
                                       "text",
                                       "",
                                       std::string("a\0b", 3),
                                       ordered_json::array(),
                                       ordered_json::object(),
                                       ordered_json::array({1, 2, 3}),
                                       64,
                                       4096};
  ordered_json manifest = placedManifest();
  ordered_json flat = manifest.flatten();
  size_t refused = 0;
  for (auto &[pointer, value] : flat.items()) {
    for (const ordered_json &replacement : replacements) {
      ordered_json changed = manifest;
      changed[ordered_json::json_pointer(pointer)] = replacement;
      lathe_status status = load(withManifest(changed.dump()));
      EXPECT_TRUE(status == LATHE_OK || status == LATHE_INVALID_ARTIFACT || status == LATHE_UNSUPPORTED_VERSION ||
                  status == LATHE_UNSUPPORTED_DEVICE)
          << pointer << " " << replacement << ": " << lathe_last_error();
      refused += status != LATHE_OK;
    }
  }
  EXPECT_GT(refused, 500u);
  for (const char *key :
       {"abi_version", "devices", "symbols", "inputs", "outputs", "constants", "code", "kernels", "checks"}) {
    ordered_json changed = manifest;
    changed.erase(key);
    EXPECT_EQ(load(withManifest(changed.dump())), LATHE_INVALID_ARTIFACT) << key;
  }
}

TEST(Loader, RefusesWrongComputations) {
  ordered_json manifest = placedManifest();
  ordered_json norm = {
      {"operation", "rms_norm"}, {"arguments", {0, 72, nullptr, 112}}, {"columns", 8}, {"epsilon", 1e-6}};
  ordered_json rotation = {
      {"operation", "rotate_half"}, {"arguments", {0, 88, 176, 264}}, {"columns", 8}, {"order", {0, 2, 1, 3}}};
  ordered_json narrow = norm;
  narrow["type"] = "bf16";
  for (const ordered_json &good : {norm, rotation, narrow}) {
    manifest["kernels"][0]["computes"] = good;
    EXPECT_EQ(load(withManifest(manifest.dump())), LATHE_OK) << lathe_last_error();
  }
  auto refuse = [&](ordered_json computes, const char *key, const ordered_json &value, const char *why) {
    computes[key] = value;
    manifest["kernels"][0]["computes"] = computes;
    EXPECT_EQ(load(withManifest(manifest.dump())), LATHE_INVALID_ARTIFACT) << computes;
    EXPECT_NE(strstr(lathe_last_error(), why), nullptr) << lathe_last_error();
    EXPECT_NE(strstr(lathe_last_error(), "manifest.kernels[0].computes"), nullptr) << lathe_last_error();
  };
  refuse(norm, "operation", "sort", "must be 'rms_norm', 'layer_norm' or 'rotate_half', found 'sort'");
  refuse(norm, "arguments", {0, 72, 112}, "must be four");
  refuse(norm, "arguments", {nullptr, 72, nullptr, 112}, "only parameters of norms may be null");
  refuse(norm, "arguments", {0, 71, nullptr, 112}, "must be a multiple of 8");
  refuse(rotation, "arguments", {0, nullptr, 176, 264}, "only parameters of norms may be null");
  refuse(norm, "columns", int64_t(1) << 40, "must be at most");
  refuse(norm, "columns", -8, "must be an integer");
  refuse(rotation, "columns", 7, "must be even, found 7");
  refuse(norm, "type", "i8", "must be 'f32', 'f16' or 'bf16'");
  refuse(norm, "type", "f17", "has unknown type 'f17'");
  refuse(norm, "epsilon", -1, "must be a number that is not negative");
  for (const ordered_json &order :
       {ordered_json({0, 1, 2}), ordered_json({0, 1, 2, 2}), ordered_json({0, 1, 2, 4}), ordered_json({0, 1, 2, 3, 3})})
    refuse(rotation, "order", order, "must be a permutation of four axes");
  manifest["kernels"][0]["computes"] = 3;
  EXPECT_EQ(load(withManifest(manifest.dump())), LATHE_INVALID_ARTIFACT);
}

/// The manifest of an artifact with a program beside `main`, which shares its code.
ordered_json manifestOfTwo() {
  DemoArtifact demo;
  demo.addProgram("step");
  ordered_json manifest = placedManifest(), program = demo.manifest["programs"][0];
  program["code"] = manifest["code"];
  manifest["programs"] = ordered_json::array({program});
  return manifest;
}

TEST(Loader, RefusesEveryWrongMemberOfAProgram) {
  ordered_json manifest = manifestOfTwo();
  EXPECT_EQ(load(withManifest(manifest.dump())), LATHE_OK) << lathe_last_error();
  for (const char *key : {"name", "symbols", "inputs", "outputs", "code", "kernels", "checks"}) {
    for (const ordered_json &replacement :
         {ordered_json(nullptr), ordered_json(3), ordered_json(""), ordered_json::object(), ordered_json::array({1})}) {
      ordered_json changed = manifest;
      changed["programs"][0][key] = replacement;
      EXPECT_EQ(load(withManifest(changed.dump())), LATHE_INVALID_ARTIFACT) << key << " " << replacement;
    }
    ordered_json changed = manifest;
    changed["programs"][0].erase(key);
    EXPECT_EQ(load(withManifest(changed.dump())), LATHE_INVALID_ARTIFACT) << key;
    EXPECT_NE(strstr(lathe_last_error(), "manifest.programs[0]"), nullptr) << lathe_last_error();
  }
  auto refuse = [&](const char *pointer, const ordered_json &value, const char *why) {
    ordered_json changed = manifest;
    changed[ordered_json::json_pointer(pointer)] = value;
    EXPECT_EQ(load(withManifest(changed.dump())), LATHE_INVALID_ARTIFACT) << pointer << " " << value;
    EXPECT_NE(strstr(lathe_last_error(), why), nullptr) << lathe_last_error();
  };
  for (const ordered_json &value : {ordered_json(nullptr), ordered_json(1), ordered_json::object()})
    refuse("/programs", value, "manifest.programs must be an array");
  refuse("/programs/0", "step", "manifest.programs[0] must be an object");
  refuse("/programs/0/name", "main", "is called 'main', as another program is");
  refuse("/programs/1", manifest["programs"][0], "is called 'step', as another program is");
  refuse("/programs/0/code", ordered_json::array(), "has no code for instruction set 'avx2', which 'main' has");
  refuse("/programs/0/code/0/section", "code.other", "names section 'code.other', which does not exist");
  refuse("/programs/0/code/0/section", "constants", "names section 'constants', which does not exist");
  refuse("/programs/0/code/0/plan", 1 << 20, "entry points of section 'code.avx2' lie outside of it");
  refuse("/programs/0/inputs/1/name", "x", "manifest.programs[0].inputs must have distinct names");
  refuse("/programs/0/symbols/1/name", "m", "has 'm', which is the dimension of no input");
  ordered_json cache = {{"name", "keys.0"}, {"type", "u4"}, {"heads", 4},     {"size", 64},
                        {"appended", true}, {"group", 32},  {"rotated", true}};
  ordered_json good = manifest;
  good["programs"][0]["caches"] = ordered_json::array({cache});
  EXPECT_EQ(load(withManifest(good.dump())), LATHE_OK) << lathe_last_error();
  auto refuseCache = [&](const char *key, const ordered_json &value, const char *why) {
    ordered_json changed = cache;
    changed[key] = value;
    refuse("/programs/0/caches", ordered_json::array({changed}), why);
  };
  refuseCache("type", "i16", "must be of type f32, i8, u8, i4 or u4");
  for (const ordered_json &group : {ordered_json(24), ordered_json(1 << 25)})
    refuseCache("group", group, "must have groups of a multiple of 16 columns, or 0");
  refuseCache("group", -16, "group");
  refuseCache("group", "all", "group");
  refuseCache("group", nullptr, "group");
  refuseCache("rotated", 1, "rotated");
  refuseCache("heads", 0, "must have from 1 to");
  ordered_json many = ordered_json::array();
  for (int i = 0; i < 16; ++i) {
    many.push_back(manifest["programs"][0]);
    many.back()["name"] = "p" + std::to_string(i);
  }
  refuse("/programs", many, "must not have more than 15 elements");
  many.erase(15);
  ordered_json most = manifest;
  most["programs"] = many;
  EXPECT_EQ(load(withManifest(most.dump())), LATHE_OK) << lathe_last_error();
  ordered_json sections = ordered_json::array();
  for (int i = 0; i < 65; ++i)
    sections.push_back(manifest["code"][0]);
  refuse("/programs/0/code", sections, "manifest.programs[0].code must not have more than 64 elements");
}

TEST(Loader, DescribesPrograms) {
  DemoArtifact demo;
  demo.addProgram("step");
  demo.manifest["programs"][0]["inputs"].erase(3);
  lathe_module *module = nullptr;
  std::string path = demo.write("programs.lathe");
  ASSERT_EQ(lathe_module_load(path.c_str(), nullptr, &module), LATHE_OK) << lathe_last_error();
  size_t count = 0, index = 0;
  ASSERT_EQ(lathe_module_program_count(module, &count), LATHE_OK);
  EXPECT_EQ(count, 2u);
  EXPECT_EQ(lathe_module_program_count(nullptr, &count), LATHE_INVALID_ARGUMENT);
  EXPECT_EQ(count, 0u);
  lathe_program_info info;
  lathe_program_info_init(&info);
  ASSERT_EQ(lathe_module_program_info(module, 0, &info), LATHE_OK);
  EXPECT_STREQ(info.name, "main");
  EXPECT_EQ(info.input_count, 4u);
  ASSERT_EQ(lathe_module_program_info(module, 1, &info), LATHE_OK);
  EXPECT_STREQ(info.name, "step");
  EXPECT_EQ(info.input_count, 3u);
  EXPECT_EQ(info.output_count, 2u);
  EXPECT_EQ(info.symbol_count, 2u);
  EXPECT_EQ(info.kernel_count, 2u);
  EXPECT_EQ(lathe_module_program_info(module, 2, &info), LATHE_INVALID_ARGUMENT);
  EXPECT_EQ(info.name, nullptr);
  EXPECT_STREQ(lathe_last_error(), "program 2 does not exist: the artifact has 2");
  info.struct_size = 0;
  EXPECT_EQ(lathe_module_program_info(module, 1, &info), LATHE_INVALID_ARGUMENT);
  EXPECT_EQ(lathe_module_find_program(module, "step", &index), LATHE_OK);
  EXPECT_EQ(index, 1u);
  EXPECT_EQ(lathe_module_find_program(module, "stop", &index), LATHE_NOT_FOUND);
  EXPECT_EQ(index, 0u);
  EXPECT_STREQ(lathe_last_error(), "the artifact has no program 'stop'; it has: 'main', 'step'");
  lathe_tensor_info tensor;
  EXPECT_EQ(lathe_module_program_input(module, 1, 2, &tensor), LATHE_OK);
  EXPECT_EQ(lathe_module_program_input(module, 1, 3, &tensor), LATHE_INVALID_ARGUMENT);
  EXPECT_EQ(lathe_module_program_input(module, 2, 0, &tensor), LATHE_INVALID_ARGUMENT);
  EXPECT_EQ(lathe_module_program_output(module, 1, 0, &tensor), LATHE_OK);
  EXPECT_STREQ(tensor.name, "step.sum");
  EXPECT_EQ(lathe_module_program_find_output(module, 1, "step.product", &index), LATHE_OK);
  EXPECT_EQ(index, 1u);
  EXPECT_EQ(lathe_module_program_find_output(module, 0, "step.product", &index), LATHE_NOT_FOUND);
  EXPECT_EQ(lathe_module_program_find_input(module, 1, "z", &index), LATHE_NOT_FOUND);
  EXPECT_EQ(lathe_module_find_input(module, "z", &index), LATHE_OK);
  lathe_symbol_info symbol;
  EXPECT_EQ(lathe_module_program_symbol(module, 1, 1, &symbol), LATHE_OK);
  EXPECT_EQ(symbol.max, 64);
  EXPECT_EQ(lathe_module_program_symbol(module, 1, 2, &symbol), LATHE_INVALID_ARGUMENT);
  lathe_module_release(module);
  // Each image is checked against its hash when the artifact is loaded.
  std::vector<unsigned char> bytes = readFile(path);
  SectionEntry entries[4];
  memcpy(entries, bytes.data() + sizeof(Header), sizeof(entries));
  EXPECT_STREQ(entries[2].name, "code.step.avx2");
  bytes[entries[2].offset] ^= 4;
  writeFile(path, bytes);
  EXPECT_EQ(load(path), LATHE_INVALID_ARTIFACT);
}

TEST(Loader, RefusesConstantsThatDoNotFit) {
  auto refuse = [](const char *pointer, const ordered_json &value) {
    ordered_json manifest = placedManifest();
    manifest[ordered_json::json_pointer(pointer)] = value;
    EXPECT_EQ(load(withManifest(manifest.dump())), LATHE_INVALID_ARTIFACT) << pointer << " " << value;
  };
  refuse("/constants/0/offset", 1);
  refuse("/constants/0/offset", 64);
  refuse("/constants/2/offset", 1 << 20);
  refuse("/constants/2/offset", 9223372036854775744);
  refuse("/constants/2/shape/0", 17);
  refuse("/constants/2/shape", {4611686018427387904, 4});
  refuse("/constants/2/type", "f64");
  refuse("/code/0/run", 1 << 20);
  refuse("/code/0/section", "code.other");
  refuse("/symbols/1/min", 65);
  refuse("/symbols/1/name", "batch");
  refuse("/inputs/1/name", "x");
}

TEST(Loader, RefusesPackedLayoutsThatLeadOutside) {
  auto write = [](const char *pointer, const ordered_json &value) {
    DemoArtifact demo(true);
    demo.manifest[ordered_json::json_pointer(pointer)] = value;
    return load(demo.write("packed.lathe"));
  };
  EXPECT_EQ(write("/constants/1/packed/dims/0", 8), LATHE_OK) << lathe_last_error();
  EXPECT_EQ(write("/constants/1/packed/dims/0", 9), LATHE_INVALID_ARTIFACT);
  EXPECT_EQ(write("/constants/1/packed/padded_dims/0", 32), LATHE_INVALID_ARTIFACT);
  EXPECT_EQ(write("/constants/1/packed/padded_dims", {1, 1024}), LATHE_INVALID_ARTIFACT);
  EXPECT_EQ(write("/constants/1/packed/padded_dims", {8, 128}), LATHE_INVALID_ARTIFACT);
  EXPECT_EQ(write("/constants/1/packed/padded_dims", {4294967296, 4294967296}), LATHE_INVALID_ARTIFACT);
  EXPECT_EQ(write("/constants/1/packed/inner_blocks", {8, 64}), LATHE_INVALID_ARTIFACT);
  EXPECT_EQ(write("/constants/1/packed/inner_blocks", {0, 64}), LATHE_INVALID_ARTIFACT);
  EXPECT_EQ(write("/constants/1/packed/inner_blocks", {16, 64, 2}), LATHE_INVALID_ARTIFACT);
  EXPECT_EQ(write("/constants/1/packed/inner_index", {0, 2}), LATHE_INVALID_ARTIFACT);
  EXPECT_EQ(write("/constants/1/packed/inner_index", {1, 1}), LATHE_INVALID_ARTIFACT);
  EXPECT_EQ(write("/constants/1/shape", {16, 8}), LATHE_INVALID_ARTIFACT);
}

TEST(Loader, ChoosesDeviceAndCode) {
  std::string path = DemoArtifact().write("demo.lathe");
  EXPECT_EQ(load(path, false, 0, "avx2"), LATHE_OK);
  EXPECT_EQ(load(path, false, 0, "avx512"), LATHE_NOT_FOUND);
  EXPECT_EQ(load(path, false, 0, nullptr, "cpu"), LATHE_OK);
  EXPECT_EQ(load(path, false, 0, nullptr, "cuda"), LATHE_NOT_FOUND);
  EXPECT_NE(strstr(lathe_last_error(), "it is for: cpu"), nullptr);
  setenv("LATHE_ISA", "avx512", 1);
  EXPECT_EQ(load(path), LATHE_NOT_FOUND);
  unsetenv("LATHE_ISA");
  DemoArtifact demo;
  demo.manifest["code"][0]["isa"] = "riscv";
  EXPECT_EQ(load(demo.write("riscv.lathe")), LATHE_UNSUPPORTED_DEVICE);
  demo.manifest["code"] = ordered_json::array();
  EXPECT_EQ(load(demo.write("none.lathe")), LATHE_UNSUPPORTED_DEVICE);
  EXPECT_EQ(load(path, false, 100), LATHE_OVER_BUDGET);
  EXPECT_EQ(load(path, false, 1 << 20), LATHE_OK);
}

/// An artifact that carries two files, one of them of a page with its zero.
DemoArtifact withDocuments() {
  DemoArtifact demo;
  demo.addDocument("tokenizer", "sentencepiece", std::string(kPageSize - 2, 'x') + '\0');
  demo.addDocument("generation_config", "generation_config.json", "");
  return demo;
}

TEST(Loader, GivesDocuments) {
  std::string path = withDocuments().write("documents.lathe");
  EXPECT_EQ(load(path, true), LATHE_OK) << lathe_last_error();
  lathe_module *module = nullptr;
  ASSERT_EQ(lathe_module_load(path.c_str(), nullptr, &module), LATHE_OK) << lathe_last_error();
  size_t count = 0, index = 9;
  ASSERT_EQ(lathe_module_document_count(module, &count), LATHE_OK);
  EXPECT_EQ(count, 2u);
  lathe_document document;
  ASSERT_EQ(lathe_module_document(module, 0, &document), LATHE_OK) << lathe_last_error();
  EXPECT_STREQ(document.name, "tokenizer");
  EXPECT_STREQ(document.format, "sentencepiece");
  ASSERT_EQ(document.size, kPageSize - 1);
  auto *bytes = static_cast<const char *>(document.data);
  EXPECT_EQ(std::string(bytes, document.size + 1), std::string(kPageSize - 2, 'x') + std::string(2, '\0'));
  ASSERT_EQ(lathe_module_find_document(module, "generation_config", &index), LATHE_OK);
  ASSERT_EQ(lathe_module_document(module, index, &document), LATHE_OK);
  EXPECT_EQ(document.size, 0u);
  EXPECT_STREQ(static_cast<const char *>(document.data), "");
  EXPECT_EQ(lathe_module_find_document(module, "code.avx2", &index), LATHE_NOT_FOUND);
  EXPECT_STREQ(lathe_last_error(),
               "the artifact has no document 'code.avx2'; it has: 'tokenizer', 'generation_config'");
  EXPECT_EQ(lathe_module_document(module, 2, &document), LATHE_INVALID_ARGUMENT);
  EXPECT_EQ(document.data, nullptr);
  EXPECT_EQ(lathe_module_document(module, 0, nullptr), LATHE_INVALID_ARGUMENT);
  EXPECT_EQ(lathe_module_document(nullptr, 0, &document), LATHE_INVALID_ARGUMENT);
  EXPECT_EQ(lathe_module_document_count(nullptr, &count), LATHE_INVALID_ARGUMENT);
  EXPECT_EQ(lathe_module_find_document(module, nullptr, &index), LATHE_INVALID_ARGUMENT);
  lathe_module_release(module);

  ASSERT_EQ(lathe_module_load(DemoArtifact().write("none.lathe").c_str(), nullptr, &module), LATHE_OK);
  ASSERT_EQ(lathe_module_document_count(module, &count), LATHE_OK);
  EXPECT_EQ(count, 0u);
  EXPECT_EQ(lathe_module_find_document(module, "tokenizer", &index), LATHE_NOT_FOUND);
  EXPECT_STREQ(lathe_last_error(), "the artifact has no document 'tokenizer'; it has: none");
  lathe_module_release(module);
}

TEST(Loader, CorruptDocumentsAreFoundWhenTheyAreAskedFor) {
  std::string path = withDocuments().write("whole.lathe");
  std::vector<unsigned char> bytes = readFile(path);
  auto at = std::search_n(bytes.begin(), bytes.end(), 100, 'x');
  ASSERT_NE(at, bytes.end());
  *at = 'y';
  path = temporaryPath("corrupt.lathe");
  writeFile(path, bytes);
  EXPECT_EQ(load(path, true), LATHE_INVALID_ARTIFACT);
  lathe_module *module = nullptr;
  ASSERT_EQ(lathe_module_load(path.c_str(), nullptr, &module), LATHE_OK) << lathe_last_error();
  lathe_document document;
  EXPECT_EQ(lathe_module_document(module, 0, &document), LATHE_INVALID_ARTIFACT);
  EXPECT_STREQ(lathe_last_error(), "section 'document.tokenizer' is corrupt: its hash differs");
  EXPECT_EQ(document.name, nullptr);
  EXPECT_EQ(lathe_module_document(module, 1, &document), LATHE_OK) << "which is whole";
  lathe_module_release(module);
}

TEST(Loader, RefusesDocumentsThatLeadOutside) {
  auto write = [](const char *pointer, const ordered_json &value) {
    DemoArtifact demo = withDocuments();
    demo.manifest[ordered_json::json_pointer(pointer)] = value;
    return load(demo.write("documents.lathe"));
  };
  EXPECT_EQ(write("/documents/0/name", "other"), LATHE_OK) << lathe_last_error();
  EXPECT_EQ(write("/documents", ordered_json::array()), LATHE_OK) << lathe_last_error();
  EXPECT_EQ(write("/documents", 3), LATHE_INVALID_ARTIFACT);
  EXPECT_EQ(write("/documents/0", 3), LATHE_INVALID_ARTIFACT);
  EXPECT_EQ(write("/documents/0/name", ""), LATHE_INVALID_ARTIFACT);
  EXPECT_EQ(write("/documents/0/name", "generation_config"), LATHE_INVALID_ARTIFACT);
  EXPECT_EQ(write("/documents/0/format", nullptr), LATHE_INVALID_ARTIFACT);
  for (const char *section : {"", "missing", "code.avx2", "constants", "manifest"})
    EXPECT_EQ(write("/documents/0/section", section), LATHE_INVALID_ARTIFACT) << section;
  DemoArtifact demo;
  for (int i = 0; i < 17; ++i)
    demo.addDocument("d" + std::to_string(i), "text", "");
  EXPECT_EQ(load(demo.write("many.lathe")), LATHE_INVALID_ARTIFACT);
  EXPECT_NE(strstr(lathe_last_error(), "manifest.documents must not have more than 16 elements"), nullptr)
      << lathe_last_error();
  demo = DemoArtifact();
  demo.addDocument("tokenizer", "tokenizer.json", "{}");
  demo.documents[0].bytes.clear();
  EXPECT_EQ(load(demo.write("empty.lathe")), LATHE_INVALID_ARTIFACT) << "there is no zero at the end";
  demo.documents[0].bytes = "{}";
  lathe_module *module = nullptr;
  ASSERT_EQ(lathe_module_load(demo.write("no_zero.lathe").c_str(), nullptr, &module), LATHE_OK) << lathe_last_error();
  lathe_document document;
  EXPECT_EQ(lathe_module_document(module, 0, &document), LATHE_INVALID_ARTIFACT);
  EXPECT_STREQ(lathe_last_error(), "section 'document.tokenizer' has no zero at its end");
  lathe_module_release(module);
}

} // namespace
