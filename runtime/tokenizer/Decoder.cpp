//===- Decoder.cpp - Tokens put together ------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/tokenizer/Decoder.h"
#include "runtime/tokenizer/ByteLevel.h"
#include "runtime/tokenizer/Normalizer.h"
#include "runtime/tokenizer/PreTokenizer.h"
#include "runtime/tokenizer/Regex.h"
#include "runtime/tokenizer/Utf8.h"

#include <algorithm>

using namespace lathe;
using namespace lathe::tokenizer;

namespace {

/// Replaces every `from`; an empty one is found between all characters.
std::string replaceAll(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  if (from.empty()) {
    out += to;
    for (size_t at = 0; at < text.size();) {
      size_t size = characterSize(static_cast<unsigned char>(text[at]));
      out.append(text, at, size);
      out += to;
      at += size;
    }
    return out;
  }
  size_t done = 0;
  for (size_t at; (at = text.find(from, done)) != std::string_view::npos; done = at + from.size()) {
    out.append(text, done, at - done);
    out += to;
  }
  out += text.substr(done);
  return out;
}

/// Blanks that English text does not have.
std::string cleanUp(std::string text) {
  for (auto [from, to] :
       {std::pair(" .", "."), std::pair(" ?", "?"), std::pair(" !", "!"), std::pair(" ,", ","), std::pair(" ' ", "'"),
        std::pair(" n't", "n't"), std::pair(" 'm", "'m"), std::pair(" do not", " don't"), std::pair(" 's", "'s"),
        std::pair(" 've", "'ve"), std::pair(" 're", "'re")})
    text = replaceAll(text, from, to);
  return text;
}

/// A step that needs tokens whole.
class TokenStep : public DecodeStep {
public:
  void push(std::string_view part) final { token_ += part; }
  void endToken() final {
    if (token_.size() > kMaxToken)
      tooLong();
    else
      whole(token_);
    token_.clear();
    ++index_;
  }

protected:
  /// Steps may multiply what they get, so that a few would fill any memory.
  static constexpr size_t kMaxToken = size_t(1) << 26;

  void tooLong() {
    *status_ = failure(LATHE_EXECUTION_ERROR, "the tokenizer's decoders make a token of more than 64 MiB");
  }

  virtual void whole(const std::string &token) = 0;
  size_t index_ = 0; ///< of the token

private:
  std::string token_;
};

/// A part whose step is made of some parameters.
template <typename Step, typename Parameters> class PartOf : public DecodePart {
public:
  explicit PartOf(Parameters parameters) : parameters_(std::move(parameters)) {}
  std::unique_ptr<DecodeStep> start() const override { return std::make_unique<Step>(parameters_); }

private:
  Parameters parameters_;
};

struct None {};

/// Puts blanks between tokens.
class JoinStep : public DecodeStep {
public:
  explicit JoinStep(const None &) {}
  void push(std::string_view part) override {
    if (isNext_)
      next_->push(" ");
    isNext_ = false;
    next_->push(part);
  }
  void endToken() override {
    next_->endToken();
    isNext_ = true;
  }

private:
  bool isNext_ = false;
};

/// Makes one token of all.
class FuseStep : public DecodeStep {
public:
  explicit FuseStep(const None &) {}
  void push(std::string_view part) override { next_->push(part); }
  void endToken() override {}
  void finish() override {
    next_->endToken();
    next_->finish();
  }
};

/// Makes one token of the bytes that characters stand for.
class ByteLevelStep : public TokenStep {
public:
  explicit ByteLevelStep(const None &) {}
  void finish() override {
    if (!bytes_.empty())
      next_->push(kReplacementText); // a character that was never completed
    next_->endToken();
    next_->finish();
  }

protected:
  void whole(const std::string &token) override {
    size_t kept = bytes_.size();
    for (size_t at = 0; at < token.size();) {
      int byte = byteOf(nextCharacter(token, at));
      if (byte < 0) { // an added token, which is a text itself
        bytes_.resize(kept);
        bytes_ += token;
        break;
      }
      bytes_.push_back(static_cast<char>(byte));
    }
    // All but the beginning of a character that the next token may complete.
    size_t tail = bytes_.size();
    for (size_t back = 1; back <= std::min<size_t>(3, bytes_.size()); ++back) {
      bool isPrefix = false;
      std::string_view end = std::string_view(bytes_).substr(bytes_.size() - back);
      size_t bad = 0;
      if (!wellFormed(end, &bad, &isPrefix) && isPrefix && bad == back)
        tail = bytes_.size() - back;
    }
    std::string text;
    appendValid(text, std::string_view(bytes_).substr(0, tail));
    bytes_.erase(0, tail);
    if (!text.empty())
      next_->push(text);
  }

private:
  std::string bytes_;
};

struct WordPieceParameters {
  std::string prefix;
  bool cleansUp = true;
};

class WordPieceStep : public TokenStep {
public:
  explicit WordPieceStep(const WordPieceParameters &parameters) : parameters_(parameters) {}

protected:
  void whole(const std::string &token) override {
    std::string text = token;
    if (index_) {
      bool goesOn = text.compare(0, parameters_.prefix.size(), parameters_.prefix) == 0;
      goesOn ? text.erase(0, parameters_.prefix.size()) : text.insert(0, " ");
    }
    give(parameters_.cleansUp ? cleanUp(std::move(text)) : text);
  }

private:
  const WordPieceParameters &parameters_;
};

struct MetaspaceParameters {
  std::string mark;
  bool dropsFirst = true;
};

/// Blanks for marks, none for those of the first token.
class MetaspaceStep : public TokenStep {
public:
  explicit MetaspaceStep(const MetaspaceParameters &parameters) : parameters_(parameters) {}

protected:
  void whole(const std::string &token) override {
    give(replaceAll(token, parameters_.mark, index_ == 0 && parameters_.dropsFirst ? "" : " "));
  }

private:
  const MetaspaceParameters &parameters_;
};

/// Blanks for the marks that end words, none for the last token's, so that one token always waits.
class WordEndStep : public TokenStep {
public:
  explicit WordEndStep(const std::string &suffix) : suffix_(suffix) {}
  void finish() override {
    if (index_)
      give(replaceAll(waiting_, suffix_, ""));
    next_->finish();
  }

protected:
  void whole(const std::string &token) override {
    if (index_)
      give(replaceAll(waiting_, suffix_, " "));
    waiting_ = token;
  }

private:
  const std::string &suffix_;
  std::string waiting_;
};

/// Puts bytes, tokens like <0x0A>, together. Whether a row of them is a text only its end tells.
class ByteFallbackStep : public TokenStep {
public:
  explicit ByteFallbackStep(const None &) {}
  void finish() override {
    flush();
    next_->finish();
  }

protected:
  void whole(const std::string &token) override {
    int byte = byteOfName(token);
    if (byte >= 0) {
      bytes_.push_back(static_cast<char>(byte));
      return;
    }
    flush();
    give(token);
  }

private:
  static int byteOfName(std::string_view token) {
    if (token.size() != 6 || token.substr(0, 3) != "<0x" || token[5] != '>')
      return -1;
    auto digit = [](char c) {
      return c >= '0' && c <= '9'   ? c - '0'
             : c >= 'A' && c <= 'F' ? c - 'A' + 10
             : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                    : -1;
    };
    int high = digit(token[3]), low = digit(token[4]);
    if (token[3] == '+') // which the package takes as the sign of a number
      return low;
    return high < 0 || low < 0 ? -1 : high * 16 + low;
  }

  void flush() {
    if (bytes_.empty())
      return;
    if (isValid(bytes_))
      give(bytes_);
    else
      for (size_t i = 0; i < bytes_.size(); ++i)
        give(kReplacementText);
    bytes_.clear();
  }

  std::string bytes_;
};

struct StripParameters {
  std::string content;
  uint32_t start = 0, stop = 0;
};

/// Removes a character at the ends of tokens, up to so many times.
class StripStep : public DecodeStep {
public:
  explicit StripStep(const StripParameters &parameters) : parameters_(parameters), toSkip_(parameters.start) {}

  void push(std::string_view part) override {
    std::string out;
    for (size_t at = 0; at < part.size();) {
      size_t size = characterSize(static_cast<unsigned char>(part[at]));
      std::string_view character = part.substr(at, size);
      at += size;
      if (character == parameters_.content) {
        if (toSkip_) {
          --toSkip_;
          continue;
        }
        if (held_ == parameters_.stop)
          out += character;
        else
          ++held_;
        continue;
      }
      toSkip_ = 0;
      for (; held_; --held_)
        out += parameters_.content;
      out += character;
    }
    if (!out.empty())
      next_->push(out);
  }

  void endToken() override {
    held_ = 0;
    toSkip_ = parameters_.start;
    next_->endToken();
  }

private:
  const StripParameters &parameters_;
  uint32_t toSkip_, held_ = 0;
};

struct ReplaceParameters {
  std::shared_ptr<Pattern> pattern = std::make_shared<Pattern>();
  std::string content;
};

class ReplaceStep : public TokenStep {
public:
  explicit ReplaceStep(const ReplaceParameters &parameters) : parameters_(parameters) {}

protected:
  void whole(const std::string &token) override {
    std::vector<Match> parts;
    if (Status status = parameters_.pattern->parts(token, &parts); status.failed()) {
      *status_ = status;
      return;
    }
    std::string out;
    for (const Match &part : parts) {
      part.isMatch ? out.append(parameters_.content) : out.append(token, part.begin, part.end - part.begin);
      if (out.size() > kMaxToken)
        return tooLong();
    }
    give(out);
  }

private:
  const ReplaceParameters &parameters_;
};

struct CtcParameters {
  std::string pad, delimiter;
  bool cleansUp = true;
};

/// Connectionist temporal classification: one token for a row of equal ones, none for pads (Graves et al., 2006).
class CtcStep : public TokenStep {
public:
  explicit CtcStep(const CtcParameters &parameters) : parameters_(parameters) {}

protected:
  void whole(const std::string &token) override {
    if (index_ && token == last_)
      return;
    last_ = token;
    std::string text = replaceAll(token, parameters_.pad, "");
    if (parameters_.cleansUp)
      text = replaceAll(cleanUp(std::move(text)), parameters_.delimiter, " ");
    if (!text.empty())
      give(text);
  }

private:
  const CtcParameters &parameters_;
  std::string last_;
};

using Parts = std::vector<std::unique_ptr<DecodePart>>;

template <typename Step, typename Parameters> Status add(Parts *parts, Parameters parameters) {
  parts->push_back(std::make_unique<PartOf<Step, Parameters>>(std::move(parameters)));
  return success();
}

Status readMetaspacePart(const Node &node, Parts *parts) {
  MetaspaceParameters parameters;
  PrependScheme scheme = PrependScheme::Always;
  bool splits = true;
  LATHE_TRY(readMetaspace(node, &parameters.mark, &scheme, &splits));
  parameters.dropsFirst = scheme != PrependScheme::Never;
  return add<MetaspaceStep>(parts, std::move(parameters));
}

Status readStrip(const Node &node, Parts *parts) {
  StripParameters parameters;
  LATHE_TRY(node["content"].read(&parameters.content));
  if (countCharacters(parameters.content) != 1)
    return node["content"].expected("one character");
  LATHE_TRY(node["start"].read(&parameters.start));
  LATHE_TRY(node["stop"].read(&parameters.stop));
  return add<StripStep>(parts, std::move(parameters));
}

} // namespace

DecodeChain::DecodeChain(const std::vector<std::unique_ptr<DecodePart>> &parts) {
  for (const auto &part : parts)
    steps_.push_back(part->start());
  for (size_t i = 0; i < steps_.size(); ++i)
    steps_[i]->setNext(i + 1 < steps_.size() ? steps_[i + 1].get() : &sink_, &status_);
}

Status tokenizer::readDecoder(const Node &node, Parts *parts, int depth) {
  if (node.isNull() && depth == 0)
    return add<JoinStep>(parts, None());
  if (depth > kMaxDepth)
    return node.unsupported("a sequence that lies this deep");
  std::string type;
  LATHE_TRY(node["type"].read(&type));
  if (type == "ByteLevel")
    return add<ByteLevelStep>(parts, None());
  if (type == "ByteFallback")
    return add<ByteFallbackStep>(parts, None());
  if (type == "Fuse")
    return add<FuseStep>(parts, None());
  if (type == "Metaspace")
    return readMetaspacePart(node, parts);
  if (type == "Strip")
    return readStrip(node, parts);
  if (type == "WordPiece") {
    WordPieceParameters parameters;
    LATHE_TRY(node["prefix"].read(&parameters.prefix));
    LATHE_TRY(node["cleanup"].read(&parameters.cleansUp));
    return add<WordPieceStep>(parts, std::move(parameters));
  }
  if (type == "BPEDecoder") {
    std::string suffix;
    LATHE_TRY(node["suffix"].read(&suffix));
    return add<WordEndStep>(parts, std::move(suffix));
  }
  if (type == "Replace") {
    ReplaceParameters parameters;
    LATHE_TRY(readPattern(node["pattern"], parameters.pattern.get()));
    LATHE_TRY(node["content"].read(&parameters.content));
    return add<ReplaceStep>(parts, std::move(parameters));
  }
  if (type == "CTC") {
    CtcParameters parameters;
    LATHE_TRY(node["pad_token"].read(&parameters.pad));
    LATHE_TRY(node["word_delimiter_token"].read(&parameters.delimiter));
    LATHE_TRY(node["cleanup"].read(&parameters.cleansUp));
    return add<CtcStep>(parts, std::move(parameters));
  }
  if (type == "Sequence") {
    Node list = node["decoders"];
    LATHE_TRY(list.list());
    for (size_t i = 0; i < list.size(); ++i)
      LATHE_TRY(readDecoder(list[i], parts, depth + 1));
    return success();
  }
  return node["type"].unsupported("the decoder '" + type + "'");
}
