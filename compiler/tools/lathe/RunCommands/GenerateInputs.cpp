//===- GenerateInputs.cpp - What text is generated from ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/GenerateInputs.h"
#include "compiler/tools/lathe/RunCommands/Documents.h"
#include "compiler/tools/lathe/RunCommands/Inputs.h"
#include "compiler/tools/lathe/RunCommands/Support.h"
#include "compiler/tools/lathe/RunCommands/TokenFiles.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstring>
#include <optional>

using namespace lathe;
using namespace lathe::tool;
using nlohmann::ordered_json;

namespace {

constexpr int64_t kNewTokens = 128; ///< where nobody says how many

/// A generation_config.json: that of the options, the one beside their tokenizer, or what the artifact carries; or an
/// empty object.
ordered_json readConfig(const Module &module, const GenerateOptions &options) {
  std::string path = options.generationConfig;
  if (path.empty() && !options.tokenizer.empty())
    path = configBeside(options.tokenizer);
  if (!path.empty())
    return parseGenerationConfig(readTextFile(path), "'" + path + "'", kUsage);
  if (std::optional<Document> carried = module.document(kGenerationConfigDocument))
    return parseGenerationConfig(carried->data, "the generation config of '" + options.artifact + "'", kInvalidModel);
  return ordered_json::object();
}

/// The number under `key`; nothing where it is none or null.
std::optional<int64_t> number(const ordered_json &config, const char *key) {
  auto it = config.find(key);
  if (it != config.end() && it->is_number_integer())
    return it->get<int64_t>();
  return std::nullopt;
}

/// What a configuration file says, under what the options say.
ordered_json chooseConfig(const Module &module, const GenerateOptions &options, const Tokenizer *tokenizer) {
  ordered_json config = {{"top_k", 0}};
  if (tokenizer && tokenizer->info().eos_id >= 0)
    config["eos_token_id"] = tokenizer->info().eos_id;
  ordered_json file = readConfig(module, options);
  for (const auto &[key, value] : file.items())
    if (!value.is_null())
      config[key] = value;
  if (!config.contains("max_new_tokens") && !config.contains("max_length"))
    config["max_new_tokens"] = kNewTokens;
  const ordered_json &given = options.given;
  for (const auto &[key, value] : given.items())
    config[key] = value;
  bool asksToSample = false;
  for (const char *key : {"temperature", "top_k", "top_p", "min_p", "typical_p"})
    asksToSample |= given.contains(key);
  if (asksToSample)
    config["do_sample"] = true;
  else if (given.contains("num_beams"))
    config["do_sample"] = false;
  auto temperature = config.find("temperature");
  if (temperature != config.end() && temperature->is_number() && temperature->get<double>() == 0) {
    config.erase(temperature);
    config["do_sample"] = false;
  }
  if (options.ignoreEos)
    config["eos_token_id"] = ordered_json::array();
  return config;
}

std::vector<std::string> stopStrings(const GenerateOptions &options, const ordered_json &config) {
  std::vector<std::string> stops = options.stops;
  auto it = config.find("stop_strings");
  if (stops.empty() && it != config.end()) {
    if (it->is_string())
      stops.push_back(it->get<std::string>());
    else if (it->is_array())
      for (const ordered_json &stop : *it)
        if (stop.is_string())
          stops.push_back(stop.get<std::string>());
  }
  for (const std::string &stop : stops)
    if (stop.empty())
      throw CommandError(kUsage, "--stop expects a text of at least one character, got an empty one");
  return stops;
}

const Tokenizer &needed(const GenerateInputs &inputs, const char *what) {
  if (!inputs.tokenizer)
    throw CommandError(kUsage, std::string(what) + " is a text, which needs a tokenizer, and the artifact carries "
                                                   "none: give --tokenizer tokenizer.json, here or "
                                                   "to 'lathe compile'; ids of tokens are given by --ids");
  return *inputs.tokenizer;
}

/// What a decoder that has an encoder begins with, as generation_config.json tells.
std::vector<int64_t> decoderStart(const ordered_json &config) {
  std::vector<int64_t> start;
  std::optional<int64_t> first = number(config, "decoder_start_token_id");
  if (!first)
    first = number(config, "bos_token_id");
  if (!first)
    throw CommandError(
        kUsage,
        "the decoder has nothing to begin with: give its first tokens by --ids, or a generation_config.json with "
        "decoder_start_token_id by --generation-config");
  start.push_back(*first);
  // [[1, id], [2, id], …]: the tokens after it. Others follow from what is generated.
  auto forced = config.find("forced_decoder_ids");
  if (forced != config.end() && forced->is_array())
    for (const ordered_json &pair : *forced) {
      if (!pair.is_array() || pair.size() != 2 || pair[0] != start.size() || !pair[1].is_number_integer())
        break;
      start.push_back(pair[1].get<int64_t>());
    }
  return start;
}

std::vector<std::vector<int64_t>> readPrompts(const GenerateOptions &options, const GenerateInputs &inputs,
                                              bool hasEncoder) {
  if (!options.ids.empty()) {
    if (!options.prompts.empty() || !options.promptFiles.empty())
      throw CommandError(kUsage, "--ids and --prompt exclude each other");
    return readIdRows(options.ids);
  }
  std::vector<std::string> texts;
  for (const std::string &prompt : options.prompts)
    texts.push_back(prompt == "-" ? readTextFile("-") : prompt);
  for (const std::string &file : options.promptFiles)
    texts.push_back(readTextFile(file));
  std::vector<std::vector<int64_t>> prompts;
  for (const std::string &text : texts) {
    std::vector<int64_t> ids = hasEncoder ? decoderStart(inputs.config) : std::vector<int64_t>();
    std::vector<int64_t> own = needed(inputs, "a prompt").encode(text, !options.withoutSpecial && !hasEncoder);
    ids.insert(ids.end(), own.begin(), own.end());
    std::optional<int64_t> begin = number(inputs.config, "bos_token_id");
    int64_t known = inputs.tokenizer->info().bos_id;
    if (ids.empty() && (begin || known >= 0))
      ids.push_back(begin.value_or(known)); // a text from nothing
    prompts.push_back(std::move(ids));
  }
  return prompts;
}

/// Part `row` of `tensor` along its first axis.
Tensor rowOf(const Tensor &tensor, int64_t row, const TensorInfo &info) {
  Tensor part;
  part.name = tensor.name;
  part.dtype = fileType(tensor.dtype, info.dtype);
  part.dims = tensor.dims;
  size_t size = tensor.bytes.size() / static_cast<size_t>(tensor.dims[0]);
  part.dims[0] = 1;
  auto begin = tensor.bytes.begin() + static_cast<int64_t>(size) * row;
  part.bytes.assign(begin, begin + static_cast<int64_t>(size));
  return part;
}

Tensor tokensTensor(const std::string &name, lathe_dtype type, const std::vector<int64_t> &ids) {
  Tensor tensor;
  tensor.name = name;
  tensor.dtype = type;
  tensor.dims = {1, static_cast<int64_t>(ids.size())};
  auto fill = [&](auto zero) {
    using Number = decltype(zero);
    tensor.bytes.resize(ids.size() * sizeof(Number));
    for (size_t i = 0; i < ids.size(); ++i) {
      auto value = static_cast<Number>(ids[i]);
      memcpy(tensor.bytes.data() + i * sizeof(Number), &value, sizeof(Number));
    }
  };
  type == LATHE_I64 ? fill(int64_t()) : fill(int32_t());
  return tensor;
}

/// What the encoder reads, one entry for each sequence: the given tensors, cut along their first axis, and the tokens
/// of texts.
std::vector<std::vector<Tensor>> readSources(const std::vector<TensorInfo> &infos, const GenerateOptions &options,
                                             const GenerateInputs &inputs) {
  std::vector<Tensor> given = readNamedTensors(options.inputsFile, options.inputs);
  for (const Tensor &tensor : given)
    if (std::none_of(infos.begin(), infos.end(), [&](const TensorInfo &info) { return info.name == tensor.name; }))
      throw CommandError(kUsage, "'" + tensor.name + "' is no input of the encoder" +
                                     (infos.empty() ? ": the model has none" : ""));
  size_t rows = 0;
  const TensorInfo *tokens = nullptr;
  for (const TensorInfo &info : infos) {
    auto it = std::find_if(given.begin(), given.end(), [&](const Tensor &tensor) { return tensor.name == info.name; });
    if (it != given.end()) {
      size_t own = it->dims.empty() ? 0 : static_cast<size_t>(it->dims[0]);
      if (own == 0 || (rows != 0 && own != rows))
        throw CommandError(kUsage, "input '" + info.name + "' must have sequences along its first axis" +
                                       (rows ? ", " + std::to_string(rows) + " of them" : "") + ", got shape " +
                                       shapeText(it->dims));
      rows = own;
    } else if (!tokens && !options.sourceTexts.empty() && info.dims.size() == 2 &&
               (info.dtype == LATHE_I64 || info.dtype == LATHE_I32)) {
      tokens = &info;
    } else {
      throw CommandError(kUsage, "input '" + info.name + "' of the encoder, of type " + lathe_dtype_name(info.dtype) +
                                     " and shape " + shapeText(info.dimTexts) +
                                     ", is missing: give it by --input or --inputs" +
                                     (info.dims.size() == 2 ? ", or a text by --source-text" : ""));
    }
  }
  if (!options.sourceTexts.empty() && !tokens)
    throw CommandError(kUsage, infos.empty() ? "--source-text is for an encoder, and the model has none: use --prompt"
                                             : "--source-text: no input of the encoder is left that reads tokens");
  if (tokens && rows != 0 && rows != options.sourceTexts.size())
    throw CommandError(kUsage, "expected " + std::to_string(rows) +
                                   " of --source-text, as there are inputs of other names, got " +
                                   std::to_string(options.sourceTexts.size()));
  if (tokens)
    rows = options.sourceTexts.size();
  std::vector<std::vector<Tensor>> sources(rows);
  for (size_t row = 0; row < rows; ++row)
    for (const TensorInfo &info : infos) {
      if (&info == tokens) {
        const std::string &text = options.sourceTexts[row];
        std::vector<int64_t> ids =
            needed(inputs, "--source-text").encode(text == "-" ? readTextFile("-") : text, !options.withoutSpecial);
        if (ids.empty())
          throw CommandError(kUsage, "--source-text " + std::to_string(row + 1) + " has no tokens");
        sources[row].push_back(tokensTensor(info.name, info.dtype, ids));
        continue;
      }
      for (const Tensor &tensor : given)
        if (tensor.name == info.name)
          sources[row].push_back(rowOf(tensor, static_cast<int64_t>(row), info));
    }
  return sources;
}

template <typename Number>
void addMember(CLI::App &command, const char *flag, const char *key, GenerateOptions &options, const char *help) {
  command.add_option_function<Number>(flag, [&options, key](const Number &value) { options.given[key] = value; }, help);
}

} // namespace

GenerateInputs tool::readGenerateInputs(const Module &module, const GenerateOptions &options) {
  std::vector<std::string> programs = module.programs();
  auto encode = std::find(programs.begin(), programs.end(), "encode");
  if (std::find(programs.begin(), programs.end(), "step") == programs.end())
    throw CommandError(kUsage, "'" + options.artifact +
                                   "' has no program that generates text: compile the model by 'lathe compile "
                                   "--generate on', which says why where it cannot be done");
  bool hasEncoder = encode != programs.end();
  GenerateInputs inputs;
  inputs.tokenizer = options.tokenizer.empty() ? loadTokenizer(module, options.artifact)
                                               : std::make_unique<Tokenizer>(options.tokenizer);
  inputs.config = chooseConfig(module, options, inputs.tokenizer.get());
  inputs.stops = stopStrings(options, inputs.config);
  inputs.config.erase("stop_strings"); // looked for in the text, which the generator does not know
  if (!inputs.stops.empty())
    needed(inputs, "a stop string");
  inputs.prompts = readPrompts(options, inputs, hasEncoder);
  std::vector<TensorInfo> infos;
  if (hasEncoder)
    infos = module.inputs(static_cast<size_t>(encode - programs.begin()));
  inputs.sources = readSources(infos, options, inputs);
  if (inputs.prompts.empty() && !hasEncoder)
    throw CommandError(kUsage, "expects a prompt: --prompt, --prompt-file or --ids");
  // One beginning serves for all sources, and so does one source for several beginnings.
  if (inputs.prompts.empty())
    inputs.prompts.push_back(decoderStart(inputs.config));
  if (hasEncoder && inputs.prompts.size() == 1)
    inputs.prompts.resize(inputs.sources.size(), inputs.prompts[0]);
  if (hasEncoder && inputs.sources.size() == 1)
    inputs.sources.resize(inputs.prompts.size(), inputs.sources[0]);
  if (hasEncoder && inputs.sources.size() != inputs.prompts.size())
    throw CommandError(kUsage, "expected as many prompts as inputs of the encoder, or one, got " +
                                   std::to_string(inputs.prompts.size()) + " and " +
                                   std::to_string(inputs.sources.size()));
  inputs.usesBeams = number(inputs.config, "num_beams").value_or(1) > 1;
  // What is out of range is told by the generator.
  inputs.copies =
      static_cast<size_t>(std::clamp<int64_t>(number(inputs.config, "num_return_sequences").value_or(1), 1, 1024));
  return inputs;
}

void tool::addGenerateOptions(CLI::App &command, GenerateOptions &options) {
  command.add_option("artifact", options.artifact, "Compiled model (.lathe)")->required();
  command.add_option("--tokenizer", options.tokenizer,
                     "tokenizer.json or SentencePiece model (default: the one that the artifact carries)");
  command.add_option("-p,--prompt", options.prompts, "Text to go on with, - for standard input (repeatable: a batch)")
      ->take_all();
  command.add_option("--prompt-file", options.promptFiles, "A file that holds such a text (repeatable)")->take_all();
  command.add_option("--ids", options.ids, "Tokens to go on with (.npy, [N] or [prompts, N] filled up with -1)");
  command.add_option("--ids-out", options.idsOut,
                     "Write the new tokens here (.npy, [N] or [results, N] filled up with -1)");
  command.add_option("--source-text", options.sourceTexts, "Text for the encoder (repeatable: a batch)")->take_all();
  command.add_option("--inputs", options.inputsFile,
                     "Inputs of the encoder by name, sequences along the first axis (.npz)");
  command.add_option("--input", options.inputs, "One of them: name=@file.npy (repeatable)")->take_all();
  addMember<int64_t>(command, "-n,--max-new-tokens", "max_new_tokens", options, "New tokens at most (128)");
  addMember<int64_t>(command, "--min-new-tokens", "min_new_tokens", options, "New tokens at least (0)");
  addMember<double>(command, "--temperature", "temperature", options,
                    "Draw tokens, from logits divided by this; 0: the most probable ones");
  addMember<int64_t>(command, "--top-k", "top_k", options, "Draw from this many most probable tokens; 0: from all");
  addMember<double>(command, "--top-p", "top_p", options,
                    "Draw from the most probable tokens that have this share together");
  addMember<double>(command, "--min-p", "min_p", options,
                    "Draw from tokens of at least this share of the most probable one's");
  addMember<double>(command, "--typical-p", "typical_p", options,
                    "Draw from the most typical tokens that have this share together");
  addMember<uint64_t>(command, "--seed", "seed", options, "Number that decides every draw (0)");
  addMember<double>(command, "--repetition-penalty", "repetition_penalty", options,
                    "Makes tokens of the text less probable (1)");
  addMember<double>(command, "--frequency-penalty", "frequency_penalty", options,
                    "Subtracted from a logit for each time it was chosen (0)");
  addMember<double>(command, "--presence-penalty", "presence_penalty", options,
                    "Subtracted from a logit that was chosen before (0)");
  addMember<int64_t>(command, "--no-repeat-ngram-size", "no_repeat_ngram_size", options,
                     "No so many tokens twice in their order (0: off)");
  addMember<int64_t>(command, "--beams", "num_beams", options, "Search with so many beams (1)");
  addMember<double>(command, "--length-penalty", "length_penalty", options,
                    "Of beams: the power of the length that divides scores (1)");
  command
      .add_option_function<std::string>(
          "--early-stopping",
          [&options](const std::string &text) {
            options.given["early_stopping"] = text == "never" ? ordered_json(text) : ordered_json(text == "true");
          },
          "Of beams: when the search ends (false)")
      ->check(CLI::IsMember({"true", "false", "never"}));
  addMember<int64_t>(command, "--num-return-sequences", "num_return_sequences", options, "Results of each prompt (1)");
  command.add_option("--stop", options.stops, "End before this text (repeatable)")->take_all();
  command.add_flag("--ignore-eos", options.ignoreEos, "Go on after tokens that end a text");
  command.add_option("--generation-config", options.generationConfig,
                     "generation_config.json (default: the one beside --tokenizer, or else the one that the artifact "
                     "carries); options come "
                     "before it");
  command.add_flag("--no-special", options.withoutSpecial, "Put no special tokens around the prompt");
  command.add_flag("--special", options.withSpecial, "Print special tokens, too");
  command.add_flag("--echo", options.echo, "Print the prompt, too");
  command.add_option("--device", options.device, "Device to run on: cpu, cuda, cuda-emulator, or auto for the best that works (default: the artifact's first)");
  command.add_flag("--tf32", options.tf32, "On GPUs products of f32 may round their operands to TF32: 10 bits behind the first");
  command.add_option("--threads", options.threads, "Threads (default: every processor)")->check(CLI::Range(0, 1024));
  command
      .add_option("--max-sequence", options.maxSequence,
                  "Tokens of a sequence at most, with its prompt (default: the model's positions)")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--memory-budget", options.memoryBudget, "Bytes that model and generation may each use");
  command.add_flag("--verify", options.verify, "Check every byte of the artifact");
  command.add_flag("--json", options.json, "Print one JSON object");
}
