//===- SparsifyStep.cpp - Weights with zeros, stored without them ---------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/SparsifyStep.h"
#include "backends/cpu/runtime/PackSparse.h"
#include "passes/quantization/Layers.h"
#include "passes/sparsity/Expressions.h"
#include "llvm/ADT/MapVector.h"
#include <cstdio>

using namespace mlir;

namespace lathe {
namespace {

using compression::Place;
using sparsity::Stored;
using sparsity::Zeros;

RankedTensorType tensorType(Value value) { return cast<RankedTensorType>(value.getType()); }

/// What a product reads, behind what is done to its elements.
struct Source {
  WeightOp weight;
  int64_t group = 0;
};

std::optional<Source> sourceOf(MatmulOp product) {
  Value dense = product.getRhs();
  int64_t kAxis = product.getTransposeRhs() ? 1 : 0;
  if (tensorType(dense).getRank() != 2 || !tensorType(dense).getElementType().isF32())
    return std::nullopt;
  Source source;
  if (auto widened = dense.getDefiningOp<CastOp>()) {
    source.weight = widened.getInput().getDefiningOp<WeightOp>();
    Type element = tensorType(widened.getInput()).getElementType();
    return source.weight && (element.isF16() || element.isBF16()) ? std::optional(source) : std::nullopt;
  }
  auto scaled = dense.getDefiningOp<DequantizeOp>();
  if (!scaled) {
    source.weight = dense.getDefiningOp<WeightOp>();
    return source.weight ? std::optional(source) : std::nullopt;
  }
  source.weight = scaled.getInput().getDefiningOp<WeightOp>();
  if (!source.weight || !tensorType(source.weight).getElementType().isSignlessInteger(8) || scaled.getZeroPoint())
    return std::nullopt;
  source.group = tensorType(dense).getDimSize(kAxis);
  if (scaled.getAxis() && static_cast<int64_t>(*scaled.getAxis()) == kAxis) {
    if (!scaled.getBlockSize())
      return std::nullopt;
    source.group = std::min<int64_t>(static_cast<int64_t>(*scaled.getBlockSize()), source.group);
  }
  return source;
}

/// Whether a product rounds its left side to integers.
bool roundsLeft(MatmulOp product) {
  auto back = product.getLhs().getDefiningOp<DequantizeOp>();
  return back && back.getInput().getDefiningOp<QuantizeOp>();
}

/// Whether everything that reads a weight is a product's right side, whose orientation is this one.
bool isReadBy(Value value, bool transposed, unsigned depth = 0) {
  return llvm::all_of(value.getUses(), [&](OpOperand &use) {
    if (auto product = dyn_cast<MatmulOp>(use.getOwner()))
      return use.getOperandNumber() == 1 && product.getTransposeRhs() == transposed;
    bool isStep = isa<CastOp, DequantizeOp>(use.getOwner()) && use.getOperandNumber() == 0 && depth == 0;
    return isStep && isReadBy(use.getOwner()->getResult(0), transposed, depth + 1);
  });
}

runtime::SparseLayout layoutOf(const SparseCandidate &candidate, Type element) {
  runtime::SparseLayout layout;
  layout.k = candidate.inputs;
  layout.n = candidate.outputs;
  layout.group = candidate.group;
  layout.values = element.isF32()    ? runtime::SparseValues::f32
                  : element.isF16()  ? runtime::SparseValues::f16
                  : element.isBF16() ? runtime::SparseValues::bf16
                                     : runtime::SparseValues::i8;
  return layout;
}

/// What a product with lists takes of the time of the dense one, from the share of elements that lists have: measured
/// by lathe_bench_sparse (docs/design/0020). Integers are multiplied three times as fast as floats, where both sides
/// are.
double timeShare(const SparseCandidate &candidate, const runtime::SparseLayout &layout) {
  constexpr double kAlways = 0.07, kSingle = 2.2, kStrip = 1.3, kIntegers = 3;
  double elements = static_cast<double>(layout.fours * runtime::SparseLayout::kFour * layout.height);
  double share = elements / (static_cast<double>(candidate.inputs) * static_cast<double>(candidate.outputs));
  return (kAlways + (layout.height == 4 ? kStrip : kSingle) * share) * (candidate.isInteger ? kIntegers : 1);
}

/// Sparse products that save less than this are not worth their other form.
constexpr double kWorth = 0.9;

std::string percent(double share) {
  char text[32];
  snprintf(text, sizeof text, "%.1f %%", 100 * share);
  return text;
}

std::string patternOf(const Zeros &zeros) {
  if (zeros.m > 0)
    return std::to_string(zeros.n) + ":" + std::to_string(zeros.m);
  if (zeros.block[0] * zeros.block[1] > 1)
    return "blocks of " + std::to_string(zeros.block[0]) + " x " + std::to_string(zeros.block[1]);
  return "";
}

/// The format, as the field says or else the one of the fewest bytes; nullopt where the matrix has no such pattern.
std::optional<Stored> storeAs(const std::string &format, const sparsity::Matrix &matrix, const Zeros &zeros) {
  bool hasBlocks = zeros.block[0] * zeros.block[1] > 1;
  if (format == "csr")
    return sparsity::storeRows(matrix);
  if (format == "bitmap")
    return sparsity::storeBitmap(matrix);
  if (format == "bsr")
    return hasBlocks ? std::optional(sparsity::storeBlocks(matrix, zeros.block[0], zeros.block[1])) : std::nullopt;
  if (format == "n_of_m")
    return zeros.m ? sparsity::storeGroups(matrix, zeros.n, zeros.m, zeros.axis) : std::nullopt;
  std::optional<Stored> best;
  for (const char *each : {"bsr", "n_of_m", "csr", "bitmap"})
    if (std::optional<Stored> stored = storeAs(each, matrix, zeros);
        stored && (!best || stored->bytes() < best->bytes()))
      best = std::move(stored);
  return best;
}

/// One step over the weights of all programs.
struct Sparsifier {
  const Compression &compression;
  const Sparsifying &options;
  CompressionReport &report;
  std::string &error;

  bool run(const SparseCandidate &candidate);

private:
  bool replace(const SparseCandidate &candidate, const Stored &stored);
  std::string whyNot(const SparseCandidate &candidate, const SparseLayer &entry,
                     const runtime::SparseLayout &layout) const;
};

std::string Sparsifier::whyNot(const SparseCandidate &candidate, const SparseLayer &entry,
                               const runtime::SparseLayout &layout) const {
  if (options.prefer == "size") {
    if (entry.bytesAfter < entry.bytesBefore)
      return "";
    return "it would take " + std::to_string(entry.bytesAfter) + " bytes instead of " +
           std::to_string(entry.bytesBefore);
  }
  double share = timeShare(candidate, layout);
  if (share < kWorth)
    return "";
  return "with " + percent(entry.zeros) + " zeros its product would not be faster" +
         (candidate.isInteger ? " than one of integers" : "");
}

bool Sparsifier::replace(const SparseCandidate &candidate, const Stored &stored) {
  std::map<std::string, uint64_t> made; // programs share what is made
  compression::MakeConstant make = [&](OpBuilder &builder, Location loc, RankedTensorType type, StringRef name,
                                       ArrayRef<char> bytes) -> Value {
    auto it = made.find(name.str());
    if (it == made.end()) {
      std::optional<uint64_t> offset = compression.files->append(bytes.data(), bytes.size(), error);
      if (!offset)
        return {};
      it = made.try_emplace(name.str(), *offset).first;
    }
    return builder.create<WeightOp>(loc, type, name, kMadeFile, it->second);
  };
  return llvm::all_of(candidate.weights, [&](Value weight) {
    return sparsity::replaceBySparse(weight, weight.getDefiningOp<WeightOp>().getName(), stored, make);
  });
}

bool Sparsifier::run(const SparseCandidate &candidate) {
  SparseLayer &entry = report.sparse.emplace_back();
  entry.weight = candidate.name;
  entry.node = candidate.node;
  entry.inputs = candidate.inputs;
  entry.outputs = candidate.outputs;
  entry.reason = candidate.reason;
  auto weight = candidate.weights.front().getDefiningOp<WeightOp>();
  auto type = tensorType(weight);
  int64_t elementBytes = type.getElementTypeBitWidth() / 8;
  entry.bytesBefore = entry.bytesAfter = static_cast<uint64_t>(type.getNumElements() * elementBytes);
  if (!entry.reason.empty())
    return true;
  const char *data = compression.files->bytes(weight.getFile(), weight.getOffset(), entry.bytesBefore, error);
  if (!data) {
    error = "initializer '" + candidate.name + "': " + error;
    return false;
  }
  sparsity::Matrix matrix{data, type.getDimSize(0), type.getDimSize(1), elementBytes};
  Zeros zeros = sparsity::findZeros(matrix, candidate.transposed ? 1 : 0);
  entry.zeros = 1 - static_cast<double>(zeros.nonzeros) / static_cast<double>(type.getNumElements());
  entry.pattern = patternOf(zeros);
  runtime::SparseLayout layout = layoutOf(candidate, type.getElementType());
  if (zeros.nonzeros == 0 || zeros.nonzeros == type.getNumElements()) {
    entry.reason = zeros.nonzeros ? "none of its elements is zero" : "all of its elements are zero";
  } else if (std::string why; !layout.valid(&why)) {
    entry.reason = "a sparse matrix " + why;
  } else {
    bool isTransposed = candidate.transposed;
    cpu::setLists(layout, {data, isTransposed ? 1 : candidate.outputs, isTransposed ? candidate.inputs : 1, nullptr});
    std::optional<Stored> stored = storeAs(options.format, matrix, zeros);
    uint64_t bytes = static_cast<uint64_t>(layout.bytes());
    if (!stored) {
      entry.reason = "its zeros have no pattern for format '" + options.format + "'";
    } else {
      entry.bytesAfter = bytes;
      entry.reason = whyNot(candidate, entry, layout);
      if (entry.reason.empty())
        entry.format = nameOf(stored->format).str();
      else
        entry.bytesAfter = entry.bytesBefore;
      if (entry.reason.empty() && !replace(candidate, *stored))
        return false;
    }
  }
  compression.files->release(data, entry.bytesBefore);
  return true;
}

} // namespace

std::vector<SparseCandidate> findSparseCandidates(ArrayRef<func::FuncOp> programs) {
  llvm::MapVector<Place, SparseCandidate, std::map<Place, unsigned>> found;
  for (func::FuncOp program : programs)
    program.walk([&](MatmulOp product) {
      std::optional<Source> source = sourceOf(product);
      if (!source)
        return;
      auto weight = source->weight;
      auto type = tensorType(weight);
      if (type.getNumElements() == 0)
        return;
      auto [it, isNew] = found.insert({Place(weight.getFile().str(), weight.getOffset()), SparseCandidate()});
      SparseCandidate &own = it->second;
      bool transposed = product.getTransposeRhs();
      if (isNew) {
        StringRef name = weight.getName();
        name.consume_back(".codes");
        own.name = name.str();
        own.node = compression::nodeOf(product);
        own.transposed = transposed;
        own.group = source->group;
        own.inputs = type.getDimSize(transposed ? 1 : 0);
        own.outputs = type.getDimSize(transposed ? 0 : 1);
      }
      own.products.push_back(product);
      own.isInteger |= source->group && roundsLeft(product);
      if (!llvm::is_contained(own.weights, Value(weight)))
        own.weights.push_back(weight);
      auto first = tensorType(own.weights.front());
      if (type != first || own.transposed != transposed || own.group != source->group || !isReadBy(weight, transposed))
        own.reason = "something else than products, or products in another way, read it, too";
    });
  // Other operations may read the same bytes without any product.
  for (func::FuncOp program : programs)
    program.walk([&](WeightOp weight) {
      auto it = found.find(Place(weight.getFile().str(), weight.getOffset()));
      if (it != found.end() && !weight->use_empty() && !llvm::is_contained(it->second.weights, weight.getResult()))
        it->second.reason = "something else than products, or products in another way, read it, too";
    });
  std::vector<SparseCandidate> candidates;
  for (auto &entry : found)
    candidates.push_back(std::move(entry.second));
  return candidates;
}

bool sparsifyLayers(const Compression &compression, const Sparsifying &options,
                    const std::function<bool(const std::string &weight, const std::string &node)> &covers,
                    CompressionReport &report, std::string &error) {
  Sparsifier sparsifier{compression, options, report, error};
  for (const SparseCandidate &candidate : findSparseCandidates(compression.programs))
    if (covers(candidate.name, candidate.node) && !sparsifier.run(candidate))
      return false;
  return true;
}

} // namespace lathe
