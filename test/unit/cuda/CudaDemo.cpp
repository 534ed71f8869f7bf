//===- CudaDemo.cpp - The artifact for CUDA that the tests load -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "test/unit/cuda/CudaDemo.h"

using namespace lathe;
using namespace lathe::test;

static constexpr const char *kManifest = R"({
    "producer": "test", "devices": ["cuda"], "device": "cuda",
    "symbols": [{"name": "batch", "min": 0, "max": null},
                {"name": "limits[0]", "min": null, "max": null, "input": "limits", "element": 0}],
    "inputs": [{"name": "x", "type": "f32", "shape": ["batch", 8]},
               {"name": "index", "type": "i64", "shape": ["batch"]},
               {"name": "limits", "type": "i64", "shape": [2]}],
    "outputs": [{"name": "scaled", "type": "f32", "shape": ["batch", 8]},
                {"name": "product", "type": "f32", "shape": ["batch", 16]},
                {"name": "chosen", "type": "f32", "shape": ["count"]}],
    "code": [{"isa": "avx2", "section": "code.avx2", "plan": 0, "run": 2048}],
    "kernels": [{"name": "scale_0", "kind": "generated", "nodes": ["Gather_0", "Mul_1"], "function": "main_scale",
                 "result": {"value": "scaled", "node": "Mul_1", "type": "f32", "argument": 8, "rank": 2}},
                {"name": "matmul_1", "kind": "matmul", "nodes": ["MatMul_2"],
                 "result": {"value": "product", "node": "MatMul_2", "type": "f32"}},
                {"name": "count_2", "kind": "generated", "nodes": ["NonZero_3"], "function": "main_count"},
                {"name": "copy_3", "kind": "generated", "nodes": ["NonZero_3"], "function": "main_copy"}],
    "checks": [{"node": "Gather_0", "message": "index out of range: the table has 4 rows"},
               {"node": "Mul_1", "message": "batch must be at most 1000"},
               {"node": "Slice_4", "message": "the limit must not be negative"}],
    "device_code": [{"device": "cuda", "kind": "emulation", "isa": "avx2", "section": "cuda.emulation",
                     "kernels": {"main_scale": 6144, "main_count": 8192, "main_copy": 10240}}],
    "weights_bytes": 592, "recipe": null})";

CudaDemo::CudaDemo(bool packed) : DemoModel(LATHE_CUDA_CODE, kManifest, packed) {}

std::string CudaDemo::write(const std::string &name) const {
  std::vector<artifact::SectionSource> all = {{"code.avx2", code.data(), code.size()},
                                              {"cuda.emulation", code.data(), code.size()}};
  all.insert(all.end(), sections.begin(), sections.end());
  return DemoModel::write(name, all);
}

std::vector<float> CudaDemo::scaled(const std::vector<float> &x, const std::vector<int64_t> &index) const {
  std::vector<float> out;
  for (size_t i = 0; i < x.size(); ++i)
    out.push_back(x[i] * scale[static_cast<size_t>(index[i / 8])]);
  return out;
}

std::vector<float> CudaDemo::chosen(const std::vector<float> &x) const {
  std::vector<float> out;
  for (size_t i = 0; i < x.size(); i += 8)
    if (x[i] > 0)
      out.push_back(x[i]);
  return out;
}
