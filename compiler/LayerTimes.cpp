//===- LayerTimes.cpp - How long products take ----------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/LayerTimes.h"
#include "compiler/TemporaryArtifact.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include <algorithm>
#include <cstdio>
#include <numeric>

using namespace mlir;

namespace lathe {
namespace {

using compression::Layer;
using NodeTimes = std::map<std::string, NodeTime>;

/// Bytes of f32 that the weights of one program take at most, unless a single one takes more: enough to be read from
/// memory, as weights of models that large are, and little enough to be held beside the model.
constexpr uint64_t kMostBytes = uint64_t(128) << 20;

uint64_t bytesOf(const TimedProduct &product) {
  return static_cast<uint64_t>(product.inputs) * static_cast<uint64_t>(product.outputs) * sizeof(float);
}

/// What the kernels of a product, and those of what products share, are called in profiles.
std::string nodeOf(size_t index) { return "product " + std::to_string(index); }
std::string inputOf(const TimedProduct &product) {
  std::string name = "x " + std::to_string(product.rows) + " " + std::to_string(product.inputs);
  for (int64_t extent : product.kernel)
    name += " " + std::to_string(extent);
  return name;
}

/// [rows, inputs], or the image of a convolution, [1, channels, s…].
RankedTensorType typeOfInput(const TimedProduct &product, Type element) {
  if (product.kernel.empty())
    return RankedTensorType::get({product.rows, product.inputs}, element);
  SmallVector<int64_t> shape{1, product.inputs};
  for (auto [extent, places] : llvm::zip(product.kernel, product.positions)) {
    shape[1] /= extent;
    shape.push_back(places + extent - 1);
  }
  return RankedTensorType::get(shape, element);
}

/// Windows of an image as rows, [1, rows, inputs], as convolutions are imported.
Value windowsOf(OpBuilder &b, Location loc, Value image, const TimedProduct &product) {
  auto type = cast<RankedTensorType>(image.getType());
  const auto axes = static_cast<int64_t>(product.kernel.size());
  auto index = [&](int64_t value) -> Value { return b.create<arith::ConstantIndexOp>(loc, value); };
  SmallVector<Value> kernel, low, extents;
  SmallVector<int64_t> shape{1, type.getDimSize(1)}, ordered{1}, order{0}, ones(axes, 1);
  for (int64_t places : product.positions) {
    shape.push_back(places);
    ordered.push_back(places);
    order.push_back(static_cast<int64_t>(order.size()) + 1);
    extents.push_back(index(places));
    low.push_back(index(0));
  }
  ordered.push_back(type.getDimSize(1));
  order.push_back(1);
  for (int64_t extent : product.kernel) {
    shape.push_back(extent);
    ordered.push_back(extent);
    order.push_back(static_cast<int64_t>(order.size()));
    kernel.push_back(index(extent));
  }
  auto steps = b.getDenseI64ArrayAttr(ones);
  Value windows = b.create<WindowsOp>(loc, type.clone(shape), image, kernel, low, extents, steps, steps, steps,
                                      b.getF64FloatAttr(0));
  Value rows = b.create<TransposeOp>(loc, type.clone(ordered), windows, b.getDenseI64ArrayAttr(order));
  return b.create<ReshapeOp>(loc, type.clone({1, product.rows, product.inputs}), rows,
                             ValueRange{index(1), index(product.rows), index(product.inputs)});
}

/// A program of products alone, whose left sides, one for each shape, are its arguments. Of each product one row is a
/// result, so that the others lie in memory that products use in turn.
struct Products {
  OwningOpRef<ModuleOp> module;
  ArrayRef<TimedProduct> all;
  ArrayRef<size_t> chosen;

  Products(ModuleOp model, ArrayRef<TimedProduct> all, ArrayRef<size_t> chosen);
  func::FuncOp main() { return module->lookupSymbol<func::FuncOp>("main"); }
};

Products::Products(ModuleOp model, ArrayRef<TimedProduct> all, ArrayRef<size_t> chosen) : all(all), chosen(chosen) {
  MLIRContext *context = model.getContext();
  OpBuilder b(context);
  Location unknown = b.getUnknownLoc();
  module = ModuleOp::create(unknown);
  if (Attribute folder = model->getAttr(LatheDialect::kModelDirAttr))
    (*module)->setAttr(LatheDialect::kModelDirAttr, folder);
  auto resultOf = [&](const TimedProduct &product, int64_t rows) {
    SmallVector<int64_t> shape{rows, product.outputs};
    if (!product.kernel.empty())
      shape.insert(shape.begin(), 1);
    return RankedTensorType::get(shape, b.getF32Type());
  };
  std::map<std::string, unsigned> arguments;
  SmallVector<Type> inputs, outputs;
  SmallVector<std::string> names;
  for (size_t index : chosen) {
    const TimedProduct &product = all[index];
    if (arguments.try_emplace(inputOf(product), inputs.size()).second) {
      inputs.push_back(typeOfInput(product, b.getF32Type()));
      names.push_back(inputOf(product));
    }
    outputs.push_back(resultOf(product, 1));
  }
  b.setInsertionPointToStart(module->getBody());
  auto main = b.create<func::FuncOp>(unknown, "main", FunctionType::get(context, inputs, outputs));
  b.setInsertionPointToStart(main.addEntryBlock());
  for (auto [i, name] : llvm::enumerate(names)) {
    main.setArgAttr(i, LatheDialect::kNameAttr, b.getStringAttr(name));
    main.getArgument(i).setLoc(NameLoc::get(b.getStringAttr(name)));
  }
  Value zero = b.create<arith::ConstantIndexOp>(unknown, 0), one = b.create<arith::ConstantIndexOp>(unknown, 1);
  SmallVector<Value> results;
  for (auto [i, index] : llvm::enumerate(chosen)) {
    const TimedProduct &product = all[index];
    Location loc = NameLoc::get(b.getStringAttr(nodeOf(index)));
    Value x = main.getArgument(arguments[inputOf(product)]);
    if (!product.kernel.empty())
      x = windowsOf(b, loc, x, product);
    Value y = b.create<MatmulOp>(loc, resultOf(product, product.rows), x, product.weight(b, loc),
                                 /*transpose_lhs=*/false, product.transposed);
    if (product.rows > 1)
      y = b.create<SliceOp>(unknown, outputs[i], y, zero, one, b.getDenseI64ArrayAttr({product.kernel.empty() ? 0 : 1}),
                            b.getDenseI64ArrayAttr({1}));
    results.push_back(y);
    main.setResultAttr(i, LatheDialect::kNameAttr, b.getStringAttr("y" + std::to_string(index)));
  }
  b.create<func::ReturnOp>(unknown, results);
}

/// The products of a program that are of timed ones.
SmallVector<TimedMatmul> matmulsOf(Products &products) {
  std::map<std::string, size_t> indices;
  for (size_t index : products.chosen)
    indices[nodeOf(index)] = index;
  SmallVector<TimedMatmul> found;
  products.main().walk([&](MatmulOp op) { found.push_back({indices.at(compression::nodeOf(op)), op}); });
  return found;
}

/// The time of a product: of its own kernels, and its share in those of its input, such as what rounds it.
TimedWay timeOf(const NodeTimes &nodes, const Products &products, size_t index, const std::string &name) {
  TimedWay way;
  way.name = name;
  if (auto own = nodes.find(nodeOf(index)); own != nodes.end()) {
    way.microseconds = own->second.microseconds;
    way.kernel = own->second.kernel;
  }
  std::string input = inputOf(products.all[index]);
  auto shared = nodes.find(input);
  if (shared == nodes.end())
    return way;
  auto readers = llvm::count_if(products.chosen, [&](size_t other) { return inputOf(products.all[other]) == input; });
  way.microseconds += shared->second.microseconds / static_cast<double>(readers);
  way.kernel += (way.kernel.empty() ? "" : ", ") + shared->second.kernel;
  return way;
}

/// One program in all ways.
bool timeProgram(const Compression &compression, ArrayRef<TimedProduct> all, ArrayRef<size_t> chosen,
                 ArrayRef<ProductWay> ways, bool isWarm, std::vector<std::vector<TimedWay>> &times,
                 std::string &error) {
  std::vector<TemporaryArtifact> files(ways.size());
  std::vector<std::string> paths;
  Products plain(compression.main, all, chosen);
  for (auto [way, file] : llvm::zip(ways, files)) {
    Products own(compression.main, all, chosen);
    if (way.change && !way.change(matmulsOf(own), error))
      return false;
    auto write = [&](const std::string &path, std::string &problem) {
      return compression.compileTimed(*own.module, path, problem);
    };
    if (!file.make(write, error))
      return false;
    paths.push_back(file.path());
  }
  std::vector<NodeTimes> measured;
  error = compression.stopwatch->time(paths, isWarm, measured);
  if (!error.empty())
    return false;
  for (size_t index : chosen) {
    times[index].clear();
    for (auto [way, nodes] : llvm::zip(ways, measured)) {
      times[index].push_back(timeOf(nodes, plain, index, way.name));
      if (times[index].back().microseconds > 0)
        continue;
      const TimedProduct &product = all[index];
      error = "no kernel of the way '" + way.name + "' was seen for a product of " + std::to_string(product.inputs) +
              " x " + std::to_string(product.outputs);
      return false;
    }
  }
  return true;
}

/// Products that take equal times.
std::vector<std::vector<size_t>> classesOf(ArrayRef<TimedProduct> products) {
  std::vector<std::vector<size_t>> classes;
  std::map<std::tuple<int64_t, int64_t, int64_t, std::string>, size_t> known;
  for (auto [index, product] : llvm::enumerate(products)) {
    auto [it, isNew] = known.try_emplace({product.rows, product.inputs, product.outputs, product.kind}, classes.size());
    if (isNew)
      classes.emplace_back();
    classes[it->second].push_back(index);
  }
  return classes;
}

/// One of each class, and further ones of each as long as all are no more than kMostBytes; in the order of the model.
std::vector<size_t> sampleOf(ArrayRef<TimedProduct> products, ArrayRef<std::vector<size_t>> classes) {
  std::vector<size_t> chosen;
  uint64_t bytes = 0;
  bool isMore = true;
  for (size_t round = 0; isMore; ++round) {
    isMore = false;
    for (const std::vector<size_t> &own : classes) {
      if (round >= own.size() || (round > 0 && bytes + bytesOf(products[own[round]]) > kMostBytes))
        continue;
      chosen.push_back(own[round]);
      bytes += bytesOf(products[own[round]]);
      isMore = true;
    }
  }
  llvm::sort(chosen);
  return chosen;
}

/// As many as one program may have.
std::vector<std::vector<size_t>> batchesOf(ArrayRef<TimedProduct> products, ArrayRef<size_t> chosen) {
  std::vector<std::vector<size_t>> batches;
  uint64_t bytes = 0;
  for (size_t index : chosen) {
    if (batches.empty() || bytes + bytesOf(products[index]) > kMostBytes) {
      batches.emplace_back();
      bytes = 0;
    }
    batches.back().push_back(index);
    bytes += bytesOf(products[index]);
  }
  return batches;
}

/// Gives all products of a class the median of the times of those that were timed.
void shareTimes(ArrayRef<std::vector<size_t>> classes, size_t ways, std::vector<std::vector<TimedWay>> &times) {
  for (const std::vector<size_t> &own : classes) {
    std::vector<TimedWay> medians;
    for (size_t way = 0; way < ways; ++way) {
      std::vector<TimedWay> timed;
      for (size_t index : own)
        if (!times[index].empty())
          timed.push_back(times[index][way]);
      llvm::sort(timed, [](const TimedWay &a, const TimedWay &b) { return a.microseconds < b.microseconds; });
      medians.push_back(timed[timed.size() / 2]);
    }
    for (size_t index : own)
      times[index] = medians;
  }
}

std::string keyOf(const Compression &compression, ArrayRef<TimedProduct> products, ArrayRef<ProductWay> ways,
                  const std::string &own) {
  ResumeKey key("times");
  key.add(compression.stopwatch->machine());
  key.add(own);
  for (const ProductWay &way : ways)
    key.add(way.name);
  for (const TimedProduct &product : products) {
    for (int64_t size : {product.rows, product.inputs, product.outputs})
      key.add(size);
    key.add(product.kind);
  }
  return key.text();
}

bool findTimes(Resume &resume, const std::string &key, ArrayRef<ProductWay> ways,
               std::vector<std::vector<TimedWay>> &times) {
  std::optional<std::string> bytes = resume.find(key);
  if (!bytes)
    return false;
  std::vector<std::vector<TimedWay>> kept(times.size());
  ResumeReader reader(*bytes);
  for (std::vector<TimedWay> &product : kept)
    for (const ProductWay &way : ways) {
      product.push_back({way.name, "", 0});
      reader.get(product.back().kernel);
      reader.get(product.back().microseconds);
    }
  if (!reader.isDone())
    return false;
  times = std::move(kept);
  return true;
}

void keepTimes(Resume &resume, const std::string &key, const std::vector<std::vector<TimedWay>> &times) {
  ResumeWriter writer;
  for (const std::vector<TimedWay> &product : times)
    for (const TimedWay &way : product) {
      writer.put(way.kernel);
      writer.put(way.microseconds);
    }
  resume.keep(key, writer.bytes);
}

} // namespace

TimedProduct timedProduct(const Layer &layer, int64_t rows) {
  TimedProduct product;
  product.rows = rows;
  product.inputs = layer.inputs;
  product.outputs = layer.outputs;
  product.transposed = layer.transposed;
  llvm::raw_string_ostream(product.kind) << layer.stored;
  product.weight = [name = layer.name, place = layer.place, stored = layer.stored, n = layer.outputs, k = layer.inputs,
                    transposed = layer.transposed](OpBuilder &b, Location loc) -> Value {
    auto type = RankedTensorType::get({transposed ? n : k, transposed ? k : n}, stored);
    Value weight = b.create<WeightOp>(loc, type, name, place.first, static_cast<int64_t>(place.second));
    return stored.isF32() ? weight : b.create<CastOp>(loc, type.clone(b.getF32Type()), weight).getResult();
  };
  return product;
}

OwningOpRef<ModuleOp> productsProgram(ModuleOp model, ArrayRef<TimedProduct> products) {
  std::vector<size_t> all(products.size());
  std::iota(all.begin(), all.end(), 0);
  return std::move(Products(model, products, all).module);
}

uint64_t timingBytes(ArrayRef<func::FuncOp> programs) {
  std::map<compression::Place, uint64_t> matrices;
  for (func::FuncOp program : programs)
    program.walk([&](WeightOp weight) {
      if (auto type = cast<RankedTensorType>(weight.getType()); type.getRank() == 2)
        matrices[{weight.getFile().str(), weight.getOffset()}] = type.getNumElements() * sizeof(float);
    });
  uint64_t all = 0, largest = 0;
  for (const auto &[place, bytes] : matrices) {
    all += bytes;
    largest = std::max(largest, bytes);
  }
  constexpr uint64_t kRuntime = uint64_t(96) << 20, kCaches = uint64_t(256) << 20;
  return 2 * std::max(largest, std::min(all, kMostBytes)) + kRuntime + (all > kMostBytes ? kCaches : 0);
}

std::string whyNotTimed(const Compression &compression) {
  if (!compression.whyNotTimed.empty())
    return compression.whyNotTimed;
  return compression.stopwatch && compression.compileTimed ? "" : "nothing that runs them was given";
}

bool timeProducts(const Compression &compression, ArrayRef<TimedProduct> products, ArrayRef<ProductWay> ways,
                  const std::string &key, std::vector<std::vector<TimedWay>> &times, std::string &error) {
  times.assign(products.size(), {});
  if (products.empty())
    return true;
  if (compression.progress)
    compression.progress("timing products");
  std::string kept = compression.resume->path().empty() ? "" : keyOf(compression, products, ways, key);
  if (!kept.empty() && findTimes(*compression.resume, kept, ways, times))
    return true;
  std::vector<std::vector<size_t>> classes = classesOf(products),
                                   batches = batchesOf(products, sampleOf(products, classes));
  size_t chosen = 0;
  for (const std::vector<size_t> &batch : batches)
    chosen += batch.size();
  // Only where it has all of them does a program find in caches what the model would.
  bool isWarm = batches.size() == 1 && chosen == products.size();
  for (const std::vector<size_t> &batch : batches)
    if (!timeProgram(compression, products, batch, ways, isWarm, times, error)) {
      error = "timing products: " + error;
      return false;
    }
  shareTimes(classes, ways.size(), times);
  if (!kept.empty())
    keepTimes(*compression.resume, kept, times);
  return true;
}

bool isSmall(const TimedProduct &product) {
  constexpr int64_t kMultiplications = int64_t(1) << 22, kWeights = int64_t(1) << 18;
  int64_t weights = product.inputs * product.outputs;
  return weights < kWeights && product.rows * weights < kMultiplications;
}

bool isSlower(const TimedWay &way, const TimedWay &than) {
  constexpr double kShare = 1.1, kLeast = 3;
  return way.microseconds > kShare * than.microseconds && way.microseconds - than.microseconds > kLeast;
}

std::string describe(const TimedWay &way) {
  char number[32];
  snprintf(number, sizeof number, "%.1f us", way.microseconds);
  return number + (" as " + way.name) + (way.kernel.empty() ? "" : " (" + way.kernel + ")");
}

std::string whyNotTaken(const TimedWay &way, const TimedWay &than, const std::string &what) {
  bool isFaster = way.microseconds < than.microseconds;
  double least = isFaster ? way.microseconds : than.microseconds;
  double difference = isFaster ? than.microseconds - way.microseconds : way.microseconds - than.microseconds;
  double percent = 100 * difference / least;
  char text[96];
  snprintf(text, sizeof text, "would be %.1f us (%.*f %%) %s", difference, percent < 10 ? 1 : 0, percent,
           isFaster ? "faster, not by 10 % and 3 us" : "slower");
  return text + (": " + describe(way)) + what + ", " + describe(than);
}

std::string whyNotTaken(int64_t rows, const TimedWay &way, const TimedWay &than, const std::string &what) {
  return "its product of " + std::to_string(rows) + (rows == 1 ? " row " : " rows ") + whyNotTaken(way, than, what);
}

} // namespace lathe
