//===- ChannelGroups.cpp - What can only be taken away together -----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/pruning/structured/ChannelGroups.h"
#include "dialects/lathe/Attention.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/Sequence.h"
#include "llvm/ADT/SetVector.h"
#include <numeric>

using namespace mlir;

namespace lathe::pruning {

using compression::nodeOf;
using compression::Place;

StringRef kindName(ChannelGroup::Kind kind) {
  switch (kind) {
  case ChannelGroup::Kind::heads:
    return "heads";
  case ChannelGroup::Kind::neurons:
    return "neurons";
  case ChannelGroup::Kind::channels:
    return "channels";
  case ChannelGroup::Kind::other:
    break;
  }
  return "other";
}


std::string ChannelGroup::reason() const {
  if (units < 2)
    return "it has one unit that can only be taken away as a whole";
  size_t free = llvm::count_if(locked, [](const std::string &why) { return why.empty(); });
  if (free > 0)
    return "";
  return locked.front();
}

namespace {

std::string describe(Operation *op) {
  std::string node = nodeOf(op);
  return "'" + op->getName().stripDialect().str() + "'" + (node.empty() ? "" : " of node '" + node + "'");
}

/// A constant as it is stored: what can be cut without computing anything.
bool isStored(Value value) {
  Operation *op = value.getDefiningOp();
  if (auto widened = dyn_cast_or_null<CastOp>(op))
    op = widened.getInput().getDefiningOp();
  return op && isa<WeightOp, ConstantOp>(op);
}

/// Whether a tensor has more than one axis to speak of.
bool isMatrixLike(Value value) {
  return llvm::count_if(tensorType(value).getShape(), [](int64_t extent) { return extent != 1; }) > 1;
}

/// How an input or output of a program is called.
std::string nameOf(func::FuncOp program, bool isInput, unsigned number) {
  Attribute name = isInput ? program.getArgAttr(number, LatheDialect::kNameAttr)
                           : program.getResultAttr(number, LatheDialect::kNameAttr);
  auto text = dyn_cast_or_null<StringAttr>(name);
  return text ? text.str() : std::to_string(number);
}

} // namespace

ChannelGroups::ChannelGroups(ArrayRef<func::FuncOp> programs) : programs(programs) {
  std::map<Place, SharedWeight *> known;
  for (func::FuncOp program : programs)
    program.walk([&](Operation *op) {
      if (auto cache = dyn_cast<CacheOp>(op))
        caches[cache.getName()].push_back(op);
      auto weight = dyn_cast<WeightOp>(op);
      if (!weight || !isMatrixLike(weight.getResult()))
        return;
      SharedWeight *&own = known[Place(weight.getFile().str(), weight.getOffset())];
      if (!own) {
        weights.push_back(std::make_unique<SharedWeight>());
        own = weights.back().get();
        own->place = Place(weight.getFile().str(), weight.getOffset());
        own->name = weight.getName().str();
      }
      auto add = [&](Value value) {
        // Bytes that are read as tensors of two shapes are two weights.
        if (!own->values.empty() && tensorType(own->values.front()).getShape() != tensorType(value).getShape())
          return;
        own->values.push_back(value);
        byValue[value] = own;
      };
      add(weight.getResult());
      for (Operation *user : weight->getUsers())
        if (auto widened = dyn_cast<CastOp>(user))
          add(widened.getResult());
    });
  // A cache that no rows are put into is filled by another program.
  for (func::FuncOp program : programs)
    for (OpOperand &use : program.getBody().front().getTerminator()->getOpOperands()) {
      auto it = caches.find(nameOf(program, /*isInput=*/false, use.getOperandNumber()));
      if (it != caches.end() && !cast<CacheOp>(it->second.front()).getRows())
        filled[it->first()].push_back(&use);
    }
}

SharedWeight *ChannelGroups::weightOf(Value value) const { return byValue.lookup(value); }

/// Follows one group from an axis through everything that shares it.
struct GroupSearch {
  ChannelGroups &all;
  bool together;
  ChannelGroup group = {};
  struct Entry {
    Tensor tensor;
    std::vector<int> labels;
  };
  using Key = std::pair<void *, int64_t>;
  llvm::MapVector<Key, Entry> entries = llvm::MapVector<Key, Entry>();
  std::vector<int> parents = {};         ///< of labels that are one
  std::vector<std::string> reasons = {}; ///< of labels' roots
  llvm::SetVector<Operation *> work = {};

  Tensor tensorOf(Value value, OpOperand *use) const {
    if (SharedWeight *weight = all.weightOf(value))
      return {value, nullptr, weight};
    return {value, use && isStored(value) ? use : nullptr, nullptr};
  }
  Tensor tensorAt(Operation *op, int slot) const {
    return slot == kResult ? tensorOf(op->getResult(0), nullptr)
                           : tensorOf(op->getOperand(slot), &op->getOpOperand(slot));
  }

  int find(int label) {
    while (parents[label] != label)
      label = parents[label] = parents[parents[label]];
    return label;
  }
  void unite(int a, int b) {
    a = find(a), b = find(b);
    if (a == b)
      return;
    if (b < a)
      std::swap(a, b);
    parents[b] = a;
    if (reasons[a].empty())
      reasons[a] = reasons[b];
  }

  std::vector<int> *labelsOf(const Tensor &tensor, int64_t axis) {
    auto it = entries.find({tensor.key(), axis});
    return it == entries.end() ? nullptr : &it->second.labels;
  }
  /// Gives an element of an axis a label that it had not, or makes two labels one.
  void put(const Tensor &tensor, int64_t axis, int64_t index, int label) {
    if (label < 0)
      return;
    Entry &entry = entries[{tensor.key(), axis}];
    if (entry.labels.empty()) {
      entry.tensor = tensor;
      entry.labels.assign(extentOf(tensor.value, axis), -1);
    }
    int &own = entry.labels[index];
    if (own >= 0)
      return unite(own, label);
    own = label;
    enqueue(tensor);
  }
  void enqueue(const Tensor &tensor);
  void lock(const std::vector<int> &labels, const std::string &why) {
    for (int label : labels)
      if (label >= 0 && reasons[find(label)].empty())
        reasons[find(label)] = why;
  }
  void run(Value seed, int64_t axis);
  void follow(Operation *op);
  void follow(Operation *op, const AxisLink &link);
  void follow(Operation *op, const AxisFolding &folding);
  int64_t chooseAxis(const Tensor &tensor, ArrayRef<int64_t> axes, const std::vector<int> &flat);
  void followCache(CacheOp cache);
  void lockInterface();
  bool reachesInput(Value output, llvm::DenseSet<Value> &inputs);
  bool isLabelled(Value value);
  bool comesBack(Value from, Value to);
  bool isStream(Operation *op);
  void classify();
  void finish();
};

void GroupSearch::enqueue(const Tensor &tensor) {
  auto addUsers = [&](Value value) { work.insert(value.user_begin(), value.user_end()); };
  if (tensor.use) {
    work.insert(tensor.use->getOwner());
  } else if (tensor.weight) {
    for (Value value : tensor.weight->values)
      addUsers(value);
  } else {
    if (Operation *op = tensor.value.getDefiningOp())
      work.insert(op);
    addUsers(tensor.value);
  }
}

void GroupSearch::follow(Operation *op, const AxisLink &link) {
  Tensor a = tensorAt(op, link.a.at.slot), b = tensorAt(op, link.b.at.slot);
  for (int64_t i = 0; i < link.count; ++i) {
    if (std::vector<int> *labels = labelsOf(b, link.b.at.axis))
      put(a, link.a.at.axis, link.indexA(i), (*labels)[link.indexB(i)]);
    if (std::vector<int> *labels = labelsOf(a, link.a.at.axis); labels && !link.fromBOnly)
      put(b, link.b.at.axis, link.indexB(i), (*labels)[link.indexA(i)]);
  }
}

/// The axis of several whose elements the labels of all of them together follow; where none is, the outermost one:
/// heads rather than their columns.
int64_t GroupSearch::chooseAxis(const Tensor &tensor, ArrayRef<int64_t> axes, const std::vector<int> &flat) {
  auto extent = [&](int64_t axis) { return extentOf(tensor.value, axis); };
  int64_t outermost = axes.front();
  for (int64_t axis : axes)
    if (extent(axis) > 1) {
      outermost = axis;
      break;
    }
  auto inner = static_cast<int64_t>(flat.size());
  for (int64_t axis : axes) {
    int64_t outer = inner;
    inner = extent(axis) == 0 ? 0 : inner / extent(axis);
    if (extent(axis) <= 1)
      continue;
    std::vector<int> own(extent(axis), -2);
    bool isOwn = true;
    for (size_t i = 0; i < flat.size() && isOwn; ++i) {
      int label = flat[i] < 0 ? -1 : find(flat[i]);
      int &known = own[static_cast<int64_t>(i) % outer / inner];
      isOwn = known == -2 || known == label;
      known = label;
    }
    if (isOwn)
      return axis;
  }
  return outermost;
}

void GroupSearch::follow(Operation *op, const AxisFolding &folding) {
  Tensor sides[] = {tensorAt(op, 0), tensorAt(op, kResult)};
  ArrayRef<int64_t> axes[] = {folding.input, folding.result};
  int64_t size = 1;
  for (int64_t axis : axes[0])
    size *= extentOf(sides[0].value, axis);
  auto forEach = [&](int side, int64_t axis, auto body) {
    int64_t inner = 1;
    for (int64_t other : llvm::reverse(axes[side])) {
      if (other == axis)
        break;
      inner *= extentOf(sides[side].value, other);
    }
    for (int64_t i = 0; i < size; ++i)
      body(i, i / inner % extentOf(sides[side].value, axis));
  };
  std::vector<int> flat(size, -1);
  auto gather = [&](int side) {
    for (int64_t axis : axes[side])
      if (std::vector<int> *labels = labelsOf(sides[side], axis))
        forEach(side, axis, [&](int64_t i, int64_t index) {
          if (int label = (*labels)[index]; label >= 0) {
            if (flat[i] >= 0)
              unite(flat[i], label);
            flat[i] = find(label);
          }
        });
  };
  auto scatter = [&](int side) {
    bool isKnown = llvm::any_of(axes[side], [&](int64_t axis) { return labelsOf(sides[side], axis); });
    int64_t chosen = isKnown ? -1 : chooseAxis(sides[side], axes[side], flat);
    for (int64_t axis : axes[side])
      if (isKnown ? labelsOf(sides[side], axis) != nullptr : axis == chosen)
        forEach(side, axis, [&](int64_t i, int64_t index) { put(sides[side], axis, index, flat[i]); });
  };
  gather(0), gather(1);
  if (llvm::all_of(flat, [](int label) { return label < 0; }))
    return;
  for (int side : {0, 1}) {
    if (axes[side].empty())
      continue;
    scatter(side);
    gather(side); // a head that loses one column loses all
  }
  scatter(0);
}

/// A session keeps rows of one shape under a name, whichever programs give and read them.
void GroupSearch::followCache(CacheOp cache) {
  std::vector<Tensor> same;
  for (Operation *other : all.caches[cache.getName()])
    same.push_back(tensorAt(other, kResult));
  for (OpOperand *output : all.filled[cache.getName()])
    same.push_back(tensorOf(output->get(), nullptr));
  for (int64_t axis : {1, 3})
    for (const Tensor &from : same) {
      std::vector<int> *labels = labelsOf(from, axis);
      if (!labels)
        continue;
      std::vector<int> own = *labels;
      for (const Tensor &to : same)
        if (to.key() != from.key() && extentOf(to.value, axis) == static_cast<int64_t>(own.size()))
          for (auto [index, label] : llvm::enumerate(own))
            put(to, axis, static_cast<int64_t>(index), label);
    }
}

void GroupSearch::follow(Operation *op) {
  if (isa<func::ReturnOp>(op)) { // the others: lockInterface()
    for (OpOperand &use : op->getOpOperands())
      for (auto &[name, uses] : all.filled)
        if (llvm::is_contained(uses, &use))
          followCache(cast<CacheOp>(all.caches[name].front()));
    return;
  }
  if (isa<WeightOp, ConstantOp>(op) || (isa<CastOp>(op) && all.weightOf(op->getOperand(0))))
    return;
  OperationLinks links = linksOf(op, all.shapes, together);
  auto check = [&](int slot) {
    Tensor tensor = tensorAt(op, slot);
    if (!isa<RankedTensorType>(tensor.value.getType()))
      return;
    for (int64_t axis = 0; axis < tensorType(tensor.value).getRank(); ++axis)
      if (std::vector<int> *labels = labelsOf(tensor, axis); labels && !links.covers({slot, axis}))
        lock(*labels, describe(op) + (slot == kResult ? " gives" : " reads") +
                          " them, which is not made of single ones of them");
  };
  for (int slot = 0; slot < static_cast<int>(op->getNumOperands()); ++slot)
    check(slot);
  if (op->getNumResults() == 1)
    check(kResult);
  else
    for (Value result : op->getResults()) // of branches and loops
      if (auto type = dyn_cast<RankedTensorType>(result.getType()))
        for (int64_t axis = 0; axis < type.getRank(); ++axis)
          if (std::vector<int> *labels = labelsOf(tensorOf(result, nullptr), axis))
            lock(*labels, describe(op) + " gives them, which is not made of single ones of them");
  for (const AxisLink &link : links.links)
    follow(op, link);
  for (const AxisFolding &folding : links.foldings)
    follow(op, folding);
  if (auto cache = dyn_cast<CacheOp>(op))
    followCache(cache);
}

void GroupSearch::run(Value seed, int64_t axis) {
  int64_t count = extentOf(seed, axis);
  parents.resize(count);
  std::iota(parents.begin(), parents.end(), 0);
  reasons.resize(count);
  for (int64_t i = 0; i < count; ++i)
    put(tensorOf(seed, nullptr), axis, i, static_cast<int>(i));
  while (!work.empty())
    follow(work.pop_back_val());
  classify();
  lockInterface();
  finish();
}

/// Whether labelled values lead back from an output to one input that is labelled.
bool GroupSearch::reachesInput(Value output, llvm::DenseSet<Value> &inputs) {
  llvm::SetVector<Value> seen;
  seen.insert(output);
  Value input;
  for (size_t i = 0; i < seen.size(); ++i) {
    Operation *op = seen[i].getDefiningOp();
    if (!op) {
      if (input && input != seen[i])
        return false;
      input = seen[i];
      continue;
    }
    for (Value operand : op->getOperands())
      if (auto type = dyn_cast<RankedTensorType>(operand.getType()))
        for (int64_t axis = 0; axis < type.getRank(); ++axis)
          if (labelsOf(tensorOf(operand, nullptr), axis))
            seen.insert(operand);
  }
  return input && inputs.insert(input).second;
}

/// What a program is given and gives keeps its shape, unless it is a cache.
void GroupSearch::lockInterface() {
  for (func::FuncOp program : all.programs) {
    llvm::DenseSet<Value> paired;
    auto forAxes = [&](Value value, auto body) {
      if (auto type = dyn_cast<RankedTensorType>(value.getType()))
        for (int64_t axis = 0; axis < type.getRank(); ++axis)
          if (std::vector<int> *labels = labelsOf(tensorOf(value, nullptr), axis))
            body(*labels);
    };
    for (OpOperand &use : program.getBody().front().getTerminator()->getOpOperands())
      forAxes(use.get(), [&](const std::vector<int> &labels) {
        std::string name = nameOf(program, /*isInput=*/false, use.getOperandNumber());
        if (llvm::is_contained(all.filled.lookup(name), &use))
          return; // the caches' shapes follow
        if (!reachesInput(use.get(), paired))
          lock(labels, "output '" + name + "' has them, and is no cache that goes in again");
        else if (!llvm::is_contained(group.interface, name))
          group.interface.push_back(name);
      });
    for (BlockArgument argument : program.getArguments())
      forAxes(argument, [&](const std::vector<int> &labels) {
        std::string name = nameOf(program, /*isInput=*/true, argument.getArgNumber());
        if (!paired.contains(argument))
          lock(labels, "input '" + name + "' has them, and is no cache that comes out again");
        else if (!llvm::is_contained(group.interface, name))
          group.interface.push_back(name);
      });
  }
  for (auto &[key, entry] : entries)
    if (auto argument = dyn_cast<BlockArgument>(entry.tensor.value))
      if (!isa<func::FuncOp>(argument.getOwner()->getParentOp()))
        lock(entry.labels, "a loop has them as its state");
}

bool GroupSearch::isLabelled(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && llvm::any_of(llvm::seq<int64_t>(0, type.getRank()),
                              [&](int64_t axis) { return labelsOf(tensorOf(value, nullptr), axis) != nullptr; });
}

/// Whether `to` is computed of `from` through something that has no labels, such as what a product gives.
bool GroupSearch::comesBack(Value from, Value to) {
  llvm::SetVector<Value> behind; // what `to` is computed of, up to `from`
  behind.insert(to);
  for (size_t i = 0; i < behind.size(); ++i)
    if (Operation *op = behind[i].getDefiningOp(); op && behind[i] != from)
      behind.insert(op->operand_begin(), op->operand_end());
  if (to == from || !behind.contains(from))
    return false;
  llvm::SetVector<Value> between;
  between.insert(from);
  for (size_t i = 0; i < between.size(); ++i)
    for (Operation *user : between[i].getUsers())
      for (Value result : user->getResults()) {
        if (!behind.contains(result) || !between.insert(result))
          continue;
        if (!isLabelled(result))
          return true;
      }
  return false;
}

/// Whether an operation adds to units what products make of them: the stream of residual layers, with norms or without.
bool GroupSearch::isStream(Operation *op) {
  if (!isa<AddOp, SubOp>(op))
    return false;
  Value a = op->getOperand(0), b = op->getOperand(1);
  return isLabelled(a) && isLabelled(b) && (comesBack(a, b) || comesBack(b, a));
}

void GroupSearch::classify() {
  llvm::SetVector<Operation *> ops;
  for (auto &[key, entry] : entries)
    if (!entry.tensor.isConstant()) {
      ops.insert(entry.tensor.value.user_begin(), entry.tensor.value.user_end());
      if (Operation *op = entry.tensor.value.getDefiningOp())
        ops.insert(op);
    }
  bool isHeads = false, isColumns = false;
  for (Operation *op : ops) {
    if (isNormOf(op, tensorType(op->getOperand(0)).getRank() - 1))
      for (int64_t axis = 0; axis < tensorType(op->getOperand(0)).getRank(); ++axis)
        if (std::vector<int> *labels = labelsOf(tensorAt(op, 0), axis); labels && isNormOf(op, axis)) {
          group.norms.push_back(op);
          bool isLast =
              static_cast<int64_t>(axis) + 1 == tensorType(op->getOperand(0)).getRank() && !isNormOf(op, axis - 1);
          bool isPlain = tensorType(op->getOperand(0)).getElementType().isF32() && isStored(op->getOperand(1));
          if (!isLast || !isPlain)
            lock(*labels, describe(op) + " is a norm along several axes, not of f32, or without a constant gain");
        }
    if (auto attention = dyn_cast<AttentionOp>(op)) {
      int64_t last = tensorType(attention.getResult()).getRank();
      isHeads |= labelsOf(tensorAt(op, kResult), last - 3) != nullptr;
      for (int slot : {0, 1, 2})
        isColumns |= labelsOf(tensorAt(op, slot), tensorType(op->getOperand(slot)).getRank() - 1) != nullptr;
      std::vector<int> *labels = labelsOf(tensorAt(op, kResult), last - 3);
      int64_t keyAxis = tensorType(attention.getKey()).getRank() - 3;
      if (labels && !labelsOf(tensorAt(op, 1), keyAxis)) {
        int64_t keys = extentOf(attention.getKey(), keyAxis);
        std::vector<std::vector<int>> sets(keys);
        for (auto [i, label] : llvm::enumerate(*labels))
          sets[i * keys / labels->size()].push_back(label);
        group.balanced.push_back(std::move(sets));
      }
    }
    auto product = dyn_cast<MatmulOp>(op);
    if (!product || !isStored(product.getRhs()))
      continue;
    int64_t axis = tensorType(product.getLhs()).getRank() - (product.getTransposeLhs() ? 2 : 1);
    if (labelsOf(tensorAt(op, 0), axis) && !tensorAt(op, 0).isConstant())
      group.readers.push_back({product, all.weightOf(product.getRhs()), 0});
  }
  using Kind = ChannelGroup::Kind;
  auto addsUp = [this](Operation *op) { return isStream(op); };
  group.kind = isHeads                     ? Kind::heads
               : !group.norms.empty()      ? Kind::channels
               : isColumns                 ? Kind::other
               : group.readers.empty()     ? Kind::other
               : llvm::any_of(ops, addsUp) ? Kind::channels
                                           : Kind::neurons;
}

/// Units are numbered by where they come first.
void GroupSearch::finish() {
  llvm::DenseMap<int, int> numbers;
  auto number = [&](int label) {
    if (label < 0)
      return -1;
    auto [it, isNew] = numbers.try_emplace(find(label), group.units);
    if (isNew) {
      ++group.units;
      group.locked.push_back(reasons[find(label)]);
    }
    return it->second;
  };
  for (size_t label = 0; label < parents.size(); ++label)
    number(static_cast<int>(label));
  llvm::DenseMap<Key, size_t> places;
  for (auto &[key, entry] : entries) {
    places[key] = group.axes.size();
    GroupAxis own{entry.tensor, key.second, {}};
    for (int label : entry.labels)
      own.units.push_back(number(label));
    group.axes.push_back(std::move(own));
  }
  for (GroupReader &reader : group.readers) {
    Value lhs = reader.product.getLhs();
    reader.axis = places.at(
        {tensorOf(lhs, nullptr).key(), tensorType(lhs).getRank() - (reader.product.getTransposeLhs() ? 2 : 1)});
  }
  for (auto &sets : group.balanced)
    for (std::vector<int> &set : sets)
      for (int &label : set)
        label = number(label);
  for (GroupReader &reader : group.readers)
    if (group.node.empty())
      group.node = nodeOf(reader.product);
}

std::vector<ChannelGroup> ChannelGroups::findHeads(bool together) {
  std::vector<ChannelGroup> groups;
  llvm::DenseSet<std::pair<void *, int64_t>> known;
  for (func::FuncOp program : programs)
    program.walk([&](AttentionOp attention) {
      int64_t axis = tensorType(attention.getResult()).getRank() - 3;
      if (ShapedType::isDynamic(extentOf(attention.getResult(), axis)) || extentOf(attention.getResult(), axis) == 0 ||
          known.contains({attention.getResult().getAsOpaquePointer(), axis}))
        return;
      GroupSearch search{*this, together};
      search.run(attention.getResult(), axis);
      for (const GroupAxis &own : search.group.axes)
        known.insert({own.tensor.key(), own.axis});
      if (search.group.node.empty())
        search.group.node = nodeOf(attention);
      groups.push_back(std::move(search.group));
    });
  return groups;
}

std::vector<ChannelGroup> ChannelGroups::findSummed() {
  llvm::DenseSet<std::pair<void *, int64_t>> known;
  for (const ChannelGroup &heads : findHeads(/*together=*/true))
    for (const GroupAxis &own : heads.axes)
      known.insert({own.tensor.key(), own.axis});
  std::vector<ChannelGroup> groups;
  for (func::FuncOp program : programs)
    program.walk([&](MatmulOp product) {
      Value lhs = product.getLhs();
      int64_t axis = tensorType(lhs).getRank() - (product.getTransposeLhs() ? 2 : 1);
      if (!isStored(product.getRhs()) || isStored(lhs) || ShapedType::isDynamic(extentOf(lhs, axis)) ||
          extentOf(lhs, axis) == 0 || known.contains({lhs.getAsOpaquePointer(), axis}))
        return;
      GroupSearch search{*this, /*together=*/true};
      search.run(lhs, axis);
      for (const GroupAxis &own : search.group.axes)
        known.insert({own.tensor.key(), own.axis});
      if (search.group.node.empty())
        search.group.node = nodeOf(product);
      groups.push_back(std::move(search.group));
    });
  return groups;
}

} // namespace lathe::pruning
