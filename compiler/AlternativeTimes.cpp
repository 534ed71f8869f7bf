//===- AlternativeTimes.cpp - What alternatives save in time --------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/AlternativeTimes.h"
#include "compiler/ActivationSteps.h"
#include "compiler/ProductRows.h"
#include "compiler/StepKinds.h"
#include "dialects/lathe/Lathe.h"
#include <chrono>

using namespace mlir;

namespace lathe {
namespace {

using compression::Layer;

/// A step that leaves weights in the same form and looks at no data.
RecipeStep timedAs(const RecipeStep &step) {
  const recipe::StepKind &kind = recipe::kindOf(step);
  RecipeStep own = kind.timedAs ? kind.timedAs(step) : step;
  own.prefer = "size";
  return own;
}

/// Left sides rounded by a constant range, which a step would take of data.
void roundByRange(func::FuncOp program, bool isSymmetric) {
  constexpr float kBound = 4;
  quantization::ActivationRange range{-kBound, kBound, kBound / 127.5f, isSymmetric ? 0 : 128};
  Replaced rounded;
  Layer layer;
  program.walk([&](MatmulOp product) { layer.products.push_back(product); });
  roundActivations(layer, &range, isSymmetric, /*floats=*/false, rounded);
}

ProductWay wayOf(const Compression &compression, ArrayRef<RecipeStep> alternative,
                 const std::vector<std::string> &names, const CarryOut &carryOut, const std::string &name) {
  auto change = [&compression, alternative, &names, &carryOut](ArrayRef<TimedMatmul> products, std::string &error) {
    if (products.empty() || alternative.empty())
      return true;
    MatmulOp first = products.front().op;
    auto program = first->getParentOfType<func::FuncOp>();
    Compression own = compression;
    own.programs = {program};
    own.main = own.calibrated = program->getParentOfType<ModuleOp>();
    own.data = nullptr;
    own.statistics = nullptr;
    own.progress = nullptr;
    own.timeAll = false;
    std::vector<Names> layers;
    for (const TimedMatmul &product : products)
      layers.push_back({names[product.index]});
    std::vector<RecipeStep> steps;
    for (const RecipeStep &step : alternative)
      steps.push_back(timedAs(step));
    Recipe recipe;
    CompressionReport report;
    bool isUsage = false;
    if (!carryOutAlternative(own, steps, std::move(layers), /*keepsExpressions=*/false, carryOut, recipe, report,
                             isUsage, error))
      return false;
    for (const RecipeStep &step : alternative)
      if (step.activations == "tensor")
        roundByRange(program, step.symmetricActivations);
    return true;
  };
  return {name, change};
}

} // namespace

bool AlternativeTimes::measure(const Compression &compression, const std::vector<Layer> &layers,
                               const std::vector<std::vector<RecipeStep>> &alternatives,
                               const std::vector<std::vector<LayerVariant>> &variants, const CarryOut &carryOut,
                               std::string &error) {
  ways.assign(layers.size(), {});
  rowsOf.assign(layers.size(), 0);
  isLarge.assign(layers.size(), false);
  ProductRows rows(compression.programs, layers, compression.rows);
  std::vector<TimedProduct> products;
  std::vector<size_t> timed;
  std::vector<std::string> names;
  for (auto [i, layer] : llvm::enumerate(layers)) {
    if (!layer.isMatmul() || !layer.readsRows())
      continue;
    TimedProduct product = timedProduct(layer, rows.of(layer));
    for (const std::vector<LayerVariant> &each : variants) // such as ranks and shares of zeros
      product.kind += "; " + each[i].format;
    rowsOf[i] = product.rows;
    isLarge[i] = !isSmall(product);
    products.push_back(std::move(product));
    names.push_back(layer.name);
    timed.push_back(i);
  }
  // What is left of layers that lose parts.
  std::map<std::pair<size_t, size_t>, size_t> cut; // layer and alternative
  for (auto [a, each] : llvm::enumerate(variants))
    for (auto [i, layer] : llvm::enumerate(layers)) {
      const LayerVariant &own = each[i];
      if (rowsOf[i] == 0 || own.place.empty() || !own.reason.empty())
        continue;
      Layer left = layer;
      left.inputs = own.inputs;
      left.outputs = own.outputs;
      // Numbers of its own, as layers are told apart by where they lie.
      uint64_t bytes = layer.stored.getIntOrFloatBitWidth() / 8, skipped = 16 * (cut.size() % 64 + 1);
      if (left.elements() + skipped > layer.elements())
        continue;
      left.place.second += skipped * bytes;
      left.name += ".cut" + std::to_string(a);
      cut[{i, a}] = products.size();
      products.push_back(timedProduct(left, rowsOf[i]));
      products.back().kind += "; " + own.format;
      names.push_back(left.name);
    }
  std::vector<ProductWay> all = {{compression.floats, nullptr}};
  std::string key;
  for (auto [a, alternative] : llvm::enumerate(alternatives)) {
    all.push_back(wayOf(compression, ArrayRef(alternative).drop_front(takesParts(alternative)), names, carryOut,
                        "alternative " + std::to_string(a + 1)));
    for (const RecipeStep &step : alternative)
      key += recipe::write(step).dump();
  }
  std::vector<std::vector<TimedWay>> times;
  if (!timeProducts(compression, products, all, "choose " + key, times, error))
    return false;
  for (auto [i, own] : llvm::zip(timed, ArrayRef(times).take_front(timed.size()).vec())) {
    for (auto [a, each] : llvm::enumerate(variants)) {
      auto it = cut.find({i, a});
      if (it != cut.end())
        own[a + 1] = times[it->second][a + 1];
      own[a + 1].name = each[i].format;
    }
    ways[i] = std::move(own);
  }
  return true;
}

const TimedWay *AlternativeTimes::find(size_t layer, size_t alternative) const {
  return layer < ways.size() && alternative < ways[layer].size() ? &ways[layer][alternative] : nullptr;
}

std::string AlternativeTimes::whySlower(ArrayRef<size_t> layers, size_t alternative) const {
  TimedWay before, after;
  for (size_t layer : layers) {
    const TimedWay *own = find(layer, 0), *other = find(layer, alternative);
    if (!own || !other || !isLarge[layer])
      continue;
    if (before.name.empty()) {
      before = *own;
      after = *other;
      continue;
    }
    before.microseconds += own->microseconds;
    after.microseconds += other->microseconds;
  }
  bool isWorse = !before.name.empty() && isSlower(after, before);
  return isWorse ? whyNotTaken(rows(layers.front()), after, before) : "";
}

bool timeModels(const Compression &compression, const std::vector<std::string> &paths,
                std::vector<double> &microseconds, std::string &error) {
  using Clock = std::chrono::steady_clock;
  constexpr size_t kFewest = 5, kMost = 30;
  constexpr double kSeconds = 2;
  microseconds.assign(paths.size(), INFINITY);
  size_t turn = 0;
  Clock::time_point begin = Clock::now(), began;
  auto secondsSince = [](Clock::time_point from) { return std::chrono::duration<double>(Clock::now() - from).count(); };
  error = compression.data->runTurns(
      paths,
      [&](const TurnState &, Turn &next) {
        size_t round = turn / paths.size();
        if (round > kMost || (round > kFewest && secondsSince(begin) > kSeconds))
          return false;
        next.artifact = turn % paths.size();
        began = Clock::now();
        return true;
      },
      [&](const std::vector<Observed> &) {
        double own = 1e6 * secondsSince(began);
        // The first run makes plans.
        if (turn >= paths.size())
          microseconds[turn % paths.size()] = std::min(microseconds[turn % paths.size()], own);
        ++turn;
        return true;
      });
  return error.empty();
}

} // namespace lathe
