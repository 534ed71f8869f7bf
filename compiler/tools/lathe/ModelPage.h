//===- ModelPage.h - What is inside a model, as a page ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_MODELPAGE_H
#define LATHE_COMPILER_TOOLS_LATHE_MODELPAGE_H

#include "compiler/Compile.h"
#include <nlohmann/json.hpp>
#include <string>

namespace lathe::tool {

/// Writes the page (RunCommands/pages/model.js) of a model that was checked with CompileOptions::describesPhases: what
/// its program is after each phase that it came to. Prints what goes wrong; returns the exit code.
int writeModelPage(const std::string &path, const CompileResult &result, nlohmann::ordered_json inputs,
                   nlohmann::ordered_json outputs, const std::string &html);

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_MODELPAGE_H
