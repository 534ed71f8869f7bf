//===- ApiSupport.h - What the C interface is written with ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_APISUPPORT_H
#define LATHE_RUNTIME_APISUPPORT_H

#include "runtime/Module.h"

#include <cstring>

/// The handle holds one of the references to the module; its sessions hold the others.
struct lathe_module {
  std::shared_ptr<lathe::runtime::Module> module;
};

namespace lathe::runtime {

/// The code of a status, whose message lathe_last_error then tells.
lathe_status report(const Status &status);

template <typename... Parts> lathe_status badArgument(const Parts &...parts) {
  return report(failure(LATHE_INVALID_ARGUMENT, parts...));
}

inline lathe_status nullArgument(const char *name) { return badArgument("'", name, "' must not be NULL"); }

/// Copies a structure of the caller's version; members that the caller does not know keep their defaults.
template <typename T> bool readOptions(const T *given, T *options) {
  if (!given)
    return true;
  if (given->struct_size < sizeof(size_t))
    return false;
  size_t size = given->struct_size < sizeof(T) ? given->struct_size : sizeof(T);
  memcpy(options, given, size);
  return true;
}

inline lathe_status badOptions(const char *init) {
  return badArgument("the options have no size: initialise them with ", init);
}

inline lathe_status describeTensor(const std::vector<Tensor> &tensors, const char *what, size_t index, lathe_tensor_info *info) {
  if (index >= tensors.size())
    return badArgument(what, " ", index, " does not exist: the model has ", tensors.size());
  const Tensor &tensor = tensors[index];
  *info = {tensor.name.c_str(), tensor.type->dtype, tensor.dims.size(), tensor.dimValues.data(), tensor.dimTexts.data()};
  return LATHE_OK;
}

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_APISUPPORT_H
