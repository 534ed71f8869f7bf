//===- ErrorSupport.h - What failing calls say ------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_TEST_UNIT_RUNTIME_ERRORSUPPORT_H
#define LATHE_TEST_UNIT_RUNTIME_ERRORSUPPORT_H

#include "runtime/include/lathe/lathe.hpp"

#include <gtest/gtest.h>
#include <string>

namespace lathe::test {

/// The message of a failing call.
template <typename Fn> std::string messageOf(lathe_status expected, Fn call) {
  try {
    call();
  } catch (const lathe::Error &error) {
    EXPECT_EQ(error.status(), expected) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

} // namespace lathe::test

#endif // LATHE_TEST_UNIT_RUNTIME_ERRORSUPPORT_H
