//===- FormatsTest.cpp - What the numbers of a weight are -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/Formats.h"

#include "QuantizationTestSupport.h"
#include "passes/quantization/methods/GroupCoder.h"

#include <set>

using namespace lathe::quantization;
using namespace lathe::quantization::test;

namespace {

TEST(Formats, SmallFloatsAreThoseOfTheSpecification) {
  EXPECT_EQ(e4m3fnValue(0x7e), 448.0f);
  EXPECT_EQ(e4m3fnValue(0xfe), -448.0f);
  EXPECT_EQ(e4m3fnValue(0x01), std::ldexp(1.0f, -9));
  EXPECT_EQ(e4m3fnValue(0x08), std::ldexp(1.0f, -6));
  EXPECT_TRUE(std::isnan(e4m3fnValue(0x7f)));
  EXPECT_EQ(e5m2Value(0x7b), 57344.0f);
  EXPECT_EQ(e5m2Value(0x01), std::ldexp(1.0f, -16));
  EXPECT_EQ(e5m2Value(0xfc), -kInfinity);
  EXPECT_TRUE(std::isnan(e5m2Value(0x7d)));
  EXPECT_EQ(valuesOf(Format::fp4()),
            (std::vector<float>{0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0f, -0.5, -1, -1.5, -2, -3, -4, -6}));
}

TEST(Formats, PowersOfTwoAndTheirSums) {
  EXPECT_EQ(valuesOf(Format::log2(3)), (std::vector<float>{0, 0.25, 0.5, 1, 0, -0.25, -0.5, -1}));
  EXPECT_EQ(valuesOf(Format::log2(2)), (std::vector<float>{0, 1, 0, -1}));
  for (int bits = 2; bits <= 8; ++bits) {
    const std::vector<float> values = valuesOf(Format::apot(bits));
    EXPECT_EQ(*std::max_element(values.begin(), values.end()), 1.0f);
    // No two sums agree: 2^bits - 1 levels, since 0 has two codes.
    EXPECT_EQ(std::set<float>(values.begin(), values.end()).size(), values.size() - 1) << bits;
  }
}

TEST(Formats, ScalesAreRoundedToTheirTypes) {
  EXPECT_EQ(roundTo(ScaleType::F16, 1.0f + std::ldexp(1.0f, -11)), 1.0f); // a tie, to even
  EXPECT_EQ(roundTo(ScaleType::F16, 1.0f + std::ldexp(3.0f, -11)), 1.0f + std::ldexp(1.0f, -9));
  EXPECT_EQ(roundTo(ScaleType::F16, 1e6f), 65504.0f);
  EXPECT_EQ(roundTo(ScaleType::F16, std::ldexp(1.4f, -24)), std::ldexp(1.0f, -24));
  EXPECT_EQ(roundTo(ScaleType::BF16, 1.0f + std::ldexp(1.0f, -8)), 1.0f);
  EXPECT_EQ(roundTo(ScaleType::BF16, 3.4e38f), largestOf(ScaleType::BF16));
  EXPECT_EQ(roundTo(ScaleType::E8M0, 7.9f), 4.0f);
  EXPECT_EQ(roundTo(ScaleType::E8M0, 0.0f), std::ldexp(1.0f, -127));
  EXPECT_EQ(roundTo(ScaleType::F32, -1.1f), -1.1f);
}

TEST(Formats, RefusesWhatCannotBeStored) {
  EXPECT_FAILS(validate(Format::integer(9)), "2 to 8 bits, got 9");
  EXPECT_FAILS(validate(Format::integer(1)), "2 to 8 bits, got 1");
  EXPECT_FAILS(validate(Format::integer(4, -1)), "at least 1 input");
  EXPECT_FAILS(validate(Format::ofTable({1, 2, 3}, 0)), "2-bit codes must have 4 values, got 3");
  EXPECT_FAILS(validate(Format::ofTable({0, kInfinity}, 0)), "finite");
  EXPECT_FAILS(validate(Format::ofTable({0, 0}, 0)), "other than 0");
  EXPECT_FAILS(validate(Format::ofTable(std::vector<float>(512, 1.0f), 0)), "256 values, got 512");
  EXPECT_FAILS(validate(Format::apot(1)), "1 to 8 bits, got 0");
  EXPECT_FAILS(validate(Format::integer(4, 32, ZeroPoint::Float, ScaleType::E8M0)), "floats");
  Format format = Format::nf4();
  format.zeroPoint = ZeroPoint::Integer;
  EXPECT_FAILS(validate(format), "integer codes");
  for (const Format &good : everyFormat(32))
    EXPECT_FALSE(validate(good).failed()) << good.name();
}

TEST(GroupCoder, TakesTheNearestValue) {
  // Against a search through all values, at numbers that lie anywhere, and at the values themselves.
  std::vector<float> x = randomWeights(500, 1);
  for (const Format &format : everyFormat(0)) {
    const GroupCoder coder(format);
    const GroupParameters parameters = coder.fit(x.data(), nullptr, static_cast<int64_t>(x.size()), {});
    const std::vector<float> levels = valuesOf(format);
    std::vector<float> values(x.size());
    std::vector<uint8_t> codes(x.size());
    coder.encode(x.data(), static_cast<int64_t>(x.size()), parameters, codes.data(), values.data());
    const bool narrow = format.kind == CodeKind::Integer && format.zeroPoint == ZeroPoint::None && format.narrow;
    for (size_t i = 0; i < x.size(); ++i) {
      float best = kInfinity;
      for (size_t code = narrow ? 1 : 0; code < levels.size(); ++code)
        if (std::isfinite(levels[code]))
          best = std::min(best, std::abs(parameters.scale * (levels[code] - parameters.zero) - x[i]));
      ASSERT_EQ(values[i], parameters.scale * (levels[codes[i]] - parameters.zero)) << format.name();
      ASSERT_NEAR(std::abs(values[i] - x[i]), best, 1e-5 * std::abs(x[i])) << format.name() << " " << x[i];
    }
    // What is coded stays as it is.
    std::vector<float> again(x.size());
    coder.encode(values.data(), static_cast<int64_t>(x.size()), parameters, nullptr, again.data());
    EXPECT_EQ(values, again) << format.name();
  }
}

TEST(GroupCoder, TiesGoToEvenCodes) {
  const GroupCoder coder(Format::fp4(0));
  const float x[] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5, -0.75f, -2.5f, -5, 7};
  float values[11];
  coder.encode(x, 11, {1, 0}, nullptr, values);
  EXPECT_EQ(std::vector<float>(values, values + 11), (std::vector<float>{0, 1, 1, 2, 2, 4, 4, -1, -2, -4, 6}));
}

TEST(GroupCoder, CodesNumbersOfDifferentGroupsAlike) {
  const std::vector<float> x = randomWeights(300, 2);
  for (const Format &format : everyFormat(0)) {
    const GroupCoder coder(format);
    const GroupParameters parameters = coder.fit(x.data(), nullptr, 300, {});
    std::vector<float> scales(300, parameters.scale), zeros(300, parameters.zero), one(300), each(300);
    std::vector<uint8_t> oneCodes(300), eachCodes(300);
    coder.encode(x.data(), 300, parameters, oneCodes.data(), one.data());
    coder.encodeEach(x.data(), 300, scales.data(), zeros.data(), eachCodes.data(), each.data());
    EXPECT_EQ(oneCodes, eachCodes) << format.name();
    EXPECT_EQ(one, each) << format.name();
  }
}

} // namespace
