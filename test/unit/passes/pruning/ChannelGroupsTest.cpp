//===- ChannelGroupsTest.cpp - Tests of what can only go together ---------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/pruning/structured/ChannelGroups.h"
#include "mlir/IR/Verifier.h"
#include "passes/pruning/structured/RemoveChannels.h"
#include "passes/pruning/structured/ResidualBlocks.h"
#include "test/unit/passes/ParsedProgram.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace lathe::pruning;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

namespace {

/// A program of one function of rows of eight.
class Program : public lathe::test::ParsedProgram {
public:
  explicit Program(const std::string &body, const std::string &result = "tensor<?x?x8xf32>")
      : ParsedProgram(
            R"(func.func @main(%x: tensor<?x?x8xf32> {lathe.dims = ["batch", "sequence", "8"], lathe.name = "x"}) -> ()" +
            result + R"( {lathe.name = "y"}) {
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %c2 = arith.constant 2 : index
      %c3 = arith.constant 3 : index
      %c4 = arith.constant 4 : index
      %c8 = arith.constant 8 : index
      %c12 = arith.constant 12 : index
      %c16 = arith.constant 16 : index
      %c24 = arith.constant 24 : index
      %b = lathe.symbol "batch"
      %s = lathe.symbol "sequence"
      %up = lathe.weight "up" in "f" at 0 : tensor<8x12xf32>
      %gate = lathe.weight "gate" in "f" at 4096 : tensor<8x12xf32>
      %down = lathe.weight "down" in "f" at 8192 : tensor<12x8xf32>
      %bias = lathe.weight "bias" in "f" at 12288 : tensor<12xf32>
      %qkv = lathe.weight "qkv" in "f" at 16384 : tensor<8x24xf32>
      %o = lathe.weight "o" in "f" at 20480 : tensor<8x8xf32>
      %kv = lathe.weight "kv" in "f" at 24576 : tensor<8x4xf32>
      )" + body +
            "\n}") {}
};

std::string product(const std::string &name, const std::string &lhs, const std::string &rhs, int k, int n) {
  auto rows = [](int width) { return "tensor<?x?x" + std::to_string(width) + "xf32>"; };
  return name + " = lathe.matmul " + lhs + ", " + rhs + " : (" + rows(k) + ", tensor<" + std::to_string(k) + "x" +
         std::to_string(n) + "xf32>) -> " + rows(n) + "\n";
}

/// A constant of the shape that is left, of nothing.
mlir::Value cutShape(mlir::Value constant, const KeptElements &kept, double) {
  llvm::SmallVector<int64_t> shape(tensorType(constant).getShape());
  for (auto [axis, own] : llvm::enumerate(kept))
    if (own)
      shape[axis] = static_cast<int64_t>(own->size());
  mlir::OpBuilder b(constant.getContext());
  b.setInsertionPointAfterValue(constant);
  auto weight = constant.getDefiningOp<lathe::WeightOp>();
  return b.create<lathe::WeightOp>(constant.getLoc(),
                                   mlir::RankedTensorType::get(shape, tensorType(constant).getElementType()),
                                   weight.getName(), "cut", 0);
}

const std::string kWide = "tensor<?x?x12xf32>";

TEST(ChannelGroups, NeuronsOfAGateShareWhatTheyReadAndGive) {
  Program program(product("%u", "%x", "%up", 8, 12) + product("%g", "%x", "%gate", 8, 12) +
                  "%a = lathe.add %u, %bias : (" + kWide + ", tensor<12xf32>) -> " + kWide +
                  "\n%w = lathe.swish %g : (" + kWide + ") -> " + kWide + "\n%m = lathe.mul %a, %w : (" + kWide + ", " +
                  kWide + ") -> " + kWide + "\n" + product("%y", "%m", "%down", 12, 8) +
                  "return %y : tensor<?x?x8xf32>");
  ASSERT_TRUE(program.isGood());
  mlir::func::FuncOp programs[] = {program.main()};
  ChannelGroups all(programs);
  std::vector<ChannelGroup> groups = all.findSummed();
  ASSERT_THAT(groups, SizeIs(2)); // the other one: channels that are given in
  const ChannelGroup &inputs = groups[0], &neurons = groups[1];
  EXPECT_THAT(inputs.reason(), HasSubstr("input 'x' has them"));
  EXPECT_EQ(neurons.kind, ChannelGroup::Kind::neurons);
  EXPECT_EQ(neurons.units, 12);
  EXPECT_EQ(neurons.reason(), "");
  size_t constants = llvm::count_if(neurons.axes, [](const GroupAxis &own) { return own.tensor.isConstant(); });
  EXPECT_EQ(constants, 4u); // up, its bias, gate, down
  std::vector<bool> removed(12);
  EXPECT_TRUE(canRemove(neurons, removed));
  removed[3] = removed[11] = true;
  ASSERT_TRUE(removeUnits(neurons, removed, cutShape));
  EXPECT_TRUE(mlir::succeeded(mlir::verify(program.main())));
  program.main().walk([](lathe::SwishOp op) { EXPECT_EQ(extentOf(op.getResult(), 2), 10); });
  EXPECT_FALSE(canRemove(neurons, std::vector<bool>(12, true)));
}

/// Two blocks x + down(f(up(x))) behind a product, without norms, and a product behind them. Both blocks have the same
/// weights.
std::string blocks(const std::string &f) {
  const std::string stream = "(tensor<?x?x8xf32>, tensor<?x?x8xf32>) -> tensor<?x?x8xf32>\n";
  auto block = [&](const std::string &number, const std::string &from) {
    std::string inner = f;
    for (size_t at = 0; (at = inner.find('#', at)) != std::string::npos;)
      inner.replace(at, 1, number);
    return product("%u" + number, from, "%up", 8, 12) + inner + product("%d" + number, "%m" + number, "%down", 12, 8) +
           "%y" + number + " = lathe.add " + from + ", %d" + number + " : " + stream;
  };
  return product("%s0", "%x", "%o", 8, 8) + block("1", "%s0") + block("2", "%y1") + product("%z", "%y2", "%o", 8, 8) +
         "return %z : tensor<?x?x8xf32>";
}

TEST(ChannelGroups, StreamsWithoutNormsAreNoNeurons) {
  const std::string two = "(" + kWide + ", " + kWide + ") -> " + kWide + "\n";
  for (const std::string &f : {"%m# = lathe.relu %u# : (" + kWide + ") -> " + kWide + "\n",
                               // what is added to neurons may be made of them
                               "%q# = lathe.mul %u#, %u# : " + two + "%m# = lathe.add %u#, %q# : " + two}) {
    Program program(blocks(f));
    ASSERT_TRUE(program.isGood());
    mlir::func::FuncOp programs[] = {program.main()};
    ChannelGroups all(programs);
    std::vector<ChannelGroup> groups = all.findSummed();
    ASSERT_THAT(groups, SizeIs(2));
    size_t wide = groups[0].units == 12 ? 0 : 1;
    EXPECT_EQ(groups[wide].units, 12);
    EXPECT_EQ(groups[wide].kind, ChannelGroup::Kind::neurons);
    EXPECT_EQ(groups[wide].reason(), "");
    EXPECT_EQ(groups[1 - wide].kind, ChannelGroup::Kind::channels);
  }
}

/// Queries, keys and values of one product: 8 + 8 + 8 of heads of two, or 8 + 4 + 4 in one of queries and one of both.
std::string attention(int heads, const std::string &keys) {
  auto rows = [](int width) { return "tensor<?x?x" + std::to_string(width) + "xf32>"; };
  auto split = [](int n) { return "tensor<?x?x" + std::to_string(n) + "x2xf32>"; };
  auto turned = [](int n) { return "tensor<?x" + std::to_string(n) + "x?x2xf32>"; };
  auto head = [&](const std::string &name, const std::string &from, int n) {
    return "%" + name + "h = lathe.reshape " + from + "[%b, %s, %c" + std::to_string(n) + ", %c2] : " + rows(2 * n) +
           " -> " + split(n) + "\n%" + name + "t = lathe.transpose %" + name +
           "h {permutation = array<i64: 0, 2, 1, 3>} : (" + split(n) + ") -> " + turned(n) + "\n";
  };
  return keys + head("q", "%q", 4) + head("k", "%k", heads) + head("v", "%v", heads) +
         "%a = lathe.attention %qt, %kt, %vt : (" + turned(4) + ", " + turned(heads) + ", " + turned(heads) + ") -> " +
         turned(4) + "\n%t = lathe.transpose %a {permutation = array<i64: 0, 2, 1, 3>} : (" + turned(4) + ") -> " +
         split(4) + "\n%f = lathe.reshape %t[%b, %s, %c8] : " + split(4) + " -> " + rows(8) + "\n" +
         product("%y", "%f", "%o", 8, 8) + "return %y : tensor<?x?x8xf32>";
}

std::string slice(const std::string &name, const std::string &from, const std::string &to) {
  return "%" + name + " = lathe.slice %m from[%c" + from + "] to[%c" + to +
         "] {axes = array<i64: 2>, steps = array<i64: 1>} : tensor<?x?x24xf32> -> tensor<?x?x8xf32>\n";
}

TEST(ChannelGroups, HeadsGoFromAMergedProjection) {
  Program program(attention(4, product("%m", "%x", "%qkv", 8, 24) + slice("q", "0", "8") + slice("k", "8", "16") +
                                   slice("v", "16", "24")));
  ASSERT_TRUE(program.isGood());
  mlir::func::FuncOp programs[] = {program.main()};
  ChannelGroups all(programs);
  std::vector<ChannelGroup> groups = all.findHeads(/*together=*/false);
  ASSERT_THAT(groups, SizeIs(1));
  EXPECT_EQ(groups[0].units, 4);
  EXPECT_TRUE(groups[0].balanced.empty() || groups[0].balanced.front().size() == 4);
  for (const GroupAxis &own : groups[0].axes)
    if (own.tensor.weight && own.tensor.weight->name == "qkv")
      EXPECT_THAT(own.units, ElementsAre(0, 0, 1, 1, 2, 2, 3, 3, 0, 0, 1, 1, 2, 2, 3, 3, 0, 0, 1, 1, 2, 2, 3, 3));
  ASSERT_TRUE(removeUnits(groups[0], {false, true, false, false}, cutShape));
  EXPECT_TRUE(mlir::succeeded(mlir::verify(program.main())));
  std::vector<int64_t> starts;
  program.main().walk([&](lathe::SliceOp op) { starts.push_back(*constantOf(op.getStarts()[0])); });
  EXPECT_THAT(starts, ElementsAre(0, 6, 12));
}

TEST(ChannelGroups, QueriesGoAloneOrWithTheirKeys) {
  std::string body = attention(2, product("%q", "%x", "%o", 8, 8) + product("%k", "%x", "%kv", 8, 4) +
                                      product("%v", "%x", "%kv", 8, 4));
  Program program(body);
  ASSERT_TRUE(program.isGood());
  mlir::func::FuncOp programs[] = {program.main()};
  ChannelGroups all(programs);
  ChannelGroup together = all.findHeads(/*together=*/true).at(0), alone = all.findHeads(/*together=*/false).at(0);
  EXPECT_EQ(together.units, 2);
  EXPECT_TRUE(together.balanced.empty());
  ASSERT_THAT(alone.balanced, SizeIs(1));
  EXPECT_THAT(alone.balanced[0], ElementsAre(ElementsAre(0, 1), ElementsAre(2, 3)));
  EXPECT_FALSE(canRemove(alone, {true, false, false, false}));
  EXPECT_TRUE(canRemove(alone, {true, false, false, true}));
}

TEST(ChannelGroups, WhatIsMadeOfAllElementsStays) {
  for (const std::string op : {"lathe.softmax %u {axis = 2 : i64}", "lathe.cumsum %u {axis = 2 : i64}"}) {
    Program program(product("%u", "%x", "%up", 8, 12) + "%m = " + op + " : (" + kWide + ") -> " + kWide + "\n" +
                    product("%y", "%m", "%down", 12, 8) + "return %y : tensor<?x?x8xf32>");
    ASSERT_TRUE(program.isGood());
    mlir::func::FuncOp programs[] = {program.main()};
    ChannelGroups all(programs);
    EXPECT_THAT(all.findSummed().at(1).reason(), HasSubstr("not made of single ones"));
  }
}

TEST(ChannelGroups, WhatIsGivenOutStays) {
  Program program(product("%u", "%x", "%up", 8, 12) + product("%y", "%u", "%down", 12, 8) + "return %u : " + kWide,
                  kWide);
  ASSERT_TRUE(program.isGood());
  mlir::func::FuncOp programs[] = {program.main()};
  ChannelGroups all(programs);
  EXPECT_THAT(all.findSummed().at(1).reason(), HasSubstr("output 'y' has them"));
}

TEST(ResidualBlocks, AreWhatIsAddedToWhatItIsComputedOf) {
  const std::string rows = "tensor<?x?x8xf32>", add = " : (" + rows + ", " + rows + ") -> " + rows + "\n";
  Program program(product("%u", "%x", "%up", 8, 12) + product("%f", "%u", "%down", 12, 8) + "%r = lathe.add %x, %f" +
                  add + product("%g", "%r", "%o", 8, 8) + "%z = lathe.add %g, %r" + add + "%d = lathe.add %z, %z" +
                  add + "return %d : " + rows);
  ASSERT_TRUE(program.isGood());
  std::vector<ResidualLayer> layers = findResidualLayers(program.main());
  ASSERT_THAT(layers, SizeIs(2));
  EXPECT_THAT(layers[0].blocks.at(0).names, testing::UnorderedElementsAre("up", "down"));
  EXPECT_THAT(layers[1].blocks.at(0).names, ElementsAre("o"));
  std::vector<std::string> interface;
  dropLayers(program.main(), {&layers[0]}, interface);
  EXPECT_TRUE(mlir::succeeded(mlir::verify(program.main())));
  int products = 0;
  program.main().walk([&](lathe::MatmulOp) { ++products; });
  EXPECT_EQ(products, 1);
  EXPECT_TRUE(interface.empty());
}

} // namespace
