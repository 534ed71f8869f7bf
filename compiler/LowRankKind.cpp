//===- LowRankKind.cpp - Steps that factorize -----------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/LowRankStep.h"
#include "compiler/StepKinds.h"
#include "compiler/StepRun.h"
#include "compiler/TuckerStep.h"

using nlohmann::ordered_json;

namespace lathe::recipe {
namespace {

/// One of the fields that say how large factors are.
std::string finishLowRank(const ordered_json &, RecipeStep &step) {
  const LowRankFields &own = step.lowRank;
  int given = own.rank.has_value() + own.ratio.has_value() + own.energy.has_value();
  if (given != 1)
    return "expects one of the fields 'rank', 'ratio' and 'energy', got " + std::string(given ? "several" : "none");
  if (own.allocation == "auto" && !own.ratio)
    return "field 'allocation': 'auto' shares out what field 'ratio' leaves, which is not given";
  if (own.method == "tucker" && (own.allocation == "auto" || own.residual))
    return own.residual ? "field 'residual': is for methods 'svd', 'asvd' and 'svd-llm', got 'tucker'"
                        : "field 'allocation': 'auto' is for methods 'svd', 'asvd' and 'svd-llm', got 'tucker'";
  if (own.residual && own.ratio)
    return "field 'ratio': with 'residual' it is later steps that remove bytes: expects 'rank' or 'energy'";
  return "";
}

using compression::Layer;

std::string needsData(const RecipeStep &step) {
  const std::string &method = step.lowRank.method;
  return method == "asvd" || method == "svd-llm" ? "method '" + method + "'" : "";
}

/// Whether the step saves something somewhere among what it applies to.
bool checkRank(StepRun &run, llvm::ArrayRef<Layer> chosen) {
  if (run.step.lowRank.method == "tucker")
    return llvm::any_of(chosen, isConvolution) ||
           run.wrongRecipe("method 'tucker': none of the weights that it is for is that of a convolution with windows "
                           "of more than one element");
  std::string problem = whyNoRank(run.step, chosen);
  return problem.empty() || run.wrongRecipe(problem);
}

/// Steps before leave weights as large as they are, or smaller.
bool check(StepRun &run, llvm::ArrayRef<RecipeStep> later) {
  if (run.step.lowRank.residual && llvm::all_of(later, [](const RecipeStep &other) { return kindOf(other).keepsSize; }))
    return run.wrongRecipe("field 'residual': what factors leave is as large as the weight was: expects a later step "
                           "that compresses it, such as 'quantize'");
  std::vector<Layer> chosen = run.coveredLayers();
  // There may be some later: factors.
  return chosen.empty() || checkRank(run, chosen);
}

bool factorize(StepRun &run) {
  std::vector<Layer> chosen;
  if (!run.chooseLayers(chosen) || !checkRank(run, chosen))
    return false;
  if (run.step.lowRank.method == "tucker")
    return factorizeConvolutions(run.compression, run.step, chosen, run.report, run.error);
  LayerStatistics statistics;
  if (needsCalibration(run.step) && !run.gather(chosen, statistics))
    return false;
  return factorizeLayers(run.compression, run.step, chosen, statistics, run.pool, run.report, run.resolved,
                         run.isResolved, run.error);
}

} // namespace

StepKind lowRankKind() {
  using S = RecipeStep;
  using L = LowRankFields;
  StepKind kind{"lowrank",
                {
                    choice("method", at(&S::lowRank, &L::method), {"svd", "asvd", "svd-llm", "tucker"}),
                    optionalWholeNumber("rank", at(&S::lowRank, &L::rank), 1, int64_t(1) << 31),
                    optionalShare("ratio", at(&S::lowRank, &L::ratio)),
                    optionalShare("energy", at(&S::lowRank, &L::energy)),
                    choice("allocation", at(&S::lowRank, &L::allocation), {"uniform", "auto"}),
                    number("alpha", at(&S::lowRank, &L::alpha), 0, 2),
                    flag("residual", at(&S::lowRank, &L::residual)),
                    choice("prefer", at(&S::prefer), {"auto", "speed", "size"}),
                    globs("tensors", at(&S::tensors)),
                    globs("exclude", at(&S::exclude)),
                },
                finishLowRank};
  kind.carryOut = factorize;
  kind.needsData = needsData;
  kind.timedAs = [](const RecipeStep &step) { // by factors of about the same ranks
    RecipeStep own = step;
    if (!needsData(step).empty())
      own.lowRank.method = "svd";
    return own;
  };
  kind.check = check;
  kind.keepsSize = true; // or makes it less, where it is no rest that later steps are for
  return kind;
}

} // namespace lathe::recipe
