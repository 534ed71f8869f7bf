//===- CudaKernels.h - Code for devices in an artifact ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_CUDAKERNELS_H
#define LATHE_COMPILER_CUDAKERNELS_H

#include "backends/cuda/compiler/DeviceCode.h"
#include "compiler/ArtifactWriter.h"
#include "compiler/Compile.h"
#include "compiler/Programs.h"
#include <map>
#include <nlohmann/json.hpp>

namespace lathe {

/// What the programs for CUDA launch.
class CudaKernels {
public:
  explicit CudaKernels(mlir::MLIRContext &context) : device(context) {}
  /// Adds to each product of a program what multiplies many rows: `library`, such as cublaslt-bf16, or
  /// cusparselt-bf16 where the weight's zeros allow it.
  static void describeProducts(nlohmann::ordered_json &kernels, const nlohmann::ordered_json &constants);

  /// Takes the kernels of a program whose arena is planned; `description` is its part of the manifest, where they get
  /// the names of their functions.
  bool take(Program &program, nlohmann::ordered_json &description);
  /// Makes PTX, and where `all` is asked for, cubins and code for the emulator; what can't be made for want of a
  /// toolkit is told to the options' `note`.
  bool compile(const CompileOptions &options, bool all, std::string &error);
  const std::string &text() const { return ptx; }
  /// Puts what was made behind the sections, which refer to it, and says so in the manifest.
  void describe(nlohmann::ordered_json &manifest, std::vector<artifact::SectionSource> &sections) const;
  /// What each kernel takes of a multiprocessor, in a program's list of kernels.
  void describeResources(nlohmann::ordered_json &kernels) const;

private:
  bool linkCubins(const CompileOptions &options, std::string &error);

  cuda::DeviceModule device;
  std::map<std::string, int64_t> shared; ///< bytes that launches of a function ask for
  std::string ptx;
  std::vector<cuda::Cubin> cubins;
  std::optional<cpu::FlatCode> emulation;
};

} // namespace lathe

#endif // LATHE_COMPILER_CUDAKERNELS_H
