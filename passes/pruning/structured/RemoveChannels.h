//===- RemoveChannels.h - A program without some of its channels -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_PRUNING_STRUCTURED_REMOVECHANNELS_H
#define LATHE_PASSES_PRUNING_STRUCTURED_REMOVECHANNELS_H

#include "passes/pruning/structured/ChannelGroups.h"
#include <functional>
#include <optional>

namespace lathe::pruning {

/// What stays of a constant: of each axis the elements, in their order; nullopt for all.
using KeptElements = std::vector<std::optional<std::vector<int64_t>>>;

/// Makes the part of a stored constant that stays, behind it, times a factor. Null after a failure.
using CutConstant = std::function<mlir::Value(mlir::Value constant, const KeptElements &kept, double factor)>;

/// Takes units away from all programs. Types, extents and bounds follow; norms along the units compute what they did
/// where those that go are zero: the model becomes what it would be if all that reads them multiplied them by zero.
/// `removed`: one for each unit, none of which is locked, and not all. False where `cut` fails.
bool removeUnits(const ChannelGroup &group, const std::vector<bool> &removed, const CutConstant &cut);

/// Whether taking these away leaves each axis an element, and as many queries to each key head.
bool canRemove(const ChannelGroup &group, const std::vector<bool> &removed);

} // namespace lathe::pruning

#endif // LATHE_PASSES_PRUNING_STRUCTURED_REMOVECHANNELS_H
