//===- ByteLevel.h - Bytes as characters ------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// Byte-level tokenizers write each byte as one printable character: itself where it is one in Latin-1, and one from
// U+0100 on where not.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_TOKENIZER_BYTELEVEL_H
#define LATHE_RUNTIME_TOKENIZER_BYTELEVEL_H

#include "runtime/tokenizer/Regex.h"

#include <string>
#include <string_view>
#include <vector>

namespace lathe::tokenizer {

/// Appends the characters of the bytes of `text`.
void appendByteLevel(std::string &out, std::string_view text);

/// The byte that a character stands for; -1 for one that stands for none.
int byteOf(char32_t c);

/// Cuts `text`, which is not empty, into words as GPT-2 does; the end of each, in order. What its regular expression
///   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
/// finds, in one pass.
void byteLevelWords(std::string_view text, std::vector<size_t> *ends);

} // namespace lathe::tokenizer

#endif // LATHE_RUNTIME_TOKENIZER_BYTELEVEL_H
