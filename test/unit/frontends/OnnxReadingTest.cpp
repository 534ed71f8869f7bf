//===- OnnxReadingTest.cpp - Files, structure, initializers ---------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "OnnxTestSupport.h"
#include <unistd.h>

using namespace lathe;
using namespace lathe::test;

namespace {

class OnnxReading : public OnnxTest {
protected:
  void relu() {
    input("x", TensorProto::FLOAT, {"batch", "4"});
    node("Relu", {"x"}, {"y"}, "act");
    output("y");
  }
  /// y = x + w with w of [4] or, for a large one, [n, 4].
  TensorProto &addWeight(int type, std::initializer_list<int64_t> dims) {
    input("x", type, {"4"});
    node("Add", {"x", "w"}, {"y"});
    output("y");
    return initializer("w", type, dims);
  }
  TensorProto &external(const std::string &location, const std::string &offset = "", const std::string &length = "") {
    auto &tensor = addWeight(TensorProto::FLOAT, {8, 4});
    tensor.set_data_location(TensorProto::EXTERNAL);
    for (auto [key, value] : {std::pair("location", location), {"offset", offset}, {"length", length}})
      if (!value.empty()) {
        auto *entry = tensor.add_external_data();
        entry->set_key(key);
        entry->set_value(value);
      }
    return tensor;
  }
};

TEST_F(OnnxReading, MissingFile) {
  EXPECT_HAS(importOnnx(context, folder + "/none.onnx", {}).error, "No such file");
  EXPECT_HAS(importOnnx(context, folder, {}).error, "expected a file, found a folder");
  EXPECT_FALSE(importOnnx(context, "", {}).error.empty());
}

TEST_F(OnnxReading, NotAModel) {
  EXPECT_HAS(importBytes("hello, this is text\n").error,
             "is not an ONNX model: expected a protobuf of type ModelProto; found text");
  EXPECT_HAS(importBytes("").error, "the file is empty");
  EXPECT_HAS(importBytes("version https://git-lfs.github.com/spec/v1\noid sha256:0\n").error, "git lfs pull");
  EXPECT_HAS(importBytes(std::string(100, '\xff')).error, "is not an ONNX model");
  EXPECT_HAS(importBytes(std::string("\x08\x08", 2)).error, "it holds no graph");
}

TEST_F(OnnxReading, EveryTruncationIsAnError) {
  addWeight(TensorProto::FLOAT, {8, 4}).set_raw_data(std::string(128, '\0'));
  std::string bytes = model.SerializeAsString();
  EXPECT_EQ(importBytes(bytes).error, "");
  for (size_t n = 0; n < bytes.size(); ++n)
    EXPECT_FALSE(importBytes(bytes.substr(0, n)).error.empty()) << n;
  EXPECT_HAS(importBytes(bytes.substr(0, bytes.size() - 20)).error, "the file ends inside the field at byte");
}

TEST_F(OnnxReading, EveryFlippedByteIsSurvived) {
  relu();
  initializer("w", TensorProto::FLOAT, {8, 4}).set_raw_data(std::string(128, '\0'));
  ints("shape", {2, -1});
  node("Reshape", {"w", "shape"}, {"r"});
  output("r");
  std::string bytes = model.SerializeAsString();
  for (size_t n = 0; n < bytes.size(); ++n)
    for (char mask : {'\x01', '\x04', '\x20', '\x80', '\xff'}) {
      std::string changed = bytes;
      changed[n] = static_cast<char>(changed[n] ^ mask);
      ImportResult result = importBytes(changed);
      EXPECT_NE(result.error.empty(), !result.module) << n;
    }
}

TEST_F(OnnxReading, Info) {
  relu();
  ImportResult result = importModel();
  ASSERT_EQ(result.error, "");
  EXPECT_EQ(result.info.name, "g");
  EXPECT_EQ(result.info.opset, 20);
  EXPECT_EQ(result.info.sha256.size(), 64u);
  std::string ir = text(result);
  EXPECT_HAS(ir, "lathe.model_dir = \"" + folder + "\"");
  EXPECT_HAS(ir, "lathe.dims = [\"batch\", \"4\"], lathe.name = \"x\"");
  EXPECT_HAS(ir, "(tensor<?x4xf32> {lathe.name = \"y\"})");
  mlir::Operation &first = main(result).getBody().front().front();
  EXPECT_EQ(mlir::cast<mlir::NameLoc>(first.getLoc()).getName().str(), "act");
}

TEST_F(OnnxReading, Dimensions) {
  input("x", TensorProto::FLOAT, {"?", "past + seq", "floor(a/2)", "seq"});
  node("Relu", {"x"}, {"y"});
  output("y");
  ImportResult result = importModel();
  EXPECT_HAS(text(result), "lathe.dims = [\"x_d0\", \"past + seq\", \"floor_a/2_\", \"seq\"]");

  ImportResult fixed = importModel({{{"seq", {3, 3}}, {"past", {0, std::nullopt}}}});
  EXPECT_EQ(resultType(fixed), "tensor<?x?x?x3xf32>");
  EXPECT_HAS(text(fixed), "\"past + 3\"");
  EXPECT_HAS(text(fixed), "lathe.symbols = {past = array<i64: 0, -1>, seq = array<i64: 3, 3>}");

  EXPECT_HAS(importModel({{{"b", {1, 1}}}}).error, "dimension 'b' is not one of the model's: x_d0, past, seq");
  EXPECT_HAS(importModel({{{"seq", {4, 2}}}}).error, "minimum before maximum");
}

TEST_F(OnnxReading, DimensionsThatSubtract) {
  input("x", TensorProto::FLOAT, {"total - past", "?"});
  // What some exporters write for an unknown dimension.
  graph().mutable_input(0)->mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim(1)->set_dim_param("-1");
  node("Relu", {"x"}, {"y"});
  output("y");
  ImportResult fixed = importModel({{{"total", {3, 3}}}});
  EXPECT_EQ(fixed.error, "");
  EXPECT_HAS(text(fixed), "lathe.dims = [\"-past + 3\", \"_1\"]");
  ShapeContext shapes;
  auto shape = shapes.shapeOf(main(fixed).getArgument(0));
  ASSERT_TRUE(succeeded(shape));
  EXPECT_EQ((*shape)[0], SymExpr(3) - SymExpr::symbol("past"));
}

TEST_F(OnnxReading, BadInputs) {
  input("x", TensorProto::FLOAT, {"-3"});
  node("Relu", {"x"}, {"y"});
  output("y");
  EXPECT_HAS(importModel().error, "input 'x': expects dimensions of at least 0, got -3 at axis 0");
  auto *shape = graph().mutable_input(0)->mutable_type()->mutable_tensor_type()->mutable_shape();
  shape->mutable_dim(0)->set_dim_value(int64_t(1) << 40);
  *shape->add_dim() = shape->dim(0);
  EXPECT_HAS(importModel().error, "fewer than 2^60 elements");
  for (int i = 0; i < 40; ++i)
    shape->add_dim()->set_dim_value(1);
  EXPECT_HAS(importModel().error, "expects a rank of at most 32, got 42");
  graph().mutable_input(0)->mutable_type()->mutable_tensor_type()->set_elem_type(TensorProto::STRING);
  EXPECT_HAS(importModel().error, "data type STRING is not supported");
  graph().mutable_input(0)->mutable_type()->mutable_tensor_type()->set_elem_type(TensorProto::FLOAT);
  graph().mutable_input(0)->mutable_type()->mutable_tensor_type()->clear_shape();
  EXPECT_HAS(importModel().error, "unknown rank");
}

//===----------------------------------------------------------------------===//
// Structure
//===----------------------------------------------------------------------===//

TEST_F(OnnxReading, Structure) {
  relu();
  auto with = [&](auto change) {
    onnx::ModelProto saved = model;
    change();
    std::string error = importModel().error;
    model = saved;
    return error;
  };
  EXPECT_HAS(with([&] { node("Neg", {"nowhere"}, {"z"}, "n1"); }), "node 'n1' (Neg) uses 'nowhere', which nothing defines");
  EXPECT_HAS(with([&] { node("Neg", {"x"}, {"y"}, "n1"); }), "value 'y' is defined twice, the second time by node 'n1'");
  EXPECT_HAS(with([&] { node("Add", {"x", "b"}, {"a"}), node("Neg", {"a"}, {"b"}); }), "the graph has a cycle");
  EXPECT_HAS(with([&] { node("Add", {"x"}, {"z"}); }), "node 'Add_1' (Add of domain 'ai.onnx'): expects 2 inputs, got 1");
  EXPECT_HAS(with([&] { node("Add", {"x", ""}, {"z"}); }), "expects 2 inputs, got 1");
  EXPECT_HAS(with([&] { node("Where", {"x", "", "x"}, {"z"}); }), "expects input 1, got none");
  EXPECT_HAS(with([&] { node("Neg", {"x"}, {"z", "t"}); }), "expects 1 outputs, got 2");
  EXPECT_HAS(with([&] { output("y"); }), "output 'y' of the graph is listed twice");
  EXPECT_HAS(with([&] { output("q"); }), "output 'q' of the graph is not defined");
  EXPECT_HAS(with([&] { model.clear_opset_import(); }), "imports no operator set of domain ai.onnx");
  EXPECT_HAS(with([&] { model.mutable_opset_import(0)->set_version(9); }), "expects operator set 13 to 25 of domain ai.onnx, got 9");
  EXPECT_HAS(with([&] { model.mutable_opset_import(0)->set_version(26); }), "got 26");
  EXPECT_HAS(with([&] { floatAttribute(node("Softmax", {"x"}, {"z"}), "axis", 1); }), "expects attribute 'axis' to be of type INT, got FLOAT");
  EXPECT_HAS(with([&] { attribute(node("Softmax", {"x"}, {"z"}), "axis", 7); }), "expects an axis within rank 2, got 7");
  EXPECT_HAS(with([&] { attribute(node("Neg", {"x"}, {"z"}), "shiny", 7); }), "attribute 'shiny' is not supported");
  EXPECT_HAS(with([&] { node("Gelu", {"x"}, {"z"}); model.mutable_opset_import(0)->set_version(17); }),
             "expects operator set 20 or newer, got 17");
  EXPECT_HAS(with([&] { ints("i", {1, 2, 3}); node("Add", {"x", "i"}, {"z"}); }), "node 'Add_1'");
  EXPECT_HAS(with([&] { graph().clear_output(); }), "the graph has no output");
}

TEST_F(OnnxReading, UnsortedNodesAreSorted) {
  input("x", TensorProto::FLOAT, {"4"});
  node("Neg", {"a"}, {"y"});
  node("Relu", {"x"}, {"a"});
  output("y");
  EXPECT_EQ(importModel().error, "");
}

TEST_F(OnnxReading, AllUnsupportedAtOnce) {
  relu();
  node("Warp", {"x", "x"}, {"c"}, "warp");
  node("FancyGelu", {"c"}, {"d"}, "").set_domain("com.example");
  node("Relu", {"d"}, {"e"}, "passed_over");
  attribute(node("Softmax", {"x"}, {"f"}, "soft"), "temperature", 2);
  attribute(node("Cast", {"x"}, {"h"}, "cast"), "to", TensorProto::FLOAT8E8M0);
  ImportResult result = importModel();
  ASSERT_EQ(result.unsupported.size(), 4u);
  EXPECT_FALSE(result.module);
  EXPECT_EQ(result.unsupported[0].opType, "Warp");
  EXPECT_EQ(result.unsupported[0].domain, "ai.onnx");
  EXPECT_EQ(result.unsupported[0].node, "warp");
  EXPECT_EQ(result.unsupported[1].domain, "com.example");
  EXPECT_EQ(result.unsupported[1].node, "FancyGelu_2");
  EXPECT_HAS(result.unsupported[2].reason, "attribute 'temperature'");
  EXPECT_HAS(result.unsupported[3].reason, "FLOAT8E8M0");
  EXPECT_HAS(result.error, "4 things are not supported");
}

//===----------------------------------------------------------------------===//
// Initializers
//===----------------------------------------------------------------------===//

TEST_F(OnnxReading, LargeInitializerStaysInTheFile) {
  std::string raw(128, '\0');
  for (size_t i = 0; i < raw.size(); ++i)
    raw[i] = static_cast<char>(i);
  addWeight(TensorProto::FLOAT, {8, 4}).set_raw_data(raw);
  ImportResult result = importModel();
  size_t offset = model.SerializeAsString().find(raw);
  EXPECT_HAS(text(result), "lathe.weight \"w\" in \"x.onnx\" at " + std::to_string(offset) + " : tensor<8x4xf32>");
}

TEST_F(OnnxReading, SmallInitializerIsAConstant) {
  float values[] = {1, 2, 3, 4};
  addWeight(TensorProto::FLOAT, {4}).set_raw_data(std::string(reinterpret_cast<char *>(values), sizeof(values)));
  ImportResult result = importModel();
  EXPECT_HAS(text(result), "lathe.constant dense<[1.000000e+00, 2.000000e+00, 3.000000e+00, 4.000000e+00]>");
}

TEST_F(OnnxReading, TypedData) {
  struct Case {
    int type;
    std::string expected;
    void (*fill)(TensorProto &);
  };
  auto int32s = [](TensorProto &t) { t.add_int32_data(3), t.add_int32_data(1); };
  for (const Case &c : std::initializer_list<Case>{
           {TensorProto::FLOAT, "dense<[1.500000e+00, 2.000000e+00]> : tensor<2xf32>",
            [](TensorProto &t) { t.add_float_data(1.5f), t.add_float_data(2); }},
           {TensorProto::DOUBLE, "dense<[1.500000e+00, 2.000000e+00]> : tensor<2xf64>",
            [](TensorProto &t) { t.add_double_data(1.5), t.add_double_data(2); }},
           {TensorProto::FLOAT16, "dense<[1.000000e+00, 2.000000e+00]> : tensor<2xf16>",
            [](TensorProto &t) { t.add_int32_data(0x3c00), t.add_int32_data(0x4000); }},
           {TensorProto::BFLOAT16, "dense<[1.000000e+00, 2.000000e+00]> : tensor<2xbf16>",
            [](TensorProto &t) { t.add_int32_data(0x3f80), t.add_int32_data(0x4000); }},
           {TensorProto::INT64, "dense<[-1, 5]> : tensor<2xi64>",
            [](TensorProto &t) { t.add_int64_data(-1), t.add_int64_data(5); }},
           {TensorProto::UINT64, "dense<[1, 5]> : tensor<2xui64>",
            [](TensorProto &t) { t.add_uint64_data(1), t.add_uint64_data(5); }},
           {TensorProto::UINT32, "dense<[1, 5]> : tensor<2xui32>",
            [](TensorProto &t) { t.add_uint64_data(1), t.add_uint64_data(5); }},
           {TensorProto::INT32, "dense<[3, 1]> : tensor<2xi32>", int32s},
           {TensorProto::INT16, "dense<[3, 1]> : tensor<2xi16>", int32s},
           {TensorProto::UINT16, "dense<[3, 1]> : tensor<2xui16>", int32s},
           {TensorProto::INT8, "dense<[3, 1]> : tensor<2xi8>", int32s},
           {TensorProto::UINT8, "dense<[3, 1]> : tensor<2xui8>", int32s},
           {TensorProto::BOOL, "dense<[true, false]> : tensor<2xi1>",
            [](TensorProto &t) { t.add_int32_data(7), t.add_int32_data(0); }}}) {
    graph().Clear();
    input("x", c.type, {"2"});
    node("Identity", {"w"}, {"y"});
    output("y");
    c.fill(initializer("w", c.type, {2}));
    ImportResult result = importModel();
    EXPECT_HAS(text(result), c.expected);
    graph().mutable_initializer(0)->add_dims(2);
    EXPECT_HAS(importModel().error, "for 4 elements");
  }
}

TEST_F(OnnxReading, EmptyScalarAndLegacyInitializers) {
  input("x", TensorProto::FLOAT, {"4"});
  input("w", TensorProto::FLOAT, {}); // also an initializer: not an argument
  initializer("w", TensorProto::FLOAT, {}).add_float_data(2);
  initializer("e", TensorProto::INT64, {0});
  initializer("m", TensorProto::FLOAT, {0, 4}).set_raw_data("");
  node("Add", {"x", "w"}, {"y"});
  node("Reshape", {"w", "e"}, {"z"});
  node("Identity", {"m"}, {"n"});
  for (const char *name : {"y", "z", "n"})
    output(name);
  ImportResult result = importModel();
  ASSERT_EQ(result.error, "");
  EXPECT_EQ(resultType(result, 1), "tensor<f32>");
  EXPECT_EQ(resultType(result, 2), "tensor<0x4xf32>");
  EXPECT_EQ(main(result).getNumArguments(), 1u);
}

TEST_F(OnnxReading, BadInitializers) {
  TensorProto &w = addWeight(TensorProto::FLOAT, {8, 4});
  auto error = [&] { return importModel().error; };
  w.set_raw_data(std::string(127, '\0'));
  EXPECT_HAS(error(), "initializer 'w': expects 128 bytes of data for 32 elements of type FLOAT, found 127");
  w.set_dims(0, -8);
  EXPECT_HAS(error(), "expects dimensions of at least 0, got -8");
  w.set_dims(0, INT64_MAX);
  EXPECT_HAS(error(), "expects fewer than 2^60 elements");
  for (int i = 0; i < 100; ++i)
    w.add_dims(1);
  EXPECT_HAS(error(), "expects a rank of at most 32, got 102");
  w.clear_dims();
  w.set_data_type(TensorProto::COMPLEX64);
  ImportResult result = importModel();
  ASSERT_EQ(result.unsupported.size(), 1u);
  EXPECT_EQ(result.unsupported[0].opType, "Initializer");
  EXPECT_HAS(result.unsupported[0].reason, "COMPLEX64");
  w.set_data_type(4711);
  EXPECT_HAS(error(), "data type 4711 is not supported");
  initializer("w", TensorProto::FLOAT, {});
  EXPECT_HAS(error(), "initializer 'w' is defined twice");
}

//===----------------------------------------------------------------------===//
// External data
//===----------------------------------------------------------------------===//

TEST_F(OnnxReading, ExternalData) {
  write("w.bin", std::string(256, '\0'));
  external("w.bin", "128", "128");
  ImportResult result = importModel();
  EXPECT_HAS(text(result), "lathe.weight \"w\" in \"w.bin\" at 128 : tensor<8x4xf32>");
}

TEST_F(OnnxReading, ExternalShapeIsFolded) {
  write("w.bin", std::string("\2\0\0\0\0\0\0\0\377\377\377\377\377\377\377\377", 16));
  external("w.bin").set_data_type(TensorProto::INT64);
  graph().mutable_initializer(0)->clear_dims();
  graph().mutable_initializer(0)->add_dims(2);
  graph().mutable_node(0)->set_op_type("Reshape");
  ImportResult result = importModel();
  EXPECT_EQ(resultType(result), "tensor<2x2xf32>");
}

TEST_F(OnnxReading, MissingExternalFileIsReportedOnce) {
  external("none.bin");
  *graph().add_initializer() = graph().initializer(0);
  graph().mutable_initializer(1)->set_name("v");
  node("Add", {"y", "v"}, {"z"});
  node("Warp", {"w", "v"}, {"c"});
  output("z");
  ImportResult result = importModel();
  EXPECT_HAS(result.error, "external data of initializer 'w': cannot read");
  EXPECT_EQ(result.error.find("'v'"), std::string::npos);
  EXPECT_HAS(result.error, "1 more initializers cannot be found in external data 'none.bin'");
  EXPECT_EQ(result.unsupported.size(), 1u);
}

TEST_F(OnnxReading, ExternalDataTooShort) {
  write("w.bin", std::string(200, '\0'));
  external("w.bin", "128");
  EXPECT_HAS(importModel().error, "initializer 'w': expects 128 bytes at offset 128 of 'w.bin', found 72");
  graph().mutable_initializer(0)->mutable_external_data(1)->set_value("9000000000000000000");
  EXPECT_HAS(importModel().error, "found 0");
  graph().mutable_initializer(0)->mutable_external_data(1)->set_value("-1");
  EXPECT_HAS(importModel().error, "expects offset to be a number of bytes, got '-1'");
  graph().mutable_initializer(0)->mutable_external_data(1)->set_key("length");
  graph().mutable_initializer(0)->mutable_external_data(1)->set_value("64");
  EXPECT_HAS(importModel().error, "expects a length of 128 bytes, got 64");
}

TEST_F(OnnxReading, ExternalDataOutside) {
  for (auto [location, message] : {std::pair("/etc/passwd", "relative to the model's folder"),
                                   {"../w.bin", "without '..'"},
                                   {"a/../../w.bin", "without '..'"},
                                   {"..", "without '..'"},
                                   {"a\\b", "without backslashes"},
                                   {".", "expects a regular file"},
                                   {"none.bin", "cannot read"},
                                   {"", "expects a location, got none"}}) {
    graph().Clear();
    external(location);
    EXPECT_HAS(importModel().error, message);
  }
}

TEST_F(OnnxReading, ExternalDataThroughLinks) {
  std::string outside = folder + "-outside", cache = folder + "/blobs", snapshot = folder + "/snapshot";
  for (const std::string &path : {outside, cache, snapshot})
    ASSERT_FALSE(llvm::sys::fs::create_directory(path));
  std::ofstream(outside + "/secret") << std::string(128, 'x');
  ASSERT_EQ(symlink((outside + "/secret").c_str(), (folder + "/link.bin").c_str()), 0);
  ASSERT_EQ(symlink(outside.c_str(), (folder + "/dir").c_str()), 0);
  for (const char *location : {"link.bin", "dir/secret"}) {
    graph().Clear();
    external(location);
    EXPECT_HAS(importModel().error, "expects a file inside the model's folder");
  }
  // A hub's cache: model and data are links into one folder.
  graph().Clear();
  external("model.data");
  write("blobs/1", model.SerializeAsString());
  write("blobs/2", std::string(128, '\0'));
  ASSERT_EQ(symlink("../blobs/1", (snapshot + "/model.onnx").c_str()), 0);
  ASSERT_EQ(symlink("../blobs/2", (snapshot + "/model.data").c_str()), 0);
  ImportResult result = importOnnx(context, snapshot + "/model.onnx", {});
  EXPECT_HAS(text(result), "in \"model.data\" at 0");
  llvm::sys::fs::remove_directories(outside);
}

} // namespace
