//===- Tokenizer.cpp - Texts to ids and back --------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/tokenizer/Tokenizer.h"
#include "runtime/tokenizer/AddedTokens.h"
#include "runtime/tokenizer/Decoder.h"
#include "runtime/tokenizer/Model.h"
#include "runtime/tokenizer/Normalizer.h"
#include "runtime/tokenizer/PostProcessor.h"
#include "runtime/tokenizer/PreTokenizer.h"
#include "runtime/tokenizer/Utf8.h"
#include "runtime/tokenizer/WordCache.h"

#include <algorithm>

using namespace lathe;
using namespace lathe::tokenizer;

namespace {

/// A tokenizer.json: normalize, cut into words, cut those into tokens, put special ones around.
class Pipeline : public Tokenizer {
public:
  Status read(const Node &root);

  Status encode(std::string_view text, bool addsSpecial, std::vector<uint32_t> &ids) const override;
  std::unique_ptr<Decoding> decode(bool skipsSpecial) const override;

  std::optional<uint32_t> idOf(std::string_view token) const override {
    std::optional<uint32_t> added = added_.vocabulary().find(token);
    return added ? added : model_->vocabulary().find(token);
  }
  std::string_view textOf(uint32_t id) const override {
    std::string_view added = added_.textOf(id);
    return added.data() ? added : model_->vocabulary().text(id);
  }
  bool isSpecial(uint32_t id) const override { return added_.isSpecial(id); }

private:
  class PipelineDecoding;

  void describe();

  std::unique_ptr<Normalizer> normalizer_;
  std::unique_ptr<PreTokenizer> preTokenizer_;
  std::unique_ptr<Model> model_;
  PostProcessor postProcessor_;
  std::vector<std::unique_ptr<DecodePart>> decoder_;
  AddedTokens added_;
  mutable WordCaches caches_;
};

class Pipeline::PipelineDecoding : public Decoding {
public:
  PipelineDecoding(const Pipeline &pipeline, bool skipsSpecial)
      : pipeline_(pipeline), skipsSpecial_(skipsSpecial), chain_(pipeline.decoder_) {}

  Status push(uint32_t id, std::string &out) override {
    std::string_view text = pipeline_.textOf(id);
    if (text.data() && !(skipsSpecial_ && pipeline_.isSpecial(id)))
      chain_.token(text);
    return give(out);
  }

  Status finish(std::string &out) override {
    chain_.finish();
    return give(out);
  }

private:
  Status give(std::string &out) {
    out += chain_.take();
    return chain_.status();
  }

  const Pipeline &pipeline_;
  bool skipsSpecial_;
  DecodeChain chain_;
};

Status Pipeline::read(const Node &root) {
  if (!root.isObject() || root["model"].isNull())
    return failure(LATHE_INVALID_ARTIFACT, "this is no tokenizer.json: expected an object with a member 'model'");
  if (!root["normalizer"].isNull())
    LATHE_TRY(readNormalizer(root["normalizer"], &normalizer_));
  if (!root["pre_tokenizer"].isNull())
    LATHE_TRY(readPreTokenizer(root["pre_tokenizer"], &preTokenizer_));
  LATHE_TRY(readModel(root["model"], &model_));
  LATHE_TRY(postProcessor_.read(root["post_processor"]));
  LATHE_TRY(readDecoder(root["decoder"], &decoder_));
  LATHE_TRY(added_.read(root["added_tokens"], *model_, normalizer_.get()));
  describe();
  return success();
}

void Pipeline::describe() {
  kind = "tokenizer.json";
  const Vocabulary &own = model_->vocabulary(), &added = added_.vocabulary();
  vocabularySize = own.size() + added_.countBeyond(own);
  // A post-processor may put ids that no token has, and texts then have those.
  maxId = std::max({own.maxId(), added.maxId(), postProcessor_.maxId()});
  unknown = model_->unknown();
  specials = added_.specials();
  begin = postProcessor_.first();
  end = postProcessor_.last();
  if (!begin && !end) {
    // A file with one special token has it for the ends of texts.
    std::vector<uint32_t> others;
    std::copy_if(specials.begin(), specials.end(), std::back_inserter(others),
                 [this](uint32_t id) { return !unknown || id != *unknown; });
    if (others.size() == 1)
      begin = end = others[0];
  }
}

Status Pipeline::encode(std::string_view text, bool addsSpecial, std::vector<uint32_t> &ids) const {
  std::string valid;
  if (!isValid(text)) {
    appendValid(valid, text);
    text = valid;
  }
  Pieces pieces;
  LATHE_TRY(added_.cut(text, normalizer_.get(), &pieces));
  if (preTokenizer_)
    LATHE_TRY(preTokenizer_->apply(pieces));
  std::vector<uint32_t> result;
  result.reserve(text.size() / 3 + 8);
  WordCaches::Borrowed cache(caches_);
  for (const Piece &piece : pieces.pieces) {
    if (piece.token != Piece::kNoToken) {
      result.push_back(piece.token);
      continue;
    }
    std::string_view word = pieces.of(piece);
    if (word.size() > WordCache::kMaxSize || word.empty()) {
      if (!word.empty())
        LATHE_TRY(model_->tokenize(word, result));
      continue;
    }
    uint64_t hash = hashOf(word);
    if (cache->find(word, hash, result))
      continue;
    size_t before = result.size();
    LATHE_TRY(model_->tokenize(word, result));
    cache->put(word, hash, result.data() + before, result.size() - before);
  }
  if (addsSpecial)
    postProcessor_.apply(result);
  ids.insert(ids.end(), result.begin(), result.end());
  return success();
}

std::unique_ptr<Decoding> Pipeline::decode(bool skipsSpecial) const {
  return std::make_unique<PipelineDecoding>(*this, skipsSpecial);
}

} // namespace

Status tokenizer::loadJson(std::string_view bytes, std::unique_ptr<Tokenizer> *tokenizer) {
  Json root = Json::parse(bytes.begin(), bytes.end(), nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded())
    return failure(LATHE_INVALID_ARTIFACT, "the tokenizer is no valid JSON text");
  auto pipeline = std::make_unique<Pipeline>();
  LATHE_TRY(pipeline->read(Node(root, "")));
  *tokenizer = std::move(pipeline);
  return success();
}

Status Tokenizer::load(std::string_view bytes, std::unique_ptr<Tokenizer> *tokenizer) {
  if (bytes.substr(0, 3) == "\xEF\xBB\xBF") // a byte order mark
    bytes.remove_prefix(3);
  size_t first = bytes.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos)
    return failure(LATHE_INVALID_ARTIFACT, "the tokenizer is empty");
  // A SentencePiece model is a protobuf message, whose first byte is a tag: no bracket.
  return bytes[first] == '{' || bytes[first] == '[' ? loadJson(bytes, tokenizer) : loadSentencePiece(bytes, tokenizer);
}
