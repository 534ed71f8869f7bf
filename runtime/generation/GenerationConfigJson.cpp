//===- GenerationConfigJson.cpp - generation_config.json --------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/generation/GenerationConfig.h"

#include <algorithm>
#include <nlohmann/json.hpp>

using namespace lathe::runtime;
using nlohmann::json;

namespace {

/// Names that cannot change which tokens are generated: how the cache is held, what else is returned, where the file
/// is from.
constexpr std::string_view kHarmless[] = {
    "_from_model_config", "cache_config",       "cache_implementation",    "compile_config",       "disable_compile",
    "low_memory",         "max_cache_len",      "output_attentions",       "output_hidden_states", "output_logits",
    "output_scores",      "prefill_chunk_size", "return_dict_in_generate", "transformers_version", "use_cache",
};

/// Reads one value. False where its type is another; `expected` then says which is wanted.
class Value {
public:
  explicit Value(const json &value) : value_(value) {}

  bool read(bool &result) {
    return expect("true or false", value_.is_boolean()) && (result = value_.get<bool>(), true);
  }

  bool read(int64_t &result) {
    // Python writes some counts as 5.0; numbers that are no integers of 64 bits are refused.
    if (value_.is_number_float()) {
      double number = value_.get<double>();
      if (!expect("an integer",
                  number >= -0x1p63 && number < 0x1p63 && number == static_cast<double>(static_cast<int64_t>(number))))
        return false;
      result = static_cast<int64_t>(number);
      return true;
    }
    bool fits = value_.is_number_integer() &&
                (!value_.is_number_unsigned() || value_.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX));
    return expect("an integer", fits) && (result = value_.get<int64_t>(), true);
  }

  bool read(uint64_t &result) {
    return expect("an integer of at least 0", value_.is_number_unsigned()) && (result = value_.get<uint64_t>(), true);
  }

  bool read(double &result) { return expect("a number", value_.is_number()) && (result = value_.get<double>(), true); }

  bool read(std::string &result) {
    return expect("a string", value_.is_string()) && (result = value_.get_ref<const std::string &>(), true);
  }

  bool read(EarlyStopping &result) {
    if (value_.is_boolean())
      result = value_.get<bool>() ? EarlyStopping::Yes : EarlyStopping::No;
    else if (expect("true, false or \"never\"", value_ == "never"))
      result = EarlyStopping::Never;
    else
      return false;
    return true;
  }

  /// Lists; where HF also takes one element alone (ends, stop strings), so does this.
  template <typename T> bool read(std::vector<T> &result) {
    std::vector<T> list;
    if (value_.is_array()) {
      for (const json &element : value_)
        if (!readInto(element, list))
          return false;
    } else if (!std::is_class_v<T> || std::is_same_v<T, std::string>) {
      if (!readInto(value_, list))
        return false;
    } else if (!expect("a list", false)) {
      return false;
    }
    result = std::move(list);
    return true;
  }

  template <typename A, typename B> bool read(std::pair<A, B> &result) {
    if (!expect("a list of two", value_.is_array() && value_.size() == 2))
      return false;
    for (int half = 0; half < 2; ++half) {
      Value value(value_[static_cast<size_t>(half)]);
      if (!(half ? value.read(result.second) : value.read(result.first)))
        return expect(value.expected_, false);
    }
    return true;
  }

  template <typename T> bool read(std::optional<T> &result) {
    T value{};
    if (!read(value))
      return false;
    result = std::move(value);
    return true;
  }

  const char *expected() const { return expected_; }

private:
  bool expect(const char *what, bool holds) {
    expected_ = what;
    return holds;
  }

  template <typename T> bool readInto(const json &element, std::vector<T> &list) {
    Value value(element);
    T read{};
    if (!value.read(read))
      return expect(value.expected_, false);
    list.push_back(std::move(read));
    return true;
  }

  const json &value_;
  const char *expected_ = "";
};

/// Reads the member called `key`: 1 if there is one, 0 if not, -1 if the value's type is wrong.
class Members {
public:
  Members(std::string_view key, const json &value) : key_(key), value_(value) {}

  template <typename T> Members &operator()(std::string_view name, T &member) {
    if (name != key_)
      return *this;
    known = true;
    Value value(value_);
    if (!value.read(member))
      expected = value.expected();
    return *this;
  }

  bool known = false;
  const char *expected = nullptr; ///< where the type is wrong

private:
  std::string_view key_;
  const json &value_;
};

void readMember(Members &read, GenerationConfig &config) {
  read("max_length", config.max_length)("max_new_tokens", config.max_new_tokens);
  read("min_length", config.min_length)("min_new_tokens", config.min_new_tokens);
  read("stop_strings", config.stop_strings)("do_sample", config.do_sample)("seed", config.seed);
  read("temperature", config.temperature)("top_k", config.top_k)("top_p", config.top_p)("min_p", config.min_p);
  read("typical_p", config.typical_p)("epsilon_cutoff", config.epsilon_cutoff)("eta_cutoff", config.eta_cutoff);
  read("num_beams", config.num_beams)("early_stopping", config.early_stopping);
  read("length_penalty", config.length_penalty)("num_return_sequences", config.num_return_sequences);
  read("repetition_penalty", config.repetition_penalty)("frequency_penalty", config.frequency_penalty);
  read("presence_penalty", config.presence_penalty)("no_repeat_ngram_size", config.no_repeat_ngram_size);
  read("encoder_repetition_penalty", config.encoder_repetition_penalty);
  read("encoder_no_repeat_ngram_size", config.encoder_no_repeat_ngram_size);
  read("bad_words_ids", config.bad_words_ids)("sequence_bias", config.sequence_bias);
  read("suppress_tokens", config.suppress_tokens)("begin_suppress_tokens", config.begin_suppress_tokens);
  read("forced_bos_token_id", config.forced_bos_token_id)("forced_eos_token_id", config.forced_eos_token_id);
  read("exponential_decay_length_penalty", config.exponential_decay_length_penalty);
  read("remove_invalid_values", config.remove_invalid_values)("renormalize_logits", config.renormalize_logits);
  read("eos_token_id", config.eos_token_id)("pad_token_id", config.pad_token_id);
  read("bos_token_id", config.bos_token_id)("decoder_start_token_id", config.decoder_start_token_id);
}

/// What messages show of a value: long lists are cut.
std::string shown(const json &value) {
  constexpr size_t kLongest = 60;
  // Strings of any bytes: what is not UTF-8 is replaced, where the default is an exception.
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  return text.size() > kLongest ? text.substr(0, kLongest) + "…" : text;
}

/// Parses without exceptions; a document nested deeper than any of these is refused.
Status parse(std::string_view text, json &document) {
  constexpr int kMaxDepth = 16;
  bool tooDeep = false;
  auto look = [&](int depth, json::parse_event_t, json &) {
    tooDeep = tooDeep || depth > kMaxDepth;
    return depth <= kMaxDepth;
  };
  document = json::parse(text.begin(), text.end(), look, /*allow_exceptions=*/false);
  if (tooDeep)
    return failure(LATHE_INVALID_ARGUMENT, "generation config is nested deeper than ", kMaxDepth);
  if (document.is_discarded())
    return failure(LATHE_INVALID_ARGUMENT, "generation config is not valid JSON");
  if (!document.is_object())
    return failure(LATHE_INVALID_ARGUMENT, "generation config must be a JSON object, got ", shown(document));
  return success();
}

} // namespace

Status lathe::runtime::readGenerationConfig(std::string_view text, GenerationConfig &config,
                                            std::vector<std::string> *ignored) {
  json document;
  if (Status status = parse(text, document); status.failed())
    return status;
  GenerationConfig result = config;
  std::vector<std::string> unknown;
  for (const auto &[key, value] : document.items()) {
    if (value.is_null())
      continue;
    Members read(key, value);
    readMember(read, result);
    if (read.expected)
      return failure(LATHE_INVALID_ARGUMENT, "generation config: ", key, " must be ", read.expected, ", got ",
                     shown(value));
    if (!read.known && std::find(std::begin(kHarmless), std::end(kHarmless), key) == std::end(kHarmless))
      unknown.push_back(key);
  }
  std::sort(unknown.begin(), unknown.end());
  config = std::move(result);
  if (ignored)
    *ignored = std::move(unknown);
  return success();
}
