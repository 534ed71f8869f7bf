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
using runtime::PackedLayout;

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

DnnlMemoryDesc cpu::anyMatrix(dnnl_data_type_t type, int64_t rows, int64_t cols) {
  dnnl_dims_t dims = {rows, cols};
  dnnl_memory_desc_t desc = nullptr;
  dnnl_memory_desc_create_with_tag(&desc, 2, dims, type, dnnl_format_tag_any);
  return DnnlMemoryDesc(desc);
}

bool cpu::readLayout(const_dnnl_memory_desc_t desc, size_t elementSize, PackedLayout *layout) {
  int rank = 0, blocks = 0;
  dnnl_format_kind_t kind = dnnl_format_kind_undef;
  dnnl_dims_t *dims = nullptr, *padded = nullptr, *strides = nullptr, *sizes = nullptr, *indices = nullptr;
  if (dnnl_memory_desc_query(desc, dnnl_query_ndims_s32, &rank) != dnnl_success || rank != 2 ||
      dnnl_memory_desc_query(desc, dnnl_query_format_kind, &kind) != dnnl_success || kind != dnnl_blocked ||
      dnnl_memory_desc_query(desc, dnnl_query_dims, &dims) != dnnl_success ||
      dnnl_memory_desc_query(desc, dnnl_query_padded_dims, &padded) != dnnl_success ||
      dnnl_memory_desc_query(desc, dnnl_query_strides, &strides) != dnnl_success ||
      dnnl_memory_desc_query(desc, dnnl_query_inner_nblks_s32, &blocks) != dnnl_success ||
      dnnl_memory_desc_query(desc, dnnl_query_inner_blks, &sizes) != dnnl_success ||
      dnnl_memory_desc_query(desc, dnnl_query_inner_idxs, &indices) != dnnl_success || blocks < 0 ||
      blocks > PackedLayout::kMaxBlocks)
    return false;
  for (int dim = 0; dim < 2; ++dim) {
    layout->dims[dim] = (*dims)[dim];
    layout->paddedDims[dim] = (*padded)[dim];
    layout->strides[dim] = (*strides)[dim];
  }
  layout->blockCount = blocks;
  for (int i = 0; i < blocks; ++i) {
    layout->blocks[i] = (*sizes)[i];
    layout->blockDims[i] = static_cast<int>((*indices)[i]);
  }
  // More bytes than elements are data that oneDNN appends, such as sums for zero points.
  return layout->valid() && dnnl_memory_desc_get_size(desc) == static_cast<size_t>(layout->elements()) * elementSize;
}

bool cpu::isPlain(const PackedLayout &layout) {
  return layout.blockCount == 0 && layout.paddedDims[0] == layout.dims[0] && layout.paddedDims[1] == layout.dims[1] &&
         (layout.strides[1] == 1 || layout.dims[1] == 1) &&
         (layout.strides[0] == layout.dims[1] || layout.dims[0] == 1);
}

int cpu::setOpenmpThreads(int threads) {
  int old = omp_get_max_threads();
  omp_set_num_threads(threads);
  return old;
}
