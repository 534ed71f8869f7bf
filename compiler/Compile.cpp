//===- Compile.cpp - From a model to an artifact --------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/Compile.h"
#include "backends/cpu/compiler/CodeImage.h"
#include "backends/cpu/compiler/Passes.h"
#include "compiler/Dialects.h"
#include "compiler/Manifest.h"
#include "compiler/MemoryWatch.h"
#include "compiler/Precision.h"
#include "compiler/Work.h"
#include "frontends/onnx/Import.h"
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

/// One compilation: its context, its diagnostics and its result.
class Compilation {
public:
  Compilation(const std::string &model, const CompileOptions &options)
      : model(model), options(options), watch(options.maxMemory, options.overBudget), context(MLIRContext::Threading::DISABLED) {
    DialectRegistry registry;
    registerDialects(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
    context.getDiagEngine().registerHandler([this](Diagnostic &diagnostic) {
      if (diagnostic.getSeverity() == DiagnosticSeverity::Error)
        result.errors.push_back(describe(diagnostic));
      return success();
    });
  }

  bool explain();
  bool toKernels();
  void toArtifact(const std::string &output);
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
  bool phase(const std::string &name, llvm::function_ref<void(OpPassManager &)> passes, ExitCode onFailure);
  bool dump(const std::string &name);
  bool writeText(const std::string &path, llvm::function_ref<void(llvm::raw_ostream &)> write);
  bool narrowWeights();
  bool toFused(bool explain = false);
  void describeModel();
  std::string weightFolder() {
    auto attribute = (*module)->getAttrOfType<StringAttr>(LatheDialect::kModelDirAttr);
    return attribute ? attribute.str() : std::string();
  }

  const std::string &model;
  const CompileOptions &options;
  MemoryWatch watch;
  MLIRContext context;
  OwningOpRef<ModuleOp> module;
  std::map<std::string, SymExpr> work;
  int phases = 0;
};

bool Compilation::writeText(const std::string &path, llvm::function_ref<void(llvm::raw_ostream &)> write) {
  auto held = watch.holdFiles();
  std::error_code code;
  std::string temporary = path + ".tmp" + std::to_string(getpid());
  {
    llvm::raw_fd_ostream stream(temporary, code);
    if (!code) {
      write(stream);
      stream.flush();
      code = stream.error();
      stream.clear_error();
    }
  }
  if (!code)
    code = llvm::sys::fs::rename(temporary, path);
  if (!code)
    return true;
  llvm::sys::fs::remove(temporary);
  return fail(ExitCode::internal, "can't write '" + path + "': " + code.message());
}

bool Compilation::dump(const std::string &name) {
  ++phases;
  if (options.dumpDir.empty())
    return true;
  if (auto code = llvm::sys::fs::create_directories(options.dumpDir))
    return fail(ExitCode::internal, "can't make the folder '" + options.dumpDir + "': " + code.message());
  char number[8];
  snprintf(number, sizeof number, "%02d", phases);
  llvm::SmallString<256> path(options.dumpDir);
  llvm::sys::path::append(path, std::string(number) + "-" + name + ".mlir");
  return writeText(std::string(path), [&](llvm::raw_ostream &stream) {
    OpPrintingFlags flags;
    flags.enableDebugInfo();
    module->print(stream, flags);
    stream << "\n";
  });
}

bool Compilation::phase(const std::string &name, llvm::function_ref<void(OpPassManager &)> passes, ExitCode onFailure) {
  begin(name);
  PassManager manager(&context);
  passes(manager);
  if (failed(manager.run(*module)))
    return fail(onFailure, result.errors.empty() ? "phase '" + name + "' failed without a reason" : "");
  return withinMemory() && dump(name);
}

void Compilation::describeModel() {
  auto main = module->lookupSymbol<func::FuncOp>("main");
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

bool Compilation::narrowWeights() {
  auto main = module->lookupSymbol<func::FuncOp>("main");
  if (options.precision == "f32" || !main)
    return true;
  begin("precision");
  WeightFiles files(weightFolder());
  std::string error;
  if (!choosePrecision(main, files, options.precision, result.precision, error))
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
      [&](OpPassManager &passes) { passes.addNestedPass<func::FuncOp>(precision::createNarrowWeightsPass(narrow)); },
      ExitCode::internal);
}

bool Compilation::toFused(bool explain) {
  begin("import");
  ImportResult imported = importOnnx(context, model, options.import);
  result.info = imported.info;
  result.unsupported = imported.unsupported;
  if (!imported.module || !imported.error.empty() || !imported.unsupported.empty()) {
    std::string &error = imported.unsupported.empty() ? imported.error : imported.otherErrors;
    if (!error.empty())
      result.errors.insert(result.errors.begin(), error);
    // A file that is not there is a mistake on the command line, not a bad model.
    return fail(!imported.badOptions && llvm::sys::fs::exists(model) ? ExitCode::invalid_model : ExitCode::usage, "");
  }
  module = std::move(imported.module);
  if (!withinMemory())
    return false;
  describeModel();
  if (failed(verify(*module)))
    return fail(ExitCode::invalid_model, "");
  if (!dump("import"))
    return false;
  if (!phase("simplify", simplify::buildPipeline, ExitCode::invalid_model))
    return false;
  if (explain)
    fusion::collectStated(*module, result.findings);
  return phase(
      "fuse", [&](OpPassManager &passes) { fusion::buildPipeline(passes, explain); }, ExitCode::invalid_model);
}

bool Compilation::toKernels() {
  if (!toFused())
    return false;
  if (auto main = module->lookupSymbol<func::FuncOp>("main"))
    work = matmulOperations(main);
  if (!narrowWeights())
    return false;
  auto select = [&](OpPassManager &passes) {
    if (!options.reference) {
      passes.addNestedPass<func::FuncOp>(cpu::createCpuIntegerProductsPass());
      passes.addNestedPass<func::FuncOp>(cpu::createCpuWideProductsPass());
    }
    cpu::CpuSelectKernelsPassOptions selection;
    selection.fuse = selection.library = !options.reference;
    passes.addPass(cpu::createCpuSelectKernelsPass(selection));
    passes.addPass(createCanonicalizerPass());
    passes.addPass(createCSEPass());
  };
  if (!phase("select", select, ExitCode::invalid_model))
    return false;
  for (auto entry : (*module)->getAttrOfType<ArrayAttr>(kernel::kKernelsAttr).getAsRange<DictionaryAttr>())
    ++(cast<StringAttr>(entry.get("kind")).getValue() == "generated" ? result.kernels : result.matmuls);
  return true;
}

bool Compilation::explain() {
  if (!toFused(/*explain=*/true))
    return false;
  fusion::collectFound(*module, result.findings);
  return true;
}

void Compilation::toArtifact(const std::string &output) {
  WeightFiles files(weightFolder());
  ordered_json manifest;
  manifest["producer"] = "lathe " LATHE_VERSION;
  manifest["abi_version"] = LATHE_ABI_VERSION;
  manifest["model"] = {{"name", result.info.name}, {"sha256", result.info.sha256}, {"opset", result.info.opset}};
  manifest["options"] = {{"target", options.reference ? "reference" : "cpu"}, {"optimization", options.level}, {"precision", options.precision}};
  manifest["devices"] = {"cpu"};
  manifest["work"] = ordered_json::object();
  for (const auto &[type, operations] : work)
    manifest["work"][type] = operations.str();
  std::vector<artifact::ConstantSource> constants;
  std::string error;
  if (!describeProgram(*module, files, manifest, constants, error))
    return void(fail(ExitCode::invalid_model, error));

  if (!phase(
          "plan", [](OpPassManager &passes) { passes.addPass(memory::createPlanArenaPass()); }, ExitCode::internal) ||
      !phase(
          "llvm", [&](OpPassManager &passes) { cpu::addLoweringPasses(passes, options.level > 0 && !options.reference); },
          ExitCode::internal))
    return;
  if (options.emit == "mlir") {
    writeText(output, [&](llvm::raw_ostream &stream) { module->print(stream); });
    return;
  }
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
  std::vector<cpu::CompiledCode> compiled = cpu::compileImages(*module, isas, options.level, options.jobs, text);
  std::vector<artifact::CodeImage> code;
  manifest["code"] = ordered_json::array();
  for (auto [isa, result] : llvm::zip_equal(isas, compiled)) {
    if (!result.image)
      return void(fail(ExitCode::invalid_model, result.error));
    if (isText) {
      writeText(output, [&](llvm::raw_ostream &stream) {
        stream << (options.emit == "llvm" ? StringRef(result.llvmIr) : StringRef(result.object.data(), result.object.size()));
      });
      return;
    }
    std::string section = std::string("code.") + isa.name;
    manifest["code"].push_back({{"isa", isa.name}, {"section", section}, {"plan", result.image->plan}, {"run", result.image->run}});
    code.push_back({section, result.image->bytes.data(), result.image->bytes.size()});
  }
  if (!withinMemory())
    return;
  manifest["recipe"] = nullptr;
  if (!options.report.empty()) {
    ordered_json report = {{"kernels", manifest["kernels"]}, {"weights_bytes", manifest["weights_bytes"]}};
    report["precision"] = ordered_json::array();
    for (const PrecisionPlan::Decision &decision : result.precision.decisions) {
      report["precision"].push_back({{"weight", decision.weight}, {"type", decision.type}});
      if (!decision.reason.empty())
        report["precision"].back()["reason"] = decision.reason;
    }
    if (!writeText(options.report, [&](llvm::raw_ostream &stream) { stream << report.dump(2) << "\n"; }))
      return;
  }
  begin("write");
  auto held = watch.holdFiles();
  auto written = [&](uint64_t bytes, uint64_t total) {
    if (options.progress)
      options.progress("write, " + sizeText(bytes) + " of " + sizeText(total));
    return !watch.exceeded();
  };
  if (!artifact::writeArtifact(output, manifest, code, constants, &error, written)) {
    if (withinMemory())
      fail(ExitCode::internal, error);
  }
}

} // namespace

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

CompileResult compileModel(const std::string &model, const std::string &output, const CompileOptions &options) {
  Compilation compilation(model, options);
  if (compilation.toKernels())
    compilation.toArtifact(output);
  return std::move(compilation.result);
}

} // namespace lathe
