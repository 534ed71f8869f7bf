//===- CachedLogits.cpp - What generation predicts ------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/CachedLogits.h"
#include "compiler/tools/lathe/RunCommands/Support.h"
#include "runtime/include/lathe/generate.hpp"
#include <algorithm>

namespace lathe::tool {

/// Beside tokens models read masks, positions and the like, of the same shape.
static bool mayBeTokens(const Tensor &input) {
  bool isOther = false;
  for (const char *word : {"mask", "position", "type"})
    isOther |= input.name.find(word) != std::string::npos;
  return (input.dtype == LATHE_I64 || input.dtype == LATHE_I32) && input.dims.size() == 2 && input.elements() > 0 &&
         !isOther;
}

TokenLogits tokenLogits(const std::vector<Tensor> &inputs, const std::vector<Tensor> &outputs) {
  for (const Tensor &input : inputs)
    for (const Tensor &output : outputs)
      if (mayBeTokens(input) && output.dtype == LATHE_F32 && output.dims.size() == 3 &&
          std::equal(input.dims.begin(), input.dims.end(), output.dims.begin()))
        return {input, output};
  throw CommandError(kUsage, "what is kept in caches is judged by logits: expected --inputs with tokens [batch, "
                             "sequence] of which an output has logits [batch, sequence, N], found none");
}

Tensor cachedLogits(const std::string &artifact, const std::string &device, const TokenLogits &reference, int threads) {
  LoadOptions load;
  load.device = device;
  Module module(artifact, load);
  GeneratorOptions options;
  options.threads = threads;
  Generator generator(module, options);
  lathe_generator_info info = generator.info();
  if (info.source_count > 0)
    throw CommandError(kUsage,
                       "what is kept in caches is judged by decoders alone: this one depends on what an encoder reads");
  const Tensor &tokens = reference.tokens;
  int64_t batch = tokens.dims[0], length = tokens.dims[1], vocabulary = info.vocabulary;
  Tensor result;
  result.name = reference.logits.name;
  result.dims = {batch, length, vocabulary};
  result.bytes.resize(static_cast<size_t>(batch * length * vocabulary) * sizeof(float));
  auto *logits = reinterpret_cast<float *>(result.bytes.data());

  constexpr int64_t kSingle = 16;
  generator.begin(static_cast<size_t>(batch));
  for (int64_t begin = 0; begin < length;) {
    int64_t count = std::max<int64_t>(begin == 0 ? length - kSingle : 1, 1);
    std::vector<int64_t> piece;
    for (int64_t row = 0; row < batch; ++row)
      for (int64_t i = begin; i < begin + count; ++i)
        piece.push_back(static_cast<int64_t>(element(tokens, row * length + i)));
    auto take = [&](size_t first, size_t some, const float *given, size_t stride) {
      for (int64_t row = 0; row < batch; ++row)
        std::copy_n(given + static_cast<size_t>(row) * stride, some * static_cast<size_t>(vocabulary),
                    logits + (row * length + begin + static_cast<int64_t>(first)) * vocabulary);
    };
    generator.appendAll(piece, static_cast<size_t>(count), take);
    begin += count;
  }
  return result;
}

} // namespace lathe::tool
