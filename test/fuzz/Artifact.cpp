//===- Artifact.cpp - Fuzzing of the reader of artifacts ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// One input is the bytes of a .lathe file. It is loaded, all that can be asked of it is asked, and inputs are given to
// a session; its code is not run.
//
//===----------------------------------------------------------------------===//
#include "runtime/include/lathe/lathe.h"
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace {

void require(bool condition) {
  if (!condition)
    abort();
}

/// Every byte of a text is there, and it is one.
size_t read(const char *text) {
  require(text);
  return strlen(text);
}

using Query = lathe_status (*)(const lathe_module *, size_t, lathe_tensor_info *);
using Find = lathe_status (*)(const lathe_module *, const char *, size_t *);

void readTensors(const lathe_module *module, size_t count, Query query, Find find) {
  lathe_tensor_info info;
  for (size_t i = 0; i < count; ++i) {
    require(query(module, i, &info) == LATHE_OK && read(info.name) > 0);
    require(lathe_dtype_size(info.dtype) > 0);
    for (size_t axis = 0; axis < info.rank; ++axis)
      require(info.dims[axis] >= -1 && read(info.dim_texts[axis]) + 1 > 0);
    size_t found = 0;
    if (i < 64)
      require(find(module, info.name, &found) == LATHE_OK && found == i);
  }
  require(query(module, count, &info) == LATHE_INVALID_ARGUMENT);
}

void readModule(const lathe_module *module, lathe_module_info &info) {
  lathe_module_info_init(&info);
  require(lathe_module_get_info(module, &info) == LATHE_OK);
  require(read(info.manifest) <= info.manifest_size && read(info.device) > 0 && read(info.isa) > 0);
  readTensors(module, info.input_count, lathe_module_input, lathe_module_find_input);
  readTensors(module, info.output_count, lathe_module_output, lathe_module_find_output);
  lathe_symbol_info symbol;
  for (size_t i = 0; i < info.symbol_count; ++i)
    require(lathe_module_symbol(module, i, &symbol) == LATHE_OK && read(symbol.name) > 0 && symbol.min <= symbol.max);
  const char *device;
  for (size_t i = 0; i < info.device_count; ++i)
    require(lathe_module_device(module, i, &device) == LATHE_OK && read(device) + 1 > 0);
}

/// What of a session comes before any of the artifact's code.
void bindInputs(lathe_module *module, const lathe_module_info &info) {
  lathe_session_options options;
  lathe_session_options_init(&options);
  options.threads = 1;
  lathe_session *session = nullptr;
  if (lathe_session_create(module, &options, &session) != LATHE_OK)
    return;
  static const uint64_t data[64] = {};
  for (size_t i = 0; i < info.input_count; ++i) {
    lathe_tensor_info input;
    require(lathe_module_input(module, i, &input) == LATHE_OK);
    std::vector<int64_t> dims(input.dims, input.dims + input.rank);
    for (int64_t &dim : dims)
      dim = dim < 0 ? 1 : dim;
    (void)lathe_session_set_input(session, i, input.dtype, dims.size(), dims.data(), data);
  }
  lathe_kernel_profile profile;
  for (size_t i = 0; i < info.kernel_count; ++i)
    require(lathe_session_profile(session, i, &profile) == LATHE_OK && read(profile.name) + read(profile.kind) + 1 > 0);
  lathe_session_release(session);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  static const int file = memfd_create("artifact", 0);
  require(ftruncate(file, 0) == 0 && pwrite(file, bytes, size, 0) == static_cast<ssize_t>(size));
  std::string path = "/proc/self/fd/" + std::to_string(file);
  // With every hash, and with those that are checked always.
  for (int verify : {0, 1}) {
    lathe_load_options options;
    lathe_load_options_init(&options);
    options.verify = verify;
    lathe_module *module = nullptr;
    lathe_status status = lathe_module_load(path.c_str(), &options, &module);
    require((status == LATHE_OK) == (module != nullptr));
    if (!module) {
      require(read(lathe_last_error()) > 0 && status != LATHE_INTERNAL); // a refusal has a reason
      continue;
    }
    lathe_module_info info;
    readModule(module, info);
    if (!verify)
      bindInputs(module, info);
    lathe_module_release(module);
  }
  return 0;
}
