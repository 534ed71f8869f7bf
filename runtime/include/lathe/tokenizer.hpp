//===- tokenizer.hpp - C++ interface of Lathe's tokenizers ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Header-only, over tokenizer.h, whose rules on ownership and threads hold here too. Handles are move-only and release
// what they own; failures are thrown as lathe::TokenizerError.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_TOKENIZER_HPP
#define LATHE_TOKENIZER_HPP

#include "tokenizer.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

/// A call of the tokenizer library that failed.
class TokenizerError : public std::runtime_error {
public:
  TokenizerError(lathe_status status, const std::string &message) : std::runtime_error(message), status_(status) {}
  lathe_status status() const noexcept { return status_; }

private:
  lathe_status status_;
};

/// Texts to ids and back; all members are safe to call from several threads.
class Tokenizer {
public:
  /// Loads a tokenizer.json or a SentencePiece model.
  explicit Tokenizer(const std::string &path) {
    lathe_tokenizer *tokenizer = nullptr;
    check(lathe_tokenizer_load(path.c_str(), &tokenizer));
    tokenizer_.reset(tokenizer);
  }

  /// Loads one from the bytes of its file.
  static Tokenizer fromMemory(std::string_view bytes) {
    Tokenizer result;
    lathe_tokenizer *tokenizer = nullptr;
    check(lathe_tokenizer_load_memory(bytes.data(), bytes.size(), &tokenizer));
    result.tokenizer_.reset(tokenizer);
    return result;
  }

  lathe_tokenizer *get() const { return tokenizer_.get(); }

  lathe_tokenizer_info info() const {
    lathe_tokenizer_info result;
    lathe_tokenizer_info_init(&result);
    check(lathe_tokenizer_get_info(get(), &result));
    return result;
  }

  std::vector<int64_t> encode(std::string_view text, bool addSpecial = true) const {
    int64_t *ids = nullptr;
    size_t count = 0;
    check(lathe_tokenizer_encode(get(), text.data(), text.size(), addSpecial, &ids, &count));
    std::unique_ptr<int64_t, Free> owner(ids);
    return std::vector<int64_t>(ids, ids + count);
  }

  std::string decode(const std::vector<int64_t> &ids, bool skipSpecial = true) const {
    char *text = nullptr;
    size_t size = 0;
    check(lathe_tokenizer_decode(get(), ids.data(), ids.size(), skipSpecial, &text, &size));
    std::unique_ptr<char, Free> owner(text);
    return std::string(text, size);
  }

  /// Nothing where no token is written so.
  std::optional<int64_t> tokenId(std::string_view token) const {
    int64_t id = 0;
    lathe_status status = lathe_tokenizer_token_id(get(), token.data(), token.size(), &id);
    if (status == LATHE_NOT_FOUND)
      return std::nullopt;
    check(status);
    return id;
  }

  /// How a token is written in the vocabulary.
  std::string tokenText(int64_t id) const {
    const char *text = nullptr;
    size_t size = 0;
    check(lathe_tokenizer_token_text(get(), id, &text, &size));
    return std::string(text, size);
  }

  bool isSpecial(int64_t id) const {
    int32_t special = 0;
    check(lathe_tokenizer_is_special(get(), id, &special));
    return special != 0;
  }

  std::vector<int64_t> specials() const {
    std::vector<int64_t> result(info().special_count);
    for (size_t i = 0; i < result.size(); ++i)
      check(lathe_tokenizer_special(get(), i, &result[i]));
    return result;
  }

  static void check(lathe_status status) {
    if (status != LATHE_OK)
      throw TokenizerError(status, lathe_tokenizer_last_error());
  }

private:
  struct Release {
    void operator()(lathe_tokenizer *tokenizer) const { lathe_tokenizer_release(tokenizer); }
  };
  struct Free {
    void operator()(void *memory) const { lathe_tokenizer_free(memory); }
  };

  Tokenizer() = default;

  std::unique_ptr<lathe_tokenizer, Release> tokenizer_;
};

/// Ids that become text one by one; used by one thread at a time. The tokenizer must outlive it.
class TokenStream {
public:
  explicit TokenStream(const Tokenizer &tokenizer, bool skipSpecial = true) {
    lathe_tokenizer_stream *stream = nullptr;
    Tokenizer::check(lathe_tokenizer_stream_create(tokenizer.get(), skipSpecial, &stream));
    stream_.reset(stream);
  }

  /// The text that is settled by this id: whole characters, or nothing.
  std::string push(int64_t id) {
    const char *text = nullptr;
    size_t size = 0;
    Tokenizer::check(lathe_tokenizer_stream_push(stream_.get(), id, &text, &size));
    return std::string(text, size);
  }

  /// The rest of the text; another may begin.
  std::string finish() {
    const char *text = nullptr;
    size_t size = 0;
    Tokenizer::check(lathe_tokenizer_stream_finish(stream_.get(), &text, &size));
    return std::string(text, size);
  }

private:
  struct Release {
    void operator()(lathe_tokenizer_stream *stream) const { lathe_tokenizer_stream_release(stream); }
  };

  std::unique_ptr<lathe_tokenizer_stream, Release> stream_;
};

} // namespace lathe

#endif // LATHE_TOKENIZER_HPP
