//===- Budgets.h - What a model may cost, on the command line ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_BUDGETS_H
#define LATHE_COMPILER_TOOLS_LATHE_BUDGETS_H

#include <string>

namespace CLI {
class App;
}

namespace lathe::tool {

/// Budgets as they were given; empty where they were not.
struct Budgets {
  std::string targetSize, targetSpeedup, maxDrop, timeBudget;
  /// Whether there is one that steps `choose` are for.
  bool any() const { return !targetSize.empty() || !targetSpeedup.empty() || !maxDrop.empty(); }
};

void addBudgetOptions(CLI::App &command, Budgets &budgets);

/// Puts budgets into the steps `choose` of a recipe. What is wrong with them, or nothing; what is wrong with the recipe
/// is said where it is read.
std::string addBudgets(const Budgets &budgets, std::string &recipe);

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_BUDGETS_H
