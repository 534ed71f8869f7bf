//===- DemoModel.h - What artifacts that tests load have in common --*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_TEST_UNIT_RUNTIME_DEMOMODEL_H
#define LATHE_TEST_UNIT_RUNTIME_DEMOMODEL_H

#include "compiler/ArtifactWriter.h"

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace lathe::test {

std::vector<unsigned char> readFile(const std::string &path);

/// A path in a folder of this process that is removed at exit.
std::string temporaryPath(const std::string &name);

/// A model with a table of scales and one product; the code is written by hand.
struct DemoModel {
  nlohmann::ordered_json manifest;
  std::vector<unsigned char> code;
  std::vector<float> scale, weight, bias;

  /// relu(x * weight + bias)
  std::vector<float> product(const std::vector<float> &x) const;

protected:
  DemoModel(const std::string &codePath, const char *manifestText, bool packed);
  /// Writes the artifact and returns its path; fails the test when that fails.
  std::string write(const std::string &name, const std::vector<artifact::SectionSource> &sections) const;

private:
  std::vector<float> storedWeight;
};

} // namespace lathe::test

#endif // LATHE_TEST_UNIT_RUNTIME_DEMOMODEL_H
