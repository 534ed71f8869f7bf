//===- QuantizeStep.cpp - A recipe's step that quantizes ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/QuantizeStep.h"
#include "compiler/ActivationSteps.h"
#include "compiler/KeptLayers.h"
#include "compiler/LayerValues.h"
#include "compiler/WeightValues.h"
#include "dialects/lathe/ValueNames.h"
#include "passes/quantization/Expressions.h"
#include "passes/quantization/methods/Awq.h"
#include "passes/quantization/methods/BiasCorrection.h"
#include "passes/quantization/methods/Codebook.h"
#include "passes/quantization/methods/DoubleQuantization.h"
#include "passes/quantization/methods/ErrorMetrics.h"
#include "passes/quantization/methods/Gptq.h"
#include "passes/quantization/methods/Hqq.h"
#include "passes/quantization/methods/RoundToNearest.h"
#include "passes/quantization/methods/Scaling.h"
#include "runtime/QuantizedLayout.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SmallPtrSet.h"
#include <cstring>

using namespace mlir;

namespace lathe {

using compression::Layer;
using quantization::Format;
using quantization::InputStatistics;
using quantization::Quantized;
using quantization::ScaleType;
using quantization::ZeroPoint;
using runtime::Status;

static ScaleType scaleTypeOf(const RecipeStep &step) {
  return step.scaleType == "f32" ? ScaleType::F32 : step.scaleType == "bf16" ? ScaleType::BF16 : ScaleType::F16;
}

Format formatOf(const RecipeStep &step) {
  ScaleType scales = scaleTypeOf(step);
  int bits = static_cast<int>(step.bits);
  if (step.format == "nf4")
    return Format::nf4(step.groupSize, scales);
  if (step.format == "fp4")
    return Format::fp4(step.groupSize, scales);
  if (step.format == "fp8-e4m3" || step.format == "fp8-e5m2")
    return Format::fp8(step.format == "fp8-e4m3" ? quantization::CodeKind::E4M3FN : quantization::CodeKind::E5M2, step.groupSize, scales);
  if (step.format == "mxfp4")
    return Format::mxfp4();
  if (step.format == "mxfp8")
    return Format::mxfp8();
  if (step.format == "log2")
    return Format::log2(bits, step.groupSize, scales);
  if (step.format == "apot")
    return Format::apot(bits, step.groupSize, scales);
  ZeroPoint zero = step.method == "hqq" ? ZeroPoint::Float : step.symmetric ? ZeroPoint::None : ZeroPoint::Integer;
  Format format = Format::integer(bits, step.groupSize, zero, scales);
  // The lowest code, too, where a search says at which side it pays.
  format.narrow = step.doubleQuantization || !step.clip || (step.method != "gptq" && step.method != "mse");
  return format;
}

quantization::CodebookOptions codebookOf(const RecipeStep &step) {
  quantization::CodebookOptions options;
  options.dimension = static_cast<int>(step.dimension);
  options.bits = static_cast<int>(step.bits);
  options.stages = static_cast<int>(step.stages);
  options.group = step.groupSize;
  options.damping = step.damping;
  options.scaleType = scaleTypeOf(step);
  return options;
}

std::string formatName(const RecipeStep &step) {
  if (step.format == "codebook")
    return "codebook of " + std::to_string(step.bits) + " bits a " + std::to_string(step.dimension) + " weights" +
           (step.stages > 1 ? ", two stages" : "");
  Format format = formatOf(step);
  if (step.doubleQuantization)
    format.scaleType = ScaleType::F32; // what products of the codes and their scales are
  if (step.format == "int")
    return format.name() + (step.doubleQuantization ? " 8-bit scales" : "");
  std::string name = step.format;
  if (step.format == "log2" || step.format == "apot")
    name += " " + std::to_string(format.bits) + " bits";
  return name + (format.group ? " g" + std::to_string(format.group) : "") + (step.doubleQuantization ? " 8-bit scales" : "");
}

CompressedLayer describe(const Layer &layer) {
  CompressedLayer entry;
  entry.weight = layer.name;
  entry.node = layer.node;
  entry.kind = !layer.isTable() ? "matmul" : layer.isMatmul() ? "matmul+table" : "table";
  entry.inputs = layer.inputs;
  entry.outputs = layer.outputs;
  entry.bytesBefore = entry.bytesAfter = layer.elements() * (layer.stored.getIntOrFloatBitWidth() / 8);
  return entry;
}

namespace {

/// Whether a method looks at what a layer gets.
bool needsInputs(StringRef method) { return method == "gptq" || method == "awq"; }

/// Of scales, for the codes that GPTQ has chosen.
constexpr int kRefinements = 2;

Status quantize(const RecipeStep &step, const Format &format, const quantization::Weight &weight, const InputStatistics *statistics,
                runtime::ThreadPool &pool, Quantized &result) {
  if (step.method == "mse") {
    std::vector<float> importance = statistics ? statistics->meanSquare() : std::vector<float>();
    return quantization::quantizeMse(weight, format, importance.empty() ? nullptr : importance.data(), &pool, result);
  }
  if (step.method == "gptq" && statistics) {
    quantization::GptqOptions options;
    options.damping = step.damping;
    options.fit.search = options.weighted = step.clip;
    options.refinements = step.clip ? kRefinements : 0;
    options.keepZeros = true;
    if (!step.actOrder)
      options.order = quantization::InputOrder::Natural;
    return quantization::quantizeGptq(weight, *statistics, format, options, &pool, result);
  }
  if (step.method == "awq" && statistics)
    return quantization::quantizeClipped(weight, *statistics, format, {}, &pool, result);
  if (step.method == "hqq") {
    quantization::HqqOptions options;
    options.keepZeros = true;
    return quantization::quantizeHqq(weight, format, options, &pool, result);
  }
  return quantization::quantizeRtn(weight, format, &pool, result);
}

/// Whether a norm's result is read by nothing but these products.
bool isReadOnlyBy(Value x, const llvm::SmallPtrSetImpl<Operation *> &products) {
  return llvm::all_of(x.getUses(), [&](OpOperand &use) { return products.contains(use.getOwner()) && use.getOperandNumber() == 0; });
}

quantization::RangeMethod rangeMethod(StringRef name) {
  using quantization::RangeMethod;
  return name == "minmax"           ? RangeMethod::MinMax
         : name == "moving-average" ? RangeMethod::MovingAverage
         : name == "percentile"     ? RangeMethod::Percentile
         : name == "entropy"        ? RangeMethod::Entropy
                                    : RangeMethod::Mse;
}

/// Weights of which more are zero were pruned: in others some are so by chance.
constexpr double kPruned = 1.0 / 16;

struct ZeroWeights {
  double share = 0;     ///< of all weights
  double inVectors = 0; ///< likewise, those in vectors that are all zero
};

ZeroWeights zerosOf(const quantization::Weight &weight, int64_t dimension) {
  int64_t all = 0, inVectors = 0;
  for (int64_t row = 0; row < weight.n; ++row)
    for (int64_t begin = 0; begin < weight.k; begin += dimension) {
      const float *values = weight.data + row * weight.k + begin;
      int64_t size = std::min(dimension, weight.k - begin), zeros = std::count(values, values + size, 0.0f);
      all += zeros;
      inVectors += zeros == size ? zeros : 0;
    }
  double count = std::max<double>(1, static_cast<double>(weight.n * weight.k));
  return {static_cast<double>(all) / count, static_cast<double>(inVectors) / count};
}

/// Outputs whose scales share a scale.
constexpr int64_t kScalesTogether = 256;

/// More than one of as many inputs are no outliers.
constexpr size_t kMostApart = 8;

/// One step over the layers of all programs.
struct Quantizer {
  const Compression &compression;
  const RecipeStep &step;
  const Format &format;
  const LayerStatistics &statistics;
  runtime::ThreadPool &pool;
  CompressionReport &report;
  const compression::MakeConstant &make;
  WeightMaker &maker;
  std::string &error;
  NewConstants constants{*compression.files, error};
  Replaced rounded = Replaced();
  size_t done = 0;

  bool run(const std::vector<Layer> &layers);

private:
  std::vector<int64_t> findOutliers(const InputStatistics &inputs, int64_t count) const;
  bool findRange(const quantization::RangeObserver &observer, const InputStatistics *changed, const OutlierPath &apart,
                 quantization::ActivationRange &range);
  bool quantizeGroup(ArrayRef<const Layer *> group, size_t count);
  bool readGroup(ArrayRef<const Layer *> group, std::vector<std::vector<float>> &dense,
                 std::vector<quantization::Weight> &matrices);
  /// Tells how many layers of groups an interrupted run has finished.
  bool countKept(ArrayRef<SmallVector<const Layer *>> groups, size_t count);
  /// Factors of the inputs that layers share; none where there is nothing to gain. False with `error` set.
  bool findFactors(const std::vector<quantization::Weight> &group, const InputStatistics &inputs,
                   const std::string &key, std::vector<float> &factors);
  /// `key`: of what is kept of the layer.
  bool quantizeLayer(const Layer &layer, const std::vector<float> &dense, const InputStatistics *inputs,
                     const std::string &key, bool &isDone);
  bool makeCodebook(const Layer &layer, const quantization::Weight &weight, const InputStatistics *inputs,
                    const std::string &key, CompressedLayer &entry, bool &isDone);
  void measure(CompressedLayer &entry, const quantization::Weight &weight, const std::vector<float> &approximation,
               const InputStatistics *inputs);
  bool replaceAll(const Layer &layer, llvm::function_ref<bool(Value)> replace);
  /// Takes back what an approximation changes in the mean of a layer's outputs.
  bool correctBias(const Layer &layer, CompressedLayer &entry, const quantization::Weight &weight,
                   const std::vector<float> &approximation, const InputStatistics *inputs);
  /// Divides what the products of layers read as their left sides.
  bool divideInputs(ArrayRef<const Layer *> group, const std::vector<float> &factors);
  bool scaleNorm(Operation *norm, const std::vector<float> &reciprocals, StringRef name);
};

bool Quantizer::run(const std::vector<Layer> &layers) {
  // Layers that share an input share its factors.
  std::vector<SmallVector<const Layer *>> groups;
  std::map<const InputStatistics *, size_t> byInput;
  for (const Layer &layer : layers) {
    const InputStatistics *inputs = statistics.find(layer);
    // A table's rows are read as they are.
    bool isAlone = !inputs || layer.isTable();
    auto [it, isNew] = isAlone ? std::pair(byInput.end(), true) : byInput.try_emplace(inputs, groups.size());
    if (isNew)
      groups.emplace_back();
    groups[isNew ? groups.size() - 1 : it->second].push_back(&layer);
  }
  if (compression.resume->hasLeft() && !countKept(groups, layers.size()))
    return false;
  return llvm::all_of(groups, [&](const auto &group) { return quantizeGroup(group, layers.size()); });
}

bool Quantizer::countKept(ArrayRef<SmallVector<const Layer *>> groups, size_t count) {
  size_t kept = 0;
  for (const auto &group : groups) {
    std::vector<std::vector<float>> dense(group.size());
    std::vector<quantization::Weight> matrices;
    if (!readGroup(group, dense, matrices))
      return false;
    std::string key = keyOfGroup(step, matrices, statistics.find(*group.front()));
    for (size_t i = 0; i < group.size(); ++i)
      kept += compression.resume->find(key + "-" + std::to_string(i)).has_value();
  }
  compression.resume->sayReused(std::to_string(kept) + " of " + std::to_string(count) + " layers");
  return true;
}

bool Quantizer::readGroup(ArrayRef<const Layer *> group, std::vector<std::vector<float>> &dense,
                          std::vector<quantization::Weight> &matrices) {
  for (auto [layer, values] : llvm::zip(group, dense)) {
    if (!readDense(*compression.files, *layer, values, error))
      return false;
    matrices.push_back({values.data(), layer->outputs, layer->inputs});
  }
  return true;
}

bool Quantizer::findFactors(const std::vector<quantization::Weight> &group, const InputStatistics &inputs,
                            const std::string &key, std::vector<float> &factors) {
  Status status;
  if ((step.smooth || step.method == "awq") && lathe::findFactors(*compression.resume, key + "-factors", factors))
    return true;
  if (step.smooth) {
    status = quantization::smoothQuantScales(group, inputs, *step.smooth, factors);
  } else if (step.method == "awq") {
    quantization::AwqScales found;
    status = quantization::awqScales(group, inputs, format, {}, &pool, found);
    factors = std::move(found.s);
  }
  if (status.failed())
    error = status.message();
  if (llvm::all_of(factors, [](float factor) { return factor == 1; }))
    factors.clear();
  if (!status.failed() && (step.smooth || step.method == "awq"))
    keepFactors(*compression.resume, key + "-factors", factors);
  return !status.failed();
}

/// Inputs that are exceptions: none where there are many.
std::vector<int64_t> Quantizer::findOutliers(const InputStatistics &inputs, int64_t count) const {
  float threshold = quantization::relativeThreshold(inputs, static_cast<float>(*step.outliers));
  std::vector<int64_t> found = quantization::outlierInputs(inputs, threshold);
  return found.size() * kMostApart > static_cast<size_t>(count) ? std::vector<int64_t>() : found;
}

/// The range of what products read. Of what was `changed` since calibration only the largest magnitudes are known.
bool Quantizer::findRange(const quantization::RangeObserver &observer, const InputStatistics *changed,
                          const OutlierPath &apart, quantization::ActivationRange &range) {
  quantization::RangeOptions options;
  options.method = rangeMethod(step.range);
  options.symmetric = step.symmetricActivations;
  if (!changed) {
    Status status = observer.range(options, range);
    error = status.failed() ? status.message() : error;
    return !status.failed();
  }
  std::vector<float> largest = changed->absMax;
  for (int64_t input : apart.inputs)
    largest[input] = 0;
  float bound = *std::max_element(largest.begin(), largest.end());
  range = quantization::rangeOf(-bound, bound, options);
  return true;
}

static void clearInputs(std::vector<float> &values, const quantization::Weight &matrix, ArrayRef<int64_t> inputs) {
  for (int64_t row = 0; row < matrix.n; ++row)
    for (int64_t input : inputs)
      values[row * matrix.k + input] = 0;
}

bool Quantizer::quantizeGroup(ArrayRef<const Layer *> group, size_t count) {
  std::vector<std::vector<float>> dense(group.size());
  std::vector<quantization::Weight> matrices;
  if (!readGroup(group, dense, matrices))
    return false;
  const InputStatistics *inputs = statistics.find(*group.front());
  std::string key = compression.resume->path().empty() ? "" : keyOfGroup(step, matrices, inputs);
  // A table's rows are read as they are, and what is changed is the last axis.
  bool mayChangeInputs = inputs && llvm::none_of(group, [](const Layer *layer) { return layer->isTable() || !layer->readsRows(); });
  std::vector<float> factors;
  InputStatistics scaled;
  if (mayChangeInputs && !findFactors(matrices, *inputs, key, factors)) {
    error = "node '" + group.front()->node + "': " + error;
    return false;
  }
  if (!factors.empty()) {
    scaled = quantization::scaledStatistics(*inputs, factors);
    inputs = &scaled;
    for (quantization::Weight &matrix : matrices)
      quantization::scaleInputs(matrix, factors, const_cast<float *>(matrix.data));
  }
  OutlierPath apart;
  if (mayChangeInputs && step.outliers)
    apart.inputs = findOutliers(*inputs, group.front()->inputs);
  std::vector<std::vector<float>> whole = apart.inputs.empty() ? std::vector<std::vector<float>>() : dense;
  for (auto [values, matrix] : llvm::zip(dense, matrices))
    clearInputs(values, matrix, apart.inputs);
  SmallVector<const Layer *> replaced;
  for (auto [index, layer, values] : llvm::enumerate(group, dense)) {
    if (compression.progress)
      compression.progress("quantize: " + std::to_string(++done) + " of " + std::to_string(count));
    bool isDone = false;
    if (!quantizeLayer(*layer, values, inputs, key + "-" + std::to_string(index), isDone))
      return false;
    if (!isDone)
      continue;
    replaced.push_back(layer);
    report.layers.back().apart = apart.inputs.size();
    report.layers.back().bytesAfter += apart.inputs.size() * layer->outputs * sizeof(float);
  }
  if (!factors.empty() && !divideInputs(replaced, factors))
    return false;
  // The weights of outliers are multiplied by the factors, so they read what is divided.
  for (auto [layer, values] : llvm::zip(group, whole))
    if (llvm::is_contained(replaced, layer) && !addOutlierPath(*layer, values, make, apart)) {
      error = "initializer '" + layer->name + "': " + error;
      return false;
    }
  const quantization::RangeObserver *observer = statistics.findRange(*group.front());
  if (step.activations == "none" || (step.activations == "tensor" && !observer)) // nothing that calibration has seen
    return true;
  std::optional<quantization::ActivationRange> range;
  const InputStatistics *changed = factors.empty() && apart.inputs.empty() ? nullptr : inputs;
  if (step.activations == "tensor" && !findRange(*observer, changed, apart, range.emplace())) {
    error = "node '" + group.front()->node + "': " + error;
    return false;
  }
  for (const Layer *layer : replaced)
    roundActivations(*layer, range ? &*range : nullptr, step.symmetricActivations, roundsToFloats(format), rounded);
  return true;
}

void Quantizer::measure(CompressedLayer &entry, const quantization::Weight &weight, const std::vector<float> &approximation,
                        const InputStatistics *inputs) {
  quantization::ErrorMetrics metrics;
  entry.onOutputs = inputs && inputs->hasSecondMoment() &&
                    !quantization::compareOutputs(weight, approximation.data(), *inputs, &pool, metrics).failed();
  if (!entry.onOutputs)
    metrics = quantization::compare(weight.data, approximation.data(), weight.n * weight.k);
  entry.snrDb = metrics.snrDb();
  entry.cosine = metrics.cosine;
}

bool Quantizer::replaceAll(const Layer &layer, llvm::function_ref<bool(Value)> replace) {
  maker.forget();
  for (Value own : layer.values)
    if (!replace(own)) {
      error = "initializer '" + layer.name + "': " + error;
      return false;
    }
  return true;
}

bool Quantizer::correctBias(const Layer &layer, CompressedLayer &entry, const quantization::Weight &weight,
                            const std::vector<float> &approximation, const InputStatistics *inputs) {
  if (!step.biasCorrection || !inputs || !layer.isMatmul() || !layer.readsRows())
    return true;
  std::vector<float> correction;
  if (Status status = quantization::biasCorrection(weight, approximation.data(), *inputs, correction);
      status.failed()) {
    error = "initializer '" + layer.name + "': " + status.message();
    return false;
  }
  for (MatmulOp product : layer.products)
    if (!addToProduct(product, correction, layer.name + ".correction",
                      layer.name + "@" + std::to_string(layer.place.second), constants, *compression.files, error))
      return false;
  entry.isBiasCorrected = true;
  return true;
}

bool Quantizer::makeCodebook(const Layer &layer, const quantization::Weight &weight, const InputStatistics *inputs,
                             const std::string &key, CompressedLayer &entry, bool &isDone) {
  quantization::CodebookOptions options = codebookOf(step);
  ZeroWeights zeros = zerosOf(weight, step.dimension);
  options.keepZeros = zeros.share > kPruned;
  if (options.keepZeros && zeros.inVectors < zeros.share) {
    char text[16];
    snprintf(text, sizeof text, "%.1f", 100 * zeros.share);
    entry.reason = std::string(text) + " % of its weights are zero, and would not stay so: expected dimension 1, as codes of " +
                   std::to_string(step.dimension) + " weights keep only vectors that are all zero, or another format than 'codebook'";
    return true;
  }
  quantization::CodebookQuantized quantized;
  bool isKept = findLayer(*compression.resume, key, weight, quantized, entry);
  if (Status status = isKept ? Status() : quantization::quantizeCodebook(weight, inputs, options, &pool, quantized);
      status.failed()) {
    entry.reason = status.message();
    return true;
  }
  if (!compression::hasExpression(quantized)) {
    entry.reason = "its " + std::to_string(layer.inputs) + " inputs are no multiple of the codebook's dimension " + std::to_string(step.dimension);
    return true;
  }
  if (static_cast<uint64_t>(quantized.bytes()) >= entry.bytesBefore) {
    entry.reason = "codebook and codes would take " + std::to_string(quantized.bytes()) + " bytes";
    return true;
  }
  std::vector<float> approximation(layer.elements());
  quantized.dequantize(approximation.data());
  if (!isKept) {
    measure(entry, weight, approximation, inputs);
    keepLayer(*compression.resume, key, quantized, entry);
  }
  entry.format = formatName(step);
  entry.method = inputs ? "gptq" : "k-means";
  entry.bytesAfter = static_cast<uint64_t>(quantized.bytes());
  isDone = true;
  return replaceAll(layer,
                    [&](Value own) {
                      return compression::replaceByCodebook(own, layer.name, layer.transposed, quantized, make);
                    }) &&
         correctBias(layer, entry, weight, approximation, inputs);
}

bool Quantizer::quantizeLayer(const Layer &layer, const std::vector<float> &dense, const InputStatistics *inputs,
                              const std::string &key, bool &isDone) {
  report.layers.push_back(describe(layer));
  CompressedLayer &entry = report.layers.back();
  entry.activations = layer.isMatmul() ? step.activations : "none";
  quantization::Weight weight{dense.data(), layer.outputs, layer.inputs};
  if (step.format == "codebook")
    return makeCodebook(layer, weight, inputs, key, entry, isDone);
  Quantized quantized;
  bool isKept = findLayer(*compression.resume, key, weight, quantized, entry);
  if (Status status = isKept ? Status() : quantize(step, format, weight, inputs, pool, quantized); status.failed()) {
    entry.reason = status.message();
    return true;
  }
  quantization::DoubleQuantized twice;
  if (step.doubleQuantization) {
    // Those of GPTQ belong to the errors that were handed on.
    Status status = quantization::quantizeScales(weight, quantized, /*recode=*/step.method != "gptq", kScalesTogether,
                                                 &pool, twice);
    if (status.failed()) {
      entry.reason = status.message();
      return true;
    }
  }
  const Quantized &stored = step.doubleQuantization ? twice.weight : quantized;
  auto bytes = static_cast<uint64_t>(step.doubleQuantization ? twice.bytes() : quantized.bytes());
  if (bytes >= entry.bytesBefore) {
    entry.reason = format.name() + " would take " + std::to_string(bytes) + " bytes";
    return true;
  }
  std::vector<float> approximation(dense.size());
  stored.dequantize(approximation.data());
  if (!isKept) {
    measure(entry, weight, approximation, inputs);
    keepLayer(*compression.resume, key, quantized, entry);
  }
  entry.format = formatName(step);
  entry.method = needsInputs(step.method) && !inputs ? "rtn" : step.method;
  entry.bytesAfter = bytes;
  isDone = true;
  return replaceAll(layer,
                    [&](Value own) {
                      return step.doubleQuantization
                                 ? compression::replaceByQuantized(own, layer.name, layer.transposed, twice, make)
                                 : compression::replaceByQuantized(own, layer.name, layer.transposed, quantized, make);
                    }) &&
         correctBias(layer, entry, weight, approximation, inputs);
}

bool Quantizer::divideInputs(ArrayRef<const Layer *> group, const std::vector<float> &factors) {
  std::vector<float> reciprocals;
  for (float factor : factors)
    reciprocals.push_back(1 / factor);
  ArrayRef<char> bytes(reinterpret_cast<const char *>(reciprocals.data()), reciprocals.size() * sizeof(float));
  llvm::MapVector<Value, llvm::SmallPtrSet<Operation *, 4>> readers;
  for (const Layer *layer : group)
    for (MatmulOp product : layer->products)
      readers[product.getLhs()].insert(product);
  maker.forget();
  std::string name = group.empty() ? "" : group.front()->name + ".factors";
  for (auto &[x, products] : readers) {
    Operation *norm = x.getDefiningOp();
    if (isa_and_nonnull<RmsNormOp, LayerNormOp>(norm) && isReadOnlyBy(x, products)) {
      if (!scaleNorm(norm, reciprocals, name))
        return false;
      continue;
    }
    OpBuilder b(x.getContext());
    b.setInsertionPointAfterValue(x);
    auto type = RankedTensorType::get({static_cast<int64_t>(reciprocals.size())}, b.getF32Type());
    Value constant = make(b, x.getLoc(), type, name, bytes);
    if (!constant)
      return false;
    Value divided = b.create<MulOp>(withoutValue(x.getLoc()), x.getType(), x, constant);
    x.replaceUsesWithIf(divided, [&](OpOperand &use) { return products.contains(use.getOwner()) && use.getOperandNumber() == 0; });
  }
  return true;
}

bool Quantizer::scaleNorm(Operation *norm, const std::vector<float> &reciprocals, StringRef name) {
  OpBuilder b(norm);
  norm->setLoc(withoutValue(norm->getLoc()));
  for (unsigned operand = 1; operand < norm->getNumOperands(); ++operand) {
    Value value = norm->getOperand(operand);
    auto type = cast<RankedTensorType>(value.getType());
    auto wide = RankedTensorType::get({static_cast<int64_t>(reciprocals.size())}, b.getF32Type());
    std::string own = (name + "." + Twine(operand)).str();
    ArrayRef<char> bytes(reinterpret_cast<const char *>(reciprocals.data()), reciprocals.size() * sizeof(float));
    // The product of two constants is one, where the weight can be read.
    std::vector<float> scaled(reciprocals);
    if (auto weight = value.getDefiningOp<WeightOp>(); weight && type == wide) {
      const char *data = compression.files->bytes(weight.getFile(), weight.getOffset(), bytes.size(), error);
      if (!data)
        return false;
      for (size_t i = 0; i < scaled.size(); ++i) {
        float x;
        memcpy(&x, data + i * sizeof x, sizeof x);
        scaled[i] *= x;
      }
      value = {};
    }
    Value constant = make(b, norm->getLoc(), wide, own, {reinterpret_cast<const char *>(scaled.data()), bytes.size()});
    if (!constant)
      return false;
    norm->setOperand(operand, value ? b.create<MulOp>(norm->getLoc(), type.getRank() == 1 && type.getDimSize(0) == wide.getDimSize(0) ? type : wide, value, constant).getResult() : constant);
  }
  return true;
}

} // namespace

bool quantizeLayers(const Compression &compression, const RecipeStep &step, const std::vector<Layer> &layers,
                    const LayerStatistics &statistics, runtime::ThreadPool &pool, CompressionReport &report, std::string &error) {
  const Format format = formatOf(step);
  if (Status status = quantization::validate(format); status.failed()) {
    error = "recipe: " + status.message();
    return false;
  }
  WeightMaker maker(*compression.files, error);
  compression::MakeConstant make = std::ref(maker);
  Quantizer quantizer{compression, step, format, statistics, pool, report, make, maker, error};
  return quantizer.run(layers);
}

} // namespace lathe
