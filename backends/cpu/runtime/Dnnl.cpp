//===- Dnnl.cpp - Thin layer over oneDNN's C interface ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/Dnnl.h"

// OpenMP's own declarations (OpenMP 5.0, section 3.2): clang's packages for them come with another OpenMP library.
extern "C" {
int omp_get_max_threads(void);
void omp_set_num_threads(int threads);
}

using namespace lathe;
using namespace lathe::cpu;

dnnl_engine_t cpu::engine() {
  static dnnl_engine_t instance = [] {
    dnnl_engine_t created = nullptr;
    return dnnl_engine_create(&created, dnnl_cpu, 0) == dnnl_success ? created : nullptr;
  }();
  return instance;
}

dnnl_data_type_t cpu::dnnlType(lathe_dtype dtype) {
  switch (dtype) {
  case LATHE_F32:
    return dnnl_f32;
  case LATHE_F16:
    return dnnl_f16;
  case LATHE_BF16:
    return dnnl_bf16;
  case LATHE_I8:
    return dnnl_s8;
  case LATHE_U8:
    return dnnl_u8;
  case LATHE_I32:
    return dnnl_s32;
  default:
    return dnnl_data_type_undef;
  }
}

DnnlMemoryDesc cpu::matrix(dnnl_data_type_t type, int64_t rows, int64_t cols, int64_t rowStride, int64_t colStride) {
  dnnl_dims_t dims = {rows, cols};
  dnnl_dims_t strides = {rowStride, colStride};
  dnnl_memory_desc_t desc = nullptr;
  dnnl_memory_desc_create_with_strides(&desc, 2, dims, type, strides);
  return DnnlMemoryDesc(desc);
}

int cpu::setOpenmpThreads(int threads) {
  int old = omp_get_max_threads();
  omp_set_num_threads(threads);
  return old;
}
