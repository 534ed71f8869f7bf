//===- QuantizeTimes.cpp - Whether quantized layers pay -------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/QuantizeTimes.h"
#include "compiler/ActivationSteps.h"
#include "compiler/LayerValues.h"
#include "compiler/ProductRows.h"
#include "compiler/QuantizeStep.h"
#include "passes/quantization/Expressions.h"

using namespace mlir;

namespace lathe {
namespace {

using compression::Layer;
using quantization::CodebookQuantized;
using quantization::CodeKind;
using quantization::Format;
using quantization::Quantized;
using quantization::ZeroPoint;

/// Numbers that look as if they had no order: kernels must not find all codes alike.
uint32_t scattered(size_t i) { return static_cast<uint32_t>((i * 2654435761u) >> 7); }

/// Scales that differ, none a power of two but of the format that has such alone: each is stored as its type says.
std::vector<float> scalesOf(size_t count, quantization::ScaleType type) {
  std::vector<float> scales(count);
  for (size_t i = 0; i < count; ++i)
    scales[i] = quantization::roundTo(type, 0.011f * static_cast<float>(1 + i % 3));
  return scales;
}

Quantized madeUp(const Format &format, int64_t n, int64_t k) {
  Quantized result;
  result.format = format;
  result.n = n;
  result.k = k;
  // Of floats those around 1: neither infinite nor so small that they cost more.
  bool isFloat = format.kind == CodeKind::E4M3FN || format.kind == CodeKind::E5M2;
  auto levels = static_cast<uint32_t>(isFloat ? 16 : format.levels() - 1);
  uint8_t first = isFloat ? 0x30 : 1;
  result.codes.resize(n * k);
  for (size_t i = 0; i < result.codes.size(); ++i)
    result.codes[i] = static_cast<uint8_t>(first + scattered(i) % levels);
  result.scales = scalesOf(n * format.groups(k), format.scaleType);
  if (format.zeroPoint != ZeroPoint::None)
    for (size_t i = 0; i < result.scales.size(); ++i) // that differ, or there would be one for all
      result.zeros.push_back(static_cast<float>(format.levels() / 2) - static_cast<float>(i % 2));
  return result;
}

CodebookQuantized madeUp(const quantization::CodebookOptions &options, int64_t n, int64_t k) {
  CodebookQuantized result;
  result.n = n;
  result.k = k;
  result.dimension = options.dimension;
  result.bits = options.bits;
  result.group = options.group;
  result.scaleType = options.scaleType;
  result.scales = scalesOf(n * result.groups(), options.scaleType);
  result.stages.resize(options.stages);
  for (quantization::CodebookStage &stage : result.stages) {
    uint32_t entries = 1u << options.bits;
    stage.table.resize(entries * options.dimension);
    for (size_t i = 0; i < stage.table.size(); ++i)
      stage.table[i] = static_cast<float>(scattered(i) % 64) / 32 - 1;
    stage.codes.resize(n * result.vectors());
    for (size_t i = 0; i < stage.codes.size(); ++i)
      stage.codes[i] = static_cast<uint8_t>(scattered(i) % entries);
  }
  return result;
}

} // namespace

ProductWay quantizedWay(const Compression &compression, const RecipeStep &step) {
  auto change = [&compression, step](ArrayRef<TimedMatmul> products, std::string &error) {
    WeightMaker maker(*compression.files, error, /*isShared=*/false);
    compression::MakeConstant make = std::ref(maker);
    Replaced rounded;
    for (TimedMatmul product : products) {
      Value weight = product.op.getRhs();
      std::string name = "weight " + std::to_string(product.index);
      Layer layer;
      layer.transposed = product.op.getTransposeRhs();
      auto shape = cast<RankedTensorType>(weight.getType()).getShape();
      layer.inputs = shape[layer.transposed ? 1 : 0];
      layer.outputs = shape[layer.transposed ? 0 : 1];
      layer.products.push_back(product.op);
      if (step.format == "codebook") {
        CodebookQuantized codes = madeUp(codebookOf(step), layer.outputs, layer.inputs);
        if (compression::hasExpression(codes) &&
            !compression::replaceByCodebook(weight, name, layer.transposed, codes, make))
          return false;
      } else if (!compression::replaceByQuantized(weight, name, layer.transposed,
                                                  madeUp(formatOf(step), layer.outputs, layer.inputs), make)) {
        return false;
      }
      if (step.activations == "none")
        continue;
      constexpr float kBound = 4;
      quantization::ActivationRange range{-kBound, kBound, kBound / 127.5f, step.symmetricActivations ? 0 : 128};
      roundActivations(layer, step.activations == "tensor" ? &range : nullptr, step.symmetricActivations,
                       roundsToFloats(formatOf(step)), rounded);
    }
    return true;
  };
  return {formatName(step), change};
}

bool QuantizeTimes::measure(const Compression &compression, const RecipeStep &step, const std::vector<Layer> &layers,
                            CompressionReport &report, std::string &error) {
  bool decides = prefersSpeed(*compression.recipe, step, compression.isPortable);
  if (!decides && !compression.timeAll)
    return true;
  std::vector<TimedProduct> products;
  std::vector<const Layer *> timed;
  ProductRows rows(compression.programs, layers, compression.rows);
  for (const Layer &layer : layers) {
    if (!layer.isMatmul() || !layer.readsRows())
      continue;
    TimedProduct product = timedProduct(layer, rows.of(layer));
    if (!compression.timeAll && isSmall(product))
      continue;
    products.push_back(std::move(product));
    timed.push_back(&layer);
  }
  if (products.empty())
    return true;
  report.whyNotTimed = whyNotTimed(compression);
  if (!report.whyNotTimed.empty())
    return true;
  Recipe alone;
  alone.steps.push_back(step);
  alone.steps.front().tensors = {"*"};
  alone.steps.front().exclude.clear();
  ProductWay ways[] = {{compression.floats, nullptr}, quantizedWay(compression, step)};
  std::vector<std::vector<TimedWay>> times;
  if (!timeProducts(compression, products, ways, writeRecipe(alone), times, error))
    return false;
  for (auto [layer, product, own] : llvm::zip(timed, products, times))
    byName[{layer->name, layer->node}] = {own, product.rows, !isSmall(product)};
  return true;
}

bool QuantizeTimes::leaveSlower(const Compression &compression, const RecipeStep &step, std::vector<Layer> &layers,
                                CompressionReport &report, RecipeStep &resolved) const {
  bool decides = llvm::any_of(byName, [](const auto &entry) { return entry.second.decides; });
  if (!decides || !prefersSpeed(*compression.recipe, step, compression.isPortable))
    return false;
  resolved.prefer = "size";
  std::vector<Layer> left;
  for (Layer &layer : layers) {
    auto it = byName.find({layer.name, layer.node});
    if (it == byName.end() || !it->second.decides || !isSlower(it->second.ways.back(), it->second.ways.front())) {
      left.push_back(std::move(layer));
      continue;
    }
    resolved.exclude.push_back(escapeGlob(layer.name));
    report.layers.push_back(describe(layer));
    CompressedLayer &entry = report.layers.back();
    entry.ways = it->second.ways;
    entry.rows = it->second.rows;
    entry.reason = whyNotTaken(entry.rows, entry.ways.back(), entry.ways.front());
  }
  layers = std::move(left);
  return true;
}

void QuantizeTimes::tell(CompressionReport &report, size_t first) const {
  for (size_t i = first; i < report.layers.size(); ++i) {
    CompressedLayer &entry = report.layers[i];
    auto it = byName.find({entry.weight, entry.node});
    if (it == byName.end() || !entry.ways.empty())
      continue;
    entry.ways = it->second.ways;
    entry.rows = it->second.rows;
    entry.way = entry.format.empty() ? 0 : entry.ways.size() - 1;
  }
}

} // namespace lathe
