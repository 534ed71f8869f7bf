//===- ReplayTest.cpp - Runs that repeat become graphs ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/generation/KvCache.h"
#include "test/unit/cuda/Harness.h"

#include <cstdlib>
#include <functional>
#include <gmock/gmock.h>

using namespace lathe;
using namespace lathe::cuda;
using namespace lathe::test;
using testing::HasSubstr;

namespace {

/// A product [1, k] * [k, n], and what it is on the host.
struct Product {
  static constexpr int64_t kRows = 3, kInner = 8, kColumns = 5;
  Harness &on;
  Tensor a, b, out;
  lathe_matmul_call call = {};

  Product(Harness &on, std::mt19937 &random, int64_t rows = kRows)
      : on(on), a(on, static_cast<size_t>(rows * kInner), &random), b(on, kInner * kColumns, &random),
        out(on, static_cast<size_t>(rows * kColumns), nullptr) {
    call.dtype = LATHE_F32;
    call.weight = -1;
    call.alpha = 1;
    call.m = rows, call.n = kColumns, call.k = kInner;
    call.a_row = kInner, call.a_col = 1, call.b_row = kColumns, call.b_col = 1, call.out_row = kColumns;
    for (int64_t &extent : call.batch)
      extent = 1;
    call.a = a.device, call.b = b.device, call.out = out.device;
  }
  /// New values for the left side, in the same place.
  void renew(std::mt19937 &random) {
    for (float &value : a.host)
      value = static_cast<float>(random() % 200) / 50 - 2;
    ASSERT_FALSE(on.session->upload(a.device, a.host.data(), a.host.size() * 4).failed());
  }
  void expectResult() {
    std::vector<float> got = out.read();
    for (int64_t i = 0; i < call.m; ++i)
      for (int64_t j = 0; j < kColumns; ++j) {
        double sum = 0;
        for (int64_t l = 0; l < kInner; ++l)
          sum += double(a.host[static_cast<size_t>(i * kInner + l)]) * b.host[static_cast<size_t>(l * kColumns + j)];
        ASSERT_NEAR(got[static_cast<size_t>(i * kColumns + j)], call.alpha * sum, 1e-4) << i << " " << j;
      }
  }
};

class Graphs : public testing::Test {
protected:
  void SetUp() override { emulatorSettings() = {}; }
  void TearDown() override {
    emulatorSettings() = {};
    EXPECT_EQ(emulatorStatistics().allocations, 0u);
    EXPECT_EQ(emulatorStatistics().pinned, 0u);
  }
  static int64_t launched() { return emulatorStatistics().graphs; }
};

TEST_F(Graphs, AreLaunchedFromTheSecondRunOn) {
  for (bool delays : {false, true}) {
    emulatorSettings().delays = delays;
    Harness on;
    on.start();
    std::mt19937 random(1);
    Product one(on, random), two(on, random, 7);
    int64_t before = launched();
    for (int64_t run = 0; run < 4; ++run) {
      one.renew(random);
      two.renew(random);
      runtime::Status status = on.runCalls([&] {
        on.session->matmul(one.call);
        on.session->matmul(two.call);
      });
      ASSERT_FALSE(status.failed()) << status.message();
      one.expectResult();
      two.expectResult();
      EXPECT_EQ(launched() - before, run);
    }
  }
}

TEST_F(Graphs, AreOfEveryShapeThatComesAgain) {
  Harness on;
  on.start();
  std::mt19937 random(2);
  std::vector<std::unique_ptr<Product>> products;
  for (int64_t rows : {1, 2, 3})
    products.push_back(std::make_unique<Product>(on, random, rows));
  int64_t before = launched();
  for (int run = 0; run < 5; ++run)
    for (auto &product : products) {
      product->renew(random);
      ASSERT_FALSE(on.run(product->call).failed());
      product->expectResult();
    }
  EXPECT_EQ(launched() - before, 4 * 3);
  // More than are kept: what comes in turns then is never known.
  for (int64_t rows = 4; rows < 14; ++rows)
    products.push_back(std::make_unique<Product>(on, random, rows));
  before = launched();
  for (int run = 0; run < 2; ++run)
    for (auto &product : products) {
      product->renew(random);
      ASSERT_FALSE(on.run(product->call).failed());
      product->expectResult();
    }
  EXPECT_LE(launched() - before, 3);
}

TEST_F(Graphs, HoldNothingBackFromRunsThatDiffer) {
  Harness on;
  on.start();
  std::mt19937 random(3);
  Product one(on, random), two(on, random), other(on, random);
  auto run = [&](std::initializer_list<Product *> products) {
    for (Product *product : products)
      product->renew(random);
    runtime::Status status = on.runCalls([&] {
      for (Product *product : products)
        on.session->matmul(product->call);
    });
    ASSERT_FALSE(status.failed()) << status.message();
    for (Product *product : products)
      product->expectResult();
  };
  for (int i = 0; i < 3; ++i)
    run({&one, &two});
  int64_t before = launched();
  run({&one, &other});       // differs at the end,
  run({&one});               // ends before,
  run({&one, &two, &other}); // and behind
  other.call.alpha = 2;
  run({&one, &two, &other});
  EXPECT_EQ(launched(), before);
  run({&one, &two});
  EXPECT_EQ(launched(), before + 1);
}

TEST_F(Graphs, AreNotOfRunsThatReadOrAreProfiled) {
  Harness on;
  on.start();
  std::mt19937 random(4);
  Product one(on, random), two(on, random);
  int64_t before = launched();
  for (int run = 0; run < 3; ++run) {
    one.renew(random);
    runtime::Status status = on.runCalls([&] {
      on.session->matmul(one.call);
      // The host needs the product that was asked for before.
      auto *read = static_cast<const float *>(on.session->read(one.out.device, 4));
      ASSERT_TRUE(read);
      two.call.alpha = *read > 0 ? 1 : 2;
      on.session->matmul(two.call);
    });
    ASSERT_FALSE(status.failed()) << status.message();
    one.expectResult();
    two.expectResult();
    ASSERT_FALSE(on.runCalls([&] {
                     on.session->mark();
                     on.session->matmul(one.call);
                     on.session->mark();
                   }).failed());
    // Memory that comes or goes within a run is no one's who runs it again.
    ASSERT_FALSE(on.runCalls([&] {
                     void *memory = nullptr;
                     on.session->matmul(one.call);
                     ASSERT_FALSE(on.session->allocate(4, &memory).failed());
                     on.session->release(memory);
                   }).failed());
  }
  EXPECT_EQ(launched(), before);
}

TEST_F(Graphs, AreMadeAnewWhenSharedMemoryOfCallsMoves) {
  emulatorSettings().delays = true;
  Harness on;
  on.start();
  std::mt19937 random(5);
  // A right side of which neither axis is dense is copied; a larger one moves where to.
  Product small(on, random), large(on, random);
  std::vector<float> wide(static_cast<size_t>(Product::kInner * Product::kColumns * 300));
  Tensor space(on, wide.size(), &random);
  auto strided = [&](Product &product, int64_t stride) {
    product.call.b = space.device;
    product.call.b_row = Product::kColumns * stride;
    product.call.b_col = stride;
    for (size_t i = 0; i < product.b.host.size(); ++i)
      product.b.host[i] = space.host[i * static_cast<size_t>(stride)];
  };
  strided(small, 2);
  for (int run = 0; run < 3; ++run)
    ASSERT_FALSE(on.run(small.call).failed());
  small.expectResult();
  int64_t before = launched();
  large.call.n = 40; // of 8 times as many columns
  Tensor out(on, static_cast<size_t>(large.call.m * 40), nullptr);
  large.call.b = space.device, large.call.b_row = 80, large.call.b_col = 2;
  large.call.out = out.device, large.call.out_row = 40;
  ASSERT_FALSE(on.run(large.call).failed());
  for (int run = 0; run < 3; ++run) {
    small.renew(random);
    ASSERT_FALSE(on.run(small.call).failed());
    small.expectResult();
  }
  EXPECT_EQ(launched(), before + 2);
}

TEST_F(Graphs, AreDoneWithoutWhereThereAreNone) {
  emulatorSettings().graphsUntilFull = 0;
  Harness on;
  on.start();
  std::mt19937 random(6);
  Product product(on, random);
  int64_t before = launched();
  for (int run = 0; run < 4; ++run) {
    product.renew(random);
    ASSERT_FALSE(on.run(product.call).failed());
    product.expectResult();
  }
  EXPECT_EQ(launched(), before);
}

TEST_F(Graphs, AreOffForDriversWithoutThemAndWhenToldSo) {
  for (bool told : {false, true}) {
    DriverApi driver = emulatorDriver();
    if (!told)
      driver.graphLaunch = nullptr;
    else
      setenv("LATHE_CUDA_NO_GRAPHS", "1", 1);
    Harness on;
    on.start(driver);
    unsetenv("LATHE_CUDA_NO_GRAPHS");
    std::mt19937 random(7);
    Product product(on, random);
    int64_t before = launched();
    for (int run = 0; run < 3; ++run) {
      product.renew(random);
      ASSERT_FALSE(on.run(product.call).failed());
      product.expectResult();
    }
    EXPECT_EQ(launched(), before);
  }
}

TEST_F(Graphs, FailAsTheirCallsDo) {
  Harness on;
  on.start();
  std::mt19937 random(8);
  Product product(on, random);
  product.call.a_quantization = LATHE_QUANTIZE_ROWS;
  for (int run = 0; run < 3; ++run) {
    runtime::Status status = on.run(product.call);
    ASSERT_TRUE(status.failed());
    EXPECT_THAT(status.message(), HasSubstr("kernel 'product' (node 'MatMul_0')"));
  }
  product.call.a_quantization = LATHE_QUANTIZE_NONE;
  for (int run = 0; run < 3; ++run)
    ASSERT_FALSE(on.run(product.call).failed());
  product.expectResult();
}

TEST_F(Graphs, SayWhenTheDeviceIsLost) {
  Harness on;
  on.start();
  std::mt19937 random(10);
  Product product(on, random);
  product.call.m = 2, product.call.k = 4, product.call.a_col = 2; // so that a kernel makes it dense
  int64_t before = launched();
  for (int run = 0; run < 2; ++run)
    ASSERT_FALSE(on.run(product.call).failed());
  EXPECT_EQ(launched(), before + 1);
  for (int64_t launches : {0, -1}) { // the next one, and all that follows without one
    emulatorSettings().launchesUntilLost = launches;
    on.services.failure = runtime::success();
    on.session->beginRun();
    on.session->matmul(product.call);
    on.session->endRun();
    int64_t check = -1;
    runtime::Status finished = on.session->finish(&check);
    EXPECT_EQ((on.services.failure.failed() ? on.services.failure : finished).code(), LATHE_DEVICE_LOST);
  }
  EXPECT_EQ(launched(), before + 2); // a graph that a lost device refuses is none
}

/// One token after another: positions, counts and pages are read from the device's memory.
TEST_F(Graphs, ServeSuccessivePositions) {
  constexpr int64_t kHeads = 2, kSize = 8, kSteps = 70;
  Harness on;
  on.start();
  std::mt19937 random(9);
  std::vector<runtime::Cache> described(2);
  for (runtime::Cache &cache : described) {
    cache.layout.heads = kHeads;
    cache.layout.size = kSize;
    cache.appended = true;
  }
  runtime::KvCache cache(described, [](int64_t) { return true; }, on.session.get());
  runtime::KvCache::Sequence sequence;
  std::vector<float> keys, values;
  int64_t before = launched();
  {
    Tensor key(on, kHeads * kSize, &random), value(on, kHeads * kSize, &random), query(on, kHeads * kSize, &random);
    Tensor out(on, kHeads * kSize, nullptr), position(on, 2, nullptr);
    for (int64_t step = 0; step < kSteps; ++step) {
      for (Tensor *tensor : {&key, &value, &query}) {
        for (float &x : tensor->host)
          x = static_cast<float>(random() % 200) / 100 - 1;
        ASSERT_FALSE(on.session->upload(tensor->device, tensor->host.data(), tensor->host.size() * 4).failed());
      }
      ASSERT_FALSE(on.session->upload(position.device, &step, 8).failed());
      keys.insert(keys.end(), key.host.begin(), key.host.end());
      values.insert(values.end(), value.host.begin(), value.host.end());
      ASSERT_FALSE(cache.reserve(sequence, 1).failed());
      ASSERT_FALSE(cache.begin({&sequence}, 1).failed());
      runtime::CacheRows keyRows, valueRows;
      ASSERT_FALSE(cache.rows(0, &keyRows).failed());
      ASSERT_FALSE(cache.rows(1, &valueRows).failed());
      lathe_cache_call put = {0, 0, LATHE_F32, 0, key.device, {1, kHeads, 1, kSize}, {kHeads * kSize, kSize, kSize, 1}};
      lathe_attention_call call = {};
      call.dtype = LATHE_F32;
      call.scale = 0.5;
      call.batch[0] = call.batch[1] = 1, call.batch[2] = call.key_heads = kHeads;
      call.s = 1, call.t = step + 1, call.d = call.e = kSize;
      call.query = {query.device, {0, 0, kSize}, kSize, 1};
      call.out = {out.device, {0, 0, kSize}, kSize, 1};
      call.key_cache = 0, call.value_cache = 1;
      call.positions = static_cast<const int64_t *>(position.device);
      runtime::Status status = on.runCalls([&] {
        on.session->cache(put, keyRows);
        put.cache = 1;
        put.data = value.device;
        on.session->cache(put, valueRows);
        on.session->attention(call, &keyRows, &valueRows);
      });
      ASSERT_FALSE(status.failed()) << status.message();
      cache.commit();
      std::vector<float> got = out.read();
      for (int64_t head = 0; head < kHeads; ++head)
        for (int64_t c = 0; c < kSize; ++c) {
          double total = 0, sum = 0;
          for (int64_t t = 0; t <= step; ++t) {
            double score = 0;
            auto at = static_cast<size_t>((t * kHeads + head) * kSize);
            for (size_t i = 0; i < kSize; ++i)
              score += double(query.host[static_cast<size_t>(head * kSize) + i]) * keys[at + i];
            total += std::exp(score * 0.5);
            sum += std::exp(score * 0.5) * values[at + static_cast<size_t>(c)];
          }
          ASSERT_NEAR(got[static_cast<size_t>(head * kSize + c)], sum / total, 1e-4) << step;
        }
    }
  }
  EXPECT_EQ(launched() - before, kSteps - 1);
  sequence = {};
}

//===----------------------------------------------------------------------===//
// What the emulator's streams refuse, as the driver's do
//===----------------------------------------------------------------------===//

struct Captured : Graphs {
  const DriverApi &driver = emulatorDriver();
  cuda::Device device;
  Stream stream = nullptr;
  void SetUp() override {
    Graphs::SetUp();
    ASSERT_FALSE(device.open(driver, true).failed());
    driver.contextPush(device.context());
    ASSERT_EQ(driver.streamCreate(&stream, kStreamNonBlocking), kDriverSuccess);
  }
  void TearDown() override {
    driver.streamDestroy(stream);
    Context popped = nullptr;
    driver.contextPop(&popped);
    Graphs::TearDown();
  }
};

TEST_F(Captured, CallsThatWouldWaitOrAllocateEndIt) {
  DevicePointer memory = 0, other = 0;
  Event event = nullptr;
  void *pinned = nullptr;
  ASSERT_EQ(driver.memAlloc(&memory, 16), kDriverSuccess);
  ASSERT_EQ(driver.eventCreate(&event, 0), kDriverSuccess);
  const std::function<int()> calls[] = {
      [&] { return driver.memAlloc(&other, 16); }, [&] { return driver.memFree(memory); },
      [&] { return driver.memHostAlloc(&pinned, 16, 0); }, [&] { return driver.streamSynchronize(stream); },
      [&] { return driver.eventRecord(event, stream); }};
  for (const auto &call : calls) {
    ASSERT_EQ(driver.streamBeginCapture(stream, kCaptureThreadLocal), kDriverSuccess);
    EXPECT_EQ(call(), kDriverStreamCaptureUnsupported);
    EXPECT_EQ(driver.memsetD8Async(memory, 0, 16, stream), kDriverStreamCaptureInvalidated);
    Graph graph = nullptr;
    EXPECT_EQ(driver.streamEndCapture(stream, &graph), kDriverStreamCaptureInvalidated);
    EXPECT_EQ(graph, nullptr);
    EXPECT_EQ(driver.streamSynchronize(stream), kDriverSuccess);
  }
  EXPECT_EQ(driver.memFree(memory), kDriverSuccess);
  driver.eventDestroy(event);
}

TEST_F(Captured, IsDoneOnlyWhenLaunched) {
  DevicePointer memory = 0;
  ASSERT_EQ(driver.memAlloc(&memory, 4), kDriverSuccess);
  ASSERT_EQ(driver.memsetD8Async(memory, 1, 4, stream), kDriverSuccess);
  ASSERT_EQ(driver.streamBeginCapture(stream, kCaptureThreadLocal), kDriverSuccess);
  EXPECT_EQ(driver.streamBeginCapture(stream, kCaptureThreadLocal), kDriverIllegalState);
  ASSERT_EQ(driver.memsetD8Async(memory, 7, 4, stream), kDriverSuccess);
  Graph graph = nullptr;
  GraphExec exec = nullptr;
  ASSERT_EQ(driver.streamEndCapture(stream, &graph), kDriverSuccess);
  Graph none = nullptr;
  EXPECT_EQ(driver.streamEndCapture(stream, &none), kDriverIllegalState);
  EXPECT_EQ(driver.streamBeginCapture(nullptr, kCaptureThreadLocal), kDriverStreamCaptureUnsupported);
  ASSERT_EQ(driver.graphInstantiate(&exec, graph, 0), kDriverSuccess);
  driver.graphDestroy(graph);
  unsigned char bytes[4] = {};
  ASSERT_EQ(driver.memcpyDtoHAsync(bytes, memory, 4, stream), kDriverSuccess);
  EXPECT_EQ(bytes[3], 1);
  ASSERT_EQ(driver.graphLaunch(exec, stream), kDriverSuccess);
  ASSERT_EQ(driver.memcpyDtoHAsync(bytes, memory, 4, stream), kDriverSuccess);
  EXPECT_EQ(bytes[3], 7);
  driver.graphExecDestroy(exec);
  EXPECT_EQ(driver.memFree(memory), kDriverSuccess);
}

} // namespace
