//===- CudaDemo.h - The artifact for CUDA that the tests load ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_TEST_UNIT_CUDA_CUDADEMO_H
#define LATHE_TEST_UNIT_CUDA_CUDADEMO_H

#include "test/unit/runtime/DemoModel.h"

namespace lathe::test {

/// The model described in cuda_code.c.
struct CudaDemo : DemoModel {
  std::vector<artifact::SectionSource> sections; ///< besides the code image, which is "code.avx2" and "cuda.emulation"

  /// `packed`: the weight is stored as products of the processor want it.
  explicit CudaDemo(bool packed = false);
  /// Writes the artifact and returns its path; fails the test when that fails.
  std::string write(const std::string &name) const;

  std::vector<float> scaled(const std::vector<float> &x, const std::vector<int64_t> &index) const;
  std::vector<float> chosen(const std::vector<float> &x) const;
};

} // namespace lathe::test

#endif // LATHE_TEST_UNIT_CUDA_CUDADEMO_H
