//===- Manifest.h - The artifact's manifest and constants -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_MANIFEST_H
#define LATHE_COMPILER_MANIFEST_H

#include "compiler/ArtifactWriter.h"
#include "compiler/WeightFiles.h"
#include "mlir/IR/BuiltinOps.h"
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace lathe {

/// The name of a type in manifests, empty for one that they have none for.
std::string typeName(mlir::Type type);

/// Fills a program's symbols, inputs, outputs, kernels, checks, caches and what constants it reads from its selected module.
void describeProgram(mlir::ModuleOp module, nlohmann::ordered_json &program);

/// Fills the manifest's constants from the table of a selected module, and says where their bytes come from; those are valid as
/// long as `files` and the module's context are. False with `error` set.
bool describeConstants(mlir::ModuleOp module, WeightFiles &files, nlohmann::ordered_json &manifest,
                       std::vector<artifact::ConstantSource> &constants, std::string &error);

} // namespace lathe

#endif // LATHE_COMPILER_MANIFEST_H
