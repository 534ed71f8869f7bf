//===- OnnxModelsTest.cpp - Whole models ----------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "OnnxTestSupport.h"
#include "mlir/IR/Verifier.h"

using namespace lathe;
using namespace lathe::test;

namespace {

struct ModelCase {
  const char *name;
  const char *firstResult; ///< its type
};

class OnnxModels : public ::testing::TestWithParam<ModelCase> {};

TEST_P(OnnxModels, Imports) {
  mlir::MLIRContext context;
  std::string path = std::string(LATHE_TEST_MODELS) + "/" + GetParam().name + ".onnx";
  ImportResult result = importOnnx(context, path, {});
  ASSERT_EQ(result.error, "");
  EXPECT_TRUE(result.unsupported.empty());
  EXPECT_TRUE(mlir::succeeded(mlir::verify(*result.module)));
  auto func = *result.module->getOps<mlir::func::FuncOp>().begin();
  std::string type;
  llvm::raw_string_ostream(type) << func.getFunctionType().getResult(0);
  EXPECT_EQ(type, GetParam().firstResult);
  // Weights stay in the file: what the IR holds is small.
  func.walk([](ConstantOp op) { EXPECT_LE(op.getValue().getNumElements(), 1024); });
}

INSTANTIATE_TEST_SUITE_P(Tiny, OnnxModels,
                         ::testing::Values(ModelCase{"bert", "tensor<?x?x64xf32>"},
                                           ModelCase{"bert_legacy", "tensor<?x?x64xf32>"},
                                           ModelCase{"distilbert", "tensor<?x2xf32>"},
                                           ModelCase{"roberta", "tensor<?x?xf32>"},
                                           ModelCase{"gpt2", "tensor<?x?x997xf32>"},
                                           ModelCase{"llama", "tensor<?x?x997xf32>"}),
                         [](const auto &info) { return info.param.name; });

} // namespace
