//===- Checkpoint.cpp - Fuzzing of the reader of safetensors --------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// One input is the bytes of a file. Its tensors are read, and layers as quantizers pack them are taken apart.
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
    std::optional<LayerTensors> found = findLayerTensors(
        tensors, name, [&](const Tensor &part) { return llvm::StringRef(bytes).substr(part.offset, part.bytes); });
    if (!found || !found->missing.empty())
      continue;
    PackedWeight weight;
    QuantizationConfig config;
    config.source = "config.json";
    config.bits = 3;       // says what words that are not full of codes leave open
    config.groupSize = 32; // and what padded scales do
    config.blockRows = config.blockColumns = 16;
    config.variesByLayer = true;
    if (!PackedWeight::make(found->parts, config, weight).empty())
      continue;
    for (bool transposed : {false, true}) {
      (void)weight.codes(transposed);
      (void)weight.zeros(transposed);
      (void)weight.scales(transposed);
      if (weight.codesLie(transposed) && weight.codeTensor().bytes != weight.codes(transposed).size())
        abort();
      if (weight.scalesLie(transposed) && weight.scaleTensor().bytes != weight.scales(transposed).size())
        abort();
    }
    (void)weight.at(weight.inputs() - 1, weight.outputs() - 1);
  }
  return 0;
}
