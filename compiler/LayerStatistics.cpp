//===- LayerStatistics.cpp - What layers get as inputs --------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/LayerStatistics.h"
#include "compiler/CalibrationProgram.h"
#include "compiler/KeptLayers.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace mlir;

namespace lathe {

using compression::Layer;
using compression::Place;

const quantization::InputStatistics *LayerStatistics::find(const Layer &layer) const {
  auto it = byWeight.find(layer.place);
  return it == byWeight.end() ? nullptr : all[it->second].get();
}

const quantization::RangeObserver *LayerStatistics::findRange(const Layer &layer) const {
  auto it = byWeight.find(layer.place);
  return it == byWeight.end() ? nullptr : &ranges[it->second];
}

bool LayerStatistics::take(const LayerStatistics &known, const std::vector<Layer> &layers) {
  std::map<Place, size_t> found;
  for (const Layer &layer : layers) {
    auto place = known.byWeight.find(layer.place);
    auto node = known.byNode.find(layer.node);
    if (place != known.byWeight.end())
      found[layer.place] = place->second;
    else if (node != known.byNode.end() && known.all[node->second]->k == layer.inputs)
      found[layer.place] = node->second;
    else if (!known.asked.count(layer.node))
      return false;
  }
  all = known.all;
  ranges = known.ranges;
  byWeight = std::move(found);
  return true;
}

bool LayerStatistics::gather(const Compression &compression, const std::vector<Layer> &layers, runtime::ThreadPool &pool,
                             std::string &error) {
  if (compression.statistics && take(*compression.statistics, layers))
    return true;
  if (compression.progress)
    compression.progress("calibration: compiling");
  OwningOpRef<ModuleOp> module = calibratedModule(compression).clone();
  auto program = module->lookupSymbol<func::FuncOp>("main");
  std::map<Place, const Layer *> wanted;
  for (const Layer &layer : layers)
    wanted[layer.place] = &layer;
  for (const Layer &layer : layers)
    asked.insert(layer.node);
  // One output for each left side that is different from the others.
  SmallVector<Value> taps;
  std::vector<std::string> nodes; // that read them first
  llvm::DenseMap<Value, size_t> known;
  for (const Layer &own : compression::findLayers(program)) {
    if (!wanted.count(own.place) || !own.isMatmul())
      continue;
    MatmulOp product = own.products.front();
    Value lhs = product.getLhs();
    if (product.getTransposeLhs() || product->getBlock() != &program.getBody().front())
      continue;
    auto [it, isNew] = known.try_emplace(lhs, taps.size());
    if (isNew) {
      taps.push_back(lhs);
      nodes.push_back(own.node);
    }
    byWeight[own.place] = it->second;
    byNode[wanted[own.place]->node] = it->second;
  }
  if (taps.empty())
    return true;
  returnOnly(program, taps);
  ranges.resize(taps.size());
  std::vector<quantization::StatisticsAccumulator> accumulators;
  for (Value tap : taps)
    accumulators.emplace_back(cast<RankedTensorType>(tap.getType()).getShape().back(), /*secondMoment=*/true);
  TemporaryArtifact file;
  if (!compileTemporary(compression, *module, file, error))
    return false;
  std::string key;
  if (!compression.resume->path().empty()) {
    ResumeKey own("statistics");
    auto bytes = llvm::MemoryBuffer::getFile(file.path(), /*IsText=*/false, /*RequiresNullTerminator=*/false);
    if (bytes)
      own.add((*bytes)->getBufferStart(), (*bytes)->getBufferSize());
    own.add(compression.data->identity());
    key = own.text();
    if (bytes && findStatistics(*compression.resume, key, all, ranges)) {
      if (compression.resume->hasLeft())
        compression.resume->sayReused("the calibration");
      return true;
    }
  }
  size_t runs = 0;
  std::string problem;
  error = compression.data->run(file.path(), {}, [&](const std::vector<Observed> &outputs) {
    if (compression.progress)
      compression.progress("calibration: run " + std::to_string(++runs));
    for (size_t i = 0; i < outputs.size(); ++i) {
      int64_t rows = 1;
      for (size_t axis = 0; axis + 1 < outputs[i].dims.size(); ++axis)
        rows *= outputs[i].dims[axis];
      runtime::Status status = accumulators[i].accumulate(outputs[i].data, rows, &pool);
      if (!status.failed() && rows > 0)
        status = ranges[i].observe(outputs[i].data, rows * outputs[i].dims.back());
      if (status.failed()) {
        problem = "calibration: node '" + nodes[i] + "': what it gets: " + status.message();
        return false;
      }
    }
    return true;
  });
  if (error.empty())
    error = problem;
  for (size_t i = 0; error.empty() && i < accumulators.size(); ++i) {
    all.push_back(std::make_shared<quantization::InputStatistics>());
    if (runtime::Status status = accumulators[i].finish(*all.back(), &pool); status.failed())
      error = "calibration: " + status.message();
  }
  if (error.empty() && !key.empty())
    keepStatistics(*compression.resume, key, all, ranges);
  return error.empty();
}

} // namespace lathe
