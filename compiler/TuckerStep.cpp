//===- TuckerStep.cpp - A recipe's step for convolutions ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/TuckerStep.h"
#include "compiler/LayerValues.h"
#include "compiler/QuantizeStep.h"
#include "passes/lowrank/Convolutions.h"
#include "passes/quantization/methods/ErrorMetrics.h"

using namespace mlir;

namespace lathe {
namespace {

using compression::Layer;
using lowrank::ConvolutionShape;
using lowrank::TuckerFactors;
using lowrank::WindowProduct;
using runtime::Status;

/// Rounds of higher-order orthogonal iteration: the first brings most, and further ones after the third next to
/// nothing.
constexpr int kSweeps = 3;

std::vector<WindowProduct> convolutionsOf(const Layer &layer) {
  std::vector<WindowProduct> found;
  for (MatmulOp product : layer.products) {
    std::optional<WindowProduct> own = layer.isTable() ? std::nullopt : lowrank::windowProduct(product);
    if (!own || (!found.empty() && found.front().channels != own->channels))
      return {};
    found.push_back(*own);
  }
  return found;
}

/// Ranks as the step says, and factors of these; a failure is why the layer stays as it is.
Status factorize(const LowRankFields &fields, const std::vector<float> &dense, const ConvolutionShape &shape,
                 TuckerFactors &factors) {
  int64_t outputs = std::min(fields.rank.value_or(1), shape.outputs),
          inputs = std::min(fields.rank.value_or(1), shape.channels);
  if (fields.ratio) {
    lowrank::tuckerRanks(shape, *fields.ratio, outputs, inputs);
  } else if (fields.energy) {
    if (Status status = lowrank::tuckerRanksOfEnergy(dense, shape, *fields.energy, outputs, inputs); status.failed())
      return status;
  }
  if (int64_t numbers = TuckerFactors::size(shape, outputs, inputs); numbers >= shape.numbers())
    return runtime::failure(LATHE_INVALID_ARGUMENT, "factors of ranks ", outputs, " and ", inputs, " would have ",
                            numbers, " numbers, the weight has ", shape.numbers());
  return lowrank::factorizeTucker(dense, shape, outputs, inputs, kSweeps, factors);
}

bool replace(const Compression &compression, const Layer &layer, const std::vector<WindowProduct> &convolutions,
             const TuckerFactors &factors, std::string &error) {
  WeightMaker maker(*compression.files, error);
  compression::MakeConstant make = std::ref(maker);
  for (const WindowProduct &convolution : convolutions)
    if (!lowrank::replaceByTucker(convolution, layer.name, layer.stored, factors, make)) {
      error = "initializer '" + layer.name + "': " + error;
      return false;
    }
  return true;
}

} // namespace

bool isConvolution(const Layer &layer) { return !convolutionsOf(layer).empty(); }

bool factorizeConvolutions(const Compression &compression, const RecipeStep &step, const std::vector<Layer> &layers,
                           CompressionReport &report, std::string &error) {
  for (auto [index, layer] : llvm::enumerate(layers)) {
    if (compression.progress)
      compression.progress("lowrank: " + std::to_string(index + 1) + " of " + std::to_string(layers.size()));
    report.layers.push_back(describe(layer));
    CompressedLayer &entry = report.layers.back();
    entry.activations = "none";
    entry.method = "tucker";
    std::vector<WindowProduct> convolutions = convolutionsOf(layer);
    if (convolutions.empty()) {
      entry.reason = "it is no convolution with windows of more than one element";
      continue;
    }
    std::vector<float> dense;
    if (!readDense(*compression.files, layer, dense, error))
      return false;
    ConvolutionShape shape{layer.outputs, convolutions.front().channels, convolutions.front().elements};
    TuckerFactors factors;
    if (Status status = factorize(step.lowRank, dense, shape, factors); status.failed()) {
      entry.reason = status.message();
      continue;
    }
    quantization::ErrorMetrics metrics =
        quantization::compare(dense.data(), factors.dense().data(), static_cast<int64_t>(dense.size()));
    entry.snrDb = metrics.snrDb();
    entry.cosine = metrics.cosine;
    entry.rank = factors.outputRank;
    entry.energyKept = factors.energyKept;
    entry.format = "ranks " + std::to_string(factors.inputRank) + " and " + std::to_string(factors.outputRank);
    entry.factors = lowrank::tuckerNames(layer.name);
    entry.bytesAfter =
        entry.bytesBefore / shape.numbers() * TuckerFactors::size(shape, factors.outputRank, factors.inputRank);
    if (!replace(compression, layer, convolutions, factors, error))
      return false;
  }
  return true;
}

} // namespace lathe
