//===- DemoArtifact.cpp - The artifact that the runtime's tests load ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "test/unit/runtime/DemoArtifact.h"

#include <fstream>
#include <gtest/gtest.h>

using namespace lathe::test;
using nlohmann::ordered_json;

void lathe::test::writeFile(const std::string &path, const std::vector<unsigned char> &bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  EXPECT_TRUE(file.flush()) << path;
}

static constexpr const char *kManifest = R"({
    "producer": "test", "devices": ["cpu"],
    "symbols": [{"name": "batch", "min": 0, "max": null}, {"name": "n", "min": 0, "max": 64}],
    "inputs": [{"name": "x", "type": "f32", "shape": ["batch", 8]},
               {"name": "y", "type": "f32", "shape": ["batch", "n"]},
               {"name": "index", "type": "i64", "shape": ["batch"]},
               {"name": "z", "type": "f32", "shape": ["n + 1"]}],
    "outputs": [{"name": "sum", "type": "f32", "shape": ["batch", "n"]},
                {"name": "product", "type": "f32", "shape": ["batch", 16]}],
    "code": [{"isa": "avx2", "section": "code.avx2", "plan": 0, "run": 0}],
    "kernels": [{"name": "rows_0", "kind": "generated", "nodes": ["Add_1"],
                 "result": {"value": "sum", "node": "Add_1", "type": "f32", "shape": ["batch", "n"], "argument": 8, "rank": 2}},
                {"name": "matmul_1", "kind": "matmul", "nodes": ["MatMul_2"],
                 "result": {"value": "product", "node": "MatMul_2", "type": "f32", "shape": ["batch", 16]}}],
    "checks": [{"node": "Gather_0", "message": "index out of range: the table has 4 rows"},
               {"node": "Add_1", "message": "batch must be at most 1000"}],
    "weights_bytes": 592, "recipe": null})";

DemoArtifact::DemoArtifact(bool packed) : DemoModel(LATHE_DEMO_CODE, kManifest, packed) {
  manifest["code"][0]["plan"] = kDemoPlan;
  manifest["code"][0]["run"] = kDemoRun;
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
  std::vector<artifact::SectionSource> images = {{"code.avx2", code.data(), code.size()}};
  if (manifest.contains("programs"))
    for (const ordered_json &program : manifest["programs"])
      for (const ordered_json &entry : program["code"])
        images.push_back({entry["section"], code.data(), code.size()});
  for (const DemoDocument &document : documents)
    images.push_back({document.section, document.bytes.data(), document.bytes.size(), artifact::SectionKind::document});
  return DemoModel::write(name, images);
}

std::vector<float> DemoArtifact::sum(const std::vector<float> &y, const std::vector<int64_t> &index,
                                     const std::vector<float> &z, int64_t n) const {
  std::vector<float> out;
  for (size_t i = 0; i < y.size(); ++i)
    out.push_back(y[i] * scale[static_cast<size_t>(index[i / static_cast<size_t>(n)])] + z[i % static_cast<size_t>(n)]);
  return out;
}
