//===- Generator.cpp - Sequences that a module goes on ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/generation/Generator.h"

#include "runtime/generation/RowKernels.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

using namespace lathe::runtime;

namespace {

constexpr const char *kStep = "step", *kEncode = "encode";
/// Bytes of logits that are computed at once, but for one token of each sequence.
constexpr int64_t kScoredBytes = 64 << 20;

template <typename... Parts> Status badArgument(const Parts &...parts) {
  return failure(LATHE_INVALID_ARGUMENT, parts...);
}

} // namespace

Status Generator::create(std::shared_ptr<Module> module, const Options &options, std::unique_ptr<Generator> *generator) {
  if (options.maxSequence < 0)
    return badArgument("the longest sequence must not be negative, got ", options.maxSequence);
  size_t index = 0;
  if (module->manifest().findProgram(kStep, &index).failed())
    return failure(LATHE_NOT_FOUND, "the artifact has no program 'step', which generates text: the model is not a decoder or was "
                                    "compiled without (lathe compile --generate on tells the reason)");
  auto result = std::make_unique<Generator>();
  result->module_ = module;
  result->options_ = options;
  Session::Options session;
  session.threads = options.threads;
  session.memoryBudget = options.memoryBudget;
  session.program = kStep;
  if (Status status = Session::create(module, session, &result->step_); status.failed())
    return status;
  session.program = kEncode;
  if (!module->manifest().findProgram(kEncode, &index).failed())
    if (Status status = Session::create(module, session, &result->encode_); status.failed())
      return status;
  if (Status status = result->locate(); status.failed())
    return status;
  Session *step = result->step_.get();
  result->cache_ = std::make_unique<KvCache>(step->program().caches, [step](int64_t bytes) { return step->chargeMemory(bytes); }, step->device());
  step->setCache(result->cache_.get());
  *generator = std::move(result);
  return success();
}

Status Generator::locate() {
  const Program &program = step_->program();
  auto find = [&](const char *name) -> std::optional<size_t> {
    for (size_t i = 0; i < program.inputs.size(); ++i)
      if (program.inputs[i].name == name)
        return i;
    return std::nullopt;
  };
  std::optional<size_t> positions = find("positions"), keys = find("key_positions");
  sourcePositionsInput_ = find("source_positions");
  sourceLastInput_ = find("source_last");
  wantedInput_ = find("wanted");
  size_t expected = (sourcePositionsInput_ ? 5 : 3) + wantedInput_.has_value();
  bool fits = positions && keys && program.inputs.size() == expected && program.outputs.size() == 1 &&
              sourcePositionsInput_.has_value() == sourceLastInput_.has_value() &&
              sourceLastInput_.has_value() == (encode_ != nullptr);
  if (fits) {
    positionsInput_ = *positions;
    keyPositionsInput_ = *keys;
    for (size_t i = 0; i < program.inputs.size(); ++i)
      if (i != positionsInput_ && i != keyPositionsInput_ && i != sourcePositionsInput_ && i != sourceLastInput_ && i != wantedInput_)
        tokensInput_ = i;
    const Tensor &tokens = program.inputs[tokensInput_], &logits = program.outputs[0];
    wideTokens_ = tokens.type->dtype == LATHE_I64;
    vocabulary_ = logits.dims.empty() ? -1 : logits.dims.back().value;
    fits = vocabulary_ > 0 && logits.type->dtype == LATHE_F32 && tokens.dims.size() == 2 &&
           (wideTokens_ || tokens.type->dtype == LATHE_I32);
  }
  if (!fits)
    return failure(LATHE_INVALID_ARTIFACT, "program 'step' does not have the inputs and outputs of one that generates text");
  maxSequence_ = INT64_C(1) << 24;
  for (size_t input : {positionsInput_, keyPositionsInput_})
    if (int64_t rows = program.inputs[input].below; rows > 0)
      maxSequence_ = std::min(maxSequence_, rows);
  if (options_.maxSequence > maxSequence_)
    return badArgument("sequences of up to ", options_.maxSequence, " tokens were asked for; the model has ", maxSequence_, " positions");
  if (options_.maxSequence > 0)
    maxSequence_ = options_.maxSequence;
  if (!encode_)
    return success();
  for (const Tensor &output : encode_->program().outputs) {
    size_t cache = 0;
    while (cache < program.caches.size() && program.caches[cache].name != output.name)
      ++cache;
    if (cache == program.caches.size() || program.caches[cache].appended || output.dims.size() != 4 ||
        output.dims[1].value != program.caches[cache].layout.heads || output.dims[3].value != program.caches[cache].layout.size ||
        output.type->dtype != LATHE_F32)
      return failure(LATHE_INVALID_ARTIFACT, "output '", output.name, "' of program 'encode' fits no cache of program 'step'");
    filled_.push_back(cache);
  }
  return success();
}

const std::vector<Tensor> &Generator::sources() const {
  static const std::vector<Tensor> kNone;
  return encode_ ? encode_->program().inputs : kNone;
}

Status Generator::begin(const std::vector<Source> &sources, Sequence *sequence) {
  *sequence = {};
  return encode_ ? encode(sources, sequence) : success();
}

Status Generator::encode(const std::vector<Source> &sources, Sequence *sequence) {
  const std::vector<Tensor> &inputs = this->sources();
  if (sources.size() != inputs.size())
    return badArgument("expected ", inputs.size(), " inputs of the encoder, got ", sources.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Source &source = sources[i];
    if (!source.dims.empty() && source.dims[0] != 1)
      return badArgument("input '", inputs[i].name, "' must be of one sequence, got ", source.dims[0]);
    if (Status status = encode_->setInput(i, source.type, source.dims.size(), source.dims.data(), source.data); status.failed())
      return status;
  }
  if (Status status = encode_->run(); status.failed())
    return status;
  for (size_t i = 0; i < filled_.size(); ++i) {
    const Session::Output &output = encode_->output(i);
    if (Status status = cache_->fill(*sequence, filled_[i], static_cast<const float *>(output.data), output.dims[2]); status.failed())
      return status;
  }
  return success();
}

Status Generator::advance(const std::vector<Sequence *> &sequences, const Token *tokens, int64_t count, int64_t wanted,
                          const float **logits) {
  *logits = nullptr;
  auto rows = static_cast<int64_t>(sequences.size());
  int64_t total = 0, source = 0;
  positions_.clear();
  sourceLast_.clear();
  for (int64_t i = 0; i < rows * count; ++i)
    if (tokens[i] < 0 || tokens[i] >= vocabulary_)
      return badArgument("token ", tokens[i], " is not one of the vocabulary's ", vocabulary_);
  for (Sequence *sequence : sequences) {
    int64_t length = sequence->appended.count;
    if (Status status = cache_->reserve(*sequence, count); status.failed())
      return status;
    for (int64_t i = 0; i < count; ++i)
      positions_.push_back(length + i);
    total = std::max(total, length + count);
    source = std::max(source, sequence->fixed.count);
    sourceLast_.push_back(sequence->fixed.count - 1);
  }
  auto most = static_cast<size_t>(std::max(total, source));
  if (numbers_.size() < most) {
    numbers_.resize(most);
    std::iota(numbers_.begin(), numbers_.end(), 0);
  }
  int64_t dims[2] = {rows, count}, one[2] = {rows, 1};
  const void *data = tokens;
  if (!wideTokens_) {
    narrow_.assign(tokens, tokens + rows * count);
    data = narrow_.data();
  }
  Status status = step_->setInput(tokensInput_, wideTokens_ ? LATHE_I64 : LATHE_I32, 2, dims, data);
  if (!status.failed())
    status = step_->setInput(positionsInput_, LATHE_I64, 2, dims, positions_.data());
  if (!status.failed())
    status = step_->setInput(keyPositionsInput_, LATHE_I64, 1, &total, numbers_.data());
  if (!status.failed() && sourcePositionsInput_)
    status = step_->setInput(*sourcePositionsInput_, LATHE_I64, 1, &source, numbers_.data());
  if (!status.failed() && sourceLastInput_)
    status = step_->setInput(*sourceLastInput_, LATHE_I64, 2, one, sourceLast_.data());
  if (!status.failed() && wantedInput_)
    status = step_->setInput(*wantedInput_, LATHE_I64, 1, &wanted, numbers_.data() + (count - wanted));
  if (!status.failed())
    status = cache_->begin(sequences, count, /*inOrder=*/true);
  if (!status.failed())
    status = step_->run();
  if (status.failed())
    return status;
  cache_->commit();
  *logits = static_cast<const float *>(step_->output(0).data);
  return success();
}

Status Generator::advancePieces(const std::vector<Sequence *> &sequences, const Token *tokens, int64_t count, int64_t piece, bool all,
                                const std::function<bool(int64_t first, int64_t tokens, const float *logits)> &done) {
  std::vector<int64_t> lengths;
  for (const Sequence *sequence : sequences) {
    lengths.push_back(sequence->appended.count);
    // Before anything is computed for nothing.
    if (count > maxSequence_ - lengths.back())
      return failure(LATHE_OVER_BUDGET, "a sequence of ", lengths.back() + count, " tokens is longer than ", maxSequence_, ", the longest");
  }
  for (int64_t first = 0; first < count;) {
    int64_t size = std::min(piece, count - first);
    const Token *part = tokens;
    if (size < count) {
      piece_.clear();
      for (size_t i = 0; i < sequences.size(); ++i)
        piece_.insert(piece_.end(), tokens + static_cast<int64_t>(i) * count + first, tokens + static_cast<int64_t>(i) * count + first + size);
      part = piece_.data();
    }
    const float *logits = nullptr;
    if (Status status = advance(sequences, part, size, all ? size : 1, &logits); status.failed()) {
      for (size_t i = 0; i < sequences.size(); ++i)
        cache_->truncate(*sequences[i], lengths[i]);
      return status;
    }
    if (!done(first, size, logits))
      break;
    first += size;
  }
  return success();
}

Status Generator::append(const std::vector<Sequence *> &sequences, const Token *tokens, int64_t count, const float **logits,
                         const std::function<bool(int64_t done)> &goesOn) {
  *logits = nullptr;
  int64_t piece = std::max<int64_t>(kPieceTokens / std::max<int64_t>(static_cast<int64_t>(sequences.size()), 1), 1);
  const float *last = nullptr;
  Status status = advancePieces(sequences, tokens, count, piece, false, [&](int64_t first, int64_t size, const float *made) {
    bool isLast = first + size == count;
    last = isLast ? made : nullptr;
    return isLast || !goesOn || goesOn(first + size);
  });
  if (!status.failed())
    *logits = last;
  return status;
}

Status Generator::appendScored(const std::vector<Sequence *> &sequences, const Token *tokens, int64_t count,
                               const std::function<void(const ScoredTokens &)> &listener) {
  // A program that gives the logits of a run's last token alone computes token by token.
  auto rows = std::max<int64_t>(static_cast<int64_t>(sequences.size()), 1);
  int64_t most = std::min(kPieceTokens / rows, kScoredBytes / (rows * vocabulary_ * static_cast<int64_t>(sizeof(float))));
  int64_t piece = std::clamp<int64_t>(most, 1, scoredTokens());
  return advancePieces(sequences, tokens, count, piece, true, [&](int64_t first, int64_t size, const float *logits) {
    listener({first, size, size * vocabulary_, logits});
    return true;
  });
}

Status Generator::score(const std::vector<Sequence *> &sequences, const Token *tokens, int64_t count, std::vector<float> &last,
                        float *logProbabilities) {
  auto vocabulary = static_cast<size_t>(vocabulary_);
  auto rows = static_cast<int64_t>(sequences.size());
  bool isNumber = true;
  auto logProbability = [&](const float *logits, Token token) {
    const RowKernels &kernels = rowKernels();
    scratch_.resize((vocabulary + kRowBlock - 1) / kRowBlock);
    RowScan scan = kernels.scan(logits, vocabulary, scratch_.data());
    isNumber &= !scan.nan && std::isfinite(scan.max);
    double sum = isNumber ? kernels.sumOfExponentials(logits, vocabulary, scan.max, 1) : 1;
    return static_cast<float>(static_cast<double>(logits[token] - scan.max) - std::log(sum));
  };
  // Runs check the tokens of their piece; here the first of the next one is looked up, too.
  for (int64_t i = 0; i < rows * count; ++i)
    if (tokens[i] < 0 || tokens[i] >= vocabulary_)
      return badArgument("token ", tokens[i], " is not one of the vocabulary's ", vocabulary_);
  std::vector<float> before = last;
  auto told = [&](const ScoredTokens &part) {
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t i = 0; i < part.tokens; ++i) {
        int64_t place = row * count + part.first + i;
        const float *logits = i > 0            ? part.logits + row * part.stride + (i - 1) * vocabulary_
                              : before.empty() ? nullptr
                                               : before.data() + row * vocabulary_;
        logProbabilities[place] =
            logits ? logProbability(logits, tokens[place]) : std::numeric_limits<float>::quiet_NaN();
      }
    before.resize(static_cast<size_t>(rows) * vocabulary);
    for (int64_t row = 0; row < rows; ++row) {
      const float *end = part.logits + row * part.stride + part.tokens * vocabulary_;
      std::copy(end - vocabulary_, end, before.data() + row * vocabulary_);
    }
  };
  if (Status status = appendScored(sequences, tokens, count, told); status.failed())
    return status;
  last = std::move(before);
  return isNumber ? success() : failure(LATHE_EXECUTION_ERROR, "the logits are not all numbers");
}

Status Generator::checkRequest(const Request &request) const {
  if (Status status = validate(request.config); status.failed())
    return status;
  if (request.sources.size() != (encode_ ? request.prompts.size() : 0))
    return badArgument("expected inputs of the encoder for ", encode_ ? request.prompts.size() : 0, " sequences, got ",
                       request.sources.size());
  for (size_t i = 0; i < request.prompts.size(); ++i) {
    const std::vector<Token> &prompt = request.prompts[i];
    if (prompt.empty())
      return badArgument("prompt ", i, " has no tokens: generation begins with at least one");
    for (Token token : prompt)
      if (token < 0 || token >= vocabulary_)
        return badArgument("token ", token, " of prompt ", i, " is not one of the vocabulary's ", vocabulary_);
    if (static_cast<int64_t>(prompt.size()) > maxSequence_)
      return failure(LATHE_OVER_BUDGET, "prompt ", i, " has ", prompt.size(), " tokens; the longest sequence has ", maxSequence_);
  }
  return success();
}

/// Prompts of one length share a run.
Status Generator::prefill(const Request &request, std::vector<Row> &rows, bool *cancelled) {
  size_t total = 0, before = 0;
  for (const std::vector<Token> &prompt : request.prompts)
    total += prompt.size();
  auto goesOn = [&](size_t done) {
    *cancelled = request.promptListener && request.promptListener(done, total) != Answer::goOn;
    return !*cancelled;
  };
  rows.resize(request.prompts.size());
  std::vector<size_t> order(rows.size());
  std::iota(order.begin(), order.end(), 0);
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].prompt = i;
    if (Status status = begin(encode_ ? request.sources[i] : std::vector<Source>(), &rows[i].sequence); status.failed())
      return status;
  }
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::pair(request.prompts[a].size(), a) < std::pair(request.prompts[b].size(), b);
  });
  for (size_t first = 0; first < order.size();) {
    auto length = static_cast<int64_t>(request.prompts[order[first]].size());
    size_t end = first;
    std::vector<Sequence *> sequences;
    while (end < order.size() && static_cast<int64_t>(request.prompts[order[end]].size()) == length &&
           (end == first || length * static_cast<int64_t>(end - first + 1) <= kPieceTokens))
      sequences.push_back(&rows[order[end++]].sequence);
    const float *logits = nullptr;
    std::vector<Token> tokens;
    for (size_t i = first; i < end; ++i)
      tokens.insert(tokens.end(), request.prompts[order[i]].begin(), request.prompts[order[i]].end());
    Status status = append(sequences, tokens.data(), length, &logits,
                           [&](int64_t done) { return goesOn(before + static_cast<size_t>(done) * sequences.size()); });
    if (status.failed() || *cancelled)
      return status;
    before += tokens.size();
    for (size_t i = first; i < end; ++i, logits += vocabulary_)
      rows[order[i]].logits.assign(logits, logits + vocabulary_);
    first = end;
    if (first < order.size() && !goesOn(before))
      return success();
  }
  return success();
}

Status Generator::generate(const Request &request, std::vector<Result> *results) {
  results->clear();
  if (Status status = checkRequest(request); status.failed())
    return status;
  std::vector<Row> rows;
  bool cancelled = false;
  if (Status status = prefill(request, rows, &cancelled); status.failed())
    return status;
  if (cancelled) {
    for (size_t prompt = 0; prompt < request.prompts.size(); ++prompt)
      for (int64_t copy = 0; copy < request.config.num_return_sequences; ++copy)
        results->push_back({prompt, {}, Finish::caller, 0});
    return success();
  }
  return request.config.num_beams > 1 ? searchBeams(*this, request, rows, *results) : sample(*this, request, rows, *results);
}
