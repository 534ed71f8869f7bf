/*===- tokenizer.h - C interface of Lathe's tokenizers ------------*- C -*-===*
 *
 * Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
 *
 * Turns texts into the ids that language models read, and ids into texts: from a Hugging Face tokenizer.json or from a
 * SentencePiece model (docs/tokenizer.md says what is supported). A library of its own, liblathe_tokenizer, that needs
 * nothing of liblathe; the status codes and the conventions are those of lathe.h. A tokenizer is immutable once it is
 * loaded and may be used from any number of threads; a stream is used by one thread at a time.
 *
 *===----------------------------------------------------------------------===*/
#ifndef LATHE_TOKENIZER_H
#define LATHE_TOKENIZER_H

#include "lathe.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lathe_tokenizer lathe_tokenizer;
typedef struct lathe_tokenizer_stream lathe_tokenizer_stream;

/** Describes the most recent failure of a call of this library made by this thread; "" when there was none. Never NULL;
 *  valid until the next failing call of this thread. Successful calls leave it alone. */
LATHE_API const char *lathe_tokenizer_last_error(void);

/** Loads the tokenizer that the file at `path` holds. On success *tokenizer is owned by the caller:
 *  lathe_tokenizer_release. Thread-safe. Errors: NOT_FOUND, IO_ERROR, INVALID_ARTIFACT (the file is broken or asks for
 *  something that is not supported: the message names it), INVALID_ARGUMENT. */
LATHE_API lathe_status lathe_tokenizer_load(const char *path, lathe_tokenizer **tokenizer);

/** Loads a tokenizer from the `size` bytes of such a file; they are not needed afterwards. Thread-safe. Errors: as
 *  lathe_tokenizer_load, without those of files. */
LATHE_API lathe_status lathe_tokenizer_load_memory(const void *data, size_t size, lathe_tokenizer **tokenizer);

/** Releases a tokenizer, which no stream may use any more. Accepts NULL. */
LATHE_API void lathe_tokenizer_release(lathe_tokenizer *tokenizer);

typedef struct lathe_tokenizer_info {
  size_t struct_size;
  const char *kind;       /**< "tokenizer.json" or "sentencepiece"; static */
  size_t vocabulary_size; /**< number of tokens, added ones included */
  size_t special_count;   /**< number of special tokens */
  int64_t max_id;         /**< the greatest id of a token */
  int64_t bos_id;         /**< token at the beginning of texts, -1 where the file does not tell */
  int64_t eos_id;         /**< token at the end of texts, -1 where the file does not tell */
  int64_t unk_id;         /**< token for what is in no other, -1 where there is none */
} lathe_tokenizer_info;

/** Sets struct_size, and the other members to zero. */
LATHE_API void lathe_tokenizer_info_init(lathe_tokenizer_info *info);

/** Describes the tokenizer. A tokenizer.json tells the tokens at the ends of texts by those that it puts there, or by
 *  having a single special token. Thread-safe. */
LATHE_API lathe_status lathe_tokenizer_get_info(const lathe_tokenizer *tokenizer, lathe_tokenizer_info *info);

/** Id of special token `index`, 0 to special_count. Thread-safe. Errors: INVALID_ARGUMENT (index). */
LATHE_API lathe_status lathe_tokenizer_special(const lathe_tokenizer *tokenizer, size_t index, int64_t *id);

/** Finds the token that is written as the `size` bytes at `token`. Thread-safe. Errors: NOT_FOUND. */
LATHE_API lathe_status lathe_tokenizer_token_id(const lathe_tokenizer *tokenizer, const char *token, size_t size,
                                                int64_t *id);

/** How token `id` is written in the vocabulary: `size` bytes and a zero, which live as long as the tokenizer.
 *  Thread-safe. Errors: NOT_FOUND. */
LATHE_API lathe_status lathe_tokenizer_token_text(const lathe_tokenizer *tokenizer, int64_t id, const char **text,
                                                  size_t *size);

/** Whether token `id` is special, 1 or 0; 0 for ids that no token has. Thread-safe. */
LATHE_API lathe_status lathe_tokenizer_is_special(const lathe_tokenizer *tokenizer, int64_t id, int32_t *special);

/** Encodes the `size` bytes at `text` (NULL when there are none). What is no UTF-8 is read as U+FFFD, as Python reads
 * it with errors="replace". `add_special`: non-zero for the tokens that the file puts around a text (a SentencePiece
 * model has none). The *count ids are owned by the caller: lathe_tokenizer_free. Thread-safe. Errors: EXECUTION_ERROR
 * (the text needs an unknown token and the file has none), OUT_OF_MEMORY. */
LATHE_API lathe_status lathe_tokenizer_encode(const lathe_tokenizer *tokenizer, const char *text, size_t size,
                                              int32_t add_special, int64_t **ids, size_t *count);

/** Decodes `count` ids (NULL when there are none). Ids that no token has are passed over: models have them.
 *  `skip_special`: non-zero to leave special tokens out. The *size bytes of UTF-8, and a zero, are owned by the caller:
 *  lathe_tokenizer_free. Thread-safe. Errors: INVALID_ARGUMENT (a negative id), EXECUTION_ERROR, OUT_OF_MEMORY. */
LATHE_API lathe_status lathe_tokenizer_decode(const lathe_tokenizer *tokenizer, const int64_t *ids, size_t count,
                                              int32_t skip_special, char **text, size_t *size);

/** Frees what encoding or decoding returned. Accepts NULL. Thread-safe. */
LATHE_API void lathe_tokenizer_free(void *memory);

/*===----------------------------------------------------------------------===*
 * Streams: ids that become text one by one. The texts of all calls, joined, are what lathe_tokenizer_decode gives for
 * all ids; each is whole characters. A text belongs to the stream and is valid until the next call on it.
 *===----------------------------------------------------------------------===*/

/** Begins a text. The tokenizer must outlive the stream, which is owned by the caller: lathe_tokenizer_stream_release.
 *  Thread-safe. */
LATHE_API lathe_status lathe_tokenizer_stream_create(const lathe_tokenizer *tokenizer, int32_t skip_special,
                                                     lathe_tokenizer_stream **stream);

/** Adds an id; *text are the *size bytes, and a zero, that are settled by it, none where more ids decide. Errors:
 *  INVALID_ARGUMENT (a negative id), EXECUTION_ERROR. */
LATHE_API lathe_status lathe_tokenizer_stream_push(lathe_tokenizer_stream *stream, int64_t id, const char **text,
                                                   size_t *size);

/** Ends the text: gives what is left of it. The stream then begins another. Errors: EXECUTION_ERROR. */
LATHE_API lathe_status lathe_tokenizer_stream_finish(lathe_tokenizer_stream *stream, const char **text, size_t *size);

/** Releases a stream. Accepts NULL. */
LATHE_API void lathe_tokenizer_stream_release(lathe_tokenizer_stream *stream);

#ifdef __cplusplus
}
#endif

#endif /* LATHE_TOKENIZER_H */
