/* Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
 *
 * The header as C. */
#include "lathe/tokenizer.h"

lathe_status lathe_test_tokenizer_from_c(const char *path, size_t *count);

lathe_status lathe_test_tokenizer_from_c(const char *path, size_t *count) {
  lathe_tokenizer *tokenizer;
  int64_t *ids;
  lathe_status status = lathe_tokenizer_load(path, &tokenizer);
  if (status == LATHE_OK)
    status = lathe_tokenizer_encode(tokenizer, "a", 1, 0, &ids, count);
  lathe_tokenizer_release(tokenizer);
  return status;
}
