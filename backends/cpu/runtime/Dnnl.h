//===- Dnnl.h - Thin layer over oneDNN's C interface ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_DNNL_H
#define LATHE_BACKENDS_CPU_RUNTIME_DNNL_H

#include "runtime/include/lathe/lathe.h"

#include <memory>
#include <oneapi/dnnl/dnnl.h>

// The C interface, because the C++ one reports errors by exceptions.
namespace lathe::cpu {

struct DnnlDelete {
  void operator()(dnnl_memory_desc_t object) const { dnnl_memory_desc_destroy(object); }
  void operator()(dnnl_memory_t object) const { dnnl_memory_destroy(object); }
  void operator()(dnnl_primitive_desc_t object) const { dnnl_primitive_desc_destroy(object); }
  void operator()(dnnl_primitive_t object) const { dnnl_primitive_destroy(object); }
  void operator()(dnnl_primitive_attr_t object) const { dnnl_primitive_attr_destroy(object); }
  void operator()(dnnl_post_ops_t object) const { dnnl_post_ops_destroy(object); }
  void operator()(dnnl_stream_t object) const { dnnl_stream_destroy(object); }
};

template <typename Handle> using Dnnl = std::unique_ptr<std::remove_pointer_t<Handle>, DnnlDelete>;

using DnnlMemoryDesc = Dnnl<dnnl_memory_desc_t>;

/// The engine of this process's processor; NULL when oneDNN cannot make one. Immutable, made once, shared by modules.
dnnl_engine_t engine();

/// oneDNN's type for ours; dnnl_data_type_undef where it has none.
dnnl_data_type_t dnnlType(lathe_dtype dtype);

/// A strided matrix; NULL on failure.
DnnlMemoryDesc matrix(dnnl_data_type_t type, int64_t rows, int64_t cols, int64_t rowStride, int64_t colStride);

/// Sets the number of threads that oneDNN uses for work that the calling thread starts; returns the old one.
int setOpenmpThreads(int threads);

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_DNNL_H
