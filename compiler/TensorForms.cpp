//===- TensorForms.cpp - What a weight's numbers become -------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/TensorForms.h"
#include "compiler/Resume.h"
#include "passes/lowrank/Circulants.h"
#include "passes/lowrank/Passes.h"
#include "passes/lowrank/Trains.h"
#include "passes/lowrank/methods/Ranks.h"
#include "passes/lowrank/methods/Refit.h"

using namespace mlir;

namespace lathe {
namespace {

using compression::Layer;
using lowrank::Circulant;
using lowrank::ConvolutionShape;
using lowrank::CpFactors;
using lowrank::TensorTrain;
using lowrank::TrainShape;
using lowrank::TuckerFactors;
using lowrank::WindowProduct;
using runtime::Status;

/// Rounds of higher-order orthogonal iteration: the first brings most, and further ones after the third next to
/// nothing.
constexpr int kSweeps = 3;
/// Of alternating least squares; they end earlier where they gain nothing any more.
constexpr int64_t kRounds = 100;
/// Rounds in which the two cores of a train are fitted to outputs, each in turn.
constexpr int kRefits = 2;
/// Shapes of Kronecker products that are tried, of weights up to a size: singular values of larger ones take seconds.
constexpr size_t kShapes = 3;
constexpr int64_t kMostTried = int64_t(1) << 20;
constexpr int64_t kCores = 3;

ConvolutionShape shapeOf(const Layer &layer, const WindowProduct &convolution) {
  return {layer.outputs, convolution.channels, convolution.elements};
}

template <typename... Parts> Status fail(const Parts &...parts) {
  return runtime::failure(LATHE_INVALID_ARGUMENT, parts...);
}

Status larger(const std::string &what, int64_t numbers, int64_t all) {
  return fail(what, " would have ", numbers, " numbers, the weight has ", all);
}

int64_t budgetOf(const LowRankFields &fields, int64_t numbers) {
  return static_cast<int64_t>((1 - *fields.ratio) * static_cast<double>(numbers) + 1e-9);
}

//===-- Trains ------------------------------------------------------------===//

std::vector<TrainShape> shapesOf(const LowRankFields &fields, int64_t outputs, int64_t inputs) {
  if (fields.method != "kronecker")
    return {lowrank::balancedShape(outputs, inputs, fields.cores.value_or(kCores))};
  if (!fields.block)
    return lowrank::kroneckerShapes(outputs, inputs, outputs * inputs <= kMostTried ? kShapes : 1);
  if (outputs % *fields.block != 0 || inputs % *fields.block != 0)
    return {};
  return {lowrank::kroneckerShape(outputs, inputs, *fields.block, *fields.block)};
}

/// The rank that the step asks for, of one shape; 0 where that saves nothing, and what is wrong with the weight fails.
Status rankOf(const LowRankFields &fields, const quantization::Weight &weight, const TrainShape &shape, int64_t &rank,
              double &kept) {
  const int64_t numbers = weight.n * weight.k;
  rank = fields.rank    ? *fields.rank
         : fields.ratio ? lowrank::trainRankWithin(shape, budgetOf(fields, numbers))
                        : numbers;
  if (!fields.energy && lowrank::trainNumbers(shape, lowrank::trainRanks(shape, rank)) >= numbers)
    rank = 0;
  kept = 0;
  if (rank < 1 || (fields.energy && fields.method != "kronecker"))
    return {};
  std::vector<double> squares;
  if (Status status = lowrank::trainSpectrum(weight, shape, squares); status.failed())
    return status;
  if (fields.energy)
    rank = lowrank::rankOfEnergy(squares, *fields.energy);
  kept = lowrank::energyKept(squares, rank);
  return {};
}

Status fitTrain(const LowRankFields &fields, const Layer &layer, const std::vector<float> &dense, bool hasData,
                TensorForm &form) {
  const quantization::Weight weight{dense.data(), layer.outputs, layer.inputs};
  const int64_t all = weight.n * weight.k;
  std::vector<TrainShape> shapes = shapesOf(fields, weight.n, weight.k);
  if (shapes.empty())
    return fail("a block of ", *fields.block, " x ", *fields.block, " does not divide ", weight.k, " x ", weight.n);
  const TrainShape *best = nullptr;
  int64_t rank = 0;
  // Of shapes that keep as much the one with the fewest numbers, of those with as many the one that keeps most.
  double worth = 0;
  for (const TrainShape &shape : shapes) {
    int64_t own = 0;
    double kept = 0;
    if (shapes.size() == 1)
      own = fields.rank ? *fields.rank : fields.ratio ? lowrank::trainRankWithin(shape, budgetOf(fields, all)) : all;
    else if (Status status = rankOf(fields, weight, shape, own, kept); status.failed())
      return status;
    if (own < 1)
      continue;
    double ownWorth =
        fields.energy ? -static_cast<double>(lowrank::trainNumbers(shape, lowrank::trainRanks(shape, own))) : kept;
    // Of shapes that are tried, what can be fitted to outputs comes before what can't.
    if (hasData && lowrank::canRefit(shape, lowrank::trainRanks(shape, own)))
      ownWorth += static_cast<double>(all);
    if (best && ownWorth <= worth)
      continue;
    best = &shape;
    rank = own;
    worth = ownWorth;
  }
  if (!best)
    return fail("no train of a rank that is asked for is smaller than the weight of ", weight.k, " x ", weight.n);
  if (fields.rank)
    if (int64_t numbers = lowrank::trainNumbers(*best, lowrank::trainRanks(*best, rank)); numbers >= all)
      return larger("cores of rank " + std::to_string(rank), numbers, all);
  TensorTrain train;
  if (Status status = lowrank::factorizeTrain(weight, *best, rank, fields.energy.value_or(1), train); status.failed())
    return status;
  if (train.numbers() >= all)
    return larger("cores that keep the energy", train.numbers(), all);
  form = std::move(train);
  return {};
}

/// Of outputs, windows and channels in this order, so that channels become fewer before windows are taken: what
/// convolutions are computed by are Tucker's factors, found one after the other.
Status fitConvolutionTrain(const LowRankFields &fields, const ConvolutionShape &shape, const std::vector<float> &dense,
                           TensorForm &form) {
  auto [o, c, e] = shape;
  std::vector<float> ordered(dense.size());
  for (int64_t i = 0; i < o; ++i)
    for (int64_t j = 0; j < c; ++j)
      for (int64_t t = 0; t < e; ++t)
        ordered[(i * e + t) * c + j] = dense[(i * c + j) * e + t];
  const TrainShape parts{{o, 1, 1}, {1, e, c}};
  const int64_t rank = fields.rank    ? *fields.rank
                       : fields.ratio ? lowrank::trainRankWithin(parts, budgetOf(fields, shape.numbers()))
                                      : shape.numbers();
  if (rank < 1)
    return fail("no train is as small as is asked for");
  TensorTrain train;
  if (Status status =
          lowrank::factorizeTrain({ordered.data(), o, e * c}, parts, rank, fields.energy.value_or(1), train);
      status.failed())
    return status;
  if (train.numbers() >= shape.numbers())
    return larger("cores of ranks " + std::to_string(train.ranks[1]) + " and " + std::to_string(train.ranks[0]),
                  train.numbers(), shape.numbers());
  TuckerFactors factors;
  factors.shape = shape;
  factors.outputRank = train.ranks[0];
  factors.inputRank = train.ranks[1];
  factors.energyKept = train.energyKept;
  factors.left = std::move(train.cores[0]);
  factors.right = std::move(train.cores[2]);
  const int64_t p = factors.outputRank, q = factors.inputRank;
  factors.core.resize(train.cores[1].size());
  for (int64_t i = 0; i < p; ++i)
    for (int64_t t = 0; t < e; ++t)
      for (int64_t j = 0; j < q; ++j)
        factors.core[(i * q + j) * e + t] = train.cores[1][(i * e + t) * q + j];
  form = std::move(factors);
  return {};
}

//===-- Circulant ---------------------------------------------------------===//

/// Whether products of a layer are computed by transforms: these take fewer multiplications than the matrix.
bool isTransformed(const Layer &layer, int64_t block) {
  return layer.isMatmul() && layer.readsRows() &&
         Circulant::multiplications(layer.outputs, layer.inputs, block) < static_cast<double>(layer.elements());
}

/// Numbers that are stored: the blocks' transform, their first columns, or both.
int64_t numbersOf(const Layer &layer, int64_t block) {
  bool isMatrix = layer.isTable() || !isTransformed(layer, block);
  return (isTransformed(layer, block) ? lowrank::circulantNumbers(layer.outputs, layer.inputs, block) : 0) +
         (isMatrix ? static_cast<int64_t>(layer.elements()) / block : 0);
}

Status fitCirculant(const LowRankFields &fields, const Layer &layer, const std::vector<float> &dense,
                    TensorForm &form) {
  const quantization::Weight weight{dense.data(), layer.outputs, layer.inputs};
  const int64_t n = weight.n, k = weight.k;
  std::vector<int64_t> blocks;
  for (int64_t block : lowrank::circulantBlocks(n, k))
    if (fields.block ? block == *fields.block : !fields.ratio || numbersOf(layer, block) <= budgetOf(fields, n * k))
      blocks.push_back(block);
  if (blocks.empty() && fields.block)
    return fail("a block of ", *fields.block, " does not divide ", k, " x ", n);
  if (blocks.empty())
    return fail("no block that divides ", k, " x ", n, " saves as much");
  // The least that saves enough keeps most; by energy the largest that keeps enough.
  Circulant found;
  if (!fields.energy) {
    if (Status status = lowrank::nearestCirculant(weight, blocks.front(), found); status.failed())
      return status;
  } else {
    double most = 0;
    for (size_t i = blocks.size(); i-- > 0 && (found.first.empty() || found.energyKept < *fields.energy);) {
      if (Status status = lowrank::nearestCirculant(weight, blocks[i], found); status.failed())
        return status;
      most = std::max(most, found.energyKept);
    }
    if (found.energyKept < *fields.energy)
      return fail("the largest share of its squares that circulant blocks keep is ", most);
  }
  if (int64_t numbers = numbersOf(layer, found.block); numbers >= n * k)
    return larger("circulant blocks of " + std::to_string(found.block), numbers, n * k);
  form = std::move(found);
  return {};
}

//===-- Convolutions ------------------------------------------------------===//

Status fitTucker(const LowRankFields &fields, const ConvolutionShape &shape, const std::vector<float> &dense,
                 TensorForm &form) {
  int64_t outputs = std::min(fields.rank.value_or(1), shape.outputs),
          inputs = std::min(fields.rank.value_or(1), shape.channels);
  if (fields.ratio) {
    lowrank::tuckerRanks(shape, *fields.ratio, outputs, inputs);
  } else if (fields.energy) {
    if (Status status = lowrank::tuckerRanksOfEnergy(dense, shape, *fields.energy, outputs, inputs); status.failed())
      return status;
  }
  if (int64_t numbers = TuckerFactors::size(shape, outputs, inputs); numbers >= shape.numbers())
    return larger("factors of ranks " + std::to_string(outputs) + " and " + std::to_string(inputs), numbers,
                  shape.numbers());
  TuckerFactors factors;
  if (Status status = lowrank::factorizeTucker(dense, shape, outputs, inputs, kSweeps, factors); status.failed())
    return status;
  form = std::move(factors);
  return {};
}

Status fitCp(const LowRankFields &fields, const ConvolutionShape &shape, const std::vector<float> &dense,
             TensorForm &form) {
  const int64_t term = CpFactors::size(shape, 1),
                rank = fields.rank ? *fields.rank : budgetOf(fields, shape.numbers()) / term;
  if (rank < 1)
    return fail("a single term has ", term, " numbers, which is more than is asked for");
  if (rank * term >= shape.numbers())
    return larger("factors of rank " + std::to_string(rank), rank * term, shape.numbers());
  CpFactors factors;
  if (Status status =
          lowrank::factorizeCp(dense, shape, rank, static_cast<uint64_t>(fields.seed.value_or(1)), kRounds, factors);
      status.failed())
    return status;
  form = std::move(factors);
  return {};
}

//===-- What can't be -----------------------------------------------------===//

/// The largest rank by which a layer's form is smaller than the layer; 0 for none.
int64_t largestRank(const RecipeStep &step, const Layer &layer) {
  const LowRankFields &fields = step.lowRank;
  const auto numbers = static_cast<int64_t>(layer.elements());
  std::vector<WindowProduct> convolutions = convolutionsOf(layer);
  if (!convolutions.empty() && fields.method != "kronecker") {
    ConvolutionShape shape = shapeOf(layer, convolutions.front());
    if (fields.method == "cp")
      return (numbers - 1) / CpFactors::size(shape, 1);
    if (fields.method == "tensor-train")
      return lowrank::trainRankWithin({{shape.outputs, 1, 1}, {1, shape.window, shape.channels}}, numbers - 1);
    int64_t rank = 0, most = std::max(shape.outputs, shape.channels);
    while (rank < most &&
           TuckerFactors::size(shape, std::min(rank + 1, shape.outputs), std::min(rank + 1, shape.channels)) < numbers)
      ++rank;
    return rank;
  }
  if (fields.method == "cp" || fields.method == "tucker")
    return 0;
  int64_t most = 0;
  for (const TrainShape &shape : shapesOf(fields, layer.outputs, layer.inputs))
    most = std::max(most, lowrank::trainRankWithin(shape, numbers - 1));
  return most;
}

std::string sizeOf(const Layer &layer) {
  return "'" + layer.name + "', " + std::to_string(layer.inputs) + " x " + std::to_string(layer.outputs);
}

/// Why no layer can have blocks of the size that is asked for, with the nearest that one can.
std::string whyNoBlock(int64_t block, ArrayRef<Layer> layers) {
  const Layer *best = nullptr;
  int64_t nearest = 0;
  for (const Layer &layer : layers)
    for (int64_t own : lowrank::circulantBlocks(layer.outputs, layer.inputs)) {
      if (own == block)
        return "";
      if (!best || std::abs(own - block) < std::abs(nearest - block)) {
        best = &layer;
        nearest = own;
      }
    }
  std::string text = "field 'block': " + std::to_string(block) + " divides both extents of no weight that it is for";
  return best ? text + "; the nearest that does is " + std::to_string(nearest) + ", of " + sizeOf(*best) : text;
}

std::string whyNoRankOf(const RecipeStep &step, ArrayRef<Layer> layers) {
  const Layer *best = nullptr;
  int64_t most = 0;
  for (const Layer &layer : layers)
    if (int64_t own = largestRank(step, layer); !best || own > most) {
      best = &layer;
      most = own;
    }
  if (*step.lowRank.rank <= most)
    return "";
  std::string text = "field 'rank': " + step.lowRank.method + " of rank " + std::to_string(*step.lowRank.rank) +
                     " is not smaller than any weight that it is for";
  return most < 1 ? text
                  : text + "; the largest rank that saves bytes is " + std::to_string(most) + ", of " + sizeOf(*best);
}

bool isOfConvolutions(const std::string &method) { return method == "tucker" || method == "cp"; }

//===-- Kept for the next run ---------------------------------------------===//

// One function for both ways: `archive` is a writer's put, or a reader's get.
template <typename Archive> void pass(Archive &&archive, TensorTrain &form) {
  archive(form.shape.n);
  archive(form.shape.k);
  archive(form.ranks);
  form.cores.resize(form.shape.n.size());
  for (std::vector<float> &core : form.cores)
    archive(core);
  archive(form.energyKept);
}

template <typename Archive> void pass(Archive &&archive, Circulant &form) {
  archive(form.n);
  archive(form.k);
  archive(form.block);
  archive(form.first);
  archive(form.energyKept);
}

template <typename Archive> void pass(Archive &&archive, TuckerFactors &form) {
  archive(form.shape);
  archive(form.outputRank);
  archive(form.inputRank);
  archive(form.left);
  archive(form.core);
  archive(form.right);
  archive(form.energyKept);
}

template <typename Archive> void pass(Archive &&archive, CpFactors &form) {
  archive(form.shape);
  archive(form.rank);
  archive(form.left);
  archive(form.window);
  archive(form.right);
  archive(form.energyKept);
}

template <typename Archive> void pass(Archive &&, std::monostate &) {}

bool fits(const TensorTrain &form, const Layer &layer) {
  if (form.shape.n.size() != form.shape.k.size() || form.cores.size() < 2 ||
      form.ranks.size() + 1 != form.cores.size() || form.shape.outputs() != layer.outputs ||
      form.shape.inputs() != layer.inputs)
    return false;
  for (size_t core = 0; core < form.cores.size(); ++core)
    if (form.cores[core].size() != static_cast<size_t>(form.shape.part(core) * form.before(core) * form.behind(core)))
      return false;
  return true;
}

bool fits(const Circulant &form, const Layer &layer) {
  return form.n == layer.outputs && form.k == layer.inputs && form.block > 0 && form.n % form.block == 0 &&
         form.k % form.block == 0 && form.first.size() == static_cast<size_t>(form.n / form.block * form.k);
}

bool isOf(const ConvolutionShape &shape, const Layer &layer) {
  return shape.outputs == layer.outputs && shape.channels * shape.window == layer.inputs;
}

bool fits(const TuckerFactors &form, const Layer &layer) {
  const int64_t p = form.outputRank, q = form.inputRank;
  return isOf(form.shape, layer) && p > 0 && q > 0 && form.left.size() == static_cast<size_t>(layer.outputs * p) &&
         form.core.size() == static_cast<size_t>(p * q * form.shape.window) &&
         form.right.size() == static_cast<size_t>(q * form.shape.channels);
}

bool fits(const CpFactors &form, const Layer &layer) {
  const int64_t r = form.rank;
  return isOf(form.shape, layer) && r > 0 && form.left.size() == static_cast<size_t>(layer.outputs * r) &&
         form.window.size() == static_cast<size_t>(r * form.shape.window) &&
         form.right.size() == static_cast<size_t>(r * form.shape.channels);
}

bool fits(const std::monostate &, const Layer &) { return false; }

//===-- In the place of weights -------------------------------------------===//

/// Products of rows take transforms where these are fewer multiplications; other readers get the matrix.
bool replaceByCirculant(const Layer &layer, const Circulant &form, bool keepsExpressions,
                        const compression::MakeConstant &make) {
  bool pays = isTransformed(layer, form.block);
  ShapeContext shapes;
  SmallVector<Operation *> done;
  auto isOfSymbols = [&](Value value) {
    FailureOr<SymShape> shape = shapes.shapeOf(value);
    return succeeded(shape) && llvm::none_of(*shape, [](const SymExpr &dim) { return dim.dependsOnData(); });
  };
  for (MatmulOp product : layer.products)
    if (pays && !keepsExpressions && isOfSymbols(product.getLhs())) {
      if (!lowrank::multiplyByCirculant(product, layer.name, layer.stored, form, shapes, make))
        return false;
      done.push_back(product);
    }
  for (Operation *product : done)
    product->erase();
  for (Value value : layer.values)
    if (!value.use_empty() &&
        !lowrank::replaceByCirculant(value, layer.name, layer.transposed, layer.stored, form, make))
      return false;
  return true;
}

} // namespace

bool isTensorForm(const std::string &method) { return method != "svd" && method != "asvd" && method != "svd-llm"; }

std::vector<WindowProduct> convolutionsOf(const Layer &layer) {
  std::vector<WindowProduct> found;
  for (MatmulOp product : layer.products) {
    std::optional<WindowProduct> own = layer.isTable() ? std::nullopt : lowrank::windowProduct(product);
    if (!own || (!found.empty() && found.front().channels != own->channels))
      return {};
    found.push_back(*own);
  }
  return found;
}

std::string whyNoForm(const RecipeStep &step, ArrayRef<Layer> layers) {
  const LowRankFields &fields = step.lowRank;
  if (layers.empty())
    return "";
  auto isConvolution = [](const Layer &layer) { return !convolutionsOf(layer).empty(); };
  if (isOfConvolutions(fields.method) && llvm::none_of(layers, isConvolution))
    return "method '" + fields.method +
           "': none of the weights that it is for is that of a convolution with windows of "
           "more than one element";
  if (fields.block)
    if (std::string problem = whyNoBlock(*fields.block, layers); !problem.empty())
      return problem;
  return fields.rank ? whyNoRankOf(step, layers) : "";
}

std::string whyNotForm(const RecipeStep &step, const Layer &layer) {
  if (isOfConvolutions(step.lowRank.method))
    return convolutionsOf(layer).empty() ? "it is no convolution with windows of more than one element" : "";
  for (Value value : layer.values)
    for (OpOperand &use : value.getUses())
      if (std::string reason = lowrank::whyNotFactors(use); !reason.empty())
        return reason;
  return "";
}

static Status fitToWeight(const LowRankFields &fields, const Layer &layer, const std::vector<float> &dense,
                          bool hasData, TensorForm &form) {
  if (fields.method == "circulant")
    return fitCirculant(fields, layer, dense, form);
  std::vector<WindowProduct> convolutions = convolutionsOf(layer);
  if (fields.method == "kronecker" || convolutions.empty())
    return fitTrain(fields, layer, dense, hasData, form);
  ConvolutionShape shape = shapeOf(layer, convolutions.front());
  return fields.method == "cp"       ? fitCp(fields, shape, dense, form)
         : fields.method == "tucker" ? fitTucker(fields, shape, dense, form)
                                     : fitConvolutionTrain(fields, shape, dense, form);
}

Status fitForm(const LowRankFields &fields, const Layer &layer, const std::vector<float> &dense,
               const quantization::InputStatistics *inputs, TensorForm &form, bool &isRefitted) {
  isRefitted = false;
  const bool hasData = inputs && inputs->hasSecondMoment();
  if (Status status = fitToWeight(fields, layer, dense, hasData, form); status.failed() || !hasData)
    return status;
  const quantization::Weight weight{dense.data(), layer.outputs, layer.inputs};
  if (auto *circulant = std::get_if<Circulant>(&form)) {
    isRefitted = true;
    return lowrank::refit(weight, *inputs, *circulant);
  }
  auto *train = std::get_if<TensorTrain>(&form);
  return train ? lowrank::refit(weight, *inputs, kRefits, *train, isRefitted) : Status();
}

std::vector<float> denseOf(const TensorForm &form) {
  return std::visit(
      [](const auto &own) -> std::vector<float> {
        if constexpr (std::is_same_v<std::decay_t<decltype(own)>, std::monostate>)
          return {};
        else
          return own.dense();
      },
      form);
}

void describeForm(const Layer &layer, const TensorForm &form, CompressedLayer &entry) {
  int64_t numbers = static_cast<int64_t>(layer.elements());
  auto join = [](const std::vector<int64_t> &values, const char *between) {
    std::string text;
    for (int64_t value : values)
      text += (text.empty() ? "" : between) + std::to_string(value);
    return text;
  };
  if (const auto *train = std::get_if<TensorTrain>(&form)) {
    numbers = train->numbers();
    entry.rank = *std::max_element(train->ranks.begin(), train->ranks.end());
    entry.energyKept = train->energyKept;
    entry.format = train->cores.size() == 2
                       ? std::to_string(entry.rank) + " Kronecker products"
                       : std::to_string(train->cores.size()) + " cores of ranks " + join(train->ranks, ", ");
    entry.format += ", outputs " + join(train->shape.n, " x ") + ", inputs " + join(train->shape.k, " x ");
    entry.factors = lowrank::trainNames(layer.name, train->cores.size());
  } else if (const auto *circulant = std::get_if<Circulant>(&form)) {
    numbers = numbersOf(layer, circulant->block);
    entry.rank = circulant->block;
    entry.energyKept = circulant->energyKept;
    entry.format = "circulant blocks of " + std::to_string(circulant->block);
    entry.factors = {lowrank::spectrumName(layer.name), lowrank::circulantName(layer.name)};
  } else if (const auto *tucker = std::get_if<TuckerFactors>(&form)) {
    numbers = TuckerFactors::size(tucker->shape, tucker->outputRank, tucker->inputRank);
    entry.rank = tucker->outputRank;
    entry.energyKept = tucker->energyKept;
    entry.format = "ranks " + std::to_string(tucker->inputRank) + " and " + std::to_string(tucker->outputRank);
    entry.factors = lowrank::tuckerNames(layer.name);
  } else if (const auto *cp = std::get_if<CpFactors>(&form)) {
    numbers = CpFactors::size(cp->shape, cp->rank);
    entry.rank = cp->rank;
    entry.energyKept = cp->energyKept;
    entry.format = "rank " + std::to_string(cp->rank) + ", a window of each channel";
    entry.factors = lowrank::cpNames(layer.name);
  }
  entry.bytesAfter = static_cast<uint64_t>(numbers) * (layer.stored.getIntOrFloatBitWidth() / 8);
}

std::string bytesOf(const TensorForm &form) {
  ResumeWriter writer;
  writer.put(static_cast<uint64_t>(form.index()));
  TensorForm copy = form;
  std::visit([&](auto &own) { pass([&](const auto &value) { writer.put(value); }, own); }, copy);
  return writer.bytes;
}

bool formOf(const std::string &bytes, const LowRankFields &fields, const Layer &layer, TensorForm &form) {
  ResumeReader reader(bytes);
  uint64_t index = 0;
  reader.get(index);
  TensorForm found;
  if (index == 1)
    found = TensorTrain();
  else if (index == 2)
    found = Circulant();
  else if (index == 3)
    found = TuckerFactors();
  else if (index == 4)
    found = CpFactors();
  std::visit([&](auto &own) { pass([&](auto &value) { reader.get(value); }, own); }, found);
  if (!reader.isDone() || !std::visit([&](const auto &own) { return fits(own, layer); }, found))
    return false;
  form = std::move(found);
  return true;
}

bool replaceByForm(const Layer &layer, const TensorForm &form, bool keepsExpressions,
                   const compression::MakeConstant &make) {
  if (const auto *circulant = std::get_if<Circulant>(&form))
    return replaceByCirculant(layer, *circulant, keepsExpressions, make);
  if (const auto *train = std::get_if<TensorTrain>(&form))
    return llvm::all_of(layer.values, [&](Value value) {
      return lowrank::replaceByTrain(value, layer.name, layer.transposed, !layer.isMatmul(), layer.stored, *train,
                                     make);
    });
  const auto *tucker = std::get_if<TuckerFactors>(&form);
  const auto *cp = std::get_if<CpFactors>(&form);
  if (keepsExpressions)
    return llvm::all_of(layer.values, [&](Value value) {
      return tucker ? lowrank::replaceByTuckerExpression(value, layer.name, layer.stored, *tucker, make)
                    : lowrank::replaceByCpExpression(value, layer.name, layer.stored, *cp, make);
    });
  return llvm::all_of(convolutionsOf(layer), [&](const WindowProduct &convolution) {
    return tucker ? lowrank::replaceByTucker(convolution, layer.name, layer.stored, *tucker, make)
                  : lowrank::replaceByCp(convolution, layer.name, layer.stored, *cp, make);
  });
}

} // namespace lathe
