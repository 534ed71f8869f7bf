//===- ModelMutator.cpp - Mutations of ONNX models ------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Bytes that were changed at random are hardly ever a model. So a model is parsed, changed by the description of its
// format, or as a graph, and written again.
//
//===----------------------------------------------------------------------===//
#include "test/fuzz/Random.h"
#include "fuzz_onnx.pb.h"
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <string>
#include <vector>

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t maxSize);

namespace {

class Mutator {
public:
  Mutator(fuzz_onnx::ModelProto &model, unsigned seed) : model(model), random(seed) {}

  void run() {
    for (size_t count = 1 + pick(4); count > 0; --count) {
      collect(model, 0);
      switch (pick(17)) {
      case 0:
      case 1:
      case 9:
      case 10:
        changeField(*messages[pick(messages.size())]);
        break;
      case 8:
        enclose();
        break;
      case 2:
      case 11:
        changeNodes();
        break;
      case 3:
      case 12:
        rewire();
        break;
      case 4:
      case 13:
        changeNumber();
        break;
      case 5:
      case 14:
        exchange();
        break;
      case 6:
      case 15:
        changeOperator();
        break;
      default:
        changeAttribute();
        break;
      }
    }
  }

  /// Nodes and initializers of another model, some of whose inputs are values of this one.
  void take(const fuzz_onnx::ModelProto &other) {
    collect(model, 0);
    if (names.empty())
      return;
    for (const auto &node : other.graph().node())
      if (pick(2)) {
        auto *added = model.mutable_graph()->add_node();
        *added = node;
        for (std::string &input : *added->mutable_input())
          if (pick(3) == 0)
            input = names[pick(names.size())];
      }
    for (const auto &tensor : other.graph().initializer())
      if (pick(2))
        *model.mutable_graph()->add_initializer() = tensor;
  }

private:
  size_t pick(size_t below) { return random.pick(below); }

  int64_t number() { return random.number(); }

  double real() {
    static const double known[] = {0, -0.0, 1, -1, 0.5, 2, 1e-6, 1e30, -1e30, 1e300, 1e-45};
    size_t i = pick(std::size(known) + 3);
    return i < std::size(known)        ? known[i]
           : i == std::size(known)     ? std::nan("")
           : i == std::size(known) + 1 ? HUGE_VAL
                                       : -HUGE_VAL;
  }

  std::string text() {
    if (!names.empty() && pick(4))
      return names[pick(names.size())];
    static const char *known[] = {"",      "x",    "N",          "-1",    "N*M", "N+1", "ai.onnx", "com.microsoft",
                                  "value", "axis", "SAME_UPPER", "linear"};
    if (pick(8) == 0)
      return std::string(pick(1 << 12), 'a');
    return known[pick(std::size(known))];
  }

  void collect(Message &message, int depth) {
    if (depth == 0) {
      messages.clear();
      nodes.clear();
      names.clear();
    }
    messages.push_back(&message);
    if (auto *node = dynamic_cast<fuzz_onnx::NodeProto *>(&message)) {
      nodes.push_back(node);
      names.insert(names.end(), node->output().begin(), node->output().end());
    } else if (auto *value = dynamic_cast<fuzz_onnx::ValueInfoProto *>(&message)) {
      names.push_back(value->name());
    } else if (auto *tensor = dynamic_cast<fuzz_onnx::TensorProto *>(&message)) {
      names.push_back(tensor->name());
    }
    const Reflection *reflection = message.GetReflection();
    std::vector<const FieldDescriptor *> fields;
    reflection->ListFields(message, &fields);
    for (const FieldDescriptor *field : fields) {
      if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || depth > 40)
        continue;
      if (!field->is_repeated())
        collect(*reflection->MutableMessage(&message, field), depth + 1);
      for (int i = 0; field->is_repeated() && i < reflection->FieldSize(message, field); ++i)
        collect(*reflection->MutableRepeatedMessage(&message, field, i), depth + 1);
    }
  }

  void changeField(Message &message) {
    const Reflection *reflection = message.GetReflection();
    const FieldDescriptor *field =
        message.GetDescriptor()->field(static_cast<int>(pick(message.GetDescriptor()->field_count())));
    if (!field->is_repeated()) {
      if (pick(6) == 0)
        reflection->ClearField(&message, field);
      else
        set(message, field, -1);
      return;
    }
    int size = reflection->FieldSize(message, field);
    switch (pick(5)) {
    case 0:
      if (size > 0)
        reflection->RemoveLast(&message, field);
      break;
    case 1:
      if (size > 1)
        reflection->SwapElements(&message, field, static_cast<int>(pick(size)), static_cast<int>(pick(size)));
      break;
    case 2:
      if (size > 0) {
        reflection->SwapElements(&message, field, static_cast<int>(pick(size)), size - 1);
        reflection->RemoveLast(&message, field);
      }
      break;
    case 3:
      if (size > 0) {
        set(message, field, static_cast<int>(pick(size)));
        break;
      }
      [[fallthrough]];
    default:
      add(message, field);
    }
  }

  void set(Message &message, const FieldDescriptor *field, int at) {
    const Reflection *r = message.GetReflection();
    switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32: {
      auto value = static_cast<int32_t>(pick(2) ? pick(30) : number());
      at < 0 ? r->SetInt32(&message, field, value) : r->SetRepeatedInt32(&message, field, at, value);
      break;
    }
    case FieldDescriptor::CPPTYPE_INT64:
      at < 0 ? r->SetInt64(&message, field, number()) : r->SetRepeatedInt64(&message, field, at, number());
      break;
    case FieldDescriptor::CPPTYPE_UINT64:
      at < 0 ? r->SetUInt64(&message, field, number()) : r->SetRepeatedUInt64(&message, field, at, number());
      break;
    case FieldDescriptor::CPPTYPE_FLOAT: {
      auto value = static_cast<float>(real());
      at < 0 ? r->SetFloat(&message, field, value) : r->SetRepeatedFloat(&message, field, at, value);
      break;
    }
    case FieldDescriptor::CPPTYPE_DOUBLE:
      at < 0 ? r->SetDouble(&message, field, real()) : r->SetRepeatedDouble(&message, field, at, real());
      break;
    case FieldDescriptor::CPPTYPE_STRING:
      at < 0 ? r->SetString(&message, field, text()) : r->SetRepeatedString(&message, field, at, text());
      break;
    case FieldDescriptor::CPPTYPE_ENUM: {
      const auto *value = field->enum_type()->value(static_cast<int>(pick(field->enum_type()->value_count())));
      at < 0 ? r->SetEnum(&message, field, value) : r->SetRepeatedEnum(&message, field, at, value);
      break;
    }
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      // By its bytes, and before the field is touched, which may take away what they come from.
      std::string bytes = bytesOf(field->message_type());
      Message *inner = at < 0 ? r->MutableMessage(&message, field) : r->MutableRepeatedMessage(&message, field, at);
      (void)inner->ParsePartialFromString(bytes);
      break;
    }
    default:
      break;
    }
  }

  void add(Message &message, const FieldDescriptor *field) {
    const Reflection *r = message.GetReflection();
    switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return r->AddInt32(&message, field, static_cast<int32_t>(number()));
    case FieldDescriptor::CPPTYPE_INT64:
      return r->AddInt64(&message, field, number());
    case FieldDescriptor::CPPTYPE_UINT64:
      return r->AddUInt64(&message, field, number());
    case FieldDescriptor::CPPTYPE_FLOAT:
      return r->AddFloat(&message, field, static_cast<float>(real()));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return r->AddDouble(&message, field, real());
    case FieldDescriptor::CPPTYPE_STRING:
      return r->AddString(&message, field, text());
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      std::string bytes = bytesOf(field->message_type());
      return (void)r->AddMessage(&message, field)->ParsePartialFromString(bytes);
    }
    default:
      return;
    }
  }

  /// Those of a message of a type, from anywhere in the model; nothing where there is none, or only large ones.
  std::string bytesOf(const google::protobuf::Descriptor *type) {
    std::vector<Message *> same;
    for (Message *message : messages)
      if (message->GetDescriptor() == type)
        same.push_back(message);
    std::string bytes = same.empty() ? "" : same[pick(same.size())]->SerializePartialAsString();
    return bytes.size() < (1 << 14) ? bytes : "";
  }

  void changeNodes() {
    auto &graph = *model.mutable_graph();
    int count = graph.node_size();
    if (count == 0)
      return;
    int at = static_cast<int>(pick(count));
    switch (pick(3)) {
    case 0:
      graph.mutable_node()->DeleteSubrange(at, 1);
      break;
    case 1: {
      fuzz_onnx::NodeProto copy = graph.node(at);
      for (std::string &output : *copy.mutable_output())
        output += "'";
      if (copy.output_size() > 0 && graph.output_size() > 0 && pick(2))
        graph.mutable_output(0)->set_name(copy.output(0));
      *graph.add_node() = copy;
      break;
    }
    default:
      graph.mutable_node()->SwapElements(at, static_cast<int>(pick(count)));
    }
  }

  void rewire() {
    if (nodes.empty() || names.empty())
      return;
    auto &node = *nodes[pick(nodes.size())];
    auto &list = pick(4) ? *node.mutable_input() : *node.mutable_output();
    if (list.empty() || pick(5) == 0)
      *list.Add() = names[pick(names.size())];
    else
      list[static_cast<int>(pick(list.size()))] = pick(6) ? names[pick(names.size())] : "";
  }

  /// A node goes into the branches of an If, or into the body of a Loop that its first input goes around.
  void enclose() {
    auto &graph = *model.mutable_graph();
    if (graph.node_size() == 0)
      return;
    auto &node = *graph.mutable_node(static_cast<int>(pick(graph.node_size())));
    if (node.input_size() == 0 || node.output_size() != 1)
      return;
    fuzz_onnx::NodeProto inner = node, outer;
    const std::string result = node.output(0), state = node.input(0);
    auto addGraph = [&](const char *name) {
      fuzz_onnx::AttributeProto &attribute = *outer.add_attribute();
      attribute.set_name(name);
      attribute.set_type(fuzz_onnx::AttributeProto::GRAPH);
      return attribute.mutable_g();
    };
    auto addNode = [](fuzz_onnx::GraphProto &to, const char *op, const std::string &input, const std::string &output) {
      fuzz_onnx::NodeProto &added = *to.add_node();
      added.set_op_type(op);
      added.add_input(input);
      added.add_output(output);
    };
    auto addInput = [](fuzz_onnx::GraphProto &to, const std::string &name, int type) {
      fuzz_onnx::ValueInfoProto &value = *to.add_input();
      value.set_name(name);
      value.mutable_type()->mutable_tensor_type()->set_elem_type(type);
      value.mutable_type()->mutable_tensor_type()->mutable_shape();
    };
    outer.add_output(result);
    if (pick(2)) {
      outer.set_op_type("If");
      outer.add_input("c!");
      fuzz_onnx::GraphProto &taken = *addGraph("then_branch"), &other = *addGraph("else_branch");
      inner.set_output(0, "r!");
      *taken.add_node() = inner;
      addNode(other, pick(2) ? "Identity" : "Neg", state, "r!");
      taken.add_output()->set_name("r!");
      other.add_output()->set_name("r!");
      addInput(graph, "c!", fuzz_onnx::TensorProto::BOOL);
    } else {
      outer.set_op_type("Loop");
      bool bounded = pick(4) != 0, dynamic = pick(2) == 0;
      outer.add_input(bounded ? "t!" : "");
      outer.add_input(bounded && pick(2) ? "" : "c!");
      outer.add_input(state);
      fuzz_onnx::GraphProto &body = *addGraph("body");
      addInput(body, "i!", fuzz_onnx::TensorProto::INT64);
      addInput(body, "d!", fuzz_onnx::TensorProto::BOOL);
      addInput(body, "v!", fuzz_onnx::TensorProto::FLOAT);
      addNode(body, "Identity", pick(4) ? "d!" : "c!", "e!");
      inner.set_input(0, "v!");
      inner.set_output(0, "r!");
      *body.add_node() = inner;
      for (const char *output : {"e!", "r!", "r!"})
        if (body.output_size() < 2 || pick(2))
          body.add_output()->set_name(output);
      if (body.output_size() == 3)
        outer.add_output(result + "!");
      addInput(graph, "c!", fuzz_onnx::TensorProto::BOOL);
      if (bounded && dynamic) {
        addInput(graph, "t!", fuzz_onnx::TensorProto::INT64);
      } else if (bounded) {
        fuzz_onnx::TensorProto &trips = *graph.add_initializer();
        trips.set_name("t!");
        trips.set_data_type(fuzz_onnx::TensorProto::INT64);
        trips.add_int64_data(pick(2) ? number() : static_cast<int64_t>(pick(6)));
      }
    }
    // Inputs of the graph are there once.
    auto &inputs = *graph.mutable_input();
    for (int i = inputs.size() - 1; i > 0; --i)
      for (int j = 0; j < i; ++j)
        if (inputs[i].name() == inputs[j].name()) {
          inputs.DeleteSubrange(i, 1);
          break;
        }
    node = outer;
  }

  /// Dimensions, axes, sizes: numbers are what most goes wrong with.
  void changeNumber() {
    std::vector<Message *> those;
    for (Message *message : messages)
      if (dynamic_cast<fuzz_onnx::TensorShapeProto_Dimension *>(message) ||
          dynamic_cast<fuzz_onnx::AttributeProto *>(message) || dynamic_cast<fuzz_onnx::TensorProto *>(message))
        those.push_back(message);
    if (those.empty())
      return;
    Message *message = those[pick(those.size())];
    if (auto *dim = dynamic_cast<fuzz_onnx::TensorShapeProto_Dimension *>(message)) {
      pick(2) ? dim->set_dim_value(number()) : dim->set_dim_param(text());
    } else if (auto *attribute = dynamic_cast<fuzz_onnx::AttributeProto *>(message)) {
      if (attribute->ints_size() > 0)
        attribute->set_ints(static_cast<int>(pick(attribute->ints_size())), number());
      else if (attribute->has_f())
        attribute->set_f(static_cast<float>(real()));
      else
        attribute->set_i(number());
    } else if (auto *tensor = dynamic_cast<fuzz_onnx::TensorProto *>(message)) {
      if (tensor->int64_data_size() > 0 && pick(2))
        tensor->set_int64_data(static_cast<int>(pick(tensor->int64_data_size())), number());
      else if (tensor->raw_data().size() >= 8 && tensor->data_type() == fuzz_onnx::TensorProto::INT64) {
        int64_t value = number();
        std::memcpy(tensor->mutable_raw_data()->data() + pick(tensor->raw_data().size() / 8) * 8, &value, 8);
      } else if (tensor->dims_size() > 0)
        tensor->set_dims(static_cast<int>(pick(tensor->dims_size())), number());
    }
  }

  /// A message becomes another one of its type.
  void exchange() {
    Message *target = messages[pick(messages.size())];
    (void)target->ParsePartialFromString(bytesOf(target->GetDescriptor()));
  }

  void changeOperator() {
    if (nodes.size() < 2)
      return;
    auto &node = *nodes[pick(nodes.size())];
    const auto &other = *nodes[pick(nodes.size())];
    node.set_op_type(other.op_type());
    node.set_domain(other.domain());
    if (pick(2) && &node != &other)
      *node.mutable_attribute() = google::protobuf::RepeatedPtrField<fuzz_onnx::AttributeProto>(other.attribute());
  }

  void changeAttribute() {
    if (nodes.empty())
      return;
    auto &node = *nodes[pick(nodes.size())];
    if (node.attribute_size() == 0)
      return;
    auto &attribute = *node.mutable_attribute(static_cast<int>(pick(node.attribute_size())));
    switch (pick(4)) {
    case 0:
      node.mutable_attribute()->DeleteSubrange(static_cast<int>(pick(node.attribute_size())), 1);
      break;
    case 1:
      attribute.set_i(number());
      break;
    case 2:
      attribute.add_ints(number());
      break;
    default:
      changeField(attribute);
    }
  }

  fuzz_onnx::ModelProto &model;
  lathe::fuzz::Random random;
  std::vector<Message *> messages;
  std::vector<fuzz_onnx::NodeProto *> nodes;
  std::vector<std::string> names;
};

size_t write(const fuzz_onnx::ModelProto &model, uint8_t *data, size_t maxSize) {
  size_t size = model.ByteSizeLong();
  if (size > maxSize || size == 0)
    return 0;
  return model.SerializePartialToArray(data, static_cast<int>(size)) ? size : 0;
}

} // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t maxSize, unsigned seed) {
  fuzz_onnx::ModelProto model;
  // Now and then bytes, which the reader of the file must stand too.
  if (seed % 16 == 0 || !model.ParsePartialFromArray(data, static_cast<int>(size)))
    return LLVMFuzzerMutate(data, size, maxSize);
  Mutator(model, seed).run();
  size_t written = write(model, data, maxSize);
  return written ? written : LLVMFuzzerMutate(data, size, maxSize);
}

extern "C" size_t LLVMFuzzerCustomCrossOver(const uint8_t *data1, size_t size1, const uint8_t *data2, size_t size2,
                                            uint8_t *out, size_t maxSize, unsigned seed) {
  fuzz_onnx::ModelProto model, other;
  if (!model.ParsePartialFromArray(data1, static_cast<int>(size1)) ||
      !other.ParsePartialFromArray(data2, static_cast<int>(size2)))
    return 0;
  Mutator(model, seed).take(other);
  return write(model, out, maxSize);
}
