//===- Gradients.cpp - Gradients of a loss by weights ---------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/Gradients.h"
#include "frontends/onnx/WeightValues.h"
#include "llvm/ADT/StringExtras.h"
#include <cmath>

namespace lathe {

std::optional<std::vector<float>> Gradients::of(const std::string &name, llvm::ArrayRef<int64_t> shape,
                                                std::string &why) const {
  auto it = checkpoint.parameters().find(name);
  if (it == checkpoint.parameters().end() || !it->second.dense) {
    why = "'" + checkpoint.name() + "' has no gradient by '" + name + "'";
    return std::nullopt;
  }
  const safetensors::Tensor &tensor = *it->second.dense;
  std::optional<frontend::WeightValues> values = frontend::WeightValues::of(checkpoint, tensor);
  if (!values || llvm::ArrayRef<int64_t>(tensor.shape) != shape) {
    why = "the gradient by '" + name + "' in '" + checkpoint.name() + "' is " + tensor.type() +
          ", expected F32, F16 or BF16 [" +
          llvm::join(llvm::map_range(shape, [](int64_t n) { return std::to_string(n); }), ", ") + "]";
    return std::nullopt;
  }
  std::vector<float> gradient(values->size());
  for (int64_t i = 0; i < values->size(); ++i)
    gradient[i] = (*values)[i];
  if (llvm::all_of(gradient, [](float value) { return std::isfinite(value); }))
    return gradient;
  why = "the gradient by '" + name + "' in '" + checkpoint.name() + "' has numbers that are not finite";
  return std::nullopt;
}

} // namespace lathe
