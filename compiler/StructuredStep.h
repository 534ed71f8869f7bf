//===- StructuredStep.h - A recipe's step that takes parts away -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_STRUCTUREDSTEP_H
#define LATHE_COMPILER_STRUCTUREDSTEP_H

#include "compiler/Compress.h"
#include "runtime/ThreadPool.h"

namespace lathe {

/// Takes the parts that count for least out of all programs, whose tensors become smaller. `covers` tells weights that
/// may go, by the names of initializers and of the nodes that read them. Where the step prefers speed, places whose
/// products would be slower stay as they were, which `resolved` says where `isResolved`. False with `error` set; `isUsage` where the
/// step can't be carried out on this model, or its data are wrong.
bool pruneParts(const Compression &compression, const RecipeStep &step,
                const std::function<bool(const std::string &, const std::string &)> &covers, runtime::ThreadPool &pool,
                CompressionReport &report, RecipeStep &resolved, bool &isResolved, bool &isUsage, std::string &error);

} // namespace lathe

#endif // LATHE_COMPILER_STRUCTUREDSTEP_H
