//===- TokenizeCommand.cpp - lathe tokenize ---------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/Commands.h"
#include "compiler/tools/lathe/RunCommands/Documents.h"
#include "compiler/tools/lathe/RunCommands/Support.h"
#include "compiler/tools/lathe/RunCommands/TokenFiles.h"
#include "runtime/include/lathe/tokenizer.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

using namespace lathe;
using namespace lathe::tool;
using nlohmann::ordered_json;

namespace {

struct TokenizeOptions {
  std::string tokenizer, text, file, ids, decode;
  bool hasText = false, withoutSpecial = false, json = false;
};

std::string readText(const TokenizeOptions &options) {
  if (options.hasText)
    return options.text;
  return readTextFile(options.file.empty() ? "-" : options.file);
}

void print(const ordered_json &report) {
  printf("%s\n", report.dump(2, ' ', false, ordered_json::error_handler_t::replace).c_str());
}

void decode(const Tokenizer &tokenizer, const TokenizeOptions &options) {
  std::string text = tokenizer.decode(readIds(options.decode), options.withoutSpecial);
  if (options.json)
    print({{"text", text}});
  else
    fwrite(text.data(), 1, text.size(), stdout);
}

void encode(const Tokenizer &tokenizer, const TokenizeOptions &options) {
  std::vector<int64_t> ids = tokenizer.encode(readText(options), !options.withoutSpecial);
  if (!options.ids.empty())
    writeIds(options.ids, {ids});
  if (options.json) {
    ordered_json report;
    report["count"] = ids.size();
    report["vocabulary_size"] = tokenizer.info().vocabulary_size;
    if (options.ids.empty()) {
      report["ids"] = ids;
      report["tokens"] = ordered_json::array();
      for (int64_t id : ids)
        report["tokens"].push_back(tokenizer.tokenText(id));
    }
    print(report);
    return;
  }
  if (!options.ids.empty()) {
    printf("%zu tokens\n", ids.size());
    return;
  }
  for (size_t i = 0; i < ids.size(); ++i)
    printf("%s%lld", i ? " " : "", static_cast<long long>(ids[i]));
  printf("\n");
}

/// That of a file, or what an artifact carries.
std::unique_ptr<Tokenizer> openTokenizer(const std::string &path) {
  if (!isArtifactFile(path))
    return std::make_unique<Tokenizer>(path);
  std::unique_ptr<Tokenizer> tokenizer = loadTokenizer(path);
  if (!tokenizer)
    throw CommandError(
        kUsage, "'" + path + "' carries no tokenizer: give a tokenizer.json, or compile the model with --tokenizer");
  return tokenizer;
}

int tokenize(const TokenizeOptions &options) {
  bool hasSource = options.hasText || !options.file.empty();
  if ((options.hasText && !options.file.empty()) || (!options.decode.empty() && (hasSource || !options.ids.empty())))
    throw CommandError(kUsage, "give one of --text, --file and --decode, and --ids only with a text");
  try {
    std::unique_ptr<Tokenizer> tokenizer = openTokenizer(options.tokenizer);
    options.decode.empty() ? encode(*tokenizer, options) : decode(*tokenizer, options);
  } catch (const TokenizerError &error) {
    throw CommandError(exitCodeFor(error.status()), error.what());
  }
  return kOk;
}

} // namespace

void tool::addTokenizeCommand(CLI::App &app, int &exitCode) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App *command = app.add_subcommand("tokenize", "Turn a text into ids of tokens, or ids into a text");
  command
      ->add_option("tokenizer", options->tokenizer,
                   "tokenizer.json, SentencePiece model, or an artifact that carries one")
      ->required();
  CLI::Option *text = command->add_option("--text", options->text, "The text (default: standard input)");
  command->add_option("--file", options->file, "A file that holds the text");
  command->add_option("--ids", options->ids, "Write the ids here (.npy, one row of int64) and print their number");
  command->add_option("--decode", options->decode, "Print the text of the ids in this file (.npy)");
  command->add_flag("--no-special", options->withoutSpecial,
                    "Leave out the special tokens: put none around a text, print none of those among ids");
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options, text, &exitCode] {
    options->hasText = text->count() > 0;
    exitCode = guarded([&] { return tokenize(*options); });
  });
}
