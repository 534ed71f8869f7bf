//===- SparsifyKind.cpp - Steps that store no zeros -----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/SparsifyStep.h"
#include "compiler/StepKinds.h"
#include "compiler/StepRun.h"

namespace lathe::recipe {
namespace {

bool storeSparse(StepRun &run) {
  std::vector<SparseCandidate> all = findSparseCandidates(run.compression.programs);
  for (const std::string &pattern : run.step.tensors)
    if (pattern != "*" && llvm::none_of(all, [&](const SparseCandidate &own) {
          return matchesGlob(pattern, own.name) || matchesGlob(pattern, own.node);
        }))
      return run.wrongRecipe("field 'tensors': no weight of a matrix product has a name like '" + pattern + "'");
  std::vector<SparseCandidate> chosen;
  for (SparseCandidate &own : all)
    if (run.isMeant(own.name, own.node))
      chosen.push_back(std::move(own));
  std::vector<RecipeStep> decided;
  if (!sparsifyLayers(run.compression, run.step, chosen, run.report, decided, run.error))
    return false;
  run.isResolved = !decided.empty();
  if (run.isResolved) {
    run.resolved = decided.front();
    run.further.assign(decided.begin() + 1, decided.end());
  }
  return true;
}

} // namespace

StepKind sparsifyKind() {
  using S = RecipeStep;
  StepKind kind{
      "sparsify",
      {
          choice("format", at(&S::sparsifying, &Sparsifying::format), {"auto", "csr", "bsr", "bitmap", "n_of_m"}),
          choice("prefer", at(&S::prefer), {"auto", "speed", "size"}),
          globs("tensors", at(&S::tensors)),
          globs("exclude", at(&S::exclude)),
      },
      nullptr};
  kind.carryOut = storeSparse;
  kind.storesWeights = true;
  kind.isForSpeed = [](const RecipeStep &) { return true; };
  return kind;
}

} // namespace lathe::recipe
