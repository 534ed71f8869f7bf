//===- DemoArtifact.h - The artifact that the runtime's tests load ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_TEST_UNIT_RUNTIME_DEMOARTIFACT_H
#define LATHE_TEST_UNIT_RUNTIME_DEMOARTIFACT_H

#include "test/unit/runtime/DemoModel.h"

namespace lathe::test {

/// Offsets of the entry points in demo_code.c's image, as demo_code.ld places them.
inline constexpr int kDemoPlan = 0;
inline constexpr int kDemoRun = 2048;

void writeFile(const std::string &path, const std::vector<unsigned char> &bytes);

/// A section for a file that travels with the demo: its bytes, and a zero.
struct DemoDocument {
  std::string section, bytes;
};

/// The model described in demo_code.c.
struct DemoArtifact : DemoModel {
  std::vector<DemoDocument> documents;

  explicit DemoArtifact(bool packed = false);
  /// Adds a program of the same code, whose outputs are called after it. Its kernels and checks have names of their own.
  void addProgram(const std::string &name);
  /// Adds a file that travels with it.
  void addDocument(const std::string &name, const std::string &format, const std::string &text);
  /// Writes the artifact and returns its path; fails the test when that fails.
  std::string write(const std::string &name) const;

  /// What the model computes.
  std::vector<float> sum(const std::vector<float> &y, const std::vector<int64_t> &index, const std::vector<float> &z,
                         int64_t n) const;
};

} // namespace lathe::test

#endif // LATHE_TEST_UNIT_RUNTIME_DEMOARTIFACT_H
