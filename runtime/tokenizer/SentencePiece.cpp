//===- SentencePiece.cpp - SentencePiece's own models -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// A library of its own, which is loaded for the first such model: libsentencepiece shows the symbols of the protobuf that it
// has within, which must not be those of another protobuf in the process.
//
//===----------------------------------------------------------------------===//
#include "runtime/tokenizer/Tokenizer.h"
#include "runtime/tokenizer/Utf8.h"

#include <cstdlib>
#include <sentencepiece_processor.h>

using namespace lathe;
using namespace lathe::tokenizer;
using runtime::failure;
using runtime::success;

namespace {

constexpr std::string_view kMark = "\xE2\x96\x81"; ///< U+2581, a blank

/// The library's message, which may quote a model's bytes.
template <typename LibraryStatus> std::string readable(const LibraryStatus &status) {
  std::string text;
  appendValid(text, status.ToString());
  return text;
}

class SentencePiece : public Tokenizer {
public:
  Status read(std::string_view bytes);

  Status encode(std::string_view text, bool addsSpecial, std::vector<uint32_t> &ids) const override;
  std::unique_ptr<Decoding> decode(bool skipsSpecial) const override;

  std::optional<uint32_t> idOf(std::string_view token) const override {
    // The library gives the unknown token for what it does not know.
    int id = processor_.PieceToId(token);
    if (id < 0 || id >= processor_.GetPieceSize() || processor_.IdToPiece(id) != token)
      return std::nullopt;
    return static_cast<uint32_t>(id);
  }
  std::string_view textOf(uint32_t id) const override {
    return id < vocabularySize ? std::string_view(processor_.IdToPiece(static_cast<int>(id))) : std::string_view();
  }
  bool isSpecial(uint32_t id) const override {
    return id < vocabularySize &&
           (processor_.IsControl(static_cast<int>(id)) || processor_.IsUnknown(static_cast<int>(id)));
  }

private:
  class PieceDecoding;

  void probeDecoding();

  sentencepiece::SentencePieceProcessor processor_;
  std::string unknownText_;                               ///< what an unknown token becomes
  bool dropsFirstBlank_ = false, dropsAllBlanks_ = false; ///< at the front of texts
};

/// What the library's Decode does, token by token. (Its Decode wants all ids at once.)
class SentencePiece::PieceDecoding : public Decoding {
public:
  PieceDecoding(const SentencePiece &owner, bool skipsSpecial) : owner_(owner), skipsSpecial_(skipsSpecial) {}

  Status push(uint32_t id, std::string &out) override {
    const auto &processor = owner_.processor_;
    auto index = static_cast<int>(id);
    if (id >= owner_.vocabularySize || (skipsSpecial_ && owner_.isSpecial(id)))
      return success();
    if (processor.IsByte(index)) {
      // <0xNN>
      const std::string &name = processor.IdToPiece(index);
      bytes_.push_back(static_cast<char>(name.size() > 3 ? strtol(name.c_str() + 3, nullptr, 16) : 0));
      return success();
    }
    flush(out);
    if (processor.IsControl(index))
      return success();
    if (processor.IsUnknown(index)) {
      put(owner_.unknownText_, out);
      return success();
    }
    std::string_view rest = processor.IdToPiece(index);
    bool isBlank = isFirst_ && owner_.dropsFirstBlank_ && rest.substr(0, kMark.size()) == kMark;
    if (isBlank)
      rest.remove_prefix(kMark.size());
    isFirst_ &= !isBlank || owner_.dropsAllBlanks_;
    for (size_t at; (at = rest.find(kMark)) != std::string_view::npos; rest.remove_prefix(at + kMark.size()))
      put(std::string(rest.substr(0, at)) + " ", out);
    put(rest, out);
    return success();
  }

  Status finish(std::string &out) override {
    flush(out);
    return success();
  }

private:
  void put(std::string_view text, std::string &out) {
    isFirst_ &= text.empty();
    appendValid(out, text); // a broken model's tokens may be no UTF-8
  }

  void flush(std::string &out) {
    std::string text;
    appendBytes(text);
    put(text, out);
    bytes_.clear();
  }

  /// The library replaces each byte that begins no character.
  void appendBytes(std::string &text) const {
    for (size_t at = 0; at < bytes_.size();) {
      std::string_view rest = std::string_view(bytes_).substr(at);
      size_t size = wellFormed(rest);
      text += size ? rest.substr(0, size) : kReplacementText;
      at += size ? size : 1;
    }
  }

  const SentencePiece &owner_;
  bool skipsSpecial_, isFirst_ = true;
  std::string bytes_;
};

Status SentencePiece::read(std::string_view bytes) {
  auto status = processor_.LoadFromSerializedProto(bytes);
  if (!status.ok())
    return failure(LATHE_INVALID_ARTIFACT,
                   "the tokenizer is neither a tokenizer.json nor a SentencePiece model: ", readable(status));
  kind = "sentencepiece";
  vocabularySize = static_cast<size_t>(processor_.GetPieceSize());
  if (vocabularySize == 0)
    return failure(LATHE_INVALID_ARTIFACT, "the SentencePiece model has no tokens");
  maxId = static_cast<uint32_t>(vocabularySize - 1);
  auto known = [this](int id) {
    return id >= 0 && id < processor_.GetPieceSize() ? std::optional<uint32_t>(id) : std::nullopt;
  };
  begin = known(processor_.bos_id());
  end = known(processor_.eos_id());
  unknown = known(processor_.unk_id());
  for (uint32_t id = 0; id < vocabularySize; ++id)
    if (isSpecial(id))
      specials.push_back(id);
  probeDecoding();
  return success();
}

/// What the model's message says of decoding and the library's interface does not: seen in what it makes of tokens.
void SentencePiece::probeDecoding() {
  auto decoded = [this](std::vector<int> ids) {
    std::string text;
    (void)processor_.Decode(ids, &text);
    return text;
  };
  if (unknown)
    unknownText_ = decoded({static_cast<int>(*unknown)});
  for (int id = 0; id < processor_.GetPieceSize(); ++id) {
    const std::string &text = processor_.IdToPiece(id);
    if (isSpecial(static_cast<uint32_t>(id)) || processor_.IsByte(id) || text.compare(0, kMark.size(), kMark) != 0)
      continue;
    dropsFirstBlank_ = decoded({id}).compare(0, 1, " ") != 0;
    // Only a token that is nothing else leaves the front of the text where it was.
    if (text == kMark) {
      dropsAllBlanks_ = decoded({id, id}).empty();
      break;
    }
  }
}

Status SentencePiece::encode(std::string_view text, bool, std::vector<uint32_t> &ids) const {
  std::string valid;
  appendValid(valid, text);
  std::vector<int> result;
  auto status = processor_.Encode(valid, &result);
  if (!status.ok())
    return failure(LATHE_EXECUTION_ERROR, "SentencePiece fails on this text: ", readable(status));
  ids.insert(ids.end(), result.begin(), result.end());
  return success();
}

std::unique_ptr<Decoding> SentencePiece::decode(bool skipsSpecial) const {
  return std::make_unique<PieceDecoding>(*this, skipsSpecial);
}

} // namespace

extern "C" __attribute__((visibility("default"))) void lathe_load_sentencepiece(const std::string_view *bytes,
                                                                                std::unique_ptr<Tokenizer> *tokenizer,
                                                                                Status *status) {
  auto sentencePiece = std::make_unique<SentencePiece>();
  *status = sentencePiece->read(*bytes);
  if (!status->failed())
    *tokenizer = std::move(sentencePiece);
}
