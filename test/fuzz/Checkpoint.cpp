//===- Checkpoint.cpp - Fuzzing of the reader of safetensors --------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// One input is the bytes of a file. Its tensors are read, and layers as GPTQ and AWQ pack them are taken apart.
//
//===----------------------------------------------------------------------===//
#include "frontends/safetensors/PackedWeight.h"
#include <cstdlib>
#include <string>

using namespace lathe::safetensors;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const std::string bytes(reinterpret_cast<const char *>(data), size);
  Tensors tensors;
  if (!readTensors(bytes, tensors).empty())
    return 0;
  for (const auto &[name, tensor] : tensors) {
    if (tensor.offset > size || tensor.bytes > size - tensor.offset)
      abort(); // all of them lie in the file
    llvm::StringRef layer(name);
    bool isCompressed = layer.consume_back(".weight_packed");
    if (!isCompressed && !layer.consume_back(".qweight"))
      continue;
    auto part = [&](const char *own, const char *compressed) {
      auto it = tensors.find((layer + "." + (isCompressed ? compressed : own)).str());
      return it == tensors.end()
                 ? PackedWeight::Part()
                 : PackedWeight::Part{&it->second, llvm::StringRef(bytes).substr(it->second.offset, it->second.bytes)};
    };
    PackedWeight::Parts parts{part("qweight", "weight_packed"), part("qzeros", "weight_zero_point"),
                              part("scales", "weight_scale"), part("g_idx", "weight_g_idx"),
                              part("none", "weight_shape")};
    PackedWeight weight;
    QuantizationConfig config;
    config.source = "config.json";
    config.bits = 3; // says what words that are not full of codes leave open
    config.variesByLayer = true;
    if (!parts.scales.tensor || !(isCompressed ? parts.shape : parts.zeros).tensor ||
        !PackedWeight::make(parts, config, weight).empty())
      continue;
    for (bool transposed : {false, true}) {
      (void)weight.codes(transposed);
      (void)weight.zeros(transposed);
    }
    (void)weight.at(weight.inputs() - 1, weight.outputs() - 1);
  }
  return 0;
}
