//===- SessionTest.cpp - Runs of a small artifact ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/include/lathe/lathe.h"
#include "runtime/include/lathe/lathe.hpp"
#include "test/unit/runtime/DemoArtifact.h"
#include "test/unit/runtime/ErrorSupport.h"

#include <cstring>
#include <gtest/gtest.h>
#include <random>
#include <thread>

using namespace lathe::test;

namespace {

struct Inputs {
  int64_t batch, n;
  std::vector<float> x, y, z;
  std::vector<int64_t> index;

  Inputs(int64_t batch, int64_t n, unsigned seed = 1) : batch(batch), n(n) {
    std::mt19937 random(seed);
    auto fill = [&](std::vector<float> &values, int64_t count) {
      for (int64_t i = 0; i < count; ++i)
        values.push_back(static_cast<float>(random() % 200) / 16 - 6);
    };
    fill(x, batch * 8);
    fill(y, batch * n);
    fill(z, n + 1);
    for (int64_t i = 0; i < batch; ++i)
      index.push_back(static_cast<int64_t>(random() % 4));
  }

  void bind(lathe::Session &session) const {
    session.setInput(0, {batch, 8}, x.data());
    session.setInput(1, {batch, n}, y.data());
    session.setInput(2, {batch}, index.data());
    session.setInput(3, {n + 1}, z.data());
  }
};

void expectResult(const lathe::Session &session, const DemoArtifact &demo, const Inputs &in) {
  lathe::Output sum = session.output(0), product = session.output(1);
  ASSERT_EQ(sum.dims, (std::vector<int64_t>{in.batch, in.n}));
  ASSERT_EQ(product.dims, (std::vector<int64_t>{in.batch, 16}));
  std::vector<float> expectedSum = demo.sum(in.y, in.index, in.z, in.n), expectedProduct = demo.product(in.x);
  for (size_t i = 0; i < expectedSum.size(); ++i)
    ASSERT_FLOAT_EQ(sum.as<float>()[i], expectedSum[i]) << i;
  for (size_t i = 0; i < expectedProduct.size(); ++i)
    ASSERT_NEAR(product.as<float>()[i], expectedProduct[i], 1e-3) << i;
}

TEST(Session, RunsAtManyShapes) {
  for (bool packed : {false, true}) {
    DemoArtifact demo(packed);
    lathe::Module module(demo.write("demo.lathe"), {});
    for (int threads : {1, 2, 4}) {
      lathe::SessionOptions options;
      options.threads = threads;
      lathe::Session session(module, options);
      EXPECT_EQ(session.threads(), threads);
      for (int64_t batch : {1, 7, 100, 3, 1000, 0, 2})
        for (int64_t n : {1, 5, 64, 0}) {
          Inputs in(batch, n);
          in.bind(session);
          EXPECT_EQ(session.outputShape(0), (std::vector<int64_t>{batch, n}));
          session.run();
          expectResult(session, demo, in);
        }
    }
  }
}

TEST(Session, RunsTheProgramThatIsAskedFor) {
  DemoArtifact demo(true);
  demo.addProgram("step");
  // The code is the same, so a name of one and a check of the other tell them apart.
  demo.manifest["programs"][0]["symbols"][1]["max"] = 5;
  lathe::Module module(demo.write("programs.lathe"));
  EXPECT_EQ(module.programs(), (std::vector<std::string>{"main", "step"}));
  EXPECT_EQ(module.outputs()[1].name, "product");
  EXPECT_EQ(module.outputs(1)[1].name, "step.product");
  EXPECT_EQ(module.symbols(1)[1].max, 5);
  lathe::SessionOptions options;
  options.program = "step";
  lathe::Session main(module), step(module, options);
  EXPECT_EQ(main.program(), 0u);
  EXPECT_EQ(step.program(), 1u);
  Inputs in(6, 5), wide(6, 7);
  for (lathe::Session *session : {&main, &step}) {
    in.bind(*session);
    session->setProfiling(true);
    session->run();
    expectResult(*session, demo, in);
  }
  // Both found the weight where it lies, or share what was copied.
  EXPECT_LE(module.info().private_bytes, 4096u);
  EXPECT_STREQ(main.profile(1).name, "matmul_1");
  EXPECT_STREQ(step.profile(1).name, "step.matmul_1");
  wide.bind(main);
  main.run();
  wide.bind(step);
  EXPECT_EQ(messageOf(LATHE_INVALID_ARGUMENT, [&] { step.run(); }),
            "input 'y' has shape [6, 7] but dimension 1 ('n') must be from 0 to 5");
  in.index[3] = 4;
  in.bind(step);
  EXPECT_EQ(messageOf(LATHE_EXECUTION_ERROR, [&] { step.run(); }),
            "node 'Gather_0': step: index out of range: the table has 4 rows");
  options.program = "stop";
  EXPECT_EQ(messageOf(LATHE_NOT_FOUND, [&] { lathe::Session none(module, options); }),
            "the artifact has no program 'stop'; it has: 'main', 'step'");
  // Who does not know of programs gets main.
  lathe_session_options old;
  lathe_session_options_init(&old);
  old.struct_size = offsetof(lathe_session_options, program);
  old.program = "nothing that the runtime may read";
  lathe_session *session = nullptr;
  ASSERT_EQ(lathe_session_create(module.get(), &old, &session), LATHE_OK);
  size_t index = 7;
  EXPECT_EQ(lathe_session_program(session, &index), LATHE_OK);
  EXPECT_EQ(index, 0u);
  lathe_session_release(session);
  EXPECT_EQ(lathe_session_program(nullptr, &index), LATHE_INVALID_ARGUMENT);
}

TEST(Session, OutlivesTheModuleHandle) {
  DemoArtifact demo;
  auto module = std::make_unique<lathe::Module>(demo.write("demo.lathe"));
  lathe::Session session(*module);
  module.reset();
  Inputs in(4, 3);
  in.bind(session);
  session.run();
  expectResult(session, demo, in);
}

TEST(Session, WritesToTheCallersBuffer) {
  DemoArtifact demo;
  lathe::Module module(demo.write("demo.lathe"));
  lathe::Session session(module);
  Inputs in(3, 5);
  in.bind(session);
  std::vector<float> out(15, -1);
  session.setOutput(0, out.data(), out.size() * 4);
  session.run();
  EXPECT_EQ(session.output(0).data, out.data());
  expectResult(session, demo, in);
  session.setOutput(0, out.data(), 59);
  EXPECT_EQ(messageOf(LATHE_INVALID_ARGUMENT, [&] { session.run(); }),
            "output 'sum' with shape [3, 5] needs 60 bytes but the given buffer has 59");
  session.setOutput(0, nullptr, 0);
  session.run();
  EXPECT_NE(session.output(0).data, out.data());
}

TEST(Session, SaysWhatIsWrongWithInputs) {
  DemoArtifact demo;
  lathe::Module module(demo.write("demo.lathe"));
  lathe::Session session(module);
  Inputs in(2, 7);
  auto fails = [&](auto call) { return messageOf(LATHE_INVALID_ARGUMENT, call); };
  EXPECT_EQ(fails([&] { session.run(); }), "input 'x' is missing: set every input before a run");
  EXPECT_EQ(fails([&] { session.output(0); }),
            "output 'sum' has no value: the session has not run, or its inputs have changed since");
  EXPECT_EQ(fails([&] { session.setInput(0, {2, 9}, in.x.data()); }),
            "input 'x' has shape [2, 9] but dimension 1 must be 8");
  EXPECT_EQ(fails([&] { session.setInput(0, {2}, in.x.data()); }),
            "input 'x' must have 2 dimensions [batch, 8], got 1");
  EXPECT_EQ(fails([&] { session.setInput(0, {2, 8}, in.index.data()); }), "input 'x' must have type f32, got i64");
  EXPECT_EQ(fails([&] { session.setInput(0, {-1, 8}, in.x.data()); }),
            "input 'x' has shape [-1, 8] but dimension 0 must be 0 or more");
  EXPECT_EQ(fails([&] { session.setInput(0, {int64_t(1) << 40, 8}, in.x.data()); }),
            "input 'x' has shape [1099511627776, 8] but dimension 0 is above the limit of 2147483647");
  EXPECT_EQ(fails([&] { session.setInput(4, {2, 8}, in.x.data()); }), "input 4 does not exist: the model has 4");
  EXPECT_EQ(fails([&] {
              session.setInput(0, {2, 8},
                               reinterpret_cast<const float *>(reinterpret_cast<uintptr_t>(in.x.data()) + 1));
            }),
            "the data of input 'x' must be aligned to 4 bytes");
  in.bind(session);
  session.setInput(1, {3, 7}, in.y.data());
  EXPECT_EQ(fails([&] { session.run(); }),
            "input 'y' has shape [3, 7] but dimension 0 ('batch') must be 2, as in input 'x'");
  session.setInput(1, {2, 65}, in.y.data());
  EXPECT_EQ(fails([&] { session.run(); }), "input 'y' has shape [2, 65] but dimension 1 ('n') must be from 0 to 64");
  session.setInput(1, {2, 6}, in.y.data());
  EXPECT_EQ(fails([&] { session.run(); }),
            "input 'z' has shape [8] but dimension 0 ('n + 1') must be 7 for the other inputs");
  session.setInput(1, {2, 7}, in.y.data());
  session.setInput(0, {2, 8}, static_cast<const float *>(nullptr));
  EXPECT_EQ(session.outputShape(1), (std::vector<int64_t>{2, 16}));
  EXPECT_EQ(fails([&] { session.run(); }), "input 'x' has no data");
  Inputs many(1001, 1);
  many.bind(session);
  EXPECT_EQ(fails([&] { session.run(); }), "node 'Add_1': batch must be at most 1000");
  EXPECT_EQ(fails([&] { session.outputShape(0); }), "node 'Add_1': batch must be at most 1000");
  in.bind(session);
  session.run();
  expectResult(session, demo, in);
}

TEST(Session, ReportsFailedChecks) {
  DemoArtifact demo;
  lathe::Module module(demo.write("demo.lathe"));
  lathe::Session session(module);
  Inputs in(50, 7);
  in.index[33] = 4;
  in.bind(session);
  EXPECT_EQ(messageOf(LATHE_EXECUTION_ERROR, [&] { session.run(); }),
            "node 'Gather_0': index out of range: the table has 4 rows");
  EXPECT_THROW(session.output(0), lathe::Error);
  in.index[33] = 3;
  session.run();
  expectResult(session, demo, in);
}

TEST(Session, KeepsToItsBudget) {
  DemoArtifact demo;
  lathe::Module module(demo.write("demo.lathe"));
  lathe::SessionOptions options;
  options.memoryBudget = 64 * 1024;
  lathe::Session session(module, options);
  Inputs small(10, 10), large(900, 60);
  small.bind(session);
  session.run();
  expectResult(session, demo, small);
  large.bind(session);
  std::string message = messageOf(LATHE_OVER_BUDGET, [&] { session.run(); });
  EXPECT_NE(message.find("memory budget is 65536"), std::string::npos) << message;
  EXPECT_LE(session.memory(), options.memoryBudget);
  small.bind(session);
  session.run();
  expectResult(session, demo, small);
  options.memoryBudget = 0;
  options.maxDimension = 100;
  lathe::Session limited(module, options);
  EXPECT_THROW(large.bind(limited), lathe::Error);
  options.threads = -1;
  EXPECT_THROW(lathe::Session(module, options), lathe::Error);
}

TEST(Session, PreparesWhatARunHolds) {
  DemoArtifact demo;
  lathe::Module module(demo.write("demo.lathe"));
  lathe::Session prepared(module), run(module);
  EXPECT_NE(messageOf(LATHE_INVALID_ARGUMENT, [&] { prepared.prepare(); }).find("is missing"), std::string::npos);
  Inputs in(40, 30), other(3, 5);
  in.bind(prepared);
  in.bind(run);
  prepared.prepare();
  EXPECT_THROW(prepared.output(0), lathe::Error);
  run.run();
  EXPECT_EQ(prepared.memory(), run.memory());
  lathe_memory_info info = prepared.memoryInfo();
  EXPECT_EQ(info.arena_bytes + info.output_bytes + info.scratch_bytes, prepared.memory());
  EXPECT_GE(info.output_bytes, 40u * (30 + 16) * sizeof(float));
  prepared.run();
  expectResult(prepared, demo, in);
  EXPECT_EQ(prepared.memory(), run.memory());
  // Checks that fail on data are no matter of preparation; nor does it spoil later runs.
  in.index[33] = 4;
  prepared.prepare();
  messageOf(LATHE_EXECUTION_ERROR, [&] { prepared.run(); });
  other.bind(prepared);
  prepared.run();
  expectResult(prepared, demo, other);
  EXPECT_EQ(lathe_session_prepare(nullptr), LATHE_INVALID_ARGUMENT);
  lathe_memory_info none = {};
  EXPECT_EQ(lathe_session_get_memory_info(prepared.get(), &none), LATHE_INVALID_ARGUMENT);
  EXPECT_EQ(lathe_session_get_memory_info(prepared.get(), nullptr), LATHE_INVALID_ARGUMENT);
}

TEST(Session, ProfilesKernels) {
  DemoArtifact demo;
  lathe::Module module(demo.write("demo.lathe"));
  lathe::Session session(module);
  Inputs in(10, 10);
  in.bind(session);
  session.run();
  EXPECT_EQ(session.profile(0).calls, 0u);
  session.setProfiling(true);
  session.run();
  session.run();
  EXPECT_EQ(session.profile(0).calls, 2u);
  EXPECT_STREQ(session.profile(0).name, "rows_0");
  EXPECT_STREQ(session.profile(1).kind, "matmul");
  EXPECT_GT(session.profile(1).nanoseconds, 0u);
  session.resetProfile();
  EXPECT_EQ(session.profile(1).calls, 0u);
  std::vector<std::pair<size_t, uint64_t>> calls;
  auto trace = [&](size_t kernel, uint64_t start, uint64_t) { calls.emplace_back(kernel, start); };
  session.setTrace(trace);
  session.run();
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[0].first, 0u);
  EXPECT_EQ(calls[1].first, 1u);
  EXPECT_LE(calls[0].second, calls[1].second);
  session.clearTrace();
  session.run();
  session.setProfiling(false);
  session.setTrace(trace);
  session.run();
  EXPECT_EQ(calls.size(), 2u);
  EXPECT_THROW(session.profile(2), lathe::Error);
}

TEST(Session, SessionsAreIndependent) {
  DemoArtifact demo(true);
  lathe::Module module(demo.write("demo.lathe"));
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      lathe::SessionOptions options;
      options.threads = static_cast<int>(1 + t % 2);
      lathe::Session session(module, options);
      for (int round = 0; round < 30; ++round) {
        Inputs in(1 + (round * 7 + t) % 90, 1 + (round + t) % 60, t * 100 + static_cast<unsigned>(round));
        in.bind(session);
        session.run();
        expectResult(session, demo, in);
      }
    });
  for (std::thread &thread : threads)
    thread.join();
}

TEST(Session, RefusesNullArguments) {
  lathe_session *session = nullptr;
  EXPECT_EQ(lathe_session_create(nullptr, nullptr, &session), LATHE_INVALID_ARGUMENT);
  EXPECT_EQ(lathe_session_create(nullptr, nullptr, nullptr), LATHE_INVALID_ARGUMENT);
  EXPECT_EQ(lathe_session_run(nullptr), LATHE_INVALID_ARGUMENT);
  EXPECT_EQ(lathe_module_load(nullptr, nullptr, nullptr), LATHE_INVALID_ARGUMENT);
  EXPECT_STREQ(lathe_last_error(), "'module' must not be NULL");
  lathe_load_options options = {};
  lathe_module *module = nullptr;
  EXPECT_EQ(lathe_module_load("x", &options, &module), LATHE_INVALID_ARGUMENT);
  lathe_session_release(nullptr);
  EXPECT_STREQ(lathe_status_string(LATHE_OVER_BUDGET), "over budget");
  EXPECT_STREQ(lathe_dtype_name(LATHE_BOOL), "bool");
  EXPECT_EQ(lathe_dtype_name(static_cast<lathe_dtype>(99)), nullptr);
  EXPECT_EQ(lathe_dtype_size(LATHE_I64), 8u);
}

TEST(Module, DocumentsInCpp) {
  DemoArtifact demo;
  demo.addDocument("tokenizer", "tokenizer.json", "{\"model\": 1}");
  lathe::Module module(demo.write("documents.lathe"));
  ASSERT_EQ(module.documents().size(), 1u);
  EXPECT_EQ(module.documents()[0].format, "tokenizer.json");
  ASSERT_TRUE(module.document("tokenizer").has_value());
  EXPECT_EQ(module.document("tokenizer")->data, "{\"model\": 1}");
  EXPECT_FALSE(module.document("generation_config").has_value());
}

} // namespace
