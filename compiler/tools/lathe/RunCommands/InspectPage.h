//===- InspectPage.h - What is inside, as a page ----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_INSPECTPAGE_H
#define LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_INSPECTPAGE_H

#include <nlohmann/json.hpp>
#include <string>

namespace lathe::tool {

/// The report of a page (pages/model.js) on an artifact: its programs are what the page calls phases, their kernels its
/// nodes. `report` is what `inspect --json` prints.
std::string artifactPage(const std::string &file, const nlohmann::ordered_json &report,
                         const nlohmann::ordered_json &manifest);

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_INSPECTPAGE_H
