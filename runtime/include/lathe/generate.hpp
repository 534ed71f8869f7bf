//===- generate.hpp - C++ interface of text generation ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Header-only, over generate.h, whose rules on ownership and threads hold here too. Handles are move-only and release
// what they own; failures are thrown as lathe::Error.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_GENERATE_HPP
#define LATHE_GENERATE_HPP

#include "generate.h"
#include "lathe.hpp"

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace lathe {

struct GeneratorOptions {
  int threads = 0; ///< 0 for all processors of the process
  uint64_t memoryBudget = 0;
  int64_t maxSequence = 0; ///< 0 for as many tokens as the model has positions for
};

/// The parameters of generation. The members of `native` are those of lathe_generation_config; what points to memory
/// has a member of its own here.
struct GenerationConfig {
  GenerationConfig() { lathe_generation_config_init(&native); }

  lathe_generation_config native;
  std::vector<int64_t> eosTokenIds;
  std::string json; ///< empty, or the text of a generation_config.json
};

/// New tokens of a sequence.
struct Generated {
  std::vector<int64_t> tokens;
  lathe_finish finish = LATHE_FINISH_NONE;
  float score = 0;
};

/// An input of an encoder for one sequence; `data` is borrowed until the sequences have been generated.
struct Source {
  lathe_dtype dtype = LATHE_F32;
  std::vector<int64_t> dims; ///< the first is 1
  const void *data = nullptr;

  template <typename T> static Source of(std::vector<int64_t> dims, const T *data) {
    return {DtypeOf<T>::value, std::move(dims), data};
  }
};

/// Goes on with sequences; used by one thread at a time. Keeps what it needs of the module alive.
class Generator {
public:
  using Listener = std::function<lathe_answer(const lathe_token_event &)>;

  explicit Generator(const Module &module, const GeneratorOptions &options = {}) {
    lathe_generator_options native;
    lathe_generator_options_init(&native);
    native.threads = options.threads;
    native.memory_budget = options.memoryBudget;
    native.max_sequence = options.maxSequence;
    lathe_generator *generator = nullptr;
    check(lathe_generator_create(module.get(), &native, &generator));
    generator_.reset(generator);
  }

  lathe_generator *get() const { return generator_.get(); }

  lathe_generator_info info() const {
    lathe_generator_info result;
    lathe_generator_info_init(&result);
    check(lathe_generator_get_info(get(), &result));
    return result;
  }

  /// Inputs of the encoder, none for a decoder alone.
  std::vector<TensorInfo> sources() const {
    std::vector<TensorInfo> result;
    for (size_t i = 0, count = info().source_count; i < count; ++i) {
      lathe_tensor_info info;
      check(lathe_generator_source(get(), i, &info));
      result.push_back(TensorInfo::of(info));
    }
    return result;
  }

  /// Input `index` of the encoder for sequence `row` of the next generate or begin.
  void setSource(size_t row, size_t index, const Source &source) {
    check(lathe_generator_set_source(get(), row, index, source.dtype, source.dims.size(), source.dims.data(),
                                     source.data));
  }

  /// num_return_sequences results for each prompt, in their order. What `listener` throws ends generation, and is
  /// thrown on.
  std::vector<Generated> generate(const std::vector<std::vector<int64_t>> &prompts, const GenerationConfig &config = {},
                                  const Listener &listener = nullptr) {
    lathe_generation_config native = config.native;
    if (!config.eosTokenIds.empty()) {
      native.eos_token_ids = config.eosTokenIds.data();
      native.eos_token_count = config.eosTokenIds.size();
    }
    if (!config.json.empty())
      native.json = config.json.c_str();
    std::vector<const int64_t *> pointers;
    std::vector<size_t> lengths;
    for (const std::vector<int64_t> &prompt : prompts) {
      pointers.push_back(prompt.data());
      lengths.push_back(prompt.size());
    }
    Told told{&listener, nullptr};
    lathe_status status = lathe_generate(get(), prompts.size(), pointers.data(), lengths.data(), &native,
                                         listener ? &Told::call : nullptr, &told);
    if (told.thrown)
      std::rethrow_exception(told.thrown);
    check(status);
    return results();
  }

  /// Those of the last call, also of one that failed.
  std::vector<Generated> results() const {
    size_t count = 0;
    check(lathe_generator_result_count(get(), &count));
    std::vector<Generated> all;
    for (size_t i = 0; i < count; ++i) {
      lathe_generated result;
      check(lathe_generator_result(get(), i, &result));
      all.push_back({std::vector<int64_t>(result.tokens, result.tokens + result.count), result.finish, result.score});
    }
    return all;
  }

  /// Forgets the sequences of begin, and starts as many.
  void begin(size_t sequences) {
    sequences_ = 0;
    check(lathe_generator_begin(get(), sequences));
    sequences_ = sequences;
  }

  /// Appends `count` tokens to each sequence, [sequences, count]; the logits [sequences, vocabulary] after the last are
  /// valid until the next call.
  const float *append(const std::vector<int64_t> &tokens, size_t count) {
    checkCount(tokens, count);
    const float *logits = nullptr;
    check(lathe_generator_append(get(), tokens.data(), count, &logits));
    return logits;
  }

  /// The logits after tokens [first, first + count) of each sequence: those of sequence s at logits + s * stride.
  using LogitsListener = std::function<void(size_t first, size_t count, const float *logits, size_t stride)>;

  /// As append, and tells of the logits after each token, piece by piece. What `listener` throws is thrown on, after all of them.
  void appendAll(const std::vector<int64_t> &tokens, size_t count, const LogitsListener &listener) {
    checkCount(tokens, count);
    struct Told {
      const LogitsListener *listener;
      std::exception_ptr thrown;
    } told{&listener, nullptr};
    check(lathe_generator_append_all(
        get(), tokens.data(), count,
        [](void *context, size_t first, size_t count, const float *logits, size_t stride) {
          auto *told = static_cast<Told *>(context);
          try {
            if (!told->thrown)
              (*told->listener)(first, count, logits, stride);
          } catch (...) {
            told->thrown = std::current_exception();
          }
        },
        &told));
    if (told.thrown)
      std::rethrow_exception(told.thrown);
  }

  /// As append, and gives the natural logarithm of each token's probability after those before it, [sequences, count]; NaN for the
  /// first token of a sequence.
  std::vector<float> score(const std::vector<int64_t> &tokens, size_t count) {
    checkCount(tokens, count);
    std::vector<float> result(tokens.size());
    check(lathe_generator_score(get(), tokens.data(), count, result.data()));
    return result;
  }

private:
  void checkCount(const std::vector<int64_t> &tokens, size_t count) const {
    if (tokens.size() != sequences_ * count)
      throw Error(LATHE_INVALID_ARGUMENT, "expected " + std::to_string(count) + " tokens for each of " +
                                              std::to_string(sequences_) + " sequences, got " +
                                              std::to_string(tokens.size()));
  }

  struct Release {
    void operator()(lathe_generator *generator) const { lathe_generator_release(generator); }
  };

  /// An exception must not go through the runtime.
  struct Told {
    const Listener *listener;
    std::exception_ptr thrown;

    static lathe_answer call(void *context, const lathe_token_event *event) {
      auto *told = static_cast<Told *>(context);
      try {
        return (*told->listener)(*event);
      } catch (...) {
        told->thrown = std::current_exception();
        return LATHE_CANCEL;
      }
    }
  };

  std::unique_ptr<lathe_generator, Release> generator_;
  size_t sequences_ = 0; ///< of begin
};

} // namespace lathe

#endif // LATHE_GENERATE_HPP
