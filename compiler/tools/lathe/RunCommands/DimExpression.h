//===- DimExpression.h - Expressions over symbolic dimensions ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_DIMEXPRESSION_H
#define LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_DIMEXPRESSION_H

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace lathe::tool {

/// Value of a dimension's text, such as "past_sequence + sequence": the name of a symbol, or numbers and names joined
/// by + - * / (rounding down), parentheses, and min, max, floordiv and mod of two. Nothing when it is none of these or does not fit.
std::optional<int64_t> evaluateDim(const std::string &text, const std::map<std::string, int64_t> &symbols);

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_DIMEXPRESSION_H
