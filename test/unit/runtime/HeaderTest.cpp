//===- HeaderTest.cpp - The public headers ----------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include <gtest/gtest.h>
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
