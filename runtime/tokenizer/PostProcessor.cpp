//===- PostProcessor.cpp - Tokens around a text -----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/tokenizer/PostProcessor.h"
#include "runtime/tokenizer/Model.h"
#include <algorithm>

using namespace lathe;
using namespace lathe::tokenizer;

namespace {

/// A pair of a text and an id, as BertProcessing has its tokens.
Status readPair(const Node &node, uint32_t *id) {
  if (node.size() != 2)
    return node.expected("a pair of a token and its id");
  LATHE_TRY(node[1].read(id));
  return *id < kMaxTokenId ? success() : node[1].expected("below 2147483648");
}

} // namespace

Status PostProcessor::readTemplate(const Node &node) {
  Node single = node["single"];
  LATHE_TRY(single.list());
  Template parts;
  for (size_t i = 0; i < single.size(); ++i) {
    Node part = single[i];
    if (!part["Sequence"].isNull()) {
      std::string id;
      LATHE_TRY(part["Sequence"]["id"].read(&id));
      if (id != "A")
        return part["Sequence"]["id"].expected("A, the one text");
      parts.push_back({true, 0});
    } else if (!part["SpecialToken"].isNull()) {
      std::string name;
      LATHE_TRY(part["SpecialToken"]["id"].read(&name));
      Node ids = node["special_tokens"][name.c_str()]["ids"];
      LATHE_TRY(ids.list());
      for (size_t k = 0; k < ids.size(); ++k) {
        uint32_t id = 0;
        LATHE_TRY(ids[k].read(&id));
        if (id >= kMaxTokenId)
          return ids[k].expected("below 2147483648");
        parts.push_back({false, id});
      }
    } else {
      return part.expected("{\"Sequence\": …} or {\"SpecialToken\": …}");
    }
  }
  // One that repeats the text again and again would multiply it at each step.
  size_t sequences = 0;
  for (const Part &part : parts)
    sequences += part.isSequence;
  if (sequences > 1)
    return single.unsupported("a text that appears more than once");
  steps_.push_back(std::move(parts));
  return success();
}

Status PostProcessor::read(const Node &node, int depth) {
  if (node.isNull())
    return success();
  if (depth > kMaxDepth)
    return node.unsupported("a sequence that lies this deep");
  std::string type;
  LATHE_TRY(node["type"].read(&type));
  if (type == "ByteLevel") // offsets only
    return success();
  if (type == "TemplateProcessing")
    return readTemplate(node);
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    uint32_t first = 0, last = 0;
    LATHE_TRY(readPair(node["cls"], &first));
    LATHE_TRY(readPair(node["sep"], &last));
    steps_.push_back({{false, first}, {true, 0}, {false, last}});
    return success();
  }
  if (type == "Sequence") {
    Node list = node["processors"];
    LATHE_TRY(list.list());
    for (size_t i = 0; i < list.size(); ++i)
      LATHE_TRY(read(list[i], depth + 1));
    return success();
  }
  return node["type"].unsupported("the post-processor '" + type + "'");
}

void PostProcessor::apply(std::vector<uint32_t> &ids) const {
  for (const Template &step : steps_) {
    std::vector<uint32_t> out;
    out.reserve(ids.size() + step.size());
    for (const Part &part : step)
      if (part.isSequence)
        out.insert(out.end(), ids.begin(), ids.end());
      else
        out.push_back(part.token);
    ids = std::move(out);
  }
}

std::optional<uint32_t> PostProcessor::first() const {
  for (auto step = steps_.rbegin(); step != steps_.rend(); ++step)
    if (!step->empty() && !step->front().isSequence)
      return step->front().token;
  return std::nullopt;
}

std::optional<uint32_t> PostProcessor::last() const {
  for (auto step = steps_.rbegin(); step != steps_.rend(); ++step)
    if (!step->empty() && !step->back().isSequence)
      return step->back().token;
  return std::nullopt;
}

uint32_t PostProcessor::maxId() const {
  uint32_t id = 0;
  for (const Template &step : steps_)
    for (const Part &part : step)
      id = std::max(id, part.token);
  return id;
}
