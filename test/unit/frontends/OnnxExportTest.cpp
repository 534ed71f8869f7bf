//===- OnnxExportTest.cpp - Modules of the dialect as ONNX ----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/export/Export.h"
#include "mlir/Parser/Parser.h"
#include "onnx.pb.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include <gtest/gtest.h>
#include <numeric>

using namespace mlir;
using namespace lathe;

namespace {

/// A function of one input and one output, exported.
class OnnxExport : public testing::Test {
protected:
  OnnxExport() { context.loadDialect<LatheDialect, arith::ArithDialect, func::FuncDialect>(); }

  OwningOpRef<ModuleOp> parse(const std::string &arguments, const std::string &body, const std::string &result, const std::string &value) {
    std::string text = "func.func @main(" + arguments + ") -> (" + result + " {lathe.name = \"y\"}) {\n" + body + "\nreturn " + value + " : " + result + "\n}";
    return parseSourceString<ModuleOp>(text, ParserConfig(&context));
  }
  bool write(const std::string &arguments, const std::string &body, const std::string &result, const std::string &value = "%y") {
    OwningOpRef<ModuleOp> module = parse(arguments, body, result, value);
    model.Clear();
    error.clear();
    if (!module) {
      ADD_FAILURE() << body;
      return false;
    }
    return succeeded(exportOnnx(*module, model, options, error));
  }
  /// The operators in their order.
  std::string operators() const {
    std::vector<std::string> names;
    for (const onnx::NodeProto &node : model.graph().node())
      names.push_back(node.op_type());
    return llvm::join(names, " ");
  }
  const onnx::TensorProto *initializer(const std::string &name) const {
    for (const onnx::TensorProto &tensor : model.graph().initializer())
      if (tensor.name() == name)
        return &tensor;
    return nullptr;
  }
  /// The numbers of an i64 initializer that is an input of a node.
  std::vector<int64_t> ints(int node, int input) const {
    const onnx::TensorProto *tensor = initializer(model.graph().node(node).input(input));
    if (!tensor)
      return {-99};
    std::vector<int64_t> values(tensor->raw_data().size() / sizeof(int64_t));
    memcpy(values.data(), tensor->raw_data().data(), tensor->raw_data().size());
    return values;
  }

  MLIRContext context;
  onnx::ModelProto model;
  ExportOptions options;
  std::string error;
};

constexpr char kX[] = R"(%x: tensor<?x?x8xf32> {lathe.name = "x", lathe.dims = ["b", "s", "8"]})";

TEST_F(OnnxExport, NamesStay) {
  ASSERT_TRUE(write(kX, R"(%y = lathe.relu %x : (tensor<?x?x8xf32>) -> tensor<?x?x8xf32> loc("encoder/act"))", "tensor<?x?x8xf32>"));
  const onnx::GraphProto &graph = model.graph();
  ASSERT_EQ(graph.node_size(), 1);
  EXPECT_EQ(graph.node(0).name(), "encoder/act");
  EXPECT_EQ(graph.node(0).input(0), "x");
  EXPECT_EQ(graph.output(0).name(), "y");
  const onnx::TensorShapeProto &in = graph.input(0).type().tensor_type().shape(), &out = graph.output(0).type().tensor_type().shape();
  EXPECT_EQ(in.dim(0).dim_param(), "b");
  EXPECT_EQ(in.dim(2).dim_value(), 8);
  EXPECT_EQ(out.dim(1).dim_param(), "s");
}

// Of dimensions that are the input's, one that follows, and ones that are computed.
TEST_F(OnnxExport, ShapesOfReshapes) {
  std::string prefix = R"(%b = lathe.symbol "b" %s = lathe.symbol "s" %c2 = arith.constant 2 : index %c4 = arith.constant 4 : index )";
  ASSERT_TRUE(write(kX, prefix + "%y = lathe.reshape %x [%b, %s, %c2, %c4] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>", "tensor<?x?x2x4xf32>"));
  EXPECT_EQ(operators(), "Reshape");
  EXPECT_EQ(ints(0, 1), (std::vector<int64_t>{0, 0, 2, 4}));
  ASSERT_TRUE(write(kX, prefix + "%n = arith.muli %b, %s : index %y = lathe.reshape %x [%n, %c2, %c4] : tensor<?x?x8xf32> -> tensor<?x2x4xf32>", "tensor<?x2x4xf32>"));
  EXPECT_EQ(operators(), "Reshape");
  EXPECT_EQ(ints(0, 1), (std::vector<int64_t>{-1, 2, 4}));
  // Neither may be copied, since the other could be 0 then.
  ASSERT_TRUE(write(kX, prefix + "%n = arith.muli %s, %c4 : index %y = lathe.reshape %x [%b, %n, %c2] : tensor<?x?x8xf32> -> tensor<?x?x2xf32>", "tensor<?x?x2xf32>"));
  EXPECT_EQ(operators(), "Shape Shape Mul Concat Reshape");
  EXPECT_EQ(model.graph().node(4).attribute(0).name(), "allowzero");
}

TEST_F(OnnxExport, SymbolsComeFromWhatMentionsThem) {
  std::string arguments = R"(%x: tensor<?xf32> {lathe.name = "x", lathe.dims = ["2*n + p"]}, %z: tensor<?xf32> {lathe.name = "z", lathe.dims = ["p"]},)"
                          R"( %k: tensor<2xi64> {lathe.name = "k", lathe.dims = ["2"]})";
  std::string body = R"(%n = lathe.symbol "n" %y = lathe.from_index %n : tensor<i64>)";
  ASSERT_TRUE(write(arguments, body, "tensor<i64>"));
  EXPECT_EQ(operators(), "Shape Shape Sub Div Squeeze");
  EXPECT_EQ(model.graph().node(0).input(0), "x");
  EXPECT_EQ(model.graph().node(1).input(0), "z");
  ASSERT_TRUE(write(arguments, R"(%n = lathe.symbol "k[1]" %y = lathe.from_index %n : tensor<i64>)", "tensor<i64>"));
  EXPECT_EQ(operators(), "Reshape Gather Squeeze");
  EXPECT_EQ(ints(1, 1), std::vector<int64_t>{1});
  EXPECT_FALSE(write(arguments, R"(%n = lathe.symbol "q" %y = lathe.from_index %n : tensor<i64>)", "tensor<i64>"));
  EXPECT_NE(error.find("no input has the dimension 'q'"), std::string::npos) << error;
}

TEST_F(OnnxExport, QuotientsAreRoundedDown) {
  std::string body = R"(%b = lathe.symbol "b" %c3 = arith.constant 3 : index %m = arith.constant -5 : index %a = arith.addi %b, %m : index
    %q = arith.floordivsi %a, %c3 : index %y = lathe.from_index %q : tensor<i64>)";
  ASSERT_TRUE(write(kX, body, "tensor<i64>"));
  EXPECT_EQ(operators(), "Shape Add Mod Sub Div Squeeze");
  body = R"(%b = lathe.symbol "b" %c3 = arith.constant 3 : index %q = arith.floordivsi %b, %c3 : index %y = lathe.from_index %q : tensor<i64>)";
  ASSERT_TRUE(write(kX, body, "tensor<i64>"));
  EXPECT_EQ(operators(), "Shape Div Squeeze");
}

TEST_F(OnnxExport, WhatNothingReadsIsDropped) {
  std::string body = R"(%b = lathe.symbol "b" %c3 = arith.constant 3 : index %a = arith.addi %b, %c3 : index
    lathe.require %a, "expects something" %u = lathe.neg %x : (tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
    %k = lathe.constant dense<1.0> : tensor<8xf32> %y = lathe.abs %x : (tensor<?x?x8xf32>) -> tensor<?x?x8xf32>)";
  ASSERT_TRUE(write(kX, body, "tensor<?x?x8xf32>"));
  EXPECT_EQ(operators(), "Abs");
  EXPECT_EQ(model.graph().initializer_size(), 0);
}

TEST_F(OnnxExport, OutputsThatAreInputs) {
  ASSERT_TRUE(write(kX, "", "tensor<?x?x8xf32>", "%x"));
  EXPECT_EQ(operators(), "Identity");
  EXPECT_EQ(model.graph().node(0).output(0), "y");
}

// What is packed into bytes is written as elements of its type.
TEST_F(OnnxExport, PackedWeights) {
  static const unsigned char bytes[] = {0x21, 0x43, 0x65, 0x87, 0xA9, 0xCB};
  options.weightBytes = [](WeightOp, uint64_t size, std::string &) {
    EXPECT_LE(size, sizeof bytes);
    return reinterpret_cast<const char *>(bytes);
  };
  std::string body = R"(%w = lathe.weight "w" in "f" at 0 : tensor<6x1xui8> %d = lathe.constant dense<[0, 4]> : tensor<2xui8>
    %c3 = arith.constant 3 : index %c4 = arith.constant 4 : index %scale = lathe.constant dense<2.0> : tensor<f32>
    %h = lathe.shift_right %w, %d : (tensor<6x1xui8>, tensor<2xui8>) -> tensor<6x2xui8>
    %n = lathe.cast %h : (tensor<6x2xui8>) -> tensor<6x2xui4>
    %r = lathe.reshape %n [%c3, %c4] : tensor<6x2xui4> -> tensor<3x4xui4>)";
  std::string end = R"( : (tensor<3x4xui4>, tensor<f32>) -> tensor<3x4xf32>)";
  ASSERT_TRUE(write(kX, body + "%y = lathe.dequantize %r, %scale" + end, "tensor<3x4xf32>"));
  EXPECT_EQ(operators(), "DequantizeLinear");
  ASSERT_NE(initializer("w"), nullptr);
  EXPECT_EQ(initializer("w")->data_type(), onnx::TensorProto::UINT4);
  EXPECT_EQ(initializer("w")->raw_data(), std::string(reinterpret_cast<const char *>(bytes), 6));
  EXPECT_EQ(model.opset_import(0).version(), 21);
  body += "%t = lathe.transpose %r {permutation = array<i64: 1, 0>} : (tensor<3x4xui4>) -> tensor<4x3xui4>";
  ASSERT_TRUE(write(kX, body + "%y = lathe.dequantize %t, %scale : (tensor<4x3xui4>, tensor<f32>) -> tensor<4x3xf32>", "tensor<4x3xf32>"));
  ASSERT_NE(initializer("w"), nullptr);
  // Rows 1 2 3 4, 5 6 7 8, 9 A B C become 1 5 9, 2 6 A, 3 7 B, 4 8 C.
  EXPECT_EQ(initializer("w")->raw_data(), (std::string{'\x51', '\x29', '\xA6', '\x73', '\x4B', '\xC8'}));
}

// Weights of fewer bits come a byte each, and go into 4 bits.
TEST_F(OnnxExport, WeightsOfFewBits) {
  static const char bytes[] = {0, 1, 2, 3, 1, 0, 7, 5};
  options.weightBytes = [](WeightOp, uint64_t size, std::string &) {
    EXPECT_EQ(size, 8u);
    return bytes;
  };
  auto body = [](const std::string &type) {
    return "%w = lathe.weight \"w\" in \"f\" at 0 : tensor<8x" + type + "> %s = lathe.constant dense<2.0> : tensor<f32> " +
           "%y = lathe.dequantize %w, %s : (tensor<8x" + type + ">, tensor<f32>) -> tensor<8xf32>";
  };
  ASSERT_TRUE(write(kX, body("i3"), "tensor<8xf32>"));
  EXPECT_EQ(initializer("w")->data_type(), onnx::TensorProto::INT4);
  EXPECT_EQ(initializer("w")->raw_data(), (std::string{'\x10', '\x32', '\x01', '\xDF'})); // 7 is -1, 5 is -3
  ASSERT_TRUE(write(kX, body("ui2"), "tensor<8xf32>"));
  EXPECT_EQ(initializer("w")->data_type(), onnx::TensorProto::UINT4);
  EXPECT_EQ(initializer("w")->raw_data(), (std::string{'\x10', '\x32', '\x01', '\x13'}));
  EXPECT_EQ(model.opset_import(0).version(), 21);
}

TEST_F(OnnxExport, WhatHasNoForm) {
  std::string body = R"(%b = lathe.symbol "b" %c4 = arith.constant 4 : index
    %y = lathe.cache "key" [%b, %c4, %c4, %c4] : tensor<?x4x4x4xf32> loc("layer.0/key"))";
  EXPECT_FALSE(write(kX, body, "tensor<?x4x4x4xf32>"));
  EXPECT_EQ(error, "node 'layer.0/key' (lathe.cache) has no form in ONNX: what is kept between runs");
}

TEST_F(OnnxExport, LargeConstantsGoBesideTheModel) {
  std::vector<float> values(1000);
  std::iota(values.begin(), values.end(), 0.0f);
  options.weightBytes = [&](WeightOp, uint64_t, std::string &) { return reinterpret_cast<const char *>(values.data()); };
  OwningOpRef<ModuleOp> module = parse(R"(%x: tensor<?x8xf32> {lathe.name = "x", lathe.dims = ["b", "8"]})",
                                       R"(%w = lathe.weight "w" in "f" at 0 : tensor<8x125xf32>
    %y = lathe.matmul %x, %w : (tensor<?x8xf32>, tensor<8x125xf32>) -> tensor<?x125xf32>)",
                                       "tensor<?x125xf32>", "%y");
  ASSERT_TRUE(module);
  llvm::SmallString<128> folder;
  ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("export", folder));
  std::string path = std::string(folder) + "/m.onnx";
  auto text = [](const std::string &file) {
    auto buffer = llvm::MemoryBuffer::getFile(file);
    return buffer ? (*buffer)->getBuffer().str() : std::string();
  };
  options.embedded = 100;
  ASSERT_TRUE(succeeded(exportOnnx(*module, path, options, error))) << error;
  std::string first = text(path);
  onnx::ModelProto written;
  ASSERT_TRUE(written.ParseFromString(first));
  const onnx::TensorProto &tensor = written.graph().initializer(0);
  EXPECT_EQ(tensor.data_location(), onnx::TensorProto::EXTERNAL);
  EXPECT_EQ(tensor.external_data(0).value(), "m.onnx.data");
  EXPECT_EQ(text(path + ".data"), std::string(reinterpret_cast<const char *>(values.data()), 4000));
  ASSERT_TRUE(succeeded(exportOnnx(*module, path, options, error)));
  EXPECT_EQ(text(path), first);
  // Nothing stays of what can't be written, and what was there before does.
  options.weightBytes = [](WeightOp, uint64_t, std::string &problem) -> const char * {
    problem = "no bytes";
    return nullptr;
  };
  EXPECT_TRUE(failed(exportOnnx(*module, path, options, error)));
  EXPECT_NE(error.find("no bytes"), std::string::npos);
  EXPECT_EQ(text(path), first);
  EXPECT_TRUE(failed(exportOnnx(*module, std::string(folder) + "/none/m.onnx", options, error)));
  std::error_code code;
  int files = 0;
  for (llvm::sys::fs::directory_iterator it(folder, code), end; it != end && !code; it.increment(code))
    ++files;
  EXPECT_EQ(files, 2);
  llvm::sys::fs::remove_directories(folder);
}

TEST_F(OnnxExport, SparseMatrices) {
  std::string head = "%v = lathe.constant dense<[1.0, 2.0, 3.0]> : tensor<3xf32>\n%p = lathe.constant dense<[0, 1, 1, 3]> : tensor<4xi32>\n";
  std::string tail = "%y = lathe.matmul %x, %w : (tensor<?x?x8xf32>, tensor<8x4xf32>) -> tensor<?x?x4xf32>";
  std::string turned = "%y = lathe.matmul %x, %w {transpose_rhs} : (tensor<?x?x8xf32>, tensor<3x8xf32>) -> tensor<?x?x3xf32>";
  ASSERT_TRUE(write(kX, head + R"(%i = lathe.constant dense<[4, 0, 7]> : tensor<3xi8>
    %w = lathe.sparse_to_dense "csr" %v, %i, %p {shape = array<i64: 3, 8>} : (tensor<3xf32>, tensor<3xi8>, tensor<4xi32>) -> tensor<3x8xf32>
    )" + turned, "tensor<?x?x3xf32>"));
  EXPECT_NE(operators().find("ScatterElements CumSum Slice Mul"), std::string::npos) << operators();
  ASSERT_TRUE(write(kX, head + R"(%i = lathe.constant dense<[[16], [0], [129]]> : tensor<3x1xui8>
    %w = lathe.sparse_to_dense "bitmap" %v, %i, %p {shape = array<i64: 3, 8>} : (tensor<3xf32>, tensor<3x1xui8>, tensor<4xi32>) -> tensor<3x8xf32>
    )" + turned, "tensor<?x?x3xf32>"));
  EXPECT_NE(operators().find("Gather"), std::string::npos) << operators();
  ASSERT_TRUE(write(kX, R"(%v = lathe.constant dense<1.0> : tensor<4x4xf32>
    %i = lathe.constant dense<1> : tensor<4x4xui8>
    %w = lathe.sparse_to_dense "n_of_m" %v, %i {shape = array<i64: 8, 4>, m = 4 : i64, axis = 0 : i64} : (tensor<4x4xf32>, tensor<4x4xui8>) -> tensor<8x4xf32>
    )" + tail, "tensor<?x?x4xf32>"));
  EXPECT_EQ(operators().find("Slice"), std::string::npos) << operators();
}

} // namespace
