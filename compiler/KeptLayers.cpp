//===- KeptLayers.cpp - Results of methods, kept for the next run ---------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/KeptLayers.h"

namespace lathe {

using quantization::CodebookQuantized;
using quantization::InputStatistics;
using quantization::Quantized;
using quantization::RangeObserver;
using quantization::Weight;

namespace {

/// Second moments beyond are gathered again: writing them would take as long.
constexpr uint64_t kMostStatistics = uint64_t(2) << 30;

// One function for both ways: `archive` is a writer's put, or a reader's get.
template <typename Archive> void pass(Archive &&archive, Quantized &q) {
  archive(q.format.kind);
  archive(q.format.bits);
  archive(q.format.group);
  archive(q.format.zeroPoint);
  archive(q.format.scaleType);
  archive(q.format.narrow);
  archive(q.format.table);
  archive(q.n);
  archive(q.k);
  archive(q.codes);
  archive(q.scales);
  archive(q.zeros);
}

template <typename Archive> void pass(Archive &&archive, CodebookQuantized &q) {
  archive(q.n);
  archive(q.k);
  archive(q.dimension);
  archive(q.bits);
  archive(q.outputsPerBook);
  archive(q.group);
  archive(q.scaleType);
  archive(q.scales);
  uint64_t stages = q.stages.size();
  archive(stages);
  q.stages.resize(std::min<uint64_t>(stages, 8));
  for (quantization::CodebookStage &stage : q.stages) {
    archive(stage.table);
    archive(stage.codes);
  }
}

template <typename Archive> void pass(Archive &&archive, CompressedLayer &entry) {
  archive(entry.snrDb);
  archive(entry.cosine);
  archive(entry.onOutputs);
}

template <typename Archive> void pass(Archive &&archive, InputStatistics &s) {
  archive(s.k);
  archive(s.count);
  archive(s.absMax);
  archive(s.meanAbs);
  archive(s.mean);
  archive(s.secondMoment);
}

auto putting(ResumeWriter &writer) {
  return [&](const auto &value) { writer.put(value); };
}
auto getting(ResumeReader &reader) {
  return [&](auto &value) { reader.get(value); };
}

bool fits(const Quantized &q, const Weight &weight) {
  return q.n == weight.n && q.k == weight.k && q.codes.size() == static_cast<size_t>(q.n * q.k) &&
         q.scales.size() == static_cast<size_t>(q.n * q.groups()) &&
         (q.zeros.empty() || q.zeros.size() == q.scales.size());
}

bool fits(const CodebookQuantized &q, const Weight &weight) {
  if (q.n != weight.n || q.k != weight.k || q.dimension < 1)
    return false;
  for (const quantization::CodebookStage &stage : q.stages)
    if (stage.codes.size() != static_cast<size_t>(q.n * q.vectors()))
      return false;
  return !q.stages.empty();
}

template <typename Q>
bool find(Resume &resume, const std::string &key, const Weight &weight, Q &quantized, CompressedLayer &entry) {
  std::optional<std::string> bytes = resume.find(key);
  if (!bytes)
    return false;
  ResumeReader reader(*bytes);
  CompressedLayer told = entry;
  Q kept;
  pass(getting(reader), told);
  pass(getting(reader), kept);
  if (!reader.isDone() || !fits(kept, weight))
    return false;
  quantized = std::move(kept);
  entry = std::move(told);
  return true;
}

template <typename Q>
void keep(Resume &resume, const std::string &key, const Q &quantized, const CompressedLayer &entry) {
  ResumeWriter writer;
  pass(putting(writer), const_cast<CompressedLayer &>(entry)); // putting changes nothing
  pass(putting(writer), const_cast<Q &>(quantized));
  resume.keep(key, writer.bytes);
}

} // namespace

std::string keyOfGroup(const RecipeStep &step, const std::vector<Weight> &weights, const InputStatistics *inputs) {
  ResumeKey key("layer");
  Recipe own;
  own.steps.push_back(step);
  own.steps.front().tensors = {"*"};
  own.steps.front().exclude.clear();
  key.add(writeRecipe(own));
  for (const Weight &weight : weights) {
    key.add(weight.n);
    key.add(weight.k);
    key.add(weight.data, static_cast<size_t>(weight.n * weight.k) * sizeof(float));
  }
  key.add(inputs ? inputs->k : -1);
  if (inputs) {
    key.add(static_cast<int64_t>(inputs->count));
    for (const std::vector<float> *values : {&inputs->absMax, &inputs->meanAbs, &inputs->mean, &inputs->secondMoment})
      key.add(*values);
  }
  return key.text();
}

bool findLayer(Resume &resume, const std::string &key, const Weight &weight, Quantized &quantized,
               CompressedLayer &entry) {
  return find(resume, key, weight, quantized, entry);
}

bool findLayer(Resume &resume, const std::string &key, const Weight &weight, CodebookQuantized &quantized,
               CompressedLayer &entry) {
  return find(resume, key, weight, quantized, entry);
}

void keepLayer(Resume &resume, const std::string &key, const Quantized &quantized, const CompressedLayer &entry) {
  keep(resume, key, quantized, entry);
}

void keepLayer(Resume &resume, const std::string &key, const CodebookQuantized &quantized,
               const CompressedLayer &entry) {
  keep(resume, key, quantized, entry);
}

bool findPruned(Resume &resume, const std::string &key, const Weight &weight, std::vector<float> &values) {
  std::vector<float> kept;
  if (!findFactors(resume, key, kept) || kept.size() != static_cast<size_t>(weight.n * weight.k))
    return false;
  values = std::move(kept);
  return true;
}

void keepPruned(Resume &resume, const std::string &key, const std::vector<float> &values) {
  keepFactors(resume, key, values);
}

bool findFactors(Resume &resume, const std::string &key, std::vector<float> &factors) {
  std::optional<std::string> bytes = resume.find(key);
  if (!bytes)
    return false;
  ResumeReader reader(*bytes);
  std::vector<float> kept;
  reader.get(kept);
  if (!reader.isDone())
    return false;
  factors = std::move(kept);
  return true;
}

void keepFactors(Resume &resume, const std::string &key, const std::vector<float> &factors) {
  ResumeWriter writer;
  writer.put(factors);
  resume.keep(key, writer.bytes);
}

bool findStatistics(Resume &resume, const std::string &key, std::vector<std::shared_ptr<InputStatistics>> &all,
                    std::vector<RangeObserver> &ranges) {
  std::optional<std::string> bytes = resume.find(key);
  if (!bytes)
    return false;
  ResumeReader reader(*bytes);
  std::vector<std::shared_ptr<InputStatistics>> kept;
  std::vector<RangeObserver> observers(ranges.size());
  for (RangeObserver &observer : observers) {
    kept.push_back(std::make_shared<InputStatistics>());
    pass(getting(reader), *kept.back());
    std::vector<double> values;
    std::vector<uint64_t> bins;
    reader.get(values);
    reader.get(bins);
    if (!reader.isGood() || !observer.restore(values, bins))
      return false;
  }
  if (!reader.isDone())
    return false;
  all = std::move(kept);
  ranges = std::move(observers);
  return true;
}

void keepStatistics(Resume &resume, const std::string &key, const std::vector<std::shared_ptr<InputStatistics>> &all,
                    const std::vector<RangeObserver> &ranges) {
  uint64_t size = 0;
  for (const auto &statistics : all)
    size += statistics->secondMoment.size() * sizeof(float);
  if (resume.path().empty() || size > kMostStatistics)
    return;
  ResumeWriter writer;
  for (size_t i = 0; i < all.size(); ++i) {
    pass(putting(writer), *all[i]);
    std::vector<double> values;
    std::vector<uint64_t> bins;
    ranges[i].save(values, bins);
    writer.put(values);
    writer.put(bins);
  }
  resume.keep(key, writer.bytes);
}

} // namespace lathe
