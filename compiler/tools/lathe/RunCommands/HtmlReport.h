//===- HtmlReport.h - Reports as pages --------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_HTMLREPORT_H
#define LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_HTMLREPORT_H

#include <string>

namespace lathe::tool {

/// Whether a path asks for a page: it ends in ".html".
bool isHtml(const std::string &path);

/// Throws CommandError where a page is wanted under a name that is not one's; an empty path is none.
void checkHtml(const std::string &path);

/// Writes the report of a compression or a comparison, what `inspect` shows or a profile, JSON, as one self-contained
/// page (pages/ holds how it looks). `name` is the report's in errors. Throws CommandError for what is no such report,
/// FileError where the page can't be written.
void writeHtmlReport(const std::string &json, const std::string &name, const std::string &path);

/// The same, but prints what goes wrong, and returns the exit code.
int makePage(const std::string &json, const std::string &name, const std::string &path);

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_HTMLREPORT_H
