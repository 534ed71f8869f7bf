//===- PreTokenizer.cpp - Texts cut into words ------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/tokenizer/PreTokenizer.h"
#include "runtime/tokenizer/ByteLevel.h"
#include "runtime/tokenizer/Normalizer.h"
#include "runtime/tokenizer/Regex.h"
#include "runtime/tokenizer/Unicode.h"

#include <algorithm>
#include <optional>

using namespace lathe;
using namespace lathe::tokenizer;

namespace {

/// What becomes of the parts that a pattern matches.
enum class Behavior { Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous };

/// Joins parts as `behavior` says and leaves those to keep.
void merge(std::vector<Match> &parts, Behavior behavior) {
  if (behavior == Behavior::Isolated)
    return;
  if (behavior == Behavior::Removed) {
    parts.erase(std::remove_if(parts.begin(), parts.end(), [](const Match &part) { return part.isMatch; }),
                parts.end());
    return;
  }
  std::vector<Match> merged;
  bool wasMatch = false;
  if (behavior == Behavior::MergedWithNext)
    std::reverse(parts.begin(), parts.end());
  for (const Match &part : parts) {
    bool joins = behavior == Behavior::Contiguous ? part.isMatch == wasMatch : part.isMatch && !wasMatch;
    wasMatch = part.isMatch;
    if (!joins || merged.empty())
      merged.push_back(part);
    else if (behavior == Behavior::MergedWithNext)
      merged.back().begin = part.begin;
    else
      merged.back().end = part.end;
  }
  if (behavior == Behavior::MergedWithNext)
    std::reverse(merged.begin(), merged.end());
  parts = std::move(merged);
}

/// Cuts pieces where `cut(text, &parts)` says and leaves their text alone.
template <typename Cut> Status cutPieces(Pieces &pieces, Behavior behavior, Cut cut) {
  std::vector<Piece> result;
  std::vector<Match> parts;
  result.reserve(pieces.pieces.size() * 2);
  for (const Piece &piece : pieces.pieces) {
    if (piece.token != Piece::kNoToken) {
      result.push_back(piece);
      continue;
    }
    parts.clear();
    LATHE_TRY(cut(pieces.of(piece), &parts));
    merge(parts, behavior);
    for (const Match &part : parts)
      if (part.begin != part.end)
        result.push_back(
            {piece.begin + part.begin, piece.begin + part.end, Piece::kNoToken, piece.isFirst && part.begin == 0});
  }
  pieces.pieces = std::move(result);
  return success();
}

/// Cuts pieces at the characters for which `isCut` holds.
template <typename IsCut> Status cutAtCharacters(Pieces &pieces, Behavior behavior, IsCut isCut) {
  return cutPieces(pieces, behavior, [&](std::string_view text, std::vector<Match> *parts) {
    size_t done = 0;
    for (size_t at = 0; at < text.size();) {
      size_t begin = at;
      if (!isCut(nextCharacter(text, at)))
        continue;
      if (done != begin)
        parts->push_back({done, begin, false});
      parts->push_back({begin, at, true});
      done = at;
    }
    if (done != text.size())
      parts->push_back({done, text.size(), false});
    return success();
  });
}

/// Rewrites the pieces that are no tokens: `each(out, piece)` appends what becomes of one.
template <typename Each> Status rewritePieces(Pieces &pieces, Each each) {
  std::string out;
  out.reserve(pieces.text.size() + pieces.text.size() / 4);
  for (Piece &piece : pieces.pieces) {
    size_t begin = out.size();
    if (piece.token == Piece::kNoToken)
      LATHE_TRY(each(out, piece));
    piece.begin = begin;
    piece.end = out.size();
  }
  pieces.text = std::move(out);
  return success();
}

class ByteLevel : public PreTokenizer {
public:
  bool addsBlank = true, cuts = true;

  Status apply(Pieces &pieces) const override {
    if (addsBlank)
      LATHE_TRY(rewritePieces(pieces, [&](std::string &out, const Piece &piece) {
        std::string_view text = pieces.of(piece);
        if (text.empty() || text[0] != ' ')
          out += ' ';
        out += text;
        return success();
      }));
    if (cuts)
      LATHE_TRY(cutWords(pieces));
    return rewritePieces(pieces, [&](std::string &out, const Piece &piece) {
      appendByteLevel(out, pieces.of(piece));
      return success();
    });
  }

private:
  static Status cutWords(Pieces &pieces) {
    std::vector<size_t> ends;
    return cutPieces(pieces, Behavior::Isolated, [&](std::string_view text, std::vector<Match> *parts) {
      ends.clear();
      byteLevelWords(text, &ends);
      size_t begin = 0;
      for (size_t end : ends) {
        parts->push_back({begin, end, true});
        begin = end;
      }
      return success();
    });
  }
};

class Metaspace : public PreTokenizer {
public:
  std::string mark;
  PrependScheme scheme = PrependScheme::Always;
  bool cuts = true;

  Status apply(Pieces &pieces) const override {
    LATHE_TRY(rewritePieces(pieces, [&](std::string &out, const Piece &piece) {
      std::string_view text = pieces.of(piece);
      bool prepends = scheme == PrependScheme::Always || (scheme == PrependScheme::First && piece.isFirst);
      if (prepends && text.substr(0, 1) != " " && text.substr(0, mark.size()) != mark)
        out += mark;
      for (char c : text)
        c == ' ' ? out.append(mark) : out.append(1, c);
      return success();
    }));
    if (!cuts)
      return success();
    size_t at = 0;
    char32_t wanted = nextCharacter(mark, at);
    return cutAtCharacters(pieces, Behavior::MergedWithNext, [wanted](char32_t c) { return c == wanted; });
  }
};

/// Cuts at characters of some kinds.
class AtProperty : public PreTokenizer {
public:
  AtProperty(uint16_t properties, Behavior behavior) : properties_(properties), behavior_(behavior) {}
  Status apply(Pieces &pieces) const override {
    return cutAtCharacters(pieces, behavior_, [this](char32_t c) { return hasProperty(c, properties_); });
  }

private:
  uint16_t properties_;
  Behavior behavior_;
};

/// \w+|[^\w\s]+: words, and rows of what is neither of words nor white space.
class Whitespace : public PreTokenizer {
public:
  Status apply(Pieces &pieces) const override {
    return cutPieces(pieces, Behavior::Removed, [](std::string_view text, std::vector<Match> *parts) {
      for (size_t at = 0; at < text.size();) {
        size_t begin = at;
        int kind = kindOf(nextCharacter(text, at));
        for (size_t next = at; at < text.size() && kindOf(nextCharacter(text, next)) == kind;)
          at = next;
        parts->push_back({begin, at, kind == 2}); // white space goes
      }
      return success();
    });
  }

private:
  static int kindOf(char32_t c) {
    uint16_t properties = PropertyTable::get()[c];
    return properties & kIsWord ? 0 : properties & kIsSpace ? 2 : 1;
  }
};

class Bert : public PreTokenizer {
public:
  Status apply(Pieces &pieces) const override {
    LATHE_TRY(AtProperty(kIsSpace, Behavior::Removed).apply(pieces));
    return AtProperty(kIsPunctuation, Behavior::Isolated).apply(pieces);
  }
};

class AtDelimiter : public PreTokenizer {
public:
  explicit AtDelimiter(char32_t delimiter) : delimiter_(delimiter) {}
  Status apply(Pieces &pieces) const override {
    return cutAtCharacters(pieces, Behavior::Removed, [this](char32_t c) { return c == delimiter_; });
  }

private:
  char32_t delimiter_;
};

class Split : public PreTokenizer {
public:
  Pattern pattern;
  Behavior behavior = Behavior::Removed;
  bool isInverted = false;

  Status apply(Pieces &pieces) const override {
    return cutPieces(pieces, behavior, [this](std::string_view text, std::vector<Match> *parts) {
      LATHE_TRY(pattern.parts(text, parts));
      for (Match &part : *parts)
        part.isMatch ^= isInverted;
      return success();
    });
  }
};

class UnicodeScripts : public PreTokenizer {
public:
  Status apply(Pieces &pieces) const override {
    return cutPieces(pieces, Behavior::Isolated, [](std::string_view text, std::vector<Match> *parts) {
      // The first piece begins with the first script: what is of any before it is dropped, as by the package.
      std::optional<size_t> begin;
      int last = 0;
      for (size_t at = 0; at < text.size();) {
        size_t here = at;
        int script = scriptOf(nextCharacter(text, at));
        if (script && script != last) {
          if (begin)
            parts->push_back({*begin, here, true});
          begin = here;
          last = script;
        }
      }
      if (begin)
        parts->push_back({*begin, text.size(), true});
      return success();
    });
  }
};

class FixedLength : public PreTokenizer {
public:
  explicit FixedLength(size_t length) : length_(length) {}
  Status apply(Pieces &pieces) const override {
    return cutPieces(pieces, Behavior::Isolated, [this](std::string_view text, std::vector<Match> *parts) {
      for (size_t at = 0; at < text.size();) {
        size_t begin = at;
        for (size_t i = 0; i < length_ && at < text.size(); ++i)
          nextCharacter(text, at);
        parts->push_back({begin, at, true});
      }
      return success();
    });
  }

private:
  size_t length_;
};

class Sequence : public PreTokenizer {
public:
  std::vector<std::unique_ptr<PreTokenizer>> parts;

  Status apply(Pieces &pieces) const override {
    const size_t limit = textLimit(pieces.text.size());
    for (const auto &part : parts) {
      LATHE_TRY(part->apply(pieces));
      if (pieces.text.size() > limit)
        return failure(LATHE_EXECUTION_ERROR,
                       "the tokenizer's pre-tokenizers make more than 64 times as much of this text");
    }
    return success();
  }
};

Status readBehavior(const Node &node, Behavior *behavior) {
  std::string name;
  LATHE_TRY(node.read(&name));
  for (auto [known, value] :
       {std::pair("Removed", Behavior::Removed), std::pair("Isolated", Behavior::Isolated),
        std::pair("MergedWithPrevious", Behavior::MergedWithPrevious),
        std::pair("MergedWithNext", Behavior::MergedWithNext), std::pair("Contiguous", Behavior::Contiguous)})
    if (name == known) {
      *behavior = value;
      return success();
    }
  return node.expected("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

Status readCharacter(const Node &node, std::string *character) {
  LATHE_TRY(node.read(character));
  return countCharacters(*character) == 1 ? success() : node.expected("one character");
}

Status readSplit(const Node &node, std::unique_ptr<PreTokenizer> *preTokenizer) {
  auto split = std::make_unique<Split>();
  LATHE_TRY(readPattern(node["pattern"], &split->pattern));
  LATHE_TRY(readBehavior(node["behavior"], &split->behavior));
  LATHE_TRY(node["invert"].readOptional(&split->isInverted));
  *preTokenizer = std::move(split);
  return success();
}

Status readSequence(const Node &node, std::unique_ptr<PreTokenizer> *preTokenizer, int depth) {
  auto sequence = std::make_unique<Sequence>();
  Node list = node["pretokenizers"];
  LATHE_TRY(list.list());
  for (size_t i = 0; i < list.size(); ++i) {
    sequence->parts.emplace_back();
    LATHE_TRY(readPreTokenizer(list[i], &sequence->parts.back(), depth + 1));
  }
  *preTokenizer = std::move(sequence);
  return success();
}

Status readByteLevel(const Node &node, std::unique_ptr<PreTokenizer> *preTokenizer) {
  auto byteLevel = std::make_unique<ByteLevel>();
  LATHE_TRY(node["add_prefix_space"].read(&byteLevel->addsBlank));
  LATHE_TRY(node["use_regex"].readOptional(&byteLevel->cuts));
  *preTokenizer = std::move(byteLevel);
  return success();
}

} // namespace

Status tokenizer::readMetaspace(const Node &node, std::string *replacement, PrependScheme *scheme, bool *splits) {
  LATHE_TRY(readCharacter(node["replacement"], replacement));
  std::string name = "always";
  bool addsBlank = true;
  LATHE_TRY(node["prepend_scheme"].readOptional(&name));
  LATHE_TRY(node["split"].readOptional(splits));
  // Files of old versions have this instead.
  LATHE_TRY(node["add_prefix_space"].readOptional(&addsBlank));
  if (name == "never")
    *scheme = PrependScheme::Never;
  else if (name == "first")
    *scheme = PrependScheme::First;
  else if (name == "always")
    *scheme = PrependScheme::Always;
  else
    return node["prepend_scheme"].expected("always, first or never");
  if (!addsBlank) {
    if (!node["prepend_scheme"].isNull() && *scheme != PrependScheme::Never)
      return node["prepend_scheme"].expected("never beside add_prefix_space false");
    *scheme = PrependScheme::Never;
  }
  return success();
}

Status tokenizer::readPreTokenizer(const Node &node, std::unique_ptr<PreTokenizer> *preTokenizer, int depth) {
  if (depth > kMaxDepth)
    return node.unsupported("a sequence that lies this deep");
  std::string type;
  LATHE_TRY(node["type"].read(&type));
  if (type == "ByteLevel")
    return readByteLevel(node, preTokenizer);
  if (type == "Split")
    return readSplit(node, preTokenizer);
  if (type == "Sequence")
    return readSequence(node, preTokenizer, depth);
  if (type == "BertPreTokenizer") {
    *preTokenizer = std::make_unique<Bert>();
  } else if (type == "Whitespace") {
    *preTokenizer = std::make_unique<Whitespace>();
  } else if (type == "WhitespaceSplit") {
    *preTokenizer = std::make_unique<AtProperty>(kIsSpace, Behavior::Removed);
  } else if (type == "UnicodeScripts") {
    *preTokenizer = std::make_unique<UnicodeScripts>();
  } else if (type == "Metaspace") {
    auto metaspace = std::make_unique<Metaspace>();
    LATHE_TRY(readMetaspace(node, &metaspace->mark, &metaspace->scheme, &metaspace->cuts));
    *preTokenizer = std::move(metaspace);
  } else if (type == "Punctuation") {
    Behavior behavior = Behavior::Isolated;
    if (!node["behavior"].isNull())
      LATHE_TRY(readBehavior(node["behavior"], &behavior));
    *preTokenizer = std::make_unique<AtProperty>(kIsPunctuation, behavior);
  } else if (type == "Digits") {
    bool each = false;
    LATHE_TRY(node["individual_digits"].read(&each));
    *preTokenizer = std::make_unique<AtProperty>(kIsNumeric, each ? Behavior::Isolated : Behavior::Contiguous);
  } else if (type == "CharDelimiterSplit") {
    std::string delimiter;
    LATHE_TRY(readCharacter(node["delimiter"], &delimiter));
    size_t at = 0;
    *preTokenizer = std::make_unique<AtDelimiter>(nextCharacter(delimiter, at));
  } else if (type == "FixedLength") {
    uint32_t length = 0;
    LATHE_TRY(node["length"].read(&length));
    if (length == 0)
      return node["length"].expected("at least 1");
    *preTokenizer = std::make_unique<FixedLength>(length);
  } else {
    return node["type"].unsupported("the pre-tokenizer '" + type + "'");
  }
  return success();
}
