//===- Functions.cpp - Functions and graphs inside of a model -------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Functions.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringMap.h"

using namespace llvm;

namespace lathe::frontend {

template <typename Function> static void forEachGraph(const onnx::NodeProto &node, Function function) {
  for (const onnx::AttributeProto &attribute : node.attribute()) {
    if (attribute.has_g())
      function(attribute.g());
    for (const onnx::GraphProto &graph : attribute.graphs())
      function(graph);
  }
}

void collectUsedNames(const onnx::GraphProto &graph, StringSet<> &names) {
  for (const onnx::NodeProto &node : graph.node()) {
    for (const std::string &name : node.input())
      names.insert(name);
    forEachGraph(node, [&](const onnx::GraphProto &inner) { collectUsedNames(inner, names); });
  }
  for (const onnx::ValueInfoProto &output : graph.output())
    names.insert(output.name());
}

void collectCaptures(const onnx::NodeProto &node, SetVector<StringRef> &names) {
  forEachGraph(node, [&](const onnx::GraphProto &graph) {
    StringSet<> defined;
    for (const onnx::ValueInfoProto &input : graph.input())
      defined.insert(input.name());
    for (const onnx::TensorProto &tensor : graph.initializer())
      defined.insert(tensor.name());
    for (const onnx::NodeProto &inner : graph.node())
      defined.insert(inner.output().begin(), inner.output().end());
    SetVector<StringRef> taken;
    for (const onnx::NodeProto &inner : graph.node()) {
      taken.insert(inner.input().begin(), inner.input().end());
      collectCaptures(inner, taken);
    }
    for (const onnx::ValueInfoProto &output : graph.output())
      taken.insert(output.name());
    for (StringRef name : taken)
      if (!name.empty() && !defined.contains(name))
        names.insert(name);
  });
}

//===----------------------------------------------------------------------===//
// Functions
//===----------------------------------------------------------------------===//

namespace {

/// Nodes after inlining, and their bytes: what functions add, by the bytes that the model has before. A file of a few
/// functions that call each other twice could make any number.
constexpr int64_t kMostNodes = 1 << 18, kMostBytes = int64_t(1) << 28, kFreeBytes = int64_t(1) << 19, kGrowth = 256;
constexpr int64_t kOldestOpset = 13, kNewestOpset = 25;
using Nodes = google::protobuf::RepeatedPtrField<onnx::NodeProto>;

std::string keyOf(const std::string &domain, const std::string &name, const std::string &overload) {
  return (domain == "ai.onnx" ? "" : domain) + "::" + name + ":" + overload;
}

class Inliner {
public:
  explicit Inliner(onnx::ModelProto &model) : model(model) {}

  std::string run() {
    for (const onnx::FunctionProto &function : model.functions()) {
      if (!functions.try_emplace(keyOf(function.domain(), function.name(), function.overload()), &function).second)
        return "function '" + function.name() + "' of domain '" + function.domain() + "' is defined twice";
      for (const onnx::OperatorSetIdProto &opset : function.opset_import())
        if ((opset.domain().empty() || opset.domain() == "ai.onnx") &&
            (opset.version() < kOldestOpset || opset.version() > kNewestOpset))
          return "function '" + function.name() + "' of domain '" + function.domain() + "': expects operator set " +
                 std::to_string(kOldestOpset) + " to " + std::to_string(kNewestOpset) + " of domain ai.onnx, got " +
                 std::to_string(opset.version());
    }
    if (functions.empty())
      return "";
    mostBytes = std::min<int64_t>(kMostBytes, kFreeBytes + kGrowth * static_cast<int64_t>(model.ByteSizeLong()));
    expandNodes(*model.mutable_graph()->mutable_node());
    return error;
  }

private:
  /// One call: what the function's names and attributes stand for.
  struct Call {
    std::string prefix;
    StringMap<std::string> names;
    StringMap<const onnx::AttributeProto *> attributes;
  };

  const onnx::FunctionProto *callee(const onnx::NodeProto &node) const {
    return functions.lookup(keyOf(node.domain(), node.op_type(), node.overload()));
  }

  void expandNodes(Nodes &nodes) {
    for (onnx::NodeProto &node : nodes)
      for (onnx::AttributeProto &attribute : *node.mutable_attribute()) {
        if (attribute.has_g())
          expandNodes(*attribute.mutable_g()->mutable_node());
        for (onnx::GraphProto &graph : *attribute.mutable_graphs())
          expandNodes(*graph.mutable_node());
      }
    if (none_of(nodes, [&](const onnx::NodeProto &node) { return callee(node) != nullptr; }))
      return;
    Nodes expanded;
    for (onnx::NodeProto &node : nodes) {
      if (!error.empty())
        return;
      if (const onnx::FunctionProto *function = callee(node))
        inlineCall(node, *function, expanded);
      else
        expanded.Add()->Swap(&node);
    }
    nodes.Swap(&expanded);
  }

  void inlineCall(const onnx::NodeProto &node, const onnx::FunctionProto &function, Nodes &expanded) {
    std::string name = node.name().empty() ? node.op_type() + "_" + std::to_string(calls) : node.name();
    auto fail = [&](const std::string &text) {
      if (error.empty())
        error = "node '" + name + "' (" + node.op_type() + " of domain '" + node.domain() + "'): " + text;
    };
    if (is_contained(stack, &function))
      return fail("the function calls itself");
    if (node.input_size() > function.input_size() || node.output_size() > function.output_size())
      return fail("expects at most " + std::to_string(function.input_size()) + " inputs and " +
                  std::to_string(function.output_size()) + " outputs, got " + std::to_string(node.input_size()) +
                  " and " + std::to_string(node.output_size()));
    ++calls;
    Call call;
    call.prefix = name + "/";
    std::string local = "%" + std::to_string(calls) + "/"; // not a name of the file: those of calls are numbered
    for (int i = 0; i < function.input_size(); ++i)
      call.names[function.input(i)] = i < node.input_size() ? node.input(i) : "";
    for (const onnx::AttributeProto &attribute : function.attribute_proto())
      call.attributes[attribute.name()] = &attribute;
    for (const onnx::AttributeProto &attribute : node.attribute())
      call.attributes[attribute.name()] = &attribute;
    Nodes body = function.node();
    auto forward = [&](const std::string &from, const std::string &to) {
      onnx::NodeProto *identity = body.Add();
      identity->set_op_type("Identity");
      identity->add_input(from);
      identity->add_output(to);
    };
    for (int i = 0; i < node.output_size(); ++i) {
      const std::string &output = function.output(i);
      if (node.output(i).empty())
        continue;
      // A second use of a name, such as an input that is an output, needs a node of its own.
      if (!call.names.try_emplace(output, node.output(i)).second) {
        std::string alias = local + "output" + std::to_string(i);
        call.names[alias] = node.output(i);
        forward(output, alias);
      }
    }
    stack.push_back(&function);
    for (onnx::NodeProto &inner : body) {
      rename(inner, call, local);
      bytes += static_cast<int64_t>(inner.ByteSizeLong());
    }
    nodes += body.size();
    if (nodes > kMostNodes || bytes > mostBytes)
      fail("functions of more than " + std::to_string(kMostNodes) + " nodes or " + std::to_string(mostBytes) +
           " bytes when inlined are not supported");
    else
      expandNodes(body);
    stack.pop_back();
    for (onnx::NodeProto &inner : body)
      expanded.Add()->Swap(&inner);
  }

  static std::string renamed(const std::string &name, Call &call, const std::string &local) {
    if (name.empty())
      return name;
    return call.names.try_emplace(name, local + name).first->second;
  }

  void rename(onnx::NodeProto &node, Call &call, const std::string &local) {
    node.set_name(call.prefix + (node.name().empty() ? node.op_type() : node.name()));
    for (std::string &name : *node.mutable_input())
      name = renamed(name, call, local);
    for (std::string &name : *node.mutable_output())
      name = renamed(name, call, local);
    google::protobuf::RepeatedPtrField<onnx::AttributeProto> attributes;
    for (onnx::AttributeProto &attribute : *node.mutable_attribute()) {
      if (!attribute.ref_attr_name().empty()) {
        const onnx::AttributeProto *given = call.attributes.lookup(attribute.ref_attr_name());
        if (!given)
          continue;
        std::string name = attribute.name();
        attribute = *given;
        attribute.set_name(name);
      } else {
        if (attribute.has_g())
          rename(*attribute.mutable_g(), call, local);
        for (onnx::GraphProto &graph : *attribute.mutable_graphs())
          rename(graph, call, local);
      }
      attributes.Add()->Swap(&attribute);
    }
    node.mutable_attribute()->Swap(&attributes);
  }

  void rename(onnx::GraphProto &graph, Call &call, const std::string &local) {
    for (auto *values : {graph.mutable_input(), graph.mutable_output()})
      for (onnx::ValueInfoProto &value : *values)
        value.set_name(renamed(value.name(), call, local));
    for (onnx::TensorProto &tensor : *graph.mutable_initializer())
      tensor.set_name(renamed(tensor.name(), call, local));
    for (onnx::NodeProto &node : *graph.mutable_node())
      rename(node, call, local);
  }

  onnx::ModelProto &model;
  StringMap<const onnx::FunctionProto *> functions;
  SmallVector<const onnx::FunctionProto *> stack;
  int64_t calls = 0, nodes = 0, bytes = 0, mostBytes = 0;
  std::string error;
};

} // namespace

std::string inlineFunctions(onnx::ModelProto &model) { return Inliner(model).run(); }

} // namespace lathe::frontend
