//===- GraphsTest.cpp - Tests of what is found in graphs ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/EqualizablePairs.h"
#include "passes/quantization/ResidualStreams.h"
#include "test/unit/passes/ParsedProgram.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace lathe::compression;
using testing::HasSubstr;

namespace {

/// A program of one function, whose body may use weights: "%w = …" for `weight<n>x<k>`.
class Program : public lathe::test::ParsedProgram {
public:
  explicit Program(const std::string &body, const std::string &results = "tensor<?x?x8xf32>")
      : ParsedProgram(R"(func.func @main(%ids: tensor<?x?xi64>, %x: tensor<?x?x8xf32>, %g: tensor<?x?x8xf32>) -> )" +
                       results + R"( {
      %c2 = arith.constant 2 : index
      %c4 = arith.constant 4 : index
      %c8 = arith.constant 8 : index
      %b = lathe.symbol "batch"
      %s = lathe.symbol "sequence"
      %table = lathe.weight "table" in "f" at 0 : tensor<32x8xf32>
      %gain = lathe.weight "gain" in "f" at 4096 : tensor<8xf32>
      %bias = lathe.weight "bias" in "f" at 8192 : tensor<8xf32>
      %w = lathe.weight "w" in "f" at 12288 : tensor<8x8xf32>
      %v = lathe.weight "v" in "f" at 16384 : tensor<8x8xf32>
      %narrow = lathe.weight "narrow" in "f" at 20480 : tensor<8x4xf32>
      )" + body + "\n}") {}
};

const std::string kRows = "tensor<?x?x8xf32>",
                  kNormed = " {axis = 2 : i64, epsilon = 1.0e-6 : f64} : (" + kRows + ", tensor<8xf32>) -> " + kRows;
const std::string kMatmul = " : (" + kRows + ", tensor<8x8xf32>) -> " + kRows,
                  kPair = " : (" + kRows + ", " + kRows + ") -> " + kRows;
const std::string kLookup =
    "%e = lathe.gather %table, %ids {axis = 0 : i64} : (tensor<32x8xf32>, tensor<?x?xi64>) -> " + kRows + "\n";

TEST(ResidualStreams, FindsWritersReadersAndConstants) {
  Program program(kLookup + "%n = lathe.rms_norm %e, %gain" + kNormed + "\n%p = lathe.matmul %n, %w" + kMatmul +
                  "\n%q = lathe.add %p, %bias : (" + kRows + ", tensor<8xf32>) -> " + kRows +
                  "\n%r = lathe.add %e, %q" + kPair + "\n%m = lathe.rms_norm %r, %gain" + kNormed +
                  "\n%o = lathe.matmul %m, %v" + kMatmul + "\nreturn %o : " + kRows);
  ASSERT_TRUE(program.isGood());
  std::vector<ResidualStream> streams = findResidualStreams(program.main());
  ASSERT_EQ(streams.size(), 1u);
  const ResidualStream &stream = streams.front();
  EXPECT_EQ(stream.reason, "");
  EXPECT_EQ(stream.channels, 8);
  EXPECT_EQ(stream.norms.size(), 2u);
  EXPECT_EQ(stream.writers.size(), 1u);
  EXPECT_EQ(stream.readers.size(), 2u);
  EXPECT_EQ(stream.constants.size(), 2u); // the table and the bias
  EXPECT_FALSE(stream.losesMean);
}

TEST(ResidualStreams, TellsWhatIsNotLinear) {
  Program program("%n = lathe.rms_norm %x, %gain" + kNormed + "\n%h = lathe.gelu %n : (" + kRows + ") -> " + kRows +
                  "\nreturn %h : " + kRows);
  ASSERT_TRUE(program.isGood());
  std::vector<ResidualStream> streams = findResidualStreams(program.main());
  ASSERT_EQ(streams.size(), 1u);
  EXPECT_THAT(streams.front().reason, HasSubstr("input of the program"));
}

TEST(ResidualStreams, ReadsOfLayerNormsStreamsShowTheMean) {
  Program program(kLookup + "%n = lathe.layer_norm %e, %gain, %bias {axis = 2 : i64, epsilon = 1.0e-6 : f64} : (" +
                  kRows + ", tensor<8xf32>, tensor<8xf32>) -> " + kRows + "\n%p = lathe.matmul %n, %w" + kMatmul +
                  "\n%q = lathe.matmul %e, %v" + kMatmul + "\n%r = lathe.mul %p, %q" + kPair +
                  "\nreturn %r : " + kRows);
  ASSERT_TRUE(program.isGood());
  std::vector<ResidualStream> streams = findResidualStreams(program.main());
  ASSERT_EQ(streams.size(), 1u);
  EXPECT_THAT(streams.front().reason, HasSubstr("mean"));
}

/// The pair whose second product has this matrix.
EqualizablePair pairOf(Program &program, llvm::StringRef second) {
  for (EqualizablePair &pair : findEqualizablePairs(program.main()))
    if (pair.second.front().getRhs().getDefiningOp<lathe::WeightOp>().getName() == second)
      return std::move(pair);
  return {};
}

TEST(EqualizablePairs, GoThroughReluBiasAndFactors) {
  Program program("%p = lathe.matmul %x, %w" + kMatmul + "\n%q = lathe.add %p, %bias : (" + kRows +
                  ", tensor<8xf32>) -> " + kRows + "\n%r = lathe.relu %q : (" + kRows + ") -> " + kRows +
                  "\n%t = lathe.mul %g, %r" + kPair + "\n%o = lathe.matmul %t, %v" + kMatmul +
                  "\nreturn %o : " + kRows);
  ASSERT_TRUE(program.isGood());
  EqualizablePair pair = pairOf(program, "v");
  ASSERT_TRUE(pair.first) << pair.reason;
  EXPECT_EQ(pair.channels, 8);
  EXPECT_EQ(pair.biases.size(), 1u);
  EXPECT_THAT(pairOf(program, "w").reason, HasSubstr("input of the program"));
}

TEST(EqualizablePairs, DoNotGoThroughWhatIsNotHomogeneous) {
  for (const char *name : {"gelu", "sigmoid", "swish"}) {
    const std::string op = name;
    Program program("%p = lathe.matmul %x, %w" + kMatmul + "\n%r = lathe." + op + " %p : (" + kRows + ") -> " + kRows +
                    "\n%o = lathe.matmul %r, %v" + kMatmul + "\nreturn %o : " + kRows);
    ASSERT_TRUE(program.isGood());
    EXPECT_FALSE(pairOf(program, "v").first);
    EXPECT_THAT(pairOf(program, "v").reason, HasSubstr("'" + op + "'"));
  }
  // The square of a channel is not linear in it, and what leaves the program keeps its scale.
  Program square("%p = lathe.matmul %x, %w" + kMatmul + "\n%t = lathe.mul %p, %p" + kPair +
                 "\n%o = lathe.matmul %t, %v" + kMatmul + "\nreturn %o : " + kRows);
  ASSERT_TRUE(square.isGood());
  EXPECT_THAT(pairOf(square, "v").reason, HasSubstr("read by others"));
  Program program("%p = lathe.matmul %x, %w" + kMatmul + "\n%o = lathe.matmul %p, %v" + kMatmul +
                      "\nreturn %o, %p : " + kRows + ", " + kRows,
                  "(" + kRows + ", " + kRows + ")");
  ASSERT_TRUE(program.isGood());
  EXPECT_THAT(pairOf(program, "v").reason, HasSubstr("read by others"));
}

TEST(EqualizablePairs, HeadsOfGroupedQueries) {
  const std::string heads = "tensor<?x4x?x2xf32>", shared = "tensor<?x2x?x2xf32>";
  Program program("%p = lathe.matmul %x, %narrow : (" + kRows + ", tensor<8x4xf32>) -> tensor<?x?x4xf32>" +
                  "\n%q = lathe.reshape %p[%b, %s, %c2, %c2] : tensor<?x?x4xf32> -> tensor<?x?x2x2xf32>" +
                  "\n%k = lathe.transpose %q {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x2xf32>) -> " +
                  shared + "\n%h = lathe.reshape %g[%b, %s, %c4, %c2] : " + kRows + " -> tensor<?x?x4x2xf32>" +
                  "\n%i = lathe.transpose %h {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x4x2xf32>) -> " +
                  heads +
                  "\n%j = lathe.slice %i from[%c2] to[%c4] {axes = array<i64: 1>, steps = array<i64: 1>} : " + heads +
                  " -> " + shared + "\n%a = lathe.attention %i, %j, %k : (" + heads + ", " + shared + ", " + shared +
                  ") -> " + heads + "\n%t = lathe.transpose %a {permutation = array<i64: 0, 2, 1, 3>} : (" + heads +
                  ") -> tensor<?x?x4x2xf32>" + "\n%m = lathe.reshape %t[%b, %s, %c8] : tensor<?x?x4x2xf32> -> " +
                  kRows + "\n%o = lathe.matmul %m, %v" + kMatmul + "\nreturn %o : " + kRows);
  ASSERT_TRUE(program.isGood());
  EqualizablePair pair = pairOf(program, "v");
  ASSERT_TRUE(pair.first) << pair.reason;
  EXPECT_EQ(pair.channels, 4);
  EXPECT_EQ(pair.width, 2);
  EXPECT_EQ(pair.repeat, 2);
}

} // namespace
