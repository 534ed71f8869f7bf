//===- Pages.h - Pages of mapped files --------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_PAGES_H
#define LATHE_FRONTENDS_ONNX_PAGES_H

#include "llvm/Support/MemoryBuffer.h"
#include <algorithm>
#include <sys/mman.h>

namespace lathe {

/// Gives up the pages that lie in [begin, end) of a file that is mapped: they are read again when they are touched. A
/// mapped file of many gigabytes then never lies in memory as a whole.
inline void releasePages(const llvm::MemoryBuffer &file, size_t begin, size_t end) {
  constexpr size_t kPage = 4096;
  if (file.getBufferKind() != llvm::MemoryBuffer::MemoryBuffer_MMap)
    return;
  begin = begin / kPage * kPage;
  end = std::min((end + kPage - 1) / kPage * kPage, file.getBufferSize());
  if (begin < end)
    (void)madvise(const_cast<char *>(file.getBufferStart()) + begin, end - begin, MADV_DONTNEED);
}

} // namespace lathe

#endif // LATHE_FRONTENDS_ONNX_PAGES_H
