//===- LowRankKind.cpp - Steps that factorize -----------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/LowRankStep.h"
#include "compiler/StepKinds.h"
#include "compiler/StepRun.h"
#include "compiler/TensorFormStep.h"
#include <map>

using nlohmann::ordered_json;

namespace lathe::recipe {
namespace {

/// Fields that methods do not have.
std::string verifyMethod(const LowRankFields &own) {
  const std::string &method = own.method;
  const std::pair<const char *, bool> given[] = {{"rank", own.rank.has_value()},     {"energy", own.energy.has_value()},
                                                 {"block", own.block.has_value()},   {"cores", own.cores.has_value()},
                                                 {"seed", own.seed.has_value()},     {"residual", own.residual},
                                                 {"allocation", own.allocation == "auto"}};
  // Where all methods but some have a field, these are told, with the reason.
  auto has = [&](const std::string &field) {
    bool isOfFactors = method == "svd" || method == "asvd" || method == "svd-llm";
    return field == "rank"     ? method != "circulant"
           : field == "energy" ? method != "cp"
           : field == "block"  ? method == "circulant" || method == "kronecker"
           : field == "cores"  ? method == "tensor-train"
           : field == "seed"   ? method == "cp"
                               : isOfFactors;
  };
  const std::map<std::string, std::string> methods = {{"rank", "all methods but 'circulant', which has 'block'"},
                                                      {"energy", "all methods but 'cp', of which no rank is known to keep a share"},
                                                      {"block", "methods 'circulant' and 'kronecker'"},
                                                      {"cores", "method 'tensor-train'"},
                                                      {"seed", "method 'cp'"},
                                                      {"residual", "methods 'svd', 'asvd' and 'svd-llm'"},
                                                      {"allocation", "methods 'svd', 'asvd' and 'svd-llm'"}};
  for (const auto &[field, isGiven] : given)
    if (isGiven && !has(field))
      return "field '" + std::string(field) + "': " + (std::string(field) == "allocation" ? "'auto' " : "") + "is for " +
             methods.at(field) + ", got '" + method + "'";
  return "";
}

/// One of the fields that say how large factors are.
std::string finishLowRank(const ordered_json &, RecipeStep &step) {
  const LowRankFields &own = step.lowRank;
  if (std::string problem = verifyMethod(own); !problem.empty())
    return problem;
  bool isByBlock = own.method == "circulant";
  int given = (isByBlock ? own.block.has_value() : own.rank.has_value()) + own.ratio.has_value() + own.energy.has_value();
  if (given != 1)
    return "expects one of the fields " +
           std::string(isByBlock ? "'block', 'ratio' and 'energy'" : own.method == "cp" ? "'rank' and 'ratio'" : "'rank', 'ratio' and 'energy'") +
           ", got " + std::string(given ? "several" : "none");
  if (own.allocation == "auto" && !own.ratio)
    return "field 'allocation': 'auto' shares out what field 'ratio' leaves, which is not given";
  if (own.residual && own.ratio)
    return "field 'ratio': with 'residual' it is later steps that remove bytes: expects 'rank' or 'energy'";
  return "";
}

using compression::Layer;

std::string needsData(const RecipeStep &step) {
  const std::string &method = step.lowRank.method;
  return method == "asvd" || method == "svd-llm" ? "method '" + method + "'" : "";
}

/// Whether forms are fitted to outputs where there are data.
bool usesData(const RecipeStep &step) {
  const std::string &method = step.lowRank.method;
  return method == "kronecker" || method == "tensor-train" || method == "circulant";
}

/// Whether the step saves something somewhere among what it applies to.
bool checkRank(StepRun &run, llvm::ArrayRef<Layer> chosen) {
  std::string problem = isTensorForm(run.step.lowRank.method) ? whyNoForm(run.step, chosen) : whyNoRank(run.step, chosen);
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
  LayerStatistics statistics;
  if (run.compression.data && usesCalibration(run.step) && !run.gather(chosen, statistics))
    return false;
  if (isTensorForm(run.step.lowRank.method))
    return formLayers(run.compression, run.step, chosen, statistics, run.pool, run.report, run.resolved, run.isResolved,
                      run.error);
  return factorizeLayers(run.compression, run.step, chosen, statistics, run.pool, run.report, run.resolved,
                         run.isResolved, run.error);
}

} // namespace

StepKind lowRankKind() {
  using S = RecipeStep;
  using L = LowRankFields;
  StepKind kind{"lowrank",
                {
                    choice("method", at(&S::lowRank, &L::method), {"svd", "asvd", "svd-llm", "kronecker", "tensor-train", "circulant", "tucker", "cp"}),
                    optionalWholeNumber("rank", at(&S::lowRank, &L::rank), 1, int64_t(1) << 31),
                    optionalShare("ratio", at(&S::lowRank, &L::ratio)),
                    optionalShare("energy", at(&S::lowRank, &L::energy)),
                    choice("allocation", at(&S::lowRank, &L::allocation), {"uniform", "auto"}),
                    number("alpha", at(&S::lowRank, &L::alpha), 0, 2),
                    flag("residual", at(&S::lowRank, &L::residual)),
                    optionalWholeNumber("block", at(&S::lowRank, &L::block), 2, int64_t(1) << 31),
                    optionalWholeNumber("cores", at(&S::lowRank, &L::cores), 2, 8),
                    optionalWholeNumber("seed", at(&S::lowRank, &L::seed), 0, int64_t(1) << 53),
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
  kind.usesData = usesData;
  kind.check = check;
  kind.keepsSize = true; // or makes it less, where it is no rest that later steps are for
  return kind;
}

} // namespace lathe::recipe
