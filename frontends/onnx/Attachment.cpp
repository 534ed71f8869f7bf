//===- Attachment.cpp - A checkpoint's weights for a graph's --------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Attachment.h"
#include "frontends/onnx/WeightValues.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include <cmath>
#include <fnmatch.h>

using llvm::ArrayRef;
using llvm::StringRef;

namespace lathe::frontend {

using safetensors::Checkpoint;
using safetensors::Parameter;

namespace {

std::string shapeText(ArrayRef<int64_t> shape) {
  std::string text;
  for (int64_t extent : shape)
    text += (text.empty() ? "" : ", ") + std::to_string(extent);
  return "[" + text + "]";
}

llvm::SmallVector<int64_t> shapeOf(const onnx::TensorProto &tensor) {
  return llvm::SmallVector<int64_t>(tensor.dims().begin(), tensor.dims().end());
}

llvm::SmallVector<int64_t> swapped(ArrayRef<int64_t> shape) { return {shape[1], shape[0]}; }

/// [outputs, inputs], as layers have their weights.
llvm::SmallVector<int64_t> shapeOf(const Parameter &parameter) {
  if (parameter.packed)
    return {parameter.packed->outputs(), parameter.packed->inputs()};
  return llvm::SmallVector<int64_t>(parameter.dense->shape);
}

bool matches(ArrayRef<std::string> patterns, const std::string &name) {
  return llvm::any_of(patterns,
                      [&](const std::string &pattern) { return fnmatch(pattern.c_str(), name.c_str(), 0) == 0; });
}

/// The cosine between a parameter and an initializer, or its transpose, at some places; 0 where one of them can't be
/// read.
double similarity(const Checkpoint &checkpoint, const Parameter &parameter, const WeightValues &values,
                  bool isSwapped) {
  constexpr int kSamples = 512;
  llvm::SmallVector<int64_t> shape = shapeOf(parameter);
  std::optional<WeightValues> own;
  if (parameter.dense && !(own = WeightValues::of(checkpoint, *parameter.dense)))
    return 0;
  double product = 0, a = 0, b = 0;
  uint64_t state = 1;
  auto below = [&](int64_t bound) { // Knuth's linear congruential generator; its upper bits
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<int64_t>((state >> 33) % static_cast<uint64_t>(bound));
  };
  for (int i = 0; i < kSamples; ++i) {
    int64_t row = below(shape[0]), column = below(shape[1]);
    double x = own ? (*own)[row * shape[1] + column] : parameter.packed->at(column, row);
    double y = values[isSwapped ? column * shape[0] + row : row * shape[1] + column];
    product += x * y;
    a += x * x;
    b += y * y;
  }
  double norm = std::sqrt(a * b);
  return norm > 0 && std::isfinite(norm) ? product / norm : 0;
}

} // namespace

//===----------------------------------------------------------------------===//
// Names
//===----------------------------------------------------------------------===//

/// Models are exported from a wrapper around the module that the checkpoint is of, or the other way round: then all
/// names have one prefix. It is the one that makes the most names equal.
void Attachment::findPrefixes() {
  constexpr int kDeepest = 4;
  llvm::StringMap<llvm::SmallVector<std::string>> prefixes; // by what is behind them
  for (const auto &[name, parameter] : checkpoint->parameters()) {
    size_t dot = 0;
    for (int i = 0; i < kDeepest && (dot = name.find('.', dot)) != std::string::npos; ++i, ++dot)
      prefixes[StringRef(name).drop_front(dot + 1)].push_back(name.substr(0, dot + 1));
  }
  std::map<std::pair<std::string, std::string>, size_t> votes;
  auto vote = [&](const std::string &name) {
    const auto &known = checkpoint->parameters();
    if (known.count(name))
      ++votes[{"", ""}];
    size_t dot = 0;
    for (int i = 0; i < kDeepest && (dot = name.find('.', dot)) != std::string::npos; ++i, ++dot)
      if (known.count(name.substr(dot + 1)))
        ++votes[{name.substr(0, dot + 1), ""}];
    if (auto it = prefixes.find(name); it != prefixes.end())
      for (const std::string &prefix : it->second)
        ++votes[{"", prefix}];
  };
  for (const WeightUses &uses : weights) {
    vote(uses.tensor->name());
    for (const std::string &name : uses.parameters)
      if (name != uses.tensor->name())
        vote(name);
  }
  size_t most = 0;
  for (const auto &[pair, count] : votes)
    if (count > most) {
      most = count;
      std::tie(graphPrefix, ownPrefix) = pair;
    }
}

const Parameter *Attachment::lookup(StringRef name, std::string &found) const {
  if (!name.consume_front(graphPrefix))
    return nullptr;
  found = ownPrefix + name.str();
  auto it = checkpoint->parameters().find(found);
  return it == checkpoint->parameters().end() || matches(skipped, found) ? nullptr : &it->second;
}

void Attachment::matchNames(const WeightUses &uses, Report report) {
  std::string name;
  if (const Parameter *parameter = lookup(uses.tensor->name(), name)) {
    attach(uses, name, *parameter, /*byName=*/true, report);
    return;
  }
  const Parameter *chosen = nullptr;
  std::string chosenName;
  for (const std::string &candidate : uses.parameters) {
    const Parameter *parameter = lookup(candidate, name);
    // Constants of a module that are no parameters have other shapes.
    if (!parameter ||
        (uses.tensor->dims_size() == 1 && (!parameter->dense || parameter->dense->shape != shapeOf(*uses.tensor))))
      continue;
    if (chosen && chosen != parameter) {
      report("initializer '" + uses.tensor->name() + "' is read in the places of '" + chosenName + "' and of '" + name +
             "', which the checkpoint has apart; export the model without sharing weights");
      return;
    }
    chosen = parameter;
    chosenName = name;
  }
  if (chosen)
    attach(uses, chosenName, *chosen, /*byName=*/false, report);
}

//===----------------------------------------------------------------------===//
// Shapes
//===----------------------------------------------------------------------===//

bool Attachment::attach(const WeightUses &uses, const std::string &name, const Parameter &parameter, bool byName,
                        Report report) {
  llvm::SmallVector<int64_t> given = shapeOf(parameter), wanted = shapeOf(*uses.tensor);
  bool isStraight = given == wanted, isSwapped = given.size() == 2 && wanted.size() == 2 && swapped(given) == wanted;
  Attached result{&parameter, name, false, uses.isLayer};
  if (parameter.packed) {
    // [outputs, inputs] is what products sum over the last axis of. Where nothing tells, that is how modules have it.
    result.transposed = uses.sumsOverRows.value_or(isStraight);
    if (uses.differs) {
      report("initializer '" + uses.tensor->name() + "' is read as a weight and as its transpose, and '" +
             parameter.stored + "' of the checkpoint can be one of them");
      return false;
    }
    if (!(result.transposed ? isStraight : isSwapped)) {
      report("initializer '" + uses.tensor->name() + "' has shape " + shapeText(wanted) + ", and tensor '" +
             parameter.stored + "' of the checkpoint is of " + std::to_string(given[1]) + " inputs and " +
             std::to_string(given[0]) + " outputs");
      return false;
    }
  } else {
    // Exporters that give a matrix another name have transposed it.
    result.transposed = isSwapped && (!isStraight || (!byName && uses.sumsOverRows == false));
    if (!isStraight && !isSwapped) {
      report("initializer '" + uses.tensor->name() + "' has shape " + shapeText(wanted) + ", and tensor '" +
             parameter.stored + "' of the checkpoint has " + shapeText(given));
      return false;
    }
    StringRef dtype = parameter.dense->dtype;
    bool isFloat = dtype == "F32" || dtype == "F16" || dtype == "BF16" || dtype == "F64";
    auto type = uses.tensor->data_type();
    bool wantsFloat = type == onnx::TensorProto::FLOAT || type == onnx::TensorProto::FLOAT16 ||
                      type == onnx::TensorProto::BFLOAT16 || type == onnx::TensorProto::DOUBLE;
    // Numbers that are no parameters the model has itself.
    if (!isFloat && !wantsFloat) {
      used[name] += 1;
      return false;
    }
    if (!isFloat || !wantsFloat) {
      report("initializer '" + uses.tensor->name() + "' is of " + (wantsFloat ? "floats" : "integers") +
             ", and tensor '" + parameter.stored + "' of the checkpoint is " + parameter.dense->type());
      return false;
    }
  }
  ++(parameter.packed ? packed : dense);
  ++used[name];
  attached[uses.tensor] = std::move(result);
  return true;
}

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

/// Rounding leaves the direction of a weight about the same, and two weights that have nothing to do with each other
/// are orthogonal.
void Attachment::matchValues(const std::string &name, const Parameter &parameter, Report report) {
  constexpr double kSame = 0.75, kOther = 0.45;
  llvm::SmallVector<int64_t> shape = shapeOf(parameter);
  if (shape.size() != 2 || llvm::is_contained(shape, 0))
    return;
  const WeightUses *best = nullptr;
  double largest = 0, second = 0;
  for (const WeightUses &uses : weights) {
    llvm::SmallVector<int64_t> own = shapeOf(*uses.tensor);
    if (own.size() != 2 || attached.count(uses.tensor) || (own != shape && own != swapped(shape)))
      continue;
    std::optional<WeightValues> values = WeightValues::of(*file, *uses.tensor);
    for (bool isSwapped : {false, true}) {
      if (!values || (isSwapped ? swapped(shape) : shape) != own)
        continue;
      // A quantized layer is read one way; of a square matrix the other one is no candidate.
      if (uses.sumsOverRows && *uses.sumsOverRows == isSwapped && (parameter.packed || own[0] != own[1]))
        continue;
      double similar = similarity(*checkpoint, parameter, *values, isSwapped);
      if (similar > largest) {
        second = largest;
        largest = similar;
        best = &uses;
      } else {
        second = std::max(second, similar);
      }
    }
  }
  if (best && largest >= kSame && second <= kOther)
    attach(*best, name, parameter, /*byName=*/false, report);
}

/// The model's own values tell that a matrix is the same as another one, or its transpose.
void Attachment::matchTied(const WeightUses &uses) {
  llvm::SmallVector<int64_t> shape = shapeOf(*uses.tensor);
  std::optional<WeightValues> own;
  for (const WeightUses &other : weights) {
    const Attached *by = find(*other.tensor);
    llvm::SmallVector<int64_t> given = shapeOf(*other.tensor);
    if (!by || !by->parameter->dense || given.size() != 2 || (given != shape && swapped(given) != shape))
      continue;
    std::optional<WeightValues> values = WeightValues::of(*file, *other.tensor);
    if (!own)
      own = WeightValues::of(*file, *uses.tensor);
    if (!own || !values)
      continue;
    for (bool isSwapped : {false, true}) {
      bool isSame = (isSwapped ? swapped(given) : given) == shape;
      for (int64_t i = 0; i < given[0] && isSame; ++i)
        for (int64_t j = 0; j < given[1] && isSame; ++j)
          isSame = (*values)[i * given[1] + j] == (*own)[isSwapped ? j * given[0] + i : i * given[1] + j];
      if (!isSame)
        continue;
      attached[uses.tensor] = {by->parameter, by->name, by->transposed != isSwapped, uses.isLayer};
      ++dense;
      return;
    }
  }
}

/// Whether an initializer has, or gets, the values of the tensor: exporters keep equal ones once.
bool Attachment::isThere(const safetensors::Tensor &tensor) const {
  std::optional<WeightValues> own = WeightValues::of(*checkpoint, tensor);
  if (!own)
    return false;
  return llvm::any_of(weights, [&](const WeightUses &uses) {
    if (shapeOf(*uses.tensor) != tensor.shape)
      return false;
    const Attached *by = find(*uses.tensor);
    if (by && by->parameter->packed)
      return false;
    std::optional<WeightValues> values =
        by ? WeightValues::of(*checkpoint, *by->parameter->dense) : WeightValues::of(*file, *uses.tensor);
    if (!values || (by && by->transposed))
      return false;
    float tolerance = std::max(own->rounding(), values->rounding());
    for (int64_t i = 0; i < own->size(); ++i)
      if (float a = (*own)[i], b = (*values)[i]; !(std::fabs(a - b) <= tolerance * std::fabs(a) + 1e-7f))
        return false;
    return true;
  });
}

/// Whether the model is the same without the parameter: it is no number that is learnt, or adds nothing.
bool Attachment::isNeedless(const std::string &name, const Parameter &parameter) const {
  if (parameter.packed)
    return false;
  const safetensors::Tensor &tensor = *parameter.dense;
  StringRef whole(name);
  std::optional<WeightValues> values = WeightValues::of(*checkpoint, tensor);
  if (!values && tensor.dtype != "F64")
    return true; // positions, masks and counts
  // Tables that modules compute when they are made, and masks of GPT-2.
  if (whole.ends_with("inv_freq") || whole.ends_with("masked_bias") ||
      (whole.ends_with(".attn.bias") && tensor.rank() == 4))
    return true;
  if (values && whole.ends_with(".bias")) {
    bool isZero = true;
    for (int64_t i = 0; i < values->size() && isZero; ++i)
      isZero = (*values)[i] == 0;
    if (isZero)
      return true;
  }
  return isThere(tensor);
}

void Attachment::match(const Checkpoint &given, const ModelFile &model, ArrayRef<std::string> patterns, bool isPart,
                       Report report) {
  checkpoint = &given;
  file = &model;
  skipped = patterns;
  weights = findWeightUses(model.proto.graph());
  findPrefixes();
  bool failed = false;
  auto tell = [&](const std::string &problem) {
    failed = true;
    report(problem);
  };
  for (const WeightUses &uses : weights)
    matchNames(uses, tell);
  if (failed)
    return;
  for (const auto &[name, parameter] : given.parameters())
    if (!used.count(name) && !matches(skipped, name) && !isNeedless(name, parameter))
      matchValues(name, parameter, tell);
  if (failed)
    return;
  for (const auto &[name, parameter] : given.parameters())
    if (!isPart && !used.count(name) && !matches(skipped, name) && !isNeedless(name, parameter))
      tell("tensor '" + parameter.stored + "' belongs to no initializer of the model: none is named '" + name +
           "', no node says that it is of that module, and none has about its values");
  for (const WeightUses &uses : weights)
    if (!attached.empty() && uses.isLayer && !attached.count(uses.tensor)) {
      matchTied(uses);
      kept += !attached.count(uses.tensor) && uses.sumsOverRows;
    }
  if (!failed && !isPart && attached.empty())
    tell("expects tensors that belong to initializers of the model, found none among " +
         std::to_string(given.parameters().size()));
}

} // namespace lathe::frontend
