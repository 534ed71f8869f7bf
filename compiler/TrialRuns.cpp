//===- TrialRuns.cpp - What choices of alternatives lose ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/TrialRuns.h"
#include "compiler/AlternativeTimes.h"
#include "compiler/RecipeFields.h"
#include "compiler/WeightValues.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace mlir;

namespace lathe {

using compression::Layer;

namespace {

/// Choices that are compiled models of their own, of which as many are run side by side.
constexpr size_t kCompiledAtOnce = 4;

std::string inputName(size_t layer) { return "weight." + std::to_string(layer); }

} // namespace

/// Choices that are run together on the same samples.
struct TrialRuns::Round {
  std::vector<const Choice *> choices;
  std::vector<std::string> paths; ///< of artifacts: that with weights as inputs, and those of choices
  bool isCompiled = false;        ///< each choice is an artifact, from the second on
  size_t samples = 0;             ///< at least so many
  std::optional<Clock::time_point> deadline;
  std::string key;                   ///< under which finished batches are kept; empty for none
  std::function<void(size_t)> shows; ///< the samples
  // Results; those of whole batches, but for a first one that time cut short.
  std::vector<LossSums> sums;
  std::vector<bool> isMeasured;
  LossSums reference;
  size_t batches = 0, taken = 0;
  bool isComplete = true;
};

TrialRuns::TrialRuns(const Compression &compression, const TrialProgram &program, const std::vector<Layer> &layers,
                     const std::vector<std::vector<RecipeStep>> &alternatives,
                     const std::vector<std::vector<LayerVariant>> &variants, runtime::ThreadPool &pool)
    : compression(compression), program(program), layers(layers), alternatives(alternatives), variants(variants),
      pool(pool), logits(compression.data->hasTokens()) {}

bool TrialRuns::prepare(std::string &error) {
  OwningOpRef<ModuleOp> module = program.withInputs();
  auto main = module->lookupSymbol<func::FuncOp>("main");
  if (main.getNumResults() == 0) {
    error = "the model has no output of floats: nothing tells what layers are worth";
    return false;
  }
  if (!compileTemporary(compression, *module, file, error))
    return false;
  if (auto bytes = llvm::MemoryBuffer::getFile(file.path(), /*IsText=*/false, /*RequiresNullTerminator=*/false)) {
    ResumeKey key("trial");
    key.add((*bytes)->getBufferStart(), (*bytes)->getBufferSize());
    fileKey = key.text();
  }
  aligned.resize(layers.size());
  for (size_t i = 0; i < layers.size(); ++i) {
    const Layer &layer = layers[i];
    uint64_t bytes = layer.elements() * (layer.stored.getIntOrFloatBitWidth() / 8);
    const char *data = compression.files->bytes(layer.place.first, layer.place.second, bytes, error);
    if (!data) {
      error = "initializer '" + layer.name + "': " + error;
      return false;
    }
    if (!layer.stored.isF32() || reinterpret_cast<uintptr_t>(data) % alignof(float)) {
      aligned[i].resize(layer.elements());
      for (size_t j = 0; j < aligned[i].size(); ++j)
        aligned[i][j] = numberAt(data, static_cast<int64_t>(j), layer.stored);
      dense.push_back(aligned[i].data());
    } else {
      dense.push_back(reinterpret_cast<const float *>(data));
    }
  }
  return true;
}

FixedInput TrialRuns::inputOf(size_t layer, size_t alternative) const {
  const Layer &own = layers[layer];
  FixedInput input{inputName(layer), {own.inputs, own.outputs}, dense[layer]};
  if (own.transposed)
    std::swap(input.dims[0], input.dims[1]);
  if (alternative > 0) {
    std::string error; // what was made is there
    input.data = reinterpret_cast<const float *>(compression.files->bytes(
        kMadeFile, variants[alternative - 1][layer].values, own.elements() * sizeof(float), error));
  }
  return input;
}

bool TrialRuns::isByInputs(const Choice &choice) const {
  for (size_t i = 0; i < choice.size(); ++i)
    if (choice[i] > 0 && !variants[choice[i] - 1][i].isWeight)
      return false;
  return true;
}

bool TrialRuns::compileChoice(const Choice &choice, TrialProgram::Manner manner, Recipe &recipe, TemporaryArtifact &to,
                              bool &isUsage, std::string &error) {
  CompressionReport report;
  OwningOpRef<ModuleOp> module = program.changed(alternatives, choice, manner, recipe, report, isUsage, error);
  if (!module)
    return false;
  TrialProgram::keepOutputs(*module);
  return compileTemporary(compression, *module, to, error);
}

std::string TrialRuns::keyOf(const Round &round, size_t samples) const {
  if (compression.resume->path().empty())
    return "";
  ResumeKey key("losses");
  key.add(fileKey);
  key.add(compression.data->identity());
  key.add(static_cast<int64_t>(samples));
  for (const std::vector<RecipeStep> &steps : alternatives)
    for (const RecipeStep &step : steps)
      key.add(recipe::write(step).dump());
  for (const Layer &layer : layers)
    key.add(layer.name);
  for (const Choice *choice : round.choices)
    key.add(*choice);
  return key.text();
}

namespace {

template <typename Archive> void pass(Archive &&archive, LossSums &sums) {
  archive(sums.divergence);
  archive(sums.nll);
  archive(sums.rows);
  archive(sums.predictions);
  archive(sums.error);
  archive(sums.energy);
}

} // namespace

void TrialRuns::save(const Round &round, const std::string &key) {
  if (key.empty())
    return;
  ResumeWriter writer;
  auto put = [&](const auto &value) { writer.put(value); };
  writer.put(static_cast<uint64_t>(round.batches));
  writer.put(static_cast<uint64_t>(round.taken));
  pass(put, const_cast<LossSums &>(round.reference)); // putting changes nothing
  for (const LossSums &sums : round.sums)
    pass(put, const_cast<LossSums &>(sums));
  compression.resume->keep(key, writer.bytes);
}

bool TrialRuns::restore(Round &round, const std::string &key) {
  std::optional<std::string> bytes = key.empty() ? std::nullopt : compression.resume->find(key);
  if (!bytes)
    return false;
  ResumeReader reader(*bytes);
  auto get = [&](auto &value) { reader.get(value); };
  uint64_t batches = 0, taken = 0;
  LossSums reference;
  std::vector<LossSums> sums(round.sums.size());
  reader.get(batches);
  reader.get(taken);
  pass(get, reference);
  for (LossSums &own : sums)
    pass(get, own);
  if (!reader.isDone())
    return false;
  round.batches = batches;
  round.taken = taken;
  round.reference = reference;
  round.sums = std::move(sums);
  round.isMeasured.assign(round.sums.size(), true);
  return true;
}

/// Tells turn by turn what is run: of each batch of samples first the model as it is, then the choices.
struct TrialRuns::Turns {
  TrialRuns &runs;
  Round &round;
  const std::string &key;      ///< under which finished batches are kept
  size_t skip = round.batches; ///< batches that are done
  ReferenceOutputs reference{runs.logits};
  std::vector<LossSums> batch = std::vector<LossSums>(round.choices.size());
  Choice current = Choice(runs.layers.size(), 0); ///< of the artifact with weights as inputs
  size_t at = 0;                                  ///< of this batch: 0 the model as it is, then the choices
  bool isFirst = true;

  bool next(const TurnState &state, Turn &turn) {
    if (at > 0 && round.deadline && Clock::now() > *round.deadline) {
      stop(state);
      return false;
    }
    if (at > batch.size() || (at == 1 && skip > 0)) {
      if (skip > 0)
        --skip;
      else
        finishBatch(state.samples);
      if (state.isLast || round.taken >= round.samples)
        return false;
      at = 0;
    }
    if (at == 0) {
      turn.moves = !isFirst;
      batch.assign(batch.size(), {});
    }
    turn.artifact = round.isCompiled ? at : 0;
    if (turn.artifact == 0)
      change(at == 0 ? Choice(runs.layers.size(), 0) : *round.choices[at - 1], turn);
    isFirst = false;
    return true;
  }

  bool observe(const std::vector<Observed> &outputs) {
    if (at == 0)
      reference.set(outputs, runs.compression.data->tokens(), &runs.pool);
    else
      reference.compare(outputs, &runs.pool, batch[at - 1]);
    ++at;
    if (round.shows)
      round.shows(at);
    return true;
  }

private:
  void change(const Choice &wanted, Turn &turn) {
    for (size_t i = 0; i < wanted.size(); ++i)
      if (runs.program.has(i) && (isFirst || current[i] != wanted[i]))
        turn.changed.push_back(runs.inputOf(i, wanted[i]));
    current = wanted;
  }
  void finishBatch(size_t samples) {
    for (size_t i = 0; i < batch.size(); ++i)
      round.sums[i].add(batch[i]);
    round.isMeasured.assign(batch.size(), true);
    round.reference.add(reference.own());
    round.taken = samples;
    ++round.batches;
    runs.save(round, key);
  }
  /// Time is up. What there is of a first batch has to do; of a later one it would be of more samples than the rest.
  void stop(const TurnState &state) {
    round.isComplete = false;
    if (round.batches > 0)
      return;
    for (size_t i = 0; i + 1 < at; ++i) {
      round.sums[i] = batch[i];
      round.isMeasured[i] = true;
    }
    round.reference = reference.own();
    round.taken = state.samples;
  }
};

bool TrialRuns::runRound(Round &round, std::string &error) {
  round.sums.assign(round.choices.size(), {});
  round.isMeasured.assign(round.choices.size(), false);
  restore(round, round.key);
  if (round.taken >= round.samples)
    return true;
  Turns turns{*this, round, round.key};
  error = compression.data->runTurns(
      round.paths, [&](const TurnState &state, Turn &turn) { return turns.next(state, turn); },
      [&](const std::vector<Observed> &outputs) { return turns.observe(outputs); });
  return error.empty();
}

bool TrialRuns::measure(const std::vector<Choice> &choices, size_t samples, std::optional<Clock::time_point> deadline,
                        const std::string &what, Result &result, bool &isUsage, std::string &error) {
  result = Result();
  result.sums.resize(choices.size());
  result.isMeasured.resize(choices.size());
  samples = std::min(samples, compression.data->samples());
  std::vector<std::vector<size_t>> groups(1); // of choices that are run together
  for (size_t i = 0; i < choices.size(); ++i)
    if (isByInputs(choices[i]))
      groups.front().push_back(i);
  for (size_t i = 0, own = 0; i < choices.size(); ++i)
    if (!isByInputs(choices[i])) {
      if (own++ % kCompiledAtOnce == 0)
        groups.emplace_back();
      groups.back().push_back(i);
    }
  size_t done = 0;
  for (size_t g = 0; g < groups.size(); ++g) {
    if (groups[g].empty() || (g > 0 && !result.isComplete))
      continue;
    Round round;
    round.isCompiled = g > 0;
    round.samples = samples;
    round.deadline = deadline;
    round.paths = {file.path()};
    std::vector<std::unique_ptr<TemporaryArtifact>> files;
    Recipe recipe;
    for (size_t i : groups[g])
      round.choices.push_back(&choices[i]);
    round.key = what.empty() ? "" : keyOf(round, samples);
    if (!what.empty() && compression.progress)
      round.shows = [&](size_t turn) {
        compression.progress(what + ": " + std::to_string(std::min(done + turn - 1, choices.size())) + " of " +
                             std::to_string(choices.size()));
      };
    for (size_t i = 0; round.isCompiled && i < groups[g].size(); ++i) {
      files.push_back(std::make_unique<TemporaryArtifact>());
      if (!compileChoice(choices[groups[g][i]], TrialProgram::Manner::trial, recipe, *files.back(), isUsage, error))
        return false;
      round.paths.push_back(files.back()->path());
    }
    if (!runRound(round, error))
      return false;
    for (size_t i = 0; i < groups[g].size(); ++i) {
      result.sums[groups[g][i]] = round.sums[i];
      result.isMeasured[groups[g][i]] = round.isMeasured[i];
    }
    done += groups[g].size();
    result.samples = std::max(result.samples, round.taken);
    result.isComplete &= round.isComplete;
    result.reference = round.reference;
  }
  return true;
}

bool TrialRuns::timeCompiled(const Choice &choice, double &microsecondsBefore, double &microsecondsAfter, bool &isUsage,
                             std::string &error) {
  TemporaryArtifact before, after;
  auto make = [&](const Choice &own, TemporaryArtifact &to) {
    Recipe recipe;
    CompressionReport report;
    OwningOpRef<ModuleOp> module =
        program.changed(alternatives, own, TrialProgram::Manner::as_meant, recipe, report, isUsage, error);
    if (!module)
      return false;
    TrialProgram::keepOutputs(*module);
    auto write = [&](const std::string &path, std::string &problem) {
      return compression.compileTimed(*module, path, problem);
    };
    return to.make(write, error);
  };
  std::vector<double> microseconds;
  if (!make(Choice(layers.size(), 0), before) || !make(choice, after) ||
      !timeModels(compression, {before.path(), after.path()}, microseconds, error))
    return false;
  microsecondsBefore = microseconds[0];
  microsecondsAfter = microseconds[1];
  return true;
}

bool TrialRuns::measureCompiled(const Choice &choice, size_t samples, Result &result, Recipe &recipe, bool &isUsage,
                                std::string &error) {
  recipe = Recipe();
  Round round;
  round.isCompiled = true;
  round.samples = std::min(samples, compression.data->samples());
  TemporaryArtifact own;
  if (!compileChoice(choice, TrialProgram::Manner::as_meant, recipe, own, isUsage, error))
    return false;
  round.choices = {&choice};
  round.paths = {file.path(), own.path()};
  if (!runRound(round, error))
    return false;
  result = {round.sums, round.isMeasured, round.reference, round.taken, round.isComplete};
  return true;
}

} // namespace lathe
