//===- PackWeights.cpp - Weights in the layout that oneDNN wants ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/PackWeights.h"

#include "backends/cpu/runtime/Dnnl.h"

#include "runtime/DataType.h"

using namespace lathe;

namespace {
size_t elementBytes(lathe_dtype dtype) {
  const runtime::DataType *type = runtime::dataType(dtype);
  return type ? type->size : 0;
}

std::string typeName(lathe_dtype dtype) {
  const runtime::DataType *type = runtime::dataType(dtype);
  return type ? type->name : "unknown";
}
} // namespace

bool cpu::preferredWeightLayout(int64_t k, int64_t n, lathe_dtype dtype, WeightLayout *layout, std::string *error) {
  *layout = {};
  size_t size = elementBytes(dtype);
  // Any number of rows above one: a single row is served from the same layout.
  constexpr int64_t kRows = 64;
  dnnl_data_type_t type = dnnlType(dtype);
  if (type != dnnl_f32 || k < 1 || n < 1) {
    *error = "cannot pack a [" + std::to_string(k) + ", " + std::to_string(n) + "] matrix of type " + typeName(dtype) +
             ": expected f32 and no empty dimension";
    return false;
  }
  DnnlMemoryDesc a = matrix(type, kRows, k, k, 1);
  DnnlMemoryDesc b = anyMatrix(type, k, n);
  DnnlMemoryDesc out = matrix(type, kRows, n, n, 1);
  dnnl_primitive_attr_t attr = nullptr;
  dnnl_primitive_attr_create(&attr);
  Dnnl<dnnl_primitive_attr_t> attrOwner(attr);
  dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
  dnnl_primitive_desc_t desc = nullptr;
  // The choice among implementations depends on the number of threads, and the runtime uses one.
  int threads = setOpenmpThreads(1);
  dnnl_status_t status = dnnl_matmul_primitive_desc_create(&desc, engine(), a.get(), b.get(), nullptr, out.get(), attr);
  setOpenmpThreads(threads);
  Dnnl<dnnl_primitive_desc_t> descOwner(desc);
  if (status != dnnl_success) {
    *error = "oneDNN has no matmul for a [" + std::to_string(k) + ", " + std::to_string(n) + "] matrix";
    return false;
  }
  const_dnnl_memory_desc_t weights = dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
  if (!readLayout(weights, size, &layout->layout)) {
    // One that we cannot describe is repacked when the artifact is loaded.
    layout->layout = {};
    layout->layout.dims[0] = layout->layout.paddedDims[0] = k;
    layout->layout.dims[1] = layout->layout.paddedDims[1] = n;
    layout->layout.strides[0] = n;
    layout->layout.strides[1] = 1;
  }
  layout->plain = isPlain(layout->layout);
  layout->bytes = layout->layout.elements() * static_cast<int64_t>(size);
  return true;
}

void cpu::packWeights(const WeightLayout &layout, lathe_dtype dtype, const void *source, int64_t rowStride,
                      int64_t colStride, void *target) {
  runtime::pack(layout.layout, elementBytes(dtype), source, rowStride, colStride, target);
}
