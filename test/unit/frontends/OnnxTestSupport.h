//===- OnnxTestSupport.h - Small models for tests ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_TEST_UNIT_FRONTENDS_ONNXTESTSUPPORT_H
#define LATHE_TEST_UNIT_FRONTENDS_ONNXTESTSUPPORT_H

#include "dialects/lathe/Lathe.h"
#include "frontends/onnx/Import.h"
#include "onnx.pb.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"
#include <fstream>
#include <gtest/gtest.h>
#include <initializer_list>
#include <string>
#include <vector>

namespace lathe::test {

using onnx::TensorProto;

/// A temporary folder with models in it.
class OnnxTest : public ::testing::Test {
protected:
  void SetUp() override {
    llvm::SmallString<128> path;
    ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("lathe-onnx", path));
    folder = path.str().str();
    model.set_ir_version(8);
    model.add_opset_import()->set_version(20);
    model.mutable_graph()->set_name("g");
  }
  void TearDown() override { llvm::sys::fs::remove_directories(folder); }

  std::string write(const std::string &name, const std::string &bytes) {
    std::string path = folder + "/" + name;
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  ImportResult importModel(const ImportOptions &options = {}) {
    return importOnnx(context, write("x.onnx", model.SerializeAsString()), options);
  }
  ImportResult importBytes(const std::string &bytes) { return importOnnx(context, write("x.onnx", bytes), {}); }

  onnx::GraphProto &graph() { return *model.mutable_graph(); }
  /// Dimensions are numbers or names; "?" is unnamed.
  void input(const std::string &name, int type, std::initializer_list<const char *> dims) {
    auto *tensor = valueInfo(graph().add_input(), name, type);
    for (llvm::StringRef dim : dims) {
      auto *proto = tensor->mutable_shape()->add_dim();
      int64_t value;
      if (!dim.getAsInteger(10, value))
        proto->set_dim_value(value);
      else if (dim != "?")
        proto->set_dim_param(dim.str());
    }
    tensor->mutable_shape();
  }
  void output(const std::string &name) { valueInfo(graph().add_output(), name, TensorProto::FLOAT); }
  onnx::NodeProto &node(const std::string &op, std::initializer_list<const char *> inputs,
                        std::initializer_list<const char *> outputs, const std::string &name = "") {
    auto *proto = graph().add_node();
    proto->set_op_type(op);
    proto->set_name(name);
    for (const char *i : inputs)
      proto->add_input(i);
    for (const char *o : outputs)
      proto->add_output(o);
    return *proto;
  }
  static void attribute(onnx::NodeProto &proto, const std::string &name, int64_t value) {
    auto *a = proto.add_attribute();
    a->set_name(name);
    a->set_type(onnx::AttributeProto::INT);
    a->set_i(value);
  }
  static void floatAttribute(onnx::NodeProto &proto, const std::string &name, float value) {
    auto *a = proto.add_attribute();
    a->set_name(name);
    a->set_type(onnx::AttributeProto::FLOAT);
    a->set_f(value);
  }
  TensorProto &initializer(const std::string &name, int type, std::initializer_list<int64_t> dims) {
    auto *tensor = graph().add_initializer();
    tensor->set_name(name);
    tensor->set_data_type(type);
    for (int64_t dim : dims)
      tensor->add_dims(dim);
    return *tensor;
  }
  void ints(const std::string &name, std::initializer_list<int64_t> values) {
    auto &tensor = initializer(name, TensorProto::INT64, {static_cast<int64_t>(values.size())});
    for (int64_t value : values)
      tensor.add_int64_data(value);
  }
  static std::string text(mlir::Operation *op) {
    std::string result;
    llvm::raw_string_ostream(result) << *op;
    return result;
  }
  /// The module as text; the error where there is none.
  static std::string text(ImportResult &result) { return result.module ? text(*result.module) : result.error; }
  static mlir::func::FuncOp main(ImportResult &result) {
    return *result.module->getOps<mlir::func::FuncOp>().begin();
  }
  /// Type of result `i` of the function.
  static std::string resultType(ImportResult &result, unsigned i = 0) {
    if (!result.module)
      return result.error;
    std::string text;
    llvm::raw_string_ostream(text) << main(result).getFunctionType().getResult(i);
    return text;
  }

  mlir::MLIRContext context;
  onnx::ModelProto model;
  std::string folder;

private:
  static onnx::TypeProto_Tensor *valueInfo(onnx::ValueInfoProto *info, const std::string &name, int type) {
    info->set_name(name);
    auto *tensor = info->mutable_type()->mutable_tensor_type();
    tensor->set_elem_type(type);
    return tensor;
  }
};

inline ::testing::AssertionResult contains(const std::string &text, const std::string &part) {
  if (text.find(part) != std::string::npos)
    return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "expected '" << part << "' in:\n" << text;
}
#define EXPECT_HAS(text, part) EXPECT_TRUE(::lathe::test::contains(text, part))

} // namespace lathe::test

#endif // LATHE_TEST_UNIT_FRONTENDS_ONNXTESTSUPPORT_H
