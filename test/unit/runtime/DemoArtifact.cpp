//===- DemoArtifact.cpp - The artifact that the runtime's tests load ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "test/unit/runtime/DemoArtifact.h"

#include "runtime/Abi.h"
#include "test/unit/runtime/PackedDemo.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <unistd.h>

using namespace lathe::test;
using nlohmann::ordered_json;

std::vector<unsigned char> lathe::test::readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return std::vector<unsigned char>(std::istreambuf_iterator<char>(file), {});
}

void lathe::test::writeFile(const std::string &path, const std::vector<unsigned char> &bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  EXPECT_TRUE(file.flush()) << path;
}

std::string lathe::test::temporaryPath(const std::string &name) {
  struct Folder {
    std::filesystem::path path =
        std::filesystem::temp_directory_path() / ("lathe-runtime-test-" + std::to_string(getpid()));
    Folder() { std::filesystem::create_directories(path); }
    ~Folder() {
      std::error_code ignored;
      std::filesystem::remove_all(path, ignored);
    }
  };
  static Folder folder;
  return (folder.path / name).string();
}

DemoArtifact::DemoArtifact(bool packed) : code(readFile(LATHE_DEMO_CODE)), scale{1, 2, -1, 0.5f} {
  for (int i = 0; i < 8 * 16; ++i)
    weight.push_back(static_cast<float>(i % 7) - 3);
  for (int i = 0; i < 16; ++i)
    bias.push_back(static_cast<float>(i) / 4 - 2);
  manifest = ordered_json::parse(R"({
    "producer": "test", "devices": ["cpu"],
    "symbols": [{"name": "batch", "min": 0, "max": null}, {"name": "n", "min": 0, "max": 64}],
    "inputs": [{"name": "x", "type": "f32", "shape": ["batch", 8]},
               {"name": "y", "type": "f32", "shape": ["batch", "n"]},
               {"name": "index", "type": "i64", "shape": ["batch"]},
               {"name": "z", "type": "f32", "shape": ["n + 1"]}],
    "outputs": [{"name": "sum", "type": "f32", "shape": ["batch", "n"]},
                {"name": "product", "type": "f32", "shape": ["batch", 16]}],
    "constants": [{"name": "scale", "type": "f32", "shape": [4]},
                  {"name": "weight", "type": "f32", "shape": [8, 16]},
                  {"name": "bias", "type": "f32", "shape": [16]}],
    "code": [{"isa": "avx2", "section": "code.avx2", "plan": 0, "run": 0}],
    "kernels": [{"name": "rows_0", "kind": "generated", "nodes": ["Add_1"],
                 "result": {"value": "sum", "node": "Add_1", "type": "f32", "shape": ["batch", "n"], "argument": 8, "rank": 2}},
                {"name": "matmul_1", "kind": "matmul", "nodes": ["MatMul_2"],
                 "result": {"value": "product", "node": "MatMul_2", "type": "f32", "shape": ["batch", 16]}}],
    "checks": [{"node": "Gather_0", "message": "index out of range: the table has 4 rows"},
               {"node": "Add_1", "message": "batch must be at most 1000"}],
    "weights_bytes": 592, "recipe": null})");
  manifest["abi_version"] = LATHE_ABI_VERSION;
  manifest["code"][0]["plan"] = kDemoPlan;
  manifest["code"][0]["run"] = kDemoRun;
  storedWeight = packed ? lathe::test::packedDemo(weight, manifest["constants"][1]) : weight;
}

void DemoArtifact::addProgram(const std::string &name) {
  ordered_json program = {{"name", name}};
  for (const char *key : {"symbols", "inputs", "outputs", "kernels", "checks", "code"})
    program[key] = manifest[key];
  for (const char *key : {"outputs", "kernels"})
    for (ordered_json &entry : program[key])
      entry["name"] = name + "." + entry["name"].get<std::string>();
  for (ordered_json &check : program["checks"])
    check["message"] = name + ": " + check["message"].get<std::string>();
  for (ordered_json &entry : program["code"])
    entry["section"] = "code." + name + "." + entry["isa"].get<std::string>();
  manifest["programs"].push_back(program);
}

void DemoArtifact::addDocument(const std::string &name, const std::string &format, const std::string &text) {
  std::string section = "document." + name;
  manifest["documents"].push_back({{"name", name}, {"format", format}, {"section", section}});
  documents.push_back({section, text + '\0'});
}

std::string DemoArtifact::write(const std::string &name) const {
  std::string path = temporaryPath(name);
  std::string error;
  std::vector<artifact::ConstantSource> constants(3);
  constants[0].size = scale.size() * 4;
  constants[0].data = scale.data();
  constants[1].size = storedWeight.size() * 4;
  constants[1].produce = [this](artifact::Sink &sink, std::string *) {
    for (float value : storedWeight)
      if (!sink.write(&value, 4))
        return false;
    return true;
  };
  constants[2].size = bias.size() * 4;
  constants[2].data = bias.data();
  std::vector<artifact::SectionSource> images = {{"code.avx2", code.data(), code.size()}};
  if (manifest.contains("programs"))
    for (const ordered_json &program : manifest["programs"])
      for (const ordered_json &entry : program["code"])
        images.push_back({entry["section"], code.data(), code.size()});
  for (const DemoDocument &document : documents)
    images.push_back({document.section, document.bytes.data(), document.bytes.size(), artifact::SectionKind::document});
  EXPECT_TRUE(artifact::writeArtifact(path, manifest, images, constants, &error)) << error;
  return path;
}

std::vector<float> DemoArtifact::sum(const std::vector<float> &y, const std::vector<int64_t> &index,
                                     const std::vector<float> &z, int64_t n) const {
  std::vector<float> out;
  for (size_t i = 0; i < y.size(); ++i)
    out.push_back(y[i] * scale[static_cast<size_t>(index[i / static_cast<size_t>(n)])] + z[i % static_cast<size_t>(n)]);
  return out;
}

std::vector<float> DemoArtifact::product(const std::vector<float> &x) const {
  std::vector<float> out;
  for (size_t i = 0; i < x.size() / 8; ++i)
    for (size_t j = 0; j < 16; ++j) {
      float value = bias[j];
      for (size_t k = 0; k < 8; ++k)
        value += x[i * 8 + k] * weight[k * 16 + j];
      out.push_back(value > 0 ? value : 0);
    }
  return out;
}
