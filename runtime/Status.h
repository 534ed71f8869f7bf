//===- Status.h - Result of internal operations -----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_STATUS_H
#define LATHE_RUNTIME_STATUS_H

#include "runtime/include/lathe/lathe.h"

#include <string>
#include <utility>

namespace lathe::runtime {

/// A status code and, for failures, a message. Cheap when it is a success.
class [[nodiscard]] Status {
public:
  Status() = default;
  Status(lathe_status code, std::string message) : code_(code), message_(std::move(message)) {}

  bool failed() const { return code_ != LATHE_OK; }
  lathe_status code() const { return code_; }
  const std::string &message() const { return message_; }

private:
  lathe_status code_ = LATHE_OK;
  std::string message_;
};

inline Status success() { return {}; }

namespace detail {
inline void append(std::string &out, const char *text) { out += text; }
inline void append(std::string &out, const std::string &text) { out += text; }
inline void append(std::string &out, char value) { out += value; }
inline void append(std::string &out, char *text) { out += text; }
template <typename T> void append(std::string &out, T value) { out += std::to_string(value); }
} // namespace detail

/// Joins texts and numbers.
template <typename... Parts> std::string join(const Parts &...parts) {
  std::string out;
  (detail::append(out, parts), ...);
  return out;
}

/// A failure whose message is made of texts and numbers.
template <typename... Parts> Status failure(lathe_status code, const Parts &...parts) {
  return Status(code, join(parts...));
}

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_STATUS_H
