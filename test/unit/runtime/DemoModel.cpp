//===- DemoModel.cpp - What artifacts that tests load have in common ----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "test/unit/runtime/DemoModel.h"

#include "runtime/Abi.h"
#include "runtime/PackedLayout.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <unistd.h>

using namespace lathe;
using namespace lathe::test;
using nlohmann::ordered_json;

std::vector<unsigned char> lathe::test::readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return std::vector<unsigned char>(std::istreambuf_iterator<char>(file), {});
}

std::string lathe::test::temporaryPath(const std::string &name) {
  struct Folder {
    std::filesystem::path path = std::filesystem::temp_directory_path() / ("lathe-test-" + std::to_string(getpid()));
    Folder() { std::filesystem::create_directories(path); }
    ~Folder() {
      std::error_code ignored;
      std::filesystem::remove_all(path, ignored);
    }
  };
  static Folder folder;
  return (folder.path / name).string();
}

namespace {

/// A weight [8, 16] in one padded panel, and in `constant` how that lies.
std::vector<float> packedDemo(const std::vector<float> &weight, nlohmann::ordered_json &constant) {
  runtime::PackedLayout layout;
  layout.dims[0] = 8;
  layout.dims[1] = 16;
  layout.paddedDims[0] = 16;
  layout.paddedDims[1] = 64;
  layout.strides[0] = layout.strides[1] = 1024;
  layout.blockCount = 2;
  layout.blocks[0] = 16;
  layout.blocks[1] = 64;
  layout.blockDims[1] = 1;
  std::vector<float> packed(1024, 0);
  runtime::pack(layout, 4, weight.data(), 16, 1, packed.data());
  constant["packed"] = nlohmann::ordered_json::parse(
      R"({"dims": [8, 16], "padded_dims": [16, 64], "strides": [1024, 1024], "inner_blocks": [16, 64], "inner_index": [0, 1]})");
  return packed;
}

} // namespace

DemoModel::DemoModel(const std::string &codePath, const char *manifestText, bool packed)
    : manifest(ordered_json::parse(manifestText)), code(readFile(codePath)), scale{1, 2, -1, 0.5f} {
  for (int i = 0; i < 8 * 16; ++i)
    weight.push_back(static_cast<float>(i % 7) - 3);
  for (int i = 0; i < 16; ++i)
    bias.push_back(static_cast<float>(i) / 4 - 2);
  manifest["abi_version"] = LATHE_ABI_VERSION;
  manifest["constants"] = ordered_json::parse(R"([{"name": "scale", "type": "f32", "shape": [4]},
                                                  {"name": "weight", "type": "f32", "shape": [8, 16]},
                                                  {"name": "bias", "type": "f32", "shape": [16]}])");
  storedWeight = packed ? packedDemo(weight, manifest["constants"][1]) : weight;
}

std::string DemoModel::write(const std::string &name, const std::vector<artifact::SectionSource> &sections) const {
  std::string path = temporaryPath(name), error;
  std::vector<artifact::ConstantSource> constants(3);
  constants[0].size = scale.size() * 4;
  constants[0].data = scale.data();
  constants[1].size = storedWeight.size() * 4;
  constants[1].produce = [this](artifact::Sink &sink, std::string *) { // piece by piece, as the compiler makes some
    for (float value : storedWeight)
      if (!sink.write(&value, 4))
        return false;
    return true;
  };
  constants[2].size = bias.size() * 4;
  constants[2].data = bias.data();
  EXPECT_TRUE(artifact::writeArtifact(path, manifest, sections, constants, &error)) << error;
  return path;
}

std::vector<float> DemoModel::product(const std::vector<float> &x) const {
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
