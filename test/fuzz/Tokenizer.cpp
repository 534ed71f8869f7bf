//===- Tokenizer.cpp - Fuzzing of tokenizers ------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// One input is a text and the tokenizer that takes it: a byte that is the text's length, the text, the bytes of the
// file. A tokenizer that loads takes any text, and a stream of its ids is the text of all of them.
//
//===----------------------------------------------------------------------===//
#include "runtime/tokenizer/Tokenizer.h"
#include <algorithm>
#include <cstdlib>

using namespace lathe;
using tokenizer::Decoding;
using tokenizer::Status;
using tokenizer::Tokenizer;

namespace {

void require(bool condition) {
  if (!condition)
    abort();
}

/// Ids that texts give, and some that no token may have; one after the other, whose parts are whole characters.
void decode(const Tokenizer &tokenizer, std::vector<uint32_t> ids) {
  ids.insert(ids.end(), {0, 1, tokenizer.maxId, tokenizer.maxId + 1, UINT32_MAX});
  for (bool skipsSpecial : {false, true}) {
    std::string text[2];
    for (std::string &out : text) {
      std::unique_ptr<Decoding> decoding = tokenizer.decode(skipsSpecial);
      for (uint32_t id : ids)
        if (decoding->push(id, out).failed())
          return;
      if (decoding->finish(out).failed())
        return;
    }
    require(text[0] == text[1]);
  }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0)
    return 0;
  size_t length = std::min<size_t>(data[0], size - 1);
  const char *bytes = reinterpret_cast<const char *>(data) + 1;
  std::string_view text(bytes, length), file(bytes + length, size - 1 - length);
  std::unique_ptr<Tokenizer> tokenizer;
  Status status = tokenizer::loadJson(file, &tokenizer);
  require(status.failed() == !tokenizer);
  if (status.failed()) {
    require(!status.message().empty() && status.code() == LATHE_INVALID_ARTIFACT); // a refusal has a reason
    return 0;
  }
  for (uint32_t id : {uint32_t(0), tokenizer->maxId, UINT32_MAX})
    if (std::string_view token = tokenizer->textOf(id); token.data())
      require(token.data()[token.size()] == 0);
  for (bool addsSpecial : {false, true}) {
    std::vector<uint32_t> ids;
    if (tokenizer->encode(text, addsSpecial, ids).failed())
      continue;
    for (uint32_t id : ids)
      require(id <= tokenizer->maxId);
    decode(*tokenizer, std::move(ids));
  }
  return 0;
}
