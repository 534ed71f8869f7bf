//===- QuantizeKind.cpp - Steps that round weights, and caches ------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/ActivationSteps.h"
#include "compiler/CacheStep.h"
#include "compiler/CalibrationProgram.h"
#include "compiler/LayerTurns.h"
#include "compiler/QuantizeStep.h"
#include "compiler/QuantizeTimes.h"
#include "compiler/StepKinds.h"
#include "compiler/StepRun.h"

using nlohmann::ordered_json;

namespace lathe::recipe {
namespace {

/// The mode of `quantize` that is of caches, which have few of the fields of weights.
constexpr const char *kCacheMode = "kv-cache";
/// That of attentions (AttentionStep.h), which have fewer.
constexpr const char *kAttentionMode = "attention";

/// What a mode rounds the left sides of products to.
std::string activationsOf(const std::string &mode) {
  return mode == "dynamic" ? "token" : mode == "static" ? "tensor" : "none";
}

/// What of a step needs calibration data.
std::string needsData(const RecipeStep &step) {
  return step.smooth                                     ? "smoothing"
         : step.outliers                                 ? "keeping outliers apart"
         : step.activations == "tensor"                  ? "mode 'static'"
         : step.biasCorrection                           ? "correcting biases"
         : step.method == "gptq" || step.method == "awq" ? "method '" + step.method + "'"
         : step.sequential                               ? "field 'sequential'"
                                                         : "";
}

/// Whether a step looks at data where there are some, though it needs none.
bool usesData(const RecipeStep &step) { return step.format == "codebook" || step.method == "mse"; }

/// What fields say together that no one of them is wrong for.
std::string verify(const RecipeStep &step) {
  if (step.activations != activationsOf(step.mode))
    return "field 'activations': mode '" + step.mode + "' has '" + activationsOf(step.mode) + "', got '" +
           step.activations + "'";
  if (step.format == "int" && step.bits > 4 && step.bits < 8)
    return "field 'bits': format 'int' has 2, 3, 4 or 8 bits, got " + std::to_string(step.bits);
  if ((step.format == "nf4" || step.format == "fp4") && step.bits != 4 && step.bits != 8)
    return "field 'bits': format '" + step.format + "' has 4 bits, got " + std::to_string(step.bits);
  if (step.method == "hqq" && step.format != "int")
    return "field 'method': hqq is for format 'int', got format '" + step.format + "'";
  bool hasFloatScales = step.format != "mxfp4" && step.format != "mxfp8" && step.format != "codebook";
  if (step.doubleQuantization && !hasFloatScales)
    return "field 'double_quantization': is for formats that have scales of floats, got format '" + step.format + "'";
  RecipeStep other = step;
  other.sequential = false;
  if (step.sequential && needsData(other).empty() && !usesData(other))
    return "field 'sequential': is for steps that look at calibration data, got method '" + step.method + "'";
  if (step.doubleQuantization && step.method == "hqq")
    return "field 'double_quantization': is for methods without zero points of floats, got method 'hqq'";
  return "";
}

std::string finishQuantize(const ordered_json &entry, RecipeStep &step) {
  if (!entry.contains("activations"))
    step.activations = activationsOf(step.mode);
  return verify(step);
}

std::vector<std::pair<std::string, RecipeStep>> neighbours(const RecipeStep &step) {
  std::vector<std::pair<std::string, RecipeStep>> all;
  auto add = [&](const std::string &what, auto change) {
    RecipeStep own = step;
    change(own);
    if (write(own) != write(step) && verify(own).empty())
      all.push_back({what, own});
  };
  add("stages 1", [](RecipeStep &own) { own.stages = 1; });
  for (int64_t dimension : {4, 2, 1})
    if (step.format == "codebook" && dimension < step.dimension)
      add("dimension " + std::to_string(dimension), [=](RecipeStep &own) { own.dimension = dimension; });
  if (!step.symmetric)
    add("symmetric true", [](RecipeStep &own) { own.symmetric = true; });
  std::vector<int64_t> sizes = {16, 32, 64, 128, 256};
  auto distance = [&](int64_t size) { return std::max(size, step.groupSize) / std::min(size, step.groupSize); };
  if (step.groupSize > 0)
    llvm::sort(sizes, [&](int64_t a, int64_t b) { return std::pair(distance(a), a) < std::pair(distance(b), b); });
  sizes.push_back(0);
  for (int64_t size : sizes)
    add("group_size " + std::to_string(size), [=](RecipeStep &own) { own.groupSize = size; });
  for (int64_t bits : {step.bits + 1, step.bits - 1, int64_t(8)})
    if (bits >= 2 && bits <= 8)
      add("bits " + std::to_string(bits), [=](RecipeStep &own) { own.bits = bits; });
  add("format int and bits " + std::to_string(step.bits), [](RecipeStep &own) { own.format = "int"; });
  add("format int, bits 8 and symmetric true", [](RecipeStep &own) {
    own.format = "int";
    own.bits = 8;
    own.symmetric = true;
  });
  return all;
}

bool quantizeWeights(StepRun &run) {
  std::vector<compression::Layer> chosen;
  if (!run.chooseLayers(chosen))
    return false;
  QuantizeTimes times;
  if (!times.measure(run.compression, run.step, chosen, run.report, run.error))
    return false;
  run.isResolved = times.leaveSlower(run.compression, run.step, chosen, run.report, run.resolved);
  size_t first = run.report.layers.size();
  const Compression &compression = run.compression;
  bool looks = compression.data && usesCalibration(run.step), inTurns = looks && run.step.sequential;
  std::vector<std::vector<compression::Layer>> turns{chosen};
  if (inTurns) {
    turns = layersInTurns(chosen, calibratedModule(compression).lookupSymbol<mlir::func::FuncOp>("main"));
    compression.resume->sumUp(true); // each turn has parts of its own
  }
  for (const std::vector<compression::Layer> &turn : turns) {
    LayerStatistics statistics;
    if (looks && !run.gather(turn, statistics))
      return false;
    if (!quantizeLayers(compression, run.step, turn, statistics, run.pool, run.report, run.error))
      return false;
  }
  if (inTurns)
    compression.resume->saySum();
  times.tell(run.report, first);
  return true;
}

bool roundCaches(StepRun &run) {
  auto mayChange = [&](const std::string &name) { return run.mayChange(name); };
  quantizeCaches(run.step, run.compression.programs, mayChange, run.report);
  return true;
}

bool checkCaches(StepRun &run, llvm::ArrayRef<RecipeStep>) {
  std::string problem = checkCacheStep(run.step, run.compression.programs, run.compression.whyNoCache);
  return problem.empty() || run.wrongRecipe(problem);
}

/// Codes of any values are as fast. Left sides that are rounded by data are left to whoever times them.
RecipeStep timedAs(const RecipeStep &step) {
  RecipeStep own = step;
  own.method = step.method == "hqq" ? "hqq" : "rtn"; // whose zero points are of floats
  own.smooth.reset();
  own.outliers.reset();
  own.biasCorrection = false;
  own.sequential = false;
  if (step.activations == "tensor") {
    own.mode = "weight-only";
    own.activations = "none";
  }
  return own;
}

} // namespace

StepKind quantizeKind() {
  using S = RecipeStep;
  StepKind kind{"quantize",
                {
                    choice("mode", at(&S::mode), {"weight-only", "dynamic", "static", kCacheMode, kAttentionMode}),
                    choice("format", at(&S::format),
                           {"int", "nf4", "fp4", "fp8-e4m3", "fp8-e5m2", "mxfp4", "mxfp8", "log2", "apot", "codebook"}),
                    choice("method", at(&S::method), {"rtn", "mse", "gptq", "awq", "hqq"}),
                    integer("bits", at(&S::bits), {2, 3, 4, 5, 6, 7, 8}),
                    integer("group_size", at(&S::groupSize), {0, 16, 32, 64, 128, 256}),
                    flag("symmetric", at(&S::symmetric)),
                    choice("scale_type", at(&S::scaleType), {"f32", "f16", "bf16"}),
                    choice("activations", at(&S::activations), {"none", "token", "tensor"}),
                    flag("symmetric_activations", at(&S::symmetricActivations)),
                    choice("range", at(&S::range), {"minmax", "moving-average", "percentile", "entropy", "mse"}),
                    number("damping", at(&S::damping), 1e-6, 1),
                    flag("act_order", at(&S::actOrder)),
                    flag("clip", at(&S::clip)),
                    optionalNumber("smooth", at(&S::smooth), 0, 1),
                    optionalNumber("outliers", at(&S::outliers), 1, 1e6),
                    flag("bias_correction", at(&S::biasCorrection)),
                    flag("double_quantization", at(&S::doubleQuantization)),
                    flag("sequential", at(&S::sequential)),
                    integer("stages", at(&S::stages), {1, 2}),
                    integer("dimension", at(&S::dimension), {1, 2, 4, 8}),
                    choice("prefer", at(&S::prefer), {"auto", "speed", "size"}),
                    globs("tensors", at(&S::tensors)),
                    globs("exclude", at(&S::exclude)),
                },
                finishQuantize};
  kind.carryOut = quantizeWeights;
  kind.needsData = needsData;
  // Products of 8-bit floats are for devices, of which the processor's times say nothing.
  kind.isForSpeed = [](const RecipeStep &step) {
    return step.activations == "tensor" || (step.activations == "token" && !roundsToFloats(formatOf(step)));
  };
  kind.timedAs = timedAs;
  kind.neighbours = neighbours;
  kind.storesWeights = true;
  kind.usesData = usesData;
  kind.whyNoAlternative = [](const RecipeStep &step) {
    return std::string(step.sequential ? "field 'sequential': layers that are tried alone have none before them" : "");
  };
  return kind;
}

namespace {

/// What was not said: with 4 bits, all of them for the range that there is, and smaller groups.
std::string finishCaches(const ordered_json &entry, RecipeStep &step) {
  constexpr int64_t kGroup = 32;
  if (!entry.contains("group_size"))
    step.groupSize = step.bits == 4 ? kGroup : 0;
  if (!entry.contains("symmetric"))
    step.symmetric = step.bits == 8;
  if (!entry.contains("rotate"))
    step.rotate = true; // costs next to nothing, and keys of some models have columns that are far larger than others
  return "";
}

} // namespace

StepKind cachesKind() {
  using S = RecipeStep;
  StepKind kind{"quantize",
                {
                    choice("mode", at(&S::mode), {kCacheMode}),
                    integer("bits", at(&S::bits), {4, 8}),
                    integer("group_size", at(&S::groupSize), {0, 16, 32, 64, 128, 256}),
                    flag("symmetric", at(&S::symmetric)),
                    flag("rotate", at(&S::rotate)),
                    globs("tensors", at(&S::tensors)),
                    globs("exclude", at(&S::exclude)),
                },
                finishCaches,
                kCacheMode};
  kind.carryOut = roundCaches;
  kind.check = checkCaches;
  kind.whyNoAlternative = [](const RecipeStep &) { return "mode 'kv-cache' is not of layers"; };
  kind.keepsSize = true;
  return kind;
}

} // namespace lathe::recipe
