//===- StepKinds.h - What kinds of steps recipes have -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_STEPKINDS_H
#define LATHE_COMPILER_STEPKINDS_H

#include "compiler/RecipeFields.h"
#include "llvm/ADT/ArrayRef.h"

namespace lathe {

struct StepRun; // compiler/StepRun.h

namespace recipe {

/// A kind of step: all that there is to know of it. What it does lies with what its fields are, in one file for each
/// technique, and a new one is that file and an entry of stepKinds(). Functions may be null where nothing is said of
/// them.
struct StepKind {
  std::string name;          ///< in the field `step`
  std::vector<Field> fields; ///< that it has beside that one
  /// Fills in what follows from fields that were given (those of `entry`), and returns what they say together that no
  /// one of them is wrong for.
  std::function<std::string(const nlohmann::ordered_json &entry, RecipeStep &step)> finish;
  std::string mode = ""; ///< where the field `mode` tells it from others of its name; before these in the list of all
  std::vector<std::string> patterns = {}; ///< likewise by the field `pattern`

  /// Carries a step out. False with the run's error set.
  std::function<bool(StepRun &run)> carryOut = nullptr;
  /// What of a step needs calibration data, such as "method 'gptq'"; empty where nothing does. Null: nothing ever does.
  std::function<std::string(const RecipeStep &step)> needsData = nullptr;
  /// Whether a step looks at data where there are some, though it needs none. Null: none does.
  std::function<bool(const RecipeStep &step)> usesData = nullptr;
  /// Whether a step can be carried out whatever the steps before do, told before these take time; `later` are those
  /// behind it. False with the run's error set.
  std::function<bool(StepRun &run, llvm::ArrayRef<RecipeStep> later)> check = nullptr;
  /// Why a step can't be an alternative that single layers get; empty where it can. Null: all can.
  std::function<std::string(const RecipeStep &step)> whyNoAlternative = nullptr;
  bool isFirstAlternative = false; ///< it comes before other steps of an alternative
  /// A step that looks at no data and leaves weights that products read as fast: what is timed in its place. Null: the
  /// step itself, which needs none.
  std::function<RecipeStep(const RecipeStep &step)> timedAs = nullptr;
  /// Whether it is for speed, so that what it makes slower stays as it was unless the recipe says otherwise. Null: never.
  std::function<bool(const RecipeStep &step)> isForSpeed = nullptr;
  /// Steps like one but for a field, nearest first, with what that is, such as "bits 8". Null: none.
  std::function<std::vector<std::pair<std::string, RecipeStep>>(const RecipeStep &step)> neighbours = nullptr;
  bool storesWeights = false; ///< in a form that kernels may be missing for
  bool makesZeros = false; ///< which may be stored without them behind all steps
  bool keepsSize = false;  ///< what dense weights take in an artifact stays what it was
};

// Each in its own file.
StepKind cachesKind();
StepKind chooseKind();
StepKind equalizeKind();
StepKind lowRankKind();
/// Of what it says the pattern is one that parsePattern reads, and `sparsity` is there unless there is a threshold.
StepKind pruneKind();
StepKind quantizeKind();
StepKind rotateKind();
StepKind sparsifyKind();
/// The kind of step `prune` whose field `pattern` is heads, neurons, channels or layers.
StepKind structuredKind();

/// All kinds, in the order in which they are told to users.
const std::vector<StepKind> &stepKinds();

/// The kind of a step by what its fields `step`, a valid one, `mode` and `pattern` are.
const StepKind &kindOf(const std::string &name, const nlohmann::ordered_json &mode,
                       const nlohmann::ordered_json &pattern);
const StepKind &kindOf(const RecipeStep &step);

} // namespace recipe
} // namespace lathe

#endif // LATHE_COMPILER_STEPKINDS_H
