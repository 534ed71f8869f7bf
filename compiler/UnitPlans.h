//===- UnitPlans.h - In what order units go ---------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_UNITPLANS_H
#define LATHE_COMPILER_UNITPLANS_H

#include "compiler/Gradients.h"
#include "compiler/LayerStatistics.h"
#include "passes/pruning/structured/ChannelGroups.h"
#include "passes/pruning/structured/methods/UnitReconstruction.h"

namespace lathe {

/// Units that go together, and what that costs by the step's method.
struct Removal {
  std::vector<int> units;
  double cost = 0;
};

/// A weight that sums over a group's units, as [outputs][inputs].
struct ReaderWeight {
  const pruning::GroupReader *reader = nullptr; ///< one of those that have it
  std::vector<float> numbers;
  int64_t outputs = 0, inputs = 0;
  const quantization::InputStatistics *statistics = nullptr;
  bool hasBias = false;                  ///< a constant vector is added to what it gives
  pruning::UnitReconstruction rest = {}; ///< of methods that fit what stays
};

/// One group on its way through a step.
struct UnitPlan {
  explicit UnitPlan(pruning::ChannelGroup found) : group(std::move(found)), reason(group.reason()) {}
  pruning::ChannelGroup group;
  std::string reason;            ///< why it stays as it is
  std::vector<size_t> sizes;     ///< how many units go with each removal that is possible
  std::vector<Removal> removals; ///< in order
  size_t chosen = 0;             ///< of them, those that are carried out
  double total = 0;              ///< of what costs are a share of
  std::vector<ReaderWeight> readers = {};

  size_t removedUnits() const {
    size_t count = 0;
    for (size_t i = 0; i < chosen; ++i)
      count += sizes[i];
    return count;
  }
};

/// Tells how many units go at a time: one head, or one for each key head; as many channels as leave a multiple.
void measureRemovals(UnitPlan &plan, int64_t multiple);

/// How many removals come nearest to a share of the units; sets the plan's reason where that is far from it.
void chooseShare(UnitPlan &plan, double share);

/// Scores units and puts the first `count` removals in order. Sets the plan's reason where that can't be done; false
/// with `error` where a file can't be read.
bool orderRemovals(UnitPlan &plan, size_t count, const RecipeStep &step, const Gradients *gradients, WeightFiles &files,
                   std::string &error);

/// Reads the matrices that sum over the units, with what is known of their inputs.
bool readReaders(UnitPlan &plan, const std::vector<compression::Layer> &layers, const LayerStatistics &statistics,
                 WeightFiles &files, std::string &error);

/// Chooses removals of all plans, cheapest first, until a share of all units is gone.
void chooseAmongAll(std::vector<UnitPlan> &plans, double share);

} // namespace lathe

#endif // LATHE_COMPILER_UNITPLANS_H
