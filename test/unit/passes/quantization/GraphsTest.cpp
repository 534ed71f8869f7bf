//===- GraphsTest.cpp - Tests of what is found in graphs ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "mlir/IR/Verifier.h"
#include "passes/quantization/EqualizablePairs.h"
#include "passes/quantization/Layers.h"
#include "passes/quantization/ResidualStreams.h"
#include "passes/quantization/Stacks.h"
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

/// Products with stacks of matrices, [2, 64, 32] and back.
class Stacks : public lathe::test::ParsedProgram {
public:
  explicit Stacks(const std::string &lhs, const std::string &body, const std::string &result)
      : ParsedProgram("func.func @main(%x: tensor<" + lhs + R"(xf32> {lathe.dims = [)" + dims(lhs) +
                      R"(], lathe.name = "x"}) -> (tensor<)" + result + R"(xf32> {lathe.name = "y"}) {
      %up = lathe.weight "up" in "f" at 64 : tensor<2x64x32xf32>
      %down = lathe.weight "down" in "f" at 16448 : tensor<2x64x32xf32>
      %small = lathe.weight "small" in "f" at 32832 : tensor<2x64x2xf32>
      )" + body + "\n}") {}

  void split(llvm::StringRef only = "") {
    mlir::func::FuncOp programs[] = {main()};
    splitStacks(programs, [&](llvm::StringRef matrix, llvm::StringRef) {
      return only.empty() || matrix == only;
    });
    EXPECT_TRUE(mlir::succeeded(mlir::verify(main())));
  }
  std::vector<Layer> layers() {
    mlir::func::FuncOp programs[] = {main()};
    return findLayers(programs);
  }
  template <typename OpTy> int64_t count() {
    int64_t number = 0;
    main().walk([&](OpTy) { ++number; });
    return number;
  }

private:
  /// Extents that are not known are called after their place.
  static std::string dims(llvm::StringRef shape) {
    std::string text;
    llvm::SmallVector<llvm::StringRef> parts;
    shape.split(parts, 'x');
    for (auto [i, part] : llvm::enumerate(parts))
      text += (i ? ", \"" : "\"") + (part == "?" ? "d" + std::to_string(i) : part.str()) + "\"";
    return text;
  }
};

const std::string kBoth = R"(%h = lathe.matmul %x, %up : (tensor<LHSxf32>, tensor<2x64x32xf32>) -> tensor<2x?x32xf32>
      %y = lathe.matmul %h, %down {transpose_rhs} : (tensor<2x?x32xf32>, tensor<2x64x32xf32>) -> tensor<2x?x64xf32>
      return %y : tensor<2x?x64xf32>)";

std::string both(const std::string &lhs) {
  std::string text = kBoth;
  return text.replace(text.find("LHS"), 3, lhs);
}

TEST(Stacks, MatricesAreLayers) {
  for (const char *lhs : {"2x?x64", "1x?x64", "?x64"}) {
    Stacks program(lhs, both(lhs), "2x?x64");
    ASSERT_TRUE(program.isGood());
    EXPECT_TRUE(program.layers().empty());
    program.split();
    std::vector<Layer> layers = program.layers();
    ASSERT_EQ(layers.size(), 4u) << lhs;
    EXPECT_EQ(layers[0].name, "up[0:1]");
    EXPECT_EQ(layers[1].name, "up[1:2]");
    EXPECT_EQ(layers[1].place.second, 64u + 64 * 32 * 4);
    EXPECT_EQ(layers[1].inputs, 64);
    EXPECT_FALSE(layers[1].transposed);
    EXPECT_EQ(layers[3].name, "down[1:2]");
    EXPECT_EQ(layers[3].inputs, 32);
    EXPECT_TRUE(layers[3].transposed);
    EXPECT_EQ(program.count<lathe::MatmulOp>(), 4);
    EXPECT_EQ(program.count<lathe::SliceOp>(), std::string(lhs) == "2x?x64" ? 4 : 2); // rows that are shared stay whole
  }
}

TEST(Stacks, OneMatrixNeedsNoConcatenation) {
  Stacks program("?x5x64", R"(%one = lathe.weight "one" in "f" at 0 : tensor<1x64x32xf32>
      %y = lathe.matmul %x, %one : (tensor<?x5x64xf32>, tensor<1x64x32xf32>) -> tensor<?x5x32xf32>
      return %y : tensor<?x5x32xf32>)",
                 "?x5x32");
  ASSERT_TRUE(program.isGood());
  program.split();
  EXPECT_TRUE(program.layers().empty()); // how many rows there are for it is not known
  Stacks known("1x5x64", R"(%one = lathe.weight "one" in "f" at 0 : tensor<1x64x32xf32>
      %y = lathe.matmul %x, %one : (tensor<1x5x64xf32>, tensor<1x64x32xf32>) -> tensor<1x5x32xf32>
      return %y : tensor<1x5x32xf32>)",
               "1x5x32");
  ASSERT_TRUE(known.isGood());
  known.split();
  EXPECT_EQ(known.layers().size(), 1u);
  EXPECT_EQ(known.count<lathe::ConcatOp>(), 0);
}

TEST(Stacks, WhatIsReadElseOrSmallStaysWhole) {
  const std::string product = "%h = lathe.matmul %x, %up : (tensor<2x?x64xf32>, tensor<2x64x32xf32>) -> tensor<2x?x32xf32>\n";
  Stacks read("2x?x64", product + R"(%c0 = arith.constant 0 : index
      %r = lathe.reduce sum %up {axes = array<i64: 1>, keep_dims} : (tensor<2x64x32xf32>) -> tensor<2x1x32xf32>
      %y = lathe.add %h, %r : (tensor<2x?x32xf32>, tensor<2x1x32xf32>) -> tensor<2x?x32xf32>
      return %y : tensor<2x?x32xf32>)",
              "2x?x32");
  ASSERT_TRUE(read.isGood());
  read.split();
  EXPECT_EQ(read.count<lathe::MatmulOp>(), 1);
  Stacks small("2x?x64", R"(%y = lathe.matmul %x, %small : (tensor<2x?x64xf32>, tensor<2x64x2xf32>) -> tensor<2x?x2xf32>
      return %y : tensor<2x?x2xf32>)",
               "2x?x2");
  ASSERT_TRUE(small.isGood());
  small.split();
  EXPECT_EQ(small.count<lathe::MatmulOp>(), 1);
  Stacks other("2x?x64", both("2x?x64"), "2x?x64");
  ASSERT_TRUE(other.isGood());
  other.split("down[1:2]");
  EXPECT_EQ(other.count<lathe::MatmulOp>(), 3);
  EXPECT_EQ(other.layers().size(), 2u);
}

TEST(Stacks, ExpressionsAreTakenApart) {
  Stacks program("2x?x64", R"(%q = lathe.weight "q" in "f" at 0 : tensor<2x64x32xi8>
      %s = lathe.weight "s" in "f" at 4096 : tensor<2x2x32xf16>
      %w = lathe.dequantize %q, %s {axis = 1 : i64, block_size = 32 : i64} : (tensor<2x64x32xi8>, tensor<2x2x32xf16>) -> tensor<2x64x32xf32>
      %y = lathe.matmul %x, %w : (tensor<2x?x64xf32>, tensor<2x64x32xf32>) -> tensor<2x?x32xf32>
      return %y : tensor<2x?x32xf32>)",
                 "2x?x32");
  ASSERT_TRUE(program.isGood());
  mlir::func::FuncOp programs[] = {program.main()};
  splitStackExpressions(programs);
  EXPECT_TRUE(mlir::succeeded(mlir::verify(program.main())));
  EXPECT_EQ(program.count<lathe::MatmulOp>(), 2);
  std::vector<uint64_t> offsets;
  program.main().walk([&](lathe::DequantizeOp op) {
    EXPECT_EQ(op.getAxis(), 0u);
    EXPECT_EQ(op.getBlockSize(), 32u);
    for (mlir::Value operand : op->getOperands())
      offsets.push_back(operand.getDefiningOp<lathe::WeightOp>().getOffset());
  });
  EXPECT_THAT(offsets, testing::UnorderedElementsAre(0, 4096, 2048, 4096 + 2 * 32 * 2));
}

TEST(Stacks, Names) {
  EXPECT_EQ(matrixName("w", 3), "w[3:4]");
  EXPECT_EQ(stackName("w[3:4]"), "w");
  EXPECT_EQ(stackName("w[3]"), "");
  EXPECT_EQ(stackName("w[:]"), "");
  EXPECT_EQ(stackName("w"), "");
}

} // namespace
