//===- DropLayers.cpp - A recipe's step that takes layers away ------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/DropLayers.h"
#include "compiler/CalibrationProgram.h"
#include "compiler/LayerStatistics.h"
#include "compiler/TemporaryArtifact.h"
#include "llvm/Support/FormatVariadic.h"
#include "mlir/IR/Verifier.h"
#include "passes/pruning/structured/ResidualBlocks.h"
#include <cmath>

using namespace mlir;

namespace lathe {
namespace {

using compression::Place;
using pruning::ResidualLayer;

/// The same layer in all programs that have it.
struct SharedLayer {
  std::set<Place> weights;
  const ResidualLayer *first = nullptr;
  std::string node, reason;
  double cost = 0;
  uint64_t bytes = 0;
  bool goes = false;
};

struct LayerDropper {
  const Compression &compression;
  const RecipeStep &step;
  const std::function<bool(const std::string &, const std::string &)> &covers;
  CompressionReport &report;
  bool &isUsage;
  std::string &error;
  std::vector<std::vector<ResidualLayer>> programs = {}; ///< as compression.programs
  std::vector<SharedLayer> layers = {};

  bool run();

private:
  bool refuse(const std::string &why) {
    isUsage = true;
    error = why;
    return false;
  }
  void find();
  void refuseParts();
  bool choose();
  bool scoreByDistance();
  bool drop();
  void tell(const std::vector<std::string> &interface);
};

void LayerDropper::find() {
  for (func::FuncOp program : compression.programs)
    programs.push_back(pruning::findResidualLayers(program));
  for (const std::vector<ResidualLayer> &own : programs)
    for (const ResidualLayer &layer : own) {
      std::set<Place> weights = layer.weights();
      auto it = llvm::find_if(layers, [&](const SharedLayer &other) { return other.weights == weights; });
      if (it == layers.end()) {
        SharedLayer added;
        added.weights = weights;
        added.first = &layer;
        added.node = layer.blocks.back().node;
        layers.push_back(std::move(added));
        it = std::prev(layers.end());
        bool isCovered = true;
        for (const pruning::ResidualBlock &block : layer.blocks)
          for (const std::string &name : block.names)
            isCovered &= covers(name, block.node);
        if (!isCovered)
          it->reason = "it is not among 'tensors', or among 'exclude'";
      }
      if (it->reason.empty())
        it->reason = layer.reason();
    }
}

/// What one program has as a layer, or weights of which a layer of another one is made, has to be the same in both.
void LayerDropper::refuseParts() {
  for (SharedLayer &layer : layers)
    for (const SharedLayer &other : layers)
      if (&layer != &other && layer.reason.empty() &&
          llvm::any_of(layer.weights, [&](const Place &place) { return other.weights.count(place) > 0; }))
        layer.reason = "it shares weights with '" + other.node + "'";
  for (func::FuncOp program : compression.programs)
    program.walk([&](WeightOp weight) {
      for (SharedLayer &layer : layers)
        if (layer.weights.count(Place(weight.getFile().str(), weight.getOffset()))) {
          auto type = cast<RankedTensorType>(weight.getType());
          if (program == compression.programs.front())
            layer.bytes += type.getNumElements() * std::max(type.getElementTypeBitWidth() / 8, 1u);
        }
    });
}

/// The sum over rows of arccos(cos(x, y)) / pi.
double sumOfAngles(const float *x, const float *y, int64_t rows, int64_t width) {
  double sum = 0;
  for (int64_t row = 0; row < rows; ++row) {
    double xx = 0, yy = 0, xy = 0;
    for (int64_t i = row * width; i < (row + 1) * width; ++i) {
      double a = x[i], b = y[i];
      xx += a * a, yy += b * b, xy += a * b;
    }
    double cosine = xx > 0 && yy > 0 ? xy / std::sqrt(xx * yy) : 1;
    sum += std::acos(std::clamp(cosine, -1.0, 1.0)) / M_PI;
  }
  return sum;
}

/// How far a layer turns the rows of its stream: the mean of arccos(cos(x, y)) / pi over rows of calibration data
/// (Gromov et al. 2024, "The Unreasonable Ineffectiveness of the Deeper Layers", section 3).
bool LayerDropper::scoreByDistance() {
  ModuleOp source = compression.calibrated ? compression.calibrated : compression.main;
  OwningOpRef<ModuleOp> module = source.clone();
  auto program = module->lookupSymbol<func::FuncOp>("main");
  std::vector<ResidualLayer> own = pruning::findResidualLayers(program);
  SmallVector<Value> taps;
  std::vector<size_t> indices; // of layers that have two taps each
  for (auto [index, layer] : llvm::enumerate(layers))
    for (const ResidualLayer &other : own)
      if (other.weights() == layer.weights) {
        taps.append({other.input(), other.output()});
        indices.push_back(index);
        break;
      }
  for (SharedLayer &layer : layers)
    if (layer.reason.empty() && !llvm::is_contained(indices, static_cast<size_t>(&layer - layers.data())))
      layer.reason = "no calibration run gets to it";
  if (taps.empty())
    return true;
  returnOnly(program, taps);
  pruning::eraseDead(program);
  TemporaryArtifact file;
  auto compile = [&](const std::string &path, std::string &problem) {
    return compression.compile(*module, path, problem);
  };
  if (!file.make(compile, error))
    return false;
  std::vector<double> angles(indices.size());
  std::vector<int64_t> rows(indices.size());
  error = compression.data->run(file.path(), {}, [&](const std::vector<Observed> &outputs) {
    for (size_t i = 0; i < indices.size(); ++i) {
      const Observed &before = outputs[2 * i], &after = outputs[2 * i + 1];
      if (before.dims != after.dims || rows[i] < 0) { // some rows are picked within it
        rows[i] = -1;
        continue;
      }
      int64_t width = before.dims.back(), count = 1;
      for (size_t axis = 0; axis + 1 < before.dims.size(); ++axis)
        count *= before.dims[axis];
      angles[i] += sumOfAngles(before.data, after.data, count, width);
      rows[i] += count;
    }
    return true;
  });
  if (!error.empty())
    return false;
  for (size_t i = 0; i < indices.size(); ++i) {
    if (rows[i] < 0)
      layers[indices[i]].reason = "rows of its stream are picked within it, in what calibration data run";
    layers[indices[i]].cost = rows[i] > 0 ? angles[i] / static_cast<double>(rows[i]) : 0;
    if (!std::isfinite(layers[indices[i]].cost)) {
      error = "calibration: node '" + layers[indices[i]].node + "': what it gives is not finite";
      return false;
    }
  }
  report.samples = compression.data->samples();
  return true;
}

bool LayerDropper::choose() {
  std::vector<SharedLayer *> free;
  for (SharedLayer &layer : layers)
    if (layer.reason.empty())
      free.push_back(&layer);
  if (free.empty())
    return refuse(layers.empty() ? "field 'pattern': the model has no layers of a residual stream"
                                 : "no layers can go: at '" + layers.front().node + "': " + layers.front().reason);
  double all = static_cast<double>(layers.size()), wanted = step.parts.sparsity * all;
  double most = std::min(static_cast<double>(free.size()), all - 1);
  double count = std::clamp(std::round(wanted), 1.0, std::max(most, 1.0));
  if (most < 1 || std::abs(count - wanted) > wanted / 2 + 1e-9)
    return refuse(llvm::formatv("field 'sparsity': a share of {0:f3} of {1} layers can't go{2}", step.parts.sparsity,
                                layers.size(),
                                most < 1 ? std::string(": one has to stay")
                                         : llvm::formatv("; did you mean {0:f3}?", count / all).str())
                      .str());
  llvm::sort(free, [](const SharedLayer *a, const SharedLayer *b) {
    return a->cost != b->cost ? a->cost < b->cost : a > b; // the later ones of equal layers
  });
  for (size_t i = 0; i < static_cast<size_t>(count); ++i)
    free[i]->goes = true;
  return true;
}

void LayerDropper::tell(const std::vector<std::string> &interface) {
  for (const SharedLayer &layer : layers) {
    ShrunkPart told;
    told.pattern = "layers";
    told.method = step.parts.method;
    told.node = layer.node;
    told.before = 1;
    told.after = layer.goes ? 0 : 1;
    told.cost = layer.cost;
    told.bytesBefore = layer.bytes;
    told.bytesAfter = layer.goes ? 0 : layer.bytes;
    for (const pruning::ResidualBlock &block : layer.first->blocks) {
      told.weights.insert(told.weights.end(), block.names.begin(), block.names.end());
      told.readers.push_back(block.node);
    }
    if (layer.goes) {
      told.removed = {0};
      told.interface = interface;
    } else {
      told.reason = layer.reason.empty() ? "others count for less" : layer.reason;
    }
    report.shrunk.push_back(std::move(told));
  }
}

bool LayerDropper::drop() {
  std::vector<std::string> interface;
  for (auto [program, own] : llvm::zip(compression.programs, programs)) {
    std::vector<const ResidualLayer *> gone;
    for (const ResidualLayer &layer : own)
      if (llvm::any_of(layers,
                       [&](const SharedLayer &other) { return other.goes && other.weights == layer.weights(); }))
        gone.push_back(&layer);
    std::vector<std::string> names;
    pruning::dropLayers(program, gone, names);
    if (interface.empty())
      interface = std::move(names);
    if (failed(verify(program))) {
      error = "a program is not valid without layers that went";
      return false;
    }
  }
  tell(interface);
  return true;
}

bool LayerDropper::run() {
  if (compression.progress)
    compression.progress("prune layers");
  find();
  refuseParts();
  return scoreByDistance() && choose() && drop();
}

} // namespace

bool pruneResidualLayers(const Compression &compression, const RecipeStep &step,
                         const std::function<bool(const std::string &, const std::string &)> &covers,
                         CompressionReport &report, bool &isUsage, std::string &error) {
  return LayerDropper{compression, step, covers, report, isUsage, error}.run();
}

} // namespace lathe
