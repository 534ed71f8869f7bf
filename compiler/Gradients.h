//===- Gradients.h - Gradients of a loss by weights -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_GRADIENTS_H
#define LATHE_COMPILER_GRADIENTS_H

#include "frontends/safetensors/Checkpoint.h"
#include "llvm/ADT/ArrayRef.h"
#include <optional>
#include <string>
#include <vector>

namespace lathe {

/// Gradients of a loss by a model's initializers, which a training framework has computed: tensors of safetensors, of
/// their names and shapes, in f32, f16 or bf16.
class Gradients {
public:
  /// Returns what is wrong, or an empty text.
  std::string open(const std::string &path) { return checkpoint.open(path); }

  /// That by the initializer `name` of `shape`, row-major; nullopt with `why` where there is none.
  std::optional<std::vector<float>> of(const std::string &name, llvm::ArrayRef<int64_t> shape, std::string &why) const;

private:
  safetensors::Checkpoint checkpoint;
};

} // namespace lathe

#endif // LATHE_COMPILER_GRADIENTS_H
