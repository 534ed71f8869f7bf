//===- Documents.cpp - Files that travel with a model -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/Documents.h"
#include "compiler/tools/lathe/RunCommands/Support.h"
#include "compiler/tools/lathe/RunCommands/TokenFiles.h"
#include "runtime/ArtifactFormat.h"
#include "runtime/generation/GenerationConfig.h"
#ifdef LATHE_HAS_TOKENIZER
#include "runtime/include/lathe/tokenizer.hpp"
#endif

#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

using namespace lathe;
using namespace lathe::tool;
using nlohmann::ordered_json;

#ifdef LATHE_HAS_TOKENIZER
static DocumentFile readTokenizerFile(const std::string &path) {
  DocumentFile file{kTokenizerDocument, "", readTextFile(path)};
  try {
    file.format = Tokenizer::fromMemory(file.bytes).info().kind;
  } catch (const TokenizerError &error) {
    throw CommandError(exitCodeFor(error.status()), "'" + path + "': " + error.what());
  }
  return file;
}

std::unique_ptr<Tokenizer> tool::loadTokenizer(const std::string &artifact) {
  return loadTokenizer(Module(artifact), artifact);
}

std::unique_ptr<Tokenizer> tool::loadTokenizer(const Module &module, const std::string &artifact) {
  std::optional<Document> document = module.document(kTokenizerDocument);
  if (!document)
    return nullptr;
  try {
    return std::make_unique<Tokenizer>(Tokenizer::fromMemory(document->data));
  } catch (const TokenizerError &error) {
    throw CommandError(exitCodeFor(error.status()), "the tokenizer of '" + artifact + "': " + error.what());
  }
}
#else
static DocumentFile readTokenizerFile(const std::string &path) {
  throw CommandError(kUsage, "'" + path + "' can't be read: this build of Lathe has no tokenizers (LATHE_TOKENIZER)");
}
#endif

/// Types, and how deep the text is nested, which costs stack where it is copied.
static runtime::GenerationConfig readMembers(std::string_view text, const std::string &where, int code) {
  runtime::GenerationConfig config;
  if (runtime::Status status = runtime::readGenerationConfig(text, config, nullptr); status.failed())
    throw CommandError(code, where + ": " + status.message());
  return config;
}

static DocumentFile readGenerationConfigFile(const std::string &path) {
  DocumentFile file{kGenerationConfigDocument, "generation_config.json", readTextFile(path)};
  runtime::GenerationConfig config = readMembers(file.bytes, "'" + path + "'", kUsage);
  if (config.temperature == 0) { // as generation understands it
    config.temperature = 1;
    config.do_sample = false;
  }
  if (runtime::Status status = runtime::validate(config); status.failed())
    throw CommandError(kUsage, "'" + path + "': " + status.message());
  return file;
}

int tool::readDocuments(const std::string &tokenizer, const std::string &generationConfig,
                        std::vector<DocumentFile> &files) {
  return guarded([&] {
    std::string config = generationConfig;
    if (!tokenizer.empty())
      files.push_back(readTokenizerFile(tokenizer));
    if (!tokenizer.empty() && config.empty())
      config = configBeside(tokenizer);
    if (!config.empty())
      files.push_back(readGenerationConfigFile(config));
    return static_cast<int>(kOk);
  });
}

std::string tool::configBeside(const std::string &path) {
  std::filesystem::path beside = std::filesystem::path(path).parent_path() / "generation_config.json";
  std::error_code ignored;
  return std::filesystem::is_regular_file(beside, ignored) ? beside.string() : "";
}

ordered_json tool::parseGenerationConfig(std::string_view text, const std::string &where, int code) {
  readMembers(text, where, code);
  return ordered_json::parse(text.begin(), text.end());
}

bool tool::isArtifactFile(const std::string &path) {
  char magic[sizeof artifact::kMagic] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof magic);
  return memcmp(magic, artifact::kMagic, sizeof magic) == 0;
}
