//===- Recurrent.cpp - Importers of recurrent networks --------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Products with the input are computed for all steps at once; what is left in the loop is one product with the state.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Formula.h"
#include "frontends/onnx/Loops.h"
#include "frontends/onnx/Quantization.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

using Values = SmallVector<Value>;

/// A function of a gate; alpha and beta as the specification's table of activations gives them where they are left out.
struct Activation {
  StringLiteral name;
  double alpha, beta;
  Value (*apply)(Compose &c, Value x, double alpha, double beta);
};

Value scaled(Compose &c, Value x, double factor) { return c.mul(x, factor); }
Value clamped(Compose &c, Value x, double low, double high) {
  return x ? c.min(c.max(x, c.node.scalar(Node::element(x), low)), c.node.scalar(Node::element(x), high)) : Value();
}
/// x where it is above `threshold`, else `other`.
Value above(Compose &c, Value x, double threshold, Value other) {
  return c.select(c.compare(Comparison::gt, x, threshold), x, other);
}

constexpr Activation kActivations[] = {
    {"Relu", 0, 0, [](Compose &c, Value x, double, double) { return c.unary<ReluOp>(x); }},
    {"Tanh", 0, 0, [](Compose &c, Value x, double, double) { return c.unary<TanhOp>(x); }},
    {"Sigmoid", 0, 0, [](Compose &c, Value x, double, double) { return c.unary<SigmoidOp>(x); }},
    {"Affine", 1, 0, [](Compose &c, Value x, double a, double b) { return c.add(scaled(c, x, a), b); }},
    {"LeakyRelu", 0.01, 0, [](Compose &c, Value x, double a, double) { return above(c, x, 0, scaled(c, x, a)); }},
    {"ThresholdedRelu", 1, 0,
     [](Compose &c, Value x, double a, double) {
       return above(c, x, a, x ? c.node.scalar(Node::element(x), 0) : Value());
     }},
    {"ScaledTanh", 1, 1,
     [](Compose &c, Value x, double a, double b) { return scaled(c, c.unary<TanhOp>(scaled(c, x, b)), a); }},
    {"HardSigmoid", 0.2, 0.5,
     [](Compose &c, Value x, double a, double b) { return clamped(c, c.add(scaled(c, x, a), b), 0, 1); }},
    {"Elu", 1, 0,
     [](Compose &c, Value x, double a, double) {
       return above(c, x, 0, scaled(c, c.add(c.unary<ExpOp>(clamped(c, x, -1000, 0)), -1), a));
     }},
    {"Softsign", 0, 0, [](Compose &c, Value x, double, double) { return c.div(x, c.add(c.unary<AbsOp>(x), 1)); }},
    {"Softplus", 0, 0,
     [](Compose &c, Value x, double, double) {
       Formula f{c.node, x ? Node::element(x) : Type()};
       return x ? f.softplus(x) : x;
     }},
};

/// What the three operators have in common. Inputs are X [steps, batch, size], W [directions, gates * hidden, size],
/// R [directions, gates * hidden, hidden], B [directions, 2 * gates * hidden], the steps of each row, and first states
/// [directions, batch, hidden].
class Recurrent {
public:
  Recurrent(Node &node, int64_t gates, int64_t functions, int64_t states)
      : node(node), c(node), gates(gates), functions(functions), numStates(states) {}
  virtual ~Recurrent() = default;

  LogicalResult import();

protected:
  virtual ArrayRef<StringRef> defaults() const = 0;
  /// The next states from those before; `x` [batch, gates * hidden] is the product with the input and the biases that
  /// biasOf() gives.
  virtual Values step(Value x, ArrayRef<Value> state) = 0;
  /// What is added to the product with the input; `w` and `r` are the two halves of the bias.
  virtual Value biasOf(Value w, Value r) { return c.add(w, r); }
  virtual bool readMore(int64_t) { return true; }
  /// Whether X, W and R are of types that fit.
  virtual bool checkTypes() { return c.areFloats({node.input(0), node.input(1), node.input(2)}); }
  /// The axis of the gates of W and R, 1 or 2.
  virtual int64_t gateAxis() const { return 1; }
  /// The product of the input [steps, batch, size] with the weights of a direction.
  virtual Value inputProduct(Value x, int64_t direction) {
    return c.matmul(x, c.swapLastTwo(ofDirection(1, direction)));
  }

  bool readActivations(int64_t direction);
  Value activate(int64_t function, Value x) {
    if (clip > 0)
      x = clamped(c, x, -clip, clip);
    const auto &[activation, alpha, beta] = chosen[function];
    return activation->apply(c, x, alpha, beta);
  }
  /// One of `count` equal parts along the last axis.
  Value part(Value x, int64_t number, int64_t count = 1) {
    return x ? c.slice(x, Node::rank(x) - 1, number * hidden, (number + count) * hidden) : Value();
  }
  /// Entry `direction` of an input's first axis, null where it is left out.
  Value ofDirection(size_t input, int64_t direction) {
    Value value = node.input(input);
    if (value && Node::rank(value) == 0)
      return Compose::none(
          node.invalid("expects input " + Twine(input) + " to have an axis of directions, got a scalar"));
    return value ? entryAt(node, value, node.index(direction), 0) : Value();
  }
  /// Product of the state with rows of the recurrent weights, those of `count` gates from one on.
  virtual Value recur(Value state, int64_t gate, int64_t count) {
    return c.matmul(state, c.slice(recurrence, 0, gate * hidden, (gate + count) * hidden), false, true);
  }

  Node &node;
  Compose c;
  int64_t gates, functions, numStates, hidden = 0;
  double clip = 0;
  Value recurrence;
  struct Chosen {
    const Activation *activation;
    double alpha, beta;
  };
  SmallVector<Chosen> chosen;

private:
  bool check(int64_t directions);
  std::optional<LoopResults> run(int64_t direction, bool backwards);

  Value input; ///< [steps, batch, size]
  Value batch, steps;
};

bool Recurrent::readActivations(int64_t direction) {
  const onnx::AttributeProto *names = node.attribute("activations"), *alphas = node.attribute("activation_alpha"),
                             *betas = node.attribute("activation_beta");
  chosen.clear();
  // Values are listed for those functions alone that take them.
  int nextAlpha = 0, nextBeta = 0;
  int64_t last = (direction + 1) * functions;
  for (int64_t i = 0; i < last; ++i) {
    StringRef name = defaults()[i % functions];
    if (names && names->strings_size() > 0) {
      if (names->strings_size() < last)
        return succeeded(node.invalid("expects " + Twine(last) + " activations, got " + Twine(names->strings_size())));
      name = names->strings(static_cast<int>(i));
    }
    const auto *found =
        llvm::find_if(kActivations, [&](const Activation &a) { return name.equals_insensitive(a.name); });
    if (found == std::end(kActivations))
      return succeeded(node.unsupported("the activation '" + name + "' is not supported"));
    double alpha = found->alpha, beta = found->beta;
    bool takesAlpha = alpha != 0, takesBeta = beta != 0 || name.equals_insensitive("Affine");
    if (takesAlpha && alphas && nextAlpha < alphas->floats_size())
      alpha = alphas->floats(nextAlpha++);
    if (takesBeta && betas && nextBeta < betas->floats_size())
      beta = betas->floats(nextBeta++);
    if (i >= direction * functions)
      chosen.push_back({found, alpha, beta});
  }
  return true;
}

bool Recurrent::check(int64_t directions) {
  Value x = node.input(0), w = node.input(1), r = node.input(2);
  if (!x || !w || !r)
    return succeeded(node.invalid("expects inputs X, W and R"));
  if (!c.hasRank(x, {3}, "X") || !c.hasRank(w, {3}, "W") || !c.hasRank(r, {3}, "R") || !checkTypes() ||
      (node.input(3) && !c.hasRank(node.input(3), {2}, "B")) ||
      (node.input(4) && !c.hasRank(node.input(4), {1}, "sequence_lens")))
    return false;
  int64_t inner = 3 - gateAxis();
  hidden = node.intAttr("hidden_size", Node::type(r).getDimSize(inner));
  if (hidden < 1)
    return succeeded(node.invalid("expects a hidden_size, or an R whose extent " + Twine(inner) + " is static"));
  // The attribute says of weights that are inputs what their symbols don't; that it is so is checked when they are
  // there.
  Value size = node.dim(w, inner);
  int64_t extents[4][3] = {
      {}, {directions, gates * hidden, -1}, {directions, gates * hidden, hidden}, {directions, 2 * gates * hidden, 0}};
  if (inner == 1)
    for (int i : {1, 2})
      std::swap(extents[i][1], extents[i][2]);
  for (int i : {1, 2, 3}) {
    Value given = node.input(i);
    if (!given)
      continue;
    Values dims;
    for (int64_t axis = 0; axis < Node::rank(given); ++axis) {
      int64_t extent = extents[i][axis], known = Node::type(given).getDimSize(axis);
      if (extent >= 0 && !ShapedType::isDynamic(known) && known != extent)
        return succeeded(node.invalid("expects an extent of " + Twine(extent) + " at axis " + Twine(axis) +
                                      " of input " + Twine(i) + ", got " + Twine(known)));
      dims.push_back(extent < 0 ? size : node.index(extent));
    }
    if (!Node::type(given).hasStaticShape() && !(node.inputs[i] = node.reshape(given, dims)))
      return false;
  }
  clip = node.floatAttr("clip", 0);
  return true;
}

std::optional<LoopResults> Recurrent::run(int64_t direction, bool backwards) {
  if (!readActivations(direction) || !readMore(direction))
    return std::nullopt;
  recurrence = ofDirection(2, direction);
  Value x = inputProduct(input, direction);
  if (Value bias = ofDirection(3, direction))
    x = c.add(x, biasOf(part(bias, 0, gates), part(bias, gates, gates)));
  Values init;
  for (int64_t i = 0; i < numStates; ++i) {
    Value state = ofDirection(5 + i, direction);
    if (node.input(5 + i) && !state)
      return std::nullopt;
    init.push_back(state ? state : node.broadcast(node.scalar(Node::element(input), 0), {batch, node.index(hidden)}));
  }
  if (!x || llvm::is_contained(init, Value()))
    return std::nullopt;
  auto body = [&](Value number, ArrayRef<Value> state) -> std::optional<LoopStep> {
    Value at = backwards ? c.subIndex(c.subIndex(steps, node.index(1)), number) : number;
    Values next = step(entryAt(node, x, at, 0), state);
    Value output = next.front();
    if (Value lengths = node.input(4)) {
      // A row that has ended keeps its state, and has no output.
      Value time = node.cast(c.fromIndex(at), Node::element(lengths));
      Value active = c.unsqueeze(c.compare(Comparison::gt, lengths, time), {1});
      for (auto [after, before] : llvm::zip_equal(next, state))
        after = c.select(active, after, before);
      output = output ? c.select(active, output, node.scalar(Node::element(input), 0)) : Value();
    }
    return LoopStep{node.index(1), next, {output}};
  };
  constexpr int64_t kOperations = 16;
  return forEach(node, steps, init, kOperations, body);
}

LogicalResult Recurrent::import() {
  bool batchFirst = node.intAttr("layout", 0) != 0;
  std::string direction = node.stringAttr("direction", "forward");
  if (direction != "forward" && direction != "reverse" && direction != "bidirectional")
    return node.invalid("expects a direction forward, reverse or bidirectional, got '" + direction + "'");
  int64_t directions = direction == "bidirectional" ? 2 : 1;
  if (!check(directions))
    return failure();
  input = batchFirst ? c.transpose(node.input(0), {1, 0, 2}) : node.input(0);
  if (batchFirst)
    for (int64_t i = 5; i < 5 + numStates; ++i)
      if (node.input(i))
        node.inputs[i] = c.transpose(node.input(i), {1, 0, 2});
  steps = node.dim(input, 0);
  batch = node.dim(input, 1);
  Values outputs;                      // [steps, 1, batch, hidden]
  SmallVector<Values> last(numStates); // [1, batch, hidden]
  for (int64_t i = 0; i < directions; ++i) {
    bool backwards = direction == "reverse" || i == 1;
    std::optional<LoopResults> results = run(i, backwards);
    if (!results)
      return failure();
    Value output = results->scanned.front();
    if (backwards)
      output = c.slice(output, 0, -1, INT64_MIN, -1);
    outputs.push_back(c.unsqueeze(output, {1}));
    for (auto [states, state] : llvm::zip_equal(last, results->state))
      states.push_back(c.unsqueeze(state, {0}));
  }
  Value y = c.concat(outputs, 1);
  if (batchFirst)
    y = c.transpose(y, {2, 0, 1, 3});
  if (node.wantsOutput(0) && failed(node.result(y, 0)))
    return failure();
  for (auto [i, states] : llvm::enumerate(last)) {
    Value state = c.concat(states, 0);
    if (batchFirst)
      state = c.transpose(state, {1, 0, 2});
    if (node.wantsOutput(i + 1) && failed(node.result(state, i + 1)))
      return failure();
  }
  return success();
}

class Rnn : public Recurrent {
public:
  explicit Rnn(Node &node) : Recurrent(node, 1, 1, 1) {}
  ArrayRef<StringRef> defaults() const override {
    static const StringRef names[] = {"Tanh"};
    return names;
  }
  Values step(Value x, ArrayRef<Value> state) override { return {activate(0, c.add(x, recur(state[0], 0, 1)))}; }
};

/// Gates are update, reset and hidden.
class Gru : public Recurrent {
public:
  explicit Gru(Node &node) : Recurrent(node, 3, 2, 1), linearBeforeReset(node.intAttr("linear_before_reset", 0) != 0) {}
  ArrayRef<StringRef> defaults() const override {
    static const StringRef names[] = {"Sigmoid", "Tanh"};
    return names;
  }
  bool readMore(int64_t) override {
    hiddenBias = {};
    return true;
  }
  /// Of the hidden gate the recurrent bias is added within the product that is reset.
  Value biasOf(Value w, Value r) override {
    if (!linearBeforeReset)
      return c.add(w, r);
    hiddenBias = part(r, 2);
    return c.concat({c.add(part(w, 0, 2), part(r, 0, 2)), part(w, 2)}, 0);
  }
  Values step(Value x, ArrayRef<Value> state) override {
    Value before = state[0], gates = activate(0, c.add(part(x, 0, 2), recur(before, 0, 2)));
    Value update = part(gates, 0), reset = part(gates, 1), product;
    if (linearBeforeReset) {
      product = recur(before, 2, 1);
      if (hiddenBias)
        product = c.add(product, hiddenBias);
      product = c.mul(reset, product);
    } else {
      product = recur(c.mul(reset, before), 2, 1);
    }
    Value proposed = activate(1, c.add(part(x, 2), product));
    return {c.add(proposed, c.mul(update, c.sub(before, proposed)))};
  }

private:
  bool linearBeforeReset;
  Value hiddenBias;
};

/// Gates are input, output, forget and cell.
class Lstm : public Recurrent {
public:
  explicit Lstm(Node &node) : Recurrent(node, 4, 3, 2), coupled(node.intAttr("input_forget", 0) != 0) {}
  ArrayRef<StringRef> defaults() const override {
    static const StringRef names[] = {"Sigmoid", "Tanh", "Tanh"};
    return names;
  }
  bool readMore(int64_t direction) override {
    peepholes = ofDirection(7, direction);
    return !node.input(7) || peepholes;
  }
  /// With what the gate sees of the cell.
  Value gate(Value x, int64_t number, int64_t peephole, Value cell) {
    x = part(x, number);
    return activate(0, peepholes ? c.add(x, c.mul(part(peepholes, peephole), cell)) : x);
  }
  Values step(Value x, ArrayRef<Value> state) override {
    x = c.add(x, recur(state[0], 0, 4));
    Value before = state[1], in = gate(x, 0, 0, before);
    Value forget = coupled && in ? c.sub(node.scalar(Node::element(in), 1), in) : gate(x, 2, 2, before);
    Value cell = c.add(c.mul(forget, before), c.mul(in, activate(1, part(x, 3))));
    Value out = gate(x, 1, 1, cell);
    return {c.mul(out, activate(2, cell)), cell};
  }

private:
  bool coupled;
  Value peepholes;
};

/// Weights of 8 bits, [directions, size, 4 * hidden] and [directions, hidden, 4 * hidden], are followed by their scales
/// and zero points, each of one number or one for each column. What they are multiplied with is quantized by its range.
class QuantizedLstm : public Lstm {
public:
  using Lstm::Lstm;
  bool checkTypes() override {
    for (size_t i : {8, 9, 10, 11})
      if (!node.input(i))
        return refuse(node.invalid("expects input " + Twine(i) + ", got none"));
    for (size_t i : {1, 2})
      if (!Node::element(node.input(i)).isInteger(8))
        return refuse(node.invalid("expects weights of 8 bits"));
    return c.areFloats({node.input(0), node.input(8), node.input(10)});
  }
  int64_t gateAxis() const override { return 2; }
  bool readMore(int64_t direction) override {
    recurrent = ofDirection(2, direction);
    own = direction;
    return recurrent && Lstm::readMore(direction);
  }
  Value inputProduct(Value x, int64_t direction) override {
    return product(x, ofDirection(1, direction), 8, direction);
  }
  /// Of all gates at once, as Lstm asks for.
  Value recur(Value state, int64_t, int64_t) override { return product(state, recurrent, 10, own); }

private:
  static bool refuse(LogicalResult) { return false; }
  Value product(Value x, Value weights, size_t parameters, int64_t direction) {
    DynamicQuantization q = quantizeDynamically(node, x);
    Value scale = scalarLike(node, ofDirection(parameters, direction));
    Value zero = scalarLike(node, ofDirection(parameters + 1, direction));
    Value sums = q.value && zero ? integerProduct(node, q.value, q.zeroPoint, weights, zero) : Value();
    return sums ? c.mul(node.cast(sums, Node::element(x)), c.mul(scale, q.scale)) : Value();
  }

  Value recurrent;
  int64_t own = 0;
};

template <typename Kind> LogicalResult importRecurrent(Node &node) {
  Kind kind(node);
  return kind.import();
}

} // namespace

ArrayRef<Operator> recurrentOperators() {
  static constexpr Operator table[] = {
      {"GRU", 7, 3, 6, 2,
       "activation_alpha:F activation_beta:F activations:S clip:f direction:s hidden_size:i layout:i "
       "linear_before_reset:i",
       importRecurrent<Gru>},
      {"LSTM", 7, 3, 8, 3,
       "activation_alpha:F activation_beta:F activations:S clip:f direction:s hidden_size:i input_forget:i layout:i",
       importRecurrent<Lstm>},
      {"RNN", 7, 3, 6, 2,
       "activation_alpha:F activation_beta:F activations:S clip:f direction:s hidden_size:i layout:i",
       importRecurrent<Rnn>},
  };
  return table;
}

ArrayRef<Operator> contribRecurrentOperators() {
  static constexpr Operator table[] = {
      {"DynamicQuantizeLSTM", 1, 3, 12, 3,
       "activation_alpha:F activation_beta:F activations:S clip:f direction:s hidden_size:i input_forget:i",
       importRecurrent<QuantizedLstm>},
  };
  return table;
}

} // namespace lathe::frontend
