//===- LibraryAttentionTest.cpp - Attention by cuDNN on the device ------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "test/unit/cuda/DeviceNumbers.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define LATHE_FINDS_LEAKS
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LATHE_FINDS_LEAKS
#endif
#endif
#ifdef LATHE_FINDS_LEAKS
#include <sanitizer/lsan_interface.h>
#endif

using namespace lathe;
using namespace lathe::cuda;
using namespace lathe::test;
using testing::HasSubstr;
using testing::Not;

namespace {

enum class Bias { none, keys, heads, full };

struct Case {
  int64_t dtype = LATHE_BF16, arithmetic = LATHE_F32;
  int64_t batch = 1, heads = 2, keyHeads = 1, s = 16, t = 16, d = 8, e = 8;
  int64_t outer = 1; ///< sequences of an axis before the batch
  Bias bias = Bias::none;
  bool rowsFirst = false; ///< tensors lie as [sequence, row, head, column]
  int64_t gap = 0;        ///< between rows
  bool two = false;       ///< biases, where there is one
  bool isMasked = false;  ///< the first sequence has a query that sees no key, where there is a bias
  bool hasNan = false;    ///< a query of the first sequence
  int64_t zeroMasked = 0, zeroNan = 0;
};

float rounded(int64_t dtype, float value) {
  return dtype == LATHE_F16    ? runtime::halfValue(runtime::toHalf(value))
         : dtype == LATHE_BF16 ? runtime::bfloatValue(runtime::toBfloat(value))
                               : value;
}

/// A call, its tensors, and what comes out of it.
class Attention {
public:
  Attention(Harness &harness, const Case &c)
      : c(c), sequences(c.batch * c.outer), query(harness, c.dtype, size(c.heads, c.s, c.d), 1),
        key(harness, c.dtype, size(c.keyHeads, c.t, c.d), 2), value(harness, c.dtype, size(c.keyHeads, c.t, c.e), 3),
        bias(harness, c.dtype, sequences * c.heads * c.s * c.t, 4), second(harness, c.dtype, c.t, 6),
        out(harness, c.dtype, size(c.heads, c.s, c.e), 0) {
    call.zero_masked = c.zeroMasked, call.zero_nan = c.zeroNan;
    call.dtype = c.dtype, call.arithmetic = c.arithmetic, call.scale = 0.4;
    call.batch[0] = c.outer, call.batch[1] = c.batch, call.batch[2] = c.heads;
    call.key_heads = c.keyHeads;
    call.s = c.s, call.t = c.t, call.d = c.d, call.e = c.e;
    call.key_cache = call.value_cache = -1;
    call.query = view(query, c.heads, c.s, c.d);
    call.key = view(key, c.keyHeads, c.t, c.d);
    call.value = view(value, c.keyHeads, c.t, c.e);
    call.out = view(out, c.heads, c.s, c.e);
    if (c.hasNan) {
      query.host.set(at(call.query, 0, 0, c.heads - 1, 2, 3), NAN);
      query.clear(false);
    }
    if (c.bias == Bias::none)
      return;
    call.biases = c.two ? 2 : 1;
    call.bias[1] = {second.device, {0, 0, 0}, 0, 1};
    int64_t item = c.s * c.t;
    bool keys = c.bias == Bias::keys, heads = c.bias == Bias::heads;
    int64_t ofSequence = keys ? c.t : heads ? 0 : c.heads * item;
    call.bias[0] = {bias.device, {c.batch * ofSequence, ofSequence, keys ? 0 : item}, keys ? 0 : c.t, 1};
    for (size_t i = 0; i < bias.host.size(); i += 3)
      bias.host.set(i, i % 9 == 0 ? -INFINITY : -7);
    for (size_t i = 0; i < bias.host.size(); i += static_cast<size_t>(c.t)) // no row without keys
      bias.host.set(i, 0.5);
    for (int64_t j = 0; j < c.t && c.isMasked; ++j)
      bias.host.set(at(call.bias[0], 0, 0, 0, 1, j), -INFINITY);
    bias.clear(false);
  }

  int64_t size(int64_t heads, int64_t rows, int64_t columns) const {
    return sequences * heads * rows * (columns + c.gap);
  }

  lathe_attention_view view(DeviceNumbers &numbers, int64_t heads, int64_t rows, int64_t columns) const {
    int64_t row = columns + c.gap, item = heads * rows * row;
    return {numbers.device, {c.batch * item, item, c.rowsFirst ? row : rows * row}, c.rowsFirst ? heads * row : row, 1};
  }

  static size_t at(const lathe_attention_view &view, int64_t batch, int64_t sequence, int64_t head, int64_t row,
                   int64_t column) {
    return static_cast<size_t>(batch * view.batch[0] + sequence * view.batch[1] + head * view.batch[2] +
                               row * view.row + column * view.col);
  }

  /// The library's arithmetic, as exact as can be: what it multiplies is rounded.
  std::vector<double> expected(int64_t batch, int64_t sequence, int64_t head, int64_t i) const {
    int64_t keyHead = head / (c.heads / c.keyHeads);
    std::vector<double> weights, row(static_cast<size_t>(c.e));
    double total = 0, most = -INFINITY;
    bool isHidden = call.biases > 0; // whatever its numbers are
    for (int64_t j = 0; j < c.t; ++j) {
      double sum = 0;
      for (int64_t l = 0; l < c.d; ++l)
        sum += double(rounded(c.arithmetic, query.host.get(at(call.query, batch, sequence, head, i, l)))) *
               rounded(c.arithmetic, key.host.get(at(call.key, batch, sequence, keyHead, j, l)));
      sum *= call.scale;
      double added = call.biases ? bias.host.get(at(call.bias[0], batch, sequence, head, i, j)) : 0;
      added += call.biases > 1 ? second.host.get(static_cast<size_t>(j)) : 0;
      isHidden &= added == -INFINITY;
      sum += added;
      weights.push_back(sum);
      most = std::max(most, sum);
    }
    bool isNan =
        !isHidden && std::any_of(weights.begin(), weights.end(), [](double score) { return std::isnan(score); });
    if (isNan || isHidden) {
      row.assign(row.size(), c.zeroNan || (!isNan && c.zeroMasked) ? 0 : NAN);
      return row;
    }
    for (double &weight : weights)
      total += weight = std::exp(weight - most);
    for (int64_t l = 0; l < c.e; ++l)
      for (int64_t j = 0; j < c.t; ++j)
        row[static_cast<size_t>(l)] +=
            weights[static_cast<size_t>(j)] / total *
            rounded(c.arithmetic, value.host.get(at(call.value, batch, sequence, keyHead, j, l)));
    return row;
  }

  /// Results are right, and nothing beside them was written.
  void check() {
    Numbers got = out.read();
    std::vector<bool> isResult(got.size());
    int64_t type = c.dtype == LATHE_F32 ? c.arithmetic : c.dtype;
    double tolerance = type == LATHE_F16 ? 4e-3 : type == LATHE_BF16 ? 2e-2 : 1e-5;
    for (int64_t batch = 0; batch < c.outer; ++batch)
      for (int64_t sequence = 0; sequence < c.batch; ++sequence)
        for (int64_t head = 0; head < c.heads; ++head)
          for (int64_t i = 0; i < c.s; ++i) {
            std::vector<double> row = expected(batch, sequence, head, i);
            for (int64_t l = 0; l < c.e; ++l) {
              size_t index = at(call.out, batch, sequence, head, i, l);
              double wanted = row[static_cast<size_t>(l)];
              if (std::isnan(wanted))
                ASSERT_TRUE(std::isnan(got.get(index))) << sequence << ", " << head << ", " << i;
              else
                ASSERT_NEAR(got.get(index), wanted, tolerance) << sequence << ", " << head << ", " << i;
              isResult[index] = true;
            }
          }
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_TRUE(isResult[i] || std::isnan(got.get(i))) << i << ": written outside of the result";
  }

  Case c;
  int64_t sequences;
  lathe_attention_call call = {};
  DeviceNumbers query, key, value, bias, second, out;
};

class AttentionByLibrary : public testing::Test {
protected:
  void SetUp() override { emulatorSettings() = {}; }
  void TearDown() override {
    emulatorSettings() = {};
    for (const char *name : {"LATHE_CUDA_NO_CUDNN", "LATHE_CUDA_VERBOSE", "LATHE_CUDA_CHOICES"})
      unsetenv(name);
    EXPECT_EQ(emulatorStatistics().allocations, 0u);
  }

  /// Runs a call, checks its result, and counts what the library computed.
  static int64_t run(Harness &harness, Attention &attention) {
    attention.out.clear(true);
    int64_t before = emulatorStatistics().attentions;
    runtime::Status status = harness.runCalls([&] { harness.session->attention(attention.call, nullptr, nullptr); });
    EXPECT_FALSE(status.failed()) << status.message();
    attention.check();
    return emulatorStatistics().attentions - before;
  }
  static int64_t run(Harness &harness, const Case &c) {
    Attention attention(harness, c);
    return run(harness, attention);
  }
};

TEST_F(AttentionByLibrary, OfManyShapesTypesAndStrides) {
  Harness harness;
  harness.start();
  std::mt19937 random(5);
  auto pick = [&](std::initializer_list<int64_t> values) { return values.begin()[random() % values.size()]; };
  for (int trial = 0; trial < 120; ++trial) {
    Case c;
    c.dtype = pick({LATHE_F32, LATHE_F32, LATHE_F16, LATHE_BF16});
    c.arithmetic = c.dtype == LATHE_F32 ? pick({LATHE_F16, LATHE_BF16}) : LATHE_F32;
    c.keyHeads = pick({1, 2, 3}), c.heads = c.keyHeads * pick({1, 2, 4});
    c.batch = pick({1, 1, 2, 3}), c.outer = pick({1, 1, 2});
    c.s = pick({16, 17, 40}), c.t = pick({1, 7, 16, 33, 64});
    c.d = pick({8, 24, 64}), c.e = pick({8, 16, 40});
    c.bias = static_cast<Bias>(random() % 4);
    c.rowsFirst = random() % 2;
    c.gap = c.dtype == LATHE_F32 ? pick({0, 3}) : pick({0, 8});
    c.two = random() % 2, c.isMasked = random() % 2, c.hasNan = random() % 3 == 0;
    c.zeroMasked = random() % 2, c.zeroNan = random() % 2;
    SCOPED_TRACE(testing::Message() << "trial " << trial << " type " << c.dtype << " bias " << int(c.bias) << " two "
                                    << c.two << " masked " << c.isMasked << " nan " << c.hasNan << " zeros "
                                    << c.zeroMasked << c.zeroNan);
    EXPECT_EQ(run(harness, c), 1);
    if (HasFailure())
      return;
  }
}

/// What the library is not asked for the own kernel does, with a reason.
TEST_F(AttentionByLibrary, HasTheOwnKernelBehindIt) {
  struct Refused {
    const char *why;
    Case c;
    void (*change)(lathe_attention_call &);
  };
  auto nothing = [](lathe_attention_call &) {};
  Case plain, wide;
  wide.dtype = LATHE_F32;
  Case few = plain, odd = plain, apart = plain;
  few.s = 15, odd.d = 12, apart.gap = 4;
  const Refused cases[] = {
      {"--precision f16 or bf16 allows it", wide, nothing},
      {"it has fewer than 16 queries: 15", few, nothing},
      {"its heads have 12 columns, expected a multiple of 8 up to 256", odd, nothing},
      {"steps of 16 bytes", apart, nothing},
      {"it has a softcap", plain, [](lathe_attention_call &call) { call.softcap = 1e6; }},
  };
  setenv("LATHE_CUDA_VERBOSE", "1", 1);
  for (const Refused &refused : cases) {
    SCOPED_TRACE(refused.why);
    Harness harness;
    harness.start();
    Attention attention(harness, refused.c);
    refused.change(attention.call);
    testing::internal::CaptureStderr();
    EXPECT_EQ(run(harness, attention), 0);
    EXPECT_EQ(run(harness, attention), 0);
    std::string text = testing::internal::GetCapturedStderr();
    EXPECT_THAT(text, HasSubstr("lathe: kernel 'product' (node 'MatMul_0'): attention by the own kernel, not cuDNN: "));
    EXPECT_THAT(text, HasSubstr(refused.why));
    EXPECT_EQ(text.find("lathe: "), text.rfind("lathe: ")); // once
  }
}

TEST_F(AttentionByLibrary, IsNotAskedForWhatItHasNot) {
  Harness harness;
  harness.start();
  Case c;
  c.bias = Bias::full;
  Attention attention(harness, c);
  LibraryCall asked;
  std::string why;
  auto reason = [&](auto change) {
    AttentionInput input;
    input.call = attention.call;
    change(input.call);
    return describeAttention(input, &asked, &why) ? std::string() : why;
  };
  EXPECT_EQ(reason([](lathe_attention_call &) {}), "");
  EXPECT_THAT(reason([](lathe_attention_call &call) { call.softcap = 3; }), HasSubstr("softcap"));
  EXPECT_THAT(reason([](lathe_attention_call &call) { call.t = 0; }), HasSubstr("no elements"));
  EXPECT_THAT(reason([](lathe_attention_call &call) { call.batch[1] = 0; }), HasSubstr("no elements"));
  EXPECT_THAT(reason([](lathe_attention_call &call) { call.e = 264; }), HasSubstr("264 columns"));
  EXPECT_THAT(reason([](lathe_attention_call &call) { call.query.col = 2; }), HasSubstr("steps of 16 bytes"));
  EXPECT_THAT(reason([](lathe_attention_call &call) { call.positions = &call.s; }), HasSubstr("device alone knows"));
}

TEST_F(AttentionByLibrary, GoesWithoutTheLibrary) {
  setenv("LATHE_CUDA_VERBOSE", "1", 1);
  auto told = [] {
    Harness harness;
    harness.start();
    testing::internal::CaptureStderr();
    EXPECT_EQ(run(harness, Case()), 0);
    return testing::internal::GetCapturedStderr();
  };
  emulatorSettings().hasDnn = false;
  EXPECT_THAT(told(), HasSubstr("'libcudnn.so.9' can't be opened"));
  emulatorSettings().hasDnn = true;
  setenv("LATHE_CUDA_NO_CUDNN", "1", 1);
  EXPECT_THAT(told(), HasSubstr("LATHE_CUDA_NO_CUDNN is set"));
  setenv("LATHE_CUDA_NO_CUDNN", "0", 1);
  emulatorSettings().capability = 75;
  EXPECT_THAT(told(), HasSubstr("cuDNN refuses it: compute capability 75"));
}

/// Where the budget has no room for copies the own kernel needs none.
TEST_F(AttentionByLibrary, NeedsRoomForCopies) {
  Harness harness;
  harness.start();
  Case c;
  c.dtype = LATHE_F32, c.arithmetic = LATHE_BF16;
  Attention attention(harness, c);
  harness.services.budget = harness.services.held + 100;
  EXPECT_EQ(run(harness, attention), 0);
  harness.services.budget = INT64_MAX;
  EXPECT_EQ(run(harness, attention), 1);
}

TEST_F(AttentionByLibrary, IsPartOfGraphs) {
  for (bool delays : {false, true}) {
    emulatorSettings().delays = delays;
    Harness harness;
    harness.start();
    Case c;
    c.dtype = LATHE_F32, c.arithmetic = LATHE_F16, c.bias = Bias::keys;
    Attention attention(harness, c);
    int64_t before = emulatorStatistics().graphs;
    for (int i = 0; i < 4; ++i)
      EXPECT_EQ(run(harness, attention), 1);
    EXPECT_EQ(emulatorStatistics().graphs - before, 3);
    c.t = 64; // more memory: graphs are made anew
    EXPECT_EQ(run(harness, c), 1);
    for (int i = 0; i < 3; ++i)
      EXPECT_EQ(run(harness, attention), 1);
  }
}

TEST_F(AttentionByLibrary, IsTimedBesideTheOwnKernel) {
  std::string file =
      (std::filesystem::temp_directory_path() / ("lathe-attention-" + std::to_string(getpid()) + ".json")).string();
  setenv("LATHE_CUDA_CHOICES", file.c_str(), 1);
  emulatorSettings().algorithmMilliseconds = {1};
  auto played = [&](float library, float kernel) {
    emulatorSettings().attentionMilliseconds = library;
    emulatorSettings().kernelMilliseconds = kernel;
    Harness harness;
    harness.start();
    Attention attention(harness, Case());
    int64_t first = run(harness, attention);
    return std::pair(first, run(harness, attention));
  };
  EXPECT_EQ(played(1, 3), std::pair(int64_t(5), int64_t(1))); // four to time it
  EXPECT_EQ(played(5, 3), std::pair(int64_t(1), int64_t(1))); // the file knows
  std::filesystem::remove(file);
  EXPECT_EQ(played(5, 3), std::pair(int64_t(4), int64_t(0)));
  EXPECT_EQ(played(1, 3), std::pair(int64_t(0), int64_t(0)));
  std::filesystem::remove(file);
}

/// A problem of 4 heads that read 2, without gaps.
DnnAttention problemOf(int64_t type, int64_t s, int64_t t, int64_t d, int64_t e) {
  DnnAttention p;
  p.type = type, p.heads = 4, p.keyHeads = 2, p.s = s, p.t = t, p.d = d, p.e = e;
  auto dense = [](int64_t(&strides)[4], int64_t heads, int64_t rows, int64_t columns) {
    strides[3] = 1, strides[2] = columns, strides[1] = rows * columns, strides[0] = heads * rows * columns;
  };
  dense(p.query, 4, s, d), dense(p.out, 4, s, e), dense(p.key, 2, t, d), dense(p.value, 2, t, e);
  dense(p.bias, 1, s, (t + 7) / 8 * 8);
  return p;
}

/// Why a library refuses a problem; empty where it does not.
std::string refusalOf(Dnn &dnn, const DnnAttention &problem) {
  std::unique_ptr<DnnPlan> plan;
  runtime::Status status = dnn.plan(problem, &plan);
  EXPECT_EQ(status.failed(), plan == nullptr);
  return status.failed() ? status.message() : std::string();
}

/// What plays the library refuses what the library does.
TEST_F(AttentionByLibrary, IsPlayedWithTheLibrarysDemands) {
  std::unique_ptr<Dnn> dnn;
  ASSERT_FALSE(emulatorDnn(90, &dnn).failed());
  const DnnAttention good = problemOf(kDnnBf16, 16, 24, 8, 8);
  auto refusal = [&](auto change) {
    DnnAttention problem = good;
    change(problem);
    return refusalOf(*dnn, problem);
  };
  EXPECT_EQ(refusal([](DnnAttention &) {}), "");
  EXPECT_EQ(refusal([](DnnAttention &p) { p.isCausal = 1; }), "");
  EXPECT_EQ(refusal([](DnnAttention &p) { p.biasType = kDnnF32; }), "");
  EXPECT_THAT(refusal([](DnnAttention &p) { p.type = kDnnF32; }), HasSubstr("expected f16 or bf16"));
  EXPECT_THAT(refusal([](DnnAttention &p) { p.d = 264; }), HasSubstr("264 and 8 columns"));
  EXPECT_THAT(refusal([](DnnAttention &p) { p.e = 4; }), HasSubstr("8 and 4 columns"));
  EXPECT_THAT(refusal([](DnnAttention &p) { p.keyHeads = 3; }), HasSubstr("4 heads of 3 of keys"));
  EXPECT_THAT(refusal([](DnnAttention &p) { p.t = 0; }), HasSubstr("the key has no elements"));
  EXPECT_THAT(refusal([](DnnAttention &p) { p.key[2] = 12; }), HasSubstr("stride 12 of axis 2 of the key"));
  EXPECT_THAT(refusal([](DnnAttention &p) { p.value[3] = 2; }), HasSubstr("stride 2 of axis 3 of the value"));
  EXPECT_THAT(refusal([](DnnAttention &p) { p.out[1] = 0; }), HasSubstr("stride 0 of axis 1 of the result"));
  EXPECT_THAT(refusal([](DnnAttention &p) { p.biasType = kDnnF16; }), HasSubstr("a bias of type 2"));
  EXPECT_THAT(refusal([](DnnAttention &p) { p.biasType = kDnnF32, p.biasHeads = 2; }), HasSubstr("2 heads"));
  EXPECT_THAT(refusal([](DnnAttention &p) { p.isCausal = 1, p.t = 15; }), HasSubstr("16 queries and 15 keys"));
  EXPECT_THAT(refusal([](DnnAttention &p) { p.isCausal = 1, p.biasType = kDnnF32; }), HasSubstr("and a bias"));
  std::unique_ptr<DnnPlan> plan;
  ASSERT_FALSE(dnn->plan(good, &plan).failed());
  alignas(16) static uint16_t host[4096] = {};
  EXPECT_THAT(plan->execute({host + 1, host, host, nullptr, host}, host, nullptr).message(),
              HasSubstr("the query is not aligned to 16 bytes"));
  EXPECT_THAT(plan->execute({host, host, host, nullptr, host}, host, nullptr).message(),
              HasSubstr("the query reaches outside of what is allocated"));
}

/// Properties of an H100 as cuDNN writes them.
constexpr const char *kH100 = R"({"maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64],
 "deviceVer": 900, "driverVer": 13000, "multiProcessorCount": 132, "regsPerBlock": 65536, "smClockRateKHz": 1980000,
 "memClockRateKHz": 2619000, "l2CacheSize": 52428800, "warpSize": 32, "maxSharedMemoryPerBlock": 49152,
 "maxSharedMemoryPerBlockOptin": 232448, "reservedSharedMemoryPerBlock": 1024, "maxRegistersPerSM": 65536,
 "maxCtasPerSM": 32, "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "isTccDriver": 0, "supportCoopLaunch": 1,
 "pciDeviceId": 0, "cudaDeviceId": 0, "totalGlobalMem": 85017493504, "deviceName": "NVIDIA H100 80GB HBM3"})";

/// cuDNN itself, which plans for a device by its properties, takes and refuses what its player does.
/// What cuDNN itself does not give back: it keeps what it read of kernels that no driver could load.
class LibraryLeaks {
#ifdef LATHE_FINDS_LEAKS
  __lsan::ScopedDisabler disabler;
#endif
public:
  LibraryLeaks() {}
};

TEST_F(AttentionByLibrary, IsPlannedByTheLibraryAsByItsPlayer) {
  std::unique_ptr<Dnn> real, played;
  if (runtime::Status status = openDnnFor(90, kH100, &real); status.failed())
    GTEST_SKIP() << status.message();
  ASSERT_FALSE(emulatorDnn(90, &played).failed());
  if (real->version() < played->version())
    GTEST_SKIP() << "cuDNN " << real->version() << " is older than what is played, " << played->version();
  std::vector<DnnAttention> problems;
  auto add = [&](const DnnAttention &p, int64_t isCausal, int64_t biasType) {
    problems.push_back(p);
    problems.back().isCausal = isCausal;
    problems.back().biasType = biasType;
  };
  for (auto [s, t] : {std::pair<int64_t, int64_t>(128, 128), {17, 33}, {40, 1}})
    for (auto [d, e] : {std::pair<int64_t, int64_t>(64, 64), {256, 256}, {12, 12}}) { // with more it is not asked
      DnnAttention problem = problemOf(d == 64 ? kDnnBf16 : kDnnF16, s, t, d, e);
      add(problem, 0, -1);
      add(problem, 1, -1);
      add(problem, 0, kDnnF32);
      problem.hasStatistics = 1;
      add(problem, 0, -1);
      add(problem, 0, kDnnF32);
    }
  add(problemOf(kDnnBf16, 17, 33, 64, 64), 1, kDnnF32);
  for (const DnnAttention &p : problems) {
    std::string theirs, ours = refusalOf(*played, p);
    {
      LibraryLeaks ignored;
      theirs = refusalOf(*real, p);
    }
    // Of what it takes it loads kernels, for which a machine without a GPU has no driver.
    bool isTaken = theirs.empty() || theirs.find("RUNTIME_PREREQUISITE_MISSING") != std::string::npos;
    EXPECT_EQ(isTaken, ours.empty()) << p.type << " s " << p.s << " t " << p.t << " d " << p.d << " causal "
                                     << p.isCausal << " bias " << p.biasType << ": " << theirs << "; " << ours;
  }
}

/// The library itself, as far as this machine has it: without a GPU it has to say so, in one line.
TEST_F(AttentionByLibrary, OpensTheLibraryOrSaysWhyNot) {
  std::unique_ptr<Dnn> dnn;
  runtime::Status status = openDnn(90, &dnn);
  EXPECT_EQ(status.failed(), dnn == nullptr);
  if (status.failed()) {
    EXPECT_EQ(status.code(), LATHE_UNSUPPORTED_DEVICE);
    EXPECT_THAT(status.message(), Not(testing::IsEmpty()));
    EXPECT_THAT(status.message(), Not(HasSubstr("\n")));
  }
}

} // namespace
