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

using Query = lathe_status (*)(const lathe_module *, size_t, size_t, lathe_tensor_info *);
using Find = lathe_status (*)(const lathe_module *, size_t, const char *, size_t *);

void readTensors(const lathe_module *module, size_t program, size_t count, Query query, Find find) {
  lathe_tensor_info info;
  for (size_t i = 0; i < count; ++i) {
    require(query(module, program, i, &info) == LATHE_OK && read(info.name) > 0);
    require(lathe_dtype_size(info.dtype) > 0);
    for (size_t axis = 0; axis < info.rank; ++axis)
      require(info.dims[axis] >= -1 && read(info.dim_texts[axis]) + 1 > 0);
    size_t found = 0;
    if (i < 64)
      require(find(module, program, info.name, &found) == LATHE_OK && found == i);
  }
  require(query(module, program, count, &info) == LATHE_INVALID_ARGUMENT);
}

lathe_program_info describe(const lathe_module *module, size_t program) {
  lathe_program_info info;
  lathe_program_info_init(&info);
  require(lathe_module_program_info(module, program, &info) == LATHE_OK);
  return info;
}

/// Returns the number of programs.
size_t readModule(const lathe_module *module) {
  lathe_module_info info;
  lathe_module_info_init(&info);
  require(lathe_module_get_info(module, &info) == LATHE_OK);
  require(read(info.manifest) <= info.manifest_size && read(info.device) > 0 && read(info.isa) > 0);
  size_t count = 0, documents = 0;
  require(lathe_module_program_count(module, &count) == LATHE_OK && count > 0);
  for (size_t p = 0; p < count; ++p) {
    lathe_program_info program = describe(module, p);
    size_t found = 0;
    require(read(program.name) > 0 && lathe_module_find_program(module, program.name, &found) == LATHE_OK && found == p);
    readTensors(module, p, program.input_count, lathe_module_program_input, lathe_module_program_find_input);
    readTensors(module, p, program.output_count, lathe_module_program_output, lathe_module_program_find_output);
    lathe_symbol_info symbol;
    for (size_t i = 0; i < program.symbol_count; ++i)
      require(lathe_module_program_symbol(module, p, i, &symbol) == LATHE_OK && read(symbol.name) > 0 &&
              symbol.min <= symbol.max);
  }
  require(lathe_module_document_count(module, &documents) == LATHE_OK);
  for (size_t i = 0; i < documents; ++i) {
    lathe_document document;
    size_t found = 0;
    lathe_status status = lathe_module_document(module, i, &document);
    require(status == LATHE_OK || status == LATHE_INVALID_ARTIFACT);
    if (status == LATHE_OK)
      require(read(document.name) > 0 && read(document.format) + 1 > 0 &&
              read(static_cast<const char *>(document.data)) <= document.size &&
              lathe_module_find_document(module, document.name, &found) == LATHE_OK && found == i);
  }
  const char *device;
  for (size_t i = 0; i < info.device_count; ++i)
    require(lathe_module_device(module, i, &device) == LATHE_OK && read(device) + 1 > 0);
  return count;
}

/// What of a session comes before any of the artifact's code.
void bindInputs(lathe_module *module, size_t program) {
  lathe_program_info info = describe(module, program);
  lathe_session_options options;
  lathe_session_options_init(&options);
  options.threads = 1;
  options.program = info.name;
  lathe_session *session = nullptr;
  if (lathe_session_create(module, &options, &session) != LATHE_OK)
    return;
  static const uint64_t data[64] = {};
  for (size_t i = 0; i < info.input_count; ++i) {
    lathe_tensor_info input;
    require(lathe_module_program_input(module, program, i, &input) == LATHE_OK);
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
    size_t programs = readModule(module);
    for (size_t program = 0; !verify && program < programs; ++program)
      bindInputs(module, program);
    lathe_module_release(module);
  }
  return 0;
}
