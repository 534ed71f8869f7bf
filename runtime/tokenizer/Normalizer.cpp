//===- Normalizer.cpp - Texts before they are cut ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/tokenizer/Normalizer.h"
#include "runtime/tokenizer/ByteLevel.h"
#include "runtime/tokenizer/Regex.h"
#include "runtime/tokenizer/Unicode.h"

#include <vector>

using namespace lathe;
using namespace lathe::tokenizer;

namespace {

/// Rewrites a text character by character; `each(out, c)` appends what becomes of `c`.
template <typename Each> void rewrite(std::string &text, Each each) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();)
    each(out, nextCharacter(text, at));
  text = std::move(out);
}

Status tooLong() {
  return failure(LATHE_EXECUTION_ERROR, "the tokenizer's normalizers make more than 64 times as much of this text");
}

class NormalForm : public Normalizer {
public:
  explicit NormalForm(Form form) : form_(form) {}
  Status apply(std::string &text) const override {
    normalize(text, form_);
    return success();
  }

private:
  Form form_;
};

void lower(std::string &text) { rewrite(text, appendLower); }

class Lowercase : public Normalizer {
public:
  Status apply(std::string &text) const override {
    lower(text);
    return success();
  }
};

class StripAccents : public Normalizer {
public:
  Status apply(std::string &text) const override {
    rewrite(text, [](std::string &out, char32_t c) {
      if (!hasProperty(c, kIsMark))
        appendCharacter(out, c);
    });
    return success();
  }
};

/// Removes white space at the ends.
class Strip : public Normalizer {
public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  Status apply(std::string &text) const override {
    size_t begin = 0, end = text.size();
    while (left_ && begin < end) {
      size_t next = begin;
      if (!hasProperty(nextCharacter(text, next), kIsSpace))
        break;
      begin = next;
    }
    while (right_ && end > begin) {
      size_t last = previousStart(text, end), at = last;
      if (!hasProperty(nextCharacter(text, at), kIsSpace))
        break;
      end = last;
    }
    text = text.substr(begin, end - begin);
    return success();
  }

private:
  bool left_, right_;
};

class Prepend : public Normalizer {
public:
  explicit Prepend(std::string front) : front_(std::move(front)) {}
  Status apply(std::string &text) const override {
    if (!text.empty())
      text.insert(0, front_);
    return success();
  }

private:
  std::string front_;
};

class Replace : public Normalizer {
public:
  Pattern pattern;
  std::string content;

  Status apply(std::string &text) const override {
    std::vector<Match> parts;
    LATHE_TRY(pattern.parts(text, &parts));
    std::string out;
    for (const Match &part : parts) {
      part.isMatch ? out.append(content) : out.append(text, part.begin, part.end - part.begin);
      if (out.size() > textLimit(text.size()))
        return tooLong();
    }
    text = std::move(out);
    return success();
  }
};

/// The cleaning rules of machine translation's models.
class Nmt : public Normalizer {
public:
  Status apply(std::string &text) const override {
    rewrite(text, [](std::string &out, char32_t c) {
      bool isControl = (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
      bool isSpace = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
                     c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
      if (!isControl)
        appendCharacter(out, isSpace ? ' ' : c);
    });
    return success();
  }
};

class Bert : public Normalizer {
public:
  bool cleans = true, separatesChinese = true, stripsAccents = true, lowers = true;

  Status apply(std::string &text) const override {
    if (cleans)
      rewrite(text, [](std::string &out, char32_t c) {
        if (!hasProperty(c, kIsRemoved))
          appendCharacter(out, hasProperty(c, kIsSpace) ? ' ' : c);
      });
    if (separatesChinese)
      rewrite(text, [](std::string &out, char32_t c) {
        bool isChinese = isIdeograph(c);
        if (isChinese)
          out += ' ';
        appendCharacter(out, c);
        if (isChinese)
          out += ' ';
      });
    if (stripsAccents) {
      normalize(text, Form::D);
      rewrite(text, [](std::string &out, char32_t c) {
        if (!hasProperty(c, kIsAccent))
          appendCharacter(out, c);
      });
    }
    if (lowers)
      lower(text);
    return success();
  }

private:
  static bool isIdeograph(char32_t c) {
    auto in = [c](char32_t first, char32_t last) { return c >= first && c <= last; };
    return in(0x4E00, 0x9FFF) || in(0x3400, 0x4DBF) || in(0x20000, 0x2A6DF) || in(0x2A700, 0x2B73F) ||
           in(0x2B740, 0x2B81F) || in(0x2B920, 0x2CEAF) || in(0xF900, 0xFAFF) || in(0x2F800, 0x2FA1F);
  }
};

class ByteLevelNormalizer : public Normalizer {
public:
  Status apply(std::string &text) const override {
    std::string out;
    appendByteLevel(out, text);
    text = std::move(out);
    return success();
  }
};

class Sequence : public Normalizer {
public:
  std::vector<std::unique_ptr<Normalizer>> parts;

  Status apply(std::string &text) const override {
    const size_t limit = textLimit(text.size());
    for (const auto &part : parts) {
      LATHE_TRY(part->apply(text));
      if (text.size() > limit)
        return tooLong();
    }
    return success();
  }
};

Status readBert(const Node &node, std::unique_ptr<Normalizer> *normalizer) {
  auto bert = std::make_unique<Bert>();
  LATHE_TRY(node["clean_text"].read(&bert->cleans));
  LATHE_TRY(node["handle_chinese_chars"].read(&bert->separatesChinese));
  LATHE_TRY(node["lowercase"].read(&bert->lowers));
  bert->stripsAccents = bert->lowers;
  LATHE_TRY(node["strip_accents"].readOptional(&bert->stripsAccents));
  *normalizer = std::move(bert);
  return success();
}

Status readSequence(const Node &node, std::unique_ptr<Normalizer> *normalizer, int depth) {
  auto sequence = std::make_unique<Sequence>();
  Node list = node["normalizers"];
  LATHE_TRY(list.list());
  for (size_t i = 0; i < list.size(); ++i) {
    sequence->parts.emplace_back();
    LATHE_TRY(readNormalizer(list[i], &sequence->parts.back(), depth + 1));
  }
  *normalizer = std::move(sequence);
  return success();
}

} // namespace

Status tokenizer::readPattern(const Node &node, Pattern *pattern) {
  std::string source;
  if (node.isObject() && !node["String"].isNull()) {
    LATHE_TRY(node["String"].read(&source));
    return Pattern::literal(source, node.path(), pattern);
  }
  if (node.isObject() && !node["Regex"].isNull()) {
    LATHE_TRY(node["Regex"].read(&source));
    return Pattern::regex(source, node.path(), pattern);
  }
  return node.expected("{\"String\": …} or {\"Regex\": …}");
}

Status tokenizer::readNormalizer(const Node &node, std::unique_ptr<Normalizer> *normalizer, int depth) {
  if (depth > kMaxDepth)
    return node.unsupported("a sequence that lies this deep");
  std::string type;
  LATHE_TRY(node["type"].read(&type));
  if (type == "NFC")
    *normalizer = std::make_unique<NormalForm>(Form::C);
  else if (type == "NFD")
    *normalizer = std::make_unique<NormalForm>(Form::D);
  else if (type == "NFKC")
    *normalizer = std::make_unique<NormalForm>(Form::KC);
  else if (type == "NFKD")
    *normalizer = std::make_unique<NormalForm>(Form::KD);
  else if (type == "Lowercase")
    *normalizer = std::make_unique<Lowercase>();
  else if (type == "StripAccents")
    *normalizer = std::make_unique<StripAccents>();
  else if (type == "Nmt")
    *normalizer = std::make_unique<Nmt>();
  else if (type == "ByteLevel")
    *normalizer = std::make_unique<ByteLevelNormalizer>();
  else if (type == "BertNormalizer")
    return readBert(node, normalizer);
  else if (type == "Sequence")
    return readSequence(node, normalizer, depth);
  else if (type == "Precompiled")
    return readPrecompiled(node, normalizer);
  else if (type == "Strip") {
    bool left = true, right = true;
    LATHE_TRY(node["strip_left"].read(&left));
    LATHE_TRY(node["strip_right"].read(&right));
    *normalizer = std::make_unique<Strip>(left, right);
  } else if (type == "Prepend") {
    std::string front;
    LATHE_TRY(node["prepend"].read(&front));
    *normalizer = std::make_unique<Prepend>(std::move(front));
  } else if (type == "Replace") {
    auto replace = std::make_unique<Replace>();
    LATHE_TRY(readPattern(node["pattern"], &replace->pattern));
    LATHE_TRY(node["content"].read(&replace->content));
    *normalizer = std::move(replace);
  } else {
    return node["type"].unsupported("the normalizer '" + type + "'");
  }
  return success();
}
