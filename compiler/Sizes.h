//===- Sizes.h - Sizes as users write them ----------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_SIZES_H
#define LATHE_COMPILER_SIZES_H

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>

namespace lathe {

/// Parses `1GiB`, `512M`, `2000000000`: binary multiples, but decimal ones for kB, MB, GB. Nothing where it is no size.
inline std::optional<uint64_t> parseSize(const std::string &text) {
  static const std::map<std::string, double> units = {
      {"", 1},     {"B", 1},       {"K", 1024},      {"KIB", 1024}, {"KB", 1e3},   {"M", 1 << 20},  {"MIB", 1 << 20},
      {"MB", 1e6}, {"G", 1 << 30}, {"GIB", 1 << 30}, {"GB", 1e9},   {"T", 0x1p40}, {"TIB", 0x1p40}, {"TB", 1e12}};
  size_t digits = text.find_first_not_of("0123456789.");
  std::string unit = digits == std::string::npos ? "" : text.substr(digits);
  for (char &c : unit)
    c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  char *end = nullptr;
  std::string number = text.substr(0, digits);
  double value = std::strtod(number.c_str(), &end);
  auto it = units.find(unit);
  if (number.empty() || *end || it == units.end() || !(value > 0) || value * it->second >= 0x1p62)
    return std::nullopt;
  return std::max<uint64_t>(static_cast<uint64_t>(value * it->second), 1);
}

/// Parses a part of a size, or a size: `0.3` and `30%` of `whole` bytes, or as parseSize. Numbers up to 1 are parts.
inline std::optional<uint64_t> parseSizeOf(const std::string &text, uint64_t whole) {
  bool isPercent = !text.empty() && text.back() == '%';
  std::string number = isPercent ? text.substr(0, text.size() - 1) : text;
  if (number.empty() || number.find_first_not_of("0123456789.") != std::string::npos)
    return isPercent ? std::nullopt : parseSize(text);
  char *end = nullptr;
  double value = std::strtod(number.c_str(), &end) / (isPercent ? 100 : 1);
  if (*end || !(value > 0) || (isPercent && value > 1))
    return std::nullopt;
  return value <= 1 ? static_cast<uint64_t>(value * static_cast<double>(whole)) : parseSize(text);
}

} // namespace lathe

#endif // LATHE_COMPILER_SIZES_H
