//===- NonMaxSuppression.cpp - Importer of the choice of boxes ------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// In each round every class takes its best box, and drops those that overlap it too much. The run counts what was
// taken.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Compose.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

class BoxImporter {
public:
  explicit BoxImporter(Node &node) : node(node), c(node) {}
  LogicalResult run();

private:
  bool check();
  bool readBoxes();
  bool readRounds();
  Value threshold(size_t input);
  void takeRound();
  Value taken();

  Node &node;
  Compose c;
  Value boxes, scores;
  Value low[2], high[2], area; ///< of the boxes, [batch, boxes]
  Value alive;                 ///< scores, minus infinity where a box is not left, [batch, classes, boxes]
  Value most;                  ///< boxes a class takes, a scalar; null where all rounds count
  int64_t count = 0;           ///< boxes as the model says
  int64_t rounds = 0;
  SmallVector<Value> picks, hits; ///< of each round: which box, and whether there was one; [batch, classes, 1]
};

bool BoxImporter::check() {
  boxes = node.input(0);
  scores = node.input(1);
  if (!c.areFloats({boxes, scores}) || !c.hasRank(boxes, {3}, "boxes") || !c.hasRank(scores, {3}, "scores") ||
      !c.sameExtent(boxes, 0, scores, 0, "batches") || !c.sameExtent(boxes, 1, scores, 2, "numbers of boxes"))
    return false;
  if (int64_t numbers = Node::type(boxes).getDimSize(2); numbers != 4)
    return (void)node.invalid("expects boxes of 4 numbers"), false;
  count = Node::type(boxes).getDimSize(1);
  if (!ShapedType::isDynamic(count))
    return true;
  // There may be none, of which none is the best: one more that is never taken.
  Value none = node.broadcast(node.scalar(Node::element(boxes), 0), {node.dim(boxes, 0), node.index(1), node.index(4)});
  boxes = c.concat({boxes, none}, 1);
  none = node.broadcast(c.lowest(Node::element(scores)), {node.dim(scores, 0), node.dim(scores, 1), node.index(1)});
  scores = c.concat({scores, none}, 2);
  return boxes && scores;
}

bool BoxImporter::readBoxes() {
  int64_t center = node.intAttr("center_point_box", 0);
  if (center != 0 && center != 1)
    return (void)node.invalid("expects center_point_box to be 0 or 1, got " + Twine(center)), false;
  auto column = [&](int64_t i) {
    return node.reshape(c.slice(boxes, 2, i, i + 1), {node.dim(boxes, 0), node.dim(boxes, 1)});
  };
  for (int64_t axis : {0, 1}) {
    Value first = column(axis), second = column(2 + axis);
    if (center) { // and extents
      Value half = c.mul(second, 0.5);
      low[axis] = c.sub(first, half);
      high[axis] = c.add(first, half);
    } else { // any two opposite corners
      low[axis] = c.min(first, second);
      high[axis] = c.max(first, second);
    }
  }
  area = c.mul(c.sub(high[0], low[0]), c.sub(high[1], low[1]));
  return static_cast<bool>(area);
}

/// How many rounds there are at most, which is how often their operations stand in the program.
bool BoxImporter::readRounds() {
  constexpr int64_t kMost = 512;
  std::optional<int64_t> known = 0; // without the input there are none
  if (Value given = node.input(2)) {
    std::optional<SmallVector<Value>> values = node.indices(given, "values of max_output_boxes_per_class");
    if (!values)
      return false;
    if (values->size() != 1)
      return (void)node.invalid("expects one max_output_boxes_per_class, got " + Twine(values->size())), false;
    known = node.context.indexValue(values->front()).constant();
    if (!known)
      most = c.fromIndex(values->front());
  }
  rounds = known && (ShapedType::isDynamic(count) || *known < count) ? std::max<int64_t>(*known, 0) : count;
  if (ShapedType::isDynamic(rounds) || rounds > kMost)
    return (void)node.unsupported("up to " + Twine(kMost) +
                                  " boxes of a class are supported, as a constant "
                                  "max_output_boxes_per_class or a static number of boxes say"),
           false;
  return true;
}

/// A scalar; null where the input is left out.
Value BoxImporter::threshold(size_t input) {
  Value given = node.input(input);
  return given ? node.reshape(node.cast(given, Node::element(boxes)), {}) : Value();
}

void BoxImporter::takeRound() {
  Type type = Node::element(scores), i64 = node.builder.getI64Type();
  Value pick = node.make<TopKOp>(i64, alive, node.index(1), int64_t(2), false);
  if (!pick)
    return;
  Value score = node.make<GatherElementsOp>(type, alive, pick, int64_t(2));
  SmallVector<Value> pairs{node.dim(scores, 0), node.dim(scores, 1)};
  Value flat = node.reshape(pick, pairs);
  // A number of the box, [batch, classes, 1], and those of all of them, [batch, 1, boxes].
  auto own = [&](Value x) {
    return x && flat ? c.unsqueeze(node.make<GatherElementsOp>(type, x, flat, int64_t(1)), {2}) : Value();
  };
  auto all = [&](Value x) { return c.unsqueeze(x, {1}); };
  Value zero = node.scalar(type, 0), common;
  for (int64_t axis : {0, 1}) {
    Value length = c.sub(c.min(all(high[axis]), own(high[axis])), c.max(all(low[axis]), own(low[axis])));
    length = c.max(length, zero);
    common = common ? c.mul(common, length) : length;
  }
  Value whole = c.sub(c.add(all(area), own(area)), common);
  Value share = c.div(common, c.select(c.compare(Comparison::gt, whole, zero), whole, node.scalar(type, 1)));
  Value bound = threshold(3);
  Value overlaps = c.compare(Comparison::gt, share, bound ? bound : zero);
  Value isPick = c.compare(Comparison::eq, c.iota(node.dim(scores, 2), 2, 3), pick);
  alive = c.select(c.binary<OrOp>(overlaps, isPick), c.lowest(type), alive);
  picks.push_back(pick);
  hits.push_back(c.compare(Comparison::gt, score, c.lowest(type)));
}

/// Batch, class and box of what was taken, [count, 3].
Value BoxImporter::taken() {
  Type i64 = node.builder.getI64Type();
  Value pick = c.concat(picks, 2), hit = c.concat(hits, 2);
  if (hit && most)
    hit = c.logicalAnd(hit, c.compare(Comparison::lt, c.iota(node.index(rounds), 2, 3), most));
  Value total = node.product({node.dim(scores, 0), node.dim(scores, 1), node.index(rounds)});
  Value places = positionsOfTrue(c, node.reshape(hit, {total}));
  Value box = c.gather(node.reshape(pick, {total}), places, 0);
  Value pairs = places ? c.div(places, c.integer(rounds)) : Value(), classes = c.fromIndex(node.dim(scores, 1));
  Value batch = c.div(pairs, classes);
  Value own = pairs ? node.make<ModOp>(i64, pairs, classes, false) : Value();
  return c.concat({c.unsqueeze(batch, {1}), c.unsqueeze(own, {1}), c.unsqueeze(box, {1})}, 1);
}

LogicalResult BoxImporter::run() {
  if (!check() || !readBoxes() || !readRounds())
    return failure();
  if (rounds == 0) {
    auto type = RankedTensorType::get({0, 3}, node.builder.getI64Type());
    return node.result(node.constant(DenseElementsAttr::get(type, ArrayRef<int64_t>{})));
  }
  alive = scores;
  if (Value least = threshold(4))
    alive = c.select(c.compare(Comparison::gt, scores, least), scores, c.lowest(Node::element(scores)));
  for (int64_t round = 0; round < rounds && alive; ++round)
    takeRound();
  if (static_cast<int64_t>(hits.size()) != rounds)
    return failure();
  return node.result(taken());
}

LogicalResult importNonMaxSuppression(Node &node) { return BoxImporter(node).run(); }

} // namespace

ArrayRef<Operator> boxOperators() {
  static constexpr Operator table[] = {
      {"NonMaxSuppression", 11, 2, 5, 1, "center_point_box:i", importNonMaxSuppression},
  };
  return table;
}

} // namespace lathe::frontend
