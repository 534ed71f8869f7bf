//===- Npz.cpp - Fuzzing of the reader of tensors -------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// One input is the bytes of a .npz file, or of a .npy file, which no checksum keeps from the parser. Tensors that come
// out have what they claim, and are the same when they are written and read again.
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/TensorFiles.h"
#include "runtime/DataType.h"
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

using namespace lathe;
using namespace lathe::tool;

namespace {

void require(bool condition) {
  if (!condition)
    abort();
}

void use(const Tensor &tensor) {
  int64_t count = tensor.elements();
  require(count >= 0 && static_cast<uint64_t>(count) * runtime::dataType(tensor.dtype)->size == tensor.bytes.size());
  double sum = 0;
  for (int64_t i = 0; i < count; ++i)
    sum += element(tensor, i);
  volatile double kept = sum;
  (void)kept;
  std::vector<unsigned char> file = formatNpy(tensor);
  Tensor again = parseNpy(file.data(), file.size(), "again");
  require(again.dtype == tensor.dtype && again.dims == tensor.dims && again.bytes == tensor.bytes);
}

std::vector<Tensor> readArchive(const uint8_t *data, size_t size) {
  static const int file = memfd_create("tensors", 0);
  require(ftruncate(file, 0) == 0 && pwrite(file, data, size, 0) == static_cast<ssize_t>(size));
  return readNpz("/proc/self/fd/" + std::to_string(file));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  try {
    if (size >= 2 && memcmp(data, "PK", 2) == 0) {
      for (const Tensor &tensor : readArchive(data, size))
        use(tensor);
    } else {
      use(parseNpy(data, size, "the file"));
    }
  } catch (const FileError &error) {
    require(*error.what() != 0); // a refusal has a reason
  }
  return 0;
}
