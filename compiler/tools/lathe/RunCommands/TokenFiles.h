//===- TokenFiles.h - Texts and ids of tokens in files ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_TOKENFILES_H
#define LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_TOKENFILES_H

#include <cstdint>
#include <string>
#include <vector>

namespace lathe::tool {

/// The bytes of a file, or of standard input for "-".
std::string readTextFile(const std::string &path);

/// The integers of a .npy file of one row, or of several. Throws FileError for other types, other ranks and numbers
/// that are no ids; -1 at the end of a row fills it up.
std::vector<std::vector<int64_t>> readIdRows(const std::string &path);

/// The same where there must be one row, [N].
std::vector<int64_t> readIds(const std::string &path);

/// Writes int64: [N] for one row, else [rows, longest], filled up with -1.
void writeIds(const std::string &path, const std::vector<std::vector<int64_t>> &rows);

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_TOKENFILES_H
