//===- ToolRunTest.cpp - lathe run, bench and inspect -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/Commands.h"
#include "compiler/tools/lathe/RunCommands/DimExpression.h"
#include "compiler/tools/lathe/RunCommands/TensorFiles.h"
#include "test/unit/runtime/DemoArtifact.h"

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <gtest/gtest.h>

using namespace lathe::test;
using namespace lathe::tool;

namespace {

template <typename T>
Tensor tensor(const std::string &name, lathe_dtype dtype, std::vector<int64_t> dims, const std::vector<T> &values) {
  Tensor result;
  result.name = name;
  result.dtype = dtype;
  result.dims = std::move(dims);
  result.bytes.resize(values.size() * sizeof(T));
  if (!values.empty())
    memcpy(result.bytes.data(), values.data(), result.bytes.size());
  return result;
}

/// Runs the tool as if from a command line; returns the exit code and keeps what it printed.
int lathe(std::vector<std::string> arguments, std::string *out = nullptr, std::string *err = nullptr) {
  CLI::App app;
  int exitCode = -1;
  addRunCommand(app, exitCode);
  addBenchCommand(app, exitCode);
  addInspectCommand(app, exitCode);
  std::reverse(arguments.begin(), arguments.end());
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError &) {
    exitCode = 2;
  }
  fflush(stdout);
  std::string output = testing::internal::GetCapturedStdout(), errors = testing::internal::GetCapturedStderr();
  if (out)
    *out = output;
  if (err)
    *err = errors;
  return exitCode;
}

/// Inputs for the demo at batch 2, n 3.
std::vector<Tensor> demoInputs() {
  return {tensor<float>("x", LATHE_F32, {2, 8}, std::vector<float>(16, 1)),
          tensor<float>("y", LATHE_F32, {2, 3}, {1, 2, 3, 4, 5, 6}), tensor<int64_t>("index", LATHE_I64, {2}, {1, 3}),
          tensor<float>("z", LATHE_F32, {4}, {0, 1, 0, 1})};
}

std::string npy(const std::string &header, const std::string &data, char version = 1) {
  std::string text = "\x93NUMPY";
  text += version;
  text += '\0';
  text += static_cast<char>(header.size());
  text += static_cast<char>(header.size() >> 8);
  if (version > 1)
    text += std::string(2, '\0');
  return text + header + data;
}

Tensor parse(const std::string &text) {
  // Exactly as large as the content, so that a sanitizer sees reads past it.
  std::vector<unsigned char> bytes(text.begin(), text.end());
  return parseNpy(bytes.data(), bytes.size(), "test");
}

TEST(Npy, BytesStandForTypesThatNumpyLacks) {
  for (int i = LATHE_F8E4M3FN; i <= LATHE_U2; ++i) {
    auto dtype = static_cast<lathe_dtype>(i);
    Tensor original;
    original.dtype = dtype;
    original.dims = {3};
    original.bytes = {1, 0, 3};
    std::vector<unsigned char> file = formatNpy(original);
    Tensor back = parseNpy(file.data(), file.size(), "test");
    EXPECT_EQ(back.bytes, original.bytes);
    EXPECT_EQ(fileType(back.dtype, dtype), dtype);
    EXPECT_EQ(fileType(back.dtype, LATHE_F32), back.dtype);
  }
  EXPECT_EQ(fileType(parse(npy("{'descr': '<V1', 'fortran_order': False, 'shape': (2,), }\n", "ab")).dtype, LATHE_I4),
            LATHE_I4);
}

TEST(Npy, ElementsOfNarrowTypes) {
  auto value = [](lathe_dtype dtype, unsigned char byte) {
    Tensor tensor;
    tensor.dtype = dtype;
    tensor.dims = {1};
    tensor.bytes = {byte};
    return element(tensor, 0);
  };
  EXPECT_EQ(value(LATHE_F8E4M3, 0x77), 240);
  EXPECT_EQ(value(LATHE_F8E4M3, 0xf8), -INFINITY);
  EXPECT_EQ(value(LATHE_F8E4M3FN, 0x7e), 448);
  EXPECT_TRUE(std::isnan(value(LATHE_F8E4M3FN, 0x7f)));
  EXPECT_EQ(value(LATHE_F8E4M3FN, 0x81), -0x1p-9);
  EXPECT_EQ(value(LATHE_F8E4M3FNUZ, 0x7f), 240);
  EXPECT_TRUE(std::isnan(value(LATHE_F8E4M3FNUZ, 0x80)));
  EXPECT_EQ(value(LATHE_F8E5M2, 0x7b), 57344);
  EXPECT_EQ(value(LATHE_F8E5M2, 0xfc), -INFINITY);
  EXPECT_EQ(value(LATHE_F8E5M2FNUZ, 0x7f), 57344);
  EXPECT_EQ(value(LATHE_I4, 0xff), -1);
  EXPECT_EQ(value(LATHE_U4, 15), 15);
}

TEST(Npy, RoundTripsEveryType) {
  for (int i = 0; i <= LATHE_BOOL; ++i) {
    auto dtype = static_cast<lathe_dtype>(i);
    for (const std::vector<int64_t> &dims : {std::vector<int64_t>{}, {0}, {5}, {2, 3}, {2, 0, 3}, {1, 2, 3, 4}}) {
      int64_t count = 1;
      for (int64_t dim : dims)
        count *= dim;
      Tensor original;
      original.dtype = dtype;
      original.dims = dims;
      original.bytes.assign(static_cast<size_t>(count) * lathe_dtype_size(dtype), 1);
      std::vector<unsigned char> file = formatNpy(original);
      EXPECT_EQ((file.size() - original.bytes.size()) % 64, 0u);
      Tensor back = parseNpy(file.data(), file.size(), "test");
      EXPECT_EQ(back.dtype, dtype);
      EXPECT_EQ(back.dims, dims);
      EXPECT_EQ(back.bytes, original.bytes);
      for (size_t size = 0; size < file.size(); ++size)
        EXPECT_THROW(parseNpy(file.data(), size, "test"), FileError);
    }
  }
}

TEST(Npy, ConvertsOrders) {
  std::string data("\1\0\2\0\3\0\4\0\5\0\6\0", 12);
  Tensor fortran = parse(npy("{'descr': '<i2', 'fortran_order': True, 'shape': (2, 3), }\n", data));
  for (int i = 0; i < 6; ++i)
    EXPECT_EQ(element(fortran, i), (std::vector<int>{1, 3, 5, 2, 4, 6})[static_cast<size_t>(i)]);
  Tensor big = parse(npy("{'descr': '>i2', 'fortran_order': False, 'shape': (6,)}", data, 2));
  EXPECT_EQ(element(big, 1), 512);
  EXPECT_EQ(element(tensor<uint16_t>("", LATHE_F16, {3}, {0x3c00, 0xc100, 1}), 1), -2.5);
  EXPECT_EQ(element(tensor<uint16_t>("", LATHE_BF16, {1}, {0x3f80}), 0), 1);
}

TEST(Npy, RefusesWhatIsMalformed) {
  for (const char *header :
       {"", "{", "{}", "{'descr': '<f4', 'fortran_order': False}", "{'descr': '<f4', 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}",
        "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1",
        "{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", "{'descr': '<f4",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': ()}"
        ", 'more': 1}"})
    EXPECT_THROW(parse(npy(header, "abcd")), FileError) << header;
  EXPECT_THROW(parse(npy("{'descr': '<f4', 'fortran_order': False, 'shape': ()}", "abcd", 9)), FileError);
  EXPECT_THROW(readNpy("/nonexistent"), FileError);
  EXPECT_THROW(readNpy("/"), FileError);
}

TEST(Npz, RoundTripsAndRefuses) {
  std::string path = temporaryPath("x.npz");
  writeNpz(path, demoInputs());
  std::vector<unsigned char> first = readFile(path);
  std::vector<Tensor> back = readNpz(path);
  ASSERT_EQ(back.size(), 4u);
  EXPECT_EQ(back[2].name, "index");
  EXPECT_EQ(back[2].bytes, demoInputs()[2].bytes);
  writeNpz(path, demoInputs());
  EXPECT_EQ(readFile(path), first);
  for (size_t at = 0; at < first.size(); at += 7) {
    std::vector<unsigned char> bytes = first;
    bytes[at] ^= 0x40;
    writeFile(path, bytes);
    try {
      readNpz(path);
    } catch (const FileError &) {
    }
  }
  EXPECT_THROW(readNpz("/nonexistent"), FileError);
  EXPECT_THROW(writeNpz("/nonexistent/x.npz", demoInputs()), FileError);
  EXPECT_THROW(writeNpz("/dev/null", demoInputs()), FileError);
}

TEST(DimExpression, Evaluates) {
  std::map<std::string, int64_t> symbols = {{"a", 3}, {"past + b", 7}, {"n_1", 10}};
  EXPECT_EQ(evaluateDim("a", symbols), 3);
  EXPECT_EQ(evaluateDim("past + b", symbols), 7);
  EXPECT_EQ(evaluateDim("2*(a + n_1) - 1", symbols), 25);
  EXPECT_EQ(evaluateDim("n_1 // a", symbols), 3);
  EXPECT_EQ(evaluateDim("(a - n_1) / 2", symbols), -4);
  EXPECT_EQ(evaluateDim("2*floordiv(a - n_1, 2) + max(a, 5)*min(a, 5)", symbols), 7);
  EXPECT_EQ(evaluateDim("mod(0 - a, 2)", symbols), 1);
  for (const char *text : {"floordiv(a, 0)", "min(a", "min(", "mod(a,", "min(a)", "max(a, 2", "log(a, 2)", "min(a, 2, 3)"})
    EXPECT_EQ(evaluateDim(text, symbols), std::nullopt) << text;
  for (const char *text :
       {"", "b", "a +", "(a", "a b", "a / 0", "9999999999999999999", "9223372036854775807 + 1", "-1"})
    EXPECT_EQ(evaluateDim(text, symbols), std::nullopt) << text;
  EXPECT_EQ(evaluateDim(std::string(100000, '('), symbols), std::nullopt);
}

TEST(Run, RunsComparesAndWrites) {
  DemoArtifact demo;
  std::string model = demo.write("tool.lathe"), in = temporaryPath("in.npz"), out = temporaryPath("out.npz");
  std::string expect = temporaryPath("expect.npz"), printed;
  writeNpz(in, demoInputs());
  EXPECT_EQ(lathe({"run", model, "--inputs", in, "--outputs", out, "--verify", "--threads", "2"}), 0);
  std::vector<Tensor> outputs = readNpz(out);
  ASSERT_EQ(outputs.size(), 2u);
  EXPECT_EQ(outputs[0].name, "sum");
  EXPECT_EQ(element(outputs[0], 4), 5 * 0.5 + 1);
  EXPECT_EQ(lathe({"run", model, "--inputs", in, "--expect", out, "--rtol", "0", "--atol", "0"}, &printed), 0);
  EXPECT_EQ(printed, "sum: max error 0, allowed 0: ok\nproduct: max error 0, allowed 0: ok\n");
  outputs[0].bytes[3] ^= 0x40;
  writeNpz(expect, outputs);
  EXPECT_EQ(lathe({"run", model, "--inputs", in, "--expect", expect}, &printed), 4);
  EXPECT_NE(printed.find("FAILED"), std::string::npos);
  outputs[0].dims = {3, 2};
  writeNpz(expect, outputs);
  EXPECT_EQ(lathe({"run", model, "--inputs", in, "--expect", expect}), 4);
  outputs[0].name = "other";
  writeNpz(expect, outputs);
  EXPECT_EQ(lathe({"run", model, "--inputs", in, "--expect", expect}), 2);
  std::vector<Tensor> inputs = demoInputs();
  Tensor z = inputs.back();
  inputs.pop_back();
  writeNpz(in, inputs);
  std::string single = temporaryPath("z.npy");
  writeFile(single, formatNpy(z));
  EXPECT_EQ(lathe({"run", model, "--inputs", in, "--input", "z=@" + single}, &printed), 0);
  EXPECT_EQ(printed.rfind("sum: f32 [2, 3] = 2, 5, 6, 2, 3.5, 3\n", 0), 0u) << printed;
}

TEST(Run, MapsFailuresToExitCodes) {
  DemoArtifact demo;
  std::string model = demo.write("tool.lathe"), in = temporaryPath("in.npz"), out = temporaryPath("none.npz"), err;
  writeNpz(in, demoInputs());
  EXPECT_EQ(lathe({"run", model}, nullptr, &err), 2);
  EXPECT_EQ(err,
            "lathe: error: input 'x' of type f32 and shape [batch, 8] is missing: give it by --input or --inputs\n");
  EXPECT_EQ(lathe({"run"}), 2);
  EXPECT_EQ(lathe({"run", model, "--inputs", in, "--device", "tpu"}, nullptr, &err), 2);
  EXPECT_NE(err.find("it is for: cpu"), std::string::npos);
  EXPECT_EQ(lathe({"run", "/nonexistent.lathe", "--inputs", in}), 2);
  EXPECT_EQ(lathe({"run", model, "--inputs", "/nonexistent.npz"}), 2);
  EXPECT_EQ(lathe({"run", model, "--inputs", in, "--input", "q=@" + in}), 2);
  EXPECT_EQ(lathe({"run", in, "--inputs", in}), 3);
  EXPECT_EQ(lathe({"run", model, "--inputs", in, "--memory-budget", "9000"}), 5);
  EXPECT_EQ(lathe({"run", model, "--inputs", in, "--outputs", "/nonexistent/out.npz"}), 1);
  std::vector<Tensor> inputs = demoInputs();
  inputs[2].bytes[0] = 9;
  writeNpz(in, inputs);
  EXPECT_EQ(lathe({"run", model, "--inputs", in, "--outputs", out}, nullptr, &err), 2);
  EXPECT_EQ(err, "lathe: error: node 'Gather_0': index out of range: the table has 4 rows\n");
  EXPECT_FALSE(std::filesystem::exists(out));
  inputs[2].name = "indices";
  writeNpz(in, inputs);
  EXPECT_EQ(lathe({"run", model, "--inputs", in}, nullptr, &err), 2);
  EXPECT_EQ(err, "lathe: error: the model has no input 'indices'; it has: 'x', 'y', 'index', 'z'\n");
}

TEST(Bench, ReportsJson) {
  std::string model = DemoArtifact().write("tool.lathe"), printed;
  EXPECT_EQ(lathe({"bench", model, "--dim", "batch=5", "--dim", "n=7", "--iterations", "4", "--threads", "1", "--json"},
                  &printed),
            0);
  auto report = nlohmann::json::parse(printed);
  for (const char *key : {"median_ms", "min_ms", "p90_ms", "load_ms", "peak_rss_bytes"})
    EXPECT_GT(report.at(key).get<double>(), 0) << key;
  EXPECT_EQ(report.at("iterations"), 4);
  EXPECT_EQ(report.at("threads"), 1);
  EXPECT_EQ(report.at("dims").dump(), "{\"batch\":5,\"n\":7}");
  EXPECT_EQ(lathe({"bench", model, "--dim", "rows=5"}), 2);
  EXPECT_EQ(lathe({"bench", model, "--dim", "batch"}), 2);
  EXPECT_EQ(lathe({"bench", model, "--dim", "n=65"}), 2);
  std::string in = temporaryPath("bench.npz");
  writeNpz(in, demoInputs());
  EXPECT_EQ(lathe({"bench", model, "--inputs", in, "--json"}, &printed), 0);
  EXPECT_EQ(nlohmann::json::parse(printed).at("dims").dump(), "{\"batch\":2,\"n\":3}");
}

TEST(Inspect, Describes) {
  std::string model = DemoArtifact().write("tool.lathe"), printed;
  EXPECT_EQ(lathe({"inspect", model, "--json"}, &printed), 0);
  auto report = nlohmann::json::parse(printed);
  EXPECT_EQ(report.at("inputs")[0].dump(), R"({"name":"x","shape":["batch",8],"type":"f32"})");
  EXPECT_EQ(report.at("weights_bytes"), 592);
  EXPECT_EQ(report.at("file_bytes"), std::filesystem::file_size(model));
  EXPECT_EQ(report.at("devices").dump(), "[\"cpu\"]");
  EXPECT_TRUE(report.at("recipe").is_null());
  EXPECT_EQ(lathe({"inspect", model}, &printed), 0);
  EXPECT_NE(printed.find("batch: 0 to any"), std::string::npos);
  EXPECT_EQ(report.at("programs").dump(), "[]");
  EXPECT_EQ(lathe({"inspect", "/dev/null"}), 2);
}

TEST(Inspect, DescribesPrograms) {
  DemoArtifact demo;
  demo.addProgram("step");
  demo.manifest["programs"][0]["symbols"][1]["max"] = 5;
  demo.manifest["programs"][0]["reads"] = {{{"constant", 0}, {"rows", "batch"}}, {{"constant", 2}}, {{"constant", 3}}, {{"rows", 1}}};
  std::string model = demo.write("programs.lathe"), printed;
  EXPECT_EQ(lathe({"inspect", model, "--json"}, &printed), 0);
  auto report = nlohmann::json::parse(printed);
  EXPECT_EQ(report.at("outputs")[0].at("name"), "sum");
  ASSERT_EQ(report.at("programs").size(), 1u);
  const nlohmann::json &step = report.at("programs")[0];
  EXPECT_EQ(step.at("name"), "step");
  EXPECT_EQ(step.at("inputs"), report.at("inputs"));
  EXPECT_EQ(step.at("outputs")[0].at("name"), "step.sum");
  EXPECT_EQ(step.at("symbols")[1].at("max"), 5);
  EXPECT_EQ(step.at("kernels"), 2);
  EXPECT_EQ(step.at("weights_bytes"), 16 + 64);
  EXPECT_EQ(lathe({"inspect", model}, &printed), 0);
  EXPECT_NE(printed.find("outputs of program step\n  step.sum"), std::string::npos) << printed;
  EXPECT_NE(printed.find("dimensions of program step\n"), std::string::npos);
}

} // namespace
