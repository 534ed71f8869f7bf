//===- ObserverTest.cpp - Values of a run that an observer sees -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/include/lathe/lathe.hpp"
#include "test/unit/runtime/DemoArtifact.h"

#include <cstring>
#include <gtest/gtest.h>
#include <map>

using namespace lathe::test;

namespace {

struct Inputs {
  explicit Inputs(int64_t batch) : batch(batch), x(batch * 8), y(batch * 3), z{1, 2, 3, 4}, index(batch, 1) {
    for (size_t i = 0; i < x.size(); ++i)
      x[i] = static_cast<float>(i % 5) - 2;
    for (size_t i = 0; i < y.size(); ++i)
      y[i] = static_cast<float>(i);
  }
  void bind(lathe::Session &session) const {
    session.setInput(0, {batch, 8}, x.data());
    session.setInput(1, {batch, 3}, y.data());
    session.setInput(2, {batch}, index.data());
    session.setInput(3, {4}, z.data());
  }
  int64_t batch;
  std::vector<float> x, y, z;
  std::vector<int64_t> index;
};

/// Copies of what was told, by the value's name.
struct Seen {
  struct Value {
    size_t kernel = 0, calls = 0;
    std::string node;
    std::vector<float> elements;
  };
  std::map<std::string, Value> values;
  void operator()(size_t kernel, const lathe_kernel_result &result) {
    ASSERT_EQ(result.dtype, LATHE_F32);
    Value &value = values[result.value];
    value.kernel = kernel;
    ++value.calls;
    value.node = result.node;
    auto *data = static_cast<const float *>(result.data);
    value.elements.assign(data, data + result.elements);
  }
};

TEST(Observer, SeesWhatKernelsCompute) {
  DemoArtifact demo;
  lathe::Module module(demo.write("demo.lathe"));
  for (int64_t batch : {5, 1, 0}) {
    lathe::Session session(module);
    Inputs in(batch);
    in.bind(session);
    Seen seen;
    session.setObserver(seen);
    session.run();
    ASSERT_EQ(seen.values.size(), 2u) << batch;
    EXPECT_EQ(seen.values["sum"].elements, demo.sum(in.y, in.index, in.z, 3));
    EXPECT_EQ(seen.values["sum"].node, "Add_1");
    EXPECT_EQ(seen.values["product"].kernel, 1u);
    auto product = session.output(1);
    EXPECT_EQ(seen.values["product"].elements,
              std::vector<float>(product.as<float>(), product.as<float>() + batch * 16));
  }
}

TEST(Observer, IsToldNothingWhenItIsNotThere) {
  DemoArtifact demo;
  lathe::Module module(demo.write("demo.lathe"));
  lathe::Session session(module);
  Inputs in(2);
  in.bind(session);
  Seen seen;
  session.run();
  session.setObserver(seen);
  session.prepare(); // computes nothing
  EXPECT_TRUE(seen.values.empty());
  session.run();
  EXPECT_EQ(seen.values["sum"].calls, 1u);
  session.clearObserver();
  session.run();
  EXPECT_EQ(seen.values["sum"].calls, 1u);
  EXPECT_EQ(lathe_session_set_observer(nullptr, nullptr, nullptr), LATHE_INVALID_ARGUMENT);
}

TEST(Observer, GoesWithProfiles) {
  DemoArtifact demo;
  lathe::Module module(demo.write("demo.lathe"));
  lathe::Session session(module);
  Inputs in(2);
  in.bind(session);
  Seen seen;
  session.setObserver(seen);
  session.setProfiling(true);
  session.run();
  EXPECT_EQ(session.profile(0).calls, 1u);
  EXPECT_EQ(session.profile(1).calls, 1u);
  EXPECT_EQ(seen.values["product"].calls, 1u);
}

TEST(Observer, IsNotToldOfMemoryThatIsNoResult) {
  DemoArtifact demo;
  // Eight bytes behind the buffer's description: its offset, 0, is taken for the address.
  demo.manifest["kernels"][0]["result"]["argument"] = 16;
  lathe::Module module(demo.write("demo.lathe"));
  lathe::Session session(module);
  Inputs in(2);
  in.bind(session);
  Seen seen;
  session.setObserver(seen);
  try {
    session.run();
    FAIL() << "the run went well";
  } catch (const lathe::Error &error) {
    EXPECT_EQ(error.status(), LATHE_INTERNAL);
    EXPECT_NE(std::string(error.what()).find("kernel 'rows_0' has no result"), std::string::npos) << error.what();
  }
  EXPECT_EQ(seen.values.count("sum"), 0u);
  session.clearObserver();
  session.run();
}

TEST(Observer, WrongPlacesOfResultsAreRefused) {
  struct Case {
    const char *key;
    nlohmann::ordered_json value;
    const char *message;
  };
  for (const Case &wrong :
       {Case{"argument", 12, "argument must be a multiple of 8"},
        Case{"argument", 1 << 20, "argument must be a multiple"}, Case{"argument", -8, "argument must be an integer"},
        Case{"rank", 65, "rank must be at most 64"}, Case{"type", "f31", "has unknown type 'f31'"},
        Case{"value", 1, "value must be a string"}}) {
    DemoArtifact demo;
    demo.manifest["kernels"][0]["result"][wrong.key] = wrong.value;
    try {
      lathe::Module module(demo.write("demo.lathe"));
      FAIL() << wrong.key;
    } catch (const lathe::Error &error) {
      EXPECT_EQ(error.status(), LATHE_INVALID_ARTIFACT);
      EXPECT_NE(std::string(error.what()).find(wrong.message), std::string::npos) << error.what();
    }
  }
}

} // namespace
