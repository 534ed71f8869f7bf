//===- Extract.cpp - A part of an ONNX model as a model -------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Extract.h"
#include "frontends/onnx/Functions.h"
#include "frontends/onnx/ModelFile.h"
#include "frontends/onnx/export/StreamFile.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include <deque>
#include <set>

namespace lathe {
namespace {

using frontend::ModelFile;
using llvm::StringRef;

/// A graph, its nodes' names, and who computes what.
class Graph {
public:
  std::string read(const std::string &path) {
    if (std::string problem = frontend::readModelFile(path, file); !problem.empty())
      return problem;
    if (std::string problem = frontend::inlineFunctions(file.proto); !problem.empty())
      return problem;
    const onnx::GraphProto &graph = file.proto.graph();
    for (int i = 0; i < graph.node_size(); ++i) {
      const onnx::NodeProto &node = graph.node(i);
      names.push_back(node.name().empty() ? node.op_type() + "_" + std::to_string(i) : node.name());
      for (const std::string &output : node.output())
        producers[output] = i;
      for (StringRef taken : takenBy(i))
        readers[taken].push_back(i);
    }
    for (auto [i, tensor] : llvm::enumerate(graph.initializer()))
      initializers[tensor.name()] = static_cast<int>(i);
    return "";
  }

  llvm::SetVector<StringRef> takenBy(int index) const {
    const onnx::NodeProto &node = file.proto.graph().node(index);
    llvm::SetVector<StringRef> taken(node.input().begin(), node.input().end());
    frontend::collectCaptures(node, taken);
    taken.remove("");
    return taken;
  }

  bool isConstant(int index) const { return file.proto.graph().node(index).op_type() == "Constant"; }
  /// The node that computes a value; none for inputs and initializers.
  std::optional<int> producerOf(StringRef value) const {
    auto it = producers.find(value);
    return it == producers.end() ? std::nullopt : std::optional(it->second);
  }
  /// The node of a name, or the one whose graph or function's call the name is below.
  std::optional<int> find(StringRef name) const {
    std::optional<int> around;
    for (auto [i, own] : llvm::enumerate(names)) {
      if (name == own)
        return static_cast<int>(i);
      StringRef rest = name;
      if (rest.consume_front(own) && rest.starts_with("/") && (!around || own.size() > names[*around].size()))
        around = static_cast<int>(i);
    }
    if (auto it = readers.find(name); !around && it != readers.end())
      around = it->second.front();
    return around;
  }

  ModelFile file;
  std::vector<std::string> names;
  llvm::StringMap<int> producers, initializers;
  llvm::StringMap<std::vector<int>> readers;
};

/// The nearest nodes, producers first at each distance.
std::set<int> nearest(const Graph &graph, int start, size_t count) {
  std::set<int> chosen, seen = {start};
  std::deque<int> queue = {start};
  while (!queue.empty() && chosen.size() < count) {
    int at = queue.front();
    queue.pop_front();
    chosen.insert(at);
    auto visit = [&](int next) {
      if (!graph.isConstant(next) && seen.insert(next).second)
        queue.push_back(next);
    };
    for (StringRef taken : graph.takenBy(at))
      if (std::optional<int> producer = graph.producerOf(taken))
        visit(*producer);
    for (const std::string &output : graph.file.proto.graph().node(at).output())
      if (auto it = graph.readers.find(output); it != graph.readers.end())
        for (int reader : it->second)
          visit(reader);
  }
  return chosen;
}

/// Of the elements of a tensor, in a file of its own.
uint64_t bytesOf(const onnx::TensorProto &tensor) {
  uint64_t bits = 8; // of bools, bytes and 8-bit floats
  switch (tensor.data_type()) {
  case onnx::TensorProto::FLOAT:
  case onnx::TensorProto::INT32:
  case onnx::TensorProto::UINT32:
    bits = 32;
    break;
  case onnx::TensorProto::DOUBLE:
  case onnx::TensorProto::INT64:
  case onnx::TensorProto::UINT64:
    bits = 64;
    break;
  case onnx::TensorProto::FLOAT16:
  case onnx::TensorProto::BFLOAT16:
  case onnx::TensorProto::INT16:
  case onnx::TensorProto::UINT16:
    bits = 16;
    break;
  case onnx::TensorProto::INT4:
  case onnx::TensorProto::UINT4:
  case onnx::TensorProto::FLOAT4E2M1:
    bits = 4;
    break;
  default:
    break;
  }
  uint64_t count = 1;
  for (int64_t dim : tensor.dims())
    count *= static_cast<uint64_t>(dim);
  return (count * bits + 7) / 8;
}

/// Puts the bytes back that were left in the file, wherever a tensor is.
bool restore(const ModelFile &file, onnx::TensorProto &tensor, std::string &error) {
  if (tensor.data_location() != onnx::TensorProto::EXTERNAL) {
    if (std::optional<frontend::RawData> raw = file.raw(tensor))
      tensor.set_raw_data(raw->bytes.data(), raw->bytes.size());
    return true;
  }
  uint64_t size = bytesOf(tensor);
  frontend::ExternalData data;
  error = frontend::locateExternalData(file, tensor, "initializer '" + tensor.name() + "'", static_cast<int64_t>(size),
                                       data);
  if (!error.empty())
    return false;
  llvm::SmallString<128> path(file.directory);
  llvm::sys::path::append(path, data.file);
  auto bytes = llvm::MemoryBuffer::getFileSlice(path, size, static_cast<uint64_t>(data.offset));
  if (!bytes) {
    error = "can't read '" + data.file + "': " + bytes.getError().message();
    return false;
  }
  tensor.set_raw_data((*bytes)->getBufferStart(), (*bytes)->getBufferSize());
  tensor.clear_external_data();
  tensor.clear_data_location();
  return true;
}

bool restore(const ModelFile &file, onnx::GraphProto &graph, std::string &error);

bool restore(const ModelFile &file, onnx::NodeProto &node, std::string &error) {
  for (onnx::AttributeProto &attribute : *node.mutable_attribute()) {
    if (attribute.has_t() && !restore(file, *attribute.mutable_t(), error))
      return false;
    for (onnx::TensorProto &tensor : *attribute.mutable_tensors())
      if (!restore(file, tensor, error))
        return false;
    if (attribute.has_g() && !restore(file, *attribute.mutable_g(), error))
      return false;
    for (onnx::GraphProto &inner : *attribute.mutable_graphs())
      if (!restore(file, inner, error))
        return false;
  }
  return true;
}

bool restore(const ModelFile &file, onnx::GraphProto &graph, std::string &error) {
  for (onnx::TensorProto &tensor : *graph.mutable_initializer())
    if (!restore(file, tensor, error))
      return false;
  return llvm::all_of(*graph.mutable_node(), [&](onnx::NodeProto &node) { return restore(file, node, error); });
}

void describe(const PartValue &value, onnx::ValueInfoProto &info) {
  info.set_name(value.name);
  onnx::TypeProto::Tensor &type = *info.mutable_type()->mutable_tensor_type();
  type.set_elem_type(value.type);
  type.mutable_shape();
  for (const std::string &dim : value.shape) {
    int64_t number = 0;
    onnx::TensorShapeProto::Dimension &own = *type.mutable_shape()->add_dim();
    if (StringRef(dim).getAsInteger(10, number))
      own.set_dim_param(dim);
    else
      own.set_dim_value(number);
  }
}

bool write(const onnx::ModelProto &model, const std::string &path, std::string &error) {
  std::string bytes;
  if (!model.SerializeToString(&bytes)) {
    error = "can't write '" + path + "': its constants have more than the 2 GiB that a protobuf may have";
    return false;
  }
  runtime::NewFile file(path);
  std::string problem = writeStream(file, [&](llvm::raw_ostream &stream) { stream << bytes; });
  if (problem.empty())
    problem = file.finish();
  if (!problem.empty())
    error = "can't write '" + path + "': " + problem;
  return problem.empty();
}

} // namespace

bool findPart(const std::string &model, const std::string &node, size_t count, ModelPart &part, std::string &error) {
  Graph graph;
  error = graph.read(model);
  if (!error.empty())
    return false;
  std::optional<int> start = graph.find(node);
  if (!start) {
    error = "'" + model + "' has no node '" + node + "'";
    return false;
  }
  std::set<int> chosen = nearest(graph, *start, count);
  part = {};
  llvm::SetVector<StringRef> inputs;
  llvm::StringSet<> given;
  for (const onnx::ValueInfoProto &output : graph.file.proto.graph().output())
    given.insert(output.name());
  for (int index : chosen) {
    part.nodes.push_back(graph.names[index]);
    for (StringRef taken : graph.takenBy(index)) {
      std::optional<int> producer = graph.producerOf(taken);
      if (graph.initializers.count(taken) && !llvm::is_contained(part.constants, taken))
        part.constants.push_back(taken.str());
      if (producer ? !chosen.count(*producer) && !graph.isConstant(*producer) : !graph.initializers.count(taken))
        inputs.insert(taken);
    }
    for (const std::string &output : graph.file.proto.graph().node(index).output()) {
      auto readers = graph.readers.find(output);
      bool isRead = readers != graph.readers.end() &&
                    llvm::any_of(readers->second, [&](int reader) { return !chosen.count(reader); });
      if (!output.empty() && (isRead || given.contains(output)))
        part.outputs.push_back(output);
    }
  }
  for (StringRef input : inputs)
    part.inputs.push_back(input.str());
  return true;
}

bool writePart(const std::string &model, const ModelPart &part, const std::vector<PartValue> &types,
               const std::string &output, std::string &error) {
  Graph graph;
  error = graph.read(model);
  if (!error.empty())
    return false;
  const onnx::GraphProto &whole = graph.file.proto.graph();
  onnx::ModelProto own;
  own.set_ir_version(graph.file.proto.ir_version());
  own.set_producer_name("lathe");
  own.mutable_opset_import()->CopyFrom(graph.file.proto.opset_import());
  own.mutable_graph()->set_name(whole.name());
  llvm::StringSet<> wanted;
  wanted.insert(part.nodes.begin(), part.nodes.end());
  std::set<int> chosen, constants, initializers;
  for (auto [i, name] : llvm::enumerate(graph.names))
    if (wanted.contains(name))
      chosen.insert(static_cast<int>(i));
  llvm::StringSet<> inputs;
  inputs.insert(part.inputs.begin(), part.inputs.end());
  for (int index : chosen)
    for (StringRef taken : graph.takenBy(index)) {
      std::optional<int> producer = graph.producerOf(taken);
      if (producer && graph.isConstant(*producer))
        constants.insert(*producer);
      else if (auto it = graph.initializers.find(taken); it != graph.initializers.end() && !inputs.contains(taken))
        initializers.insert(it->second);
    }
  for (int index : initializers)
    *own.mutable_graph()->add_initializer() = whole.initializer(index);
  for (const std::set<int> *indices : {&constants, &chosen})
    for (int index : *indices) {
      *own.mutable_graph()->add_node() = whole.node(index);
      own.mutable_graph()->mutable_node()->rbegin()->set_name(graph.names[index]);
    }
  if (!restore(graph.file, *own.mutable_graph(), error))
    return false;
  for (const PartValue &value : types) {
    if (inputs.contains(value.name))
      describe(value, *own.mutable_graph()->add_input());
    if (llvm::is_contained(part.outputs, value.name))
      describe(value, *own.mutable_graph()->add_output());
  }
  return write(own, output, error);
}

} // namespace lathe
