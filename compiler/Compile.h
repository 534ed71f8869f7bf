//===- Compile.h - From a model to an artifact ------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_COMPILE_H
#define LATHE_COMPILER_COMPILE_H

#include "compiler/ChangeLimit.h"
#include "compiler/CompressionReport.h"
#include "compiler/PhaseGraph.h"
#include "frontends/onnx/ImportOptions.h"
#include "passes/fusion/Findings.h"
#include <functional>
#include <string>
#include <vector>

namespace mlir {
class ModuleOp;
}

namespace lathe {
struct NewProgram; // compiler/Programs.h
class CalibrationData;
class Stopwatch;

/// Exit codes of the command line (docs/exit-codes.md), which are the compiler's statuses too.
enum class ExitCode { ok = 0, internal = 1, usage = 2, invalid_model = 3, tolerance = 4, over_budget = 5 };

/// Passes in MLIR's textual form that run on every program behind a phase.
struct PhasePipeline {
  std::string phase; ///< "import", "simplify", "fuse", "select", "plan" or "llvm"
  std::string text;  ///< such as "canonicalize,func.func(my-pass{limit=4})"
};

struct CompileOptions {
  unsigned level = 2;                ///< optimization of generated code, 0 to 3
  bool reference = false;            ///< the reference backend: every operation on its own through its lowering to linalg
  std::vector<std::string> isas;     ///< instruction sets to make code for; all, if empty
  bool forCpu = true, forCuda = false; ///< the devices that there are programs for
  std::vector<std::string> cudaArchs;  ///< that cubins are made for; those that are known, if empty
  ImportOptions import;
  std::vector<std::string> passPlugins; ///< libraries whose passes pipelines may name (MLIR's interface for plug-ins)
  std::vector<PhasePipeline> pipelines; ///< the user's passes, in their order
  std::string dumpDir;               ///< folder for one numbered .mlir file a phase; none, if empty
  std::string emit;                  ///< "artifact" (or empty), "onnx", "mlir", "llvm", "obj", "ptx"
  std::string precision = "f32";     ///< that weights are stored in: "f32", "bf16", "f16" or "auto"
  std::string recipe;                ///< what is compressed, and how, as JSON (compiler/Recipe.h); nothing, if empty
  std::string gradients; ///< file of gradients of a loss by initializers (safetensors), for methods that take them
  CalibrationData *calibration = nullptr; ///< sample inputs for methods that look at some; null for none
  Stopwatch *stopwatch = nullptr; ///< times what depends on times, or is reported with some; null: nothing is timed
  std::string report;                ///< file for the per-kernel report (JSON); none, if empty
  bool tellsReport = false;          ///< that report goes into the result
  unsigned jobs = 1;                 ///< threads that work side by side at most; the output does not depend on it
  uint64_t maxMemory = 0;            ///< bytes that the process may hold resident; 0: any number
  /// Told, on another thread and while no file is half written, that `maxMemory` is passed. Where it returns, or is not
  /// given, the compiler stops at the end of the phase, or of the piece of a file.
  std::function<void(const std::string &message)> overBudget;
  /// Called with the imported module, before anything is simplified: appends further programs to the artifact, such as changed clones
  /// of the module, and returns why it can't, or an empty text. They go through the same phases as the model, which is the
  /// program `main`, and share its weights. What `emit` writes, but the artifact, is of `main`.
  std::function<std::string(mlir::ModuleOp imported, std::vector<NewProgram> &added)> programs;
  enum class Generation { off, automatic, on };
  /// Whether programs that generate text are made: where the model is a decoder, or always, so that it is an error where they can't be.
  Generation generation = Generation::off;
  /// A file that travels with the model, as it is; whoever gives it has read it (docs/artifact.md names them).
  struct Document {
    std::string name, format, bytes;
  };
  std::vector<Document> documents;
  /// Told what users are to know while it goes on, such as what is reused of a run that was interrupted; from any
  /// thread.
  std::function<void(const std::string &)> note;
  bool describesPhases = false; ///< what programs are after phases goes into the result
  std::vector<std::string> moreOutputs; ///< values of the graph that are given out behind its outputs
  ChangeLimit *changes = nullptr; ///< counts what passes and steps change, and ends that; null: nothing is counted or left out
  std::function<void(const std::string &)> progress; ///< told what begins: phases, and parts of long ones
};

/// What becomes of the weights that products and gathers read.
struct PrecisionPlan {
  struct Decision {
    std::string weight, type; ///< type: "bf16", "f16" or "f32"
    std::string reason;       ///< where it is not the type that was asked for
  };
  std::vector<Decision> decisions; ///< in the order of the program
};

struct CompileResult {
  ExitCode code = ExitCode::ok;
  std::vector<std::string> errors; ///< lower-case messages, the node's name in them
  std::vector<Unsupported> unsupported;
  /// What `check` and `inspect` of a model tell.
  struct Value {
    std::string name, type;
    std::vector<std::string> shape;
  };
  std::vector<Value> inputs, outputs;
  ModelInfo info;
  uint64_t weightsBytes = 0;
  AttachedWeights attached; ///< of the checkpoint of the options
  PrecisionPlan precision; ///< without decisions where it is f32
  CompressionReport compression; ///< without layers where there is no recipe
  std::string report;            ///< JSON, where it was asked for
  /// Compressed weights that a kernel makes dense at each run, as no kernel reads their codes.
  std::vector<std::string> decompressed;
  size_t operations = 0;
  size_t kernels = 0, matmuls = 0;
  bool generates = false;       ///< there are programs that generate text
  bool isDecoder = false;       ///< the model has what a decoder has, whether or not it generates
  std::string whyNotGeneration; ///< where they were asked for and there are none
  std::vector<PhaseGraph> phases; ///< where it was asked for; of the model alone
  fusion::Findings findings;    ///< of `explain`
};

/// Imports, simplifies and selects kernels for the model, without making code: finds what can't be compiled.
CompileResult checkModel(const std::string &model, const CompileOptions &options);

/// Imports, simplifies and fuses: finds which composite operations are recognised, and what nearly is one.
CompileResult explainModel(const std::string &model, const CompileOptions &options);

/// Compiles `model` into `output`, which is only touched when all went well. The same input gives the same bytes.
CompileResult compileModel(const std::string &model, const std::string &output, const CompileOptions &options);

} // namespace lathe

#endif // LATHE_COMPILER_COMPILE_H
