//===- HeaderTest.cpp - The public headers ----------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include <gtest/gtest.h>
#include <lathe/generate.hpp>
#include <lathe/lathe.hpp>

extern "C" int latheHeaderCompilesAsC(void);

TEST(Header, WorksFromC) { EXPECT_EQ(latheHeaderCompilesAsC(), 1); }

TEST(Header, ThrowsFromCpp) {
  try {
    lathe::Module module("/nonexistent");
    FAIL() << "expected an error";
  } catch (const lathe::Error &error) {
    EXPECT_EQ(error.status(), LATHE_NOT_FOUND);
    EXPECT_STREQ(error.what(), "cannot open '/nonexistent': No such file or directory");
  }
}

TEST(Header, GenerationConfigHasItsDefaults) {
  lathe::GenerationConfig config;
  EXPECT_EQ(config.native.struct_size, sizeof config.native);
  EXPECT_EQ(config.native.max_new_tokens, 20);
  EXPECT_EQ(config.native.num_beams, 1);
  EXPECT_EQ(config.native.temperature, 1);
}
