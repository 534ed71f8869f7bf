//===- OnnxOperatorsTest.cpp - Translation of operators -------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "OnnxTestSupport.h"

using namespace lathe;
using namespace lathe::test;

namespace {

class OnnxOperators : public OnnxTest {
protected:
  /// Imports the graph with `y` as its output.
  ImportResult finish() {
    output("y");
    return importModel();
  }
  void opset(int64_t version) { model.mutable_opset_import(0)->set_version(version); }
};

TEST_F(OnnxOperators, ElementwiseOfFloats) {
  input("x", TensorProto::FLOAT, {"n", "4"});
  opset(24);
  std::string last = "x";
  int i = 0;
  for (const char *op : {"Abs", "Neg", "Sign", "Sqrt", "Reciprocal", "Exp", "Log", "Erf", "Tanh", "Sin", "Cos", "Sigmoid",
                         "Relu", "Floor", "Ceil", "Round", "Gelu", "Swish", "Identity", "Dropout"}) {
    std::string next = "v" + std::to_string(i++);
    node(op, {last.c_str()}, {next.c_str()});
    last = next;
  }
  for (const char *op : {"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Sum", "Mean"}) {
    std::string next = "v" + std::to_string(i++);
    node(op, {last.c_str(), "x"}, {next.c_str()});
    last = next;
  }
  std::string boolean;
  for (const char *op : {"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"}) {
    boolean = "v" + std::to_string(i++);
    node(op, {last.c_str(), "x"}, {boolean.c_str()});
  }
  node("IsNaN", {last.c_str()}, {"nan"});
  attribute(node("IsInf", {last.c_str()}, {"inf"}), "detect_negative", 0);
  node("Not", {"nan"}, {"finite"});
  node("And", {"finite", "inf"}, {"a"});
  node("Or", {"a", boolean.c_str()}, {"o"});
  node("Xor", {"o", "a"}, {"c"});
  node("Where", {"c", last.c_str(), "x"}, {"y"});
  ImportResult result = finish();
  EXPECT_EQ(resultType(result), "tensor<?x4xf32>");
}

TEST_F(OnnxOperators, PowWithMixedTypes) {
  input("x", TensorProto::INT64, {"4"});
  initializer("half", TensorProto::FLOAT, {}).add_float_data(0.5f);
  node("Pow", {"x", "half"}, {"y"});
  ImportResult result = finish();
  EXPECT_HAS(text(result), "= lathe.pow %1, %0 : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>");
  EXPECT_EQ(resultType(result), "tensor<4xi64>");
}

TEST_F(OnnxOperators, Clip) {
  input("x", TensorProto::FLOAT, {"4"});
  initializer("high", TensorProto::FLOAT, {}).add_float_data(6);
  node("Clip", {"x", "", "high"}, {"y"});
  ImportResult result = finish();
  EXPECT_HAS(text(result), "lathe.min");
  EXPECT_EQ(text(result).find("lathe.max"), std::string::npos);
}

TEST_F(OnnxOperators, MatMulOfVectors) {
  input("v", TensorProto::FLOAT, {"8"});
  input("m", TensorProto::FLOAT, {"b", "8", "3"});
  node("MatMul", {"v", "m"}, {"y"});
  node("MatMul", {"v", "v"}, {"s"});
  output("y");
  output("s");
  ImportResult result = importModel();
  EXPECT_EQ(resultType(result), "tensor<?x3xf32>");
  EXPECT_EQ(resultType(result, 1), "tensor<f32>");
}

TEST_F(OnnxOperators, MatMulThatDoesNotFit) {
  input("a", TensorProto::FLOAT, {"2", "8"});
  input("b", TensorProto::FLOAT, {"4", "8"});
  node("MatMul", {"a", "b"}, {"y"}, "mm");
  EXPECT_HAS(finish().error, "node 'mm' (MatMul of domain 'ai.onnx'): 'lathe.matmul' op expects inner dimensions to "
                             "match, got 8 and 4");
}

TEST_F(OnnxOperators, Gemm) {
  input("a", TensorProto::FLOAT, {"8", "n"});
  input("b", TensorProto::FLOAT, {"3", "8"});
  input("c", TensorProto::FLOAT, {"3"});
  auto &gemm = node("Gemm", {"a", "b", "c"}, {"y"});
  attribute(gemm, "transA", 1);
  attribute(gemm, "transB", 1);
  floatAttribute(gemm, "alpha", 0.5f);
  ImportResult result = finish();
  EXPECT_HAS(text(result), "{transpose_lhs, transpose_rhs}");
  EXPECT_HAS(text(result), "lathe.mul");
  EXPECT_EQ(resultType(result), "tensor<?x3xf32>");
}

TEST_F(OnnxOperators, Reductions) {
  input("x", TensorProto::FLOAT, {"n", "4", "5"});
  ints("axes", {-1, 1});
  node("ReduceSum", {"x", "axes"}, {"a"});
  attribute(node("ReduceL2", {"x", "axes"}, {"b"}), "keepdims", 0);
  attribute(node("ReduceMean", {"x"}, {"c"}), "keepdims", 0);
  attribute(node("ReduceMax", {"x"}, {"d"}), "noop_with_empty_axes", 1);
  node("Softmax", {"x"}, {"e"});
  node("LogSoftmax", {"x"}, {"f"});
  for (const char *name : {"a", "b", "c", "d", "e", "f"})
    output(name);
  ImportResult result = importModel();
  EXPECT_EQ(resultType(result, 0), "tensor<?x1x1xf32>");
  EXPECT_EQ(resultType(result, 1), "tensor<?xf32>");
  EXPECT_EQ(resultType(result, 2), "tensor<f32>");
  for (unsigned i : {3, 4, 5})
    EXPECT_EQ(resultType(result, i), "tensor<?x4x5xf32>");
}

TEST_F(OnnxOperators, Norms) {
  opset(23);
  input("x", TensorProto::FLOAT, {"n", "4"});
  input("s", TensorProto::FLOAT, {"4"});
  floatAttribute(node("LayerNormalization", {"x", "s", "s"}, {"a"}), "epsilon", 1e-12f);
  node("LayerNormalization", {"a", "s"}, {"b", "", ""});
  node("RMSNormalization", {"b", "s"}, {"y"});
  ImportResult result = finish();
  EXPECT_HAS(text(result), "axis = 1 : i64");
  EXPECT_EQ(resultType(result), "tensor<?x4xf32>");
  node("LayerNormalization", {"x", "s"}, {"c", "mean", "deviation"});
  output("mean");
  output("deviation");
  ImportResult statistics = importModel();
  EXPECT_EQ(resultType(statistics, 2), "tensor<?x1xf32>");
}

TEST_F(OnnxOperators, ReshapeOverSymbols) {
  input("x", TensorProto::FLOAT, {"batch", "seq", "12"});
  node("Shape", {"x"}, {"shape"});
  ints("zero", {0});
  ints("tail", {-1, 4, 3});
  node("Gather", {"shape", "zero"}, {"b"});
  attribute(node("Concat", {"b", "tail"}, {"dims"}), "axis", 0);
  node("Reshape", {"x", "dims"}, {"y"});
  ImportResult result = finish();
  EXPECT_HAS(text(result), "lathe.to_index");
  EXPECT_EQ(resultType(result), "tensor<?x?x4x3xf32>");
}

TEST_F(OnnxOperators, ReshapeErrors) {
  input("x", TensorProto::FLOAT, {"2", "3"});
  input("s", TensorProto::INT64, {"n"});
  ints("bad", {-7});
  ints("many", {0, 0, 0});
  ints("four", {4});
  for (auto [shape, message] : {std::pair("bad", "expects dimensions of at least -1, got -7"),
                                {"many", "expects an input dimension to copy at axis 2"},
                                {"four", "expects to keep the number of elements, got 6"},
                                {"s", "the number of dimensions depends on data"}}) {
    graph().clear_node();
    node("Reshape", {"x", shape}, {"y"}, "r");
    graph().clear_output();
    EXPECT_HAS(finish().error, message);
  }
}

TEST_F(OnnxOperators, Movement) {
  input("x", TensorProto::FLOAT, {"n", "1", "6"});
  ints("one", {1});
  ints("repeats", {2, 1, 3});
  ints("sizes", {2, 4});
  ints("start", {-1});
  ints("end", {INT64_MIN});
  ints("axis", {2});
  ints("step", {-2});
  node("Squeeze", {"x", "one"}, {"a"});
  node("Unsqueeze", {"a", "start"}, {"b"});
  node("Flatten", {"x"}, {"c"});
  node("Tile", {"x", "repeats"}, {"d"});
  attribute(node("Split", {"x", "sizes"}, {"e0", "e1"}), "axis", 2);
  attribute(node("Split", {"x"}, {"f0", "f1"}), "num_outputs", 2);
  node("Slice", {"x", "start", "end", "axis", "step"}, {"g"});
  node("Transpose", {"x"}, {"h"});
  node("Trilu", {"a"}, {"i"});
  for (const char *name : {"a", "b", "c", "d", "e0", "e1", "f0", "f1", "g", "h", "i"})
    output(name);
  ImportResult result = importModel();
  const char *expected[] = {"?x6", "?x6x1", "?x6", "?x1x18", "?x1x2", "?x1x4", "?x1x6", "?x1x6", "?x1x3", "6x1x?", "?x6"};
  for (auto [i, shape] : llvm::enumerate(expected))
    EXPECT_EQ(resultType(result, static_cast<unsigned>(i)), "tensor<" + std::string(shape) + "xf32>") << "result " << i;
}

TEST_F(OnnxOperators, GathersAndCumSum) {
  input("x", TensorProto::FLOAT, {"n", "6"});
  input("i", TensorProto::INT64, {"b", "s"});
  input("t", TensorProto::INT64, {"b", "2"});
  initializer("axis", TensorProto::INT32, {}).add_int32_data(-1);
  node("Gather", {"x", "i"}, {"a"});
  attribute(node("GatherElements", {"x", "i"}, {"b"}), "axis", 1);
  node("GatherND", {"x", "t"}, {"c"});
  node("CumSum", {"x", "axis"}, {"d"});
  for (const char *name : {"a", "b", "c", "d"})
    output(name);
  ImportResult result = importModel();
  EXPECT_EQ(resultType(result, 0), "tensor<?x?x6xf32>");
  EXPECT_EQ(resultType(result, 1), "tensor<?x?xf32>");
  EXPECT_EQ(resultType(result, 2), "tensor<?xf32>");
  EXPECT_EQ(resultType(result, 3), "tensor<?x6xf32>");
}

TEST_F(OnnxOperators, RangeAndShapes) {
  input("x", TensorProto::FLOAT, {"n", "6"});
  for (auto [name, value] : {std::pair("zero", 0.f), {"two", 2.f}, {"half", 0.5f}})
    initializer(name, TensorProto::FLOAT, {}).add_float_data(value);
  initializer("i0", TensorProto::INT64, {}).add_int64_data(0);
  initializer("i1", TensorProto::INT64, {}).add_int64_data(1);
  node("Range", {"zero", "two", "half"}, {"a"});
  attribute(node("Shape", {"x"}, {"s"}), "start", -1);
  node("Size", {"x"}, {"n"});
  node("Range", {"i0", "n", "i1"}, {"b"});
  node("ConstantOfShape", {"s"}, {"c"});
  auto &constant = node("Constant", {}, {"k"});
  auto *ints = constant.add_attribute();
  ints->set_name("value_ints");
  ints->set_type(onnx::AttributeProto::INTS);
  ints->add_ints(7);
  for (const char *name : {"a", "b", "c", "s", "n", "k"})
    output(name);
  ImportResult result = importModel();
  EXPECT_HAS(text(result), "dense<[0.000000e+00, 5.000000e-01, 1.000000e+00, 1.500000e+00]>");
  const char *expected[] = {"tensor<4xf32>", "tensor<?xi64>", "tensor<6xf32>", "tensor<1xi64>", "tensor<i64>", "tensor<1xi64>"};
  for (auto [i, type] : llvm::enumerate(expected))
    EXPECT_EQ(resultType(result, static_cast<unsigned>(i)), type);
}

TEST_F(OnnxOperators, AxesThatDependOnData) {
  input("x", TensorProto::FLOAT, {"n", "6"});
  input("axes", TensorProto::INT64, {"1"});
  node("ReduceSum", {"x", "axes"}, {"y"}, "sum");
  output("y");
  ImportResult result = importModel();
  EXPECT_HAS(text(result), "\"expects an axis within rank 2\" got");
  EXPECT_EQ(resultType(result, 0), "tensor<?x?xf32>");
}

TEST_F(OnnxOperators, NumberOfAxesThatDependsOnData) {
  input("x", TensorProto::FLOAT, {"n", "6"});
  input("axes", TensorProto::INT64, {"k"});
  node("ReduceSum", {"x", "axes"}, {"y"}, "sum");
  ImportResult result = finish();
  ASSERT_EQ(result.unsupported.size(), 1u);
  EXPECT_EQ(result.unsupported[0].reason, "the number of axes depends on data");
}

TEST_F(OnnxOperators, HostileShapesEndInErrors) {
  // Ranks and extents that double with every node.
  input("i", TensorProto::INT64, {"2", "2"});
  std::string last = "i";
  for (int k = 0; k < 60; ++k) {
    std::string next = "g" + std::to_string(k);
    node("Gather", {last.c_str(), last.c_str()}, {next.c_str()});
    last = next;
  }
  output(last);
  EXPECT_HAS(importModel().error, "rank 32 at most");

  graph().Clear();
  input("i", TensorProto::INT64, {"2", "2"});
  last = "i";
  for (int k = 0; k < 80; ++k) {
    std::string next = "c" + std::to_string(k);
    attribute(node("Concat", {last.c_str(), last.c_str()}, {next.c_str()}), "axis", 0);
    last = next;
  }
  output(last);
  EXPECT_HAS(importModel().error, "fewer than 2^60 elements");
}

} // namespace
