//===- PostProcessor.h - Tokens around a text -------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_TOKENIZER_POSTPROCESSOR_H
#define LATHE_RUNTIME_TOKENIZER_POSTPROCESSOR_H

#include "runtime/tokenizer/Json.h"

#include <optional>
#include <vector>

namespace lathe::tokenizer {

/// Puts special tokens around the tokens of one text. Immutable once it is read.
class PostProcessor {
public:
  /// Reads the post-processor that `node` describes, which may be null.
  Status read(const Node &node, int depth = 0);

  void apply(std::vector<uint32_t> &ids) const;

  /// The first token of every text, and the last, where there are such.
  std::optional<uint32_t> first() const;
  std::optional<uint32_t> last() const;
  /// The largest id that it puts anywhere; 0 where it puts none.
  uint32_t maxId() const;

private:
  /// Tokens, and places for what the step before made.
  struct Part {
    bool isSequence;
    uint32_t token;
  };
  using Template = std::vector<Part>;

  Status readTemplate(const Node &node);

  std::vector<Template> steps_;
};

} // namespace lathe::tokenizer

#endif // LATHE_RUNTIME_TOKENIZER_POSTPROCESSOR_H
