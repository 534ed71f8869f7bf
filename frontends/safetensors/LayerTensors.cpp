//===- LayerTensors.cpp - The tensors of quantized layers by name ---------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/safetensors/PackedWeight.h"
#include "llvm/ADT/STLExtras.h"

using llvm::StringRef;

namespace lathe::safetensors {
namespace {

using Storage = PackedWeight::Storage;

/// What the tensors of a quantized layer are called.
struct Names {
  Storage storage;
  StringRef codes, zeros, scales, groupIndex, shape; ///< empty for none
};

/// Of two that have one name for codes, the first whose scales are there.
const Names kNames[] = {
    {Storage::words, "qweight", "qzeros", "scales", "g_idx", ""},
    {Storage::packed, "weight_packed", "weight_zero_point", "weight_scale", "weight_g_idx", "weight_shape"},
    {Storage::marlin, "B", "", "s", "", ""},
    {Storage::bytes, "weight", "weight_zero_point", "weight_scale", "weight_g_idx", ""},
    {Storage::bytes, "weight", "", "weight_scale_inv", "", ""},
};

/// What a layer may have besides: how activations were rounded, which stay floats here, and a kernel's memory.
const StringRef kBesides[] = {"input_scale",  "input_zero_point",  "input_global_scale",
                              "output_scale", "output_zero_point", "workspace"};

/// Whether a tensor can be a layer's codes by itself. Plain tensors have such names, too.
bool mayBeCodes(const Names &names, const Tensor &tensor, bool hasScales) {
  if (names.storage == Storage::bytes)
    return hasScales && dtypeBytes(tensor.dtype) == 1;
  return names.storage != Storage::marlin || (hasScales && tensor.dtype == "I32");
}

/// AWQ's marlin has the names of its other versions, and no zero points.
bool isMarlin(const PackedWeight::Parts &parts) {
  const Tensor *q = parts.codes.tensor, *s = parts.scales.tensor;
  return parts.storage == Storage::words && !parts.zeros.tensor && !parts.groupIndex.tensor && q && s &&
         q->rank() == 2 && s->rank() == 2 && s->shape[1] > 0 && q->shape[1] / 2 == s->shape[1] && q->shape[1] % 2 == 0;
}

StringRef missingName(const Names &names, const PackedWeight::Parts &parts) {
  if (!parts.scales.tensor)
    return names.scales;
  if (parts.storage == Storage::packed && !parts.shape.tensor)
    return names.shape;
  return parts.storage == Storage::words && !parts.zeros.tensor ? names.zeros : StringRef();
}

} // namespace

std::optional<LayerTensors> findLayerTensors(const Tensors &tensors, const std::string &name,
                                             llvm::function_ref<StringRef(const Tensor &)> bytes) {
  for (const Names &names : kNames) {
    StringRef layer(name);
    if (!layer.consume_back(names.codes) || !layer.consume_back("."))
      continue;
    auto find = [&](StringRef suffix) {
      return suffix.empty() ? tensors.end() : tensors.find((layer + "." + suffix).str());
    };
    if (!mayBeCodes(names, tensors.at(name), find(names.scales) != tensors.end()))
      continue;
    LayerTensors found;
    found.layer = layer.str();
    auto part = [&](StringRef suffix) {
      auto it = find(suffix);
      if (it == tensors.end())
        return PackedWeight::Part();
      found.taken.push_back(it->first);
      return PackedWeight::Part{&it->second, bytes(it->second)};
    };
    found.parts = {part(names.codes),      part(names.zeros), part(names.scales),
                   part(names.groupIndex), part(names.shape), names.storage};
    if (isMarlin(found.parts))
      found.parts.storage = Storage::marlin;
    if (StringRef missing = missingName(names, found.parts); !missing.empty())
      found.missing = (layer + "." + missing).str();
    for (StringRef suffix : kBesides)
      (void)part(suffix);
    return found;
  }
  return std::nullopt;
}

std::string codesBeside(StringRef name) {
  for (const Names &names : kNames)
    if (names.storage == Storage::words || names.storage == Storage::packed)
      for (StringRef part : {names.zeros, names.groupIndex})
        if (StringRef layer(name); layer.consume_back(part) && layer.consume_back("."))
          return (layer + "." + names.codes).str();
  return "";
}

} // namespace lathe::safetensors
