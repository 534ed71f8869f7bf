//===- Json.h - Reading the members of a tokenizer's file -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_TOKENIZER_JSON_H
#define LATHE_RUNTIME_TOKENIZER_JSON_H

#include "runtime/Status.h"

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

namespace lathe::tokenizer {

using runtime::failure;
using runtime::Status;
using runtime::success;
using Json = nlohmann::json;

/// A value of the file and the way to it, which errors name. A member that is not there is like one that is null.
class Node {
public:
  Node(const Json &value, std::string path) : value_(&value), path_(std::move(path)) {}

  const std::string &path() const { return path_; }
  const Json &value() const { return *value_; }
  bool isNull() const { return value_->is_null(); }
  bool isObject() const { return value_->is_object(); }

  Node operator[](const char *name) const {
    static const Json kNull;
    std::string path = path_.empty() ? name : path_ + "." + name;
    if (!value_->is_object())
      return Node(kNull, std::move(path));
    auto found = value_->find(name);
    return Node(found == value_->end() ? kNull : *found, std::move(path));
  }

  Node operator[](size_t index) const { return Node((*value_)[index], path_ + "[" + std::to_string(index) + "]"); }

  /// Number of elements of a list; 0 for anything else.
  size_t size() const { return value_->is_array() ? value_->size() : 0; }

  Status expected(const char *what) const {
    return failure(LATHE_INVALID_ARTIFACT, "'", path_, "' must be ", what, ", got ", shown());
  }

  /// What a file asks for and this library does not have.
  Status unsupported(const std::string &what) const {
    return failure(LATHE_INVALID_ARTIFACT, "'", path_, "': ", what, " is not supported");
  }

  Status list() const { return value_->is_array() ? success() : expected("a list"); }

  Status read(std::string *out) const {
    if (!value_->is_string())
      return expected("a string");
    *out = *value_->get_ptr<const std::string *>();
    return success();
  }

  Status read(bool *out) const {
    if (!value_->is_boolean())
      return expected("true or false");
    *out = *value_->get_ptr<const bool *>();
    return success();
  }

  Status read(double *out) const {
    if (!value_->is_number())
      return expected("a number");
    *out = value_->get<double>();
    return success();
  }

  /// A number from 0 on that fits into 32 bits, as ids and counts are.
  Status read(uint32_t *out) const {
    if (!value_->is_number_unsigned() || value_->get<uint64_t>() > std::numeric_limits<uint32_t>::max())
      return expected("a whole number from 0 to 4294967295");
    *out = static_cast<uint32_t>(value_->get<uint64_t>());
    return success();
  }

  /// Leaves `out` as it is where the member is null or missing.
  template <typename T> Status readOptional(T *out) const { return isNull() ? success() : read(out); }

private:
  std::string shown() const {
    if (value_->is_string() || value_->is_number() || value_->is_boolean()) {
      std::string text = value_->dump(-1, ' ', false, Json::error_handler_t::replace);
      return text.size() > 60 ? text.substr(0, 60) + "…" : text;
    }
    return value_->is_null() ? "nothing" : value_->is_array() ? "a list" : "an object";
  }

  const Json *value_;
  std::string path_;
};

/// The longest text that a file's steps may make of `size` bytes: each may multiply what it gets, so a few of them would
/// fill any memory.
constexpr size_t textLimit(size_t size) { return 64 * size + (size_t(1) << 16); }

/// How deep parts may lie in sequences of parts: files have two levels.
constexpr int kMaxDepth = 32;

} // namespace lathe::tokenizer

/// Leaves the function with the status of `expression` where that failed.
#define LATHE_TRY(expression)                                                                                          \
  do {                                                                                                                 \
    if (::lathe::runtime::Status tried = (expression); tried.failed())                                                 \
      return tried;                                                                                                    \
  } while (false)

#endif // LATHE_RUNTIME_TOKENIZER_JSON_H
