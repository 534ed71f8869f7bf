//===- Recipe.cpp - Fuzzing of the reader of recipes ----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// One input is a recipe's text. What is read is written, and that is read as the same; all that is asked of steps
// before one is carried out is asked.
//
//===----------------------------------------------------------------------===//
#include "compiler/Recipe.h"
#include "compiler/StepKinds.h"
#include <cstdlib>

using namespace lathe;

static void require(bool condition) {
  if (!condition)
    abort();
}

static void ask(const Recipe &recipe, const RecipeStep &step) {
  const recipe::StepKind &kind = recipe::kindOf(step);
  (void)prefersSpeed(recipe, step, false);
  require(!needsCalibration(step) || usesCalibration(step));
  if (kind.whyNoAlternative)
    (void)kind.whyNoAlternative(step);
  if (kind.timedAs)
    (void)kind.timedAs(step);
  if (kind.neighbours)
    for (const auto &[what, other] : kind.neighbours(step))
      require(!what.empty() && recipe::kindOf(other).name == kind.name);
  for (const std::string &pattern : step.tensors)
    require(matchesGlob(escapeGlob(pattern), pattern));
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::string error;
  std::optional<Recipe> recipe = parseRecipe(std::string(reinterpret_cast<const char *>(data), size), error);
  if (!recipe) {
    require(!error.empty()); // a refusal has a reason
    return 0;
  }
  std::string text = writeRecipe(*recipe);
  std::optional<Recipe> again = parseRecipe(text, error);
  require(again && writeRecipe(*again) == text);
  for (const RecipeStep &step : recipe->steps)
    ask(*recipe, step);
  return 0;
}
