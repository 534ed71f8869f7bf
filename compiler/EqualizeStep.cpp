//===- EqualizeStep.cpp - A recipe's step that equalizes ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/EqualizeStep.h"
#include "compiler/WeightValues.h"
#include "passes/quantization/EqualizablePairs.h"
#include "passes/quantization/Layers.h"
#include "passes/quantization/methods/Scaling.h"
#include "llvm/ADT/SmallPtrSet.h"
#include <set>

using namespace mlir;

namespace lathe {
namespace {

using compression::EqualizablePair;
using compression::nodeOf;
using compression::Place;
using quantization::Weight;

/// The weight that a product's right side is, or is widened from; null for a constant in the IR.
WeightOp weightOf(MatmulOp product) {
  Value value = product.getRhs();
  if (auto widened = value.getDefiningOp<CastOp>())
    value = widened.getInput();
  return value.getDefiningOp<WeightOp>();
}

std::string keyOf(MatmulOp product) {
  WeightOp weight = weightOf(product);
  return weight ? weight.getFile().str() + "@" + std::to_string(weight.getOffset()) : "";
}

/// The same layers in all programs.
struct SharedPair {
  std::vector<EqualizablePair> occurrences;
  std::string reason;
};

struct Equalizer {
  const Compression &compression;
  const std::function<bool(const std::string &, const std::string &)> &covers;
  CompressionReport &report;
  std::string &error;
  WeightFiles &files = *compression.files;
  NewConstants constants{files, error};
  std::vector<SharedPair> pairs = {};

  bool run();

private:
  void find();
  void refuseShared();
  bool equalize(SharedPair &shared, size_t index);
  bool readMatrix(MatmulOp product, std::vector<float> &matrix, int64_t &n, int64_t &k);
  bool write(MatmulOp product, std::vector<float> matrix, int64_t n, int64_t k, const std::string &key);
  bool divideBias(const EqualizablePair &pair, const EqualizablePair::Bias &bias, const std::vector<float> &factors,
                  const std::string &key);
  void tell(const SharedPair &pair, int64_t channels);
};

void Equalizer::find() {
  std::map<std::string, size_t> known;
  for (func::FuncOp program : compression.programs)
    for (EqualizablePair &pair : compression::findEqualizablePairs(program)) {
      std::set<std::string> second;
      bool isWeights = !pair.first || weightOf(pair.first);
      for (MatmulOp product : pair.second) {
        isWeights &= static_cast<bool>(weightOf(product));
        second.insert(keyOf(product) + (product.getTransposeRhs() ? "t" : ""));
      }
      if (!isWeights)
        continue; // small constants
      std::string key = pair.first ? keyOf(pair.first) + (pair.first.getTransposeRhs() ? "t[" : "[") +
                                         std::to_string(pair.begin) + "," + std::to_string(pair.channels) + "," +
                                         std::to_string(pair.width) + "," + std::to_string(pair.repeat) + "]"
                                   : pair.reason;
      for (const std::string &name : second)
        key += " " + name;
      auto [it, isNew] = known.try_emplace(key, pairs.size());
      if (isNew)
        pairs.push_back({{}, pair.reason});
      SharedPair &shared = pairs[it->second];
      auto isCovered = [&](MatmulOp product) { return covers(weightOf(product).getName().str(), nodeOf(product)); };
      if (shared.reason.empty() && (!isCovered(pair.first) || !llvm::all_of(pair.second, isCovered)))
        shared.reason = "it is not among 'tensors', or among 'exclude'";
      shared.occurrences.push_back(std::move(pair));
    }
}

/// Leaves pairs with a weight that programs read in another way, too.
void Equalizer::refuseShared() {
  for (bool changed = true; changed;) {
    changed = false;
    std::map<std::string, std::set<std::set<std::string>>> ways; // of weights, by the roles of each reader
    std::map<std::string, std::set<size_t>> owners;
    std::map<std::string, std::string> names;
    llvm::DenseMap<Operation *, std::set<std::string>> roles;
    for (auto [index, pair] : llvm::enumerate(pairs))
      for (const EqualizablePair &own : pair.occurrences) {
        if (!pair.reason.empty())
          continue;
        roles[own.first].insert("first" + std::to_string(index));
        owners[keyOf(own.first)].insert(index);
        for (MatmulOp product : own.second) {
          roles[product].insert("second" + std::to_string(index));
          owners[keyOf(product)].insert(index);
        }
      }
    for (func::FuncOp program : compression.programs)
      program.walk([&](WeightOp weight) {
        std::string key = weight.getFile().str() + "@" + std::to_string(weight.getOffset());
        if (!owners.count(key))
          return;
        names[key] = weight.getName().str();
        auto add = [&](OpOperand &use) {
          auto it = roles.find(use.getOwner());
          ways[key].insert(it == roles.end() || use.getOperandNumber() != 1 ? std::set<std::string>() : it->second);
        };
        for (OpOperand &use : weight->getUses()) {
          if (!isa<CastOp>(use.getOwner())) {
            add(use);
            continue;
          }
          for (OpOperand &inner : use.getOwner()->getResult(0).getUses())
            add(inner);
        }
      });
    for (auto &[key, own] : ways)
      if (own.size() > 1)
        for (size_t index : owners[key]) {
          changed |= pairs[index].reason.empty();
          pairs[index].reason = "initializer '" + names[key] + "' is read in another way, too";
        }
  }
}

bool Equalizer::readMatrix(MatmulOp product, std::vector<float> &matrix, int64_t &n, int64_t &k) {
  auto type = cast<RankedTensorType>(product.getRhs().getType());
  bool transposed = product.getTransposeRhs();
  n = type.getDimSize(transposed ? 0 : 1);
  k = type.getDimSize(transposed ? 1 : 0);
  std::optional<std::vector<float>> numbers = numbersOf(product.getRhs(), files, error);
  if (!numbers) {
    if (error.empty())
      error = "initializer '" + weightOf(product).getName().str() + "': expected numbers of f32, f16 or bf16";
    return false;
  }
  matrix = transposed ? std::move(*numbers) : turned(*numbers, k, n);
  return true;
}

bool Equalizer::write(MatmulOp product, std::vector<float> matrix, int64_t n, int64_t k, const std::string &key) {
  Value old = product.getRhs();
  Value made = constants.make(old, cast<RankedTensorType>(old.getType()), weightOf(product).getName(), key,
                              [&] { return product.getTransposeRhs() ? std::move(matrix) : turned(matrix, n, k); });
  if (made)
    product.getRhsMutable().assign(made);
  return static_cast<bool>(made);
}

bool Equalizer::divideBias(const EqualizablePair &pair, const EqualizablePair::Bias &bias,
                           const std::vector<float> &factors, const std::string &key) {
  Value old = bias.use->get();
  std::optional<std::vector<float>> numbers = numbersOf(old, files, error);
  if (!numbers)
    return false;
  WeightOp weight = old.getDefiningOp<WeightOp>();
  std::string own = key + "bias" + std::to_string(bias.begin) + lathe::keyOf(*numbers);
  Value made = constants.make(old, cast<RankedTensorType>(old.getType()), weight ? weight.getName() : "bias", own, [&] {
    for (int64_t i = 0; i < pair.channels; ++i)
      (*numbers)[bias.begin + i] /= factors[i];
    return *numbers;
  });
  if (made)
    bias.use->set(made);
  return static_cast<bool>(made);
}

bool Equalizer::equalize(SharedPair &shared, size_t index) {
  const EqualizablePair &pair = shared.occurrences.front();
  std::vector<float> first;
  int64_t n = 0, k = 0;
  if (!readMatrix(pair.first, first, n, k))
    return false;
  std::vector<std::vector<float>> second(pair.second.size());
  std::vector<Weight> weights;
  for (auto [product, matrix] : llvm::zip(pair.second, second)) {
    int64_t rows = 0, columns = 0;
    if (!readMatrix(product, matrix, rows, columns))
      return false;
    weights.push_back({matrix.data(), rows, columns});
  }
  std::vector<float> factors;
  quantization::Status status = quantization::equalizationScales({{first.data() + pair.begin * k, pair.channels, k}},
                                                                 weights, {pair.width, pair.repeat}, factors);
  if (status.failed()) {
    shared.reason = status.message();
    return true;
  }
  quantization::scaleOutputs(first.data() + pair.begin * k, pair.channels, k, factors, /*inverse=*/true);
  std::vector<float> read(factors.size() * pair.repeat);
  for (int64_t i = 0; i < static_cast<int64_t>(read.size()); ++i)
    read[i] = factors[i / pair.width / pair.repeat * pair.width + i % pair.width];
  for (auto [weight, matrix] : llvm::zip(weights, second))
    quantization::scaleInputs(weight, read, matrix.data());
  std::map<std::string, size_t> places; // programs may have products in different orders
  for (auto [i, product] : llvm::enumerate(pair.second))
    places.try_emplace(keyOf(product), i);
  std::vector<std::vector<size_t>> order;
  for (const EqualizablePair &own : shared.occurrences) {
    order.emplace_back();
    for (MatmulOp product : own.second)
      order.back().push_back(places.at(keyOf(product)));
  }
  std::string key = "pair" + std::to_string(index);
  for (auto [own, indices] : llvm::zip(shared.occurrences, order)) {
    llvm::SmallPtrSet<Operation *, 4> readers;
    for (MatmulOp product : own.second)
      readers.insert(product);
    forgetNames({own.first.getResult()}, [&](OpOperand &use) { return readers.contains(use.getOwner()); });
    if (!write(own.first, first, n, k, key + "first"))
      return false;
    for (const EqualizablePair::Bias &bias : own.biases)
      if (!divideBias(own, bias, factors, key))
        return false;
    for (auto [product, i] : llvm::zip(own.second, indices))
      if (!write(product, second[i], weights[i].n, weights[i].k, key + "second" + std::to_string(i)))
        return false;
  }
  return true;
}

void Equalizer::tell(const SharedPair &shared, int64_t channels) {
  const EqualizablePair &pair = shared.occurrences.front();
  TransformedWeights told;
  told.step = "equalize";
  told.node = nodeOf(pair.second.front());
  told.channels = channels;
  told.reason = shared.reason;
  if (pair.first)
    told.weights.push_back(weightOf(pair.first).getName().str());
  for (MatmulOp product : pair.second)
    told.weights.push_back(weightOf(product).getName().str());
  report.transforms.push_back(std::move(told));
}

bool Equalizer::run() {
  find();
  refuseShared();
  for (auto [index, pair] : llvm::enumerate(pairs)) {
    if (pair.reason.empty() && !equalize(pair, index))
      return false;
    tell(pair, pair.reason.empty() ? pair.occurrences.front().channels : 0);
  }
  return true;
}

} // namespace

bool equalizeLayers(const Compression &compression,
                    const std::function<bool(const std::string &, const std::string &)> &covers,
                    CompressionReport &report, std::string &error) {
  if (compression.progress)
    compression.progress("equalize");
  return Equalizer{compression, covers, report, error}.run();
}

} // namespace lathe
