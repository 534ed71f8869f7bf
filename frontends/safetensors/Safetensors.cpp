//===- Safetensors.cpp - A mapped file of tensors -------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/safetensors/Safetensors.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/MathExtras.h"
#include <nlohmann/json.hpp>
#include <set>

using llvm::StringRef;
using llvm::Twine;
using nlohmann::json;

namespace lathe::safetensors {

/// As the format's own reader has it.
static constexpr uint64_t kLargestHeader = 100'000'000;
static constexpr size_t kMostAxes = 32;
static constexpr int64_t kMostElements = int64_t(1) << 60;

int64_t dtypeBytes(StringRef name) {
  static constexpr std::pair<const char *, int64_t> types[] = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"I16", 2}, {"U16", 2}, {"F16", 2},
      {"BF16", 2}, {"I32", 4}, {"U32", 4}, {"F32", 4},     {"F64", 8},     {"I64", 8}, {"U64", 8},
  };
  for (auto [type, bytes] : types)
    if (name == type)
      return bytes;
  return 0;
}

int64_t Tensor::elements() const {
  int64_t count = 1;
  for (int64_t extent : shape)
    count *= extent;
  return count;
}

std::string Tensor::type() const {
  std::string text;
  for (int64_t extent : shape)
    text += (text.empty() ? "" : ", ") + std::to_string(extent);
  return dtype + " [" + text + "]";
}

/// A number that is not negative and fits, as JSON has it.
static std::optional<int64_t> natural(const json &value) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
    return std::nullopt;
  return static_cast<int64_t>(value.get<uint64_t>());
}

/// Names come from the file: a message shows no more of them than a reader can use.
static std::string shown(StringRef name) {
  constexpr size_t kMost = 200;
  std::string text;
  for (char c : name.take_front(kMost))
    text += llvm::isPrint(c) || (c & 0x80) ? c : '?';
  return "'" + text + (name.size() > kMost ? "…" : "") + "'";
}

/// What the header says of a tensor; `data` is where tensors begin in the file and how many bytes there are.
static std::string readTensor(const json &entry, uint64_t begin, uint64_t size, Tensor &tensor) {
  if (!entry.is_object())
    return "expects an object";
  for (const char *field : {"dtype", "shape", "data_offsets"})
    if (!entry.contains(field))
      return std::string("has no '") + field + "'";
  const json &dtype = entry["dtype"], &shape = entry["shape"], &offsets = entry["data_offsets"];
  const auto *name = dtype.get_ptr<const std::string *>();
  int64_t width = name ? dtypeBytes(*name) : 0;
  if (!width)
    return "expects a dtype of the format, got " + (name ? shown(*name) : "no text");
  tensor.dtype = *name;
  if (!shape.is_array() || shape.size() > kMostAxes)
    return "expects a shape of at most " + std::to_string(kMostAxes) + " numbers";
  int64_t count = 1;
  for (const json &extent : shape) {
    std::optional<int64_t> number = natural(extent);
    if (!number)
      return "expects a shape of numbers of at least 0";
    // Zeros make no shape of too many elements a valid one.
    if (llvm::MulOverflow(count, std::max<int64_t>(*number, 1), count) || count > kMostElements)
      return "expects fewer than 2^60 elements";
    tensor.shape.push_back(*number);
  }
  if (llvm::is_contained(tensor.shape, 0))
    count = 0;
  std::optional<int64_t> first, last;
  if (offsets.is_array() && offsets.size() == 2) {
    first = natural(offsets[0]);
    last = natural(offsets[1]);
  }
  if (!first || !last || *first > *last)
    return "expects data_offsets of two numbers, the end not before the begin";
  if (static_cast<uint64_t>(*last) > size)
    return "ends at byte " + std::to_string(*last) + " of the data, and the file has " + std::to_string(size);
  if (*last - *first != count * width)
    return "expects " + std::to_string(count * width) + " bytes for " + tensor.type() + ", got " +
           std::to_string(*last - *first);
  tensor.offset = begin + static_cast<uint64_t>(*first);
  tensor.bytes = static_cast<uint64_t>(*last - *first);
  return "";
}

/// Numbers of a tensor's shape lie this deep.
static constexpr int kDeepest = 3;

/// Parses an object whose names are there once each; `problem` says what is wrong.
static json parseHeader(StringRef text, std::string &problem) {
  std::set<std::string> names;
  std::string twice;
  json header = json::parse(
      text.begin(), text.end(),
      [&](int depth, json::parse_event_t event, json &parsed) {
        if (event == json::parse_event_t::key && depth == 1)
          if (const auto *name = parsed.get_ptr<const std::string *>(); !names.insert(*name).second && twice.empty())
            twice = *name;
        return depth <= kDeepest; // what is deeper is of no tensor, and not kept
      },
      /*allow_exceptions=*/false);
  if (header.is_discarded() || !header.is_object())
    problem = "the header is not a JSON object";
  else if (!twice.empty())
    problem = "tensor " + shown(twice) + " is there twice";
  return header;
}

std::string readTensors(StringRef bytes, Tensors &tensors) {
  constexpr uint64_t kLengthBytes = 8;
  if (bytes.size() < kLengthBytes)
    return "expects at least " + std::to_string(kLengthBytes) + " bytes, got " + std::to_string(bytes.size());
  uint64_t length = llvm::support::endian::read64le(bytes.data());
  if (length > kLargestHeader)
    return "expects a header of at most " + std::to_string(kLargestHeader) + " bytes, got " + std::to_string(length);
  if (length > bytes.size() - kLengthBytes)
    return "expects a header of " + std::to_string(length) + " bytes, found " +
           std::to_string(bytes.size() - kLengthBytes);
  std::string problem;
  json header = parseHeader(bytes.substr(kLengthBytes, length), problem);
  if (!problem.empty())
    return problem;
  uint64_t begin = kLengthBytes + length, size = bytes.size() - begin;
  for (const auto &[name, entry] : header.items()) {
    if (name == "__metadata__")
      continue;
    Tensor tensor;
    if (std::string what = readTensor(entry, begin, size, tensor); !what.empty())
      return "tensor " + shown(name) + " " + what;
    tensors.emplace(name, std::move(tensor));
  }
  // The format has neither overlaps nor gaps: a file is nothing else besides.
  std::vector<const Tensors::value_type *> order;
  for (const Tensors::value_type &tensor : tensors)
    order.push_back(&tensor);
  llvm::sort(order, [](const auto *a, const auto *b) {
    return std::tie(a->second.offset, a->second.bytes, a->first) <
           std::tie(b->second.offset, b->second.bytes, b->first);
  });
  uint64_t next = begin;
  for (const Tensors::value_type *tensor : order) {
    if (tensor->second.offset != next)
      return "tensor " + shown(tensor->first) + " begins at byte " + std::to_string(tensor->second.offset - begin) +
             " of the data, where " + std::to_string(next - begin) + " is expected: tensors " +
             (tensor->second.offset < next ? "overlap" : "have gaps between them");
    next += tensor->second.bytes;
  }
  if (next != bytes.size())
    return "expects " + std::to_string(next - begin) + " bytes of data, found " + std::to_string(size);
  return "";
}

} // namespace lathe::safetensors
