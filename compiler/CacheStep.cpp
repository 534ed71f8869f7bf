//===- CacheStep.cpp - A recipe's step that rounds caches -----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/CacheStep.h"
#include "passes/generation/Passes.h"
#include "runtime/CacheLayout.h"
#include <map>

using namespace mlir;

namespace lathe {

using generation::RoundedCache;
using runtime::CacheLayout;

bool isCacheStep(const RecipeStep &step) { return step.mode == "kv-cache"; }

static bool covers(ArrayRef<std::string> patterns, const RoundedCache &cache) {
  return llvm::any_of(patterns, [&](const std::string &pattern) { return matchesGlob(pattern, cache.name); });
}

std::string checkCacheStep(const RecipeStep &step, ArrayRef<func::FuncOp> programs, const std::string &whyNone) {
  std::vector<RoundedCache> caches;
  for (func::FuncOp program : programs)
    llvm::append_range(caches, generation::findCaches(program));
  if (caches.empty())
    return "mode 'kv-cache': the model keeps no keys and values in f32 between runs" +
           (whyNone.empty() ? "" : ": " + whyNone);
  for (const std::string &pattern : step.tensors)
    if (llvm::none_of(caches, [&](const RoundedCache &cache) { return covers({pattern}, cache); }))
      return "field 'tensors': no cache has a name like '" + pattern + "'; the first one is '" + caches.front().name +
             "'";
  return "";
}

/// What users call what rows are rounded to.
static std::string nameOf(const RecipeStep &step, const CacheLayout &layout) {
  return "int" + std::to_string(step.bits) + (layout.groups() > 1 ? " g" + std::to_string(layout.group) : "") +
         (step.symmetric ? "" : " asymmetric") + (layout.rotation() > 1 ? " rotated" : "");
}

void quantizeCaches(const RecipeStep &step, ArrayRef<func::FuncOp> programs,
                    llvm::function_ref<bool(const std::string &name)> mayChange, CompressionReport &report) {
  std::map<std::string, bool> allowed; // programs share a cache
  auto isAllowed = [&](const std::string &name) {
    auto [it, isNew] = allowed.try_emplace(name, false);
    if (isNew)
      it->second = mayChange(name);
    return it->second;
  };
  std::string codes = (step.symmetric ? "i" : "ui") + std::to_string(step.bits);
  for (func::FuncOp program : programs) {
    std::vector<std::string> names;
    for (const RoundedCache &cache : generation::findCaches(program)) {
      if (cache.rounded || !covers(step.tensors, cache) || covers(step.exclude, cache) ||
          !isAllowed(cache.name))
        continue;
      names.push_back(cache.name);
      CacheLayout before{cache.heads, cache.size};
      CacheLayout after{cache.heads, cache.size, step.bits, step.groupSize, step.symmetric, step.rotate};
      auto perRow = [](const CacheLayout &layout) {
        return static_cast<uint64_t>(layout.bytes() / CacheLayout::kPageRows);
      };
      report.caches.push_back(
          {cache.name, nameOf(step, after), cache.heads, cache.size, perRow(before), perRow(after)});
    }
    generation::quantizeCaches(program, names, codes, step.groupSize, step.rotate);
  }
}

} // namespace lathe
