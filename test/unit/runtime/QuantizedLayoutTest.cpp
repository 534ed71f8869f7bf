//===- QuantizedLayoutTest.cpp - Quantized weights in panels ----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "DemoArtifact.h"
#include "QuantizedSupport.h"

#include "runtime/Manifest.h"
#include "runtime/SmallFloats.h"

using namespace lathe;
using namespace lathe::runtime;
using namespace lathe::test;

namespace {

TEST(QuantizedLayout, PackingIsUndone) {
  for (auto [k, n, group] : {std::array<int64_t, 3>{1, 1, 1}, {33, 17, 16}, {200, 70, 64}, {260, 130, 256}, {96, 48, 32}})
    for (const QuantizedLayout &wanted : layoutsFor(k, n, group)) {
      SCOPED_TRACE(describe(wanted));
      RandomQuantized matrix(wanted, 1);
      const QuantizedLayout &layout = matrix.layout;
      std::vector<uint8_t> codes(matrix.codes.size());
      std::vector<float> scales(matrix.scales.size()), zeros(matrix.zeros.size()), table(matrix.table.size());
      cpu::unpackQuantized(layout, matrix.packed.data(), codes.data(), scales.data(), zeros.data(), table.data());
      EXPECT_EQ(codes, matrix.codes);
      EXPECT_EQ(scales, matrix.scales);
      if (layout.zeros == ZeroType::constant)
        EXPECT_EQ(zeros, std::vector<float>(zeros.size(), layout.zero));
      else
        EXPECT_EQ(zeros, matrix.zeros);
      if (layout.hasTable())
        EXPECT_EQ(table, matrix.table);
      cpu::unpackQuantized(layout, matrix.packed.data(), nullptr, nullptr, nullptr, nullptr);
      std::vector<float> column(static_cast<size_t>(k));
      for (int64_t j = 0; j < n; ++j) {
        cpu::dequantizeColumn(layout, matrix.packed.data(), j, column.data());
        for (int64_t i = 0; i < k; ++i)
          ASSERT_EQ(column[static_cast<size_t>(i)], matrix.dense[static_cast<size_t>(i * n + j)]) << i << ", " << j;
      }
    }
}

TEST(QuantizedLayout, TakesFewBytes) {
  QuantizedLayout layout;
  layout.k = 768, layout.n = 3072, layout.bits = 4, layout.group = 32, layout.scale = ScaleType::f16;
  EXPECT_EQ(layout.bytes(), 768 * 3072 / 2 + 24 * 3072 * 2);
  layout.bits = 3;
  EXPECT_EQ(layout.bytes(), 768 * 3072 * 3 / 8 + 24 * 3072 * 2);
  layout.values = CodeValues::codebook, layout.dimension = 4, layout.bits = 8, layout.group = 768;
  EXPECT_EQ(layout.bytes(), 768 * 3072 / 4 + 3072 * 2 + 4096);
}

TEST(QuantizedLayout, SaysWhatIsWrong) {
  QuantizedLayout good;
  good.k = 64, good.n = 64, good.bits = 4, good.group = 32;
  auto refused = [&](auto change) {
    QuantizedLayout layout = good;
    change(layout);
    std::string why;
    EXPECT_FALSE(layout.valid(&why));
    return why;
  };
  std::string why;
  EXPECT_TRUE(good.valid(&why)) << why;
  EXPECT_EQ(refused([](auto &l) { l.bits = 5; }), "must have codes of 8, 4, 3 or 2 bits, found 5");
  EXPECT_EQ(refused([](auto &l) { l.k = 0; }), "must have from 1 to 1073741824 rows and columns, found [0, 64]");
  EXPECT_EQ(refused([](auto &l) { l.n = int64_t(1) << 40; }),
            "must have from 1 to 1073741824 rows and columns, found [64, 1099511627776]");
  EXPECT_EQ(refused([](auto &l) { l.values = CodeValues::e4m3; }), "must have codes of 8 bits for values e4m3, found 4");
  EXPECT_EQ(refused([](auto &l) { l.dimension = 2; }), "must have a dimension of 1 for values integer, found 2");
  EXPECT_EQ(refused([](auto &l) { l.values = CodeValues::codebook; }),
            "must have a dimension of 2, 4 or 8 for values codebook, found 1");
  EXPECT_EQ(refused([](auto &l) { l.bits = 3, l.group = 16; }),
            "must have groups of 64 rows, all of them, or of a multiple of 32 rows, found 16");
  EXPECT_EQ(refused([](auto &l) { l.group = 128; }),
            "must have groups of 64 rows, all of them, or of a multiple of 8 rows, found 128");
  EXPECT_EQ(refused([](auto &l) { l.panel = 24; }), "must have panels of 16, 32, 48 or 64 columns, found 24");
  EXPECT_EQ(refused([](auto &l) { l.scale = ScaleType::e8m0, l.zeros = ZeroType::scale; }),
            "must have zero points of 8 bits or none with scales of type e8m0");
  EXPECT_EQ(refused([](auto &l) { l.zero = INFINITY; }), "must have a finite zero point");
}

TEST(QuantizedLayout, Floats) {
  for (int code = 0; code < 256; ++code) {
    if ((code & 0x7f) != 0x7f)
      EXPECT_EQ(e4m3Value(static_cast<uint8_t>(code)), RandomQuantized::decode(static_cast<uint8_t>(code), 4, 3));
    if ((code & 0x7c) != 0x7c)
      EXPECT_EQ(e5m2Value(static_cast<uint8_t>(code)), RandomQuantized::decode(static_cast<uint8_t>(code), 5, 2));
  }
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    float value = halfValue(static_cast<uint16_t>(bits));
    if (value == value) {
      EXPECT_EQ(toHalf(value), bits);
    }
  }
  EXPECT_EQ(toHalf(1 + 0x1p-11f), toHalf(1.0f)) << "of two nearest numbers the even one";
  EXPECT_EQ(toHalf(1 + 0x3p-11f), toHalf(1 + 0x2p-10f));
  EXPECT_EQ(toHalf(65520), 0x7c00);
  EXPECT_EQ(toHalf(0x1p-25f), 0);
  EXPECT_EQ(toHalf(0x1.8p-25f), 1);
}

TEST(QuantizedLayout, IsReadFromManifests) {
  auto manifest = DemoArtifact().manifest;
  QuantizedLayout layout;
  layout.k = 100, layout.n = 70, layout.bits = 4, layout.group = 32, layout.scale = ScaleType::f16;
  auto &constant = manifest["constants"][0];
  constant["type"] = "f32";
  constant["shape"] = {100, 70};
  constant["offset"] = 0;
  constant["size"] = layout.bytes();
  constant["quantized"] = {{"bits", 4}, {"values", "integer"}, {"dimension", 1}, {"group", 32},
                           {"panel", 64}, {"scale", "f16"}, {"zero", 8.5}};
  for (size_t i = 1; i < manifest["constants"].size(); ++i) {
    manifest["constants"][i]["offset"] = 0;
    manifest["constants"][i]["size"] = 0;
    manifest["constants"][i]["shape"] = {0};
  }
  auto parse = [&](const char *pointer, nlohmann::ordered_json value) {
    auto changed = manifest;
    if (*pointer)
      changed[nlohmann::ordered_json::json_pointer(pointer)] = value;
    Manifest result;
    Status status = Manifest::parse(changed.dump(), &result);
    if (!status.failed()) {
      EXPECT_TRUE(result.constants[0].quantized);
      EXPECT_EQ(result.constants[0].quantized->bytes(), static_cast<int64_t>(result.constants[0].size));
    }
    return status.message();
  };
  auto refused = [&](const char *member, nlohmann::ordered_json value) {
    return parse((std::string("/constants/0/quantized/") + member).c_str(), value) != "";
  };
  EXPECT_EQ(parse("", {}), "");
  EXPECT_EQ(parse("/constants/0/quantized/scale", "bf16"), "");
  for (nlohmann::ordered_json bad : {nlohmann::ordered_json(-1), nlohmann::ordered_json("4"), nlohmann::ordered_json(nullptr),
                                     nlohmann::ordered_json(1e300), nlohmann::ordered_json::array()})
    for (const char *member : {"bits", "values", "dimension", "group", "panel", "scale"})
      EXPECT_TRUE(refused(member, bad)) << member << " " << bad;
  EXPECT_TRUE(refused("zero", "u4"));
  EXPECT_TRUE(refused("zero", 1e300));
  EXPECT_TRUE(refused("zero", "u8")) << "which takes more bytes";
  EXPECT_TRUE(refused("group", 64)) << "which takes fewer bytes";
  EXPECT_TRUE(refused("panel", 16));
  EXPECT_NE(parse("/constants/0/type", "u8").find("must be of type f32"), std::string::npos);
  EXPECT_NE(parse("/constants/0/shape", {70, 100}), "");
  EXPECT_NE(parse("/constants/0/shape", {7000}), "");
  EXPECT_NE(parse("/constants/0/shape", {int64_t(1) << 62, 4}), "");
  EXPECT_NE(parse("/constants/0/size", 1), "");
  EXPECT_NE(parse("/constants/0/packed", {}).find("both packed and quantized"), std::string::npos);
}

} // namespace
