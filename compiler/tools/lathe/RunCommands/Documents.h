//===- Documents.h - Files that travel with a model -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_DOCUMENTS_H
#define LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_DOCUMENTS_H

#include "runtime/include/lathe/lathe.hpp"

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {
class Tokenizer;
}

namespace lathe::tool {

/// Names of the documents of artifacts (docs/artifact.md).
inline constexpr const char *kTokenizerDocument = "tokenizer";
inline constexpr const char *kGenerationConfigDocument = "generation_config";

/// What is put into an artifact.
struct DocumentFile {
  std::string name, format, bytes;
};

/// Reads a tokenizer.json or SentencePiece model and a generation_config.json, and sees that they can be used. Empty
/// paths name none; without that of a config, the one beside the tokenizer is read, if there is one. Returns 0, or,
/// after a message, the exit code.
int readDocuments(const std::string &tokenizer, const std::string &generationConfig, std::vector<DocumentFile> &files);

/// The generation_config.json in the folder of `path`; empty where there is none.
std::string configBeside(const std::string &path);

/// The members of a generation_config.json, sure to be of the types that generation wants. `where` begins the message
/// of the CommandError, of exit code `code`, where they are not.
nlohmann::ordered_json parseGenerationConfig(std::string_view text, const std::string &where, int code);

/// Whether the file begins as a .lathe file does.
bool isArtifactFile(const std::string &path);

#ifdef LATHE_HAS_TOKENIZER
/// The tokenizer that an artifact carries; null where it carries none. Throws CommandError, Error.
std::unique_ptr<Tokenizer> loadTokenizer(const Module &module, const std::string &artifact);
std::unique_ptr<Tokenizer> loadTokenizer(const std::string &artifact);
#endif

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_DOCUMENTS_H
