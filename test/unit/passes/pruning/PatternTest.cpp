//===- PatternTest.cpp - Which weights become zero together -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/pruning/methods/Pattern.h"

#include <gtest/gtest.h>

using namespace lathe::pruning;

namespace {

TEST(Pattern, NamesAreReadAndWritten) {
  for (const char *name : {"unstructured", "2:4", "4:8", "1:4", "31:32", "block:1x16", "block:16x16", "block:256x1"}) {
    Pattern pattern;
    EXPECT_EQ(parsePattern(name, pattern), "") << name;
    EXPECT_EQ(pattern.name(), name);
  }
  Pattern pattern;
  ASSERT_EQ(parsePattern("1:4", pattern), "");
  EXPECT_EQ(pattern.ownSparsity(), 0.75);
  EXPECT_EQ(pattern.inputsTogether(), 4);
  ASSERT_EQ(parsePattern("block:4x16", pattern), "");
  EXPECT_EQ(pattern.rows, 4);
  EXPECT_EQ(pattern.columns, 16);
}

TEST(Pattern, WrongNamesAreToldTheNearest) {
  const std::pair<const char *, const char *> all[] = {{"4:2", "'2:4'"},
                                                       {"4:4", "'3:4'"},
                                                       {"0:4", "'1:4'"},
                                                       {"32:64", "'16:32'"},
                                                       {"2:", "'2:4'"},
                                                       {"0:0", "'1:2'"},
                                                       {"block:0x16", "'block:1x16'"},
                                                       {"block:16", "'block:1x16'"},
                                                       {"block:512x16", "'block:256x16'"},
                                                       {"4x16", "'block:4x16'"},
                                                       {"unstructurd", "'unstructured'"},
                                                       {"", "'unstructured'"},
                                                       {"99999999:4", "'2:4'"},
                                                       {"4x0", "'block:4x1'"}};
  for (auto [given, near] : all) {
    Pattern pattern;
    const std::string problem = parsePattern(given, pattern);
    EXPECT_NE(problem.find(std::string("did you mean ") + near), std::string::npos) << given << ": " << problem;
    EXPECT_EQ(pattern.kind, PatternKind::Unstructured);
  }
}

} // namespace
