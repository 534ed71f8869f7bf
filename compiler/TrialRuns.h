//===- TrialRuns.h - What choices of alternatives lose ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TRIALRUNS_H
#define LATHE_COMPILER_TRIALRUNS_H

#include "compiler/CalibrationProgram.h"
#include "compiler/LayerVariants.h"
#include "compiler/OutputLoss.h"
#include <chrono>

namespace lathe {

/// Measures what choices lose on calibration data, sample by sample: memory does not grow with their number.
class TrialRuns {
public:
  using Clock = std::chrono::steady_clock;
  /// For each layer the number of an alternative, from 1, or 0 for none.
  using Choice = std::vector<size_t>;

  TrialRuns(const Compression &compression, const TrialProgram &program, const std::vector<compression::Layer> &layers,
            const std::vector<std::vector<RecipeStep>> &alternatives,
            const std::vector<std::vector<LayerVariant>> &variants, runtime::ThreadPool &pool);
  /// Compiles the model with its weights as inputs. False with `error` set.
  bool prepare(std::string &error);

  struct Result {
    std::vector<LossSums> sums;   ///< of each choice
    std::vector<bool> isMeasured; ///< on as many samples as the others of its kind, or at all where time was up before
    LossSums reference;           ///< of the model as it is, on the samples of the choices
    size_t samples = 0;
    bool isComplete = true;
  };
  /// Runs choices on the first samples, at least `samples` of them or all there are, until `deadline`. What was done
  /// before an interruption is taken over where `what` is not empty, which progress shows. False with `error` set.
  bool measure(const std::vector<Choice> &choices, size_t samples, std::optional<Clock::time_point> deadline,
               const std::string &what, Result &result, bool &isUsage, std::string &error);
  /// Compiles the model with the steps of a choice, which `recipe` gets, carried out, and runs that: what it really
  /// loses.
  bool measureCompiled(const Choice &choice, size_t samples, Result &result, Recipe &recipe, bool &isUsage,
                       std::string &error);
  /// Compiles the model as it is and with a choice carried out, as what is made will be, and times both on samples.
  bool timeCompiled(const Choice &choice, double &microsecondsBefore, double &microsecondsAfter, bool &isUsage,
                    std::string &error);
  bool isLogits() const { return logits; }

private:
  struct Round; ///< one run of the data
  struct Turns;
  bool runRound(Round &round, std::string &error);
  bool compileChoice(const Choice &choice, TrialProgram::Manner manner, Recipe &recipe, TemporaryArtifact &file,
                     bool &isUsage, std::string &error);
  bool isByInputs(const Choice &choice) const;
  /// What a layer's input is under an alternative.
  FixedInput inputOf(size_t layer, size_t alternative) const;
  bool restore(Round &round, const std::string &key);
  void save(const Round &round, const std::string &key);
  std::string keyOf(const Round &round, size_t samples) const;

  const Compression &compression;
  const TrialProgram &program;
  const std::vector<compression::Layer> &layers;
  const std::vector<std::vector<RecipeStep>> &alternatives;
  const std::vector<std::vector<LayerVariant>> &variants; ///< by alternative and layer
  runtime::ThreadPool &pool;
  bool logits = false;
  TemporaryArtifact file;
  std::string fileKey;                     ///< stands for it
  std::vector<const float *> dense;        ///< of each layer
  std::vector<std::vector<float>> aligned; ///< where they do not lie as they are to
};

} // namespace lathe

#endif // LATHE_COMPILER_TRIALRUNS_H
