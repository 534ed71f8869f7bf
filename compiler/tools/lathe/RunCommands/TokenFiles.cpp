//===- TokenFiles.cpp - Texts and ids of tokens in files --------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/TokenFiles.h"
#include "compiler/tools/lathe/RunCommands/Support.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>

using namespace lathe;
using namespace lathe::tool;

namespace {

std::string readAll(FILE *stream, const std::string &name) {
  std::string bytes;
  char buffer[1 << 16];
  while (size_t size = fread(buffer, 1, sizeof(buffer), stream))
    bytes.append(buffer, size);
  if (ferror(stream))
    throw FileError("cannot read " + name + ": " + strerror(errno));
  return bytes;
}

bool isWhole(lathe_dtype type) {
  for (lathe_dtype whole : {LATHE_I8, LATHE_I16, LATHE_I32, LATHE_I64, LATHE_U8, LATHE_U16, LATHE_U32, LATHE_U64})
    if (type == whole)
      return true;
  return false;
}

std::vector<std::vector<int64_t>> rowsOf(const Tensor &tensor, const std::string &path) {
  size_t rank = tensor.dims.size();
  int64_t count = rank == 1 ? 1 : tensor.dims[0], length = tensor.dims[rank - 1];
  std::vector<std::vector<int64_t>> rows(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    std::vector<int64_t> &row = rows[static_cast<size_t>(i)];
    bool isFilled = false;
    for (int64_t j = 0; j < length; ++j) {
      double id = element(tensor, i * length + j);
      isFilled |= id == -1 && rank == 2;
      if (isFilled ? id != -1 : id < 0 || id > UINT32_MAX)
        throw FileError("'" + path + "' must hold ids of tokens, got " + std::to_string(id) + " at " +
                        std::to_string(i * length + j));
      if (!isFilled)
        row.push_back(static_cast<int64_t>(id));
    }
  }
  return rows;
}

} // namespace

std::string tool::readTextFile(const std::string &path) {
  if (path == "-")
    return readAll(stdin, "standard input");
  std::unique_ptr<FILE, int (*)(FILE *)> file(fopen(path.c_str(), "rb"), fclose);
  if (!file)
    throw FileError("cannot open '" + path + "': " + strerror(errno));
  return readAll(file.get(), "'" + path + "'");
}

std::vector<std::vector<int64_t>> tool::readIdRows(const std::string &path) {
  Tensor tensor = readNpy(path);
  if (!isWhole(tensor.dtype) || tensor.dims.empty() || tensor.dims.size() > 2)
    throw FileError("'" + path + "' must hold integers, [N] or [rows, N], got type " + lathe_dtype_name(tensor.dtype) +
                    " and shape " + shapeText(tensor.dims));
  return rowsOf(tensor, path);
}

std::vector<int64_t> tool::readIds(const std::string &path) {
  Tensor tensor = readNpy(path);
  if (!isWhole(tensor.dtype) || tensor.dims.size() != 1)
    throw FileError("'" + path + "' must hold one row of integers, got type " + lathe_dtype_name(tensor.dtype) +
                    " and shape " + shapeText(tensor.dims));
  return rowsOf(tensor, path)[0];
}

void tool::writeIds(const std::string &path, const std::vector<std::vector<int64_t>> &rows) {
  size_t longest = 0;
  for (const std::vector<int64_t> &row : rows)
    longest = std::max(longest, row.size());
  std::vector<int64_t> all;
  for (const std::vector<int64_t> &row : rows) {
    all.insert(all.end(), row.begin(), row.end());
    all.resize(all.size() + longest - row.size(), -1);
  }
  Tensor tensor;
  tensor.dtype = LATHE_I64;
  tensor.dims = {static_cast<int64_t>(longest)};
  if (rows.size() != 1)
    tensor.dims.insert(tensor.dims.begin(), static_cast<int64_t>(rows.size()));
  tensor.bytes.resize(all.size() * sizeof(int64_t));
  if (!all.empty())
    memcpy(tensor.bytes.data(), all.data(), tensor.bytes.size());
  std::vector<unsigned char> content = formatNpy(tensor);
  writeText(path, std::string(content.begin(), content.end()));
}
