//===- RequiredKernels.cpp - Whether kernels read what is made ------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/RequiredKernels.h"
#include "compiler/LayerTimes.h"
#include "compiler/SparsifyStep.h"
#include "compiler/StepKinds.h"
#include "compiler/Stopwatch.h"

using namespace mlir;

namespace lathe {
namespace {

using compression::Layer;

/// Products with weights that are made up, of each number of inputs that layers have.
struct KernelProbe {
  const Compression &compression;
  const CarryOut &carryOut;
  std::string &error;
  std::vector<TimedProduct> products = {};

  bool makeWeights(ArrayRef<Layer> layers);
  bool tryOut(ArrayRef<RecipeStep> steps, std::string &why);

private:
  RecipeStep stepOf(const RecipeStep &step) const;
};

bool KernelProbe::makeWeights(ArrayRef<Layer> layers) {
  constexpr int64_t kOutputs = 16;
  constexpr size_t kMost = 8;
  std::set<std::pair<int64_t, bool>> known;
  for (const Layer &layer : layers) {
    if (!layer.isMatmul() || layer.inputs == 0 || layer.outputs == 0 || known.size() == kMost ||
        !known.insert({layer.inputs, layer.transposed}).second)
      continue;
    Layer own = layer;
    own.outputs = std::min(layer.outputs, kOutputs);
    own.stored = Float32Type::get(layer.stored.getContext());
    own.name = "w" + std::to_string(products.size());
    std::vector<float> numbers = aboutRandom(own.inputs * own.outputs);
    std::optional<uint64_t> offset = compression.files->append(numbers.data(), numbers.size() * sizeof(float), error);
    if (!offset)
      return false;
    own.place = {kMadeFile.str(), *offset};
    products.push_back(timedProduct(own, /*rows=*/4));
  }
  return true;
}

/// As the step is, for all of these products and without data.
RecipeStep KernelProbe::stepOf(const RecipeStep &step) const {
  const recipe::StepKind &kind = recipe::kindOf(step);
  RecipeStep own = kind.timedAs ? kind.timedAs(step) : step;
  own.tensors = {"*"};
  own.exclude.clear();
  own.prefer = "size";
  return own;
}

bool KernelProbe::tryOut(ArrayRef<RecipeStep> steps, std::string &why) {
  why.clear();
  OwningOpRef<ModuleOp> module = productsProgram(compression.main, products);
  Compression own = compression;
  own.programs = {module->lookupSymbol<func::FuncOp>("main")};
  own.main = own.calibrated = *module;
  own.data = nullptr;
  own.statistics = nullptr;
  own.progress = nullptr;
  own.timeAll = false;
  own.stopwatch = nullptr;
  Resume nothing("", {});
  own.resume = &nothing;
  CompressionReport report;
  bool makesZeros = false, isUsage = false;
  auto carry = [&](const RecipeStep &step) { return carryOut(own, step, report, isUsage, error); };
  for (const RecipeStep &step : steps) {
    makesZeros |= recipe::kindOf(step).makesZeros;
    if (!carry(stepOf(step)))
      return false;
  }
  std::string format = report.layers.empty() ? "weights with zeros" : "'" + report.layers.back().format + "'";
  // Whether lists of them pay is another question.
  auto isFor = [](const SparseCandidate &own) { return own.reason.empty(); };
  if (makesZeros && llvm::none_of(findSparseCandidates(own.programs), isFor)) {
    why = "no kernel of target '" + compression.target + "' leaves out the zeros of " + format;
    return true;
  }
  std::vector<std::string> dense;
  if (!compression.findDense(*module, dense, error))
    return false;
  if (!dense.empty())
    why = "no kernel of target '" + compression.target + "' reads " + format + " as it is stored";
  return true;
}

} // namespace

bool findMissingKernel(const Compression &compression, ArrayRef<RecipeStep> steps, ArrayRef<Layer> layers,
                       const CarryOut &carryOut, std::string &why, std::string &error) {
  KernelProbe probe{compression, carryOut, error};
  if (!probe.makeWeights(layers))
    return false;
  if (probe.products.empty())
    return true;
  if (!probe.tryOut(steps, why))
    return false;
  const recipe::StepKind &kind = recipe::kindOf(steps.back());
  if (why.empty() || !kind.neighbours)
    return true;
  for (const auto &[text, step] : kind.neighbours(steps.back())) {
    std::vector<RecipeStep> own(steps.begin(), steps.end());
    own.back() = step;
    std::string other;
    if (!probe.tryOut(own, other))
      return false;
    if (other.empty()) {
      why += "; the nearest that one does so with is " + text;
      return true;
    }
  }
  return true;
}

} // namespace lathe
