//===- GenerationGolden.h - What transformers answered ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_TEST_UNIT_RUNTIME_GENERATIONGOLDEN_H
#define LATHE_TEST_UNIT_RUNTIME_GENERATIONGOLDEN_H

#include "runtime/generation/GenerationConfig.h"

#include <cmath>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace lathe::test {

/// A file of golden/, by golden/make_generation.py.
inline nlohmann::json golden(const char *name) {
  std::ifstream file(std::string(LATHE_GOLDEN) + "/" + name);
  return nlohmann::json::parse(file);
}

inline runtime::GenerationConfig configOf(const nlohmann::json &config) {
  runtime::GenerationConfig result;
  std::vector<std::string> ignored;
  runtime::Status status = runtime::readGenerationConfig(config.dump(), result, &ignored);
  EXPECT_FALSE(status.failed()) << status.message();
  EXPECT_TRUE(ignored.empty()) << ignored[0];
  return result;
}

/// Numbers in which null is minus infinity.
inline std::vector<float> floatsOf(const nlohmann::json &numbers) {
  std::vector<float> result;
  for (const nlohmann::json &number : numbers)
    result.push_back(number.is_null() ? -INFINITY : number.get<float>());
  return result;
}

/// The logits of a model that is two tables.
struct TableModel {
  std::vector<std::vector<float>> table, position;

  explicit TableModel(const nlohmann::json &model) {
    for (const nlohmann::json &row : model["table"])
      table.push_back(floatsOf(row));
    for (const nlohmann::json &row : model["position"])
      position.push_back(floatsOf(row));
  }

  std::vector<float> logits(const std::vector<runtime::Token> &tokens) const {
    std::vector<float> row = table[static_cast<size_t>(tokens.back())];
    for (size_t i = 0; i < row.size(); ++i)
      row[i] += position[tokens.size() % position.size()][i];
    return row;
  }
};

} // namespace lathe::test

#endif // LATHE_TEST_UNIT_RUNTIME_GENERATIONGOLDEN_H
