//===- HtmlReport.cpp - lathe report ----------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/HtmlReport.h"
#include "compiler/tools/lathe/RunCommands/Commands.h"
#include "compiler/tools/lathe/RunCommands/Support.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

using namespace lathe;
using namespace lathe::tool;
using nlohmann::ordered_json;

namespace {

#include "PageTexts.inc"

bool isListOfObjects(const ordered_json &object, const char *key) {
  if (!object.is_object() || !object.contains(key) || !object[key].is_array())
    return false;
  for (const ordered_json &entry : object[key])
    if (!entry.is_object())
      return false;
  return true;
}

/// What shows a report, by what is in it, and what that reads without asking; a script, or what is missing.
const char *scriptOf(const ordered_json &report, std::string &problem) {
  struct Kind {
    const char *key; ///< that tells it; null for the report itself
    std::vector<const char *> lists;
    const char *script;
  };
  static const Kind kinds[] = {{"compression", {"layers"}, compression_js},
                               {"model", {"phases", "inputs", "outputs"}, model_js},
                               {"profile", {"kernels"}, profile_js},
                               {nullptr, {"nodes", "outputs"}, comparison_js}};
  if (!report.is_object()) {
    problem = "expected an object, found " + std::string(report.type_name());
    return nullptr;
  }
  for (const Kind &kind : kinds) {
    if (kind.key && !report.contains(kind.key))
      continue;
    const ordered_json &content = kind.key ? report[kind.key] : report;
    for (const char *list : kind.lists)
      if (kind.key && !isListOfObjects(content, list))
        problem = "expected a list of objects in '" + std::string(kind.key) + "." + list + "'";
      else if (!isListOfObjects(content, list))
        problem = "expected the report of a compression ('compression', which --report of a model that nothing was "
                  "compressed in does not have) or of lathe compare ('nodes' and 'outputs')";
    return problem.empty() ? kind.script : nullptr;
  }
  return nullptr;
}

void put(std::string &page, const std::string &place, const std::string &text) {
  page.replace(page.find(place), place.size(), text);
}

struct ReportOptions {
  std::string report, output;
};

} // namespace

bool tool::isHtml(const std::string &path) {
  const std::string ending = ".html";
  return path.size() > ending.size() && path.compare(path.size() - ending.size(), ending.size(), ending) == 0;
}

void tool::writeHtmlReport(const std::string &json, const std::string &name, const std::string &path) {
  ordered_json report = ordered_json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (report.is_discarded())
    throw CommandError(kUsage, "the report " + name + " is not JSON");
  std::string problem;
  const char *script = scriptOf(report, problem);
  if (!script)
    throw CommandError(kUsage, "the report " + name + " can't be shown: " + problem);
  // Names come from models: none may end the script, or begin a comment in it.
  std::string data;
  for (char c : report.dump(-1, ' ', false, ordered_json::error_handler_t::replace))
    data += c == '<' ? "\\u003c" : std::string(1, c);
  std::string page = page_html;
  put(page, "@SCRIPT@", std::string(common_js) + script);
  put(page, "@REPORT@", data); // which may hold anything, so that nothing is looked for behind it
  writeText(path, page);
}

void tool::checkHtml(const std::string &path) {
  if (!path.empty() && !isHtml(path))
    throw CommandError(kUsage, "--html expects a name that ends in .html, found '" + path + "'");
}

int tool::makePage(const std::string &json, const std::string &name, const std::string &path) {
  return guarded([&] {
    writeHtmlReport(json, name, path);
    return kOk;
  });
}

void tool::addReportCommand(CLI::App &app, int &exitCode) {
  auto options = std::make_shared<ReportOptions>();
  CLI::App *command = app.add_subcommand("report", "Show the report of a compression or comparison as a page");
  command->add_option("report", options->report, "The report (.json), of --report or compare --json")->required();
  command->add_option("-o,--output", options->output, "The page (.html)")->required();
  command->callback([options, &exitCode] {
    exitCode = guarded([&] {
      if (!isHtml(options->output))
        throw CommandError(kUsage, "expected an output that ends in .html, found '" + options->output + "'");
      std::vector<unsigned char> content = readWhole(options->report);
      writeHtmlReport(std::string(content.begin(), content.end()), "'" + options->report + "'", options->output);
      return kOk;
    });
  });
}
