//===- CompileWeights.cpp - The phases that change a model's weights ------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/Passes.h"
#include "compiler/Compilation.h"
#include "compiler/Generation.h"
#include "compiler/LayerTimes.h"
#include "compiler/Precision.h"
#include "compiler/StoredCodes.h"
#include "mlir/Transforms/Passes.h"
#include "passes/precision/Passes.h"
#include "runtime/CpuFeatures.h"

using namespace mlir;

namespace lathe {

/// Models of 16-bit floats are those of f32 whose weights were narrowed, but as they are for the reference and as ONNX.
bool Compilation::widenFloats() {
  auto function = main().lookupSymbol<func::FuncOp>("main");
  Type type = function ? precision::typeOfProducts(function) : Type();
  if (!type || options.reference || options.emit == "onnx")
    return true;
  if (!precision::hasWideAttention(function)) // which the model wants in f32
    typeOfModel = type.isF16() ? "f16" : "bf16";
  PassManager manager(&context);
  manager.addNestedPass<func::FuncOp>(precision::createWidenFloatsPass());
  if (failed(manager.run(main())))
    return fail(ExitCode::internal, "");
  std::string error;
  return widenVectors(function, files, error) || fail(ExitCode::invalid_model, error);
}

bool Compilation::narrowWeights() {
  if (options.precision == "f32" && typeOfModel.empty())
    return true;
  begin("precision");
  std::string error;
  bool narrows = options.precision != "f32";
  if (narrows && !choosePrecision(mains(), files, options.precision, result.precision, error))
    return fail(ExitCode::invalid_model, error);
  precision::NarrowWeightsPassOptions narrow;
  narrow.type = options.precision == "bf16" ? "bf16" : "f16";
  std::vector<std::string> exceptions;
  for (const PrecisionPlan::Decision &decision : result.precision.decisions)
    if (decision.type != narrow.type)
      exceptions.push_back(decision.weight + "=" + decision.type);
  narrow.types = exceptions;
  return phase(
      "precision",
      [&](OpPassManager &passes) {
        if (narrows)
          passes.addNestedPass<func::FuncOp>(precision::createNarrowWeightsPass(narrow));
        if (arithmetic() == "f16" || arithmetic() == "bf16") // and not 'auto', which is about weights
          passes.addNestedPass<func::FuncOp>(precision::createNarrowAttentionPass({arithmetic()}));
      },
      ExitCode::internal);
}

/// What is compressed are weights of products in f32: those of 16-bit floats become such, and add up in f32.
bool Compilation::widen(ModuleOp module) {
  PassManager manager(&context);
  cpu::CpuWideProductsPassOptions wide;
  wide.lookups = true;
  manager.addNestedPass<func::FuncOp>(cpu::createCpuWideProductsPass(wide));
  manager.addNestedPass<func::FuncOp>(createCSEPass()); // products that share an input share what is widened
  return succeeded(manager.run(module));
}

/// Compiles a fused program for this machine, on the way.
bool Compilation::compileHere(ModuleOp module, const std::string &precision, const std::string &path,
                              std::string &problem) {
  CompileOptions inner;
  inner.level = options.level;
  inner.isas = {runtime::bestIsa()};
  inner.precision = precision;
  Compilation nested(*this, inner, module);
  if (nested.narrowWeights() && nested.select())
    nested.toArtifact(path);
  if (nested.result.code == ExitCode::ok)
    return true;
  problem = nested.result.errors.empty() ? "can't compile a part of the model for this machine"
                                         : nested.result.errors.front();
  return false;
}

/// Says how what is compressed may be timed.
void Compilation::allowTiming(Compression &compression) {
  compression.stopwatch = options.stopwatch;
  compression.compileTimed = [this](ModuleOp module, const std::string &path, std::string &problem) {
    return compileHere(module, options.precision, path, problem);
  };
  if (options.reference)
    compression.whyNotTimed = "the reference backend is not to be fast";
  else if (!options.isas.empty() && !llvm::is_contained(options.isas, runtime::bestIsa()))
    compression.whyNotTimed = "code is made for " + llvm::join(options.isas, ", ") +
                              ", and this machine would run that for " + runtime::bestIsa();
  else if (options.maxMemory && residentBytes() + timingBytes(compression.programs) > options.maxMemory)
    compression.whyNotTimed =
        "--max-memory leaves less than the " + sizeText(timingBytes(compression.programs)) + " that it may take";
  compression.floats = options.precision == "auto" ? "16-bit floats" : options.precision;
  // What generates computes most of its tokens one by one.
  constexpr int64_t kRows = 128;
  compression.rows = compression.recipe->rows ? compression.recipe->rows : result.generates ? 1 : kRows;
  compression.isPortable = options.emit == "onnx";
  compression.timeAll = wantsReport() && !compression.isPortable;
}

/// The program that tokens calibrate; null, with `problem`, where there can be none.
OwningOpRef<ModuleOp> Compilation::tokenProgram(std::string &problem) {
  OwningOpRef<ModuleOp> program;
  problem = makeTokenProgram(*imported, program);
  if (!problem.empty()) {
    problem = "tokens can't calibrate this model, give .npz files of its inputs: " + problem;
    program = nullptr;
  }
  if (program && !widen(*program))
    problem = "can't widen the program that tokens calibrate";
  return program;
}

/// The compressed weights that no kernel of a fused program reads.
bool Compilation::findDense(ModuleOp module, std::vector<std::string> &dense, std::string &problem) {
  CompileOptions inner;
  inner.reference = options.reference;
  inner.forCpu = options.forCpu;
  inner.forCuda = options.forCuda; // kernels of each device that there are programs for
  Compilation nested(*this, inner, module);
  bool isDone = nested.select();
  dense = nested.result.decompressed;
  if (!isDone)
    problem =
        nested.result.errors.empty() ? "can't select kernels for a part of the model" : nested.result.errors.front();
  return isDone;
}

/// Says how what is compressed may be compiled and run on the way.
void Compilation::allowTrials(Compression &compression) {
  compression.tokenProgram = [this](std::string &problem) { return tokenProgram(problem); };
  compression.compile = [this](ModuleOp module, const std::string &path, std::string &problem) {
    return compileHere(module, "f32", path, problem);
  };
  compression.findDense = [this](ModuleOp module, std::vector<std::string> &dense, std::string &problem) {
    return findDense(module, dense, problem);
  };
  allowTiming(compression);
}

bool Compilation::compressWeights() {
  std::string error;
  if (!storeCodes(mains(), files, error))
    return fail(ExitCode::invalid_model, error);
  if (options.recipe.empty())
    return true;
  begin("compress");
  std::optional<Recipe> recipe = parseRecipe(options.recipe, error);
  if (!recipe)
    return fail(ExitCode::usage, error);
  for (Program &program : programs)
    if (!widen(*program.module))
      return fail(ExitCode::internal, "");
  Compression compression;
  compression.programs = mains();
  compression.main = main();
  compression.files = &files;
  compression.recipe = &*recipe;
  compression.data = options.calibration;
  Gradients gradients;
  if (!options.gradients.empty()) {
    if (std::string problem = gradients.open(options.gradients); !problem.empty())
      return fail(ExitCode::usage, problem);
    compression.gradients = &gradients;
  }
  compression.resume = &resume;
  compression.threads = options.jobs;
  compression.whyNoCache = options.generation == CompileOptions::Generation::off
                               ? "programs that generate were not asked for"
                               : result.whyNotGeneration;
  compression.progress = [this](const std::string &what) { begin(what); };
  compression.target = targetName();
  allowTrials(compression);
  bool isUsage = false;
  if (!compress(compression, result.compression, isUsage, error))
    return fail(isUsage ? ExitCode::usage : ExitCode::invalid_model, error);
  for (current = 0; current < programs.size(); ++current)
    if (!dump("compress"))
      return false;
  current = 0;
  return withinMemory();
}

} // namespace lathe
