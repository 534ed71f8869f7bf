//===- Functions.h - Functions and graphs inside of a model -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_FUNCTIONS_H
#define LATHE_FRONTENDS_ONNX_FUNCTIONS_H

#include "onnx.pb.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/ADT/StringSet.h"
#include <string>

namespace lathe::frontend {

/// Replaces calls of the functions that a model defines by their nodes, whose names begin with the call's. Returns
/// what is wrong, or an empty string.
std::string inlineFunctions(onnx::ModelProto &model);

/// Names that nodes and outputs take, also those of graphs that are attributes.
void collectUsedNames(const onnx::GraphProto &graph, llvm::StringSet<> &names);

/// Names that the graphs of a node take from outside of them.
void collectCaptures(const onnx::NodeProto &node, llvm::SetVector<llvm::StringRef> &names);

} // namespace lathe::frontend

#endif // LATHE_FRONTENDS_ONNX_FUNCTIONS_H
