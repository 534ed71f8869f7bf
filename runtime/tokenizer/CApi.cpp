//===- CApi.cpp - C interface of the tokenizers -----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/include/lathe/tokenizer.h"
#include "runtime/tokenizer/Tokenizer.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>

using namespace lathe;
using namespace lathe::tokenizer;
using runtime::failure;

struct lathe_tokenizer {
  std::unique_ptr<Tokenizer> tokenizer;
};

struct lathe_tokenizer_stream {
  const Tokenizer *tokenizer;
  bool skipsSpecial;
  std::unique_ptr<Decoding> decoding;
  std::string text; ///< of the last call
};

namespace {

std::string &lastError() {
  thread_local std::string message;
  return message;
}

lathe_status report(const Status &status) {
  if (status.failed())
    lastError() = status.message();
  return status.code();
}

lathe_status nullArgument(const char *name) {
  return report(failure(LATHE_INVALID_ARGUMENT, "'", name, "' must not be NULL"));
}

lathe_status outOfMemory() { return report(failure(LATHE_OUT_OF_MEMORY, "out of memory")); }

int64_t idOrNone(std::optional<uint32_t> id) { return id ? int64_t(*id) : -1; }

Status readFile(const char *path, std::string *bytes) {
  std::unique_ptr<FILE, int (*)(FILE *)> file(fopen(path, "rb"), fclose);
  if (!file)
    return errno == ENOENT ? failure(LATHE_NOT_FOUND, "tokenizer '", path, "' does not exist")
                           : failure(LATHE_IO_ERROR, "cannot open tokenizer '", path, "': ", strerror(errno));
  char buffer[1 << 16];
  while (size_t size = fread(buffer, 1, sizeof(buffer), file.get()))
    bytes->append(buffer, size);
  if (ferror(file.get()))
    return failure(LATHE_IO_ERROR, "cannot read tokenizer '", path, "': ", strerror(errno));
  return runtime::success();
}

/// Ids that are too great for any token are one that no token has.
Status toId(int64_t id, uint32_t *out) {
  if (id < 0)
    return failure(LATHE_INVALID_ARGUMENT, "a token id must not be negative, got ", id);
  *out = static_cast<uint32_t>(std::min<int64_t>(id, std::numeric_limits<uint32_t>::max()));
  return runtime::success();
}

template <typename T> T *copyOut(const T *from, size_t count, size_t room) {
  T *copy = static_cast<T *>(malloc(room * sizeof(T)));
  if (copy && count)
    memcpy(copy, from, count * sizeof(T));
  return copy;
}

lathe_status loadBytes(std::string_view bytes, const char *path, lathe_tokenizer **tokenizer) {
  auto handle = std::make_unique<lathe_tokenizer>();
  if (Status status = Tokenizer::load(bytes, &handle->tokenizer); status.failed())
    return report(path ? failure(status.code(), "tokenizer '", path, "': ", status.message()) : status);
  *tokenizer = handle.release();
  return LATHE_OK;
}

} // namespace

const char *lathe_tokenizer_last_error(void) { return lastError().c_str(); }

lathe_status lathe_tokenizer_load(const char *path, lathe_tokenizer **tokenizer) {
  if (!tokenizer)
    return nullArgument("tokenizer");
  *tokenizer = nullptr;
  if (!path)
    return nullArgument("path");
  std::string bytes;
  if (Status status = readFile(path, &bytes); status.failed())
    return report(status);
  return loadBytes(bytes, path, tokenizer);
}

lathe_status lathe_tokenizer_load_memory(const void *data, size_t size, lathe_tokenizer **tokenizer) {
  if (!tokenizer)
    return nullArgument("tokenizer");
  *tokenizer = nullptr;
  if (!data && size)
    return nullArgument("data");
  return loadBytes({static_cast<const char *>(data), size}, nullptr, tokenizer);
}

void lathe_tokenizer_release(lathe_tokenizer *tokenizer) { delete tokenizer; }

void lathe_tokenizer_info_init(lathe_tokenizer_info *info) {
  if (!info)
    return;
  *info = {};
  info->struct_size = sizeof(*info);
}

lathe_status lathe_tokenizer_get_info(const lathe_tokenizer *tokenizer, lathe_tokenizer_info *info) {
  if (!tokenizer)
    return nullArgument("tokenizer");
  if (!info)
    return nullArgument("info");
  if (info->struct_size < sizeof(size_t))
    return report(
        failure(LATHE_INVALID_ARGUMENT, "the structure has no size: initialise it with lathe_tokenizer_info_init"));
  const Tokenizer &t = *tokenizer->tokenizer;
  lathe_tokenizer_info all = {};
  all.kind = t.kind;
  all.vocabulary_size = t.vocabularySize;
  all.special_count = t.specials.size();
  all.max_id = t.maxId;
  all.bos_id = idOrNone(t.begin);
  all.eos_id = idOrNone(t.end);
  all.unk_id = idOrNone(t.unknown);
  // An older caller knows fewer members.
  all.struct_size = std::min(info->struct_size, sizeof(all));
  memcpy(info, &all, all.struct_size);
  return LATHE_OK;
}

lathe_status lathe_tokenizer_special(const lathe_tokenizer *tokenizer, size_t index, int64_t *id) {
  if (!id)
    return nullArgument("id");
  *id = 0;
  if (!tokenizer)
    return nullArgument("tokenizer");
  const auto &specials = tokenizer->tokenizer->specials;
  if (index >= specials.size())
    return report(failure(LATHE_INVALID_ARGUMENT, "special token ", index, " does not exist: the tokenizer has ",
                          specials.size()));
  *id = specials[index];
  return LATHE_OK;
}

lathe_status lathe_tokenizer_token_id(const lathe_tokenizer *tokenizer, const char *token, size_t size, int64_t *id) {
  if (!id)
    return nullArgument("id");
  *id = 0;
  if (!tokenizer)
    return nullArgument("tokenizer");
  if (!token && size)
    return nullArgument("token");
  std::string_view text = size ? std::string_view(token, size) : std::string_view();
  std::optional<uint32_t> found = tokenizer->tokenizer->idOf(text);
  if (!found)
    return report(failure(LATHE_NOT_FOUND, "the tokenizer has no token '", std::string(text.substr(0, 200)), "'"));
  *id = *found;
  return LATHE_OK;
}

lathe_status lathe_tokenizer_token_text(const lathe_tokenizer *tokenizer, int64_t id, const char **text, size_t *size) {
  if (!text)
    return nullArgument("text");
  *text = nullptr;
  if (!size)
    return nullArgument("size");
  *size = 0;
  if (!tokenizer)
    return nullArgument("tokenizer");
  uint32_t index = 0;
  if (Status status = toId(id, &index); status.failed())
    return report(status);
  std::string_view found = tokenizer->tokenizer->textOf(index);
  if (!found.data())
    return report(failure(LATHE_NOT_FOUND, "the tokenizer has no token with id ", id, ": the greatest is ",
                          tokenizer->tokenizer->maxId));
  *text = found.data();
  *size = found.size();
  return LATHE_OK;
}

lathe_status lathe_tokenizer_is_special(const lathe_tokenizer *tokenizer, int64_t id, int32_t *special) {
  if (!special)
    return nullArgument("special");
  *special = 0;
  if (!tokenizer)
    return nullArgument("tokenizer");
  *special = id >= 0 && id <= tokenizer->tokenizer->maxId && tokenizer->tokenizer->isSpecial(static_cast<uint32_t>(id));
  return LATHE_OK;
}

lathe_status lathe_tokenizer_encode(const lathe_tokenizer *tokenizer, const char *text, size_t size,
                                    int32_t add_special, int64_t **ids, size_t *count) {
  if (!ids)
    return nullArgument("ids");
  *ids = nullptr;
  if (!count)
    return nullArgument("count");
  *count = 0;
  if (!tokenizer)
    return nullArgument("tokenizer");
  if (!text && size)
    return nullArgument("text");
  std::vector<uint32_t> found;
  std::string_view bytes = size ? std::string_view(text, size) : std::string_view();
  if (Status status = tokenizer->tokenizer->encode(bytes, add_special != 0, found); status.failed())
    return report(status);
  std::vector<int64_t> wide(found.begin(), found.end());
  // Room for one more: a pointer to nothing would be NULL on some systems.
  *ids = copyOut(wide.data(), wide.size(), wide.size() + 1);
  if (!*ids)
    return outOfMemory();
  *count = wide.size();
  return LATHE_OK;
}

lathe_status lathe_tokenizer_decode(const lathe_tokenizer *tokenizer, const int64_t *ids, size_t count,
                                    int32_t skip_special, char **text, size_t *size) {
  if (!text)
    return nullArgument("text");
  *text = nullptr;
  if (!size)
    return nullArgument("size");
  *size = 0;
  if (!tokenizer)
    return nullArgument("tokenizer");
  if (!ids && count)
    return nullArgument("ids");
  std::string out;
  std::unique_ptr<Decoding> decoding = tokenizer->tokenizer->decode(skip_special != 0);
  for (size_t i = 0; i < count; ++i) {
    uint32_t id = 0;
    if (Status status = toId(ids[i], &id); status.failed())
      return report(status);
    if (Status status = decoding->push(id, out); status.failed())
      return report(status);
  }
  if (Status status = decoding->finish(out); status.failed())
    return report(status);
  *text = copyOut(out.c_str(), out.size() + 1, out.size() + 1);
  if (!*text)
    return outOfMemory();
  *size = out.size();
  return LATHE_OK;
}

void lathe_tokenizer_free(void *memory) { free(memory); }

lathe_status lathe_tokenizer_stream_create(const lathe_tokenizer *tokenizer, int32_t skip_special,
                                           lathe_tokenizer_stream **stream) {
  if (!stream)
    return nullArgument("stream");
  *stream = nullptr;
  if (!tokenizer)
    return nullArgument("tokenizer");
  auto created = std::make_unique<lathe_tokenizer_stream>();
  created->tokenizer = tokenizer->tokenizer.get();
  created->skipsSpecial = skip_special != 0;
  created->decoding = created->tokenizer->decode(created->skipsSpecial);
  *stream = created.release();
  return LATHE_OK;
}

lathe_status lathe_tokenizer_stream_push(lathe_tokenizer_stream *stream, int64_t id, const char **text, size_t *size) {
  if (!text)
    return nullArgument("text");
  *text = nullptr;
  if (!size)
    return nullArgument("size");
  *size = 0;
  if (!stream)
    return nullArgument("stream");
  uint32_t index = 0;
  stream->text.clear();
  if (Status status = toId(id, &index); status.failed())
    return report(status);
  if (Status status = stream->decoding->push(index, stream->text); status.failed())
    return report(status);
  *text = stream->text.c_str();
  *size = stream->text.size();
  return LATHE_OK;
}

lathe_status lathe_tokenizer_stream_finish(lathe_tokenizer_stream *stream, const char **text, size_t *size) {
  if (!text)
    return nullArgument("text");
  *text = nullptr;
  if (!size)
    return nullArgument("size");
  *size = 0;
  if (!stream)
    return nullArgument("stream");
  stream->text.clear();
  Status status = stream->decoding->finish(stream->text);
  stream->decoding = stream->tokenizer->decode(stream->skipsSpecial);
  if (status.failed())
    return report(status);
  *text = stream->text.c_str();
  *size = stream->text.size();
  return LATHE_OK;
}

void lathe_tokenizer_stream_release(lathe_tokenizer_stream *stream) { delete stream; }
