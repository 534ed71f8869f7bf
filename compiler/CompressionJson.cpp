//===- CompressionJson.cpp - The report of compression as JSON ------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/CompressionJson.h"
#include <algorithm>
#include <cmath>

using nlohmann::ordered_json;

namespace lathe {
namespace {

/// JSON has no infinity.
ordered_json finite(double number) { return std::isfinite(number) ? ordered_json(number) : ordered_json(); }

ordered_json choiceJson(const WeightChoice &choice) {
  ordered_json json = {{"measure", choice.measure},
                       {"samples", choice.samples},
                       {"complete", choice.isComplete},
                       {"weights_bytes_before", choice.bytesBefore},
                       {"weights_bytes_after", choice.bytesAfter}};
  if (choice.targetBytes)
    json["target_bytes"] = *choice.targetBytes;
  if (choice.maxDrop)
    json["max_drop"] = *choice.maxDrop;
  if (choice.targetSpeedup)
    json.update({{"target_speedup", *choice.targetSpeedup},
                 {"model_microseconds_before", choice.modelMicrosecondsBefore},
                 {"model_microseconds_after", choice.modelMicrosecondsAfter}});
  if (choice.microsecondsBefore > 0)
    json.update({{"products_microseconds_before", choice.microsecondsBefore},
                 {"products_microseconds_after", choice.microsecondsAfter}});
  json["curve"] = ordered_json::array();
  for (const WeightChoice::Point &point : choice.curve)
    json["curve"].push_back({{"bytes", point.bytes},
                             {"loss", finite(point.loss)},
                             {"drop", finite(point.drop)},
                             {"chosen", point.isChosen}});
  json["layers"] = ordered_json::array();
  for (const ChosenLayer &layer : choice.layers) {
    ordered_json entry = {{"weight", layer.weight},
                          {"node", layer.node},
                          {"chosen", layer.options[layer.chosen].format},
                          {"alternatives", ordered_json::array()}};
    for (const ChosenLayer::Option &option : layer.options) {
      entry["alternatives"].push_back(
          {{"format", option.format}, {"bytes", option.bytes}, {"loss", finite(option.loss)}});
      if (option.way.microseconds > 0)
        entry["alternatives"].back().update({{"microseconds", option.way.microseconds}, {"kernel", option.way.kernel}});
      if (option.isEstimate)
        entry["alternatives"].back()["estimated"] = true;
    }
    json["layers"].push_back(std::move(entry));
  }
  return json;
}

void addChoices(const CompressionReport &compression, ordered_json &json) {
  if (!compression.qualityMeasure.empty()) {
    json["quality"] = compression.qualityMeasure;
    json["quality_before"] = finite(compression.qualityBefore);
    json["quality_after"] = finite(compression.qualityAfter);
    json["drop"] = finite(compression.drop);
  }
  if (!compression.recipe.empty())
    json["recipe"] = ordered_json::parse(compression.recipe);
  for (const WeightChoice &choice : compression.choices)
    json["choices"].push_back(choiceJson(choice));
}

ordered_json toJson(const PrunedLayer &layer) {
  ordered_json entry = {
      {"weight", layer.weight}, {"node", layer.node}, {"inputs", layer.inputs}, {"outputs", layer.outputs}};
  if (!layer.reason.empty()) {
    entry["reason"] = layer.reason;
    return entry;
  }
  entry.update({{"pattern", layer.pattern},
                {"method", layer.method},
                {"sparsity_before", layer.sparsityBefore},
                {"sparsity", layer.sparsity},
                {"snr_db", std::isfinite(layer.snrDb) ? ordered_json(layer.snrDb) : ordered_json()},
                {"cosine", layer.cosine},
                {"error_of", layer.onOutputs ? "output" : "weight"}});
  return entry;
}

/// What a layer's product takes, where it was timed.
template <typename LayerEntry> void addTimes(const LayerEntry &layer, ordered_json &entry) {
  if (layer.ways.empty())
    return;
  const TimedWay &taken = layer.ways[layer.way];
  entry.update({{"kernel", taken.kernel},
                {"rows", layer.rows},
                {"microseconds_before", layer.ways.front().microseconds},
                {"microseconds_after", taken.microseconds}});
  for (const TimedWay &way : layer.ways)
    entry["timed"].push_back({{"as", way.name}, {"kernel", way.kernel}, {"microseconds", way.microseconds}});
}

ordered_json toJson(const TransformedWeights &transform) {
  ordered_json entry = {{"step", transform.step},
                        {"node", transform.node},
                        {"channels", transform.channels},
                        {"weights", transform.weights}};
  if (transform.productsAdded)
    entry["products_added"] = transform.productsAdded;
  if (!transform.reason.empty())
    entry["reason"] = transform.reason;
  return entry;
}

ordered_json toJson(const ShrunkPart &part) {
  ordered_json entry = {{"pattern", part.pattern},
                        {"method", part.method},
                        {"node", part.node},
                        {"before", part.before},
                        {"after", part.after},
                        {"removed", part.removed},
                        {"cost", part.cost},
                        {"weights", part.weights},
                        {"readers", part.readers},
                        {"bytes_before", part.bytesBefore},
                        {"bytes_after", part.bytesAfter}};
  if (part.microsecondsBefore > 0)
    entry.update({{"rows", part.rows},
                  {"microseconds_before", part.microsecondsBefore},
                  {"microseconds_after", part.microsecondsAfter}});
  if (!part.interface.empty())
    entry["interface"] = part.interface;
  if (!part.reason.empty())
    entry["reason"] = part.reason;
  return entry;
}

ordered_json toJson(const SparseLayer &layer) {
  ordered_json entry = {{"weight", layer.weight},
                        {"node", layer.node},
                        {"inputs", layer.inputs},
                        {"outputs", layer.outputs},
                        {"zeros", layer.zeros},
                        {"format", layer.format.empty() ? "dense" : layer.format},
                        {"bytes_before", layer.bytesBefore},
                        {"bytes_after", layer.bytesAfter}};
  if (!layer.pattern.empty())
    entry["pattern"] = layer.pattern;
  if (!layer.reason.empty())
    entry["reason"] = layer.reason;
  addTimes(layer, entry);
  return entry;
}

ordered_json toJson(const CompressedCache &cache) {
  return {{"name", cache.name},
          {"format", cache.format},
          {"heads", cache.heads},
          {"size", cache.size},
          {"token_bytes_before", cache.bytesBefore},
          {"token_bytes_after", cache.bytesAfter}};
}

ordered_json toJson(const CompressedLayer &layer) {
  ordered_json entry = {
      {"weight", layer.weight},         {"node", layer.node},       {"kind", layer.kind},
      {"inputs", layer.inputs},         {"outputs", layer.outputs}, {"bytes_before", layer.bytesBefore},
      {"bytes_after", layer.bytesAfter}};
  if (layer.format.empty()) {
    entry["reason"] = layer.reason;
  } else if (layer.kind == "attention") { // which stores nothing
    entry.update({{"format", layer.format}, {"method", layer.method}, {"activations", layer.activations}});
  } else {
    double bits = 8.0 * static_cast<double>(layer.bytesAfter) / static_cast<double>(layer.inputs * layer.outputs);
    // JSON has no infinity: what is exact has no signal to noise ratio.
    entry.update({{"format", layer.format},
                  {"method", layer.method},
                  {"activations", layer.activations},
                  {"bits", bits},
                  {"snr_db", std::isfinite(layer.snrDb) ? ordered_json(layer.snrDb) : ordered_json()},
                  {"cosine", layer.cosine},
                  {"error_of", layer.onOutputs ? "output" : "weight"}});
    if (layer.rank)
      entry.update({{"rank", layer.rank},
                    {"energy_kept", layer.energyKept},
                    {"ratio", 1 - static_cast<double>(layer.bytesAfter) / static_cast<double>(layer.bytesBefore)}});
    if (layer.isBiasCorrected)
      entry["bias_corrected"] = true;
    if (layer.apart)
      entry["inputs_apart"] = layer.apart;
  }
  addTimes(layer, entry);
  return entry;
}

} // namespace

ordered_json reportJson(const CompressionReport &compression) {
  ordered_json json = {{"samples", compression.samples},
                       {"bytes_before", compression.bytesBefore},
                       {"bytes_after", compression.bytesAfter},
                       {"layers", ordered_json::array()}};
  if (!compression.whyNotTimed.empty())
    json["not_timed"] = compression.whyNotTimed;
  auto add = [&](const char *key, const auto &entries) {
    for (const auto &entry : entries)
      json[key].push_back(toJson(entry));
  };
  add("transforms", compression.transforms);
  add("pruned", compression.pruned);
  add("structured", compression.shrunk);
  add("sparse", compression.sparse);
  add("caches", compression.caches);
  add("layers", compression.layers);
  addChoices(compression, json);
  return json;
}

/// Whether a step made the weight of that name as it is stored.
static bool isMade(const CompressionReport &compression, const std::string &name) {
  auto hasIt = [&](const CompressedLayer &layer) {
    return !layer.format.empty() &&
           (layer.weight == name || std::find(layer.factors.begin(), layer.factors.end(), name) != layer.factors.end());
  };
  return std::any_of(compression.layers.begin(), compression.layers.end(), hasIt) ||
         std::any_of(compression.sparse.begin(), compression.sparse.end(),
                     [&](const SparseLayer &layer) { return !layer.format.empty() && layer.weight == name; });
}

ordered_json storedJson(const ordered_json &constant, uint64_t bytes, const CompressionReport &compression) {
  const bool isSparse = constant.contains("sparse");
  if (!isSparse && !constant.contains("quantized"))
    return ordered_json();
  const std::string name = constant.value("name", ""); // what the compiler has computed has none
  const auto k = constant["shape"][0].get<uint64_t>(), n = constant["shape"][1].get<uint64_t>();
  const ordered_json &layout = constant[isSparse ? "sparse" : "quantized"];
  ordered_json entry = {{"weight", name}, {"inputs", k}, {"outputs", n}, {"values", layout["values"]}};
  if (!isSparse)
    entry.update({{"bits", layout["bits"]}, {"group", layout["group"]}, {"scale", layout["scale"]}});
  entry.update({{"storage", isSparse ? "sparse" : "codes"},
                {"bytes", bytes},
                {"f32_bytes", 4 * k * n},
                {"imported", !name.empty() && !isMade(compression, name)}});
  return entry;
}

} // namespace lathe
