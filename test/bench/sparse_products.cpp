//===- sparse_products.cpp - Speed of products with zeros ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//     lathe_bench_sparse [THREADS [K N [ROWS [ISA]]]]
//
// Times products with weights some of whose elements are zero, at random or in blocks, beside the product with the
// dense matrix; several weights in turn, as in a model, formats alternating. Prints the least of the rounds for each,
// and how many times as fast as the dense one it is.
//
//===----------------------------------------------------------------------===//
#include "test/unit/runtime/SparseSupport.h"

#include "runtime/CpuFeatures.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>

using namespace lathe;
using namespace lathe::runtime;

namespace {

constexpr int kWeights = 4, kRounds = 9;

double now() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Kind {
  const char *name;
  double zeros; ///< below 0: the dense product
  int64_t tall, wide;
  SparseValues values;
};

constexpr Kind kKinds[] = {
    {"dense f32", -1, 1, 1, SparseValues::f32},
    {"f32, 50 %", 0.5, 1, 1, SparseValues::f32},
    {"f32, 70 %", 0.7, 1, 1, SparseValues::f32},
    {"f32, 80 %", 0.8, 1, 1, SparseValues::f32},
    {"f32, 90 %", 0.9, 1, 1, SparseValues::f32},
    {"bf16, 90 %", 0.9, 1, 1, SparseValues::bf16},
    {"i8, 90 %", 0.9, 1, 1, SparseValues::i8},
    {"f32, 95 %", 0.95, 1, 1, SparseValues::f32},
    {"f32, 80 %, blocks of 1 x 16", 0.8, 1, 16, SparseValues::f32},
    {"f32, 95 %, blocks of 16 x 1", 0.95, 16, 1, SparseValues::f32},
    {"f32, 95 %, blocks of 1 x 16", 0.95, 1, 16, SparseValues::f32},
    {"f32, 95 %, blocks of 16 x 16", 0.95, 16, 16, SparseValues::f32},
};

struct Subject {
  const Kind &kind;
  int64_t k, n;
  std::vector<std::unique_ptr<test::RandomSparse>> weights;
  std::unique_ptr<test::QuantizedServices> services;
  double best = 1e30;

  Subject(const Kind &kind, int64_t k, int64_t n, int threads, const std::string &isa) : kind(kind), k(k), n(n) {
    services = std::make_unique<test::QuantizedServices>(threads, isa);
    for (unsigned i = 0; i < kWeights; ++i) {
      SparseLayout layout;
      layout.k = k, layout.n = n, layout.values = kind.values;
      layout.group = kind.values == SparseValues::i8 ? k : 0;
      weights.push_back(std::make_unique<test::RandomSparse>(layout, std::max(kind.zeros, 0.0), kind.tall, kind.wide, i,
                                                             kind.wide % 4 == 0 ? 4 : 1));
      const test::RandomSparse &weight = *weights.back();
      kind.zeros < 0 ? services->add(k, n, weight.dense.data()) : services->add(weight.layout, weight.packed.data());
    }
    services->start();
  }

  void run(int64_t m, const float *a, float *out) {
    lathe_matmul_call call = {};
    call.alpha = 1;
    call.a = a, call.out = out;
    call.m = m, call.n = call.out_row = call.b_row = n, call.k = call.a_row = k;
    call.a_col = call.b_col = call.batch[0] = call.batch[1] = call.batch[2] = 1;
    for (int i = 0; i < kWeights; ++i) {
      call.weight = i;
      if (Status status = services->matmul(call); status.failed()) {
        fprintf(stderr, "%s\n", status.message().c_str());
        abort();
      }
    }
  }
};

} // namespace

int main(int argc, char **argv) {
  int threads = argc > 1 ? atoi(argv[1]) : 2;
  int64_t k = argc > 3 ? atoll(argv[2]) : 768, n = argc > 3 ? atoll(argv[3]) : 3072;
  const char *why = nullptr;
  std::string isa = argc > 5 ? argv[5] : supportsIsa("avx512", &why) ? "avx512" : "avx2";
  printf("%ld x %ld, %d threads, %s\n", k, n, threads, isa.c_str());
  std::vector<std::unique_ptr<Subject>> subjects;
  for (const Kind &kind : kKinds)
    subjects.push_back(std::make_unique<Subject>(kind, k, n, threads, isa));
  std::vector<int64_t> rows = argc > 4 ? std::vector<int64_t>{atoll(argv[4])} : std::vector<int64_t>{1, 8, 128};
  std::vector<float> a(static_cast<size_t>(std::max<int64_t>(rows.back(), 1) * k)),
      out(static_cast<size_t>(rows.back() * n));
  for (size_t i = 0; i < a.size(); ++i)
    a[i] = static_cast<float>(i % 17) / 16 - 0.5f;
  for (int64_t m : rows) {
    for (auto &subject : subjects)
      subject->best = 1e30;
    for (int round = 0; round < kRounds; ++round)
      for (auto &subject : subjects) {
        double start = now();
        subject->run(m, a.data(), out.data());
        subject->best = std::min(subject->best, now() - start);
      }
    for (auto &subject : subjects) {
      int64_t bytes = subject->kind.zeros < 0 ? k * n * 4 : subject->weights[0]->layout.bytes();
      printf("%4ld rows  %-30s %8.1f us  %6.2f times  %8.1f KB\n", m, subject->kind.name, subject->best / kWeights,
             subjects[0]->best / subject->best, static_cast<double>(bytes) / 1e3);
    }
  }
  fflush(stdout);
  return 0;
}
