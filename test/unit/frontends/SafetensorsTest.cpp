//===- SafetensorsTest.cpp - Headers, checkpoints, and their names --------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "OnnxTestSupport.h"
#include "frontends/onnx/WeightUses.h"
#include "frontends/safetensors/Checkpoint.h"
#include <cstring>
#include <random>

using namespace lathe;
using namespace lathe::test;
using namespace lathe::safetensors;

namespace {

/// A file of this header and so many bytes of zeros.
std::string fileOf(const std::string &header, size_t data) {
  uint64_t length = header.size();
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes + header + std::string(data, '\0');
}

std::string problemOf(const std::string &bytes) {
  Tensors tensors;
  return readTensors(bytes, tensors);
}

/// What is wrong with a file of one tensor 'x' with these fields, and 24 bytes of data.
std::string problemOfTensor(const std::string &fields) { return problemOf(fileOf("{\"x\": {" + fields + "}}", 24)); }

TEST(Safetensors, Reads) {
  Tensors tensors;
  std::string bytes = fileOf("{\"__metadata__\": {\"format\": \"pt\"}, "
                             "\"b\": {\"dtype\": \"BF16\", \"shape\": [2, 3], \"data_offsets\": [8, 20]}, "
                             "\"a\": {\"dtype\": \"I64\", \"shape\": [], \"data_offsets\": [0, 8]}, "
                             "\"none\": {\"dtype\": \"F32\", \"shape\": [3, 0], \"data_offsets\": [8, 8]}}   ",
                             20);
  EXPECT_EQ(readTensors(bytes, tensors), "");
  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(tensors["b"].type(), "BF16 [2, 3]");
  EXPECT_EQ(tensors["b"].offset, bytes.size() - 12);
  EXPECT_EQ(tensors["b"].bytes, 12u);
  EXPECT_EQ(tensors["a"].bytes, 8u);
  EXPECT_EQ(tensors["none"].bytes, 0u);
}

TEST(Safetensors, HostileLengths) {
  EXPECT_HAS(problemOf(""), "expects at least 8 bytes, got 0");
  EXPECT_HAS(problemOf(std::string(8, '\xff')),
             "expects a header of at most 100000000 bytes, got 18446744073709551615");
  std::string bytes = fileOf("{}", 0);
  bytes[0] = 3;
  EXPECT_HAS(problemOf(bytes), "expects a header of 3 bytes, found 2");
  EXPECT_EQ(problemOf(fileOf("{}", 0)), "");
  EXPECT_HAS(problemOf(fileOf("{}", 1)), "expects 0 bytes of data, found 1");
}

TEST(Safetensors, HostileHeaders) {
  EXPECT_HAS(problemOf(fileOf("", 0)), "not a JSON object");
  EXPECT_HAS(problemOf(fileOf("[1]", 0)), "not a JSON object");
  EXPECT_HAS(problemOf(fileOf("{\"x\": ", 0)), "not a JSON object");
  EXPECT_HAS(problemOf(fileOf("{\"\xff\": 1}", 0)), "not a JSON object");
  EXPECT_HAS(problemOf(fileOf(std::string(1 << 20, '['), 0)), "not a JSON object");
  EXPECT_HAS(problemOf(fileOf("{\"x\": " + std::string(1 << 20, '[') + std::string(1 << 20, ']') + "}", 0)),
             "tensor 'x' expects an object");
  EXPECT_HAS(problemOf(fileOf("{\"x\": 1}", 0)), "tensor 'x' expects an object");
  const std::string entry = "{\"dtype\": \"U8\", \"shape\": [1], \"data_offsets\": [0, 1]}";
  EXPECT_HAS(problemOf(fileOf("{\"x\": " + entry + ", \"x\": " + entry + "}", 1)), "tensor 'x' is there twice");
  EXPECT_HAS(problemOf(fileOf("{\"" + std::string(1000, 'n') + "\": 1}", 0)), "nnn…' expects an object");
}

TEST(Safetensors, HostileTensors) {
  const std::string good = "\"dtype\": \"F32\", \"shape\": [2, 3], \"data_offsets\": [0, 24]";
  EXPECT_EQ(problemOfTensor(good), "");
  EXPECT_HAS(problemOfTensor("\"shape\": [2, 3], \"data_offsets\": [0, 24]"), "has no 'dtype'");
  EXPECT_HAS(problemOfTensor("\"dtype\": \"F31\", \"shape\": [2, 3], \"data_offsets\": [0, 24]"),
             "expects a dtype of the format, got 'F31'");
  EXPECT_HAS(problemOfTensor("\"dtype\": 1, \"shape\": [2, 3], \"data_offsets\": [0, 24]"), "got no text");
  auto shape = [](const std::string &text) {
    return problemOfTensor("\"dtype\": \"F32\", \"shape\": " + text + ", \"data_offsets\": [0, 24]");
  };
  EXPECT_HAS(shape("6"), "expects a shape of at most 32 numbers");
  EXPECT_HAS(shape("[-2, -3]"), "numbers of at least 0");
  EXPECT_HAS(shape("[2, 3.5]"), "numbers of at least 0");
  EXPECT_HAS(shape("[[2], 3]"), "numbers of at least 0");
  EXPECT_HAS(shape("[18446744073709551615]"), "numbers of at least 0");
  EXPECT_HAS(shape("[4294967296, 4294967296]"), "fewer than 2^60 elements");
  EXPECT_HAS(shape("[4294967296, 4294967296, 0]"), "fewer than 2^60 elements");
  EXPECT_HAS(shape("[2, 2]"), "expects 16 bytes for F32 [2, 2], got 24");
  auto offsets = [](const std::string &text) {
    return problemOfTensor("\"dtype\": \"F32\", \"shape\": [2, 3], \"data_offsets\": " + text);
  };
  EXPECT_HAS(offsets("[24, 0]"), "the end not before the begin");
  EXPECT_HAS(offsets("[0]"), "two numbers");
  EXPECT_HAS(offsets("[-24, 0]"), "two numbers");
  EXPECT_HAS(offsets("[8, 32]"), "ends at byte 32 of the data, and the file has 24");
  EXPECT_HAS(offsets("[18446744073709551592, 18446744073709551615]"), "two numbers");
}

TEST(Safetensors, OverlapsAndGaps) {
  auto two = [](int first, int second) {
    auto entry = [](int begin) {
      return "{\"dtype\": \"U8\", \"shape\": [4], \"data_offsets\": [" + std::to_string(begin) + ", " +
             std::to_string(begin + 4) + "]}";
    };
    return problemOf(fileOf("{\"a\": " + entry(first) + ", \"b\": " + entry(second) + "}", 8));
  };
  EXPECT_EQ(two(0, 4), "");
  EXPECT_EQ(two(4, 0), "");
  EXPECT_HAS(two(0, 3), "tensor 'b' begins at byte 3 of the data, where 4 is expected: tensors overlap");
  EXPECT_HAS(two(0, 0), "tensors overlap");
  EXPECT_HAS(two(1, 4), "tensor 'a' begins at byte 1 of the data, where 0 is expected: tensors have gaps between them");
}

TEST(Safetensors, EveryTruncationAndManyChangesAreSurvived) {
  const std::string whole = fileOf("{\"a\": {\"dtype\": \"F16\", \"shape\": [2, 2], \"data_offsets\": [0, 8]}, "
                                   "\"b\": {\"dtype\": \"I32\", \"shape\": [1, 1], \"data_offsets\": [8, 12]}}",
                                   12);
  ASSERT_EQ(problemOf(whole), "");
  for (size_t n = 0; n < whole.size(); ++n)
    EXPECT_NE(problemOf(whole.substr(0, n)), "") << n;
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = whole;
    for (int change = 0; change < 1 + round % 3; ++change)
      bytes[random() % bytes.size()] =
          static_cast<char>(random() % 2 ? random() : "0123456789,[]{}\"-e"[random() % 18]);
    Tensors tensors;
    if (!readTensors(bytes, tensors).empty())
      continue;
    for (const auto &[name, tensor] : tensors) // all within the file
      ASSERT_TRUE(tensor.offset <= bytes.size() && tensor.bytes <= bytes.size() - tensor.offset);
  }
}

/// A layer of k inputs and n outputs whose words are zeros; what is wrong with it.
struct PackedParts {
  Tensor codes{"I32", {8, 16}}, zeros{"I32", {2, 2}}, scales{"F16", {2, 16}}, index{"I32", {64}};
  std::string indexBytes;
  QuantizationConfig config;

  std::string make(PackedWeight &weight) {
    auto part = [this](Tensor &tensor, const std::string *given = nullptr) {
      tensor.bytes = static_cast<uint64_t>(tensor.elements() * dtypeBytes(tensor.dtype));
      storage.push_back(given ? *given : std::string(tensor.bytes, '\0'));
      return PackedWeight::Part{&tensor, storage.back()};
    };
    storage.reserve(8);
    PackedWeight::Part none;
    PackedWeight::Part q = part(codes), z = part(zeros), s = part(scales);
    return PackedWeight::make({q, z, s, indexBytes.empty() ? none : part(index, &indexBytes), none}, config, weight);
  }
  std::string problem() {
    PackedWeight weight;
    return make(weight);
  }
  std::vector<std::string> storage;
};

TEST(PackedWeight, Shapes) {
  PackedWeight weight;
  PackedParts parts;
  ASSERT_EQ(parts.make(weight), "");
  EXPECT_EQ(weight.inputs(), 64);
  EXPECT_EQ(weight.outputs(), 16);
  EXPECT_EQ(weight.bits(), 4);
  EXPECT_EQ(weight.groupSize(), 32);
  EXPECT_FALSE(weight.isSymmetric()); // zero points of 1
  EXPECT_EQ(weight.zeros(false), std::vector<uint8_t>(32, 1));

  PackedParts awq;
  awq.codes.shape = {64, 2};
  ASSERT_EQ(awq.make(weight), "");
  EXPECT_EQ(weight.inputs(), 64);
  EXPECT_EQ(weight.zeros(true), std::vector<uint8_t>(32, 0));

  PackedParts wrong;
  wrong.scales.dtype = "I32";
  EXPECT_HAS(wrong.problem(), "scales: expects F16, BF16 or F32 of two axes, got I32 [2, 16]");
  wrong = {};
  wrong.zeros.shape = {3, 2};
  EXPECT_HAS(wrong.problem(), "expects qzeros of I32 [2, 2] beside scales of F16 [2, 16], got I32 [3, 2]");
  wrong = {};
  wrong.zeros.shape = {0, int64_t(1) << 59};
  EXPECT_HAS(wrong.problem(), "at least one input");
  wrong = {};
  wrong.zeros.shape = {2, 3};
  EXPECT_HAS(wrong.problem(), "expects codes of 2, 3, 4 or 8 bits");
}

TEST(PackedWeight, Config) {
  PackedParts parts;
  parts.config.source = "quantize_config.json";
  parts.config.bits = 8;
  EXPECT_HAS(parts.problem(), "'quantize_config.json': says 8 bits, and qweight I32 [8, 16] has codes of 4");
  parts.config.bits = INT64_MAX;
  EXPECT_HAS(parts.problem(), "has codes of 4");
  parts.config.bits = 4;
  parts.config.groupSize = 16;
  EXPECT_HAS(parts.problem(), "says groups of 16, and scales F16 [2, 16] are of 2 groups of 64 inputs");
  parts.config.groupSize = INT64_MIN;
  EXPECT_HAS(parts.problem(), "are of 2 groups");
  parts.config.groupSize = 32;
  EXPECT_EQ(parts.problem(), "");
  parts.config.format = "marlin";
  EXPECT_HAS(parts.problem(), "format 'marlin' does not fit codes I32 [8, 16]: expected 'gptq' or 'gptq_v2'");
  parts.config.method = "gptq";
  parts.config.format = "gptq_p";
  EXPECT_HAS(parts.problem(), "format 'gptq_p' is not supported: expected 'gptq' or 'gptq_v2' or 'marlin'");
  parts.config.format = "";
  parts.config.method = "awq";
  EXPECT_HAS(parts.problem(), "quant_method 'awq' does not fit codes I32 [8, 16]: expected 'gptq'");
}

/// A file of this header in which only what `set` does is no zero.
struct LayerFile {
  std::string bytes;
  Tensors tensors;
  std::optional<LayerTensors> find(const std::string &name) {
    return findLayerTensors(tensors, name, [this](const Tensor &tensor) {
      return llvm::StringRef(bytes).substr(tensor.offset, tensor.bytes);
    });
  }
  LayerFile(const std::vector<std::pair<std::string, std::string>> &named, const std::vector<size_t> &sizes) {
    std::string header;
    size_t begin = 0;
    for (size_t i = 0; i < named.size(); begin += sizes[i++])
      header += (i ? ", \"" : "{\"") + named[i].first + "\": {" + named[i].second + ", \"data_offsets\": [" +
                std::to_string(begin) + ", " + std::to_string(begin + sizes[i]) + "]}";
    bytes = fileOf(header + "}", begin);
    EXPECT_EQ(readTensors(bytes, tensors), "");
  }
  char &at(const std::string &name, size_t byte) { return bytes[tensors.at(name).offset + byte]; }
};

TEST(LayerTensors, CodesOfAByteNeedScales) {
  LayerFile plain({{"x.weight", R"("dtype": "I8", "shape": [2, 4])"}}, {8});
  EXPECT_FALSE(plain.find("x.weight").has_value());
  LayerFile scaled({{"x.weight", R"("dtype": "F8_E4M3", "shape": [2, 4])"},
                    {"x.weight_scale_inv", R"("dtype": "F32", "shape": [1, 2])"},
                    {"x.input_scale", R"("dtype": "F32", "shape": [])"}},
                   {8, 8, 4});
  scaled.at("x.weight", 1 * 4 + 3) = 0x38;         // 1
  scaled.at("x.weight_scale_inv", 1 * 4 + 3) = 64; // 2
  std::optional<LayerTensors> found = scaled.find("x.weight");
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->layer, "x");
  EXPECT_EQ(found->missing, "");
  EXPECT_EQ(found->taken.size(), 3u);
  PackedWeight weight;
  QuantizationConfig config;
  EXPECT_HAS(PackedWeight::make(found->parts, config, weight), "'weight_block_size' in 'config.json'");
  config.blockRows = 128;
  config.blockColumns = 3;
  ASSERT_EQ(PackedWeight::make(found->parts, config, weight), "");
  EXPECT_EQ(weight.groupSize(), 3);
  EXPECT_EQ(weight.at(3, 1), 2.0f);
  EXPECT_EQ(weight.at(2, 1), 0.0f);
  EXPECT_TRUE(weight.codesLie(true));
  EXPECT_FALSE(weight.scalesLie(true));
  EXPECT_EQ(weight.scales(true).size(), 16u);
  config.blockColumns = int64_t(1) << 62;
  EXPECT_HAS(PackedWeight::make(found->parts, config, weight), "blocks of 128 x 4611686018427387904");
}

TEST(LayerTensors, MarlinIsAPermutation) {
  for (int64_t groups : {1, 2}) {
    std::string scales = R"("dtype": "F16", "shape": [)" + std::to_string(groups) + ", 128]";
    LayerFile file({{"x.B", R"("dtype": "I32", "shape": [2, 256])"}, {"x.s", scales}},
                   {2048, static_cast<size_t>(groups) * 256});
    std::optional<LayerTensors> found = file.find("x.B");
    ASSERT_TRUE(found.has_value());
    PackedWeight weight;
    ASSERT_EQ(PackedWeight::make(found->parts, {}, weight), "");
    EXPECT_EQ(weight.inputs(), 32);
    EXPECT_TRUE(weight.isSymmetric());
    // Each code, and each scale, is one place's.
    for (size_t byte : {0, 3, 4, 515, 1023, 1024, 2047}) {
      file.at("x.B", byte) = 0x30;
      std::vector<uint8_t> codes = weight.codes(true);
      EXPECT_EQ(llvm::count(codes, 3), 1) << byte;
      EXPECT_EQ(llvm::count(codes, 0), 32 * 128 - 1) << byte;
      file.at("x.B", byte) = 0;
    }
    for (size_t scale = 0; scale < static_cast<size_t>(groups) * 128; ++scale) {
      file.at("x.s", 2 * scale + 1) = 1;
      std::vector<uint8_t> all = weight.scales(false);
      EXPECT_EQ(llvm::count(all, 1), 1) << scale;
      file.at("x.s", 2 * scale + 1) = 0;
    }
  }
}

TEST(PackedWeight, GroupIndex) {
  auto indexOf = [](llvm::function_ref<int32_t(int)> of) {
    std::string bytes;
    for (int i = 0; i < 64; ++i) {
      int32_t value = of(i);
      bytes.append(reinterpret_cast<const char *>(&value), 4);
    }
    return bytes;
  };
  PackedWeight weight;
  PackedParts parts;
  parts.indexBytes = indexOf([](int i) { return i / 32; });
  ASSERT_EQ(parts.make(weight), "");
  EXPECT_FALSE(weight.isReordered());
  PackedParts turned;
  turned.indexBytes = indexOf([](int i) { return i % 2; });
  ASSERT_EQ(turned.make(weight), "");
  ASSERT_TRUE(weight.isReordered());
  EXPECT_EQ(weight.inputOrder()[1], 2);
  EXPECT_EQ(weight.inputOrder()[32], 1);
  PackedParts wrong;
  wrong.indexBytes = indexOf([](int i) { return i == 5 ? 2 : i / 32; });
  EXPECT_HAS(wrong.problem(), "g_idx: expects groups below 2, got 2 for input 5");
  wrong.indexBytes = indexOf([](int i) { return -1; });
  EXPECT_HAS(wrong.problem(), "g_idx: expects groups below 2, got -1");
  wrong.indexBytes = indexOf([](int i) { return i / 33; });
  EXPECT_HAS(wrong.problem(), "g_idx: expects 32 inputs in group 0, got 33");
}

TEST(WeightUses, Modules) {
  auto moduleOfName = [](const char *name, const char *scopes = nullptr) {
    onnx::NodeProto node;
    node.set_name(name);
    if (scopes) {
      auto *entry = node.add_metadata_props();
      entry->set_key("pkg.torch.onnx.name_scopes");
      entry->set_value(scopes);
    }
    return frontend::moduleOf(node);
  };
  EXPECT_EQ(moduleOfName("/model/layers.0/self_attn/q_proj/MatMul"), "model.layers.0.self_attn.q_proj");
  EXPECT_EQ(moduleOfName("/MatMul"), "");
  EXPECT_EQ(moduleOfName("node_linear_3"), "");
  EXPECT_EQ(moduleOfName("node_linear_3", "['', 'model', 'model.fc', 'linear_3']"), "model.fc");
  EXPECT_EQ(moduleOfName("node_linear_3", "['linear_3']"), "");
  EXPECT_EQ(moduleOfName("/a/MatMul", "['', 'it"), "a");
}

TEST_F(OnnxTest, WeightUsesThroughTransposes) {
  input("x", TensorProto::FLOAT, {"batch", "4"});
  initializer("w", TensorProto::FLOAT, {8, 4});
  initializer("v", TensorProto::FLOAT, {8, 8});
  initializer("both", TensorProto::FLOAT, {8, 8});
  node("Transpose", {"w"}, {"wt"}, "/fc/Transpose");
  node("MatMul", {"x", "wt"}, {"h"}, "/fc/MatMul");
  attribute(node("Gemm", {"h", "v"}, {"i"}, "/gc/Gemm"), "transB", 1);
  node("MatMul", {"i", "both"}, {"j"}, "/hc/MatMul");
  attribute(node("Gemm", {"j", "both"}, {"y"}, "/hc/Gemm"), "transB", 1);
  output("y");
  std::vector<frontend::WeightUses> uses = frontend::findWeightUses(graph());
  ASSERT_EQ(uses.size(), 3u);
  EXPECT_EQ(uses[0].parameters, std::vector<std::string>{"fc.weight"});
  EXPECT_EQ(uses[0].sumsOverRows, true);
  EXPECT_EQ(uses[1].sumsOverRows, true);
  EXPECT_TRUE(uses[2].differs);
  EXPECT_EQ(uses[2].sumsOverRows, std::nullopt);
}

} // namespace
