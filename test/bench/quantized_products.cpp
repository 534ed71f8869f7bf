//===- quantized_products.cpp - Speed of products with quantized weights --===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//     lathe_bench_quantized [THREADS [K N [ISA]]]
//
// Times products of 1, 4 and 128 rows with twelve weights in turn, so that they come from memory, the formats alternating;
// prints the least of the rounds for each: microseconds, bytes of the weight and operations in a second. The limit beside
// them is what the same threads read from memory without computing anything; that of arithmetic is `lathe bench --limits`.
// oneDNN's product of bytes, without groups and with scales of columns, runs in the same rounds.
//
//===----------------------------------------------------------------------===//
#include "test/unit/runtime/QuantizedSupport.h"

#include "runtime/CpuFeatures.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <immintrin.h>
#include <oneapi/dnnl/dnnl.hpp>

using namespace lathe;
using namespace lathe::runtime;

namespace {

constexpr int kWeights = 12, kRounds = 9;

double now() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Format {
  const char *name;
  CodeValues values;
  int64_t bits, dimension, group;
  int64_t quantization;
};

constexpr int64_t kAll = 0; // rows of a group
constexpr Format kFormats[] = {
    {"int8, columns", CodeValues::integer, 8, 1, kAll, LATHE_QUANTIZE_NONE},
    {"int4, groups of 32", CodeValues::integer, 4, 1, 32, LATHE_QUANTIZE_NONE},
    {"int3, groups of 32", CodeValues::integer, 3, 1, 32, LATHE_QUANTIZE_NONE},
    {"int2, groups of 32", CodeValues::integer, 2, 1, 32, LATHE_QUANTIZE_NONE},
    {"table of 16, groups of 32", CodeValues::table, 4, 1, 32, LATHE_QUANTIZE_NONE},
    {"e4m3, columns", CodeValues::e4m3, 8, 1, kAll, LATHE_QUANTIZE_NONE},
    {"codebook of 256 x 4", CodeValues::codebook, 8, 4, kAll, LATHE_QUANTIZE_NONE},
    {"W8A8, columns", CodeValues::integer, 8, 1, kAll, LATHE_QUANTIZE_ROWS},
    {"W4A8, groups of 32", CodeValues::integer, 4, 1, 32, LATHE_QUANTIZE_ROWS},
    {"W3A8, groups of 32", CodeValues::integer, 3, 1, 32, LATHE_QUANTIZE_ROWS},
    {"W2A8, groups of 32", CodeValues::integer, 2, 1, 32, LATHE_QUANTIZE_ROWS},
};

/// One format's weights.
struct Subject {
  const Format &format;
  QuantizedLayout layout;
  Buffer packed[kWeights];
  std::unique_ptr<test::QuantizedServices> services;
  double best = 1e30;

  Subject(const Format &format, int64_t k, int64_t n, int threads, const std::string &isa) : format(format) {
    layout.k = k, layout.n = n;
    layout.bits = format.bits, layout.values = format.values, layout.dimension = format.dimension;
    layout.group = format.group == kAll ? k : format.group;
    layout.scale = ScaleType::f16;
    layout.zero = format.values == CodeValues::integer ? static_cast<float>(layout.entries() / 2) : 0;
    cpu::setPanel(layout);
    std::vector<uint8_t> codes(static_cast<size_t>(k / format.dimension * n));
    std::mt19937 random(1);
    for (uint8_t &code : codes)
      code = static_cast<uint8_t>(random() & static_cast<unsigned>(layout.entries() - 1) & 0x7b);
    std::vector<float> scales(static_cast<size_t>(layout.groups() * n), 0.01f), table(256 * 8, 0.5f);
    services = std::make_unique<test::QuantizedServices>(threads, isa);
    for (Buffer &buffer : packed) {
      if (!buffer.reserve(static_cast<size_t>(layout.bytes())))
        abort();
      cpu::packQuantized(layout, {codes.data(), n, 1, scales.data(), nullptr, table.data()}, buffer.data());
      services->add(layout, buffer.data());
    }
    services->start();
  }

  void run(int64_t m, const float *a, float *out) {
    lathe_matmul_call call = {};
    call.alpha = 1;
    call.a = a, call.out = out;
    call.m = m, call.n = call.out_row = layout.n, call.k = call.a_row = layout.k;
    call.a_col = call.batch[0] = call.batch[1] = call.batch[2] = 1;
    call.a_quantization = format.quantization;
    for (int i = 0; i < kWeights; ++i) {
      call.weight = i;
      if (services->matmul(call).failed())
        abort();
    }
  }
};

/// oneDNN's product of bytes, of a left side that is bytes already, to f32.
struct Library {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  dnnl::matmul product;
  std::vector<std::unordered_map<int, dnnl::memory>> arguments;
  double best = 1e30;

  Library(int64_t m, int64_t k, int64_t n) {
    using dnnl::memory;
    auto any = memory::format_tag::any, plain = memory::format_tag::ab;
    dnnl::primitive_attr attr;
    attr.set_scales_mask(DNNL_ARG_WEIGHTS, 1 << 1);
    memory::desc weights({k, n}, memory::data_type::s8, any);
    dnnl::matmul::primitive_desc desc(engine, memory::desc({m, k}, memory::data_type::u8, plain), weights,
                                      memory::desc({m, n}, memory::data_type::f32, plain), attr);
    product = dnnl::matmul(desc);
    for (int i = 0; i < kWeights; ++i) {
      memory scale({{n}, memory::data_type::f32, memory::format_tag::a}, engine);
      std::fill_n(static_cast<float *>(scale.get_data_handle()), n, 0.01f);
      memory a(desc.src_desc(), engine), b(desc.weights_desc(), engine), out(desc.dst_desc(), engine);
      memset(a.get_data_handle(), 3, a.get_desc().get_size());
      memset(b.get_data_handle(), 5, b.get_desc().get_size());
      arguments.push_back({{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, out},
                           {DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS, scale}});
    }
  }
  void run() {
    for (auto &each : arguments)
      product.execute(stream, each);
    stream.wait();
  }
};

/// Bytes a microsecond that all threads together read.
double readingSpeed(int threads) {
  constexpr int64_t kBytes = int64_t(128) << 20, kChunk = 1 << 18;
  ThreadPool pool;
  std::vector<unsigned char> data(kBytes, 1);
  if (pool.start(threads, nullptr).failed())
    abort();
  double best = 1e30;
  for (int i = 0; i < 4 * kRounds; ++i) {
    double start = now();
    pool.parallelFor(
        kBytes / kChunk, 1,
        [](void *context, int64_t begin, int64_t end, int) {
          auto *p = static_cast<unsigned char *>(context);
          uint64_t sum = 0;
          for (int64_t at = begin * kChunk; at < end * kChunk; at += 256)
            for (int64_t line = 0; line < 256; line += 64) { // as the loops of products do
              _mm_prefetch(reinterpret_cast<const char *>(p + at + line + 4096), _MM_HINT_T0);
              sum += *reinterpret_cast<const uint64_t *>(p + at + line);
            }
          volatile uint64_t sink = sum;
          (void)sink;
        },
        data.data());
    best = std::min(best, now() - start);
  }
  return static_cast<double>(kBytes) / best;
}

} // namespace

int main(int argc, char **argv) {
  int threads = argc > 1 ? atoi(argv[1]) : 2;
  int64_t k = argc > 3 ? atoll(argv[2]) : 768, n = argc > 3 ? atoll(argv[3]) : 3072;
  const char *why = nullptr;
  std::string isa = argc > 4 ? argv[4] : supportsIsa("avx512", &why) ? "avx512" : "avx2";
  printf("%ld x %ld, %d threads, %s; memory is read at %.1f GB/s\n", k, n, threads, isa.c_str(), readingSpeed(threads) / 1e3);
  std::vector<std::unique_ptr<Subject>> subjects;
  for (const Format &format : kFormats)
    subjects.push_back(std::make_unique<Subject>(format, k, n, threads, isa));
  std::vector<float> a(static_cast<size_t>(128 * k)), out(static_cast<size_t>(128 * n));
  for (size_t i = 0; i < a.size(); ++i)
    a[i] = static_cast<float>(i % 17) / 16 - 0.5f;
  for (int64_t m : {1, 4, 128}) {
    Library library(m, k, n);
    for (auto &subject : subjects)
      subject->best = 1e30;
    for (int round = 0; round < kRounds; ++round) {
      for (auto &subject : subjects) {
        double start = now();
        subject->run(m, a.data(), out.data());
        subject->best = std::min(subject->best, now() - start);
      }
      double start = now();
      library.run();
      library.best = std::min(library.best, now() - start);
    }
    auto print = [&](const char *name, double time, int64_t bytes) {
      time /= kWeights;
      printf("%4ld rows  %-28s %8.1f us  %6.1f GB/s  %7.1f Gop/s\n", m, name, time, static_cast<double>(bytes) / time / 1e3,
             2e-3 * static_cast<double>(m * k * n) / time);
    };
    for (auto &subject : subjects)
      print(subject->format.name, subject->best, subject->layout.bytes());
    print("oneDNN u8 x s8, columns", library.best, k * n);
  }
  fflush(stdout);
  return 0;
}
