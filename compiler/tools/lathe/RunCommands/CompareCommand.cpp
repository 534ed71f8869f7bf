//===- CompareCommand.cpp - lathe compare -----------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/CompareCommand.h"
#include "compiler/tools/lathe/Progress.h"
#include "compiler/tools/lathe/RunCommands/Terminal.h"
#include "compiler/tools/lathe/RunCommands/DimExpression.h"
#include "compiler/tools/lathe/RunCommands/HtmlReport.h"
#include "compiler/tools/lathe/RunCommands/Inputs.h"
#include "compiler/tools/lathe/RunCommands/LockStep.h"
#include "compiler/tools/lathe/RunCommands/ManifestJson.h"
#include "compiler/tools/lathe/RunCommands/Support.h"
#include "compiler/tools/lathe/RunCommands/TokenFiles.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>
#include <set>

using namespace lathe;
using namespace lathe::tool;
using nlohmann::ordered_json;

namespace {

//===----------------------------------------------------------------------===//
// Which values both have
//===----------------------------------------------------------------------===//

/// What a kernel computes, as the manifest tells.
struct Result {
  size_t kernel;
  std::string value, node, type;
};

std::vector<Result> resultsOf(const ordered_json &kernels) {
  std::vector<Result> results;
  for (size_t i = 0; i < kernels.size(); ++i)
    if (ordered_json result = member(kernels[i], "result"); result.is_object())
      results.push_back({i, member(result, "value"), member(result, "node"), member(result, "type")});
  return results;
}

bool isFloat(const std::string &type) { return type == "f32" || type == "f16" || type == "bf16" || type == "f64"; }

using Key = std::string Result::*;

/// Pairs kernels of the same name: each with each where both have as many of it, else the last ones. Those before may
/// compute parts of what is one kernel of the other.
void pairBy(Key key, std::vector<Result> &a, std::vector<Result> &b, std::vector<Pair> &pairs) {
  std::map<std::string, std::pair<std::vector<Result *>, std::vector<Result *>>> byName;
  for (Result &result : a)
    byName[result.*key].first.push_back(&result);
  for (Result &result : b)
    byName[result.*key].second.push_back(&result);
  std::set<const Result *> taken;
  for (auto &[name, both] : byName) {
    auto &[ofA, ofB] = both;
    if (name.empty() || ofA.empty() || ofB.empty())
      continue;
    size_t count = ofA.size() == ofB.size() ? ofA.size() : 1;
    for (size_t i = 0; i < count; ++i) {
      Result *x = ofA[ofA.size() - count + i], *y = ofB[ofB.size() - count + i];
      if (x->type == y->type || (isFloat(x->type) && isFloat(y->type)))
        pairs.push_back({x->node, x->value, {x->kernel, y->kernel}, {}, 0, false});
    }
    taken.insert(ofA.begin(), ofA.end());
    taken.insert(ofB.begin(), ofB.end());
  }
  for (auto *side : {&a, &b}) {
    std::vector<Result> rest;
    for (const Result &result : *side)
      if (!taken.count(&result))
        rest.push_back(result);
    *side = std::move(rest);
  }
}

/// In the order of A's kernels.
std::vector<Pair> findPairs(const ordered_json &kernelsOfA, const ordered_json &kernelsOfB) {
  std::vector<Result> a = resultsOf(kernelsOfA), b = resultsOf(kernelsOfB);
  std::vector<Pair> pairs;
  pairBy(&Result::value, a, b, pairs);
  pairBy(&Result::node, a, b, pairs); // files that other tools wrote name values anew
  std::sort(pairs.begin(), pairs.end(), [](const Pair &x, const Pair &y) { return x.kernels[0] < y.kernels[0]; });
  return pairs;
}

//===----------------------------------------------------------------------===//
// The comparison
//===----------------------------------------------------------------------===//

struct Row {
  const Pair *pair;
  double relative, ofInputs; ///< the largest of the values that it is computed from
  double step() const { return std::isinf(ofInputs) ? 0 : relative - ofInputs; }
};

struct OutputRow {
  std::string name, problem; ///< a problem: the two can't be compared
  Distance distance;
};

struct Comparison {
  std::string files[2], hashes[2];
  size_t nodes[2] = {0, 0}; ///< values that each computes
  size_t samples = 0, skipped = 0, above = 0;
  std::vector<Pair> pairs;
  std::vector<Row> rows; ///< in the order in which A computes them
  std::vector<OutputRow> outputs;
  const Row *first = nullptr, *largestStep = nullptr;
};

void checkSameModel(const Module &a, const Module &b, const CompareOptions &options) {
  auto refuse = [&](const std::string &what) {
    throw CommandError(kUsage,
                       "'" + options.names[0] + "' and '" + options.names[1] + "' are not of one model: " + what);
  };
  std::vector<TensorInfo> ofA = a.inputs(), ofB = b.inputs();
  for (const TensorInfo &input : ofA) {
    auto other = std::find_if(ofB.begin(), ofB.end(), [&](const TensorInfo &info) { return info.name == input.name; });
    if (other == ofB.end())
      refuse("the second has no input '" + input.name + "'");
    bool fits = other->dtype == input.dtype && other->dims.size() == input.dims.size();
    for (size_t d = 0; fits && d < input.dims.size(); ++d)
      fits = input.dims[d] < 0 || other->dims[d] < 0 || input.dims[d] == other->dims[d];
    if (!fits)
      refuse("input '" + input.name + "' is " + lathe_dtype_name(input.dtype) + " " + shapeText(input.dimTexts) +
             " of the first and " + lathe_dtype_name(other->dtype) + " " + shapeText(other->dimTexts) +
             " of the second");
  }
  if (ofA.size() != ofB.size())
    for (const TensorInfo &input : ofB)
      if (std::none_of(ofA.begin(), ofA.end(), [&](const TensorInfo &info) { return info.name == input.name; }))
        refuse("the first has no input '" + input.name + "'");
}

/// Sample inputs, one after the other.
class Samples {
public:
  Samples(const Module &module, const CompareOptions &options) : module_(module), options_(options) {
    std::filesystem::path path(options.calibration);
    if (options.calibration.empty())
      return;
    if (!options.inputs.file.empty() || !options.inputs.dims.empty())
      throw CommandError(kUsage, "--calib excludes --inputs and --dim");
    if (!std::filesystem::exists(path))
      throw CommandError(kUsage, "calibration data '" + options.calibration + "' do not exist");
    if (path.extension() == ".npy") {
      readTokens();
    } else if (std::filesystem::is_directory(path)) {
      for (const auto &entry : std::filesystem::directory_iterator(path))
        if (entry.path().extension() == ".npz")
          paths_.push_back(entry.path().string());
      std::sort(paths_.begin(), paths_.end());
      if (paths_.empty())
        throw CommandError(kUsage, "calibration folder '" + options.calibration + "' has no .npz file");
    } else {
      paths_.push_back(options.calibration);
    }
  }

  size_t count() const {
    size_t all =
        !ids_.empty() ? ids_.size() / static_cast<size_t>(options_.context) : std::max<size_t>(paths_.size(), 1);
    return options_.samples ? std::min(all, options_.samples) : all;
  }

  std::vector<Tensor> read(size_t sample) const {
    if (!ids_.empty()) {
      std::vector<Tensor> tensors;
      for (const TensorInfo &input : module_.inputs())
        tensors.push_back(inputOf(input, ids_.data() + static_cast<int64_t>(sample) * options_.context));
      return tensors;
    }
    return paths_.empty() ? chooseInputs(module_, options_.inputs).tensors : readNpz(paths_[sample]);
  }

private:
  static bool says(const TensorInfo &input, const char *word) { return input.name.find(word) != std::string::npos; }
  static bool isInteger(const TensorInfo &input) { return input.dtype == LATHE_I64 || input.dtype == LATHE_I32; }

  void readTokens() {
    bool found = false;
    for (const TensorInfo &input : module_.inputs()) {
      bool derived = says(input, "mask") || says(input, "position"), isFloat = input.dtype == LATHE_F32;
      bool isTokens = isInteger(input) && !derived && input.dims.size() == 2;
      if (isTokens && !found)
        tokens_ = input;
      else if (isTokens || (!isFloat && !derived))
        throw CommandError(kUsage,
                           "tokens do not say what input '" + input.name + "' is: give .npz files of the inputs");
      found = found || isTokens;
    }
    if (!found)
      throw CommandError(
          kUsage,
          "token ids are for models with an input of tokens [batch, sequence]: give .npz files of this one's inputs");
    ids_ = readIds(options_.calibration);
    if (ids_.size() < static_cast<size_t>(options_.context))
      throw CommandError(kUsage, "calibration tokens '" + options_.calibration + "': expected at least one window of " +
                                     std::to_string(options_.context) + " tokens, found " +
                                     std::to_string(ids_.size()));
  }

  /// What dimensions are of one window without a past. What counts the tokens of a past is as small as it may be; masks
  /// and positions are of all tokens, also where they call that by a name of their own.
  Dims dimsOfWindow() const {
    Dims symbols;
    for (const SymbolInfo &symbol : module_.symbols())
      symbols[symbol.name] = std::max<int64_t>(symbol.min, 0);
    std::set<std::string> ofCaches;
    auto set = [&](const std::string &text, int64_t extent) {
      if (auto it = symbols.find(text); it != symbols.end())
        it->second = extent;
    };
    for (const TensorInfo &input : module_.inputs()) {
      if (!input.dimTexts.empty())
        set(input.dimTexts.front(), 1);
      if (!isInteger(input) && !says(input, "mask"))
        ofCaches.insert(input.dimTexts.begin(), input.dimTexts.end());
    }
    for (const TensorInfo &input : module_.inputs())
      if ((says(input, "mask") || says(input, "position")) && input.dimTexts.size() > 1 && !ofCaches.count(input.dimTexts.back()))
        set(input.dimTexts.back(), options_.context);
    set(tokens_.dimTexts[0], 1);
    set(tokens_.dimTexts[1], options_.context);
    return symbols;
  }

  /// What a decoder without a past takes beside its tokens: masks of ones, positions from 0, empty caches.
  Tensor inputOf(const TensorInfo &info, const int64_t *begin) const {
    Dims symbols = dimsOfWindow();
    Tensor tensor;
    tensor.name = info.name;
    tensor.dtype = info.dtype;
    for (size_t d = 0; d < info.dims.size(); ++d)
      tensor.dims.push_back(info.dims[d] >= 0 ? info.dims[d] : evaluateDim(info.dimTexts[d], symbols).value_or(1));
    auto count = static_cast<size_t>(tensor.elements());
    tensor.bytes.assign(count * lathe_dtype_size(info.dtype), 0);
    for (size_t i = 0; i < count && isInteger(info); ++i) {
      int64_t value = info.name == tokens_.name ? begin[i]
                      : says(info, "position")  ? static_cast<int64_t>(i) % options_.context
                                                : 1;
      auto narrow = static_cast<int32_t>(value);
      if (info.dtype == LATHE_I64)
        memcpy(tensor.bytes.data() + 8 * i, &value, 8);
      else
        memcpy(tensor.bytes.data() + 4 * i, &narrow, 4);
    }
    if (!isInteger(info) && info.dtype != LATHE_F32)
      std::fill(tensor.bytes.begin(), tensor.bytes.end(), 1); // a mask of truth values
    return tensor;
  }

  const Module &module_;
  const CompareOptions &options_;
  std::vector<std::string> paths_;
  std::vector<int64_t> ids_;
  TensorInfo tokens_;
};

void addOutputs(const Module *modules[2], Session *sessions[2], std::vector<OutputRow> &rows) {
  std::vector<TensorInfo> a = modules[0]->outputs(), b = modules[1]->outputs();
  rows.resize(a.size());
  for (size_t i = 0; i < a.size(); ++i) {
    OutputRow &row = rows[i];
    row.name = a[i].name;
    auto other = std::find_if(b.begin(), b.end(), [&](const TensorInfo &info) { return info.name == a[i].name; });
    if (other == b.end()) {
      row.problem = "the second has no such output";
      continue;
    }
    Output x = sessions[0]->output(i), y = sessions[1]->output(static_cast<size_t>(other - b.begin()));
    if (x.dims != y.dims)
      row.problem = "shape " + shapeText(x.dims) + " of the first and " + shapeText(y.dims) + " of the second";
    else
      row.distance.add(x.data, x.dtype, y.data, y.dtype, x.size / lathe_dtype_size(x.dtype));
  }
}

/// The largest error of what A's kernels computed that `kernel` reads; where one is not compared, of what that reads.
double errorOfInputs(const ordered_json &kernels, size_t kernel, const std::vector<const Row *> &rowOf,
                     std::set<size_t> &seen) {
  double error = 0;
  for (const ordered_json &read : member(kernels[kernel], "reads")) {
    if (!read.is_number_unsigned() || read >= kernels.size() || !seen.insert(read.get<size_t>()).second)
      continue;
    auto other = read.get<size_t>();
    error = std::max(error, rowOf[other] ? rowOf[other]->relative : errorOfInputs(kernels, other, rowOf, seen));
  }
  return error;
}

void summarize(Comparison &result, const ordered_json &kernels, double threshold) {
  std::vector<const Row *> rowOf(kernels.size());
  result.rows.reserve(result.pairs.size());
  for (const Pair &pair : result.pairs) {
    if (!pair.compared) {
      ++result.skipped;
      continue;
    }
    result.rows.push_back({&pair, pair.distance.relative(), 0});
    rowOf[pair.kernels[0]] = &result.rows.back();
  }
  for (Row &row : result.rows) {
    std::set<size_t> seen;
    row.ofInputs = errorOfInputs(kernels, row.pair->kernels[0], rowOf, seen);
    result.above += row.relative > threshold;
    if (!result.first && row.relative > threshold)
      result.first = &row;
    if (row.step() > 0 && (!result.largestStep || row.step() > result.largestStep->step()))
      result.largestStep = &row;
  }
}

/// `given`: the inputs of the one sample; null: the options say.
Comparison compareModules(const CompareOptions &options, const std::vector<Tensor> *given = nullptr) {
  Module a(options.files[0]), b(options.files[1]);
  checkSameModel(a, b, options);
  ordered_json manifests[2] = {manifestOf(a), manifestOf(b)};
  Comparison result;
  for (int side : {0, 1}) {
    result.files[side] = options.names[side];
    ordered_json model = member(manifests[side], "model"), hash = member(model, "sha256");
    result.hashes[side] = hash.is_string() ? hash.get<std::string>() : "";
    result.nodes[side] = resultsOf(member(manifests[side], "kernels")).size();
    if (result.nodes[side] == 0)
      throw CommandError(kUsage, "'" + options.names[side] +
                                     "' does not say which values of the model its kernels compute: compile it again");
  }
  ordered_json kernels[2] = {member(manifests[0], "kernels"), member(manifests[1], "kernels")};
  result.pairs = findPairs(kernels[0], kernels[1]);
  if (result.pairs.empty())
    throw CommandError(kUsage, "'" + options.names[0] + "' and '" + options.names[1] +
                                   "' have no node in common, so they are not of one model");
  SessionOptions sessionOptions;
  sessionOptions.threads = options.threads;
  Session sessionA(a, sessionOptions), sessionB(b, sessionOptions);
  const Module *modules[2] = {&a, &b};
  Session *sessions[2] = {&sessionA, &sessionB};
  LockStep steps(result.pairs, kernels[0].size(), kernels[1].size());
  std::optional<Samples> samples;
  if (!given)
    samples.emplace(a, options);
  Progress progress(/*quiet=*/given);
  for (size_t sample = 0, count = given ? 1 : samples->count(); sample < count; ++sample) {
    if (!given)
      progress.show({"compare samples", sample, count});
    std::vector<Tensor> inputs = given ? *given : samples->read(sample);
    bindInputs(a, sessionA, inputs);
    bindInputs(b, sessionB, inputs);
    steps.run(sessionA, sessionB);
    addOutputs(modules, sessions, result.outputs);
    ++result.samples;
  }
  summarize(result, kernels[0], options.threshold);
  return result;
}

//===----------------------------------------------------------------------===//
// What is told
//===----------------------------------------------------------------------===//

bool isWithin(const OutputRow &row, const CompareOptions &options) {
  double allowed = options.atol.value_or(0) + options.rtol.value_or(0) * row.distance.maxReference;
  return row.problem.empty() && row.distance.nonFinite == 0 && row.distance.maxAbs <= allowed;
}

std::string numberText(double value) {
  char text[32];
  snprintf(text, sizeof text, "%.2g", value);
  return text;
}

/// JSON has no infinity.
ordered_json finite(double value) { return std::isfinite(value) ? ordered_json(value) : ordered_json(); }

ordered_json distanceJson(const Distance &distance) {
  return {{"relative_error", finite(distance.relative())},
          {"max_abs_error", distance.maxAbs},
          {"snr_db", finite(distance.snrDb())},
          {"cosine", distance.cosine()},
          {"elements", distance.elements},
          {"non_finite", distance.nonFinite}};
}

ordered_json rowJson(const Row &row) {
  ordered_json json = {{"node", row.pair->node}, {"value", row.pair->value}};
  json.update(distanceJson(row.pair->distance));
  json["relative_error_of_inputs"] = finite(row.ofInputs);
  return json;
}

ordered_json toJson(const Comparison &result, const CompareOptions &options) {
  ordered_json json = {{"a", result.files[0]},
                       {"b", result.files[1]},
                       {"same_model", result.hashes[0] == result.hashes[1]},
                       {"samples", result.samples},
                       {"threshold", options.threshold},
                       {"values_of_a", result.nodes[0]},
                       {"values_of_b", result.nodes[1]},
                       {"compared", result.rows.size()},
                       {"skipped", result.skipped},
                       {"above", result.above}};
  json["first_above"] = result.first ? rowJson(*result.first) : ordered_json();
  json["largest_step"] = result.largestStep ? rowJson(*result.largestStep) : ordered_json();
  json["nodes"] = ordered_json::array();
  for (const Row &row : result.rows)
    json["nodes"].push_back(rowJson(row));
  json["outputs"] = ordered_json::array();
  for (const OutputRow &row : result.outputs) {
    ordered_json output = {{"name", row.name}};
    if (!row.problem.empty())
      output["problem"] = row.problem;
    else
      output.update(distanceJson(row.distance));
    if (options.rtol || options.atol)
      output["within"] = isWithin(row, options);
    json["outputs"].push_back(std::move(output));
  }
  return json;
}

void printDistance(const Distance &distance) {
  printf("%10s %10s %8s %9.6f", numberText(distance.relative()).c_str(), numberText(distance.maxAbs).c_str(),
         std::isinf(distance.snrDb()) ? (distance.snrDb() > 0 ? "exact" : "none")
                                      : numberText(std::round(distance.snrDb())).c_str(),
         distance.cosine());
}

void print(const Comparison &result, const CompareOptions &options) {
  printf("%zu of %zu and %zu values compared over %zu sample%s%s\n", result.rows.size(), result.nodes[0],
         result.nodes[1], result.samples, result.samples == 1 ? "" : "s",
         result.skipped ? (", " + std::to_string(result.skipped) + " not: not computed, or laid out otherwise").c_str()
                        : "");
  auto describe = [](const Row &row) {
    return "node '" + row.pair->node + "' (relative error " + numberText(row.relative) + "; its inputs " +
           numberText(row.ofInputs) + ")";
  };
  if (result.first)
    printf("first above %g: %s; %zu above in all\n", options.threshold, describe(*result.first).c_str(), result.above);
  else
    printf("none is above %g\n", options.threshold);
  if (result.largestStep)
    printf("largest step: %s\n", describe(*result.largestStep).c_str());
  std::vector<const Row *> worst;
  for (const Row &row : result.rows)
    worst.push_back(&row);
  // Vectors of rows are in the order of kernels.
  std::sort(worst.begin(), worst.end(),
            [](const Row *x, const Row *y) { return x->relative != y->relative ? x->relative > y->relative : x < y; });
  if (options.top && worst.size() > options.top)
    worst.resize(options.top);
  printf("\n%10s %10s %8s %9s %10s  %s\n", "relative", "max abs", "SNR, dB", "cosine", "inputs", "node");
  for (const Row *row : worst) {
    printDistance(row->pair->distance);
    printf(" %10s  %s\n", numberText(row->ofInputs).c_str(), row->pair->node.c_str());
  }
  for (const OutputRow &row : result.outputs) {
    bool judged = options.rtol || options.atol;
    if (!row.problem.empty()) {
      printf("output '%s': %s%s\n", row.name.c_str(), row.problem.c_str(), judged ? ": FAILED" : "");
      continue;
    }
    printDistance(row.distance);
    printf(" %10s  output '%s'%s\n", "", row.name.c_str(), !judged ? "" : isWithin(row, options) ? ": ok" : ": FAILED");
  }
}

} // namespace

int tool::compareArtifacts(const CompareOptions &options) {
  return guarded([&] {
    checkHtml(options.html);
    Comparison result = compareModules(options);
    if (result.hashes[0] != result.hashes[1])
      printWarning("'" + options.names[0] + "' and '" + options.names[1] +
                   "' were made from different files: values are matched by their names");
    std::string json = toJson(result, options).dump(2, ' ', false, ordered_json::error_handler_t::replace);
    if (!options.html.empty())
      writeHtmlReport(json, "of the comparison", options.html);
    if (options.json)
      printf("%s\n", json.c_str());
    else
      print(result, options);
    bool within = std::all_of(result.outputs.begin(), result.outputs.end(),
                              [&](const OutputRow &row) { return isWithin(row, options); });
    return (options.rtol || options.atol) && !within ? kOutsideTolerance : kOk;
  });
}

std::vector<std::string> tool::firstParting(const std::string &a, const std::string &b,
                                            const std::vector<Tensor> &inputs, double threshold, int threads) {
  CompareOptions options;
  options.files[0] = options.names[0] = a;
  options.files[1] = options.names[1] = b;
  options.threshold = threshold;
  options.threads = threads;
  Comparison result = compareModules(options, &inputs);
  const Row *row = result.first ? result.first : result.largestStep;
  if (!row)
    return {};
  std::vector<std::string> nodes = {row->pair->node};
  for (int side : {0, 1}) {
    Module module(options.files[side]);
    std::vector<std::vector<std::string>> kernels = nodesOfKernels(module);
    for (const std::string &node : kernels.at(row->pair->kernels[side]))
      if (std::find(nodes.begin(), nodes.end(), node) == nodes.end())
        nodes.push_back(node);
  }
  return nodes;
}

void tool::addCompareOptions(CLI::App &command, CompareOptions &options) {
  command.add_option("a", options.files[0], "The model to compare with (.lathe)")->required();
  command.add_option("b", options.files[1], "The model that is judged (.lathe)")->required();
  command.add_option("--calib", options.calibration,
                     "Sample inputs: a folder of .npz files, one .npz file, or token ids (.npy)");
  command.add_option("--context", options.context, "Tokens of a window that token ids are cut into (256)")
      ->check(CLI::Range(1, 1 << 20));
  command.add_option("--samples", options.samples, "Windows or files that are used, from the first (default: all)");
  command.add_option("--inputs", options.inputs.file, "Inputs by name (.npz)");
  command
      .add_option("--dim", options.inputs.dims,
                  "Value of a symbolic dimension of made-up inputs: name=number (repeatable; default 1)")
      ->take_all();
  command.add_option("--threshold", options.threshold, "Relative error above which a node is told (0.01)")
      ->check(CLI::NonNegativeNumber);
  command
      .add_option("--rtol", options.rtol,
                  "Allowed error of outputs as a share of the largest value; past it, exit code 4")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--atol", options.atol, "Allowed absolute error of outputs; likewise")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--threads", options.threads, "Threads of each run (default: every processor)")
      ->check(CLI::Range(0, 1024));
  command.add_option("--top", options.top, "Nodes to print, 0 for all (10)");
  command.add_option("--html", options.html, "Write a page with all nodes here");
  command.add_flag("--json", options.json, "Print one JSON object, of all nodes");
}
