//===- QuantizeStep.cpp - A recipe's step that quantizes ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/QuantizeStep.h"
#include "passes/quantization/Expressions.h"
#include "passes/quantization/methods/ErrorMetrics.h"
#include "passes/quantization/methods/Gptq.h"
#include "passes/quantization/methods/RoundToNearest.h"
#include <cstring>

using namespace mlir;

namespace lathe {
namespace {

using compression::Layer;
using compression::Place;
using quantization::Format;
using quantization::InputStatistics;
using quantization::Quantized;
using quantization::ScaleType;
using quantization::ZeroPoint;
using runtime::Status;

Format formatOf(const RecipeStep &step) {
  ScaleType scales = step.scaleType == "f32" ? ScaleType::F32 : step.scaleType == "bf16" ? ScaleType::BF16 : ScaleType::F16;
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
  return Format::integer(bits, step.groupSize, step.symmetric ? ZeroPoint::None : ZeroPoint::Integer, scales);
}

/// The weight of a layer as [outputs][inputs].
bool readDense(WeightFiles &files, const Layer &layer, std::vector<float> &dense, std::string &error) {
  uint64_t bytes = layer.elements() * 4;
  const char *data = files.bytes(layer.place.first, layer.place.second, bytes, error);
  if (!data) {
    error = "initializer '" + layer.name + "': " + error;
    return false;
  }
  dense.resize(layer.elements());
  if (layer.transposed) {
    memcpy(dense.data(), data, bytes);
  } else {
    constexpr int64_t kTile = 32;
    int64_t n = layer.outputs, k = layer.inputs;
    for (int64_t row = 0; row < k; row += kTile)
      for (int64_t column = 0; column < n; column += kTile)
        for (int64_t i = row; i < std::min(row + kTile, k); ++i)
          for (int64_t j = column; j < std::min(column + kTile, n); ++j)
            memcpy(&dense[j * k + i], data + (i * n + j) * 4, 4);
  }
  files.release(data, bytes);
  return true;
}

Status quantize(const RecipeStep &step, const Format &format, const quantization::Weight &weight, const InputStatistics *statistics,
                runtime::ThreadPool &pool, Quantized &result) {
  if (step.method == "mse") {
    std::vector<float> importance = statistics ? statistics->meanSquare() : std::vector<float>();
    return quantization::quantizeMse(weight, format, importance.empty() ? nullptr : importance.data(), &pool, result);
  }
  if (step.method == "gptq" && statistics) {
    quantization::GptqOptions options;
    options.damping = step.damping;
    if (!step.actOrder)
      options.order = quantization::InputOrder::Natural;
    return quantization::quantizeGptq(weight, *statistics, format, options, &pool, result);
  }
  return quantization::quantizeRtn(weight, format, &pool, result);
}

/// Creates an operation whose result has the given element type and the shape that its operands give.
template <typename OpTy, typename... Args> Value make(OpBuilder &b, Location loc, RankedTensorType type, Args &&...args) {
  return b.create<OpTy>(loc, type, std::forward<Args>(args)...).getResult();
}

/// x rounded to integers of 8 bits by a scale for each row, and back (Yao et al. 2022, ZeroQuant, section 3.2: token-wise).
Value roundRows(OpBuilder &b, Value x) {
  auto type = cast<RankedTensorType>(x.getType());
  Location loc = x.getLoc();
  int64_t last = type.getRank() - 1;
  SmallVector<int64_t> shape(type.getShape());
  shape[last] = 1;
  RankedTensorType rows = RankedTensorType::get(shape, type.getElementType());
  auto number = [&](float value) -> Value {
    auto scalar = RankedTensorType::get({}, b.getF32Type());
    return b.create<ConstantOp>(loc, scalar, DenseElementsAttr::get(scalar, value));
  };
  constexpr float kLeast = 1e-30f; // rows of zeros stay zeros
  Value largest = make<ReduceOp>(b, loc, rows, ReductionAttr::get(b.getContext(), Reduction::max), make<AbsOp>(b, loc, type, x), b.getDenseI64ArrayAttr({last}), b.getUnitAttr());
  Value scale = make<DivOp>(b, loc, rows, make<MaxOp>(b, loc, rows, largest, number(kLeast)), number(127));
  auto axis = b.getI64IntegerAttr(last), block = b.getI64IntegerAttr(type.getDimSize(last));
  Value q = make<QuantizeOp>(b, loc, type.clone(b.getIntegerType(8)), x, scale, Value(), axis, block, UnitAttr());
  return make<DequantizeOp>(b, loc, type, q, scale, Value(), axis, block);
}

/// Rounds what products read as their left sides; products that share one share it still.
void roundActivations(const RecipeStep &step, const Layer &layer, llvm::DenseMap<Value, Value> &rounded) {
  for (MatmulOp product : layer.products) {
    Value x = product.getLhs();
    if (product.getTransposeLhs() || cast<RankedTensorType>(x.getType()).getShape().back() != layer.inputs)
      continue;
    Value &own = rounded[x];
    if (!own) {
      OpBuilder b(product->getContext());
      b.setInsertionPointAfterValue(x);
      own = roundRows(b, x);
    }
    product.getLhsMutable().assign(own);
  }
}

} // namespace

bool quantizeLayers(const Compression &compression, const RecipeStep &step, const std::vector<Layer> &layers,
                    const LayerStatistics &statistics, runtime::ThreadPool &pool, CompressionReport &report, std::string &error) {
  const Format format = formatOf(step);
  if (Status status = quantization::validate(format); status.failed()) {
    error = "recipe: " + status.message();
    return false;
  }
  std::map<Place, SmallVector<WeightOp>> weights;
  for (func::FuncOp program : compression.programs)
    program->walk([&](WeightOp weight) { weights[Place(weight.getFile().str(), weight.getOffset())].push_back(weight); });
  // What programs share is stored once.
  std::map<std::string, uint64_t> made;
  compression::MakeConstant make = [&](OpBuilder &builder, Location loc, RankedTensorType type, StringRef name, ArrayRef<char> bytes) -> Value {
    auto it = made.find(name.str());
    if (it == made.end()) {
      std::optional<uint64_t> offset = compression.files->append(bytes.data(), bytes.size(), error);
      if (!offset)
        return {};
      it = made.try_emplace(name.str(), *offset).first;
    }
    return builder.create<WeightOp>(loc, type, name, kMadeFile, it->second);
  };
  llvm::DenseMap<Value, Value> rounded;
  for (size_t index = 0; index < layers.size(); ++index) {
    const Layer &layer = layers[index];
    if (compression.progress)
      compression.progress("quantize: " + std::to_string(index + 1) + " of " + std::to_string(layers.size()));
    CompressedLayer entry;
    entry.weight = layer.name;
    entry.node = layer.node;
    entry.kind = !layer.isTable() ? "matmul" : layer.isMatmul() ? "matmul+table" : "table";
    entry.inputs = layer.inputs;
    entry.outputs = layer.outputs;
    entry.bytesBefore = entry.bytesAfter = layer.elements() * 4;
    std::vector<float> dense;
    if (!readDense(*compression.files, layer, dense, error))
      return false;
    quantization::Weight weight{dense.data(), layer.outputs, layer.inputs};
    const InputStatistics *inputs = statistics.find(layer);
    Quantized quantized;
    Status status = quantize(step, format, weight, inputs, pool, quantized);
    if (status.failed()) {
      entry.reason = status.message();
      report.layers.push_back(std::move(entry));
      continue;
    }
    uint64_t bytes = static_cast<uint64_t>(quantized.bytes());
    if (bytes >= entry.bytesBefore) {
      entry.reason = format.name() + " would take " + std::to_string(bytes) + " bytes";
      report.layers.push_back(std::move(entry));
      continue;
    }
    std::vector<float> approximation(dense.size());
    quantized.dequantize(approximation.data());
    quantization::ErrorMetrics metrics = quantization::compare(dense.data(), approximation.data(), static_cast<int64_t>(dense.size()));
    if (inputs && inputs->hasSecondMoment()) {
      quantization::ErrorMetrics outputs;
      if (!quantization::compareOutputs(weight, approximation.data(), *inputs, &pool, outputs).failed()) {
        metrics = outputs;
        entry.onOutputs = true;
      }
    }
    entry.snrDb = metrics.snrDb();
    entry.cosine = metrics.cosine;
    entry.format = format.name();
    entry.method = step.method == "gptq" && !inputs ? "rtn" : step.method;
    entry.bytesAfter = bytes;
    made.clear();
    for (WeightOp own : weights[layer.place])
      if (!compression::replaceByQuantized(own.getResult(), layer.name, layer.transposed, quantized, make)) {
        error = "initializer '" + layer.name + "': " + error;
        return false;
      }
    if (step.activations == "token")
      roundActivations(step, layer, rounded);
    entry.activations = step.activations;
    report.layers.push_back(std::move(entry));
  }
  return true;
}

} // namespace lathe
