//===- GenerateCommand.cpp - lathe generate ---------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/Commands.h"
#include "compiler/tools/lathe/RunCommands/GenerateInputs.h"
#include "compiler/tools/lathe/RunCommands/GeneratedText.h"
#include "compiler/tools/lathe/RunCommands/Support.h"
#include "compiler/tools/lathe/RunCommands/Terminal.h"
#include "compiler/tools/lathe/RunCommands/TokenFiles.h"
#include "runtime/include/lathe/generate.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>

using namespace lathe;
using namespace lathe::tool;
using nlohmann::ordered_json;

namespace {

volatile std::sig_atomic_t interrupted = 0;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

const char *finishText(lathe_finish finish) {
  switch (finish) {
  case LATHE_FINISH_END_TOKEN:
    return "end_token";
  case LATHE_FINISH_LENGTH:
    return "length";
  case LATHE_FINISH_MAX_SEQUENCE:
    return "max_sequence";
  case LATHE_FINISH_CALLER:
    return "cancelled";
  case LATHE_FINISH_NONE:
    break;
  }
  return "error";
}

/// One run of the generator: what is told of tokens and beams while it goes on, and what is written afterwards.
class Generation {
public:
  Generation(const GenerateOptions &options, const GenerateInputs &inputs)
      : options(options), inputs(inputs),
        printer(inputs.results(), !options.json && (options.idsOut.empty() || inputs.tokenizer != nullptr)) {
    for (size_t i = 0; i < inputs.results(); ++i) {
      const std::vector<int64_t> &prompt = inputs.prompts[i / inputs.copies];
      rows.push_back({GeneratedText(inputs.tokenizer.get(), prompt, inputs.stops, options.withSpecial), {}, {}});
      if (options.echo)
        printer.add(i, echoOf(i));
    }
  }

  int run(const Module &module);

private:
  struct Row {
    GeneratedText text;
    std::vector<float> chosen, model; ///< log-probabilities
  };

  std::string echoOf(size_t row) const { return rows[row].text.prompt(); }
  lathe_answer hear(const lathe_token_event &event);
  lathe_answer hearBeam(size_t prompt, const int64_t *tokens, size_t count);
  void collect(const lathe_generator *generator);
  void report(const Module &module, const Generator &generator, const std::string &error);

  /// Calls come from C: what a call throws waits until generation has returned.
  template <typename Body> lathe_answer answer(Body body) {
    try {
      if (firstToken == 0)
        firstToken = now();
      return interrupted ? LATHE_CANCEL : body();
    } catch (...) {
      thrown = std::current_exception();
      return LATHE_CANCEL;
    }
  }

  const GenerateOptions &options;
  const GenerateInputs &inputs;
  TextPrinter printer;
  std::vector<Row> rows;
  std::vector<lathe_generated> results;
  std::exception_ptr thrown;
  double start = 0, firstToken = 0, end = 0;
};

lathe_answer Generation::hear(const lathe_token_event &event) {
  return answer([&] {
    Row &row = rows[event.row];
    row.chosen.push_back(event.log_probability);
    row.model.push_back(event.model_log_probability);
    printer.add(event.row, row.text.push(event.token));
    return row.text.stopped() ? LATHE_END_ROW : LATHE_CONTINUE;
  });
}

lathe_answer Generation::hearBeam(size_t prompt, const int64_t *tokens, size_t count) {
  return answer([&] {
    if (inputs.stops.empty())
      return LATHE_CONTINUE;
    GeneratedText text(inputs.tokenizer.get(), inputs.prompts[prompt], inputs.stops, options.withSpecial);
    for (size_t i = inputs.prompts[prompt].size(); i < count; ++i)
      text.push(tokens[i]);
    return text.stopped() ? LATHE_END_ROW : LATHE_CONTINUE;
  });
}

/// What is left of the texts, and all of those of beams, of which nothing was told.
void Generation::collect(const lathe_generator *generator) {
  size_t count = 0;
  check(lathe_generator_result_count(generator, &count));
  results.resize(count);
  for (size_t i = 0; i < count; ++i)
    check(lathe_generator_result(generator, i, &results[i]));
  for (size_t i = 0; i < rows.size(); ++i) {
    Row &row = rows[i];
    // Beams may find fewer texts than were asked for.
    for (size_t t = 0; i < count && inputs.usesBeams && t < results[i].count; ++t)
      printer.add(i, row.text.push(results[i].tokens[t]));
    printer.add(i, row.text.finish());
    printer.complete(i);
  }
}

int Generation::run(const Module &module) {
  Generator generator(module, {options.threads, options.memoryBudget, options.maxSequence});
  for (size_t row = 0; row < inputs.sources.size(); ++row)
    for (size_t i = 0; i < inputs.sources[row].size(); ++i) {
      const Tensor &source = inputs.sources[row][i];
      generator.setSource(row, i, {source.dtype, source.dims, source.data()});
    }
  std::vector<const int64_t *> prompts;
  std::vector<size_t> lengths;
  for (const std::vector<int64_t> &prompt : inputs.prompts) {
    prompts.push_back(prompt.data());
    lengths.push_back(prompt.size());
  }
  std::string json = inputs.config.dump(-1, ' ', true, ordered_json::error_handler_t::replace);
  lathe_generation_config config;
  lathe_generation_config_init(&config);
  config.json = json.c_str();
  config.beam_context = this;
  config.beam_listener = [](void *self, size_t prompt, const int64_t *tokens, size_t count) {
    return static_cast<Generation *>(self)->hearBeam(prompt, tokens, count);
  };
  auto hear = [](void *self, const lathe_token_event *event) { return static_cast<Generation *>(self)->hear(*event); };

  // The first interrupt ends generation with what there is, a second one the program.
  struct sigaction action = {}, before = {};
  action.sa_handler = [](int) { interrupted = 1; };
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, &before);
  start = now();
  lathe_status status = lathe_generate(generator.get(), prompts.size(), prompts.data(), lengths.data(), &config, hear, this);
  end = now();
  sigaction(SIGINT, &before, nullptr);
  std::string error = status == LATHE_OK ? "" : lathe_last_error();
  if (thrown)
    std::rethrow_exception(thrown);
  collect(generator.get());
  if (!options.idsOut.empty()) {
    std::vector<std::vector<int64_t>> ids;
    for (const lathe_generated &result : results)
      ids.emplace_back(result.tokens, result.tokens + result.count);
    writeIds(options.idsOut, ids);
  }
  report(module, generator, error);
  if (status != LATHE_OK)
    throw Error(status, error);
  return interrupted ? kInterrupted : kOk;
}

void Generation::report(const Module &module, const Generator &generator, const std::string &error) {
  size_t promptTokens = 0, generated = 0, later = 0;
  for (const std::vector<int64_t> &prompt : inputs.prompts)
    promptTokens += prompt.size();
  for (const lathe_generated &result : results) {
    generated += result.count;
    later += result.count ? result.count - 1 : 0; // the first comes of the prompt
  }
  double prefill = (firstToken > 0 ? firstToken : end) - start, decode = firstToken > 0 ? end - firstToken : 0;
  double prefillSpeed = prefill > 0 ? static_cast<double>(promptTokens) / prefill : 0;
  double decodeSpeed = decode > 0 ? static_cast<double>(later) / decode : 0;
  lathe_generator_info info = generator.info();
  if (isVerbose())
    fprintf(stderr, "prompt %zu tokens in %.1f ms (%.1f tokens/s), %zu generated in %.1f ms (%.1f tokens/s)\n",
            promptTokens, prefill * 1e3, prefillSpeed, generated, decode * 1e3, decodeSpeed);
  for (size_t i = 0; i < results.size(); ++i)
    if (results[i].finish == LATHE_FINISH_MAX_SEQUENCE && !options.json)
      printWarning("text " + std::to_string(i + 1) + " ends because it has " + std::to_string(info.max_sequence) +
                   " tokens with its prompt, the longest sequence");
  if (!options.json)
    return;
  ordered_json object;
  object["results"] = ordered_json::array();
  for (size_t i = 0; i < results.size(); ++i) {
    ordered_json item;
    const lathe_generated &result = results[i];
    bool isStopped = rows[i].text.stopped();
    item["prompt"] = i / inputs.copies;
    if (inputs.tokenizer)
      item["text"] = (options.echo ? echoOf(i) : "") + rows[i].text.text();
    item["prompt_ids"] = inputs.prompts[i / inputs.copies];
    item["ids"] = std::vector<int64_t>(result.tokens, result.tokens + result.count);
    item["finish"] = isStopped ? "stop_string" : finishText(result.finish);
    item["score"] = result.score;
    if (!inputs.usesBeams) {
      item["log_probabilities"] = rows[i].chosen;
      item["model_log_probabilities"] = rows[i].model;
    }
    object["results"].push_back(item);
  }
  if (!error.empty())
    object["error"] = error;
  object["prompt_tokens"] = promptTokens;
  object["generated_tokens"] = generated;
  object["prefill_ms"] = prefill * 1e3;
  object["decode_ms"] = decode * 1e3;
  object["prefill_tokens_per_s"] = prefillSpeed;
  object["decode_tokens_per_s"] = decodeSpeed;
  object["vocabulary"] = info.vocabulary;
  object["max_sequence"] = info.max_sequence;
  object["device"] = module.info().device;
  object["isa"] = module.info().isa;
  printf("%s\n", object.dump(2, ' ', false, ordered_json::error_handler_t::replace).c_str());
  if (fflush(stdout) != 0)
    throw CommandError(kInternal, std::string("cannot write to standard output: ") + strerror(errno));
}

int generate(const GenerateOptions &options) {
  try {
    LoadOptions load;
    load.device = options.device;
    load.tf32 = options.tf32;
    load.verify = options.verify;
    load.memoryBudget = options.memoryBudget;
    Module module(options.artifact, load);
    GenerateInputs inputs = readGenerateInputs(module, options);
    return Generation(options, inputs).run(module);
  } catch (const TokenizerError &error) {
    throw CommandError(exitCodeFor(error.status()), error.what());
  }
}

} // namespace

void tool::addGenerateCommand(CLI::App &app, int &exitCode) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App *command = app.add_subcommand("generate", "Generate text with a compiled decoder, or encoder and decoder");
  addGenerateOptions(*command, *options);
  command->callback([options, &exitCode] { exitCode = guarded([&] { return generate(*options); }); });
}
