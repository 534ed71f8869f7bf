//===- GenerateApi.cpp - C interface of generation --------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/ApiSupport.h"
#include "runtime/generation/Generator.h"
#include "runtime/generation/StopCriteria.h"
#include "runtime/include/lathe/generate.h"

using namespace lathe::runtime;

struct lathe_generator {
  std::unique_ptr<Generator> generator;
  std::vector<std::vector<Generator::Source>> sources; ///< by row
  std::vector<Generator::Result> results;
  std::vector<Generator::Sequence> sequences; ///< of lathe_generator_begin
  // Of these, the logits after their last tokens: of the last run, or a copy. Neither where nothing was appended.
  const float *logits = nullptr;
  std::vector<float> lastLogits;
};

struct lathe_stop_strings {
  StopStrings strings;
  std::string passed; ///< by the last call
};

namespace {

Generator::Answer fromApi(lathe_answer answer) {
  return answer == LATHE_CONTINUE ? Generator::Answer::goOn
         : answer == LATHE_END_ROW ? Generator::Answer::endRow
                                   : Generator::Answer::cancel;
}

/// Members that are not at their defaults, over what a document says.
Status toConfig(const lathe_generation_config &given, GenerationConfig &config) {
  if (given.json)
    if (Status status = readGenerationConfig(given.json, config, nullptr); status.failed())
      return status;
  lathe_generation_config defaults;
  lathe_generation_config_init(&defaults);
  auto take = [](auto value, auto standard, auto &into) {
    if (value != standard)
      into = value;
  };
  take(given.min_new_tokens, defaults.min_new_tokens, config.min_new_tokens);
  if (given.max_new_tokens != defaults.max_new_tokens || (!config.max_new_tokens && !config.max_length))
    config.max_new_tokens = given.max_new_tokens;
  if (given.do_sample)
    config.do_sample = true;
  take(given.seed, defaults.seed, config.seed);
  take(given.temperature, defaults.temperature, config.temperature);
  if (!given.json || given.top_k != defaults.top_k)
    config.top_k = given.top_k;
  take(given.top_p, defaults.top_p, config.top_p);
  take(given.min_p, defaults.min_p, config.min_p);
  take(given.typical_p, defaults.typical_p, config.typical_p);
  take(given.repetition_penalty, defaults.repetition_penalty, config.repetition_penalty);
  take(given.encoder_repetition_penalty, defaults.encoder_repetition_penalty, config.encoder_repetition_penalty);
  take(given.frequency_penalty, defaults.frequency_penalty, config.frequency_penalty);
  take(given.presence_penalty, defaults.presence_penalty, config.presence_penalty);
  take(given.no_repeat_ngram_size, defaults.no_repeat_ngram_size, config.no_repeat_ngram_size);
  take(given.num_beams, defaults.num_beams, config.num_beams);
  take(given.num_return_sequences, defaults.num_return_sequences, config.num_return_sequences);
  take(given.length_penalty, defaults.length_penalty, config.length_penalty);
  if (given.early_stopping < 0 || given.early_stopping > 2)
    return failure(LATHE_INVALID_ARGUMENT, "early_stopping must be 0, 1 or 2, got ", given.early_stopping);
  if (given.early_stopping != defaults.early_stopping)
    config.early_stopping = given.early_stopping == 1 ? EarlyStopping::Yes : EarlyStopping::Never;
  if (given.eos_token_count > 0) {
    if (!given.eos_token_ids)
      return failure(LATHE_INVALID_ARGUMENT, "eos_token_ids must not be NULL where there are ", given.eos_token_count);
    config.eos_token_id.assign(given.eos_token_ids, given.eos_token_ids + given.eos_token_count);
  }
  return success();
}

/// Copies the logits of the last run, which the next one writes over.
void keepLogits(lathe_generator &generator) {
  if (generator.logits)
    generator.lastLogits.assign(generator.logits, generator.logits + generator.sequences.size() *
                                                                         static_cast<size_t>(generator.generator->vocabulary()));
  generator.logits = nullptr;
}

/// The sequences that `count` tokens are appended to.
lathe_status findSequences(lathe_generator *generator, const int64_t *tokens, size_t count,
                           std::vector<Generator::Sequence *> &sequences) {
  if (!generator)
    return nullArgument("generator");
  if (!tokens)
    return nullArgument("tokens");
  if (count == 0 || count > INT64_MAX || generator->sequences.empty())
    return report(failure(LATHE_INVALID_ARGUMENT, "expected sequences and at least one token, got ", generator->sequences.size(),
                          " and ", count));
  for (Generator::Sequence &sequence : generator->sequences)
    sequences.push_back(&sequence);
  return LATHE_OK;
}

} // namespace

void lathe_generator_options_init(lathe_generator_options *options) {
  if (options)
    *options = {sizeof *options, 0, 0, 0};
}

void lathe_generator_info_init(lathe_generator_info *info) {
  if (!info)
    return;
  *info = {};
  info->struct_size = sizeof *info;
}

void lathe_generation_config_init(lathe_generation_config *config) {
  if (!config)
    return;
  *config = {};
  config->struct_size = sizeof *config;
  config->max_new_tokens = 20;
  config->temperature = config->top_p = config->typical_p = config->repetition_penalty = config->length_penalty =
      config->encoder_repetition_penalty = 1;
  config->num_beams = config->num_return_sequences = 1;
}

lathe_status lathe_generator_create(lathe_module *module, const lathe_generator_options *options, lathe_generator **generator) {
  if (!generator)
    return nullArgument("generator");
  *generator = nullptr;
  if (!module)
    return nullArgument("module");
  lathe_generator_options given;
  lathe_generator_options_init(&given);
  if (!readOptions(options, &given))
    return badOptions("lathe_generator_options_init");
  auto result = std::make_unique<lathe_generator>();
  Generator::Options create{given.threads, given.memory_budget, given.max_sequence};
  if (Status status = Generator::create(module->module, create, &result->generator); status.failed())
    return report(status);
  *generator = result.release();
  return LATHE_OK;
}

void lathe_generator_release(lathe_generator *generator) { delete generator; }

lathe_status lathe_generator_get_info(const lathe_generator *generator, lathe_generator_info *info) {
  if (!generator)
    return nullArgument("generator");
  if (!info)
    return nullArgument("info");
  size_t size = info->struct_size;
  if (size < sizeof(size_t))
    return badOptions("lathe_generator_info_init");
  lathe_generator_info own;
  lathe_generator_info_init(&own);
  own.vocabulary = generator->generator->vocabulary();
  own.max_sequence = generator->generator->maxSequence();
  own.source_count = generator->generator->sources().size();
  own.cache_bytes = generator->generator->cacheBytes();
  own.scored_tokens = generator->generator->scoredTokens();
  own.struct_size = size;
  memcpy(info, &own, size < sizeof own ? size : sizeof own);
  return LATHE_OK;
}

lathe_status lathe_generator_source(const lathe_generator *generator, size_t index, lathe_tensor_info *info) {
  if (!generator)
    return nullArgument("generator");
  if (!info)
    return nullArgument("info");
  *info = {};
  return describeTensor(generator->generator->sources(), "input of the encoder", index, info);
}

lathe_status lathe_generator_set_source(lathe_generator *generator, size_t row, size_t index, lathe_dtype dtype, size_t rank,
                                        const int64_t *dims, const void *data) {
  constexpr size_t kMostRows = 1 << 20;
  if (!generator)
    return nullArgument("generator");
  size_t count = generator->generator->sources().size();
  if (index >= count || row >= kMostRows)
    return report(failure(LATHE_INVALID_ARGUMENT, "input ", index, " of the encoder for sequence ", row, " does not exist: there are ",
                          count, " inputs"));
  if (rank > Manifest::kMaxRank || (rank > 0 && !dims))
    return report(failure(LATHE_INVALID_ARGUMENT, "expected dimensions, of at most ", Manifest::kMaxRank, " axes, got ", rank));
  if (generator->sources.size() <= row)
    generator->sources.resize(row + 1);
  generator->sources[row].resize(count);
  generator->sources[row][index] = {dtype, std::vector<int64_t>(dims, dims + rank), data};
  return LATHE_OK;
}

lathe_status lathe_generate(lathe_generator *generator, size_t count, const int64_t *const *prompts, const size_t *lengths,
                            const lathe_generation_config *config, lathe_token_fn listener, void *context) {
  if (!generator)
    return nullArgument("generator");
  generator->results.clear();
  if (count > 0 && (!prompts || !lengths))
    return nullArgument(prompts ? "lengths" : "prompts");
  lathe_generation_config given;
  lathe_generation_config_init(&given);
  if (!readOptions(config, &given))
    return badOptions("lathe_generation_config_init");
  Generator::Request request;
  if (Status status = toConfig(given, request.config); status.failed())
    return report(status);
  for (size_t i = 0; i < count; ++i) {
    if (lengths[i] > 0 && !prompts[i])
      return nullArgument("a prompt");
    request.prompts.emplace_back(prompts[i], prompts[i] + lengths[i]);
  }
  request.sources = std::move(generator->sources);
  generator->sources.clear();
  if (listener)
    request.listener = [&](const Generator::Event &event) {
      lathe_token_event told{event.row, event.index, event.token, event.logProbability, event.modelLogProbability, event.logits};
      return fromApi(listener(context, &told));
    };
  if (given.encoder_tokens && !given.encoder_token_counts)
    return nullArgument("encoder_token_counts");
  for (size_t i = 0; given.encoder_tokens && i < count; ++i) {
    if (given.encoder_token_counts[i] > 0 && !given.encoder_tokens[i])
      return nullArgument("the tokens of an encoder");
    request.encoderTokens.emplace_back(given.encoder_tokens[i], given.encoder_tokens[i] + given.encoder_token_counts[i]);
  }
  if (given.prompt_listener)
    request.promptListener = [&](size_t done, size_t total) { return fromApi(given.prompt_listener(given.prompt_context, done, total)); };
  if (given.beam_listener)
    request.beamListener = [&](size_t prompt, const std::vector<Token> &tokens) {
      return fromApi(given.beam_listener(given.beam_context, prompt, tokens.data(), tokens.size()));
    };
  keepLogits(*generator);
  Status status = generator->generator->generate(request, &generator->results);
  return status.failed() ? report(status) : LATHE_OK;
}

lathe_status lathe_generator_result_count(const lathe_generator *generator, size_t *count) {
  if (!count)
    return nullArgument("count");
  *count = 0;
  if (!generator)
    return nullArgument("generator");
  *count = generator->results.size();
  return LATHE_OK;
}

lathe_status lathe_generator_result(const lathe_generator *generator, size_t index, lathe_generated *result) {
  if (!result)
    return nullArgument("result");
  *result = {};
  if (!generator)
    return nullArgument("generator");
  if (index >= generator->results.size())
    return report(failure(LATHE_INVALID_ARGUMENT, "result ", index, " does not exist: there are ", generator->results.size()));
  const Generator::Result &own = generator->results[index];
  result->tokens = own.tokens.data();
  result->count = own.tokens.size();
  result->score = own.score;
  result->finish = static_cast<lathe_finish>(own.finish);
  return LATHE_OK;
}

lathe_status lathe_generator_begin(lathe_generator *generator, size_t sequences) {
  if (!generator)
    return nullArgument("generator");
  generator->sequences.clear();
  generator->logits = nullptr;
  generator->lastLogits.clear();
  std::vector<std::vector<Generator::Source>> sources = std::move(generator->sources);
  generator->sources.clear();
  size_t expected = generator->generator->sources().empty() ? 0 : sequences;
  if (sources.size() != expected)
    return report(failure(LATHE_INVALID_ARGUMENT, "expected inputs of the encoder for ", expected, " sequences, got ", sources.size()));
  for (size_t i = 0; i < sequences; ++i) {
    Generator::Sequence sequence;
    Status status = generator->generator->begin(expected ? sources[i] : std::vector<Generator::Source>(), &sequence);
    if (status.failed()) {
      generator->sequences.clear();
      return report(status);
    }
    generator->sequences.push_back(std::move(sequence));
  }
  return LATHE_OK;
}

lathe_status lathe_generator_append(lathe_generator *generator, const int64_t *tokens, size_t count, const float **logits) {
  if (!logits)
    return nullArgument("logits");
  *logits = nullptr;
  std::vector<Generator::Sequence *> sequences;
  if (lathe_status status = findSequences(generator, tokens, count, sequences); status != LATHE_OK)
    return status;
  keepLogits(*generator);
  Status status = generator->generator->append(sequences, tokens, static_cast<int64_t>(count), logits);
  if (status.failed())
    return report(status);
  generator->logits = *logits;
  return LATHE_OK;
}

lathe_status lathe_generator_append_all(lathe_generator *generator, const int64_t *tokens, size_t count, lathe_logits_fn listener,
                                        void *context) {
  if (!listener)
    return nullArgument("listener");
  std::vector<Generator::Sequence *> sequences;
  if (lathe_status status = findSequences(generator, tokens, count, sequences); status != LATHE_OK)
    return status;
  keepLogits(*generator);
  std::vector<float> last;
  auto vocabulary = static_cast<size_t>(generator->generator->vocabulary());
  auto told = [&](const Generator::ScoredTokens &part) {
    auto tokens = static_cast<size_t>(part.tokens), stride = static_cast<size_t>(part.stride);
    if (static_cast<size_t>(part.first) + tokens == count)
      for (size_t row = 0; row < sequences.size(); ++row) {
        const float *end = part.logits + row * stride + tokens * vocabulary;
        last.insert(last.end(), end - vocabulary, end);
      }
    listener(context, static_cast<size_t>(part.first), tokens, part.logits, stride);
  };
  Status status = generator->generator->appendScored(sequences, tokens, static_cast<int64_t>(count), told);
  if (status.failed())
    return report(status);
  generator->lastLogits = std::move(last);
  return LATHE_OK;
}

lathe_status lathe_generator_score(lathe_generator *generator, const int64_t *tokens, size_t count, float *log_probabilities) {
  if (!log_probabilities)
    return nullArgument("log_probabilities");
  std::vector<Generator::Sequence *> sequences;
  if (lathe_status status = findSequences(generator, tokens, count, sequences); status != LATHE_OK)
    return status;
  keepLogits(*generator);
  Status status =
      generator->generator->score(sequences, tokens, static_cast<int64_t>(count), generator->lastLogits, log_probabilities);
  return status.failed() ? report(status) : LATHE_OK;
}

lathe_status lathe_stop_strings_create(const char *const *strings, const size_t *sizes, size_t count, lathe_stop_strings **stop) {
  if (!stop)
    return nullArgument("stop");
  *stop = nullptr;
  if (count > 0 && (!strings || !sizes))
    return nullArgument(strings ? "sizes" : "strings");
  std::vector<std::string> copies;
  for (size_t i = 0; i < count; ++i) {
    if (!strings[i] || sizes[i] == 0)
      return report(failure(LATHE_INVALID_ARGUMENT, "stop string ", i, " is empty: expected at least one byte"));
    copies.emplace_back(strings[i], sizes[i]);
  }
  *stop = new lathe_stop_strings{StopStrings(copies), {}};
  return LATHE_OK;
}

lathe_status lathe_stop_strings_push(lathe_stop_strings *stop, const char *text, size_t size, const char **passed, size_t *passed_size,
                                     int32_t *stopped) {
  if (!passed || !passed_size || !stopped)
    return nullArgument(!passed ? "passed" : !passed_size ? "passed_size" : "stopped");
  *passed = nullptr;
  *passed_size = 0;
  *stopped = 0;
  if (!stop)
    return nullArgument("stop");
  if (size > 0 && !text)
    return nullArgument("text");
  stop->passed.clear();
  stop->strings.push(std::string_view(text, size), stop->passed);
  *passed = stop->passed.c_str();
  *passed_size = stop->passed.size();
  *stopped = stop->strings.stopped();
  return LATHE_OK;
}

lathe_status lathe_stop_strings_finish(lathe_stop_strings *stop, const char **passed, size_t *passed_size) {
  if (!passed || !passed_size)
    return nullArgument(!passed ? "passed" : "passed_size");
  *passed = nullptr;
  *passed_size = 0;
  if (!stop)
    return nullArgument("stop");
  stop->passed.clear();
  stop->strings.finish(stop->passed);
  *passed = stop->passed.c_str();
  *passed_size = stop->passed.size();
  return LATHE_OK;
}

void lathe_stop_strings_release(lathe_stop_strings *stop) { delete stop; }
