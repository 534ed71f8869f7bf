//===- TestFiles.h - Small tokenizers ---------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_TEST_UNIT_RUNTIME_TOKENIZER_TESTFILES_H
#define LATHE_TEST_UNIT_RUNTIME_TOKENIZER_TESTFILES_H

namespace lathe::test {

/// Bytes as characters: Ġ is a blank, Ã and © the two bytes of é.
inline constexpr const char *kByteLevel = R"json({
  "added_tokens": [{"id": 0, "content": "<eos>", "special": true, "normalized": false, "single_word": false,
                    "lstrip": false, "rstrip": false}],
  "normalizer": {"type": "NFC"},
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
  "post_processor": {"type": "TemplateProcessing",
    "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<eos>", "type_id": 0}}],
    "pair": [], "special_tokens": {"<eos>": {"id": "<eos>", "ids": [0], "tokens": ["<eos>"]}}},
  "decoder": {"type": "ByteLevel"},
  "model": {"type": "BPE", "dropout": null, "unk_token": null, "fuse_unk": false, "byte_fallback": false,
    "vocab": {"<eos>": 0, "a": 1, "b": 2, "Ġ": 3, "ab": 4, "Ġb": 5, "bab": 6, "Ã": 7, "©": 8},
    "merges": ["a b", "Ġ b", "b ab"]}})json";

/// Blanks as U+2581, bytes for what is not in the vocabulary, and all that other formats have in one.
inline constexpr const char *kUnigram = R"json({
  "added_tokens": [{"id": 0, "content": "<unk>", "special": true},
                   {"id": 9, "content": "Word", "special": false, "single_word": true, "lstrip": true, "rstrip": true}],
  "normalizer": {"type": "Sequence", "normalizers": [{"type": "Nmt"}, {"type": "NFKC"}, {"type": "Lowercase"},
    {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}, {"type": "Prepend", "prepend": " "},
    {"type": "Precompiled", "precompiled_charsmap": null}, {"type": "StripAccents"},
    {"type": "Strip", "strip_left": false, "strip_right": true},
    {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true}]},
  "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
    {"type": "Split", "pattern": {"String": ","}, "behavior": "MergedWithPrevious", "invert": false},
    {"type": "Punctuation", "behavior": "Contiguous"}, {"type": "Digits", "individual_digits": true},
    {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true}]},
  "post_processor": {"type": "RobertaProcessing", "sep": ["<unk>", 0], "cls": ["<unk>", 0], "trim_offsets": true,
    "add_prefix_space": true},
  "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
    {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
  "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": true,
    "vocab": [["<unk>", 0], ["▁", -2], ["a", -3], ["b", -3.5], ["▁a", -4], ["ab", -4.5], ["<0xC3>", -9], ["<0xA9>", -9],
              ["aba", -5]]}})json";

/// Whole words of a vocabulary, and parts of words.
inline constexpr const char *kWordPiece = R"json({
  "added_tokens": [{"id": 0, "content": "[UNK]", "special": true}, {"id": 1, "content": "[CLS]", "special": true},
                   {"id": 2, "content": "[SEP]", "special": true}],
  "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
    "lowercase": true},
  "pre_tokenizer": {"type": "BertPreTokenizer"},
  "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]},
  "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
  "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
    "max_input_chars_per_word": 20,
    "vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "##b": 4, "ab": 5, "##a": 6, ".": 7}}})json";

} // namespace lathe::test

#endif // LATHE_TEST_UNIT_RUNTIME_TOKENIZER_TESTFILES_H
