//===- WriteDemo.cpp - Writes the test artifact, for tests of programs ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "test/unit/runtime/DemoArtifact.h"

#include <cstdio>

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: lathe_write_demo file.lathe\n");
    return 2;
  }
  lathe::test::DemoArtifact demo(true);
  lathe::test::writeFile(argv[1], lathe::test::readFile(demo.write("demo.lathe")));
  return 0;
}
