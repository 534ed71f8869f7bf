//===- Model.cpp - Words cut into tokens ------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/tokenizer/Model.h"

#include <cstdio>

using namespace lathe;
using namespace lathe::tokenizer;

Status Model::readVocabulary(const Node &node) {
  if (!node.isObject())
    return node.expected("an object of ids");
  size_t bytes = 0;
  for (const auto &[token, id] : node.value().items())
    bytes += token.size();
  vocabulary_.reserve(node.value().size(), bytes);
  for (const auto &[token, id] : node.value().items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= kMaxTokenId)
      return Node(id, node.path() + "." + token).expected("a whole number from 0 to 2147483647");
    vocabulary_.add(token, id.get<uint32_t>());
  }
  return success();
}

void Model::findBytes(uint32_t (&bytes)[256]) const {
  for (unsigned i = 0; i < 256; ++i) {
    char name[8];
    snprintf(name, sizeof(name), "<0x%02X>", i);
    bytes[i] = vocabulary_.find(name).value_or(kNoByte);
  }
}

Status tokenizer::readModel(const Node &node, std::unique_ptr<Model> *model) {
  if (!node.isObject())
    return node.expected("an object");
  std::string type;
  if (node["type"].isNull()) {
    // Files of old versions do not say it: the members tell.
    if (!node["merges"].isNull())
      type = "BPE";
    else if (!node["continuing_subword_prefix"].isNull())
      type = "WordPiece";
    else if (node["vocab"].value().is_array())
      type = "Unigram";
    else
      type = "WordLevel";
  } else {
    LATHE_TRY(node["type"].read(&type));
  }
  if (type == "BPE")
    return readBpe(node, model);
  if (type == "WordPiece")
    return readWordPiece(node, model);
  if (type == "WordLevel")
    return readWordLevel(node, model);
  if (type == "Unigram")
    return readUnigram(node, model);
  return node["type"].unsupported("the model '" + type + "'");
}
