//===- Compilation.h - One compilation, phase by phase ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_COMPILATION_H
#define LATHE_COMPILER_COMPILATION_H

#include "backends/cpu/compiler/CodeImage.h"
#include "compiler/ChangeGate.h"
#include "compiler/Compile.h"
#include "compiler/Compress.h"
#include "compiler/CudaKernels.h"
#include "compiler/MemoryWatch.h"
#include "compiler/Programs.h"
#include "compiler/WeightFiles.h"
#include "mlir/Pass/PassManager.h"

namespace lathe {
using namespace mlir;

/// One compilation: its context, its diagnostics and its result.
class Compilation {
public:
  Compilation(const std::string &model, const CompileOptions &options);

  /// Of a module that is fused, within another compilation.
  Compilation(Compilation &outer, const CompileOptions &options, ModuleOp module)
      : model(outer.model), options(options), watch(0, {}), context(outer.context), files(outer.files), resume("", {}) {
    programs.push_back({"main", module.clone()});
  }

  bool explain();
  bool toKernels();
  bool select();
  void toArtifact(const std::string &output);
  void toOnnx(const std::string &output);
  /// Keeps finished layers beside what is to be written, until that is done, or can't be.
  void resumeAt(const std::string &output) { resume = Resume(output + ".resume", options.note); }
  void forgetFinished();
  CompileResult result;

private:
  bool fail(ExitCode code, const std::string &message) {
    result.code = code;
    if (!message.empty())
      result.errors.push_back(message);
    return false;
  }
  void begin(const std::string &name) {
    watch.enter(name);
    if (options.progress)
      options.progress(name);
  }
  bool withinMemory() { return !watch.exceeded() || fail(ExitCode::over_budget, watch.message()); }
  /// What messages about the program at hand begin with.
  std::string who() const {
    return current == 0 || current >= programs.size() ? "" : "program '" + programs[current].name + "': ";
  }
  /// Runs passes on each program, in order; `before` is called before each.
  bool phase(
      const std::string &name, llvm::function_ref<void(OpPassManager &)> passes, ExitCode onFailure,
      llvm::function_ref<void(size_t program)> before = [](size_t) {});
  bool runAdded(const std::string &phase);
  bool dump(const std::string &name);
  bool addPrograms();
  SmallVector<func::FuncOp> mains();
  void addDevices();
  void describeCompilation(nlohmann::ordered_json &manifest);
  void describePrograms(nlohmann::ordered_json &manifest);
  bool takeKernels(nlohmann::ordered_json &manifest);
  bool makeCode(const std::string &output, nlohmann::ordered_json &manifest);
  bool wantsReport() const { return !options.report.empty() || options.tellsReport; }
  /// `constants`: what the artifact has of those of the manifest.
  bool writeReport(const nlohmann::ordered_json &manifest, ArrayRef<artifact::ConstantSource> constants = {});
  bool writeText(const std::string &path, llvm::function_ref<void(llvm::raw_ostream &)> write);
  bool narrowWeights();
  bool widenFloats();
  /// The 16-bit float that products may round to; "f32" where they may not, or "auto".
  const std::string &arithmetic() const {
    return typeOfModel.empty() || options.precision == "f16" || options.precision == "bf16" ? options.precision
                                                                                            : typeOfModel;
  }
  bool widen(ModuleOp module);
  bool compressWeights();
  bool compileHere(ModuleOp module, const std::string &precision, const std::string &path, std::string &problem);
  void allowTiming(Compression &compression);
  OwningOpRef<ModuleOp> tokenProgram(std::string &problem);
  bool findDense(ModuleOp module, std::vector<std::string> &dense, std::string &problem);
  void allowTrials(Compression &compression);
  const char *targetName() const {
    return options.reference ? "reference" : !options.forCuda ? "cpu" : options.forCpu ? "cpu,cuda" : "cuda";
  }
  bool toSimplified(bool explain = false);
  bool toFused(bool explain = false);
  void describeModel();
  ModuleOp main() { return *programs.front().module; }
  std::string weightFolder() {
    auto attribute = main()->getAttrOfType<StringAttr>(LatheDialect::kModelDirAttr);
    return attribute ? attribute.str() : std::string();
  }

  const std::string &model;
  const CompileOptions &options;
  MemoryWatch watch;
  struct Own {
    explicit Own(MLIRContext::Threading threading) : context(threading) {}
    MLIRContext context;
    WeightFiles files;
  };
  std::unique_ptr<Own> own; ///< null within another compilation
  MLIRContext &context;
  WeightFiles &files;
  Resume resume;
  std::unique_ptr<ChangeGate> gate; ///< null where nothing is left out
  OwningOpRef<ModuleOp> imported;   ///< as it was, where calibration wants it
  std::vector<Program> programs;    ///< that of the model, and those of the options
  size_t current = 0;               ///< the program at hand
  std::string typeOfModel;          ///< "f16" or "bf16" where the model's products and attentions are of these, else empty
  std::vector<cpu::CompiledCode> compiled;
  std::optional<CudaKernels> kernels;            ///< of programs for CUDA
  std::vector<artifact::SectionSource> sections; ///< code, then documents
};

} // namespace lathe

#endif // LATHE_COMPILER_COMPILATION_H
