//===- RotateStep.cpp - A recipe's step that rotates ----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/RotateStep.h"
#include "compiler/WeightValues.h"
#include "passes/quantization/Layers.h"
#include "passes/quantization/ResidualStreams.h"
#include "passes/quantization/methods/Hadamard.h"
#include "passes/quantization/methods/Parallel.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"
#include <set>

using namespace mlir;

namespace lathe {
namespace {

using compression::nodeOf;
using compression::Place;
using compression::ResidualStream;
using compression::StreamReader;
using quantization::Hadamard;

/// What a norm does beside dividing.
struct Norm {
  std::vector<float> gain, bias; ///< bias: empty for none
  bool isPlain() const {
    return bias.empty() && llvm::all_of(gain, [](float g) { return g == 1; });
  }
};

/// What becomes of a product's constant matrix.
struct ProductPlan {
  bool reads = false, writes = false;
  Operation *norm = nullptr;              ///< that it reads through
  const ResidualStream *stream = nullptr; ///< that it reads
  const ResidualStream *written = nullptr;
};

/// Outputs of a matrix, for each of its inputs, beside which a product of inputs x inputs is little.
constexpr int64_t kWide = 8;

/// The weight that a constant of f32 is, or is widened from; null for a constant in the IR.
WeightOp weightOf(Value value) {
  if (auto widened = value.getDefiningOp<CastOp>())
    value = widened.getInput();
  return value.getDefiningOp<WeightOp>();
}

std::string nameOf(Value constant) {
  WeightOp weight = weightOf(constant);
  return weight ? weight.getName().str() : "constant";
}

/// Whether rows of a matrix are looked up that products can take.
bool isLookup(OpOperand &use) {
  return isa<GatherOp>(use.getOwner()) && cast<RankedTensorType>(use.getOwner()->getResult(0).getType()).getRank() >= 2;
}

/// Constants with the same key have the same numbers.
std::string keyOfConstant(Value constant, WeightFiles &files, std::string &error) {
  if (WeightOp weight = weightOf(constant))
    return weight.getFile().str() + "@" + std::to_string(weight.getOffset());
  std::optional<std::vector<float>> numbers = numbersOf(constant, files, error); // a small one, in the IR
  return numbers ? keyOf(*numbers) : "";
}

struct Rotator {
  const Compression &compression;
  uint64_t seed;
  runtime::ThreadPool &pool;
  CompressionReport &report;
  std::string &error;
  WeightFiles &files = *compression.files;
  NewConstants constants{files, error};
  std::vector<ResidualStream> streams = {};
  llvm::DenseMap<Operation *, Norm> norms = llvm::DenseMap<Operation *, Norm>();
  std::map<int64_t, Hadamard> rotations = {};
  llvm::MapVector<Operation *, ProductPlan> products = llvm::MapVector<Operation *, ProductPlan>();
  std::set<Place> kept = std::set<Place>(); ///< large matrices that others read as they are, too
  std::set<Place> tied = {};

  bool run();

private:
  bool check(ResidualStream &stream);
  bool readNorm(Operation *norm, ResidualStream &stream);
  void planProducts();
  bool refuseSuccessive();
  bool refuseShared();
  struct Uses;
  void addUse(WeightOp weight, OpOperand &use, const ResidualStream *row, Uses &uses);
  bool mayStay(const Place &place, const Uses &uses);
  bool rewrite(ResidualStream &stream);
  bool rotateConstant(OpOperand &use, const ResidualStream &stream);
  bool rewriteProduct(MatmulOp product, const ProductPlan &plan);
  bool rewriteTied(MatmulOp product, const ProductPlan &plan);
  Value rotateBack(Value rows, Operation *norm, const Hadamard &rotation, bool toRotated, const std::string &name);
  Value multiplied(Value rows, const ResidualStream &stream, bool isRotated, const std::string &name);
  bool rewriteKept(MatmulOp product, const ProductPlan &plan);
  void makePlain(Operation *norm);
  void tell(const ResidualStream &stream);
  const Hadamard &rotationOf(const ResidualStream &stream) { return rotations.at(stream.channels); }
  void toStream(std::vector<float> &rows, const ResidualStream &stream, const Hadamard &rotation);
  void rotateRows(std::vector<float> &rows, const Hadamard &rotation);
  std::vector<float> read(Value constant);
  Value rotatedRows(Value constant, const ResidualStream &stream, bool losesMean);
  std::string suffix(const ResidualStream &stream) const {
    return "*rotation" + std::to_string(seed) + (stream.losesMean ? "-centred" : "");
  }
};

/// Rows of a stream as they are to be: without their mean where nothing reads it, rotated.
void Rotator::toStream(std::vector<float> &rows, const ResidualStream &stream, const Hadamard &rotation) {
  int64_t width = stream.channels;
  quantization::parallelFor(&pool, static_cast<int64_t>(rows.size()) / width, [&](int64_t index) {
    float *row = rows.data() + index * width;
    double sum = 0;
    for (int64_t i = 0; stream.losesMean && i < width; ++i)
      sum += row[i];
    for (int64_t i = 0; stream.losesMean && i < width; ++i)
      row[i] = static_cast<float>(row[i] - sum / static_cast<double>(width));
    rotation.apply(row, 1);
  });
}

void Rotator::rotateRows(std::vector<float> &rows, const Hadamard &rotation) {
  int64_t width = rotation.size();
  quantization::parallelFor(&pool, static_cast<int64_t>(rows.size()) / width,
                            [&](int64_t index) { rotation.apply(rows.data() + index * width, 1); });
}

/// The numbers of a constant; none after a failure, with `error` set.
std::vector<float> Rotator::read(Value constant) {
  std::optional<std::vector<float>> numbers = numbersOf(constant, files, error);
  if (!numbers && error.empty())
    error = "constant '" + nameOf(constant) + "': expected numbers of f32, f16 or bf16";
  return numbers ? std::move(*numbers) : std::vector<float>();
}

bool Rotator::readNorm(Operation *norm, ResidualStream &stream) {
  Norm &own = norms[norm];
  for (unsigned operand = 1; operand < norm->getNumOperands(); ++operand) {
    std::optional<std::vector<float>> numbers = numbersOf(norm->getOperand(operand), files, error);
    if (!error.empty())
      return false;
    if (numbers && numbers->size() == 1)
      numbers->assign(stream.channels, numbers->front());
    if (!numbers || static_cast<int64_t>(numbers->size()) != stream.channels) {
      stream.reason = "the gains of norm '" + nodeOf(norm) + "' are no constants";
      return true;
    }
    (operand == 1 ? own.gain : own.bias) = std::move(*numbers);
  }
  if (llvm::all_of(own.bias, [](float b) { return b == 0; }))
    own.bias.clear();
  return true;
}

bool Rotator::check(ResidualStream &stream) {
  if (stream.reason.empty() && (stream.channels < 2 || !Hadamard::exists(stream.channels)))
    stream.reason = "no Hadamard matrix of " + std::to_string(stream.channels) + " rows is known here";
  if (!stream.reason.empty())
    return true;
  for (Operation *norm : stream.norms)
    if (!readNorm(norm, stream))
      return false;
  if (!rotations.count(stream.channels))
    if (quantization::Status status = Hadamard::create(stream.channels, seed, rotations[stream.channels]);
        status.failed()) {
      error = status.message();
      return false;
    }
  return true;
}

void Rotator::planProducts() {
  products.clear();
  for (const ResidualStream &stream : streams) {
    if (!stream.reason.empty())
      continue;
    for (const StreamReader &reader : stream.readers) {
      ProductPlan &plan = products[reader.product];
      plan.reads = true;
      plan.norm = reader.norm;
      plan.stream = &stream;
    }
    for (MatmulOp writer : stream.writers) {
      ProductPlan &plan = products[writer];
      plan.writes = true;
      plan.written = &stream;
    }
  }
}

/// Refuses streams of norms whose results begin other ones: these go on from what the norm gave. Whether there were
/// any.
bool Rotator::refuseSuccessive() {
  llvm::DenseSet<Operation *> first;
  for (const ResidualStream &stream : streams)
    for (const ResidualStream::Entry &entry : stream.entries)
      if (stream.reason.empty() && entry.value.getDefiningOp())
        first.insert(entry.value.getDefiningOp());
  bool changed = false;
  for (ResidualStream &stream : streams)
    if (stream.reason.empty() && llvm::any_of(stream.norms, [&](Operation *norm) { return first.contains(norm); })) {
      stream.reason = "the result of its norm begins another stream";
      changed = true;
    }
  return changed;
}

/// How programs use a matrix.
struct Rotator::Uses {
  std::set<std::string> ways;
  std::set<const ResidualStream *> streams;
  std::string name;
  bool isWide = false; ///< a product of channels x channels is little beside it
};

/// `row` is the stream whose rows the use reads or adds, where there is one.
void Rotator::addUse(WeightOp weight, OpOperand &use, const ResidualStream *row, Uses &uses) {
  uses.name = weight.getName().str();
  std::string way;
  auto plan = products.find(use.getOwner());
  if (row) {
    uses.streams.insert(row);
    way = (isLookup(use) ? "rows" : "adds") + suffix(*row);
  } else if (plan != products.end() && use.getOperandNumber() == 1) {
    const ProductPlan &how = plan->second;
    bool isTransposed = cast<MatmulOp>(use.getOwner()).getTransposeRhs();
    if (how.reads) {
      uses.streams.insert(how.stream);
      uses.isWide = cast<RankedTensorType>(weight.getType()).getNumElements() >=
                    kWide * how.stream->channels * how.stream->channels;
      way = isTransposed ? "reads rows" : "reads columns";
      if (how.norm)
        way += keyOf(norms[how.norm].gain) + (norms[how.norm].bias.empty() ? "" : keyOf(norms[how.norm].bias));
    }
    if (how.writes) {
      uses.streams.insert(how.written);
      way += isTransposed ? " rows" : " columns";
      way += " writes" + suffix(*how.written);
    }
  }
  uses.ways.insert(way);
}

/// Whether a matrix is stored once in spite of two ways: a table of rows that is the output head, too, or a large
/// matrix that others read as it is.
bool Rotator::mayStay(const Place &place, const Uses &uses) {
  auto starts = [&](const char *what) {
    return llvm::count_if(uses.ways, [&](const std::string &way) { return StringRef(way).starts_with(what); });
  };
  if (uses.ways.size() != 2 ||
      llvm::any_of(uses.ways, [](const std::string &way) { return StringRef(way).contains("writes"); }))
    return false;
  if (starts("rows") == 1 && starts("reads rows") == 1) {
    tied.insert(place);
    return true;
  }
  if (!uses.ways.count("") || starts("reads") != 1 || !uses.isWide)
    return false;
  kept.insert(place);
  return true;
}

/// Refuses streams with a matrix that programs read in different ways, as it would be stored twice. Whether there were
/// any.
bool Rotator::refuseShared() {
  planProducts();
  tied.clear();
  kept.clear();
  std::map<Place, Uses> uses;
  llvm::DenseMap<OpOperand *, const ResidualStream *> rows;
  for (const ResidualStream &stream : streams)
    for (OpOperand *use : stream.constants)
      if (stream.reason.empty())
        rows[use] = &stream;
  auto add = [&](WeightOp weight, OpOperand &use) {
    addUse(weight, use, rows.lookup(&use), uses[Place(weight.getFile().str(), weight.getOffset())]);
  };
  for (func::FuncOp program : compression.programs)
    program.walk([&](WeightOp weight) {
      auto type = cast<RankedTensorType>(weight.getType());
      if (type.getRank() < 2 || type.getNumElements() == type.getShape().back()) // a bias may be in several places
        return;
      for (OpOperand &use : weight->getUses()) {
        if (!isa<CastOp>(use.getOwner())) {
          add(weight, use);
          continue;
        }
        for (OpOperand &inner : use.getOwner()->getResult(0).getUses())
          add(weight, inner);
      }
    });
  bool changed = false;
  for (auto &[place, own] : uses) {
    if (own.ways.size() < 2 || own.streams.empty() || mayStay(place, own))
      continue;
    changed = true;
    for (ResidualStream &stream : streams)
      if (own.streams.count(&stream))
        stream.reason = "initializer '" + own.name + "' is read in another way, too, and would be stored twice";
  }
  return changed;
}

/// rows * R^T diag(gain), or that times R, + bias: what rows behind a norm were, or what they are to a matrix whose
/// rows are rotated.
Value Rotator::rotateBack(Value rows, Operation *norm, const Hadamard &rotation, bool toRotated,
                          const std::string &name) {
  int64_t channels = rotation.size();
  static const Norm plain;
  const Norm &own = norm ? norms[norm] : plain;
  auto type = cast<RankedTensorType>(rows.getType());
  Type f32 = type.getElementType();
  OpBuilder b(rows.getContext());
  b.setInsertionPointAfterValue(rows);
  std::string key = name + keyOf(own.gain) + (toRotated ? "*between" : "*back") + std::to_string(seed);
  Value matrix = constants.make(rows, RankedTensorType::get({channels, channels}, f32), name, key, [&] {
    std::vector<float> numbers(static_cast<size_t>(channels * channels)); // rows of R^T: R^T = I * R^T
    for (int64_t i = 0; i < channels; ++i)
      numbers[i * channels + i] = 1;
    rotation.applyInverse(numbers.data(), channels);
    for (int64_t i = 0; !own.gain.empty() && i < channels * channels; ++i)
      numbers[i] *= own.gain[i % channels];
    if (toRotated)
      rotation.apply(numbers.data(), channels);
    return numbers;
  });
  if (!matrix)
    return {};
  b.setInsertionPointAfterValue(matrix);
  Value result =
      b.create<MatmulOp>(rows.getLoc(), type, rows, matrix, /*transpose_lhs=*/false, /*transpose_rhs=*/false);
  if (own.bias.empty())
    return result;
  Value bias = constants.make(rows, RankedTensorType::get({channels}, f32), name + ".bias", key + keyOf(own.bias), [&] {
    std::vector<float> numbers = own.bias;
    if (toRotated)
      rotation.apply(numbers.data(), 1);
    return numbers;
  });
  if (!bias)
    return {};
  b.setInsertionPointAfterValue(result);
  return b.create<AddOp>(rows.getLoc(), type, result, bias);
}

/// Rows as they are to be in a stream, by a product; `isRotated`: they are, but for their mean.
Value Rotator::multiplied(Value rows, const ResidualStream &stream, bool isRotated, const std::string &name) {
  std::string key = (isRotated ? "centre" : "into") + std::to_string(stream.channels) + suffix(stream);
  auto type = RankedTensorType::get({stream.channels, stream.channels}, Float32Type::get(rows.getContext()));
  Value matrix = constants.make(rows, type, name, key, [&] {
    auto width = static_cast<size_t>(stream.channels);
    std::vector<float> result(width * width);
    for (size_t i = 0; i < width; ++i)
      result[i * width + i] = 1;
    if (isRotated)
      rotationOf(stream).applyInverse(result.data(), stream.channels);
    toStream(result, stream, rotationOf(stream));
    return result;
  });
  if (!matrix)
    return {};
  OpBuilder b(rows.getContext());
  b.setInsertionPointAfterValue(matrix);
  return b.create<MatmulOp>(rows.getLoc(), rows.getType(), rows, matrix, /*transpose_lhs=*/false,
                            /*transpose_rhs=*/false);
}

/// A constant whose rows are rotated; `losesMean`: and have no mean.
Value Rotator::rotatedRows(Value constant, const ResidualStream &stream, bool losesMean) {
  ResidualStream own;
  own.channels = stream.channels;
  own.losesMean = losesMean;
  std::string key = keyOfConstant(constant, files, error) + "rows" + suffix(own);
  return constants.make(constant, cast<RankedTensorType>(constant.getType()), nameOf(constant), key, [&] {
    std::vector<float> numbers = read(constant);
    toStream(numbers, own, rotationOf(stream));
    return numbers;
  });
}

/// A bias, or a table whose rows are looked up.
bool Rotator::rotateConstant(OpOperand &use, const ResidualStream &stream) {
  Value old = use.get();
  WeightOp weight = weightOf(old);
  bool isTied = weight && tied.count(Place(weight.getFile().str(), weight.getOffset()));
  // A matrix that is a product's, too, keeps its rows' means, which are taken away behind the lookup.
  Value made = rotatedRows(old, stream, stream.losesMean && !isTied);
  if (!made)
    return false;
  use.set(made);
  if (!isTied || !stream.losesMean)
    return true;
  Value rows = use.getOwner()->getResult(0),
        centred = multiplied(rows, stream, /*isRotated=*/true, nameOf(old) + ".centre");
  if (centred)
    rows.replaceAllUsesExcept(centred, centred.getDefiningOp());
  return static_cast<bool>(centred);
}

/// A product whose matrix is a table, too: it reads rows that are rotated as the table is.
bool Rotator::rewriteTied(MatmulOp product, const ProductPlan &plan) {
  Value old = product.getRhs(), made = rotatedRows(old, *plan.stream, /*losesMean=*/false);
  if (!made)
    return false;
  product.getRhsMutable().assign(made);
  if (!plan.norm || norms[plan.norm].isPlain())
    return true;
  Value rows =
      rotateBack(product.getLhs(), plan.norm, rotationOf(*plan.stream), /*toRotated=*/true, nameOf(old) + ".rotation");
  if (rows)
    product.getLhsMutable().assign(rows);
  return static_cast<bool>(rows);
}

/// A product whose large matrix others read, too: it stays, and its left side becomes what it was.
bool Rotator::rewriteKept(MatmulOp product, const ProductPlan &plan) {
  Value rows = rotateBack(product.getLhs(), plan.norm, rotationOf(*plan.stream), /*toRotated=*/false,
                          nameOf(product.getRhs()) + ".rotation");
  if (rows)
    product.getLhsMutable().assign(rows);
  return static_cast<bool>(rows);
}

bool Rotator::rewriteProduct(MatmulOp product, const ProductPlan &plan) {
  Value old = product.getRhs();
  auto type = cast<RankedTensorType>(old.getType());
  bool transposed = product.getTransposeRhs();
  int64_t n = type.getDimSize(transposed ? 0 : 1), k = type.getDimSize(transposed ? 1 : 0);
  static const Norm none;
  const Norm &norm = plan.norm ? norms[plan.norm] : none;
  std::string key = keyOfConstant(old, files, error) + (transposed ? "t" : "") +
                    (plan.reads ? "reads" + keyOf(norm.gain) + "*" + std::to_string(seed) : "") +
                    (plan.writes ? "writes" + suffix(*plan.written) : "");
  std::vector<float> matrix; // [n][k]
  auto readMatrix = [&] {
    matrix = read(old);
    if (!transposed && !matrix.empty())
      matrix = turned(matrix, k, n);
    return !matrix.empty();
  };
  std::vector<float> added;
  if (plan.reads && !norm.bias.empty()) {
    if (!readMatrix())
      return false;
    added.resize(n);
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t i = 0; i < k; ++i)
        sum += static_cast<double>(matrix[j * k + i]) * norm.bias[i];
      added[j] = static_cast<float>(sum);
    }
    if (plan.writes)
      toStream(added, *plan.written, rotationOf(*plan.written));
  }
  Value made = constants.make(old, type, nameOf(old), key, [&]() -> std::vector<float> {
    if (matrix.empty() && !readMatrix())
      return {};
    for (int64_t i = 0; plan.reads && !norm.gain.empty() && i < n * k; ++i)
      matrix[i] *= norm.gain[i % k];
    if (plan.reads)
      rotateRows(matrix, rotationOf(*plan.stream));
    if (plan.writes) {
      matrix = turned(matrix, n, k);
      toStream(matrix, *plan.written, rotationOf(*plan.written));
      return transposed ? turned(matrix, k, n) : std::move(matrix);
    }
    return transposed ? std::move(matrix) : turned(matrix, n, k);
  });
  if (!made)
    return false;
  product.getRhsMutable().assign(made);
  return added.empty() ||
         addToProduct(product, added, nameOf(old) + ".bias", key + keyOf(norm.bias), constants, files, error);
}

/// A norm of a stream, whose gains and bias are others' now, and whose rows have no mean.
void Rotator::makePlain(Operation *norm) {
  OpBuilder b(norm);
  Value input = norm->getOperand(0);
  int64_t channels = cast<RankedTensorType>(input.getType()).getShape().back();
  auto type = RankedTensorType::get({channels}, b.getF32Type());
  Value gain = b.create<ConstantOp>(norm->getLoc(), type, DenseElementsAttr::get(type, 1.0f));
  auto plain = b.create<RmsNormOp>(norm->getLoc(), norm->getResult(0).getType(), input, gain,
                                   norm->getAttrOfType<IntegerAttr>("axis"), norm->getAttrOfType<FloatAttr>("epsilon"));
  norm->getResult(0).replaceAllUsesWith(plain.getResult());
}

/// Takes the names off what is rotated from now on.
static void forgetNames(const ResidualStream &stream) {
  std::vector<Value> changed;
  for (MatmulOp product : stream.writers)
    changed.push_back(product.getResult());
  llvm::DenseSet<OpOperand *> ends;
  auto addResults = [&](OpOperand *use) { llvm::append_range(changed, use->getOwner()->getResults()); };
  for (OpOperand *use : stream.constants)
    addResults(use);
  for (const ResidualStream::Entry &entry : stream.entries)
    for (OpOperand *use : entry.uses)
      addResults(use);
  for (const StreamReader &reader : stream.readers)
    ends.insert(&reader.product->getOpOperand(0));
  for (const ResidualStream::Exit &exit : stream.exits)
    ends.insert(exit.use);
  lathe::forgetNames(changed, [&](OpOperand &use) { return ends.contains(&use); });
}

bool Rotator::rewrite(ResidualStream &stream) {
  forgetNames(stream);
  for (OpOperand *use : stream.constants)
    if (!rotateConstant(*use, stream))
      return false;
  for (const ResidualStream::Entry &entry : stream.entries) {
    Value rows = multiplied(entry.value, stream, /*isRotated=*/false, "rotation");
    if (!rows)
      return false;
    for (OpOperand *use : entry.uses)
      use->set(rows);
  }
  llvm::DenseMap<std::pair<Value, Operation *>, Value> back;
  for (const ResidualStream::Exit &exit : stream.exits) {
    Value &rows = back[{exit.use->get(), exit.norm}];
    if (!rows)
      rows = rotateBack(exit.use->get(), exit.norm, rotationOf(stream), /*toRotated=*/false, "rotation");
    if (!rows)
      return false;
    exit.use->set(rows);
  }
  return true;
}

void Rotator::tell(const ResidualStream &stream) {
  TransformedWeights told;
  told.step = "rotate";
  told.channels = stream.channels;
  told.reason = stream.reason;
  told.productsAdded = stream.reason.empty() ? stream.entries.size() + stream.exits.size() : 0;
  if (!stream.norms.empty())
    told.node = nodeOf(stream.norms.front());
  llvm::SetVector<StringRef> names;
  auto add = [&](Value constant) {
    if (WeightOp weight = weightOf(constant))
      names.insert(weight.getName());
  };
  for (OpOperand *use : stream.constants)
    add(use->get());
  for (MatmulOp product : stream.writers)
    add(product.getRhs());
  for (const StreamReader &reader : stream.readers)
    add(reader.product->getOperand(1));
  for (StringRef name : names)
    told.weights.push_back(name.str());
  // Programs that share weights tell the same, in their own order.
  llvm::sort(told.weights);
  auto isSame = [&](const TransformedWeights &other) {
    return other.step == told.step && other.weights == told.weights && other.reason == told.reason &&
           other.channels == told.channels;
  };
  if (llvm::none_of(report.transforms, isSame))
    report.transforms.push_back(std::move(told));
}

bool Rotator::run() {
  for (func::FuncOp program : compression.programs)
    for (ResidualStream &stream : compression::findResidualStreams(program))
      streams.push_back(std::move(stream));
  for (ResidualStream &stream : streams)
    if (!check(stream))
      return false;
  while (refuseSuccessive() || refuseShared())
    ;
  for (const ResidualStream &stream : streams)
    tell(stream);
  std::vector<Operation *> plain;
  for (ResidualStream &stream : streams) {
    if (!stream.reason.empty())
      continue;
    if (!rewrite(stream))
      return false;
    plain.insert(plain.end(), stream.norms.begin(), stream.norms.end());
  }
  for (auto &[op, plan] : products) {
    auto product = cast<MatmulOp>(op);
    WeightOp weight = weightOf(product.getRhs());
    Place place = weight ? Place(weight.getFile().str(), weight.getOffset()) : Place();
    bool done = tied.count(place)   ? rewriteTied(product, plan)
                : kept.count(place) ? rewriteKept(product, plan)
                                    : rewriteProduct(product, plan);
    if (!done)
      return false;
  }
  for (Operation *norm : plain)
    makePlain(norm);
  for (Operation *norm : plain)
    norm->erase();
  return true;
}

} // namespace

bool rotateStreams(const Compression &compression, const RecipeStep &step, runtime::ThreadPool &pool,
                   CompressionReport &report, std::string &error) {
  if (compression.progress)
    compression.progress("rotate");
  return Rotator{compression, static_cast<uint64_t>(step.seed), pool, report, error}.run();
}

} // namespace lathe
