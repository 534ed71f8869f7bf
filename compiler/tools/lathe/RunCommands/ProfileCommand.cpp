//===- ProfileCommand.cpp - lathe profile -----------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/Commands.h"
#include "compiler/tools/lathe/RunCommands/HtmlReport.h"
#include "compiler/tools/lathe/RunCommands/Inputs.h"
#include "compiler/tools/lathe/RunCommands/ManifestJson.h"
#include "compiler/tools/lathe/RunCommands/Support.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <tuple>

using namespace lathe;
using namespace lathe::tool;
using nlohmann::ordered_json;

namespace {

struct ProfileOptions : MeasureOptions {
  std::string by = "kernel", trace, html;
  size_t top = 30;
};

double milliseconds() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// One call of a kernel.
struct Event {
  size_t kernel;
  uint64_t start, nanoseconds;
};

/// What is told of a kernel, or of a node of the model.
struct Row {
  std::string name, kind;
  std::vector<std::string> nodes;
  double ms = 0, calls = 0; ///< of one run
};

/// The time of a kernel that several nodes were fused into is theirs in equal parts.
std::vector<Row> byNode(const std::vector<Row> &kernels) {
  std::map<std::string, size_t> places;
  std::vector<Row> result;
  for (const Row &kernel : kernels) {
    std::vector<std::string> nodes = kernel.nodes;
    if (nodes.empty())
      nodes.push_back("(of no node)");
    for (const std::string &node : nodes) {
      auto [place, isNew] = places.try_emplace(node, result.size());
      if (isNew)
        result.push_back({node, kernel.kind, {}, 0, 0});
      Row &row = result[place->second];
      row.kind = row.kind == kernel.kind ? kernel.kind : "several";
      row.ms += kernel.ms / static_cast<double>(nodes.size());
      row.calls += kernel.calls;
      row.nodes.push_back(kernel.name);
    }
  }
  return result;
}

/// Complete events of the Trace Event Format, in microseconds.
std::string traceText(const std::vector<Event> &events, const std::vector<Row> &kernels) {
  ordered_json list = ordered_json::array();
  for (const Event &event : events) {
    const Row &kernel = kernels[event.kernel];
    list.push_back({{"name", kernel.name},
                    {"cat", kernel.kind},
                    {"ph", "X"},
                    {"ts", static_cast<double>(event.start - events.front().start) / 1e3},
                    {"dur", static_cast<double>(event.nanoseconds) / 1e3},
                    {"pid", 1},
                    {"tid", 1},
                    {"args", {{"nodes", kernel.nodes}}}});
  }
  ordered_json trace = {{"traceEvents", list}, {"displayTimeUnit", "ns"}};
  return trace.dump(1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

/// What the page shows: kernels, and the calls of one run as [kernel, begin, length] in microseconds.
ordered_json pageJson(const ProfileOptions &options, const std::vector<Row> &kernels, const std::vector<Event> &events,
                      const ordered_json &report, const std::string &device) {
  ordered_json page = report;
  page.erase("rows");
  page.erase("by");
  page["file"] = options.artifact;
  page["device"] = device;
  page["kernels"] = ordered_json::array();
  for (const Row &row : kernels)
    page["kernels"].push_back(
        {{"name", row.name}, {"kind", row.kind}, {"nodes", row.nodes}, {"ms", row.ms}, {"calls", row.calls}});
  page["events"] = ordered_json::array();
  for (const Event &event : events)
    page["events"].push_back({event.kernel, static_cast<double>(event.start - events.front().start) / 1e3,
                              static_cast<double>(event.nanoseconds) / 1e3});
  return {{"profile", std::move(page)}};
}

void print(const ProfileOptions &options, const std::vector<Row> &rows, double total, double rest) {
  size_t shown = options.top ? std::min(rows.size(), options.top) : rows.size();
  double others = 0;
  printf("%10s %6s %7s  %-10s %s\n", "ms", "%", "calls", "kind", options.by == "node" ? "node" : "kernel");
  auto line = [&](double ms, const std::string &calls, const std::string &kind, const std::string &name) {
    printf("%10.4f %6.2f %7s  %-10s %s\n", ms, 100 * ms / total, calls.c_str(), kind.c_str(), name.c_str());
  };
  for (size_t i = 0; i < rows.size(); ++i) {
    const Row &row = rows[i];
    if (i >= shown) {
      others += row.ms;
      continue;
    }
    char calls[32];
    snprintf(calls, sizeof(calls), "%g", row.calls);
    std::string name = row.name;
    if (options.by == "kernel" && !row.nodes.empty())
      name += "  " + row.nodes.back() + (row.nodes.size() > 1 ? " and " + std::to_string(row.nodes.size() - 1) + " more" : "");
    line(row.ms, calls, row.kind, name);
  }
  if (shown < rows.size())
    line(others, "", "", std::to_string(rows.size() - shown) + " more (--top 0 shows all)");
  line(rest, "", "", "between kernels");
  line(total, "", "", "a run");
}

/// Kernels of a profiled session, with what all of them took in a run.
std::vector<Row> timesOf(const Module &module, const Session &session, int runs, double &sum) {
  std::vector<Row> kernels;
  std::vector<std::vector<std::string>> nodes = nodesOfKernels(module);
  for (size_t i = 0; i < nodes.size(); ++i) {
    lathe_kernel_profile time = session.profile(i);
    double ms = static_cast<double>(time.nanoseconds) / 1e6 / runs;
    kernels.push_back({time.name, time.kind, nodes[i], ms, static_cast<double>(time.calls) / runs});
    sum += ms;
  }
  return kernels;
}

/// The calls of one run more, so that keeping them costs the others nothing.
std::vector<Event> traceRun(Session &session) {
  std::vector<Event> events;
  auto record = [&](size_t kernel, uint64_t start, uint64_t nanoseconds) {
    events.push_back({kernel, start, nanoseconds});
  };
  session.setTrace(record);
  session.run();
  session.clearTrace();
  return events;
}

/// Those that were called, the longest first.
std::vector<Row> shownRows(const ProfileOptions &options, const std::vector<Row> &kernels) {
  std::vector<Row> rows = options.by == "node" ? byNode(kernels) : kernels;
  rows.erase(std::remove_if(rows.begin(), rows.end(), [](const Row &row) { return row.calls == 0; }), rows.end());
  std::sort(rows.begin(), rows.end(),
            [](const Row &a, const Row &b) { return std::tie(b.ms, a.name) < std::tie(a.ms, b.name); });
  return rows;
}

int profile(const ProfileOptions &options) {
  checkHtml(options.html);
  LoadOptions load;
  load.device = options.device;
  load.tf32 = options.tf32;
  Module module(options.artifact, load);
  SessionOptions sessionOptions;
  sessionOptions.threads = options.threads;
  Session session(module, sessionOptions);
  auto [inputs, dims] = chooseInputs(module, options.inputs);
  bindInputs(module, session, inputs);
  for (int i = 0; i < options.warmup; ++i)
    session.run();

  session.setProfiling(true);
  double start = milliseconds();
  for (int i = 0; i < options.iterations; ++i)
    session.run();
  double total = (milliseconds() - start) / options.iterations;
  double sum = 0;
  std::vector<Row> kernels = timesOf(module, session, options.iterations, sum);
  std::vector<Event> events;
  if (!options.trace.empty() || !options.html.empty())
    events = traceRun(session);
  if (!options.trace.empty())
    writeText(options.trace, traceText(events, kernels));
  ordered_json report = {{"by", options.by}, {"run_ms", total}, {"kernels_ms", sum}, {"between_ms", total - sum}};
  report["iterations"] = options.iterations;
  report["threads"] = session.threads();
  report["dims"] = dims;
  if (!options.html.empty()) {
    std::string page = pageJson(options, kernels, events, report, module.info().device).dump(-1, ' ', false, ordered_json::error_handler_t::replace);
    writeHtmlReport(page, "of the profile", options.html);
  }

  std::vector<Row> rows = shownRows(options, kernels);
  if (!options.json) {
    print(options, rows, total, total - sum);
    if (!options.trace.empty())
      printf("wrote %s: load it in chrome://tracing or ui.perfetto.dev\n", options.trace.c_str());
    if (!options.html.empty())
      printf("wrote %s\n", options.html.c_str());
    return kOk;
  }
  report["rows"] = ordered_json::array();
  for (const Row &row : rows)
    report["rows"].push_back({{"name", row.name},
                              {"kind", row.kind},
                              {"ms", row.ms},
                              {"percent", 100 * row.ms / total},
                              {"calls", row.calls},
                              {options.by == "node" ? "kernels" : "nodes", row.nodes}});
  printf("%s\n", report.dump(2, ' ', false, ordered_json::error_handler_t::replace).c_str());
  return kOk;
}

} // namespace

void tool::addProfileCommand(CLI::App &app, int &exitCode) {
  auto options = std::make_shared<ProfileOptions>();
  CLI::App *command = app.add_subcommand("profile", "Tell where the time of a compiled model goes");
  addMeasureOptions(*command, *options);
  command->get_option("artifact")->required();
  command->add_option("--by", options->by, "kernel, or node: a node of the ONNX model, fused ones sharing the time (kernel)")
      ->check(CLI::IsMember({"kernel", "node"}));
  command->add_option("--trace", options->trace, "Write the calls of one run as a Chrome trace (.json)");
  command->add_option("--html", options->html, "Write a page: time by layer, the calls of one run, and all kernels (.html)");
  command->add_option("--top", options->top, "Rows to print, 0 for all (30)");
  command->callback([options, &exitCode] { exitCode = guarded([&] { return profile(*options); }); });
}
