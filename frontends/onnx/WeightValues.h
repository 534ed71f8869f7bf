//===- WeightValues.h - Numbers of initializers and parameters --*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_WEIGHTVALUES_H
#define LATHE_FRONTENDS_ONNX_WEIGHTVALUES_H

#include "frontends/onnx/ModelFile.h"
#include "frontends/safetensors/Checkpoint.h"

namespace lathe::frontend {

/// The floats of a tensor, read where they lie.
class WeightValues {
public:
  /// Nothing for a tensor that has none, or whose bytes are not there.
  static std::optional<WeightValues> of(const ModelFile &file, const onnx::TensorProto &tensor);
  static std::optional<WeightValues> of(const safetensors::Checkpoint &checkpoint, const safetensors::Tensor &tensor);

  int64_t size() const { return count; }
  float operator[](int64_t i) const;
  /// How far a number of the type may be from the one that it stands for, relative to it.
  float rounding() const { return kind == Kind::F32 ? 0x1p-22f : kind == Kind::F16 ? 0x1p-10f : 0x1p-7f; }

private:
  enum class Kind { F32, F16, BF16 };
  Kind kind = Kind::F32;
  int64_t count = 0;
  llvm::StringRef bytes;
  std::shared_ptr<llvm::MemoryBuffer> slice; ///< of another file
};

} // namespace lathe::frontend

#endif // LATHE_FRONTENDS_ONNX_WEIGHTVALUES_H
