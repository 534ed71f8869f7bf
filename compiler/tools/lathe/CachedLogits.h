//===- CachedLogits.h - What generation predicts ----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_CACHEDLOGITS_H
#define LATHE_COMPILER_TOOLS_LATHE_CACHEDLOGITS_H

#include "compiler/tools/lathe/RunCommands/TensorFiles.h"

namespace lathe::tool {

/// Tokens, [batch, sequence], among a model's inputs, and what it predicts after each, [batch, sequence, vocabulary].
struct TokenLogits {
  Tensor tokens, logits;
};

/// Those of a run without caches. Throws CommandError where its inputs have no tokens, or its outputs no logits of them.
TokenLogits tokenLogits(const std::vector<Tensor> &inputs, const std::vector<Tensor> &outputs);

/// The same logits as an artifact computes them that generates: through its caches, whose rows may be rounded. The last
/// tokens are appended one by one, as generation does, those before them together, as it does with prompts.
Tensor cachedLogits(const std::string &artifact, const std::string &device, const TokenLogits &reference, int threads);

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_CACHEDLOGITS_H
