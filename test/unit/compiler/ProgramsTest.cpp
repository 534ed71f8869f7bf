//===- ProgramsTest.cpp - Artifacts with several programs -----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/Programs.h"
#include "compiler/Compile.h"
#include "dialects/lathe/Lathe.h"
#include "lathe/lathe.hpp"
#include "mlir/Parser/Parser.h"
#include "test/unit/frontends/OnnxTestSupport.h"
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

using namespace lathe;
using namespace mlir;
using nlohmann::json;
using onnx::TensorProto;

namespace {

using Programs = std::vector<NewProgram>;
using Hook = std::function<std::string(ModuleOp, Programs &)>;

func::FuncOp mainOf(ModuleOp module) { return module.lookupSymbol<func::FuncOp>("main"); }

/// The model once more.
std::string addClone(ModuleOp imported, Programs &added) {
  added.push_back({"again", imported.clone()});
  return "";
}

/// The model with each output of floats negated.
std::string addNegated(ModuleOp imported, Programs &added) {
  OwningOpRef<ModuleOp> clone = imported.clone();
  Operation *end = mainOf(*clone).getBody().front().getTerminator();
  OpBuilder b(end);
  for (OpOperand &operand : end->getOpOperands())
    if (isa<FloatType>(cast<RankedTensorType>(operand.get().getType()).getElementType()))
      operand.set(b.create<NegOp>(end->getLoc(), operand.get().getType(), operand.get()));
  added.push_back({"negated", std::move(clone)});
  return "";
}

/// A program written as text, in the context of the imported module.
Hook addText(const std::string &name, const std::string &text) {
  return [=](ModuleOp imported, Programs &added) -> std::string {
    OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(text, imported.getContext());
    if (!module)
      return "the test's text is no module";
    added.push_back({name, std::move(module)});
    return "";
  };
}

struct Tensor {
  lathe_dtype dtype = LATHE_F32;
  std::vector<int64_t> dims;
  std::vector<char> bytes;
};

/// Inputs by name: each symbol gets a number of its own, integers are small, floats between -1 and 1.
std::map<std::string, Tensor> makeInputs(const Module &module, size_t program = 0) {
  std::map<std::string, int64_t> sizes;
  std::map<std::string, Tensor> inputs;
  for (const TensorInfo &info : module.inputs(program)) {
    Tensor tensor;
    tensor.dtype = info.dtype;
    size_t count = 1;
    for (size_t d = 0; d < info.dims.size(); ++d) {
      int64_t next = 2 + 3 * static_cast<int64_t>(sizes.size());
      tensor.dims.push_back(info.dims[d] >= 0 ? info.dims[d] : sizes.emplace(info.dimTexts[d], next).first->second);
      count *= static_cast<size_t>(tensor.dims.back());
    }
    tensor.bytes.resize(count * lathe_dtype_size(info.dtype));
    bool isMask = info.name.find("mask") != std::string::npos, isType = info.name.find("type") != std::string::npos;
    for (size_t i = 0; i < count; ++i) {
      int64_t integer = isMask ? 1 : static_cast<int64_t>((i * 7 + 3) % (isType ? 2 : 11));
      auto real = static_cast<float>(std::sin(0.7 * static_cast<double>(i) + 1));
      if (info.dtype == LATHE_I64)
        memcpy(tensor.bytes.data() + i * 8, &integer, 8);
      else if (info.dtype == LATHE_F32)
        memcpy(tensor.bytes.data() + i * 4, &real, 4);
    }
    inputs[info.name] = std::move(tensor);
  }
  return inputs;
}

/// The outputs of a run of one program, one after another.
std::vector<std::vector<float>> run(const Module &module, const std::string &program,
                                    const std::map<std::string, Tensor> &inputs) {
  SessionOptions options;
  options.program = program;
  options.threads = 2;
  Session session(module, options);
  size_t number = module.program(program);
  EXPECT_EQ(session.program(), number);
  std::vector<TensorInfo> infos = module.inputs(number);
  for (size_t i = 0; i < infos.size(); ++i) {
    const Tensor &tensor = inputs.at(infos[i].name);
    session.setInput(i, tensor.dtype, tensor.dims, tensor.bytes.data());
  }
  session.run();
  std::vector<std::vector<float>> outputs;
  for (size_t i = 0; i < module.outputs(number).size(); ++i) {
    Output output = session.output(i);
    EXPECT_EQ(output.dtype, LATHE_F32);
    auto *data = static_cast<const float *>(output.data);
    outputs.emplace_back(data, data + output.size / 4);
  }
  return outputs;
}

class ProgramsTest : public lathe::test::OnnxTest {
protected:
  void SetUp() override {
    OnnxTest::SetUp();
    options.level = 1;
    options.isas = {"avx2"};
  }

  /// Compiles the model at `path`, or that of the test, and expects success; returns the artifact.
  std::string compile(const std::string &name, const Hook &hook, std::string path = "") {
    std::string output = folder + "/" + name;
    options.programs = hook;
    CompileResult result = compileModel(path.empty() ? modelPath() : path, output, options);
    EXPECT_EQ(result.code, ExitCode::ok) << (result.errors.empty() ? "" : result.errors.front());
    return output;
  }

  /// What a compilation that must fail says.
  std::string errorOf(const Hook &hook) {
    options.programs = hook;
    CompileResult result = compileModel(modelPath(), folder + "/failed.lathe", options);
    EXPECT_NE(result.code, ExitCode::ok);
    EXPECT_FALSE(std::filesystem::exists(folder + "/failed.lathe"));
    return result.errors.empty() ? "" : result.errors.front();
  }

  std::string modelPath() { return write("x.onnx", model.SerializeAsString()); }
  static std::string dataPath(const std::string &name) { return std::string(LATHE_TEST_MODELS) + "/" + name + ".onnx"; }

  /// y[n, columns] = x[n, rows] * w, with weights that are large enough to stay in their file.
  void addProduct(int64_t rows, int64_t columns) {
    input("x", TensorProto::FLOAT, {"n", std::to_string(rows).c_str()});
    auto &tensor = initializer("w", TensorProto::FLOAT, {rows, columns});
    std::string bytes;
    for (int64_t i = 0; i < rows * columns; ++i) {
      float value = std::sin(static_cast<float>(i));
      bytes.append(reinterpret_cast<const char *>(&value), 4);
    }
    tensor.set_raw_data(bytes);
    node("MatMul", {"x", "w"}, {"y"}, "product");
    output("y");
  }

  /// The program as text, in which $w is the operation that reads the weight.
  static Hook withWeight(const std::string &name, std::string text) {
    return [=](ModuleOp imported, Programs &added) {
      std::string weight, whole = text;
      imported.walk([&](WeightOp op) {
        weight = "lathe.weight \"w\" in \"" + op.getFile().str() + "\" at " + std::to_string(op.getOffset()) +
                 " : tensor<64x80xf32>";
      });
      if (weight.empty())
        return std::string("the model has no weight");
      whole.replace(whole.find("$w"), 2, weight);
      return addText(name, whole)(imported, added);
    };
  }

  CompileOptions options;
};

TEST_F(ProgramsTest, ACloneAddsNoConstants) {
  for (const char *name : {"gpt2_nocache", "bert", "llama_nocache", "vit"}) {
    Module alone(compile("alone.lathe", {}, dataPath(name))), both(compile("both.lathe", addClone, dataPath(name)));
    json before = json::parse(alone.manifest()), after = json::parse(both.manifest());
    EXPECT_FALSE(before.contains("programs"));
    EXPECT_EQ(before["constants"], after["constants"]) << name;
    EXPECT_EQ(before["weights_bytes"], after["weights_bytes"]);
    EXPECT_EQ(alone.info().constants_bytes, both.info().constants_bytes);
    for (const char *key : {"symbols", "inputs", "outputs", "checks", "work", "kernels"})
      EXPECT_EQ(after["programs"][0][key], before[key]) << name << " " << key;
    EXPECT_EQ(both.programs(), (std::vector<std::string>{"main", "again"}));
    auto inputs = makeInputs(both);
    EXPECT_EQ(run(both, "main", inputs), run(alone, "main", inputs));
    EXPECT_EQ(run(both, "again", inputs), run(alone, "main", inputs));
  }
}

TEST_F(ProgramsTest, ProgramsComputeWhatIsTheirOwn) {
  for (const char *name : {"gpt2_nocache", "bert"}) {
    Module module(compile("both.lathe", addNegated, dataPath(name)));
    auto inputs = makeInputs(module);
    auto main = run(module, "main", inputs), negated = run(module, "negated", inputs);
    ASSERT_EQ(main.size(), negated.size());
    for (size_t i = 0; i < main.size(); ++i) {
      ASSERT_EQ(main[i].size(), negated[i].size());
      for (size_t k = 0; k < main[i].size(); ++k)
        ASSERT_NEAR(main[i][k], -negated[i][k], 1e-4f) << name;
    }
  }
}

TEST_F(ProgramsTest, ProgramsHaveInputsAndSymbolsOfTheirOwn) {
  addProduct(64, 80);
  Module module(compile("two.lathe", withWeight("back", R"(
    module attributes {lathe.symbols = {rows = array<i64: 1, 9>}} {
      func.func @main(%a: tensor<?x80xf32> {lathe.name = "a", lathe.dims = ["rows", "80"]},
                      %b: tensor<?x64xf32> {lathe.name = "b", lathe.dims = ["rows", "64"]})
          -> (tensor<?x80xf32> {lathe.name = "sum"}) {
        %w = $w
        %p = lathe.matmul %b, %w : (tensor<?x64xf32>, tensor<64x80xf32>) -> tensor<?x80xf32>
        %s = lathe.add %a, %p : (tensor<?x80xf32>, tensor<?x80xf32>) -> tensor<?x80xf32>
        return %s : tensor<?x80xf32>
      }
    })")));
  ASSERT_EQ(module.programs(), (std::vector<std::string>{"main", "back"}));
  EXPECT_EQ(module.inputs().size(), 1u);
  ASSERT_EQ(module.inputs(1).size(), 2u);
  EXPECT_EQ(module.inputs(1)[1].name, "b");
  EXPECT_EQ(module.input("b", 1), 1u);
  EXPECT_EQ(module.output("sum", 1), 0u);
  EXPECT_EQ(module.symbols()[0].name, "n");
  EXPECT_EQ(module.symbols(1)[0].max, 9);
  EXPECT_EQ(json::parse(module.manifest())["constants"].size(), 1u);
  auto inputs = makeInputs(module, 1);
  auto sum = run(module, "back", inputs)[0];
  auto product = run(module, "main", {{"x", inputs["b"]}})[0];
  ASSERT_EQ(sum.size(), product.size());
  auto *a = reinterpret_cast<const float *>(inputs["a"].bytes.data());
  for (size_t i = 0; i < sum.size(); ++i)
    EXPECT_NEAR(sum[i], a[i] + product[i], 1e-4f);
}

/// A weight is stored as the first program wants it, and the second reads it there.
TEST_F(ProgramsTest, LayoutsOfTheFirstAreTaken) {
  addProduct(64, 80);
  const char *gather = R"(
    module {
      func.func @main(%i: tensor<?xi64> {lathe.name = "i", lathe.dims = ["rows"]}) -> (tensor<?x80xf32> {lathe.name = "r"}) {
        %w = $w
        %r = lathe.gather %w, %i {axis = 0 : i64} : (tensor<64x80xf32>, tensor<?xi64>) -> tensor<?x80xf32>
        return %r : tensor<?x80xf32>
      }
    })";
  Module packed(compile("packed.lathe", withWeight("rows", gather)));
  json constants = json::parse(packed.manifest())["constants"];
  ASSERT_EQ(constants.size(), 1u);
  EXPECT_TRUE(constants[0].contains("packed"));
  std::vector<float> rows = run(packed, "rows", makeInputs(packed, 1))[0];
  // What makeInputs gives for two rows, of the weight as it is in the model.
  for (size_t r = 0; r < rows.size() / 80; ++r)
    for (size_t c = 0; c < 80; ++c)
      EXPECT_EQ(rows[r * 80 + c], std::sin(static_cast<float>((r * 7 + 3) % 11 * 80 + c)));

  // The other way round: a table of the first, which the second multiplies with.
  graph().clear_node();
  graph().clear_input();
  input("i", TensorProto::INT64, {"n"});
  node("Gather", {"w", "i"}, {"y"}, "lookup");
  Module plain(compile("plain.lathe", withWeight("product", R"(
    module {
      func.func @main(%x: tensor<?x64xf32> {lathe.name = "x", lathe.dims = ["n", "64"]}) -> (tensor<?x80xf32> {lathe.name = "y"}) {
        %w = $w
        %y = lathe.matmul %x, %w : (tensor<?x64xf32>, tensor<64x80xf32>) -> tensor<?x80xf32>
        return %y : tensor<?x80xf32>
      }
    })")));
  constants = json::parse(plain.manifest())["constants"];
  ASSERT_EQ(constants.size(), 1u);
  EXPECT_FALSE(constants[0].contains("packed"));
  EXPECT_EQ(constants[0]["rows"], "n");
  EXPECT_EQ(json::parse(plain.manifest())["programs"][0]["reads"], json::parse(R"([{"constant": 0}])"));
  Module again(compile("again.lathe", addClone));
  EXPECT_EQ(json::parse(again.manifest())["programs"][0]["reads"], json::parse(R"([{"constant": 0, "rows": "n"}])"));
  auto inputs = makeInputs(plain, 1);
  auto product = run(plain, "product", inputs)[0], expected = run(packed, "main", inputs)[0];
  ASSERT_EQ(product.size(), expected.size());
  for (size_t i = 0; i < product.size(); ++i)
    EXPECT_NEAR(product[i], expected[i], 1e-4f);
}

/// What no layout serves is stored twice, and says whose it is.
TEST_F(ProgramsTest, OtherConstantsAreTheirOwn) {
  addProduct(64, 80);
  Module module(compile("sum.lathe", withWeight("sum", R"(
    module {
      func.func @main(%z: tensor<64x80xf32> {lathe.name = "z"}) -> (tensor<64x80xf32> {lathe.name = "y"}) {
        %w = $w
        %y = lathe.add %w, %z : (tensor<64x80xf32>, tensor<64x80xf32>) -> tensor<64x80xf32>
        return %y : tensor<64x80xf32>
      }
    })")));
  json constants = json::parse(module.manifest())["constants"];
  ASSERT_EQ(constants.size(), 2u);
  EXPECT_FALSE(constants[0].contains("program"));
  EXPECT_EQ(constants[1]["program"], "sum");
  EXPECT_EQ(json::parse(module.manifest())["programs"][0]["reads"], json::parse(R"([{"constant": 1}])"));
  EXPECT_FALSE(constants[1].contains("packed"));
  auto inputs = makeInputs(module, 1);
  auto *z = reinterpret_cast<const float *>(inputs["z"].bytes.data());
  auto y = run(module, "sum", inputs)[0];
  for (size_t i = 0; i < y.size(); ++i)
    ASSERT_EQ(y[i], std::sin(static_cast<float>(i)) + z[i]);
}

TEST_F(ProgramsTest, PrecisionIsTheSameForAll) {
  addProduct(64, 80);
  options.precision = "bf16";
  Module clone(compile("clone.lathe", addClone));
  json constants = json::parse(clone.manifest())["constants"];
  ASSERT_EQ(constants.size(), 1u);
  EXPECT_EQ(constants[0]["type"], "bf16");
  auto inputs = makeInputs(clone);
  EXPECT_EQ(run(clone, "main", inputs), run(clone, "again", inputs));
  // One reads it in a way that needs f32, so all do.
  Module sum(compile("sum.lathe", withWeight("sum", R"(
    module {
      func.func @main(%z: tensor<64x80xf32> {lathe.name = "z"}) -> (tensor<64x80xf32> {lathe.name = "y"}) {
        %w = $w
        %y = lathe.add %w, %z : (tensor<64x80xf32>, tensor<64x80xf32>) -> tensor<64x80xf32>
        return %y : tensor<64x80xf32>
      }
    })")));
  json manifest = json::parse(sum.manifest());
  for (const json &constant : manifest["constants"])
    EXPECT_EQ(constant["type"], "f32");
}

TEST_F(ProgramsTest, TheSameBytesWithAnyNumberOfJobs) {
  options.isas.clear();
  std::string first = compile("first.lathe", addNegated, dataPath("gpt2_nocache"));
  options.jobs = 3;
  std::string second = compile("second.lathe", addNegated, dataPath("gpt2_nocache"));
  auto read = [](const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  EXPECT_EQ(read(first), read(second));
  // Sections of code are told apart by the names of the programs.
  json manifest = json::parse(Module(first).manifest());
  EXPECT_EQ(manifest["code"][0]["section"], "code.avx2");
  EXPECT_EQ(manifest["programs"][0]["code"][0]["section"], "code.negated.avx2");
  EXPECT_EQ(manifest["programs"][0]["code"].size(), manifest["code"].size());
}

TEST_F(ProgramsTest, PhasesAreDumpedByName) {
  addProduct(64, 80);
  options.dumpDir = folder + "/phases";
  compile("dumped.lathe", addClone);
  for (const char *file :
       {"01-import.mlir", "01-again-import.mlir", "04-select.mlir", "04-again-select.mlir", "06-again-llvm.mlir"})
    EXPECT_TRUE(std::filesystem::exists(options.dumpDir + "/" + file)) << file;
}

TEST_F(ProgramsTest, SaysWhatIsWrongWithAProgram) {
  addProduct(64, 80);
  auto named = [](const std::string &name) {
    return [=](ModuleOp imported, Programs &added) {
      added.push_back({name, imported.clone()});
      return std::string();
    };
  };
  EXPECT_EQ(errorOf([](ModuleOp, Programs &) { return std::string("no cache to make"); }), "no cache to make");
  for (const char *name : {"", "a.b", "a b", "seventeen_letters"})
    EXPECT_EQ(errorOf(named(name)),
              "program '" + std::string(name) + "': expects a name of 1 to 16 letters, digits, '_' and '-'");
  EXPECT_EQ(errorOf(named("main")), "program 'main': expects a name that no other program has");
  EXPECT_EQ(errorOf([](ModuleOp, Programs &added) {
              added.push_back({"none", {}});
              return std::string();
            }),
            "program 'none': expects a module with a function @main that has a body");
  EXPECT_EQ(errorOf([](ModuleOp imported, Programs &added) {
              for (int i = 0; i < 16; ++i)
                added.push_back({"p" + std::to_string(i), imported.clone()});
              return std::string();
            }),
            "an artifact has at most 16 programs, got 17");
  EXPECT_HAS(
      errorOf(addText(
          "odd", "module { func.func @main(%x: tensor<?x4xf32> {lathe.dims = [\"n + 1\", \"4\"]}) -> tensor<?x4xf32> {"
                 " return %x : tensor<?x4xf32> } }")),
      "program 'odd': ");
}

TEST_F(ProgramsTest, EightSessionsOfTwoProgramsShareOneModule) {
  Module module(compile("both.lathe", addNegated, dataPath("gpt2_nocache")));
  auto inputs = makeInputs(module);
  auto main = run(module, "main", inputs), negated = run(module, "negated", inputs);
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      for (int round = 0; round < 3; ++round)
        EXPECT_EQ(run(module, t % 2 ? "negated" : "main", inputs), t % 2 ? negated : main);
    });
  for (std::thread &thread : threads)
    thread.join();
}

} // namespace
