//===- SparsifyStep.cpp - Weights with zeros, stored without them ---------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/SparsifyStep.h"
#include "backends/cpu/runtime/PackSparse.h"
#include "compiler/ActivationSteps.h"
#include "compiler/LayerTimes.h"
#include "compiler/LayerValues.h"
#include "compiler/ProductRows.h"
#include "dialects/lathe/Sparse.h"
#include "mlir/IR/IRMapping.h"
#include "passes/sparsity/Expressions.h"
#include <cstdio>

using namespace mlir;

namespace lathe {
namespace {

using compression::Layer;
using runtime::SparseLayout;
using sparsity::Stored;
using sparsity::Zeros;

RankedTensorType tensorType(Value value) { return cast<RankedTensorType>(value.getType()); }

/// Sparse products that are expected to save less than this are not worth their other form.
constexpr double kWorth = 0.9;
/// Products that are expected to take longer than this share of the dense one's time are not timed to decide.
constexpr double kHopeless = 1.3;
/// Nor are those of fewer multiplications, which take no longer than times must differ by.
constexpr int64_t kFewestMultiplications = int64_t(1) << 20;
/// Nor are those with fewer zeros, even where times of all are wanted.
constexpr double kFewestZeros = 0.1;

SparseLayout layoutOf(const SparseCandidate &candidate, Type element) {
  SparseLayout layout;
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
double timeShare(const SparseCandidate &candidate, const SparseLayout &layout) {
  constexpr double kAlways = 0.07, kSingle = 2.2, kStrip = 1.3, kIntegers = 3;
  double elements = static_cast<double>(layout.fours * SparseLayout::kFour * layout.height);
  double share = elements / (static_cast<double>(candidate.inputs) * static_cast<double>(candidate.outputs));
  return (kAlways + (layout.height == 4 ? kStrip : kSingle) * share) * (candidate.isInteger ? kIntegers : 1);
}

std::string percent(double share) {
  char text[32];
  snprintf(text, sizeof text, "%.1f %%", 100 * share);
  return text;
}

bool hasBlocks(const Zeros &zeros) { return zeros.block[0] * zeros.block[1] > 1; }

std::string patternOf(const Zeros &zeros) {
  if (zeros.m > 0)
    return std::to_string(zeros.n) + ":" + std::to_string(zeros.m);
  if (hasBlocks(zeros))
    return "blocks of " + std::to_string(zeros.block[0]) + " x " + std::to_string(zeros.block[1]);
  return "";
}

/// A way to store a weight.
struct Form {
  SparseFormat format = SparseFormat::csr;
  SparseLayout layout;
  uint64_t bytes = 0; ///< in an artifact, or in ONNX where that is written
  double share = 0;   ///< of the dense product's time, as expected
};

/// A weight on its way through the step.
struct Pending {
  const SparseCandidate *candidate = nullptr;
  SparseLayer entry;
  Zeros zeros;
  std::vector<Form> forms; ///< at most one with lists of single columns, then one with strips
  const Form *taken = nullptr;
  bool isDecidedByTime = false;
  int64_t rows = 1; ///< of the product that is timed

  WeightOp weight() const { return candidate->weights.front().getDefiningOp<WeightOp>(); }
  const Form *form(int64_t height) const {
    auto it = llvm::find_if(forms, [&](const Form &form) { return form.layout.height == height; });
    return it == forms.end() ? nullptr : &*it;
  }
};

/// One step over the weights of all programs.
class Sparsifier {
public:
  Sparsifier(const Compression &compression, const RecipeStep &step, CompressionReport &report, std::string &error)
      : compression(compression), step(step), report(report), error(error) {
    prefersSize = !prefersSpeed(*compression.recipe, step, compression.isPortable);
  }

  bool run(const std::vector<SparseCandidate> &candidates);
  /// The steps that do the same whatever times are elsewhere; none where this one does.
  std::vector<RecipeStep> resolved() const;

private:
  const char *bytesOf(const Pending &own) const;
  sparsity::Matrix matrixOf(const Pending &own, const char *data) const;
  bool scan(Pending &own) const;
  void addForms(Pending &own, const char *data) const;
  std::optional<Stored> store(const Pending &own, SparseFormat format, const char *data) const;
  bool isWorthTiming(const Pending &own) const;
  void countRows();
  TimedProduct timedProduct(const Pending &own) const;
  ProductWay wayOf(ArrayRef<Pending *> timed, int64_t height) const;
  bool measure();
  void decide(Pending &own);
  bool replace(const Pending &own, const Form &form) const;

  const Compression &compression;
  const RecipeStep &step;
  CompressionReport &report;
  std::string &error;
  bool prefersSize = false, wasTimed = false;
  std::vector<Pending> all;
};

const char *Sparsifier::bytesOf(const Pending &own) const {
  WeightOp weight = own.weight();
  const char *data = compression.files->bytes(weight.getFile(), weight.getOffset(), own.entry.bytesBefore, error);
  if (!data)
    error = "initializer '" + own.candidate->name + "': " + error;
  return data;
}

sparsity::Matrix Sparsifier::matrixOf(const Pending &own, const char *data) const {
  auto type = tensorType(own.weight());
  return {data, type.getDimSize(0), type.getDimSize(1), type.getElementTypeBitWidth() / 8};
}

std::optional<Stored> Sparsifier::store(const Pending &own, SparseFormat format, const char *data) const {
  return sparsity::store(format, matrixOf(own, data), own.zeros);
}

/// The forms that the field `format` allows; of several with the same lists the one of the fewest bytes.
void Sparsifier::addForms(Pending &own, const char *data) const {
  const SparseCandidate &candidate = *own.candidate;
  SparseLayout layout = layoutOf(candidate, tensorType(own.weight()).getElementType());
  if (std::string why; !layout.valid(&why)) {
    own.entry.reason = "a sparse matrix " + why;
    return;
  }
  cpu::SparseSource source{data, candidate.transposed ? 1 : candidate.outputs,
                           candidate.transposed ? candidate.inputs : 1, nullptr};
  std::map<int64_t, std::pair<SparseFormat, int64_t>> best; // by height
  for (SparseFormat format : {SparseFormat::bsr, SparseFormat::n_of_m, SparseFormat::csr, SparseFormat::bitmap}) {
    if (step.sparsifying.format != "auto" && step.sparsifying.format != nameOf(format))
      continue;
    std::optional<int64_t> bytes = sparsity::bytesOf(format, matrixOf(own, data), own.zeros);
    if (!bytes)
      continue;
    auto [it, isNew] =
        best.try_emplace(sparsity::listHeight(format, own.zeros.block, candidate.transposed), format, *bytes);
    if (!isNew && *bytes < it->second.second)
      it->second = {format, *bytes};
  }
  for (const auto &[height, format] : best) {
    cpu::setLists(layout, source, height);
    auto bytes = static_cast<uint64_t>(compression.isPortable ? format.second : layout.bytes());
    own.forms.push_back({format.first, layout, bytes, timeShare(candidate, layout)});
  }
  if (own.forms.empty())
    own.entry.reason = "its zeros have no pattern for format '" + step.sparsifying.format + "'";
}

bool Sparsifier::scan(Pending &own) const {
  const SparseCandidate &candidate = *own.candidate;
  SparseLayer &entry = own.entry;
  auto type = tensorType(own.weight());
  entry.weight = candidate.name;
  entry.node = candidate.node;
  entry.inputs = candidate.inputs;
  entry.outputs = candidate.outputs;
  entry.reason = candidate.reason;
  entry.bytesBefore = entry.bytesAfter =
      static_cast<uint64_t>(type.getNumElements() * (type.getElementTypeBitWidth() / 8));
  if (!entry.reason.empty())
    return true;
  const char *data = bytesOf(own);
  if (!data)
    return false;
  own.zeros = sparsity::findZeros(matrixOf(own, data), candidate.transposed ? 1 : 0);
  entry.zeros = 1 - static_cast<double>(own.zeros.nonzeros) / static_cast<double>(type.getNumElements());
  entry.pattern = patternOf(own.zeros);
  if (own.zeros.nonzeros == 0 || own.zeros.nonzeros == type.getNumElements())
    entry.reason = own.zeros.nonzeros ? "none of its elements is zero" : "all of its elements are zero";
  else
    addForms(own, data);
  compression.files->release(data, entry.bytesBefore);
  return true;
}

/// Whether times are to decide. What else is timed is so for the report alone, which must not change what is made.
bool Sparsifier::isWorthTiming(const Pending &own) const {
  int64_t multiplications = own.rows * own.candidate->inputs * own.candidate->outputs;
  auto isHope = [](const Form &form) { return form.share < kHopeless; };
  return !prefersSize && llvm::any_of(own.forms, isHope) && multiplications >= kFewestMultiplications;
}

void Sparsifier::countRows() {
  std::vector<Layer> layers;
  for (const Pending &own : all) {
    Layer &layer = layers.emplace_back();
    layer.inputs = own.candidate->inputs;
    layer.outputs = own.candidate->outputs;
    layer.transposed = own.candidate->transposed;
    layer.products = own.candidate->products;
  }
  ProductRows rows(compression.programs, layers, compression.rows);
  for (auto [own, layer] : llvm::zip(all, layers))
    own.rows = rows.of(layer);
}

/// What a value is made of constants, again.
Value again(Value value, OpBuilder &b, Location loc) {
  Operation *op = value.getDefiningOp();
  IRMapping map;
  for (Value operand : op->getOperands())
    if (!map.contains(operand))
      map.map(operand, again(operand, b, loc));
  Operation *copy = b.clone(*op, map);
  copy->setLoc(loc);
  return copy->getResult(cast<OpResult>(value).getResultNumber());
}

/// Whether a value is made of constants alone.
bool isConstant(Value value) {
  Operation *op = value.getDefiningOp();
  return isa_and_nonnull<WeightOp, ConstantOp>(op) ||
         (isa_and_nonnull<CastOp, DequantizeOp>(op) && llvm::all_of(op->getOperands(), isConstant));
}

TimedProduct Sparsifier::timedProduct(const Pending &own) const {
  const SparseCandidate &candidate = *own.candidate;
  TimedProduct product;
  MatmulOp first = candidate.products.front();
  product.rows = own.rows;
  product.inputs = candidate.inputs;
  product.outputs = candidate.outputs;
  product.transposed = candidate.transposed;
  constexpr double kSteps = 20; // zeros within 5 % take about the same time
  llvm::raw_string_ostream(product.kind) << tensorType(own.weight()).getElementType() << " g" << candidate.group << " "
                                         << candidate.isInteger << " " << static_cast<int>(own.entry.zeros * kSteps)
                                         << " " << own.entry.pattern;
  product.weight = [rhs = first.getRhs()](OpBuilder &b, Location loc) { return again(rhs, b, loc); };
  return product;
}

/// Weights as lists of this height, 0: dense. Left sides that the model rounds are rounded by row, which takes about as
/// long as any other rounding.
ProductWay Sparsifier::wayOf(ArrayRef<Pending *> timed, int64_t height) const {
  auto change = [this, timed, height](ArrayRef<TimedMatmul> products, std::string &problem) {
    WeightMaker maker(*compression.files, problem, /*isShared=*/false);
    compression::MakeConstant make = std::ref(maker);
    Replaced rounded;
    for (TimedMatmul product : products) {
      const Pending &own = *timed[product.index];
      Layer layer;
      layer.inputs = own.candidate->inputs;
      layer.products.push_back(product.op);
      if (own.candidate->isInteger)
        roundActivations(layer, nullptr, /*symmetric=*/true, /*floats=*/false, rounded);
      const Form *form = own.form(height);
      if (!form)
        continue;
      Value stored = product.op.getRhs();
      while (!stored.getDefiningOp<WeightOp>())
        stored = stored.getDefiningOp()->getOperand(0);
      const char *data = bytesOf(own);
      if (!data || !sparsity::replaceBySparse(stored, own.candidate->name, *store(own, form->format, data), make))
        return false;
    }
    return true;
  };
  return {height == 0 ? compression.floats : height == 1 ? "lists" : "strips", change};
}

bool Sparsifier::measure() {
  std::vector<Pending *> timed;
  std::vector<TimedProduct> products;
  for (Pending &own : all) {
    MatmulOp first = own.candidate->products.front();
    if (own.forms.empty() || !isConstant(first.getRhs()))
      continue;
    own.isDecidedByTime = isWorthTiming(own);
    if (!own.isDecidedByTime && !(compression.timeAll && own.entry.zeros >= kFewestZeros))
      continue;
    timed.push_back(&own);
    products.push_back(timedProduct(own));
  }
  if (timed.empty())
    return true;
  if (std::string why = whyNotTimed(compression); !why.empty()) {
    report.whyNotTimed = why;
    for (Pending *own : timed)
      own->isDecidedByTime = false;
    return true;
  }
  ProductWay ways[] = {wayOf(timed, 0), wayOf(timed, 1), wayOf(timed, 4)};
  std::vector<std::vector<TimedWay>> times;
  if (!timeProducts(compression, products, ways, "sparsify " + step.sparsifying.format, times, error))
    return false;
  wasTimed = llvm::any_of(timed, [](const Pending *own) { return own->isDecidedByTime; });
  for (auto [own, product, measured] : llvm::zip(timed, products, times)) {
    own->entry.rows = product.rows;
    own->entry.ways.push_back(measured[0]);
    own->entry.ways.front().name = own->candidate->group ? "dense codes" : "dense";
    for (const Form &form : own->forms) {
      own->entry.ways.push_back(measured[form.layout.height == 1 ? 1 : 2]);
      own->entry.ways.back().name = nameOf(form.format).str();
    }
  }
  return true;
}

void Sparsifier::decide(Pending &own) {
  SparseLayer &entry = own.entry;
  if (own.forms.empty())
    return;
  auto least = [&](auto key) {
    return std::min_element(own.forms.begin(), own.forms.end(),
                            [&](const Form &a, const Form &b) { return key(a) < key(b); });
  };
  if (prefersSize) {
    auto best = least([](const Form &form) { return form.bytes; });
    if (best->bytes < entry.bytesBefore)
      own.taken = &*best;
    else
      entry.reason =
          "it would take " + std::to_string(best->bytes) + " bytes instead of " + std::to_string(entry.bytesBefore);
  } else if (own.isDecidedByTime) {
    auto timeOf = [&](const Form &form) {
      return entry.ways[static_cast<size_t>(&form - own.forms.data()) + 1].microseconds;
    };
    auto best = least(timeOf);
    size_t way = static_cast<size_t>(best - own.forms.begin()) + 1;
    if (isSlower(entry.ways.front(), entry.ways[way]))
      own.taken = &*best;
    else
      entry.reason = whyNotTaken(entry.rows, entry.ways[way], entry.ways.front());
  } else {
    auto best = least([](const Form &form) { return form.share; });
    if (best->share < kWorth)
      own.taken = &*best;
    else
      entry.reason = "with " + percent(entry.zeros) + " zeros its product would not be faster" +
                     (own.candidate->isInteger ? " than one of integers" : "");
  }
  if (!own.taken)
    return;
  entry.format = nameOf(own.taken->format).str();
  entry.bytesAfter = own.taken->bytes;
  entry.way = entry.ways.empty() ? 0 : static_cast<size_t>(own.taken - own.forms.data()) + 1;
}

bool Sparsifier::replace(const Pending &own, const Form &form) const {
  const char *data = bytesOf(own);
  if (!data)
    return false;
  std::optional<Stored> stored = store(own, form.format, data);
  WeightMaker maker(*compression.files, error);
  compression::MakeConstant make = std::ref(maker);
  bool isDone = llvm::all_of(own.candidate->weights, [&](Value weight) {
    return sparsity::replaceBySparse(weight, weight.getDefiningOp<WeightOp>().getName(), *stored, make);
  });
  compression.files->release(data, own.entry.bytesBefore);
  return isDone;
}

bool Sparsifier::run(const std::vector<SparseCandidate> &candidates) {
  for (const SparseCandidate &candidate : candidates) {
    all.emplace_back();
    all.back().candidate = &candidate;
    if (!scan(all.back()))
      return false;
  }
  countRows();
  if (!measure())
    return false;
  for (Pending &own : all) {
    decide(own);
    if (own.taken && !replace(own, *own.taken))
      return false;
    report.sparse.push_back(own.entry);
  }
  return true;
}

std::vector<RecipeStep> Sparsifier::resolved() const {
  if (!wasTimed)
    return {};
  std::map<std::string, RecipeStep> byFormat;
  for (const Pending &own : all) {
    if (!own.taken)
      continue;
    auto [it, isNew] = byFormat.try_emplace(own.entry.format, step);
    RecipeStep &one = it->second;
    if (isNew)
      one.tensors.clear();
    one.prefer = "size";
    one.sparsifying.format = own.entry.format;
    one.exclude.clear();
    one.tensors.push_back(escapeGlob(own.candidate->name));
  }
  std::vector<RecipeStep> steps;
  for (const auto &[format, one] : byFormat)
    steps.push_back(one);
  if (steps.empty()) { // which does nothing
    steps.push_back(step);
    steps.back().tensors.clear();
  }
  return steps;
}

} // namespace

bool sparsifyLayers(const Compression &compression, const RecipeStep &step,
                    const std::vector<SparseCandidate> &candidates, CompressionReport &report,
                    std::vector<RecipeStep> &resolved, std::string &error) {
  Sparsifier sparsifier(compression, step, report, error);
  if (!sparsifier.run(candidates))
    return false;
  resolved = sparsifier.resolved();
  return true;
}

} // namespace lathe
