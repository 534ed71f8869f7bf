/*===- generate.h - Text generation with the Lathe runtime -------*- C -*-===*
 *
 * Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
 *
 * A generator goes on with sequences of tokens: those of a decoder, or of an encoder and decoder. It is made of a module whose
 * artifact has the program `step` (lathe compile makes it of decoders), and keeps what attention needs of the tokens so
 * far, so that a token costs one step whatever came before. The conventions of lathe.h hold here too.
 *
 *===----------------------------------------------------------------------===*/
#ifndef LATHE_GENERATE_H
#define LATHE_GENERATE_H

#include "lathe.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lathe_generator lathe_generator;

typedef struct lathe_generator_options {
  size_t struct_size;
  int32_t threads;        /**< as of lathe_session_options */
  uint64_t memory_budget; /**< bytes of the cache and of what a step needs; 0 for no limit */
  int64_t max_sequence;   /**< tokens of a sequence, the prompt included; 0 for as many as the model has positions for */
} lathe_generator_options;

/** Sets every member of `options` to its default. */
LATHE_API void lathe_generator_options_init(lathe_generator_options *options);

/** Creates a generator. `options` may be NULL. On success *generator is owned by the caller: lathe_generator_release. It is used by
 *  one thread at a time; different ones, also of one module, are independent. Thread-safe. Errors: NOT_FOUND (the artifact has no
 *  program that generates), INVALID_ARGUMENT, INVALID_ARTIFACT, OUT_OF_MEMORY. */
LATHE_API lathe_status lathe_generator_create(lathe_module *module, const lathe_generator_options *options,
                                              lathe_generator **generator);

/** Releases the generator and its results. Accepts NULL. */
LATHE_API void lathe_generator_release(lathe_generator *generator);

typedef struct lathe_generator_info {
  size_t struct_size;
  int64_t vocabulary;   /**< tokens are from 0 to below this */
  int64_t max_sequence; /**< tokens of the longest sequence */
  size_t source_count;  /**< inputs of the encoder, 0 for a decoder alone */
  uint64_t cache_bytes; /**< that the cache holds now */
  int64_t scored_tokens; /**< tokens whose logits one run gives, in all sequences; 1 of an artifact that gives those of a run's last */
} lathe_generator_info;

LATHE_API void lathe_generator_info_init(lathe_generator_info *info);
LATHE_API lathe_status lathe_generator_get_info(const lathe_generator *generator, lathe_generator_info *info);

/** Describes input `index` of the encoder; the first dimension counts sequences and is 1 for lathe_generator_set_source. Pointers
 *  live as long as the module. Errors: INVALID_ARGUMENT (index). */
LATHE_API lathe_status lathe_generator_source(const lathe_generator *generator, size_t index, lathe_tensor_info *info);

typedef enum lathe_answer LATHE_ENUM_TYPE {
  LATHE_CONTINUE = 0,
  LATHE_END_ROW = 1, /**< this row is complete */
  LATHE_CANCEL = 2   /**< all rows end */
} lathe_answer;

/** Asked about beams, of each continuation of `prompt` that neither an end token nor its length ends, whether it is complete all the
 *  same: `count` tokens, the prompt among them, valid during the call. From the thread that generates; must not use the generator. */
typedef lathe_answer (*lathe_beam_fn)(void *context, size_t prompt, const int64_t *tokens, size_t count);

/** Asked between the pieces of prompts, of which `done` of `total` tokens are computed: any answer but LATHE_CONTINUE ends all rows.
 *  From the thread that generates; must not use the generator. */
typedef lathe_answer (*lathe_prompt_fn)(void *context, size_t done, size_t total);

/** What becomes of the logits, and when generation ends. Names and meanings are those of Hugging Face's GenerationConfig. */
typedef struct lathe_generation_config {
  size_t struct_size;
  int64_t max_new_tokens; /**< default 20 */
  int64_t min_new_tokens;
  int32_t do_sample;     /**< 0, the default: the most probable token, or beams; else drawn */
  uint64_t seed;         /**< decides every draw; the same whatever the number of threads and the other prompts */
  double temperature;    /**< default 1 */
  int64_t top_k;         /**< 0 for all, the default of Hugging Face is 50 */
  double top_p;          /**< default 1 */
  double min_p;          /**< default 0 */
  double typical_p;      /**< default 1 */
  double repetition_penalty; /**< default 1 */
  double frequency_penalty;  /**< default 0 */
  double presence_penalty;   /**< default 0 */
  int64_t no_repeat_ngram_size;
  int64_t num_beams;            /**< default 1 */
  int64_t num_return_sequences; /**< default 1 */
  double length_penalty;        /**< of beams, default 1 */
  int32_t early_stopping;       /**< of beams: 0 false, 1 true, 2 "never" */
  const int64_t *eos_token_ids; /**< tokens that end a sequence; copied */
  size_t eos_token_count;
  /** NULL, or the text of a generation_config.json: what it says counts where this structure has the default. */
  const char *json;
  lathe_beam_fn beam_listener; /**< NULL for none; only asked where there are beams */
  void *beam_context;
  lathe_prompt_fn prompt_listener; /**< NULL for none */
  void *prompt_context;
  double encoder_repetition_penalty; /**< default 1; of a decoder alone, of the prompt's tokens */
  /** NULL, or by prompt the tokens that the encoder was given, encoder_token_counts[i] of them, for the penalties of these. */
  const int64_t *const *encoder_tokens;
  const size_t *encoder_token_counts;
} lathe_generation_config;

/** Sets every member of `config` to its default. */
LATHE_API void lathe_generation_config_init(lathe_generation_config *config);

/** A token that was chosen. */
typedef struct lathe_token_event {
  size_t row;      /**< of the results: the prompt, times num_return_sequences, plus the copy */
  size_t index;    /**< of the row's new tokens */
  int64_t token;
  float log_probability;       /**< natural logarithm, of the distribution that it was chosen from */
  float model_log_probability; /**< of the model's own */
  const float *logits;         /**< of the model, as many as the vocabulary; valid during the call */
} lathe_token_event;

/** Told of each token as it is chosen, from the thread that generates; must not use the generator. */
typedef lathe_answer (*lathe_token_fn)(void *context, const lathe_token_event *event);

/** Input `index` of the encoder for sequence `row` of the next lathe_generate: the first dimension is 1. `data` is borrowed until
 *  that returns, `dims` copied. Errors: INVALID_ARGUMENT. */
LATHE_API lathe_status lathe_generator_set_source(lathe_generator *generator, size_t row, size_t index, lathe_dtype dtype,
                                                  size_t rank, const int64_t *dims, const void *data);

/** Goes on with `count` prompts, prompt i being the `lengths[i]` tokens at `prompts[i]` (of a model with an encoder, the tokens
 *  that its decoder starts with). `config` may be NULL; `listener` may be NULL, and is not called for beams. Errors:
 *  INVALID_ARGUMENT (a parameter, an empty prompt, a token outside of the vocabulary, sources that are missing), OVER_BUDGET
 *  (a prompt longer than the longest sequence; memory), OUT_OF_MEMORY, EXECUTION_ERROR. What was generated before a
 *  failure is kept as results. */
LATHE_API lathe_status lathe_generate(lathe_generator *generator, size_t count, const int64_t *const *prompts, const size_t *lengths,
                                      const lathe_generation_config *config, lathe_token_fn listener, void *context);

typedef enum lathe_finish LATHE_ENUM_TYPE {
  LATHE_FINISH_NONE = 0,         /**< an error ended it */
  LATHE_FINISH_END_TOKEN = 1,    /**< the last token is one of eos_token_ids */
  LATHE_FINISH_LENGTH = 2,       /**< max_new_tokens */
  LATHE_FINISH_MAX_SEQUENCE = 3, /**< the longest sequence */
  LATHE_FINISH_CALLER = 4        /**< the listener's answer */
} lathe_finish;

typedef struct lathe_generated {
  const int64_t *tokens; /**< new ones; valid until the next call on the generator */
  size_t count;
  lathe_finish finish;
  float score; /**< of beams as in Hugging Face; else the sum of the log-probabilities */
} lathe_generated;

/** Number of results of the last lathe_generate. */
LATHE_API lathe_status lathe_generator_result_count(const lathe_generator *generator, size_t *count);

/** Result `index`, in the order of the prompts. Errors: INVALID_ARGUMENT (index). */
LATHE_API lathe_status lathe_generator_result(const lathe_generator *generator, size_t index, lathe_generated *result);

/** For measurements and own ways of choosing: forgets all sequences and starts one for each prompt as lathe_generate would. */
LATHE_API lathe_status lathe_generator_begin(lathe_generator *generator, size_t sequences);

/** Appends `count` tokens to each of the sequences, [sequences, count]. *logits [sequences, vocabulary] are of the last tokens and
 *  valid until the next call. A failure leaves the sequences as they were. Errors: as lathe_generate. */
LATHE_API lathe_status lathe_generator_append(lathe_generator *generator, const int64_t *tokens, size_t count, const float **logits);

/** The logits after tokens [first, first + count) of each sequence: those of sequence s begin at logits + s * stride and are
 *  [count, vocabulary]. Valid during the call, which must not use the generator. */
typedef void (*lathe_logits_fn)(void *context, size_t first, size_t count, const float *logits, size_t stride);

/** As lathe_generator_append, and tells of the logits after each of the tokens, in pieces of bounded size one after another. An
 *  artifact whose program gives the logits of the last token alone is run token by token. */
LATHE_API lathe_status lathe_generator_append_all(lathe_generator *generator, const int64_t *tokens, size_t count,
                                                  lathe_logits_fn listener, void *context);

/** As lathe_generator_append, and writes the natural logarithms of the tokens' probabilities, each after all tokens before it, to
 *  log_probabilities [sequences, count]: NaN for the first token of a sequence, which nothing predicts. Errors: as
 *  lathe_generate. */
LATHE_API lathe_status lathe_generator_score(lathe_generator *generator, const int64_t *tokens, size_t count,
                                             float *log_probabilities);

/*===----------------------------------------------------------------------===*
 * Stop strings: texts at which a text that comes piece by piece ends. They need not begin or end where tokens do.
 *===----------------------------------------------------------------------===*/

typedef struct lathe_stop_strings lathe_stop_strings;

/** Looks for `count` strings, strings[i] having sizes[i] bytes, one at least. The handle is owned by the caller:
 *  lathe_stop_strings_release. It is used by one thread at a time. Errors: INVALID_ARGUMENT (an empty string). */
LATHE_API lathe_status lathe_stop_strings_create(const char *const *strings, const size_t *sizes, size_t count,
                                                 lathe_stop_strings **stop);

/** Adds `size` bytes to the text. *passed are the *passed_size bytes, and a zero, that are now sure to come before the first stop string;
 *  what may be its beginning is held back. They are valid until the next call. *stopped is 1 once a stop string was found,
 *  which is not passed on, nor is what follows it. */
LATHE_API lathe_status lathe_stop_strings_push(lathe_stop_strings *stop, const char *text, size_t size, const char **passed,
                                               size_t *passed_size, int32_t *stopped);

/** The end of the text: passes on what was held back. */
LATHE_API lathe_status lathe_stop_strings_finish(lathe_stop_strings *stop, const char **passed, size_t *passed_size);

/** Accepts NULL. */
LATHE_API void lathe_stop_strings_release(lathe_stop_strings *stop);

#ifdef __cplusplus
}
#endif

#endif /* LATHE_GENERATE_H */
