//===- CompileCommands.cpp - Subcommands that need the compiler -----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/CompileCommands.h"
#include "compiler/CompilerBuild.h"
#include "compiler/CompilerLibrary.h"
#include "compiler/Sizes.h"
#include "compiler/tools/lathe/CompileFlags.h"
#include "compiler/tools/lathe/CompressionText.h"
#include "compiler/tools/lathe/ModelPage.h"
#include "compiler/tools/lathe/Progress.h"
#include "compiler/tools/lathe/RunCommands/CalibrationFiles.h"
#include "compiler/tools/lathe/RunCommands/Commands.h"
#include "compiler/tools/lathe/RunCommands/Documents.h"
#include "compiler/tools/lathe/RunCommands/HtmlReport.h"
#include "compiler/tools/lathe/RunCommands/SessionStopwatch.h"
#include "compiler/tools/lathe/RunCommands/TensorFiles.h"
#include "compiler/tools/lathe/RunCommands/Terminal.h"
#include "runtime/ArtifactFormat.h"
#include "runtime/CpuFeatures.h"
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <filesystem>
#include <fstream>
#include <malloc.h>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>
#include <tuple>
#include <unistd.h>

using nlohmann::ordered_json;

namespace lathe::tool {

/// The compiler in a library; null with `reason` set where there is none, or one that this tool can't call.
static const CompilerLibrary *openCompiler(const std::filesystem::path &path, std::string &reason) {
  using Entry = const CompilerLibrary *(*)(const char *);
  void *handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  auto entry = handle ? reinterpret_cast<Entry>(dlsym(handle, kCompilerLibraryEntry)) : nullptr;
  if (!entry) {
    const char *error = dlerror();
    reason = error ? error : "it is not a compiler";
    return nullptr;
  }
  const CompilerLibrary *library = entry(LATHE_COMPILER_INTERFACE);
  if (library)
    return library;
  auto *interface = static_cast<const char *const *>(dlsym(handle, kCompilerInterface));
  reason = "'" + path.string() + "' is of another build than this tool: expected interface " LATHE_COMPILER_INTERFACE ", found " +
           (interface && *interface ? *interface : "one of before there were any");
  dlclose(handle);
  return nullptr;
}

const CompilerLibrary *loadCompiler() {
  std::error_code code;
  std::filesystem::path folder = std::filesystem::read_symlink("/proc/self/exe", code).parent_path();
  // Large blocks go back to the system when they are freed; by default they do so until the first of that size was, and then stay
  // resident in pieces, which --max-memory counts.
  constexpr int kLarge = 128 << 10;
  mallopt(M_MMAP_THRESHOLD, kLarge);
  std::stringstream folders(LATHE_COMPILER_FOLDERS);
  std::string reason = "not found";
  for (std::string relative; std::getline(folders, relative, ':');) {
    std::filesystem::path path = folder / relative / "liblathe-compiler.so";
    if (!std::filesystem::exists(path, code))
      continue;
    if (const CompilerLibrary *library = openCompiler(path, reason))
      return library;
  }
  printError("can't load the compiler, liblathe-compiler.so: " + reason + "; compiling needs a full installation");
  return nullptr;
}

namespace {

CompileResult noCompiler() {
  CompileResult result;
  result.code = ExitCode::internal;
  return result;
}

CompileResult runCheck(const std::string &model, const CompileOptions &options) {
  const CompilerLibrary *library = loadCompiler();
  return library ? library->check(model, options) : noCompiler();
}

CompileResult runCompile(const std::string &model, const std::string &output, const CompileOptions &options) {
  const CompilerLibrary *library = loadCompiler();
  return library ? library->compile(model, output, options) : noCompiler();
}

CompileResult runExplain(const std::string &model, const CompileOptions &options) {
  const CompilerLibrary *library = loadCompiler();
  return library ? library->explain(model, options) : noCompiler();
}

/// What is wrong for one reason, in the order of the graph.
struct Group {
  const Unsupported *first;
  std::vector<std::string> nodes;
};

std::vector<Group> groupsOf(const CompileResult &result) {
  std::vector<Group> groups;
  std::map<std::tuple<std::string, std::string, std::string, std::string>, size_t> index;
  for (const Unsupported &entry : result.unsupported) {
    auto [it, inserted] = index.try_emplace({entry.opType, entry.domain, entry.reason, entry.hint}, groups.size());
    if (inserted)
      groups.push_back({&entry, {}});
    groups[it->second].nodes.push_back(entry.node);
  }
  return groups;
}

/// Prints what went wrong; returns the exit code.
int report(const std::string &model, const CompileResult &result) {
  for (const std::string &error : result.errors)
    printError(error);
  if (result.unsupported.empty())
    return static_cast<int>(result.code);
  size_t count = result.unsupported.size();
  printError("'" + model + "': " + std::to_string(count) + " node" + (count == 1 ? "" : "s") + " cannot be compiled");
  for (const Group &group : groupsOf(result)) {
    const std::string &domain = group.first->domain;
    std::string type = (domain.empty() || domain == "ai.onnx" ? "" : domain + ".") + group.first->opType;
    std::fprintf(stderr, "  %s, %zu node%s: %s\n", type.c_str(), group.nodes.size(), group.nodes.size() == 1 ? "" : "s",
                 group.first->reason.c_str());
    std::string line = "   ";
    for (size_t i = 0; i < group.nodes.size(); ++i) {
      std::string name = " '" + group.nodes[i] + (i + 1 < group.nodes.size() ? "'," : "'");
      if (line.size() > 3 && line.size() + name.size() > 100) {
        std::fprintf(stderr, "%s\n", line.c_str());
        line = "   ";
      }
      line += name;
    }
    std::fprintf(stderr, "%s\n", line.c_str());
    if (!group.first->hint.empty())
      std::fprintf(stderr, "    hint: %s\n", group.first->hint.c_str());
  }
  return static_cast<int>(result.code);
}

std::string shapeText(const std::vector<std::string> &shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + shape[i];
  return text + "]";
}

ordered_json valuesJson(const std::vector<CompileResult::Value> &values) {
  ordered_json list = ordered_json::array();
  for (const auto &value : values)
    list.push_back({{"name", value.name}, {"type", value.type}, {"shape", value.shape}});
  return list;
}

ordered_json unsupportedJson(const CompileResult &result) {
  ordered_json list = ordered_json::array();
  for (const Unsupported &entry : result.unsupported)
    list.push_back({{"node", entry.node}, {"op", entry.opType}, {"domain", entry.domain}, {"reason", entry.reason}, {"hint", entry.hint}});
  return list;
}

ordered_json groupsJson(const CompileResult &result) {
  ordered_json list = ordered_json::array();
  for (const Group &group : groupsOf(result))
    list.push_back({{"op", group.first->opType}, {"domain", group.first->domain}, {"reason", group.first->reason},
                    {"hint", group.first->hint}, {"count", group.nodes.size()}, {"nodes", group.nodes}});
  return list;
}

void printModel(const CompileResult &result) {
  std::printf("model    %s (opset %lld)\n", result.info.name.c_str(), static_cast<long long>(result.info.opset));
  for (const auto &value : result.inputs)
    std::printf("input    %s: %s %s\n", value.name.c_str(), value.type.c_str(), shapeText(value.shape).c_str());
  for (const auto &value : result.outputs)
    std::printf("output   %s: %s %s\n", value.name.c_str(), value.type.c_str(), shapeText(value.shape).c_str());
  std::printf("weights  %.1f MB\n", static_cast<double>(result.weightsBytes) / 1e6);
}

/// Parses `name=8`, `name=1..32` and `name=1..`.
std::string parseDim(const std::string &text, ImportOptions &options) {
  std::string wrong = "--dim expects NAME=N or NAME=MIN..MAX, got '" + text + "'";
  size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    return wrong;
  auto number = [](const std::string &digits) -> std::optional<int64_t> {
    if (digits.empty() || digits.size() > 12 || digits.find_first_not_of("0123456789") != std::string::npos)
      return std::nullopt;
    return std::stoll(digits);
  };
  std::string value = text.substr(equals + 1);
  size_t dots = value.find("..");
  auto low = number(value.substr(0, dots));
  std::optional<int64_t> high = low;
  if (dots != std::string::npos)
    high = dots + 2 == value.size() ? std::nullopt : number(value.substr(dots + 2));
  if (!low || (dots != std::string::npos && dots + 2 != value.size() && !high))
    return wrong;
  if (high && *high < *low)
    return "--dim expects a range that is not empty, got '" + text + "'";
  options.dims[text.substr(0, equals)] = {*low, high};
  return "";
}

/// Parses `cpu`, `cpu:avx2,avx512`, `cuda`, `cuda:sm_80,sm_90`, several of these behind commas, and `reference`.
std::string parseTarget(const std::string &text, CompileOptions &options) {
  constexpr const char *kIsas[] = {"avx2", "avx512"}, *kArchs[] = {"sm_80", "sm_89", "sm_90", "sm_100"};
  if (text == "reference") {
    options.reference = true;
    return "";
  }
  options.forCpu = options.forCuda = false;
  std::string wrong = "expected a target of cpu, cpu:avx2, cpu:avx512, cpu:amx, cuda, cuda:sm_80, cuda:sm_89, cuda:sm_90, cuda:sm_100, several with commas, or reference, got '" + text + "'";
  std::string device;
  std::stringstream list(text);
  for (std::string item; std::getline(list, item, ',');) {
    size_t colon = item.find(':');
    std::string name = item.substr(0, colon);
    bool namesDevice = name == "cpu" || name == "cuda";
    if (namesDevice) {
      bool &wanted = name == "cpu" ? options.forCpu : options.forCuda;
      if (std::exchange(wanted, true))
        return "expected each device once in a target, got '" + text + "'";
      device = colon == std::string::npos ? "" : name;
      if (device.empty())
        continue;
      item = item.substr(colon + 1);
    }
    if (device == "cpu") // products alone are computed by others, beside the same code
      item = std::string(runtime::codeIsa(item));
    if (device == "cpu" && std::find(std::begin(kIsas), std::end(kIsas), item) != std::end(kIsas))
      options.isas.push_back(item);
    else if (device == "cuda" && std::find(std::begin(kArchs), std::end(kArchs), item) != std::end(kArchs))
      options.cudaArchs.push_back(item);
    else if (device == "cpu" && !item.empty())
      return "target 'cpu' has code for avx2 and avx512, which amx uses too, got '" + item + "'";
    else if (device == "cuda" && !item.empty())
      return "target 'cuda' has code for sm_80, sm_89, sm_90 and sm_100, got '" + item + "'";
    else
      return wrong;
  }
  return options.forCpu || options.forCuda ? "" : wrong;
}

/// Options of the compiler from flags; an error message, or nothing.
std::string toOptions(const Flags &flags, CompileOptions &options, Progress &progress) {
  options.jobs = flags.jobs ? flags.jobs : std::max(std::thread::hardware_concurrency(), 1u);
  options.level = flags.level;
  options.emit = flags.emit;
  options.dumpDir = flags.dumpDir;
  options.passPlugins = flags.passPlugins;
  for (const std::string &pipeline : flags.pipelines)
    options.pipelines.push_back(parsePhasePipeline(pipeline));
  options.import.weights = flags.weights;
  options.gradients = flags.gradients;
  options.import.skippedWeights = flags.skippedWeights;
  options.import.partialWeights = flags.partialWeights;
  if (flags.weights.empty() && !flags.skippedWeights.empty())
    return "--skip-weights goes with --weights";
  if (flags.weights.empty() && flags.partialWeights)
    return "--partial-weights goes with --weights";
  options.report = flags.report;
  if (flags.bf16 && flags.fp16)
    return "--bf16 and --fp16 exclude each other";
  options.precision = flags.bf16 ? "bf16" : flags.fp16 ? "f16" : flags.precision;
  if ((flags.bf16 || flags.fp16) && flags.precision != "f32" && flags.precision != options.precision)
    return "--" + std::string(flags.bf16 ? "bf16" : "fp16") + " and --precision " + flags.precision + " exclude each other";
  using Generation = CompileOptions::Generation;
  options.generation = flags.generate == "on" ? Generation::on : flags.generate == "off" ? Generation::off : Generation::automatic;
  const std::string &precision = options.precision;
  if (precision != "f32" && precision != "bf16" && precision != "f16" && precision != "auto")
    return "precision '" + precision + "' is not known: expected f32, bf16, f16 or auto";
  options.moreOutputs = flags.moreOutputs;
  options.changes = flags.changes;
  std::string error = parseTarget(flags.target, options);
  if (error.empty() && options.emit == "ptx" && !options.forCuda)
    return "--emit ptx goes with --target cuda, got '" + flags.target + "'";
  for (const std::string &dim : flags.dims)
    if (error.empty())
      error = parseDim(dim, options.import);
  if (error.empty() && !flags.maxMemory.empty()) {
    if (std::optional<uint64_t> size = parseSize(flags.maxMemory))
      options.maxMemory = *size;
    else
      error = "--max-memory expects a size such as 800MiB or 2GB, got '" + flags.maxMemory + "'";
  }
  options.progress = [&progress](const std::string &what) { progress.show(WorkProgress(what)); };
  options.note = [&progress, isSilent = flags.quiet || isQuiet()](const std::string &what) {
    if (!isSilent || what.rfind("warning", 0) == 0)
      progress.say(what);
  };
  // A pass can't be stopped, but the process may end: nothing is half written.
  options.overBudget = [&progress](const std::string &message) {
    progress.stop();
    printError(message);
    _exit(static_cast<int>(ExitCode::over_budget));
  };
  return error;
}

} // namespace

PhasePipeline parsePhasePipeline(const std::string &text) {
  // Options of passes have equal signs too, behind a brace.
  size_t end = text.find_first_of("={( ");
  if (end == std::string::npos || text[end] != '=')
    return {"fuse", text};
  return {text.substr(0, end), text.substr(end + 1)};
}

int usage(const std::string &message) {
  printError(message);
  return static_cast<int>(ExitCode::usage);
}

namespace {

int check(const Flags &flags) {
  CompileOptions options;
  Progress progress(flags.json);
  if (std::string error = toOptions(flags, options, progress); !error.empty())
    return usage(error);
  CompileResult result = runCheck(flags.model, options);
  progress.stop();
  if (flags.json) {
    ordered_json json = {{"supported", result.code == ExitCode::ok}, {"errors", result.errors}, {"unsupported", unsupportedJson(result)},
                         {"groups", groupsJson(result)},
                         {"inputs", valuesJson(result.inputs)}, {"outputs", valuesJson(result.outputs)}};
    std::printf("%s\n", json.dump(2).c_str());
    return static_cast<int>(result.code);
  }
  if (result.code != ExitCode::ok)
    return report(flags.model, result);
  if (isQuiet())
    return 0;
  printModel(result);
  std::printf("ok: %zu operations become %zu library calls and %zu generated kernels\n", result.operations, result.matmuls,
              result.kernels);
  return 0;
}

/// What was asked for and what became of it, where that is another.
void printPrecision(const PrecisionPlan &plan, const std::string &asked) {
  if (asked == "f32")
    return;
  std::map<std::string, size_t> counts;
  for (const PrecisionPlan::Decision &decision : plan.decisions)
    ++counts[decision.type];
  std::string text;
  for (const auto &[type, count] : counts)
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " in " + type;
  std::printf("precision %s: weights of products and gathers %s\n", asked.c_str(), text.empty() ? "none" : text.c_str());
  constexpr size_t kMost = 10;
  size_t told = 0;
  for (const PrecisionPlan::Decision &decision : plan.decisions)
    if (!decision.reason.empty() && ++told <= kMost)
      std::printf("  '%s' is in %s: %s\n", decision.weight.c_str(), decision.type.c_str(), decision.reason.c_str());
  if (told > kMost)
    std::printf("  and %zu more (--report tells them all)\n", told - kMost);
}

/// Nodes of one operation as text; of many the first and the last.
std::string nodesText(const std::vector<std::string> &nodes) {
  if (nodes.empty())
    return "(nodes without names)";
  std::string text = "'" + nodes.front() + "'";
  if (nodes.size() > 1)
    text += (nodes.size() > 2 ? " … '" : ", '") + nodes.back() + "'";
  return nodes.size() > 2 ? text + " (" + std::to_string(nodes.size()) + " nodes)" : text;
}

ordered_json findingsJson(const fusion::Findings &findings) {
  ordered_json fusions = ordered_json::array(), misses = ordered_json::array(), counts = ordered_json::object();
  for (const auto &fusion : findings.fusions) {
    ordered_json &count = counts[fusion.kind];
    if (count.is_null())
      count = {{"recognised", 0}, {"stated", 0}};
    count[fusion.stated ? "stated" : "recognised"] = count[fusion.stated ? "stated" : "recognised"].get<size_t>() + 1;
    fusions.push_back({{"kind", fusion.kind}, {"stated", fusion.stated}, {"nodes", fusion.nodes}});
  }
  for (const auto &miss : findings.nearMisses)
    misses.push_back({{"kind", miss.kind}, {"node", miss.node}, {"at", miss.at}, {"met", miss.met}, {"failed", miss.failed}, {"advice", miss.advice}});
  return {{"counts", counts}, {"fusions", fusions}, {"near_misses", misses}};
}

void printFindings(const fusion::Findings &findings) {
  // Kinds in the order in which they were found.
  std::vector<std::string> kinds;
  for (const auto &fusion : findings.fusions)
    if (std::find(kinds.begin(), kinds.end(), fusion.kind) == kinds.end())
      kinds.push_back(fusion.kind);
  for (const std::string &kind : kinds) {
    size_t recognised = 0, stated = 0;
    for (const auto &fusion : findings.fusions)
      if (fusion.kind == kind)
        ++(fusion.stated ? stated : recognised);
    std::printf("%s: %zu\n", kind.c_str(), recognised + stated);
    if (stated)
      std::printf("  %zu operation%s of the model\n", stated, stated == 1 ? "" : "s");
    for (const auto &fusion : findings.fusions)
      if (fusion.kind == kind && !fusion.stated)
        std::printf("  %s\n", nodesText(fusion.nodes).c_str());
  }
  if (kinds.empty())
    std::printf("nothing fused\n");
  if (findings.nearMisses.empty()) {
    std::printf("no near misses\n");
    return;
  }
  std::printf("near misses: %zu\n", findings.nearMisses.size());
  for (const auto &miss : findings.nearMisses) {
    std::printf("  %s at node '%s'\n", miss.kind.c_str(), miss.node.c_str());
    for (const std::string &condition : miss.met)
      std::printf("    holds: %s\n", condition.c_str());
    std::printf("    fails: %s%s\n", miss.failed.c_str(), miss.at.empty() || miss.at == miss.node ? "" : (", node '" + miss.at + "'").c_str());
    if (!miss.advice.empty())
      std::printf("    change: %s\n", miss.advice.c_str());
  }
}

int explain(const Flags &flags) {
  if (!flags.fusions)
    return usage("explain expects what to explain: --fusions");
  CompileOptions options;
  Progress progress(flags.json);
  if (std::string error = toOptions(flags, options, progress); !error.empty())
    return usage(error);
  CompileResult result = runExplain(flags.model, options);
  progress.stop();
  if (result.code != ExitCode::ok)
    return report(flags.model, result);
  if (flags.json)
    std::printf("%s\n", findingsJson(result.findings).dump(2).c_str());
  else
    printFindings(result.findings);
  return 0;
}

/// The recipe that flags of weights ask for; an error message, or nothing.
std::string toWeightRecipe(const Flags &flags, CompileOptions &options) {
  std::vector<std::string> asked;
  for (auto [given, name] : {std::pair(!flags.recipe.empty(), "a method"), std::pair(!flags.recipeFile.empty(), "--recipe"),
                             std::pair(flags.int8, "--int8"), std::pair(flags.int4, "--int4"), std::pair(flags.fp8, "--fp8")})
    if (given)
      asked.push_back(name);
  if (asked.size() > 1)
    return asked[0] + " and " + asked[1] + " exclude each other";
  if (asked.empty())
    return flags.calibration.empty() ? "" : "--calib goes with --recipe, --int8, --int4 or --fp8";
  if (!flags.recipeFile.empty()) {
    try {
      std::vector<unsigned char> content = readWhole(flags.recipeFile);
      options.recipe.assign(content.begin(), content.end());
    } catch (const FileError &error) {
      return error.what();
    }
    return "";
  }
  options.recipe = flags.recipe.empty() ? oneStepRecipe(flags) : flags.recipe;
  return "";
}

/// The recipe that flags ask for; an error message, or nothing.
std::string toRecipe(const Flags &flags, CompileOptions &options) {
  std::string error = toWeightRecipe(flags, options);
  if (error.empty() && flags.sparse)
    addSparseStep(flags, options.recipe);
  if (error.empty() && !flags.kvCache.empty())
    error = addCacheStep(flags.kvCache, options.recipe);
  if (error.empty() && !flags.attention.empty())
    error = addAttentionStep(flags, options.recipe);
  return error.empty() ? addPreferences(flags, options.recipe) : error;
}

/// What was made, for people.
void tellResult(const Flags &flags, const CompileOptions &options, const CompileResult &result, double seconds) {
  std::ifstream file(flags.output, std::ios::binary | std::ios::ate);
  std::printf("wrote %s: %.1f MB, %zu library calls, %zu generated kernels, in %.1f s\n", flags.output.c_str(),
              static_cast<double>(file.tellg()) / 1e6, result.matmuls, result.kernels, seconds);
  if (!flags.weights.empty())
    std::printf("%s: %zu quantized and %zu other initializers; %zu weights of products stay the model's own\n",
                flags.weights.c_str(), result.attached.quantized, result.attached.dense, result.attached.kept);
  printPrecision(result.precision, options.precision);
  printCompression(result.compression);
  if (!result.decompressed.empty())
    std::printf("%zu compressed weight%s made dense at each run, as no kernel reads the codes: '%s'%s\n",
                result.decompressed.size(), result.decompressed.size() == 1 ? " is" : "s are",
                result.decompressed.front().c_str(),
                result.decompressed.size() == 1 ? "" : " and others (--report tells them all)");
  if (result.generates)
    std::printf("generates text: lathe generate %s\n", flags.output.c_str());
  else if (result.isDecoder)
    std::printf("does not generate text with a cache: %s\n", result.whyNotGeneration.c_str());
}

} // namespace

int compile(const Flags &flags) {
  CompileOptions options;
  const bool isSilent = flags.quiet || isQuiet();
  // Before a minute of compiling.
  std::vector<DocumentFile> documents;
  if (int code = readDocuments(flags.tokenizer, flags.generationConfig, documents))
    return code;
  if (!documents.empty() && flags.emit != "artifact")
    return usage("--tokenizer and --generation-config go into artifacts: --emit " + flags.emit + " writes none");
  for (DocumentFile &file : documents)
    options.documents.push_back({file.name, file.format, std::move(file.bytes)});
  Progress progress(flags.quiet);
  if (std::string error = toOptions(flags, options, progress); !error.empty())
    return usage(error);
  if (std::string error = toRecipe(flags, options); !error.empty())
    return usage(error);
  std::optional<ChangeLimit> changes;
  if (flags.firstChanges && !options.changes)
    options.changes = &changes.emplace(*flags.firstChanges);
  std::unique_ptr<CalibrationData> calibration;
  if (!flags.calibration.empty()) {
    try {
      calibration = openCalibration({flags.calibration, flags.context, flags.samples, static_cast<int>(flags.jobs)});
    } catch (const std::exception &error) {
      return usage(error.what());
    }
    options.calibration = calibration.get();
  }
  std::unique_ptr<Stopwatch> stopwatch = makeStopwatch();
  options.stopwatch = stopwatch.get();
  auto begin = std::chrono::steady_clock::now();
  // A page shows layers: without any it is known before a minute of compiling that there is nothing to show.
  if (isHtml(flags.report) && options.recipe.empty())
    return usage("a report as a page is of compressed layers: expected a recipe with --report " + flags.report + ", found none; .json tells the kernels");
  options.tellsReport = isHtml(flags.report);
  if (options.tellsReport)
    options.report.clear();
  CompileResult result = runCompile(flags.model, flags.output, options);
  progress.stop();
  if (result.code != ExitCode::ok)
    return flags.mute ? static_cast<int>(result.code) : report(flags.model, result);
  if (options.tellsReport)
    if (int code = makePage(result.report, "of the compression", flags.report))
      return code;
  std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  if (!isSilent)
    tellResult(flags, options, result, seconds.count());
  return 0;
}

namespace {

int inspect(const InspectOptions &flags) {
  char magic[8] = {};
  const std::string &path = flags.file;
  std::ifstream(path, std::ios::binary).read(magic, sizeof magic);
  bool named = path.size() > 5 && path.compare(path.size() - 5, 5, ".onnx") == 0;
  if (!named || std::memcmp(magic, artifact::kMagic, sizeof magic) == 0)
    return inspectArtifact(flags);
  if (!flags.dims.empty())
    return usage("--dim forecasts the memory of a compiled model: expected a .lathe file, got '" + path + "'");
  if (!flags.html.empty() && !isHtml(flags.html))
    return usage("--html expects a name that ends in .html, found '" + flags.html + "'");
  CompileOptions options;
  options.describesPhases = !flags.html.empty();
  CompileResult result = runCheck(path, options);
  if (result.inputs.empty() && result.code != ExitCode::ok)
    return report(path, result);
  if (!flags.html.empty())
    if (int code = writeModelPage(path, result, valuesJson(result.inputs), valuesJson(result.outputs), flags.html))
      return code;
  if (!flags.json) {
    printModel(result);
    return 0;
  }
  ordered_json json = {{"name", result.info.name}, {"sha256", result.info.sha256}, {"opset", result.info.opset},
                       {"inputs", valuesJson(result.inputs)}, {"outputs", valuesJson(result.outputs)},
                       {"weights_bytes", result.weightsBytes},
                       {"file_bytes", static_cast<int64_t>(std::ifstream(path, std::ios::ate | std::ios::binary).tellg())},
                       {"recipe", nullptr}, {"devices", ordered_json::array()}};
  std::printf("%s\n", json.dump(2).c_str());
  return 0;
}

} // namespace

void addWeightsOptions(CLI::App &command, Flags &flags) {
  command.add_option("--weights", flags.weights,
                     "a checkpoint in safetensors (file, index or folder; plain, GPTQ, AWQ or compressed-tensors) whose tensors take the place of the model's weights")
      ->check([](const std::string &path) { return path.empty() ? "expects a file or folder, got an empty path" : ""; });
  command.add_option("--skip-weights", flags.skippedWeights, "tensors of the checkpoint that are left out: names with * and ?")->take_all();
  command.add_flag("--partial-weights", flags.partialWeights, "leave out tensors of the checkpoint that belong to nothing in the model, as where it is a part of the checkpoint's");
}

void addCheckCommand(CLI::App &app, int &exitCode) {
  auto flags = std::make_shared<Flags>();
  CLI::App *command = app.add_subcommand("check", "List every unsupported operator, type and shape of a model, by node name");
  command->add_option("model", flags->model, "the .onnx file")->required();
  addWeightsOptions(*command, *flags);
  command->add_option("--dim", flags->dims, "range of a symbolic dimension: NAME=N or NAME=MIN..MAX");
  command->add_option("--max-memory", flags->maxMemory, "resident memory allowed, such as 800MiB or 2GB");
  command->add_flag("--json", flags->json, "print one JSON object");
  command->callback([=, &exitCode] { exitCode = check(*flags); });
}

void addExplainCommand(CLI::App &app, int &exitCode) {
  auto flags = std::make_shared<Flags>();
  CLI::App *command = app.add_subcommand("explain", "Tell what fused in a model, and what nearly did and why not, by node name");
  command->add_option("model", flags->model, "the .onnx file")->required();
  command->add_flag("--fusions", flags->fusions, "composite operations: norms, activations");
  command->add_option("--dim", flags->dims, "range of a symbolic dimension: NAME=N or NAME=MIN..MAX");
  command->add_option("--max-memory", flags->maxMemory, "resident memory allowed, such as 800MiB or 2GB");
  command->add_flag("--json", flags->json, "print one JSON object");
  command->callback([=, &exitCode] { exitCode = explain(*flags); });
}

void addCompileOptions(CLI::App &command, Flags &flags) {
  command.option_defaults()->group("Compilation");
  command.add_option("model", flags.model, "the .onnx file")->required();
  addWeightsOptions(command, flags);
  command.add_option("-O", flags.level, "optimization of generated code, 0 to 3")->check(CLI::Range(0, 3))->capture_default_str();
  command.add_option("--target", flags.target, "cpu, cpu:avx2, cpu:avx512, cpu:amx, cuda, cuda:sm_80, cuda:sm_89, cuda:sm_90, cuda:sm_100, several with commas, or reference")->capture_default_str();
  command.add_option("--precision", flags.precision, "type that weights are stored in: f32, bf16, f16 or auto; what is computed stays f32, but products and attention of bf16 where the processor has AVX-512 BF16 or AMX, and products of both on GPUs")
      ->capture_default_str();
  command.add_option("--generate", flags.generate, "programs that generate text: on, off, or auto, where the model is a decoder")
      ->check(CLI::IsMember({"auto", "on", "off"}))
      ->capture_default_str();
  command.add_flag("--bf16", flags.bf16, "the same as --precision bf16");
  command.add_flag("--fp16", flags.fp16, "the same as --precision f16");
  command.add_option("--dim", flags.dims, "range of a symbolic dimension: NAME=N or NAME=MIN..MAX");
  command.add_option("--tokenizer", flags.tokenizer, "put this tokenizer.json or SentencePiece model into the artifact, for texts");
  command.add_option("--generation-config", flags.generationConfig,
                     "put this generation_config.json into the artifact (default: the one beside the tokenizer, if there is one)");
  command.add_option("--emit", flags.emit, "artifact, onnx, mlir, llvm, obj or ptx")
      ->check(CLI::IsMember({"artifact", "onnx", "mlir", "llvm", "obj", "ptx"}))
      ->capture_default_str();
  command.add_option("--report", flags.report, "write what was chosen for each kernel and each compressed layer: as JSON, or the layers as a page where the name ends in .html");
  command.add_option("--dump-ir", flags.dumpDir, "folder for one numbered .mlir file a phase");
  command.add_option("--pass-plugin", flags.passPlugins, "library of passes (MLIR's pass plug-ins) that --pass-pipeline may name; its code runs with your rights")->take_all();
  command.add_option("--pass-pipeline", flags.pipelines, "passes to run behind a phase: [PHASE=]PIPELINE, where PHASE is import, simplify, fuse (default), select, plan or llvm")->take_all();
  command.add_option("--jobs", flags.jobs, "threads that make code side by side (default: one a processor); the output does not depend on it")
      ->check(CLI::Range(1, 1024));
  command.add_option("--max-memory", flags.maxMemory, "resident memory allowed, such as 800MiB or 2GB; past it, exit code 5");
  command.add_option("--first-changes", flags.firstChanges, "leave out what passes and recipes change behind the first so many changes, which 'lathe bisect' counts");
  command.option_defaults()->group("Options");
}

void addCalibrationOptions(CLI::App &command, Flags &flags) {
  command.option_defaults()->group("Calibration and choice");
  command.add_option("--calib", flags.calibration, "sample inputs: a folder of .npz files, one .npz file, or for language models token ids (.npy)");
  command.add_option("--gradients", flags.gradients, "gradients of a loss by initializers, for methods that take them: a file of safetensors with tensors of their names and shapes");
  command.add_option("--context", flags.context, "tokens of a window that token ids are cut into")->check(CLI::Range(1, 1 << 20))->capture_default_str();
  command.add_option("--prefer", flags.prefer, "speed: layers whose product is slower on this machine stay as they were; size: none do "
                                               "(default: speed where products are of integers)")
      ->check(CLI::IsMember({"speed", "size"}));
  command.add_option("--rows", flags.rows, "what dimensions that the model leaves open are where products are timed, but batches, which are 1 "
                                           "(default: 1 for models that generate text, else 128)")
      ->check(CLI::Range(1, 1 << 20));
  command.add_flag("--require-kernel", flags.requireKernel,
                   "refuse formats and patterns that no kernel of the target reads as they are stored, before anything takes time");
  command.add_option("--samples", flags.samples, "windows or files that are used, from the first (default: all)");
  command.add_option("--exclude", flags.exclude, "weights that stay as they are: names of initializers or nodes, with * and ?")->take_all();
  command.option_defaults()->group("Options");
}

void addCacheOption(CLI::App &command, Flags &flags) {
  command.add_option("--kv-cache", flags.kvCache, "what keys and values are kept in where text is generated: int8 or int4 (default: f32)")
      ->check(CLI::IsMember({"int8", "int4"}));
  command.add_option("--attention", flags.attention, "what attention multiplies where it is faster so, after rounding it: int8 (default: floats)")
      ->check(CLI::IsMember({"int8"}));
}

void addCompileCommand(CLI::App &app, int &exitCode) {
  auto flags = std::make_shared<Flags>();
  CLI::App *command = app.add_subcommand("compile", "Compile a model into one file");
  command->add_option("-o,--output", flags->output, "the .lathe file")->required();
  addCompileOptions(*command, *flags);
  command->add_option("--recipe", flags->recipeFile, "what to compress and how (JSON; docs/compression.md)");
  command->add_flag("--int8", flags->int8, "weights of 8 bits per output, and activations per row as the model runs");
  command->add_flag("--int4", flags->int4, "weights of 4 bits in groups of 32 (GPTQ where --calib is given)");
  command->add_flag("--fp8", flags->fp8, "weights as 8-bit floats (E4M3)");
  command->add_flag("--sparse", flags->sparse, "store weights without their zeros where products are faster so");
  addCacheOption(*command, *flags);
  addCalibrationOptions(*command, *flags);
  command->callback([=, &exitCode] { exitCode = compile(*flags); });
}

void addInspectAnyCommand(CLI::App &app, int &exitCode) {
  auto flags = std::make_shared<InspectOptions>();
  CLI::App *command = app.add_subcommand("inspect", "Tell what is inside a model or an artifact");
  command->add_option("file", flags->file, "a .lathe or .onnx file")->required();
  addInspectOptions(*command, *flags);
  command->callback([=, &exitCode] { exitCode = inspect(*flags); });
}

} // namespace lathe::tool
