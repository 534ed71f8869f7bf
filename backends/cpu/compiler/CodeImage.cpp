//===- CodeImage.cpp - Flat machine code from an LLVM dialect module ------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/CodeImage.h"
#include "backends/cpu/compiler/ExpandMath.h"
#include "backends/cpu/compiler/Passes.h"
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/FuncToLLVM/ConvertFuncToLLVMPass.h"
#include "mlir/Conversion/IndexToLLVM/IndexToLLVM.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/MemRefToLLVM/MemRefToLLVM.h"
#include "mlir/Conversion/ReconcileUnrealizedCasts/ReconcileUnrealizedCasts.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVMPass.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Object/ELFObjectFile.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Transforms/IPO/Internalize.h"
#include "llvm/Transforms/IPO/MergeFunctions.h"
#include <atomic>
#include <mutex>
#include <thread>

using namespace mlir;

namespace lathe::cpu {

ArrayRef<InstructionSet> instructionSets() {
  static const InstructionSet sets[] = {
      {"avx2", "x86-64-v3", ""},
      {"avx512", "x86-64-v4", "-prefer-256-bit"},
  };
  return sets;
}

namespace {

/// Transcendental functions as polynomials: generated code calls no library.
struct ExpandMath : PassWrapper<ExpandMath, OperationPass<func::FuncOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(ExpandMath)
  StringRef getArgument() const override { return "cpu-expand-math"; }
  void runOnOperation() override {
    RewritePatternSet expand(&getContext());
    populateExpandMathPatterns(expand);
    (void)applyPatternsAndFoldGreedily(getOperation(), std::move(expand));
    RewritePatternSet patterns(&getContext());
    populateMathPolynomialApproximationPatterns(patterns);
    (void)applyPatternsAndFoldGreedily(getOperation(), std::move(patterns));
  }
};

/// Numbers of bf16 as their bits. Arithmetic with them was made one of f32 before; LLVM makes what is left, choices
/// and the values of branches, by way of f32, too, with functions of its library, which generated code lacks.
struct BitsOfBF16 : PassWrapper<BitsOfBF16, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(BitsOfBF16)
  StringRef getArgument() const override { return "cpu-bits-of-bf16"; }
  void runOnOperation() override {
    Type bits = IntegerType::get(&getContext(), 16);
    AttrTypeReplacer replacer;
    replacer.addReplacement([=](BFloat16Type) { return bits; });
    replacer.addReplacement([=](FloatAttr attr) -> std::optional<Attribute> {
      if (!attr.getType().isBF16())
        return std::nullopt;
      return IntegerAttr::get(bits, attr.getValue().bitcastToAPInt());
    });
    replacer.addReplacement([=](DenseElementsAttr attr) -> std::optional<Attribute> {
      if (!attr.getElementType().isBF16())
        return std::nullopt;
      return attr.bitcast(bits);
    });
    // The module's own tables say what is stored.
    for (Operation &op : *getOperation().getBody())
      replacer.recursivelyReplaceElementsIn(&op, /*replaceAttrs=*/true, /*replaceLocs=*/false, /*replaceTypes=*/true);
  }
};

} // namespace

void addMathPasses(OpPassManager &passes) {
  passes.addNestedPass<func::FuncOp>(std::make_unique<ExpandMath>());
  arith::ArithExpandOpsPassOptions expansion;
  expansion.includeBf16 = true;
  passes.addPass(arith::createArithExpandOpsPass(expansion));
  passes.addPass(createCSEPass());
  passes.addPass(createConvertSCFToCFPass());
}

void addLLVMPasses(OpPassManager &passes) {
  passes.addPass(createFinalizeMemRefToLLVMConversionPass());
  passes.addPass(createConvertMathToLLVMPass());
  passes.addPass(createArithToLLVMConversionPass());
  passes.addPass(createConvertControlFlowToLLVMPass());
  passes.addPass(createConvertIndexToLLVMPass());
  passes.addPass(createConvertFuncToLLVMPass());
  passes.addPass(createReconcileUnrealizedCastsPass());
  passes.addPass(std::make_unique<BitsOfBF16>());
}

void addLoweringPasses(OpPassManager &passes, bool vectorize) {
  passes.addPass(createCanonicalizerPass());
  passes.addPass(createCSEPass());
  if (vectorize) {
    passes.addNestedPass<func::FuncOp>(createCpuVectorizeLoopsPass());
    passes.addPass(createCanonicalizerPass());
    passes.addPass(createCSEPass());
  }
  passes.addPass(createKernelToLLVMPass());
  addMathPasses(passes);
  passes.addPass(createConvertVectorToLLVMPass());
  addLLVMPasses(passes);
}

namespace {

/// The allocated sections of an object file, laid out one behind another, and its relocations, all of which are relative.
class FlatObject {
public:
  explicit FlatObject(std::string &error) : error(error) {}

  /// What it defines of `entries` gets an offset.
  std::optional<FlatCode> flatten(ArrayRef<char> object, ArrayRef<std::string> entries) {
    auto parsed = File::create(llvm::MemoryBufferRef(StringRef(object.data(), object.size()), "code"));
    if (!parsed) {
      fail(parsed.takeError());
      return std::nullopt;
    }
    file = &*parsed;
    if (!place() || !relocate() || !findEntries(entries))
      return std::nullopt;
    return std::move(image);
  }

private:
  using File = llvm::object::ELFObjectFile<llvm::object::ELF64LE>;

  bool fail(const std::string &what) {
    error = what;
    return false;
  }
  bool fail(llvm::Error reason) {
    return fail("the generated object file is not understood: " + llvm::toString(std::move(reason)));
  }

  bool place() {
    for (const llvm::object::ELFSectionRef section : file->sections()) {
      uint64_t flags = section.getFlags();
      if (!(flags & llvm::ELF::SHF_ALLOC) || section.getSize() == 0)
        continue;
      auto name = section.getName();
      if (!name)
        return fail(name.takeError());
      if (flags & llvm::ELF::SHF_WRITE)
        return fail("generated code has writable data in section " + name->str());
      if (*name == ".eh_frame")
        continue; // generated code does not unwind
      uint64_t alignment = std::max<uint64_t>(section.getAlignment().value(), 64);
      image.bytes.resize(llvm::alignTo(image.bytes.size(), alignment), '\xcc');
      auto contents = section.getContents();
      if (!contents)
        return fail(contents.takeError());
      places[section.getIndex()] = image.bytes.size();
      image.bytes.insert(image.bytes.end(), contents->begin(), contents->end());
    }
    return true;
  }

  std::optional<uint64_t> offsetOf(const llvm::object::SymbolRef &symbol) const {
    auto section = symbol.getSection();
    if (!section || *section == file->section_end()) {
      llvm::consumeError(section.takeError());
      return std::nullopt;
    }
    auto it = places.find((*section)->getIndex());
    auto value = symbol.getValue();
    if (it == places.end() || !value) {
      llvm::consumeError(value.takeError());
      return std::nullopt;
    }
    return it->second + *value;
  }

  bool relocate() {
    for (const llvm::object::ELFSectionRef section : file->sections()) {
      auto relocated = section.getRelocatedSection();
      if (!relocated)
        return fail(relocated.takeError());
      if (*relocated == file->section_end() || !places.count((*relocated)->getIndex()))
        continue;
      for (const llvm::object::ELFRelocationRef relocation : section.relocations())
        if (!apply(relocation, places[(*relocated)->getIndex()]))
          return false;
    }
    return true;
  }

  bool apply(const llvm::object::ELFRelocationRef &relocation, uint64_t section) {
    auto addend = relocation.getAddend();
    if (!addend)
      return fail(addend.takeError());
    auto name = relocation.getSymbol()->getName();
    std::string text = name ? name->str() : std::string("?");
    llvm::consumeError(name.takeError());
    auto target = offsetOf(*relocation.getSymbol());
    uint64_t type = relocation.getType();
    if (!target)
      return fail("generated code calls '" + text + "', which the runtime does not offer");
    if (type != llvm::ELF::R_X86_64_PC32 && type != llvm::ELF::R_X86_64_PLT32)
      return fail("generated code has a relocation of type " + std::to_string(type) + " against '" + text + "'");
    uint64_t where = section + relocation.getOffset();
    int64_t value = static_cast<int64_t>(*target) + *addend - static_cast<int64_t>(where);
    if (where + 4 > image.bytes.size() || value != static_cast<int32_t>(value))
      return fail("generated code is too large");
    auto narrow = static_cast<int32_t>(value);
    std::memcpy(image.bytes.data() + where, &narrow, 4);
    return true;
  }

  bool findEntries(ArrayRef<std::string> entries) {
    for (const llvm::object::ELFSymbolRef symbol : file->symbols()) {
      auto name = symbol.getName();
      if (!name) {
        llvm::consumeError(name.takeError());
        continue;
      }
      if (auto offset = offsetOf(symbol); offset && llvm::is_contained(entries, name->str()))
        image.entries[name->str()] = *offset;
    }
    return image.entries.size() == entries.size() || fail("generated code has no entry points");
  }

  std::string &error;
  const File *file = nullptr;
  FlatCode image;
  llvm::DenseMap<uint64_t, uint64_t> places; ///< of sections, by their indices, in the image
};

} // namespace

static void initializeTarget() {
  static std::once_flag initialized;
  std::call_once(initialized, [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
  });
}

std::optional<FlatCode> compileFlat(llvm::Module &module, const InstructionSet &isa, unsigned level, ArrayRef<std::string> entries,
                                    CodeText text, CompiledCode &result) {
  initializeTarget();
  std::string &error = result.error;
  const std::string triple = "x86_64-unknown-linux-gnu";
  const llvm::Target *target = llvm::TargetRegistry::lookupTarget(triple, error);
  if (!target)
    return std::nullopt;
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Fast; // a*b + c in one rounding is at least as accurate
  auto codegenLevel = level == 0 ? llvm::CodeGenOptLevel::None : llvm::CodeGenOptLevel::Default;
  std::unique_ptr<llvm::TargetMachine> machine(target->createTargetMachine(triple, isa.cpu, isa.features, options, llvm::Reloc::PIC_,
                                                                           llvm::CodeModel::Small, codegenLevel));
  module.setTargetTriple(triple);
  module.setDataLayout(machine->createDataLayout());
  module.setPICLevel(llvm::PICLevel::BigPIC);
  for (llvm::Function &function : module) {
    if (function.isDeclaration())
      continue;
    bool entry = llvm::is_contained(entries, function.getName().str());
    function.setLinkage(entry ? llvm::GlobalValue::ExternalLinkage : llvm::GlobalValue::InternalLinkage);
    function.setVisibility(entry ? llvm::GlobalValue::HiddenVisibility : llvm::GlobalValue::DefaultVisibility);
    function.setDSOLocal(true);
    function.addFnAttr(llvm::Attribute::NoUnwind);
    // Keeps vectorizers away from what prepares and launches kernels: there is nothing for them in it, and the time that
    // they take to find that out grows with the square of the stores in a block.
    if (entry)
      function.addFnAttr(llvm::Attribute::NoImplicitFloat);
    // Nobody compares the addresses of kernels, so that equal ones may become one.
    function.setUnnamedAddr(llvm::GlobalValue::UnnamedAddr::Global);
    // There is no memcpy or memset to call.
    function.addFnAttr("no-builtins");
    function.addFnAttr("target-cpu", isa.cpu);
    if (*isa.features)
      function.addFnAttr("target-features", isa.features);
  }
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager cgscc;
  llvm::ModuleAnalysisManager modules;
  llvm::PipelineTuningOptions tuning;
  tuning.LoopVectorization = tuning.SLPVectorization = level > 0;
  llvm::PassBuilder builder(machine.get(), tuning);
  // The layers of a model have the same kernels; each is compiled once.
  builder.registerPipelineStartEPCallback(
      [](llvm::ModulePassManager &passes, llvm::OptimizationLevel) { passes.addPass(llvm::MergeFunctionsPass()); });
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(cgscc);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, cgscc, modules);
  llvm::OptimizationLevel optimization = level == 0   ? llvm::OptimizationLevel::O0
                                         : level == 1 ? llvm::OptimizationLevel::O1
                                         : level == 2 ? llvm::OptimizationLevel::O2
                                                      : llvm::OptimizationLevel::O3;
  (level == 0 ? builder.buildO0DefaultPipeline(optimization) : builder.buildPerModuleDefaultPipeline(optimization))
      .run(module, modules);
  if (text == CodeText::llvmIr) {
    llvm::raw_string_ostream stream(result.llvmIr);
    module.print(stream, nullptr);
  }
  llvm::SmallVector<char, 0> object;
  llvm::raw_svector_ostream stream(object);
  llvm::legacy::PassManager emit;
  if (machine->addPassesToEmitFile(emit, stream, nullptr, llvm::CodeGenFileType::ObjectFile)) {
    error = "this LLVM can't emit object files for " + triple;
    return std::nullopt;
  }
  emit.run(module);
  if (text == CodeText::object)
    result.object.assign(object.begin(), object.end());
  return FlatObject(error).flatten(object, entries);
}

static std::optional<CodeImage> compileImage(llvm::Module &module, const InstructionSet &isa, unsigned level, CodeText text,
                                             CompiledCode &result) {
  std::string plan = kernel::kPlanName.str(), run = kernel::kRunName.str();
  auto code = compileFlat(module, isa, level, {plan, run}, text, result);
  return code ? std::optional(CodeImage{std::move(code->bytes), code->entries[plan], code->entries[run]}) : std::nullopt;
}

std::vector<CompiledCode> compileImages(ArrayRef<ModuleOp> modules, ArrayRef<InstructionSet> isas, unsigned level, unsigned jobs,
                                        CodeText text) {
  initializeTarget();
  DialectRegistry registry;
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  for (ModuleOp module : modules)
    module.getContext()->appendDialectRegistry(registry);
  std::vector<CompiledCode> results(modules.size() * isas.size());
  std::mutex translation; // reads and may extend the context of the modules
  std::atomic<size_t> next{0};
  auto work = [&] {
    for (size_t i = next++; i < results.size(); i = next++) {
      llvm::LLVMContext context;
      std::unique_ptr<llvm::Module> translated;
      {
        std::lock_guard guard(translation);
        translated = translateModuleToLLVMIR(modules[i / isas.size()], context, "lathe");
      }
      if (translated)
        results[i].image = compileImage(*translated, isas[i % isas.size()], level, text, results[i]);
      else
        results[i].error = "translation to LLVM IR failed";
    }
  };
  std::vector<std::thread> threads;
  while (threads.size() + 1 < std::min<size_t>(jobs, results.size()))
    threads.emplace_back(work);
  work();
  for (std::thread &thread : threads)
    thread.join();
  return results;
}

} // namespace lathe::cpu
