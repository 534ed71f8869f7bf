//===- MutationTest.cpp - Tokenizers that are broken ----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// Files with changes at random: loading one either fails with a message or gives a tokenizer that encodes and decodes
// without a crash, whose streams are equal to its texts.
//
//===----------------------------------------------------------------------===//
#include "test/unit/runtime/tokenizer/TestFiles.h"

#include <gtest/gtest.h>
#include <lathe/tokenizer.hpp>
#include <nlohmann/json.hpp>
#include <random>

using namespace lathe;
using namespace lathe::test;
using nlohmann::json;

namespace {

class Mutator {
public:
  explicit Mutator(unsigned seed) : random_(seed) {}

  size_t below(size_t count) { return std::uniform_int_distribution<size_t>(0, count - 1)(random_); }

  /// Changes one value of the file, or removes it, or puts another one of it into its place.
  void change(json &file) {
    std::vector<json *> values;
    collect(file, values);
    json &value = *values[below(values.size())];
    switch (below(7)) {
    case 0:
      value = scalar();
      break;
    case 1: {
      json other = *values[below(values.size())];
      value = std::move(other);
      break;
    }
    case 2:
      if (!value.empty() && value.is_array())
        value.erase(below(value.size()));
      else if (!value.empty() && value.is_object())
        value.erase(std::next(value.begin(), static_cast<long>(below(value.size()))));
      break;
    case 3:
      if (value.is_string())
        changeText(value.get_ref<std::string &>());
      break;
    case 4:
      if (value.is_array() && !value.empty())
        value.push_back(json(value[below(value.size())]));
      else if (value.is_number_integer())
        value = value.get<int64_t>() + 1;
      break;
    case 5:
      if (value.is_object() && value.contains("type"))
        value["type"] = kTypes[below(std::size(kTypes))];
      break;
    default:
      if (value.is_boolean())
        value = !value.get<bool>();
    }
  }

private:
  static constexpr const char *kTypes[] = {
      "NFC",        "Strip",    "Replace",      "Precompiled",    "Nmt",        "ByteLevel", "Metaspace",   "Split",
      "Digits",     "Sequence", "Punctuation",  "Unigram",        "BPE",        "WordPiece", "WordLevel",   "CTC",
      "BPEDecoder", "Fuse",     "ByteFallback", "UnicodeScripts", "Whitespace", "Prepend",   "FixedLength", "Nothing"};

  static void collect(json &value, std::vector<json *> &values) {
    values.push_back(&value);
    if (value.is_structured())
      for (json &member : value)
        collect(member, values);
  }

  json scalar() {
    const json kScalars[] = {nullptr,       true,          -1,       0,        1,          3,
                             4294967295u,   1e300,         "",       "a",      "[UNK]",    "\u2581",
                             "(",           "a*",          "(a|b)*", "\\p{L}", "AAAAAAAA", "BAAAAAABAAAA",
                             json::array(), json::object()};
    return kScalars[below(std::size(kScalars))];
  }

  void changeText(std::string &text) {
    const char *kInserts[] = {"a", "*", "(", "[", "\\", " ", "é", "|", "<0x41>", ""};
    size_t at = text.empty() ? 0 : below(text.size());
    if (static_cast<unsigned char>(text.empty() ? 0 : text[at]) < 0x80)
      text.replace(at, below(2), kInserts[below(std::size(kInserts))]);
  }

  std::mt19937 random_;
};

void use(const Tokenizer &tokenizer, Mutator &mutator) {
  const char *kTexts[] = {"", "a b<eos> bab ab,ab  Word é\xC3 1,2", "ab ba. [SEP] aab 中 \xFF\xF0\x9F x\u0301"};
  try {
    std::vector<int64_t> ids = tokenizer.encode(kTexts[mutator.below(std::size(kTexts))]);
    for (int i = 0; i < 6; ++i)
      ids.push_back(static_cast<int64_t>(mutator.below(12)));
    std::string text = tokenizer.decode(ids, false), streamed;
    TokenStream stream(tokenizer, false);
    for (int64_t id : ids)
      streamed += stream.push(id);
    EXPECT_EQ(streamed + stream.finish(), text);
  } catch (const TokenizerError &error) {
    EXPECT_STRNE(error.what(), "");
    EXPECT_EQ(error.status(), LATHE_EXECUTION_ERROR);
  }
}

class Mutation : public testing::TestWithParam<const char *> {};

TEST_P(Mutation, OfMembers) {
  const json original = json::parse(GetParam());
  int loaded = 0, refused = 0;
  for (unsigned seed = 0; seed < 6000; ++seed) {
    Mutator mutator(seed);
    json file = original;
    for (size_t changes = 1 + mutator.below(3); changes; --changes)
      mutator.change(file);
    std::string text = file.dump(-1, ' ', false, json::error_handler_t::replace);
    SCOPED_TRACE(text);
    try {
      Tokenizer tokenizer = Tokenizer::fromMemory(text);
      ++loaded;
      use(tokenizer, mutator);
    } catch (const TokenizerError &error) {
      ++refused;
      EXPECT_EQ(error.status(), LATHE_INVALID_ARTIFACT) << error.what();
      EXPECT_STRNE(error.what(), "");
    }
  }
  EXPECT_GT(loaded, 500);
  EXPECT_GT(refused, 500);
}

TEST_P(Mutation, OfBytes) {
  for (unsigned seed = 0; seed < 3000; ++seed) {
    Mutator mutator(seed);
    std::string text = GetParam();
    for (size_t changes = 1 + mutator.below(4); changes; --changes)
      text[mutator.below(text.size())] = static_cast<char>(mutator.below(256));
    if (mutator.below(4) == 0)
      text.resize(mutator.below(text.size()));
    try {
      Tokenizer tokenizer = Tokenizer::fromMemory(text);
      use(tokenizer, mutator);
    } catch (const TokenizerError &error) {
      EXPECT_EQ(error.status(), LATHE_INVALID_ARTIFACT) << error.what();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizer, Mutation, testing::Values(kByteLevel, kUnigram, kWordPiece));

TEST(Hostile, DeepLists) {
  for (const char *where : {"{\"model\":", "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":"})
    EXPECT_THROW(Tokenizer::fromMemory(where + std::string(200000, '[')), TokenizerError);
  std::string deep = std::string(200000, '[') + std::string(200000, ']');
  EXPECT_THROW(Tokenizer::fromMemory("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":" + deep + "},\"merges\":[]}}"),
               TokenizerError);
}

TEST(Hostile, DeepSequences) {
  std::string front, back;
  for (int i = 0; i < 5000; ++i) {
    front += R"({"type":"Sequence","normalizers":[)";
    back += "]}";
  }
  std::string file =
      "{\"model\":{\"type\":\"WordLevel\",\"vocab\":{},\"unk_token\":\"\"},\"normalizer\":" + front + back + "}";
  EXPECT_THROW(Tokenizer::fromMemory(file), TokenizerError);
}

TEST(Hostile, StepsThatMultiply) {
  json file = json::parse(kByteLevel);
  json step = {{"type", "Replace"}, {"pattern", {{"String", ""}}}, {"content", std::string(4000, 'a')}};
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", {step, step, step}}};
  Tokenizer tokenizer = Tokenizer::fromMemory(file.dump());
  try {
    tokenizer.encode(std::string(30, 'b'));
    FAIL() << "expected an error";
  } catch (const TokenizerError &error) {
    EXPECT_NE(std::string(error.what()).find("more than 64 times"), std::string::npos) << error.what();
  }
}

} // namespace
