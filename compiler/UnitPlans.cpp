//===- UnitPlans.cpp - In what order units go -----------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/UnitPlans.h"
#include "compiler/WeightValues.h"
#include "passes/quantization/ResidualStreams.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/Support/FormatVariadic.h"
#include <cmath>
#include <numeric>

using namespace mlir;

namespace lathe {

using pruning::ChannelGroup;
using pruning::GroupAxis;
using pruning::GroupReader;

namespace {

std::string shareText(double share) { return llvm::formatv("{0:f3}", share).str(); }

std::vector<int> freeUnits(const ChannelGroup &group) {
  std::vector<int> units;
  for (int unit = 0; unit < group.units; ++unit)
    if (group.locked[unit].empty())
      units.push_back(unit);
  return units;
}

/// Whether what products give is added to a constant vector at once.
bool isBiased(MatmulOp product) {
  if (!product->hasOneUse())
    return false;
  auto add = dyn_cast<AddOp>(*product->user_begin());
  return add && llvm::any_of(add->getOperands(), [](Value operand) {
           return cast<RankedTensorType>(operand.getType()).getRank() == 1 && compression::isConstantF32(operand);
         });
}

/// Scores that stay what they are whatever else goes.
bool scoreUnits(UnitPlan &plan, const std::string &method, const Gradients *gradients, WeightFiles &files,
                std::vector<double> &scores, std::string &error) {
  const ChannelGroup &group = plan.group;
  scores.assign(group.units, 0.0);
  if (method == "activation") {
    for (const ReaderWeight &own : plan.readers) {
      std::vector<double> energies =
          pruning::outputEnergies({own.numbers.data(), own.outputs, own.inputs}, *own.statistics,
                                  group.axes[own.reader->axis].units, group.units);
      for (auto [score, energy] : llvm::zip(scores, energies))
        score += energy;
    }
    return true;
  }
  llvm::DenseSet<std::pair<void *, int64_t>> known;
  for (const GroupAxis &own : group.axes) {
    // Matrices alone: each program has uses of vectors of its own, and another artifact of the model has other
    // programs.
    bool counts = own.tensor.isConstant() && (own.tensor.weight || pruning::tensorType(own.tensor.value).getRank() > 1);
    if (!counts || !known.insert({own.tensor.key(), own.axis}).second)
      continue;
    std::optional<std::vector<float>> numbers = numbersOf(own.tensor.value, files, error);
    if (!numbers) {
      plan.reason = "a constant that belongs to it is of no floats, or compressed already";
      return error.empty();
    }
    int64_t inner = 1;
    auto shape = pruning::tensorType(own.tensor.value).getShape();
    std::vector<float> factors = *numbers;
    if (method == "taylor") {
      if (!own.tensor.weight)
        continue; // a constant that is no initializer
      std::optional<std::vector<float>> gradient = gradients->of(own.tensor.weight->name, shape, plan.reason);
      if (!gradient)
        return true;
      factors = std::move(*gradient);
    }
    for (int64_t extent : shape.drop_front(own.axis + 1))
      inner *= extent;
    for (size_t i = 0; i < numbers->size(); ++i)
      if (int unit = own.units[i / inner % own.units.size()]; unit >= 0)
        scores[unit] += double((*numbers)[i]) * factors[i];
  }
  // What a loss changes by where the unit is zero, to the first order, squared (Molchanov et al. 2019, "Importance
  // Estimation for Neural Network Pruning", section 3.1).
  if (method == "taylor")
    for (double &score : scores)
      score *= score;
  return true;
}

/// The units that go next: the cheapest ones, of each head of keys as many.
std::vector<int> nextUnits(const UnitPlan &plan, size_t count, const std::vector<bool> &gone,
                           const std::vector<double> &costs) {
  auto cheapest = [&](std::vector<int> units, size_t number) {
    llvm::erase_if(units, [&](int unit) { return unit < 0 || gone[unit] || !plan.group.locked[unit].empty(); });
    llvm::sort(units, [&](int a, int b) { return costs[a] != costs[b] ? costs[a] < costs[b] : a < b; });
    units.resize(std::min(units.size(), number));
    return units;
  };
  if (plan.group.balanced.empty())
    return cheapest(freeUnits(plan.group), count);
  std::vector<int> units;
  for (const std::vector<int> &set : plan.group.balanced.front()) {
    std::vector<int> own = cheapest(set, 1);
    units.insert(units.end(), own.begin(), own.end());
  }
  return units;
}

} // namespace

void measureRemovals(UnitPlan &plan, int64_t multiple) {
  const ChannelGroup &group = plan.group;
  if (!plan.reason.empty())
    return;
  size_t free = freeUnits(group).size(), all = group.units;
  if (!group.balanced.empty()) {
    const auto &sets = group.balanced.front();
    for (size_t left = sets.front().size(); left > 1; --left)
      plan.sizes.push_back(sets.size());
    if (plan.sizes.empty())
      plan.reason = "each head of keys has one query head";
    return;
  }
  bool isHeads = group.kind == ChannelGroup::Kind::heads;
  // Packed weights have panels of 64 outputs: what is left of one takes as much time and room as all of it.
  constexpr int64_t kPanel = 64, kLarge = 512, kSmallest = 16;
  if (multiple == 0)
    multiple = group.units >= kLarge ? kPanel : kSmallest;
  auto step = static_cast<size_t>(isHeads ? 1 : multiple);
  for (size_t left = all; left > step;) {
    size_t next = (left - 1) / step * step;
    if (all - next > free)
      break;
    plan.sizes.push_back(left - next);
    left = next;
  }
  if (plan.sizes.empty())
    plan.reason = "its " + std::to_string(all) + " " + kindName(group.kind).str() + " are no more than " +
                  (isHeads ? "one" : "the multiple " + std::to_string(multiple) + " that has to stay");
}

void chooseShare(UnitPlan &plan, double share) {
  if (!plan.reason.empty())
    return;
  double all = plan.group.units, wanted = share * all, gone = 0, best = wanted;
  double nearest = 0; // of those that take something away
  for (auto [index, size] : llvm::enumerate(plan.sizes)) {
    gone += static_cast<double>(size);
    if (index == 0 || std::abs(gone - wanted) < std::abs(nearest - wanted))
      nearest = gone;
    if (std::abs(gone - wanted) <= best) {
      best = std::abs(gone - wanted);
      plan.chosen = index + 1;
    }
  }
  if (best > wanted / 2 + 1e-9) {
    plan.chosen = 0;
    plan.reason =
        "a share of " + shareText(share) + " of its " + std::to_string(plan.group.units) + " " +
        (plan.group.balanced.empty() && plan.group.kind == ChannelGroup::Kind::heads
             ? "heads"
             : kindName(plan.group.kind).str()) +
        (plan.group.balanced.empty() ? "" : " in " + std::to_string(plan.group.balanced.front().size()) + " groups") +
        " can't go, the nearest that can is " + shareText(nearest / all);
  }
}

bool readReaders(UnitPlan &plan, const std::vector<compression::Layer> &layers, const LayerStatistics &statistics,
                 WeightFiles &files, std::string &error) {
  llvm::DenseSet<void *> known;
  for (const GroupReader &reader : plan.group.readers) {
    MatmulOp product = reader.product;
    if (!known.insert(reader.weight ? static_cast<void *>(reader.weight) : product.getOperation()).second)
      continue;
    ReaderWeight own;
    own.reader = &reader;
    auto layer = llvm::find_if(
        layers, [&](const compression::Layer &other) { return reader.weight && other.place == reader.weight->place; });
    own.statistics = layer == layers.end() ? nullptr : statistics.find(*layer);
    auto type = pruning::tensorType(product.getRhs());
    std::optional<std::vector<float>> numbers =
        type.getRank() == 2 ? numbersOf(product.getRhs(), files, error) : std::nullopt;
    if (!error.empty())
      return false;
    if (!numbers || !own.statistics) {
      plan.reason = numbers ? "no calibration run gets to '" + compression::nodeOf(product) + "', which reads it"
                            : "what '" + compression::nodeOf(product) + "' reads it with is no matrix of floats";
      return true;
    }
    bool transposed = product.getTransposeRhs();
    own.outputs = type.getDimSize(transposed ? 0 : 1);
    own.inputs = type.getDimSize(transposed ? 1 : 0);
    own.numbers = transposed ? std::move(*numbers) : turned(*numbers, own.inputs, own.outputs);
    own.hasBias = isBiased(product);
    plan.readers.push_back(std::move(own));
  }
  if (plan.readers.empty())
    plan.reason = "no product with a constant matrix reads it";
  return true;
}

bool orderRemovals(UnitPlan &plan, size_t count, const RecipeStep &step, const Gradients *gradients, WeightFiles &files,
                   std::string &error) {
  const StructuredPruning &own = step.parts;
  std::vector<double> costs;
  bool fits = own.method == "reconstruction" || own.refit;
  for (ReaderWeight &reader : plan.readers)
    if (fits) {
      quantization::Status status =
          reader.rest.start({reader.numbers.data(), reader.outputs, reader.inputs}, *reader.statistics,
                            plan.group.axes[reader.reader->axis].units, plan.group.units, step.damping, reader.hasBias);
      if (status.failed()) {
        plan.reason = status.message();
        return true;
      }
    }
  if (own.method != "reconstruction") {
    if (!scoreUnits(plan, own.method, gradients, files, costs, error))
      return false;
    if (!plan.reason.empty())
      return true;
    plan.total = std::accumulate(costs.begin(), costs.end(), 0.0);
  } else {
    for (const ReaderWeight &reader : plan.readers)
      plan.total += reader.rest.energy();
  }
  std::vector<bool> gone(plan.group.units);
  for (size_t i = 0; i < std::min(count, plan.sizes.size()); ++i) {
    if (own.method == "reconstruction") {
      costs.assign(plan.group.units, 0.0);
      for (const ReaderWeight &reader : plan.readers)
        for (auto [cost, more] : llvm::zip(costs, reader.rest.costs()))
          cost += more;
    }
    Removal removal;
    removal.units = nextUnits(plan, plan.sizes[i], gone, costs);
    for (int unit : removal.units) {
      removal.cost += costs[unit];
      gone[unit] = true;
    }
    for (ReaderWeight &reader : plan.readers)
      if (own.method == "reconstruction")
        if (quantization::Status status = reader.rest.remove(removal.units); status.failed()) {
          plan.reason = status.message();
          return true;
        }
    plan.removals.push_back(std::move(removal));
  }
  return true;
}

void chooseAmongAll(std::vector<UnitPlan> &plans, double share) {
  double all = 0;
  for (const UnitPlan &plan : plans)
    if (plan.reason.empty())
      all += plan.group.units;
  for (double gone = 0, wanted = share * all; gone < wanted;) {
    UnitPlan *best = nullptr;
    double least = 0;
    for (UnitPlan &plan : plans) {
      if (!plan.reason.empty() || plan.chosen >= plan.removals.size())
        continue;
      const Removal &next = plan.removals[plan.chosen];
      double cost = next.cost / static_cast<double>(next.units.size());
      if (!best || cost < least) {
        best = &plan;
        least = cost;
      }
    }
    if (!best || (gone + static_cast<double>(best->sizes[best->chosen]) - wanted > wanted - gone))
      return; // nothing left, or nearer as it is
    gone += static_cast<double>(best->sizes[best->chosen++]);
  }
}

} // namespace lathe
