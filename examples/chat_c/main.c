/*===- main.c - Talks with a language model from C ----------------*- C -*-===*
 *
 * Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
 *
 * Usage: chat_c model.lathe [new tokens] [temperature]
 *
 * The artifact carries its tokenizer: lathe compile model.onnx -o model.lathe --tokenizer tokenizer.json. Where it also
 * carries a generation config, that decides what the arguments do not.
 *
 * Reads lines and goes on with each as it is written: the text so far, the line, and the model's words, which are
 * printed as they come. An empty line begins anew. With a temperature (default 0: the most probable words) words are
 * drawn.
 *
 *===----------------------------------------------------------------------===*/
#include <lathe/generate.h>
#include <lathe/lathe.h>
#include <lathe/tokenizer.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(lathe_status status, const char *message) {
  fprintf(stderr, "%s: %s\n", lathe_status_string(status), message);
  exit(1);
}

static void check(lathe_status status) {
  if (status != LATHE_OK)
    fail(status, lathe_last_error());
}

static void check_tokenizer(lathe_status status) {
  if (status != LATHE_OK)
    fail(status, lathe_tokenizer_last_error());
}

/* A file that the artifact carries; its data is NULL where there is none. */
static lathe_document carried(const lathe_module *module, const char *name) {
  lathe_document document;
  size_t index;
  memset(&document, 0, sizeof document);
  if (lathe_module_find_document(module, name, &index) == LATHE_OK)
    check(lathe_module_document(module, index, &document));
  return document;
}

/* Tokens so far. */
static int64_t *history;
static size_t count, capacity;

static void add(const int64_t *tokens, size_t more) {
  if (count + more > capacity) {
    capacity = 2 * (count + more);
    history = realloc(history, capacity * sizeof(*history));
    if (!history)
      fail(LATHE_OUT_OF_MEMORY, "the conversation is too long");
  }
  if (more)
    memcpy(history + count, tokens, more * sizeof(*tokens));
  count += more;
}

/* Prints what a token settles: whole characters. */
static lathe_answer print_token(void *context, const lathe_token_event *event) {
  const char *text;
  size_t size;
  check_tokenizer(lathe_tokenizer_stream_push(context, event->token, &text, &size));
  fwrite(text, 1, size, stdout);
  fflush(stdout);
  return LATHE_CONTINUE;
}

/* Of the arguments, of what the artifact carries, or of the tokenizer: how to answer. */
static void configure(int argc, char **argv, const lathe_module *module, const lathe_tokenizer_info *info,
                      lathe_generation_config *config) {
  lathe_generation_config_init(config);
  config->json = carried(module, "generation_config").data;
  config->max_new_tokens = argc > 2 ? atoll(argv[2]) : 64;
  if (argc > 3 && atof(argv[3]) > 0) {
    config->do_sample = 1;
    config->temperature = atof(argv[3]);
  }
  if (!config->json && info->eos_id >= 0) { /* which the config tells better */
    config->eos_token_ids = &info->eos_id;
    config->eos_token_count = 1;
  }
}

/* What no longer fits is forgotten from the start. */
static void forget(int64_t most, int64_t answer) {
  size_t kept;
  if ((int64_t)count + answer <= most)
    return;
  kept = most > answer ? (size_t)(most - answer) : 1;
  if (kept < count) {
    memmove(history, history + (count - kept), kept * sizeof(*history));
    count = kept;
  }
}

int main(int argc, char **argv) {
  lathe_module *module;
  lathe_generator *generator;
  lathe_generator_info limits;
  lathe_generation_config config;
  lathe_tokenizer *tokenizer;
  lathe_tokenizer_stream *stream;
  lathe_tokenizer_info info;
  lathe_document file;
  char line[4096];
  if (argc < 2) {
    fprintf(stderr, "usage: chat_c model.lathe [new tokens] [temperature]\n");
    return 2;
  }
  check(lathe_module_load(argv[1], NULL, &module));
  check(lathe_generator_create(module, NULL, &generator));
  lathe_generator_info_init(&limits);
  check(lathe_generator_get_info(generator, &limits));
  file = carried(module, "tokenizer");
  if (!file.data)
    fail(LATHE_NOT_FOUND, "the artifact carries no tokenizer: compile the model with --tokenizer tokenizer.json");
  check_tokenizer(lathe_tokenizer_load_memory(file.data, file.size, &tokenizer));
  check_tokenizer(lathe_tokenizer_stream_create(tokenizer, 1, &stream));
  lathe_tokenizer_info_init(&info);
  check_tokenizer(lathe_tokenizer_get_info(tokenizer, &info));
  configure(argc, argv, module, &info, &config);
  while (fgets(line, sizeof line, stdin)) {
    const int64_t *prompt;
    int64_t *ids;
    size_t more, size, length = strcspn(line, "\n");
    const char *rest;
    lathe_generated answer;
    if (length == 0) {
      count = 0;
      continue;
    }
    check_tokenizer(lathe_tokenizer_encode(tokenizer, line, length, 0, &ids, &more));
    add(ids, more);
    lathe_tokenizer_free(ids);
    if (count == 0)
      continue;
    forget(limits.max_sequence, config.max_new_tokens);
    prompt = history;
    check(lathe_generate(generator, 1, &prompt, &count, &config, print_token, stream));
    check_tokenizer(lathe_tokenizer_stream_finish(stream, &rest, &size));
    fwrite(rest, 1, size, stdout);
    putchar('\n');
    fflush(stdout);
    check(lathe_generator_result(generator, 0, &answer));
    add(answer.tokens, answer.count);
  }
  free(history);
  lathe_tokenizer_stream_release(stream);
  lathe_tokenizer_release(tokenizer);
  lathe_generator_release(generator);
  lathe_module_release(module);
  return 0;
}
