//===- ValueNames.cpp - Which value of the model a result is --------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "dialects/lathe/ValueNames.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;

namespace lathe {

std::optional<ModelValue> modelValue(Location loc) {
  if (auto fused = dyn_cast<FusedLoc>(loc)) {
    // Of several operations, that whose result it is.
    auto root = dyn_cast_or_null<LocationAttr>(fused.getMetadata());
    return root ? modelValue(Location(root)) : std::nullopt;
  }
  auto node = dyn_cast<NameLoc>(loc);
  auto value = node ? dyn_cast<FileLineColLoc>(node.getChildLoc()) : FileLineColLoc();
  if (!value)
    return std::nullopt;
  return ModelValue{node.getName(), value.getFilename()};
}

Location withValue(NameLoc node, StringRef name) {
  return NameLoc::get(node.getName(), FileLineColLoc::get(node.getContext(), name, 0, 0));
}

Location withoutValue(Location loc) {
  if (auto fused = dyn_cast<FusedLoc>(loc)) {
    auto parts = llvm::map_to_vector(fused.getLocations(), withoutValue);
    return FusedLoc::get(loc.getContext(), parts);
  }
  auto node = dyn_cast<NameLoc>(loc);
  return node ? Location(NameLoc::get(node.getName())) : loc;
}

Location fusedLocation(MLIRContext *context, ArrayRef<Location> locs, Location root) {
  std::optional<ModelValue> value = modelValue(root);
  if (!value)
    return FusedLoc::get(context, llvm::map_to_vector(locs, withoutValue));
  return FusedLoc::get(context, locs, withValue(NameLoc::get(value->node), value->name));
}

} // namespace lathe
