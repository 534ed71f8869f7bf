//===- LayerTimesTest.cpp - Ways to store weights, by their times ---------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/LayerTimes.h"
#include "compiler/Compile.h"
#include "compiler/Dialects.h"
#include "compiler/MemoryWatch.h"
#include "compiler/ProductRows.h"
#include "lathe/lathe.hpp"
#include "test/unit/frontends/OnnxTestSupport.h"
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

using namespace lathe;
using namespace mlir;
using nlohmann::json;
using onnx::TensorProto;

namespace {

using NodeTimes = std::map<std::string, NodeTime>;

/// Says what a test wants, and counts how often it is asked.
class FakeStopwatch : public Stopwatch {
public:
  using Answer = std::function<NodeTimes(const std::string &path, size_t way)>;
  explicit FakeStopwatch(Answer answer) : answer(std::move(answer)) {}
  std::string machine() const override { return "a test's"; }
  std::string time(const std::vector<std::string> &paths, bool isWarm, std::vector<NodeTimes> &times) override {
    ++asked;
    wasWarm = isWarm;
    for (size_t way = 0; way < paths.size(); ++way)
      times.push_back(answer(paths[way], way));
    return problem;
  }
  Answer answer;
  std::string problem;
  int asked = 0;
  bool wasWarm = false;
};

TEST(LayerTimesTest, SmallDifferencesAreNone) {
  auto isSlowerBy = [](double way, double than) { return isSlower({"a", "", way}, {"b", "", than}); };
  EXPECT_TRUE(isSlowerBy(120, 100));
  EXPECT_FALSE(isSlowerBy(109, 100)); // less than 10 %
  EXPECT_FALSE(isSlowerBy(7, 5));     // less than 3 us
  EXPECT_FALSE(isSlowerBy(80, 100));
  EXPECT_FALSE(isSlowerBy(100, 100));
}

/// Products without a model around them: what would be compiled is looked at, and what it takes is made up.
class ProductTimesTest : public ::testing::Test {
protected:
  ProductTimesTest() : resume("", {}) {
    DialectRegistry registry;
    registerDialects(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
    model = ModuleOp::create(UnknownLoc::get(&context));
    compression.main = *model;
    compression.resume = &resume;
    compression.stopwatch = &stopwatch;
    compression.compileTimed = [this](ModuleOp module, const std::string &, std::string &) {
      std::vector<std::string> nodes;
      module.walk([&](MatmulOp op) { nodes.push_back(compression::nodeOf(op)); });
      compiled.push_back(std::move(nodes));
      return true;
    };
  }

  static TimedProduct product(int64_t inputs, int64_t outputs, std::string kind = "") {
    auto weight = [=](OpBuilder &b, Location loc) -> Value {
      return b.create<WeightOp>(loc, RankedTensorType::get({inputs, outputs}, b.getF32Type()), "w", "file", 0);
    };
    return {2, inputs, outputs, false, std::move(kind), weight};
  }

  std::vector<std::vector<TimedWay>> time(const std::vector<TimedProduct> &products) {
    std::vector<std::vector<TimedWay>> times;
    std::string error;
    ProductWay ways[] = {{"f32", nullptr}, {"other", [](ArrayRef<TimedMatmul>, std::string &) { return true; }}};
    EXPECT_TRUE(timeProducts(compression, products, ways, "", times, error)) << error;
    return times;
  }

  MLIRContext context;
  OwningOpRef<ModuleOp> model;
  Resume resume;
  Compression compression;
  std::vector<std::vector<std::string>> compiled; ///< the products of each program
  /// Product i takes i + 1 microseconds, and ten times that in the other way.
  FakeStopwatch stopwatch{[](const std::string &, size_t way) {
    NodeTimes times;
    for (int i = 0; i < 100; ++i)
      times["product " + std::to_string(i)] = {way ? 10.0 * (i + 1) : i + 1, "matmul"};
    return times;
  }};
};

TEST_F(ProductTimesTest, ProductsOfOneSizeHaveTheirMedian) {
  auto times = time({product(8, 4), product(8, 4), product(8, 6), product(8, 4), product(8, 4, "sparse")});
  EXPECT_EQ(compiled, (std::vector<std::vector<std::string>>(
                          2, {"product 0", "product 1", "product 2", "product 3", "product 4"})));
  EXPECT_TRUE(stopwatch.wasWarm);
  ASSERT_EQ(times.size(), 5u);
  for (size_t i : {0, 1, 3}) {
    EXPECT_EQ(times[i][0].microseconds, 2);
    EXPECT_EQ(times[i][1].microseconds, 20);
  }
  EXPECT_EQ(times[2][1].microseconds, 30);
  EXPECT_EQ(times[4][0].microseconds, 5);
  EXPECT_EQ(times[4][1].name, "other");
}

TEST_F(ProductTimesTest, WhatProductsShareIsTheirsInEqualParts) {
  stopwatch.answer = [](const std::string &, size_t) {
    return NodeTimes{{"product 0", {5, "matmul"}}, {"product 1", {7, "matmul"}}, {"x 2 8", {4, "generated"}}};
  };
  auto times = time({product(8, 4), product(8, 6)});
  EXPECT_EQ(times[0][0].microseconds, 7);
  EXPECT_EQ(times[1][0].microseconds, 9);
  EXPECT_EQ(times[1][0].kernel, "matmul, generated");
}

TEST_F(ProductTimesTest, OfManyProductsSomeAreTimed) {
  // 16 MiB each, of which 8 fit, and a single one that is larger than all that fit.
  std::vector<TimedProduct> products(20, product(4096, 1024));
  products.push_back(product(1 << 14, 1 << 13));
  auto times = time(products);
  ASSERT_EQ(compiled.size(), 4u); // two programs in two ways
  EXPECT_EQ(compiled[0].size(), 1u);
  EXPECT_EQ(compiled[2], std::vector<std::string>{"product 20"});
  EXPECT_FALSE(stopwatch.wasWarm);
  EXPECT_EQ(times[19][0].microseconds, times[0][0].microseconds);
  EXPECT_EQ(times[20][0].microseconds, 21);
  products.pop_back();
  compiled.clear();
  time(products);
  ASSERT_EQ(compiled.size(), 2u);
  EXPECT_EQ(compiled[0].size(), 8u);
  EXPECT_FALSE(stopwatch.wasWarm);
}

/// y[n, 192] = x[n, 256] . fast[256, 224] . odd[224, 192], of which the second is slower as integers.
class SlowLayersTest : public lathe::test::OnnxTest {
protected:
  static constexpr const char *kOdd = "odd[0]*";

  void SetUp() override {
    OnnxTest::SetUp();
    options.level = 1;
    options.stopwatch = &stopwatch;
    options.recipe = R"({"steps": [{"mode": "dynamic"}]})";
    input("x", TensorProto::FLOAT, {"n", "256"});
    addWeight("fast", 256, 224);
    addWeight(kOdd, 224, 192);
    node("MatMul", {"x", "fast"}, {"h"}, "first");
    node("MatMul", {"h", kOdd}, {"y"}, "second");
    output("y");
    path = write("model.onnx", model.SerializeAsString());
  }

  void addWeight(const std::string &name, int64_t rows, int64_t columns) {
    std::string bytes;
    for (int64_t i = 0; i < rows * columns; ++i) {
      float value = std::sin(0.7f * static_cast<float>(i));
      bytes.append(reinterpret_cast<const char *>(&value), 4);
    }
    initializer(name, TensorProto::FLOAT, {rows, columns}).set_raw_data(bytes);
  }

  /// Products of floats take 20 us, of integers 5 with the first weight and 50 with the other.
  static NodeTimes timesOf(const std::string &path, size_t) {
    Module module(path);
    json manifest = json::parse(module.manifest());
    NodeTimes times;
    for (const json &kernel : manifest["kernels"]) {
      if (!kernel.contains("weight"))
        continue;
      const json &weight = manifest["constants"][kernel["weight"].get<size_t>()];
      bool isInteger = weight.contains("quantized") && kernel.value("rounds", "") == "rows";
      times[kernel["nodes"][0]] = {isInteger ? (weight["shape"][0] == 256 ? 5.0 : 50.0) : 20.0,
                                   isInteger ? "integers" : "floats"};
    }
    return times;
  }

  CompileResult compile(const std::string &name) { return compileModel(path, folder + "/" + name, options); }

  /// Compiles, and tells which constants are codes.
  std::map<std::string, bool> codesOf(const std::string &name) {
    result = compile(name);
    EXPECT_EQ(result.code, ExitCode::ok) << (result.errors.empty() ? "" : result.errors.front());
    std::map<std::string, bool> codes;
    json manifest = json::parse(Module(folder + "/" + name).manifest());
    for (const json &constant : manifest["constants"])
      codes[constant["name"]] = constant.contains("quantized");
    return codes;
  }

  std::string bytesOf(const std::string &name) {
    std::ifstream file(folder + "/" + name, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }

  using Codes = std::map<std::string, bool>;
  FakeStopwatch stopwatch{timesOf};
  CompileOptions options;
  CompileResult result;
  std::string path;
};

TEST_F(SlowLayersTest, StayAsTheyWere) {
  EXPECT_EQ(codesOf("a.lathe"), (Codes{{"fast", true}, {kOdd, false}}));
  EXPECT_EQ(stopwatch.asked, 1);
  ASSERT_EQ(result.compression.layers.size(), 2u);
  for (const CompressedLayer &layer : result.compression.layers) {
    ASSERT_EQ(layer.ways.size(), 2u);
    EXPECT_EQ(layer.rows, 128);
    EXPECT_EQ(layer.ways[0].name, "f32");
    bool isOdd = layer.weight == kOdd;
    EXPECT_EQ(layer.format.empty(), isOdd);
    EXPECT_EQ(layer.way, isOdd ? 0u : 1u);
    EXPECT_EQ(layer.ways[1].microseconds, isOdd ? 50 : 5);
    EXPECT_EQ(layer.reason,
              isOdd
                  ? "its product of 128 rows would be 30.0 us (150 %) slower: 50.0 us as int8 f16 scales (integers), 20.0 us as f32 (floats)"
                  : "");
  }
  // The recipe that is kept does the same where nothing is timed, byte for byte.
  options.recipe = nlohmann::ordered_json::parse(Module(folder + "/a.lathe").manifest())["recipe"].dump();
  options.stopwatch = nullptr;
  codesOf("b.lathe");
  EXPECT_TRUE(bytesOf("a.lathe") == bytesOf("b.lathe"));
}

TEST_F(SlowLayersTest, AreCompressedForTheirSize) {
  for (const char *recipe : {R"({"steps": [{"mode": "dynamic", "prefer": "size"}]})",
                             R"({"prefer": "size", "steps": [{"mode": "dynamic"}]})", R"({"steps": [{"bits": 8}]})"}) {
    options.recipe = recipe;
    EXPECT_EQ(codesOf("a.lathe"), (Codes{{"fast", true}, {kOdd, true}})) << recipe;
    EXPECT_EQ(json::parse(Module(folder + "/a.lathe").manifest())["recipe"], json::parse(recipe));
  }
  EXPECT_EQ(stopwatch.asked, 0);
  options.report = folder + "/report.json"; // has times, even if nothing depends on them
  codesOf("a.lathe");
  EXPECT_EQ(stopwatch.asked, 1);
  EXPECT_EQ(result.compression.layers.front().ways.size(), 2u);
}

TEST_F(SlowLayersTest, WeightsAloneStayForSpeed) {
  options.recipe = R"({"prefer": "speed", "rows": 200, "steps": [{"bits": 4, "group_size": 32, "tensors": ["o*"]}]})";
  stopwatch.answer = [](const std::string &, size_t way) { return NodeTimes{{"product 0", {way ? 30.0 : 20.0, ""}}}; };
  EXPECT_EQ(codesOf("a.lathe"), (Codes{{"fast", false}, {kOdd, false}}));
  EXPECT_EQ(result.compression.layers.front().rows, 200);
}

TEST_F(SlowLayersTest, RowsAreThoseOfABatchOfOne) {
  options.recipe = R"({"rows": 300, "steps": [{"mode": "dynamic"}]})";
  options.report = folder + "/report.json";
  auto rowsOf = [&](std::initializer_list<const char *> dims) {
    graph().clear_input();
    input("x", TensorProto::FLOAT, dims);
    path = write("model.onnx", model.SerializeAsString());
    codesOf("a.lathe");
    return result.compression.layers.front().rows;
  };
  EXPECT_EQ(rowsOf({"batch", "sequence", "256"}), 300);
  EXPECT_EQ(rowsOf({"batch", "49", "256"}), 49);
  EXPECT_EQ(rowsOf({"2", "7", "256"}), 14);
  EXPECT_EQ(rowsOf({"batch", "3", "sequence", "256"}), 900);
  EXPECT_EQ(rowsOf({"batch", "256"}), 300); // nothing else is open
  EXPECT_EQ(rowsOf({"1", "256"}), 1);
}

TEST(ProductRowsTest, ExpressionsHaveValues) {
  ShapeContext shapes;
  SymExpr a = SymExpr::symbol("a"), b = SymExpr::symbol("b");
  auto valueOf = [&](const SymExpr &expression) {
    return evaluate(expression, [](llvm::StringRef name) { return name == "a" ? 7 : 3; });
  };
  EXPECT_EQ(valueOf(a * b + a - 5), 23);
  EXPECT_EQ(valueOf(SymExpr(4)), 4);
  EXPECT_EQ(valueOf(shapes.floorDiv(a + 1, b)), 2);
  EXPECT_EQ(valueOf(shapes.floorDiv(b - a, b)), -2);
  EXPECT_EQ(valueOf(shapes.mod(a, b)), 1);
  EXPECT_EQ(valueOf(shapes.max(shapes.min(a, b), b - 1) * a), 21);
  EXPECT_EQ(valueOf(shapes.select(shapes.lt(a, b), a, b)), 3);
  EXPECT_EQ(valueOf(shapes.select(shapes.eq(a, 7), a, b)), 7);
}

TEST_F(SlowLayersTest, SmallProductsAreNotTimed) {
  options.recipe = R"({"rows": 1, "steps": [{"mode": "dynamic"}]})";
  EXPECT_EQ(codesOf("a.lathe"), (Codes{{"fast", true}, {kOdd, true}}));
  EXPECT_EQ(stopwatch.asked, 0);
  // Reports have their times, which decide nothing.
  std::string bytes = bytesOf("a.lathe");
  options.report = folder + "/report.json";
  codesOf("a.lathe");
  EXPECT_EQ(stopwatch.asked, 1);
  EXPECT_EQ(result.compression.layers.back().ways.size(), 2u);
  EXPECT_EQ(result.compression.layers.back().way, 1u);
  EXPECT_TRUE(bytesOf("a.lathe") == bytes);
}

TEST_F(SlowLayersTest, OtherMachinesAreNotTimed) {
  bool isWide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
  options.isas = {isWide ? "avx2" : "avx512"};
  stopwatch.problem = "must not be asked";
  result = compile("a.lathe");
  EXPECT_EQ(result.code, ExitCode::ok);
  EXPECT_NE(result.compression.whyNotTimed.find("this machine"), std::string::npos);
  EXPECT_EQ(stopwatch.asked, 0);
}

TEST_F(SlowLayersTest, AreNotTimedWithoutMemoryForIt) {
  constexpr uint64_t kRoom = uint64_t(90) << 20; // enough to compile
  options.maxMemory = residentBytes() + kRoom;
  stopwatch.problem = "must not be asked";
  result = compile("a.lathe");
  EXPECT_EQ(result.code, ExitCode::ok);
  EXPECT_NE(result.compression.whyNotTimed.find("--max-memory"), std::string::npos);
  EXPECT_EQ(stopwatch.asked, 0);
}

TEST_F(SlowLayersTest, AreDecidedOnceByAnInterruptedRun) {
  options.report = folder + "/no/folder/report.json"; // which can't be written, so that what was finished is kept
  EXPECT_EQ(compile("a.lathe").code, ExitCode::internal);
  EXPECT_EQ(stopwatch.asked, 1);
  options.report.clear();
  stopwatch.answer = [](const std::string &, size_t) { return NodeTimes(); };
  EXPECT_EQ(codesOf("a.lathe"), (Codes{{"fast", true}, {kOdd, false}}));
  EXPECT_EQ(stopwatch.asked, 1);
}

TEST_F(SlowLayersTest, AProductWithoutAKernelIsAFailure) {
  stopwatch.answer = [](const std::string &, size_t) { return NodeTimes(); };
  result = compile("a.lathe");
  ASSERT_EQ(result.errors.size(), 1u);
  EXPECT_EQ(result.errors.front(), "timing products: no kernel of the way 'f32' was seen for a product of 256 x 224");
}

TEST_F(SlowLayersTest, AFailureIsTold) {
  stopwatch.problem = "no clock";
  result = compile("a.lathe");
  EXPECT_NE(result.code, ExitCode::ok);
  ASSERT_EQ(result.errors.size(), 1u);
  EXPECT_EQ(result.errors.front(), "timing products: no clock");
  EXPECT_FALSE(std::filesystem::exists(folder + "/a.lathe"));
}

} // namespace
