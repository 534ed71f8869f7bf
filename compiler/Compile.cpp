//===- Compile.cpp - From a model to an artifact --------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/CodeImage.h"
#include "backends/cpu/compiler/Passes.h"
#include "compiler/ChangeGate.h"
#include "compiler/Compilation.h"
#include "compiler/Compress.h"
#include "compiler/CompressionJson.h"
#include "compiler/CudaKernels.h"
#include "compiler/Dialects.h"
#include "compiler/Generation.h"
#include "compiler/HalfZeros.h"
#include "compiler/Manifest.h"
#include "compiler/MemoryWatch.h"
#include "compiler/PassPlugins.h"
#include "compiler/Precision.h"
#include "compiler/Programs.h"
#include "compiler/StoredCodes.h"
#include "compiler/Work.h"
#include "frontends/onnx/Import.h"
#include "frontends/onnx/export/Export.h"
#include "frontends/onnx/export/StreamFile.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "passes/fusion/Passes.h"
#include "passes/fusion/Report.h"
#include "passes/memory/Passes.h"
#include "passes/precision/Passes.h"
#include "passes/simplify/Passes.h"
#include "runtime/Abi.h"
#include "runtime/CpuFeatures.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/ToolOutputFile.h"

using namespace mlir;
using nlohmann::ordered_json;

namespace lathe {
namespace {

std::string describe(const Diagnostic &diagnostic) {
  std::string node;
  diagnostic.getLocation()->walk([&](Location inner) {
    if (auto name = dyn_cast<NameLoc>(inner); name && node.empty())
      node = name.getName().str();
    return WalkResult::advance();
  });
  return (node.empty() ? "" : "node '" + node + "': ") + diagnostic.str();
}

/// The texts of pipelines, which name their passes.
std::string namesOf(const std::vector<PhasePipeline> &pipelines) {
  std::string names;
  for (const PhasePipeline &pipeline : pipelines)
    names += pipeline.text + "\n";
  return names;
}

} // namespace

Compilation::Compilation(const std::string &model, const CompileOptions &options)
    : model(model), options(options), watch(options.maxMemory, options.overBudget),
      own(std::make_unique<Own>(MLIRContext::Threading::DISABLED)), context(own->context), files(own->files),
      resume("", {}),
      gate(options.changes ? std::make_unique<ChangeGate>(own->context, options.changes, namesOf(options.pipelines))
                           : nullptr) {
  DialectRegistry registry;
  registerDialects(registry);
  context.appendDialectRegistry(registry);
  context.loadAllAvailableDialects();
  context.getDiagEngine().registerHandler([this](Diagnostic &diagnostic) {
    if (diagnostic.getSeverity() == DiagnosticSeverity::Error)
      result.errors.push_back(who() + describe(diagnostic));
    return success();
  });
}

bool Compilation::writeText(const std::string &path, llvm::function_ref<void(llvm::raw_ostream &)> write) {
  auto held = watch.holdFiles();
  runtime::NewFile file(path);
  std::string problem = writeStream(file, write);
  if (problem.empty())
    problem = file.finish();
  return problem.empty() || fail(ExitCode::internal, "can't write '" + path + "': " + problem);
}

bool Compilation::dump(const std::string &name) {
  Program &program = programs[current];
  ++program.phases;
  if (options.describesPhases && &program == &programs.front())
    result.phases.push_back(phaseGraphOf(*program.module, name));
  if (options.dumpDir.empty())
    return true;
  if (auto code = llvm::sys::fs::create_directories(options.dumpDir))
    return fail(ExitCode::internal, "can't make the folder '" + options.dumpDir + "': " + code.message());
  char number[8];
  snprintf(number, sizeof number, "%02d", program.phases);
  llvm::SmallString<256> path(options.dumpDir);
  llvm::sys::path::append(path, std::string(number) + (program.isMain() ? "" : "-" + program.name) + (program.isCuda ? "-cuda-" : "-") + name + ".mlir");
  return writeText(std::string(path), [&](llvm::raw_ostream &stream) {
    OpPrintingFlags flags;
    flags.enableDebugInfo();
    program.module->print(stream, flags);
    stream << "\n";
  });
}

bool Compilation::phase(const std::string &name, llvm::function_ref<void(OpPassManager &)> passes, ExitCode onFailure,
                        llvm::function_ref<void(size_t program)> before) {
  for (current = 0; current < programs.size(); ++current) {
    begin(programs[current].labelOf(name));
    before(current);
    PassManager manager(&context);
    passes(manager);
    ChangeGate::Phase limited(gate.get(), name);
    if (failed(manager.run(*programs[current].module)))
      return fail(onFailure, result.errors.empty() ? who() + "phase '" + name + "' failed without a reason" : "");
    if (!runAdded(name) || !withinMemory() || !dump(name))
      return false;
  }
  current = 0;
  return true;
}

/// Runs the passes that were asked for behind a phase, on the program at hand.
bool Compilation::runAdded(const std::string &phase) {
  const std::string *wrong = runPipelines(options, phase, *programs[current].module);
  return !wrong || fail(ExitCode::usage, who() + "pass pipeline '" + *wrong + "' failed behind phase '" + phase + "'");
}

SmallVector<func::FuncOp> Compilation::mains() {
  SmallVector<func::FuncOp> functions;
  for (Program &program : programs)
    if (auto main = program.module->lookupSymbol<func::FuncOp>("main"))
      functions.push_back(main);
  return functions;
}

bool Compilation::addPrograms() {
  if (!options.programs && options.generation == CompileOptions::Generation::off)
    return true;
  begin("programs");
  std::vector<NewProgram> added;
  std::string error = options.programs ? options.programs(main(), added) : "";
  if (error.empty() && options.generation != CompileOptions::Generation::off) {
    result.isDecoder = isDecoder(main());
    result.whyNotGeneration = result.isDecoder
                                  ? addGenerationPrograms(main(), added)
                                  : "it is not a decoder: none of its outputs [batch, sequence, N] has a number for each of the N rows of a "
                                    "table that tokens [batch, sequence] look up";
    result.generates = result.whyNotGeneration.empty();
    if (!result.generates && options.generation == CompileOptions::Generation::on)
      error = "the model can't generate text: " + result.whyNotGeneration;
  }
  if (error.empty())
    error = lathe::addPrograms(added, programs);
  if (!error.empty())
    return fail(ExitCode::invalid_model, error);
  for (current = 1; current < programs.size(); ++current)
    if (!dump("import"))
      return false;
  current = 0;
  return withinMemory();
}

void Compilation::describeModel() {
  auto main = this->main().lookupSymbol<func::FuncOp>("main");
  if (!main)
    return;
  ShapeContext shapes;
  auto describeValue = [&](Value value, Attribute name) {
    CompileResult::Value entry;
    entry.name = name ? cast<StringAttr>(name).str() : "";
    entry.type = typeName(cast<RankedTensorType>(value.getType()).getElementType());
    if (auto shape = shapes.shapeOf(value); succeeded(shape))
      for (const SymExpr &dim : *shape)
        entry.shape.push_back(dim.str());
    return entry;
  };
  for (BlockArgument argument : main.getArguments())
    result.inputs.push_back(describeValue(argument, main.getArgAttr(argument.getArgNumber(), LatheDialect::kNameAttr)));
  for (OpOperand &operand : main.getBody().front().getTerminator()->getOpOperands())
    result.outputs.push_back(
        describeValue(operand.get(), main.getResultAttr(operand.getOperandNumber(), LatheDialect::kNameAttr)));
  main.walk([&](Operation *op) {
    if (isa<LatheDialect>(op->getDialect()) && !isa<ConstantOp, WeightOp, SymbolOp>(op))
      ++result.operations;
    if (auto weight = dyn_cast<WeightOp>(op)) {
      auto type = cast<RankedTensorType>(weight.getType());
      result.weightsBytes += type.getNumElements() * std::max<int64_t>(type.getElementTypeBitWidth() / 8, 1);
    }
  });
}

bool Compilation::toSimplified(bool explain) {
  begin("import");
  ImportOptions importing = options.import;
  importing.keep = [this](const void *data, uint64_t size, std::string &problem) -> std::optional<ImportOptions::Kept> {
    std::optional<uint64_t> offset = files.append(data, size, problem);
    return offset ? std::optional(ImportOptions::Kept{kMadeFile.str(), *offset}) : std::nullopt;
  };
  ImportResult imported = importOnnx(context, model, importing, options.moreOutputs);
  result.info = imported.info;
  result.attached = imported.attached;
  result.unsupported = imported.unsupported;
  if (!imported.module || !imported.error.empty() || !imported.unsupported.empty()) {
    std::string &error = imported.unsupported.empty() ? imported.error : imported.otherErrors;
    if (!error.empty())
      result.errors.insert(result.errors.begin(), error);
    // A file that is not there is a mistake on the command line, not a bad model.
    return fail(!imported.badOptions && llvm::sys::fs::exists(model) ? ExitCode::invalid_model : ExitCode::usage, "");
  }
  programs.push_back({"main", std::move(imported.module)});
  files.setFolder(weightFolder());
  if (!withinMemory())
    return false;
  describeModel();
  if (failed(verify(main())))
    return fail(ExitCode::invalid_model, "");
  {
    ChangeGate::Phase limited(gate.get(), "import");
    if (!widenFloats() || !runAdded("import"))
      return false;
  }
  if (!dump("import") || (!explain && !addPrograms()))
    return false;
  if (options.calibration && options.calibration->hasTokens())
    this->imported = main().clone();
  return phase("simplify", simplify::buildPipeline, ExitCode::invalid_model);
}

bool Compilation::toFused(bool explain) {
  if (!toSimplified(explain))
    return false;
  if (explain)
    fusion::collectStated(main(), result.findings);
  return phase(
      "fuse", [&](OpPassManager &passes) { fusion::buildPipeline(passes, explain); }, ExitCode::invalid_model);
}

bool Compilation::toKernels() {
  if (!toFused())
    return false;
  if (!compressWeights() || !narrowWeights())
    return false;
  for (Program &program : programs) // before the types that products multiply in become matters of kernels
    if (auto function = program.module->lookupSymbol<func::FuncOp>("main"))
      program.work = matmulOperations(function);
  return select();
}

/// Programs for CUDA beside those for the processor, or in their place.
void Compilation::addDevices() {
  if (!options.forCuda)
    return;
  for (size_t i = 0, count = programs.size(); i < count; ++i) {
    if (options.forCpu) {
      Program copy{programs[i].name, programs[i].module->clone()};
      copy.work = programs[i].work;
      copy.phases = programs[i].phases;
      programs.push_back(std::move(copy));
    }
    programs[options.forCpu ? count + i : i].isCuda = true;
  }
}

bool Compilation::select() {
  addDevices();
  if (std::string error; !options.reference && !storeScales(mains(), files, error))
    return fail(ExitCode::invalid_model, error);
  auto select = [&](OpPassManager &passes) {
    bool isCuda = programs[current].isCuda;
    if (!options.reference) {
      passes.addNestedPass<func::FuncOp>(cpu::createCpuWideProductsPass()); // weights of which are what the next one reads
      passes.addNestedPass<func::FuncOp>(cpu::createCpuCompressedProductsPass({/*device=*/isCuda, isCuda ? arithmetic() : ""}));
      passes.addNestedPass<func::FuncOp>(cpu::createCpuIntegerProductsPass());
    }
    if (isCuda)
      passes.addNestedPass<func::FuncOp>(precision::createNarrowOperandsPass());
    passes.addPass(cpu::createCpuSelectKernelsPass({/*fuse=*/!options.reference, /*library=*/!options.reference, /*device=*/isCuda}));
    passes.addPass(createCanonicalizerPass());
    passes.addPass(createCSEPass());
  };
  // Each program begins with the constants of those before it, so that the last one's table is that of all.
  auto handOver = [&](size_t program) {
    if (program > 0)
      (*programs[program].module)->setAttr(kernel::kConstantsAttr, (*programs[program - 1].module)->getAttr(kernel::kConstantsAttr));
  };
  if (!phase("select", select, ExitCode::invalid_model, handOver))
    return false;
  for (Program &program : programs) {
    auto table = [&](StringRef name) { return (*program.module)->getAttrOfType<ArrayAttr>(name); };
    program.constants = table(kernel::kConstantsAttr).size();
    for (auto entry : table(kernel::kKernelsAttr).getAsRange<DictionaryAttr>()) {
      ++(cast<StringAttr>(entry.get("kind")).getValue() == "generated" ? result.kernels : result.matmuls);
      if (auto dense = entry.getAs<ArrayAttr>("dense"))
        for (auto name : dense.getAsRange<StringAttr>())
          if (!llvm::is_contained(result.decompressed, name.getValue()))
            result.decompressed.push_back(name.str());
    }
  }
  return true;
}

bool Compilation::explain() {
  if (!toFused(/*explain=*/true))
    return false;
  fusion::collectFound(main(), result.findings);
  return true;
}

/// What users read of the programs: that of the model is described by the manifest itself.
void Compilation::describePrograms(ordered_json &manifest) {
  for (const Program &program : programs) {
    ordered_json description = ordered_json::object();
    bool isFirst = &program == &programs.front();
    if (!isFirst)
      description["name"] = program.name;
    if (program.isCuda)
      description["device"] = "cuda";
    describeProgram(*program.module, description);
    description["work"] = ordered_json::object();
    for (const auto &[type, operations] : program.work)
      description["work"][type] = operations.str();
    description["code"] = ordered_json::array();
    if (isFirst)
      manifest.update(description);
    else
      manifest["programs"].push_back(std::move(description));
  }
}

/// Makes threads of the kernels of programs for CUDA, and their code, or PTX as text, where it ends. False on failure.
bool Compilation::takeKernels(ordered_json &manifest) {
  if (!options.forCuda)
    return true;
  kernels.emplace(context);
  std::string error;
  for (current = 0; current < programs.size(); ++current) {
    if (!programs[current].isCuda)
      continue;
    begin(programs[current].labelOf("threads"));
    if (!kernels->take(programs[current], current == 0 ? manifest : manifest["programs"][current - 1]))
      return fail(ExitCode::internal, result.errors.empty() ? who() + "phase 'threads' failed without a reason" : "");
    if (!withinMemory() || !dump("threads"))
      return false;
  }
  current = 0;
  begin("code for cuda");
  if (!kernels->compile(options, options.emit.empty() || options.emit == "artifact", error))
    return fail(ExitCode::invalid_model, error);
  return withinMemory();
}

/// Compiles the programs for each instruction set; or writes the code of `main` for one of them as text or as an object file, and ends
/// there. False when that is all, or on failure.
bool Compilation::makeCode(const std::string &output, ordered_json &manifest) {
  std::vector<cpu::InstructionSet> isas;
  std::string names;
  bool isText = options.emit == "llvm" || options.emit == "obj"; // of one instruction set
  // What is to be slow and clear runs anywhere with the code of the first, in half of the time to compile it.
  bool isSingle = isText || options.reference;
  for (const cpu::InstructionSet &isa : cpu::instructionSets())
    if ((options.isas.empty() || llvm::is_contained(options.isas, isa.name)) && !(isSingle && !isas.empty())) {
      names += (isas.empty() ? "" : ", ") + std::string(isa.name);
      isas.push_back(isa);
    }
  begin("code for " + names);
  cpu::CodeText text = options.emit == "llvm" ? cpu::CodeText::llvmIr : isText ? cpu::CodeText::object : cpu::CodeText::none;
  SmallVector<ModuleOp> modules;
  for (const Program &program : programs)
    if (!isText || &program == &programs.front())
      modules.push_back(*program.module);
  compiled = cpu::compileImages(modules, isas, options.level, options.jobs, text);
  for (auto [i, made] : llvm::enumerate(compiled)) {
    const Program &program = programs[i / isas.size()];
    const cpu::InstructionSet &isa = isas[i % isas.size()];
    if (!made.image)
      return fail(ExitCode::invalid_model, (program.isMain() ? "" : "program '" + program.name + "': ") + made.error);
    if (isText) {
      writeText(output, [&](llvm::raw_ostream &stream) {
        stream << (options.emit == "llvm" ? StringRef(made.llvmIr) : StringRef(made.object.data(), made.object.size()));
      });
      return false;
    }
    bool isFirst = &program == &programs.front();
    std::string section = (isFirst || !program.isCuda ? "code." : "host.") + (isFirst ? "" : program.name + ".") + isa.name;
    ordered_json &description = isFirst ? manifest : manifest["programs"][i / isas.size() - 1];
    description["code"].push_back({{"isa", isa.name}, {"section", section}, {"plan", made.image->plan}, {"run", made.image->run}});
    sections.push_back({section, made.image->bytes.data(), made.image->bytes.size()});
  }
  return withinMemory();
}

bool Compilation::writeReport(const ordered_json &manifest, ArrayRef<artifact::ConstantSource> constants) {
  if (!wantsReport())
    return true;
  auto kernelsOf = [&](const ordered_json &program) {
    ordered_json list = program["kernels"];
    if (kernels)
      kernels->describeResources(list);
    if (program.value("device", "cpu") == "cuda")
      CudaKernels::describeProducts(list, manifest["constants"]);
    return list;
  };
  ordered_json report = {{"kernels", kernelsOf(manifest)}, {"weights_bytes", manifest["weights_bytes"]}};
  report["precision"] = ordered_json::array();
  for (const PrecisionPlan::Decision &decision : result.precision.decisions) {
    report["precision"].push_back({{"weight", decision.weight}, {"type", decision.type}});
    if (!decision.reason.empty())
      report["precision"].back()["reason"] = decision.reason;
  }
  if (result.attached.quantized + result.attached.dense > 0)
    report["checkpoint"] = {{"quantized", result.attached.quantized}, {"dense", result.attached.dense}, {"kept", result.attached.kept}};
  report["stored"] = ordered_json::array();
  for (auto [i, source] : llvm::enumerate(constants))
    if (ordered_json entry = storedJson(manifest["constants"][i], source.size, result.compression); !entry.is_null())
      report["stored"].push_back(std::move(entry));
  report["decompressed"] = result.decompressed;
  if (!result.compression.isEmpty())
    report["compression"] = reportJson(result.compression);
  if (manifest.contains("programs"))
    for (const ordered_json &program : manifest["programs"])
      report["programs"].push_back({{"name", program["name"]}, {"kernels", kernelsOf(program)}});
  if (options.tellsReport)
    result.report = report.dump(2) + "\n";
  return options.report.empty() ||
         writeText(options.report, [&](llvm::raw_ostream &stream) { stream << report.dump(2) << "\n"; });
}

/// What was compiled, how, and for what.
void Compilation::describeCompilation(ordered_json &manifest) {
  manifest["producer"] = "lathe " LATHE_VERSION;
  manifest["abi_version"] = LATHE_ABI_VERSION;
  manifest["model"] = {{"name", result.info.name}, {"sha256", result.info.sha256}, {"opset", result.info.opset}};
  manifest["options"] = {{"target", targetName()}, {"optimization", options.level}, {"precision", options.precision}};
  for (const PhasePipeline &pipeline : options.pipelines)
    manifest["options"]["pipelines"].push_back(pipeline.phase + "=" + pipeline.text);
  manifest["devices"] = ordered_json::array();
  if (options.forCpu)
    manifest["devices"].push_back("cpu");
  if (options.forCuda)
    manifest["devices"].push_back("cuda");
}

void Compilation::toArtifact(const std::string &output) {
  ordered_json manifest;
  describeCompilation(manifest);
  std::vector<artifact::ConstantSource> constants;
  std::string error;
  if (!describeConstants(*programs.back().module, files, manifest, constants, error))
    return void(fail(ExitCode::invalid_model, error));
  for (size_t i = 1; i < programs.size(); ++i)
    for (size_t constant = programs[i - 1].constants; constant < programs[i].constants; ++constant)
      manifest["constants"][constant]["program"] = programs[i].name;
  describePrograms(manifest);
  if (!tellHalfZeros(programs, files, manifest, error))
    return void(fail(ExitCode::invalid_model, error));
  if (!phase(
          "plan", [](OpPassManager &passes) { passes.addPass(memory::createPlanArenaPass()); }, ExitCode::internal) ||
      !takeKernels(manifest))
    return;
  if (options.emit == "ptx") {
    writeText(output, [&](llvm::raw_ostream &stream) { stream << kernels->text(); });
    return;
  }
  if (!phase(
          "llvm", [&](OpPassManager &passes) { cpu::addLoweringPasses(passes, options.level > 0 && !options.reference && !programs[current].isCuda); },
          ExitCode::internal))
    return;
  if (options.emit == "mlir") {
    writeText(output, [&](llvm::raw_ostream &stream) { main().print(stream); });
    return;
  }
  if (!makeCode(output, manifest))
    return;
  if (kernels)
    kernels->describe(manifest, sections);
  for (const CompileOptions::Document &document : options.documents) {
    std::string section = "document." + document.name;
    manifest["documents"].push_back({{"name", document.name}, {"format", document.format}, {"section", section}});
    // With the zero behind the text, which readers of texts want.
    sections.push_back({section, document.bytes.c_str(), document.bytes.size() + 1, artifact::SectionKind::document});
  }
  const std::string &recipe = result.compression.recipe.empty() ? options.recipe : result.compression.recipe;
  manifest["recipe"] = recipe.empty() ? ordered_json() : ordered_json::parse(recipe);
  if (!writeReport(manifest, constants))
    return;
  begin("write");
  auto held = watch.holdFiles();
  auto written = [&](uint64_t bytes, uint64_t total) {
    if (options.progress)
      options.progress("write, " + sizeText(bytes) + " of " + sizeText(total));
    return !watch.exceeded();
  };
  if (!artifact::writeArtifact(output, manifest, sections, constants, &error, written)) {
    if (withinMemory())
      fail(ExitCode::internal, error);
  }
}

/// What was finished is of use to a run after one that was killed, ran out of memory or could not write.
void Compilation::forgetFinished() {
  if (result.code != ExitCode::over_budget && result.code != ExitCode::internal)
    resume.remove();
}

/// The model as ONNX. Other runtimes know what fused operations are made of, and fuse that themselves; only what is compressed was fused,
/// so that its layers are found.
void Compilation::toOnnx(const std::string &output) {
  if (options.precision != "f32")
    return void(fail(ExitCode::usage, "the precision is of artifacts: expects f32 with --emit onnx, got '" + options.precision + "'"));
  if (options.recipe.empty() ? !toSimplified() : !toFused() || !compressWeights())
    return;
  begin("write");
  ExportOptions exporting;
  exporting.weightBytes = [&](WeightOp weight, uint64_t size, std::string &error) {
    return files.bytes(weight.getFile(), static_cast<uint64_t>(weight.getOffset()), size, error);
  };
  std::string error;
  bool written = false, isUnwritable = false;
  {
    auto held = watch.holdFiles(); // as writing the report does, too
    written = succeeded(exportOnnx(main(), output, exporting, error, &isUnwritable));
  }
  if (!written)
    return void(fail(isUnwritable ? ExitCode::internal : ExitCode::invalid_model, error));
  writeReport({{"kernels", ordered_json::array()}, {"weights_bytes", result.weightsBytes}});
}

CompileResult checkModel(const std::string &model, const CompileOptions &options) {
  Compilation compilation(model, options);
  compilation.toKernels();
  return std::move(compilation.result);
}

CompileResult explainModel(const std::string &model, const CompileOptions &options) {
  Compilation compilation(model, options);
  compilation.explain();
  return std::move(compilation.result);
}

/// What is wrong with the recipe, whatever the model; empty where nothing is.
static std::string checkRecipe(const CompileOptions &options) {
  std::string error;
  std::optional<Recipe> recipe = options.recipe.empty() ? Recipe() : parseRecipe(options.recipe, error);
  if (!recipe)
    return error;
  return options.emit == "onnx" ? whyNotOnnx(*recipe) : "";
}

CompileResult compileModel(const std::string &model, const std::string &output, const CompileOptions &options) {
  CompileOptions own = options;
  // Before anything that takes time.
  std::string error = checkRecipe(options);
  if (error.empty())
    error = preparePasses(options);
  if (!error.empty()) {
    CompileResult result;
    result.code = ExitCode::usage;
    result.errors.push_back(error);
    return result;
  }
  if (own.emit == "onnx") // is the model alone
    own.generation = CompileOptions::Generation::off;
  Compilation compilation(model, own);
  if (!own.recipe.empty())
    compilation.resumeAt(output);
  if (own.emit == "onnx")
    compilation.toOnnx(output);
  else if (compilation.toKernels())
    compilation.toArtifact(output);
  compilation.forgetFinished();
  return std::move(compilation.result);
}

} // namespace lathe
