//===- Normalizer.h - Texts before they are cut -----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_TOKENIZER_NORMALIZER_H
#define LATHE_RUNTIME_TOKENIZER_NORMALIZER_H

#include "runtime/tokenizer/Json.h"

#include <memory>
#include <string>

namespace lathe::tokenizer {

/// Rewrites a text. Immutable.
class Normalizer {
public:
  virtual ~Normalizer() = default;
  virtual Status apply(std::string &text) const = 0;
};

/// Reads the normalizer that `node` describes, which is not null.
Status readNormalizer(const Node &node, std::unique_ptr<Normalizer> *normalizer, int depth = 0);

/// SentencePiece's table of replacements, in base64 as the file has it (Precompiled.cpp).
Status readPrecompiled(const Node &node, std::unique_ptr<Normalizer> *normalizer);

/// Reads a member "pattern", {"String": …} or {"Regex": …}.
class Pattern;
Status readPattern(const Node &node, Pattern *pattern);

} // namespace lathe::tokenizer

#endif // LATHE_RUNTIME_TOKENIZER_NORMALIZER_H
