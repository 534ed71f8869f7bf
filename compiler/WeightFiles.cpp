//===- WeightFiles.cpp - Where the bytes of weights are -------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/WeightFiles.h"
#include "frontends/onnx/Pages.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

using llvm::StringRef;

namespace lathe {
namespace {
constexpr uint64_t kPage = 4096;
}

WeightFiles::~WeightFiles() {
  for (const auto &[offset, range] : ranges)
    munmap(range.data, range.size);
  if (made >= 0)
    close(made);
}

const char *WeightFiles::bytes(StringRef file, uint64_t offset, uint64_t size, std::string &error) {
  if (file == kMadeFile) {
    auto it = ranges.upper_bound(offset);
    if (it != ranges.begin()) {
      --it;
      uint64_t within = offset - it->first;
      if (within <= it->second.size && size <= it->second.size - within)
        return it->second.data + within;
    }
    error = "expected " + std::to_string(size) + " bytes of a made weight at " + std::to_string(offset) + ", found none";
    return nullptr;
  }
  auto &buffer = files[file.str()];
  if (!buffer) {
    llvm::SmallString<256> path(folder);
    llvm::sys::path::append(path, file);
    auto opened = llvm::MemoryBuffer::getFile(path, /*IsText=*/false, /*RequiresNullTerminator=*/false);
    if (!opened) {
      error = "can't read weights from '" + file.str() + "': " + opened.getError().message();
      return nullptr;
    }
    buffer = std::move(*opened);
  }
  if (offset > buffer->getBufferSize() || size > buffer->getBufferSize() - offset) {
    error = "'" + file.str() + "' is too short: expected " + std::to_string(size) + " bytes at " + std::to_string(offset) +
            ", found a file of " + std::to_string(buffer->getBufferSize());
    return nullptr;
  }
  return buffer->getBufferStart() + offset;
}

void WeightFiles::release(const char *begin, uint64_t size) const {
  for (const auto &[name, buffer] : files)
    if (begin >= buffer->getBufferStart() && begin < buffer->getBufferEnd())
      releasePages(*buffer, begin - buffer->getBufferStart(), begin - buffer->getBufferStart() + size);
}

std::optional<uint64_t> WeightFiles::append(const void *data, uint64_t size, std::string &error) {
  auto fail = [&](const char *what) {
    error = std::string("can't keep a weight of ") + std::to_string(size) + " bytes in a temporary file: " + what + ": " +
            std::strerror(errno);
    return std::nullopt;
  };
  if (made < 0) {
    llvm::SmallString<256> path;
    llvm::sys::path::system_temp_directory(/*ErasedOnReboot=*/true, path);
    llvm::sys::path::append(path, "lathe-XXXXXX");
    made = mkostemp(const_cast<char *>(path.c_str()), O_CLOEXEC);
    if (made < 0)
      return fail("opening it");
    unlink(path.c_str());
  }
  uint64_t offset = madeSize, mapped = std::max<uint64_t>((size + kPage - 1) / kPage * kPage, kPage);
  if (ftruncate(made, static_cast<off_t>(offset + mapped)) != 0)
    return fail("growing it");
  for (uint64_t written = 0; written < size;) {
    ssize_t count = pwrite(made, static_cast<const char *>(data) + written, size - written, static_cast<off_t>(offset + written));
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0)
      return fail("writing it");
    written += static_cast<uint64_t>(count);
  }
  void *address = mmap(nullptr, mapped, PROT_READ, MAP_SHARED, made, static_cast<off_t>(offset));
  if (address == MAP_FAILED)
    return fail("mapping it");
  ranges[offset] = {static_cast<char *>(address), mapped};
  madeSize += mapped;
  return offset;
}

} // namespace lathe
