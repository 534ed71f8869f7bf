//===- SparseSupport.h - Matrices with zeros of tests -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_TEST_UNIT_RUNTIME_SPARSESUPPORT_H
#define LATHE_TEST_UNIT_RUNTIME_SPARSESUPPORT_H

#include "QuantizedSupport.h"

#include "backends/cpu/runtime/PackSparse.h"
#include "runtime/SmallFloats.h"

#include <cstring>

namespace lathe::test {

/// A random matrix of which blocks of `tall` rows and `wide` columns are zero with a probability: its packed form, and
/// its numbers.
struct RandomSparse {
  runtime::SparseLayout layout;
  runtime::Buffer packed;
  std::vector<float> dense; ///< [k, n]

  RandomSparse(runtime::SparseLayout wanted, double zeros, int64_t tall, int64_t wide, unsigned seed,
               int64_t height = 1)
      : layout(wanted) {
    using runtime::SparseValues;
    int64_t k = layout.k, n = layout.n, groups = layout.group ? (k + layout.group - 1) / layout.group : 0;
    std::mt19937 random(seed);
    std::vector<bool> isZero(static_cast<size_t>((k + tall - 1) / tall * ((n + wide - 1) / wide)));
    for (size_t i = 0; i < isZero.size(); ++i)
      isZero[i] = static_cast<double>(random() % 10000) < zeros * 10000;
    std::vector<float> scales;
    for (int64_t i = 0; i < groups * n; ++i)
      scales.push_back(static_cast<float>(1 + random() % 16) / 1024);
    std::vector<unsigned char> elements(static_cast<size_t>(k * n * layout.valueBytes()));
    dense.resize(static_cast<size_t>(k * n));
    for (int64_t i = 0; i < k; ++i)
      for (int64_t j = 0; j < n; ++j) {
        auto at = static_cast<size_t>(i * n + j);
        int code = static_cast<int>(random() % 255) - 127;
        if (isZero[static_cast<size_t>(i / tall * ((n + wide - 1) / wide) + j / wide)])
          code = 0;
        float value = static_cast<float>(code) / 128; // exactly of every type
        dense[at] = layout.values == SparseValues::i8
                        ? static_cast<float>(code) * scales[static_cast<size_t>(i / layout.group * n + j)]
                        : value;
        uint16_t half = layout.values == SparseValues::f16 ? runtime::toHalf(value) : runtime::toBfloat(value);
        auto byte = static_cast<int8_t>(code);
        const void *from = layout.values == SparseValues::f32  ? static_cast<const void *>(&value)
                           : layout.values == SparseValues::i8 ? static_cast<const void *>(&byte)
                                                               : static_cast<const void *>(&half);
        memcpy(elements.data() + at * static_cast<size_t>(layout.valueBytes()), from,
               static_cast<size_t>(layout.valueBytes()));
      }
    cpu::SparseSource source{elements.data(), n, 1, scales.data()};
    cpu::setLists(layout, source, height);
    std::string why;
    EXPECT_TRUE(layout.valid(&why)) << why;
    EXPECT_TRUE(packed.reserve(static_cast<size_t>(layout.bytes())));
    cpu::packSparse(layout, source, packed.data());
    EXPECT_TRUE(layout.verify(packed.data(), &why)) << why;
  }
};

} // namespace lathe::test

#endif // LATHE_TEST_UNIT_RUNTIME_SPARSESUPPORT_H
