//===- CudaDemo.cpp - The artifact for CUDA that the tests load -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "test/unit/cuda/CudaDemo.h"

#include "runtime/Abi.h"
#include "test/unit/runtime/PackedDemo.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <unistd.h>

using namespace lathe::test;
using nlohmann::ordered_json;

namespace {

std::vector<unsigned char> readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return std::vector<unsigned char>(std::istreambuf_iterator<char>(file), {});
}

/// A path in a folder of this process that is removed at exit.
std::string temporaryPath(const std::string &name) {
  struct Folder {
    std::filesystem::path path =
        std::filesystem::temp_directory_path() / ("lathe-cuda-test-" + std::to_string(getpid()));
    Folder() { std::filesystem::create_directories(path); }
    ~Folder() {
      std::error_code ignored;
      std::filesystem::remove_all(path, ignored);
    }
  };
  static Folder folder;
  return (folder.path / name).string();
}

} // namespace

CudaDemo::CudaDemo(bool packed) : code(readFile(LATHE_CUDA_CODE)), scale{1, 2, -1, 0.5f} {
  for (int i = 0; i < 8 * 16; ++i)
    weight.push_back(static_cast<float>(i % 7) - 3);
  for (int i = 0; i < 16; ++i)
    bias.push_back(static_cast<float>(i) / 4 - 2);
  manifest = ordered_json::parse(R"({
    "producer": "test", "devices": ["cuda"], "device": "cuda",
    "symbols": [{"name": "batch", "min": 0, "max": null},
                {"name": "limits[0]", "min": null, "max": null, "input": "limits", "element": 0}],
    "inputs": [{"name": "x", "type": "f32", "shape": ["batch", 8]},
               {"name": "index", "type": "i64", "shape": ["batch"]},
               {"name": "limits", "type": "i64", "shape": [2]}],
    "outputs": [{"name": "scaled", "type": "f32", "shape": ["batch", 8]},
                {"name": "product", "type": "f32", "shape": ["batch", 16]},
                {"name": "chosen", "type": "f32", "shape": ["count"]}],
    "constants": [{"name": "scale", "type": "f32", "shape": [4]},
                  {"name": "weight", "type": "f32", "shape": [8, 16]},
                  {"name": "bias", "type": "f32", "shape": [16]}],
    "code": [{"isa": "avx2", "section": "code.avx2", "plan": 0, "run": 2048}],
    "kernels": [{"name": "scale_0", "kind": "generated", "nodes": ["Gather_0", "Mul_1"], "function": "main_scale",
                 "result": {"value": "scaled", "node": "Mul_1", "type": "f32", "argument": 8, "rank": 2}},
                {"name": "matmul_1", "kind": "matmul", "nodes": ["MatMul_2"],
                 "result": {"value": "product", "node": "MatMul_2", "type": "f32"}},
                {"name": "count_2", "kind": "generated", "nodes": ["NonZero_3"], "function": "main_count"},
                {"name": "copy_3", "kind": "generated", "nodes": ["NonZero_3"], "function": "main_copy"}],
    "checks": [{"node": "Gather_0", "message": "index out of range: the table has 4 rows"},
               {"node": "Mul_1", "message": "batch must be at most 1000"},
               {"node": "Slice_4", "message": "the limit must not be negative"}],
    "device_code": [{"device": "cuda", "kind": "emulation", "isa": "avx2", "section": "cuda.emulation",
                     "kernels": {"main_scale": 6144, "main_count": 8192, "main_copy": 10240}}],
    "weights_bytes": 592, "recipe": null})");
  manifest["abi_version"] = LATHE_ABI_VERSION;
  storedWeight = packed ? lathe::test::packedDemo(weight, manifest["constants"][1]) : weight;
}

std::string CudaDemo::write(const std::string &name) const {
  std::string path = temporaryPath(name), error;
  std::vector<artifact::ConstantSource> constants(3);
  const std::vector<float> *values[] = {&scale, &storedWeight, &bias};
  for (size_t i = 0; i < 3; ++i) {
    constants[i].size = values[i]->size() * 4;
    constants[i].data = values[i]->data();
  }
  std::vector<artifact::SectionSource> all = {{"code.avx2", code.data(), code.size()},
                                              {"cuda.emulation", code.data(), code.size()}};
  all.insert(all.end(), sections.begin(), sections.end());
  EXPECT_TRUE(artifact::writeArtifact(path, manifest, all, constants, &error)) << error;
  return path;
}

std::vector<float> CudaDemo::scaled(const std::vector<float> &x, const std::vector<int64_t> &index) const {
  std::vector<float> out;
  for (size_t i = 0; i < x.size(); ++i)
    out.push_back(x[i] * scale[static_cast<size_t>(index[i / 8])]);
  return out;
}

std::vector<float> CudaDemo::product(const std::vector<float> &x) const {
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

std::vector<float> CudaDemo::chosen(const std::vector<float> &x) const {
  std::vector<float> out;
  for (size_t i = 0; i < x.size(); i += 8)
    if (x[i] > 0)
      out.push_back(x[i]);
  return out;
}
