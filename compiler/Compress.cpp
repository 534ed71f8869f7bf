//===- Compress.cpp - The compression of a model's weights ----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/Compress.h"
#include "compiler/CacheStep.h"
#include "compiler/LayerStatistics.h"
#include "compiler/QuantizeStep.h"
#include "passes/quantization/Layers.h"

using namespace mlir;

namespace lathe {

using compression::Layer;

static bool covers(const std::vector<std::string> &patterns, const Layer &layer) {
  return llvm::any_of(patterns, [&](const std::string &pattern) {
    return matchesGlob(pattern, layer.name) || matchesGlob(pattern, layer.node);
  });
}

bool compress(const Compression &compression, CompressionReport &report, bool &isUsage, std::string &error) {
  isUsage = false;
  runtime::ThreadPool pool;
  if (runtime::Status status = pool.start(static_cast<int>(compression.threads), nullptr); status.failed()) {
    error = status.message();
    return false;
  }
  error = checkCacheSteps(*compression.recipe, compression.programs, compression.whyNoCache);
  if (!error.empty()) {
    isUsage = true;
    return false;
  }
  for (auto [index, step] : llvm::enumerate(compression.recipe->steps)) {
    if (isCacheStep(step)) {
      quantizeCaches(step, compression.programs, report);
      continue;
    }
    std::vector<Layer> layers = compression::findLayers(compression.programs), chosen;
    for (const std::string &pattern : step.tensors)
      if (pattern != "*" && llvm::none_of(layers, [&](const Layer &layer) { return covers({pattern}, layer); })) {
        isUsage = true;
        error = "recipe: step " + std::to_string(index + 1) + ": field 'tensors': no weight of a matrix product or lookup has a name like '" + pattern + "'";
        return false;
      }
    for (Layer &layer : layers)
      if (covers(step.tensors, layer) && !covers(step.exclude, layer))
        chosen.push_back(std::move(layer));
    LayerStatistics statistics;
    if (needsCalibration(step) && !compression.data) {
      isUsage = true;
      error = "recipe: step " + std::to_string(index + 1) + ": " +
              (step.smooth ? "smoothing" : step.outliers ? "keeping outliers apart" : step.activations == "tensor" ? "mode 'static'" : "method '" + step.method + "'") +
              " needs calibration data: give --calib";
      return false;
    }
    if (compression.data && usesCalibration(step)) {
      if (!statistics.gather(compression, chosen, pool, error))
        return false;
      report.samples = compression.data->samples();
    }
    if (!quantizeLayers(compression, step, chosen, statistics, pool, report, error))
      return false;
  }
  for (const CompressedLayer &layer : report.layers) {
    report.bytesBefore += layer.bytesBefore;
    report.bytesAfter += layer.bytesAfter;
  }
  return true;
}

} // namespace lathe
